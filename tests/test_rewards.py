"""The reward designer without a browser: what it finds in games, what it hands on, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aigym_kernel as aigym
from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.envs.formula import terms
from aigym_kernel.envs.snake import Snake
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.handles import Run
from aigym_kernel.store import Store
from aigym_kernel.widgets.rewards import reward_designer


@pytest.fixture
def run(store_dir: Path) -> Run:
    """A run of eight games by nobody in particular."""
    env = make("aigym/Snake-v0", size=5, rewards={"closer": 0.5})
    played = aigym.rollout(random_agent(env.action_space, seed=1), env, n=8, seed=3)
    assert len(played) == 8
    return aigym.load_run(Store().run_ids()[-1])


def test_a_runs_games_are_weighed_anew(run: Run) -> None:
    designer = aigym.reward_designer(run, games=6)
    newest = Store().trajectories(run_id=run.id, limit=6)
    assert designer.weights["closer"] == 0.5
    assert designer.view["returns"] == pytest.approx(newest["return"].tolist())
    assert designer.view["mean"] == pytest.approx(newest["return"].mean())
    assert sum(mean for _, mean in designer.view["terms"]) == pytest.approx(designer.view["mean"])
    designer.set("3*apple - 2*(wall or self)")
    apples = [Store().load(i).final_info["apples"] for i in newest["trajectory_id"]]
    deaths = [Store().load(i).final_info["death"] in ("wall", "self") for i in newest["trajectory_id"]]
    expected = [3.0 * a - 2.0 * d for a, d in zip(apples, deaths)]
    assert designer.view["returns"] == pytest.approx(expected)
    assert [term for term, _ in designer.view["terms"]] == ["3 * apple", "-(2 * (wall or self))"]


def test_what_was_designed_is_what_an_environment_gives() -> None:
    designer = reward_designer(games=3, env_kwargs={"size": 6, "obstacles": 2})
    assert all(game["width"] == 6 for game in designer.games)
    designer.set("2*apple + hunger/10 - distance")
    env = Snake(size=6, obstacles=2, rewards=designer.rewards)
    env.reset(seed=0)
    got = [env.step(action)[1] for action in designer._games[0].actions]
    assert np.cumsum(got)[:400] == pytest.approx(designer.view["played"][0])
    asked: list[Any] = []

    class Recorder:
        def train(self, *args: Any, **kwargs: Any) -> None:
            asked.append((args, kwargs))

    exec(designer.config, {"aigym": Recorder()})
    kwargs = {"size": 6, "obstacles": 2, "rewards": designer.rewards}
    assert asked == [(("aigym/Snake-v0",), {"env_kwargs": kwargs})]


def test_rewards_by_event_and_what_each_step_gives() -> None:
    designer = reward_designer(games=4).set({"apple": 5, "step": -0.5, "wall": -7, "death": -2})
    steps = dict(designer.view["steps"])
    assert steps["onto the apple"] == 4.5
    assert (steps["into a wall"], steps["into its own body"]) == (-7.5, -2.5)
    assert designer.rewards == {
        "apple": 5.0,
        "step": -0.5,
        "closer": 0.0,
        "farther": 0.0,
        "death": -2.0,
        "wall": -7.0,
        "full": 0.0,
    }
    text = designer.static_html()
    assert "onto the apple" in text
    assert f"mean return {designer.view['mean']:.3f}" in text
    assert "<script" not in text
    assert repr(designer).startswith("RewardDesigner on 4 games of a simple player: mean return")


def test_what_cannot_be_is_told_while_it_is_written(run: Run) -> None:
    designer = reward_designer(run)
    designer.by, designer.formula = "formula", "3*aple<img src=x>"
    assert "cannot be read" in designer.view["error"]
    assert "<img" not in designer.static_html()
    designer.formula = "3*aple"
    assert "Did you mean 'apple'" in designer.view["error"]
    with pytest.raises(UnknownName, match="Did you mean 'apple'"):
        _ = designer.rewards
    designer.formula = "1 / (hunger - 1)"
    assert "divides by zero" in designer.view["error"]
    designer.formula = "apple"
    assert designer.view["error"] == ""
    designer.by, designer.weights = "event", {"apple": "many"}
    assert "must be a finite number" in designer.view["error"]
    with pytest.raises(AigymError, match="'CartPole-v1' has no rewards by event"):
        reward_designer("CartPole-v1")
    aigym.rollout(random_agent(make("CartPole-v1").action_space), make("CartPole-v1"), n=1)
    other = next(i for i in Store().run_ids() if i != run.id)
    with pytest.raises(AigymError, match="has no finished games of aigym/Snake-v0"):
        reward_designer(aigym.load_run(other))


def test_the_parts_of_a_formula_add_up() -> None:
    assert terms("a - (b - c) + -d*2") == ["a", "-(b)", "c", "-d * 2"]
    rng = np.random.default_rng(0)
    values = dict(zip("abcd", rng.random(4).tolist()))
    text = "a - (b - (c + a*b)) - (d if a > b else -c)"
    total = sum(eval(part, {}, values) for part in terms(text))
    assert total == pytest.approx(eval(text, {}, values))
