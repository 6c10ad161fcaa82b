"""Execute a notebook with papermill as a recorded run, with its parameters checked first.

    run = run_notebook("notebooks/quickstart.ipynb", {"seed": 1})
    run.folder / "artifacts"       the executed notebook and its HTML report

Papermill itself runs a misspelt parameter with the default, silently; here names and types are compared
with the notebook's own ``parameters`` cell before a kernel starts. One notebook at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import DeadKernelError

from aigym_kernel import parameters, reported
from aigym_kernel.engine import Course, environment, execute, finish
from aigym_kernel.errors import NotebookError, RunError
from aigym_kernel.handles import Run
from aigym_kernel.recording import as_store, new_run, recording
from aigym_kernel.store import Store


def run_notebook(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    store: Store | None = None,
    progress: bool = True,
) -> Run:
    """Execute ``path`` in its own folder, with ``parameters`` injected after its ``parameters`` cell.

    Keeps the executed notebook and its HTML report in the run's ``artifacts`` folder, in a failure too. What
    it reported (`aigym.report`) is the run's summary and, at step 0, its metrics.
    Trainings and rollouts that the notebook starts name this run as their ``parent``.

    Raises:
        UnknownName: the notebook has no such parameter.
        NotebookError: it cannot be read, or a value has the wrong type; it reported a metric twice.
        RunError: a cell failed.
    """
    if not isinstance(path, str | Path):
        raise NotebookError(f"run_notebook({path!r}): expected the path of a notebook")
    source = Path(path).expanduser().resolve()
    checked = check_parameters(source, parameters or {})
    store = as_store(store)
    config = {"notebook": source.name, "parameters": checked}
    record = new_run(store, kind="notebook", name=source.stem, config=config)
    run = Run(record.run_id, store)
    artifacts = run.folder / "artifacts"
    artifacts.mkdir(exist_ok=True)
    executed = artifacts / source.name
    course = Course()
    with recording(store, record.run_id, total_steps=_count(source) + bool(checked)) as (writer, tell):
        try:
            kernels = {"AIGYM_DATA": str(store.folder), "AIGYM_PARENT_RUN": record.run_id}
            with environment(kernels):
                failure = execute(
                    source, executed, checked, cwd=source.parent, course=course, progress=progress
                )
            if failure is not None:
                raise RunError(f"{source.name}, {failure.line} (executed up to there: {executed})")
        except KeyboardInterrupt:
            # The task that waited for the interrupted cell fails when its kernel ends; nobody awaits it.
            logging.getLogger("asyncio").addFilter(_is_no_dead_kernel)
            raise
        finally:
            tell(course.done)
            if executed.is_file():
                notebook = finish(executed)
        metrics, _ = reported.of(notebook)
        writer.metrics(0, metrics)
        tell(course.done, metrics)
    return run


def _count(source: Path) -> int:
    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    return sum(cell.cell_type == "code" for cell in notebook.cells)


def _is_no_dead_kernel(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], DeadKernelError))


def check_parameters(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` as the notebook's parameters want them; an int becomes a float where the default is one.

    Raises:
        UnknownName: the notebook has no such parameter.
        NotebookError: no such notebook, not a notebook, or a value of the wrong type.
    """
    return parameters.checked(path.name, parameters.of(parameters.read(path), path.name), values)
