"""A person's word on a mark: in a Score, and in the store beside what the judge said."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory, tally

MARKS = (
    Mark(name="tests", value=0.5, weight=3.0, required=True, feedback="1 of 2"),
    Mark(name="style", value=None, weight=1.0, evidence={"answers": ["<b>nonsense"]}),
)


def verdict(*marks: Mark, pass_mark: float = 0.8) -> Score:
    total, passed = tally(marks, pass_mark)
    return Score(task_id="t", total=total, passed=passed, marks=marks, pass_mark=pass_mark)


def play(score: Score, identifier: str) -> Trajectory:
    return Trajectory(
        id=identifier,
        env_id="aigym/t-v0",
        agent="a",
        observations=["do it", "done"],
        actions=["solution"],
        rewards=np.array([score.total or 0.0]),
        terminated=True,
        truncated=False,
        score=score,
        final_info={"outcome": "unjudged"},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "data")
    made.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    with made.writer("r") as writer:
        writer.trajectory(play(verdict(*MARKS), "one"))
        writer.trajectory(play(verdict(replace(MARKS[1], value=1.0)), "two"))
    return made


# In a score


def test_a_review_decides_and_keeps_what_the_judge_said() -> None:
    score = verdict(*MARKS)
    assert (score.total, score.passed) == (None, False)
    score = score.reviewed("style", 0.0, note="hard to read", by="ada")
    assert (score.total, score.passed) == (0.375, False)
    score = score.reviewed("tests", 1, by="ada")
    assert (score.total, score.passed) == (0.75, False)
    again = score.reviewed("style", 0.5, note="better than I thought", by="bob")
    assert (again.total, again.passed) == (0.875, True)
    tests, style = again.marks
    assert tests.review is not None
    assert style.review is not None
    assert (tests.value, tests.review.judged, tests.status) == (1.0, 0.5, "passed")
    assert (style.value, style.review.judged, style.review.by) == (0.5, None, "bob")
    assert style.review.at > 1.6e9
    assert "reviewed by bob (the judge gave no value): better than I thought" in str(again)
    assert "reviewed by ada (the judge said 0.50)" in again._repr_html_()
    assert again.to_dict()["marks"][1]["review"]["note"] == "better than I thought"
    assert score.marks[1].value == 0.0, "a Score is frozen: the one before stays"


def test_a_required_mark_that_is_not_full_fails_it() -> None:
    score = verdict(replace(MARKS[0], value=1.0), replace(MARKS[1], value=1.0))
    assert score.passed
    assert not score.reviewed("tests", 0.99).passed


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True, "1", None])
def test_a_value_that_is_none(value: object) -> None:
    with pytest.raises(AigymError, match=r"of the mark 'style' must be a number from 0 to 1"):
        verdict(*MARKS).reviewed("style", value)  # type: ignore[arg-type]


def test_a_mark_that_is_none() -> None:
    with pytest.raises(UnknownName, match=r"unknown mark 'stile'\. Did you mean 'style'"):
        verdict(*MARKS).reviewed("stile", 1.0)
    with pytest.raises(AigymError, match="2 marks have the name 'tests'"):
        verdict(MARKS[0], MARKS[0]).reviewed("tests", 1.0)


def test_weights_that_sum_to_zero() -> None:
    with pytest.raises(AigymError, match="the weights of the rubric's criteria sum to zero"):
        verdict(replace(MARKS[0], weight=0.0))


def test_evidence_is_shown_and_escaped() -> None:
    html = verdict(*MARKS)._repr_html_()
    assert "&lt;b&gt;nonsense" in html
    assert "<b>nonsense" not in html


# In the store


def test_a_stored_score_is_reviewed_in_a_new_segment(store: Store) -> None:
    recorded = {p: p.read_bytes() for p in store.folder.rglob("*.parquet")}
    score = store.review("one", "style", 1.0, note="it is fine", by="ada")
    assert (score.total, score.passed) == (0.625, False)
    score = store.review("one", "tests", 1.0, by="bob")
    assert (score.total, score.passed) == (1.0, True)
    for path, content in recorded.items():
        assert path.read_bytes() == content
    assert len(list(store.folder.rglob("reviews/*.parquet"))) == 2

    marks = store.sql("SELECT * FROM marks WHERE trajectory_id = 'one' ORDER BY name")
    assert marks["value"].tolist() == [1.0, 1.0]
    assert marks["judged"].isna().tolist() == [True, False]
    assert marks["judged"][1] == 0.5
    assert marks["reviewer"].tolist() == ["ada", "bob"]
    assert marks["note"].tolist() == ["it is fine", ""]
    assert marks["status"].tolist() == ["passed", "passed"]
    assert marks["reviewed_at"].notna().all()
    assert marks["evidence"][0] == '{"answers": ["<b>nonsense"]}'
    row = store.sql("SELECT * FROM trajectories WHERE trajectory_id = 'one'").iloc[0]
    assert (row["score"], row["passed"], row["outcome"], row["return"]) == (1.0, True, "passed", 0.0)
    assert store.load("one").score == score
    assert store.page(where={"outcome": "passed"}).total == 2
    first = store.sql("SELECT outcome FROM recorded.trajectories WHERE trajectory_id = 'one'")
    assert first["outcome"].tolist() == ["unjudged"]


def test_what_nobody_reviewed_stays(store: Store) -> None:
    before = store.sql("SELECT * FROM trajectories WHERE trajectory_id = 'two'")
    marks = store.sql("SELECT * FROM marks WHERE trajectory_id = 'two'")
    store.review("one", "style", 1.0)
    assert store.sql("SELECT * FROM trajectories WHERE trajectory_id = 'two'").equals(before)
    assert store.sql("SELECT * FROM marks WHERE trajectory_id = 'two'").equals(marks)
    assert marks[["value", "judged"]].values.tolist() == [[1.0, 1.0]]


def test_a_review_is_reviewed_again_and_both_rows_stay(store: Store) -> None:
    store.review("one", "tests", 1.0, by="ada")
    score = store.review("one", "tests", 0.0, by="bob", note="it cheats")
    assert score.marks[0].review is not None
    assert (score.marks[0].value, score.marks[0].review.judged) == (0.0, 0.5)
    rows = store.sql("SELECT reviewer, value FROM reviews ORDER BY time")
    assert rows.values.tolist() == [["ada", 1.0], ["bob", 0.0]]
    assert store.sql("SELECT reviewer FROM marks WHERE name = 'tests'")["reviewer"].tolist() == ["bob"]


def test_a_score_that_was_reviewed_before_it_was_recorded(store: Store) -> None:
    score = verdict(*MARKS).reviewed("style", 0.25, by="ada", note="so so")
    with store.writer("r") as writer:
        writer.trajectory(play(score, "three"))
    loaded = store.load("three").score
    assert loaded is not None
    assert loaded.marks[1].review is not None
    assert (loaded.total, loaded.marks[1].value, loaded.marks[1].review.judged) == (score.total, 0.25, None)
    assert loaded.marks[0] == score.marks[0]


def test_what_cannot_be_reviewed(store: Store) -> None:
    with pytest.raises(UnknownName, match=r"unknown trajectory 'on'\. Did you mean 'one'"):
        store.review("on", "style", 1.0)
    with pytest.raises(UnknownName, match="unknown mark"):
        store.review("one", "nothing", 1.0)
    with store.writer("r") as writer:
        writer.trajectory(replace(play(verdict(*MARKS), "four"), score=None))
    with pytest.raises(AigymError, match="'four' has no score"):
        store.review("four", "style", 1.0)
    assert not list(store.folder.rglob("reviews/*.parquet"))


def test_reviews_outlive_the_index(store: Store) -> None:
    store.review("one", "style", 1.0, by="ada")
    store.index()
    store.review("one", "tests", 1.0, by="bob")
    for _ in range(2):
        row = store.sql("SELECT score, passed FROM trajectories WHERE trajectory_id = 'one'").iloc[0]
        assert (row["score"], row["passed"]) == (1.0, True)
        assert store.sql("SELECT count(*) AS n FROM marks")["n"][0] == 3
        store.index(rebuild=True)


def test_a_store_of_the_version_before_still_reads(store: Store) -> None:
    """Its segments lack two columns, its index these and a table."""
    for table, column in (("marks", "evidence"), ("trajectories", "pass_mark")):
        for path in store.folder.rglob(f"{table}/*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = store.load("one").score
        assert score is not None
        assert (score.pass_mark, score.marks[1].evidence) == (1.0, {})
        index = store.index()
        with duckdb.connect(str(index)) as connection:
            connection.execute("ALTER TABLE marks DROP COLUMN evidence; DROP TABLE reviews")
            connection.execute("ALTER TABLE trajectories DROP COLUMN pass_mark")
        assert store.sql("SELECT count(*) AS n, count(evidence) AS e FROM marks").values.tolist() == [[3, 0]]
        assert (store.folder / "index" / "CURRENT").read_text().strip() != index.name
        with store.writer("r") as writer:
            writer.trajectory(play(verdict(*MARKS), "five"))
        assert store.review("one", "style", 1.0).total == 0.625
        query = "SELECT trajectory_id, pass_mark FROM trajectories ORDER BY pass_mark, trajectory_id"
        pass_marks = store.sql(query)["pass_mark"]
        assert pass_marks[0] == 0.8
        assert pass_marks[1:].isna().all()
