"""Who is best at what in one bench or several: methods ranked by the main metric, with intervals over seeds.

    board = leaderboard(state)              of one bench, as `records.read` gives it
    board = leaderboard(first, second)      methods carry the name of their bench
    print(board); board.frame; board.to_dict()

On each task, methods are ranked by the mean over seeds. Over several tasks they are ranked by the mean of
normalised scores, where the plan has a baseline for every task; scores of different tasks are on no common
scale otherwise, so the mean of their ranks counts then. A method that has no result on a task is behind all
that have one. Where not every method was run on every task, there are places on each task only. Cells that
failed are counted and shown; the mean is over those that are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aigym_kernel import contrasts, rendering
from aigym_kernel.bench import results
from aigym_kernel.bench.records import Direction, State
from aigym_kernel.bench.results import Group
from aigym_kernel.intervals import Estimate, bootstrap
from aigym_kernel.scores import aggregate, normalised

if TYPE_CHECKING:
    import pandas

FEW_SEEDS = 5
NOT_WHOLE = (
    "Not every method was run on every task: there are places on each task, and none over all of them."
)
By = Literal["score", "normalised score", "rank", "task"]
"""What places are made of: the mean on the only task, the means of normalised scores or of ranks over all;
``task``: methods were not run on the same tasks, so that each task has places of its own only."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One method on one task. ``estimate``: the mean over seeds and its 95 % interval; None where no cell is
    done. ``seeds`` count in it, of ``asked`` cells; the others ``failed`` or are ``unfinished``. ``rank`` is
    the place among the methods, from 1; equal ones share the mean of their places."""

    method: str
    task: str
    metric: str | None
    direction: Direction
    estimate: Estimate | None
    seeds: int
    asked: int
    failed: int
    unfinished: int
    rank: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One method over all tasks. ``place`` is None where there is none (`By`). ``score`` is what ranks
    where there are baselines: the mean over tasks of normalised scores, 0 at the low baseline and 1 at the
    high one. ``tasks``: on how many it has a result."""

    place: int | None
    method: str
    score: Estimate | None
    rank: float
    tasks: int
    entries: tuple[Entry, ...]

    def count(self, what: Literal["seeds", "asked", "failed", "unfinished"]) -> int:
        """The cells of all tasks: those that count, were asked for, failed, or have not ended."""
        return sum(getattr(entry, what) for entry in self.entries)


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaderboard:
    """What `leaderboard` found, best first. ``by`` says what the places are made of, ``notes`` what a reader
    must know to believe them."""

    benches: tuple[str, ...]
    tasks: tuple[str, ...]
    by: By
    standings: tuple[Standing, ...]
    notes: tuple[str, ...]

    @property
    def frame(self) -> pandas.DataFrame:
        """A row per method and task, best first: ``place`` of the method, ``method``, ``task``, ``metric``,
        ``better`` (higher or lower), ``mean``, ``low``, ``high``, ``seeds``, ``asked``, ``failed``,
        ``unfinished``, ``rank`` on the task, and ``score`` of the method where ``by`` is normalised."""
        import pandas

        rows = []
        for standing in self.standings:
            for entry in standing.entries:
                row = {"place": standing.place} | asdict(entry)
                found = entry.estimate or Estimate(value=np.nan)
                row |= {"better": entry.direction, "mean": found.value, "low": found.low, "high": found.high}
                row["score"] = standing.score.value if standing.score else np.nan
                rows.append(row)
        columns = ["place", "method", "task", "metric", "better", "mean", "low", "high"]
        columns += ["seeds", "asked", "failed", "unfinished", "rank"]
        columns += ["score"] if self.by == "normalised score" else []
        frame = pandas.DataFrame(rows, columns=columns)
        return frame.astype({"low": float, "high": float})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = asdict(self)
        return plain

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """What is shown, as caption, headings and rows of text: all tasks together, if there are several, and
        each task. A method alone has one table, of its tasks."""
        several = self.by in ("rank", "normalised score") and (len(self.standings) > 1 or self.by != "rank")
        found = [self._overall()] if several else []
        if len(self.standings) == 1:
            return [*found, self._alone(self.standings[0])]
        return [*found, *map(self._task, self.tasks)]

    def _overall(self) -> tuple[str, list[str], list[list[str]]]:
        words = {"normalised score": "mean normalised score [95 % interval]", "rank": "mean rank"}
        rows = []
        for standing in self.standings:
            by_rank = self.by == "rank" and f"{standing.rank:.3g}"
            score = by_rank or shown(standing.score)
            asked = standing.count("asked")
            cells = f"{standing.count('seeds')} of {asked}" + _missing(standing)
            tasks = f"{standing.tasks} of {len(self.tasks)}"
            rows.append([str(standing.place), standing.method, score, tasks, cells])
        headings = ["place", "method", words.get(self.by, self.by), "tasks with a result", "cells done"]
        return f"All {len(self.tasks)} tasks together", headings, rows

    def _task(self, task: str) -> tuple[str, list[str], list[list[str]]]:
        entries = [e for s in self.standings for e in s.entries if e.task == task]
        entries.sort(key=lambda entry: entry.rank)
        known = next((e for e in entries if e.metric), entries[0])
        rows = [
            [
                f"{entry.rank:g}" if entry.estimate else "–",
                entry.method,
                shown(entry.estimate),
                f"{entry.seeds} of {entry.asked}" + _missing(entry),
            ]
            for entry in entries
        ]
        metric = f"{known.metric} ({known.direction} is better)" if known.metric else "no result yet"
        headings = ["place", "method", "mean [95 % interval]", "cells done"]
        return f"{task}: {metric}", headings, rows

    def _alone(self, standing: Standing) -> tuple[str, list[str], list[list[str]]]:
        rows = [
            [
                entry.task,
                f"{entry.metric} ({entry.direction} is better)" if entry.metric else "no result yet",
                shown(entry.estimate),
                f"{entry.seeds} of {entry.asked}" + _missing(entry),
            ]
            for entry in standing.entries
        ]
        return (
            "Mean over the cells that are done",
            ["task", "metric", "mean [95 % interval]", "cells done"],
            rows,
        )

    def __str__(self) -> str:
        parts = [f"leaderboard of {', '.join(self.benches)}"]
        for caption, headings, rows in self.tables():
            lines = rendering.lines([headings, *rows])
            parts.append("\n".join([caption, *(f"  {line}" for line in lines)]))
        return "\n\n".join([*parts, *(["\n".join(self.notes)] if self.notes else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tables = [rendering.table(headings, rows, caption) for caption, headings, rows in self.tables()]
        notes = [f"<p>{rendering.escape(note)}</p>" for note in self.notes]
        return f"<div>{''.join([*tables, *notes])}</div>"


def leaderboard(*states: State) -> Leaderboard:
    """The methods of one bench or of several, best first; see the module's text."""
    groups = _named(states)
    tasks = list(dict.fromkeys(group.task for group in groups))
    methods = list(dict.fromkeys(group.method for group in groups))
    ranks = _ranks(groups, methods, tasks)
    entries: dict[str, list[Entry]] = {method: [] for method in methods}
    for task in tasks:
        for group in (g for g in groups if g.task == task):
            entries[group.method].append(_entry(group, ranks[group.method, task]))
    whole = len(groups) == len(methods) * len(tasks)
    scores, notes = _normalised(states, groups, methods, tasks) if whole else ({}, [NOT_WHOLE])
    means = {m: round(float(np.mean([entry.rank for entry in entries[m]])), 9) for m in methods}
    have = {m: sum(entry.estimate is not None for entry in entries[m]) for m in methods}
    if scores:
        keys = {m: (-have[m], -found.value if (found := scores[m]) else 0.0) for m in methods}
    else:
        keys = {m: (0, means[m]) for m in methods}
    order = sorted(methods, key=lambda method: keys[method])
    standings = tuple(
        Standing(
            place=1 + sum(keys[other] < keys[method] for other in methods) if whole else None,
            method=method,
            score=scores.get(method),
            rank=means[method],
            tasks=have[method],
            entries=tuple(entries[method]),
        )
        for method in order
    )
    by: By = "score" if len(tasks) == 1 else "normalised score" if scores else "rank" if whole else "task"
    names = tuple(state.plan.name for state in states)
    notes = [*notes, *_notes(standings, len(tasks) if whole else 1)]
    return Leaderboard(benches=names, tasks=tuple(tasks), by=by, standings=standings, notes=tuple(notes))


def shown(estimate: Estimate | None) -> str:
    """A number with its interval, or a dash."""
    return contrasts.estimate(None if estimate is None else asdict(estimate))


def _named(states: Sequence[State]) -> list[Group]:
    """The groups of all benches: methods with the name of theirs where there are several, tasks with that of
    their metric where benches rank one task by different ones."""
    found = []
    for state in states:
        for row in results.groups(state).values():
            for group in row.values():
                method = f"{state.plan.name}: {group.method}" if len(states) > 1 else group.method
                found.append(replace(group, method=method))
    by_task: dict[str, set[str]] = {group.task: set() for group in found}
    for group in found:
        by_task[group.task] |= {group.metric.name} if group.metric else set()
    return [
        replace(group, task=f"{group.task} ({group.metric.name})")
        if group.metric and len(by_task[group.task]) > 1
        else group
        for group in found
    ]


def _entry(group: Group, rank: float) -> Entry:
    return Entry(
        method=group.method,
        task=group.task,
        metric=group.metric.name if group.metric else None,
        direction=group.metric.direction if group.metric else "higher",
        estimate=bootstrap([np.array(group.values)]) if group.values else None,
        seeds=len(group.values),
        asked=len(group.cells),
        failed=group.failed,
        unfinished=group.unfinished,
        rank=rank,
    )


def _ranks(
    groups: Sequence[Group], methods: Sequence[str], tasks: Sequence[str]
) -> dict[tuple[str, str], float]:
    """The place of every method on every task; without a result, the last."""
    ranks = {}
    for task in tasks:
        signs = {"higher": -1.0, "lower": 1.0}
        means = {
            g.method: signs[g.metric.direction] * float(np.mean(g.values))
            for g in groups
            if g.task == task and g.metric and g.values
        }
        for method in methods:
            mine = means.get(method)
            better = sum(mean < mine for mean in means.values()) if mine is not None else 0
            equal = sum(mean == mine for mean in means.values())
            ranks[method, task] = better + (equal + 1) / 2 if mine is not None else float(len(methods))
    return ranks


def _normalised(
    states: Sequence[State], groups: Sequence[Group], methods: Sequence[str], tasks: Sequence[str]
) -> tuple[dict[str, Estimate | None], list[str]]:
    """The mean over tasks of normalised scores, where there are several tasks and a baseline for each; and
    what is to be said where there are not."""
    if len(tasks) < 2:
        return {}, []
    baselines: dict[str, Mapping[str, float]] = {}
    for state in states:
        baselines |= results.baselines(state)
    lacking = [task for task in tasks if task not in baselines]
    if lacking and len(methods) == 1:
        return {}, []
    if lacking:
        given = any(state.plan.baselines for state in states)
        return {}, [
            "Scores of different tasks are not on one scale, so they are not averaged: the places over all "
            "tasks are by the mean of the ranks on each task."
            + (f" (Without a baseline: {', '.join(lacking)}.)" if given else "")
        ]
    most = max(len(group.cells) for group in groups)
    tables = {method: np.full((most, len(tasks)), np.nan) for method in methods}
    for group in groups:
        tables[group.method][: len(group.values), tasks.index(group.task)] = group.values
    found = aggregate(normalised(tables, tasks, baselines))
    return {method: found[method].mean for method in methods}, [
        "Normalised: 0 is the low baseline of a task and 1 its high one, as the bench's plan gives them."
    ]


def _notes(standings: Sequence[Standing], tasks: int) -> list[str]:
    """What a reader must know to believe the places."""
    entries = [entry for standing in standings for entry in standing.entries]
    notes = []
    seeds = {entry.seeds for entry in entries if entry.seeds}
    if 1 in seeds:
        notes.append("One run says nothing of other seeds: where only one is done, there is no interval.")
    if any(1 < n < FEW_SEEDS for n in seeds):
        notes.append(f"Intervals of fewer than {FEW_SEEDS} seeds are too narrow: read them as a hint.")
    if failed := sum(entry.failed for entry in entries):
        notes.append(
            f"{_cells(failed)} failed. Means are over the cells that are done: where some fail, they may "
            "look better than they are."
        )
    if unfinished := sum(entry.unfinished for entry in entries):
        notes.append(f"{_cells(unfinished)} not finished yet: the places may change.")
    if tasks > 1 and any(standing.tasks < tasks for standing in standings):
        notes.append("A method without a result on a task counts as the last one there.")
    return notes


def _missing(of: Entry | Standing) -> str:
    """What became of the cells that do not count."""
    count = of.count if isinstance(of, Standing) else lambda what: int(getattr(of, what))
    parts = [f"{count(what)} {what}" for what in ("failed", "unfinished") if count(what)]
    return f" ({', '.join(parts)})" if parts else ""


def _cells(n: int) -> str:
    return f"{n:,} cell{'' if n == 1 else 's'}"
