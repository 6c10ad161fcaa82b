"""Values as plain texts and trees, small enough to be sent: what a trajectory holds, cut with a word.

finite(0.1234567)      0.123457; None for NaN and infinities
cut("long ...", 20)    with an ellipsis, and no lone surrogates
text(value)            a str as it is, anything else as JSON; arrays beyond `MAX_NUMBERS` as a summary
tree(value)            nested lists that scenes.js draws, each led by the kind of node:
                       ["o", [[key, node], ...], n]   ["l", [node, ...], n]   n: how many there are
                       ["s", text]   ["v", text]   ["a", text]   ["i", data URI]
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.pictures import data_uri, picture

MAX_TEXT = 20_000
MAX_NUMBERS = 2_000
_MAX_ENTRIES = 100
_MAX_NODES = 500
_MAX_DEPTH = 8
_LEAF_TEXT = 2_000
_SCALARS = frozenset((str, int, float, bool, type(None)))


def finite(value: float | None) -> float | None:
    """The number rounded to six digits, or None for what JSON has no word for (NaN, infinities)."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """The text without lone surrogates (no message can hold them), at most ``limit`` long."""
    part = text if len(text) <= limit else text[: limit - 1] + "…" if limit > 0 else ""
    return part if part.isascii() else part.encode("utf-8", "backslashreplace").decode("utf-8")


def text(value: Any, indent: int | None = 1) -> str:
    """A str as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and all(type(v) in _SCALARS for v in value.values()):
        return json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    try:
        return json.dumps(_jsonable(value, 0), indent=indent, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _jsonable(value: Any, depth: int) -> Any:
    if depth > 40:
        return "…"
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, tuple | list):
        head = [_jsonable(item, depth + 1) for item in value[:MAX_NUMBERS]]
        return head if len(value) <= MAX_NUMBERS else [*head, f"… {len(value):,} in all"]
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= MAX_NUMBERS else summary(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value[:MAX_TEXT].decode("utf-8", "backslashreplace")
    return value


def summary(array: NDArray[Any]) -> str:
    """An array in a line: dtype, shape, range, first values."""
    told = f"{array.dtype} {array.shape}"
    if array.dtype.kind in "biuf" and array.size:
        first = ", ".join(f"{v:.4g}" for v in array.reshape(-1)[:8].tolist())
        # The range of a sample: nobody waits for the minimum of 200 MB.
        part = array.reshape(-1)[:: max(1, array.size // 1_000_000)]
        told += f", {np.min(part):.4g} to {np.max(part):.4g}: {first}, …"
    return told


def tree(value: Any) -> list[Any]:
    """The value as nodes; see the module's text."""
    return _node(value, 0, [0])


def _node(value: Any, depth: int, made: list[int]) -> list[Any]:
    made[0] += 1
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, str):
        return ["s", cut(value, _LEAF_TEXT)]
    if isinstance(value, np.ndarray):
        if (pixels := picture(value)) is not None:
            return ["i", data_uri(pixels)]
        return ["a", cut(text(value, None) if value.size <= 32 else summary(value), _LEAF_TEXT)]
    if isinstance(value, Mapping | tuple | list) and depth >= _MAX_DEPTH:
        return ["v", f"… {len(value)} inside"]
    if isinstance(value, Mapping):
        pairs = [[cut(str(k), 200), _node(v, depth + 1, made)] for k, v in _some(value.items(), made)]
        return ["o", pairs, len(value)]
    if isinstance(value, tuple | list):
        if len(value) > 8 and all(isinstance(item, int | float) for item in value[:1000]):
            return ["a", cut(text(value, None), _LEAF_TEXT)]
        return ["l", [_node(item, depth + 1, made) for item in _some(value, made)], len(value)]
    return ["v", cut(text(value, None), _LEAF_TEXT)]


def _some(items: Any, made: list[int]) -> Iterator[Any]:
    """The first entries, while there are not too many nodes altogether."""
    for item in islice(items, _MAX_ENTRIES):
        if made[0] >= _MAX_NODES:
            return
        yield item
