"""Recordings for the browser tests of conversations, comparisons and differences, made by a notebook.

import talks; talks.record_talks()
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hostile import HOSTILE

from aigym_kernel.runs import rollout
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import (
    Image,
    Mark,
    Message,
    Note,
    Score,
    ToolCall,
    Trajectory,
    conversation,
)

TOGETHER = 6
"""How many hostile texts one trajectory holds: all its turns are on the page at once."""

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def record(run_id: str, trajectories: Iterable[Trajectory], **fields: Any) -> None:
    """One run, unless it is recorded already."""
    store = Store()
    if (store.folder / "runs" / run_id).exists():
        return
    store.add_run(RunRecord(**{"run_id": run_id, "kind": "rollout", "name": run_id, **fields}))
    with store.writer(run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)


def talk(turns: int, twist: str = "") -> Trajectory:
    """An assistant that calls a tool in each turn; the third says ``twist`` too."""
    said = [
        Message(role="system", content="Be careful. " * 80),
        Message(role="user", content=("Look at this.", Image(data=PNG))),
    ]
    for i in range(turns):
        added = twist if i == 2 else ""
        text = f"## Turn {i}\n\nI **run** `x = {i}`{added}, see [docs](https://example.org/)."
        call = ToolCall(id=f"c{i}", name="python", arguments={"code": f"x = {i}\nprint(x)", "timeout": 5})
        said += [
            Message(
                role="assistant",
                content=text,
                tool_calls=(call,),
                reasoning=f"because of {i}",
                model="m-1",
                input_tokens=10,
                output_tokens=5,
                cost=0.001,
                logprobs=(-0.5, -1.5),
                extra={"tokens": ["a", "b"]},
            ),
            Message(
                role="tool", content=f"{i}\n", tool_call_id=f"c{i}", error="exit code 1" if i == 1 else None
            ),
        ]
    return conversation(said, env_id="Chat-v0", agent="talker", seed=1)


def record_talks() -> None:
    """Two conversations of three turns that differ in the last."""
    record("talks", [talk(3), talk(3, " once more")])


def record_topics() -> None:
    """Four short conversations about four things, one of them with markup."""
    topics = {
        "cook": "Write a recipe for pancakes: mix flour, eggs and milk.",
        "baker": "Bake a cake of flour, eggs and milk. <img src=x onerror='window.pwned=1'>",
        "sorter": "Sort the employees by their salary.",
        "keeper": "Evict the least recently used entry of a cache.",
    }
    record(
        "topics",
        [
            conversation(
                [Message(role="user", content=text), Message(role="assistant", content="Done.")],
                env_id="Chat-v0",
                agent=agent,
                id=f"topic-{agent}",
            )
            for agent, text in topics.items()
        ],
    )


def record_long() -> None:
    """One conversation of 6,702 messages."""
    record("long", [talk(3_350)])


def record_boards() -> None:
    """Two games of Snake from one seed that part at the third step."""
    for moves in ([0, 0, 1], [0, 0, 2]):

        def fixed(_observation: Any, steps: Any, moves: list[int] = moves) -> int:
            return moves[len(steps)] if len(steps) < len(moves) else 0

        rollout(fixed, "aigym/Snake-v0", seed=3)


def record_trainings() -> None:
    """Two learning rates, four seeds of each."""
    draws = np.random.default_rng(0)
    for rate in (1, 2):
        for seed in range(4):
            ends = [
                Trajectory(
                    env_id="Task-v0",
                    agent="ppo",
                    observations=np.zeros((6, 2)),
                    actions=np.zeros(5, dtype=np.int64),
                    rewards=draws.normal(i * rate / 10, 0.2, size=5),
                    terminated=True,
                    truncated=False,
                    seed=i,
                    started_at=1e9 + i,
                )
                for i in range(30)
            ]
            config = {"algo": "ppo", "ppo": {"learning_rate": rate, "seed": seed}}
            record(f"ppo-{rate}-{seed}", ends, kind="train", config=config)


def record_spite() -> None:
    """Every hostile text in every field, in two runs that differ."""
    for n in (1, 2):
        record(
            f"spite-{n}",
            [spiteful(HOSTILE[i : i + TOGETHER], n) for i in range(0, len(HOSTILE), TOGETHER)],
            name=HOSTILE[n],
            config={text: text * n for text in HOSTILE},
        )
        with Store().writer(f"spite-{n}") as writer:
            writer.metrics(0, dict.fromkeys(HOSTILE, 1.0))


def spiteful(texts: Sequence[str], n: int) -> Trajectory:
    """A trajectory that holds these texts wherever a text may stand."""
    text = "\n".join(texts)
    marks = tuple(Mark(name=t, value=0.5, feedback=t, evidence={t: t}) for t in texts)
    return conversation(
        [message for t in texts for message in spoken(t, n)],
        env_id=text,
        agent=text,
        error=text,
        group=text,
        tags=tuple(texts),
        notes=tuple(Note(text=t, by=t) for t in texts),
        final_info={**{t: t for t in texts}, "outcome": text},
        env_kwargs={t: t for t in texts},
        score=Score(task_id=text, total=0.5, passed=False, marks=marks),
    )


def spoken(text: str, n: int) -> list[Message]:
    """Messages that hold the text in each of their fields."""
    call = ToolCall(id=text, name=text, arguments={text: text, "code": f"{text}\n{text}"})
    return [
        Message(role="system", content=text, name=text),
        Message(role="user", content=text, name=text),
        Message(role="system", content=f"{text} " * 40),
        Message(
            role="assistant",
            content=text + "x" * (n - 1),
            reasoning=text,
            error=text,
            model=text,
            tool_calls=(call,),
            logprobs=(-1.0,),
            extra={"tokens": [text]},
        ),
        Message(role="tool", content=text, tool_call_id=text, error=text, name=text),
        Message(
            role="tool",
            content=(text, Image(data=text.encode(), media_type=text), Image(data=text.encode())),
        ),
        Message(role="assistant", tool_calls=(ToolCall(id="2", name=text, arguments=text),)),
    ]
