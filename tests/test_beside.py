"""What the explorer answers where two things stand side by side, without a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import talks

from aigym_kernel.store import Store
from aigym_kernel.widgets import Explorer, explore
from aigym_kernel.widgets.answers import answer


def asked(explorer: Explorer, what: str, **arguments: object) -> dict[str, object]:
    reply = answer(explorer, {"ask": "x-1", "what": what, **arguments})
    json.dumps(reply, allow_nan=False)
    return reply


@pytest.fixture
def talked(store_dir: Path) -> list[str]:
    """Two conversations that differ in the last turn; their ids."""
    talks.record_talks()
    return list(Store().sql("SELECT trajectory_id FROM trajectories ORDER BY started_at")["trajectory_id"])


def test_runs_of_what_is_marked_are_compared_else_of_what_is_listed(store_dir: Path) -> None:
    talks.record_trainings()
    explorer = explore(where={"env_id": "Task-v0"})
    asked(explorer, "compare")
    assert len(explorer.comparison["groups"]) == 2
    assert [group["name"] for group in explorer.comparison["groups"]] == [
        "learning_rate=1",
        "learning_rate=2",
    ]
    assert explorer.comparison["metrics"][:2] == ["return", "score"]
    marked = [
        explorer.store.sql("SELECT trajectory_id FROM trajectories WHERE run_id = ? LIMIT 1", [run]).iloc[
            0, 0
        ]
        for run in ("ppo-1-0", "ppo-2-3")
    ]
    explorer.chosen = marked
    asked(explorer, "compare", metric="length")
    assert sorted(explorer.comparison["chosen"]) == ["ppo-1-0", "ppo-2-3"]
    assert explorer.comparison["metric"] == "length"
    asked(explorer, "compare", runs=["ppo-1-0"])
    assert "Two or more runs are needed" in explorer.comparison["notes"][0]
    assert "unknown run" in str(asked(explorer, "compare", runs=["ppo-1-0", "none"])["error"])
    asked(explorer, "compare", runs=["ppo-1-0", "ppo-2-0"])
    explorer.view = "compare"
    assert "configuration that differs" in explorer.static_html()
    json.dumps(explorer.comparison, allow_nan=False)


def test_two_marked_trajectories_are_aligned_else_the_open_one_and_another(talked: list[str]) -> None:
    explorer = explore(selected=talked[0])
    asked(explorer, "diff")
    assert (explorer.difference["a"]["id"], explorer.difference["b"]["id"]) == (talked[0], talked[1])
    assert explorer.difference["divergences"] == [[6, 7]]
    assert explorer.difference["from"] == 4
    explorer.chosen = [talked[1], talked[0]]
    asked(explorer, "diff")
    assert explorer.difference["a"]["id"] == talked[1]
    rows = asked(explorer, "diff rows", **{"from": 0, "to": 3})["value"]
    assert [row["row"] for row in rows] == [0, 1, 2]  # type: ignore[attr-defined]
    explorer.view = "diff"
    assert "divergence at row 6" in explorer.static_html()
    for wrong in ({"from": 0, "to": 500}, {"from": -1, "to": 3}, {"from": "a", "to": 3}):
        assert "ask for at most" in str(asked(explorer, "diff rows", **wrong)["error"])
    assert "no row 99" in str(asked(explorer, "diff boards", row=99)["error"])


def test_a_difference_is_found_again_by_an_explorer_that_only_remembers_it(talked: list[str]) -> None:
    explorer = explore()
    assert "no difference yet" in str(asked(explorer, "diff rows", **{"from": 0, "to": 3})["error"])
    asked(explorer, "diff", a=talked[0], b=talked[1])
    explorer.beside = None
    assert len(asked(explorer, "diff rows", **{"from": 0, "to": 3})["value"]) == 3  # type: ignore[arg-type]


def test_alone_there_is_nothing_to_align(store_dir: Path) -> None:
    talks.record("one", [talks.talk(1)])
    explorer = explore()
    asked(explorer, "diff")
    assert "Mark two trajectories" in explorer.difference["missing"]


def test_boards_are_those_after_the_step_that_differs(store_dir: Path) -> None:
    talks.record_boards()
    explorer = explore()
    asked(explorer, "diff")
    row = explorer.difference["divergences"][0][0]
    one, other = asked(explorer, "diff boards", row=row)["value"]  # type: ignore[misc]
    assert (one["step"], other["step"]) == (row + 1, row + 1)
    boards = [[*board["first"], *board["changes"][: board["t"]]] for board in (one, other)]
    assert boards[0] != boards[1]
