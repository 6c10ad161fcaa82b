"""Messages as chat programs write them (OpenAI's form and its relatives), for `mlgym` and `atropos`.

    to_message({"role": "assistant", "content": "Hi", "tool_calls": [...]})
    from_message(message)               the same form again

A key that Message has no field for goes into its ``extra``, and comes back from there.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from aigym_kernel import rendering
from aigym_kernel.trajectories import Image, Message, Role, ToolCall

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_REASONING = ("reasoning_content", "reasoning", "thought")


def to_message(data: Any, place: str) -> Message:
    """The message in a mapping.

    Raises:
        ValueError: it is none; ``place`` says where.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{place}: is no message, but {_shown(data)}")
    rest = dict(data)
    role = rest.pop("role", None)
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(f"{place}.role: {_shown(role)} is none of {', '.join(_ROLES)}")
    content = _content(rest.pop("content", None), f"{place}.content")
    calls = rest.pop("tool_calls", None)
    if not isinstance(calls, list | None):
        raise ValueError(f"{place}.tool_calls: is no list, but {_shown(calls)}")
    reasoning = next((rest.pop(k) for k in _REASONING if isinstance(rest.get(k), str) and rest[k]), "")
    texts = {k: rest.pop(k) for k in ("tool_call_id", "name") if isinstance(rest.get(k), str)}
    return Message(
        role=_ROLES[role],
        content=content,
        tool_calls=tuple(_call(call, f"{place}.tool_calls[{i}]") for i, call in enumerate(calls or ())),
        reasoning=reasoning,
        extra=rest,
        **texts,
    )


def _content(content: Any, place: str) -> str | tuple[str | Image, ...]:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError(f"{place}: is neither text nor a list of parts, but {_shown(content)}")
    return tuple(_part(part, f"{place}[{i}]") for i, part in enumerate(content))


def _part(part: Any, place: str) -> str | Image:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise ValueError(f"{place}: is no part of a message, but {_shown(part)}")
    if isinstance(part.get("text"), str):
        return str(part["text"])
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, Mapping) else url
    if isinstance(url, str):
        return image(url)
    return f"[{part.get('type', 'part')}]"


def image(url: str) -> Image | str:
    """The picture in a data URL; a text that names it where it is elsewhere, or damaged."""
    head, comma, data = url.partition(",")
    if not (url.startswith("data:image/") and comma and head.endswith(";base64")):
        return f"[image: {rendering.short(url, 200)}]"
    try:
        media_type = head.removeprefix("data:").partition(";")[0]
        return Image(data=base64.b64decode(data, validate=True), media_type=media_type)
    except (binascii.Error, ValueError):
        return "[image: damaged]"


def _call(data: Any, place: str) -> ToolCall:
    inner = data.get("function", data) if isinstance(data, Mapping) else data
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise ValueError(f"{place}: is no call of a tool, but {_shown(data)}")
    return ToolCall(
        id=str(data.get("id") or ""), name=inner["name"], arguments=arguments(inner.get("arguments", {}))
    )


def arguments(given: Any) -> Mapping[str, Any] | str:
    """The arguments of a call: an object, also where it is written as text; else the text."""
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, str):
        return json.dumps(given)
    try:
        parsed = json.loads(given)
    except (ValueError, RecursionError):
        return given
    return parsed if isinstance(parsed, dict) else given


def from_message(message: Message) -> dict[str, Any]:
    """The mapping of a message; its tokens, costs and times are not part of it."""
    data: dict[str, Any] = {"role": message.role, "content": _parts(message)}
    for name, value in (
        ("name", message.name),
        ("tool_call_id", message.tool_call_id),
        ("reasoning_content", message.reasoning or None),
    ):
        if value is not None:
            data[name] = value
    if message.tool_calls:
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": call.arguments
                    if isinstance(call.arguments, str)
                    else json.dumps(call.arguments, ensure_ascii=False, default=str),
                },
            }
            for call in message.tool_calls
        ]
    return {**message.extra, **data}


def _parts(message: Message) -> Any:
    if isinstance(message.content, str):
        return message.content
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {
            "type": "image_url",
            "image_url": {
                "url": f"data:{part.media_type};base64,{base64.b64encode(part.data).decode('ascii')}"
            },
        }
        for part in message.content
    ]


def _shown(value: object) -> str:
    return rendering.short(repr(value), 60)
