"""How a program's output is compared with what was expected, on the host.

difference(got, expected, "numeric", 1e-6)  ->  "" or what differs first, for a person to read
"""

from __future__ import annotations

import math

from aigym_kernel.judge.values import shown


def difference(got: str, expected: str, compare: str, tolerance: float) -> str:
    """What differs first, or nothing. ``compare`` is one of `OutputCheck.compare`."""
    if compare == "exact":
        return _exact(got, expected)
    if compare == "lines":
        return _first("line", _lines(got), _lines(expected), 0.0)
    return _first("word", got.split(), expected.split(), tolerance if compare == "numeric" else -1.0)


def _exact(got: str, expected: str) -> str:
    if got == expected:
        return ""
    at = next((i for i, (g, e) in enumerate(zip(got, expected)) if g != e), min(len(got), len(expected)))
    line = expected.count("\n", 0, at) + 1
    sides = [shown(side[at : at + 40], 80) if at < len(side) else "the end" for side in (expected, got)]
    return f"output line {line}: expected {sides[0]}, got {sides[1]}"


def _lines(text: str) -> list[str]:
    """Lines without spaces at their ends, and without empty ones after the last."""
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _first(what: str, got: list[str], expected: list[str], tolerance: float) -> str:
    """The first part that differs; numbers may by ``tolerance`` (none are looked for below zero)."""
    same = _near if tolerance >= 0 and what == "word" else lambda g, e, _: g == e
    at = next((i for i, (g, e) in enumerate(zip(got, expected)) if not same(g, e, tolerance)), None)
    if at is None:
        if len(got) == len(expected):
            return ""
        at = min(len(got), len(expected))
    sides = [shown(side[at], 80) if at < len(side) else f"no such {what}" for side in (expected, got)]
    return f"output {what} {at + 1}: expected {sides[0]}, got {sides[1]}"


def _near(got: str, expected: str, tolerance: float) -> bool:
    if got == expected:
        return True
    try:
        a, b = float(got), float(expected)
    except ValueError:
        return False
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b))
