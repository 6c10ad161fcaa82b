"""Who made something that may outlive a killed process: control groups, containers.

Owner.this()                   # the calling process
Owner.parse(str(owner)).gone   # from a label; known to have ended
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def _here() -> str:
    """Where process numbers mean what they mean here: this start of this machine, this pid namespace."""
    if sys.platform != "linux":
        return platform.node()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process. ``start``, in hundredths of a second, tells it from a later one with the same number;
    ``where`` is the machine and pid namespace."""

    pid: int
    start: int
    where: str = field(default_factory=_here)

    @classmethod
    def this(cls) -> Owner:
        """The calling process."""
        return _own(os.getpid())

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """What `str` made of one; None for any other text."""
        process, _, where = text.partition("@")
        pid, _, start = process.partition("-")
        return cls(pid=int(pid), start=int(start), where=where) if pid.isdigit() and start.isdigit() else None

    def __str__(self) -> str:
        return f"{self.pid}-{self.start}@{self.where}"

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: not known of another machine's or container's processes."""
        try:
            return self.where == _here() and _start(self.pid) != self.start
        except OSError:  # too many open files, and nothing is known
            return False


@lru_cache(maxsize=1)
def _own(pid: int) -> Owner:
    return Owner(pid=pid, start=_start(pid))


def _start(pid: int) -> int:
    """When a process began; 0 if there is none."""
    if sys.platform != "linux":
        import psutil

        return round(psutil.Process(pid).create_time() * 100) if psutil.pid_exists(pid) else 0
    try:  # counted from the start of the machine: no change of the clock moves it
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0
