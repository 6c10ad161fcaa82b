"""Values and errors that cross from the box to the judge as JSON, compared and shown on the host.

A value arrives as plain data: whatever class it had inside, its ``__eq__`` stays there.
"""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from aigym_kernel import rendering
from aigym_kernel.judge.inside import DEPTH

ANSWER_LENGTH = 65_536
"""The longest answer to one case, encoded; longer ones fail the case."""
_TEXTS, _OTHERS = ("error", "message", "file", "unsendable"), {"names": list, "line": int, "loading": bool}
_BUILTIN = {n for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, BaseException)}


def parse(line: str) -> dict[str, Any]:
    """One answer line of `judge.inside`, its value decoded. What is no answer line, ``{"ended": why}``.

    A solution may have written it itself: it is taken for what it says. One of more than `ANSWER_LENGTH`
    characters could keep the judge busy, with keys that are one to a hash table for example.
    """
    try:
        if len(line) > ANSWER_LENGTH:
            raise ValueError(len(line))
        given = json.loads(line)
        answer = {key: given[key] for key in _TEXTS if isinstance(given.get(key), str)}
        answer |= {key: given[key] for key, kind in _OTHERS.items() if type(given.get(key)) is kind}
        answer = {key: value for key, value in answer.items() if value is not False}
        if "value" in given:
            answer["value"] = decode(given["value"])
        if not answer.keys() & {"value", "error", "unsendable"}:
            raise ValueError(line)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"ended": "its answer cannot be read"}
    return answer


def decode(data: Any, depth: int = 0) -> Any:
    """The value that was encoded in the box, tuples as lists (as tuples where they are keys).

    Raises:
        ValueError, TypeError, KeyError, AttributeError: `judge.inside` encodes no value like this.
    """
    if depth > DEPTH:
        raise ValueError(f"nested more than {DEPTH} deep")
    if isinstance(data, list):
        return [decode(v, depth + 1) for v in data]
    if isinstance(data, dict):
        return {_key(decode(k, depth + 1)): decode(v, depth + 1) for k, v in data["dict"]}
    return data


def _key(value: object) -> object:
    return tuple(map(_key, value)) if isinstance(value, list) else value


def _told(key: object) -> object:
    """A dict's key, with True told from 1, which are the same key to Python."""
    return tuple(map(_told, key)) if isinstance(key, tuple) else (isinstance(key, bool), key)


def builtin_name(names: Sequence[str]) -> str:
    """The first of an exception's classes that is Python's own: a name that no solution has made up."""
    return next((name for name in names if name in _BUILTIN), "an exception")


def line_of(files: Mapping[str, bytes], answer: str, error: Mapping[str, Any]) -> str:
    """The line of the solution at which an error says it was raised, as it stands in ``files``; nothing
    where there is no such line."""
    file, number = error.get("file"), error.get("line")
    if not isinstance(file, str) or not isinstance(number, int) or file not in files:
        return ""
    lines = files[file].decode("utf-8", "replace").split("\n")
    if not 1 <= number <= len(lines):
        return ""
    return f"{'' if file == answer else f'{file}, '}line {number}: {lines[number - 1].strip()[:120]}"


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
        if {_told(k) for k in got} != {_told(k) for k in expected}:
            return False
        return all(equal(got[k], expected[k], tolerance) for k in expected)
    return type(got) is type(expected) and bool(got == expected)


def shown(value: Any, width: int = 200) -> str:
    """``value`` as Python writes it, on one line of at most ``width`` characters."""
    return rendering.short(repr(value), width)
