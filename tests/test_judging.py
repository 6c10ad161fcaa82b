"""Judging as it happens: every mark when it is decided, many solutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_judge import CASES, make

from aigym_kernel.errors import SolutionError, UnknownName
from aigym_kernel.judge import judge, judging
from aigym_kernel.sandboxes import Box, Limits, Sandbox, open_sandbox
from aigym_kernel.tasks import Task
from aigym_kernel.trajectories import Mark, Score

pytestmark = pytest.mark.usefixtures("sandbox")

RIGHT = "def double(x):\n    return 2 * x\n"


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Two criteria, so that there is something between them."""
    check = {"type": "function", "function": "double"}
    folder = tmp_path_factory.mktemp("tasks") / "twice"
    return make(folder, [{"check": check}, {"check": check, "weight": 3.0}], {"cases.yaml": CASES})


@dataclass
class Counting:
    """The real sandbox, with the boxes that it opened."""

    name: str = "counting"
    base: Sandbox = field(default_factory=open_sandbox)
    opened: list[Box] = field(default_factory=list)

    def open(self, limits: Limits, files: object = None) -> Box:
        self.opened.append(self.base.open(limits, files))  # type: ignore[arg-type]
        return self.opened[-1]


def test_each_mark_comes_before_the_next_is_judged(twice: Task) -> None:
    sandbox = Counting()
    known = judging(twice, RIGHT, sandbox=sandbox)
    assert sandbox.opened == []
    first = next(known)
    assert isinstance(first, Mark)
    assert (first.name, first.value, len(sandbox.opened)) == ("c0", 1.0, 1)
    second = next(known)
    assert (second.name, len(sandbox.opened)) == ("c1", 2)  # type: ignore[union-attr]
    score = next(known)
    assert isinstance(score, Score)
    assert score.marks == (first, second)
    assert (score.total, score.passed) == (1.0, True)
    assert list(known) == []


def test_dropping_it_leaves_no_box_open(twice: Task) -> None:
    sandbox = Counting()
    known = judging(twice, RIGHT, sandbox=sandbox)
    next(known)
    assert isinstance(known, Iterator)
    del known
    assert [box.run(["true"]).status for box in sandbox.opened] == ["sandbox_error"]


def test_wrong_arguments_are_told_by_the_call_itself(twice: Task, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown task 'no-such'"):
        judging("no-such", RIGHT)
    with pytest.raises(SolutionError, match="not int"):
        judging(twice, 5)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="unknown sandbox"):
        judging(twice, RIGHT, sandbox="bwarp")


def test_it_ends_with_what_judge_says(twice: Task) -> None:
    *_, last = judging(twice, "def double(x):\n    return x\n")
    assert isinstance(last, Score)
    score = judge(twice, "def double(x):\n    return x\n")
    assert (last.total, last.marks) == (score.total, score.marks) == (0.0, score.marks)
