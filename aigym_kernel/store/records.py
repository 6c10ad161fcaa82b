"""What a run says about itself: `RunRecord` (run.json, written once) and `RunStatus` (status.json, replaced).

    record = RunRecord(run_id="ppo-1", kind="train", name="ppo", config={}, provenance={})
    status = RunStatus(state="running", pid=os.getpid())
    settled(read).state         "killed" when its process is gone without having said so

Also here, because every file of the store that is ever replaced is replaced the same way: `replace_file`.
This module knows nothing of segments, the index or SQL.
"""

from __future__ import annotations

import errno
import json
import numbers
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from aigym_kernel.errors import StoreError

RunKind = Literal["train", "rollout", "notebook", "bench", "import"]
RunState = Literal["queued", "running", "paused", "done", "failed", "stopped", "killed"]
ACTIVE: tuple[RunState, ...] = ("queued", "running", "paused")
"""The states in which a process works on a run, or waits to."""

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]{0,199}")

_LATEST_S = 253_402_300_800  # the end of the year 9999

# Boot time is known to about a second, so a process may seem a little younger than its own heartbeat.
_CLOCK_SLACK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run is; fixed once it exists. ``created_at`` is in seconds since 1970 (UTC)."""

    run_id: str
    kind: RunKind
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    created_at: float = field(default_factory=time.time)
    version: int = 1

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
        _check_choice("kind", self.kind, get_args(RunKind))
        _check(self, "name", isinstance(self.name, str), "text")
        _check(self, "parent", isinstance(self.parent, str | None), "text or None")
        _check(self, "created_at", _is_time(self.created_at), "a time in seconds since 1970")
        for name in ("config", "provenance"):
            _check(self, name, isinstance(getattr(self, name), Mapping), "a mapping")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunRecord:
        """The record that `to_dict` gave. Keys of later versions are ignored.

        Raises:
            StoreError: a field is missing or none of its allowed values.
        """
        return cls(**_known(cls, data, needed=("run_id", "kind", "name")))


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How far a run is. ``heartbeat`` is in seconds since 1970; ``step`` counts to ``total_steps``.

    ``pid`` and ``host`` name the process that does the work; None while nobody does.
    """

    state: RunState
    pid: int | None = None
    host: str = field(default_factory=socket.gethostname)
    heartbeat: float = field(default_factory=time.time)
    step: int = 0
    total_steps: int = 0
    error: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_choice("state", self.state, get_args(RunState))
        _check(self, "pid", self.pid is None or _is_whole(self.pid), "a process id or None")
        _check(self, "host", isinstance(self.host, str), "text")
        _check(self, "heartbeat", _is_time(self.heartbeat), "a time in seconds since 1970")
        for name in ("step", "total_steps"):
            _check(self, name, _is_whole(getattr(self, name)), "a whole number of 64 bits")
        _check(self, "error", isinstance(self.error, str | None), "text or None")
        _check(self, "summary", isinstance(self.summary, Mapping), "a mapping")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunStatus:
        """The status that `to_dict` gave. Keys of later versions are ignored.

        Raises:
            StoreError: a field is missing or none of its allowed values.
        """
        return cls(**_known(cls, data, needed=("state",)))


def settled(read: Callable[[], RunStatus]) -> RunStatus:
    """The status that ``read`` gives, as it really is: ``killed`` when it says that it goes on and its
    process is gone.

    Only a process of this host can be looked up; a status from elsewhere is returned as it is. A
    process that is younger than the heartbeat is another one that was given the same number.
    """
    status = read()
    if not _gone(status):
        return status
    status = read()  # its last word may have come between the reading and the look at its process
    return replace(status, state="killed") if _gone(status) else status


def _gone(status: RunStatus) -> bool:
    if status.state not in ACTIVE or status.pid is None:
        return False
    return status.host == socket.gethostname() and not _alive(status.pid, status.heartbeat)


def _alive(pid: int, heartbeat: float) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() <= heartbeat + _CLOCK_SLACK_S
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError, OverflowError):
        return False


def check_run_id(run_id: str) -> str:
    """The id itself, if it can name a folder.

    Raises:
        StoreError: it is empty, holds anything but letters, digits and ``. _ + = @ -``, starts with
            a dot or a dash, or is longer than 200 characters.
    """
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise StoreError(
            f"run id {run_id!r} cannot name a folder; use 1 to 200 letters, digits and . _ + = @ - "
            "(not starting with a dot or a dash)"
        )
    return run_id


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        StoreError: the file cannot be read or holds no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); restore it, or move its folder out of the store"
        ) from None
    if not isinstance(data, dict):
        raise StoreError(f"{path} holds no JSON object; restore it, or move its folder out of the store")
    return data


R = TypeVar("R", RunRecord, RunStatus)


def from_file(kind: type[R], path: Path) -> R:
    """The record or status in a file.

    Raises:
        StoreError: the file cannot be read, or a value in it is missing or none that it can have.
    """
    data = read_record(path)
    try:
        return kind.from_dict(data)
    except StoreError as error:
        raise StoreError(
            f"{path} is damaged: {error}; restore it, or move its folder out of the store"
        ) from None


def replace_file(path: Path, text: str) -> None:
    """Writes a whole file, or leaves the old one: readers see either, never a part.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error for a file that cannot be written: names it, the cause and the way out."""
    way_out = "free some space or make the folder writable"
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        way_out = "move away what has this name but is not what belongs there"
    return StoreError(f"cannot write {path}: {error.strerror or error}; {way_out}, then try again")


def _known(cls: type, data: Mapping[str, Any], needed: tuple[str, ...]) -> dict[str, Any]:
    if missing := [name for name in needed if name not in data]:
        raise StoreError(f"{cls.__name__} without {', '.join(missing)}; it has {', '.join(sorted(data))}")
    return {f.name: data[f.name] for f in fields(cls) if f.name in data}


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise StoreError(f"{name} {value!r} is none of {', '.join(allowed)}")


def _check(record: RunRecord | RunStatus, name: str, good: bool, wanted: str) -> None:
    if not good:
        raise StoreError(f"{name} {getattr(record, name)!r:.80} is not {wanted}")


def _is_whole(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return False
    return -(2**63) <= int(value) < 2**63


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST_S
