"""The rows of the explorer's list, as plain values that fit into a message to the browser.

rows(explorer, {"from": 0, "to": 60})      what list.js shows of the trajectories at these places
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigym_kernel.errors import AigymError
from aigym_kernel.widgets.columns import Column, Names, Table, Tags
from aigym_kernel.widgets.plain import finite

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer

MOST_ROWS = 500
MOST_CHOSEN = 10_000
SPARK_POINTS = 40


def rows(explorer: Explorer, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The rows from one place to before another of the present order; ``stamp`` tells which order that is."""
    first, last = arguments.get("from"), arguments.get("to")
    if not isinstance(first, int) or not isinstance(last, int) or not 0 <= first <= last <= first + MOST_ROWS:
        raise AigymError(f"rows from {first!r} to {last!r}: ask for at most {MOST_ROWS} at a time")
    return {"stamp": explorer.stamp, "rows": plain(explorer.held.table, explorer.held.places[first:last])}


def sparks(explorer: Explorer, arguments: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """For each of some trajectories the mean reward of at most `SPARK_POINTS` equal parts of it."""
    wanted = arguments.get("ids")
    if not isinstance(wanted, list) or len(wanted) > MOST_ROWS:
        raise AigymError(f"sparks of {wanted!r:.80}: ask for at most {MOST_ROWS} ids at a time")
    known = explorer.sparks
    if missing := [i for i in wanted if i not in known]:
        table = explorer.held.table
        run = table.columns["run_id"]
        assert isinstance(run, Names)
        runs = {run.names[code] for code in run.codes[np.isin(table.ids.astype(str), missing)]}
        found = explorer.store.sql(_SPARKS, [missing, SPARK_POINTS, SPARK_POINTS, sorted(runs)])
        known.update({i: [] for i in missing})
        for i, rewards in zip(found["trajectory_id"], found["rewards"], strict=True):
            known[i] = [finite(value) for value in rewards]
    return {i: known[i] for i in wanted}


_SPARKS = """
    WITH wanted AS (SELECT trajectory_id, run_id, length FROM trajectories
                    WHERE trajectory_id IN (SELECT unnest(?))),
    parts AS (SELECT s.trajectory_id, s.t * ? // greatest(w.length, ?) AS part, avg(s.reward) AS reward
              FROM steps s JOIN wanted w ON s.trajectory_id = w.trajectory_id AND s.run_id = w.run_id
              WHERE s.run_id IN (SELECT unnest(?)) GROUP BY ALL)
    SELECT trajectory_id, list(reward ORDER BY part) AS rewards FROM parts GROUP BY ALL"""


def choose(explorer: Explorer, arguments: Mapping[str, Any]) -> None:
    """Marks the trajectories from one place to another, both included, beside those that are marked."""
    first, last = sorted((arguments.get("from", 0), arguments.get("to", 0)))
    ids = explorer.held.table.ids[explorer.held.places[first : last + 1]].tolist()
    chosen = list(dict.fromkeys([*explorer.chosen, *ids]))
    if len(chosen) > MOST_CHOSEN:
        raise AigymError(
            f"{len(chosen):,} trajectories would be marked; mark at most {MOST_CHOSEN:,}, or use the filters"
        )
    explorer.chosen = chosen


def plain(table: Table, places: Sequence[int] | np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Some trajectories of a table."""
    found = [{"trajectory_id": table.ids[i]} for i in places]
    for name, column in table.columns.items():
        for row, i in zip(found, places, strict=True):
            row[name] = _cell(column, i)
    return found


def _cell(column: Column, i: int) -> Any:
    if isinstance(column, Tags):
        return [column.names[code] for code in column.codes[column.rows == i]]
    if isinstance(column, Names):
        code = int(column.codes[i])
        return column.names[code] if code < len(column.names) else None
    value = float(column.values[i])
    if column.missing[i]:
        return None
    if math.isfinite(value):
        return int(value) if value.is_integer() else value
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
