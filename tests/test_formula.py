"""Formulas: Python's arithmetic without Python, the same on numbers, arrays and tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aigym_kernel.envs.formula import parse
from aigym_kernel.errors import AigymError, UnknownName

NAMES = ("apple", "hunger", "wall")

LEAVES = st.one_of(
    st.sampled_from(NAMES),
    st.integers(0, 20).map(str),
    st.floats(0, 100, allow_nan=False).map(lambda x: repr(round(x, 3))),
)
BINARY = ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "and", "or")


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} < {p[1]} <= {p[2]})"),
        st.tuples(inner, st.integers(0, 3)).map(lambda p: f"({p[0]} ** {p[1]})"),
        inner.map(lambda x: f"(-{x})"),
        inner.map(lambda x: f"(not {x})"),
    )


EXPRESSIONS = st.recursive(LEAVES, grow, max_leaves=12)
VALUES = st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, 7.25]), min_size=3, max_size=3)


def plainly(text: str, values: dict[str, float]) -> float:
    """What Python makes of it; NaN where it divides by zero."""
    try:
        return float(eval(text, {"__builtins__": {}}, values))
    except ZeroDivisionError:
        return math.nan


def on_device(condition: Any, a: Any, b: Any) -> Any:
    sides = [s if isinstance(s, torch.Tensor) else torch.tensor(s, dtype=torch.float64) for s in (a, b)]
    return torch.where(condition, *sides)


@settings(max_examples=200, deadline=None)
@given(text=EXPRESSIONS, rows=st.lists(VALUES, min_size=1, max_size=4))
def test_formulas_mean_what_they_mean_in_python(text: str, rows: list[list[float]]) -> None:
    try:
        formula = parse(text, NAMES)
    except AigymError:  # a part of it is a constant that is no number
        assert "/" in text
        return
    columns = np.array(rows).T
    alone = []
    for row in rows:
        values = dict(zip(NAMES, row))
        expected, got = plainly(text, values), float(formula(values))
        assert got == pytest.approx(expected, rel=1e-12, nan_ok=True)
        alone.append(got)
    many = np.broadcast_to(np.asarray(formula(dict(zip(NAMES, columns)), np.where)), len(rows))
    assert many.tolist() == pytest.approx(alone, rel=0, abs=0, nan_ok=True)
    tensors = dict(zip(NAMES, torch.from_numpy(columns)))
    there = torch.as_tensor(formula(tensors, on_device), dtype=torch.float64).expand(len(rows))
    assert there.tolist() == pytest.approx(alone, rel=0, abs=0, nan_ok=True)


def test_it_says_which_names_it_uses() -> None:
    assert parse("10*apple - wall", NAMES).names == {"apple", "wall"}
    assert parse("2 + 3", NAMES)({}) == 5.0


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("10*aple", UnknownName, "Did you mean 'apple'"),
        ("apple.real", AigymError, "'apple.real'"),
        ("abs(apple)", AigymError, "'abs\\(apple\\)'"),
        ("__import__('os').system('ls')", AigymError, "not allowed"),
        ("apple[0]", AigymError, "not allowed"),
        ("[1 for i in wall]", AigymError, "not allowed"),
        ("(x := 3)", AigymError, "not allowed"),
        ("lambda: 3", AigymError, "not allowed"),
        ("apple @ wall", AigymError, "not allowed"),
        ("apple // 2", AigymError, "not allowed"),
        ("apple in wall", AigymError, "not allowed"),
        ("'apple'", AigymError, "not allowed"),
        ("True", AigymError, "write 1 for true"),
        ("1j", AigymError, "not allowed"),
        ("9**9**9", AigymError, "from 0 to 8"),
        ("apple**wall", AigymError, "from 0 to 8"),
        ("apple**2.5", AigymError, "from 0 to 8"),
        ("1e99*apple", AigymError, "numbers go up to"),
        ("9" * 600, AigymError, "numbers go up to"),
        ("apple / 0", AigymError, "divides by zero in 'apple / 0'"),
        ("apple / (2 - 2)", AigymError, "divides by zero"),
        ("((((1e9**8)**8)**8)**8) * apple", AigymError, "always inf"),
        ("10*", AigymError, "cannot be read"),
        ("apple wall", AigymError, "cannot be read"),
        ("apple; wall", AigymError, "cannot be read"),
        ("", AigymError, "no arithmetic expression"),
        (7, AigymError, "7 is no arithmetic expression"),
        ("(" * 300 + "1" + ")" * 300, AigymError, "cannot be read"),
        ("-" * 900 + "1", AigymError, "formula"),
        ("+".join(["apple"] * 150), AigymError, "at most 200"),
        ("1+" * 600 + "1", AigymError, "at most 1,000"),
    ],
)
def test_everything_else_is_refused(text: Any, error: type[AigymError], says: str) -> None:
    with pytest.raises(error, match=says):
        parse(text, NAMES)
