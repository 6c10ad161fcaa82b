"""What a board plots: the recorded metrics of runs as small charts, as plain values for JSON.

    plots([[series_of_seed_0, series_of_seed_1], [series_of_another_config]])

``series`` is {metric: (steps, values)}. Each group is one line: of one run its values, of several runs their
mean, with the band from the lowest to the highest of them. At most `BINS` points a line: longer series are
means of bins, with the band from the least to the largest value in each. Reads nothing, draws nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.alerts import Series
from aigym_kernel.widgets.plain import finite

BINS = 160
_LOG_FROM = 300.0
"""A loss whose values are spread over more than this factor is shown on a logarithmic axis."""

TITLES = {
    "return_mean": "return",
    "length_mean": "episode length",
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "td_loss": "TD loss",
    "loss": "loss",
    "q_mean": "mean action value",
    "entropy": "entropy",
    "approx_kl": "KL divergence",
    "clip_fraction": "clipped",
    "explained_variance": "value fit (explained variance)",
    "epsilon": "random actions (epsilon)",
    "learning_rate": "learning rate",
    "steps_per_second": "steps per second",
    "cpu_percent": "CPU of the run, %",
    "rss_mb": "memory of the run, MB",
    "gpu_percent": "GPU, %",
    "gpu_memory_mb": "GPU memory, MB",
}
"""In this order; a metric that is not here is shown after them, under its own name."""
RETURN = "return_mean"
_BAND = ("return_q10", "return_q90")
_DOTS = "eval_return_mean"
_PARTS = {*_BAND, _DOTS, "eval_return_q10", "eval_return_q90"}
_LOSSES = {"value_loss", "td_loss", "loss"}

Values = NDArray[np.float64]


def plots(groups: Sequence[Sequence[Series]]) -> list[dict[str, Any]]:
    """One chart for each metric that any run has recorded; see `Plot` in plots.js for what each holds."""
    recorded = list(dict.fromkeys(name for group in groups for series in group for name in series))
    known = [name for name in TITLES if name in recorded]
    others = sorted(name for name in recorded if name not in TITLES and name not in _PARTS)
    made = []
    for name in [*known, *others]:
        lines = [line for i, group in enumerate(groups) if (line := _line(i, group, name))]
        if lines:
            log = name in _LOSSES and _wide(lines)
            made.append({"name": name, "title": TITLES.get(name, name), "log": log, "lines": lines})
    return made


def _line(i: int, group: Sequence[Series], name: str) -> dict[str, Any] | None:
    members = [points for series in group if len((points := _finite(series, name))[0])]
    if not members:
        return None
    band = ""
    if len(members) > 1:
        x, y, low, high = _several(members)
        band = f"lowest to highest of {len(members)} runs"
    else:
        x, y, low, high = _binned(*members[0])
        if len(low):
            band = "least to largest value"
        if name == RETURN and (limits := _limits(group, len(members[0][0]))) is not None:
            _, _, low, high = _binned(members[0][0], *limits)
            band = "10 % to 90 % of the episodes"
    dots = [_finite(series, _DOTS) for series in group] if name == RETURN else []
    return {
        "group": i,
        "x": [round(v) for v in x.tolist()],
        "y": _plain(y),
        "low": _plain(low),
        "high": _plain(high),
        "band": band,
        "dots": [[round(a), finite(b)] for xs, ys in dots for a, b in zip(xs.tolist(), ys.tolist())][-BINS:],
    }


def _finite(series: Series, name: str) -> tuple[Values, Values]:
    x, y = series.get(name, (np.empty(0), np.empty(0)))
    kept = np.isfinite(y)
    return x[kept], y[kept]


def _limits(group: Sequence[Series], count: int) -> tuple[Values, Values] | None:
    """The band of the return, where it was recorded at every point of the return."""
    for series in group:
        low, high = (_finite(series, name)[1] for name in _BAND)
        if len(low) == len(high) == count:
            return low, high
    return None


def _binned(x: Values, *ys: Values) -> tuple[Values, Values, Values, Values]:
    """x, and the mean of the first y, in at most `BINS` bins; with the least of the first and the largest of
    the last y in each. Few points stay as they are: then there is no such band, unless two ys were given."""
    if len(x) <= BINS:
        nothing = np.empty(0)
        return (x, ys[0], ys[0], ys[-1]) if len(ys) > 1 else (x, ys[0], nothing, nothing)
    starts = np.unique(np.linspace(0, len(x), BINS + 1).astype(int)[:-1])
    counts = np.diff([*starts, len(x)])
    if len(ys) > 1:  # a band stays a band: its ends are means, as the line in it is
        low, high = (np.add.reduceat(y, starts) / counts for y in ys)
    else:
        low, high = np.minimum.reduceat(ys[0], starts), np.maximum.reduceat(ys[0], starts)
    ends = x[np.append(starts[1:], len(x)) - 1]
    return ends, np.add.reduceat(ys[0], starts) / counts, low, high


def _several(members: Sequence[tuple[Values, Values]]) -> tuple[Values, Values, Values, Values]:
    """The mean of several runs, and the lowest and highest of them, at common steps; a run counts from its
    first point to its last."""
    first, last = min(x[0] for x, _ in members), max(x[-1] for x, _ in members)
    steps = np.linspace(first, last, min(BINS, max(2, max(len(x) for x, _ in members))))
    table = np.full((len(members), len(steps)), np.nan)
    for row, (x, y) in zip(table, members):
        thin = _binned(x, y)
        row[:] = np.interp(steps, thin[0], thin[1], left=np.nan, right=np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step at which no run was: it is left out below
        mean, low, high = np.nanmean(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0)
    there = np.isfinite(mean)
    return steps[there], mean[there], low[there], high[there]


def _wide(lines: Sequence[dict[str, Any]]) -> bool:
    values = np.array([v for line in lines for v in line["y"]])
    low, high = np.quantile(values, (0.05, 0.95))
    return bool(values.min() > 0 and high / low > _LOG_FROM)


def _plain(values: Values) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
