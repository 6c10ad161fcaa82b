"""The record of a run: where it comes from, how far it is, how it ended.

    record = new_run(store, kind="rollout", name="random Snake", config={...})
    with recording(store, record.run_id, total_steps=10) as (writer, report):
        writer.trajectory(...)
        report(1, {"return_mean": 2.5})

`runs`, `worker` and `notebooks` use it; it starts nothing itself.
"""

from __future__ import annotations

import os
import re
import secrets
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from aigym_kernel import provenance
from aigym_kernel.errors import AigymError, StoreError
from aigym_kernel.store import RunKind, RunRecord, RunState, RunStatus, Store, Writer

FINAL: tuple[RunState, ...] = ("done", "failed", "stopped", "killed")
"""The states that a run does not leave again."""

STATUS_EVERY_S = 0.5


def as_store(store: Store | str | Path | None) -> Store:
    """The store that an argument means: itself, the one in a folder, or the one that AIGYM_DATA names.

    Raises:
        AigymError: it is none of these.
    """
    if store is None or isinstance(store, str | Path):
        return Store(store)
    if not isinstance(store, Store):
        raise AigymError(f"store={store!r} is no Store; pass a Store, its folder, or leave it out")
    return store


def new_run(store: Store, *, kind: RunKind, name: str, config: Mapping[str, Any]) -> RunRecord:
    """Write the record of a new run, with its provenance, and return it. Its id starts with the time."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    record = RunRecord(
        run_id=f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}-{slug}-{secrets.token_hex(2)}",
        kind=kind,
        name=name,
        config=dict(config),
        provenance=provenance.collect(),
        parent=os.environ.get("AIGYM_PARENT_RUN"),
    )
    store.add_run(record)
    return record


@contextmanager
def recording(
    store: Store, run_id: str, *, total_steps: int, step: int = 0, summary: Mapping[str, Any] | None = None
) -> Iterator[tuple[Writer, Report]]:
    """A writer and a ``report`` for the block; it begins at ``step`` with ``summary``.

    Afterwards the run is ``done``, or ``stopped`` if that was reported or Ctrl-C pressed, or ``failed``
    with the reason, and the exception goes on. Everything written before is kept in every case.
    """
    status = RunStatus(
        state="running", pid=os.getpid(), total_steps=total_steps, step=step, summary=dict(summary or {})
    )
    report = Report(store, run_id, status)
    try:
        with store.writer(run_id) as writer:
            yield writer, report
    except BaseException as problem:
        interrupted = isinstance(problem, KeyboardInterrupt)
        # A full disk may refuse this too; the first problem is the one to hear of.
        with suppress(StoreError):
            why = "interrupted by Ctrl-C" if interrupted else reason(problem)
            report.end("stopped" if interrupted else "failed", why)
        raise
    report.end(report.status.state if report.status.state in FINAL else "done", None)


def reason(problem: BaseException) -> str:
    """In one line: what went wrong, and where, unless it is a user's mistake that says so itself."""
    text = f"{type(problem).__name__}: {problem}"
    if isinstance(problem, AigymError) or problem.__traceback__ is None:
        return text
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{text} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"


def hung(writer: Writer, report: Report, where: str, hang_after_s: float) -> None:
    """End this process from a thread of its own, since its environment does not come back: what was recorded
    is flushed, the run is ``failed``, and processes of the environment are ended."""
    import psutil

    with suppress(StoreError):
        writer.flush()
    with suppress(StoreError):
        report.end(
            "failed",
            f"the environment hangs: {where} has not come back for {hang_after_s:g} s (the stack is in "
            "log.txt); mend it, or allow more with hang_after_s=...",
        )
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(1)


class Report:
    """``report(step, summary)`` keeps the run's status up to date, on disk at most twice a second."""

    def __init__(self, store: Store, run_id: str, status: RunStatus) -> None:
        self.status = status
        self._store, self._run_id = store, run_id
        self._write()

    def __call__(
        self,
        step: int,
        summary: Mapping[str, Any] | None = None,
        *,
        state: RunState = "running",
        total_steps: int | None = None,
        now: bool = False,
    ) -> None:
        """``summary`` is added to what was reported before; ``now``: on disk in any case."""
        self.status = replace(
            self.status,
            step=step,
            total_steps=total_steps or self.status.total_steps,
            state=state,
            summary={**self.status.summary, **(summary or {})},
        )
        if now or time.monotonic() - self._written >= STATUS_EVERY_S:
            self._write()

    def end(self, state: RunState, error: str | None) -> None:
        """The last word."""
        self.status = replace(self.status, state=state, error=error)
        self._write()

    def _write(self) -> None:
        self._store.write_status(self._run_id, replace(self.status, heartbeat=time.time()))
        self._written = time.monotonic()
