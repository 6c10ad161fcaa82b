"""ATIF, the Agent Trajectory Interchange Format of the Harbor framework: read and written.

    read(path)                     of one .json file, or of every .json of a folder; subagents follow their
                                   parent, as trajectories of their own with it as ``parent``
    write(path, trajectories)      one trajectory into a .json file, or any number into a new folder, as
                                   000001.json, ...; pictures lie beside, in ``images/``

A step of the source ``agent`` becomes an assistant's message, its results become messages of role ``tool``;
what Message has no field for is in its ``extra["atif"]``, of the document in ``final_info["atif"]``. A
picture is read if it lies in the document's folder; otherwise, as for sounds, the text names it.

Written documents are ATIF-v1.7, follow the rules of `atif_schema`, and lose nothing: what ATIF has no
place for is in ``extra.aigym``, as `plain` writes it. Trajectories without messages get steps made of their
observations and actions.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import atif_schema as schema
from aigym_kernel.exchange import files, plain
from aigym_kernel.trajectories import Image, Message, ToolCall, Trajectory, conversation, new_id

_OURS = "aigym"
_SOURCES = {"system": "system", "user": "user", "assistant": "agent"}
_ROLES = {source: role for role, source in _SOURCES.items()}

Load = Callable[[schema.Source], Image | str]


# Reading


def read(path: Path) -> Iterator[Trajectory]:
    """The trajectories of a document, or of all in a folder.

    Raises:
        ExchangeError: a file is no JSON or breaks a rule of ATIF; names file and place.
    """
    for member in files.members(path, "*.json"):
        document = schema.checked(files.document(member), member)
        try:
            yield from _trajectories(document, member, None)
        except ValueError as e:
            if isinstance(e, ExchangeError):
                raise
            raise ExchangeError(f"{member}: extra.{_OURS}: {e}") from None


def _trajectories(document: schema.Document, path: Path, parent: str | None) -> Iterator[Trajectory]:
    def load(source: schema.Source) -> Image | str:
        found = schema.beside(source.path, path.parent)
        if source.media_type.startswith("audio/") or found is None:
            return f"[{source.media_type}: {source.path}]"
        with files.reading(found) as file:
            return Image(data=file.read(), media_type=source.media_type.strip().lower())

    trajectory = _trajectory(document, path, load)
    yield trajectory if parent is None else replace(trajectory, parent=trajectory.parent or parent)
    for sub in document.subagent_trajectories or ():
        yield from _trajectories(sub, path, trajectory.id)


def _trajectory(document: schema.Document, path: Path, load: Load) -> Trajectory:
    messages = [m for step in document.steps for m in _messages(step, document.agent.model_name, load)]
    if document.extra is not None and isinstance(ours := document.extra.get(_OURS), Mapping):
        return _restored(ours, messages)
    times = [t for step in document.steps if step.timestamp and (t := schema.parsed_time(step.timestamp))]
    kept = _given(document, ("steps", "subagent_trajectories"))
    return conversation(
        messages,
        env_id="atif",
        agent=document.agent.name,
        id=document.trajectory_id or new_id(),
        started_at=times[0] if times else path.stat().st_mtime,
        wall_s=max(0.0, times[-1] - times[0]) if times else 0.0,
        final_info={"atif": kept},
    )


def _restored(ours: Mapping[str, Any], messages: list[Message]) -> Trajectory:
    """What `write` was given. Raises ValueError: it was changed by hand, and wrongly."""
    record = dict(ours)
    steps = record.pop("message_steps", None)
    if record.pop("without_messages", False):
        messages = []
    elif steps is None:
        messages = list(conversation(messages, env_id="", agent="").messages)
    else:
        messages = [replace(m, step=step) for m, step in zip(messages, steps, strict=True)]
    made = conversation(messages, env_id="", agent="")
    columns: dict[str, Any] = {"messages": tuple(messages)}
    for name in ("observations", "actions"):
        if name not in record:
            columns[name] = getattr(made, name)
    return plain.to_trajectory(record, **columns)


def _messages(step: schema.Step, model: str | None, load: Load) -> Iterator[Message]:
    """The message of a step and those of its results."""
    results = step.observation.results if step.observation else ()
    calls = {call.tool_call_id: call.function_name for call in step.tool_calls or ()}
    metrics = step.metrics or schema.Metrics()
    kept = _given(step, ("reasoning_effort", "is_copied_context", "llm_call_count", "extra"), only=True)
    if counted := _given(metrics, ("cached_tokens", "prompt_token_ids", "extra"), only=True):
        kept["metrics"] = counted
    if extras := {c.tool_call_id: dict(c.extra) for c in step.tool_calls or () if c.extra}:
        kept["tool_calls"] = extras
    at = schema.parsed_time(step.timestamp) if step.timestamp else None
    if step.message != "" or not results or step.source == "agent" or kept:
        yield _exact(
            Message(
                role=_ROLES[step.source],  # type: ignore[arg-type]
                content=_content(step.message, load),
                tool_calls=tuple(
                    ToolCall(id=c.tool_call_id, name=c.function_name, arguments=c.arguments)
                    for c in step.tool_calls or ()
                ),
                reasoning=step.reasoning_content or "",
                model=(step.model_name or model) if step.source == "agent" else None,
                input_tokens=metrics.prompt_tokens,
                output_tokens=metrics.completion_tokens,
                cost=metrics.cost_usd,
                token_ids=metrics.completion_token_ids or (),
                logprobs=metrics.logprobs or (),
                at=at,
            ),
            kept,
        )
    for result in results:
        yield _exact(
            Message(
                role="tool",
                content=_content("" if result.content is None else result.content, load),
                tool_call_id=result.source_call_id,
                name=calls.get(result.source_call_id or ""),
                at=at,
            ),
            _given(result, ("subagent_trajectory_ref", "extra"), only=True),
        )


def _exact(message: Message, kept: dict[str, Any]) -> Message:
    """The message with what `write` could only say in ``extra``; what else was there is kept."""
    extra = dict(kept.pop("extra", None) or {})
    ours = extra.pop(_OURS, None)
    if extra:
        kept["extra"] = extra
    if kept:
        message = replace(message, extra={"atif": kept})
    if not isinstance(ours, Mapping):
        return message
    values = {f.name: getattr(message, f.name) for f in fields(message)} | plain.unpack(dict(ours))
    built = plain.build(Message, values, "message")
    assert isinstance(built, Message)
    return built


def _content(content: schema.Content, load: Load) -> str | tuple[str | Image, ...]:
    if isinstance(content, str):
        return content
    return tuple(load(part.source) if part.source else part.text or "" for part in content)


def _given(data: Any, names: tuple[str, ...], *, only: bool = False) -> dict[str, Any]:
    """The fields that have a value, as plain values: only ``names``, or all the others."""
    kept = [f.name for f in fields(data) if (f.name in names) == only]
    return {name: _plain(value) for name in kept if (value := getattr(data, name)) is not None}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _given(value, ())
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


# Writing


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
        "extra": {_OURS: ours},
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
        "source": _SOURCES[message.role],
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
    bare = next(_messages(_parsed(step), None, lambda source: _image(source, images)))
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
        record["extra"] = {_OURS: lacking}


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
    return _content(parsed, lambda source: _image(source, images))


def _image(source: schema.Source, images: Mapping[str, bytes]) -> Image:
    return Image(data=images[source.path], media_type=source.media_type)


def _timestamp(at: float) -> str | None:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
