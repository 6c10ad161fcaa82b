"""papermill with what it lacks: output that is cut, a kernel that dies with a reason, progress as data.

    course = Course(told=print, output_bytes=10_000_000)
    failure = execute(source, executed, {"seed": 1}, cwd=folder, course=course)     None: all cells ran
    finish(executed)                    its HTML page; signed, so that JupyterLab shows its widgets

Cells are counted as a reader counts them: code cells of the notebook, without the one that papermill injects.
Nothing is recorded here, and no limit but that on the output is held: `notebooks` and `bench` do that.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from nbformat.sign import NotebookNotary
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger

from aigym_kernel import pages, rendering, reported

ENGINE = "aigym"
_START_S = 300  # how long a kernel may take to start on a busy machine; one that died is told at once
_OUTPUT_S = 600  # how long what a cell printed may take to arrive after it ended; papermill gives up after 4
_OVERHEAD = 200  # bytes of an output beside its text
_ERROR_LENGTH = 20_000
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why not all cells ran. ``place``: "code cell 3". ``line``: all of it in one line."""

    kind: Literal["error", "kernel", "interrupted"]
    place: str
    name: str
    value: str
    traceback: str = ""

    @property
    def line(self) -> str:
        """Where and what, in one line."""
        what = rendering.short(f"{self.name}: {self.value}" if self.name else self.value, 500)
        return f"{self.place}: {what}" if self.place else what


class Course:
    """How one execution goes: ``done`` of ``total`` code cells, the present one's ``place``, and whether
    output was ``cut`` at ``limit`` bytes. ``told`` is called whenever one of the first three has changed,
    ``printed`` with each text that the notebook prints, as far as it is kept."""

    def __init__(
        self,
        told: Callable[[Course], None] = lambda _: None,
        output_bytes: float = float("inf"),
        printed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.done, self.total, self.place, self.cut = 0, 0, "", False
        self.interrupted = False
        self.told, self.limit, self._room = told, output_bytes, output_bytes
        self.printed = printed
        self._number = 0
        self._kernel: Any = None

    def interrupt(self) -> None:
        """Interrupt what the kernel does, as Jupyter does; no further cell begins. For a signal's handler:
        raises KeyboardInterrupt where no kernel runs, but for the second time: what was interrupted is being
        written then."""
        again, self.interrupted = self.interrupted, True
        process = getattr(getattr(self._kernel, "provisioner", None), "process", None)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(os.getpgid(process.pid), signal.SIGINT)
        elif not again:
            raise KeyboardInterrupt

    def uses(self, kernel: Any) -> None:
        """From now on this manager's kernel is the one to interrupt."""
        self._kernel = kernel

    def counts(self, cells: list[Any]) -> None:
        """These cells will run."""
        self.total = sum(cell.cell_type == "code" for cell in cells)

    def begins(self, cell: Any) -> None:
        """A code cell begins."""
        if "injected-parameters" in cell.metadata.get("tags", ()):
            self.place = "the injected parameters"
        else:
            self._number += 1
            self.place = f"code cell {self._number}"
        self.told(self)

    def ended(self) -> None:
        """It ended, in whatever way."""
        self.done += 1
        self.told(self)

    def admitted(self, message: dict[str, Any], outputs: list[Any]) -> bool:
        """Whether an output may be kept, whole or (a stream, an error) shortened in place. When the first is
        cut, a line in ``outputs`` says so. What `aigym.report` shows is always kept."""
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            content["evalue"] = content["evalue"][:_ERROR_LENGTH]
            if sum(map(len, content["traceback"])) > 5 * _ERROR_LENGTH:
                content["traceback"] = [f"{content['ename']}: {content['evalue']}"]
            return True
        if kind not in ("stream", "display_data", "execute_result", "update_display_data"):
            return True
        size = _OVERHEAD + _size(content)
        if kind == "update_display_data":  # takes the place of another
            return size <= self.limit
        if size <= self._room or reported.MIME in content.get("data", {}):
            self._room -= size
            if kind == "stream":
                self.printed(content["text"])
            return True
        if not self.cut:
            if kind == "stream":
                text = content["text"][: max(0, int(self._room))]
                outputs.append(nbformat.v4.new_output("stream", name=content["name"], text=text))  # type: ignore[no-untyped-call]
            said = f"\n[output cut at {self.limit / 1e6:g} MB: what else this notebook prints is left out]\n"
            outputs.append(nbformat.v4.new_output("stream", name="stderr", text=said))  # type: ignore[no-untyped-call]
        self.cut, self._room = True, 0.0
        return False


def _size(content: Mapping[str, Any]) -> int:
    values = [content.get("text", ""), *content.get("data", {}).values()]
    return sum(len(each) if isinstance(each, str) else len(json.dumps(each)) for each in values)


def execute(
    source: Path,
    executed: Path,
    parameters: Mapping[str, Any],
    *,
    cwd: Path,
    course: Course,
    progress: bool = False,
) -> Failure | None:
    """Run a notebook in a kernel of its own in the folder ``cwd``, with ``parameters`` injected after its
    ``parameters`` cell. ``executed`` is written after each cell, so that it is there in a failure too."""
    try:
        papermill.execute_notebook(
            str(source),
            str(executed),
            dict(parameters),
            engine_name=ENGINE,
            cwd=str(cwd),
            progress_bar=progress,
            course=course,
        )
    except PapermillExecutionError as problem:
        trace = _ANSI.sub("", "\n".join(problem.traceback or ()))
        interrupted = course.interrupted and problem.ename == "KeyboardInterrupt"
        return Failure(
            kind="interrupted" if interrupted else "error",
            place=course.place,
            name=problem.ename,
            value=_ANSI.sub("", str(problem.evalue)),
            traceback=trace,
        )
    except _Interrupted:  # between two cells, or what it raised in one was swallowed there
        return Failure(kind="interrupted", place=course.place, name="", value="interrupted")
    except _KernelDied as problem:
        return Failure(kind="kernel", place=course.place, name="", value=str(problem))
    except (NoSuchKernel, RuntimeError, ValueError) as problem:
        # Jupyter has no type of its own for a kernel that does not start; one that did has said a place.
        if course.place:
            raise
        return Failure(
            kind="kernel",
            place="",
            name="",
            value=f"its kernel did not start: {type(problem).__name__}: {problem}; choose another kernel for "
            "the notebook, or install that one ('jupyter kernelspec list' shows them)",
        )
    return None


def finish(executed: Path) -> Any:
    """Write the executed notebook's HTML page, and sign it as run by this user, so that JupyterLab shows its
    widgets. Returns its node."""
    pages.write_html(executed, executed.with_suffix(".html"))
    notebook = nbformat.read(executed, as_version=4)  # type: ignore[no-untyped-call]
    NotebookNotary().sign(notebook)  # type: ignore[no-untyped-call]
    return notebook


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
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


class _KernelDied(Exception):
    pass


class _Interrupted(Exception):
    pass


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client, which tells its `Course` what goes on."""

    course: Course

    def create_kernel_manager(self) -> Any:
        manager = super().create_kernel_manager()
        if sys.platform == "linux":
            # Ports are chosen before the kernel binds them: of kernels that start together two may have
            # chosen the same. A socket without a file has a name of its own and leaves nothing behind.
            manager.transport, manager.ip = "ipc", f"@aigym-{secrets.token_hex(12)}"
        self.course.uses(manager)
        return manager

    def execute_cell(self, cell: Any, cell_index: int, **more: Any) -> Any:
        if cell.cell_type != "code":
            return super().execute_cell(cell, cell_index, **more)
        self.course.begins(cell)
        if self.course.interrupted:
            raise _Interrupted
        try:
            return super().execute_cell(cell, cell_index, **more)
        except DeadKernelError:
            self.nb_man.cell_exception(cell, cell_index=cell_index)
            raise _KernelDied(_death(self.km)) from None
        finally:
            self.course.ended()

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if not self.course.admitted(msg, cell.outputs):
            return None
        return super().process_message(msg, cell, cell_index)


def _death(manager: Any) -> str:
    """How a kernel died."""
    code = getattr(getattr(manager.provisioner, "process", None), "returncode", None)
    if code is None:
        return "the kernel died"
    if code >= 0:
        return f"the kernel ended itself (exit code {code})"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    perhaps = "; if nobody killed it, the machine ran out of memory" if -code == signal.SIGKILL else ""
    return f"the kernel was ended by signal {-code} ({name}){perhaps}"


class _Engine(NBClientEngine):  # type: ignore[misc]
    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, course: Course, **_: Any) -> Any:
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=_START_S,
            iopub_timeout=_OUTPUT_S,
            log=logger,
            extra_arguments=_arguments(course),
        )
        client.course = course
        course.counts(nb_man.nb.cells)
        return client.execute()


def _arguments(course: Course) -> list[str]:
    """For ipykernel: neither its warning that it listens here unencrypted nor its traceback at Ctrl-C."""
    quiet = "--IPKernelApp.log_level=CRITICAL"
    if course.limit == float("inf"):
        return [quiet]
    return [quiet, "--IPKernelApp.extra_extensions=['aigym_kernel.printing']"]


papermill_engines.register(ENGINE, _Engine)
