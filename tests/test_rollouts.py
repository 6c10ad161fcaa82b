"""Playing once: columns, seeds, and failures that become data."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from aigym_kernel.agents import random_agent, scripted
from aigym_kernel.envs import make
from aigym_kernel.rollouts import agent_name, collect, describe, play


def test_a_play_is_one_trajectory_in_columns() -> None:
    env = make("CartPole-v1")
    trajectory = collect(play(random_agent(env.action_space, seed=1), env, seed=7))
    steps = len(trajectory)
    assert trajectory.env_id == "CartPole-v1"
    assert trajectory.seed == 7
    assert np.asarray(trajectory.observations).shape == (steps + 1, 4)
    assert np.asarray(trajectory.observations).dtype == np.float32
    assert np.asarray(trajectory.actions).shape == (steps,)
    assert trajectory.terminated
    assert trajectory.total_reward == steps
    assert trajectory[steps - 1].terminated
    assert not trajectory[0].terminated


def test_each_step_is_yielded_as_it_happens() -> None:
    env = make("aigym/Snake-v0", size=5)
    player = play(scripted([0] * 50), env, seed=0)
    first = next(player)
    assert first.t == 0
    assert next(player).t == 1
    player.close()
    assert env.reset(seed=1)


def test_the_seed_decides() -> None:
    env = make("aigym/Snake-v0")
    agent = scripted([0, 1, 0, 2] * 200)
    same = [collect(play(agent, env, seed=5)) for _ in range(2)]
    np.testing.assert_array_equal(same[0].observations, same[1].observations)
    other = collect(play(agent, env, seed=6))
    assert not np.array_equal(same[0].observations[0], other.observations[0])


def test_a_failing_agent_leaves_its_trajectory_and_its_reason() -> None:
    def breaks(_observation: Any, steps: Any) -> int:
        if len(steps) == 3:
            raise ZeroDivisionError("on purpose")
        return 0

    trajectory = collect(play(breaks, make("CartPole-v1"), seed=0))
    assert len(trajectory) == 3
    assert trajectory.outcome == "error"
    assert trajectory.error is not None
    assert "ZeroDivisionError: on purpose (test_rollouts.py:" in trajectory.error


def test_a_failing_environment_too() -> None:
    class Fails(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Discrete(2)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            raise OSError("no such board")

    trajectory = collect(play(scripted([0]), Fails(), seed=0))
    assert len(trajectory) == 0
    assert trajectory.error is not None
    assert trajectory.error.startswith("OSError: no such board")
    assert trajectory.env_id == "Fails"


def test_names_and_descriptions() -> None:
    def my_agent(_observation: Any, _steps: Any) -> int:
        return 0

    assert agent_name(my_agent) == "my_agent"
    assert agent_name(scripted([0], name="plan")) == "plan"
    env = make("aigym/Snake-v0", size=6, render_mode="ansi")
    assert describe(env) == ("aigym/Snake-v0", {"size": 6})


def test_an_interrupt_is_no_trajectory() -> None:
    def interrupted(_observation: Any, _steps: Any) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(play(interrupted, make("CartPole-v1"), seed=0))


class Reusing(gymnasium.Env[Any, Any]):
    """Hands out the same arrays again and again, within a dict and a tuple, as gymnasium allows."""

    def __init__(self) -> None:
        self.seen = {"place": np.zeros(2), "pair": (np.zeros(1, np.int8), [np.zeros(1)])}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.seen, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.seen["place"] += action  # type: ignore[operator]
        self.seen["pair"][1][0][:] = action  # type: ignore[index]
        return self.seen, 0.0, action == 3, False, {}


def test_observations_stay_what_the_agent_saw() -> None:
    trajectory = collect(play(scripted([1, 2, 3]), Reusing()))
    assert [o["place"].tolist() for o in trajectory.observations] == [[0, 0], [1, 1], [3, 3], [6, 6]]
    assert [o["pair"][1][0].tolist() for o in trajectory.observations] == [[0], [1], [2], [3]]
    assert trajectory.observations[0]["pair"][0].dtype == np.int8
