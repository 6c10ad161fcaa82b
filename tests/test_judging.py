"""Judging as it happens: every mark when it is decided, many solutions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from test_judge import CASES, make

from aigym_kernel.errors import AigymError, SandboxError, SolutionError, TaskError, UnknownName
from aigym_kernel.judge import judge, judging
from aigym_kernel.judge.batch import judge_many, pass_at_k
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
    criteria = [{"check": check}, {"check": check, "weight": 3.0}]
    # The CPU time ends what never ends, however busy the machine is.
    limits = {"wall_s": 60.0, "cpu_s": 1.0, "memory_mb": 128}
    return make(folder, criteria, {"cases.yaml": CASES}, limits=limits)


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


# Many at once


class Failing:
    """A sandbox in which nothing can be opened while ``broken`` holds; otherwise the real one."""

    name = "failing"

    def __init__(self, broken: bool) -> None:
        self.broken = broken

    def open(self, limits: Limits, files: Mapping[str, str | bytes] | None = None) -> Box:
        if self.broken:
            raise SandboxError("the host ran out of namespaces")
        return open_sandbox().open(limits, files)


@pytest.mark.parametrize("workers", [1, 3])
def test_many_keep_their_order_and_do_not_hurt_each_other(twice: Task, tmp_path: Path, workers: int) -> None:
    solutions: list[Any] = [
        RIGHT,
        "def double(x): return x",
        "import os; os.kill(os.getppid(), 9)",
        "not python at all",
        7,
        tmp_path / "missing.py",
        {"../outside.py": ""},
        "def double(x):\n    while True: pass",
        RIGHT,
    ]
    scores = judge_many(twice, iter(solutions), workers=workers)
    assert [s.passed for s in scores] == [True, *[False] * 7, True]
    assert [s.total for s in scores] == [1.0, 0.0, 0.0, 0.0, None, None, None, 0.0, 1.0]
    assert "not int" in scores[4].marks[0].feedback
    assert "missing.py is not a file" in scores[5].marks[0].feedback
    assert (len(scores), scores.passed, scores.mean) == (9, 2, pytest.approx(1 / 3))
    assert str(scores) == "2 of 9 passed, mean score 0.33, 3 could not be judged"
    assert scores.pass_at_k(1) == pytest.approx(2 / 6)


def test_a_table_of_many(twice: Task) -> None:
    html = judge_many(twice, [RIGHT, "def double(x): raise ValueError('<b>')"])._repr_html_()
    assert html.count("<tr>") == 3
    assert "1 of 2 passed, mean score 0.50" in html
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "0 of 0 passed" in judge_many(twice, [])._repr_html_()


def test_no_box_for_any_is_one_error(twice: Task) -> None:
    with pytest.raises(SandboxError, match="out of namespaces"):
        judge_many(twice, [RIGHT, RIGHT], sandbox=Failing(True))
    assert judge_many(twice, [RIGHT], sandbox=Failing(False)).passed == 1


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_workers_that_are_none(twice: Task, workers: Any) -> None:
    with pytest.raises(AigymError, match=r"workers=.* must be a whole number from 1 to 1024"):
        judge_many(twice, [], workers=workers)


# pass@k


def score(task_id: str, total: float | None) -> Score:
    return Score(task_id=task_id, total=total, passed=total == 1.0, marks=())


def test_pass_at_k_is_the_share_of_draws() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            solutions = [True] * c + [False] * (n - c)
            for k in range(1, n + 1):
                draws = [any(draw) for draw in itertools.combinations(solutions, k)]
                assert pass_at_k(n, c, k) == pytest.approx(sum(draws) / len(draws))
    assert pass_at_k(1000, 1, 1000) == 1.0
    assert pass_at_k(100_000, 1, 10) == pytest.approx(1e-4)


def test_pass_at_k_of_scores() -> None:
    scores = [score("a", 1.0), score("a", 0.5), score("a", None), score("b", 0.0), score("b", 0.9)]
    assert pass_at_k(scores, k=1) == pytest.approx((1 / 2 + 0) / 2)
    assert pass_at_k(iter(scores), k=2) == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((3, 1, 4), "k=4 is more than the n=3 solutions"),
        ((3, 4, 1), "c=4 must be a whole number from 0 to 3"),
        ((3, 1, 0), "k=0 must be"),
        ((0, 0, 1), "n=0 must be"),
        (([score("a", 1.0), score("a", None)], None, 2), "only 1 solutions of task 'a' were judged"),
        (([], None, 1), "of no scores"),
    ],
)
def test_pass_at_k_that_cannot_be(arguments: Any, told: str) -> None:
    with pytest.raises(AigymError, match=told):
        pass_at_k(*arguments)


def test_cases_and_hidden_files_that_are_missing_are_one_error(twice: Task) -> None:
    score = judge(replace(twice, cases={}, hidden={}), RIGHT)
    assert score.total is None
    for mark in score.marks:
        told = "could not be judged: task twice has no cases 'hidden/cases.yaml' (it has: none)"
        assert mark.feedback == told


def test_weights_of_zero_are_one_error(twice: Task) -> None:
    rubric = replace(twice.rubric, criteria=tuple(replace(c, weight=0.0) for c in twice.rubric.criteria))
    with pytest.raises(TaskError, match="task twice: the weights of its criteria sum to zero"):
        judging(replace(twice, rubric=rubric), RIGHT)
