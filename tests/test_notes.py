"""Tags and notes that people give recorded trajectories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Note, Trajectory


def play(identifier: str, tags: tuple[str, ...] = (), notes: tuple[Note, ...] = ()) -> Trajectory:
    return Trajectory(
        id=identifier,
        env_id="e",
        agent="a",
        observations=np.zeros(2),
        actions=np.zeros(1),
        rewards=np.ones(1),
        terminated=True,
        truncated=False,
        tags=tags,
        notes=notes,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "data")
    made.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    with made.writer("r") as writer:
        writer.trajectory(play("one"))
        writer.trajectory(play("two", ("zebra", "apple"), (Note(text="strange", by="ada", at=12.5),)))
    return made


def tags(store: Store) -> dict[str, list[str]]:
    rows = store.page(order_by="trajectory_id", descending=False).rows
    return {row["trajectory_id"]: row["tags"] for row in rows}


def test_tags_and_notes_of_the_recording_come_back_in_their_order(store: Store) -> None:
    for _ in range(2):  # from the segments, then from the index
        two = store.load("two")
        assert two.tags == ("zebra", "apple")
        assert two.notes == (Note(text="strange", by="ada", at=12.5),)
        assert tags(store) == {"one": [], "two": ["zebra", "apple"]}
        store.index()


def test_tags_are_given_and_taken_away_and_given_again(store: Store) -> None:
    assert store.tag("one", "odd", "worth a look") == ("odd", "worth a look")
    assert store.tag("one", "new", remove=["odd", "never there"]) == ("worth a look", "new")
    assert store.tag("one", "odd", "odd", remove="new") == ("worth a look", "odd")
    assert store.load("one").tags == ("worth a look", "odd")
    found = store.sql("SELECT trajectory_id AS id FROM trajectories WHERE list_contains(tags, 'odd')")
    assert found["id"].tolist() == ["one"]
    assert tags(store)["two"] == ["zebra", "apple"]
    assert store.tag("two", remove=("zebra", "apple")) == ()
    assert tags(store)["two"] == []


def test_notes_are_added_by_several_people(store: Store) -> None:
    first = store.note("two", "looks like luck", by="bob")
    second = store.note("two", "no, it plans", "eve")
    assert store.load("two").notes == (Note(text="strange", by="ada", at=12.5), first, second)
    shown = store.sql("SELECT text, author FROM notes WHERE kind = 'note' ORDER BY time")
    assert shown["author"].tolist() == ["ada", "bob", "eve"]


def test_without_a_tag_there_are_empty_lists(store: Store) -> None:
    plain = Store(store.folder.parent / "plain")
    with plain.writer("r") as writer:
        writer.trajectory(play("one"))
    assert tags(plain) == {"one": []}
    plain.note("one", "a note is no tag")
    assert tags(plain) == {"one": []}
    assert plain.sql("SELECT count(*) FROM trajectories WHERE tags = []").iloc[0, 0] == 1


def test_lone_surrogates_become_escapes_and_can_be_removed(store: Store) -> None:
    store.note("one", "a\udc80", by="b\udc80")
    assert store.load("one").notes[0].text == "a\\udc80"
    assert store.tag("one", "c\udc80") == ("c\\udc80",)
    assert store.tag("one", remove=["c\udc80"]) == ()


@pytest.mark.parametrize("tag", ["", "  ", "x" * 201, 3, None])
def test_what_is_no_tag_is_refused(store: Store, tag: str) -> None:
    with pytest.raises(AigymError, match="is no text of 1 to 200 characters"):
        store.tag("one", "good", tag)
    assert store.load("one").tags == ()


def test_mistakes_are_named(store: Store) -> None:
    with pytest.raises(AigymError, match="'odd' is both given and taken away"):
        store.tag("one", "odd", remove=["odd"])
    with pytest.raises(UnknownName, match="Did you mean"):
        store.tag("onee", "odd")
    with pytest.raises(UnknownName, match="trajectory 'x'"):
        store.note("x", "text")
    with pytest.raises(AigymError, match="write some text"):
        store.note("one", " ")
    with pytest.raises(AigymError, match="give a list"), store.writer("r") as writer:
        writer.trajectory(play("three", tags="odd"))  # type: ignore[arg-type]
