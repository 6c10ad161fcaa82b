"""What an explorer does to follow runs that are still going on, in this process or another.

    seen = look(store)                   which runs go on, and how far their recording is
    look(store, seen) == seen            nothing has changed; costs a glance at the folders of those runs
    follow(explorer, {"ids": [id]})      reads the store again if something has; what the browser asks for

The browser asks every two seconds while it is looked at and a run goes on; nothing here runs by itself. A
trajectory is listed once it has ended: what is still being played is not in the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aigym_kernel.recording import FINAL
from aigym_kernel.store import Store

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer

_TABLES = ("trajectories", "notes", "reviews")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The runs that go on, each with when its folders last changed; those that have ended do not change."""

    going: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()


def look(store: Store, before: Seen | None = None) -> Seen:
    """What goes on now; ``before`` spares reading the status of runs that had ended then."""
    known = before.ended if before else frozenset()
    runs = set(store.run_ids())
    going, ended = {}, runs & known
    for run_id in sorted(runs - known):
        # The folder first: what is recorded between the two is seen the next time.
        folder = store.run_folder(run_id)
        changed = tuple(_changed(folder / table) for table in _TABLES)
        if store.status(run_id).state in FINAL:
            ended.add(run_id)
        else:
            going[run_id] = changed
    return Seen(going=going, ended=frozenset(ended))


def follow(explorer: Explorer, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the store again if a run that goes on has recorded something, or has begun or ended.

    Answers with the ``stamp`` of the list and the ``places`` in it of the trajectories ``ids`` (-1: nowhere).
    """
    if look(explorer.store, explorer.seen) != explorer.seen:
        explorer.refresh()
    listed = explorer.held.table.ids[explorer.held.places]
    found = [np.flatnonzero(listed == i) for i in arguments.get("ids", ())]
    return {"places": [int(at[0]) if len(at) else -1 for at in found], "stamp": explorer.stamp}


def _changed(folder: Any) -> int:
    try:
        time: int = folder.stat().st_mtime_ns
    except OSError:
        return 0
    return time
