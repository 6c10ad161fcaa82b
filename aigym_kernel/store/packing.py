"""Nested values as bytes, exactly: dicts, tuples, lists, arrays and scalars of any dtype, graphs, text.

    packed = pack({"camera": image, "goal": (np.float32(1), "north")})
    unpack(packed)                  equal, with the same types, dtypes, shapes and order of keys
    shown(value)                    the same for JSON: what is long is only described

Packed are 4 bytes with the length of an outline, the outline (JSON), and the bytes of arrays and texts in the
order in which it names them. In the outline a list is a tag and what belongs to it; anything else is itself:

    ["l", ...] list   ["t", ...] tuple   ["d", key, value, ...] dict   ["g", nodes, edges, links] graph
    ["a", dtype, shape] array   ["s", dtype] NumPy scalar   ["u", bytes] text   ["b", bytes] bytes
    ["c", real, imaginary] complex

Nothing in it can run code. Objects of other kinds become what they are nearest to, as `schema.json_text` has
it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from aigym_kernel.store import schema

# Beyond this many elements an array is for eyes and networks, not for SQL: text then only describes it.
LONG = 4096
LONG_IMAGE = 512


def is_long(shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Whether an array is kept as bytes alone. Bytes (uint8) are pixels sooner than other numbers."""
    return math.prod(shape) > (LONG_IMAGE if dtype == np.uint8 else LONG)


def is_plain(value: Any) -> bool:
    """Whether JSON gives the very same value back: of text, Python's numbers, lists, dicts with text keys."""
    kind = type(value)
    if kind is str:
        return schema.encodable(value)
    if kind is list:
        return all(map(is_plain, value))
    if kind is dict:
        return all(type(k) is str and is_plain(k) and is_plain(v) for k, v in value.items())
    return value is None or kind in (int, float, bool)


def pack(value: Any) -> bytes:
    """The value as bytes.

    Raises:
        RecursionError, ValueError: it is nested too deep, or holds an integer of thousands of digits.
    """
    buffers: list[bytes] = []
    outline = json.dumps(_outline(value, buffers), separators=(",", ":")).encode("ascii")
    return b"".join([len(outline).to_bytes(4, "little"), outline, *buffers])


def _outline(value: Any, buffers: list[bytes]) -> Any:
    if value is None or type(value) in (int, float, bool):
        return value
    if type(value) is str:
        buffers.append(value.encode("utf-8", "surrogatepass"))
        return ["u", len(buffers[-1])]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "OV":
        buffers.append(value.tobytes())
        return (
            ["a", value.dtype.str, value.shape] if isinstance(value, np.ndarray) else ["s", value.dtype.str]
        )
    if isinstance(value, bytes | bytearray | memoryview):
        buffers.append(bytes(value))
        return ["b", len(buffers[-1])]
    if type(value) is complex:
        return ["c", value.real, value.imag]
    if isinstance(value, Mapping):
        return ["d", *(_outline(part, buffers) for pair in value.items() for part in pair)]
    if isinstance(value, tuple):
        graph = type(value).__name__ == "GraphInstance" and len(value) == 3
        return ["g" if graph else "t", *(_outline(part, buffers) for part in value)]
    if isinstance(value, list):
        return ["l", *(_outline(part, buffers) for part in value)]
    return _outline(json.loads(schema.json_text(value)), buffers)


def unpack(packed: bytes) -> Any:
    """The value that `pack` was given. Arrays are copies that may be written to."""
    start = 4 + int.from_bytes(packed[:4], "little")
    value, end = _value(_read(bytes(packed[4:start])), packed, start)
    if end != len(packed):
        raise ValueError(f"{len(packed) - end} bytes too many")
    return value


@lru_cache(maxsize=256)
def _read(outline: bytes) -> Any:
    return json.loads(outline)


def _value(outline: Any, packed: bytes, at: int) -> tuple[Any, int]:
    """What an outline stands for, and where the bytes of the next one begin."""
    if not isinstance(outline, list):
        return outline, at
    tag = outline[0]
    if tag in ("a", "s"):
        kind = np.dtype(outline[1])
        shape = outline[2] if tag == "a" else ()
        count = math.prod(shape)
        end = at + count * kind.itemsize
        # An element without a size (empty text) leaves nothing to be read.
        flat = np.frombuffer(packed, kind, count, at) if kind.itemsize and count else np.zeros(count, kind)
        return (flat.reshape(shape).copy() if tag == "a" else flat[0]), end
    if tag in ("u", "b"):
        end = at + outline[1]
        return (packed[at:end].decode("utf-8", "surrogatepass") if tag == "u" else packed[at:end]), end
    if tag == "c":
        return complex(outline[1], outline[2]), at
    parts = []
    for part in outline[1:]:
        value, at = _value(part, packed, at)
        parts.append(value)
    if tag == "d":
        return dict(zip(parts[::2], parts[1::2], strict=True)), at
    if tag == "g":
        from gymnasium.spaces import GraphInstance

        return GraphInstance(*parts), at
    return (tuple(parts) if tag == "t" else parts), at


def shown(value: Any) -> Any:
    """The value for JSON that people and SQL read: a long array, and bytes, are only described."""
    if isinstance(value, np.ndarray) and is_long(value.shape, value.dtype):
        return f"{value.dtype.name}{list(value.shape)}"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(bytes(value))} bytes" if len(value) > LONG_IMAGE else value
    if isinstance(value, Mapping):
        return {key: shown(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [shown(part) for part in value]
    return value
