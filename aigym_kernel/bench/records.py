"""What the folder of a bench holds, as frozen data, and the files that hold it.

    data/benches/<name>/bench.json                      the Plan: what was asked for, last
                        lock                            held (flock) by the process that works on it
                        stop                            asks that process to end
                        log.txt                         what it said, when it runs in the background
                        notebooks/<hash>/<name>.ipynb   the notebooks as they were when the bench began
                        cells/<cell id>/status.json     CellStatus, replaced often while it runs
                                        result.json     Result, written once; it alone means done
                                        attempt-1/      log.txt, the executed notebook, its page, and
                                                        work/, its working folder
                        report.html  report.md
                        verify/<time>/                  a bench folder of its own, with verdict.json

    read(folder)            the Bench folder's State: plan, and status and result of each of its cells
    replace(path, record)   write one of them, whole or not at all

Nothing is decided here: `plan` makes Plans, `scheduling` carries them out.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import socket
import time
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from aigym_kernel.errors import BenchError
from aigym_kernel.reported import Direction as Direction
from aigym_kernel.reported import Metric as Metric
from aigym_kernel.store.records import replace_file

CellState = Literal["queued", "running", "done", "failed", "interrupted"]
Reason = Literal[
    "error",  # a cell of the notebook raised
    "timeout",
    "memory",
    "disk",
    "kernel",  # the kernel died by itself
    "metric",  # a metric that was asked for was not reported
    "changed",  # a module beside the notebook is not as it was planned with
    "device",  # a GPU was asked for that is not there
    "machine",  # the node or the process that attended to it was lost
    "stopped",  # somebody asked the bench to stop
]
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What each cell may use. ``gpus`` None: the GPUs are shared out among the workers; a number: so many of
    its own. ``output_mb``: what a notebook may print, in all; the rest is cut off."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  (in files that people write: `bench.suites`)

    timeout_s: float = 3600.0
    memory_mb: int | None = None
    disk_mb: int = 10_240
    output_mb: float = 10.0
    threads: int = 1
    gpus: int | None = None
    retries: int = 0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One notebook with one choice of parameters. ``id``: 16 hexadecimal digits, the hash of ``parts``, which
    are hashes by name: ``notebook``, ``parameters``, ``tasks``, ``data``, ``code``, ``lock``, ``threads``,
    ``gpus``."""

    id: str
    notebook: str  # the file's name
    source: str  # where the frozen copy lies, below the bench's folder
    folder: str  # where the notebook was, for what it imports from beside it
    parameters: dict[str, Any] = field(default_factory=dict)  # those that were asked for, checked
    label: str = ""  # the parameters that differ between cells, in one line: "env_id=..., seed=0"
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a bench is to do. ``baselines``: by task, ``{"low": score of 0, "high": score of 1}`` for
    normalised scores. ``task`` and ``seed`` name the parameters that mean these; all others that vary
    are the method."""

    name: str
    store: str
    cells: tuple[Cell, ...]
    metrics: tuple[Metric, ...] = ()  # that must be reported; the first ranks. Empty: what the notebook says
    budget: Budget = Budget()
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)  # path below the working folder: the file or folder
    task: str | None = None
    seed: str | None = None
    run_id: str | None = None  # the bench's own run in the store, the parent of its cells' runs
    created_at: float = field(default_factory=time.time)
    version: int = VERSION


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a cell that ended, or was lost."""

    n: int  # from 1
    state: CellState
    reason: Reason | None = None
    error: str | None = None  # one line
    started_at: float = 0.0
    ended_at: float = 0.0
    run_id: str | None = None  # in the store; trainings and roll-outs of the notebook name it as parent
    host: str = ""
    peak_mb: float | None = None  # of memory, all processes of the cell together
    notes: tuple[str, ...] = ()  # "output cut at 10 MB"


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """Where a cell stands. ``done`` of ``total`` code cells have run; ``inner`` is what goes on in the
    present one: ``{"label": "ppo CartPole-v1", "step": 4096, "total": 100000}`` or empty."""

    state: CellState
    attempt: int = 0  # the one that goes on, or the last
    started_at: float = 0.0  # of that attempt
    pid: int | None = None  # of the process that attends to it
    host: str = field(default_factory=socket.gethostname)
    heartbeat: float = field(default_factory=time.time)
    done: int = 0
    total: int = 0
    inner: dict[str, Any] = field(default_factory=dict)
    memory_mb: float | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a cell that is done came to. ``hashes``: ``metrics`` and ``trajectories``, see `canonical`."""

    cell: str
    attempt: int
    run_id: str
    metrics: dict[str, float]
    declared: tuple[Metric, ...]  # what the notebook says of its metrics, in the order of reporting
    hashes: dict[str, str]
    started_at: float
    ended_at: float
    seconds: float
    peak_mb: float | None
    notebook: str  # the executed one, below the cell's folder
    page: str | None  # its HTML page, or None where none could be made
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class State:
    """A bench's folder as it is now. ``statuses`` has every cell, ``results`` those that are done."""

    folder: Path
    plan: Plan
    statuses: dict[str, CellStatus]
    results: dict[str, Result]


R = TypeVar("R", Plan, CellStatus, Result)


def cell_folder(folder: Path, cell_id: str) -> Path:
    """Where a cell's files are."""
    return folder / "cells" / cell_id


def notebook_names(cells: Iterable[Cell]) -> dict[str, str]:
    """What each notebook is called, by its ``source``: the file's name, with the folder's where several
    notebooks have it."""
    found = {cell.source: cell for cell in cells}
    names = {source: Path(cell.notebook).stem for source, cell in found.items()}
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    names = {s: f"{Path(found[s].folder).name}/{n}" if n in twice else n for s, n in names.items()}
    clash = [name for name in names.values() if list(names.values()).count(name) > 1]
    return {s: f"{name} ({Path(s).parent.name[:8]})" if name in clash else name for s, name in names.items()}


def replace(path: Path, record: Plan | CellStatus | Result) -> None:
    """Write a record's file; readers see the old or the new one. Makes the folder where it is missing.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")


def load(kind: type[R], path: Path) -> R:
    """The record in a file. Keys of later versions are ignored.

    Raises:
        BenchError: the file is missing, damaged, or of a later version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("version", VERSION) > VERSION:
            raise BenchError(
                f"{path} was written by a later version of aigym-kernel; upgrade this one to read it"
            )
        made: R = _made(kind, data)
    except FileNotFoundError:
        raise BenchError(f"no {path.name} in {path.parent}; is that the folder of a bench?") from None
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as problem:
        raise BenchError(
            f"{path} cannot be read ({problem}); restore it, or delete it to begin anew"
        ) from None
    return made


def read(folder: Path) -> State:
    """Everything that a bench's folder says now. A cell that never began is queued; one whose result is there
    is done, whatever its status says.

    Raises:
        BenchError: there is no bench in this folder, or its files are damaged.
    """
    plan = load(Plan, folder / "bench.json")
    statuses, results = {}, {}
    for cell in plan.cells:
        place = cell_folder(folder, cell.id)
        status = CellStatus(state="queued")
        if (place / "status.json").is_file():
            status = load(CellStatus, place / "status.json")
        if (place / "result.json").is_file():
            results[cell.id] = load(Result, place / "result.json")
            status = dataclasses.replace(status, state="done")
        elif status.state == "done":
            status = dataclasses.replace(status, state="interrupted")
        statuses[cell.id] = status
    return State(folder=folder, plan=plan, statuses=statuses, results=results)


def _made(kind: Any, data: Mapping[str, Any]) -> Any:
    """A dataclass of this module from plain values, tuples of such and nested ones included."""
    hints = _hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in data.items() if name in hints})


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a record's fields; finding them out takes longer than reading the file."""
    return typing.get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return _made(hint, value)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_value(inner, one) for one in value)
    return value
