"""Files of MLGym and of Atropos: their forms, their irregularities, there and back."""

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
from trajectory_examples import infos, messages, texts

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import atropos, chat, mlgym
from aigym_kernel.trajectories import Image, Message, Trajectory

few = settings(max_examples=40, deadline=None)


@few
@given(messages())
def test_a_message_in_the_common_form_comes_back(message: Message) -> None:
    kept = {"role", "content", "tool_calls", "tool_call_id", "name", "reasoning"}
    found = chat.to_message(json.loads(json.dumps(chat.from_message(message))), "m")
    for name in kept - {"tool_calls", "content"}:
        assert getattr(found, name) == getattr(message, name)
    assert [(c.id, c.name) for c in found.tool_calls] == [(c.id, c.name) for c in message.tool_calls]
    assert found.text == message.text or any(isinstance(p, Image) for p in message.content)


def test_the_roles_and_parts_of_others_are_understood() -> None:
    data = {
        "role": "gpt",
        "content": [
            "a",
            {"type": "text", "text": "b"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
            {"type": "image_url", "image_url": "https://host/x.png"},
            {"type": "input_audio"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}},
        ],
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
        "reward": 0.5,
    }
    found = chat.to_message(data, "m")
    assert found.role == "assistant"
    assert found.content == (
        "a",
        "b",
        Image(data=b"\x89PNG"),
        "[image: https://host/x.png]",
        "[input_audio]",
        "[image: damaged]",
    )
    assert found.tool_calls[0].arguments == {"x": 1}
    assert found.extra == {"reward": 0.5}
    assert chat.arguments("ls -l") == "ls -l"
    assert chat.arguments("[1]") == "[1]"
    for wrong, message in [
        ("x", "m: is no message, but 'x'"),
        ({"role": "robot"}, "m.role: 'robot' is none of system"),
        ({"role": ["user"]}, r"m.role: \['user'\] is none of system"),
        ({"role": "user", "content": 1}, "m.content: is neither text nor a list of parts, but 1"),
        ({"role": "user", "content": [1]}, r"m.content\[0\]: is no part of a message, but 1"),
        ({"role": "user", "tool_calls": "x"}, "m.tool_calls: is no list, but 'x'"),
        ({"role": "user", "tool_calls": [{}]}, r"m.tool_calls\[0\]: is no call of a tool"),
    ]:
        with pytest.raises(ValueError, match=message):
            chat.to_message(wrong, "m")


# MLGym


def step(action: str, observation: Any = "ok", **more: Any) -> dict[str, Any]:
    return {
        "action": action,
        "observation": observation,
        "response": f"I do it.\n```\n{action}\n```",
        "state": '{"open_file": "n/a", "working_dir": "/home/agent"}',
        "thought": "I do it.",
        "execution_time": 0.5,
        **more,
    }


def said(step: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": step["response"],
        "thought": step["thought"],
        "action": step["action"],
        "agent": "primary",
        **more,
    }


def heard(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, "agent": "primary", **more}


def regular() -> dict[str, Any]:
    steps = [step("ls"), step("python train.py", "accuracy 0.9"), step("submit", "submitted")]
    history: list[dict[str, Any]] = [{"role": "system", "content": "You train.", "agent": "primary"}]
    for one, answer in zip(steps, ["The task.", "ok", "accuracy 0.9"]):
        history += [heard(answer), said(one)]
    return {
        "environment": "mlgym_task",
        "trajectory": steps,
        "history": history,
        "info": {
            "exit_status": "submitted",
            "score": [{"accuracy": 0.9}],
            "model_stats": {"total_cost": 0.1},
        },
    }


def traj(tmp_path: Path, data: Any, name: str = "titanic.traj") -> Trajectory:
    path = tmp_path / name
    path.write_text(json.dumps(data))
    (found,) = mlgym.read(path)
    return found


def test_a_regular_traj(tmp_path: Path) -> None:
    found = traj(tmp_path, regular())
    assert (found.env_id, found.agent, found.env_kwargs) == ("mlgym_task", "primary", {"task": "titanic"})
    assert list(found.actions) == ["ls", "python train.py", "submit"]
    assert list(found.observations) == ["", "ok", "accuracy 0.9", "submitted"]
    assert found.terminated
    assert not found.truncated
    assert found.infos[0] == {
        "state": {"open_file": "n/a", "working_dir": "/home/agent"},
        "execution_time": 0.5,
    }
    assert found.final_info["score"] == [{"accuracy": 0.9}]
    assert found.wall_s == 1.5
    assert [m.role for m in found.messages][:3] == ["system", "user", "assistant"]
    assert [m.step for m in found.messages if m.role == "assistant"] == [0, 1, 2]
    assert found.messages[2].reasoning == "I do it."
    assert found.messages[2].extra == {"action": "ls", "agent": "primary"}


def test_times_in_any_form(tmp_path: Path) -> None:
    data = regular()
    times: list[Any] = ["1.25", "0:01:05.5", " 2 s "]
    for one, time in zip(data["trajectory"], times):
        one["execution_time"] = time
    found = traj(tmp_path, data)
    assert [i["execution_time"] for i in found.infos] == [1.25, 65.5, 2.0]
    for one, time in zip(data["trajectory"], ["soon", None, -1]):
        one["execution_time"] = time
    found = traj(tmp_path, data)
    assert [i.get("execution_time") for i in found.infos] == ["soon", None, -1]
    assert found.wall_s == 0.0


def test_the_last_observation_may_be_missing(tmp_path: Path) -> None:
    data = regular()
    data["trajectory"][-1]["observation"] = None
    del data["trajectory"][1]["observation"]
    data["trajectory"][0]["state"] = "no json"
    found = traj(tmp_path, data)
    assert list(found.observations) == ["", "ok", "", ""]
    assert found.infos[0]["state"] == "no json"


def test_a_history_may_be_longer_than_the_trajectory(tmp_path: Path) -> None:
    data = regular()
    demo = [heard("A demonstration.", is_demo=True), said(step("ls"), is_demo=True)]
    again = [said(step("rm -rf /"), content="garbled"), heard("Again, please.")]
    history = data["history"]
    data["history"] = [
        history[0],
        *demo,
        history[1],
        *again,
        *history[2:],
        heard("More."),
        said(step("more")),
    ]
    found = traj(tmp_path, data)
    assert [m.step for m in found.messages if m.role == "assistant"] == [None, None, 0, 1, 2, None]
    assert found.messages[3].step == 0
    assert len(found) == 3


def test_a_trajectory_may_be_longer_than_the_history(tmp_path: Path) -> None:
    data = regular()
    data["history"] = data["history"][:3]
    assert [m.step for m in traj(tmp_path, data).messages] == [0, 0, 0]
    data["history"] = []
    found = traj(tmp_path, data)
    assert [m.role for m in found.messages] == ["assistant", "user"] * 3
    assert [m.step for m in found.messages] == [0, 1, 1, 2, 2, 2]
    assert found.agent == "mlgym"
    data["trajectory"] = []
    assert len(traj(tmp_path, data)) == 0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("submitted", "terminated"),
        ("submitted (exit_cost)", "truncated"),
        ("exit_cost", "truncated"),
        ("exit_api", "error"),
        ("", "unfinished"),
    ],
)
def test_how_it_ended(tmp_path: Path, status: str, outcome: str) -> None:
    data = regular()
    data["info"] = {"exit_status": status}
    assert traj(tmp_path, data).outcome == outcome


def test_four_megabytes_and_a_folder_of_runs(tmp_path: Path) -> None:
    data = regular()
    data["trajectory"] = [step(f"echo {i}", "x" * 4000) for i in range(1000)]
    assert len(traj(tmp_path, data)) == 1000
    (tmp_path / "deep" / "er").mkdir(parents=True)
    traj(tmp_path / "deep" / "er", regular(), "other.traj")
    assert sorted(len(t) for t in mlgym.read(tmp_path)) == [3, 1000]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "has no list 'trajectory'"),
        ({"history": []}, "has no list 'trajectory'"),
        ({"trajectory": [3]}, "trajectory[0]: is no object, but 3"),
        ({"trajectory": [], "history": "x"}, "history: is of another kind: 'x'"),
        ({"trajectory": [], "info": [1]}, "info: is of another kind: [1]"),
        ({"trajectory": [], "history": [{"role": "robot"}]}, "history[0].role: 'robot' is none of"),
    ],
)
def test_what_is_no_traj_is_named(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        traj(tmp_path, data)
    assert f"{tmp_path / 'titanic.traj'}: {message}" in str(caught.value)


# Atropos


@st.composite
def groups(draw: st.DrawFn) -> dict[str, Any]:
    """A scored group in any of the forms that environments write."""
    size = draw(st.integers(1, 3))
    members = range(size)
    tokens = [draw(st.lists(st.integers(0, 10**6), max_size=5)) for _ in members]
    masks = [[t if draw(st.booleans()) else -100 for t in ids] for ids in tokens]
    said = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts})
    one = st.lists(said, max_size=4)

    def some(each: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | st.lists(each, min_size=size, max_size=size))

    numbers = st.floats(-9, 9)
    return {
        "tokens": tokens,
        "masks": masks,
        "scores": [draw(numbers) for _ in members],
        "messages": some(draw(st.sampled_from([one, texts]))),
        "advantages": some(st.lists(numbers, max_size=3)),
        "ref_logprobs": some(st.lists(numbers, max_size=3)),
        "inference_logprobs": draw(st.none() | st.just([[0.5] * len(ids) for ids in tokens])),
        "overrides": some(infos.filter(lambda i: "NaN" not in json.dumps(i))),
        "images": None,
        "generation_params": draw(st.none() | st.just({"temperature": 0.5})),
        "group_overrides": draw(st.none() | st.just({"group_size": 2})),
        "env_id": draw(st.none() | st.integers(0, 5)),
    }


@few
@given(st.lists(groups(), min_size=1, max_size=3))
def test_scored_groups_come_back(given_groups: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_text("".join(json.dumps(group) + "\n" for group in given_groups))
        found = list(atropos.read(path))
        again = Path(folder) / "y.jsonl"
        assert atropos.write(again, found) == len(found)
        lines = [json.loads(line) for line in again.read_bytes().split(b"\n")[:-1]]
    assert json.dumps(lines, sort_keys=True) == json.dumps(given_groups, sort_keys=True)
    assert [t.total_reward for t in found] == [s for g in given_groups for s in g["scores"]]


def test_the_tokens_of_the_model_go_to_its_messages(tmp_path: Path) -> None:
    turns = [("user", "1+1?"), ("assistant", "2"), ("user", "2+2?"), ("assistant", "4")]
    group = {
        "tokens": [[1, 2, 3, 4, 5]],
        "masks": [[-100, 2, -100, 4, 5]],
        "scores": [1],
        "inference_logprobs": [[1.0, -0.5, 1.0, -0.25, -0.125]],
        "messages": [[{"role": role, "content": content} for role, content in turns]],
        "env_id": 3,
    }
    path = tmp_path / "groups.jsonl"
    path.write_text(json.dumps(group))
    (found,) = atropos.read(path)
    assert (found.env_id, found.group, list(found.rewards)) == ("atropos/3", "groups:1", [0.0, 1.0])
    assert [m.token_ids for m in found.messages] == [(), (2,), (), (4, 5)]
    assert [m.logprobs for m in found.messages] == [(), (-0.5,), (), (-0.25, -0.125)]


def test_our_own_conversations_become_groups(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert atropos.write(path, [talk(), talk(), talk(group="g2"), talk(group=None), talk(group=None)]) == 5
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [len(line["tokens"]) for line in lines] == [2, 1, 1, 1]
    assert lines[0]["tokens"] == lines[0]["masks"] == [[5, 6, 7], [5, 6, 7]]
    assert lines[0]["inference_logprobs"] == [[-0.5, -0.25, -1.0]] * 2
    assert lines[0]["scores"] == [1.0, 1.0]
    assert lines[0]["messages"][0][2]["tool_calls"][0]["function"] == {
        "name": "look",
        "arguments": '{"x": 1}',
    }
    with pytest.raises(ExchangeError, match="its messages hold no token ids"):
        atropos.write(tmp_path / "y.jsonl", [numeric()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": None}, "tokens: is no list, but None"),
        ({"tokens": [[1.5]]}, "tokens[0]: 1.5 is no token"),
        ({"tokens": [[1], [2]]}, "masks: has 1 members, but tokens has 2"),
        ({"masks": [[1, 2]]}, "masks[0]: has 2 entries, tokens 1"),
        ({"masks": {}}, "masks: is no list, but {}"),
        ({"scores": [10**400]}, "int too large to convert to float"),
        ({"scores": ["high"]}, "scores[0]: 'high' is not a number"),
        ({"messages": [[{"role": "x"}]]}, "messages[0][0].role: 'x' is none of"),
        ({"messages": [3]}, "messages[0]: is no list, but 3"),
        ({"advantages": 3}, "advantages: is no list, but 3"),
    ],
)
def test_what_is_no_scored_group_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "x.jsonl"
    good = {"tokens": [[1]], "masks": [[1]], "scores": [0]}
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **change}))
    with pytest.raises(ExchangeError) as caught:
        list(atropos.read(path))
    assert f"{path}: line 2: {message}" in str(caught.value)
