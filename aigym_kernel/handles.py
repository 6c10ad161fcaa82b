"""A handle on a run: look at it, steer it, wait for it, take its agent.

    run = load_run(run_id)                 any run, from any process
    run.status(); run.metrics("return_mean")
    run.pause(); run.resume(); run.save(); run.set(speed="watch", learning_rate=1e-4); run.stop()
    run.wait(); run.agent()
    Runs((first, second)).wait()           several, as one

A run is steered by files in its folder (`control`). Nothing is trained here; `resume` alone starts a process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigym_kernel import alerts, carried, control, rendering
from aigym_kernel.control import Speed
from aigym_kernel.errors import RunError, UnknownName
from aigym_kernel.options import Options
from aigym_kernel.progress import following
from aigym_kernel.recording import FINAL, as_store
from aigym_kernel.rollouts import Agent
from aigym_kernel.starting import start
from aigym_kernel.store import RunRecord, RunStatus, Store, parcels
from aigym_kernel.trained import Which, load_agent


@dataclass(frozen=True)
class Run:
    """A handle on one run of the store; cheap, stateless, usable from any process."""

    id: str
    store: Store

    @property
    def folder(self) -> Path:
        """Where it keeps its segments, status, log and artifacts."""
        return self.store.run_folder(self.id)

    @property
    def record(self) -> RunRecord:
        """What was asked for: kind, name, configuration, provenance."""
        return self.store.run(self.id)

    def status(self) -> RunStatus:
        """Where it stands; ``killed`` when its process is gone without having said so."""
        return self.store.status(self.id)

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status().state in FINAL

    def metrics(self, name: str) -> list[tuple[int, float]]:
        """The recorded (step, value) pairs of one metric, in order."""
        frame = self.store.sql(
            "select step, value from metrics where run_id = ? and name = ? order by step",
            [self.id, name],
        )
        return list(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))

    def stop(self) -> None:
        """Ask it to end after its current update; returns at once. Harmless once it has ended."""
        (self.folder / "stop").touch()

    def pause(self) -> None:
        """Ask it to save and wait after its current update; returns at once. Others may have its slot
        meanwhile; `resume` lets it go on.

        Raises:
            RunError: it has ended.
        """
        self._steer("paused", paused=True)

    def resume(self) -> Run:
        """Let it go on: after `pause`, or, if it was stopped, was killed or failed, in a new process from its
        latest checkpoint. What was recorded after that is put aside, to be done and recorded again. Returns
        the run at once; harmless while it goes on.

        Raises:
            RunError: it is done, is no training, or was imported and has a network of somebody's own.
        """
        record, status = self.record, self.status()
        if record.kind != "train" or status.state == "done":
            why = "is done: nothing is left to do" if record.kind == "train" else "is no training"
            raise RunError(f"run {self.id} cannot be resumed: it {why}; start another one with aigym.train")
        carried.check_here(self.folder, record)
        control.steer(self.folder, paused=False)
        if status.state in FINAL:
            (self.folder / "stop").unlink(missing_ok=True)
            start(self.store, record, Options(**record.config.get("run", {})), resume=True)
        return self

    def save(self) -> None:
        """Ask it for a checkpoint after its current update, in ``artifacts/checkpoints/latest.safetensors``;
        returns at once. One is made anyway every ``save_every_s`` seconds, at a pause and on stop.

        Raises:
            RunError: it has ended.
        """
        self._steer("saved", save=True)

    def set(self, *, speed: Speed | None = None, learning_rate: float | None = None) -> None:
        """Change how it goes on, from its next update on; returns at once. What is None stays as it is.

        Args:
            speed: ``max``, or ``watch``: while somebody looks at its board, one update between two steps of
                the game that is played beside it, about ten a second.
            learning_rate: from now on; a rate that falls, falls on from it to 0.

        Raises:
            UnknownName: there is no such speed.
            RunError: the rate is no number above 0; the run has ended.
        """
        given = {"speed": speed, "learning_rate": learning_rate}
        self._steer("changed", **{name: value for name, value in given.items() if value is not None})

    def _steer(self, word: str, **changes: Any) -> None:
        status = self.status()
        if status.state in FINAL:
            raise RunError(f"run {self.id} cannot be {word}: it is {status.state}, at step {status.step:,}")
        control.steer(self.folder, **changes)

    def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> Run:
        """Wait until it has ended (at most ``timeout`` seconds) and return it. A paused run has not ended.

        Args:
            progress: tell how far it is: a bar in a terminal, elsewhere a line every few seconds. Default: in
                a terminal, and where papermill runs the notebook.

        Raises:
            RunError: it failed or was killed (the message has the reason and its log file), or the
                time is over.
        """
        Runs((self,))._wait(timeout, progress)
        status = self.status()
        if status.state == "failed":
            raise RunError(f"run {self.id} failed: {status.error} (log: {self.folder / 'log.txt'})")
        if status.state == "killed":
            raise RunError(
                f"run {self.id} was killed at step {status.step:,}; what it had flushed is in the store, and "
                f"run.resume() goes on from its latest checkpoint (log: {self.folder / 'log.txt'})"
            )
        return self

    def agent(self, *, greedy: bool = True, which: Which = "final") -> Agent:
        """The trained policy as an Agent; see `trained.load_agent`.

        Raises:
            RunError: the run has not saved that policy.
        """
        return load_agent(self, greedy=greedy, which=which)

    def export(self, path: str | Path) -> Path:
        """Write all of the run (record, status, log, artifacts, everything recorded) to one new file; returns
        its path. `import_run` takes it into another store.

        Raises:
            ExchangeError: the file exists already or cannot be written.
        """
        return parcels.export_run(self.store, self.id, Path(path).expanduser())

    def __repr__(self) -> str:
        status = self.status()
        return f"Run({self.id}: {status.state}, step {status.step:,} of {status.total_steps:,})"

    def _repr_html_(self) -> str:
        status = self.status()
        summary = [[k, f"{v:g}" if isinstance(v, float) else v] for k, v in status.summary.items()]
        return (
            f"<p>{rendering.escape(repr(self))} {rendering.escape(status.error or '')}</p>"
            + alerts.html(alerts.of_run(self.store, self.record, status))
            + rendering.line_chart(self.metrics("return_mean"), title="mean return of training")
            + (rendering.table(["", ""], summary) if summary else "")
        )


@dataclass(frozen=True)
class Runs:
    """Several runs as one, such as one training with several seeds. A sequence of `Run`."""

    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, i: int) -> Run:
        return self.runs[i]

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def status(self) -> list[RunStatus]:
        """Where each of them stands."""
        return [run.status() for run in self.runs]

    def stop(self) -> None:
        """Ask all of them to end after their current update, those that wait for a slot at once."""
        for run in self.runs:
            run.stop()

    def pause(self) -> None:
        """Ask those that have not ended to save and wait."""
        for run in self.runs:
            if not run.finished:
                run.pause()

    def resume(self) -> Runs:
        """Let all go on that are not done, as `Run.resume` does, and return them."""
        for run in self.runs:
            if run.status().state != "done":
                run.resume()
        return self

    def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> Runs:
        """Wait until all have ended, as `Run.wait` does, and return them.

        Raises:
            RunError: some failed or were killed (all are named), or the time is over.
        """
        self._wait(timeout, progress)
        problems = []
        for run in self.runs:
            try:
                run.wait(progress=False)
            except RunError as problem:
                problems.append(str(problem))
        if problems:
            raise RunError(f"{len(problems)} of {len(self)} runs did not end well: " + "; ".join(problems))
        return self

    def _wait(self, timeout: float | None, progress: bool | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        with following(self.runs[0].record.name if self.runs else "", progress) as tell:
            while True:
                found = self.status()
                tell(found)
                if all(status.state in FINAL for status in found):
                    return
                if deadline is not None and time.monotonic() > deadline:
                    late = next(r for r, s in zip(self.runs, found) if s.state not in FINAL)
                    raise RunError(
                        f"run {late.id} is still {late.status().state} after {timeout:g} s; "
                        "wait longer, or end it with run.stop()"
                    )
                time.sleep(0.1)

    def _rows(self) -> list[list[str]]:
        rows = []
        for run, status in zip(self.runs, self.status()):
            mean = status.summary.get("eval_return_mean", status.summary.get("return_mean"))
            shown = "" if mean is None else f"{mean:.4g}"
            config = run.record.config
            seed = str(config.get(config.get("algo", ""), {}).get("seed", ""))
            done = f"{status.step:,} of {status.total_steps:,}"
            rows.append([seed, status.state, done, shown, run.id, status.error or ""])
        return rows

    def __repr__(self) -> str:
        return "\n".join(rendering.lines([_RUNS_COLUMNS, *self._rows()]))

    def _repr_html_(self) -> str:
        return rendering.table(_RUNS_COLUMNS, self._rows(), f"{len(self)} runs")


_RUNS_COLUMNS = ["seed", "state", "step", "mean return", "run", "error"]


def load_run(run_id: str, store: Store | None = None) -> Run:
    """A handle on a run of the store.

    Raises:
        UnknownName: the store has no such run.
    """
    store = as_store(store)
    if run_id not in (known := store.run_ids()):
        raise UnknownName("run", run_id, known[-5:], "See aigym.sql('select run_id from runs').")
    return Run(run_id, store)


def import_run(path: str | Path, store: Store | None = None) -> Run:
    """Take a run that `Run.export` wrote, of another machine for instance, into a store.

    A function that builds the environment and a network of somebody's own are left out (``make_env.pkl``,
    ``network.pkl``: to read one would be to run code of whoever wrote the file), so that such a run can be
    looked at and its agent loaded (`load_agent` with ``network``), but not resumed.

    Raises:
        ExchangeError: the file is no exported run, or is damaged or unsafe; nothing is left of it then.
        StoreError: the store has a run of this id.
    """
    store = as_store(store)
    return Run(parcels.import_run(store, Path(path).expanduser()), store)
