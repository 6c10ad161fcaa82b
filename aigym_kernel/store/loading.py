"""Many whole trajectories, one after another, at the cost of few questions: what `Store.export` writes.

    chosen = keys(folder, {"env_id": "CartPole-v1"}, "started_at")
    for trajectory in load_each(folder, chosen): ...

They are read in portions, of which one is in memory at a time. One trajectory alone: `reader.load`.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aigym_kernel.store import reader, schema
from aigym_kernel.store.conditions import order, selection
from aigym_kernel.store.snapshot import open_snapshot
from aigym_kernel.trajectories import Trajectory

# Each portion is one pass over the steps of the store.
_BYTES = 256 * 2**20
_TRAJECTORIES = 5000
# What a step is taken for where its size is not known beforehand.
_TEXT_BYTES = 4096

Row = Mapping[str, Any]


def keys(folder: Path, where: Mapping[str, Any], order_by: str) -> list[Row]:
    """Which trajectories `conditions` describe, in this order: what `load_each` wants to know of them."""
    chosen, values = selection({**where})
    query = (
        "SELECT t.trajectory_id, t.run_id, t.length, t.observation_dtype, t.observation_shape "
        f"FROM {chosen} ORDER BY {order(order_by, descending=False)}"
    )
    with open_snapshot(folder, "runs") as asked:
        return list(asked.rows(query, values))


def load_each(folder: Path, chosen: Sequence[Row]) -> Iterator[Trajectory]:
    """The trajectories, in the order given.

    Raises:
        StoreError: the steps of one cannot be read.
    """
    for portion in _portions(chosen):
        yield from _load(folder, portion)


def _portions(chosen: Sequence[Row]) -> Iterator[list[Row]]:
    portion, size = list[Row](), 0
    for row in chosen:
        numbers = row["observation_dtype"] not in ("json", "text")
        step = 8 * math.prod(row["observation_shape"]) + 100 if numbers else _TEXT_BYTES
        mine = (row["length"] + 1) * step
        if portion and (size + mine > _BYTES or len(portion) >= _TRAJECTORIES):
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += mine
    if portion:
        yield portion


def _load(folder: Path, portion: Sequence[Row]) -> Iterator[Trajectory]:
    ids = [row["trajectory_id"] for row in portion]
    tables = ("trajectories", "steps", "messages", "recorded.marks", "reviews", "notes")
    with open_snapshot(folder, "") as asked:
        found = {
            table: asked.arrow(f"SELECT * FROM {table} WHERE trajectory_id IN (SELECT unnest(?))", [ids])
            for table in tables
        }
    rows, steps = (_slices(found[table]) for table in tables[:2])
    said, marks, reviews, noted = (_lists(found[table]) for table in tables[2:])
    for row in portion:
        key = (row["run_id"], row["trajectory_id"])
        yield reader.assembled(
            rows[key][:1],
            steps.get(key, schema.TABLES["steps"].empty_table()),
            marks=marks[key],
            reviews=reviews[key],
            said=said[key],
            noted=noted[key],
        )


def _slices(table: pa.Table) -> dict[tuple[str, str], pa.Table]:
    """The rows of each trajectory; those of steps in their order."""
    by = [("run_id", "ascending"), ("trajectory_id", "ascending")]
    if "t" in table.column_names:
        by.append(("t", "ascending"))
    table = table.sort_by(by).combine_chunks()
    if not table.num_rows:
        return {}
    names = [table[name].combine_chunks() for name in ("run_id", "trajectory_id")]
    codes = [np.asarray(pa.array(column).dictionary_encode().indices) for column in names]
    changes = np.flatnonzero(np.any([np.diff(c) != 0 for c in codes], axis=0)) + 1
    starts = [0, *changes.tolist(), table.num_rows]
    return {
        (names[0][first].as_py(), names[1][first].as_py()): table.slice(first, stop - first)
        for first, stop in itertools.pairwise(starts)
    }


def _lists(table: pa.Table) -> defaultdict[tuple[str, str], list[Row]]:
    found = defaultdict[tuple[str, str], list[Row]](list)
    for row in table.to_pylist():
        found[row["run_id"], row["trajectory_id"]].append(row)
    return found
