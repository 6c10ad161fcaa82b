"""The ``text`` check: each comparison, dressed answers, hostile patterns and texts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make, marked

from aigym_kernel.errors import TaskError
from aigym_kernel.judge.texts import choice, token_f1
from aigym_kernel.judge.verdict import Undecided, diff, extra

ANSWER = {"answer": "answer.txt", "kind": "data"}
SENTENCE = "The quick brown fox jumps over the lazy dog."


@pytest.mark.parametrize(
    ("compare", "expected", "text", "value"),
    [
        ("exact", ["Paris"], "Paris\n", 1.0),
        ("exact", ["Paris", "paris"], " paris ", 1.0),
        ("exact", ["Paris"], "Paris.", 0.0),
        ("exact", [42], "42", 1.0),
        ("regex", [r"(?i)paris\W?"], "PARIS!", 1.0),
        ("regex", [r"paris"], "not paris", 0.0),
        ("numeric", [1234.5], "So it is $1,234.50.", 1.0),
        ("numeric", [2], "1/2 + 3/2 = 2", 1.0),
        ("numeric", [-3], "x = -3", 1.0),
        ("numeric", [0.5], ".5", 1.0),
        ("numeric", [6.02e23], "6.02E23", 1.0),
        ("numeric", [2], "1, 2, 3, 4", 0.0),
        ("numeric", [2], "two", 0.0),
        ("numeric", [2], "9" * 400, 0.0),
        ("choice", ["B"], "(b)", 1.0),
        ("choice", ["B"], "B. Paris is the capital", 1.0),
        ("choice", ["b"], "A is wrong, so the answer is **B**.", 1.0),
        ("choice", ["B"], r"$\boxed{B}$", 1.0),
        ("choice", ["B"], "A B C D", 0.0),
        ("choice", ["B"], "Perhaps", 0.0),
        ("rougeL", [SENTENCE], SENTENCE, 1.0),
        ("rouge1", [SENTENCE], "the dog", 4 / 11),
        ("chrf", [SENTENCE], SENTENCE, 1.0),
        ("chrf", [SENTENCE], "ZZZ", 0.0),
        ("f1", ["The Eiffel Tower", "it"], "an eiffel tower!", 1.0),
        ("f1", ["a b c d"], "b c x", 4 / 6),
    ],
)
def test_comparisons(tmp_path: Path, compare: str, expected: list[Any], text: str, value: float) -> None:
    check = {"type": "text", "compare": compare, "expected": expected}
    mark = marked(tmp_path, check, {}, text, **ANSWER)
    assert mark.value == pytest.approx(value, abs=1e-3)
    assert mark.feedback


def test_similarity_counts_in_full_from_a_mark_on(tmp_path: Path) -> None:
    check = {"type": "text", "compare": "rouge1", "reference": "hidden/best.txt", "at_full": 0.5}
    hidden = {"best.txt": "one two three four"}
    mark = marked(tmp_path, check, hidden, "one two five six", **ANSWER)
    assert (mark.value, mark.feedback) == (1.0, "rouge1 0.500 (full from 0.5)")


def test_what_is_expected_is_told_only_where_visible(tmp_path: Path) -> None:
    check = {"type": "text", "compare": "exact", "expected": ["one\ntwo\nthree"]}
    mark = marked(tmp_path / "a", check, {}, "one\n2\nthree", **ANSWER)
    assert mark.feedback == "not the expected text"
    mark = marked(tmp_path / "b", check | {"visible": True}, {}, "one\n2\nthree", **ANSWER)
    assert "-two\n+2" in mark.feedback
    check = {"type": "text", "compare": "numeric", "expected": [7], "visible": True}
    assert "expected 7, got '8'" in marked(tmp_path / "c", check, {}, "8", **ANSWER).feedback


def test_pattern_that_never_ends_is_no_zero(tmp_path: Path) -> None:
    check = {"type": "text", "compare": "regex", "expected": ["(a|aa)+b"]}
    started = time.monotonic()
    mark = marked(tmp_path, check, {}, "a" * 5000, **ANSWER)
    assert mark.value is None
    assert "a pattern took more than 2 s" in mark.feedback
    assert time.monotonic() - started < 60


def test_long_texts_do_not_hold_the_judge_up(tmp_path: Path) -> None:
    check = {"type": "text", "compare": "rougeL", "reference": "hidden/best.txt"}
    mark = marked(tmp_path / "a", check, {"best.txt": "word " * 1000}, "word " * 9000, **ANSWER)
    assert (mark.value, mark.feedback) == (0.0, "9,000 words are too many; about 1,000 are expected")
    mark = marked(tmp_path / "b", check, {"best.txt": "word " * 3000}, "word " * 3000, **ANSWER)
    assert mark.value is None
    assert "rougeL with 3,000 words takes too long" in mark.feedback


@pytest.mark.parametrize("compare", ["rougeL", "chrf", "f1", "exact", "numeric", "choice"])
@pytest.mark.parametrize("text", ["\0" * 50, "x" * 200_000, "a " * 5000, "-" * 9000, "answer is " * 900])
def test_hostile_texts(tmp_path: Path, compare: str, text: str) -> None:
    expected: list[Any] = {"numeric": [3], "choice": ["C"]}.get(compare, ["some text"])
    check = {"type": "text", "compare": compare, "expected": expected, "visible": True}
    mark = marked(tmp_path, check, {}, text, **ANSWER)
    assert mark.value == pytest.approx(0.0, abs=1e-3)
    assert len(mark.feedback) < 1000


def test_answers_that_are_no_text(tmp_path: Path) -> None:
    check = {"type": "text", "compare": "exact", "expected": ["x"], "file": "out/a.txt"}
    task = {"answer": "solution.py"}
    assert "there is no file out/a.txt" in marked(tmp_path / "a", check, {}, "x", **task).feedback
    mark = marked(tmp_path / "b", check, {}, {"out/a.txt": b"\xff"}, **task)
    assert mark.feedback == "out/a.txt: is not UTF-8 text (byte 0)"
    assert marked(tmp_path / "c", check, {}, {"out/a.txt": "\n"}, **task).feedback == "out/a.txt is empty"


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ({"compare": "regex", "expected": ["("]}, "check.expected[0]: '(' is no pattern: missing )"),
        ({"compare": "numeric", "expected": ["2"]}, "check.expected[0]: '2' is no number"),
        ({"compare": "choice", "expected": ["AB"]}, "check.expected[0]: 'AB' is no choice"),
        ({"compare": "exact"}, "check.expected: give either expected or reference"),
        ({"compare": "exact", "reference": "hidden/no.txt"}, "check.reference: there is no file"),
        ({"compare": "regexp", "expected": ["x"]}, "'regexp' is not allowed; Did you mean 'regex'"),
        ({"compare": "f1", "expected": ["x"], "at_full": 0}, "check.at_full: 0"),
        ({"compare": "exact", "expected": ["x"], "file": "../x"}, "check.file: '../x' must be the path"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, check: dict[str, Any], told: str) -> None:
    with pytest.raises(TaskError) as caught:
        make(tmp_path / "sample", [{"check": {"type": "text", **check}}], {}, **ANSWER)
    assert told in str(caught.value)


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(
        Undecided, match=r"needs the package rouge-scorre: pip install 'aigym-kernel\[judge\]'"
    ):
        extra("rouge_scorre", "rouge-scorre")


@given(st.text(max_size=300))
def test_any_text_has_a_choice_or_none(text: str) -> None:
    assert choice(text) == "" or choice(text).isalpha()
    assert 0.0 <= token_f1(text, "some words") <= 1.0
    assert len(diff("a\nb", text).splitlines()) <= 20
