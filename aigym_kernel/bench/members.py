"""The processes of a cell, however detached: those that AIGYM_CELL marks, and what descends from them.

    members = Members(cell_folder)          of all its attempts
    members = Members(cell_folder, pid)     of one; pid: its own process, whose environment cannot be seen
    members.look()                          who has joined; then
    members.memory_mb()                     all of them together
    members.kill(); members.kill(spare=pid)

A process that left its parent and emptied its environment before anybody looked is not found.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "AIGYM_CELL"
OWN = "AIGYM_CELL_PID"
_SETBACK_S = 10.0  # by which a clock may be set back while a cell runs
_ROUNDS = 100  # of killing: whoever forks faster than that for five seconds is left to the next `clear`
_PAUSE_S = 0.05
_HELD = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)


class Members:
    """Who belongs to a cell. Processes that were looked at once are not looked at again."""

    def __init__(self, folder: Path, pid: int | None = None) -> None:
        # Whoever is slow to end a killed attempt must leave alone the one that has begun after it.
        self._marks = {MARK: str(folder)} | ({} if pid is None else {OWN: str(pid)})
        self._known: set[psutil.Process] = set()
        self._others: set[psutil.Process] = set()
        self._since = 0.0
        if pid is not None:
            with suppress(psutil.Error):
                own = psutil.Process(pid)
                self._known.add(own)
                # Nothing older belongs to it. Hundreds of processes take a busy machine seconds to look at.
                self._since = own.create_time() - _SETBACK_S

    def look(self) -> None:
        """Find those that have joined since."""
        running = set(psutil.process_iter())
        self._others &= running
        self._known &= running
        pids = {process.pid for process in self._known}
        for process in sorted(running - self._known - self._others, key=lambda one: one.pid):
            if self._belongs(process, pids):
                self._known.add(process)
                pids.add(process.pid)
            else:
                self._others.add(process)

    def _belongs(self, process: psutil.Process, pids: set[int]) -> bool:
        with suppress(psutil.Error):
            if process.create_time() < self._since:
                return False
            if process.ppid() in pids:
                return True
            return self._marks.items() <= process.environ().items()
        return False

    def alive(self) -> list[psutil.Process]:
        """Those found that still run."""
        return [process for process in self._known if _alive(process)]

    def memory_mb(self) -> float:
        """What they hold together, in 2**20 bytes: their own and shared memory, without mapped files."""
        return sum(map(_held, self._known)) / 2**20

    def wait(self, seconds: float) -> None:
        """Until all have ended by themselves, at most so long."""
        self.look()
        psutil.wait_procs(self.alive(), timeout=seconds)

    def kill(self, spare: int | None = None) -> int:
        """End all of them, but for the one with the number ``spare``; returns how many there were."""
        ended = set()
        for _ in range(_ROUNDS):
            self.look()
            left = [process for process in self.alive() if process.pid != spare]
            if not left:
                break
            for process in left:  # none of them can start another one while the others end
                with suppress(psutil.Error):
                    process.suspend()
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            ended |= set(left)
            time.sleep(_PAUSE_S)
        return len(ended)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _held(process: psutil.Process) -> int:
    """Bytes. The set of all pages would count the libraries that processes share once for each."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8", errors="replace")
        return 1024 * sum(map(int, _HELD.findall(status)))
    except FileNotFoundError:
        if psutil.LINUX:
            return 0
    except OSError:
        return 0
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
