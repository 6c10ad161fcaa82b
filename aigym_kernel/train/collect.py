"""Collect roll-outs for an on-policy trainer, and cut the finished trajectories out of them.

    collector = Collector(envs, "CartPole-v1", None, agent="ppo")
    rollout = collector.collect(policy, n_steps, generator)
    rollout.observations, rollout.actions, rollout.rewards, rollout.dones, rollout.trajectories

Trajectories are cut out of the roll-outs' arrays, all that finished in one at once: nothing is done per step
of an environment. Not a place to learn from the data: that is the algorithm's file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from aigym_kernel.batches import Batch, empty
from aigym_kernel.envs import EnvSource, env_id
from aigym_kernel.envs.snake_torch import SnakeTorchEnv
from aigym_kernel.envs.vector import Together, make_one
from aigym_kernel.errors import AigymError, EnvError, TrainingError
from aigym_kernel.train import fast
from aigym_kernel.train.collect_torch import take_steps
from aigym_kernel.train.finished import carry
from aigym_kernel.train.networks import Policy
from aigym_kernel.train.outlines import outline
from aigym_kernel.train.spaces import check_spaces

_DEEPEST = 12  # infos are kept down to here: one may hold itself, and more than once
Part = tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]
"""Observations, actions and rewards of one stretch of an episode."""


def check_trainable(
    env: EnvSource,
    env_kwargs: Mapping[str, Any] | None = None,
    network: object = None,
    *,
    continuous: bool = True,
) -> tuple[Any, Any]:
    """The spaces of an environment, which is built, looked at as `check_spaces` does, and closed. Raises what
    building and `check_spaces` raise, and what `outline` does where layers of ``network`` do not fit."""
    try:
        one = make_one(env, env_kwargs)
    except AigymError:
        raise
    except Exception as problem:
        raise EnvError(f"{env!r} raised {type(problem).__name__} while it was built: {problem}") from problem
    try:
        name = env if isinstance(env, str) else one.spec.id if one.spec else type(one.unwrapped).__name__
        seen: Any = getattr(one, "observation_space", None)
        act: Any = getattr(one, "action_space", None)
        check_spaces(seen, act, name, continuous=continuous)
        if network is not None:
            algo = "ppo" if continuous else "dqn"
            outline(network, one.observation_space, one.action_space, name=name, algo=algo)
        return seen, act
    finally:
        one.close()


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """``n_steps`` steps (T) of each of ``n_envs`` environments (N).

    ``observations`` (T + 1, N, *shape) as the environments gave them, a tensor where these are
    on a device; ``actions`` (T, N, ...) as the policy sampled them, on its device; ``rewards`` (T, N)
    float32; ``dones`` (T, N). ``truncated``: step, environment and final observation of each episode that was
    cut off, not ended. ``trajectories``:
    those that finished in it, in the order in which they did. Of a recurrent policy ``policy_state`` (N, S)
    is what it remembered at the beginning, and ``starts`` (T, N) says which observations begin an episode.
    """

    observations: NDArray[Any]
    actions: torch.Tensor
    rewards: NDArray[np.float32]
    dones: NDArray[np.bool_]
    truncated: tuple[tuple[int, int, NDArray[Any]], ...]
    trajectories: Batch
    policy_state: torch.Tensor | None = None
    starts: NDArray[np.bool_] | None = None


class _Ends:
    """How the episodes of one roll-out ended: one value each, in order of step and environment."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.indices: list[int] = []
        self.observations: list[NDArray[Any]] = []
        self.terminated: list[bool] = []
        self.truncated: list[bool] = []
        self.infos: list[dict[str, Any]] = []
        self.seeds: list[int] = []
        self.started_at: list[float] = []
        self.ended_at: list[float] = []

    def add(self, *end: Any) -> None:
        """One more, its values in the order of the columns."""
        for column, value in zip(vars(self).values(), end, strict=True):
            column.append(value)


class Collector:
    """Steps vectorised environments with a policy. Its state is where each environment stands.

    ``not_restored``: the environments whose episodes began anew in the last `restore`, because they went
    another way when the same actions were taken again.
    """

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        env: EnvSource,
        env_kwargs: Mapping[str, Any] | None,
        agent: str,
    ) -> None:
        self._envs = envs
        if isinstance(env, str):
            self.env_id, self._env_kwargs = env_id(env), dict(env_kwargs or {})
        else:
            assert isinstance(envs, Together)
            self.env_id, self._env_kwargs = envs.described
        self._agent = agent
        self._steps = 0
        now, infos = envs.reset()
        self._observations = np.asarray(now)
        self._check(self._observations, "observation")
        self._started = [time.time()] * envs.num_envs
        self._seeds: list[int] = infos["episode_seed"].tolist()
        self.not_restored: list[int] = []
        self._begun = np.ones(envs.num_envs, np.bool_)  # which environments stand at an episode's start
        self._memory: torch.Tensor | None = None  # what a recurrent policy remembers, (N, S)
        # Per environment: the parts of its unfinished episode that lie in earlier roll-outs.
        self._open: list[list[Part]] = [[] for _ in range(envs.num_envs)]

    def collect(self, policy: Policy, n_steps: int, generator: torch.Generator) -> Rollout:
        """Take ``n_steps`` steps in every environment. What is raised carries the trajectories that had
        finished by then (`finished.finished_before`).

        Raises:
            TrainingError: an observation or reward is NaN or infinite.
            EnvError: see `envs.vector`.
        """
        if isinstance(self._envs, SnakeTorchEnv):
            return self._collect_there(self._envs, policy, n_steps, generator)
        shape = (n_steps, self._envs.num_envs)
        observations = np.empty(
            (n_steps + 1, shape[1], *self._observations.shape[1:]), dtype=self._observations.dtype
        )
        rewards, dones = np.empty(shape, dtype=np.float64), np.empty(shape, dtype=np.bool_)
        observations[0] = self._observations
        sampled: list[torch.Tensor] = []
        taken: list[NDArray[Any]] = []
        ends = _Ends()
        starts = np.empty(shape, np.bool_)
        if policy.recurrent:
            before = policy.initial_state(shape[1]) if self._memory is None else self._memory
            self._memory = before.to(policy.device)
        remembered = self._memory
        act = fast.actor(policy, shape[1]) or partial(self._act, policy)
        try:
            for t in range(n_steps):
                starts[t] = self._begun
                sampled.append(act(observations[t], generator))
                taken.append(policy.to_env(sampled[-1]))
                after, rewards[t], terminated, truncated, infos = self._envs.step(taken[-1])
                self._steps += shape[1]
                self._check(after, "observation")
                self._check(rewards[t], "reward")
                dones[t] = self._begun = terminated | truncated
                observations[t + 1] = after
                if dones[t].any():
                    self._note(ends, t, terminated, truncated, infos)
        except Exception as problem:
            if ends.steps:
                begin = np.zeros(shape[1], np.int64)
                carry(problem, [self._joined(observations, np.stack(taken), rewards, ends, begin)])
            raise
        self._observations = observations[-1]
        truncations = zip(ends.steps, ends.indices, ends.observations, ends.terminated)
        return Rollout(
            observations=observations,
            actions=torch.stack(sampled),
            rewards=rewards.astype(np.float32),
            dones=dones,
            truncated=tuple((t, index, last) for t, index, last, terminated in truncations if not terminated),
            trajectories=self._cut(observations, np.stack(taken), rewards, ends),
            policy_state=remembered,
            starts=starts if policy.recurrent else None,
        )

    def _collect_there(
        self, envs: SnakeTorchEnv, policy: Policy, n_steps: int, generator: torch.Generator
    ) -> Rollout:
        """The same where the environments are on a device. What learns there finds the observations there."""
        stretch = take_steps(envs, policy, n_steps, generator)
        self._steps += n_steps * envs.num_envs
        self._check(stretch.rewards, "reward")
        ends, now = _Ends(), time.time()
        for (t, index, seed), info, last in zip(stretch.ends, stretch.infos, stretch.last):
            ends.add(t, index, last, True, False, info, seed, self._started[index], now)
            self._started[index] = now
        self._seeds = envs.seeds()
        there: Any = stretch.observations
        observations = there.cpu().numpy()
        self._observations = observations[-1]
        trajectories = self._cut(observations, policy.to_env(stretch.actions), stretch.rewards, ends)
        return Rollout(
            observations=there if policy.head == "actor-critic" else observations,
            actions=stretch.actions,
            rewards=stretch.rewards.astype(np.float32),
            dones=stretch.dones,
            truncated=(),
            trajectories=trajectories,
            policy_state=None,
            starts=None,
        )

    @torch.no_grad()
    def _act(self, policy: Policy, observations: NDArray[Any], generator: torch.Generator) -> torch.Tensor:
        """One action per environment."""
        inputs = policy.encode(observations)
        if self._memory is None:
            return policy.sample(inputs, generator)
        begun = torch.from_numpy(self._begun).to(inputs.device)[:, None]
        actions, self._memory = policy.sample_recurrent(
            inputs, self._memory.masked_fill(begun, 0.0), generator
        )
        return actions

    def state(self) -> dict[str, Any]:
        """What `restore` needs: per environment the seed of its episode, and what happened in it so far."""
        parts = [part for own in self._open for part in own]
        seen, did, got = (np.concatenate(p) for p in zip(*parts)) if parts else (np.zeros(0),) * 3
        return {
            "seeds": list(self._seeds),
            "lengths": np.array([sum(len(part[2]) for part in own) for own in self._open], np.int64),
            "observations": seen,
            "actions": did,
            "rewards": got,
            "now": self._observations.copy(),
            "steps": self._steps,
            "memory": self._memory,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`: every environment begins its episode with the same seed and takes the same
        actions again. Where that leads elsewhere, the episode starts anew and `not_restored` names it."""
        lengths = state["lengths"].tolist()
        ends = np.cumsum(lengths).tolist()
        own = [slice(end - length, end) for end, length in zip(ends, lengths)]
        actions = [state["actions"][part] for part in own]
        envs: Any = self._envs
        observations, infos = envs.restore_episodes(state["seeds"], actions)
        lost = [i for i, now in enumerate(state["now"]) if not np.array_equal(observations[i], now)]
        lost = [i for i in lost if lengths[i]]
        if lost:
            actions = [[] if i in lost else taken for i, taken in enumerate(actions)]
            observations, infos = envs.restore_episodes(state["seeds"], actions)
        self.not_restored = lost
        self._observations, self._seeds = observations, infos["episode_seed"].tolist()
        self._steps, self._started = int(state["steps"]), [time.time()] * len(lengths)
        self._begun = np.array([not length or i in lost for i, length in enumerate(lengths)])
        self._memory = state["memory"]
        columns = [state[name] for name in ("observations", "actions", "rewards")]
        self._open = [
            [(columns[0][part], columns[1][part], columns[2][part])] if lengths[i] and i not in lost else []
            for i, part in enumerate(own)
        ]

    def _note(
        self,
        ends: _Ends,
        t: int,
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: Mapping[str, Any],
    ) -> None:
        """Note the ends of episodes in step ``t``; their environments stand in the next one already."""
        now = time.time()
        for index in np.flatnonzero(terminated | truncated).tolist():
            last = np.asarray(infos["final_obs"][index])
            self._check(last, "observation")
            info = {key: _plain(value) for key, value in infos["final_infos"][index].items()}
            ways = bool(terminated[index]), bool(truncated[index])
            ends.add(t, index, last, *ways, info, self._seeds[index], self._started[index], now)
            self._seeds[index], self._started[index] = int(infos["episode_seed"][index]), now

    def _cut(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        ends: _Ends,
    ) -> Batch:
        """Cut the roll-out at the ends; what is left of each environment stays open."""
        begin = np.zeros(len(self._open), np.int64)
        batch = self._joined(observations, actions, rewards, ends, begin) if ends.steps else None
        for index, start in enumerate(begin.tolist()):
            if start < len(rewards):
                part = np.s_[start : len(rewards), index]
                # Copies: a view would keep the whole roll-out for as long as one episode lasts.
                self._open[index].append(
                    (observations[part].copy(), actions[part].copy(), rewards[part].copy())
                )
        return batch or empty(self.env_id, self._agent)

    def _joined(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        ends: _Ends,
        begin: NDArray[np.int64],
    ) -> Batch:
        """The finished trajectories, end to end: what lies in this roll-out is copied for all of them at
        once, what lies in earlier ones by environment. ``begin`` becomes where each one's next starts."""
        count, last_step, whose = len(ends.steps), np.array(ends.steps), np.array(ends.indices)
        first, before = np.zeros(count, np.int64), np.zeros(count, np.int64)
        order = np.lexsort((last_step, whose))
        again = whose[order][1:] == whose[order][:-1]  # not the first end of its environment here
        first[order[1:][again]] = last_step[order[:-1][again]] + 1
        started_earlier = [i for i, start in enumerate(first.tolist()) if not start and self._open[whose[i]]]
        for i in started_earlier:
            before[i] = sum(len(part[2]) for part in self._open[whose[i]])
        here = last_step + 1 - first
        lengths = before + here
        begin[whose[order]] = last_step[order] + 1  # of several ends the last one counts
        starts = np.cumsum(lengths) - lengths
        within = np.arange(here.sum()) - np.repeat(np.cumsum(here) - here, here)
        source = within + np.repeat(first, here), np.repeat(whose, here)
        target = within + np.repeat(starts + before, here)
        number = np.arange(count)
        total = int(lengths.sum())
        all_seen = np.empty((total + count, *observations.shape[2:]), observations.dtype)
        all_done = np.empty((total, *actions.shape[2:]), actions.dtype)
        all_got = np.empty(total, np.float64)
        all_seen[target + np.repeat(number, here)] = observations[source]
        all_done[target], all_got[target] = actions[source], rewards[source]
        all_seen[starts + lengths + number] = np.stack(ends.observations)
        for i in started_earlier:
            seen, did, got = (np.concatenate(parts) for parts in zip(*self._open[whose[i]]))
            at = int(starts[i])
            all_seen[at + i : at + i + len(seen)] = seen
            all_done[at : at + len(did)], all_got[at : at + len(got)] = did, got
        for index in set(ends.indices):
            self._open[index] = []
        return Batch(
            env_id=self.env_id,
            agent=self._agent,
            env_kwargs=self._env_kwargs,
            observations=all_seen,
            actions=all_done,
            rewards=all_got,
            lengths=lengths,
            terminated=np.array(ends.terminated),
            truncated=np.array(ends.truncated),
            seeds=ends.seeds,
            final_infos=ends.infos,
            started_at=ends.started_at,
            wall_s=np.subtract(ends.ended_at, ends.started_at),
        )

    def _check(self, values: NDArray[Any], kind: str) -> None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise TrainingError(
                f"{self.env_id} gave a NaN or infinite {kind} at environment step {self._steps:,}; mend the "
                "environment (a division by zero, an overflow?), training on it would only spoil the "
                "network; aigym.check_env looks for more of the kind"
            )


def _plain(value: Any, depth: int = 0) -> Any:
    """An info's value without NumPy's types; what is not plain data, or nested too deeply, as its repr."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and depth < _DEEPEST:
        return [_plain(item, depth + 1) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
