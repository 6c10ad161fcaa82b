"""Vectorised environments: a seed per episode, and trajectories that can be played again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.rollouts import collect, play
from aigym_kernel.trajectories import Trajectory


def seeds_of(n: int, seed: int, steps: int = 60) -> list[list[int]]:
    """The seeds of each environment's episodes, in order, as the infos tell them."""
    envs = make_vec("aigym/Snake-v0", n, seed, {"size": 4})
    _, infos = envs.reset()
    seeds = [[int(s)] for s in infos["episode_seed"]]
    for _ in range(steps):
        *_, infos = envs.step(np.zeros(n, dtype=np.int64))
        for i in infos.get("final_infos", ()):
            seeds[i].append(int(infos["episode_seed"][i]))
    envs.close()
    return seeds


def test_every_episode_has_a_seed_that_follows_from_the_runs_seed_and_the_index() -> None:
    seeds = seeds_of(4, seed=0)
    flat = [s for own in seeds for s in own]
    assert min(map(len, seeds)) > 10
    assert len(set(flat)) == len(flat)
    assert seeds == seeds_of(4, seed=0)
    assert seeds_of(2, seed=0) == seeds[:2]
    assert not set(flat) & {s for own in seeds_of(4, seed=1) for s in own}


def test_an_episode_can_be_played_again_from_its_seed() -> None:
    envs = make_vec("aigym/Snake-v0", 3, seed=5, env_kwargs={"size": 5})
    observations, infos = envs.reset()
    rng = np.random.default_rng(0)
    alone = [make("aigym/Snake-v0", size=5) for _ in range(3)]
    for i, env in enumerate(alone):
        assert np.array_equal(env.reset(seed=int(infos["episode_seed"][i]))[0], observations[i])
    ended = 0
    for _ in range(200):
        actions = rng.integers(0, 3, 3)
        observations, rewards, terminated, _, infos = envs.step(actions)
        for i, env in enumerate(alone):
            observation, reward, over, _, info = env.step(actions[i])
            assert (reward, over) == (rewards[i], terminated[i])
            if over:
                ended += 1
                assert np.array_equal(observation, infos["final_obs"][i])
                assert infos["final_infos"][i] == info
                observation, _ = env.reset(seed=int(infos["episode_seed"][i]))
            assert np.array_equal(observation, observations[i])
    assert ended > 10
    envs.close()


def test_a_function_builds_environments_too() -> None:
    def build(length: float = 0.5) -> gymnasium.Env[Any, Any]:
        env = gymnasium.make("CartPole-v1")
        env.unwrapped.length = length  # type: ignore[attr-defined]
        return env

    envs = make_vec(build, 2, seed=0, env_kwargs={"length": 0.7})
    assert envs.num_envs == 2
    assert envs.get_attr("length") == (0.7, 0.7)
    envs.close()


@pytest.mark.parametrize(
    ("env", "n", "kwargs", "error", "says"),
    [
        ("CartPol-v1", 1, {}, UnknownName, "Did you mean 'CartPole-v1'"),
        ("aigym/Snak-v0", 1, {}, UnknownName, "Did you mean 'aigym/Snake-v0'"),
        ("aigym/Snake-v0", 1, {"sise": 5}, AigymError, "sise"),
        ("aigym/Snake-v0", 1, {"size": 1}, AigymError, "size=1"),
        ("aigym/Snake-v0", 0, {}, AigymError, "from 1 on"),
        (lambda: 3, 1, {}, AigymError, "int, not a gymnasium.Env"),
        (7, 1, {}, AigymError, "7 is no environment's id"),
    ],
)
def test_what_cannot_be_built_says_why(
    env: str | Callable[..., Any], n: int, kwargs: dict[str, Any], error: type[AigymError], says: str
) -> None:
    with pytest.raises(error, match=says):
        make_vec(env, n, 0, kwargs)


def recorded(env_id: str = "aigym/Snake-v0", **kwargs: Any) -> Trajectory:
    env = make(env_id, **kwargs)
    trajectory = collect(play(random_agent(env.action_space, seed=1), env, seed=9))
    env.close()
    return replace(trajectory, env_kwargs=kwargs)


def test_resimulation_gives_a_board_per_observation() -> None:
    trajectory = recorded(size=6)
    again = resimulate(trajectory)
    assert again.diverged_at is None
    assert len(again.frames) == len(trajectory) + 1
    assert all(frame.shape == (6, 6) for frame in again.frames)
    lengths = [int(np.isin(frame, (1, 2)).sum()) for frame in again.frames]
    assert lengths[0] == 3
    assert lengths[-1] == trajectory.final_info["length"]
    assert np.array_equal(again.frames[-1], again.frames[-2])  # the fatal step moves nothing


def test_resimulation_without_a_board_still_compares() -> None:
    again = resimulate(recorded("CartPole-v1"))
    assert again.frames == ()
    assert again.diverged_at is None


def test_resimulation_reports_the_first_divergence() -> None:
    trajectory = recorded(size=8)
    assert len(trajectory) > 4
    rewards = trajectory.rewards.copy()
    rewards[3] += 0.5
    again = resimulate(replace(trajectory, rewards=rewards))
    assert again.diverged_at == 3
    assert len(again.frames) == 4
    observations = np.array(trajectory.observations)
    observations[2, 0] += 1
    assert resimulate(replace(trajectory, observations=observations)).diverged_at == 1
    assert resimulate(replace(trajectory, seed=10)).diverged_at == 0
    assert resimulate(replace(trajectory, terminated=False)).diverged_at == len(trajectory) - 1


def test_a_play_that_was_stopped_early_agrees_with_its_record() -> None:
    whole = recorded(size=8)
    cut = replace(
        whole,
        observations=whole.observations[:4],
        actions=whole.actions[:3],
        rewards=whole.rewards[:3],
        infos=(),
        terminated=False,
    )
    assert resimulate(replace(cut, truncated=True)).diverged_at is None
    assert resimulate(cut).diverged_at is None


def test_resimulation_needs_a_seed_and_a_known_environment() -> None:
    trajectory = recorded(size=6)
    with pytest.raises(AigymError, match="without a seed"):
        resimulate(replace(trajectory, seed=None))
    with pytest.raises(UnknownName, match="aigym/Snake-v0"):
        resimulate(replace(trajectory, env_id="aigym/Snak-v0"))
