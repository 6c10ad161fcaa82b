"""Attends to one attempt at a cell, from its start to the last of its processes.

    attempt = attend(order, stopped)        blocking; always returns, and has written what became of it
    clear(folder, cell_id)                  ends what an earlier attempt may have left running

Holds the budget: time, memory of all processes together, disk; `cell` holds that on output. Whoever goes over
it is first asked to end, so that the executed notebook is kept, then ended. Retries are not made here.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from aigym_kernel.bench import records, starter
from aigym_kernel.bench.members import MARK, Members
from aigym_kernel.bench.orders import FULL
from aigym_kernel.bench.orders import Order as Order
from aigym_kernel.bench.records import Attempt, CellStatus, Metric, Reason, Result, cell_folder
from aigym_kernel.bench.tracing import Tracing, size_mb
from aigym_kernel.errors import AigymError
from aigym_kernel.rendering import short
from aigym_kernel.store import RunState, Store

STATUS_EVERY_S = 0.5
GRACE_S = 30.0  # for an interrupted notebook to be written, with its page, before its process is killed
ENDING_S = 10.0  # for what a notebook that is done left behind, such as a training that merges its segments
FULL_MB = 32.0  # with less than that free, the disk counts as full
_POLL_S = 0.1
_SOONEST_S = 0.01  # a look at four processes takes 0.1 ms
_FASTEST_MB_S = 4000.0  # at which a cell fills memory
_AGAIN_S = 2.0


def clear(folder: Path, cell_id: str) -> int:
    """End every process of a cell; returns how many there were."""
    return Members(cell_folder(folder.resolve(), cell_id)).kill()


def attend(order: Order, stopped: Callable[[], bool]) -> Attempt:
    """Carry out one attempt and return how it ended. ``stopped`` is asked ten times a second; when it says so
    the notebook is interrupted. Afterwards no process of the cell is left, ``status.json`` has the attempt
    and, if it is done, ``result.json`` its result."""
    began = time.time()
    attempt = Attempt(
        n=order.attempt,
        state="failed",
        reason="machine",
        started_at=began,
        ended_at=began,
        host=socket.gethostname(),
    )
    previous: tuple[Attempt, ...] = ()
    said: dict[str, Any] = {}
    try:
        previous = _previous(order)
        clear(order.folder, order.cell.id)
        _lay_out(order)
        attempt, said = _Attending(order, previous, stopped, began).carry_out(attempt)
        if attempt.state == "done":
            records.replace(order.place / "result.json", _result(order, attempt, said["outcome"]))
    except (OSError, AigymError) as problem:
        full = _free_mb(order) < FULL_MB
        why = short(str(problem), 400) + f": {FULL}" * full
        attempt = replace(attempt, state="failed", reason="disk" if full else "machine", error=why)
    if attempt.reason == "disk":
        # So that the others have room: what it wrote beside its notebook is what filled the disk.
        shutil.rmtree(order.attempt_folder / "work", ignore_errors=True)
        attempt = replace(attempt, notes=(*attempt.notes, "its working folder was removed"))
    attempt = replace(attempt, ended_at=time.time())
    _settle(order, attempt)
    with suppress(OSError, AigymError):  # a disk that is full; whoever called has the attempt
        status = CellStatus(
            state=attempt.state,
            attempt=order.attempt,
            started_at=attempt.started_at,
            done=said.get("done", 0),
            total=said.get("total", 0),
            attempts=(*previous, attempt),
        )
        records.replace(order.place / "status.json", status)
    return attempt


def _previous(order: Order) -> tuple[Attempt, ...]:
    path = order.place / "status.json"
    if not path.is_file():
        return ()
    return tuple(a for a in records.load(CellStatus, path).attempts if a.n != order.attempt)


def _lay_out(order: Order) -> None:
    """The folders of the attempt, with the data that the plan names."""
    shutil.rmtree(order.attempt_folder, ignore_errors=True)
    work = order.attempt_folder / "work"
    work.mkdir(parents=True)
    (order.place / "result.json").unlink(missing_ok=True)
    for name, target in order.data.items():
        link = work / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(target).absolute())


def _environment(order: Order) -> dict[str, str]:
    threads = str(order.budget.threads)
    paths = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), order.cell.folder]
    variables = {
        **os.environ,
        **dict.fromkeys(_THREADS, threads),
        "AIGYM_DATA": order.store,
        MARK: str(order.place),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
    }
    variables.pop("AIGYM_PARENT_RUN", None)
    if order.parent is not None:
        variables["AIGYM_PARENT_RUN"] = order.parent
    if order.gpus is not None:
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(order.gpus)
    return variables


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class _Halt:
    """Why an attempt is ended from here, and when it was first asked to."""

    reason: Reason
    error: str
    at: float


class _Attending:
    """One attempt while it goes on."""

    def __init__(
        self, order: Order, previous: tuple[Attempt, ...], stopped: Callable[[], bool], began: float
    ) -> None:
        self._order, self._previous, self._stopped, self._began = order, previous, stopped, began
        self._said: dict[str, Any] = {"done": 0, "total": 0, "place": ""}
        self._halt: _Halt | None = None
        self._peak_mb = self._held_mb = 0.0
        self._tracing = Tracing(Path(order.store), began)
        self._due = self._disk_due = self._again = self._running_since = 0.0
        # A thread of its own: a busy disk may take seconds to write, in which a cell could fill the memory.
        self._writer = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def carry_out(self, attempt: Attempt) -> tuple[Attempt, dict[str, Any]]:
        order = self._order
        started = starter.begin(order, _environment(order), order.attempt_folder / "log.txt")
        members: Members | None = None
        try:
            while not started.ended:
                for line in started.lines(_until_next(order.budget.memory_mb, self._held_mb)):
                    self._said.update(line)
                if started.pid is None:
                    continue
                if members is None:
                    members = Members(order.place, started.pid)
                    # What is told of its time, and held against the budget, begins here.
                    self._began, self._running_since = time.time(), time.monotonic()
                    attempt = replace(attempt, started_at=self._began)
                self._look(started, members)
        finally:
            if members is None:
                members = Members(order.place)
            if self._said.get("outcome", {}).get("state") == "done":
                members.wait(ENDING_S)
            started.signal(signal.SIGKILL)
            left = members.kill()
            started.close()
            self._writer.shutdown()
        return self._attempt(attempt, started, left), self._said

    def _look(self, started: starter.Started, members: Members) -> None:
        """Memory at every turn; processes, time, disk and status about twice a second."""
        now = time.monotonic()
        self._held_mb = memory_mb = members.memory_mb()
        self._peak_mb = max(self._peak_mb, memory_mb)
        if self._halt is not None:
            if now - self._halt.at > GRACE_S:
                members.kill()
            elif now >= self._again:
                asked = self._halt.reason in ("stopped", "timeout")
                if asked:
                    started.signal(signal.SIGINT)  # what the first one raised may have been swallowed
                elif "outcome" not in self._said:
                    members.kill(spare=started.pid)  # what began since, such as the kernel itself
                self._again = now + (_AGAIN_S if asked else _POLL_S)
        elif started.exit is None and "outcome" not in self._said:
            self._halt = self._too_much(memory_mb, now)
            if self._halt is not None and self._halt.reason in ("memory", "disk"):
                members.kill(spare=started.pid)  # its own process sees the kernel die, and saves
        if now >= self._due:
            members.look()
            if self._written is None or self._written.done():
                self._written = self._writer.submit(self._write, memory_mb)
            self._due = time.monotonic() + STATUS_EVERY_S

    def _too_much(self, memory_mb: float, now: float) -> _Halt | None:
        budget = self._order.budget
        place = f", in {self._said['place']}" if self._said["place"] else ""
        if self._stopped():
            return _Halt(reason="stopped", error=f"stopped{place}", at=now)
        if now - self._running_since > budget.timeout_s:
            why = f"took longer than {budget.timeout_s:g} s{place}"
            why += "; allow more with the budget's timeout_s (--timeout)"
            return _Halt(reason="timeout", error=why, at=now)
        if budget.memory_mb is not None and memory_mb > budget.memory_mb:
            held = f"its processes hold {memory_mb:,.0f} MB"
            why = f"{held}{place}; the budget's memory_mb is {budget.memory_mb:,}"
            return _Halt(reason="memory", error=f"{why}: allow more (--memory), or use less", at=now)
        if now >= self._disk_due:
            used = size_mb(self._order.attempt_folder)
            took = time.monotonic() - now
            self._disk_due = now + max(STATUS_EVERY_S, 20 * took)  # many files take their time
            if used > budget.disk_mb:
                why = f"wrote {used:,.0f} MB{place}; the budget's disk_mb is {budget.disk_mb:,}"
                return _Halt(reason="disk", error=f"{why}: allow more (--disk), or write less", at=now)
            if (free := _free_mb(self._order)) < FULL_MB:
                why = f"the disk is full ({free:,.0f} MB free){place}; free some space and resume"
                return _Halt(reason="disk", error=why, at=now)
        return None

    def _write(self, memory_mb: float) -> None:
        status = CellStatus(
            state="running",
            attempt=self._order.attempt,
            started_at=self._began,
            pid=os.getpid(),
            done=self._said["done"],
            total=self._said["total"],
            inner=self._tracing.inner(self._said.get("run")),
            memory_mb=round(memory_mb, 1),
            attempts=self._previous,
        )
        with suppress(OSError, AigymError):  # a disk that is full for the moment
            records.replace(self._order.place / "status.json", status)

    def _attempt(self, attempt: Attempt, started: starter.Started, left: int) -> Attempt:
        outcome = self._said.get("outcome", {})
        notes = list(outcome.get("notes", ()))
        state, reason = outcome.get("state", "failed"), outcome.get("reason")
        error = outcome.get("error")
        if self._halt is not None and state != "done":
            state = "interrupted" if self._halt.reason == "stopped" else "failed"
            reason, error = self._halt.reason, self._halt.error
        elif not outcome:
            reason, error = "machine", _lost(started.exit)
        elif left:
            notes.append(f"{left} process{'es' if left > 1 else ''} that it left running ended")
        return replace(
            attempt,
            state=state,
            reason=reason,
            error=error,
            run_id=self._said.get("run"),
            peak_mb=round(self._peak_mb, 1),
            notes=tuple(notes),
        )


def _until_next(most_mb: float | None, held_mb: float) -> float:
    """Seconds until the next look: sooner the less memory is left, since a cell may fill it between two."""
    if most_mb is None:
        return _POLL_S
    return min(_POLL_S, max(_SOONEST_S, (most_mb - held_mb) / _FASTEST_MB_S))


def _lost(exit_code: int | None) -> str:
    look = "see log.txt of the attempt"
    if exit_code is None:
        return f"the process that starts those of cells was lost; resume ({look})"
    if exit_code < 0:
        return (
            f"the process of the cell was ended by signal {-exit_code} from outside; if nobody did that, the "
            f"machine ran out of memory: run fewer cells at once, or limit memory_mb, and resume ({look})"
        )
    return f"the process of the cell ended with exit code {exit_code} and without a word ({look})"


def _result(order: Order, attempt: Attempt, outcome: dict[str, Any]) -> Result:
    known = {field.name for field in fields(Metric)}
    declared = [{name: each[name] for name in known & each.keys()} for each in outcome["declared"]]
    ended = time.time()
    assert attempt.run_id is not None
    return Result(
        cell=order.cell.id,
        attempt=order.attempt,
        run_id=attempt.run_id,
        metrics=outcome["metrics"],
        declared=tuple(Metric(**each) for each in declared),
        hashes=outcome["hashes"],
        started_at=attempt.started_at,
        ended_at=ended,
        seconds=ended - attempt.started_at,
        peak_mb=attempt.peak_mb,
        notebook=str(order.executed.relative_to(order.place)),
        page=outcome["page"],
        notes=attempt.notes,
        provenance=outcome["provenance"],
    )


def _free_mb(order: Order) -> float:
    folder = order.place if order.place.is_dir() else order.folder
    try:
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return float("inf")


def _settle(order: Order, attempt: Attempt) -> None:
    """What a killed attempt could not do itself: say in the store how its run ended, and remove boxes that
    its processes can remove no more."""
    if attempt.run_id is not None and attempt.state != "done":
        ended: RunState = "stopped" if attempt.state == "interrupted" else "failed"
        store = Store(order.store)
        with suppress(OSError, AigymError):
            status = store.status(attempt.run_id)
            if status.state != ended:
                store.write_status(attempt.run_id, replace(status, state=ended, error=attempt.error))
    if attempt.reason in ("timeout", "memory", "disk", "kernel", "machine", "stopped"):
        from aigym_kernel.sandboxes.leftovers import prune

        with suppress(OSError, AigymError):
            prune(images=False)
