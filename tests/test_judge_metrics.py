"""The ``metric`` check: F1 and AUC, evaluation scripts, and submissions that are not what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import make, marked

from aigym_kernel.errors import TaskError
from aigym_kernel.judge.metrics import measure

pytestmark = pytest.mark.usefixtures("sandbox")

ANSWER: dict[str, Any] = {"answer": "submission.csv", "kind": "data"}
TRUTH = "id,y\na,yes\nb,no\nc,yes\nd,no\n"


def metric(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "metric", "metric": name, "target": "y", "positive": "yes", **more}


def test_measures_of_labels() -> None:
    truth = ["1", "0", "1", "1"]
    assert measure("f1", ["1", "0", "0", "1"], truth) == pytest.approx(0.8)
    assert measure("f1", ["0", "x", "", "0"], truth) == 0.0
    assert measure("f1", ["a", "b"], ["a", "b"], positive="b") == 1.0
    assert measure("f1_macro", ["a", "b", "c"], ["a", "b", "b"]) == pytest.approx((1 + 2 / 3) / 2)
    assert measure("f1_macro", ["x", "x"], ["a", "b"]) == 0.0
    assert measure("auc", [0.9, 0.1, 0.8, 0.3], truth) == 1.0
    assert measure("auc", [5, 5, 5, 5], truth) == 0.5


@pytest.mark.parametrize(
    ("check", "submission", "value", "told"),
    [
        (metric("f1"), "id,y\na,yes\nb,yes\nc,yes\nd,no\n", 0.8, "f1 0.8 over 4 rows"),
        (metric("f1_macro"), TRUTH, 1.0, "f1_macro 1 over 4 rows"),
        (metric("f1"), "id,y\na,nan\nb,?\nc,\nd,no\n", 0.0, "f1 0 over"),
        (
            metric("auc", at_zero=0.5),
            "id,y\na,3\nb,1\nc,1.5\nd,2\n",
            0.5,
            "auc 0.75 over 4 rows (0 points",
        ),
        (metric("auc"), "id,y\na,yes\nb,1\nc,1\nd,2\n", 0.0, "line 2: 'yes' is not a finite number"),
        (metric("auc"), "id,y\na,nan\nb,1\nc,1\nd,2\n", 0.0, "line 2: 'nan' is not a finite number"),
        (metric("auc"), "id,y\na,1e999\nb,1\nc,1\nd,2\n", 0.0, "line 2: '1e999' is not a finite number"),
        (metric("f1"), "id,y\na,yes\n", 0.0, "3 of 4 ids are missing, the first 'b'"),
        (
            metric("f1"),
            "id,label\na,yes\n",
            0.0,
            "the header must name the column 'y' once, it is 'id,label'",
        ),
        (metric("f1"), "{}", 0.0, "the header must name the column 'id' once"),
        (metric("f1"), "id,y\n" + "".join(f"{i},no\n" for i in range(200_000)), 0.0, "more than 1,008 rows"),
        (metric("f1"), "id,y\na," + "x" * 1_000_000, 0.0, "it is no CSV: field larger than field limit"),
        (metric("f1"), "x" * 5_000_000, 0.0, "it is no CSV: field larger than field limit"),
        (metric("f1"), "id,y\n\0,\0\n", 0.0, "4 of 4 ids are missing"),
        (metric("f1"), 'id,y\na,"yes\n', 0.0, "ids are missing"),
        (metric("f1"), "id;y\na;yes\n", 0.0, "it is 'id;y'"),
    ],
)
def test_submissions(tmp_path: Path, check: dict[str, Any], submission: str, value: float, told: str) -> None:
    mark = marked(tmp_path, check, {"truth.csv": TRUTH}, submission, **ANSWER)
    assert mark.value == pytest.approx(value)
    assert told in mark.feedback


def test_binary_submissions(tmp_path: Path) -> None:
    for number, content in enumerate((b"\x89PNG\r\n\x1a\n" + bytes(999), "id,y\na,é\n".encode("latin-1"))):
        files = {"submission.csv": content}
        mark = marked(tmp_path / str(number), metric("f1"), {"truth.csv": TRUTH}, files, **ANSWER)
        assert (mark.value, mark.feedback) == (0.0, "submission.csv: it is not UTF-8 text")


EVALUATE = """
import json
def read(name):
    with open(name) as file:
        return [float(line) for line in file]
try:
    got = read("out.txt")
except ValueError as error:
    print(json.dumps({"value": 9, "feedback": f"not a number: {error}"}))
    raise SystemExit
truth = read("hidden/truth.txt")
print("evaluating")
print(json.dumps({"value": max(abs(g - t) for g, t in zip(got, truth))}))
"""
SCRIPT: dict[str, Any] = {
    "type": "metric",
    "script": "hidden/evaluate.py",
    "submission": "out.txt",
    "truth": "hidden/truth.txt",
    "at_zero": 2.0,
}
SCRIPT["at_full"] = 0.0
HIDDEN = {"evaluate.py": EVALUATE, "truth.txt": "1\n2\n"}


def test_evaluation_script(tmp_path: Path) -> None:
    program = "import os\nassert not os.path.exists('hidden')\nopen('out.txt', 'w').write('1.5\\n2\\n')"
    mark = marked(tmp_path / "a", SCRIPT, HIDDEN, program)
    assert (mark.value, mark.feedback) == (0.75, "value 0.5 (0 points at 2, full at 0)")
    mark = marked(tmp_path / "b", SCRIPT, HIDDEN, {"out.txt": "x"}, answer="out.txt")
    assert mark.value == 0.0
    assert "not a number: could not convert string to float: 'x'" in mark.feedback
    mark = marked(tmp_path / "c", SCRIPT, HIDDEN, "print(1)")
    assert (mark.value, mark.feedback) == (0.0, "there is no regular file out.txt")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("1 / 0", "hidden/evaluate.py ended with exit code 1; ZeroDivisionError"),
        ('print(\'{"value": "high"}\')', 'its last line must be {"value": number}'),
        ("print('{\"value\": NaN}')", 'its last line must be {"value": number}'),
        ("print('[]')", 'its last line must be {"value": number}'),
        ("print(0.5)", 'its last line must be {"value": number}, it is 0.5'),
    ],
)
def test_script_that_fails_is_no_zero(tmp_path: Path, script: str, told: str) -> None:
    mark = marked(tmp_path, SCRIPT, HIDDEN | {"evaluate.py": script}, {"out.txt": "1"}, answer="out.txt")
    assert mark.value is None
    assert told in mark.feedback


@pytest.mark.parametrize(
    ("truth", "told"),
    [
        ("id,y\na,yes\nb,yes\n", "needs two labels, one of them positive: 'yes'; it has yes"),
        ("id,y\na,1\nb,0\n", "needs two labels, one of them positive: 'yes'; it has 0, 1"),
        ("id,x\na,1\n", "the header must name the column 'y' once"),
        ("id,y\n", "it holds a header and no rows"),
    ],
)
def test_truth_that_cannot_be_used_is_no_zero(tmp_path: Path, truth: str, told: str) -> None:
    for name in ("f1", "auc"):
        mark = marked(tmp_path / name, metric(name), {"truth.csv": truth}, "id,y\na,1\nb,0\n", **ANSWER)
        assert mark.value is None
        assert told in mark.feedback
        assert "hidden/truth.csv" in mark.feedback


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ({"type": "metric", "target": "y"}, "check.metric: give either metric or script"),
        (SCRIPT | {"metric": "f1", "target": "y"}, "check.metric: give either metric or script"),
        (SCRIPT | {"truth": "hidden/no"}, "check.truth: there is no file 'hidden/no'"),
        ({"type": "metric", "metric": "f1"}, "check.target: is missing"),
        (metric("mae"), "check.at_full: is above at_zero, but mae is better the lower it is"),
        (metric("f1_micro"), "check.metric: 'f1_micro' is not allowed; Did you mean 'f1_macro'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, check: dict[str, Any], told: str) -> None:
    with pytest.raises(TaskError) as caught:
        make(tmp_path / "sample", [{"check": check}], {**HIDDEN, "truth.csv": TRUTH}, **ANSWER)
    assert told in str(caught.value)
