"""What every sandbox promises: a Sandbox opens Boxes, a Box runs commands under Limits, an Execution
says what happened. Not here: how the isolation is made (`bwrap`, `docker`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from aigym_kernel import rendering
from aigym_kernel.executors import Ray
from aigym_kernel.tasks import Limits

if TYPE_CHECKING:
    from aigym_kernel.sandboxes.mapping import Program
    from aigym_kernel.sandboxes.sessions import Kind, Session

Status = Literal[
    "ok",
    "error",
    "signal",
    "timeout",
    "cpu_limit",
    "memory_limit",
    "output_limit",
    "compile_error",
    "sandbox_error",
]
SHOWN = 10_000  # characters of a stream in a notebook


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One command's end, told apart by cause.

    ``ok`` exit code 0; ``error`` any other exit code (137 and 124 too); ``signal`` killed by a signal
    of its own making, or for too many processes or files (``detail`` says so); ``timeout`` wall time;
    ``cpu_limit``, ``memory_limit``, ``output_limit`` as named; ``compile_error`` there is no program
    (``stderr`` is the compiler's, times are 0); ``sandbox_error`` the sandbox broke, never
    the program's fault. ``exit_code`` is None unless the program ended by itself. ``wall_s`` and ``cpu_s``
    are seconds, ``peak_memory_mb`` MiB over the whole process tree (from its control group, which counts
    what was written to the box's disks too; else looked at every 10 ms, so that 0 is of a program that was
    faster and not ended for its memory); output is decoded as UTF-8 with replacement and cut at the limit.
    ``detail`` names the limit that decided, or that a program met which then failed.
    """

    status: Status
    exit_code: int | None
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    peak_memory_mb: float
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        label = rendering.badge(self.status, rendering.GOOD if self.status == "ok" else rendering.BAD)
        code = "" if self.exit_code is None else f"exit code {self.exit_code}, "
        used = f"{self.wall_s:.2f} s, {self.cpu_s:.2f} s of CPU time, {self.peak_memory_mb:.0f} MiB at most"
        parts = [f"<p>{label} {code}{used} {rendering.escape(self.detail)}</p>"]
        for name in ("stdout", "stderr"):
            if text := getattr(self, name):
                parts.append(f"<div>{name}</div>{rendering.pre(text[:SHOWN])}")
                if len(text) > SHOWN:
                    parts.append(f"<p>{len(text) - SHOWN:,} further characters are not shown.</p>")
        return f"<div>{''.join(parts)}</div>"


class Box(Protocol):
    """An open sandbox. Its working folder ``/work`` lives until `close`; processes only as long as the
    `run` or the session that started them. Usable as a context manager and from any thread, one call at a
    time."""

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: str | bytes = "",
        limits: Limits | None = None,
        reserves_mb: int = 0,
    ) -> Execution:
        """Run ``command`` in ``/work`` (``limits`` may only tighten time and output, not memory of
        the box). When it returns, nothing that it started is alive. ``reserves_mb``: address space that
        the program is known to set aside without using it, where address space is limited at all."""
        ...

    def session(self, kind: Kind = "bash") -> Session:
        """A program that stays between commands: ``bash`` or ``ipython``. While one is open, `run` and
        `clear` are refused, since they leave no process alive, and files are put in and taken out with all
        processes halted. Raises SandboxError where it does not start."""
        ...

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Put files below ``/work``, replacing whatever stands at their place. Raises SandboxError on a
        path that leaves it or a full disk."""
        ...

    def read(self, path: str) -> bytes:
        """A regular file below ``/work``, never through links. Raises SandboxError if there is none."""
        ...

    def export(self) -> dict[str, bytes]:
        """Every regular file below ``/work`` by relative path; links, pipes and devices left out."""
        ...

    def upload(self, source: str | Path, to: str = ".") -> None:
        """Put a file of the host, or all that is in a folder, into a folder below ``/work``, with modes,
        empty folders and links that stay within. Raises SandboxError on one that leads out of the folder,
        on sockets and devices, and where there is more than fits on the disk."""
        ...

    def download(self, to: str | Path, path: str = ".") -> int:
        """Everything in a folder below ``/work``, into the folder ``to`` of the host, which must be empty or
        not exist: folders and regular files. Links, pipes and the like are left out; how many were. Raises
        SandboxError."""
        ...

    def commit(self, name: str) -> str:
        """Keep ``/work`` as it is, as a snapshot of that name: modes, times, links and empty folders too,
        but no process, and nothing of ``/tmp``. Returns where it is: with bwrap a folder, with Docker an
        image. `open_snapshot` opens a box that begins with it. Raises SandboxError if the name is taken."""
        ...

    def clear(self) -> None:
        """Remove everything below ``/work``, ``/tmp`` and ``/dev/shm``, the only places that can be written
        to: the next `run` finds no file, as it finds no process, of the ones before."""
        ...

    def close(self) -> None:
        """End it and everything inside; a run that goes on in another thread answers ``sandbox_error``.
        Twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Sandbox(Protocol):
    """Somewhere untrusted code may run."""

    @property
    def name(self) -> str:
        """``bwrap`` or ``docker``."""
        ...

    @property
    def memory(self) -> str:
        """What enforces ``memory_mb`` beside the looks at a run's processes, every 10 ms: ``cgroup`` on the
        whole tree, ``address space`` on each process, or ``looks`` for nothing else."""
        ...

    def open(self, limits: Limits, files: Mapping[str, str | bytes] | None = None) -> Box:
        """A new box holding ``files``. Raises SandboxError, with what to install, where none can be
        had; never falls back to less isolation."""
        ...

    def map(
        self, programs: Iterable[Program], *, workers: int | None = None, executor: Ray | None = None
    ) -> Iterator[Execution]:
        """Run each program in a box of its own, ``workers`` at a time (None: one per CPU); executions
        come in the order of the programs. Programs are drawn as they are needed, from the thread that
        iterates. A full machine is waited for with fewer boxes. Closing the iterator, Ctrl-C and an
        exception from ``programs`` close all boxes. ``executor=aigym.Ray(...)`` does it on a cluster.

        Raises, while iterating and in the place of the program concerned:
            SolutionError: not a Program.
            SandboxError: no box can be opened, or it does not hold the program's files.
        """
        ...
