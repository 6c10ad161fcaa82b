"""Many environments at once, with a seed of its own for every episode.

    envs = make_vec("aigym/Snake-v0", 64, seed=0, env_kwargs={"size": 10})
    observations, infos = envs.reset()                 # infos["episode_seed"]: (64,) int64
    observations, rewards, terminated, truncated, infos = envs.step(actions)
    envs.close()

| backend     | what steps them |
|---|---|
| `native`    | one that steps all of them in arrays, of those in `NATIVE` |
| `torch`     | the same on the device, of those in `TORCH` |
| `sync`      | one after another in this thread: best for cheap ones |
| `threads`   | side by side in threads: for those that wait, on a network or a sandbox |
| `processes` | in as many processes as there are cores: for those that compute for more than about 0.1 ms |
| `auto`      | `native` where it covers the environment with these arguments, else `sync` |

Whatever the backend, it is a `gymnasium.vector.VectorEnv` that resets in the same step, whose infos are

- ``episode_seed`` (N,) int64: the seed of the episode in which each environment stands now;
- ``final_obs``, in a step in which an episode ended: indexable by environment, its last observation;
- ``final_infos``, then too: by index of the environment, the info of its last step.

Other infos are not passed on. Episode i of environment k has the seed that `Seeds` draws, whatever the
backend: env id, keyword arguments, seed and actions play any of them again (`envs.replay`). That is why
gymnasium's own vectorised environments are not used: all of theirs draw from one random generator, so an
episode has no seed of its own.

What an environment raises, the end of its process, a call that lasts too long (``processes`` only) and an
observation that does not fit its space are an `EnvError` with the environment's index; all are closed then.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from aigym_kernel import settings
from aigym_kernel.envs import EnvSource, env_id, make
from aigym_kernel.envs.episodes import AnyEnv, Group, Heard, Seeds, Sort, batch
from aigym_kernel.envs.wrappers import wrap
from aigym_kernel.errors import AigymError, UnknownName, check_whole

__all__ = ["BACKENDS", "NATIVE", "TORCH", "AnyEnv", "NotNative", "Seeds", "Together", "make_one", "make_vec"]

BACKENDS = ("auto", "native", "processes", "sync", "threads", "torch")
NATIVE: dict[str, str] = {
    "CartPole-v1": "aigym_kernel.envs.cartpole:cartpole",
    "aigym/Snake-v0": "aigym_kernel.envs.snake_vector:native",
}
"""By environment id, "module:function" of what steps many at once: called with n, seed and the environment's
keyword arguments, it gives a VectorEnv as this module promises, with `restore_episodes`."""
TORCH: dict[str, str] = {"aigym/Snake-v0": "aigym_kernel.envs.snake_torch:on_device"}
"""The same for those that are stepped on the device."""
MOST_THREADS = 32


class NotNative(Exception):
    """What a function in `NATIVE` raises for arguments that it does not cover; the message says which."""


class Lane(Protocol):
    """Where a group of environments is stepped. After ``ask`` comes ``answer``."""

    def ask(self, what: str, *arguments: Any) -> None:
        """Begin a call of a method of `Group`."""

    def answer(self) -> Any:
        """Its result, or what it raised."""

    def close(self) -> None:
        """Close its environments, whatever state they are in."""


class Here:
    """A group that is stepped when it is asked for its answer."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def ask(self, what: str, *arguments: Any) -> None:
        """Remember the call."""
        self._call = what, arguments

    def answer(self) -> Any:
        """Make it."""
        what, arguments = self._call
        return getattr(self._group, what)(*arguments)

    def close(self) -> None:
        """Close its environments."""
        self._group.close()


class Thread:
    """A group that is stepped in a thread."""

    def __init__(self, group: Group, pool: ThreadPoolExecutor) -> None:
        self._group, self._pool = group, pool
        self._call: Future[Any] | None = None

    def ask(self, what: str, *arguments: Any) -> None:
        """Begin the call."""
        self._call = self._pool.submit(getattr(self._group, what), *arguments)

    def answer(self) -> Any:
        """Wait for it."""
        assert self._call is not None
        return self._call.result()

    def close(self) -> None:
        """Close its environments, once what is still under way has ended."""
        if self._call is not None:
            self._call.exception()
        self._group.close()


class Together(VectorEnv[Any, Any, Any]):
    """The environments of some lanes as one `VectorEnv`, as the module's docstring says.

    ``described``: what builds one of them, as `rollouts.describe` says it.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        indices: Sequence[range],
        first: Sort,
        name: str,
    ) -> None:
        self._lanes, self._indices, self._name = lanes, indices, name
        self.num_envs = indices[-1].stop
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.described = first.described
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode everywhere: with each environment's next seed, or with ``seed``, ``seed`` + 1,
        and so on, or with those given."""
        seeds: Sequence[int | None] = [None] * self.num_envs
        if seed is not None:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise AigymError(f"{self._name}: reset got {len(seeds)} seeds for {self.num_envs} environments")
        heard = self._call("reset", *[(seeds[own.start : own.stop], options) for own in self._indices])
        return self._observations(heard), self._infos(heard)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step in every environment; see the module's docstring."""
        taken = list(iterate(self.action_space, actions))
        if len(taken) != self.num_envs:
            raise AigymError(f"{self._name}: step got {len(taken)} actions for {self.num_envs} environments")
        heard = self._call("step", *[(taken[own.start : own.stop],) for own in self._indices])
        infos = self._infos(heard)
        final = {
            own.start + i: said for own, one in zip(self._indices, heard) for i, said in one.final.items()
        }
        if final:
            last = np.full(self.num_envs, None, dtype=object)
            for i, (observation, _) in final.items():
                batch(self.single_observation_space, [observation], self._name, i)  # whether it fits
                last[i] = observation
            infos["final_obs"] = last
            infos["final_infos"] = {i: info for i, (_, info) in final.items()}
        return (
            self._observations(heard),
            np.array([reward for one in heard for reward in one.rewards], dtype=np.float64),
            np.array([ended for one in heard for ended in one.terminated], dtype=np.bool_),
            np.array([ended for one in heard for ended in one.truncated], dtype=np.bool_),
            infos,
        )

    def restore_episodes(
        self, seeds: Sequence[int], actions: Sequence[Sequence[Any]]
    ) -> tuple[Any, dict[str, Any]]:
        """Bring every environment into the middle of an episode of this run.

        Args:
            seeds: of each environment's episode, as its infos told it.
            actions: those taken in each of these episodes, in order.

        Returns:
            The observations and infos in which they stand now. Where an environment ended on the way, since
            it does not go the same way again, it stands at the beginning of the episode.

        Raises:
            AigymError: an episode with that seed does not belong to this run.
        """
        arguments = [(seeds[own.start : own.stop], actions[own.start : own.stop]) for own in self._indices]
        heard = self._call("restore", *arguments)
        return self._observations(heard), self._infos(heard)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each environment, looked for through its wrappers."""
        return tuple(value for own in self._call("get", *[(name,)] * len(self._lanes)) for value in own)

    def close_extras(self) -> None:
        """Close the environments, their threads and processes."""
        for lane in self._lanes:
            lane.close()

    def _call(self, what: str, *arguments: tuple[Any, ...]) -> list[Any]:
        if self.closed:
            raise AigymError(f"{self._name}: its environments are closed; make_vec builds new ones")
        try:
            for lane, own in zip(self._lanes, arguments, strict=True):
                lane.ask(what, *own)
            return [lane.answer() for lane in self._lanes]
        except BaseException:
            self.close()  # the others may be in the middle of a step: nothing can go on from here
            raise

    def _observations(self, heard: list[Heard]) -> Any:
        return batch(
            self.single_observation_space, [o for one in heard for o in one.observations], self._name
        )

    def _infos(self, heard: list[Heard]) -> dict[str, Any]:
        seeds = [seed for one in heard for seed in one.episode_seeds]
        return {"episode_seed": np.array(seeds, dtype=np.int64)}

    def __del__(self) -> None:
        if hasattr(self, "_lanes"):
            self.close()


def make_one(env: EnvSource, env_kwargs: Mapping[str, Any] | None = None) -> AnyEnv:
    """One environment, from an id or from a function that builds it.

    Raises:
        UnknownName: no environment has this id.
        AigymError: the environment refuses ``env_kwargs``, or the function returns no environment.
    """
    if not isinstance(env_kwargs, Mapping | None):
        raise AigymError(f"env_kwargs={env_kwargs!r} must be a mapping, such as {{'size': 8}}")
    kwargs = dict(env_kwargs or {})
    if isinstance(env, str):
        return make(env, **kwargs)
    if not callable(env):
        raise AigymError(
            f"{env!r} is no environment's id and no function that builds one; several are needed: give its "
            "id, its class, or a function that makes a new one each time"
        )
    wrappers = kwargs.pop("wrappers", ())
    made = env(**kwargs)
    if not isinstance(made, gymnasium.Env):
        raise AigymError(f"{env!r} returned {type(made).__name__}, not a gymnasium.Env")
    return wrap(made, wrappers)


def make_vec(
    env: EnvSource,
    n: int,
    seed: int,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    backend: str = "auto",
) -> VectorEnv[Any, Any, Any]:
    """``n`` copies of an environment, stepped together.

    Args:
        env: a gymnasium id, a task's id, or a function that builds one environment.
        n: how many.
        seed: the run's seed: every episode's seed follows from it.
        env_kwargs: passed to each environment.
        backend: one of `BACKENDS`; see the module's docstring.

    Raises:
        UnknownName, AigymError: see `make_one`; also when ``n`` is not positive, or ``backend`` does not
            exist or does not cover this environment.
        EnvError: building one raised.
    """
    check_whole("make_vec: n", n, 1)
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, BACKENDS)
    if backend in ("auto", "native", "torch"):
        if (found := _native(env, n, seed, env_kwargs, backend)) is not None:
            return found
        backend = "sync"
    name = env_id(env) if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)
    if backend == "processes":
        return _in_processes(env, n, seed, env_kwargs, name)
    indices = _shares(n, min(n, MOST_THREADS) if backend == "threads" else 1)
    groups: list[Group] = []
    try:
        for own in indices:
            groups.append(Group(lambda: make_one(env, env_kwargs), own, seed=seed, name=name, doing=[-1, 0]))
    except BaseException:
        for group in groups:
            group.close()
        raise
    lanes: list[Lane] = [Here(group) for group in groups]
    if backend == "threads":
        pool = ThreadPoolExecutor(len(groups), thread_name_prefix="steps")
        lanes = [Thread(group, pool) for group in groups]
    return Together(lanes, indices, groups[0].sort(), name)


def _native(
    env: EnvSource, n: int, seed: int, env_kwargs: Mapping[str, Any] | None, backend: str
) -> VectorEnv[Any, Any, Any] | None:
    """The one in `NATIVE` or `TORCH`; None where ``auto`` has to take another."""
    table = TORCH if backend == "torch" else NATIVE
    if not isinstance(env, str) or env_id(env) not in table:
        if backend == "auto":
            return None
        raise AigymError(
            f"backend={backend!r}: there is none for {env!r}, only for {', '.join(table) or 'nothing'}; use "
            "backend='auto'"
        )
    if (env_kwargs or {}).get("wrappers"):
        if backend == "auto":
            return None
        raise AigymError(f"backend={backend!r} knows no wrappers; use backend='auto'")
    module, _, function = table[env_id(env)].partition(":")
    try:
        made: VectorEnv[Any, Any, Any] = getattr(import_module(module), function)(
            n, seed, **(env_kwargs or {})
        )
    except NotNative as reason:
        if backend == "auto":
            return None
        raise AigymError(f"backend={backend!r} cannot step {env}: {reason}; use backend='auto'") from None
    return made


def _in_processes(
    env: EnvSource, n: int, seed: int, env_kwargs: Mapping[str, Any] | None, name: str
) -> VectorEnv[Any, Any, Any]:
    from aigym_kernel.envs.processes import Process

    # What this process registered has to be known there.
    spec = gymnasium.registry[name] if isinstance(env, str) else None

    def build() -> AnyEnv:
        if spec is not None:
            gymnasium.registry.setdefault(spec.id, spec)
        return make_one(env, env_kwargs)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    indices = _shares(n, min(n, cores))
    lanes: list[Process] = []
    try:
        for own in indices:
            lanes.append(Process(build, own, seed=seed, name=name, limit_s=settings.step_limit_s()))
        sorts = [lane.answer() for lane in lanes]
    except BaseException:
        for lane in lanes:
            lane.close()
        raise
    return Together(lanes, indices, sorts[0], name)


def _shares(n: int, parts: int) -> list[range]:
    """0 to n in ``parts`` ranges of about the same size."""
    bounds = [n * i // parts for i in range(parts + 1)]
    return [range(a, b) for a, b in itertools.pairwise(bounds)]
