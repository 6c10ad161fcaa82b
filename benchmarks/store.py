"""The store at ten million steps: appending, reading, merging. Prints every figure beside its target.

    .venv/bin/python benchmarks/store.py [--steps 10000000] [--peers 2000] [--folder FOLDER] [--out FILE]

Trajectories of 100 steps with 8 float32 numbers each, in ten runs, are handed over by `Writer.batch` from one
process; what is timed ends when the Parquet files are on the disk. Then the questions that people ask, each
`ROUNDS` times on a warm store (the first call is not counted, and printed beside), then a lone writer, and
four writers with a reader and a compaction. At the end `store_peers.py` compares with what people use today,
on fewer trajectories, in the same run; ``--peers 0`` leaves that out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import keep, machine

from aigym_kernel.batches import Batch
from aigym_kernel.store import RunRecord, RunStatus, Store

HERE = Path(__file__).parent
ROUNDS = 15
LENGTH = 100
RUNS = 10
PER_BATCH = 1_000  # trajectories
WRITE_S = 6.0  # how long the writers of the last part write

TARGETS: dict[str, tuple[float, str]] = {
    "append, batches": (400_000, "steps/s at least"),
    "page, newest first": (50, "ms at most"),
    "page, two filters, by return": (50, "ms at most"),
    "one trajectory": (50, "ms at most"),
    "return curve, quantiles": (150, "ms at most"),
    "histogram, three filters": (100, "ms at most"),
    "four writers, one reader, compaction": (1 / 3, "of a lone writer at least"),
}


def batch(rng: np.random.Generator, number: int, count: int = PER_BATCH) -> Batch:
    """Random walks of float32 numbers, which compress badly."""
    steps = count * LENGTH
    walks = rng.standard_normal((count, LENGTH + 1, 8), dtype=np.float32).cumsum(axis=1)
    outcomes = ("wall", "self", "full", "starvation")
    return Batch(
        env_id=f"env-{number % 4}",
        agent=f"agent-{number % 3}",
        observations=walks.reshape(-1, 8),
        actions=rng.integers(0, 4, steps),
        rewards=rng.normal(number % RUNS / 10, 1, steps).round(2),
        lengths=np.full(count, LENGTH),
        terminated=np.ones(count, dtype=np.bool_),
        truncated=np.zeros(count, dtype=np.bool_),
        seeds=np.arange(count),
        final_infos=[{"outcome": outcomes[i % 4], "apples": i % 11} for i in range(count)],
        started_at=1.7e9 + number * count + np.arange(count),
    )


class Clock:
    """Adds up the seconds, and the processor's, of what is done in its ``with``."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began[0]
        self.processor += time.process_time() - self._began[1]


def append(store: Store, steps: int) -> tuple[int, Clock, int, Clock]:
    """How many steps were handed over in batches, and what that took; the same one trajectory at a time."""
    rng = np.random.default_rng(0)
    together, alone = Clock(), Clock()
    batches = max(steps // (PER_BATCH * LENGTH), RUNS)
    for run in range(RUNS):
        store.add_run(RunRecord(run_id=f"run-{run}", kind="train", name="run"), RunStatus(state="done"))
        with together:
            writer = store.writer(f"run-{run}")
        for number in range(run, batches, RUNS):
            made = batch(rng, number)
            with together:
                writer.batch(made)
        with together:
            writer.close()
    with tempfile.TemporaryDirectory(dir=store.folder.parent) as folder:
        writer = Store(folder).writer("alone")
        for number in range(max(batches // 10, 1)):
            trajectories = list(batch(rng, number))
            with alone:
                for trajectory in trajectories:
                    writer.trajectory(trajectory)
        with alone:
            writer.close()
    each = PER_BATCH * LENGTH
    return batches * each, together, max(batches // 10, 1) * each, alone


def questions(store: Store) -> dict[str, Callable[[], Any]]:
    ids = store.sql("SELECT trajectory_id FROM trajectories USING SAMPLE 200")["trajectory_id"].tolist()
    where = {"env_id": "env-1", "outcome": ["wall", "self"], "seed": (100, 900)}
    runs = [f"run-{number}" for number in range(5)]
    return {
        "page, newest first": store.page,
        "page, two filters, by return": lambda: store.page(
            where={"env_id": "env-1", "outcome": "self"}, order_by="return"
        ),
        "page, search": lambda: store.page(search="starv", order_by="length"),
        "one trajectory": lambda: store.load(ids.pop()),
        "return curve, quantiles": lambda: store.returns(runs),
        "histogram, three filters": lambda: store.histogram("return", where=where),
        "SQL: rewards of all steps": lambda: store.sql("SELECT avg(reward), max(reward) FROM steps"),
        "SQL: one trajectory's steps": lambda: store.sql(
            "SELECT t, reward FROM steps WHERE trajectory_id = ?", [ids[0]]
        ),
        "SQL: observations of all steps": lambda: store.sql("SELECT avg(observation[1]) FROM steps"),
    }


def ask(question: Callable[[], Any]) -> tuple[float, list[float], list[float]]:
    """Milliseconds of the first call, of those that follow, and of the processor's time that these took, all
    threads together: on a machine with other work that tells more."""
    taken, used = [], []
    for _ in range(ROUNDS + 1):
        started, began = time.perf_counter(), time.process_time()
        question()
        taken.append(1000 * (time.perf_counter() - started))
        used.append(1000 * (time.process_time() - began))
    return taken[0], taken[1:], used[1:]


def write_for(folder: str, run_id: str, seconds: float, begin: Any, answers: Any) -> None:
    """What a writing process does: batches for some seconds; answers with steps per second."""
    made = batch(np.random.default_rng(0), 0, 200)
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__ if name != "ids"}
    begin.wait()
    started, steps = time.perf_counter(), 0
    with Store(folder).writer(run_id) as writer:
        while time.perf_counter() - started < seconds:
            writer.batch(Batch(**fields))
            steps += 200 * LENGTH
    answers.put(steps / (time.perf_counter() - started))


def writing(store: Store, writers: int, meanwhile: Callable[[], None] | None) -> list[float]:
    """Steps per second of each of as many processes that write at a time."""
    context = multiprocessing.get_context("spawn")
    begin, answers = context.Barrier(writers + 1), context.Queue()
    processes = [
        context.Process(
            target=write_for, args=(str(store.folder), f"w{writers}-{i}", WRITE_S, begin, answers)
        )
        for i in range(writers)
    ]
    for process in processes:
        process.start()
    begin.wait()
    while meanwhile is not None and any(process.is_alive() for process in processes):
        meanwhile()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def together(folder: Path) -> tuple[float, float]:
    """A lone writer's steps per second, and those of the slowest moment: four writers, a reader, and
    compactions without end, all rates added up. Checks that nothing is lost and nothing there twice."""
    store = Store(folder)
    store.create()
    lone = writing(store, 1, None)[0]
    ended = threading.Event()

    def compacting() -> None:
        while not ended.is_set():
            store.compact()

    def reading() -> None:
        store.page()
        store.sql("SELECT sum(reward) FROM steps")

    thread = threading.Thread(target=compacting)
    thread.start()
    all_rates = writing(store, 4, reading)
    ended.set()
    thread.join()
    query = "SELECT sum(length) AS a, count(*) AS n, count(DISTINCT trajectory_id) AS d FROM trajectories"
    row = store.sql(f"SELECT *, (SELECT count(*) FROM steps) AS b FROM ({query})").iloc[0]
    assert row["a"] == row["b"], "a step was lost, or is there twice"
    assert row["n"] == row["d"], "a trajectory is there twice"
    return lone, sum(all_rates)


def measure(folder: Path, steps: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(name: str, value: float, unit: str, **more: Any) -> None:
        target, meaning = TARGETS.get(name, (None, ""))
        met = None if target is None else value <= target if "most" in meaning else value >= target
        row = {"what": name, "value": round(value, 3), "unit": unit, "target": target, "met": met, **more}
        rows.append(row)
        beside = "" if target is None else f"   target {target:,.2f} {meaning}: {'met' if met else 'missed'}"
        others = "".join(f"  {key} {more[key]:,}" for key in ("first", "processor") if key in more)
        print(f"{name:38} {value:12,.2f} {unit:8}{others}{beside}", flush=True)

    store = Store(folder / "large")
    store.create()
    count, clock, count_alone, clock_alone = append(store, steps)
    for name, n, one in (
        ("append, batches", count, clock),
        ("append, one trajectory at a time", count_alone, clock_alone),
    ):
        add(name, n / one.seconds, "steps/s", processor=round(n / one.processor))
    for name, work in (("index", store.index), ("compact", store.compact)):
        started = time.perf_counter()
        work()
        add(f"{name}, whole store", time.perf_counter() - started, "s")
    size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
    there = int(store.sql("SELECT count(*) AS n FROM steps")["n"][0])
    add("on the disk", size / there, "B/step", steps=there)
    for name, question in questions(store).items():
        first, taken, used = ask(question)
        more = {"first": first, "least": min(taken), "processor": statistics.median(used)}
        add(name, statistics.median(taken), "ms", **{key: round(value, 1) for key, value in more.items()})
    started = time.perf_counter()
    problems = store.check()
    assert not problems, problems[0]
    add("check, whole store", time.perf_counter() - started, "s")
    lone, four = together(folder / "together")
    add("lone writer", lone, "steps/s")
    add("four writers, one reader, compaction", four / lone, "times")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--peers", type=int, default=2_000, help="trajectories for the comparison; 0: none")
    parser.add_argument("--folder", type=Path, help="where to build it; by default a temporary folder")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"store-{os.cpu_count()}-cpu.json")
    given = parser.parse_args()
    load = os.getloadavg()
    folder = Path(tempfile.mkdtemp(prefix="aigym-store-", dir=given.folder))
    try:
        rows = measure(folder, given.steps)
        compared = []
        if given.peers:
            from store_peers import Size, compare, show

            # Logs hold ten conversations of one of two models each.
            size = Size(trajectories=given.peers, conversations=20 * max(given.peers // 400, 1))
            compared = compare(folder / "peers", size, rounds=3)
            show(compared)
    finally:
        shutil.rmtree(folder)
    result = {"machine": machine(load, steps=given.steps), "rows": rows, "peers": compared}
    keep(given.out, result)


if __name__ == "__main__":
    main()
