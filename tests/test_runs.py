"""Runs: background trainings that are watched, stopped, killed; rollouts that are recorded."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from aigym_kernel.agents import random_agent, replay, scripted
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError, RunError, TrainingError, UnknownName
from aigym_kernel.runs import Run, load_run, rollout, train
from aigym_kernel.store import Store, sql

pytestmark = pytest.mark.usefixtures("store_dir")

CONV = {"layers": [{"type": "conv", "filters": 4, "kernel_size": 3}, {"type": "flatten"}]}


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def recorded_metrics(run: Run) -> list[tuple[Any, ...]]:
    measured = ["steps_per_second", "cpu_percent", "rss_mb"]
    frame = run.store.sql(
        "select step, name, value from metrics where run_id = ? and not list_contains(?, name) order by all",
        [run.id, measured],
    )
    return list(frame.itertuples(index=False, name=None))


def test_a_training_ends_with_everything_recorded() -> None:
    run = train("CartPole-v1", total_timesteps=8_000, seed=3).wait(120)
    status = run.status()
    assert status.state == "done"
    assert status.step == status.total_steps >= 8_000
    assert {"return_mean", "eval_return_mean", "eval_return_mean_before", "steps_per_second"} <= set(
        status.summary
    )
    curve = run.metrics("return_mean")
    assert curve[-1][0] == status.step
    assert curve == sorted(curve)
    steps = sql("select count(*) as n, count(distinct (trajectory_id, t)) as d from steps")
    lengths = sql("select sum(length) as n from trajectories where run_id = ?", [run.id])
    assert steps["n"][0] == steps["d"][0] == lengths["n"][0] > 1_000
    assert run.record.config["ppo"]["seed"] == 3
    assert run.record.provenance["packages"]["torch"]
    trajectory = collect_one(run)
    assert trajectory.total_reward > 8
    assert load_run(run.id).status() == status
    assert "8" in run._repr_html_()


def collect_one(run: Run) -> Any:
    [trajectory] = rollout(run.agent(), "CartPole-v1", seed=5)
    assert trajectory.error is None
    return trajectory


def test_the_same_seed_gives_the_same_metrics() -> None:
    first, second, other = (train("CartPole-v1", total_timesteps=4_000, seed=s) for s in (1, 1, 2))
    for run in (first, second, other):
        run.wait(120)
    assert recorded_metrics(first) == recorded_metrics(second)
    assert recorded_metrics(first) != recorded_metrics(other)


def test_stopping_keeps_what_was_learnt() -> None:
    run = train("CartPole-v1", total_timesteps=50_000_000)
    until(lambda: run.status().step > 0, "first update")
    run.stop()
    run.wait(60)
    status = run.status()
    assert status.state == "stopped"
    assert 0 < status.step < 50_000_000
    assert run.metrics("return_mean")
    assert collect_one(run).total_reward > 0
    run.stop()  # harmless


def test_sigterm_stops_too() -> None:
    run = train("CartPole-v1", total_timesteps=50_000_000)
    until(lambda: run.status().step > 0, "first update")
    os.kill(run.status().pid or 0, signal.SIGTERM)
    assert run.wait(60).status().state == "stopped"


def test_a_killed_run_is_called_killed_and_keeps_what_it_flushed() -> None:
    run = train("CartPole-v1", total_timesteps=50_000_000)
    until(lambda: len(run.metrics("entropy")) > 0, "first flush")
    before = sql("select count(*) as n from steps")["n"][0]
    os.kill(run.status().pid or 0, signal.SIGKILL)
    until(lambda: run.finished, "seen to be gone")
    assert run.status().state == "killed"
    with pytest.raises(RunError, match="was killed at step"):
        run.wait()
    with pytest.raises(RunError, match="has saved no policy"):
        run.agent()
    after = sql("select count(*) as n, count(distinct (trajectory_id, t)) as d from steps")
    assert after["n"][0] == after["d"][0] >= before > 0
    assert sql("select state from runs")["state"].tolist() == ["killed"]


class Breaks(gymnasium.Env[Any, Any]):
    """Goes wrong in its 300th step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 300:
            raise ValueError("the board is gone")
        return np.zeros(2, np.float32), 1.0, self.steps % 10 == 0, False, {}


def test_an_environment_of_ones_own_and_one_that_breaks() -> None:
    """A class made here cannot be imported by the run's process: it travels by value."""
    run = train(lambda: Breaks(), n_envs=4, n_steps=100, n_minibatches=4, total_timesteps=4_000)
    with pytest.raises(RunError, match="ValueError: the board is gone") as caught:
        run.wait(120)
    assert "log.txt" in str(caught.value)
    assert run.status().state == "failed"
    kept = sql("select count(*) as n, min(length) as short, max(length) as long from trajectories")
    assert kept["n"][0] == 80  # two roll-outs of 4 x 100 steps in episodes of 10
    assert (kept["short"][0], kept["long"][0]) == (10, 10)


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"env": "CartPole-v11"}, UnknownName, "Did you mean 'CartPole-v1'"),
        ({"env": "CartPole-v1", "algo": "pppo"}, UnknownName, "unknown algorithm 'pppo'. Did you mean 'ppo'"),
        ({"env": "CartPole-v1", "learning_rat": 1}, UnknownName, "Did you mean 'learning_rate'"),
        ({"env": "CartPole-v1", "gamma": 2}, TrainingError, "gamma=2 must lie in"),
        ({"env": "CartPole-v1", "network": CONV}, TrainingError, r"layer 1 \(conv\) needs a picture"),
        ({"env": "two-sum"}, TrainingError, "aigym/two-sum-v0"),
        ({"env": "CartPole-v1", "seed": -1}, TrainingError, "seed=-1"),
        ({"env": "CartPole-v1", "seed": 2**32}, TrainingError, "seed=4294967296"),
        ({"env": "CartPole-v1", "device": "warp"}, AigymError, "warp"),
        ({"env": "CartPole-v1", "env_kwargs": [1]}, AigymError, r"env_kwargs=\[1\] must be a mapping"),
        ({"env": "CartPole-v1", "store": 3}, AigymError, "store=3 is no Store"),
        ({"env": lambda: (LOCK, Breaks())[1]}, TrainingError, "cannot be sent to the run's own process"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    arguments: dict[str, Any], error: type[Exception], message: str, store_dir: Path
) -> None:
    with pytest.raises(error, match=message):
        train(**arguments)
    assert not store_dir.exists()


def test_rollouts_are_recorded_step_by_step() -> None:
    env = make("aigym/Snake-v0")
    played = rollout(random_agent(env.action_space, seed=0), env, n=4, seed=10)
    assert [t.seed for t in played] == [10, 11, 12, 13]
    [run_id] = Store().run_ids()
    status = Store().status(run_id)
    assert status.state == "done"
    assert status.summary["return_mean"] == sum(t.total_reward for t in played) / 4
    loaded = Store().load(played[2].id)
    np.testing.assert_array_equal(loaded.observations, played[2].observations)
    assert loaded.run_id == run_id
    assert [dict(i) for i in loaded.infos] == [dict(i) for i in played[2].infos]
    [again] = rollout(replay(loaded), env, seed=12)
    np.testing.assert_array_equal(again.rewards, played[2].rewards)


@pytest.mark.usefixtures("sandbox")
def test_a_task_is_played_and_its_marks_are_recorded() -> None:
    [trajectory] = rollout(scripted(["def two_sum(numbers, target): return []"]), "two-sum")
    assert trajectory.outcome == "failed"
    marks = sql("select name, status from marks order by name")
    assert marks["status"].tolist() == ["failed", "failed"]
    assert Store().load(trajectory.id).score == trajectory.score


def test_one_failed_trajectory_does_not_end_the_rollout() -> None:
    played = rollout(scripted([0, 0]), "CartPole-v1", n=2)
    assert [t.outcome for t in played] == ["error", "error"]
    assert [len(t) for t in played] == [2, 2]
    assert sql("select count(*) as n from trajectories where error is not null")["n"][0] == 2


def test_rollout_refuses_what_cannot_be() -> None:
    with pytest.raises(AigymError, match="n=0"):
        rollout(scripted([0]), "CartPole-v1", n=0)
    with pytest.raises(UnknownName, match="Did you mean 'aigym/Snake-v0'"):
        rollout(scripted([0]), "aigym/Snake-v1")


def test_an_unknown_run_is_named() -> None:
    rollout(scripted([0] * 500), "CartPole-v1")
    with pytest.raises(UnknownName, match="unknown run 'nope'"):
        load_run("nope")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0 must be a whole number from 1"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"agent": "random"}, "agent='random' is not callable"),
        ({"env": 3}, "env=3 is neither an environment nor the id of one"),
    ],
)
def test_a_rollout_that_cannot_be_is_told_before_anything_is_recorded(
    arguments: dict[str, Any], message: str, store_dir: Path
) -> None:
    with pytest.raises(AigymError, match=message):
        rollout(**{"agent": scripted([0]), "env": "CartPole-v1", **arguments})
    assert not store_dir.exists()
