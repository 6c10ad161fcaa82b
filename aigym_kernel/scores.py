"""What a table of scores says: methods over tasks and seeds, each number with its 95 % interval.

    aggregate({"ppo": array, "dqn": array})      mean, median, interquartile mean, optimality gap of each
    improvements(scores)                         how probably a run of one method beats one of another
    performance_profile(scores)                  share of runs above each score, with a band
    normalised(scores, tasks, baselines)         0 where the low baseline is, 1 where the high one is
    curve(steps, returns)                        mean over seeds at each step, with a band
    aup(best, directions)                        MLGym's area under the profile of ratios
    pass_at_k(20, 3, 5)                          of 20 samples 3 passed; k = 5

A table is an array (seeds, tasks) for each method, NaN where a score is missing, the tasks in the same order
for all. Numbers of seeds may differ; a method that lacks a task is scored over the tasks that it has, and
`Aggregate.tasks` says how many these are. Tasks weigh the same in everything but the interquartile mean,
which is of all runs. With one seed per task there is no interval.

Mean, median, interquartile mean, optimality gap, probability of improvement and profiles are those of
Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021), with
their stratified percentile bootstrap (`intervals`). It resamples seeds, not tasks: the intervals are about
other seeds on these tasks. Ranks nothing, draws nothing, knows nothing of stores or benches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from aigym_kernel.errors import AigymError, UnknownName, check_whole
from aigym_kernel.intervals import (
    Estimate,
    Values,
    between,
    counted,
    improvement,
    iqm,
    limits,
    resampled,
    resamples,
)
from aigym_kernel.reported import Direction as Direction

POINTS = 101
_RATIOS = 500
_BEYOND = 1.05


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One method's row of a table. ``tasks`` and ``runs`` it has scores of; the estimates are None where it
    has none. ``gap``, the optimality gap, is how far the scores, cut at 1, are below 1: it means something
    where 1 is what one would want, as in normalised scores."""

    tasks: int
    runs: int
    mean: Estimate | None = None
    median: Estimate | None = None
    iqm: Estimate | None = None
    gap: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Band:
    """A line over ``x`` with its pointwise 95 % band, four arrays of one length. ``value`` is NaN where
    nothing is known, ``low`` and ``high`` also where there is a single seed."""

    x: Values
    value: Values
    low: Values
    high: Values


def aggregate(scores: Mapping[str, Values]) -> dict[str, Aggregate]:
    """Mean and median of the tasks' means, interquartile mean of all runs, optimality gap at 1.

    Args:
        scores: for each method an array (seeds, tasks).

    Raises:
        AigymError: there is no method, or what one has is no such table of finite numbers.
    """
    return {method: _aggregate(strata) for method, strata in _strata(scores).items()}


def _aggregate(strata: Sequence[Values]) -> Aggregate:
    there = [column for column in strata if len(column)]
    tasks, runs = len(there), sum(map(len, there))
    if not there:
        return Aggregate(tasks=tasks, runs=runs)
    values = _metrics([column[None] for column in there])
    if max(map(len, there)) < 2:
        found = {name: Estimate(value=float(value[0])) for name, value in values.items()}
    else:
        samples = _metrics(resampled(there))
        found = {name: between(float(value[0]), samples[name]) for name, value in values.items()}
    return Aggregate(tasks=tasks, runs=runs, **found)


def _metrics(drawn: Sequence[Values]) -> dict[str, Values]:
    """The four metrics of arrays (times, runs), one per task; each (times,)."""
    tasks = np.stack([runs.mean(axis=-1) for runs in drawn])
    cut = np.stack([np.minimum(runs, 1.0).mean(axis=-1) for runs in drawn])
    return {
        "mean": tasks.mean(axis=0),
        "median": np.median(tasks, axis=0),
        "iqm": iqm(np.concatenate(drawn, axis=-1)),
        "gap": 1.0 - cut.mean(axis=0),
    }


def improvements(
    scores: Mapping[str, Values], direction: Direction = "higher"
) -> dict[tuple[str, str], Estimate | None]:
    """For each two methods (one, other), in the order of ``scores``: the probability that a run of one is
    better than a run of the other on the same task, ties counted half, as a mean over the tasks that both
    have; None where there is no such task.

    Raises:
        AigymError: see `aggregate`.
        UnknownName: the direction is neither "higher" nor "lower".
    """
    _check(direction)
    found: dict[tuple[str, str], Estimate | None] = {}
    for (one, a), (other, b) in combinations(_strata(scores).items(), 2):
        pairs = [(x, y) if direction == "higher" else (y, x) for x, y in zip(a, b) if len(x) and len(y)]
        found[one, other] = improvement(pairs) if pairs else None
    return found


def performance_profile(
    scores: Mapping[str, Values],
    tau: Sequence[float] | Values | None = None,
    *,
    average: bool = False,
    direction: Direction = "higher",
) -> dict[str, Band]:
    """The share of runs whose score is better than each ``tau``, as a mean over tasks. Methods without any
    score are left out.

    Args:
        scores: for each method an array (seeds, tasks).
        tau: thresholds; by default `POINTS` of them over the range of all scores.
        average: instead the share of tasks whose mean over seeds is better (steeper; biased for few seeds).
        direction: with "lower", scores below ``tau`` count.

    Raises:
        AigymError: see `aggregate`; or ``tau`` is no list of finite numbers.
        UnknownName: the direction is neither "higher" nor "lower".
    """
    _check(direction)
    tables = _strata(scores)
    sign = 1.0 if direction == "higher" else -1.0
    x = _range(tables) if tau is None else _array("tau", tau, 1)
    if np.isnan(x).any():
        raise AigymError("tau has NaN in it; the thresholds must be numbers")
    found = {}
    for method, strata in tables.items():
        there = [sign * runs for runs in strata if len(runs)]
        if there:
            found[method] = _profile(there, x, sign * x, average)
    return found


def _profile(strata: Sequence[Values], x: Values, tau: Values, average: bool) -> Band:
    draws = np.random.default_rng(0)
    times = resamples(sum(map(len, strata)) + len(x))
    shares = [counted(len(runs), times, draws) / len(runs) for runs in strata]
    if average:
        value = np.mean([runs.mean() > tau for runs in strata], axis=0)
        drawn = [(share @ runs)[:, None] > tau for share, runs in zip(shares, strata)]
        samples = np.mean(drawn, axis=0)
    else:
        better = [(runs[:, None] > tau).astype(np.float64) for runs in strata]
        value = np.mean([runs.mean(axis=0) for runs in better], axis=0)
        samples = np.hstack(shares) @ np.concatenate(better) / len(strata)
    single = max(map(len, strata)) < 2
    low, high = np.full((2, len(x)), np.nan) if single else limits(samples)
    return Band(x=x, value=value, low=low, high=high)


def _range(tables: Mapping[str, Sequence[Values]]) -> Values:
    """Thresholds from a little below the lowest score of all to a little above the highest."""
    found = np.concatenate([runs for strata in tables.values() for runs in strata] or [np.empty(0)])
    if not len(found):
        return np.linspace(0.0, 1.0, POINTS)
    edge = 0.02 * float(np.ptp(found)) or 0.5
    return np.linspace(found.min() - edge, found.max() + edge, POINTS)


def normalised(
    scores: Mapping[str, Values], tasks: Sequence[str], baselines: Mapping[str, Mapping[str, float]]
) -> dict[str, Values]:
    """(score - low) / (high - low) of each task. Of a metric that should be small, ``low`` is the larger.

    Args:
        scores: for each method an array (seeds, tasks).
        tasks: what the columns are.
        baselines: for each task ``{"low": the score that becomes 0, "high": the one that becomes 1}``.

    Raises:
        AigymError: see `aggregate`; or a baseline is not two different finite numbers.
        UnknownName: a task has no baseline.
    """
    found = {method: _array(f"the scores of {method!r}", table, 2) for method, table in scores.items()}
    for method, table in found.items():
        if table.shape[1] != len(tasks):
            raise AigymError(
                f"the scores of {method!r} have {table.shape[1]} columns, but there are {len(tasks)} tasks"
            )
    ends = []
    for task in tasks:
        if task not in baselines:
            raise UnknownName("baseline", task, baselines, "Every task needs one to be normalised.")
        own = baselines[task]
        low, high = (_number(f"{k!r} of the baseline of task {task!r}", own.get(k)) for k in ("low", "high"))
        if math.isnan(low) or math.isnan(high) or low == high:
            raise AigymError(
                f"the baseline of task {task!r} is {dict(own)!r}; it needs two different finite "
                "numbers, low and high"
            )
        ends.append((low, high))
    zero, one = np.array(ends).reshape(-1, 2).T
    return {method: (table - zero) / (one - zero) for method, table in found.items()}


def curve(steps: Sequence[float] | Values, values: Values) -> Band:
    """The mean over seeds at each step, with the band that resampling the seeds gives.

    Args:
        steps: (steps,), common to all seeds.
        values: (seeds, steps), NaN where a seed has nothing.

    Raises:
        AigymError: these are no finite numbers, or not of these shapes.
    """
    x, table = _array("the steps of a curve", steps, 1), _array("the values of a curve", values, 2)
    if table.shape[1] != len(x):
        raise AigymError(f"the values of a curve have {table.shape[1]} columns for {len(x)} steps")
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)
    with np.errstate(invalid="ignore"):
        value = filled.sum(axis=0) / known.sum(axis=0)
    low, high = np.full((2, len(x)), np.nan)
    banded = known.sum(axis=0) > 1
    if banded.any():
        counts = counted(len(table), resamples(sum(table.shape)), np.random.default_rng(0))
        with np.errstate(invalid="ignore"):
            samples = (counts @ filled[:, banded]) / (counts @ known[:, banded])
        low[banded], high[banded] = limits(samples)
    return Band(x=x, value=value, low=low, high=high)


def aup(
    scores: Mapping[str, Mapping[str, float | None]],
    directions: Mapping[str, Direction],
    *,
    baseline: str = "baseline",
) -> dict[str, float]:
    """MLGym's area under the performance profile (Nathani et al. 2025, arXiv:2502.14499), by the
    arithmetic of its published script: the left Riemann sum of `ratio_profile`. Larger is better; figures
    compare only within one call, since the best score and the range depend on all methods.

    Args and errors: see `ratio_profile`.
    """
    return {
        method: float(np.diff(band.x) @ band.value[:-1])
        for method, band in ratio_profile(scores, directions, baseline=baseline).items()
    }


def ratio_profile(
    scores: Mapping[str, Mapping[str, float | None]],
    directions: Mapping[str, Direction],
    *,
    baseline: str = "baseline",
) -> dict[str, Band]:
    """For each method, the share of tasks on which it is within a factor of the best method's score, over
    log10 of the factor (no band). 500 points from 0 to log10 of the largest ratio of any task, which is
    first multiplied by 1.05 and rounded up to a whole number; the logarithm is rounded up to one digit after
    the point. On MLGym's own table that is 0 to 1.5.

    The ratio is best / score, where less is better score / best. It exists for feasible scores only: known,
    not negative, not worse than the baseline's on this task (if that is known), and, where more is better,
    not zero. All others have 1.05 x the worst ratio of the task. A baseline is itself infeasible where it is
    negative. A task without any feasible score counts for no method.

    Args:
        scores: for each method one score per task, such as the best or the mean of its seeds; None, NaN or
            absent where there is none.
        directions: for each task whether "higher" or "lower" is better; it says which tasks there are.
        baseline: the method that the others must reach, if it is among them.

    Raises:
        AigymError: there is no method or no task, a score is infinite or no number, or the best is zero where
            less is better and so nothing has a ratio to it.
        UnknownName: a task that has no direction; a direction that is none.
    """
    if not scores or not directions:
        raise AigymError("no ratios without a method and a task; hand in scores and directions")
    rows, worst = [], []
    for method, row in scores.items():
        for task in row:
            if task not in directions:
                raise UnknownName("task", task, directions, f"It is in the scores of {method!r}.")
    for task, direction in directions.items():
        own = {m: _number(f"the score of {m!r} on task {task!r}", r.get(task)) for m, r in scores.items()}
        found = _ratios(task, direction, own, baseline)
        largest = max(found.values(), default=math.inf)
        rows.append([found.get(method, largest * _BEYOND) for method in scores])
        worst.append(largest * _BEYOND)
    range_ = max([math.ceil(ratio) for ratio in worst if ratio < math.inf], default=2)
    tau = np.linspace(0.0, math.ceil(math.log10(range_) * 10) / 10, _RATIOS)
    shares = (np.log10(rows)[:, :, None] <= tau).mean(axis=0)
    nothing = np.full(len(tau), np.nan)
    return {m: Band(x=tau, value=share, low=nothing, high=nothing) for m, share in zip(scores, shares)}


def _ratios(task: str, direction: Direction, scores: Mapping[str, float], baseline: str) -> dict[str, float]:
    """The ratios of the methods whose score is feasible."""
    _check(direction)
    # Comparisons with NaN are false: without a baseline's score nobody is worse than it.
    bar = scores.get(baseline, math.nan)
    if direction == "higher":
        found = {method: score for method, score in scores.items() if score > 0 and not score < bar}
    else:
        found = {method: score for method, score in scores.items() if score >= 0 and not score > bar}
    if not found:
        return {}
    best = max(found.values()) if direction == "higher" else min(found.values())
    if best == 0 and max(found.values()) > 0:
        raise AigymError(
            f"task {task!r}: less is better and the best score is 0, to which no other has a ratio; "
            "leave the task out, or report a metric that stays above 0"
        )
    return {m: 1.0 if score == best else max(score, best) / min(score, best) for m, score in found.items()}


def _number(what: str, value: float | None) -> float:
    """NaN for None."""
    try:
        found = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        found = math.inf
    if math.isinf(found):
        raise AigymError(f"{what} is {value!r}, which is no finite number")
    return found


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that of ``k`` solutions drawn from ``n``, of which ``c`` pass, at least one passes:
    1 - C(n-c, k) / C(n, k), the unbiased estimator of Chen et al. 2021 (arXiv:2107.03374, section 2.1).
    Whole numbers are divided last, so it is exact to the last digit for every n; the time grows with the
    smaller of c and k.

    Raises:
        AigymError: ``k`` is more than ``n``, ``c`` more than ``n``, or one of them no whole number.
    """
    check_whole("k", k, 1)
    check_whole("n", n, 1)
    check_whole("c", c, 0, n)
    if k > n:
        raise AigymError(f"k={k} is more than the n={n} solutions that there are")
    # C(n-c, k) / C(n, k) is symmetrical in c and k, so the shorter product of the two is taken.
    few, many = sorted((int(c), int(k)))
    draws = math.perm(int(n), few)
    return (draws - math.perm(int(n) - many, few)) / draws


def _strata(scores: Mapping[str, Values]) -> dict[str, list[Values]]:
    """For each method an array per task, without what is missing."""
    if not scores:
        raise AigymError("no method has scores here; hand in at least one, as an array (seeds, tasks)")
    tables = {method: _array(f"the scores of {method!r}", table, 2) for method, table in scores.items()}
    first = next(iter(tables))
    for method, table in tables.items():
        if table.shape[1] != tables[first].shape[1]:
            raise AigymError(
                f"the scores of {method!r} have {table.shape[1]} columns, those of {first!r} "
                f"{tables[first].shape[1]}; every method needs one for each task, NaN where it has no score"
            )
    return {method: [task[~np.isnan(task)] for task in table.T] for method, table in tables.items()}


def _array(what: str, values: Sequence[float] | Values, axes: int) -> Values:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise AigymError(f"{what} are {values!r:.80}, which is no array of numbers") from None
    if found.ndim != axes:
        wanted = "(seeds, tasks) or (seeds, steps)" if axes == 2 else "(n,)"
        raise AigymError(f"{what} have the shape {found.shape}; it must be {wanted}")
    if np.isinf(found).any():
        place = tuple(map(int, np.argwhere(np.isinf(found))[0]))
        raise AigymError(f"{what} have {found[place]} at {place}; only NaN may stand for a missing one")
    return found


def _check(direction: Direction) -> None:
    if direction not in ("higher", "lower"):
        raise UnknownName("direction", direction, ("higher", "lower"))
