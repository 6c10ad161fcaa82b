"""Boxes kept warm: a lease takes milliseconds where a new box takes tens (bwrap) or hundreds (Docker).

    with Pool("docker") as pool:                    # a Sandbox, like the one that it stands on
        execute("print(1 + 1)", sandbox=pool)
    open_sandbox("pool")                            # one for the whole process, closed as it ends

`Pool.open` leases a box, the box's ``close`` gives it back; cleaning happens after that, while nobody waits.
Boxes are kept per `Limits`, as many as were in use at once, at least ``size``. One is thrown away after
`RUNS` leases, and at once if it broke or does not look as it did when it was new.

What a lease shares with the one before, by level:

|                                | reuse                    | fresh (default) | single |
|--------------------------------|--------------------------|-----------------|--------|
| processes, pid numbers, /proc  | namespace (all ended)    | new             | new    |
| /work, /tmp, /dev/shm, mqueue  | file systems (emptied)   | new             | new    |
| /dev/pts                       | file system (set right)  | new             | new    |
| IPC objects                    | namespace (looked at)    | new             | new    |
| loopback: ports, counters      | the same                 | new             | new    |
| runner's memory and settings   | the runner (looked at)   | new             | new    |
| a Python program's memory      | no byte of any lease     | no byte         | new    |
| its addresses and hash seed    | the same                 | the same        | new    |
| user id, host name, cgroup     | the same                 | the same        | new    |

With ``Limits(network=True)`` all share what network there is. In ``reuse`` and ``fresh`` Python programs run
in an interpreter forked from a process that has seen none (`inside.resident`); in ``single`` every one is
started. Where the system refuses the namespaces (a daemon without SYS_ADMIN, user namespaces that may not
mount /proc), ``reuse`` and ``fresh`` become ``single``, which shares less and takes longer: with a warning,
and `Pool.refused` says why.

Not here: what runs in a box (`inside`), how a box is made (`bwrap`, `containers`).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import time
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Literal, Protocol, Self, get_args

from aigym_kernel.errors import SandboxError, SandboxFull, UnknownName
from aigym_kernel.executors import Ray
from aigym_kernel.sandboxes.inside.frames import pack
from aigym_kernel.sandboxes.links import Link
from aigym_kernel.sandboxes.mapping import Program, run_many
from aigym_kernel.sandboxes.protocol import Execution, Sandbox
from aigym_kernel.sandboxes.remote import RunnerBox
from aigym_kernel.settings import sandbox_name
from aigym_kernel.tasks import Limits

Level = Literal["reuse", "fresh", "single"]

RUNS = 500
"""Leases of one box, after which it is thrown away."""
CLASSES = 4
"""Different `Limits` for which boxes wait; those of the longest unused are thrown away."""
MOST_OPEN = max(64, 16 * (os.cpu_count() or 1))
"""Leases of one pool at a time; who asks for more waits."""
PATIENCE_S = 30.0
IDLE_S = 5.0  # how long the thread that opens and ends boxes waits for something to do
RENEW = pack({"do": "renew"})


class Base(Protocol):
    """What a pool can stand on: bwrap and docker."""

    name: str

    @property
    def memory(self) -> str:
        """See `Sandbox.memory`."""
        ...

    def start(self, limits: Limits, level: str = "") -> Link:
        """A new runner. ``level`` is empty for one that is used once."""
        ...

    def box(self, link: Link, limits: Limits, end: Callable[[bool], str] | None = None) -> RunnerBox:
        """The box over a link whose runner is about to say hello."""
        ...


@dataclass(eq=False)
class _Warm:
    """A box that has been leased or waits for it."""

    link: Link
    limits: Limits
    leases: int = 0


@dataclass(eq=False)
class _Class:
    """The boxes of one `Limits`."""

    waiting: deque[_Warm] = field(default_factory=deque)
    leased: int = 0
    most_leased: int = 0
    leases: int = 0
    starting: int = 0


class Pool:
    """A `Sandbox` of warm boxes, and a context manager. Safe to use from several threads, each of which gets
    a box of its own, and after a fork, where it begins anew.

    ``level`` is the one in force, ``refused`` why it is not the one asked for, else empty.
    """

    def __init__(self, base: Sandbox | str | None = None, *, level: Level = "fresh", size: int = 2) -> None:
        """``base``: bwrap, docker or what `open_sandbox` makes of such a name; None: the default one.
        ``size``: boxes kept warm per `Limits` at least, 1 to 64. Nothing is started before the first `open`.

        Raises:
            UnknownName: there is no such level or base.
            SandboxError: ``size`` is no such number.
        """
        if level not in get_args(Level):
            raise UnknownName("level", level, get_args(Level))
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 64:
            raise SandboxError(f"Pool(size={size!r}): the number of boxes kept warm, 1 to 64")
        self._base = _base(base)
        self._asked, self._size = level, size
        self.level: Level = level
        self.refused = ""
        self.name = f"pool-{self._base.name}"
        self._proven = level == "single"  # a box of this level has opened
        self._closed = False
        self._boxes: set[_Warm] = set()
        self._begin()
        _pools.add(self)

    @property
    def memory(self) -> str:
        """See `Sandbox.memory`."""
        return self._base.memory

    def open(self, limits: Limits, files: Mapping[str, str | bytes] | None = None) -> RunnerBox:
        """Lease a box. See `Sandbox.open`.

        Raises:
            SandboxFull: `MOST_OPEN` boxes were open for `PATIENCE_S`.
        """
        self._enter()
        try:
            box = self._lease(limits)
        except BaseException:
            self._leave()
            raise
        if files:
            box.put(files)
        return box

    def map(
        self, programs: Iterable[Program], *, workers: int | None = None, executor: Ray | None = None
    ) -> Iterator[Execution]:
        """See `Sandbox.map`."""
        return run_many(self, programs, workers, executor)

    def close(self) -> None:
        """End the boxes that wait; those that are leased end when they are given back. Twice is fine."""
        with self._changed:
            self._closed = True
            ends = [warm for kind in self._classes.values() for warm in kind.waiting]
            self._classes.clear()
        for warm in ends:
            self._throw(warm)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets a pool of its own."""
        return partial(Pool, level=self._asked, size=self._size), (self._base,)

    # Leases

    def _begin(self) -> None:
        """With no box and no thread: as a new pool, or in a forked process."""
        self._changed = threading.Condition()
        self._classes: OrderedDict[Limits, _Class] = OrderedDict()
        self._open = 0
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def _enter(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._open < MOST_OPEN, PATIENCE_S):
                raise SandboxFull(
                    f"{self._open} boxes of {self.name} are open, and none closed for {PATIENCE_S:.0f} s: "
                    "close boxes, or use fewer at a time"
                )
            if self._closed:
                raise SandboxError(f"{self.name} is closed; make another Pool")
            self._open += 1

    def _leave(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def _lease(self, limits: Limits) -> RunnerBox:
        while warm := self._waiting(limits):
            with contextlib.suppress(SandboxError):  # it broke, or was given up by its runner: the next one
                return self._box(warm)
        if self._proven:
            return self._box(self._start(limits))
        try:
            box = self._box(self._start(limits))
        except SandboxError as error:
            box = self._without_namespaces(limits, error)
        self._proven = True
        return box

    def _without_namespaces(self, limits: Limits, error: SandboxError) -> RunnerBox:
        """The first box of this level could not be had. Perhaps one can that serves one lease only."""
        if isinstance(error, SandboxFull):
            raise error
        try:
            plain = self._box(self._start(limits, "single"))
        except SandboxError as plainer:
            raise plainer from None
        self.level, self.refused = "single", f"level {self._asked!r} is not possible here: {error}"
        warnings.warn(
            f"{self.name}: {self.refused} Every lease gets a new box.", RuntimeWarning, stacklevel=4
        )
        return plain

    def _waiting(self, limits: Limits) -> _Warm | None:
        """A warm box, if one waits; and if this kind of box is in demand, another one is made ready."""
        with self._changed:
            kind = self._classes.setdefault(limits, _Class())
            self._classes.move_to_end(limits)
            kind.leases += 1
            warm = kind.waiting.popleft() if kind.waiting else None
            unused = [self._classes.popitem(last=False)[1] for _ in range(len(self._classes) - CLASSES)]
            here = len(kind.waiting) + kind.starting + (0 if self.level == "single" else kind.leased + 1)
            more = kind.leases > 1 and here < self._size
            kind.starting += more
        for old in (old for one in unused for old in one.waiting):
            self._later(partial(self._throw, old))
        if more:
            self._later(partial(self._prepare, limits))
        return warm

    def _prepare(self, limits: Limits) -> None:
        try:
            warm = self._start(limits)
        except SandboxError:  # who needs one next will hear of it
            warm = None
        with self._changed:
            kind = self._classes.get(limits)
            if kind:
                kind.starting = max(0, kind.starting - 1)
            if warm and kind and not self._closed:
                kind.waiting.append(warm)
                return
        if warm:
            self._throw(warm)

    def _start(self, limits: Limits, level: Level | None = None) -> _Warm:
        level = level or self.level
        warm = _Warm(self._base.start(limits, "" if level == "single" else level), limits)
        self._boxes.add(warm)
        return warm

    def _box(self, warm: _Warm) -> RunnerBox:
        """Raises SandboxError, and the box is thrown away, where its runner does not say hello."""
        process, leased = os.getpid(), False

        def end(sound: bool) -> str:
            if os.getpid() != process:
                return ""
            if not leased:
                return self._throw(warm)
            self._count(warm.limits, -1)
            self._leave()
            return self._return(warm) if sound else self._throw(warm)

        box = self._base.box(warm.link, warm.limits, end)
        leased = True
        self._count(warm.limits, 1)
        return box

    def _count(self, limits: Limits, change: int) -> None:
        with self._changed:
            if kind := self._classes.get(limits):
                kind.leased = max(0, kind.leased + change)
                kind.most_leased = max(kind.most_leased, kind.leased)

    def _return(self, warm: _Warm) -> str:
        """A lease is over: have the box made ready for the next one, which will hear whether that worked."""
        warm.leases += 1
        if self.level != "single" and warm.leases < RUNS:
            with contextlib.suppress(OSError):
                warm.link.send(RENEW, time.monotonic() + 5)
                with self._changed:
                    kind = self._classes.get(warm.limits)
                    if kind and not self._closed and len(kind.waiting) < max(self._size, kind.most_leased):
                        kind.waiting.append(warm)
                        return ""
        self._later(partial(self._throw, warm))
        return ""

    def _throw(self, warm: _Warm) -> str:
        self._boxes.discard(warm)
        return warm.link.close()

    # What nobody waits for

    def _later(self, job: Callable[[], object]) -> None:
        with self._changed:
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, args=(self._jobs,), daemon=True)
                self._thread.start()

    def _work(self, jobs: queue.SimpleQueue[Callable[[], object]]) -> None:
        while True:
            try:
                job = jobs.get(timeout=IDLE_S)
            except queue.Empty:
                with self._changed:
                    if jobs.empty():
                        self._thread = None
                        return
                continue
            with contextlib.suppress(Exception):  # a box that cannot be ended now ends with the process
                job()

    def _after_fork(self) -> None:
        """In a child: the boxes are the parent's. As long as this process held an end of their
        connections, they would not notice that the parent has gone."""
        for warm in self._boxes:
            warm.link.forget()
        self._boxes = set()
        self._begin()


def _base(given: Sandbox | str | None) -> Base:
    from aigym_kernel.sandboxes import open_sandbox

    if given is None or isinstance(given, str):
        given = open_sandbox(sandbox_name(given).removeprefix("pool-").replace("pool", "bwrap"))
    if not (hasattr(given, "start") and hasattr(given, "box")):
        raise UnknownName("base of a pool", getattr(given, "name", given), ("bwrap", "docker"))
    return given  # type: ignore[return-value]


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_shared: dict[str, Pool] = {}
_shared_lock = threading.Lock()


def shared(name: str) -> Pool:
    """This process's pool called ``pool-bwrap``, ``pool-docker`` or ``pool``, which is pool-bwrap; another
    one where somebody has closed it."""
    base = name.removeprefix("pool").removeprefix("-") or "bwrap"
    with _shared_lock:
        if base not in _shared or _shared[base]._closed:
            _shared[base] = Pool(base)
            atexit.register(_shared[base].close)
        return _shared[base]


def _after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for pool in _pools:
        pool._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
