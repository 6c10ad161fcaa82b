"""Folders of benches as they lie on disk, made of the records and of no work.

    state = write(folder, ["ppo", "dqn"], ["CartPole-v1"], seeds=5)

What a cell reports is made of its place in the grid, so that every number is known beforehand.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import nbformat

from aigym_kernel.bench import records
from aigym_kernel.bench.records import Attempt, Cell, CellStatus, Metric, Plan, Reason, Result, State
from aigym_kernel.store import RunRecord, Store

BEGAN = 1_763_000_000.0
RETURN = Metric(name="return_mean")
STEPS = Metric(name="steps_to_solve", direction="lower")
WORDS = "# Learning\n\n**Measured**: how <well> it learns."
PROVENANCE = {"git_commit": "0" * 40, "git_dirty": False, "python": "3.12.3", "packages": {"numpy": "2.4.6"}}

Key = tuple[str, str, int]
"""Method, task and seed of a cell."""


def value(method: int, task: int, seed: int) -> float:
    """The main metric by places in the grid: the later method is better on every task."""
    return 100.0 * (task + 1) + 10.0 * method + seed


def write(
    folder: Path,
    methods: Sequence[str] = ("ppo", "dqn"),
    tasks: Sequence[str] = ("CartPole-v1",),
    seeds: int = 3,
    *,
    reported: Callable[[int, int, int], Mapping[str, float]] = lambda m, t, s: {
        "return_mean": value(m, t, s),
        "steps_to_solve": 1000.0 - value(m, t, s),
    },
    declared: tuple[Metric, ...] = (RETURN, STEPS),
    failed: Mapping[Key, tuple[Reason, str]] = {},
    queued: Sequence[Key] = (),
    retried: Sequence[Key] = (),
    notes: Mapping[Key, tuple[str, ...]] = {},
    provenance: Mapping[Key, Mapping[str, Any]] = {},
    plan: Mapping[str, Any] = {},
    notebook: str = "bench_rl.ipynb",
) -> State:
    """A bench of every method on every task with every seed, done unless ``failed`` or ``queued``."""
    cells = []
    for (m, method), (t, task), seed in itertools.product(enumerate(methods), enumerate(tasks), range(seeds)):
        parameters = {"algo": method, "env_id": task, "seed": seed}
        cell = Cell(
            id=hashlib.sha256(repr(parameters).encode()).hexdigest()[:16],
            notebook=notebook,
            source=f"notebooks/abc/{notebook}",
            folder="notebooks",
            parameters=parameters,
            label=f"algo={method}, env_id={task}, seed={seed}",
        )
        cells.append(cell)
        key = (method, task, seed)
        place = records.cell_folder(folder, cell.id)
        lost = Attempt(n=1, state="failed", reason="kernel", error="the kernel died", ended_at=BEGAN)
        if key in failed:
            reason, error = failed[key]
            ended = changed(lost, reason=reason, error=error, started_at=BEGAN - 12, run_id="r")
            records.replace(place / "status.json", CellStatus(state="failed", attempt=1, attempts=(ended,)))
            (place / "attempt-1").mkdir()
            (place / "attempt-1" / "log.txt").write_text(f"started\n{error}\n", encoding="utf-8")
        elif key not in queued:
            again = key in retried
            attempts = ((lost,) if again else ()) + (Attempt(n=1 + again, state="done"),)
            status = CellStatus(state="done", attempt=1 + again, attempts=attempts)
            records.replace(place / "status.json", status)
            result = Result(
                cell=cell.id,
                attempt=1 + again,
                run_id=f"run-{cell.id}",
                metrics=dict(reported(m, t, seed)),
                declared=declared,
                hashes={"metrics": "a" * 64, "trajectories": "b" * 64},
                started_at=BEGAN,
                ended_at=BEGAN + 20 + seed,
                seconds=20.0 + seed,
                peak_mb=300.0,
                notebook=f"attempt-{1 + again}/{notebook}",
                page=f"attempt-{1 + again}/{Path(notebook).stem}.html",
                notes=notes.get(key, ()),
                provenance={**PROVENANCE, **provenance.get(key, {})},
            )
            records.replace(place / "result.json", result)
    asked = {"task": "env_id", "seed": "seed", "created_at": BEGAN, "store": str(folder / "store"), **plan}
    records.replace(folder / "bench.json", Plan(name=folder.name, cells=tuple(cells), **asked))
    frozen = folder / "notebooks" / "abc" / notebook
    frozen.parent.mkdir(parents=True, exist_ok=True)
    v4 = nbformat.v4
    parts = [v4.new_markdown_cell(WORDS), v4.new_code_cell("seed: int = 0"), v4.new_markdown_cell("later")]
    nbformat.write(v4.new_notebook(cells=parts), frozen)
    return records.read(folder)


def train(state: State, steps: int = 1000) -> None:
    """Below every cell that is done a training whose return grows to the cell's main metric."""
    store = Store(state.plan.store)
    for result in state.results.values():
        store.add_run(RunRecord(run_id=result.run_id, kind="notebook", name="n"))
        run = f"train-{result.run_id}"
        store.add_run(RunRecord(run_id=run, kind="train", name="ppo", parent=result.run_id))
        end = next(iter(result.metrics.values()))
        with store.writer(run) as writer:
            for step in range(steps // 5, steps + 1, steps // 5):
                writer.metrics(step, {"return_mean": end * step / steps})
