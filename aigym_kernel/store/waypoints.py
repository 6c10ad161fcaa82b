"""How far a run's record reached when a checkpoint of its training was made: its file ``waypoints.json``.

    Writer.waypoint(step)               flushes, then notes it
    read(run_folder)                    {step: {table: number of the last segment}}
    begins(run_folder)                  per table, the numbers with which something after a waypoint begins

`rewinding.rewind` goes back to one. `compaction` merges no segments across one, so that what came after it
can still be told apart. Nothing is read or moved here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from aigym_kernel.errors import StoreError
from aigym_kernel.store import schema, segments
from aigym_kernel.store.records import read_record, replace_file

NAME = "waypoints.json"

# What people wrote stays where it is, whatever becomes of the training.
TABLES = tuple(table for table in schema.TABLES if table not in ("reviews", "notes"))

Waypoint = Mapping[str, int]
"""Of each table, the number of the last segment that was there."""


def read(run: Path) -> dict[int, Waypoint]:
    """The waypoints of a run by step, the latest last.

    Raises:
        StoreError: the file is damaged.
    """
    path = run / NAME
    if not path.exists():
        return {}
    try:
        return {
            int(step): {table: int(last[table]) for table in TABLES}
            for step, last in read_record(path).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise StoreError(
            f"{path} is damaged; delete it to give up resuming this run where it was, and start it anew"
        ) from None


def note(run: Path, step: int, keep: Iterable[int]) -> None:
    """Adds one; of the others those of ``keep`` stay, and the latest: its checkpoint is there until the new
    one has taken its place."""
    known = read(run)
    known.pop(step, None)
    kept = {*keep, *list(known)[-1:]}
    write(run, {**{s: known[s] for s in known if s in kept}, step: {t: _last(run, t) for t in TABLES}})


def write(run: Path, waypoints: Mapping[int, Waypoint]) -> None:
    """Replaces the file."""
    replace_file(run / NAME, json.dumps({str(s): dict(w) for s, w in waypoints.items()}) + "\n")


def begins(run: Path) -> dict[str, set[int]]:
    """Per table, the numbers that come right after a waypoint. None where the file is damaged."""
    try:
        known = read(run).values()
    except StoreError:
        known = {}.values()
    return {table: {waypoint[table] + 1 for waypoint in known} for table in TABLES}


def _last(run: Path, table: str) -> int:
    numbers = map(segments.numbers_of, segments.entries(f"{run}/{table}"))
    return max((n[1] for n in numbers if n), default=0)
