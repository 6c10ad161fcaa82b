"""Where two runs part: the first step and field, in the trajectory whose environment differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigym_kernel.bench.divergence import divergences, parted
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Mark, Message, Score, Trajectory, new_id


def play(seed: int = 0, steps: int = 50, **changes: Any) -> Trajectory:
    drawn = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "env_id": "aigym/Count-v0",
        "agent": "ppo",
        "observations": drawn.normal(size=(steps + 1, 4)).astype(np.float32),
        "actions": drawn.integers(0, 3, steps),
        "rewards": np.ones(steps),
        "terminated": True,
        "truncated": False,
        "seed": seed,
        "infos": [{"clock": {"ticks": t}} for t in range(steps)],
        "final_info": {"clock": {"ticks": steps - 1}},
    }
    return Trajectory(**{**fields, **changes})


def changed(array: Any, index: Any, value: Any) -> Any:
    array = np.array(array)
    array[index] = value
    return array


A = play()
INFOS = [{"clock": {"ticks": 99 if t == 37 else t}} for t in range(50)]
SCORE = Score(task_id="t", total=0.5, passed=False, marks=(Mark(name="tests", value=0.5, feedback="2 of 4"),))
SAID = (Message(role="user", content="hello " * 40 + "you"),)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"observations": changed(A.observations, (37, 2), 0.5)}, (37, "observation[2]")),
        ({"observations": changed(A.observations, (50, 0), 0.5)}, (50, "observation[0]")),
        ({"actions": changed(A.actions, 37, 9)}, (37, "action")),
        ({"rewards": changed(A.rewards, 37, np.nextafter(1.0, 2.0))}, (37, "reward")),
        ({"infos": INFOS}, (37, "info.clock.ticks")),
        ({"infos": INFOS, "rewards": changed(A.rewards, 36, 0.0)}, (36, "reward")),
        ({"terminated": False, "truncated": True}, (49, "terminated")),
        ({"observations": A.observations.astype(np.float64)}, (0, "dtype of observation")),
        ({"final_info": {"clock": {"ticks": 1}}}, (49, "info.clock.ticks")),
        ({"error": "ValueError: no"}, (None, "error")),
        ({"messages": SAID}, (None, "message 0.content[0] from character 225 on")),
        ({"score": replace(SCORE, marks=(replace(SCORE.marks[0], value=0.75),))}, (None, "mark tests.value")),
    ],
    ids=lambda value: str(value[1]) if isinstance(value, tuple) else "",
)
def test_the_first_step_and_the_first_field(change: dict[str, Any], found: tuple[int | None, str]) -> None:
    first = replace(A, score=SCORE, messages=(Message(role="user", content="hello " * 40 + "me"),))
    assert parted(first, replace(first, id=new_id(), started_at=1.0)) is None
    parts = parted(first, replace(first, **change))
    assert parts is not None
    assert parts[:2] == found
    assert parts[2] != parts[3]


def test_a_shorter_trajectory_ends_where_the_longer_goes_on() -> None:
    cut = {"observations": A.observations[:31], "actions": A.actions[:30], "rewards": A.rewards[:30]}
    assert parted(A, replace(A, **cut, infos=A.infos[:30])) == (29, "terminated", False, True)
    open_end = replace(A, **cut, infos=A.infos[:30], terminated=False)
    assert parted(A, open_end) == (30, "length", 50, 30)


def test_nan_is_nan_and_minus_zero_is_not_zero() -> None:
    nan = replace(A, rewards=changed(A.rewards, 3, np.nan))
    assert parted(nan, replace(nan)) is None
    zero, minus = (replace(A, rewards=changed(A.rewards, 3, value)) for value in (0.0, -0.0))
    assert parted(zero, minus) == (3, "reward", 0.0, -0.0)


def two(folder: Path) -> Store:
    """A store with two notebooks' runs, each with one training."""
    store = Store(folder)
    for name in ("was", "now"):
        store.add_run(RunRecord(run_id=name, kind="notebook", name="bench"))
        training = RunRecord(run_id=f"{name}-ppo", kind="train", name="ppo Count", parent=name)
        store.add_run(training, RunStatus(state="done"))
    return store


def record(store: Store, run_id: str, plays: list[Trajectory], losses: list[float]) -> None:
    with store.writer(run_id) as writer:
        for one in plays:
            writer.trajectory(replace(one, id=new_id()))
        for n, loss in enumerate(losses):
            writer.metrics(1024 * (n + 1), {"loss": loss, "steps_per_second": float(hash(run_id))})


def test_the_environment_that_differs_counts_before_what_was_learnt_from_it(tmp_path: Path) -> None:
    store = two(tmp_path)
    record(store, "was-ppo", [play(n) for n in range(6)], [1.0, 2.0])
    # The second to end acts differently only because the fourth, which lasted longer, saw another reward.
    acted = replace(play(1), actions=changed(play(1).actions, 3, 9))
    planted = replace(play(3), observations=changed(play(3).observations, (37, 2), 0.5))
    record(store, "now-ppo", [play(0), acted, play(2), planted, play(5), play(4)], [1.0, 2.5])
    trajectory, metric = divergences(store, "was", "now")
    assert (trajectory.number, trajectory.seed, trajectory.step) == (3, 3, 37)
    assert trajectory.field == "observation[2]"
    assert trajectory.values == (float(play(3).observations[37, 2]), 0.5)
    assert "train ppo Count: trajectory 3 (seed 3) at step 37: observation[2] was" in str(trajectory)
    assert store.load(trajectory.trajectories[1]).run_id == "now-ppo"  # type: ignore[index]
    assert str(metric) == "train ppo Count at step 2,048: metric loss was 2.0, then 2.5"


def test_a_metric_alone_a_trajectory_more_and_a_run_less(tmp_path: Path) -> None:
    store = two(tmp_path)
    record(store, "was-ppo", [play(0)], [1.0, 2.0])
    record(store, "now-ppo", [play(0)], [1.0, float(np.nextafter(2.0, 3.0))])
    (metric,) = divergences(store, "was", "now")
    assert (metric.step, metric.field) == (2048, "metric loss")
    record(store, "now-ppo", [play(1)], [])
    more = divergences(store, "was", "now")[0]
    assert (more.number, more.seed, more.values) == (1, 1, ("missing", "there"))
    store.add_run(RunRecord(run_id="r", kind="rollout", name="x", parent="was"), RunStatus(state="done"))
    assert divergences(store, "was", "was") == []
    assert {one.field for one in divergences(store, "was", "now")} == {"trajectory", "metric loss"}
