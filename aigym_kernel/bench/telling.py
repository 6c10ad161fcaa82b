"""What a start of a bench says: Events for whoever listens, and the status of its run in the store.

    voice = Voice(state, print, workers=2)
    voice.say("begins", "bench toy: 20 cells", state)
    voice.came(cell, attempt, state, again=False)
    voice.end(state)

The bench's own run (kind ``bench``) is the parent of its cells' runs; its step counts cells that are done.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from aigym_kernel.bench import holding, records, standing
from aigym_kernel.bench.records import Attempt, Cell, Plan, State
from aigym_kernel.errors import StoreError
from aigym_kernel.recording import Report, new_run, reason
from aigym_kernel.store import RunStatus, Store

What = Literal["begins", "starts", "done", "failed", "interrupted", "again", "stopping", "progress", "ends"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing to tell. ``done`` of ``total`` cells are, ``failed`` are not, ``left_s`` seconds are left as
    far as anybody can say; ``cell`` is the id of the one that it is about."""

    what: What
    text: str
    done: int
    total: int
    failed: int = 0
    left_s: float | None = None
    cell: str | None = None

    @property
    def line(self) -> str:
        """The text, and after the end of a cell how far the bench is."""
        if self.cell is None or self.what == "starts":
            return self.text
        left = "" if self.left_s is None else f", about {standing.duration(self.left_s)} left"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.text}; {self.done} of {self.total} done{failed}{left}"


Tell = Callable[[Event], None]


class Voice:
    """What one start says. ``plan`` names the bench's run, which is made where there is none yet."""

    def __init__(self, state: State, tell: Tell, workers: int) -> None:
        self.plan = state.plan
        self._tell, self._workers = tell, workers
        store = Store(self.plan.store)
        store.create()
        if self.plan.run_id not in store.run_ids():
            config = _config(self.plan, state.folder)
            record = new_run(store, kind="bench", name=self.plan.name, config=config)
            self.plan = dataclasses.replace(self.plan, run_id=record.run_id)
            records.replace(state.folder / "bench.json", self.plan)
        status = RunStatus(
            state="running", pid=os.getpid(), step=len(state.results), total_steps=len(self.plan.cells)
        )
        self._report = Report(store, str(self.plan.run_id), status)

    def say(self, what: What, text: str, state: State, cell: Cell | None = None) -> None:
        """Tell it, and write down how far the bench is (twice a second at most)."""
        done, total = len(state.results), len(state.plan.cells)
        left = standing.time_left(state, self._workers)
        if cell is not None:
            text = f"{standing.label(cell)}: {text}"
        cell_id = None if cell is None else cell.id
        states = Counter(status.state for status in state.statuses.values())
        failed = states["failed"]
        self._tell(
            Event(what=what, text=text, done=done, total=total, failed=failed, left_s=left, cell=cell_id)
        )
        counts = {name: states[name] for name in ("running", "failed")}
        with suppress(StoreError):  # a cell may have filled the disk for the moment
            self._report(done, {**counts, "left_s": left}, total_steps=total)

    def came(self, cell: Cell, attempt: Attempt, state: State, *, again: bool) -> None:
        """Tell what came of an attempt, and whether there will be another one in this start."""
        text = f"{attempt.state} after {standing.duration(attempt.ended_at - attempt.started_at)}"
        if result := state.results.get(cell.id):
            text += "".join(f", {name} {value:.6g}" for name, value in result.metrics.items())
        why = ": ".join(part for part in (attempt.reason, attempt.error) if part)
        text += f" ({why})" * bool(why) + "; it is tried again" * again
        known: dict[str, What] = {"done": "done", "failed": "failed"}
        self.say("again" if again else known.get(attempt.state, "interrupted"), text, state, cell)

    def end(self, state: State) -> None:
        """The last word."""
        found = list(standing.words(state).values())
        left, failed = sum(word in ("queued", "interrupted") for word in found), found.count("failed")
        text = f"bench {self.plan.name}: {standing.counted(found)}"
        if left:
            text += f"; go on with: aigym bench resume {holding.called(state.folder)}"
        self.say("ends", "\n".join([text, *standing.notes(state)]), state)
        if left:
            self._report.end("stopped", f"{left} cells are left")
        elif failed:
            self._report.end("failed", f"{failed} cells failed")
        else:
            self._report.end("done", None)

    def fail(self, problem: BaseException) -> None:
        """The last word where the bench itself came to nothing."""
        with suppress(StoreError):  # the first problem is the one to hear of
            self._report.end("failed", reason(problem))


def _config(plan: Plan, folder: Path) -> dict[str, Any]:
    """What was asked for, for the bench's record in the store."""
    grid: dict[str, list[Any]] = {}
    for cell in plan.cells:
        for name, value in cell.parameters.items():
            if value not in grid.setdefault(name, []):
                grid[name].append(value)
    return {
        "bench": plan.name,
        "folder": str(folder),
        "notebooks": list(dict.fromkeys(cell.notebook for cell in plan.cells)),
        "cells": len(plan.cells),
        "grid": grid,
        "metrics": [asdict(metric) for metric in plan.metrics],
        "budget": asdict(plan.budget),
    }
