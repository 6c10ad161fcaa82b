"""Who is best: on one task, on several with and without baselines, with failures, in several benches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import benches
import pytest

from aigym_kernel.bench.leaderboard import leaderboard
from aigym_kernel.bench.records import Metric
from aigym_kernel.cli.output import _plain

TASKS = ["CartPole-v1", "Snake", "Acrobot-v1"]
LOST = {("dqn", "Snake", seed): ("error", "ValueError: no board") for seed in range(3)}


def test_the_better_mean_is_first_with_its_interval(tmp_path: Path) -> None:
    board = leaderboard(benches.write(tmp_path, seeds=5))
    first, second = board.standings
    assert (board.by, first.method, first.place, second.place) == ("score", "dqn", 1, 2)
    found = first.entries[0].estimate
    assert found is not None
    assert found.value == 112.0
    assert found.low is not None
    assert found.high is not None
    assert 110 < found.low < 112 < found.high < 114
    assert first.entries[0].seeds == 5
    assert board.notes == ()


def test_where_less_is_better_the_smaller_mean_is_first(tmp_path: Path) -> None:
    board = leaderboard(benches.write(tmp_path, plan={"metrics": (benches.STEPS,)}))
    assert [s.method for s in board.standings] == ["dqn", "ppo"]
    upside_down = (Metric(name="steps_to_solve", direction="higher"),)
    board = leaderboard(benches.write(tmp_path, plan={"metrics": upside_down}))
    assert [s.method for s in board.standings] == ["ppo", "dqn"]


def test_equal_means_share_their_place(tmp_path: Path) -> None:
    state = benches.write(tmp_path, ["a", "b", "c"], reported=lambda m, t, s: {"x": float(m // 2)})
    board = leaderboard(state)
    assert [(s.method, s.place, s.entries[0].rank) for s in board.standings] == [
        *(("c", 1, 1.0), ("a", 2, 2.5), ("b", 2, 2.5)),
    ]


def test_over_several_tasks_ranks_are_averaged_and_it_is_said_why(tmp_path: Path) -> None:
    # The first method is far better on one task, the second a little on two.
    gain = [[1000.0, 1.0, 1.0], [0.0, 2.0, 2.0]]
    state = benches.write(tmp_path, tasks=TASKS, reported=lambda m, t, s: {"x": gain[m][t]})
    board = leaderboard(state)
    assert board.by == "rank"
    assert [(s.method, s.rank) for s in board.standings] == [
        ("dqn", pytest.approx(4 / 3)),
        ("ppo", pytest.approx(5 / 3)),
    ]
    assert "not on one scale" in board.notes[0]


def test_with_a_baseline_for_every_task_normalised_scores_are(tmp_path: Path) -> None:
    gain = [[1000.0, 1.0, 1.0], [0.0, 2.0, 2.0]]
    ends = {task: {"low": 0.0, "high": high} for task, high in zip(TASKS, (1000.0, 10.0, 10.0))}
    state = benches.write(
        tmp_path, tasks=TASKS, reported=lambda m, t, s: {"x": gain[m][t]}, plan={"baselines": ends}
    )
    board = leaderboard(state)
    assert board.by == "normalised score"
    assert [(s.method, s.score and s.score.value) for s in board.standings] == [
        ("ppo", pytest.approx(0.4)),
        ("dqn", pytest.approx(0.4 / 3)),
    ]
    ends.pop("Snake")
    board = leaderboard(benches.write(tmp_path, tasks=TASKS, plan={"baselines": ends}))
    assert board.by == "rank"
    assert "Without a baseline: Snake" in board.notes[0]
    board = leaderboard(benches.write(tmp_path, tasks=TASKS, plan={"baselines": {"Snak": ends[TASKS[0]]}}))
    assert f"Without a baseline: {', '.join(TASKS)}" in board.notes[0]


def test_failures_are_counted_and_a_task_without_result_is_lost(tmp_path: Path) -> None:
    state = benches.write(tmp_path, tasks=TASKS, failed=LOST, queued=[("ppo", "CartPole-v1", 0)])
    board = leaderboard(state)
    dqn = next(s for s in board.standings if s.method == "dqn")
    assert (dqn.tasks, dqn.count("failed"), dqn.count("asked")) == (2, 3, 9)
    lost = next(e for e in dqn.entries if e.task == "Snake")
    assert (lost.estimate, lost.rank, lost.seeds) == (None, 2.0, 0)
    told = str(board)
    assert "0 of 3 (3 failed)" in told
    assert "2 of 3 (1 unfinished)" in told
    assert "3 cells failed" in told
    assert "counts as the last one there" in told
    frame = board.frame
    assert frame["failed"].sum() == 3
    assert frame["mean"].isna().sum() == 1


def test_methods_that_share_no_task_have_places_on_their_tasks_only(tmp_path: Path) -> None:
    state = benches.write(tmp_path, tasks=TASKS)
    kept = tuple(
        c for c in state.plan.cells if c.parameters["algo"] == "dqn" or c.parameters["env_id"] == "Snake"
    )
    board = leaderboard(replace(state, plan=replace(state.plan, cells=kept)))
    assert board.by == "task"
    assert [(s.method, s.place, len(s.entries)) for s in board.standings] == [
        ("dqn", None, 3),
        ("ppo", None, 1),
    ]
    assert [caption for caption, _, _ in board.tables()] == [
        f"{task}: return_mean (higher is better)" for task in ("Snake", "CartPole-v1", "Acrobot-v1")
    ]
    assert "Not every method was run on every task" in str(board)


def test_names_cannot_break_the_table(tmp_path: Path) -> None:
    html = leaderboard(benches.write(tmp_path, ["<b>&", "x"]))._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "<b>&" not in html


def test_json_has_all_of_it(tmp_path: Path) -> None:
    data = json.loads(json.dumps(_plain(leaderboard(benches.write(tmp_path, tasks=TASKS)).to_dict())))
    assert data["standings"][0]["entries"][0]["estimate"]["value"] == 111.0


def test_methods_of_several_benches_carry_its_name(tmp_path: Path) -> None:
    one = benches.write(tmp_path / "old", ["ppo"])
    new = benches.write(tmp_path / "new", ["ppo"], reported=lambda m, t, s: {"return_mean": 500.0})
    board = leaderboard(one, new)
    assert [s.method for s in board.standings] == ["new: bench_rl", "old: bench_rl"]
    other = benches.write(tmp_path / "other", ["ppo"], reported=lambda m, t, s: {"steps_to_solve": 1.0})
    assert leaderboard(one, other).tasks == ("CartPole-v1 (return_mean)", "CartPole-v1 (steps_to_solve)")
