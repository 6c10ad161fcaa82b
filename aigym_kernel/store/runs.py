"""What the runs say of themselves, as rows of the table ``runs``.

run_ids(folder)     the ids of all runs
rows(folder)        one row per run that can be read
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

from aigym_kernel.errors import StoreError, StoreWarning
from aigym_kernel.store import schema
from aigym_kernel.store.records import ACTIVE, R, RunRecord, RunStatus, from_file, settled

_run_files: dict[str, tuple[tuple[int, int, int], Any]] = {}


def _run_file(kind: type[R], path: Path) -> R:
    stat = path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _run_files.get(str(path))
    if known is None or known[0] != state:
        known = _run_files[str(path)] = (state, from_file(kind, path))
    found: R = known[1]
    return found


def run_ids(folder: Path) -> list[str]:
    """The ids of all runs that have a run.json, oldest name first."""
    runs = folder / "runs"
    if not runs.is_dir():
        return []
    return sorted(p.name for p in runs.iterdir() if (p / "run.json").is_file())


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``runs``. A run whose files are broken is named in a StoreWarning and left out."""
    found = []
    for run_id in run_ids(folder):
        place = folder / "runs" / run_id
        path = place / "run.json"
        try:
            record = _run_file(RunRecord, path)
            path = place / "status.json"
            status = settled(partial(_run_file, RunStatus, path))
            found.append(_run_row(run_id, record, status))
        except (StoreError, OSError, TypeError, ValueError) as error:
            warnings.warn(f"{path} is unreadable, its run was skipped: {error}", StoreWarning, stacklevel=2)
    return found


def _run_row(run_id: str, record: RunRecord, status: RunStatus) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "kind": record.kind,
        "name": schema.clean(record.name),
        "state": status.state,
        "parent": None if record.parent is None else schema.clean(record.parent),
        "created_at": schema.microseconds(record.created_at),
        "heartbeat": schema.microseconds(status.heartbeat),
        "step": int(status.step),
        "total_steps": int(status.total_steps),
        "error": None if status.error is None else schema.clean(status.error),
        "config": schema.json_text(record.config),
        "summary": schema.json_text(status.summary),
        "provenance": schema.json_text(record.provenance),
    }


def active(run_folder: Path) -> bool:
    """Whether a run is queued, paused or goes on, as far as its status tells."""
    path = run_folder / "status.json"
    if not path.exists():
        return False
    try:
        return settled(partial(from_file, RunStatus, path)).state in ACTIVE
    except StoreError:
        return False
