"""How many trainings of a store run at once: each holds a file in ``slots/`` while its process lives.
(Those of a bench's cell: how many of that cell; the folder is the cell's then.)

    slot = take(folder, ticket, kind="cpu", limit=2, stopped=lambda: False)     waits for its turn
    slot.threads, slot.gpu
    slot.release()

A ticket is a locked file (flock), so that a killed process gives its slot back by dying; whoever looks next
removes the file. Those who came first go first. Only the standard library is imported here: a process that
waits for its slot has not loaded torch yet and costs a few megabytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place to compute: ``threads`` is this training's share of the cores, ``gpu`` the number of the GPU
    that is its own or that it shares with the fewest; None without one."""

    path: Path
    file: BinaryIO
    threads: int
    gpu: int | None

    def release(self) -> None:
        """Give it back. Harmless when it was given back before."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.file.close()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take(
    place: Path,
    ticket: str,
    *,
    kind: str,
    limit: int,
    stopped: Callable[[], bool],
    gpus: int = 0,
    gpu: int | None = None,
    together: int = 1,
) -> Slot | None:
    """Wait until fewer than ``limit`` trainings of this ``kind`` run, and nobody who came first may go.

    Args:
        place: the folder of the store, or of what else its trainings share the machine in.
        ticket: a file name, unlike every other's; they go in its order.
        stopped: asked while waiting; None is returned when it says so.
        gpus: how many GPUs there are to choose from, unless it is to be ``gpu``.
        together: how many were started at once: cores are shared among those that will run.
    """
    folder = place / "slots"
    folder.mkdir(exist_ok=True)
    path = folder / ticket
    mine = {"kind": kind, "limit": limit, "running": False, "gpu": None}
    with _guarded(folder):
        file = path.open("w+b")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write(file, mine)
    while True:
        with _guarded(folder):
            others = [o for o in _others(folder, path) if o["kind"] == kind]
            running = [o for o in others if o["running"]]
            before = [o for o in others if not o["running"] and o["ticket"] < ticket]
            if len(running) < limit and all(len(running) >= o["limit"] for o in before):
                used = [o["gpu"] for o in running]
                if gpu is None and gpus:
                    gpu = min(range(gpus), key=used.count)
                _write(file, {**mine, "running": True, "gpu": gpu})
                most = min(limit, max(len(others) + 1, together))
                return Slot(path=path, file=file, threads=max(1, cores() // most), gpu=gpu)
        if stopped():
            Slot(path=path, file=file, threads=1, gpu=None).release()
            return None
        time.sleep(POLL_S)


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """One process at a time looks at the tickets."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _others(folder: Path, mine: Path) -> list[dict[str, Any]]:
    """The tickets of all other living processes; those of dead ones are removed."""
    found = []
    for path in folder.iterdir():
        if path == mine or path.name == ".lock":
            continue
        # Whoever gives a slot back waits for nobody: its file may be gone at any moment.
        with suppress(FileNotFoundError), path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append({"ticket": path.name, **json.loads(file.read())})
            else:
                path.unlink()
    return found


def _write(file: BinaryIO, ticket: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(ticket).encode())
    file.flush()
