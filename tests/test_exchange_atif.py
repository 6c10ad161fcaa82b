"""ATIF: its rules, documents of others, and our own there and back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exchange import numeric
from test_exchange_store import talk
from trajectory_examples import messages, same, trajectories

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import atif, atif_writing
from aigym_kernel.trajectories import Image, Trajectory, conversation

few = settings(max_examples=40, deadline=None)


def there_and_back(recorded: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all"
        assert atif_writing.write(path, recorded) == len(recorded)
        found = list(atif.read(path))
    assert len(found) == len(recorded)
    for a, b in zip(found, recorded):
        assert same(a, b)


@few
@given(st.lists(trajectories(), min_size=1, max_size=2))
def test_nothing_is_lost(recorded: list[Trajectory]) -> None:
    there_and_back(recorded)


@few
@given(st.lists(messages(), max_size=6))
def test_no_message_is_lost(said: list[Any]) -> None:
    there_and_back([conversation(said, env_id="e", agent="a")])


def minimal(**changes: Any) -> dict[str, Any]:
    """A document as the RFC shows one, with changes."""
    document = {
        "schema_version": "ATIF-v1.6",
        "session_id": "025B810F-B3A2-4C67-93C0-FE7A142A947A",
        "agent": {"name": "harbor-agent", "version": "1.0.0", "model_name": "small-1"},
        "steps": [
            {
                "step_id": 1,
                "timestamp": "2025-10-11T10:30:00Z",
                "source": "user",
                "message": "What is the price of A and B?",
            },
            {
                "step_id": 2,
                "timestamp": "2025-10-11T10:30:02.5Z",
                "source": "agent",
                "message": "I will look.",
                "reasoning_content": "Two look-ups.",
                "reasoning_effort": "high",
                "tool_calls": [
                    {"tool_call_id": "c1", "function_name": "price", "arguments": {"of": "A"}},
                    {"tool_call_id": "c2", "function_name": "price", "arguments": {"of": "B"}},
                ],
                "observation": {
                    "results": [
                        {"source_call_id": "c1", "content": "1.5"},
                        {"source_call_id": "c2", "content": [{"type": "text", "text": "2.5"}]},
                    ]
                },
                "metrics": {
                    "prompt_tokens": 520,
                    "completion_tokens": 80,
                    "cached_tokens": 200,
                    "cost_usd": 0.00045,
                    "completion_token_ids": [1, 2],
                    "logprobs": [-0.1, -0.05],
                },
            },
            {"step_id": 3, "source": "agent", "message": "1.5 and 2.5", "model_name": "large-2"},
        ],
        "notes": "of a test",
        "final_metrics": {"total_cost_usd": 0.00045, "total_steps": 3},
        "extra": {"team": "b"},
    }
    return {**document, **changes}


def found_in(tmp_path: Path, document: Any) -> list[Trajectory]:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    return list(atif.read(path))


def test_a_document_of_others_becomes_a_conversation(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path, minimal())
    assert (found.env_id, found.agent, len(found)) == ("atif", "harbor-agent", 2)
    assert [m.role for m in found.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    user, first, a, b, last = found.messages
    assert user.content == "What is the price of A and B?"
    assert [(c.id, c.name, c.arguments) for c in first.tool_calls] == [
        ("c1", "price", {"of": "A"}),
        ("c2", "price", {"of": "B"}),
    ]
    assert (first.reasoning, first.model, first.input_tokens, first.output_tokens, first.cost) == (
        "Two look-ups.",
        "small-1",
        520,
        80,
        0.00045,
    )
    assert (first.token_ids, first.logprobs) == ((1, 2), (-0.1, -0.05))
    assert first.extra == {"atif": {"reasoning_effort": "high", "metrics": {"cached_tokens": 200}}}
    assert (a.content, a.tool_call_id, a.name) == ("1.5", "c1", "price")
    assert (b.content, b.tool_call_id) == (("2.5",), "c2")
    assert last.model == "large-2"
    assert found.wall_s == 2.5
    assert found.started_at == 1760178600.0
    kept = found.final_info["atif"]
    assert kept["schema_version"] == "ATIF-v1.6"
    assert kept["agent"] == {"name": "harbor-agent", "version": "1.0.0", "model_name": "small-1"}
    assert (kept["notes"], kept["extra"]) == ("of a test", {"team": "b"})
    there_and_back([found])


def step(i: int, **changes: Any) -> dict[str, Any]:
    steps = [dict(s) for s in minimal()["steps"]]
    steps[i] |= changes
    return minimal(steps=steps)


result = {"results": [{"source_call_id": "c9", "content": "x"}]}
image = {"type": "image", "source": {"media_type": "image/png", "path": "no.png"}}
RULES = [
    ([1], "Document: is no object, but [1]"),
    (minimal(schema_version="ATIF-v2.0"), "schema_version: 'ATIF-v2.0' is none of ATIF-v1.0 to ATIF-v1.8"),
    (minimal(schema_version="ATIF-v1.99"), "schema_version: 'ATIF-v1.99' is none of"),
    (minimal(schema_version=1), "schema_version: 1 is not text"),
    (minimal(steps=[]), "steps: is empty"),
    (minimal(steps={}), "steps: is no list, but {}"),
    (minimal(agent={"name": "x"}), "agent.version: is missing"),
    (minimal(agent="x"), "agent: is no object"),
    (minimal(speed=1), "speed: no such field; there are schema_version, agent"),
    (step(0, step_id=0), "steps[0].step_id: is 0, but step ids count 1, 2, 3, so 1 is needed"),
    (step(2, step_id=4), "steps[2].step_id: is 4"),
    (step(1, step_id="two"), "steps[1].step_id: 'two' is not a whole number"),
    (step(0, timestamp="yesterday"), "steps[0].timestamp: 'yesterday' is no ISO 8601 time"),
    (step(0, source="robot"), "steps[0].source: 'robot' is none of system, user, agent"),
    (step(0, model_name="m"), "steps[0].model_name: belongs to steps of the source 'agent', not 'user'"),
    (step(0, reasoning_content=""), "steps[0].reasoning_content: belongs to steps of"),
    (step(0, reasoning_effort="low"), "steps[0].reasoning_effort: belongs to steps of"),
    (step(0, metrics={}), "steps[0].metrics: belongs to steps of"),
    (step(0, tool_calls=[]), "steps[0].tool_calls: belongs to steps of"),
    (step(0, message=None), "steps[0].message"),
    (step(0, message=[{"type": "text"}]), "steps[0].message[0].text: is missing in a part of type 'text'"),
    (step(0, message=[{"type": "image", "text": "x"}]), "steps[0].message[0].source: is missing"),
    (step(0, message=[{"type": "video"}]), "steps[0].message[0].type: 'video' is none of text, image, audio"),
    (step(0, message=[image]), "steps[0].message[0].source.path: there is no file"),
    (step(0, observation=result), "observation.results[0].source_call_id: 'c9' is no tool_call_id of this"),
    (step(1, observation=result), "steps[1].observation.results[0].source_call_id: 'c9' is no tool_call_id"),
    (step(1, observation={}), "steps[1].observation.results: is missing"),
    (step(1, metrics={"tokens": 3}), "steps[1].metrics.tokens: no such field"),
    (step(1, llm_call_count=0), "steps[1].metrics: must be absent where llm_call_count is 0"),
    (step(2, llm_call_count=-1), "steps[2].llm_call_count: -1 is below 0"),
    (step(1, tool_calls=[{"tool_call_id": "c1"}]), "steps[1].tool_calls[0].function_name: is missing"),
    (minimal(final_metrics={"total_steps": -1}), "final_metrics.total_steps: -1 is below 0"),
    (
        minimal(final_metrics={"total_steps": 9}, notes=None),
        "final_metrics.total_steps: is 9, but there",
    ),
    (minimal(subagent_trajectories=[minimal()]), "subagent_trajectories[0].trajectory_id: is missing"),
    (
        minimal(subagent_trajectories=[minimal(trajectory_id="s")] * 2),
        "subagent_trajectories[1].trajectory_id: 's' is given twice",
    ),
    (
        step(1, observation={"results": [{"subagent_trajectory_ref": [{"session_id": "x"}]}]}),
        "subagent_trajectory_ref[0]: needs a trajectory_id or a trajectory_path",
    ),
]


@pytest.mark.parametrize(("document", "message"), RULES, ids=[m[:40] for _, m in RULES])
def test_a_broken_rule_is_named_with_its_place(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        found_in(tmp_path, document)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'x.json'}: ")


def test_all_broken_rules_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="2 rules of ATIF are broken") as caught:
        found_in(tmp_path, step(0, step_id=7, timestamp="x"))
    assert "steps[0].step_id" in str(caught.value)
    assert "steps[0].timestamp" in str(caught.value)


def test_subagents_are_trajectories_of_their_own(tmp_path: Path) -> None:
    sub = minimal(trajectory_id="s1", agent={"name": "helper", "version": "1"})
    parent, child = found_in(tmp_path, minimal(trajectory_id="p1", subagent_trajectories=[sub]))
    assert (parent.id, parent.parent) == ("p1", None)
    assert (child.id, child.parent, child.agent) == ("s1", "p1", "helper")


def test_pictures_lie_beside_and_no_other_file_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "secret.png").write_bytes(b"secret")
    parts = [{"type": "text", "text": "see"}]
    paths = ["a.png", "../secret.png", str(tmp_path / "secret.png"), "https://host/x.png"]
    paths += ["\ud800.png", "x" * 300]
    parts += [{"type": "image", "source": {"media_type": "image/png", "path": path}} for path in paths]
    parts += [{"type": "audio", "source": {"media_type": "audio/wav", "path": "b.wav", "duration_sec": 2}}]
    (found,) = found_in(folder, step(0, message=parts))
    assert found.messages[0].content == (
        "see",
        Image(data=b"\x89PNG"),
        *(f"[image/png: {path}]" for path in paths[1:]),
        "[audio/wav: b.wav]",
    )


def test_one_file_holds_one_trajectory_and_a_folder_many(tmp_path: Path) -> None:
    assert atif_writing.write(tmp_path / "x.json", [talk()]) == 1
    document = json.loads((tmp_path / "x.json").read_text())
    assert document["schema_version"] == "ATIF-v1.7"
    assert [s["source"] for s in document["steps"]] == ["system", "user", "agent", "agent"]
    assert document["final_metrics"] == {
        "total_steps": 4,
        "total_prompt_tokens": 12,
        "total_completion_tokens": 3,
        "total_cost_usd": 0.25,
    }
    assert len(list((tmp_path / "images").iterdir())) == 1
    for some, message in [([talk(), talk()], "holds one trajectory; name a folder"), ([], "there is none")]:
        with pytest.raises(ExchangeError, match=message):
            atif_writing.write(tmp_path / "y.json", some)
    atif_writing.write(tmp_path / "all", [talk(), numeric(2)])
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["000001.json", "000002.json", "images"]
    with pytest.raises(ExchangeError, match="exists already"):
        atif_writing.write(tmp_path / "all", [talk()])
