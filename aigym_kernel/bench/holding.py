"""One process at a time works on a bench's folder: it holds the folder's lock file (flock).

    hold = take(folder, workers=2)      or a BenchError that says who has it, and since when
    hold.release()
    holder(folder)                      who works on it now; None where nobody does
    last(folder)                        who began to work on it last
    ask_to_stop(folder); stop_asked(folder)

A killed process gives the lock back by dying. Only processes that share a file system with locks see each
other. What may be done while the lock is held is said by `scheduling`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from aigym_kernel.errors import BenchError
from aigym_kernel.store.records import cannot_write

PATIENCE_S = 0.5  # for whoever is just letting go of it


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who works on a bench: process, machine, since when (seconds since 1970), how many cells at a time."""

    pid: int
    host: str
    since: float
    workers: int


@dataclass(frozen=True)
class Hold:
    """The lock, held by this process."""

    folder: Path
    file: BinaryIO

    def name(self, *, workers: int, pid: int | None = None) -> None:
        """Write down who holds it: this process, or the one that inherits it."""
        mine = Holder(pid=pid or os.getpid(), host=socket.gethostname(), since=time.time(), workers=workers)
        self.file.seek(0)
        self.file.truncate()
        self.file.write(json.dumps(asdict(mine)).encode())
        self.file.flush()

    def release(self) -> None:
        """Give it back, unless another process inherited it. Harmless when it was given back before."""
        self.file.close()


def take(folder: Path, *, workers: int = 1) -> Hold:
    """Hold the lock of a bench's folder, and forget that somebody asked an earlier holder to stop.

    Raises:
        BenchError: another process works on it; the message says which, and the way out.
        StoreError: the folder cannot be written.
    """
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    except OSError as problem:
        raise cannot_write(path, problem) from None
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            # Who only looks holds it for a moment, on a busy machine for seconds. That must refuse nobody.
            if holder(folder) is None:
                until = time.monotonic() + PATIENCE_S
            elif time.monotonic() > until:
                file.close()
                raise BenchError(_refusal(folder)) from None
            time.sleep(0.02)
    hold = Hold(folder, file)
    try:
        (folder / "stop").unlink(missing_ok=True)
        hold.name(workers=workers)
    except OSError as problem:
        hold.release()
        raise cannot_write(path, problem) from None
    return hold


def inherited(folder: Path, descriptor: int) -> Hold:
    """The lock that the process which started this one passed on."""
    os.set_inheritable(descriptor, False)
    return Hold(folder, os.fdopen(descriptor, "a+b", buffering=0))


def _refusal(folder: Path) -> str:
    found = last(folder)
    by = "another process"
    if found is not None:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.since))
        by = f"process {found.pid} on {found.host} since {since}"
    name = called(folder)
    return (
        f"bench {folder.name} is being worked on by {by}; wait for it (aigym bench status {name}), end it "
        f"(aigym bench stop {name}), or give this one another name"
    )


def called(folder: Path) -> str:
    """What the commands call a bench, as a shell reads it: its name, or its folder where that is not in a
    store."""
    return shlex.quote(folder.name if folder.parent.name == "benches" else str(folder))


def holder(folder: Path) -> Holder | None:
    """Who works on a bench now; None where nobody does, or where there is no bench."""
    try:
        file = (folder / "lock").open("rb")
    except OSError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return last(folder) or Holder(pid=0, host=socket.gethostname(), since=time.time(), workers=1)
    return None


def last(folder: Path) -> Holder | None:
    """Who began to work on a bench last, whether it still does or not."""
    try:
        return Holder(**json.loads((folder / "lock").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def ask_to_stop(folder: Path) -> bool:
    """Ask whoever works on a bench to begin no more cells and to end the running ones; returns at once,
    and whether anybody does.

    Raises:
        StoreError: the folder cannot be written.
    """
    if holder(folder) is None:
        return False
    try:
        (folder / "stop").touch()
    except OSError as problem:
        raise cannot_write(folder / "stop", problem) from None
    return True


def stop_asked(folder: Path) -> bool:
    """Whether somebody asked this start to stop."""
    with suppress(OSError):
        return (folder / "stop").exists()
    return False
