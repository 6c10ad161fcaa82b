"""Many environments at once, with a seed of its own for every episode.

    envs = make_vec("aigym/Snake-v0", 64, seed=0, env_kwargs={"size": 10})
    observations, infos = envs.reset()                 # infos["episode_seed"]: (64,) int64
    observations, rewards, terminated, truncated, infos = envs.step(actions)

A `gymnasium.vector.SyncVectorEnv` that resets in the same step. Its infos always hold ``episode_seed`` (N,),
and after a step in which episodes ended ``final_obs`` and ``final_infos``: by index of the environment, the
observation and the info of its last step. Each episode starts with ``reset(seed=s)``, s drawn from the run's
seed and the environment's index: env id, keyword arguments, seed and actions are enough to play any training
episode again (`envs.replay`). No worker processes: for cheap environments they cost more than they give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from aigym_kernel.envs import EnvSource, make
from aigym_kernel.errors import AigymError

AnyEnv = gymnasium.Env[Any, Any]


class Episodes(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Gives every episode its own seed, and keeps how the last one ended.

    ``episode_seed`` is the current episode's seed, ``final_info`` the info of the last finished
    episode as the environment gave it (the vector environment's own copy of it is cast to the type
    of the first environment's value).
    """

    def __init__(self, env: AnyEnv, seed: int, index: int) -> None:
        super().__init__(env)
        self._seeds = np.random.default_rng([seed, index])
        self.episode_seed = -1
        self.final_info: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with the next seed, or with the one given."""
        self.episode_seed = int(self._seeds.integers(2**31)) if seed is None else seed
        observation, info = self.env.reset(seed=self.episode_seed, options=options)
        return observation, {**info, "episode_seed": self.episode_seed}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step of the environment; the last info of an episode is kept."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            self.final_info = info
        return observation, reward, terminated, truncated, info


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
        raise AigymError(f"{env!r} is no environment's id and no function that builds one")
    made = env(**kwargs)
    if not isinstance(made, gymnasium.Env):
        raise AigymError(f"{env!r} returned {type(made).__name__}, not a gymnasium.Env")
    return made


def make_vec(
    env: EnvSource, n: int, seed: int, env_kwargs: Mapping[str, Any] | None = None
) -> SyncVectorEnv[Any, Any]:
    """``n`` copies of an environment, stepped together.

    Args:
        env: a gymnasium id, a task's id, or a function that builds one environment.
        n: how many.
        seed: the run's seed: every episode's seed follows from it.
        env_kwargs: passed to each environment.

    Raises:
        UnknownName, AigymError: see `make_one`; also when ``n`` is not positive.
    """
    if n < 1:
        raise AigymError(f"n={n!r} environments: at least 1 is needed")

    def builder(index: int) -> Callable[[], AnyEnv]:
        return lambda: Episodes(make_one(env, env_kwargs), seed, index)

    return _Together([builder(i) for i in range(n)], autoreset_mode=AutoresetMode.SAME_STEP)


class _Together(SyncVectorEnv[Any, Any]):
    """`SyncVectorEnv` with the infos that the module promises."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        observations, infos = super().reset(**arguments)
        return observations, infos | {"episode_seed": self._episode_seeds()}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        infos["episode_seed"] = self._episode_seeds()
        ended = np.flatnonzero(terminated | truncated).tolist()
        if ended:
            infos["final_infos"] = {i: episodes_of(self)[i].final_info for i in ended}
        return observations, rewards, terminated, truncated, infos

    def _episode_seeds(self) -> NDArray[np.int64]:
        return np.array([episode.episode_seed for episode in episodes_of(self)], np.int64)


def episodes_of(envs: SyncVectorEnv[Any, Any]) -> list[Episodes]:
    """The wrappers inside `make_vec`'s environment, in its order."""
    return cast("list[Episodes]", envs.envs)
