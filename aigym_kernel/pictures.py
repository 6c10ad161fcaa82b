"""Observations that are pictures, as PNG files in text that an <img> shows: no further package.

    pixels = picture(observation)      (height, width), (height, width, 3) or (..., 4) uint8, or None
    data_uri(pixels)                   "data:image/png;base64,..."

What counts as a picture: uint8 of H x W, H x W x 1, 3 or 4, channels first, or a stack of up to 16 of these
(Atari's four frames), which stand side by side. Sides are at least 8: a 7 x 7 x 3 grid of codes is none.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 8
LARGEST_STACK = 16
MAX_HEIGHT, MAX_WIDTH = 360, 720
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_SAMPLES = 4


def picture(value: Any) -> NDArray[np.uint8] | None:
    """The pixels of an observation that is a picture or a stack of pictures, made small; else None."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or not 2 <= value.ndim <= 4:
        return None
    frames = _frames(value)
    if frames is None:
        return None
    return np.concatenate([shrunk(f, MAX_HEIGHT, max(64, MAX_WIDTH // len(frames))) for f in frames], axis=1)


def _frames(value: NDArray[np.uint8]) -> list[NDArray[np.uint8]] | None:
    shape = value.shape
    if value.ndim == 4:
        if not 1 <= shape[0] <= LARGEST_STACK:
            return None
        stack = [_frames(frame) for frame in value]
        return [f[0] for f in stack if f] if all(f and len(f) == 1 for f in stack) else None
    if value.ndim == 2:
        return [value] if min(shape) >= SMALLEST else None
    if min(shape[:2]) >= SMALLEST and shape[2] <= LARGEST_STACK:
        if shape[2] == 1:
            return [value[..., 0]]
        # Four channels are colour with opacity, or four grey frames: opacity is the same nearly everywhere.
        if shape[2] == 3 or (shape[2] == 4 and bool((value[::8, ::8, 3] == 255).all())):
            return [value]
        return [value[..., i] for i in range(shape[2])]
    if min(shape[1:]) >= SMALLEST and shape[0] <= LARGEST_STACK:
        return [np.moveaxis(value, 0, -1)] if shape[0] == 3 else list(value)
    return None


def shrunk(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The picture at a whole fraction of its size, so that it fits; each new pixel is a mean."""
    by = max(1, -(-pixels.shape[0] // height), -(-pixels.shape[1] // width))
    if by == 1:
        return pixels
    down, across = min(by, pixels.shape[0]), min(by, pixels.shape[1])
    rows, columns = pixels.shape[0] // down * down, pixels.shape[1] // across * across
    places = [
        (i, j)
        for i in range(0, down, max(1, down // _SAMPLES))
        for j in range(0, across, max(1, across // _SAMPLES))
    ]
    total = sum(pixels[i:rows:down, j:columns:across].astype(np.uint32) for i, j in places)
    return np.asarray(total // len(places), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file (ISO/IEC 15948) of (height, width) grey, (..., 3) colour or (..., 4) colour with opacity."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    filtered = np.full((height, rows.shape[1] + 1), 2, dtype=np.uint8)  # 2: each byte less the one above
    filtered[:, 1:] = rows
    filtered[1:, 1:] -= rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """The picture as text that an <img> shows."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")
