"""What a running attempt leaves to be seen: the training that goes on in it, and the disk that it fills.

tracing = Tracing(store_folder, since)
tracing.inner(run_id)       {"label": "ppo CartPole-v1", "step": 4096, "total": 100000}, or {}
size_mb(folder)             what its files take on the disk
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from aigym_kernel.store.records import ACTIVE


class Tracing:
    """Looks at the runs that began ``since`` in a store. Each ``run.json`` is read once."""

    def __init__(self, store: Path, since: float) -> None:
        self._folder = store / "runs"
        # Names begin with the local time of the start (`recording.new_run`); an hour may be set back.
        self._since = time.strftime("%Y%m%d-%H%M%S", time.localtime(since - 3601))
        self._parents: dict[str, tuple[str | None, str]] = {}

    def inner(self, run_id: str | None) -> dict[str, Any]:
        """What goes on below a run: the newest activity that has steps to count; several of them together."""
        if run_id is None:
            return {}
        self._look()
        below, active = {run_id}, []
        for name in sorted(self._parents):
            parent, label = self._parents[name]
            if parent in below:
                below.add(name)
                status = _record(self._folder / name / "status.json")
                if status.get("state") in ACTIVE and status.get("total_steps"):
                    active.append((label, status["step"], status["total_steps"]))
        if not active:
            return {}
        more = f" and {len(active) - 1} more" if len(active) > 1 else ""
        steps, totals = sum(one[1] for one in active), sum(one[2] for one in active)
        return {"label": active[-1][0] + more, "step": steps, "total": totals}

    def _look(self) -> None:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208  (thousands of names, twice a second)
        except OSError:
            return
        for name in names:
            if name >= self._since and name not in self._parents:
                record = _record(self._folder / name / "run.json")
                if record:
                    self._parents[name] = record.get("parent"), str(record.get("name", ""))


def _record(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def size_mb(folder: Path) -> float:
    """What the files below a folder take on the disk, in 2**20 bytes; links are not followed."""
    total, waiting = 0, [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total / 2**20
