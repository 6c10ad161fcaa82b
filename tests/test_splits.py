"""Public and hidden splits: what an agent may try, what the final score rests on, and that the one tells
nothing of the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_judge import CASES, make, only

from aigym_kernel.envs.task_env import TaskEnv
from aigym_kernel.errors import TaskError
from aigym_kernel.judge import judge, validate
from aigym_kernel.tasks import Task

pytestmark = pytest.mark.usefixtures("sandbox")

RIGHT = "def double(x):\n    return 2 * x\n"
LEARNT = "def double(x):\n    return {2: 4}.get(x)\n"
TOOLS = {"tools": ["bash", "write", "validate", "submit"], "max_steps": 10, "validations": 2}


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Task:
    checks: list[dict[str, Any]] = [
        {"check": {"type": "function", "function": "double"}},
        {"check": {"type": "program"}, "weight": 3.0},
    ]
    script = 'print(\'{"value": 1, "feedback": "secret"}\')'
    folder = tmp_path_factory.mktemp("tasks") / "double"
    return make(folder, checks, {"cases.yaml": CASES, "check.py": script}, **TOOLS)


def test_validating_sees_the_public_part_alone(double: Task) -> None:
    score = validate(double, {"solution.py": LEARNT})
    assert (score.total, score.passed, [m.name for m in score.marks]) == (1.0, True, ["c0"])
    assert only(score).feedback == "1 of 1 case right"
    told = only(validate(double, {"solution.py": "def double(x): return 5"})).feedback
    assert told == "0 of 1 case right\ncase 1: double(2): expected 4, got 5"


def test_the_final_score_rests_on_the_hidden_part(double: Task) -> None:
    score = judge(double, {"solution.py": LEARNT})
    assert [m.value for m in score.marks] == [0.0, 1.0]
    assert "0 of 2 cases right" in score.marks[0].feedback
    assert judge(double, {"solution.py": RIGHT}).passed


SPY = """
import json, os, sys
def double(x):
    with open(__file__) as file: me = file.read()
    raise ValueError(repr(x) + ' ' + ' '.join(sorted(os.listdir('/work') + os.listdir('/tmp'))))
"""


def test_validating_tells_nothing_of_the_hidden_part(double: Task) -> None:
    everything = json.dumps(validate(double, {"solution.py": SPY}).to_dict())
    assert "ValueError: 2 solution.py" in everything
    assert "secret" not in everything
    assert "check.py" not in everything
    for case in CASES[1:]:
        assert f"ValueError: {case['args'][0]}" not in everything  # type: ignore[index]
    fails_later = "def double(x):\n    if x == 2: return 4\n    raise SystemExit\n"
    same = [validate(double, {"solution.py": s}).to_dict() for s in (fails_later, LEARNT, RIGHT)]
    for told in same:
        del told["wall_s"]
    assert same[0] == same[1] == same[2]


def test_an_agent_validates_a_limited_number_of_times(double: Task) -> None:
    env = TaskEnv(str(double.folder))
    first, _ = env.reset()
    assert "validate can be called 2 times." in first
    assert env.step("validate")[0].startswith("score 0.00, not passed\nc0: failed\n  there is no file")
    env.step(f"write solution.py\n{LEARNT}")
    seen, reward, terminated, _, _ = env.step("validate")
    assert (reward, terminated) == (0.0, False)
    assert "c0: passed" in seen
    assert "[public part only; 0 of 2 validations left]" in seen
    seen, *_ = env.step("validate again")
    assert seen == "validate: all 2 validations are used"
    assert env.step("bash cat solution.py")[0] == LEARNT.rstrip("\n"), "the box is still open"
    seen, reward, terminated, _, _ = env.step("submit")
    assert (reward, terminated) == (0.75, True)
    env.reset()
    assert "1 of 2 validations left" in env.step("validate")[0]
    env.close()


METRIC = {"type": "metric", "metric": "accuracy", "target": "y", "at_zero": 0.0, "at_full": 1.0}


def rows(*pairs: tuple[int, int]) -> str:
    return "id,y\n" + "".join(f"{i},{y}\n" for i, y in pairs)


def test_a_metric_has_a_public_truth(tmp_path: Path) -> None:
    task = make(
        tmp_path / "predict",
        [{"check": METRIC | {"public": "hidden/public.csv"}}],
        {"truth.csv": rows((1, 0), (2, 0)), "public.csv": rows((3, 1), (4, 1))},
        kind="data",
        answer="submission.csv",
    )
    submission = rows((1, 0), (2, 1), (3, 1), (4, 1))
    assert only(validate(task, submission)).feedback.startswith("accuracy 1 over 2 rows")
    assert only(judge(task, submission)).feedback.startswith("accuracy 0.5 over 2 rows")
    for part in (validate, judge):
        told = only(part(task, rows((1, 0), (3, 1)))).feedback
        assert "2 of 4 ids are missing" in told


@pytest.mark.parametrize(
    ("change", "cases", "told"),
    [
        (TOOLS | {"validations": 0}, CASES, "validations: 0 and 'validate' among the tools need each other"),
        (TOOLS | {"tools": ["bash", "submit"]}, CASES, "validations: 2 and 'validate' among the tools"),
        ({"validations": -1}, CASES, "validations: -1: it should be greater than or equal to 0"),
        (TOOLS, CASES[1:], "validations: there is nothing to validate on"),
        (TOOLS, CASES[:1], "validations: all cases of hidden/cases.yaml are visible"),
    ],
)
def test_splits_that_cannot_be(tmp_path: Path, change: Any, cases: Any, told: str) -> None:
    with pytest.raises(TaskError, match=told):
        make(
            tmp_path / "double",
            [{"check": {"type": "function", "function": "double"}}],
            {"cases.yaml": cases},
            **change,
        )


def test_a_task_without_a_public_split(tmp_path: Path) -> None:
    task = make(tmp_path / "x", [{"check": {"type": "program"}}], {"check.py": "print(1)"})
    with pytest.raises(TaskError, match="task x has no public split; mark cases"):
        validate(task, "print(1)")


def test_where_nobody_validates_visible_cases_count_too(tmp_path: Path) -> None:
    check = {"type": "function", "function": "double"}
    task = make(tmp_path / "double", [{"check": check}], {"cases.yaml": CASES})
    assert only(judge(task, LEARNT)).value == pytest.approx(1 / 3)
    assert only(validate(task, LEARNT)).value == 1.0
