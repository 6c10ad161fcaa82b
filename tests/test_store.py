"""The store: what goes in comes out, SQL can only read, pages and filters, the index."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aigym_kernel.batches import Batch
from aigym_kernel.errors import QueryError, StoreError, UnknownName
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.store.records import settled
from aigym_kernel.trajectories import Mark, Score, Step, Trajectory


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    made.create()
    return made


def play(steps: int = 3, **changes: Any) -> Trajectory:
    fields: dict[str, Any] = {
        "env_id": "aigym/Count-v0",
        "agent": "random",
        "observations": np.arange((steps + 1) * 2, dtype=np.float32).reshape(steps + 1, 2),
        "actions": np.arange(steps, dtype=np.int64),
        "rewards": np.ones(steps),
        "terminated": True,
        "truncated": False,
    }
    return Trajectory(**{**fields, **changes})


def record(store: Store, *trajectories: Trajectory, run_id: str = "r1") -> None:
    with store.writer(run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)


def assert_same_values(got: Any, wanted: Any) -> None:
    if isinstance(wanted, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(got, wanted)
    else:
        assert list(got) == list(wanted)


def assert_same(got: Trajectory, wanted: Trajectory, run_id: str = "r1") -> None:
    assert_same_values(got.observations, wanted.observations)
    assert_same_values(got.actions, wanted.actions)
    assert_same_values(got.rewards, np.asarray(wanted.rewards, dtype=np.float64))
    for name in ("id", "env_id", "agent", "terminated", "truncated", "seed", "error", "group", "wall_s"):
        assert getattr(got, name) == getattr(wanted, name), name
    assert (got.env_kwargs, got.final_info, got.infos) == (
        wanted.env_kwargs,
        wanted.final_info,
        tuple(wanted.infos),
    )
    assert got.score == wanted.score
    assert got.run_id == run_id
    assert got.outcome == wanted.outcome
    assert got.started_at == pytest.approx(wanted.started_at, abs=1e-6)


# Round trips

SCORE = Score(
    task_id="fizzbuzz",
    total=None,
    passed=False,
    wall_s=0.25,
    marks=(
        Mark(name="b: first", value=0.5, weight=2.0, required=True, feedback="line\nline"),
        Mark(name="a: second", value=None, feedback="judge was away"),
        Mark(name="c: third", value=1.0),
    ),
)


def test_a_trajectory_comes_back_whole(store: Store) -> None:
    wanted = play(
        seed=7,
        env_kwargs={"size": 8, "walls": [[1, 2], [3, 4]]},
        infos=({"a": 1}, {}, {"b": {"c": [1.5, None]}}),
        final_info={"outcome": "wall"},
        score=SCORE,
        group="g",
        wall_s=1.5,
    )
    record(store, wanted)
    assert_same(store.load(wanted.id), wanted)
    store.index()
    assert_same(store.load(wanted.id), wanted)


def test_a_trajectory_that_failed_before_its_first_step(store: Store) -> None:
    numbers = play(0, terminated=False, error="reset failed: no display")
    text = play(0, observations=["prompt"], actions=[], terminated=False, error="no engine")
    record(store, numbers, text)
    assert_same(store.load(numbers.id), numbers)
    assert_same(store.load(text.id), text)
    assert store.sql("SELECT outcome, length FROM trajectories").values.tolist() == [["error", 0]] * 2


def test_a_numeric_text_and_structured_columns_in_one_segment(store: Store) -> None:
    numbers = play(2)
    text = play(2, observations=["a", "", "c\n"], actions=["left", "right"])
    dicts = play(2, observations=[{"x": 1}, None, {"y": [1, 2]}], actions=[[1], [2, 3]])
    images = play(2, observations=np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3))
    record(store, numbers, text, dicts, images)
    for wanted in (numbers, text, dicts, images):
        assert_same(store.load(wanted.id), wanted)
    rows = store.sql("SELECT observation, observation_text, action, action_text FROM steps WHERE t = 1")
    assert rows["observation"][0].tolist() == [2.0, 3.0]
    assert rows["action"][0].tolist() == [1.0]
    assert rows["observation_text"][1:3].tolist() == ["", "null"]
    assert rows["action_text"][1:3].tolist() == ["right", "[2, 3]"]
    assert len(rows["observation"][3]) == 60


dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Sequence[Any] | np.ndarray[Any, Any]:
    if draw(st.booleans()):
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
        return draw(hnp.arrays(draw(dtypes), (rows, *shape)))
    text = st.text(alphabet=st.characters(exclude_categories=()), max_size=8)
    inner = st.none() | st.booleans() | st.integers() | text
    structured = st.dictionaries(text, st.lists(inner, max_size=2), max_size=2)
    values = draw(st.sampled_from([text, text | structured, structured]))
    return draw(st.lists(values, min_size=rows, max_size=rows))


@st.composite
def plays(draw: st.DrawFn) -> Trajectory:
    steps = draw(st.integers(0, 4))
    info = st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False) | st.text(max_size=3), max_size=2)
    return play(
        steps,
        observations=draw(columns(steps + 1)),
        actions=draw(columns(steps)),
        rewards=draw(hnp.arrays(np.float64, steps)),
        infos=tuple(draw(st.lists(info, min_size=steps, max_size=steps))),
        final_info=draw(info),
        seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        error=draw(st.none() | st.text(max_size=5)),
        terminated=draw(st.booleans()),
        truncated=draw(st.booleans()),
    )


@given(trajectories=st.lists(plays(), min_size=1, max_size=4), data=st.data())
@hypothesis_settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_anything_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, trajectories: list[Trajectory], data: st.DataObject
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    with store.writer("r1") as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)
            if data.draw(st.booleans()):
                writer.flush()
    for wanted in trajectories:
        assert_same(store.load(wanted.id), wanted)


@given(wanted=plays(), early=st.integers(0, 4))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_steps_written_early_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, wanted: Trajectory, early: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    with store.writer("r1") as writer:
        for t in range(min(early, len(wanted))):
            writer.step(wanted.id, wanted[t])
        writer.trajectory(wanted)
    assert_same(store.load(wanted.id), wanted)
    seen = store.sql("SELECT t, terminated, truncated FROM steps ORDER BY t")
    assert seen["t"].tolist() == list(range(len(wanted)))
    flags = [wanted[t].terminated for t in range(len(wanted))]
    assert seen["terminated"].tolist() == flags


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**53 + 1, -(2**63), 2**63 - 1]),
        np.array([2**64 - 1, 0, 1], dtype=np.uint64),
        np.array([[2**53 + 1, 2], [3, 4], [5, 6]]),
    ],
)
def test_integers_that_no_double_holds_stay_exact(store: Store, values: np.ndarray[Any, Any]) -> None:
    wanted = play(2, observations=values, actions=values[:2])
    record(store, wanted)
    assert_same(store.load(wanted.id), wanted)


def test_a_list_of_numbers_comes_back_as_the_array_it_stands_for(store: Store) -> None:
    wanted = play(2, observations=[np.float32(1), np.float32(2), np.float32(3)], actions=[1, 0])
    record(store, wanted)
    got = store.load(wanted.id)
    assert_same_values(got.observations, np.array([1, 2, 3], dtype=np.float32))
    assert_same_values(got.actions, np.array([1, 0]))


def test_rewards_that_are_not_finite_survive(store: Store) -> None:
    rewards = np.array([np.nan, np.inf, -np.inf, 1.0])
    record(store, play(4, rewards=rewards))
    query = "SELECT reward FROM steps WHERE reward > 0 OR reward < 0 ORDER BY t"
    before = store.sql(query)["reward"].to_numpy()
    np.testing.assert_array_equal(before, rewards)
    store.index()
    np.testing.assert_array_equal(store.sql(query)["reward"].to_numpy(), rewards)


def test_infos_of_any_kind_become_json(store: Store) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    infos = (
        {"n": np.int64(3), "f": np.float32(0.5), "a": np.arange(3), "flag": np.bool_(True)},
        {"b": b"ab\xff", "t": (1, 2), "s": {1}, 5: "int key", (1, 2): "tuple key", "path": Path("x")},
        circle,
        {"nan": math.nan, "inf": math.inf},
    )
    record(store, wanted := play(4, infos=infos))
    got = store.load(wanted.id).infos
    assert got[0] == {"n": 3, "f": 0.5, "a": [0, 1, 2], "flag": True}
    assert got[1] == {
        "b": "ab\\xff",
        "t": [1, 2],
        "s": [1],
        "5": "int key",
        "(1, 2)": "tuple key",
        "path": "x",
    }
    assert set(got[2]) == {"self"}
    assert math.isnan(got[3]["nan"])
    assert got[3]["inf"] == math.inf
    answer = store.sql("SELECT info->>'n' AS n FROM steps WHERE info->>'n' IS NOT NULL")
    assert answer["n"].tolist() == ["3"]


def test_lone_surrogates(store: Store) -> None:
    wanted = play(
        2,
        observations=["\ud800", "ok", "\udfffx"],
        actions=["a", "\udc80"],
        infos=({"k\ud800": "\udc00"}, {}),
        error="bad \udcff byte",
    )
    record(store, wanted)
    got = store.load(wanted.id)
    assert list(got.observations) == list(wanted.observations)
    assert list(got.actions) == list(wanted.actions)
    assert got.infos == wanted.infos
    assert got.error == "bad \\udcff byte"


def test_a_value_of_the_wrong_type_spoils_nothing_else(store: Store) -> None:
    good = play()
    with store.writer("r1") as writer:
        writer.trajectory(good)
        with pytest.raises((TypeError, AttributeError)):
            writer.trajectory(play(env_id=5))
        with pytest.raises(StoreError, match="64 bits"):
            writer.trajectory(play(seed=2**64))
    assert store.page().total == 1
    assert_same(store.load(good.id), good)


# Batches


def batch(sizes: Sequence[int], **changes: Any) -> Batch:
    steps, count = sum(sizes), len(sizes)
    fields: dict[str, Any] = {
        "env_id": "aigym/Count-v0",
        "agent": "ppo",
        "observations": np.arange((steps + count) * 2, dtype=np.float32).reshape(-1, 2),
        "actions": np.arange(steps),
        "rewards": np.linspace(0, 1, steps),
        "lengths": np.array(sizes, dtype=np.int64),
        "terminated": np.arange(count) % 2 == 0,
        "truncated": np.arange(count) % 2 == 1,
    }
    return Batch(**{**fields, **changes})


def test_a_batch_is_recorded_as_its_trajectories_are(store: Store) -> None:
    wanted = batch(
        [3, 0, 5],
        seeds=np.array([7, 8, 9]),
        env_kwargs={"size": 4},
        final_infos=[{"outcome": "wall"}, {}, {"apples": 2}],
        groups=["g", "g", "h"],
        started_at=[1.0, 2.0, 3.0],
        wall_s=[0.5, 0.25, 0.125],
    )
    with store.writer("r1") as writer:
        writer.batch(wanted)
        writer.batch(batch([2]))
        writer.batch(batch([]))
    for trajectory in wanted:
        assert_same(store.load(trajectory.id), trajectory)
    assert [len(t) for t in wanted] == [3, 0, 5]
    assert store.load(wanted.ids[2]).observations.tolist() == wanted.observations[5:].tolist()
    assert store.sql("SELECT t FROM steps")["t"].tolist() == [*range(3), *range(5), *range(2)]
    assert store.sql(
        'SELECT outcome, group_ FROM (SELECT outcome, "group" AS group_ FROM trajectories '
        "ORDER BY started_at)"
    ).values.tolist()[:2] == [["wall", "g"], ["truncated", "g"]]


def test_a_batch_of_images_and_texts(store: Store) -> None:
    images = np.arange(5 * 40 * 40 * 3, dtype=np.uint8).reshape(5, 40, 40, 3)
    wanted = batch([2, 1], observations=images, actions=["left", "right", "up"])
    with store.writer("r1") as writer:
        writer.batch(wanted)
    for trajectory in wanted:
        assert_same(store.load(trajectory.id), trajectory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.zeros(4)}, "2 trajectories of 5 steps in all need 5 rewards, got 4"),
        ({"observations": np.zeros((5, 2))}, "need 7 observations, got 5"),
        ({"seeds": [1]}, "need 2 seeds, got 1"),
        ({"lengths": np.array([6, -1])}, "lengths hold -1"),
    ],
)
def test_a_batch_that_does_not_fit_together_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batch([3, 2], **change)


def test_a_batch_with_a_bad_value_leaves_nothing(store: Store) -> None:
    with store.writer("r1") as writer:
        with pytest.raises(StoreError, match="64 bits"):
            writer.batch(batch([1, 1], seeds=[1, 2**64]))
        writer.step("a", play()[0])
        with pytest.raises(StoreError, match="'a' were written early"):
            writer.batch(batch([1, 1], ids=["b", "a"]))
    assert store.page().total == 0
    assert store.sql("SELECT count(*) AS n FROM steps")["n"][0] == 1


# Writing


def test_many_rows_are_written_before_the_writer_is_closed(store: Store) -> None:
    with store.writer("r1") as writer:
        writer.trajectory(play(30_000))
        writer.trajectory(play(30_000))
        assert store.page().total == 2


def test_long_texts_are_written_before_there_are_many_rows(store: Store) -> None:
    marks = tuple(Mark(name=f"m{i}", value=1.0, feedback="x" * 2**22) for i in range(17))
    with store.writer("r1") as writer:
        writer.trajectory(play(score=Score(task_id="t", total=1.0, passed=True, marks=marks)))
        assert store.page().total == 1


def test_what_waited_for_long_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigym_kernel.store.writer.FLUSH_S", 0.1)
    with store.writer("r1") as writer:
        writer.metrics(1, {"loss": 1.0})
        time.sleep(0.1)
        writer.metrics(2, {"loss": 0.5})
        assert store.sql("SELECT step FROM metrics ORDER BY step")["step"].tolist() == [1, 2]


def test_fast_recording_makes_no_more_segments_than_the_time_it_takes(store: Store) -> None:
    began = time.monotonic()
    with store.writer("r1") as writer:
        for _ in range(400):
            writer.trajectory(play(100))
    segments = len(list((store.run_folder("r1") / "steps").glob("*.parquet")))
    assert segments <= 1 + (time.monotonic() - began) / 2
    assert store.sql("SELECT count(*) AS n FROM steps")["n"][0] == 40_000


def test_early_steps_are_seen_before_their_trajectory(store: Store) -> None:
    wanted = play(3, infos=({"a": 1}, {}, {}))
    with store.writer("r1") as writer:
        writer.step(wanted.id, wanted[0])
        writer.step(wanted.id, wanted[1])
        writer.flush()
        assert store.sql("SELECT count(*) AS n FROM steps")["n"][0] == 2
        with pytest.raises(UnknownName):
            store.load(wanted.id)
        with pytest.raises(StoreError, match=r"t=1 .* cannot follow 2 steps"):
            writer.step(wanted.id, wanted[1])
        writer.trajectory(wanted)
    assert_same(store.load(wanted.id), wanted)


def test_more_early_steps_than_the_trajectory_has_are_refused(store: Store) -> None:
    wanted = play(2)
    with store.writer("r1") as writer:
        for t in range(2):
            writer.step(
                "other", Step(t=t, observation=0, action=0, reward=0, terminated=False, truncated=False)
            )
        with pytest.raises(StoreError, match="has 1 steps, but 2 were written early"):
            writer.trajectory(play(1, id="other"))
        writer.trajectory(wanted)
    assert_same(store.load(wanted.id), wanted)


def test_metrics(store: Store) -> None:
    with store.writer("r1") as writer:
        writer.metrics(100, {"loss": 0.5, "return_mean": math.nan})
        writer.metrics(200, {"loss": 0.25})
    rows = store.sql("SELECT step, value FROM metrics WHERE name = 'loss' ORDER BY step")
    assert rows.values.tolist() == [[100, 0.5], [200, 0.25]]
    times = store.sql("SELECT time FROM metrics")["time"]
    assert abs((pd.Timestamp.now("UTC").tz_localize(None) - times[0]).total_seconds()) < 600


def test_a_closed_writer_refuses(store: Store) -> None:
    writer = store.writer("r1")
    writer.close()
    with pytest.raises(StoreError, match="closed"):
        writer.trajectory(play())


def test_two_writers_on_one_run_lose_nothing(store: Store) -> None:
    kept = [play() for _ in range(8)]
    with store.writer("r1") as first, store.writer("r1") as second:
        for i, trajectory in enumerate(kept):
            writer = (first, second)[i % 2]
            writer.trajectory(trajectory)
            writer.flush()
    record(store, last := play())
    assert store.page().total == 9
    for wanted in (*kept, last):
        assert_same(store.load(wanted.id), wanted)
    assert not list(store.folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "a/b", "../up", "/etc", "a\\b", "a\0b", "-x", "a\n", "x" * 300]
)
def test_ids_that_are_paths_are_refused(store: Store, run_id: str) -> None:
    with pytest.raises(StoreError, match="cannot name a folder"):
        store.writer(run_id)
    with pytest.raises(StoreError, match="cannot name a folder"):
        RunRecord(run_id=run_id, kind="train", name="x")


# SQL


def test_an_empty_store_has_empty_tables(store: Store) -> None:
    tables = ["marks", "messages", "metrics", "notes", "reviews", "runs", "steps", "trajectories"]
    assert store.sql("SHOW TABLES")["name"].tolist() == tables
    for table in tables:
        assert len(store.sql(f"SELECT * FROM {table}")) == 0
    kinds = store.sql("SELECT column_name, column_type FROM (DESCRIBE steps)").set_index("column_name")
    assert kinds["column_type"]["observation"] == "DOUBLE[]"
    assert store.page().rows == []
    assert store.values("env_id") == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) AS n FROM trajectories",
        "FROM trajectories SELECT count(*) AS n;",
        "WITH t AS (SELECT * FROM trajectories) SELECT count(*) AS n FROM t -- done",
        "PIVOT trajectories ON outcome USING count(*)",
        "SUMMARIZE trajectories",
        "DESCRIBE trajectories",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM trajectories",
        "EXPLAIN ANALYZE SELECT * FROM trajectories",
        'SELECT "group", "return", return FROM trajectories',
    ],
)
def test_reading_statements_run(store: Store, query: str) -> None:
    record(store, play())
    assert len(store.sql(query)) > 0


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO steps SELECT * FROM steps",
        "DELETE FROM trajectories",
        "UPDATE trajectories SET seed = 1",
        "DROP VIEW steps",
        "CREATE TABLE mine (i INT)",
        "ATTACH '{out}' AS mine",
        "COPY (SELECT 1) TO '{out}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
        "EXPLAIN (FORMAT json) COPY (SELECT 1) TO '{out}'",
        "/* */ EXPLAIN /* */ ANALYZE -- x\n COPY (SELECT 1) TO '{out}'",
        "EXPORT DATABASE '{out}'",
        "SET enable_external_access = true",
        "PRAGMA enable_profiling",
        "INSTALL httpfs",
        "CALL force_checkpoint()",
        "BEGIN",
        "VACUUM",
    ],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_the_store_is_read_only(store: Store, tmp_path: Path, query: str, indexed: bool) -> None:
    record(store, play())
    if indexed:
        store.index()
    with pytest.raises(QueryError, match="read-only"):
        store.sql(query.replace("{out}", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
    assert store.page().total == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_parquet('{data}/*/*/*/*.parquet')",
        "SELECT * FROM read_json('{data}/runs/r1/run.json')",
    ],
)
def test_other_files_cannot_be_read(store: Store, query: str) -> None:
    record(store, play())
    with pytest.raises(QueryError, match=r"(?i)permission|disabled|unknown table"):
        store.sql(query.replace("{data}", str(store.folder)))


def test_variables_of_the_caller_are_no_tables(store: Store) -> None:
    mine = pd.DataFrame({"secret": [1]})
    with pytest.raises(QueryError, match="mine"):
        store.sql("SELECT * FROM mine")
    assert len(mine) == 1


def test_one_statement_at_a_time(store: Store) -> None:
    with pytest.raises(QueryError, match="2 statements"):
        store.sql("SELECT 1; SELECT 2")
    with pytest.raises(QueryError, match="statements"):
        store.sql("CREATE TABLE x (i INT); SELECT 1")
    with pytest.raises(QueryError, match="empty"):
        store.sql(" -- nothing")


def test_wrong_names_and_wrong_sql(store: Store) -> None:
    with pytest.raises(QueryError, match=r'(?s)rewrd.*Candidate bindings: .*"reward"'):
        store.sql("SELECT rewrd FROM steps")
    with pytest.raises(
        QueryError, match=r"Did you mean 'steps'\?.*runs, trajectories, marks|runs, traj"
    ) as caught:
        store.sql("SELECT * FROM step")
    assert "Did you mean 'steps'" in str(caught.value)
    with pytest.raises(QueryError, match="syntax error"):
        store.sql("SELEC 1")
    with pytest.raises(QueryError):
        store.sql("SELECT CAST('x' AS INTEGER)")
    with pytest.raises(QueryError):
        store.sql("SELECT ?", [])


@pytest.mark.parametrize("query", [None, 5, b"SELECT 1", ["SELECT 1"]])
def test_a_query_that_is_no_text(store: Store, query: Any) -> None:
    with pytest.raises(QueryError, match="is not text; write one SELECT"):
        store.sql(query)


def test_lone_surrogates_in_a_query_find_what_was_recorded(store: Store) -> None:
    record(store, play(agent="bad \udcff byte"), play())
    assert len(store.sql("SELECT 1 FROM trajectories WHERE agent = 'bad \udcff byte'")) == 1
    assert len(store.sql("SELECT 1 FROM trajectories WHERE agent = ?", ["bad \udcff byte"])) == 1
    assert store.page(where={"agent": "bad \udcff byte"}).total == 1


def test_parameters_and_types(store: Store) -> None:
    record(store, play(seed=3), play(seed=None, env_id="other"))
    rows = store.sql("SELECT * FROM trajectories WHERE env_id = ?", ["aigym/Count-v0"])
    assert rows["seed"][0] == 3
    assert rows["length"].dtype == np.int64
    assert rows["return"].dtype == np.float64
    assert rows["terminated"].dtype == np.bool_
    assert pd.api.types.is_datetime64_dtype(rows["started_at"].dtype)
    assert rows["final_observation"][0].tolist() == [6.0, 7.0]


# Pages


def test_pages_filters_and_search(store: Store) -> None:
    store.add_run(RunRecord(run_id="t1", kind="train", name="one"))
    store.add_run(RunRecord(run_id="n1", kind="notebook", name="two"))
    first = [play(started_at=1000.0 + i, seed=i, agent="Ünder%_") for i in range(5)]
    second = [play(started_at=2000.0 + i, env_id="Other-v1", error="x" if i else None) for i in range(3)]
    record(store, *first, run_id="t1")
    record(store, *second, run_id="n1")

    page = store.page(limit=2, offset=1)
    assert page.total == 8
    assert [row["trajectory_id"] for row in page.rows] == [second[1].id, second[0].id]
    assert page.rows[0]["kind"] == "notebook"
    assert page.rows[0]["observation_shape"] == [2]
    assert store.page(offset=100).total == 8
    assert store.page(where={"kind": "train"}).total == 5
    assert store.page(where={"kind": ["train", "notebook"], "env_id": "Other-v1"}).total == 3
    assert store.page(where={"seed": [1, None]}).total == 4
    assert store.page(where={"seed": []}).total == 0
    assert store.page(where={"outcome": "error"}).total == 2
    assert store.page(search="OTHER").total == 3
    assert store.page(search="ünDER%_").total == 5
    assert store.page(search="%").total == 5
    assert store.page(search=first[2].id[3:12]).total == 1
    assert store.page(search="' OR 1=1 --").total == 0
    up = store.page(where={"run_id": "t1"}, order_by="seed", descending=False, limit=3).rows
    assert [row["seed"] for row in up] == [0, 1, 2]
    assert store.page(order_by="kind", limit=1).rows[0]["kind"] == "train"
    assert store.values("env_id") == [("aigym/Count-v0", 5), ("Other-v1", 3)]
    assert store.values("kind") == [("train", 5), ("notebook", 3)]
    for call in (
        lambda: store.page(where={"envid": 1}),
        lambda: store.page(order_by='"; DROP'),
        lambda: store.values("envid"),
    ):
        with pytest.raises(UnknownName, match="column of trajectories"):
            call()


def test_pages_do_not_overlap_where_times_are_equal(store: Store) -> None:
    record(store, *(play(started_at=5.0) for _ in range(30)))
    seen = [row["trajectory_id"] for i in range(0, 30, 7) for row in store.page(limit=7, offset=i).rows]
    assert len(seen) == len(set(seen)) == 30


def test_an_unknown_trajectory(store: Store) -> None:
    record(store, play(id="abcdef"))
    with pytest.raises(UnknownName, match=r"unknown trajectory 'abcdeg'\. Did you mean 'abcdef'"):
        store.load("abcdeg")


@pytest.mark.parametrize("trajectory_id", [None, 5, b"abcdef", play()])
def test_a_trajectory_id_that_is_no_text(store: Store, trajectory_id: Any) -> None:
    with pytest.raises(StoreError, match=r"is not text; pass the id, such as trajectory\.id"):
        store.load(trajectory_id)


# Runs


def test_runs_come_back_and_are_a_table(store: Store) -> None:
    wanted = RunRecord(
        run_id="ppo-1",
        kind="train",
        name="PPO",
        config={"lr": 1e-3, "n": np.int64(5)},
        provenance={"git": "abc"},
        parent="p",
        created_at=1_700_000_000.25,
    )
    folder = store.add_run(wanted)
    assert folder == store.run_folder("ppo-1")
    assert store.run("ppo-1") == wanted
    assert store.status("ppo-1").state == "queued"
    store.write_status("ppo-1", RunStatus(state="done", step=10, total_steps=10, summary={"return": 9.5}))
    row = store.sql("SELECT *, config->>'lr' AS lr FROM runs").iloc[0]
    assert (row["run_id"], row["kind"], row["state"], row["step"]) == ("ppo-1", "train", "done", 10)
    assert row["created_at"] == pd.Timestamp("2023-11-14 22:13:20.25")
    assert float(row["lr"]) == 1e-3
    assert store.run_ids() == ["ppo-1"]
    with pytest.raises(StoreError, match="exists already"):
        store.add_run(wanted)
    with pytest.raises(UnknownName, match="Did you mean 'ppo-1'"):
        store.status("ppo-2")
    with pytest.raises(StoreError, match="state 'finished' is none of"):
        RunStatus(state="finished")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 1e30}, r"step 1e\+30 is not a whole number"),
        ({"step": 2**63}, "step 9223372036854775808 is not a whole number"),
        ({"total_steps": None}, "total_steps None is not"),
        ({"pid": "x"}, "pid 'x' is not a process id"),
        ({"heartbeat": math.nan}, "heartbeat nan is not a time"),
        ({"summary": []}, r"summary \[\] is not a mapping"),
    ],
)
def test_a_status_that_nobody_could_read_is_refused(
    store: Store, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        RunStatus(**{"state": "running", **change})


def test_a_run_whose_process_is_gone_was_killed(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    store.add_run(RunRecord(run_id="r1", kind="train", name="x"), RunStatus(state="running", pid=child.pid))
    assert store.status("r1").state == "running"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert store.status("r1").state == "killed", "a zombie does no more work"
    child.communicate()
    assert store.status("r1").state == "killed"
    assert store.sql("SELECT state FROM runs")["state"].tolist() == ["killed"]
    store.write_status("r1", RunStatus(state="running", pid=child.pid, host="elsewhere"))
    assert store.status("r1").state == "running", "a process of another host cannot be looked up"
    store.write_status("r1", RunStatus(state="running", pid=os.getpid(), heartbeat=1000.0))
    assert store.status("r1").state == "killed", "this process was born after that heartbeat"
    done = RunStatus(state="done", pid=child.pid)
    store.write_status("r1", done)
    assert store.status("r1").state == "done"
    reads = iter([RunStatus(state="running", pid=child.pid), done])
    assert settled(lambda: next(reads)) == done, "its last word came while its process was looked for"


def test_a_folder_may_be_given_as_text(store: Store) -> None:
    record(store, wanted := play())
    same = Store(str(store.folder))
    assert same.folder == store.folder
    assert_same(same.load(wanted.id), wanted)


# The index


def answers(store: Store) -> list[list[list[Any]]]:
    queries = (
        "SELECT * EXCLUDE (observation, action) FROM steps ORDER BY ALL",
        "SELECT trajectory_id, env_id, length, return, score FROM trajectories ORDER BY ALL",
        "SELECT run_id, step, name, value FROM metrics ORDER BY ALL",
        "SELECT * FROM marks ORDER BY ALL",
        "SELECT list(observation ORDER BY trajectory_id, t)::VARCHAR AS o FROM steps",
    )
    return [store.sql(query).astype(object).fillna("-").values.tolist() for query in queries]


def test_the_index_changes_no_answer(store: Store) -> None:
    for i in range(4):
        with store.writer(f"r{i}") as writer:
            for _ in range(3):
                writer.trajectory(play(3 + i, score=SCORE))
                writer.metrics(i, {"loss": i / 2})
    bare = answers(store)
    first = store.index()
    assert answers(store) == bare
    assert store.index() == first, "nothing new, no new generation"
    record(store, extra := play(), run_id="r1")
    partly = answers(store)
    second = store.index()
    assert second != first
    assert answers(store) == partly
    third = store.index(rebuild=True)
    assert answers(store) == partly
    assert_same(store.load(extra.id), extra)
    kept = sorted(path.name for path in (store.folder / "index").glob("*.duckdb*"))
    assert kept == [second.name, third.name]


def test_readers_build_the_index_when_segments_are_many(store: Store) -> None:
    with store.writer("r1") as writer:
        for i in range(260):
            writer.metrics(i, {"loss": 1.0})
            writer.flush()
    assert store.sql("SELECT count(*) AS n, count(DISTINCT step) AS d FROM metrics").values.tolist() == [
        [260, 260]
    ]
    assert (store.folder / "index" / "CURRENT").exists()


def test_a_deleted_run_is_gone_from_answers_and_index(store: Store) -> None:

    record(store, play(), run_id="keep")
    record(store, play(), run_id="drop")
    store.index()
    shutil.rmtree(store.run_folder("drop"))
    assert store.values("run_id") == [("keep", 1)]
    store.index()
    assert store.values("run_id") == [("keep", 1)]


def test_a_run_recorded_again_under_its_old_id(store: Store) -> None:
    record(store, play(seed=1))
    store.index()
    shutil.rmtree(store.run_folder("r1"))
    record(store, again := play(seed=2))
    for _ in range(2):
        assert store.values("seed") == [(2, 1)]
        assert_same(store.load(again.id), again)
        assert store.sql("SELECT count(*) AS n FROM steps")["n"][0] == again.length
        store.index()


def test_a_deleted_segment_is_gone_from_answers_and_index(store: Store) -> None:
    with store.writer("r1") as writer:
        for step in range(3):
            writer.metrics(step, {"loss": 0.0})
            writer.flush()
    store.index()
    (store.run_folder("r1") / "metrics" / "000002.parquet").unlink()
    for _ in range(2):
        assert store.sql("SELECT step FROM metrics ORDER BY step")["step"].tolist() == [0, 2]
        store.index()


def test_importing_the_store_does_not_import_torch() -> None:
    code = "import sys, aigym_kernel.store; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
