"""A box whose runner (`inside`) is spoken to over a link: what the bubblewrap and the Docker box share.

`RunnerBox(link, limits)` shakes hands with the runner and is then a `Box`. A link sends bytes, receives
an exact number of them before a deadline, and ends the box when closed. Not here: how the namespace or
container around the runner is made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aigym_kernel.errors import SandboxError, SandboxFull
from aigym_kernel.sandboxes import folders, seccomp
from aigym_kernel.sandboxes.cgroups import Used
from aigym_kernel.sandboxes.inside import frames
from aigym_kernel.sandboxes.inside.files import parts
from aigym_kernel.sandboxes.links import Link
from aigym_kernel.sandboxes.protocol import Execution, Status
from aigym_kernel.sandboxes.sessions import Kind, Session
from aigym_kernel.tasks import Limits

GRACE_S = 60.0  # beyond the wall limit: what a busy machine may need to end a fork bomb and answer
HELLO_S = 60.0  # for a new box to answer
SHM_MB = 4
OVERHEAD_MB = 32  # the runner's own memory
HEADERS = 2048  # bytes beside a file's content in an archive
_BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError)


#: What the kernel, Python, bwrap and Docker (which writes small letters) say of a machine that is full.
_FULL = [os.strerror(n) for n in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)]
_FULL += ["can't start new thread", "context deadline exceeded"]


def no_room(told: str) -> bool:
    """Whether an error's text says that the machine is full: later, or with less going on, it may work."""
    return any(sign.casefold() in told.casefold() for sign in _FULL)


def cannot_open(told: str, way_out: str) -> SandboxError:
    """The error for a box that did not open: `SandboxFull` where only the moment was wrong."""
    if no_room(told) or "TimeoutError" in told:
        return SandboxFull(
            f"{told}. This machine is full: run fewer boxes at a time, or raise its limits (ulimit -u and -n)"
        )
    return SandboxError(f"{told}. {way_out}")


class NotWritten(SandboxError):
    """The box does not hold the files that it was opened with."""


class RunnerBox:
    """A `Box` over a link. A lock makes it safe to call from any thread, one call at a time."""

    def __init__(self, link: Link, limits: Limits, end: Callable[[bool], str] | None = None) -> None:
        """Hear the runner's hello. ``end`` is called once, in place of ``link.close``, with whether the box
        is sound, so that another `RunnerBox` could be made over the same link.

        Raises:
            SandboxError: the runner did not answer; the message is what the box printed.
        """
        self.limits = limits
        self._link = link
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._sessions: list[Session] = []
        self._command, self._deadline = "", 0.0  # the one of a session that runs now
        self._broken = ""
        self._ended_for_memory = False
        self._closed = False
        self._put = False  # an answer to `put` is still to come
        self._worn = False  # the kernel killed in it: nobody should have it next
        self._end = end or (lambda _sound: link.close())
        try:
            self._exchange(b"", HELLO_S)
        except SandboxError as error:
            printed = self._finish(sound=False)
            raise SandboxError(printed.strip() or str(error)) from None

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: str | bytes = "",
        limits: Limits | None = None,
        reserves_mb: int = 0,
    ) -> Execution:
        """See `Box.run`. A box that broke answers ``sandbox_error``, then and from then on.

        Raises:
            NotWritten: the files that the box was opened with did not fit.
        """
        if isinstance(command, str) or not command:
            raise SandboxError(f"command={command!r}: give a list such as ['bash', '-c', 'ls']")
        self._refuse_beside_sessions("run")
        most, asked = self.limits, limits or self.limits
        wall_s = min(most.wall_s, asked.wall_s)
        output_kb = min(most.output_kb, asked.output_kb)
        tighter = {
            "wall_s": wall_s,
            "cpu_s": min((s for s in (most.cpu_s, asked.cpu_s) if s is not None), default=None),
            "output_kb": output_kb,
            "reserves_mb": reserves_mb,
        }
        started = time.monotonic()
        request = {"do": "run", "argv": list(command), "limits": tighter}
        try:
            return self.carry_out(request, [_bytes(stdin)], wall_s, output_kb)[0]
        except NotWritten:
            raise
        except SandboxError as error:
            return _cut_short("sandbox_error", str(error), time.monotonic() - started)

    def carry_out(
        self, request: Mapping[str, Any], blobs: Sequence[bytes], wall_s: float, output_kb: int
    ) -> tuple[Execution, dict[str, Any]]:
        """Something that runs a program: what came of it, and the runner's answer. Raises SandboxError."""
        started, group = time.monotonic(), self._link.group
        if group:
            group.begin()
        try:
            answer, outputs = self._ask(request, blobs, wall_s + GRACE_S)
        except NotWritten:
            raise
        except SandboxError:
            if not self._ended_for_memory:
                raise
            told = self._too_much_memory()
            return _cut_short("memory_limit", told, time.monotonic() - started), {"ended": told}
        used = group.end() if group else Used(peak_kb=0, killed=0)
        status, exit_code, detail = answer["status"], answer["exit_code"], answer["detail"]
        self._worn = self._worn or bool(used.killed)
        if used.killed and status in ("ok", "error", "signal"):
            status, exit_code, detail = "memory_limit", None, self._too_much_memory()
        stdout, stderr = (_text(output, output_kb) for output in outputs)
        execution = Execution(
            status=status,
            exit_code=exit_code,
            stdout=stdout,
            stderr=stderr,
            wall_s=answer["wall_s"],
            cpu_s=answer["cpu_s"],
            peak_memory_mb=max(answer["peak_kb"], used.peak_kb) / 1024,
            detail=detail,
        )
        return execution, answer

    def _too_much_memory(self) -> str:
        return f"the kernel ended a process: {self.limits.memory_mb} MiB allowed"

    def session(self, kind: Kind = "bash") -> Session:
        """See `Box.session`."""
        session = Session(self, kind)
        self._sessions.append(session)
        return session

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """See `Box.write`. Links, pipes and folders that stand in a file's place are replaced."""
        self._ask({"do": "write", "paths": list(files)}, [_bytes(c) for c in files.values()], 60)

    def read(self, path: str) -> bytes:
        """See `Box.read`. A file larger than the box's disk (it can only be sparse) is refused."""
        return self._ask({"do": "read", "path": path}, [], 60)[1][0]

    def export(self) -> dict[str, bytes]:
        """See `Box.export`. Together at most the disk's size (only sparse files can exceed it, and are
        left out), and at most 64 folders deep."""
        answer, contents = self._ask({"do": "export"}, [], 60)
        return dict(zip(answer["paths"], contents))

    def upload(self, source: str | Path, to: str = ".") -> None:
        """See `Box.upload`."""
        self.unpack(folders.packed(source, self.limits), to)

    def download(self, to: str | Path, path: str = ".") -> int:
        """See `Box.download`."""
        return folders.unpack_here(self.pack(path), to)

    def commit(self, name: str) -> str:
        """See `Box.commit`."""
        folders.check_name(name)
        return self._link.keep(name, self.pack())

    def pack(self, path: str = ".") -> bytes:
        """A folder below ``/work`` as a tar archive (`inside.archives`)."""
        return self._ask({"do": "pack", "path": path}, [], 60)[1][0]

    def unpack(self, archive: bytes, to: str = ".") -> None:
        """Put an archive's content below a folder of ``/work``, replacing what stands in its place."""
        self._ask({"do": "unpack", "path": to}, [archive], 60)

    def clear(self) -> None:
        """See `Box.clear`."""
        self._refuse_beside_sessions("clear")
        self._ask({"do": "clear"}, [], 60)

    def put(self, files: Mapping[str, str | bytes]) -> None:
        """`write` without waiting for the answer: that the disk is full is raised by the next call."""
        data = frames.pack({"do": "write", "paths": list(files)}, [_bytes(c) for c in files.values()])
        try:
            for path in files:
                parts(path)
            with self._lock:
                self._put = True
                self._link.send(data, time.monotonic() + 60)
        except BaseException as error:
            self.close()
            if isinstance(error, _BROKEN):
                raise SandboxError(str(error)) from None
            raise

    def close(self) -> None:
        """See `Box.close`."""
        if not self._lock.acquire(blocking=False):
            self._link.hang_up()
            self._lock.acquire()
        try:
            self._finish(sound=not (self._put or self._worn))
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def ask(
        self, message: Mapping[str, Any], blobs: Sequence[bytes], seconds: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """See `sessions.Talk`."""
        return self._ask(message, blobs, seconds + GRACE_S)

    def interrupt(self, nonce: str) -> None:
        """See `sessions.Talk`."""
        with self._sending, contextlib.suppress(OSError):  # without a runner, who waits will notice
            # The deadline of whoever waits: a socket has one time-out for both directions.
            if nonce and nonce == self._command:
                self._link.send(frames.pack({"do": "interrupt", "nonce": nonce}), self._deadline)

    def _ask(
        self, message: Mapping[str, Any], blobs: Sequence[bytes], seconds: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """One frame out, one frame back. Raises SandboxError: refused by the runner, or broken."""
        with self._lock:
            if self._closed:
                raise SandboxError(self._broken or "the box is closed; open another")
            return self._exchange(frames.pack(message, blobs), seconds, message.get("nonce", ""))

    def _exchange(self, data: bytes, seconds: float, command: str = "") -> tuple[dict[str, Any], list[bytes]]:
        deadline = time.monotonic() + seconds
        most = (self.limits.disk_mb << 20) + (self.limits.output_kb << 11) + self.limits.files * HEADERS
        refused, interrupt = "", None
        try:
            with self._sending:
                self._link.send(data, deadline)
                self._command, self._deadline = command, deadline
            if self._put:
                answer, _ = frames.unpack(lambda size: self._link.receive(size, deadline), most)
                refused = answer.get("error", "")
                self._put = False
            if command:
                interrupt = self._await(deadline)
            answer, found = frames.unpack(lambda size: self._link.receive(size, deadline), most)
        except BaseException as error:
            # Whatever cut the exchange, an interrupt too: the next answer would belong to this question.
            self._ended_for_memory = isinstance(error, EOFError | OSError) and self._link.ended_for_memory()
            printed = self._finish(sound=False)
            self._broken = f"the sandbox broke: {type(error).__name__} {error} {printed}".rstrip()
            if isinstance(error, _BROKEN):
                raise SandboxError(self._broken) from None
            raise
        finally:
            self._command = ""
        if interrupt:
            raise interrupt
        if refused:
            raise NotWritten(refused)
        if "error" in answer:
            raise SandboxError(answer["error"])
        return answer, found

    def _await(self, deadline: float) -> KeyboardInterrupt | None:
        """The answer to a session's command. A KeyboardInterrupt ends the command, not the box."""
        interrupt = None
        while True:
            try:
                self._link.wait(deadline)
            except KeyboardInterrupt as error:
                interrupt = error
                self.interrupt(self._command)
            else:
                return interrupt

    def _refuse_beside_sessions(self, what: str) -> None:
        if kinds := [session.kind for session in self._sessions if not session.ended]:
            raise SandboxError(
                f"{what} leaves no process alive, and a session ({kinds[0]}) is open in this box: use the "
                "run of the session, close it first, or open another box"
            )

    def _finish(self, *, sound: bool) -> str:
        if self._closed:
            return ""
        self._closed = True
        return self._end(sound)


def settings(limits: Limits, level: str, *, nproc: int, memory: str = "cgroup") -> dict[str, Any]:
    """What a runner is started with. ``level`` is empty for a box that is used once. ``nproc``: how many
    processes beside the program's own RLIMIT_NPROC has to allow; 0 where the box shares its user with others
    and the limit would count theirs. ``memory``: see `Sandbox.memory`."""
    disk = f"size={limits.disk_mb}m,nr_inodes={2 * limits.files},mode=0755"
    return {
        "level": level,
        "limits": {**asdict(limits), "nproc": nproc, "memory": memory},
        "seccomp": seccomp.program(network=limits.network),
        "disks": {"/work": disk, "/tmp": disk, "/dev/shm": f"size={SHM_MB}m,mode=1777"},
    }


def bytes_in_memory(limits: Limits, level: str) -> int:
    """What the kernel should let a box hold altogether: the program's memory, both disks, which are of
    memory too, the runner, and what stays in a box of a pool. The looks at the program's processes hold it
    to ``memory_mb`` alone."""
    return (limits.memory_mb + 2 * limits.disk_mb + (2 if level else 1) * OVERHEAD_MB) << 20


def _cut_short(status: Status, detail: str, wall_s: float) -> Execution:
    return Execution(
        status=status,
        exit_code=None,
        stdout="",
        stderr="",
        wall_s=wall_s,
        cpu_s=0.0,
        peak_memory_mb=0.0,
        detail=detail,
    )


def _text(output: bytes, most_kb: int) -> str:
    """As text, cut once more: a byte that is no UTF-8 becomes a sign of three."""
    text = output.decode("utf-8", "replace").encode()[: most_kb << 10]
    return text.decode("utf-8", "ignore")


def _bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
