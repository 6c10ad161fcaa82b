"""ATIF, the Agent Trajectory Interchange Format of the Harbor framework: read.

    read(path)                     of one .json file, or of every .json of a folder; subagents follow their
                                   parent, as trajectories of their own with it as ``parent``

A step of the source ``agent`` becomes an assistant's message, its results become messages of role ``tool``;
what Message has no field for is in its ``extra["atif"]``, of the document in ``final_info["atif"]``. A
picture is read if it lies in the document's folder; otherwise, as for sounds, the text names it. Documents
that `atif_writing` wrote come back whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import atif_schema as schema
from aigym_kernel.exchange import files, plain
from aigym_kernel.trajectories import Image, Message, ToolCall, Trajectory, conversation, new_id

OURS = "aigym"
SOURCES = {"system": "system", "user": "user", "assistant": "agent"}
_ROLES = {source: role for role, source in SOURCES.items()}

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
        except (ValueError, OverflowError, RecursionError) as e:
            if isinstance(e, ExchangeError):
                raise
            raise ExchangeError(f"{member}: extra.{OURS}: {e}") from None


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
    messages = [m for step in document.steps for m in messages_of(step, document.agent.model_name, load)]
    if document.extra is not None and isinstance(ours := document.extra.get(OURS), Mapping):
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


def messages_of(step: schema.Step, model: str | None, load: Load) -> Iterator[Message]:
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
                content=content_of(step.message, load),
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
                content=content_of("" if result.content is None else result.content, load),
                tool_call_id=result.source_call_id,
                name=calls.get(result.source_call_id or ""),
                at=at,
            ),
            _given(result, ("subagent_trajectory_ref", "extra"), only=True),
        )


def _exact(message: Message, kept: dict[str, Any]) -> Message:
    """The message with what `write` could only say in ``extra``; what else was there is kept."""
    extra = dict(kept.pop("extra", None) or {})
    ours = extra.pop(OURS, None)
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


def content_of(content: schema.Content, load: Load) -> str | tuple[str | Image, ...]:
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
