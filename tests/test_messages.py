"""Conversations in the store: every field of a message comes back, and SQL can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigym_kernel import rollouts
from aigym_kernel.errors import StoreError
from aigym_kernel.store import Store
from aigym_kernel.trajectories import Image, Message, ToolCall, Trajectory, conversation

CALL = ToolCall(id="c1", name="shell", arguments={"command": "ls -l", "timeout": 2.5, "deep": {"a": [None]}})
TALK = (
    Message(role="system", content="Be brief."),
    Message(
        role="user",
        content=("What is this?", Image(data=b"\x89PNG\x00\xff", media_type="image/png"), "And this?"),
        name="ada",
        at=1_700_000_000.123456,
    ),
    Message(
        role="assistant",
        content="Let me look. 🙂",
        tool_calls=(CALL, ToolCall(id="c2", name="shell", arguments="{broken json")),
        reasoning="It may be a cat.\nOr not.",
        model="a-model",
        input_tokens=812,
        output_tokens=3,
        cost=0.00125,
        token_ids=(5, 151_643, 0),
        logprobs=(-0.5, float("-inf"), 0.0),
        extra={"stop_reason": "tool_calls"},
    ),
    Message(role="tool", content="cat.png", tool_call_id="c1", error="exit code 1"),
    Message(role="assistant", content="A cat."),
)


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    made.create()
    return made


def record(store: Store, *trajectories: Trajectory, run_id: str = "r") -> None:
    with store.writer(run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)


def test_a_conversation_comes_back_equal_and_is_read_in_sql(store: Store) -> None:
    talk = conversation(TALK, env_id="chat", agent="a-model", parent="the-first", group="g")
    record(store, talk)
    for _ in range(2):  # from the segments, then from the index
        got = store.load(talk.id)
        assert got.messages == talk.messages
        assert (got.parent, got.group) == ("the-first", "g")
        rows = store.sql("SELECT i, role, content, step FROM messages ORDER BY i")
        assert rows["role"].tolist() == ["system", "user", "assistant", "tool", "assistant"]
        assert rows["content"].tolist()[1:3] == ["What is this?\nAnd this?", "Let me look. 🙂"]
        assert rows["step"].tolist() == [0, 0, 0, 1, 1]
        one = store.sql(
            "SELECT tool_calls->'$[0].arguments'->>'command' AS command, list_sum(token_ids) AS tokens, "
            "len(logprobs) AS n, cost, reasoning, octet_length(images[1]) AS bytes "
            "FROM messages WHERE i IN (1, 2) ORDER BY i"
        )
        assert one["command"].tolist()[1] == "ls -l"
        assert one["tokens"].tolist()[1] == 151_648
        assert one["n"].tolist()[1] == 3
        assert one["bytes"].tolist()[0] == 6
        assert store.sql("SELECT parent FROM trajectories").iloc[0, 0] == "the-first"
        store.index()


text = st.text(max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(ToolCall, id=text, name=text, arguments=text | st.dictionaries(text, plain, max_size=3))
images = st.builds(Image, data=st.binary(max_size=20), media_type=text)
whole = st.none() | st.integers(-(2**63), 2**63 - 1)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=text | st.lists(text | images, max_size=3).map(tuple),
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=st.none() | text,
    name=st.none() | text,
    reasoning=text,
    error=st.none() | text,
    model=st.none() | text,
    input_tokens=whole,
    output_tokens=whole,
    cost=st.none() | st.floats(allow_nan=False),
    token_ids=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple),
    logprobs=st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
    step=whole,
    at=st.none() | st.integers(0, 4 * 10**15).map(lambda us: us / 1e6),
    extra=st.dictionaries(text, plain, max_size=2),
)


@given(said=st.lists(messages, max_size=4))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_message_comes_back_equal(store: Store, said: list[Message]) -> None:
    talk = conversation(said, env_id="chat", agent="a")
    talk = Trajectory(**{**vars(talk), "messages": tuple(said)})
    record(store, talk)
    got = store.load(talk.id).messages
    assert got == tuple(said)
    assert [type(m.content) for m in got] == [type(m.content) for m in said]


def test_lone_surrogates_come_back_and_are_escapes_in_sql(store: Store) -> None:
    bad = "a\udc80b"
    said = Message(
        role="assistant",
        content=(bad, Image(data=b"")),
        tool_calls=(
            ToolCall(id=bad, name=bad, arguments={bad: [bad]}),
            ToolCall(id="", name="", arguments=bad),
        ),
        reasoning=bad,
        error=bad,
        model=bad,
        name=bad,
        tool_call_id=bad,
        extra={bad: bad},
    )
    talk = conversation([said, Message(role="user", content=bad)], env_id=bad, agent=bad, parent=bad)
    record(store, talk)
    assert store.load(talk.id).messages == talk.messages
    shown = store.sql("SELECT DISTINCT content, reasoning FROM messages WHERE role = 'assistant'")
    assert shown.values.tolist() == [["a\\udc80b", "a\\udc80b"]]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (Message(role="user", content=("a", 3)), "message 1 .* neither text nor an Image"),  # type: ignore[arg-type]
        (Message(role="user", input_tokens=2**63), "message 1 .* does not fit 64 bits"),
        (Message(role="user", token_ids=(2**63,)), "message 1 .* does not fit 64 bits"),
        (Message(role="user", logprobs=("much",)), "message 1 .* could not convert"),  # type: ignore[arg-type]
        ({"role": "user", "content": "a"}, "message 1 .* see the fields of trajectories.Message"),
    ],
)
def test_what_is_no_message_is_refused_and_spoils_nothing(store: Store, wrong: Any, told: str) -> None:
    good = conversation(TALK, env_id="chat", agent="a")
    with store.writer("r") as writer:
        with pytest.raises(StoreError, match=told):
            writer.trajectory(Trajectory(**{**vars(good), "id": "bad", "messages": (TALK[0], wrong)}))
        writer.trajectory(good)
    assert store.sql("SELECT DISTINCT trajectory_id AS id FROM messages")["id"].tolist() == [good.id]
    assert store.load(good.id).messages == good.messages


def test_rewards_have_their_mean_and_range(store: Store) -> None:
    fields: dict[str, Any] = {"env_id": "e", "agent": "a", "terminated": True, "truncated": False}
    for name, rewards in {"some": [1.0, -3.0, 5.0], "none": [], "odd": [1.0, float("nan")]}.items():
        steps = np.zeros(len(rewards) + 1)
        record(
            store,
            Trajectory(id=name, observations=steps, actions=steps[1:], rewards=np.array(rewards), **fields),
        )
    rows = store.sql(
        "SELECT reward_mean, reward_min, reward_max FROM trajectories "
        "WHERE trajectory_id IN ('some', 'none') ORDER BY trajectory_id DESC"
    )
    assert rows.iloc[0].tolist() == [1.0, -3.0, 5.0]
    assert rows.iloc[1].isna().all()
    odd = store.sql(
        "SELECT isnan(reward_mean) AND isnan(return) AS odd FROM trajectories WHERE trajectory_id = 'odd'"
    )
    assert odd["odd"].tolist() == [True]


class Talker:
    """An agent that keeps its conversation, anew for every episode."""

    name = "talker"

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def __call__(self, observation: Any, steps: Any) -> int:
        if not steps:
            self.messages = []
        self.messages += [
            Message(role="user", content=str(observation), step=len(steps)),
            Message(role="assistant", content="1", step=len(steps)),
        ]
        return 1


def test_a_roll_out_keeps_the_conversation_of_its_agent(store: Store) -> None:
    agent = Talker()
    with gymnasium.make("CartPole-v1", max_episode_steps=5) as env:
        played = [rollouts.collect(rollouts.play(agent, env, seed=seed)) for seed in (1, 2)]
    record(store, *played)
    for trajectory in played:
        assert len(trajectory.messages) == 2 * len(trajectory)
        assert trajectory.messages[-1].step == len(trajectory) - 1
        assert store.load(trajectory.id).messages == trajectory.messages
