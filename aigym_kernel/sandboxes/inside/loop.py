"""The runner's loop: says hello, then answers frames until the host hangs up.

``write``, ``run``, ``read``, ``export`` and ``clear`` come in any order and number. Each gets one answer.
When descriptor 0 ends, so does the runner, and the kernel then ends every process of its namespace. In a box
of a pool, ``renew`` ends a lease: the answer is the next lease's hello."""

from __future__ import annotations

import os
import signal

from aigym_kernel.sandboxes.inside import files
from aigym_kernel.sandboxes.inside.confine import confine
from aigym_kernel.sandboxes.inside.frames import pack, unpack
from aigym_kernel.sandboxes.inside.run import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from aigym_kernel.sandboxes.inside.interpreter import Waiting

RENEWED, HUNG_UP = 0, 1  # how a runner's process ends


def _answer(
    message: dict[str, Any], blobs: list[bytes], limits: Mapping[str, Any], waiting: Waiting | None
) -> tuple[dict[str, Any], list[bytes]]:
    most = limits["disk_mb"] << 20
    if message["do"] == "run":
        return run(message["argv"], blobs[0], {**limits, **message["limits"]}, waiting)
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


def main(settings: Mapping[str, Any], own: frozenset[str]) -> Callable[[], int] | None:
    """Answer frames until the host hangs up. ``level``: empty for a box that is used once, else the pool's.
    In a forked interpreter this returns what runs its program."""
    os.closerange(3, 65536)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    if settings["level"]:
        from aigym_kernel.sandboxes.inside.resident import live

        return live(settings, own, lambda waiting: _serve(settings, waiting))
    confine(settings["seccomp"])
    _serve(settings, None)
    return None


def _serve(settings: Mapping[str, Any], waiting: Waiting | None) -> int:
    limits, wiping = settings["limits"], None
    if waiting and settings["level"] == "reuse":
        from aigym_kernel.sandboxes.inside.wiping import Wiping

        wiping = Wiping(waiting)
    _send({"pid": os.getpid()})
    while True:
        if waiting:
            waiting.ask()
        try:
            message, blobs = unpack(_take, 1 << 40)
        except EOFError:
            return HUNG_UP
        try:
            if message["do"] == "renew":
                if not wiping:
                    return RENEWED
                problem = wiping.after(limits)
                _send({"error": problem} if problem else {"pid": os.getpid()})
            else:
                answer, found = _answer(message, blobs, limits, waiting)
                _send(answer, found)
                if wiping:
                    wiping.heed(answer)
        except (OSError, ValueError, RecursionError) as error:
            _send({"error": f"{error}"})


def _take(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.read(0, min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def _send(answer: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
    data = memoryview(pack(answer, blobs))
    while data:
        data = data[os.write(1, data) :]
