"""How values travel between the process of the tests and that of the solution: one JSON line per message.

Plain values go by value; the rest stays where it is and goes as a handle. What comes from the solution is
read through its base type's own methods and arrives as plain data: an ``__eq__`` stays behind.
Runs in the box, on both sides.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import sys

TYPE_CHECKING = False  # the name is what type checkers look for; importing typing takes 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEPTH = 64
LONGEST = 4 << 20
"""Bytes of the longest message that is read."""
ITEMS = {list: "l", tuple: "t", set: "s", frozenset: "f"}
# Values of the standard library that travel as text, and what reads them where it is not their class.
TEXTS = {
    ("decimal", "Decimal"): "",
    ("fractions", "Fraction"): "",
    ("uuid", "UUID"): "",
    ("datetime", "date"): "fromisoformat",
    ("datetime", "time"): "fromisoformat",
    ("datetime", "datetime"): "fromisoformat",
}
MADE = {mark: kind for kind, mark in ITEMS.items()}


class Ended(Exception):
    """The other side is gone, or what it sends cannot be read."""


class Unsendable(Exception):
    """The value can go neither by value nor as a handle."""


def encode(value: Any, other: Callable[[Any, Any], Any], depth: int = 0) -> Any:
    """``value`` as data for JSON. What is no plain value of an exact type goes through ``other(value,
    plain)``, where ``plain`` is its content if its class is one of Python's plain ones with a new name."""
    kind: Any = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if depth > DEPTH:
        raise Unsendable(f"a value is nested more than {DEPTH} deep, or refers to itself")
    if value is NotImplemented or value is Ellipsis:
        return {"k": "const", "v": repr(value)}
    if kind is type and value in vars(builtins).values():
        return {"k": "type", "v": value.__name__}
    if (kind.__module__, kind.__name__) in TEXTS:
        name = (kind.__module__, kind.__name__)
        if getattr(sys.modules.get(name[0]), name[1], None) is kind:
            return {"k": "text", "v": [*name, str(value)]}
    for base in (int, float, str, complex, bytes, bytearray, *ITEMS, dict):
        if issubclass(kind, base):
            plain = _plain(value, base, other, depth)
            return plain if kind is base else other(value, plain)
    if kind in (range, slice):
        parts = [encode(p, other, depth + 1) for p in (value.start, value.stop, value.step)]
        return {"k": kind.__name__, "v": parts}
    return other(value, None)


def _plain(value: Any, base: Any, other: Callable[[Any, Any], Any], depth: int) -> Any:
    if base is int:
        number = int.__int__(value)
        return number if number.bit_length() < 10_000 else {"k": "int", "v": hex(number)}
    if base is float:
        return float.__float__(value)
    if base is str:
        return str.__str__(value)
    if base is complex:
        both = complex.__complex__(value)
        return {"k": "complex", "v": [both.real, both.imag]}
    if base in (bytes, bytearray):
        return {"k": base.__name__, "v": bytes(memoryview(value)).hex()}
    if base is dict:
        pairs = [[encode(p, other, depth + 1) for p in pair] for pair in dict.items(value)]
        return {"k": "d", "v": pairs}
    return {"k": ITEMS[base], "v": [encode(v, other, depth + 1) for v in base.__iter__(value)]}


def decode(data: Any, other: Callable[[dict[str, Any]], Any]) -> Any:
    """The value. Handles and the like go through ``other``.

    Raises:
        Ended: it is not what `encode` makes.
    """
    if data is None or isinstance(data, bool | int | float | str):
        return data
    try:
        kind, value = data["k"], data.get("v")
        if kind in MADE:
            return MADE[kind]([decode(v, other) for v in value])
        if kind == "d":
            return {decode(k, other): decode(v, other) for k, v in value}
        if kind == "int":
            return int(value, 16)
        if kind in ("bytes", "bytearray"):
            return getattr(builtins, kind).fromhex(value)
        if kind == "complex":
            return complex(*value)
        if kind in ("range", "slice"):
            return getattr(builtins, kind)(*[decode(v, other) for v in value])
        if kind == "text":
            module, name, text = value
            made = getattr(importlib.import_module(module), name)
            reader = TEXTS[module, name]
            return getattr(made, reader)(text) if reader else made(text)
        if kind == "const":
            return {"NotImplemented": NotImplemented, "Ellipsis": Ellipsis}[value]
        if kind == "type":
            found = getattr(builtins, value)
            if isinstance(found, type):
                return found
            raise ValueError(value)
        return other(data)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError, ArithmeticError) as error:
        raise Ended(f"it sent what cannot be read ({type(error).__name__})") from None


class Line:
    """One end of a socket that carries messages."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.held = b""

    def send(self, message: Any) -> None:
        """Raises Ended."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        if len(data) > LONGEST:
            raise Ended(f"a message of {len(data):,} bytes, {LONGEST:,} are allowed")
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:
            raise Ended("it ended") from None

    def receive(self) -> dict[str, Any]:
        """Raises Ended."""
        pieces = [self.held]
        size = len(self.held)
        while b"\n" not in pieces[-1]:
            try:
                piece = os.read(self.descriptor, 1 << 16)
            except OSError:
                piece = b""
            size += len(piece)
            if not piece or size > LONGEST:
                raise Ended("it ended" if not piece else "it sent too much")
            pieces.append(piece)
        line, _, self.held = b"".join(pieces).partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise Ended("it sent what cannot be read")
        return message
