"""What a sandbox and a store cost on this machine, by the clock.

    run_programs("pool-bwrap", programs=100, workers=2)     SandboxTimes
    fill_store(folder, steps=100_000)                       StoreTimes

One short program that prints a number, and trajectories of random walks: the least that either has to do.
Other work on the machine slows both, so nothing else should run beside them (a bench: one worker).
`benchmarks/sandbox.py` and `benchmarks/store.py` go further and compare with other systems.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigym_kernel.batches import Batch
from aigym_kernel.errors import SandboxError, check_whole
from aigym_kernel.sandboxes import Program, check, open_sandbox
from aigym_kernel.settings import sandbox_name
from aigym_kernel.store import RunRecord, RunStatus, Store

LENGTH = 100
"""Steps of each trajectory that `fill_store` writes."""
PER_BATCH = 100  # trajectories
RUNS = 4
ASKED = 11  # times that each question is asked; the first is not counted


@dataclass(frozen=True, kw_only=True)
class SandboxTimes:
    """Milliseconds per program, one after another; programs per second with all workers. ``right`` is the
    share of programs that printed what they should."""

    first_ms: float
    each_ms: tuple[float, ...]
    per_second: float
    right: float

    def percentile(self, q: float) -> float:
        """The q-th percentile of ``each_ms``, q from 0 to 100."""
        return float(np.percentile(self.each_ms, q))


def run_programs(sandbox: str | None = None, *, programs: int = 100, workers: int = 2) -> SandboxTimes:
    """Run ``programs`` programs one after another, then as many with ``workers`` at a time. The first one of
    all, which makes a pool or finds an image, is timed by itself.

    Raises:
        UnknownName: there is no such sandbox.
        SandboxError: it does not work here; the message says what to install.
    """
    check_whole("programs", programs, 1)
    check_whole("workers", workers, 1, 1024)
    name = sandbox_name(sandbox)
    box = open_sandbox(name)
    started = time.perf_counter()
    if problem := check(name):
        raise SandboxError(problem)
    first_ms = 1000 * (time.perf_counter() - started)
    right, each_ms = 0, []
    for number in range(programs):
        started = time.perf_counter()
        [ended] = box.map([_program(number)], workers=1)
        each_ms.append(1000 * (time.perf_counter() - started))
        right += ended.stdout == f"{number}\n"
    started = time.perf_counter()
    many = list(box.map(map(_program, range(programs)), workers=workers))
    seconds = time.perf_counter() - started
    right += sum(ended.stdout == f"{number}\n" for number, ended in enumerate(many))
    return SandboxTimes(
        first_ms=first_ms,
        each_ms=tuple(each_ms),
        per_second=programs / seconds,
        right=right / (2 * programs),
    )


def _program(number: int) -> Program:
    return Program(f"print({number})")


@dataclass(frozen=True, kw_only=True)
class StoreTimes:
    """``steps`` that were written, thousands of them per second until they were on the disk, bytes that each
    takes there, seconds to build the index, and median milliseconds of each question asked afterwards."""

    steps: int
    krows_per_second: float
    bytes_per_step: float
    index_s: float
    question_ms: dict[str, float]


def fill_store(folder: Path | str, *, steps: int = 100_000, seed: int = 0) -> StoreTimes:
    """Write ``steps`` steps (rounded up to whole trajectories of `LENGTH`) of 8 float32 numbers into a new
    store in ``folder``, build its index, then ask what the explorer and people ask.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    check_whole("steps", steps, 1)
    store = Store(folder)
    store.create()
    rng = np.random.default_rng(seed)
    left, seconds = -(-steps // LENGTH), 0.0
    for run in range(RUNS):
        share = left // (RUNS - run)
        left -= share
        store.add_run(RunRecord(run_id=f"run-{run}", kind="train", name="run"), RunStatus(state="done"))
        seconds += _write(store, f"run-{run}", rng, share)
    index_s = _seconds(store.index)
    there = int(store.sql("SELECT count(*) AS n FROM steps")["n"][0])
    size = sum(path.stat().st_size for path in (store.folder / "runs").rglob("*") if path.is_file())
    return StoreTimes(
        steps=there,
        krows_per_second=there / seconds / 1000,
        bytes_per_step=size / there,
        index_s=index_s,
        question_ms={name: _asked(question) for name, question in _questions(store).items()},
    )


def _write(store: Store, run_id: str, rng: np.random.Generator, trajectories: int) -> float:
    """Seconds that the writer took, without those that made the numbers."""
    writer, seconds = store.writer(run_id), 0.0
    for first in range(0, trajectories, PER_BATCH):
        made = _walks(rng, min(PER_BATCH, trajectories - first))
        seconds += _seconds(lambda made=made: writer.batch(made))  # type: ignore[misc]
    return seconds + _seconds(writer.close)


def _walks(rng: np.random.Generator, count: int) -> Batch:
    """Random walks, which compress badly."""
    steps = count * LENGTH
    walks = rng.standard_normal((count, LENGTH + 1, 8), dtype=np.float32).cumsum(axis=1)
    return Batch(
        env_id="walk",
        agent="none",
        observations=walks.reshape(-1, 8),
        actions=rng.integers(0, 4, steps),
        rewards=rng.normal(0, 1, steps).round(2),
        lengths=np.full(count, LENGTH),
        terminated=np.ones(count, dtype=np.bool_),
        truncated=np.zeros(count, dtype=np.bool_),
        seeds=np.arange(count),
        final_infos=[{"outcome": ("won", "lost")[i % 2]} for i in range(count)],
        started_at=1.7e9 + np.arange(count),
    )


def _questions(store: Store) -> dict[str, Callable[[], object]]:
    ids = store.sql("SELECT trajectory_id FROM trajectories USING SAMPLE 1")["trajectory_id"].tolist()
    return {
        "page": lambda: store.page(where={"outcome": "won"}, order_by="return"),
        "trajectory": lambda: store.load(ids[0]),
        "curve": lambda: store.returns(["run-0"]),
        "all_steps": lambda: store.sql("SELECT avg(reward), max(reward) FROM steps"),
    }


def _asked(question: Callable[[], object]) -> float:
    return statistics.median([1000 * _seconds(question) for _ in range(ASKED)][1:])


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
