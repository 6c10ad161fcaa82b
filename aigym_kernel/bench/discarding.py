"""What an interrupted attempt recorded leaves the store when its cell runs again.

    discard(state, cells)      the ids of the runs that it moved to the store's trash

A bench that was killed and resumed has then recorded what an undisturbed one has, and a plain ``count(*)``
counts no play twice. Attempts that failed keep what they recorded: it is part of what happened. Nothing is
lost: ``aigym store restore RUN`` brings a run back. Logs and notebooks of attempts stay in the cell's folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress

from aigym_kernel.bench.records import Cell, State
from aigym_kernel.errors import StoreError
from aigym_kernel.store import Store
from aigym_kernel.store.records import ACTIVE

_ATTEMPTS = """
SELECT run_id, config->>'$.cell' AS cell, (config->>'$.attempt')::BIGINT AS attempt FROM runs
WHERE kind = 'notebook' AND parent IN (
  SELECT run_id FROM runs WHERE run_id = ? OR kind = 'bench' AND (config->>'$.folder') = ?
)
"""  # a bench that was planned anew has several runs of its own
_BELOW = """
WITH RECURSIVE below(run_id) AS (
  SELECT run_id FROM runs WHERE run_id IN (SELECT unnest(?))
  UNION SELECT runs.run_id FROM runs JOIN below ON runs.parent = below.run_id
) SELECT run_id FROM below ORDER BY run_id
"""


def discard(state: State, cells: Sequence[Cell]) -> list[str]:
    """Move the runs of attempts at ``cells``, and all below them, to the trash, but for attempts that failed.
    No process of these cells may be left.

    Raises:
        StoreError: the store cannot be read.
    """
    store = Store(state.plan.store)
    kept = {c.id: {one.n for one in state.statuses[c.id].attempts if one.state == "failed"} for c in cells}
    found = store.sql(_ATTEMPTS, [state.plan.run_id, str(state.folder)]).itertuples(index=False)
    own = [run_id for run_id, cell, n in found if cell in kept and n not in kept[cell]]
    if not own:
        return []
    gone = []
    for run_id in store.sql(_BELOW, [own])["run_id"]:
        with suppress(StoreError):  # a folder that cannot be moved is no reason to run nothing
            status = store.status(run_id)
            if status.state in ACTIVE:  # of a machine that was lost; here no process is left
                store.write_status(run_id, dataclasses.replace(status, state="killed"))
            store.delete(run_id, ask=False)
            gone.append(run_id)
    return gone
