"""Numbers with their uncertainty: bootstrap intervals over seeds, as rliable draws them.

    iqm(values)                                  mean of the middle half
    bootstrap([runs_of_task_1, runs_of_task_2], mean)      Estimate(value=, low=, high=)
    improvement([(a, b), ...])                   how probably a run of a beats one of b

After Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021):
strata (tasks) are kept and the runs within each are drawn again, percentile intervals, the probability of
improvement as a mean of Mann-Whitney statistics. The seed is fixed: the same numbers, the same interval.
Whole tables of scores are in `scores`. Knows nothing of stores or runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2_000
_DRAWS = 20_000_000
_BLOCK = 1_000_000

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95 % interval; None where there is a single value and so no interval."""

    value: float
    low: float | None = None
    high: float | None = None


def mean(values: Values) -> Values:
    """The mean over the last axis."""
    return np.asarray(values.mean(axis=-1))


def iqm(values: Values) -> Values:
    """The interquartile mean over the last axis: a quarter of the values is cut off at either end
    (rounded down, as `scipy.stats.trim_mean` does)."""
    n = values.shape[-1]
    cut = n // 4
    return np.asarray(np.sort(values, axis=-1)[..., cut : n - cut].mean(axis=-1))


def bootstrap(strata: Sequence[Values], statistic: Callable[[Values], Values] = mean) -> Estimate:
    """The statistic of all values, with its percentile interval under resampling within each stratum.

    Args:
        strata: one array of values per task, none of them empty.
        statistic: reduces the last axis, such as `mean` and `iqm`.
    """
    value = float(statistic(np.concatenate(strata)))
    if max(map(len, strata)) < 2:
        return Estimate(value=value)
    return between(value, statistic(np.concatenate(resampled(strata), axis=-1)))


def resampled(strata: Sequence[Values]) -> list[Values]:
    """Every stratum drawn again with replacement, many times: arrays (times, values of the stratum)."""
    draws = np.random.default_rng(0)
    times = resamples(sum(map(len, strata)))
    return [stratum[draws.integers(len(stratum), size=(times, len(stratum)))] for stratum in strata]


def counted(n: int, times: int, draws: np.random.Generator) -> NDArray[np.int64]:
    """How often each of ``n`` values is drawn when n are drawn with replacement: (times, n). For statistics
    that are sums, this says all that the drawn values do."""
    drawn = draws.integers(n, size=(times, n)) + n * np.arange(times)[:, None]
    return np.bincount(drawn.ravel(), minlength=times * n).reshape(times, n)


def improvement(strata: Sequence[tuple[Values, Values]]) -> Estimate:
    """The probability that a value of the first beats one of the second on the same task, ties counted
    half, as a mean over tasks.

    Args:
        strata: for each task that both have, the values of the first and of the second.
    """
    draws = np.random.default_rng(0)
    times = resamples(sum(len(a) + len(b) for a, b in strata))
    values, samples = [], []
    for a, b in strata:
        order = np.sort(b)
        # For each value of a, the share of b that it beats; ties count half.
        below = np.searchsorted(order, a, "left") + np.searchsorted(order, a, "right")
        values.append(below.mean() / (2 * len(b)))
        samples.append(_drawn_improvements(a, b, draws, times))
    value = float(np.mean(values))
    if all(len(a) < 2 and len(b) < 2 for a, b in strata):
        return Estimate(value=value)
    return between(value, np.mean(samples, axis=0))


def _drawn_improvements(a: Values, b: Values, draws: np.random.Generator, times: int) -> Values:
    """The probability in ``times`` resamples of both. How often each value is drawn says it all, so b is
    counted along its order, and no pair of values is compared."""
    order = np.sort(b)
    left, right = np.searchsorted(order, a, "left"), np.searchsorted(order, a, "right")
    found, block = [], max(1, _BLOCK // (len(a) + len(b)))
    for start in range(0, times, block):
        size = min(block, times - start)
        upto = np.pad(np.cumsum(counted(len(b), size, draws), axis=1), ((0, 0), (1, 0)))
        beaten = upto[:, left] + upto[:, right]
        found.append((counted(len(a), size, draws) * beaten).sum(axis=1) / (2 * len(a) * len(b)))
    return np.concatenate(found)


def resamples(values: int) -> int:
    """How many: fewer of very many values, whose intervals are narrow and settle sooner."""
    return int(np.clip(_DRAWS // max(1, values), 200, RESAMPLES))


def between(value: float, samples: Values) -> Estimate:
    """A value with the interval that its resamples (times,) span."""
    low, high = limits(samples)
    return Estimate(value=value, low=float(low), high=float(high))


def limits(samples: Values) -> tuple[Values, Values]:
    """The ends of the interval that resamples (times, ...) span, NaN among them left out."""
    low, high = np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
