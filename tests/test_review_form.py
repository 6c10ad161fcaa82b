"""The review form without a browser: what is shown, what a message gives, what is recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_reviews import MARKS, play, verdict

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.widgets import ReviewForm, review

EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "data")
    made.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    with made.writer("r") as writer:
        writer.trajectory(play(verdict(*MARKS), "one"))
    return made


def sent(form: ReviewForm, content: Any) -> dict[str, Any]:
    """The view after a message as the browser sends it."""
    form._on_message(form, content, [])
    return dict(form.view)


def test_a_score_in_hand_is_reviewed() -> None:
    form = review(verdict(*MARKS), solution="print('hello')", by="ada")
    assert form.view["total"] is None
    assert form.selected == 1, "the first mark that waits"
    assert form.view["texts"] == [["solution", "print('hello')"]]
    score = form.give("style", 1.0, note="neat")
    assert (score.total, form.score, form.view["total"]) == (0.625, score, 0.625)
    mark = form.view["marks"][1]
    assert (mark["value"], mark["judged"], mark["by"], mark["note"]) == (1.0, None, "ada", "neat")
    assert repr(form) == "ReviewForm(t: score 0.62)"


def test_the_browser_gives_a_mark_and_is_told_of_mistakes() -> None:
    form = review(verdict(*MARKS), by="ada")
    view = sent(form, {"give": {"name": "style", "value": 0.5, "note": "so so"}, "asked": 1})
    assert (view["asked"], view["problem"], view["total"]) == (1, "", 0.5)
    view = sent(form, {"give": {"name": "style", "value": 2}, "asked": 2})
    assert (view["asked"], view["total"]) == (2, 0.5)
    assert "must be a number from 0 to 1" in view["problem"]
    assert "unknown mark 'x'" in sent(form, {"give": {"name": "x", "value": 1}, "asked": 3})["problem"]
    for content in (None, [], {"give": 1}, {"other": {}}):
        assert sent(form, content)["asked"] == 3
    assert sent(form, {"give": {}, "asked": 4})["problem"]
    assert sent(form, {"give": {"name": "tests", "value": True}, "asked": 5})["problem"]


def test_a_recorded_trajectory_is_reviewed_in_the_store(store: Store) -> None:
    form = review("one", store=store, by="ada")
    assert form.view["recorded"] == "one"
    assert form.view["texts"] == [["observation", "do it"], ["action 1", "solution"], ["observation", "done"]]
    form.give("style", 1.0)
    form.by = "bob"
    sent(form, {"give": {"name": "tests", "value": 1, "note": "it does work"}, "asked": 1})
    assert store.load("one").score == form.score
    rows = store.sql("SELECT name, value, reviewer, note FROM reviews ORDER BY time").values.tolist()
    assert rows == [["style", 1.0, "ada", ""], ["tests", 1.0, "bob", "it does work"]]
    assert review(store.load("one"), store=store).score == form.score


def test_what_was_written_is_shown_as_text(store: Store) -> None:
    evil = replace(MARKS[0], name=EVIL, feedback=EVIL, evidence={"answers": [EVIL]})
    form = review(verdict(evil), solution={EVIL: EVIL, "raw": b"\xff"}, by=EVIL)
    form.give(EVIL, 1.0, note=EVIL)
    page = form._repr_mimebundle_()[0]["text/html"]
    assert EVIL not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "reviewed by" in page


def test_long_texts_are_cut() -> None:
    form = review(verdict(*MARKS), solution={f"file {i}": "x" * 100_000 for i in range(100)})
    assert len(form.view["texts"]) == 60
    assert all(len(text) <= 20_000 for _, text in form.view["texts"])
    assert len(form.static_html()) < 300_000


def test_what_cannot_be_reviewed(store: Store) -> None:
    with pytest.raises(UnknownName, match="unknown trajectory"):
        review("two", store=store)
    with pytest.raises(AigymError, match="must be text, or texts by file name"):
        review(verdict(*MARKS), solution=5)  # type: ignore[arg-type]
    with store.writer("r") as writer:
        writer.trajectory(replace(play(verdict(*MARKS), "bare"), score=None))
    with pytest.raises(AigymError, match="'bare' has no score"):
        review("bare", store=store)
