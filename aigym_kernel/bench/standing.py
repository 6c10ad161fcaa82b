"""How a bench stands, in words and figures: what tables, the board and a terminal show of it.

    words(state)["1f2e..."]     "queued", "running", "done", "skipped", "failed" or "interrupted"
    overall(state)              the same of the whole bench
    rows(state)                 a line per cell, under COLUMNS
    time_left(state)            seconds until all cells have run, as far as can be said
    notes(state)                what has changed since the bench was planned, in sentences

"skipped": done by an earlier start than the last one. A cell that says it is running while nobody works on
the bench was interrupted. Nothing is changed here and nothing is read from the store.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from aigym_kernel import parameters, rendering
from aigym_kernel.bench import holding, identity
from aigym_kernel.bench.records import Attempt, Cell, CellStatus, State
from aigym_kernel.errors import NotebookError

Word = Literal["queued", "running", "done", "skipped", "failed", "interrupted"]
ORDER: tuple[Word, ...] = ("done", "skipped", "running", "queued", "interrupted", "failed")
COLUMNS = ("cell", "parameters", "state", "attempts", "progress", "seconds", "reason")
LEAST = 0.05  # the share of a cell that must have run before it says how long the whole takes


def words(state: State) -> dict[str, Word]:
    """The state of each cell, by its id."""
    held, start = holding.holder(state.folder), holding.last(state.folder)
    began = start.since if start else 0.0
    return {cell.id: _word(state, cell, held is not None, began) for cell in state.plan.cells}


def _word(state: State, cell: Cell, held: bool, began: float) -> Word:
    if result := state.results.get(cell.id):
        return "skipped" if result.ended_at < began else "done"
    word = state.statuses[cell.id].state
    return "interrupted" if word == "running" and not held else word


def overall(state: State) -> Word:
    """``running`` while somebody works on the bench, ``done`` when all cells are, ``failed`` when all have
    run and some failed; ``interrupted``, or ``queued`` if none began, when some are left."""
    if holding.holder(state.folder) is not None:
        return "running"
    found = set(words(state).values())
    if found <= {"done", "skipped"}:
        return "done"
    if found <= {"done", "skipped", "failed"}:
        return "failed"
    return "queued" if found == {"queued"} else "interrupted"


def counted(found: Iterable[Word]) -> str:
    """How many cells are in which state: ``8 done, 2 running``."""
    counts = Counter(found)
    return ", ".join(f"{counts[word]} {word}" for word in ORDER if counts[word])


def share(status: CellStatus) -> float:
    """How much of a running cell is done, from 0 to 1: its code cells, and how far the present one says
    that it is."""
    if not status.total:
        return 0.0
    step, total = status.inner.get("step"), status.inner.get("total")
    inner = min(1.0, step / total) if step and total else 0.0
    return min(1.0, (status.done + inner) / status.total)


def label(cell: Cell) -> str:
    """What a cell is called in a line."""
    return cell.label or cell.notebook


def last_attempt(status: CellStatus) -> Attempt | None:
    """The last attempt that ended."""
    return status.attempts[-1] if status.attempts else None


def typical_s(state: State) -> dict[str, float]:
    """What a cell of each notebook takes, in seconds, by the notebook's ``source``: the median of those that
    are done, else of what the running ones will take at their present pace. A notebook of which nobody can
    say is left out."""
    done: dict[str, list[float]] = defaultdict(list)
    projected: dict[str, list[float]] = defaultdict(list)
    for cell in state.plan.cells:
        if result := state.results.get(cell.id):
            done[cell.source].append(result.seconds)
        elif (seconds := _projected(state.statuses[cell.id])) is not None:
            projected[cell.source].append(seconds)
    return {source: statistics.median(found) for source, found in (projected | done).items()}


def _projected(status: CellStatus) -> float | None:
    done = share(status)
    if status.state != "running" or not status.started_at or done < LEAST:
        return None
    return (time.time() - status.started_at) / done


def cell_left(state: State, cell: Cell, typical: Mapping[str, float]) -> float | None:
    """Seconds until this cell has run, from its beginning where it is still to begin, else from now; 0 for
    one that has, None where nobody can say, as of one that takes longer than others did. ``typical`` is from
    `typical_s`."""
    status, whole = state.statuses[cell.id], typical.get(cell.source)
    if cell.id in state.results or status.state == "failed":
        return 0.0
    if status.state != "running" or whole is None:
        return whole
    passed = time.time() - status.started_at
    if passed > whole:
        whole = _projected(status)
    return None if whole is None else max(0.0, whole - passed)


def time_left(state: State, workers: int | None = None) -> float | None:
    """Seconds until all cells have run, with as many ``workers`` as there are now; None where nobody can say
    and where less than one is left. Counts what is queued, running or interrupted, not what failed."""
    held = holding.last(state.folder)
    workers = workers or (held.workers if held else 1)
    typical, left = typical_s(state), []
    for cell in state.plan.cells:
        seconds = cell_left(state, cell, typical)
        if seconds is None and cell.source not in typical:
            return None
        left.append(seconds or 0.0)
    found = max(sum(left) / workers, *left) if left else 0.0
    return found if found >= 1 else None


def duration(seconds: float) -> str:
    """A span of time for people: ``8.2 s``, ``3 min``, ``1 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def progress(status: CellStatus) -> str:
    """How far a running cell is: ``3 of 7, ppo CartPole-v1 41%``."""
    text = f"{status.done} of {status.total}" if status.total else ""
    step, total = status.inner.get("step"), status.inner.get("total")
    inner = str(status.inner.get("label") or "")
    if step is not None and total:
        inner += f" {step / total:.0%}"
    return ", ".join(part for part in (text, inner.strip()) if part)


def cells(state: State) -> list[dict[str, Any]]:
    """Plain values for each cell, in the plan's order."""
    found = words(state)
    return [_cell(state, cell, found[cell.id]) for cell in state.plan.cells]


def _cell(state: State, cell: Cell, word: Word) -> dict[str, Any]:
    status, result = state.statuses[cell.id], state.results.get(cell.id)
    tried = None if result else last_attempt(status)
    seconds: float | None = None
    if result:
        seconds = result.seconds
    elif word == "running":
        seconds = max(0.0, time.time() - status.started_at) if status.started_at else None
    elif tried:
        seconds = tried.ended_at - tried.started_at
    why = tried if word in ("failed", "interrupted") else None
    return {
        "cell": cell.id,
        "notebook": cell.notebook,
        "label": label(cell),
        "parameters": cell.parameters,
        "state": word,
        "attempts": max(status.attempt, len(status.attempts), result.attempt if result else 0),
        "progress": {"done": status.done, "total": status.total, "inner": status.inner},
        "seconds": None if seconds is None else round(seconds, 3),
        "reason": why.reason if why else None,
        "error": why.error if why else None,
        "notes": list(result.notes if result else tried.notes if tried else ()),
        "metrics": result.metrics if result else {},
        "run_id": result.run_id if result else tried.run_id if tried else None,
    }


def summary(state: State) -> dict[str, Any]:
    """Plain values for the whole bench."""
    found, held = words(state), holding.holder(state.folder)
    return {
        "bench": state.plan.name,
        "folder": str(state.folder),
        "run_id": state.plan.run_id,
        "state": overall(state),
        "counts": dict(Counter(found.values())),
        "total": len(found),
        "left_s": time_left(state) if held else None,
        "holder": asdict(held) if held else None,
        "notes": notes(state),
        "cells": cells(state),
    }


def rows(state: State) -> list[list[str]]:
    """A line per cell, under `COLUMNS`."""
    lines = []
    for cell, one in zip(state.plan.cells, cells(state), strict=True):
        how = progress(state.statuses[cell.id]) if one["state"] == "running" else ""
        why = ": ".join(part for part in (one["reason"], one["error"]) if part)
        if not why:
            why = "; ".join(one["notes"])
        seconds = "" if one["seconds"] is None else f"{one['seconds']:.1f}"
        tries = str(one["attempts"] or "")
        lines.append([cell.id, one["label"], one["state"], tries, how, seconds, rendering.short(why, 160)])
    return lines


def headline(state: State) -> str:
    """The bench in one line: ``bench_rl: running, 8 of 20 done (8 done, 2 running), about 3 min left``."""
    found = words(state)
    done = sum(word in ("done", "skipped") for word in found.values())
    text = (
        f"{state.plan.name}: {overall(state)}, {done} of {len(found)} cells done ({counted(found.values())})"
    )
    if holding.holder(state.folder) is not None and (left := time_left(state)) is not None:
        text += f", about {duration(left)} left"
    return text


def text(state: State) -> str:
    """The table of cells as text, below the headline and above the notes."""
    return "\n".join([headline(state), *rendering.lines([COLUMNS, *rows(state)]), *notes(state)])


def html(state: State) -> str:
    """The table of cells as static HTML."""
    colours: Mapping[str, str] = {
        "done": rendering.GOOD,
        "skipped": rendering.GOOD,
        "failed": rendering.BAD,
        "interrupted": rendering.WARN,
    }
    lines = [
        [*line[:2], rendering.badge(line[2], colours.get(line[2], rendering.DULL)), *line[3:]]
        for line in rows(state)
    ]
    told = "".join(f"<p>{rendering.escape(note)}</p>" for note in notes(state))
    return rendering.table(COLUMNS, lines, headline(state)) + told


def notes(state: State) -> list[str]:
    """What is not any more as it was when the bench was planned: its notebooks, with the modules beside
    them. Cells go on with the frozen copies of notebooks, and do not begin with other modules."""
    found = []
    for source, cell in {cell.source: cell for cell in state.plan.cells}.items():
        original = Path(cell.folder) / cell.notebook
        try:
            now = identity.of_notebook(parameters.read(original), original.parent)
            if now == cell.parts.get("notebook", now):
                continue
            frozen = identity.of_notebook(parameters.read(state.folder / source), original.parent)
        except (NotebookError, OSError):
            found.append(f"note: {original} is gone or unreadable since; all cells run the copy in {source}")
            continue
        what, then = f"{cell.notebook}", "its cells run the copy of then"
        if frozen != cell.parts["notebook"]:
            what, then = f"a module beside {cell.notebook}", "no cell begins with it as it is now"
        found.append(
            f"note: {what} changed since the bench was planned; {then}. Start it again with aigym bench run "
            "to measure what is there now"
        )
    return found
