"""Values that cross from the box to the judge as JSON, compared on the host.

A value arrives as plain data: whatever class it had inside, its ``__eq__`` stays there.
"""

from __future__ import annotations

import json
import math
from typing import Any

from aigym_kernel import rendering
from aigym_kernel.judge.inside import decode, encode

__all__ = ["decode", "encode", "equal", "parse", "shown"]


def parse(line: str) -> dict[str, Any]:
    """One answer line of `judge.inside`, its value decoded. What is no answer line, ``{"ended": why}``."""
    try:
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError(line)
        if "value" in answer:
            answer["value"] = decode(answer["value"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return {"ended": "its answer cannot be read"}
    return answer


def equal(got: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Whether two plain values are the same: lists and dicts by their members, numbers within
    ``tolerance`` (relative or absolute), NaN equal to NaN. A bool equals only a bool; 2 equals 2.0."""
    if isinstance(got, bool) or isinstance(expected, bool):
        return got is expected
    if isinstance(got, int | float) and isinstance(expected, int | float):
        if got == expected or (got != got and expected != expected):
            return True
        try:
            return tolerance > 0 and math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:
            return False
    if isinstance(got, list) and isinstance(expected, list):
        return len(got) == len(expected) and all(equal(g, e, tolerance) for g, e in zip(got, expected))
    if isinstance(got, dict) and isinstance(expected, dict):
        return got.keys() == expected.keys() and all(equal(got[k], expected[k], tolerance) for k in expected)
    return type(got) is type(expected) and bool(got == expected)


def shown(value: Any, width: int = 200) -> str:
    """``value`` as Python writes it, on one line of at most ``width`` characters."""
    return rendering.short(repr(value), width)
