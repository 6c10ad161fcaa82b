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
    from collections.abc import Mapping
    from typing import Any


class Tree:
    """All processes of one run, as far as this looks at them: what has ended, what they use now."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self.limits = limits
        self.ended: dict[int, int] = {}  # wait status by pid
        self.cpu_s = 0.0  # of ended processes
        self.peak_kb = 0
        self.most_tasks = 0  # processes and threads at a time

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
        memory_kb, tasks, cpu_s = 0, 0, self.cpu_s
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        most_kb = self.limits["memory_mb"] << 10
        for pid in pids:
            status = proc(pid, "status")
            memory_kb += _field(status, b"RssAnon:") + _field(status, b"RssShmem:")
            tasks += _field(status, b"Threads:")
            if self.limits["cpu_s"] is not None:
                cpu_s += cpu_time_s(proc(pid, "stat"))
        self.most_tasks = max(self.most_tasks, tasks)
        if memory_kb > self.peak_kb and len(pids) > 1:  # the sum counts shared pages again and again
            memory_kb = sum(map(_proportional_kb, pids))
        self.peak_kb = max(self.peak_kb, memory_kb)
        if memory_kb > most_kb:
            return "memory_limit", f"{memory_kb >> 10} MiB in use, {self.limits['memory_mb']} allowed"
        if self.limits["cpu_s"] is not None and cpu_s > self.limits["cpu_s"]:
            return "cpu_limit", f"{cpu_s:.2f} s of CPU time used, {self.limits['cpu_s']} allowed"
        if tasks > self.limits["pids"]:
            return "signal", f"killed: {tasks} processes and threads, {self.limits['pids']} allowed"
        for folder in DISKS:
            # Empty ones too cost kernel memory, which no limit of a file system's size sees.
            if files(folder) > self.limits["files"] + 1:
                return "signal", f"killed: more than {self.limits['files']} files in {folder}"
        return None

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


def cpu_time_s(text: bytes) -> float:
    """User and system time of a process and of the children that it waited for."""
    fields = text.rpartition(b")")[2].split()[11:15]
    return float(sum(map(int, fields)) / os.sysconf("SC_CLK_TCK"))


def _proportional_kb(pid: int) -> int:
    text = proc(pid, "smaps_rollup")
    if not text:  # an undumpable process hides this table, and is counted in full
        text = proc(pid, "status")
        return _field(text, b"RssAnon:") + _field(text, b"RssShmem:")
    return _field(text, b"Pss_Anon:") + _field(text, b"Pss_Shmem:")


def oom_kills() -> int:
    """How often the kernel's own memory limit of this container struck (0 where there is none)."""
    for path in ("memory.events", "memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError), open(f"/sys/fs/cgroup/{path}", "rb") as file:
            return _field(b"\n" + file.read(), b"oom_kill ")
    return 0
