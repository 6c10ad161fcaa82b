"""`check_env`: what is wrong with an environment, all of it, in plain words.

    print(check_env("my_module:MyEnv-v0"))        or check_env(MyEnv), check_env(MyEnv())
    check_env(MyEnv).ok                           False if there is an error

An environment is built, reset and stepped with random actions, and every finding is listed by weight: an
``error`` spoils or stops a training, a ``warning`` is likely to, a ``hint`` may make it learn faster. That
none is found does not prove that it is right: only what random play sees is looked at.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.utils.env_checker import data_equivalence

from aigym_kernel import rendering
from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import AnyEnv, make_one
from aigym_kernel.errors import AigymError, check_whole
from aigym_kernel.train import ALGORITHMS

Weight = Literal["error", "warning", "hint"]
_COLOURS = {"error": rendering.BAD, "warning": "#b26a00", "hint": rendering.DULL}
_PLAYED_TWICE = 50
_SLOW_S = 1e-3
_LONGEST_S = 10.0
# Of what gymnasium's checker warns about, what is said here already or is no fault.
_SAID = ("unwrapped version", "action space", "spec", "value is infinity", "value is -infinity", "inf")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing: how much it weighs, what was seen, and what mends it."""

    weight: Weight
    seen: str
    mend: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What `check_env` found. ``trains``: by algorithm "yes", or why it cannot train on it. ``figures``: time
    per step and reset in microseconds, steps and episodes that were played, their mean length."""

    name: str
    findings: tuple[Finding, ...]
    trains: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(f.weight == "error" for f in self.findings)

    def __str__(self) -> str:
        lines = [f"{self.name}: {'no errors' if self.ok else 'has errors'}"]
        for f in self.findings:
            lines.append(f"  {f.weight:8} {f.seen}")
            if f.mend:
                lines.append(f"  {'':8} -> {f.mend}")
        lines += [f"  {algo:8} {answer}" for algo, answer in self.trains.items()]
        if self.figures:
            lines.append("  " + ", ".join(f"{name} {value:,.6g}" for name, value in self.figures.items()))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows: list[list[object]] = [
            [rendering.badge(f.weight, _COLOURS[f.weight]), f.seen, f.mend] for f in self.findings
        ]
        for algo, answer in self.trains.items():
            colour = rendering.GOOD if answer == "yes" else rendering.DULL
            rows.append([rendering.badge(algo, colour), "can train on it" if answer == "yes" else answer, ""])
        figures = ", ".join(f"{name} {value:,.6g}" for name, value in self.figures.items())
        caption = f"{self.name}: {'no errors' if self.ok else 'has errors'}. {figures}"
        return rendering.table(["", "seen", "what mends it"], rows, caption)


class _Stop(Exception):
    """Nothing more can be looked at."""


class _Look:
    """What is being looked at, and what was found so far; each kind of finding is kept once."""

    def __init__(self, build: Callable[[], AnyEnv], name: str) -> None:
        self.build, self.name = build, name
        self.found: dict[str, Finding] = {}
        self.figures: dict[str, float] = {}

    def find(self, weight: Weight, kind: str, seen: str, mend: str = "") -> None:
        self.found.setdefault(kind, Finding(weight=weight, seen=rendering.short(seen, 300), mend=mend))

    def call(self, kind: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """What ``function`` returns; what it raises is a finding, after which nothing can go on."""
        try:
            return function(*given, **named)
        except Exception as problem:
            self.find("error", kind, f"{kind} raised {type(problem).__name__}: {problem}")
            raise _Stop from None


def check_env(
    env: EnvSource | AnyEnv,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    steps: int = 2_000,
    seed: int = 0,
) -> Checkup:
    """Look at an environment and list what is wrong with it.

    Args:
        env: an id, a function (or class) that builds one, or an environment, which stays open.
        env_kwargs: passed to an id or function.
        steps: how many random steps to take; fewer where they last longer than 10 s.
        seed: of the resets and the random actions.

    Raises:
        UnknownName: no environment has this id.
        AigymError: ``env_kwargs`` are no mapping, or given with an environment that is built already.
    """
    check_whole("check_env: steps", steps, 1)
    check_whole("check_env: seed", seed, 0)
    made = env if isinstance(env, gymnasium.Env) else None
    if made is not None and env_kwargs:
        raise AigymError(f"check_env: env_kwargs={env_kwargs!r} cannot be given to what is built already")
    name = env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)
    look = _Look(lambda: made or make_one(env, env_kwargs), name)  # type: ignore[arg-type]
    one: AnyEnv | None = None
    trains: dict[str, str] = {}
    try:
        try:
            one = look.build()
        except AigymError:
            raise
        except Exception as problem:
            look.find("error", "build", f"building it raised {type(problem).__name__}: {problem}")
            raise _Stop from None
        _spaces(look, one)
        trains = _trains(one, name)
        _seeding(look, one, seed)
        _play(look, one, steps, seed)
        _rendering(look, one)
        if not any(f.weight == "error" for f in look.found.values()):
            _as_gymnasium_sees_it(look, one)
    except _Stop:
        pass
    finally:
        if one is not None and made is None:
            one.close()
    order = list(_COLOURS)
    findings = tuple(sorted(look.found.values(), key=lambda f: order.index(f.weight)))
    return Checkup(name=name, findings=findings, trains=trains, figures=look.figures)


def _spaces(look: _Look, env: AnyEnv) -> None:
    for kind in ("observation_space", "action_space"):
        space = getattr(env, kind, None)
        if not isinstance(space, gymnasium.Space):
            look.find("error", kind, f"{kind} is {space!r}", "set it to one of gymnasium.spaces in __init__")
            raise _Stop
    action = env.action_space
    if isinstance(action, spaces.Box):
        if not action.is_bounded():
            look.find("warning", "bounds", f"action_space {action} has no bounds", "give low and high")
        elif not (np.allclose(action.low, -1) and np.allclose(action.high, 1)):
            look.find(
                *("hint", "range", f"actions range from {action.low.min():g} to {action.high.max():g}"),
                "a network starts near 0 with a spread of 1: wrappers=[['RescaleAction', "
                "{'min_action': -1.0, 'max_action': 1.0}]]",
            )


def _trains(env: AnyEnv, name: str) -> dict[str, str]:
    answers = {}
    for algo, algorithm in ALGORITHMS.items():
        try:
            algorithm.check(lambda: _Lent(env))
            answers[algo] = "yes"
        except AigymError as problem:
            answers[algo] = str(problem).replace("_Lent", name)
    return answers


class _Lent(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that somebody else will close."""

    def close(self) -> None:
        """Nothing."""


def _seeding(look: _Look, env: AnyEnv, seed: int) -> None:
    """Whether the same seed and actions go the same way, and nothing is drawn from global generators."""
    before = np.random.get_state(), random.getstate()
    ways = []
    for _ in range(2):
        env.action_space.seed(seed)
        answer = look.call("reset", env.reset, seed=seed)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            mend = "return (observation, info)"
            look.find("error", "reset", f"reset returned {type(answer).__name__}, not two values", mend)
            raise _Stop
        way = [answer[0]]
        for _ in range(_PLAYED_TWICE):
            said = look.call("step", env.step, env.action_space.sample())
            if not (isinstance(said, tuple) and len(said) == 5):
                size = f"{len(said)} values" if isinstance(said, tuple) else type(said).__name__
                mend = "return observation, reward, terminated, truncated, info"
                look.find("error", "step", f"step returned {size}, not five", mend)
                raise _Stop
            way += [np.array(said[0]) if isinstance(said[0], np.ndarray) else said[0], said[1]]
            if said[2] or said[3]:
                break
        ways.append(way)
    same = [data_equivalence(one, other) for one, other in zip(*ways)]
    mend = "draw everything from self.np_random, after super().reset(seed=seed) in reset"
    if not same[0]:
        look.find("error", "seed", f"two resets with seed {seed} give different observations", mend)
    elif not all(same) or len(ways[0]) != len(ways[1]):
        step = (same.index(False) - 1) // 2 if False in same else min(map(len, ways)) // 2
        look.find("error", "seed", f"the same seed and actions go another way from step {step} on", mend)
    after = np.random.get_state(), random.getstate()
    if not data_equivalence(before[0], after[0]) or before[1] != after[1]:
        look.find("error", "global", "it draws from a global random generator (numpy.random or random)", mend)


def _play(look: _Look, env: AnyEnv, steps: int, seed: int) -> None:
    env.action_space.seed(seed)
    lengths, rewarded, changed, length = [], False, False, 0
    observation, info = look.call("reset", env.reset, seed=seed)
    _observation(look, env, observation, "reset")
    _info(look, info, "reset")
    first, truncations, spent = observation, 0, 0.0
    taken, began = 0, time.perf_counter()
    while taken < steps and time.perf_counter() - began < _LONGEST_S:
        taken += 1
        action, started = env.action_space.sample(), time.perf_counter()
        said = look.call("step", env.step, action)
        spent += time.perf_counter() - started
        if isinstance(said[0], np.ndarray) and said[0] is observation:
            look.find(
                *("warning", "reused", "step returns the same array each time and writes into it"),
                "return a copy: who keeps observations finds them changed",
            )
        observation, reward, terminated, truncated, info = said
        length += 1
        _observation(look, env, observation, f"step {length}")
        _info(look, info, "step")
        _reward(look, reward, length)
        for name, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, (bool, np.bool_)):
                look.find("error", name, f"{name} is {value!r}, not a bool")
        rewarded = rewarded or bool(np.any(reward != 0))
        changed = changed or not data_equivalence(first, observation)
        if terminated or truncated:
            lengths.append(length)
            length, truncations = 0, truncations + bool(truncated)
            started = time.perf_counter()
            observation, info = look.call("reset", env.reset)
            look.figures["us_per_reset"] = round(1e6 * (time.perf_counter() - started), 1)
    look.figures |= {"us_per_step": round(1e6 * spent / taken, 1), "steps": taken, "episodes": len(lengths)}
    if lengths:
        look.figures["mean_length"] = float(np.mean(lengths))
    _judge(look, env, bool(lengths), truncations, rewarded, changed, spent / taken)


def _judge(
    look: _Look, env: AnyEnv, ended: bool, truncations: int, rewarded: bool, changed: bool, step_s: float
) -> None:
    """What the whole play says."""
    limited = env.spec is not None and env.spec.max_episode_steps is not None
    mend = "wrappers=[['TimeLimit', {'max_episode_steps': 500}]]"
    if not ended:
        seen = f"no episode ended in {look.figures['steps']:,.0f} random steps"
        look.find("hint" if limited else "warning", "endless", seen, "" if limited else mend)
    elif not (limited or truncations or look.name.startswith("aigym/")):
        seen = "no time limit is known: an agent that never fails might play one episode for ever"
        look.find("hint", "limit", seen, mend)
    if not rewarded:
        seen = "every reward was 0 in random play: an agent learns nothing until it meets the first one"
        look.find("warning", "sparse", seen, "reward steps on the way, or learn from examples first")
    if not changed:
        look.find("warning", "blind", "no observation ever differed from the first one")
    if step_s > _SLOW_S:
        seen = f"a step takes {1e3 * step_s:.1f} ms"
        look.find(
            "hint", "slow", seen, "vectorize='processes' steps many side by side ('threads' if it waits)"
        )


def _observation(look: _Look, env: AnyEnv, observation: Any, where: str) -> None:
    space = env.observation_space
    if isinstance(observation, np.ndarray) and observation.dtype.kind == "f":
        if not np.isfinite(observation).all():
            look.find("error", "nan", f"{where} gave a NaN or infinite observation: {observation}")
            return
        if np.abs(observation).max(initial=0.0) > 100:
            seen = f"observations reach {np.abs(observation).max():.3g}"
            look.find("hint", "scale", seen, "networks like numbers near 1: normalize_observations=True")
    if space.contains(observation):
        return
    dtype, shape = getattr(observation, "dtype", None), getattr(observation, "shape", None)
    if not isinstance(space, spaces.Box) or shape is None:
        seen = f"{where} gave {observation!r}, which is not in observation_space {space}"
        look.find("error", "observation", seen, "return what the space describes")
    elif shape != space.shape:
        seen = f"{where} gave an observation of shape {shape}, observation_space has {space.shape}"
        look.find("error", "shape", seen, "keep one shape in every observation")
    elif not np.can_cast(dtype or object, space.dtype):
        seen = f"{where} gave {dtype} observations, observation_space is of {space.dtype}"
        look.find("error", "dtype", seen, f"return observation.astype(np.{space.dtype})")
    else:
        out = (observation < space.low) | (observation > space.high)
        seen = f"{where} gave {observation[out][:3]} outside the bounds of observation_space"
        look.find("error", "bounds of observations", seen, "widen low and high, or clip")


def _reward(look: _Look, reward: Any, step: int) -> None:
    if isinstance(reward, bool) or not isinstance(reward, (int, float, np.number)):
        scalar = isinstance(reward, (bool, np.bool_)) or getattr(reward, "shape", None) == ()
        look.find(
            *("warning" if scalar else "error", "reward", f"step {step} gave the reward {reward!r}"),
            "return a float",
        )
    elif not np.isfinite(reward):
        look.find("error", "reward", f"step {step} gave the reward {reward}", "rewards have to be finite")


def _info(look: _Look, info: Any, where: str) -> None:
    if not isinstance(info, dict):
        look.find("error", "info", f"{where} gave the info {info!r}", "return a dict, {} if there is nothing")


def _rendering(look: _Look, env: AnyEnv) -> None:
    modes = env.metadata.get("render_modes", [])
    if env.render_mode is None:
        return
    if env.render_mode not in modes:
        seen = f"render_mode {env.render_mode!r} is not in metadata['render_modes'] {modes}"
        look.find("warning", "modes", seen)
    look.call("reset", env.reset)
    frame = look.call("render", env.render)
    if env.render_mode == "rgb_array" and not (
        isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
    ):
        what = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        look.find("error", "frame", f"render gave {what}", "return an array (height, width, 3) of uint8")


def _as_gymnasium_sees_it(look: _Look, env: AnyEnv) -> None:
    """What gymnasium's own checker says beyond all this."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            gymnasium_check(env.unwrapped, skip_render_check=True, skip_close_check=True)
        except Exception as problem:
            look.find("warning", "gymnasium", f"gymnasium's checker: {problem}")
    for warning in said:
        text = str(warning.message).replace("\033[33m", "").replace("\033[0m", "")
        text = text.removeprefix("WARN: ")
        if not any(known in text for known in _SAID):
            look.find("hint", text, f"gymnasium's checker: {text}")
