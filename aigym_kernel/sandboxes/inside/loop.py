"""The runner's loop: says hello, then answers frames until the host hangs up.

``write``, ``run``, ``read``, ``export``, ``pack``, ``unpack`` and ``clear``, and for sessions ``shell``,
``tell`` and ``end``, come in any order and number. Each gets one answer; ``interrupt``, which may come while
a ``tell`` is carried out, gets none. When descriptor 0 ends, so does the runner, and the kernel then ends
every process of its namespace. In a box of a pool, ``renew`` ends a lease: the answer is the next lease's
hello."""

from __future__ import annotations

import os
import signal

from aigym_kernel.sandboxes.inside import archives, files
from aigym_kernel.sandboxes.inside.confine import confine
from aigym_kernel.sandboxes.inside.frames import pack, unpack
from aigym_kernel.sandboxes.inside.run import run
from aigym_kernel.sandboxes.inside.shells import Shells

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from aigym_kernel.sandboxes.inside.interpreter import Waiting

RENEWED, HUNG_UP = 0, 1  # how a runner's process ends


def _answer(
    message: dict[str, Any],
    blobs: list[bytes],
    limits: Mapping[str, Any],
    shells: Shells,
    waiting: Waiting | None,
) -> tuple[dict[str, Any], list[bytes]]:
    if message["do"] == "run":
        # What lives in a shell could stop an interpreter that waits.
        waiting = None if shells.living() else waiting
        return run(message["argv"], blobs[0], {**limits, **message["limits"]}, waiting)
    if message["do"] == "shell":
        if waiting:
            waiting.send_away()
        return {"shell": shells.start(message["argv"], message["status_at"], limits)}, []
    if message["do"] == "tell":
        return shells.tell(message, blobs[0], {**limits, **message["limits"]}, _hear)
    if message["do"] == "end":
        shells.end(message["shell"])
        return {}, []
    with shells.halted():
        return _files(message, blobs, limits["disk_mb"] << 20)


def _files(message: dict[str, Any], blobs: list[bytes], most: int) -> tuple[dict[str, Any], list[bytes]]:
    if message["do"] == "write":
        files.write(dict(zip(message["paths"], blobs)))
        return {}, []
    if message["do"] == "read":
        return {}, [files.read(message["path"], most)]
    if message["do"] == "clear":
        files.clear()
        return {}, []
    if message["do"] == "pack":
        with files.below(message["path"], make=False) as folder:
            return {}, [archives.pack(folder, most, mine=True)]
    if message["do"] == "unpack":
        with files.below(message["path"], make=True) as folder:
            archives.unpack(blobs[0], folder, plain=False)
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
    limits, wiping, shells = settings["limits"], None, Shells()
    if waiting and settings["level"] == "reuse":
        from aigym_kernel.sandboxes.inside.wiping import Wiping

        wiping = Wiping(waiting)
    _send({"pid": os.getpid()})
    soon = True  # a program may come soon: at the beginning of a lease, and after files
    while True:
        if waiting and soon and not shells.living():
            waiting.ask()
        try:
            shells.idle()
            message, blobs = unpack(_take, 1 << 40)
        except EOFError:
            return HUNG_UP
        soon = message["do"] in ("write", "clear", "renew")
        try:
            if message["do"] == "renew":
                if not wiping:
                    return RENEWED
                shells.end_all()
                problem = wiping.after(limits)
                _send({"error": problem} if problem else {"pid": os.getpid()})
            elif message["do"] != "interrupt":  # which may come just after what it was to interrupt
                answer, found = _answer(message, blobs, limits, shells, waiting)
                _send(answer, found)
                if wiping:
                    wiping.heed(answer)
        except EOFError:
            return HUNG_UP
        except (OSError, ValueError, RecursionError) as error:
            _send({"error": f"{error}"})


def _hear() -> dict[str, Any]:
    return unpack(_take, 1 << 40)[0]


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
