"""Memory control groups for boxes that no container engine puts into one.

    group = make(256 << 20)           # None where this user may make none: address-space limits remain
    with group.inside(): ...          # what the calling thread starts meanwhile is in the group
    group.begin(); ...; group.end()   # the peak in between, and whether the kernel had to kill
    group.remove()

Version 2 wants a folder above this process' own group that its user may write to and that hands the memory
controller on (systemd does both for a user's own services); version 1 a writable memory group. Groups lie
beside this process' own or in it, so its own limits hold for them too. They are called
``aigym-<pid>-<start>-<pid namespace>-<number>`` after their owner; `watch` removes those of an owner that was
killed.

Not here: what a run's processes map (`inside.tree` looks at that too), limits other than memory.
Source: cgroups(7); the kernel's admin-guide/cgroup-v1/memory and admin-guide/cgroup-v2.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from aigym_kernel.sandboxes.owners import Owner

_NAME = re.compile(r"aigym-(\d+)-(\d+)-(\d+)-\d+")
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where groups are made: ``version`` 1 or 2 of the kernel's interface, and the groups' parent."""

    version: int
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a group's processes used: ``peak_kb`` (0: not known), and how many the kernel killed for it."""

    peak_kb: int
    killed: int


class Group:
    """One control group. Its files are read and written as the kernel's own tools do."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.folder = folder
        self.parent = 0  # the process whose children belong into the group, once there is one
        #: Where a box sees it, read only: its runner hears of the kernel's kills as one in a container does.
        self.inside_at = "/sys/fs/cgroup" if place.version == 2 else "/sys/fs/cgroup/memory"
        self._place = place
        self._names = _FILES[place.version]
        self._before = (0, 0, 0, 0)
        self._gathered = False

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Version 1: the calling thread, and so what it starts, is in the group meanwhile. A thread may
        move itself at no cost, where moving another process takes the kernel 4 to 14 ms."""
        if self._place.version == 2:  # which knows no threads: see `gather`
            yield
            return
        _write(self.folder / "tasks", "0")
        try:
            yield
        finally:
            _write(self._place.folder / "tasks", "0")

    def gather(self) -> None:
        """Version 2: move all that descends from `parent` into the group, once. Raises OSError."""
        if self._place.version == 2 and not self._gathered:
            self._gathered = True
            waiting = [str(self.parent)]
            while waiting:
                pid = waiting.pop()
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                    waiting += _read(Path(f"/proc/{pid}/task/{pid}/children")).split()
                    _write(self.folder / "cgroup.procs", pid)

    def begin(self) -> None:
        """Take note of what is used before a run."""
        with contextlib.suppress(OSError):  # before Linux 6.12, version 2 cannot forget a peak
            _write(self.folder / self._names["peak"], "0")
        self._before = self._look()

    def end(self) -> Used:
        """What was used since `begin`, the pages of files that the kernel may drop left out."""
        peak, _, cached, kills = self._look()
        peak_before, usage_before, cached_before, kills_before = self._before
        known = peak > peak_before or peak_before <= usage_before
        used = peak - usage_before - max(cached - cached_before, 0) if known else 0
        return Used(peak_kb=max(used, 0) >> 10, killed=kills - kills_before)

    def remove(self) -> None:
        """Remove it; its processes have ended. One that has not, yet, is left to `clean`."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _look(self) -> tuple[int, int, int, int]:
        """Peak, usage and cached pages of files in bytes; kills. Zeros when the group is gone."""
        try:
            statistics = _table(self.folder / "memory.stat")
            cached = statistics.get(self._names["cached"], 0) - statistics.get("shmem", 0)
            kills = _table(self.folder / self._names["kills"]).get("oom_kill", 0)
            with contextlib.suppress(FileNotFoundError):  # no memory.peak before Linux 5.19
                peak = int(_read(self.folder / self._names["peak"]))
                return peak, int(_read(self.folder / self._names["usage"])), cached, kills
            return 0, 1, cached, kills
        except OSError:
            return 0, 1, 0, 0


_FILES = {
    1: {
        "limit": "memory.limit_in_bytes",
        "swap": "memory.memsw.limit_in_bytes",
        "peak": "memory.max_usage_in_bytes",
        "usage": "memory.usage_in_bytes",
        "cached": "cache",
        "kills": "memory.oom_control",
    },
    2: {
        "limit": "memory.max",
        "swap": "memory.swap.max",
        "peak": "memory.peak",
        "usage": "memory.current",
        "cached": "file",
        "kills": "memory.events",
    },
}


def make(most: int) -> Group | None:
    """A group whose processes may use ``most`` bytes together, swap included; None where none can be had."""
    found = place(os.getpid())
    if found is None:
        return None
    folder = found.folder / f"{_prefix(Owner.this())}{next(_numbers)}"
    try:
        folder.mkdir()
    except OSError:
        return None
    names = _FILES[found.version]
    try:
        _write(folder / names["limit"], str(most))
        with contextlib.suppress(FileNotFoundError):  # a kernel that does not count swap
            _write(folder / names["swap"], str(most if found.version == 1 else 0))
    except OSError:
        folder.rmdir()
        return None
    return Group(found, folder)


@lru_cache(maxsize=1)
def place(_process: int) -> Place | None:
    """Where this process may make groups; found out by making one."""
    for version, folder in _candidates():
        trial = folder / f"{_prefix(Owner.this())}0"
        try:
            trial.mkdir()
        except OSError:
            continue
        try:
            _write(trial / _FILES[version]["limit"], str(1 << 40))
        except OSError:
            continue
        finally:
            trial.rmdir()
        return Place(version=version, folder=folder)
    return None


def _candidates() -> Iterator[tuple[int, Path]]:
    for version, root, own in _hierarchies():
        if version == 1:
            yield 1, own
            continue
        for folder in own.parents if own != root else ():  # a version 2 group with processes has no children
            if not folder.is_relative_to(root):
                break
            with contextlib.suppress(OSError):
                if "memory" in _read(folder / "cgroup.subtree_control").split() and os.access(
                    folder / "cgroup.procs", os.W_OK
                ):
                    yield 2, folder
                    break


def _hierarchies() -> Iterator[tuple[int, Path, Path]]:
    """Version, mount point and this process' own group of each hierarchy that may limit memory."""
    try:
        groups = [line.split(":", 2) for line in _read(Path("/proc/self/cgroup")).splitlines()]
        mounts = [line.split() for line in _read(Path("/proc/self/mountinfo")).splitlines()]
    except OSError:  # not Linux
        return
    for mount in mounts:
        kind, *_, options = mount[mount.index("-") + 1 :]
        version = {"cgroup": 1, "cgroup2": 2}.get(kind)
        if version is None or (version == 1 and "memory" not in options.split(",")):
            continue
        for _, controllers, path in groups:
            if ("memory" in controllers.split(",")) if version == 1 else not controllers:
                with contextlib.suppress(ValueError):  # a mount that shows only another part
                    below = Path(path).relative_to(mount[3])
                    yield version, Path(mount[4]), Path(mount[4], below)


def groups() -> list[tuple[Path, Owner]]:
    """All boxes' groups, wherever on this machine they lie."""
    here = Owner.this().where.partition("[")[0]
    return [
        (Path(folder, name), Owner(pid=int(found[1]), start=int(found[2]), where=f"{here}[{found[3]}]"))
        for _, root, _ in _hierarchies()
        for folder, names, _ in os.walk(root)
        for name in names
        if (found := _NAME.fullmatch(name))
    ]


def _prefix(owner: Owner) -> str:
    """With its namespace: whoever sees the groups of another one, as from a container, finds none of its
    processes, and would take each group that is still empty for abandoned."""
    space = owner.where.partition("[")[2].rstrip("]")
    return f"aigym-{owner.pid}-{owner.start}-{space}-"


def clean() -> None:
    """Remove the groups of owners that were killed. The kernel keeps a group in which a process is."""
    for folder, owner in groups():
        if owner.gone:
            with contextlib.suppress(OSError):
                folder.rmdir()


#: Waits for the end of its input, which is this process' end, and removes its groups: boxes end with it.
_WATCH = """
cd /; read -r _
for pause in 0.1 0.2 0.5 1 2 5 10 20 40; do
    for group in "$0"*; do rmdir "$group"; done
    [ -e "$group" ] || exit 0
    sleep "$pause"
done
"""


def watch() -> None:
    """Have this process' groups removed even if it is killed: by a shell that waits for its end, and those
    of others that had none such now."""
    found = place(os.getpid())
    if found is None:
        return
    clean()
    theirs, _ = os.pipe()  # this process' end is never closed: the kernel does it
    command = ["sh", "-c", _WATCH, str(found.folder / _prefix(Owner.this()))]
    with contextlib.suppress(OSError):
        os.posix_spawn(
            "/bin/sh",
            command,
            {"PATH": os.defpath},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
            ],
            setsid=True,
        )
    os.close(theirs)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _table(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
