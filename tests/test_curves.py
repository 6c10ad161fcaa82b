"""Return curves and histograms against the same worked out with NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigym_kernel.batches import Batch
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import Store

LENGTHS = np.random.default_rng(0).integers(1, 40, 300)
RETURNS = np.random.default_rng(1).normal(size=300).round(3)


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    made.create()
    for run, share in (("a", slice(0, 100)), ("b", slice(100, 300))):
        lengths = LENGTHS[share]
        rewards = np.zeros(lengths.sum())
        rewards[np.cumsum(lengths) - 1] = RETURNS[share]
        count = len(lengths)
        batch = Batch(
            env_id="e",
            agent=f"agent-{run}",
            observations=np.zeros((len(rewards) + count, 1)),
            actions=np.zeros(len(rewards), dtype=np.int64),
            rewards=rewards,
            lengths=lengths,
            terminated=np.ones(count, dtype=np.bool_),
            truncated=np.zeros(count, dtype=np.bool_),
            seeds=np.arange(count) % 7,
            final_infos=[{"outcome": ("wall", "self")[i % 2], "apples": i % 5} for i in range(count)],
            started_at=1.6e9 + np.arange(count),
        )
        with made.writer(run) as writer:
            writer.batch(batch)
    return made


@pytest.mark.parametrize("bins", [1, 7])
def test_returns_over_steps(store: Store, bins: int) -> None:
    got = store.returns(bins=bins)
    ends = {"a": np.cumsum(LENGTHS[:100]), "b": np.cumsum(LENGTHS[100:])}
    width = max(e[-1] for e in ends.values()) / bins
    expected = []
    for run, share in (("a", slice(0, 100)), ("b", slice(100, 300))):
        bin_of = np.minimum((ends[run] - 1) // width, bins - 1)
        for number in np.unique(bin_of):
            some = RETURNS[share][bin_of == number]
            quantiles = np.quantile(some, [0.05, 0.25, 0.5, 0.75, 0.95])
            expected.append([(number + 1) * width, len(some), some.mean(), *quantiles])
    assert got["run_id"].tolist() == sorted(got["run_id"])
    np.testing.assert_allclose(got.drop(columns="run_id").to_numpy(dtype=float), np.array(expected))
    one = store.returns("b", bins=bins)
    assert set(one["run_id"]) == {"b"}
    assert one["n"].sum() == 200
    with pytest.raises(UnknownName, match="unknown run 'c'"):
        store.returns(["a", "c"])


def test_returns_of_nothing(store_dir: Path) -> None:
    empty = Store(store_dir)
    empty.create()
    assert empty.returns().empty
    assert empty.histogram("return").empty
    assert empty.histogram("outcome").empty


def test_a_histogram_of_numbers_under_filters(store: Store) -> None:
    got = store.histogram("return", bins=12)
    counts, edges = np.histogram(RETURNS, bins=12)
    assert got["n"].tolist() == counts.tolist()
    np.testing.assert_allclose(got["low"], edges[:-1])
    np.testing.assert_allclose(got["high"], edges[1:])
    rows = store.sql("FROM trajectories")
    wanted = rows[(rows.run_id == "b") & (rows.outcome == "wall") & (rows.length >= 10) & (rows.length <= 30)]
    where = {"run_id": ["b"], "outcome": "wall", "length": (10, 30)}
    filtered = store.histogram("return", where=where, bins=5)
    assert filtered["n"].tolist() == np.histogram(wanted["return"], bins=5)[0].tolist()
    seeds = store.histogram("seed", where={"run_id": "b"})
    assert seeds["low"].tolist() == list(range(7)), "a bin for each whole number"
    assert seeds["n"].sum() == 200
    lengths = store.histogram("length", bins=10)
    assert lengths["n"].tolist() == np.histogram(LENGTHS, bins=np.append(lengths["low"], 41))[0].tolist()
    assert store.histogram("info.apples")["n"].sum() == 300


def test_a_histogram_of_anything_else(store: Store) -> None:
    agents = store.histogram("agent")
    assert agents.to_numpy().tolist() == [["agent-b", 200], ["agent-a", 100]]
    times = store.histogram("started_at", where={"run_id": "a"}, bins=4)
    assert times["n"].tolist() == [25, 25, 25, 25]
    assert times["low"][0] == pd.Timestamp(1.6e9, unit="s")
    store.tag(store.page().rows[0]["trajectory_id"], "odd", "good")
    assert sorted(store.histogram("tags")["value"]) == ["good", "odd"]
    assert store.histogram("kind")["n"].tolist() == [300]
    with pytest.raises(UnknownName, match=r"'retrun'\. Did you mean 'return'"):
        store.histogram("retrun")
    with pytest.raises(AigymError, match="bins=0 must be a whole number"):
        store.histogram("return", bins=0)


def test_values_that_are_not_finite_have_no_bin(store_dir: Path) -> None:
    store = Store(store_dir)
    store.create()
    with store.writer("r") as writer:
        writer.batch(
            Batch(
                env_id="e",
                agent="a",
                observations=np.zeros((8, 1)),
                actions=np.zeros(4),
                rewards=np.array([np.nan, np.inf, -np.inf, 2.0]),
                lengths=np.ones(4, dtype=np.int64),
                terminated=np.ones(4, dtype=np.bool_),
                truncated=np.zeros(4, dtype=np.bool_),
            )
        )
    got = store.histogram("return", bins=3)
    assert got["n"].tolist() == [0, 1, 0]
    assert store.returns(bins=1)["mean"].tolist() == [2.0]
