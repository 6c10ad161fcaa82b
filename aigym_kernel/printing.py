"""Holds a kernel to what it may print: an IPython extension that drops the rest where it is printed.

    python -m ipykernel --IPKernelApp.extra_extensions=['aigym_kernel.printing']

Without it, text that nobody will keep travels through both ends of a socket, which takes several times its
size in memory. Whoever reads (`engine`) cuts as well, a little earlier, and says so. Only the standard
library is imported here.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

VARIABLE = "AIGYM_OUTPUT_BYTES"
_BEYOND = 10_000  # more than the reader keeps, so that the reader sees that there was more


def load_ipython_extension(_shell: Any) -> None:
    """Called by IPython: from now on both streams together take what the variable says."""
    room = [int(os.environ.get(VARIABLE, sys.maxsize)) + _BEYOND]
    lock = threading.Lock()
    for stream in (sys.stdout, sys.stderr):
        stream.write = _limited(stream.write, room, lock)  # type: ignore[method-assign]


def _limited(write: Callable[[str], int], room: list[int], lock: threading.Lock) -> Callable[[str], int]:
    def limited(text: str) -> int:
        with lock:
            kept = min(len(text), room[0])
            room[0] -= kept
        if kept:
            write(text[:kept] if kept < len(text) else text)
        return len(text)

    return limited
