"""Programs, one or many: each runs in a box of its own.

    run(sandbox, Program("print(1)"))                              # what `execute` does
    for execution in sandbox.map(programs, workers=4): ...         # many, in the order of the programs
    sandbox.map(programs, executor=Ray(address="10.0.0.1:6379"))   # the same on a cluster

A machine that is full (no process, memory, descriptor or daemon answer left for another box) is never a
program's fault: the box is asked for again, with fewer at a time, until there is room (`executors`). Where
there is none for half a minute, even for a single box, SandboxFull is raised. Not here: what happens inside
a box.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache, partial
from types import UnionType

from aigym_kernel.errors import SandboxError, SandboxFull, SolutionError
from aigym_kernel.executors import Ray, crew_for, in_order, patiently
from aigym_kernel.sandboxes import languages
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.sandboxes.remote import no_room
from aigym_kernel.tasks import Limits


@dataclass(frozen=True)
class Program:
    """Code in a language, with what it reads: standard input and the ``files`` beside it in ``/work``.

    Raises:
        UnknownName: there is no such language.
        SolutionError: a field is of the wrong type.
    """

    code: str | bytes
    language: str = "python"
    _: KW_ONLY
    stdin: str | bytes = ""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        languages.language(self.language)
        _check("code", self.code, str | bytes)
        _check("stdin", self.stdin, str | bytes)
        _check("limits", self.limits, Limits)
        _check("files", self.files, Mapping)
        for name, content in self.files.items():
            _check("a name in files", name, str)
            _check(f"files[{name!r}]", content, str | bytes)


def _check(what: str, value: object, wanted: type | UnionType) -> None:
    if not isinstance(value, wanted):
        name = wanted.__name__ if isinstance(wanted, type) else str(wanted)
        raise SolutionError(f"{what} must be {name}, not {type(value).__name__}")


class OpenBoxes:
    """The boxes that one `run_many` has open, so that all can be closed from another thread."""

    def __init__(self) -> None:
        self._boxes: set[Box] = set()
        self._lock = threading.Lock()
        self.closed = threading.Event()

    def add(self, box: Box) -> None:
        """Raises SandboxError, after closing it, when `close` was called meanwhile."""
        with self._lock:
            if not self.closed.is_set():
                self._boxes.add(box)
                return
        box.close()
        raise SandboxError("cancelled")

    def remove(self, box: Box) -> None:
        with self._lock:
            self._boxes.discard(box)

    def close(self) -> None:
        """Close every box; runs that are going on end as ``sandbox_error``. No further box is taken."""
        with self._lock:
            self.closed.set()
            boxes = list(self._boxes)
        try:
            with ThreadPoolExecutor(max_workers=16) as threads:  # a container takes a second to end
                for box in boxes:
                    threads.submit(box.close)
        except RuntimeError:  # no more threads on this machine
            for box in boxes:
                box.close()


def run(sandbox: Sandbox, program: Program) -> Execution:
    """Run one program in a box of its own and throw the box away. A sandbox that breaks is no fault of the
    program: it is run once more, in a fresh box.

    Raises:
        SandboxError: no box can be opened here, or it does not hold the files.
        SandboxFull: the machine stayed full.
    """
    return patiently(partial(_run, sandbox, OpenBoxes(), program), threading.Event())


def _run(sandbox: Sandbox, boxes: OpenBoxes, program: Program) -> Execution:
    """Raises SandboxFull where one more box is too much just now."""
    if not isinstance(program, Program):
        raise SolutionError(f"programs must be Program, not {type(program).__name__}: Program(code)")
    execution = _run_once(sandbox, program, boxes)
    if execution.status == "sandbox_error" and not boxes.closed.is_set():
        try:
            return _run_once(sandbox, program, boxes)
        except SandboxFull:
            raise
        except SandboxError as error:  # such as a daemon that died
            return dataclasses.replace(execution, detail=f"{execution.detail}; then: {error}")
    return execution


def _run_once(sandbox: Sandbox, program: Program, boxes: OpenBoxes) -> Execution:
    opened = partial(_opened, sandbox, boxes)
    name, file = program.language, languages.language(program.language).file
    files = {**program.files, file: program.code}
    built = languages.build(opened, name, file, files, program.limits)
    if isinstance(built, Execution):
        execution = built
    else:
        with opened(program.limits, {**files, **built}) as box:
            execution = languages.run(box, name, file, program.limits, stdin=program.stdin)
    if execution.status == "sandbox_error" and no_room(execution.detail) and not boxes.closed.is_set():
        raise SandboxFull(execution.detail)
    return execution


@contextlib.contextmanager
def _opened(
    sandbox: Sandbox, boxes: OpenBoxes, limits: Limits, files: Mapping[str, str | bytes]
) -> Iterator[Box]:
    with sandbox.open(limits, files) as box:
        boxes.add(box)
        try:
            yield box
        finally:
            boxes.remove(box)


def run_many(
    sandbox: Sandbox, programs: Iterable[Program], workers: int | None, executor: Ray | None
) -> Iterator[Execution]:
    """`Sandbox.map`, for any sandbox."""
    boxes = OpenBoxes()
    if executor is None:
        crew = crew_for(partial(_run, sandbox, boxes), workers, None, boxes.close)
    else:
        crew = crew_for(partial(_run_there, pickle.dumps(sandbox)), workers, executor, boxes.close)
    return in_order(programs, crew)


def _run_there(pickled: bytes, program: Program) -> Execution:
    """In a worker process of a cluster. The sandbox is made once per process: a pool stays warm there."""
    return run(_sandbox(pickled), program)


@lru_cache(maxsize=4)
def _sandbox(pickled: bytes) -> Sandbox:
    sandbox: Sandbox = pickle.loads(pickled)
    return sandbox
