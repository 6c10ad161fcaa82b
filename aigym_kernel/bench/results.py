"""What the cells of a bench came to, as tables: a row per cell, and the values of each method on each task.

    frame(state)                a pandas DataFrame, a row per cell
    groups(state)               {method: {task: Group}}, a Group with the values over seeds
    groups(state, "steps")      the same of another metric than the main one
    matrices(state)             {method: array (seeds, tasks)} and the tasks, for `scores`
    metrics(state)              every metric that is known, with its direction, the main one first

A parameter makes the method if it varies on one and the same task (a notebook, and the value of the plan's
``task``) and is no seed. What goes with the task alone, such as a longer training on a harder environment,
belongs to the task. Several notebooks are several tasks: they measure different things.
Nothing is estimated here (`leaderboard`) and nothing is read from the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aigym_kernel.bench.records import Attempt, Cell, Metric, State, notebook_names
from aigym_kernel.errors import UnknownName
from aigym_kernel.grouping import text
from aigym_kernel.intervals import Values

if TYPE_CHECKING:
    import pandas

FIXED = ("cell", "label", "notebook", "state", "attempts", "reason", "error", "seconds")


@dataclass(frozen=True, kw_only=True)
class Group:
    """The cells of one method on one task, and what those that are done reported.

    ``metric`` is None as long as nobody knows which one counts. ``seeds``, ``values``: of the cells that are
    done and reported it, in the plan's order; a seed is None where the plan names no parameter for it.
    ``failed``: cells that failed for good. ``unfinished``: queued, running or interrupted ones.
    """

    method: str
    task: str
    metric: Metric | None
    cells: tuple[Cell, ...]
    seeds: tuple[Any, ...]
    values: tuple[float, ...]
    failed: int
    unfinished: int


def frame(state: State) -> pandas.DataFrame:
    """A row per cell in the plan's order: ``cell`` (its id), ``label``, ``notebook``, a column per parameter,
    ``state``, ``attempts``, ``reason`` and ``error`` of the last attempt unless the cell is done, ``seconds``
    of the attempt that counts (NaN before its end), and a column per metric (NaN where not reported). A
    parameter named as another column is ``parameter.<name>``, a metric ``metric.<name>``.
    """
    import pandas

    parameters = list(dict.fromkeys(name for cell in state.plan.cells for name in cell.parameters))
    reported = list(dict.fromkeys(name for found in state.results.values() for name in found.metrics))
    reported = [*(m.name for m in state.plan.metrics if m.name not in reported), *reported]
    own = {name: f"parameter.{name}" if name in FIXED else name for name in parameters}
    named = {name: f"metric.{name}" if name in (*FIXED, *parameters) else name for name in reported}
    notebooks, rows = notebook_names(state.plan.cells), []
    for cell in state.plan.cells:
        status, result, tried = state.statuses[cell.id], state.results.get(cell.id), last(state, cell)
        ended = tried if status.state in ("failed", "interrupted") else None
        seconds = result.seconds if result else ended.ended_at - ended.started_at if ended else np.nan
        row: dict[str, Any] = {"cell": cell.id, "label": cell.label, "notebook": notebooks[cell.source]}
        row |= {column: cell.parameters.get(name) for name, column in own.items()}
        row |= {
            "state": status.state,
            "attempts": max(status.attempt, len(status.attempts), result.attempt if result else 0),
            "reason": None if result or not tried else tried.reason,
            "error": None if result or not tried else tried.error,
            "seconds": seconds,
        }
        values: Mapping[str, float] = result.metrics if result else {}
        rows.append(row | {column: values.get(name, np.nan) for name, column in named.items()})
    columns = ["cell", "label", "notebook", *own.values(), *FIXED[3:], *named.values()]
    return pandas.DataFrame(rows, columns=columns)


def last(state: State, cell: Cell) -> Attempt | None:
    """The cell's last attempt that ended, if it is not done; of one that runs again, the one before."""
    tried = state.statuses[cell.id].attempts
    return tried[-1] if tried and cell.id not in state.results else None


def metrics(state: State, source: str | None = None) -> dict[str, Metric]:
    """Every metric that the plan asks for or a notebook reported, the main one first; the plan's word on its
    direction counts. ``source``: only what this notebook reported, as far as anything is known of that."""
    results = [state.results[c.id] for c in _cells(state, source) if c.id in state.results]
    found = {metric.name: metric for metric in state.plan.metrics}
    for result in results:
        for metric in result.declared:
            found.setdefault(metric.name, metric)
        for name in result.metrics:
            found.setdefault(name, Metric(name=name))
    if source is not None and results:
        there = set().union(*(result.metrics for result in results))
        found = {name: metric for name, metric in found.items() if name in there}
    return found


def groups(state: State, metric: str | None = None) -> dict[str, dict[str, Group]]:
    """Method by task, both in the plan's order. ``metric``: by default each notebook's main one.

    Raises:
        UnknownName: nothing that is done reported this metric, and the plan does not name it.
    """
    known = metrics(state)
    if metric is not None and metric not in known:
        raise UnknownName("metric", metric, known)
    members: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    methods, tasks = method_names(state), task_names(state)
    for cell in state.plan.cells:
        members[methods[cell.id]][tasks[cell.id]].append(cell)
    ranking = {}
    for source in {cell.source for cell in state.plan.cells}:
        own = metrics(state, source)
        ranking[source] = own.get(metric) if metric else next(iter(own.values()), None)
    return {
        method: {
            task: _group(state, method, task, cells, ranking[cells[0].source]) for task, cells in row.items()
        }
        for method, row in members.items()
    }


def matrices(state: State, metric: str | None = None) -> tuple[dict[str, Values], list[str]]:
    """For each method an array (seeds, tasks), NaN where nothing was reported, and the tasks. A row is one
    and the same seed in all of them.

    Raises:
        UnknownName: see `groups`.
    """
    found = groups(state, metric)
    each = [group for row in found.values() for group in row.values()]
    tasks = list(dict.fromkeys(group.task for group in each))
    seeds = list(dict.fromkeys(text(seed) for group in each for seed in _seeds(state, group.cells)))
    arrays = {method: np.full((len(seeds), len(tasks)), np.nan) for method in found}
    for group in each:
        for seed, value in zip(group.seeds, group.values, strict=True):
            arrays[group.method][seeds.index(text(seed)), tasks.index(group.task)] = value
    return arrays, tasks


def repeated(state: State) -> bool:
    """Whether some method has more than one result on a task, so that there can be intervals."""
    return any(len(group.values) > 1 for row in groups(state).values() for group in row.values())


def task_names(state: State) -> dict[str, str]:
    """The task of each cell, by the cell's id."""
    notebooks, name = notebook_names(state.plan.cells), state.plan.task
    found = {}
    for cell in state.plan.cells:
        parts = [notebooks[cell.source]] if len(notebooks) > 1 else []
        parts += [text(cell.parameters[name])] if name in cell.parameters else []
        found[cell.id] = ": ".join(parts) or notebooks[cell.source]
    return found


def baselines(state: State) -> dict[str, dict[str, float]]:
    """The plan's baselines by the name of the task; the plan may also name them by the value of its task's
    parameter alone, or by the notebook."""
    tasks, notebooks, name = task_names(state), notebook_names(state.plan.cells), state.plan.task or ""
    found: dict[str, dict[str, float]] = {}
    for cell in state.plan.cells:
        own = (tasks[cell.id], text(cell.parameters.get(name)), notebooks[cell.source])
        for word in own:
            if word in state.plan.baselines:
                found.setdefault(tasks[cell.id], state.plan.baselines[word])
    return found


def method_parameters(state: State) -> tuple[str, ...]:
    """The parameters that make the method."""
    aside = (state.plan.task, state.plan.seed)
    names = dict.fromkeys(n for cell in state.plan.cells for n in cell.parameters if n not in aside)
    tasks = task_names(state)
    return tuple(name for name in names if _varies(state, name, tasks))


def method_names(state: State) -> dict[str, str]:
    """The method of each cell, by the cell's id: ``algo=ppo, lr=0.1``; the value alone where one parameter
    makes it and its values are words; the notebook's name where none does."""
    parameters, notebooks = method_parameters(state), notebook_names(state.plan.cells)
    values = [cell.parameters[n] for cell in state.plan.cells for n in parameters if n in cell.parameters]
    bare = len(parameters) == 1 and all(isinstance(value, str) and value for value in values)
    found = {}
    for cell in state.plan.cells:
        own = [(name, text(cell.parameters[name])) for name in parameters if name in cell.parameters]
        label = ", ".join(value if bare else f"{name}=" + (value or "''") for name, value in own)
        found[cell.id] = label or notebooks[cell.source]
    return found


def _varies(state: State, name: str, tasks: Mapping[str, str]) -> bool:
    absent = object()
    found: dict[str, set[object]] = defaultdict(set)
    for cell in state.plan.cells:
        value = text(cell.parameters[name]) if name in cell.parameters else absent
        found[tasks[cell.id]].add(value)
    return any(len(values) > 1 for values in found.values())


def _group(state: State, method: str, task: str, cells: Sequence[Cell], metric: Metric | None) -> Group:
    done = [
        (seed, state.results[cell.id].metrics[metric.name])
        for cell, seed in zip(cells, _seeds(state, cells), strict=True)
        if metric and cell.id in state.results and metric.name in state.results[cell.id].metrics
    ]
    states = [state.statuses[cell.id].state for cell in cells]
    return Group(
        method=method,
        task=task,
        metric=metric,
        cells=tuple(cells),
        seeds=tuple(seed for seed, _ in done),
        values=tuple(value for _, value in done),
        failed=states.count("failed"),
        unfinished=sum(s in ("queued", "running", "interrupted") for s in states),
    )


def _seeds(state: State, cells: Sequence[Cell]) -> list[Any]:
    return [cell.parameters.get(state.plan.seed or "") for cell in cells]


def _cells(state: State, source: str | None) -> Sequence[Cell]:
    return [cell for cell in state.plan.cells if source in (None, cell.source)]
