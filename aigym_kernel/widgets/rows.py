"""The rows of the explorer's list, as plain values that fit into a message to the browser.

rows(explorer, {"from": 0, "to": 60})      what list.js shows of the trajectories at these places
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigym_kernel.errors import AigymError
from aigym_kernel.widgets.columns import Names, Table

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer

MOST_ROWS = 500


def rows(explorer: Explorer, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The rows from one place to before another of the present order; ``stamp`` tells which order that is."""
    first, last = arguments.get("from"), arguments.get("to")
    if not isinstance(first, int) or not isinstance(last, int) or not 0 <= first <= last <= first + MOST_ROWS:
        raise AigymError(f"rows from {first!r} to {last!r}: ask for at most {MOST_ROWS} at a time")
    return {"stamp": explorer.stamp, "rows": plain(explorer.table, explorer.places[first:last])}


def plain(table: Table, places: Sequence[int] | np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Some trajectories of a table."""
    return [
        {"trajectory_id": table.ids[i], **{name: _cell(column, i) for name, column in table.columns.items()}}
        for i in places
    ]


def _cell(column: Any, i: int) -> Any:
    if isinstance(column, Names):
        code = int(column.codes[i])
        return column.names[code] if code < len(column.names) else None
    value = float(column.values[i])
    if column.missing[i]:
        return None
    if math.isfinite(value):
        return int(value) if value.is_integer() else value
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
