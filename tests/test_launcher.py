"""The launcher without a browser: what is played, what is shown of it, what is recorded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import Store, sql
from aigym_kernel.tasks import load_task, task_ids
from aigym_kernel.widgets import launch
from aigym_kernel.widgets.launcher import MOST_TURNS

pytestmark = pytest.mark.usefixtures("store_dir", "sandbox")


def test_every_task_can_be_chosen() -> None:
    launcher = launch()
    assert [task["id"] for task in launcher.tasks] == sorted(
        task_ids(), key=lambda name: (load_task(name).difficulty, name)
    )
    assert launcher.view["state"] == "idle"
    assert launcher.tasks[0]["title"] in launcher.static_html()


def test_an_answer_is_judged_and_recorded() -> None:
    launcher = launch(["two-sum"])
    launcher.start("two-sum", "def two_sum(numbers, target): return 1")
    view = launcher.wait(240).view
    assert (view["state"], view["total"]) == ("failed", 0.0)
    assert [mark["status"] for mark in view["marks"]] == ["failed", "failed"]
    assert [who for who, _ in view["turns"]] == ["observation", "action"]
    assert launcher.trajectory is not None
    assert Store().load(launcher.trajectory.id).score == launcher.trajectory.score
    assert sql("select agent, outcome from trajectories").values.tolist() == [["pasted", "failed"]]
    page = launcher.static_html()
    assert ">failed</span>" in page
    assert "def two_sum" in page
    assert "<script" not in page


def test_marks_arrive_one_by_one_and_the_score_last() -> None:
    launcher = launch(["mend-ledger"])
    views: list[dict[str, Any]] = []
    launcher.observe(lambda change: views.append(change["new"]), "view")
    launcher.start("mend-ledger")
    launcher.wait(240)
    seen = [(len(view["marks"]), view["total"]) for view in views]
    criteria = len(load_task("mend-ledger").rubric.criteria)
    assert criteria > 1
    for marks in range(1, criteria + 1):
        assert (marks, None) in seen
    assert seen[-1] == (criteria, 1.0)


def test_pasted_calls_are_separated_by_dashes() -> None:
    launcher = launch(["mend-ledger"])
    launcher.start("mend-ledger", "bash echo one\n---\nwrite a.txt\nfirst\n\nlast\n---\nsubmit\n")
    turns = launcher.wait(240).view["turns"]
    assert [text for who, text in turns if who == "action"] == [
        "bash echo one",
        "write a.txt\nfirst\n\nlast",
        "submit",
    ]
    assert turns[2] == ["observation", "one"]


def test_an_agent_of_ones_own_that_breaks_is_shown() -> None:
    def broken(observation: Any, steps: Sequence[Any]) -> str:
        raise ValueError("no idea <script>alert(1)</script>")

    launcher = launch(["two-sum"], agents={"broken": broken})
    launcher.start("two-sum", agent="broken")
    view = launcher.wait(240).view
    assert view["state"] == "error"
    assert "ValueError: no idea" in view["error"]
    assert "<script>" not in launcher.static_html()
    assert sql("select agent from trajectories")["agent"].tolist() == ["broken"]


def test_stop_ends_before_the_next_call_and_a_second_start_waits() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def endless(observation: Any, steps: Sequence[Any]) -> str:
        asked.set()
        go_on.wait(240)
        return "bash true"

    launcher = launch(["mend-ledger"], agents={"endless": endless})
    launcher.start("mend-ledger", agent="endless")
    assert asked.wait(240)
    with pytest.raises(AigymError, match="mend-ledger is being played"):
        launcher.start("mend-ledger")
    launcher.stop()
    go_on.set()
    view = launcher.wait(240).view
    assert (view["state"], view["error"]) == ("error", "AigymError: stopped from the launcher")
    assert len(view["turns"]) < MOST_TURNS
    launcher.start("mend-ledger")
    assert launcher.wait(240).view["state"] == "passed"


def test_what_does_not_exist_is_told() -> None:
    launcher = launch(["two-sum"])
    with pytest.raises(UnknownName, match="Did you mean 'two-sum'"):
        launcher.start("two-summ")
    with pytest.raises(UnknownName, match="unknown agent 'minne'"):
        launcher.start("two-sum", agent="minne")
    with pytest.raises(UnknownName, match="unknown sandbox"):
        launcher.start("two-sum", "", sandbox="jail")
    with pytest.raises(AigymError, match="must be callable"):
        launch(agents={"mine": 3})  # type: ignore[dict-item]
    assert launcher.view["state"] == "idle"
