"""How the messages of a conversation are stored: the table ``messages``, one row per message.

    rows(run_id, trajectory)        what a writer records
    message(row)                    the Message again, equal to what was recorded

For SQL: ``i`` counts the messages of a trajectory from 0, ``content`` is the text without the images,
``tool_calls`` is JSON ``[{"id", "name", "arguments"}]``, ``token_ids`` and ``logprobs`` are lists, ``time``
is UTC. What is empty is NULL, but for ``content``. For reading back there are also ``parts`` (where the
content is more than one text: JSON, an image being its place in ``images``) and ``raw`` (the texts as JSON
escapes, where one has lone surrogates: UTF-8 has none, the other columns show them as backslash escapes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aigym_kernel.errors import StoreError
from aigym_kernel.store import schema
from aigym_kernel.trajectories import Image, Message, ToolCall, Trajectory

_TEXTS = ("role", "tool_call_id", "name", "error", "model")
_NUMBERS = ("input_tokens", "output_tokens", "step")


def rows(run_id: str, trajectory: Trajectory) -> list[dict[str, Any]]:
    """The rows of a trajectory's messages.

    Raises:
        StoreError: one of them holds what is no message's, or a number that does not fit 64 bits.
    """
    trajectory_id = schema.clean(trajectory.id)
    found = []
    for i, message in enumerate(trajectory.messages):
        try:
            row = _row(message)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StoreError(
                f"message {i} of trajectory {trajectory.id!r} cannot be recorded: {error}; see the fields of "
                "trajectories.Message"
            ) from None
        found.append({"run_id": run_id, "trajectory_id": trajectory_id, "i": i} | row)
    return found


def _row(message: Message) -> dict[str, Any]:
    parts, images = _parts(message)
    calls = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in message.tool_calls]
    texts = {name: getattr(message, name) for name in _TEXTS}
    texts |= {"content": message.text, "reasoning": message.reasoning or None}
    kept = {name: None if text is None else schema.clean(text) for name, text in texts.items()}
    return {
        **kept,
        "parts": None if parts is None else schema.json_text(parts),
        "images": images or None,
        "tool_calls": schema.json_text(calls) if calls else None,
        "cost": None if message.cost is None else float(message.cost),
        "token_ids": [_whole(token) for token in message.token_ids] or None,
        "logprobs": [float(value) for value in message.logprobs] or None,
        "time": None if message.at is None else schema.microseconds(message.at),
        "extra": schema.json_text(message.extra) if message.extra else None,
        "raw": None if kept == texts else schema.json_text(texts),
        **{name: _whole(getattr(message, name)) for name in _NUMBERS},
    }


def _whole(value: int | None) -> int | None:
    if value is None:
        return None
    if not -(2**63) <= int(value) < 2**63:
        raise OverflowError(f"{value} does not fit 64 bits")
    return int(value)


def _parts(message: Message) -> tuple[list[Any] | None, list[bytes]]:
    """The content in order, a text as it is, an image as ``{"image": place, "media_type"}``; the images."""
    if isinstance(message.content, str):
        return None, []
    images: list[bytes] = []
    parts: list[Any] = []
    for part in message.content:
        if isinstance(part, Image):
            parts.append({"image": len(images), "media_type": part.media_type})
            images.append(bytes(part.data))
        elif isinstance(part, str):
            parts.append(part)
        else:
            raise TypeError(f"its content holds {part!r:.80}, which is neither text nor an Image")
    return parts, images


def message(row: Mapping[str, Any]) -> Message:
    """The message that a row of ``messages`` holds."""
    same: dict[str, Any] = {name: row[name] for name in (*_TEXTS, *_NUMBERS, "cost")}
    content: Any = row["content"]
    if row["parts"] is not None:
        content = tuple(_part(part, row["images"] or ()) for part in json.loads(row["parts"]))
    calls = () if row["tool_calls"] is None else json.loads(row["tool_calls"])
    found = Message(
        **same,
        content=content,
        reasoning=row["reasoning"] or "",
        tool_calls=tuple(ToolCall(**call) for call in calls),
        token_ids=tuple(row["token_ids"] or ()),
        logprobs=tuple(row["logprobs"] or ()),
        at=schema.seconds(row["time"]),
        extra={} if row["extra"] is None else json.loads(row["extra"]),
    )
    if row["raw"] is None:
        return found
    raw = json.loads(row["raw"])
    if row["parts"] is not None:
        raw["content"] = content
    return replace(found, **(raw | {"reasoning": raw["reasoning"] or ""}))


def _part(part: Any, images: Any) -> str | Image:
    if isinstance(part, str):
        return part
    return Image(data=images[part["image"]], media_type=part["media_type"])
