"""Conversations as the explorer sends them: turns, calls joined with their answers, chunks, pictures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigym_kernel.errors import AigymError
from aigym_kernel.trajectories import Image, Message, ToolCall, conversation
from aigym_kernel.widgets import stills
from aigym_kernel.widgets.conversation import CHUNK, MAX_TEXT, Conversation
from aigym_kernel.widgets.shown import Opened


def call(id: str, **arguments: Any) -> ToolCall:
    return ToolCall(id=id, name="run", arguments=arguments)


def answer(text: str, id: str | None = None, **more: Any) -> Message:
    return Message(role="tool", content=text, tool_call_id=id, **more)


def test_answers_stand_under_their_calls_and_what_nobody_asked_for_is_a_turn() -> None:
    talk = Conversation(
        [
            Message(role="user", content="go", step=0),
            Message(role="assistant", tool_calls=(call("a"), call("b")), step=0),
            answer("of b", "b"),
            answer("of a", "a", error="exit code 1"),
            answer("of nobody", "z"),
            Message(role="assistant", tool_calls=(call("a"),), step=2),
            answer("of the second a", "a"),
            Message(role="assistant", content="done", step=3),
        ]
    )
    turns = talk.chunk(0)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "assistant", "assistant"]
    assert [turn["step"] for turn in turns] == [0, 0, 0, 2, 3]
    first, second = turns[1]["calls"]
    assert (first["result"], first["error"]) == ([["t", "of a"]], "exit code 1")
    assert second["result"] == [["t", "of b"]]
    assert turns[3]["calls"][0]["result"] == [["t", "of the second a"]]


def test_answers_without_ids_belong_to_the_calls_before_them_in_order() -> None:
    messages = [
        Message(role="assistant", tool_calls=(call(""), call(""))),
        answer("1"),
        answer("2"),
        answer("3"),
    ]
    turns = Conversation(messages).chunk(0)
    assert [c["result"] for c in turns[0]["calls"]] == [[["t", "1"]], [["t", "2"]]]
    assert [turn["parts"] for turn in turns[1:]] == [[["t", "3"]]]


def test_arguments_are_named_texts_and_code_stays_readable() -> None:
    calls = (
        call("1", code="def f():\n    return 1", options={"deep": [1, 2]}, n=3),
        ToolCall(id="2", name="run", arguments='{"path": "a.py"}'),
        ToolCall(id="3", name="run", arguments="not { json"),
        ToolCall(id="4", name="run", arguments="[" * 100_000),
    )
    plain = Conversation([Message(role="assistant", tool_calls=calls)]).chunk(0)[0]["calls"]
    assert plain[0]["arguments"] == [
        ["code", "def f():\n    return 1"],
        ["options", '{"deep": [1, 2]}'],
        ["n", "3"],
    ]
    assert plain[1]["arguments"] == [["path", "a.py"]]
    assert plain[2]["arguments"] == [["", "not { json"]]
    assert plain[3]["arguments"][0][1].endswith("… 80,000 more characters")


def test_only_bitmaps_of_four_kinds_become_pictures() -> None:
    kinds = (
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/svg+xml",
        "text/html",
        "image/png;x=<b>",
    )
    content = tuple(Image(data=b"<svg onload=alert(1)>", media_type=kind) for kind in kinds)
    (turn,) = Conversation([Message(role="user", content=content)]).chunk(0)
    assert [kind for kind, _ in turn["parts"]] == ["i", "i", "i", "i", "x", "x", "x"]
    assert turn["parts"][0][1] == "data:image/png;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+"
    large = Message(role="user", content=(Image(data=b"x" * 1_000_000),))
    assert Conversation([large]).chunk(0)[0]["parts"] == [["x", "a picture of 1,000,000 bytes"]]
    assert Conversation([large]).turn(0)["parts"][0][0] == "i"


def test_facts_and_tokens_are_there_where_they_were_recorded() -> None:
    message = Message(
        role="assistant",
        content="a b",
        model="m",
        input_tokens=3,
        output_tokens=2,
        cost=0.5,
        at=1.5,
        logprobs=(-1.0, -3.0),
        extra={"tokens": ["a", " b"]},
    )
    (turn,) = Conversation([message]).chunk(0)
    found = [turn[name] for name in ("model", "input_tokens", "output_tokens", "cost", "at", "logprob")]
    assert found == ["m", 3, 2, 0.5, 1.5, -2.0]
    assert turn["tokens"] == [["a", -1.0], [" b", -3.0]]
    (bare,) = Conversation([Message(role="assistant", content="a", extra={"tokens": ["a", "b"]})]).chunk(0)
    assert set(bare) == {"turn", "step", "role", "parts"}


def test_long_conversations_come_in_chunks_and_long_texts_are_cut() -> None:
    many = [Message(role="user", content=f"{i}", step=i) for i in range(3 * CHUNK + 1)]
    talk = Conversation(many)
    head = talk.head()
    assert (head["starts"], head["steps"], head["turns"]) == ([0, 40, 80, 120], [0, 40, 80, 120], 121)
    assert [turn["turn"] for n in range(4) for turn in talk.chunk(n)] == list(range(121))
    assert talk.chunk(9) == []
    heavy = Conversation([Message(role="user", content="x" * 90_000)] * 30)
    assert heavy.head()["starts"] == [0, 9, 18, 27], f"nine times {MAX_TEXT} are the most that fit"
    (turn, *_) = heavy.chunk(0)
    assert turn["parts"][0][1].endswith("\n… 70,000 more characters")
    assert len(heavy.turn(0)["parts"][0][1]) == 90_000
    with pytest.raises(AigymError, match="no turn 30"):
        heavy.turn(30)
    assert Conversation([]).head()["starts"] == []


def test_an_opened_trajectory_with_messages_shows_them_first_and_is_json() -> None:
    said = [
        Message(role="user", content="lone \ud800 surrogate"),
        Message(role="assistant", content="a" * 50_000),
    ]
    opened = Opened(conversation(said * 50, env_id="Chat-v0", agent="a"))
    head = opened.head()
    assert (head["view"], next(iter(head["scenes"]))) == ("conversation", "conversation")
    text = json.dumps(head, allow_nan=False)
    assert len(text) < 700_000
    text.encode()


def test_without_a_script_the_first_turns_can_be_read() -> None:
    said = [
        Message(role="user", content="<b>go</b>"),
        Message(role="assistant", content="I look", tool_calls=(call("a", path="x.py"),)),
        answer("\x1b[31mdone\x1b[0m", "a"),
        *[Message(role="user", content=f"more {i}") for i in range(30)],
    ]
    still = stills.trajectory(Opened(conversation(said, env_id="Chat-v0", agent="a")).head())
    assert "&lt;b&gt;go&lt;/b&gt;" in still
    assert "call of run" in still
    assert "path: x.py" in still
    assert ">done<" in still
    assert still.count("<details open") == 1
    assert "12 further turns are not shown here" in still
