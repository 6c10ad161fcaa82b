"""Runs: background trainings that are watched, stopped, killed; rollouts that are recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigym_kernel.agents import random_agent, replay, scripted
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError, TrainingError, UnknownName
from aigym_kernel.runs import Run, load_run, rollout, train
from aigym_kernel.store import Store, sql

pytestmark = pytest.mark.usefixtures("store_dir")

CONV = {"layers": [{"type": "conv", "filters": 4, "kernel_size": 3}, {"type": "flatten"}]}


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


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


def test_stopping_keeps_what_was_learnt() -> None:
    run = train("CartPole-v1", total_timesteps=50_000_000)
    until(lambda: run.status().step > 0, "first update")
    run.stop()
    run.wait(120)
    status = run.status()
    assert status.state == "stopped"
    assert 0 < status.step < 50_000_000
    assert run.metrics("return_mean")
    assert collect_one(run).total_reward > 0
    run.stop()  # harmless


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
        (
            {"env": lambda: (LOCK, make("CartPole-v1"))[1]},
            TrainingError,
            "cannot be sent to the run's own process",
        ),
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
