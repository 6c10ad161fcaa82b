"""Runs compared: groups, intervals that agree with scipy's, pairs, curves, the static page."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import aigym_kernel as aigym
from aigym_kernel.comparison import Comparison, compare
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.intervals import bootstrap, improvement, iqm, mean
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Trajectory

EVIL = "<img src=x onerror=alert(1)>"


def run(
    run_id: str,
    returns: Sequence[float],
    *,
    kind: Any = "train",
    env: str = "Task-v0",
    seeds: Sequence[int | None] | None = None,
    length: int = 10,
    **config: Any,
) -> str:
    """Records one run whose trajectories have these returns, in this order."""
    store = Store()
    store.add_run(RunRecord(run_id=run_id, kind=kind, name=run_id, config={"env": env, **config}))
    with store.writer(run_id) as writer:
        for i, value in enumerate(returns):
            rewards = np.zeros(length)
            rewards[-1] = value
            writer.trajectory(
                Trajectory(
                    env_id=env,
                    agent="a",
                    run_id=run_id,
                    observations=np.zeros((length + 1, 1)),
                    actions=np.zeros(length, dtype=np.int64),
                    rewards=rewards,
                    terminated=True,
                    truncated=False,
                    seed=i if seeds is None else seeds[i],
                    started_at=1e9 + i,
                )
            )
    return run_id


def called(found: Comparison) -> list[tuple[str, tuple[str, ...]]]:
    return [(group.name, group.runs) for group in found.groups]


# Groups


def test_runs_that_differ_only_in_seed_are_one_group_and_only_what_differs_is_shown(store_dir: Path) -> None:
    same = {"layers": [64, 64], "clip": {"low": 0.1, "high": 0.2}}
    ids = [
        run(f"{rate}-{seed}", [1, 2, rate], ppo={"lr": rate, "seed": seed, **same})
        for rate in (1, 2)
        for seed in (0, 1, 2)
    ]
    found = aigym.compare(*ids)
    assert called(found) == [("lr=1", tuple(ids[:3])), ("lr=2", tuple(ids[3:]))]
    assert [dict(group.config) for group in found.groups] == [{"ppo.lr": 1}, {"ppo.lr": 2}]
    assert [group.seeds for group in found.groups] == [(0, 1, 2)] * 2
    assert [(g.trajectories, g.steps, g.tasks) for g in found.groups] == [(9, 90, ("Task-v0",))] * 2


def test_settings_that_ran_on_several_tasks_are_groups_and_tasks_are_strata(store_dir: Path) -> None:
    ids = [
        run(f"{who}-{env}", [1, 2], kind="rollout", env=env, agent=who, seed=0)
        for who in ("ada", "bob")
        for env in ("A-v0", "B-v0")
    ]
    found = compare(*ids)
    assert called(found) == [("agent=ada", tuple(ids[:2])), ("agent=bob", tuple(ids[2:]))]
    assert [pairing.task for pairing in found.pairings] == ["A-v0", "B-v0"]
    assert "not on one scale" in " ".join(found.notes)
    only_envs = compare(ids[0], ids[1])
    assert [group.name for group in only_envs.groups] == ["env=A-v0", "env=B-v0"]
    assert (only_envs.pairings, only_envs.improvement) == ((), (None,))


def test_groups_are_called_by_the_fewest_keys_that_tell_them_apart(store_dir: Path) -> None:
    ids = [
        run(f"{algo}{lr}{width}", [1], algo=algo, lr=lr, width=width, same=f"{algo}{algo}")
        for algo, lr, width in (("p", 1, 8), ("p", 2, 8), ("q", 1, 8))
    ]
    assert [g.name for g in compare(*ids).groups] == ["algo=p, lr=1", "algo=p, lr=2", "algo=q, lr=1"]


def test_groups_that_no_short_word_tells_apart_have_their_runs_name_and_a_number(store_dir: Path) -> None:
    ids = [run(name, [1], prompt=name * 60) for name in ("p", "q")]
    assert [group.name for group in compare(*ids).groups] == ["p", "q"]
    same = [run(name, [1], kind=kind) for name, kind in (("r", "train"), ("s", "rollout"))]
    assert len({group.name for group in compare(*same).groups}) == 2


# Numbers


def test_a_training_counts_with_the_end_of_it_and_other_runs_with_all(store_dir: Path) -> None:
    rising = list(range(100))
    ids = [run(f"t{s}", rising, algo="ppo", seed=s) for s in (0, 1)] + [
        run("played", [5, 7], kind="rollout", n=2)
    ]
    found = compare(*ids)
    assert found.unit == "run"
    trained, played = found.groups
    assert trained.mean is not None
    assert trained.mean.value == pytest.approx(np.mean(rising[89:]))
    assert (trained.mean.low, trained.mean.high) == (trained.mean.value, trained.mean.value)
    assert played.mean is not None
    assert (played.mean.value, played.mean.low) == (6.0, None)


def test_single_runs_of_rollouts_are_compared_by_trajectories_of_equal_seeds(
    store_dir: Path,
) -> None:
    a = run("a", [1, 2, 3, 4, 9], kind="rollout", agent="a")
    b = run("b", [2, 2, 2, 8], kind="rollout", agent="b")
    found = compare(a, b)
    (pairing,) = found.pairings
    assert found.unit == "trajectory"
    assert (pairing.pairs, pairing.wins, pairing.ties, pairing.losses) == (4, 2, 1, 1)
    assert pairing.difference.value == pytest.approx(1.0)
    assert pairing.difference.low is not None
    assert pairing.difference.low < 1.0
    (better,) = found.improvement
    assert better is not None
    u = stats.mannwhitneyu([2, 2, 2, 8], [1, 2, 3, 4, 9]).statistic
    assert better.value == pytest.approx(u / 20)
    no_seeds = run("c", [0, 0, 0], kind="rollout", agent="c", seeds=[None] * 3)
    (unpaired,) = compare(a, no_seeds).pairings
    assert (unpaired.pairs, unpaired.difference.value) == (0, pytest.approx(-3.8))


def test_intervals_agree_with_scipy() -> None:
    draws = np.random.default_rng(5)
    strata = [draws.normal(size=12), draws.normal(3, 2, size=9)]
    for mine, theirs in ((mean, np.mean), (iqm, lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))):

        def pooled(*samples: Any, axis: int = -1, reduce: Any = theirs) -> Any:
            return reduce(np.concatenate(samples, axis=axis), axis=axis)

        wanted = stats.bootstrap(
            strata, pooled, method="percentile", n_resamples=20_000, vectorized=True, random_state=1
        ).confidence_interval
        found = bootstrap(strata, mine)
        assert found.value == pytest.approx(float(theirs(np.concatenate(strata), axis=-1)))
        assert (found.low, found.high) == (
            pytest.approx(wanted.low, abs=0.06),
            pytest.approx(wanted.high, abs=0.06),
        )
    assert bootstrap([np.array([4.0])]) == bootstrap([np.array([4.0])], iqm)


def test_probability_of_improvement_counts_ties_half_and_is_a_mean_over_tasks() -> None:
    one, two = np.arange(10.0), np.arange(10.0)
    same = improvement([(one, two)])
    assert same.value == 0.5
    assert same.low is not None
    assert same.high is not None
    assert same.low < 0.5 < same.high
    assert improvement([(one + 20, two), (one - 20, two)]).value == 0.5
    assert improvement([(one + 20, two)]).low == 1.0
    assert improvement([(one[:1], two[:1])]).low is None


def test_curves_are_over_steps_with_a_band_where_there_are_several_runs(store_dir: Path) -> None:
    ids = [run(f"x{s}", [s, 10 + s, 20 + s], seed=s, algo="x") for s in (0, 1)] + [
        run("y", [5] * 6, algo="y")
    ]
    first, second = compare(*ids).curves
    assert (first.runs, second.runs) == (2, 1)
    assert first.x[-1] == pytest.approx(30, abs=1)
    assert second.x[-1] == pytest.approx(60, abs=1)
    assert first.mean[-1].value == 20.5
    assert (first.mean[-1].low, first.mean[-1].high) == (20, 21)
    assert {at.value for at in second.mean} == {5}
    assert {at.low for at in second.mean} == {None}


def test_a_metric_and_other_columns_can_be_compared(store_dir: Path) -> None:
    ids = [run("m", [1, 2], algo="m"), run("n", [1], algo="n")]
    for name, values in (("m", (5.0, 3.0)), ("n", (4.0, float("nan")))):
        with Store().writer(name) as writer:
            for step, value in enumerate(values):
                writer.metrics(step * 100, {"value_loss": value})
    loss = compare(*ids, metric="value_loss")
    assert [group.mean.value for group in loss.groups if group.mean] == [3.0, 4.0]
    assert [group.trajectories for group in loss.groups] == [0, 0]
    assert [group.mean.value for group in compare(*ids, metric="length").groups if group.mean] == [10, 10]
    nothing = compare(*ids, metric="score")
    assert [group.mean for group in nothing.groups] == [None, None]
    assert "Nothing of 'score' is recorded" in " ".join(nothing.notes)
    with pytest.raises(UnknownName, match="Did you mean 'value_loss'"):
        compare(*ids, metric="value_los")


def test_what_cannot_be_compared_is_refused(store_dir: Path) -> None:
    run("only", [1])
    for ids, said in (
        (["only"], "two or more"),
        (["only", "only"], "2 times"),
        (["only"] * 201, "more than 200"),
    ):
        with pytest.raises(AigymError, match=said):
            compare(*ids)
    with pytest.raises(UnknownName, match="unknown run 'nothing'"):
        compare("only", "nothing")
    with pytest.raises(AigymError, match="run id 3 cannot name a folder"):
        compare("only", 3)  # type: ignore[arg-type]


def test_runs_may_be_given_themselves(store_dir: Path) -> None:
    one, other = (aigym.load_run(run(name, [1, 2], algo=name)) for name in ("a", "b"))
    assert called(compare(one, other)) == called(compare("a", "b"))


# The page


def test_the_static_page_shows_config_numbers_and_bands_and_runs_nothing(store_dir: Path) -> None:
    ids = [
        run(f"{rate}-{s}", [1, 2, s], lr=rate, note=EVIL * rate, seed=s) for rate in (1, 2) for s in (0, 1)
    ]
    found = compare(*ids)
    page = found._repr_html_()
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page
    assert "<script" not in page
    assert len(page) < 100_000
    (picture,) = [base64.b64decode(p).decode() for p in re.findall(r"svg\+xml;base64,([^\"']+)", page)]
    assert picture.count("<polygon") == picture.count("<polyline") == 2
    json.dumps(found.to_dict(), allow_nan=False)


def test_printed_it_is_a_table_of_groups_and_of_tasks(store_dir: Path) -> None:
    ids = [run(f"{rate}-{s}", [1, rate, s], lr=rate, seed=s) for rate in (1, 2) for s in (0, 1)]
    found = compare(*ids)
    text = str(found)
    head, columns, *rest = text.splitlines()
    assert head == "return by run, with 95 % bootstrap intervals"
    assert columns.split()[:3] == ["runs", "trajectories", "steps"]
    assert [line.split()[:2] for line in rest[:2]] == [["lr=1", "2"], ["lr=2", "2"]]
    (pairing,) = found.pairings
    assert f"{pairing.wins} / {pairing.ties} / {pairing.losses}" in text
    assert repr(found) == text
