"""A handle on a run: look at it, steer it, wait for it, take its agent.

    run = load_run(run_id)                 any run, from any process
    run.status(); run.metrics("return_mean")
    run.pause(); run.resume(); run.set(speed="watch", learning_rate=1e-4); run.stop()
    run.wait(); run.agent()

A run is steered by files in its folder (`control`); nothing here trains or starts anything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigym_kernel import control, rendering
from aigym_kernel.control import Speed
from aigym_kernel.errors import RunError, UnknownName
from aigym_kernel.recording import FINAL, as_store
from aigym_kernel.rollouts import Agent
from aigym_kernel.store import RunRecord, RunStatus, Store


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
        """Ask it to wait after its current update; returns at once. `resume` lets it go on.

        Raises:
            RunError: it has ended.
        """
        self._steer("paused", paused=True)

    def resume(self) -> Run:
        """Let it go on after `pause`, and return it. Harmless while it goes on.

        Raises:
            RunError: it has ended.
        """
        self._steer("resumed", paused=False)
        return self

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

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until it has ended (at most ``timeout`` seconds) and return it.

        Raises:
            RunError: it failed or was killed (the message has the reason and its log file), or the
                time is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.finished:
            if deadline is not None and time.monotonic() > deadline:
                raise RunError(
                    f"run {self.id} is still running after {timeout:g} s; "
                    "wait longer, or end it with run.stop()"
                )
            time.sleep(0.1)
        status = self.status()
        if status.state == "failed":
            raise RunError(f"run {self.id} failed: {status.error} (log: {self.folder / 'log.txt'})")
        if status.state == "killed":
            raise RunError(
                f"run {self.id} was killed at step {status.step:,}; what it had flushed is in the "
                f"store (log: {self.folder / 'log.txt'})"
            )
        return self

    def agent(self, *, greedy: bool = True) -> Agent:
        """The trained policy as an Agent.

        Raises:
            RunError: the run has saved no policy yet.
        """
        from aigym_kernel.agents import policy_agent
        from aigym_kernel.train import Policy

        weights = self.folder / "artifacts" / "policy.safetensors"
        if not weights.is_file():
            raise RunError(
                f"run {self.id} ({self.status().state}) has saved no policy; a policy is saved when "
                "a training ends or is stopped: run.wait() first"
            )
        return policy_agent(Policy.load(weights), greedy=greedy)

    def __repr__(self) -> str:
        status = self.status()
        return f"Run({self.id}: {status.state}, step {status.step:,} of {status.total_steps:,})"

    def _repr_html_(self) -> str:
        status = self.status()
        summary = [[k, f"{v:g}" if isinstance(v, float) else v] for k, v in status.summary.items()]
        return (
            f"<p>{rendering.escape(repr(self))} {rendering.escape(status.error or '')}</p>"
            + rendering.line_chart(self.metrics("return_mean"), title="mean return of training")
            + (rendering.table(["", ""], summary) if summary else "")
        )


def load_run(run_id: str, store: Store | None = None) -> Run:
    """A handle on a run of the store.

    Raises:
        UnknownName: the store has no such run.
    """
    store = as_store(store)
    if run_id not in (known := store.run_ids()):
        raise UnknownName("run", run_id, known[-5:], "See aigym.sql('select run_id from runs').")
    return Run(run_id, store)
