"""The process tree of one run: what it uses, whether that is too much, and its end.

Memory, CPU time, processes and files are looked at (`Tree.excess`) beside the rlimits that `run` sets for
each process. Not here: starting the program, wall time and output (`run`)."""

# Descriptors throughout, and importing pathlib would cost every box 10 ms.
# ruff: noqa: PTH123, PTH208
from __future__ import annotations

import contextlib
import os
import signal

from aigym_kernel.sandboxes.inside.files import DISKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


TICKS = os.sysconf("SC_CLK_TCK")


class Tree:
    """All processes of one run, as far as this looks at them: what has ended, what they use now."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self.limits = limits
        self.ended: dict[int, int] = {}  # wait status by pid
        self.cpu_s = 0.0  # of ended processes
        self.peak_kb = 0
        self.most_tasks = 0  # processes and threads at a time
        self._borrowing: dict[int, int] = {}  # looks at which a process had its parent's memory
        self._seen: dict[tuple[int, bytes], float] = {}  # own CPU time by pid and start
        self._forgotten_s = 0.0  # of what was seen
        self._kills = oom_kills()

    def reap(self, *, block: bool = False) -> bool:
        """Take note of processes that ended; False when there are none left to wait for."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0 if block else os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self.ended[pid] = status
            self.cpu_s += usage.ru_utime + usage.ru_stime
            if block:
                return True

    def excess(self) -> tuple[str, str] | None:
        """The limit that the living processes break, and by how much. Counts anonymous and shared
        memory, not pages of files; pages shared between processes once, where the kernel tells."""
        pids = _pids()
        statuses = {pid: _status(pid) for pid in pids}
        memory = {pid: _resident_kb(status) for pid, status in statuses.items()}
        tasks = sum(_field(status, b"Threads:") for status in statuses.values())
        self.most_tasks = max(self.most_tasks, tasks)
        memory_kb = sum(memory.values())
        if memory_kb > self.peak_kb and len(pids) > 1:  # the sum counts shared pages again and again
            memory_kb = sum(_proportional_kb(p) for p in pids if not self._borrows(p, statuses, memory))
        self.peak_kb = max(self.peak_kb, memory_kb)
        if memory_kb > self.limits["memory_mb"] << 10:
            return "memory_limit", f"{memory_kb >> 10} MiB in use, {self.limits['memory_mb']} allowed"
        if self.limits["cpu_s"] is not None and (cpu_s := self._cpu_s(pids)) > self.limits["cpu_s"]:
            return "cpu_limit", f"{cpu_s:.2f} s of CPU time used, {self.limits['cpu_s']} allowed"
        if tasks > self.limits["pids"]:
            return "signal", f"killed: {tasks} processes and threads, {self.limits['pids']} allowed"
        for folder in DISKS:
            # Empty ones too cost kernel memory, which no limit of a file system's size sees.
            if files(folder) > self.limits["files"] + 1:
                return "signal", f"killed: more than {self.limits['files']} files in {folder}"
        return None

    def struck(self) -> tuple[str, str] | None:
        """Whether the kernel ended a process for want of memory: a fast one grows past the looks."""
        if oom_kills() == self._kills:
            return None
        return "memory_limit", f"the kernel ended a process: {self.limits['memory_mb']} MiB allowed"

    def highest_kb(self) -> int:
        """The most memory at a time that is known of. Where the kernel had to end a process it is what the
        container had at most less what is left: the looks saw only what was there before they were late."""
        if oom_kills() != self._kills:
            most = int(_of_container("memory.peak", "memory/memory.max_usage_in_bytes") or 0)
            left = int(_of_container("memory.current", "memory/memory.usage_in_bytes") or 0)
            self.peak_kb = max(self.peak_kb, most - left >> 10)
        return self.peak_kb

    def _borrows(self, pid: int, statuses: Mapping[int, bytes], memory: Mapping[int, int]) -> bool:
        """Whether a process is a vfork's child, whose memory is its sleeping parent's until it becomes
        another program: every subprocess of Python begins like that. A child that only looks so (as one of
        a fork might) is believed for a few looks."""
        parent = _field(statuses[pid], b"PPid:")
        asleep = b"\nState:\tD" in statuses.get(parent, b"")
        if not asleep or abs(memory[pid] - memory[parent]) > 256:
            return False
        self._borrowing[pid] = self._borrowing.get(pid, 0) + 1
        return self._borrowing[pid] < 50

    def _cpu_s(self, pids: Sequence[int]) -> float:
        """CPU time so far: of what ended and was waited for, or of every process when last seen. Children
        that nobody waits for are missing in the former, short ones in the latter."""
        waited_for = self.cpu_s
        for pid in pids:
            text = proc(pid, "stat")
            waited_for += cpu_time_s(text)
            fields = text.rpartition(b")")[2].split()
            if fields:
                self._seen[pid, fields[19]] = sum(map(int, fields[11:13])) / TICKS
        return max(waited_for, self._seen_s())

    def _seen_s(self) -> float:
        return sum(self._seen.values()) - self._forgotten_s

    @property
    def used_cpu_s(self) -> float:
        """CPU time of all that has ended."""
        return max(self.cpu_s, self._seen_s())

    def begin_anew(self) -> None:
        """Count CPU time, and what the kernel ends, from here."""
        self._kills = oom_kills()
        pids = _pids()
        self.cpu_s = -sum(cpu_time_s(proc(pid, "stat")) for pid in pids)
        self._cpu_s(pids)
        self._forgotten_s = sum(self._seen.values())

    def kill(self) -> None:
        """End every process but this one. kill(-1) is atomic against fork; what it misses while being
        cloned shows up as a child to wait for, and the next round takes it."""
        alive = True
        while alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            alive = self.reap(block=True)


def files(folder: str) -> int:
    """How many there are on its disk."""
    disk = os.statvfs(folder)
    return disk.f_files - disk.f_ffree


def proc(pid: int, name: str) -> bytes:
    """A table of a process; empty where there is none."""
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8192)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _field(text: bytes, name: bytes) -> int:
    """A number of a /proc table. The line break keeps a process from naming itself like a field."""
    at = text.find(b"\n" + name)
    return int(text[at + 1 + len(name) :].split(None, 1)[0]) if at >= 0 else 0


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def cpu_time_s(text: bytes) -> float:
    """User and system time of a process and of the children that it waited for."""
    fields = text.rpartition(b")")[2].split()[11:15]
    return sum(map(int, fields)) / TICKS


def _status(pid: int) -> bytes:
    """A process' table. One whose first thread has ended shows its memory only in another thread's."""
    status = proc(pid, "status")
    if b"\nRssAnon:" not in status and _field(status, b"Threads:") > 1:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                if b"\nRssAnon:" in (found := proc(pid, f"task/{thread}/status")):
                    return found
    return status


def _resident_kb(status: bytes) -> int:
    return _field(status, b"RssAnon:") + _field(status, b"RssShmem:")


def _proportional_kb(pid: int) -> int:
    text = proc(pid, "smaps_rollup")
    if not text:  # an undumpable process hides this table, and is counted in full
        return _resident_kb(_status(pid))
    return _field(text, b"Pss_Anon:") + _field(text, b"Pss_Shmem:")


def oom_kills() -> int:
    """How often the kernel's own memory limit of this container struck (0 where there is none)."""
    return _field(b"\n" + _of_container("memory.events", "memory/memory.oom_control"), b"oom_kill ")


def _of_container(*names: str) -> bytes:
    """What its control group says, in the words of version 2 or 1; empty where the kernel does not tell."""
    for name in names:
        with contextlib.suppress(OSError), open(f"/sys/fs/cgroup/{name}", "rb") as file:
            return file.read()
    return b""
