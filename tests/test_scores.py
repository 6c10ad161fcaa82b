"""Tables of scores: held against rliable's own figures, MLGym's published table, scipy and counting."""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.intervals import Estimate
from aigym_kernel.scores import (
    Band,
    Direction,
    aggregate,
    aup,
    curve,
    improvements,
    normalised,
    pass_at_k,
    performance_profile,
    ratio_profile,
)

DATA = Path(__file__).parent / "data"
RLIABLE = json.loads((DATA / "rliable_reference.json").read_text(encoding="utf-8"))
TABLES = {name: np.array(table) for name, table in RLIABLE["scores"].items()}
METRICS = ("mean", "median", "iqm", "gap")


def near(found: Estimate | None, value: float, low: float, high: float) -> None:
    """The same value; the ends of the interval within a tenth of its width."""
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(value, abs=1e-12)
    assert (found.low, found.high) == (
        pytest.approx(low, abs=(high - low) / 10),
        pytest.approx(high, abs=(high - low) / 10),
    )


# As rliable has it


def test_the_reference_is_the_table_that_its_seed_gives() -> None:
    draws = np.random.default_rng(2021)
    for name, centre in (("one", 0.55), ("two", 0.7)):
        drawn = draws.normal(centre, 0.35, size=(10, 5)) + np.linspace(-0.3, 0.4, 5)
        assert TABLES[name] == pytest.approx(np.round(drawn, 2))


def test_aggregates_are_rliables() -> None:
    found = aggregate(TABLES)
    for name, wanted in RLIABLE["aggregates"].items():
        assert (found[name].tasks, found[name].runs) == (5, 50)
        for metric, *figures in zip(METRICS, wanted["value"], *wanted["interval"]):
            near(getattr(found[name], metric), *figures)


def test_the_interquartile_mean_is_scipys() -> None:
    (found,) = aggregate({"one": TABLES["one"]}).values()
    assert found.iqm is not None
    assert found.iqm.value == pytest.approx(stats.trim_mean(TABLES["one"], 0.25, axis=None))


@pytest.mark.parametrize("average", [False, True])
def test_performance_profiles_are_rliables(average: bool) -> None:
    wanted = RLIABLE["average_profiles" if average else "profiles"]
    found = performance_profile(TABLES, RLIABLE["tau"], average=average)
    for name, band in found.items():
        assert band.x.tolist() == RLIABLE["tau"]
        assert band.value == pytest.approx(np.array(wanted[name]["value"]))
        # A share of 50 runs, or of 5 tasks: an end may lie one step beside.
        assert np.array([band.low, band.high]) == pytest.approx(
            np.array(wanted[name]["interval"]), abs=0.2 if average else 0.02 + 1e-9
        )


def test_the_probability_of_improvement_is_rliables_and_mann_whitneys() -> None:
    (value,), ((low,), (high,)) = RLIABLE["improvement"]["value"], RLIABLE["improvement"]["interval"]
    near(improvements(TABLES)["one", "two"], value, low, high)
    us = [stats.mannwhitneyu(a, b).statistic / 100 for a, b in zip(TABLES["one"].T, TABLES["two"].T)]
    assert value == pytest.approx(np.mean(us))
    turned = improvements(TABLES, "lower")["one", "two"]
    assert turned is not None
    assert turned.value == pytest.approx(1 - value)


# What is missing, single, equal


def test_missing_scores_leave_tables_of_unequal_columns() -> None:
    nan = np.nan
    found = aggregate({"a": np.array([[1.0, 10, nan], [3, nan, nan]]), "none": np.full((2, 3), nan)})
    a, none = found["a"], found["none"]
    assert (a.tasks, a.runs, none.tasks, none.runs) == (2, 3, 0, 0)
    assert (none.mean, none.median, none.iqm, none.gap) == (None,) * 4
    assert a.mean is not None
    assert a.iqm is not None
    assert (a.mean.value, a.iqm.value) == (6.0, pytest.approx(14 / 3))  # tasks weigh the same; runs do
    assert (a.mean.low, a.mean.high) == (5.5, 6.5)  # the second task has one run, which stays
    with_more_rows = aggregate({"a": np.array([[1.0, 10, nan], [3, nan, nan], [nan, nan, nan]])})
    assert with_more_rows["a"] == a


def test_a_single_seed_has_no_interval() -> None:
    table = np.array([[0.2, 0.6]])
    (found,) = aggregate({"a": table}).values()
    assert found.mean == Estimate(value=pytest.approx(0.4))
    assert found.gap == Estimate(value=pytest.approx(0.6))
    (band,) = performance_profile({"a": table}, [0.0, 0.3, 0.6]).values()
    assert band.value.tolist() == [1.0, 0.5, 0.0]  # better than tau, not equal to it
    assert np.isnan([band.low, band.high]).all()
    assert improvements({"a": table, "b": table})["a", "b"] == Estimate(value=0.5)


def test_a_single_task_and_equal_scores() -> None:
    table = np.array([[0.5], [0.5], [0.5]])
    (found,) = aggregate({"a": table}).values()
    sure = Estimate(value=0.5, low=0.5, high=0.5)
    assert (found.mean, found.median, found.iqm, found.gap) == (sure,) * 4
    assert improvements({"a": table, "b": table})["a", "b"] == sure
    (band,) = performance_profile({"a": table}).values()
    assert (band.value[0], band.value[-1], len(band.x)) == (1.0, 0.0, 101)


def test_methods_are_compared_on_the_tasks_that_both_have() -> None:
    nan = np.nan
    one, two = np.array([[1.0, 5, nan], [2, 6, nan]]), np.array([[9.0, nan, 1], [0, nan, 1]])
    found = improvements({"one": one, "two": two, "third": np.array([[nan, nan, 3.0]])})
    assert found["one", "third"] is None
    assert found["one", "two"] == improvements({"one": one[:, :1], "two": two[:, :1]})["one", "two"]
    assert list(found) == [("one", "two"), ("one", "third"), ("two", "third")]


def test_profiles_weigh_tasks_the_same_and_leave_out_who_has_none() -> None:
    nan = np.nan
    tables = {"a": np.array([[1.0, 0], [1, nan], [1, nan]]), "none": np.full((1, 2), nan)}
    found = performance_profile(tables, [0.5])
    assert list(found) == ["a"]
    assert found["a"].value.tolist() == [0.5]
    lower = performance_profile(tables, [0.5], direction="lower")
    assert lower["a"].value.tolist() == [0.5]
    assert performance_profile({"none": tables["none"]}) == {}


def test_normalised_scores_and_metrics_that_should_be_small() -> None:
    table = np.array([[20.0, 3.0], [500.0, np.nan]])
    found = normalised({"a": table}, ["cart", "loss"], {
        "cart": {"low": 20, "high": 500}, "loss": {"low": 4, "high": 2},
    })  # fmt: skip
    assert found["a"] == pytest.approx(np.array([[0.0, 0.5], [1.0, np.nan]]), nan_ok=True)


def test_curves_are_means_over_the_seeds_that_have_come_so_far() -> None:
    values = np.array([[1.0, 2, 3, np.nan], [3.0, 4, np.nan, np.nan], [2.0, np.nan, np.nan, np.nan]])
    found = curve([0, 10, 20, 30], values)
    assert found.value == pytest.approx(np.array([2.0, 3, 3, np.nan]), nan_ok=True)
    assert found.low == pytest.approx(np.array([1.0, 2, np.nan, np.nan]), abs=0.4, nan_ok=True)
    assert found.high == pytest.approx(np.array([3.0, 4, np.nan, np.nan]), abs=0.4, nan_ok=True)
    many = np.random.default_rng(0).normal(size=(30, 1))
    band = curve([0], many)
    wanted = stats.bootstrap((many[:, 0],), np.mean, method="percentile", random_state=0)
    assert (band.low[0], band.high[0]) == pytest.approx(tuple(wanted.confidence_interval), abs=0.03)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: aggregate({}), "no method has scores"),
        (lambda: aggregate({"a": np.zeros(3)}), r"scores of 'a' have the shape \(3,\)"),
        (lambda: aggregate({"a": np.array([["x"]])}), "scores of 'a' are .* no array of numbers"),
        (lambda: aggregate({"a": np.array([[0, np.inf]])}), r"scores of 'a' have inf at \(0, 1\)"),
        (lambda: aggregate({"a": np.zeros((1, 2)), "b": np.zeros((1, 3))}), "'b' have 3 columns, .*'a' 2"),
        (lambda: improvements(TABLES, "up"), "unknown direction 'up'"),  # type: ignore[arg-type]
        (lambda: performance_profile(TABLES, [0, np.nan]), "tau has NaN"),
        (lambda: performance_profile(TABLES, [[0.0]]), "tau have the shape"),  # type: ignore[list-item]
        (lambda: normalised({"a": np.zeros((1, 1))}, ["t"], {"T": {}}), "unknown baseline 't'"),
        (lambda: normalised({"a": np.zeros((1, 1))}, ["t"], {"t": {"low": 1}}), "baseline of task 't' is"),
        (
            lambda: normalised({"a": np.zeros((1, 1))}, ["t"], {"t": {"low": "?"}}),
            "'low' of the baseline of task 't' is '\\?'",
        ),  # type: ignore[dict-item]
        (lambda: normalised({"a": np.zeros((1, 2))}, ["t"], {}), "2 columns, but there are 1 tasks"),
        (lambda: normalised({"a": np.zeros((1, 1))}, ["t"], {"t": {"low": 1, "high": 1}}), "two different"),
        (lambda: curve([0, 1], np.zeros((1, 3))), "3 columns for 2 steps"),
        (lambda: aup({}, {}), "no ratios without"),
        (lambda: aup({"a": {"x": 1}}, {"y": "higher"}), "unknown task 'x'.*scores of 'a'"),
        (lambda: aup({"a": {"x": math.inf}}, {"x": "higher"}), "score of 'a' on task 'x' is inf"),
        (lambda: aup({"a": {"x": "?"}}, {"x": "higher"}), "task 'x' is '\\?'"),  # type: ignore[dict-item]
        (lambda: aup({"a": {"x": 1}}, {"x": "up"}), "unknown direction"),  # type: ignore[dict-item]
        (lambda: aup({"a": {"x": 0}, "b": {"x": 2}}, {"x": "lower"}), "task 'x': .* best score is 0"),
    ],
)
def test_bad_input_is_named(call: Any, told: str) -> None:
    with pytest.raises(AigymError, match=told):
        call()


# MLGym's AUP


def mlgym() -> tuple[dict[str, dict[str, float | None]], dict[str, Direction]]:
    scores: dict[str, dict[str, float | None]] = {}
    directions: dict[str, Direction] = {}
    with (DATA / "mlgym_best_attempt_scores.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            scores.setdefault(row["method"], {})[row["task"]] = float(row["score"]) if row["score"] else None
            directions[row["task"]] = "higher" if row["direction"] == "maximize" else "lower"
    return scores, directions


def test_mlgyms_table_is_reproduced_to_three_digits() -> None:
    with (DATA / "mlgym_aup_best.csv").open(encoding="utf-8") as file:
        published = {row["method"]: float(row["aup"]) for row in csv.DictReader(file)}
    scores, directions = mlgym()
    assert len(published) == len(directions) == 13
    assert {method: round(area, 3) for method, area in aup(scores, directions).items()} == published
    profile = ratio_profile(scores, directions)["gpt-o1"]
    assert (profile.x[0], profile.x[-1], len(profile.x)) == (0.0, 1.5, 500)


def profile_at(band: Band, ratio: float) -> float:
    """The share of tasks within a factor a little above ``ratio``."""
    return float(band.value[np.searchsorted(band.x, math.log10(ratio) + 1e-9)])


def test_infeasible_scores_have_a_little_more_than_the_worst_ratio() -> None:
    scores: dict[str, dict[str, float | None]] = {
        "best": {"x": 8.0},
        "half": {"x": 4.0},
        "zero": {"x": 0.0},
        "negative": {"x": -3.0},
        "none": {"x": None},
        "nan": {"x": math.nan},
        "absent": {},
    }
    found = ratio_profile(scores, {"x": "higher"})
    assert found["best"].value[0] == 1.0
    assert (profile_at(found["half"], 1.9), profile_at(found["half"], 2.0)) == (0.0, 1.0)
    for name in list(scores)[2:]:
        assert (profile_at(found[name], 2.05), profile_at(found[name], 2.1)) == (0.0, 1.0), name
    assert found["best"].x[-1] == 0.5  # log10(ceil(2 * 1.05)) = 0.477, rounded up


def test_who_is_worse_than_the_baseline_is_infeasible() -> None:
    scores: dict[str, dict[str, float | None]] = {
        "good": {"x": 4.0, "loss": 1.0},
        "bad": {"x": 1.0, "loss": 9.0},
        "baseline": {"x": 2.0, "loss": 3.0},
    }
    directions: dict[str, Direction] = {"x": "higher", "loss": "lower"}
    found = ratio_profile(scores, directions)
    assert profile_at(found["bad"], 2.1) == 0.5  # x: 1.05 times the baseline's 2; loss: 1.05 times its 3
    assert profile_at(found["bad"], 3.15) == 1.0
    without = ratio_profile(scores, directions, baseline="somebody else")
    assert (profile_at(without["bad"], 3.99), profile_at(without["bad"], 9.0)) == (0.0, 1.0)
    scores["baseline"] = {"x": -1.0, "loss": None}  # infeasible itself, or unknown: then nobody is below it
    assert profile_at(ratio_profile(scores, directions)["bad"], 4.0) == 0.5


def test_ties_and_tasks_that_nobody_solved() -> None:
    same: dict[str, dict[str, float | None]] = {"a": {"x": 2.0, "y": -1}, "b": {"x": 2.0, "y": None}}
    found = aup(same, {"x": "higher", "y": "higher"})
    assert found == {"a": pytest.approx(0.5 * 0.4), "b": pytest.approx(0.5 * 0.4)}
    assert aup({"a": {}}, {"x": "lower"}) == {"a": 0.0}
    assert aup({"a": {"x": 0.0}, "b": {"x": 0}}, {"x": "lower"}) == {"a": pytest.approx(0.4)} | {
        "b": pytest.approx(0.4)
    }


# pass@k


def test_pass_at_k_is_exact_for_large_and_small_probabilities() -> None:
    for n, c, k in ((20, 3, 5), (200, 7, 100), (50, 50, 1), (50, 0, 50), (30, 29, 2), (7, 3, 5)):
        assert pass_at_k(n, c, k) == float(1 - Fraction(math.comb(n - c, k), math.comb(n, k)))
    assert pass_at_k(10**17, 1, 1) == 1e-17
    assert pass_at_k(10**6, 10, 10**5) == pytest.approx(1 - 0.9**10, rel=1e-4)
    assert pass_at_k(10**6, 10**5, 10**3) == pytest.approx(1.0)


@pytest.mark.parametrize("arguments", [(3, 1, 4), (3, 4, 1), (3, 1, 0), (0, 0, 1), (3, 1.5, 1), (3, None, 1)])
def test_pass_at_k_that_cannot_be(arguments: Any) -> None:
    with pytest.raises(AigymError, match=r"[nck]="):
        pass_at_k(*arguments)


def test_a_task_or_direction_that_is_unknown_tells_which_are_known() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'cart'"):
        aup({"a": {"cart ": 1.0}}, {"cart": "higher"})
