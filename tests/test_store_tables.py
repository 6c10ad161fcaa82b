"""Trajectories as a table: filters, ranges, tags, keys of the final info."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aigym_kernel as aigym
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Trajectory

INFO = {
    "food": 3,
    "won": True,
    "ratio": np.float32(0.5),
    "cause": "wall\udc80",
    "long": "x" * 300,
    "path": [1, 2],
    "episode": {"r": np.array(2.5), "l": 7},
    "huge": 10**400,
    "nothing": None,
    "nan": float("nan"),
}


def play(identifier: str, reward: float = 1.0, **changes: Any) -> Trajectory:
    fields: dict[str, Any] = {
        "id": identifier,
        "env_id": "e",
        "agent": "a",
        "observations": np.zeros(2),
        "actions": np.zeros(1),
        "rewards": np.array([reward]),
        "terminated": True,
        "truncated": False,
        "started_at": 1_700_000_000.0,
    }
    return Trajectory(**(fields | changes))


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    made.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    with made.writer("r") as writer:
        writer.trajectory(play("one", 1.0, final_info=INFO, seed=1, tags=("odd",)))
        writer.trajectory(play("two", 2.0, final_info={"food": 5, "cause": "hunger"}, agent="b", seed=2))
        writer.trajectory(
            play("three", 3.0, started_at=1_800_000_000.0, agent="c", final_info={"food": "much"})
        )
        writer.trajectory(play("nan", float("nan"), tags=("odd", "new")))
        writer.trajectory(play("inf", float("-inf")))
    return made


def chosen(store: Store, **filters: Any) -> list[str]:
    return sorted(store.trajectories(**filters)["trajectory_id"])


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"agent": "b"}, ["two"]),
        ({"agent": ["b", "c"]}, ["three", "two"]),
        ({"agent": []}, []),
        ({"return_": (1.5, 3)}, ["three", "two"]),
        ({"return_": (None, 1.0)}, ["inf", "one"]),
        ({"return": (2, None), "agent": ["b"]}, ["two"]),
        ({"return": (2, None)}, ["three", "two"]),
        ({"return": (None, None)}, ["inf", "nan", "one", "three", "two"]),
        ({"return": float("nan")}, ["nan"]),
        ({"seed": None}, ["inf", "nan", "three"]),
        ({"seed": [1, None], "agent": "a"}, ["inf", "nan", "one"]),
        ({"seed": (None, None)}, ["one", "two"]),
        ({"agent": ("b", "c")}, ["three", "two"]),
        ({"started_at": (1_750_000_000, None)}, ["three"]),
        ({"started_at": (None, "2024-01-01")}, ["inf", "nan", "one", "two"]),
        ({"started_at": (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), None)}, ["three"]),
        ({"kind": "rollout", "search": "THRE"}, ["three"]),
        ({"tags": "odd"}, ["nan", "one"]),
        ({"tags": ["new", None]}, ["inf", "nan", "three", "two"]),
        ({"info.food": (4, None)}, ["two"]),
        ({"info.food": "much"}, ["three"]),
        ({"info.won": True}, ["one"]),
        ({"info.episode.r": 2.5}, ["one"]),
        ({"info.cause": "wall\udc80"}, ["one"]),
        ({"info.no such key'": 1}, []),
        ({"score": np.float64(1)}, []),
    ],
)
def test_filters(store: Store, filters: dict[str, Any], ids: list[str]) -> None:
    assert chosen(store, **filters) == ids
    store.index()
    assert chosen(store, **filters) == ids
    if "search" not in filters and "return_" not in filters:
        assert store.page(where=filters).total == len(ids)


def test_order_and_limit(store: Store) -> None:
    table = aigym.trajectories(order_by="info.food", limit=2)
    assert table["trajectory_id"].tolist() == ["two", "one"]
    assert "final_observation_bytes" not in table
    assert aigym.trajectories(store, limit=0).empty
    assert aigym.trajectories(store.folder, agent="b", order_by="return")["info"].tolist() == [
        '{"food": 5, "cause": "hunger"}'
    ]


def test_info_keys_are_read_without_json(store: Store) -> None:
    for _ in range(2):  # from the segments, then from the index
        assert store.info_keys() == {
            "food": "number",
            "cause": "text",
            "episode.l": "number",
            "episode.r": "number",
            "nan": "number",
            "ratio": "number",
            "won": "number",
        }
        assert list(store.info_keys())[:2] == ["food", "cause"]
        row = store.sql(
            "SELECT info_numbers['won'] AS won, info_texts['cause'] AS cause, "
            "info_texts['long'] IS NULL AS long, isnan(info_numbers['nan']) AS nan "
            "FROM trajectories WHERE trajectory_id = 'one'"
        ).iloc[0]
        assert (row["won"], row["cause"]) == (1.0, "wall\\udc80")
        assert row["long"]
        assert row["nan"]
        store.index()


def test_rewards_that_are_no_numbers_are_shown_as_they_are(store: Store) -> None:
    rows = store.page(order_by="trajectory_id", descending=False).rows
    returns = {row["trajectory_id"]: row["return"] for row in rows}
    assert np.isnan(returns["nan"])
    assert returns["inf"] == float("-inf")
    counts = store.sql(
        "SELECT count(*) FILTER (isnan(return)) AS nan, count(*) FILTER (isinf(return)) AS inf, "
        "count(*) FILTER (return IS NULL) AS none FROM trajectories"
    )
    assert counts.iloc[0].tolist() == [1, 1, 0]
    assert np.isnan(store.load("nan").rewards[0])
    assert store.load("inf").rewards.tolist() == [float("-inf")]


def test_mistakes_are_named(store: Store) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'agent'"):
        store.trajectories(agnet="a")
    with pytest.raises(UnknownName, match="column of trajectories"):
        store.trajectories(order_by="lenght")
    with pytest.raises(AigymError, match=r"seed=\(1, 2, 3\): a range is \(low, high\)"):
        store.trajectories(seed=(1, 2, 3))
    with pytest.raises(AigymError, match="limit=-1 must be a whole number"):
        store.trajectories(limit=-1)
