"""Frames between the host and the runner: 4 bytes length of a JSON header, 8 bytes length of what follows
it, header, blobs. Both sides use this module. Not here: what the messages mean (`loop`)."""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False  # the name is what type checkers look for; importing typing costs 4 ms per box
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

MAX_HEADER = 64 << 20


def pack(message: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """One frame: ``message`` as JSON, then ``blobs``."""
    header = json.dumps({**message, "sizes": [len(blob) for blob in blobs]}).encode()
    return b"".join([struct.pack(">IQ", len(header), sum(map(len, blobs))), header, *blobs])


def unpack(read: Callable[[int], bytes], most: int) -> tuple[dict[str, Any], list[bytes]]:
    """The next frame from ``read(n)``, which returns exactly n bytes or raises EOFError.

    Raises:
        ValueError: not a frame, or blobs of more than ``most`` bytes.
    """
    header_size, blob_size = struct.unpack(">IQ", read(12))
    if header_size > MAX_HEADER or blob_size > most:
        raise ValueError(f"a frame of {header_size} + {blob_size} bytes")
    message = json.loads(read(header_size))
    body = memoryview(read(blob_size))
    blobs = []
    for size in message.pop("sizes"):
        blobs.append(bytes(body[:size]))
        body = body[size:]
    return message, blobs
