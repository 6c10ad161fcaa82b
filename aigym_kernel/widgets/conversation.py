"""A conversation as plain values, in turns: what conversation.js draws.

    talk = Conversation(trajectory.messages)
    talk.head()              how many turns, totals, where each chunk begins, and the first chunk
    talk.chunk(3)            the turns of the fourth chunk; see `Turn` in conversation.js
    talk.turn(17)            one turn with its texts whole

A turn is a message; a tool's answer belongs to the call that it answers and is no turn of its own, unless no
call claims it. A chunk has at most `CHUNK` turns and about `CHUNK_BYTES`. Long texts are cut and say so.
Pictures are data URIs of the kinds in `PICTURES`; others are told of in words.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from aigym_kernel.errors import AigymError
from aigym_kernel.trajectories import Image, Message, ToolCall
from aigym_kernel.widgets.plain import cut, finite

CHUNK = 40
CHUNK_BYTES = 200_000
MAX_TEXT = 20_000
WHOLE_TEXT = 1_000_000
MAX_PICTURE, WHOLE_PICTURE = 400_000, 20_000_000
MAX_TOKENS = 4_000
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")

Call = tuple[int, int]
"""Which message, and which of its calls."""


class Conversation:
    """The messages of one trajectory, their calls joined with the answers."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.answers = _answers(messages)
        claimed = set(self.answers.values())
        self.turns = [i for i in range(len(messages)) if i not in claimed]
        self._starts = self._chunks()
        steps = (-1 if messages[i].step is None else int(messages[i].step or 0) for i in self.turns)
        self.steps = list(accumulate(steps, max, initial=0))[1:]

    def head(self) -> dict[str, Any]:
        """What is known of all, and the first chunk. ``starts``: the first turn of each chunk; ``steps``: its
        step; ``sizes``: characters in it."""
        costs = [m.cost for m in self.messages if m.cost is not None]
        return {
            "turns": len(self.turns),
            "messages": len(self.messages),
            "starts": self._starts,
            "steps": [self.steps[start] for start in self._starts],
            "sizes": [sum(self._size(k) for k in self._range(n)) for n in range(len(self._starts))],
            "input_tokens": sum(m.input_tokens or 0 for m in self.messages),
            "output_tokens": sum(m.output_tokens or 0 for m in self.messages),
            "cost": finite(sum(costs)) if costs else None,
            "models": list(dict.fromkeys(cut(m.model, 100) for m in self.messages if m.model))[:5],
            "first": self.chunk(0),
        }

    def chunk(self, number: int) -> list[dict[str, Any]]:
        """The turns of one chunk; none where there is no such chunk."""
        return [self._turn(k, MAX_TEXT, MAX_PICTURE) for k in self._range(number)]

    def turn(self, k: int) -> dict[str, Any]:
        """One turn, texts up to a million characters.

        Raises:
            AigymError: there is no such turn.
        """
        if not 0 <= k < len(self.turns):
            raise AigymError(f"there is no turn {k} in a conversation of {len(self.turns)}")
        return self._turn(k, WHOLE_TEXT, WHOLE_PICTURE)

    def _range(self, number: int) -> range:
        if not 0 <= number < len(self._starts):
            return range(0)
        return range(self._starts[number], [*self._starts, len(self.turns)][number + 1])

    def _chunks(self) -> list[int]:
        starts: list[int] = []
        size = 0
        for k in range(len(self.turns)):
            size += self._size(k)
            if not starts or k - starts[-1] >= CHUNK or size > CHUNK_BYTES:
                starts.append(k)
                size = self._size(k)
        return starts

    def _size(self, k: int) -> int:
        """About how many characters a turn is drawn with."""
        message = self.messages[self.turns[k]]
        size = _length(message)
        for n in range(len(message.tool_calls)):
            answer = self.answers.get((self.turns[k], n))
            size += 0 if answer is None else _length(self.messages[answer])
        return size

    def _turn(self, k: int, most: int, pixels: int) -> dict[str, Any]:
        i = self.turns[k]
        message = self.messages[i]
        calls = [
            _call(call, None if (j := self.answers.get((i, n))) is None else self.messages[j], most, pixels)
            for n, call in enumerate(message.tool_calls)
        ]
        known = {
            "name": cut(message.name or "", 200),
            "reasoning": _text(message.reasoning, most),
            "error": _text(message.error or "", most),
            "model": cut(message.model or "", 100),
            "input_tokens": message.input_tokens,
            "output_tokens": message.output_tokens,
            "cost": finite(message.cost),
            "at": finite(message.at) if message.at is None else float(message.at),
            "logprob": _mean(message.logprobs),
            "tokens": _tokens(message),
            "calls": calls,
        }
        kept = {name: value for name, value in known.items() if value not in (None, "", [])}
        return {
            "turn": k,
            "step": self.steps[k],
            "role": message.role,
            "parts": _parts(message, most, pixels),
            **kept,
        }


def _answers(messages: Sequence[Message]) -> dict[Call, int]:
    """Which message answers which call: the next one of its id, or where ids are missing, of its turn."""
    waiting: dict[str, Call] = {}
    unnamed: list[Call] = []
    found: dict[Call, int] = {}
    for i, message in enumerate(messages):
        if message.role != "tool":
            if message.tool_calls:
                unnamed = [(i, n) for n in range(len(message.tool_calls))]
                waiting |= {call.id: (i, n) for n, call in enumerate(message.tool_calls)}
            continue
        call = None
        if message.tool_call_id:
            call = waiting.pop(message.tool_call_id, None)
        elif unnamed:
            call = unnamed[0]
        if call is not None and call not in found:
            found[call] = i
        unnamed = [other for other in unnamed if other != call]
    return found


def _length(message: Message) -> int:
    content = (message.content,) if isinstance(message.content, str) else message.content
    size = 200 + min(len(message.reasoning), MAX_TEXT)
    for part in content:
        size += min(len(part), MAX_TEXT) if isinstance(part, str) else _pixels(part)
    for call in message.tool_calls:
        arguments = call.arguments
        size += min(len(arguments if isinstance(arguments, str) else str(arguments)), MAX_TEXT)
    return size


def _pixels(image: Image) -> int:
    return len(image.data) * 4 // 3 if len(image.data) <= MAX_PICTURE else 200


def _text(text: str, most: int) -> str:
    if len(text) <= most:
        return cut(text, most)
    return cut(text[:most], most) + f"\n… {len(text) - most:,} more characters"


def _parts(message: Message, most: int, pixels: int) -> list[list[str]]:
    """Texts, pictures and remarks: ``["t", text]``, ``["i", data URI]``, ``["x", what cannot be shown]``."""
    content = (message.content,) if isinstance(message.content, str) else message.content
    parts: list[list[str]] = []
    for part in content:
        if isinstance(part, str):
            if part:
                parts.append(["t", _text(part, most)])
        elif part.media_type not in PICTURES:
            parts.append(["x", f"a picture of kind {cut(part.media_type, 60)}, which is not shown"])
        elif len(part.data) > pixels:
            parts.append(["x", f"a picture of {len(part.data):,} bytes"])
        else:
            data = base64.b64encode(part.data).decode()
            parts.append(["i", f"data:{part.media_type};base64,{data}"])
    return parts


def _call(call: ToolCall, answer: Message | None, most: int, pixels: int) -> dict[str, Any]:
    """A call with its arguments as [name, text] pairs, strings as they are and the rest as JSON."""
    plain: dict[str, Any] = {"name": cut(call.name, 200), "arguments": _arguments(call.arguments, most)}
    if answer is not None:
        plain["result"] = _parts(answer, most, pixels)
        if answer.error:
            plain["error"] = _text(answer.error, most)
    return plain


def _arguments(arguments: Mapping[str, Any] | str, most: int) -> list[list[str]]:
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            return [["", _text(arguments, most)]] if arguments else []
        arguments = parsed
    return [
        [cut(str(name), 200), _text(value if isinstance(value, str) else _json(value), most)]
        for name, value in list(arguments.items())[:100]
    ]


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if len(text) < 60 else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _mean(logprobs: Sequence[float]) -> float | None:
    return finite(sum(logprobs) / len(logprobs)) if logprobs else None


def _tokens(message: Message) -> list[list[Any]]:
    """Each token's text with its log-probability, where the source kept texts: ``extra["tokens"]``."""
    texts = message.extra.get("tokens")
    if not isinstance(texts, list | tuple) or not 0 < len(texts) <= MAX_TOKENS:
        return []
    if len(texts) != len(message.logprobs) or not all(isinstance(t, str) for t in texts):
        return []
    return [[cut(t, 200), finite(p)] for t, p in zip(texts, message.logprobs)]
