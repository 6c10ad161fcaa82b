"""The runner's loop: answers frames until the host hangs up.

``open`` comes first, then ``write``, ``run``, ``read``, ``export`` and ``clear`` as often as the host likes.
Each gets one answer. When descriptor 0 ends, so does the runner, and the kernel then ends every process of
its namespace."""

from __future__ import annotations

import os
import signal

from aigym_kernel.sandboxes.inside import files
from aigym_kernel.sandboxes.inside.confine import confine
from aigym_kernel.sandboxes.inside.frames import pack, unpack
from aigym_kernel.sandboxes.inside.run import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def _answer(
    message: dict[str, Any], blobs: list[bytes], limits: Mapping[str, Any]
) -> tuple[dict[str, Any], list[bytes]]:
    most = limits["disk_mb"] << 20
    if message["do"] == "run":
        return run(message["argv"], blobs[0], {**limits, **message["limits"]})
    if message["do"] == "write":
        files.write(dict(zip(message["paths"], blobs)))
        return {}, []
    if message["do"] == "read":
        return {}, [files.read(message["path"], most)]
    if message["do"] == "clear":
        files.clear()
        return {}, []
    found = files.export(most)
    return {"paths": list(found)}, list(found.values())


def main() -> None:
    """Answer frames until the host hangs up."""
    os.closerange(3, 65536)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)

    def take(size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = os.read(0, min(size - len(data), 1 << 20))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def send(answer: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
        data = memoryview(pack(answer, blobs))
        while data:
            data = data[os.write(1, data) :]

    limits: dict[str, Any] = {}
    while True:
        try:
            message, blobs = unpack(take, 1 << 40)
        except EOFError:
            return
        try:
            if message["do"] == "open":
                confine(blobs[0])
                limits = message["limits"]
                send({"pid": os.getpid()})
            else:
                send(*_answer(message, blobs, limits))
        except (OSError, ValueError, RecursionError) as error:
            send({"error": f"{error}"})
