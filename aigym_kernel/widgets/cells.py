"""What the board of a bench knows of its cells: read as they change, and put as plain values.

    cells = Cells(folder)
    cells.read()                whether anything differs; only files that were replaced are opened
    cells.view()                counts, workers, times, the last event
    cells.standing()            of each cell: state, main metric, reason, shade
    cells.going()               of each running cell how far it is, with an estimate
    layout(plan)                the parameters that vary, and which of them makes the columns

A cell that is done is never looked at again: its result is written once. Nothing is written here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aigym_kernel.bench import holding, standing
from aigym_kernel.bench.records import Cell, CellStatus, Metric, Plan, Result, State, cell_folder, load
from aigym_kernel.bench.standing import Word
from aigym_kernel.widgets.plain import cut, finite, text

MOST_COLUMNS = 100
"""Beyond this a parameter makes rows of a list, not columns of a matrix."""
NOTEBOOK = "notebook"
_ERROR = 300

Stamp = tuple[int, int, int] | None
"""What changes when a file is replaced; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``names`` of what varies between cells, in order; ``values[i]``: the texts of cell i; ``columns``: the
    name that makes the columns of the matrix, or "" for a list; ``task``: the name that means it, or ""."""

    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    columns: str
    task: str


def layout(plan: Plan) -> Layout:
    """How the cells of a plan are laid out where nobody says otherwise: seeds as columns, else tasks."""
    told = [{**cell.parameters, NOTEBOOK: cell.notebook} for cell in plan.cells]
    known = dict.fromkeys(name for one in told for name in one)
    texts = {name: [_text(one[name]) if name in one else "–" for one in told] for name in known}
    names = tuple(name for name in known if len(set(texts[name])) > 1)
    values = tuple(tuple(texts[name][i] for name in names) for i in range(len(told)))
    task = plan.task if plan.task in names else ""
    wanted = [plan.seed] if plan.seed in names else [task, *reversed(names)] if len(names) > 1 else []
    fitting = (name for name in wanted if name and fits(names, values, name))
    return Layout(names=names, values=values, columns=next(fitting, ""), task=task or "")


def fits(names: Sequence[str], values: Sequence[Sequence[str]], column: str) -> bool:
    """Whether a parameter can make the columns: not too many, and no two cells in one place."""
    if column not in names or len(set(values)) < len(values):
        return False
    place = names.index(column)
    return len({one[place] for one in values}) <= MOST_COLUMNS


class Cells:
    """The cells of the bench in a folder, as they were when they were last read: ``state``, and ``words``,
    what `standing` calls each cell's state.

    Raises:
        BenchError: from `read` too: there is no bench in the folder, or its files are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = State(
            folder=folder, plan=Plan(name=folder.name, store="", cells=()), statuses={}, results={}
        )
        self.words: dict[str, Word] = {}
        self.holder: holding.Holder | None = None
        self.stopping = False
        self.notes: list[str] = []
        self._stamps: dict[str, tuple[Stamp, Stamp]] = {}
        self._planned: Stamp = None
        self.read()

    @property
    def plan(self) -> Plan:
        """What the bench is to do."""
        return self.state.plan

    def read(self) -> bool:
        """Look at what was replaced since. Returns whether anything differs."""
        planned = _stamp(self.folder / "bench.json")
        anew = planned is None or planned != self._planned
        if anew:
            plan = load(Plan, self.folder / "bench.json")
            self.state = State(folder=self.folder, plan=plan, statuses={}, results={})
            self._planned, self._stamps = planned, {}
        holder = holding.holder(self.folder)
        stopping = holder is not None and holding.stop_asked(self.folder)
        begun = anew or holder != self.holder
        differs = begun or stopping != self.stopping
        self.holder, self.stopping = holder, stopping
        for cell in self.plan.cells:
            if cell.id not in self.state.results:
                differs |= self._read(cell)
        if differs:
            self.words = standing.words(self.state)
        if begun:
            self.notes = standing.notes(self.state)
        return differs

    def _read(self, cell: Cell) -> bool:
        place = cell_folder(self.folder, cell.id)
        stamps = _stamp(place / "status.json"), _stamp(place / "result.json")
        if stamps == self._stamps.get(cell.id):
            return False
        status = CellStatus(state="queued")
        if stamps[0] is not None:
            status = load(CellStatus, place / "status.json")
        if stamps[1] is not None:
            self.state.results[cell.id] = load(Result, place / "result.json")
            status = replace(status, state="done")
        elif status.state == "done":
            status = replace(status, state="interrupted")
        self.state.statuses[cell.id] = status
        self._stamps[cell.id] = stamps
        return True

    def cell(self, cell_id: str) -> Cell | None:
        """The cell of an id."""
        return next((cell for cell in self.plan.cells if cell.id == cell_id), None)

    def metric(self) -> Metric | None:
        """The main metric: the plan's first, else what the notebooks report first."""
        if self.plan.metrics:
            return self.plan.metrics[0]
        return next((result.declared[0] for result in self.state.results.values() if result.declared), None)

    def value(self, cell_id: str) -> float | None:
        """The main metric of a cell that is done."""
        metric, result = self.metric(), self.state.results.get(cell_id)
        if metric is None or result is None:
            return None
        own = result.declared[0].name if result.declared else ""
        return finite(result.metrics.get(metric.name, result.metrics.get(own)))

    def standing(self, arranged: Layout) -> list[list[Any]]:
        """Of each cell [state, value, reason, shade]; shade: 0 for the worst of a task to 1 for the best."""
        values = {cell.id: self.value(cell.id) for cell in self.plan.cells}
        shades = self._shades(values, arranged)
        rows: list[list[Any]] = []
        for cell in self.plan.cells:
            last = standing.last_attempt(self.state.statuses[cell.id])
            reason = last.reason if last is not None and self.words[cell.id] == "failed" else None
            rows.append([self.words[cell.id], values[cell.id], reason or "", shades.get(cell.id)])
        return rows

    def _shades(self, values: Mapping[str, float | None], arranged: Layout) -> dict[str, float]:
        """Metrics of different tasks or notebooks are not compared with each other."""
        place = arranged.names.index(arranged.task) if arranged.task else None
        groups: dict[tuple[str, str], dict[str, float]] = {}
        for cell, told in zip(self.plan.cells, arranged.values):
            if (value := values[cell.id]) is not None:
                key = (cell.notebook, "" if place is None else told[place])
                groups.setdefault(key, {})[cell.id] = value
        metric = self.metric()
        lower = metric is not None and metric.direction == "lower"
        shades = {}
        for group in groups.values():
            low, high = min(group.values()), max(group.values())
            for cell_id, value in group.items():
                share = (value - low) / (high - low) if high > low else 0.5
                shades[cell_id] = round(1 - share if lower else share, 3)
        return shades

    def going(self) -> dict[str, dict[str, Any]]:
        """Of each running cell, by its place, its `progress`."""
        typical = standing.typical_s(self.state)
        cells = enumerate(self.plan.cells)
        return {str(i): self.progress(c, typical) for i, c in cells if self.words[c.id] == "running"}

    def progress(self, cell: Cell, typical: Mapping[str, float]) -> dict[str, Any]:
        """How far a running cell is: share done, code cells, what it does just now, memory, seconds left.
        ``typical`` is from `standing.typical_s`."""
        status = self.state.statuses[cell.id]
        left = standing.cell_left(self.state, cell, typical)
        return {
            "share": round(standing.share(status), 3),
            "done": status.done,
            "total": status.total,
            "inner": inner(status),
            "memory_mb": finite(status.memory_mb),
            "left": None if left is None else round(left, 1),
        }

    def view(self) -> dict[str, Any]:
        """Everything above the matrix."""
        counts = Counter(self.words.values())
        started = self.holder or holding.last(self.folder)
        since = started.since if started is not None else self.plan.created_at
        ended = max((self._ended_at(cell.id) for cell in self.plan.cells), default=0.0)
        running = self.holder is not None
        left = standing.time_left(self.state) if running else None
        event, event_at = self._event()
        metric = self.metric()
        return {
            "name": self.plan.name,
            "total": len(self.plan.cells),
            "state": standing.overall(self.state),
            "counts": [[word, counts[word]] for word in standing.ORDER if counts[word]],
            "running": running,
            "stopping": self.stopping,
            "workers": self.holder.workers if self.holder is not None else 0,
            "started_at": since,
            "ended_at": None if running or ended < since else ended,
            "seconds_left": None if left is None else round(left, 1),
            "event": event,
            "event_at": event_at,
            "notes": self.notes,
            "metric": "" if metric is None else metric.name,
            "lower": metric is not None and metric.direction == "lower",
            "seen_at": time.time(),
        }

    def _ended_at(self, cell_id: str) -> float:
        result, last = self.state.results.get(cell_id), standing.last_attempt(self.state.statuses[cell_id])
        return result.ended_at if result is not None else last.ended_at if last is not None else 0.0

    def _event(self) -> tuple[str, float | None]:
        """The last thing that happened: a cell that began, or ended."""
        latest: tuple[float, str] = (0.0, "")
        for cell in self.plan.cells:
            status = self.state.statuses[cell.id]
            if status.state == "running" and status.started_at > latest[0]:
                n = f", attempt {status.attempt}" if status.attempt > 1 else ""
                latest = (status.started_at, f"{standing.label(cell)}: began{n}")
            if (ended := self._ended_at(cell.id)) > latest[0]:
                latest = (ended, f"{standing.label(cell)}: {self._end(cell.id)}")
        return cut(latest[1], _ERROR), latest[0] or None

    def _end(self, cell_id: str) -> str:
        metric, value = self.metric(), self.value(cell_id)
        if (result := self.state.results.get(cell_id)) is not None:
            told = f", {metric.name} {value:.4g}" if metric is not None and value is not None else ""
            return f"done in {standing.duration(result.seconds)}{told}"
        last = standing.last_attempt(self.state.statuses[cell_id])
        if last is None:
            return self.words[cell_id]
        return (
            f"{', '.join(filter(None, (last.state, last.reason)))}{f': {last.error}' if last.error else ''}"
        )


def inner(status: CellStatus) -> str:
    """What goes on inside the present code cell, in words: "ppo CartPole-v1, 4,096 of 100,000"."""
    step, total = status.inner.get("step"), status.inner.get("total")
    count = f"{step:,}" + (f" of {total:,}" if total else "") if isinstance(step, int | float) else ""
    return cut(", ".join(filter(None, (str(status.inner.get("label", "")), count))), _ERROR)


def _text(value: Any) -> str:
    return cut(value if isinstance(value, str) else text(value, indent=None), 60)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
