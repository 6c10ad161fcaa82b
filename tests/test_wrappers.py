"""Wrappers by name: what they build, that they are recorded, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.rollouts import collect, describe, play
from aigym_kernel.train import PPOConfig, ppo

STACKED = ["TimeAwareObservation", ["FrameStackObservation", {"stack_size": 3}]]


class Louder(gymnasium.RewardWrapper[Any, Any]):
    """A wrapper of a user's."""

    def __init__(self, env: gymnasium.Env[Any, Any], times: float = 2.0) -> None:
        super().__init__(env)
        self.times = times

    def reward(self, reward: Any) -> float:
        return float(reward) * self.times


OWN = f"{__name__}:Louder"


def test_the_first_is_the_innermost() -> None:
    env = make("CartPole-v1", wrappers=STACKED)
    assert env.observation_space.shape == (3, 5)
    assert describe(env) == ("CartPole-v1", {"wrappers": [["TimeAwareObservation", {}], STACKED[1]]})


@pytest.mark.parametrize(
    "wrappers", [STACKED, [[OWN, {"times": 3}]], [["TimeLimit", {"max_episode_steps": 7}]]]
)
def test_what_was_played_in_wrappers_is_played_again_in_them(wrappers: Any) -> None:
    env = make("CartPole-v1", wrappers=wrappers)
    trajectory = collect(play(random_agent(env.action_space, seed=1), env, seed=9))
    assert trajectory.env_kwargs["wrappers"]
    assert resimulate(trajectory).diverged_at is None
    assert len(trajectory) == 7 or "TimeLimit" not in str(wrappers)


def test_what_was_wrapped_by_hand_is_recorded_too() -> None:
    env = gymnasium.wrappers.ClipReward(
        gymnasium.make("CartPole-v1", max_episode_steps=9, render_mode="rgb_array"), 0.0, 0.5
    )
    assert describe(gymnasium.wrappers.RenderCollection(env))[1] == {
        "max_episode_steps": 9,
        "wrappers": [["ClipReward", {"min_reward": 0.0, "max_reward": 0.5}]],
    }
    trajectory = collect(play(random_agent(env.action_space, seed=1), env, seed=9))
    assert resimulate(trajectory).diverged_at is None


def test_training_records_and_repeats_them() -> None:
    config = PPOConfig(n_envs=2, n_steps=64, n_minibatches=2, total_timesteps=128)
    *_, update = ppo("CartPole-v1", config, env_kwargs={"wrappers": [[OWN, {"times": 3}]]})
    trajectory = next(iter(update.trajectories))
    assert trajectory.total_reward == 3 * len(trajectory)
    assert resimulate(trajectory).diverged_at is None


def test_a_function_that_builds_environments_is_wrapped_too() -> None:
    envs = make_vec(lambda: gymnasium.make("CartPole-v1"), 2, 0, {"wrappers": STACKED})
    assert envs.reset()[0].shape == (2, 3, 5)
    envs.close()


@pytest.mark.parametrize(
    ("wrappers", "error", "says"),
    [
        (["FlatenObservation"], UnknownName, "Did you mean 'FlattenObservation'"),
        (["NormalizeObservation"], AigymError, r"PPOConfig\(normalize_observations=True\)"),
        (["Autoreset"], AigymError, "a seed for each episode"),
        (
            [["FrameStackObservation", {"size": 4}]],
            AigymError,
            "required argument: 'stack_size'.*takes",
        ),
        ([["FrameStackObservation", {"stack_size": -1}]], AigymError, "stack_size"),
        (["GrayscaleObservation"], AigymError, r"observation_space is Box"),
        ([["TransformReward", {"func": abs}]], AigymError, "plain data"),
        ([3], AigymError, "3 must be a name or a pair"),
        ("FlattenObservation", AigymError, "must be a list"),
        (["no_such_module:Louder"], AigymError, "no_such_module"),
        ([f"{__name__}:Lauder"], UnknownName, "Did you mean 'Louder'"),
        ([f"{__name__}:describe"], AigymError, "not a subclass of gymnasium.Wrapper"),
    ],
)
def test_bad_wrappers(wrappers: Any, error: type[AigymError], says: str) -> None:
    with pytest.raises(error, match=says):
        make("CartPole-v1", wrappers=wrappers)
