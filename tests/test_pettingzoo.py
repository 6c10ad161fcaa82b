"""PettingZoo's environments as one, with an environment of its API."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import env_id, make
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.errors import AigymError
from aigym_kernel.rollouts import collect, describe, play
from aigym_kernel.train import PPOConfig, ppo

parallel = pytest.importorskip("pettingzoo").ParallelEnv


class Meeting(parallel):  # type: ignore[misc,valid-type]
    """Two agents on a line are rewarded for being near each other; ``left`` may leave early."""

    metadata = {"name": "meeting"}  # noqa: RUF012

    def __init__(
        self, render_mode: str | None = None, steps: int = 8, leaves: int = 99, wide: bool = False
    ) -> None:
        self.possible_agents = ["left", "right"]
        self.steps, self.leaves, self.wide = steps, leaves, wide

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(-9, 9, (2 + (self.wide and agent == "left"),), np.float32)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(3)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.t = list(self.possible_agents), 0
        self.at = np.random.default_rng(seed).uniform(-1, 1, 2).astype(np.float32)
        return dict.fromkeys(self.agents, self.at), {a: {} for a in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        self.t += 1
        for i, agent in enumerate(self.possible_agents):
            self.at[i] += 0.1 * (int(actions.get(agent, 1)) - 1)
        there = self.agents
        reward = {a: -float(abs(self.at[0] - self.at[1])) for a in there}
        gone = {a: a == "left" and self.t >= self.leaves for a in there}
        late = dict.fromkeys(there, self.t >= self.steps)
        self.agents = [a for a in there if not gone[a] and not late[a]]
        return {a: self.at.copy() for a in there}, reward, gone, late, {a: {} for a in there}


parallel_env = Meeting
NAME = f"pettingzoo:{__name__}"


def test_all_agents_are_one() -> None:
    env = make(NAME)
    assert env.observation_space.shape == (2, 2)
    assert env.action_space == spaces.MultiDiscrete([3, 3])
    observation, _ = env.reset(seed=1)
    observation, reward, terminated, truncated, info = env.step(np.array([2, 0]))
    assert np.array_equal(observation[0], observation[1])
    assert reward == sum(info["rewards"].values())
    assert (terminated, truncated) == (False, False)
    for _ in range(7):
        *_, terminated, truncated, _ = env.step(np.array([1, 1]))
    assert (terminated, truncated) == (False, True)


def test_one_that_is_gone_is_a_row_of_zeros() -> None:
    env = make(NAME, leaves=2)
    env.reset(seed=1)
    for _ in range(3):
        observation, *_, info = env.step(np.array([2, 0]))
    assert observation[0].tolist() == [0, 0]
    assert observation[1].any()
    assert list(info["rewards"]) == ["right"]


def test_plays_are_played_again_and_learnt_from() -> None:
    env = make(NAME, steps=5)
    trajectory = collect(play(random_agent(env.action_space, seed=0), env, seed=3))
    assert describe(env)[0] == trajectory.env_id == env_id(NAME)
    assert len(trajectory) == 5
    assert resimulate(trajectory).diverged_at is None
    config = PPOConfig(n_envs=2, n_steps=16, network=(8,), n_minibatches=2, total_timesteps=32)
    *_, update = ppo(NAME, config, env_kwargs={"steps": 5})
    assert all(resimulate(t).diverged_at is None for t in update.trajectories)
    assert len(update.trajectories) == 6


def test_one_of_pettingzoos_own() -> None:
    pytest.importorskip("pygame")
    env = make("pettingzoo:pettingzoo.butterfly.cooperative_pong_v6", max_cycles=3)
    trajectory = collect(play(random_agent(env.action_space, seed=0), env, seed=3))
    assert resimulate(trajectory).diverged_at is None


@pytest.mark.parametrize(
    ("name", "kwargs", "says"),
    [
        ("pettingzoo:no_such_module", {}, "pip install pettingzoo"),
        ("pettingzoo:json", {}, r"no parallel_env\(\)"),
        (NAME, {"wide": True}, "left and right differ in observation_space"),
        (NAME, {"stepz": 1}, "stepz"),
    ],
)
def test_bad_input(name: str, kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(AigymError, match=says):
        make(name, **kwargs)
