"""Between two leases of one runner (level ``reuse``): leave nothing, look whether that worked, and say so.

`Wiping` remembers how the runner was when it was new. `Wiping.after` ends, removes and looks; whatever is not
as it was speaks of a program that worked at its box, and the box is given up: the host throws it away.
"""

# ruff: noqa: PTH109, PTH123, PTH208
from __future__ import annotations

import contextlib
import os
import resource

from aigym_kernel.sandboxes.inside import files
from aigym_kernel.sandboxes.inside.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aigym_kernel.sandboxes.inside.interpreter import Waiting


class Wiping:
    """How this runner was before its first lease, and whether it still is."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._new = _state()
        self._suspicion = ""

    def heed(self, answer: Mapping[str, Any]) -> None:
        """A run that broke a limit of the whole box is a reason to give the box up."""
        told = str(answer.get("detail", ""))
        if answer.get("status") == "memory_limit" or told.startswith("killed: "):
            self._suspicion = self._suspicion or f"a program met a limit of the whole box: {told}"

    def after(self, limits: Mapping[str, Any]) -> str:
        """End and remove everything of the lease; why the box cannot have another, or nothing."""
        problem = self._suspicion or self._processes()
        if problem:
            self._waiting.send_away()
            Tree(limits).kill()
        files.clear()
        return problem or self._changed()

    def _processes(self) -> str:
        known = {"1", str(self._waiting.pid())}
        alive = [
            name for name in os.listdir("/proc") if name.isdigit() and name not in known and _alive(name)
        ]
        return f"process {alive[0]} was still alive" if alive else ""

    def _changed(self) -> str:
        for path in files.PLACES:
            with contextlib.suppress(FileNotFoundError):
                if left := os.listdir(path):
                    return f"{path} still held {left[0]!r}"
        for kind in ("shm", "msg", "sem"):
            with contextlib.suppress(FileNotFoundError), open(f"/proc/sysvipc/{kind}", "rb") as table:
                if len(table.readlines()) > 1:
                    return f"System V objects ({kind}) were left"
        now = _state()
        changed = [name for name, value in now.items() if value != self._new[name]]
        return f"the runner's {changed[0]} had changed" if changed else ""


def _alive(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _state() -> dict[str, Any]:
    """What one process may change of another one of the same user, and what only a process itself may."""
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = file.read()
    rlimits = [n for n in dir(resource) if n.startswith("RLIMIT_")]
    umask = os.umask(0o022)
    os.umask(umask)
    return {
        **{name: resource.getrlimit(getattr(resource, name)) for name in rlimits},
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": os.sched_getaffinity(0),
        "scheduler": (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
        "mounts": mounts,
        "umask": umask,
        "folder": os.getcwd(),
    }
