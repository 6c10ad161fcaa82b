"""Execute a notebook with papermill as a recorded run, with its parameters checked first.

    run = run_notebook("notebooks/quickstart.ipynb", {"seed": 1})
    run.folder / "artifacts"       the executed notebook and its HTML report

Papermill itself runs a misspelt parameter with the default, silently; here names and types are compared
with the notebook's own ``parameters`` cell before a kernel starts. One notebook at a time.
"""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat.sign import NotebookNotary
from papermill.exceptions import PapermillExecutionError

from aigym_kernel import rendering, report
from aigym_kernel.errors import NotebookError, RunError, UnknownName
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

    Keeps the executed notebook and its HTML report in the run's ``artifacts`` folder, in a failure too.
    Trainings and rollouts that the notebook starts name this run as their ``parent``.

    Raises:
        UnknownName: the notebook has no such parameter.
        NotebookError: it cannot be read, or a value has the wrong type.
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
    nb = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    cells = sum(cell.cell_type == "code" for cell in nb.cells) + bool(checked)
    with recording(store, record.run_id, total_steps=cells) as (_writer, tell):
        try:
            with _environment(AIGYM_DATA=str(store.folder), AIGYM_PARENT_RUN=record.run_id):
                papermill.execute_notebook(
                    str(source),
                    str(executed),
                    checked,
                    cwd=str(source.parent),
                    progress_bar=progress,
                    # Neither its warning that it listens here unencrypted nor its traceback at Ctrl-C.
                    extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                )
        except PapermillExecutionError as problem:
            injected = bool(checked)  # papermill's own cell stands before every one that can fail
            raise RunError(
                f"{source.name}, cell {problem.cell_index + 1 - injected}: {problem.ename}: {problem.evalue} "
                f"(executed up to there: {executed})"
            ) from None
        except KeyboardInterrupt:
            # The task that waited for the interrupted cell fails when its kernel ends; nobody awaits it.
            logging.getLogger("asyncio").addFilter(_is_no_dead_kernel)
            raise
        finally:
            if executed.is_file():
                tell(_finish(executed))
    return run


def _is_no_dead_kernel(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], DeadKernelError))


def _finish(executed: Path) -> int:
    """Write the page, and sign the notebook as run by this user, so that JupyterLab shows its widgets.
    Returns how many cells ran."""
    report.write_html(executed, executed.with_suffix(".html"))
    notebook = nbformat.read(executed, as_version=4)  # type: ignore[no-untyped-call]
    NotebookNotary().sign(notebook)  # type: ignore[no-untyped-call]
    return sum(bool(cell.get("execution_count")) for cell in notebook.cells)


def check_parameters(path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``parameters`` as the notebook wants them; an int becomes a float where the default is one.

    Raises:
        UnknownName: the notebook has no such parameter.
        NotebookError: no such notebook, not a notebook, or a value of the wrong type.
    """
    if not path.is_file():
        raise NotebookError(f"no notebook at {path}; check the path")
    try:
        nbformat.validate(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]
        found = papermill.inspect_notebook(str(path))
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise NotebookError(f"{path} is not a readable notebook: {rendering.short(reason, 200)}") from None
    if parameters and not found:
        raise NotebookError(
            f"{path.name} takes no parameters, got {sorted(parameters)}; tag one of its cells 'parameters'"
        )
    for name in parameters:
        if name not in found:
            raise UnknownName(f"parameter of {path.name}", name, found)
    return {name: _typed(path, found[name], value) for name, value in parameters.items()}


def _typed(path: Path, parameter: Mapping[str, Any], value: Any) -> Any:
    """``value`` checked against the annotation, else the default's type; None defaults take anything."""
    wanted = str(parameter["inferred_type_name"])
    if wanted in ("None", ""):
        try:
            default = ast.literal_eval(parameter["default"])
        except (ValueError, SyntaxError):
            return value
        if default is None:
            return value
        wanted = type(default).__name__
    if wanted == "float" and type(value) is int:
        return float(value)
    names = {part.strip() for part in wanted.split("|")}
    if type(value).__name__ in names or (value is None and "None" in names):
        return value
    if not names <= {"int", "float", "str", "bool", "list", "dict", "tuple", "None"}:
        return value
    raise NotebookError(
        f"{path.name}: parameter {parameter['name']} is {wanted} (default {parameter['default']}), "
        f"got {type(value).__name__} {value!r}"
    )


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for the kernel; plotly's figures stay data, not 5 MB of script each."""
    wanted = {"PLOTLY_RENDERER": os.environ.get("PLOTLY_RENDERER", "plotly_mimetype"), **variables}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
