"""Words and values as a report writes them: names of cells, lists of values, times, other people's output.

Knows nothing of pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from aigym_kernel.bench.blocks import Inline
from aigym_kernel.bench.records import Cell
from aigym_kernel.grouping import text
from aigym_kernel.rendering import short

SHOWN_VALUES = 8
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def clean(said: str | None) -> str:
    """What somebody's program said, without colours and control characters."""
    return _CONTROL.sub("", said or "")


def title(cell: Cell) -> str:
    """What a cell is called."""
    return cell.label or cell.notebook


def listed(values: Sequence[Any]) -> str:
    """Values in one line: all of a few, the first of many, a range of whole numbers as ``0 to 4``."""
    if range_ := span(values):
        return range_.replace("..", " to ")
    some = ", ".join(short(text(value), 40) or "''" for value in values[:SHOWN_VALUES])
    return some if len(values) <= SHOWN_VALUES else f"{some} and {len(values) - SHOWN_VALUES} more"


def joined(parts: Sequence[Inline]) -> list[Inline]:
    """Words with commas between them."""
    line: list[Inline] = []
    for i, part in enumerate(parts):
        line += [*([", "] if i else []), part]
    return line


def moment(seconds: float) -> str:
    """A time for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order in which they come."""
    return list({json.dumps(value, sort_keys=True, default=str): value for value in values}.values())


def span(values: Sequence[Any]) -> str:
    """``0..4`` for three or more whole numbers that follow each other."""
    whole = len(values) > 2 and all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    if not whole or list(values) != list(range(values[0], values[0] + len(values))):
        return ""
    return f"{values[0]}..{values[-1]}"
