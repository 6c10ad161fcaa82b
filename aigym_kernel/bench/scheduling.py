"""Carry a bench out: run every cell that is not done, as many at a time as there are places.

    carry_out(folder, workers=2, tell=print)

It holds the folder's lock (`holding`), clears what an earlier start left behind, and gives each cell to
`keeper.attend` in a thread, or on a Ray cluster. A cell that is done is skipped, by whichever start it was
done; failed and interrupted ones run again, within this start as often as ``Budget.retries`` says, and every
attempt is written down in the cell's ``status.json``. One bad cell stops no other.

Ctrl-C, SIGTERM or a file ``stop`` in the folder: no cell begins any more, running ones are asked to end and
are kept as interrupted. A second Ctrl-C kills them. A SIGKILL loses what ran: the next start runs it again.
Not here: what is to be done (`plan`), one cell (`keeper`), how it stands (`standing`).
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

from aigym_kernel.bench import holding, identity, keeper, records, standing
from aigym_kernel.bench.discarding import discard
from aigym_kernel.bench.orders import Order, ended
from aigym_kernel.bench.places import Place, places
from aigym_kernel.bench.records import Attempt, Cell, CellStatus, Plan, Result, State
from aigym_kernel.bench.remote import RemoteCrew
from aigym_kernel.bench.telling import Tell, Voice
from aigym_kernel.errors import AigymError, BenchError, StoreError
from aigym_kernel.executors import RETRIES, Crew, Ray, Threads
from aigym_kernel.recording import reason
from aigym_kernel.store.records import cannot_write

POLL_S = 0.05
LOOK_S = 1.0  # between two looks at how far the running cells are
ROOM_S = keeper.GRACE_S + 10  # a cell that fills the disk is ended and emptied within that


def carry_out(
    folder: Path,
    *,
    workers: int | None = None,
    executor: Ray | None = None,
    tell: Tell = lambda _: None,
    hold: holding.Hold | None = None,
) -> State:
    """Run what is not done of the bench in ``folder``, and return how it stands then.

    Args:
        workers: how many cells at a time; default: as many as there are cores or GPUs for, on a cluster as
            many as it has CPUs.
        tell: called in this thread with every `Event`.
        hold: the folder's lock, where the caller holds it already; it is released at the end.

    Raises:
        BenchError: no bench is there, another process works on it, the code is not the one that it was
            planned with, or the GPUs that its cells ask for are not there.
        StoreError: the disk is full or the folder cannot be written; cells that are done stay done.
    """
    folder = folder.resolve()
    hold = hold or holding.take(folder)
    try:
        state = records.read(folder)
        todo = [cell for cell in state.plan.cells if cell.id not in state.results]
        _check_versions(state.plan, todo)
        room = [] if executor else places(state.plan.budget, workers, len(todo))
        there = RemoteCrew(executor, folder, state.plan, workers) if executor else None
        hold.name(workers=there.workers if there else len(room))
        start = _Start(state, todo, tell, there.workers if there else len(room))
        start.crew = there or Threads(start.attend(room), len(room))
        return start.carry_out()
    except OSError as problem:
        raise problem if isinstance(problem, AigymError) else cannot_write(folder, problem) from None
    finally:
        hold.release()


def _check_versions(plan: Plan, todo: list[Cell]) -> None:
    """A cell's id says which code made its result, so no other code may make it."""
    now = {"code": identity.code_version(), "lock": identity.lock_version()} if todo else {}
    what = {"code": "this package", "lock": "Python, requirements.lock or an installed package"}
    for part, version in now.items():
        if todo[0].parts.get(part, version) != version:
            raise BenchError(
                f"bench {plan.name} cannot go on: {what[part]} has changed since it was planned, so that its "
                "results would not compare. Plan it anew with aigym bench run (or aigym.benchmark): what was "
                "done before stays in its folder and counts again when the code of then is back"
            )


class _Start:
    """One start of a bench, from its first word to its last."""

    crew: Crew[Order, Attempt | None]

    def __init__(self, state: State, todo: list[Cell], tell: Tell, workers: int) -> None:
        self.folder, self.todo, self.workers = state.folder, todo, workers
        self.statuses, self.results = dict(state.statuses), dict(state.results)
        self._voice = Voice(state, tell, workers)
        self.plan = self._voice.plan
        self._numbers = itertools.count()
        self._open: dict[int, Order] = {}  # given to the crew and not back, by number
        self._begun: set[int] = set()  # of these, those that were told of
        # In this start, by cell, and whether a node was lost.
        self._tries = Counter[tuple[str, bool]]()
        self._ending, self._killing = threading.Event(), threading.Event()

    def attend(self, room: list[Place]) -> Callable[[Order], Attempt | None]:
        """What a thread does with an order: it waits for no place, since there are as many as threads."""
        free: SimpleQueue[Place] = SimpleQueue()
        for place in room:
            free.put(place)

        def attend(order: Order) -> Attempt | None:
            if self._ending.is_set():
                return None
            place = free.get()
            try:
                given = dataclasses.replace(order, cores=place.cores, gpus=place.gpus)
                return keeper.attend(given, self._ending.is_set)
            finally:
                free.put(place)

        return attend

    def carry_out(self) -> State:
        try:
            with _signals(self._interrupt, self._ending.set):
                self._run()
        except BaseException as problem:
            self._voice.fail(problem)
            raise
        state = records.read(self.folder)
        self._voice.end(state)
        return state

    def _run(self) -> None:
        self._settle()
        total = len(self.plan.cells)
        cells = f"{total} cell{'s' * (total != 1)}, {len(self.results)} skipped (done before)"
        at = f"{self.workers} worker{'s' * (self.workers > 1)}"
        text = f"bench {self.plan.name}: {cells}, {len(self.todo)} to run by {at}; folder {self.folder}"
        self._voice.say("begins", text, self._state())
        self._discard(self.todo)
        try:
            for cell in self.todo:
                self._give(cell)
            self._follow()
        except BaseException:
            self._ending.set()
            self._kill()
            raise
        finally:
            self.crew.stop()

    def _follow(self) -> None:
        """Until nothing that was given to the crew is out any more."""
        looked, told = 0.0, False
        while self._open:
            if outcome := self.crew.take(wait=False):
                self._took(*outcome)
                continue
            if holding.stop_asked(self.folder):
                self._ending.set()
            if self._ending.is_set() and not told:
                told = True
                with suppress(OSError):
                    (self.folder / "stop").touch()  # for the nodes of a cluster
                running = "running cells are asked to end, and kept as interrupted; Ctrl-C again kills them"
                self._voice.say("stopping", f"stopping: no cell begins any more; {running}", self._state())
            if self._killing.is_set():
                self._kill()
            if time.monotonic() - looked >= LOOK_S:
                looked = time.monotonic()
                self._look()
            time.sleep(POLL_S)

    def _give(self, cell: Cell) -> None:
        status = self.statuses[cell.id]
        order = Order(
            folder=self.folder,
            cell=cell,
            attempt=max([status.attempt, *(one.n for one in status.attempts)]) + 1,
            store=self.plan.store,
            parent=self.plan.run_id,
            budget=self.plan.budget,
            metrics=self.plan.metrics,
            data=self.plan.data,
            cores=(),
            gpus=None,
        )
        number = next(self._numbers)
        self._open[number] = order
        self.crew.give(number, order)

    def _took(self, number: int, outcome: Attempt | BaseException | None) -> None:
        """What came of one order. None: it never began, for the bench is ending."""
        if outcome is None:
            del self._open[number]
            return
        self._tell_begun(number)
        order = self._open.pop(number)
        self._begun.discard(number)
        if isinstance(outcome, StoreError):
            raise outcome
        if isinstance(outcome, BaseException):
            outcome = ended(order, "failed", "machine", reason(outcome))
        elif self._killing.is_set() and outcome.state != "done":
            outcome = dataclasses.replace(outcome, state="interrupted", reason="stopped", error="killed")
        self._keep(order.cell, outcome)
        if outcome.state == "done":
            self.results[order.cell.id] = records.load(Result, self._place(order.cell) / "result.json")
        again = self._again(order.cell, outcome)
        if again:
            status = dataclasses.replace(self.statuses[order.cell.id], state="queued")
            _write(self._place(order.cell) / "status.json", status)
            self.statuses[order.cell.id] = status
        self._voice.came(order.cell, outcome, self._state(), again=again)
        if again:
            if outcome.state == "interrupted":
                self._discard([order.cell])
            self._give(order.cell)

    def _again(self, cell: Cell, outcome: Attempt) -> bool:
        """Whether the cell is tried once more in this start. A lost machine is no fault of the cell."""
        lost = outcome.state == "interrupted" and outcome.reason == "machine"
        self._tries[cell.id, lost] += 1
        if self._ending.is_set() or outcome.state == "done":
            return False
        return self._tries[cell.id, lost] <= (RETRIES if lost else self.plan.budget.retries)

    def _keep(self, cell: Cell, attempt: Attempt) -> None:
        """Write an attempt that ended into the cell's status."""
        path = self._place(cell) / "status.json"
        status = records.load(CellStatus, path) if path.is_file() else self.statuses[cell.id]
        if attempt in status.attempts:  # its keeper has done so
            self.statuses[cell.id] = status
            return
        status = dataclasses.replace(
            status,
            state=attempt.state,
            attempt=attempt.n,
            pid=None,
            heartbeat=time.time(),
            inner={},
            memory_mb=None,
            attempts=(*(tried for tried in status.attempts if tried.n != attempt.n), attempt),
        )
        _write(path, status)
        self.statuses[cell.id] = status

    def _settle(self) -> None:
        """End what a killed start left behind, and write its attempts down."""
        for cell in self.todo:
            status = self.statuses[cell.id]
            if status.attempt and status.attempt not in [one.n for one in status.attempts]:
                keeper.clear(self.folder, cell.id)
                lost = Attempt(
                    n=status.attempt,
                    state="interrupted",
                    reason="machine",
                    error="the bench was killed while it ran",
                    started_at=status.started_at or status.heartbeat,
                    ended_at=status.heartbeat,
                    host=status.host,
                )
                self._keep(cell, lost)

    def _discard(self, cells: list[Cell]) -> None:
        """Take what interrupted attempts recorded out of the store, where any began."""
        begun = [cell for cell in cells if self._place(cell).is_dir()]
        if not begun:
            return
        for cell in begun:
            if self.statuses[cell.id].state != "failed":
                keeper.clear(self.folder, cell.id)
        gone = discard(self._state(), begun)
        if gone:
            text = (
                f"{len(gone)} run{'s' * (len(gone) > 1)} of interrupted attempts moved to the store's trash"
            )
            self._voice.say("begins", text, self._state())

    def _place(self, cell: Cell) -> Path:
        return records.cell_folder(self.folder, cell.id)

    def _interrupt(self) -> None:
        """Ctrl-C."""
        if self._ending.is_set():
            self._killing.set()
        self._ending.set()

    def _kill(self) -> None:
        """End what runs, at once. Threads come back by themselves then; a cluster forgets its tasks."""
        for order in self._open.values():
            if (self._place(order.cell) / "status.json").is_file():
                keeper.clear(self.folder, order.cell.id)
        if not isinstance(self.crew, Threads):
            self.crew.stop()
            for number, order in list(self._open.items()):
                killed = ended(order, "interrupted", "stopped", "killed")
                self._took(number, killed if number in self._begun else None)

    def _look(self) -> None:
        """See how far the running cells are, and tell it."""
        how = []
        for number, order in list(self._open.items()):
            cell, path = order.cell, self._place(order.cell) / "status.json"
            if not path.is_file():
                continue
            self.statuses[cell.id] = status = records.load(CellStatus, path)
            if status.state == "running" and status.attempt == order.attempt:
                self._tell_begun(number)
                how.append(f"{standing.label(cell)} {standing.progress(status)}".strip())
        self._voice.say("progress", "; ".join(how), self._state())

    def _tell_begun(self, number: int) -> None:
        if number not in self._begun:
            self._begun.add(number)
            cell, n = self._open[number].cell, self._open[number].attempt
            self._voice.say("starts", "started" + f" (attempt {n})" * (n > 1), self._state(), cell)

    def _state(self) -> State:
        return State(folder=self.folder, plan=self.plan, statuses=self.statuses, results=self.results)


def _write(path: Path, status: CellStatus) -> None:
    """Write a cell's status. Another cell may have filled the disk for the moment, which must not end all."""
    until = time.monotonic() + ROOM_S
    while True:
        try:
            records.replace(path, status)
        except OSError as problem:
            cause = problem.__cause__ if isinstance(problem, StoreError) else problem
            full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
            if not full or time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


@contextmanager
def _signals(interrupt: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C calls ``interrupt``, SIGTERM and a closed terminal ``end``; main threads alone can have that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    calls = {signal.SIGINT: interrupt, signal.SIGTERM: end, signal.SIGHUP: end}
    heard = {n: call for n, call in calls.items() if signal.getsignal(n) is not signal.SIG_IGN}  # nohup
    before = {number: signal.signal(number, lambda *_, call=call: call()) for number, call in heard.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
