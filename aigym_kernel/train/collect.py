"""Collect roll-outs for an on-policy trainer, and cut the finished trajectories out of them.

    collector = Collector(envs, "CartPole-v1", None, agent="ppo")
    rollout = collector.collect(policy, n_steps, generator)
    rollout.observations, rollout.actions, rollout.rewards, rollout.dones, rollout.trajectories

A trajectory is joined from slices of the roll-outs' arrays: nothing is done per step and episode. Not a
place to learn from the data: that is the algorithm's file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray

from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import episodes_of, make_one
from aigym_kernel.errors import TrainingError
from aigym_kernel.rollouts import describe
from aigym_kernel.train.networks import Policy, check_spaces
from aigym_kernel.trajectories import Trajectory

Columns = tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]
"""Observations, actions and rewards of one stretch of an episode."""


def check_trainable(
    env: EnvSource, env_kwargs: Mapping[str, Any] | None = None, *, continuous: bool = True
) -> None:
    """Builds one environment, looks at its spaces as `check_spaces` does, closes it. Raises what building
    and `check_spaces` raise."""
    one = make_one(env, env_kwargs)
    try:
        name = env if isinstance(env, str) else one.spec.id if one.spec else type(one.unwrapped).__name__
        check_spaces(one.observation_space, one.action_space, name, continuous=continuous)
    finally:
        one.close()


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """``n_steps`` steps (T) of each of ``n_envs`` environments (N).

    ``observations`` (T + 1, N, *shape) as the environments gave them; ``actions`` (T, N, ...) as the
    policy sampled them, on its device; ``rewards`` (T, N) float32; ``dones`` (T, N). ``truncated``: step,
    environment and final observation of each episode that was cut off, not ended. ``trajectories``:
    those that finished in it.
    """

    observations: NDArray[Any]
    actions: torch.Tensor
    rewards: NDArray[np.float32]
    dones: NDArray[np.bool_]
    truncated: tuple[tuple[int, int, NDArray[Any]], ...]
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _End:
    """How one episode ended: at step ``t`` of the roll-out, in environment ``index``."""

    t: int
    index: int
    observation: NDArray[Any]
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    seed: int
    started_at: float
    ended_at: float


class Collector:
    """Steps vectorised environments with a policy. Its state is where each environment stands."""

    def __init__(
        self,
        envs: SyncVectorEnv[Any, Any],
        env: EnvSource,
        env_kwargs: Mapping[str, Any] | None,
        agent: str,
    ) -> None:
        self._envs = envs
        self._episodes = episodes_of(envs)
        self.env_id, self._env_kwargs = describe(self._episodes[0].env)
        if isinstance(env, str):
            self._env_kwargs = dict(env_kwargs or {})
        self._agent = agent
        self._steps = 0
        self._observations, _ = envs.reset()
        self._check(self._observations, "observation")
        self._started = [time.time()] * envs.num_envs
        self._seeds = [episode.episode_seed for episode in self._episodes]
        # Per environment: the parts of its unfinished episode that lie in earlier roll-outs.
        self._open: list[list[Columns]] = [[] for _ in range(envs.num_envs)]

    def collect(self, policy: Policy, n_steps: int, generator: torch.Generator) -> Rollout:
        """Take ``n_steps`` steps in every environment.

        Raises:
            TrainingError: an observation or reward is NaN or infinite.
        """
        shape = (n_steps, self._envs.num_envs)
        observations = np.empty(
            (n_steps + 1, shape[1], *self._observations.shape[1:]), dtype=self._observations.dtype
        )
        rewards, dones = np.empty(shape, dtype=np.float64), np.empty(shape, dtype=np.bool_)
        observations[0] = self._observations
        sampled: list[torch.Tensor] = []
        taken: list[NDArray[Any]] = []
        ends: list[_End] = []
        for t in range(n_steps):
            with torch.no_grad():
                sampled.append(policy.sample(policy.encode(observations[t]), generator))
            taken.append(policy.to_env(sampled[-1]))
            after, rewards[t], terminated, truncated, infos = self._envs.step(taken[-1])
            self._steps += shape[1]
            self._check(after, "observation")
            self._check(rewards[t], "reward")
            dones[t] = terminated | truncated
            observations[t + 1] = after
            for index in np.flatnonzero(dones[t]).tolist():
                ends.append(self._end(t, index, terminated, truncated, infos))
        self._observations = observations[-1]
        trajectories = self._cut(observations, np.stack(taken), rewards, ends)
        return Rollout(
            observations=observations,
            actions=torch.stack(sampled),
            rewards=rewards.astype(np.float32),
            dones=dones,
            truncated=tuple((e.t, e.index, e.observation) for e in ends if not e.terminated),
            trajectories=trajectories,
        )

    def _end(
        self,
        t: int,
        index: int,
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: Mapping[str, Any],
    ) -> _End:
        """Note the end of an episode; its environment stands at the start of the next one already."""
        episode, now = self._episodes[index], time.time()
        observation = np.asarray(infos["final_obs"][index])
        self._check(observation, "observation")
        end = _End(
            t=t,
            index=index,
            observation=observation,
            terminated=bool(terminated[index]),
            truncated=bool(truncated[index]),
            info={key: _plain(value) for key, value in episode.final_info.items()},
            seed=self._seeds[index],
            started_at=self._started[index],
            ended_at=now,
        )
        self._seeds[index], self._started[index] = episode.episode_seed, now
        return end

    def _cut(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        ends: list[_End],
    ) -> tuple[Trajectory, ...]:
        """Cut the roll-out at the ends; what is left of each environment stays open."""
        trajectories = []
        begin = [0] * self._envs.num_envs
        for end in ends:
            part = np.s_[begin[end.index] : end.t + 1, end.index]
            begin[end.index] = end.t + 1
            columns = [*self._open[end.index], (observations[part], actions[part], rewards[part])]
            self._open[end.index] = []
            seen, did, got = zip(*columns)
            trajectories.append(
                Trajectory(
                    env_id=self.env_id,
                    env_kwargs=self._env_kwargs,
                    agent=self._agent,
                    observations=np.concatenate([*seen, end.observation[None].astype(observations.dtype)]),
                    actions=np.concatenate(did),
                    rewards=np.concatenate(got),
                    terminated=end.terminated,
                    truncated=end.truncated,
                    seed=end.seed,
                    final_info=end.info,
                    started_at=end.started_at,
                    wall_s=end.ended_at - end.started_at,
                )
            )
        for index, start in enumerate(begin):
            if start < len(rewards):
                part = np.s_[start : len(rewards), index]
                # Copies: a view would keep the whole roll-out for as long as one episode lasts.
                self._open[index].append(
                    (observations[part].copy(), actions[part].copy(), rewards[part].copy())
                )
        return tuple(trajectories)

    def _check(self, values: NDArray[Any], kind: str) -> None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise TrainingError(
                f"{self.env_id} gave a NaN or infinite {kind} at environment step {self._steps:,}; mend the "
                "environment (a division by zero, an overflow?), training on it would only spoil the network"
            )


def _plain(value: Any) -> Any:
    """An info's value without NumPy's types; what is not plain data as its repr."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
