"""Two trajectories aligned: where they part and meet again, and what differs within a row."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aigym_kernel as aigym
from aigym_kernel.alignment import Block, align, common, words
from aigym_kernel.differences import diff
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Image, Message, ToolCall, Trajectory, conversation

EVIL = "<img src=x onerror=alert(1)>"


def steps(rewards: Sequence[float], observations: Any = None, **changes: Any) -> Trajectory:
    n = len(rewards)
    values: dict[str, Any] = {
        "env_id": "Task-v0",
        "agent": "a",
        "observations": np.arange(n + 1.0) if observations is None else observations,
        "actions": np.zeros(n, dtype=np.int64),
        "rewards": np.array(rewards, dtype=float),
        "terminated": True,
        "truncated": False,
        "seed": 1,
    }
    return Trajectory(**{**values, **changes})


# Alignment


def rebuilt(blocks: Sequence[Block], a: Sequence[Any], b: Sequence[Any]) -> None:
    """The blocks cover both from end to end, in order, and say truly what is the same."""
    i = j = 0
    for before, block in zip([None, *blocks], blocks):
        assert (block.a0, block.b0) == (i, j)
        assert block.rows > 0
        assert before is None or before.same != block.same
        if block.same:
            assert list(a[block.a0 : block.a1]) == list(b[block.b0 : block.b1])
        i, j = block.a1, block.b1
    assert (i, j) == (len(a), len(b))


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(0, 5), max_size=60))
def test_blocks_cover_both_sequences(a: list[int], b: list[int]) -> None:
    rebuilt(align(a, b), a, b)


def test_what_was_put_in_or_left_out_is_met_again_after() -> None:
    a = list(range(1000))
    b = [*a[:300], "x", "y", *a[300:700], *a[720:]]
    assert [(k.same, k.a1 - k.a0, k.b1 - k.b0) for k in align(a, b)] == [
        (True, 300, 300),
        (False, 0, 2),
        (True, 400, 400),
        (False, 20, 0),
        (True, 280, 280),
    ]


@pytest.mark.parametrize(
    "kind", ["no anchors", "all anchors", "few anchors", "crossed", "all different", "turns"]
)
def test_a_hundred_thousand_steps_are_aligned_whatever_they_are(kind: str) -> None:
    """Not timed: anything quadratic would not end within the suite's limit."""
    n = 100_000
    draw = random.Random(3)
    a: list[Any] = list(range(n))
    b = {
        "no anchors": [draw.randrange(4) for _ in range(n)],
        "all anchors": [x for x in a if x % 7],
        "few anchors": [x if x % 5_000 == 0 else -1 for x in a],
        "crossed": a[::-1],
        "all different": [-x - 1 for x in a],
        "turns": [x if x % 2 else -x - 1 for x in a],
    }[kind]
    if kind == "no anchors":
        a = [draw.randrange(4) for _ in range(n + 5)]
    if kind == "few anchors":
        a = [x if x % 5_000 == 0 else -2 for x in a]
    rebuilt(align(a, b), a, b)


# Trajectories


def test_steps_are_compared_by_observation_action_and_reward() -> None:
    a = steps([0, 0, 1, 0])
    assert diff(a, steps([0, 0, 1, 0])).equal
    assert aigym.diff(a, steps([0, 0, 2, 0])).first == (2, 2)
    assert diff(a, steps([0, 0, 1, 0], actions=np.array([0, 1, 0, 0]))).first == (1, 1)
    other = diff(a, steps([0, 0, 1, 0], observations=np.array([0, 1, 2, 3, 9.0])))
    assert other.divergences == [(4, 5)]
    assert diff(a, steps([0, 0, 1, 0], terminated=False, truncated=True)).first == (4, 4)


def test_numbers_are_compared_exactly_whatever_holds_them() -> None:
    nan = np.array([np.nan, 0.0, 1.0])
    assert diff(steps([0, 0], nan), steps([0, 0], np.array([np.nan, -0.0, 1.0]))).equal
    assert diff(steps([0, 0], nan.astype(np.float32)), steps([0, 0], nan)).equal
    assert not diff(steps([0], np.array([0.1, 0])), steps([0], np.array([0.1, 0], dtype=np.float32))).equal
    assert diff(steps([0], [{"a": [1]}, None]), steps([0], [{"a": [1]}, None])).equal
    assert diff(
        steps([0], np.zeros((2, 84, 84, 3), np.uint8)), steps([0], np.zeros((2, 84, 84, 3), np.uint8))
    ).equal


def test_a_row_tells_which_numbers_differ_and_by_how_much() -> None:
    a = steps([0.0], np.array([[1.0, 2.0, np.nan], [0, 0, 0]]))
    b = steps([0.5], np.array([[1.0, 2.5, np.nan], [0, 0, 0]]))
    (row,) = diff(a, b).rows(0, 1)
    assert (row["a"], row["b"], row["same"]) == (0, 0, False)
    parts = {part["name"]: part for part in row["parts"]}
    assert parts["observation"]["numbers"] == [["1", 2.0, 2.5, 0.5]]
    assert parts["reward"]["numbers"] == [["", 0.0, 0.5, 0.5]]
    assert parts["action"]["same"]
    wide = diff(steps([0], np.zeros((2, 100))), steps([0], np.ones((2, 100)))).rows(0, 1)[0]["parts"][0]
    assert (len(wide["numbers"]), wide["more"]) == (12, 88)


def talk(*texts: str, **changes: Any) -> Trajectory:
    call = ToolCall(id=texts[0], name="run", arguments={"code": "print(1)\nprint(2)"})
    made = [
        Message(role="system", content="You solve tasks."),
        *(Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(texts)),
        Message(role="assistant", tool_calls=(call,), reasoning="I think", cost=float(len(texts)), at=1.0),
        Message(role="tool", content=("done", Image(data=b"png")), tool_call_id=texts[0]),
    ]
    return conversation(made, env_id="Chat-v0", agent="a", **changes)


def test_messages_are_compared_by_what_they_say() -> None:
    one = talk("hello there", "good morning")
    assert diff(one, talk("hello there", "good morning", seed=None)).equal
    found = diff(one, talk("hello there", "good evening", "one more", "and more"))
    assert found.kind == "messages"
    assert found.counts() == {"same": 4, "changed": 1, "only_a": 0, "only_b": 2}
    assert found.divergences == [(2, 5)]
    first, second, _ = found.rows(2, 5)
    text = next(part for part in first["parts"] if part["name"] == "text")
    assert text["a"] == [[True, "good "], [False, "morning"]]
    assert text["b"] == [[True, "good "], [False, "evening"]]
    assert (second["a"], second["b"]) == (None, 3)
    last = found.rows(5, 7)
    assert "print(1)" in last[0]["parts"][2]["a"][0][1]
    assert "[image image/png, 3 bytes" in last[1]["parts"][1]["a"][0][1]


def test_recorded_ones_are_found_by_id(store_dir: Path) -> None:
    store = Store()
    store.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    a, b = steps([0, 1]), steps([0, 2], seed=2)
    with store.writer("r") as writer:
        writer.trajectory(a)
        writer.trajectory(b)
    found = diff(a.id, b.id)
    assert found.first == (1, 1)
    assert found.notes == ("Two seeds: 1 and 2. Different starts are to be expected.",)
    with pytest.raises(UnknownName, match="unknown trajectory 'nothing'"):
        diff(a.id, "nothing")
    with pytest.raises(AigymError, match="3 is neither"):
        diff(a, 3)  # type: ignore[arg-type]


# Texts


@given(st.text("ab .", max_size=40), st.text("ab .", max_size=40))
def test_pieces_make_up_both_texts_and_share_what_is_the_same(a: str, b: str) -> None:
    one, other = words(a, b)
    assert ("".join(t for _, t in one), "".join(t for _, t in other)) == (a, b)
    assert "".join(t for same, t in one if same) == "".join(t for same, t in other if same)
    assert common(a, b) == next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def test_long_texts_show_what_lies_round_the_first_difference() -> None:
    a, b = "word " * 40_000 + "end", "word " * 40_000 + "END" + " tail" * 40_000
    (row, _) = diff(steps([0], [a, ""]), steps([0], [b, ""])).rows(0, 9)
    part = row["parts"][0]
    assert "characters the same" in part["a"][0][1]
    assert part["a"][-1] == [False, "end"]
    assert len(json.dumps(row)) < 60_000
    assert words("x y " * 5_000, "z w " * 5_000)[0][0][0] is False


def test_the_static_page_shows_the_first_divergences_and_runs_nothing() -> None:
    found = diff(talk(EVIL, "b"), talk(EVIL + "!", "c"))
    page = found._repr_html_()
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "<script" not in page
    assert "divergence at row 1" in page
    long = diff(steps([0] * 3, ["x y " * 30_000] * 4), steps([1] * 3, ["z y " * 30_000] * 4))
    assert len(long._repr_html_()) < 300_000
    json.dumps(found.to_dict((0, 9)), allow_nan=False)
    assert repr(found).endswith(": 1 divergence in 5 messages, the first at 1 and 1)")


def test_printed_it_names_what_differs_first() -> None:
    head, *told = str(diff(steps([0, 1, 2], ["a"] * 4), steps([0, 5, 2], ["a"] * 4))).splitlines()
    assert "1 divergence" in head
    assert told == ["  row 1, reward: 1.0 | 5.0"]
    assert str(diff(talk("one b", "b"), talk("one c", "b"))).splitlines()[1:] == ["  row 1, text: b | c"]
