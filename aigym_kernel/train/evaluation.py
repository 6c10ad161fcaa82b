"""Play a trained policy on environments of its own, with fixed seeds.

    trajectories = evaluate(policy, "CartPole-v1", episodes=20, seed=0)
    mean = sum(t.total_reward for t in trajectories) / len(trajectories)

The policy does not learn from it and nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.episodes import batch, begin, failure, take
from aigym_kernel.envs.vector import AnyEnv, make_one
from aigym_kernel.errors import TrainingError, check_whole
from aigym_kernel.rollouts import describe
from aigym_kernel.train.networks import Policy, one_thread
from aigym_kernel.train.parts import check_policy
from aigym_kernel.trajectories import Trajectory

MAX_STEPS = 20_000
"""An episode that is longer is cut here, as truncated: an environment need not end by itself."""


def evaluate(
    policy: Policy,
    env: EnvSource,
    *,
    episodes: int = 20,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
) -> list[Trajectory]:
    """Play ``episodes`` episodes with the most likely action, side by side.

    Args:
        seed: episode i starts with ``reset(seed=seed + i)``.

    Returns:
        One trajectory per episode, in the order of their seeds, with agent ``policy``.

    Raises:
        UnknownName, AigymError: see `envs.vector.make_one`; ``episodes`` or ``seed`` cannot be.
        EnvError: what the environment raised while it was played.
        TrainingError: it is no policy, or was trained for other spaces.
    """
    check_policy(policy, "evaluate")
    check_whole("evaluate: episodes", episodes, 1, error=TrainingError)
    check_whole("evaluate: seed", seed, 0, error=TrainingError)
    envs: list[AnyEnv] = []
    try:
        for _ in range(episodes):
            envs.append(make_one(env, env_kwargs))
        env_id, kwargs = describe(envs[0])
        policy.check_env(envs[0], env_id)
        if isinstance(env, str):
            kwargs = dict(env_kwargs or {})
        with one_thread(policy):
            plays = _play(policy, envs, seed, env_id)
    finally:
        for one in envs:
            one.close()
    return [Trajectory(env_id=env_id, env_kwargs=kwargs, agent="policy", **play) for play in plays]


def _play(policy: Policy, envs: list[AnyEnv], seed: int, name: str) -> list[dict[str, Any]]:
    started_at, started = time.time(), time.perf_counter()
    observations: list[list[Any]] = [[] for _ in envs]
    for i, env in enumerate(envs):
        try:
            observations[i].append(_checked(begin(env, seed + i), policy, name, i))
        except Exception as problem:
            raise failure(name, problem, f"in reset(seed={seed + i})") from problem
    actions: list[list[Any]] = [[] for _ in envs]
    rewards: list[list[float]] = [[] for _ in envs]
    plays: list[dict[str, Any]] = [{} for _ in envs]
    playing = list(range(len(envs)))
    state = policy.initial_state(len(envs))
    while playing:
        remembered = state[playing]  # a copy
        chosen = policy.act_batch(np.stack([observations[i][-1] for i in playing]), state=remembered)
        state[playing] = remembered
        for i, action in zip(list(playing), chosen):
            try:
                observation, reward, terminated, truncated, info = take(envs[i], action)
            except Exception as problem:
                where = f"in step {len(actions[i]) + 1:,} of the episode with seed {seed + i}"
                raise failure(name, problem, where) from problem
            observations[i].append(_checked(observation, policy, name, i))
            actions[i].append(action)
            rewards[i].append(reward)
            truncated = truncated or (len(actions[i]) >= MAX_STEPS and not terminated)
            if terminated or truncated:
                playing.remove(i)
                plays[i] = {
                    "observations": np.stack(observations[i]),
                    "actions": np.stack(actions[i]),
                    "rewards": np.array(rewards[i], dtype=np.float64),
                    "terminated": terminated,
                    "truncated": truncated,
                    "seed": seed + i,
                    "final_info": dict(info),
                    "started_at": started_at,
                    "wall_s": time.perf_counter() - started,
                }
    return plays


def _checked(observation: Any, policy: Policy, name: str, index: int) -> Any:
    """A copy of an observation: an environment may write into it again. Raises what `batch` does."""
    space = policy.observation_space
    own = np.array(observation)
    return own if own.shape == (space.shape or ()) else batch(space, [observation], name, index)[0]
