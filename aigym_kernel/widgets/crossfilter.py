"""Counts under filters, in NumPy: histograms of numbers and bars of names, all and those that pass.

    binned = bins(numbers)                          edges, and each trajectory's bin
    let_through = passes(numbers, {"range": [0, 10]})
    charts(table, binned, shown, masks)             what crossfilter.js draws

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

from aigym_kernel.widgets.columns import COLUMNS, Names, Numbers, Source, Table
from aigym_kernel.widgets.filters import UNUSUAL

MOST_BINS = 32
MOST_BARS = 50
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
    log = not time and _wants_log(finite)
    edges = _edges(finite, time=time, log=log)
    return Bins(edges=edges, codes=_codes(numbers, edges), log=log)


def _wants_log(finite: NDArray[np.float64]) -> bool:
    if len(finite) < 20 or finite.min() <= 0 or finite.max() < 1000 * finite.min():
        return False
    return bool(np.median(finite) < finite.min() + 0.05 * (finite.max() - finite.min()))


def _edges(finite: NDArray[np.float64], *, time: bool, log: bool) -> NDArray[np.float64]:
    if not len(finite):
        return np.array([0.0, 1.0])
    low, high = float(finite.min()), float(finite.max())
    whole = not time and bool((finite == np.floor(finite)).all()) and high - low < 2**50
    edges: NDArray[Any]
    if not math.isfinite(high - low):
        return np.linspace(low / 4, high / 4, 3) * 4
    if log:
        a, b = math.floor(math.log10(low) * 5), math.floor(math.log10(high) * 5) + 1
        every = -(-(b - a) // MOST_BINS)
        edges = 10.0 ** (np.arange(a, b + every, every) / 5)
        edges = np.unique(np.ceil(edges) - 0.5) if whole else edges
    elif low == high:
        half = 0.5 if whole or time else abs(low) * 0.05 or 0.5
        edges = np.array([low - half, low + half])
    else:
        step = _step(high - low, time=time)
        step = max(1.0, math.ceil(step)) if whole else step
        first = math.floor(low / step)
        edges = (first + np.arange(math.floor(high / step) - first + 2)) * step
        edges = edges - 0.5 if whole else edges
    if edges[0] > low or edges[-1] < high:  # rounding, in a span that doubles can hardly divide
        edges = np.linspace(low, high, 3)
    return _off_values(np.asarray(edges, dtype=np.float64), finite)


def _step(span: float, *, time: bool) -> float:
    rough = span / (MOST_BINS - 2)
    if time:
        return float(next((s for s in _TIME_STEPS if s >= rough), math.ceil(rough / 86400) * 86400))
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(step * power for step in _STEPS if step * power >= rough or step == 10.0)


def _off_values(edges: NDArray[np.float64], finite: NDArray[np.float64]) -> NDArray[np.float64]:
    """The edges, those on a value moved to just below it."""
    hit = np.isin(edges, finite)
    hit[[0, -1]] = False
    return np.where(hit, np.nextafter(edges, -np.inf), edges)


def _codes(numbers: Numbers, edges: NDArray[np.float64]) -> NDArray[np.int16]:
    n = len(edges) - 1
    values = numbers.values
    codes = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n - 1).astype(np.int16)
    codes[np.isnan(values)] = n
    codes[values == -np.inf] = n + 1
    codes[values == np.inf] = n + 2
    codes[numbers.missing] = n + 3
    return codes


# Filters


def passes(column: Numbers | Names, wanted: Mapping[str, Sequence[Any]]) -> NDArray[np.bool_]:
    """Which trajectories a filter lets through; see `filters.checked` for its form."""
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


def order(table: Table, column: str, *, descending: bool) -> NDArray[np.int64]:
    """The trajectories' places in the order of a column; what has no value comes last, equals by id."""
    held = table.columns[column]
    if isinstance(held, Names):
        keys: NDArray[Any] = held.codes
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
    table: Table,
    binned: Mapping[str, Bins],
    shown: Sequence[str],
    masks: Mapping[str, NDArray[np.bool_]],
) -> list[dict[str, Any]]:
    """One chart per shown column, as plain values.

    Args:
        masks: what each filter lets through, by its column; of other names, what is no column's own filter.
    """
    failing = np.zeros(len(table), dtype=np.uint8)
    for mask in masks.values():
        failing += ~mask
    drawn = []
    for name in shown:
        own = masks.get(name)
        kept = failing == 0 if own is None else failing == (~own).astype(np.uint8)
        column = table.columns[name]
        if isinstance(column, Names):
            drawn.append(_bars(COLUMNS[name], column, kept, own))
        else:
            drawn.append(_histogram(COLUMNS[name], binned[name], kept))
    return drawn


def _histogram(column: Source, held: Bins, kept: NDArray[np.bool_]) -> dict[str, Any]:
    n = len(held.edges) - 1
    all_, some = _counts(held.codes, kept, n + len(APART))
    return {
        "column": column.name,
        "label": column.label,
        "kind": column.kind,
        "log": held.log,
        "edges": held.edges.tolist(),
        "all": all_[:n],
        "kept": some[:n],
        "apart": [[APART[i], all_[n + i], some[n + i]] for i in range(len(APART)) if all_[n + i]],
    }


def _bars(
    column: Source, held: Names, kept: NDArray[np.bool_], own: NDArray[np.bool_] | None
) -> dict[str, Any]:
    all_, some = _counts(held.codes, kept, len(held.names) + 1)
    names = [*held.names, None]
    chosen = set() if own is None else set(np.unique(held.codes[own]).tolist())
    ranked = sorted((i for i in range(len(names)) if all_[i]), key=lambda i: (-all_[i], i))
    if len(chosen) > MOST_BARS:
        chosen = set()
    top = [i for place, i in enumerate(ranked) if place < MOST_BARS or i in chosen]
    rest = set(ranked) - set(top)
    return {
        "column": column.name,
        "label": column.label,
        "kind": "text",
        "bars": [[names[i], all_[i], some[i]] for i in top],
        "others": [len(rest), sum(all_[i] for i in rest), sum(some[i] for i in rest)],
    }


def _counts(codes: NDArray[Any], kept: NDArray[np.bool_], size: int) -> tuple[list[int], list[int]]:
    every = np.bincount(codes, minlength=size)
    return every.tolist(), np.bincount(codes[kept], minlength=size).tolist()
