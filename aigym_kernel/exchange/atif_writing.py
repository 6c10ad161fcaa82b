"""Trajectories as documents of ATIF: written without loss; `atif` reads them.

    write(path, trajectories)      one trajectory into a .json file, or any number into a new folder, as
                                   000001.json, ...; pictures lie beside, in ``images/``

The documents are ATIF-v1.7 and follow the rules of `atif_schema`. What ATIF has no place for is in
``extra.aigym``, as `plain` writes it. Trajectories without messages get steps made of their observations
and actions.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import atif_schema as schema
from aigym_kernel.exchange import files, plain
from aigym_kernel.exchange.atif import OURS, SOURCES, content_of, messages_of
from aigym_kernel.trajectories import Image, Message, Trajectory, conversation


def write(path: Path, trajectories: Iterable[Trajectory]) -> int:
    """One trajectory into a file named ``*.json``, or any number into a new folder.

    Raises:
        ExchangeError: the name is taken or cannot be written, or there is more than one for a file.
    """
    files.check_new(path)
    if path.suffix == ".json":
        return _write_one(path, trajectories)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir()
        count = 0
        for count, trajectory in enumerate(trajectories, 1):
            _write(temporary / f"{count:06d}.json", trajectory)
        temporary.rename(path)
    except OSError as e:
        raise e if e.errno is None else ExchangeError(f"{path}: cannot be written: {e.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _write_one(path: Path, trajectories: Iterable[Trajectory]) -> int:
    remaining = iter(trajectories)
    first = next(remaining, None)
    if first is None:
        raise ExchangeError(f"{path}: an ATIF document holds one trajectory; there is none")
    if next(remaining, None) is not None:
        raise ExchangeError(
            f"{path}: an ATIF document holds one trajectory; name a folder (without .json) for several"
        )
    _write(path, first)
    return 1


def _write(path: Path, trajectory: Trajectory) -> None:
    images = dict[str, bytes]()
    try:
        text = json.dumps(_document(trajectory, images), ensure_ascii=False, allow_nan=False, indent=1)
    except RecursionError:
        raise plain.too_deep(trajectory.id) from None
    except ValueError as e:
        raise ExchangeError(f"trajectory {trajectory.id!r}: {str(e).partition(';')[0]}") from None
    with files.new_file(path) as file:
        for name, data in images.items():
            target = path.parent / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
        file.write(text.encode("utf-8"))


def _document(trajectory: Trajectory, images: dict[str, bytes]) -> dict[str, Any]:
    ours = plain.from_trajectory(trajectory)
    ours.pop("messages", None)
    messages = list(trajectory.messages)
    if not messages:
        ours["without_messages"] = True
        messages = _told(trajectory)
    made = conversation(messages, env_id="", agent="")
    if [m.step for m in made.messages] != [m.step for m in messages]:
        ours["message_steps"] = [m.step for m in messages]
    for name in ("observations", "actions"):
        if trajectory.messages and ours[name] == plain.column(getattr(made, name)):
            del ours[name]
    steps = _steps(messages, images)
    kept = trajectory.final_info.get("atif")
    kept = kept if isinstance(kept, Mapping) else {}
    agent = kept["agent"] if isinstance(kept.get("agent"), Mapping) else {}
    document = {
        "schema_version": schema.WRITTEN,
        **{name: kept[name] for name in ("session_id", "continued_trajectory_ref") if name in kept},
        "trajectory_id": _clean(trajectory.id),
        "agent": {"version": "unknown", **agent, "name": _clean(trajectory.agent)},
        "steps": steps,
        "final_metrics": _sums(messages, len(steps)),
        "extra": {OURS: ours},
    }
    if trajectory.notes:
        document["notes"] = "\n".join(_clean(note.text) for note in trajectory.notes)
    return document


def _told(trajectory: Trajectory) -> list[Message]:
    """Observations and actions as a conversation."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(plain.pack(value), ensure_ascii=False)

    found = [Message(role="user", content=text(trajectory.observations[0]))]
    for t in range(len(trajectory)):
        found.append(Message(role="assistant", content=text(trajectory.actions[t])))
        found.append(Message(role="user", content=text(trajectory.observations[t + 1])))
    return found


def _sums(messages: Sequence[Message], steps: int) -> dict[str, Any]:
    sums: dict[str, Any] = {"total_steps": steps}
    for name, field in (
        ("total_prompt_tokens", "input_tokens"),
        ("total_completion_tokens", "output_tokens"),
        ("total_cost_usd", "cost"),
    ):
        known = [v for m in messages if (v := getattr(m, field)) is not None and math.isfinite(v)]
        if known and math.isfinite(sum(known)):
            sums[name] = sum(known)
    return sums


def _steps(messages: Sequence[Message], images: dict[str, bytes]) -> list[dict[str, Any]]:
    """The steps of a document; the bytes of pictures by the names they shall have."""
    steps = list[dict[str, Any]]()
    for message in messages:
        if message.role != "tool":
            steps.append(_step(message, images))
            steps[-1]["step_id"] = len(steps)
            continue
        if not steps or (steps[-1]["source"] != "agent" and "observation" not in steps[-1]):
            steps.append({"step_id": len(steps) + 1, "source": "system", "message": ""})
        step = steps[-1]
        calls = {call["tool_call_id"]: call["function_name"] for call in step.get("tool_calls", ())}
        result: dict[str, Any] = {"content": _written(message, images)}
        call_id = message.tool_call_id
        if call_id is not None and call_id in calls:
            result["source_call_id"] = call_id
        bare = step.get("timestamp")
        _add_what_is_missing(
            result,
            message,
            Message(
                role="tool",
                content=_read_back(result["content"], images),
                tool_call_id=result.get("source_call_id"),
                name=calls.get(result.get("source_call_id", "")),
                at=schema.parsed_time(bare) if bare else None,
            ),
        )
        step.setdefault("observation", {"results": []})["results"].append(result)
    return steps


def _step(message: Message, images: dict[str, bytes]) -> dict[str, Any]:
    step: dict[str, Any] = {
        "step_id": 0,
        "source": SOURCES[message.role],
        "message": _written(message, images),
    }
    if message.at is not None and (stamp := _timestamp(message.at)):
        step["timestamp"] = stamp
    if message.role == "assistant":
        if message.model:
            step["model_name"] = _clean(message.model)
        if message.reasoning:
            step["reasoning_content"] = _clean(message.reasoning)
        if message.tool_calls:
            step["tool_calls"] = [
                {
                    "tool_call_id": _clean(call.id),
                    "function_name": _clean(call.name),
                    "arguments": plain.pack(call.arguments) if isinstance(call.arguments, Mapping) else {},
                }
                for call in message.tool_calls
            ]
        if metrics := _metrics(message):
            step["metrics"] = metrics
    bare = next(messages_of(_parsed(step), None, lambda source: _image(source, images)))
    _add_what_is_missing(step, message, bare)
    return step


def _parsed(step: dict[str, Any]) -> schema.Step:
    parsed = plain.build(schema.Step, step, "")
    assert isinstance(parsed, schema.Step)
    return parsed


def _metrics(message: Message) -> dict[str, Any]:
    cost, logprobs = message.cost, list(message.logprobs)
    found = {
        "prompt_tokens": message.input_tokens,
        "completion_tokens": message.output_tokens,
        "cost_usd": cost if cost is not None and math.isfinite(cost) else None,
        "completion_token_ids": list(message.token_ids) or None,
        "logprobs": logprobs if logprobs and all(map(math.isfinite, logprobs)) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _add_what_is_missing(record: dict[str, Any], message: Message, bare: Message) -> None:
    """Into ``extra.aigym``, what a reader of ``record`` would not find: ``bare`` is what it would."""
    lacking = {
        f.name: plain.pack(list(value) if isinstance(value, tuple) else value)
        for f in fields(Message)
        if f.name != "step" and (value := getattr(message, f.name)) != getattr(bare, f.name)
    }
    if lacking:
        record["extra"] = {OURS: lacking}


def _written(message: Message, images: dict[str, bytes]) -> Any:
    """The content as ATIF has it; remembers the bytes of its pictures."""
    if isinstance(message.content, str):
        return _clean(message.content)
    parts = list[dict[str, Any]]()
    for part in message.content:
        if isinstance(part, Image) and part.media_type in schema.IMAGES:
            digest = hashlib.sha256(part.data).hexdigest()[:16]
            name = f"images/{digest}{schema.IMAGES[part.media_type]}"
            images[name] = part.data
            parts.append({"type": "image", "source": {"media_type": part.media_type, "path": name}})
        else:
            told = part if isinstance(part, str) else f"[{part.media_type}]"
            parts.append({"type": "text", "text": _clean(told)})
    return parts


def _read_back(content: Any, images: dict[str, bytes]) -> str | tuple[str | Image, ...]:
    parsed = plain.build(schema.Result, {"content": content}, "").content
    return content_of(parsed, lambda source: _image(source, images))


def _image(source: schema.Source, images: Mapping[str, bytes]) -> Image:
    return Image(data=images[source.path], media_type=source.media_type)


def _timestamp(at: float) -> str | None:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
