"""What the store holds at a glance: runs, their progress, who is best at what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigym_kernel.errors import AigymError, StoreError
from aigym_kernel.overview import leaderboard, newest_training, runs
from aigym_kernel.store import RunRecord, RunState, RunStatus, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

pytestmark = pytest.mark.usefixtures("store_dir")
EVIL = "<img src=x onerror=alert(1)>"


def played(env_id: str, agent: str, reward: float, score: float | None = None, **more: Any) -> Trajectory:
    judged = None
    if score is not None:
        mark = Mark(name="all", value=score)
        judged = Score(task_id=env_id, total=score, passed=score == 1, marks=(mark,))
    values: dict[str, Any] = {"terminated": True, "truncated": False, "score": judged, **more}
    return Trajectory(
        env_id=env_id,
        agent=agent,
        observations=np.zeros((2, 1)),
        actions=np.zeros(1, dtype=int),
        rewards=np.array([reward]),
        **values,
    )


def record(
    run_id: str, *trajectories: Trajectory, kind: Any = "rollout", state: RunState = "done", at: float = 0.0
) -> None:
    store = Store()
    began = 1_700_000_000.0 + at
    run = RunRecord(run_id=run_id, kind=kind, name=f"run {EVIL}", created_at=began)
    status = RunStatus(state=state, host="elsewhere", step=30, total_steps=120, heartbeat=began + 90)
    store.add_run(run, status)
    with store.writer(run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)


def test_runs_are_the_newest_first_with_their_progress() -> None:
    record("old", at=0)
    record("new", at=100, state="failed")
    record("going", at=50, state="running")
    frame = runs().frame
    assert frame["run_id"].tolist() == ["new", "going", "old"]
    assert frame["progress"].tolist() == [0.25, 0.25, 1.0]
    assert frame["seconds"].round(3).tolist()[::2] == [90.0, 90.0]
    assert frame["seconds"][1] > 1_000_000
    shown = runs(limit=2, link="?run={}&x=1")
    assert len(shown) == 2
    assert "the newest 2 of 3" in repr(shown)


def test_a_table_shows_states_progress_and_links_and_no_foreign_markup() -> None:
    record("a+b", state="killed")
    html = runs(link="?run={}&x=1")._repr_html_()
    assert '<a href="?run=a%2Bb&amp;x=1">a+b</a>' in html
    assert ">killed</span>" in html
    assert "&lt;img" in html
    assert "<img src=x" not in html
    assert 'alt="25%"' in html
    assert "<a " not in runs()._repr_html_()


def test_the_best_of_each_environment_leads() -> None:
    record("weak", played("CartPole-v1", "random", 20.0), played("task", "a", 5.0, score=0.25))
    record("strong", played("CartPole-v1", "ppo", 500.0), played("task", "b", 1.0, score=0.75))
    board = leaderboard().frame
    assert board[["env_id", "agent", "run_id"]].to_numpy().tolist() == [
        ["CartPole-v1", "ppo", "strong"],
        ["task", "b", "strong"],
    ]
    assert board["return_best"].tolist() == [500.0, 1.0]
    assert len(leaderboard(top=2)) == 4


def test_of_a_run_its_last_trajectories_count() -> None:
    early = [played("CartPole-v1", "ppo", 0.0, started_at=1_700_000_000.0 + i) for i in range(50)]
    late = [played("CartPole-v1", "ppo", 9.0, started_at=1_700_001_000.0 + i) for i in range(100)]
    record("learning", *early, *late)
    [row] = leaderboard().frame.itertuples()
    assert (row.trajectories, row.return_mean) == (100, 9.0)


def test_an_error_counts_as_zero_and_the_unjudged_not_at_all() -> None:
    unjudged = Score(task_id="task", total=None, passed=False, marks=(Mark(name="all", value=None),))
    record(
        "r",
        played("task", "a", 1.0, score=1.0),
        played("task", "a", 0.0, error="ValueError: x"),
        replace(played("task", "a", 0.0), score=unjudged),
    )
    assert leaderboard().frame["score"].tolist() == [0.5]


def test_the_training_to_watch_is_the_one_that_goes_on() -> None:
    record("game", at=300)
    assert newest_training() is None
    record("first", kind="train", state="running", at=0)
    record("second", kind="train", state="done", at=100)
    run = newest_training()
    assert run is not None
    assert run.id == "first"


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        runs()
    with pytest.raises(AigymError, match="runs: limit=0 must be a whole number"):
        runs(limit=0)
    with pytest.raises(AigymError, match="leaderboard: top='x'"):
        leaderboard(top="x")  # type: ignore[arg-type]
    Store().create()
    assert "No run recorded yet" in runs()._repr_html_()
    assert "Nothing played yet" in leaderboard()._repr_html_()
