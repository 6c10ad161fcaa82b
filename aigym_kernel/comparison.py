"""Compare runs: what differs in their configuration, and what that changed, with intervals over seeds.

    aigym.compare("run-1", "run-2", "run-3")                      by return
    aigym.compare(*run_ids, metric="score")                       by another column of trajectories
    aigym.compare(*run_ids, metric="value_loss").to_dict()        or by a recorded metric

Runs that differ only in seed are one group. Where several settings were each run on several tasks, a group
is a setting, and tasks are strata, as in rliable. A run counts with one value per task: the mean of its
trajectories, of a training's those that ended in the last tenth of its steps. Where every group is one run
that is no training, its trajectories count one by one. Nothing is recorded here, nothing is drawn here
(`contrasts.comparison`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aigym_kernel import contrasts
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.grouping import common, flat, grouped, is_seed, names, text
from aigym_kernel.intervals import Estimate, Values, bootstrap, improvement, iqm
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.store.schema import TABLES

if TYPE_CHECKING:
    import pandas

BINS = 60
LAST = 0.1
MAX_RUNS = 200
_NO_METRICS = ("seed",)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ only in seed (or, see above, only in seed and task).

    ``config``: the keys in which groups differ, with this group's value. ``steps``: environment steps of all
    runs. ``mean`` and ``iqm`` of the metric, None where nothing was recorded of it.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    config: Mapping[str, Any]
    tasks: tuple[str, ...]
    trajectories: int
    steps: int
    mean: Estimate | None
    iqm: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The metric over environment steps of one group on one task, in at most 60 bins: the mean over runs,
    the interquartile mean, and the 95 % band of each (None where fewer than two runs are left)."""

    group: int
    task: str
    runs: int
    x: tuple[float, ...]
    mean: tuple[Estimate, ...]
    iqm: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """One task in the first group and in another: the mean difference (other less first), its interval,
    and how often the other won, tied, lost. ``pairs``: of the same seed; 0 where no seeds are shared, then
    the difference is that of the means, and there is nothing to win."""

    group: int
    task: str
    pairs: int
    difference: Estimate
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What `compare` found. ``groups[0]`` is what the others are held against. ``improvement``: for each
    other group the probability that a run of it beats one of the first on the same task (None: no task
    in common). ``unit``: what was counted, ``run`` or ``trajectory``."""

    metric: str
    unit: str
    groups: tuple[Group, ...]
    curves: tuple[Curve, ...]
    pairings: tuple[Pairing, ...]
    improvement: tuple[Estimate | None, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = asdict(self)
        return plain

    def __repr__(self) -> str:
        return contrasts.comparison_text(self.to_dict())

    def _repr_html_(self) -> str:
        return contrasts.comparison(self.to_dict())


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One value that counts."""

    group: int
    task: str
    seed: int | None
    value: float


class HasId(Protocol):
    """A run, such as `runs.Run`."""

    @property
    def id(self) -> str: ...


def compare(*runs: str | HasId, metric: str = "return", store: Store | None = None) -> Comparison:
    """Two or more runs side by side: what differs in their configuration, and what that changed.

    Runs that differ only in seed are one group. A run counts with one value per task: the mean of its
    trajectories, of a training's those that ended in the last tenth of its steps. Where every group is one
    run that is no training, its trajectories count one by one. Intervals: `Estimate`.

    Args:
        runs: their ids, or the runs themselves.
        metric: a number column of trajectories (``return``, ``score``, ``length`` ...), or the name of a
            recorded metric.
        store: where they are; default: the store that AIGYM_DATA names.

    Raises:
        UnknownName: no such run, or neither column nor metric of this name in any of them.
        AigymError: fewer than two runs, the same one twice, or more than 200.
    """
    given: tuple[Any, ...] = runs
    run_ids: list[str] = [getattr(run, "id", run) for run in given]
    if len(run_ids) < 2:
        raise AigymError(f"compare: {len(run_ids)} run given; pass the ids of two or more")
    if len(run_ids) > MAX_RUNS:
        raise AigymError(f"compare: {len(run_ids)} runs are more than {MAX_RUNS}; choose some of them")
    twice = [run for run in dict.fromkeys(run_ids) if run_ids.count(run) > 1]
    if twice:
        raise AigymError(f"compare: run {twice[0]!r} is given {run_ids.count(twice[0])} times; pass it once")
    store = store or Store()
    records = [store.run(run) for run in run_ids]
    series = _series(store, records, metric)
    sets = grouped(records, {run: set(frame["task"]) for run, frame in series.items()})
    alone = all(len(group) == 1 and group[0].kind != "train" for group in sets)
    unit = "trajectory" if alone and "seed" in next(iter(series.values())) else "run"
    units: list[_Unit] = []
    for i, group in enumerate(sets):
        for run in group:
            units += _units(i, run, series[run.run_id], unit)
    curves = tuple(c for i, group in enumerate(sets) for c in _curves(i, group, series))
    others = range(1, len(sets))
    return Comparison(
        metric=metric,
        unit=unit,
        groups=_groups(sets, series, units),
        curves=curves,
        pairings=tuple(pairing for i in others for pairing in _pairings(units, i)),
        improvement=tuple(_improvement(units, i) for i in others),
        notes=tuple(_notes(sets, units, metric, unit)),
    )


# What was recorded


def _series(store: Store, records: Sequence[RunRecord], metric: str) -> dict[str, pandas.DataFrame]:
    """For each run its values of the metric: columns ``task``, ``x`` (environment steps so far), ``y`` and,
    of trajectories, ``seed`` and ``length``."""
    ids = [record.run_id for record in records]
    marks = ", ".join("?" * len(ids))
    columns = {
        field.name
        for field in TABLES["trajectories"]
        if str(field.type) in ("double", "int64", "bool") and field.name not in _NO_METRICS
    }
    if metric in columns:
        frame = store.sql(
            f'SELECT run_id, env_id, env_kwargs, seed, length, "{metric}"::DOUBLE AS y FROM trajectories '
            f"WHERE run_id IN ({marks}) ORDER BY started_at + to_microseconds(CAST(coalesce(wall_s, 0) * 1e6 "
            "AS BIGINT)), trajectory_id",
            ids,
        )
        frame["task"] = [_task(env, kwargs) for env, kwargs in zip(frame["env_id"], frame["env_kwargs"])]
        frame["x"] = frame.groupby("run_id", sort=False)["length"].cumsum()
    else:
        frame = store.sql(
            f"SELECT run_id, step AS x, value AS y FROM metrics WHERE run_id IN ({marks}) AND name = ? "
            "ORDER BY step, time",
            [*ids, metric],
        )
        if frame.empty:
            names = store.sql(f"SELECT DISTINCT name FROM metrics WHERE run_id IN ({marks})", ids)["name"]
            raise UnknownName("metric", metric, [*columns, *names])
        tasks = {
            r.run_id: _task(str(r.config.get("env", "")), text(r.config.get("env_kwargs"))) for r in records
        }
        frame["task"] = [tasks[run] for run in frame["run_id"]]
    frame["y"] = frame["y"].astype(float)
    frame = frame[np.isfinite(frame["y"])]
    return {run: frame[frame["run_id"] == run] for run in ids}


def _task(env_id: str, env_kwargs: str | None) -> str:
    return env_id if env_kwargs in (None, "", "{}", "null") else f"{env_id} {env_kwargs}"


# Groups


def _groups(
    sets: Sequence[Sequence[RunRecord]], series: Mapping[str, pandas.DataFrame], units: Sequence[_Unit]
) -> tuple[Group, ...]:
    configs = [common(group) for group in sets]
    keys = list(dict.fromkeys(name for config in configs for name in config))
    absent = object()
    differing = [
        name for name in keys if len({text(c.get(name)) if name in c else absent for c in configs}) > 1
    ]
    groups = []
    configs = [{name: config[name] for name in differing if name in config} for config in configs]
    labels = names(configs, sets)
    for i, group in enumerate(sets):
        frames = [series[run.run_id] for run in group]
        strata = list(_by_task(units, i).values())
        seeds = [s for run in group for name, s in flat(run.config).items() if is_seed(name)]
        groups.append(
            Group(
                name=labels[i],
                runs=tuple(run.run_id for run in group),
                seeds=tuple(sorted({s for s in seeds if isinstance(s, int)})),
                config=configs[i],
                tasks=tuple(sorted({task for frame in frames for task in frame["task"]})),
                trajectories=sum(len(frame) for frame in frames if "length" in frame),
                steps=sum(int(frame["x"].max()) for frame in frames if len(frame)),
                mean=bootstrap(strata) if strata else None,
                iqm=bootstrap(strata, iqm) if strata else None,
            )
        )
    return tuple(groups)


# Numbers


def _units(i: int, run: RunRecord, frame: pandas.DataFrame, unit: str) -> list[_Unit]:
    if not len(frame):
        return []
    if unit == "trajectory":
        import pandas

        return [
            _Unit(group=i, task=task, seed=None if pandas.isna(seed) else int(seed), value=float(y))
            for task, seed, y in zip(frame["task"], frame["seed"], frame["y"])
        ]
    seeds = [s for name, s in flat(run.config).items() if is_seed(name) and isinstance(s, int)]
    if run.kind == "train":
        last = float(frame["x"].max())
        frame = frame[frame["x"] >= last * (1 - LAST)]
    return [
        _Unit(group=i, task=str(task), seed=seeds[0] if seeds else None, value=float(part["y"].mean()))
        for task, part in frame.groupby("task", sort=True)
    ]


def _by_task(units: Sequence[_Unit], group: int) -> dict[str, Values]:
    found: dict[str, list[float]] = defaultdict(list)
    for unit in units:
        if unit.group == group:
            found[unit.task].append(unit.value)
    return {task: np.array(values) for task, values in sorted(found.items())}


def _pairings(units: Sequence[_Unit], other: int) -> list[Pairing]:
    pairings = []
    first, second = _by_task(units, 0), _by_task(units, other)
    for task in sorted(first.keys() & second.keys()):
        a, b = _by_seed(units, 0, task), _by_seed(units, other, task)
        same = sorted(a.keys() & b.keys())
        differences = np.array([b[seed] - a[seed] for seed in same])
        if same:
            difference = bootstrap([differences])
        else:
            difference = _unpaired(first[task], second[task])
        pairings.append(
            Pairing(
                group=other,
                task=task,
                pairs=len(same),
                difference=difference,
                wins=int((differences > 0).sum()),
                ties=int((differences == 0).sum()),
                losses=int((differences < 0).sum()),
            )
        )
    return pairings


def _by_seed(units: Sequence[_Unit], group: int, task: str) -> dict[int, float]:
    found: dict[int, list[float]] = defaultdict(list)
    for unit in units:
        if unit.group == group and unit.task == task and unit.seed is not None:
            found[unit.seed].append(unit.value)
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def _unpaired(a: Values, b: Values) -> Estimate:
    """The difference of two means, either resampled by itself."""

    def gap(drawn: Values) -> Values:
        return np.asarray(drawn[..., len(a) :].mean(axis=-1) - drawn[..., : len(a)].mean(axis=-1))

    return bootstrap([a, b], gap)


def _improvement(units: Sequence[_Unit], other: int) -> Estimate | None:
    first, second = _by_task(units, 0), _by_task(units, other)
    common = sorted(first.keys() & second.keys())
    return improvement([(second[task], first[task]) for task in common]) if common else None


def _curves(i: int, group: Sequence[RunRecord], series: Mapping[str, pandas.DataFrame]) -> list[Curve]:
    """One curve per task: each run's mean in each bin of steps, gaps bridged, then over the runs."""
    ends: dict[str, float] = defaultdict(float)
    for frame in series.values():
        for task, part in frame.groupby("task"):
            ends[str(task)] = max(ends[str(task)], float(part["x"].max()))
    curves = []
    for task in sorted({task for run in group for task in series[run.run_id]["task"]}):
        parts = [series[run.run_id] for run in group]
        parts = [part[part["task"] == task] for part in parts]
        frames = [part for part in parts if len(part)]
        table = np.array(
            [_binned(f["x"].to_numpy(float), f["y"].to_numpy(float), ends[task]) for f in frames]
        )
        kept = np.flatnonzero(~np.isnan(table).all(axis=0))
        columns = [table[~np.isnan(table[:, b]), b] for b in kept]
        curves.append(
            Curve(
                group=i,
                task=task,
                runs=len(frames),
                x=tuple(float(ends[task] * (b + 0.5) / BINS) for b in kept),
                mean=tuple(bootstrap([column]) for column in columns),
                iqm=tuple(bootstrap([column], iqm) for column in columns),
            )
        )
    return curves


def _binned(x: Values, y: Values, end: float) -> Values:
    """The mean of y in each of `BINS` bins of x up to ``end``; NaN before the first and after the last."""
    place = np.minimum((x / (end or 1.0) * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, weights=y, minlength=BINS) / counts
    there = np.flatnonzero(counts)
    return np.interp(np.arange(BINS), there, means[there], left=np.nan, right=np.nan)


def _notes(sets: Sequence[Sequence[RunRecord]], units: Sequence[_Unit], metric: str, unit: str) -> list[str]:
    notes = []
    tasks = {u.task for u in units}
    if unit == "run" and any(len(_by_seed(units, i, t)) < 2 for i in range(len(sets)) for t in tasks):
        notes.append("One run says nothing of other seeds: where there is only one, there is no interval.")
    if unit == "trajectory":
        notes.append("Each group is one run: intervals are over its trajectories, not over runs.")
    if len(tasks) > 1 and metric in ("return", "length", "wall_s"):
        notes.append(f"The {metric} of different tasks is not on one scale: read the tasks one by one.")
    if len(sets) == 1:
        notes.append("All these runs differ only in seed: they are one group.")
    found = {u.group for u in units}
    empty = [run.run_id for i, group in enumerate(sets) for run in group if i not in found]
    if empty:
        notes.append(f"Nothing of {metric!r} is recorded in {', '.join(empty)}.")
    return notes
