"""Learning curves of a bench: what the trainings below its cells recorded of their return.

    metric, curves = learned(state)     {task: {method: Band}}, the mean over trainings by steps

The metric is ``eval_return_mean``, where every training was evaluated on its way, else ``return_mean``, what
a training itself saw. Only trainings below attempts that count. Each is read at `POINTS` steps between 0 and
the longest training on its task, straight lines between what was recorded; before its first and after its
last it has no value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aigym_kernel.bench import results
from aigym_kernel.bench.records import State
from aigym_kernel.intervals import Values
from aigym_kernel.scores import Band, curve
from aigym_kernel.store import Store

EVALUATED, SEEN = "eval_return_mean", "return_mean"
POINTS = 61
_MOST = 500  # run ids in one query


def learned(state: State) -> tuple[str, dict[str, dict[str, Band]]]:
    """The metric, and its curve for each task and method; a method without any is left out, and so is a task.

    Raises:
        StoreError: the bench's store is not there, or is broken.
    """
    store = Store(Path(state.plan.store).expanduser())
    owners = _trainings(state, store)
    if not owners:
        return SEEN, {}
    name, recorded = EVALUATED, _recorded(store, list(owners), EVALUATED)
    if len(recorded) < len(owners):
        name, recorded = SEEN, _recorded(store, list(owners), SEEN)
    methods, tasks = results.method_names(state), results.task_names(state)
    members: dict[str, dict[str, list[tuple[Values, Values]]]] = defaultdict(lambda: defaultdict(list))
    for cell in state.plan.cells:
        for run in (run for run, owner in owners.items() if owner == cell.id and run in recorded):
            members[tasks[cell.id]][methods[cell.id]].append(recorded[run])
    found: dict[str, dict[str, Band]] = {}
    for task, row in members.items():
        end = max(float(steps[-1]) for lines in row.values() for steps, _ in lines)
        grid = np.linspace(0.0, end, POINTS)
        for method, lines in row.items():
            table = [np.interp(grid, steps, values, left=np.nan, right=np.nan) for steps, values in lines]
            found.setdefault(task, {})[method] = curve(grid, np.array(table))
    return name, found


def _trainings(state: State, store: Store) -> dict[str, str]:
    """The trainings below the attempts that count, and whose cell each belongs to."""
    owners = {result.run_id: cell for cell, result in state.results.items()}
    if not owners:
        return {}
    frame = store.sql("SELECT run_id, parent, kind FROM runs WHERE parent IS NOT NULL ORDER BY created_at")
    below: Mapping[str, str] = dict(zip(frame["run_id"], frame["parent"], strict=True))
    found = {}
    for run in frame.loc[frame["kind"] == "train", "run_id"]:
        at, seen = str(run), set[str]()
        while at in below and at not in owners and at not in seen:
            seen.add(at)
            at = below[at]
        if at in owners and at != run:
            found[str(run)] = owners[at]
    return found


def _recorded(store: Store, runs: list[str], name: str) -> dict[str, tuple[Values, Values]]:
    """Steps and values of each training that has any."""
    found = {}
    for i in range(0, len(runs), _MOST):
        part = runs[i : i + _MOST]
        frame = store.sql(
            "SELECT run_id, step, value FROM metrics WHERE name = ? AND isfinite(value) "
            f"AND run_id IN ({', '.join('?' * len(part))}) ORDER BY run_id, step, time",
            [name, *part],
        )
        for run, lines in frame.groupby("run_id"):
            found[str(run)] = (lines["step"].to_numpy(float), lines["value"].to_numpy(float))
    return found
