"""Counts under filters, in NumPy: histograms of numbers and bars of names, all and those that pass.

    binned = bins(numbers)                          edges, and each trajectory's bin
    let_through = passes(numbers, {"range": [0, 10]})
    charts(sources, columns, binned, masks, size)   what crossfilter.js draws

Each chart counts the trajectories that pass the filters of all *other* columns, so that its own brush shows
what it leaves out. No value lies on an edge between two bins: a range from one edge to another, which
includes both ends, lets exactly those bins through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.widgets.columns import Column, Names, Numbers, Source, Spread, Table, Tags, places
from aigym_kernel.widgets.filters import UNUSUAL

MOST_BINS = 32
MOST_BARS = 50
LARGEST = float(np.finfo(np.float64).max)
APART = ("NaN", "-Infinity", "Infinity", None)
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True, kw_only=True)
class Bins:
    """``edges`` (n + 1,) of n bins; ``codes`` (one per trajectory): its bin, or n + its place in `APART`.
    ``log``: the edges lie evenly on a logarithmic axis."""

    edges: NDArray[np.float64]
    codes: NDArray[np.int16]
    log: bool


# Bins


def bins(numbers: Numbers, *, time: bool = False) -> Bins:
    """Bins at round numbers, at most `MOST_BINS`; on a logarithmic axis for what spans many decades."""
    finite = numbers.values[np.isfinite(numbers.values)]
    if not len(finite):
        edges, log = np.array([0.0, 1.0]), False
    else:
        low, high = float(finite.min()), float(finite.max())
        whole = not time and bool((finite == np.floor(finite)).all())
        log = not time and len(finite) >= 20 and 0 < low < high / 1000
        log = log and bool(np.median(finite) < low + 0.05 * (high - low))
        edges = edges_between(low, high, whole, time=time, log=log)
        while (hit := np.isin(edges[1:-1], finite)).any():
            edges[1:-1][hit] = np.nextafter(edges[1:-1][hit], -np.inf)
    return Bins(edges=edges, codes=places(numbers, edges).astype(np.int16), log=log)


def edges_between(
    low: float, high: float, whole: bool = False, *, time: bool = False, log: bool = False
) -> NDArray[np.float64]:
    """Round edges of at most `MOST_BINS` bins that hold all from ``low`` to ``high``; halfway between two
    numbers where all are ``whole``."""
    edges: NDArray[Any]
    whole = whole and high - low < 2**50
    if not math.isfinite(high - low):
        return np.linspace(low / 4, high / 4, 3) * 4
    with np.errstate(over="ignore"):
        if log:
            a, b = math.floor(math.log10(low) * 5), math.floor(math.log10(high) * 5) + 1
            every = -(-(b - a) // MOST_BINS)
            edges = 10.0 ** (np.arange(a, b + every, every) / 5)
            edges = np.unique(np.ceil(edges) - 0.5) if whole else edges
        elif high - low < 1e-300:
            half = 0.5 if whole or time or abs(low) < 1e-290 else abs(low) * 0.05
            edges = np.array([low - half, low + half])
        else:
            step = _step(high - low, time=time)
            step = max(1.0, math.ceil(step)) if whole else step
            first = math.floor(low / step)
            edges = (first + np.arange(math.floor(high / step) - first + 2)) * step
            edges = edges - 0.5 if whole else edges
    edges = np.clip(edges, -LARGEST, LARGEST)
    apart = 1e-15 * max(abs(low), abs(high), 1e-285)  # some four steps of a double
    if edges[0] > low or edges[-1] < high or (edges[1:] / 2 - edges[:-1] / 2).min() < apart:
        # A span that doubles can hardly divide.
        edges = np.array([max(low - apart, -LARGEST), min(high + apart, LARGEST)])
    return np.asarray(edges, dtype=np.float64)


def _step(span: float, *, time: bool) -> float:
    rough = span / (MOST_BINS - 2)
    if time:
        return float(next((s for s in _TIME_STEPS if s >= rough), math.ceil(rough / 86400) * 86400))
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(step * power for step in _STEPS if step * power >= rough or step == 10.0)


# Filters


def passes(column: Column | Spread, wanted: Mapping[str, Sequence[Any]]) -> NDArray[np.bool_]:
    """Which trajectories a filter lets through; see `filters.checked` for its form. One tag, or one step's
    reward, is enough. A range of rewards has to go from edge to edge, see `on_edges`."""
    if isinstance(column, Spread):
        return np.asarray(column.counts @ _spread_bins(column, wanted).astype(np.float64) > 0)
    if isinstance(column, Tags):
        chosen = set(wanted["values"])
        some = np.array([name in chosen for name in column.names], dtype=bool)
        through = np.zeros(column.size, dtype=bool)
        through[column.rows[some[column.codes]]] = True
        return through | column.without if None in chosen else through
    if isinstance(column, Names):
        chosen = set(wanted["values"])
        some = np.array([name in chosen for name in column.names] + [None in chosen], dtype=bool)
        return some[column.codes]
    values = column.values
    if "range" in wanted:
        low, high = (np.nan if end is None else end for end in wanted["range"])
        with np.errstate(invalid="ignore"):
            known = ~np.isnan(values)
            return known & ~(values < low) & ~(values > high)
    numbers = [UNUSUAL.get(v, v) for v in wanted["values"] if v is not None]
    through = np.isin(values, [v for v in numbers if not math.isnan(v)])
    if any(math.isnan(v) for v in numbers):
        through |= np.isnan(values) & ~column.missing
    return through | column.missing if None in wanted["values"] else through


def on_edges(spread: Spread, wanted: Mapping[str, Sequence[Any]]) -> bool:
    """Whether the bins of a `Spread` alone tell what a filter lets through."""
    if "values" in wanted:
        return all(value in APART for value in wanted["values"])
    low, high = wanted["range"]
    return (low is None or low in spread.edges) and (high is None or high in spread.edges)


def _spread_bins(spread: Spread, wanted: Mapping[str, Sequence[Any]]) -> NDArray[np.bool_]:
    n = len(spread.edges) - 1
    inside = np.zeros(n + 3, dtype=bool)
    if "values" in wanted:
        inside[n:] = [name in wanted["values"] for name in APART[:3]]
        return inside
    low, high = wanted["range"]
    inside[:n] = True if low is None else spread.edges[:-1] >= low
    inside[:n] &= True if high is None else spread.edges[1:] <= high
    inside[n + 1], inside[n + 2] = low is None, high is None
    return inside


def holding(table: Table, text: str, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Which trajectories hold a text, in any case of letters, in one of some columns (or the id)."""
    wanted = text.lower()
    found = np.zeros(len(table), dtype=bool)
    for name in columns:
        column = table.columns.get(name)
        if isinstance(column, Names):
            found |= np.array([wanted in n.lower() for n in column.names] + [False], dtype=bool)[column.codes]
        elif name == "trajectory_id":
            found |= np.fromiter((wanted in i.lower() for i in table.ids), dtype=bool, count=len(table))
    return found


def order(held: Column | Spread, size: int, *, descending: bool) -> NDArray[np.int64]:
    """The trajectories' places in the order of a column; what has no value comes last, equals by id."""
    if isinstance(held, Spread):
        raise AssertionError("one trajectory has many rewards")
    keys: NDArray[Any]
    if isinstance(held, Tags):  # by the first of them
        keys = np.full(size, len(held.names))
        np.minimum.at(keys, held.rows, held.codes)
        last = held.without
    elif isinstance(held, Names):
        keys = held.codes
        last = keys == len(held.names)
    else:
        keys = held.values
        last = np.isnan(keys)
    known = np.flatnonzero(~last)
    # The rows lie in the order of their ids, and a stable sort keeps that among equals.
    sorted_ = np.argsort(-keys[known] if descending else keys[known], kind="stable")
    return np.concatenate([known[sorted_], np.flatnonzero(last)])


# Charts


def charts(
    sources: Mapping[str, Source],
    columns: Mapping[str, Column | Spread],
    binned: Mapping[str, Bins],
    masks: Mapping[str, NDArray[np.bool_]],
    size: int,
) -> list[dict[str, Any]]:
    """One chart per column, as plain values.

    Args:
        binned: `bins` of those columns that are `Numbers`.
        masks: what each filter lets through, by its column; of other names, what is no column's own filter.
        size: the number of trajectories.
    """
    failing = np.zeros(size, dtype=np.uint8)
    for mask in masks.values():
        failing += ~mask
    drawn = []
    for name, column in columns.items():
        own = masks.get(name)
        kept = failing == 0 if own is None else failing == (~own).astype(np.uint8)
        about = {"column": name, "label": sources[name].label, "kind": sources[name].kind}
        if isinstance(column, Spread):
            some = kept.astype(np.float64) @ column.counts
            drawn.append(about | {"log": False} | _histogram(column.edges, column.totals, some))
        elif isinstance(column, Numbers):
            held = binned[name]
            counts = _counts(held.codes, kept, len(held.edges) + 3)
            drawn.append(about | {"log": held.log} | _histogram(held.edges, *counts))
        else:
            drawn.append(about | _bars(column, kept, own))
    return drawn


def _histogram(edges: NDArray[Any], every: NDArray[Any], kept: NDArray[Any]) -> dict[str, Any]:
    n = len(edges) - 1
    all_, some = every.astype(np.int64).tolist(), kept.astype(np.int64).tolist()
    apart = [[APART[i - n], all_[i], some[i]] for i in range(n, len(all_)) if all_[i]]
    return {"edges": edges.tolist(), "all": all_[:n], "kept": some[:n], "apart": apart}


def _bars(column: Names | Tags, kept: NDArray[np.bool_], own: NDArray[np.bool_] | None) -> dict[str, Any]:
    """The most frequent names, and those that a filter chose, then how many others there are."""
    size = len(column.names) + 1
    if isinstance(column, Tags):
        counts = _counts(column.codes, kept[column.rows], size)
        without = column.without
        for count, missing in zip(counts, (without, without & kept), strict=True):
            count[-1] = np.count_nonzero(missing)
    else:
        counts = _counts(column.codes, kept, size)
    all_, some = (count.tolist() for count in counts)
    names = [*column.names, None]
    chosen = set()
    if own is not None and isinstance(column, Names):
        chosen = set(np.unique(column.codes[own]).tolist())
    ranked = sorted((i for i in range(size) if all_[i]), key=lambda i: (-all_[i], i))
    few = len(chosen) <= MOST_BARS
    top = [i for place, i in enumerate(ranked) if place < MOST_BARS or (few and i in chosen)]
    rest = set(ranked) - set(top)
    return {
        "bars": [[names[i], all_[i], some[i]] for i in top],
        "others": [len(rest), sum(all_[i] for i in rest), sum(some[i] for i in rest)],
    }


def _counts(
    codes: NDArray[Any], kept: NDArray[np.bool_], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.bincount(codes, minlength=size), np.bincount(codes[kept], minlength=size)
