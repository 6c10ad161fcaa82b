"""What the process of a cell does: execute its notebook as a recorded run, and say how it went.

    work(order, tell)       in a process of its own (`starter`), which `keeper.attend` watches

It tells ``{"run": id}`` once, ``{"done": 2, "total": 5, "place": "code cell 3"}`` as it goes on, and at
the end ``{"outcome": {...}}`` with the fields of an `Attempt` or, where it is done, of a `Result`. SIGINT
interrupts the kernel; what has run by then is kept. Budgets of time, memory and disk are held from outside.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat

from aigym_kernel import parameters, printing, provenance, rendering, reported
from aigym_kernel.bench import canonical, identity
from aigym_kernel.bench.orders import FULL, Order
from aigym_kernel.bench.records import Cell, Metric, Reason
from aigym_kernel.engine import Course, Failure, environment, execute, finish
from aigym_kernel.errors import AigymError, NotebookError, RunError
from aigym_kernel.recording import new_run, recording
from aigym_kernel.store import Store

Tell = Callable[[Mapping[str, Any]], None]

_NO_DEVICE = re.compile(
    r"no NVIDIA driver|No CUDA GPUs? (?:is|are) available|not compiled with CUDA|invalid device ordinal|"
    r"no CUDA-capable device|CUDA is not available|this machine has no such device|"
    r"not (?:linked|built) with support for mps|torch\.cuda\.is_available\(\) is False",
    re.IGNORECASE,
)
_FULL = re.compile(r"\[Errno 28\]|No space left on device|Disk quota exceeded")


class _Failed(RunError):
    """A cell that came to nothing, and why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _print(text: str) -> None:
    """Into the attempt's log, where it can be read while the notebook runs."""
    with suppress(OSError):  # a full disk ends the cell elsewhere, with its reason
        os.write(1, text.encode("utf-8", "backslashreplace"))


def work(order: Order, tell: Tell) -> None:
    """Carry out one attempt. What a notebook does wrong is told, not raised."""
    course = Course(
        lambda now: tell({"done": now.done, "total": now.total, "place": now.place}),
        output_bytes=order.budget.output_mb * 1e6,
        printed=_print,
    )
    signal.signal(signal.SIGINT, lambda *_: course.interrupt())
    notes: list[str] = []
    store = Store(order.store)
    outcome: dict[str, Any]
    try:
        outcome = _result(order, store, course, notes, tell)
    except KeyboardInterrupt:
        outcome = {"state": "interrupted", "reason": "stopped", "error": _at(course, "interrupted")}
    except _Failed as problem:
        outcome = {"state": "failed", "reason": problem.reason, "error": str(problem)}
    except Exception as problem:  # such as a disk that is full, or a notebook that is gone
        traceback.print_exc()
        said = str(problem) if isinstance(problem, AigymError) else f"{type(problem).__name__}: {problem}"
        reason: Reason = "disk" if _FULL.search(said) else "machine"
        said = rendering.short(said, 400) + f": {FULL}" * (reason == "disk")
        outcome = {"state": "failed", "reason": reason, "error": said}
    if course.cut:
        notes.append(f"output cut at {order.budget.output_mb:g} MB")
    tell({"outcome": {**outcome, "notes": notes}})


def _result(order: Order, store: Store, course: Course, notes: list[str], tell: Tell) -> dict[str, Any]:
    cell = order.cell
    planned = parameters.read(order.folder / cell.source)
    if changed := _changed(cell, planned):
        raise _Failed("changed", changed)
    config = {
        "notebook": cell.notebook,
        "parameters": cell.parameters,
        "bench": order.folder.name,
        "cell": cell.id,
        "attempt": order.attempt,
    }
    stem = cell.notebook.removesuffix(".ipynb")
    record = new_run(store, kind="notebook", name=f"{stem} {cell.label}".strip(), config=config)
    tell({"run": record.run_id})
    with recording(store, record.run_id, total_steps=0) as (writer, report):

        def on(now: Course) -> None:
            told(now)
            report(now.done, total_steps=now.total)

        told = course.told
        course.told = on
        page, notebook = _executed(order, course, record.run_id, notes)
        metrics, declared = _reported(order, notebook)
        writer.metrics(0, metrics)
        report(course.done, metrics)
    if _changed(cell, planned):
        notes.append("a module beside the notebook was changed while it ran; it may have imported either")
    return {
        "state": "done",
        "metrics": metrics,
        "declared": [asdict(metric) for metric in declared],
        "hashes": canonical.hashes(store, record.run_id, metrics, declared),
        "page": page,
        "provenance": {**record.provenance, "load_at_end": provenance.load()},
    }


def _changed(cell: Cell, notebook: nbformat.NotebookNode) -> str | None:
    """What to say where the modules beside the notebook are not those that the cell's id was made of."""
    home = Path(cell.folder)
    now = identity.of_notebook(notebook, home)
    if cell.parts.get("notebook", now) == now:
        return None
    names = ", ".join(path.name for path in identity.modules(notebook, home)) or "it is gone"
    return (
        f"a module beside the notebook ({names}) changed since the bench was planned; plan it anew with "
        "aigym bench run, or bring the module back and resume"
    )


def _executed(order: Order, course: Course, run_id: str, notes: list[str]) -> tuple[str | None, Any]:
    """The page's path below the cell's folder, and the executed notebook."""
    variables = {"AIGYM_PARENT_RUN": run_id, printing.VARIABLE: str(int(course.limit))}
    with environment(variables):
        failure = execute(
            order.folder / order.cell.source,
            order.executed,
            order.cell.parameters,
            cwd=order.attempt_folder / "work",
            course=course,
        )
    notebook, page = None, order.executed.with_suffix(".html")
    try:
        if order.executed.is_file():
            notebook = finish(order.executed)
    except Exception as problem:  # whatever nbconvert makes of what a notebook may show
        notes.append(f"no HTML page: {type(problem).__name__}: {problem}"[:300])
    if failure is not None:
        raise _failed(order, failure)
    made = str(page.relative_to(order.place)) if page.is_file() else None
    return made, notebook


def _failed(order: Order, failure: Failure) -> BaseException:
    if failure.traceback:
        print(failure.traceback, file=sys.stderr, flush=True)
    if failure.kind == "interrupted":
        return KeyboardInterrupt()
    look = f"see {order.attempt_folder.name}/{order.cell.notebook} and log.txt in the cell's folder"
    if failure.kind == "kernel":
        return _Failed("kernel", f"{failure.line} ({look})")
    said = f"{failure.name}: {failure.value}"
    if _NO_DEVICE.search(said):
        return _Failed(
            "device",
            f"{failure.line}: it asks for a GPU that is not there for it; run it where there is one, or let "
            "the notebook compute on the CPU",
        )
    if _FULL.search(said):
        return _Failed("disk", f"{failure.line}: {FULL}")
    if failure.name == NotebookError.__name__ and failure.value.startswith("metric "):
        return _Failed("metric", failure.line)
    if failure.name in ("MemoryError", "OutOfMemoryError"):
        return _Failed("memory", f"{failure.line} ({look})")
    return _Failed("error", f"{failure.line} ({look})")


def _reported(order: Order, notebook: Any) -> tuple[dict[str, float], tuple[Metric, ...]]:
    try:
        metrics, declared = reported.of(notebook)
    except NotebookError as problem:
        raise _Failed("metric", str(problem)) from None
    if not metrics:
        raise _Failed("metric", "no metric was reported; let the notebook end with aigym.report(name=value)")
    if missing := [metric.name for metric in order.metrics if metric.name not in metrics]:
        raise _Failed(
            "metric",
            f"metric {', '.join(map(repr, missing))} was not reported; the notebook reports "
            f"{', '.join(metrics)}: correct the bench's metrics or the notebook",
        )
    return metrics, declared


def _at(course: Course, what: str) -> str:
    return f"{what} in {course.place}" if course.place else what
