"""Let an agent play an environment once, step by step.

    player = play(agent, env, seed=7)
    for step in player: ...            each Step as it happens
    trajectory = collect(player)       or: run it to its end and get the Trajectory

An agent (or an environment) with a conversation in its attribute ``messages``, Messages of the present
episode alone, has them kept in the trajectory's. An exception in the agent or the environment ends the
trajectory and is kept in its ``error``: a failed trajectory is data. Nothing is recorded here;
`runs.rollout` plays many times and writes to the store.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from aigym_kernel.errors import AigymError
from aigym_kernel.trajectories import Message, Step, Trajectory, new_id

Agent = Callable[[Any, Sequence[Step]], Any]
"""``(observation, steps so far) -> action``. Learning is a Trainer's business."""


def agent_name(agent: Agent) -> str:
    """Its ``name``, else its function's name, else its class's."""
    for attribute in ("name", "__name__"):
        if isinstance(name := getattr(agent, attribute, None), str):
            return name
    return type(agent).__name__


def describe(env: gymnasium.Env[Any, Any]) -> tuple[str, dict[str, Any]]:
    """What `gymnasium.make` needs to build ``env`` again: its id and keyword arguments. An environment
    that was never registered is described by its class name alone and cannot be built again."""
    spec = env.spec
    if spec is None:
        return type(env.unwrapped).__name__, {}
    kwargs = {k: v for k, v in spec.kwargs.items() if k != "render_mode" and _plain(v)}
    registered = gymnasium.registry.get(spec.id)
    if registered is not None and spec.max_episode_steps != registered.max_episode_steps:
        kwargs["max_episode_steps"] = spec.max_episode_steps
    if wrappers := _wrappers(env):
        kwargs["wrappers"] = wrappers
    return spec.id, kwargs


NAMED = "_aigym_named"
"""The attribute of a wrapper that was made by name (`envs.wrappers`): [name, keyword arguments]."""


def _wrappers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """Names and arguments of the wrappers around ``env``, the innermost first: of those that were made by
    name, and of gymnasium's own put around it by hand, but for those that `gymnasium.make` adds by itself and
    those that only render."""
    found: list[Any] = []
    while isinstance(env, gymnasium.Wrapper):
        kind, kwargs = type(env), getattr(env, "_saved_kwargs", {})
        if named := vars(env).get(NAMED):
            found.insert(0, named)
        elif (
            kind.__module__.startswith("gymnasium.wrappers.")
            and kind.__module__ != "gymnasium.wrappers.rendering"
            and kind.__name__ not in ("OrderEnforcing", "PassiveEnvChecker", "TimeLimit")
            and _plain(kwargs)
        ):
            found.insert(0, [kind.__name__, kwargs])
        env = env.env
    return found


def _plain(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def play(
    agent: Agent,
    env: gymnasium.Env[Any, Any],
    *,
    seed: int | None = None,
    trajectory_id: str | None = None,
    run_id: str | None = None,
    group: str | None = None,
) -> Generator[Step, None, Trajectory]:
    """Play ``env`` once from ``reset(seed=seed)``: yields each Step, returns the Trajectory.

    Closing the generator early ends the play without a Trajectory. The environment stays open.
    """
    started_at, started = time.time(), time.perf_counter()
    steps: list[Step] = []
    error: str | None = None
    observation: Any = None
    terminated = truncated = False
    info: Mapping[str, Any] = {}
    try:
        observation, info = env.reset(seed=seed)
        while not (terminated or truncated):
            action = agent(observation, steps)
            seen = _own(observation)
            observation, reward, terminated, truncated, info = env.step(action)
            step = Step(
                t=len(steps),
                observation=seen,
                action=_own(action),
                reward=float(reward),
                terminated=bool(terminated),
                truncated=bool(truncated),
                info=dict(info),
            )
            steps.append(step)
            yield step
    except AigymError as problem:
        error = f"{type(problem).__name__}: {problem}"
    except Exception as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        error = f"{type(problem).__name__}: {problem} ({place})"
    env_id, env_kwargs = describe(env)
    observations = [s.observation for s in steps] + [_own(observation)]
    return Trajectory(
        env_id=env_id,
        env_kwargs=env_kwargs,
        agent=agent_name(agent),
        observations=_column(observations),
        actions=_column([s.action for s in steps]),
        rewards=np.array([s.reward for s in steps], dtype=np.float64),
        terminated=bool(terminated),
        truncated=bool(truncated),
        seed=seed,
        infos=[s.info for s in steps],
        final_info=dict(info),
        score=getattr(env.unwrapped, "score", None),
        error=error,
        messages=_messages(agent, env.unwrapped),
        group=group,
        run_id=run_id,
        started_at=started_at,
        wall_s=time.perf_counter() - started,
        id=trajectory_id or new_id(),
    )


def collect(player: Generator[Step, None, Trajectory]) -> Trajectory:
    """Run ``player`` to its end and return its Trajectory."""
    while True:
        try:
            next(player)
        except StopIteration as end:
            trajectory: Trajectory = end.value
            return trajectory


def _messages(*holders: object) -> tuple[Message, ...]:
    """The conversation of the first of these that has one."""
    for holder in holders:
        said = getattr(holder, "messages", None)
        if isinstance(said, list | tuple) and said and all(isinstance(m, Message) for m in said):
            return tuple(said)
    return ()


def _own(value: Any) -> Any:
    """A copy where the environment may reuse the same array for its next observation, also inside of dicts,
    tuples and lists."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) is dict:
        return {key: _own(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [_own(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _column(values: list[Any]) -> Any:
    """One array where every value is a number or an array of one shape and dtype, else a list."""
    if values and all(isinstance(v, (int, float, np.number, np.ndarray)) for v in values):
        arrays = [np.asarray(v) for v in values]
        if len({(a.shape, a.dtype) for a in arrays}) == 1:
            return np.stack(arrays)
    return values
