"""The process that stays in a box of a pool and never meets a program: it reads no frame, so that no byte of
one lease can reach the next through it.

For each lease it forks a *maker* into new pid, mount, ipc and network namespaces with new tmpfs. The maker
forks the runner, process 1 in there, which answers the host (`loop`), and whenever the runner asks, an
interpreter that becomes the next Python program (`interpreter`). Neither maker nor resident can be seen or
reached from inside.
When the runner ends with 0 the resident makes the next one; with anything else, the box ends.

Not here: what the host may ask for, and how long a runner serves (`loop`).
"""

# ruff: noqa: PTH112, PTH123
from __future__ import annotations

import _socket
import contextlib
import fcntl
import gc
import os
import struct

from aigym_kernel.sandboxes.inside import interpreter
from aigym_kernel.sandboxes.inside.confine import become, check, confine, libc
from aigym_kernel.sandboxes.inside.frames import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

NOBODY = 65534
_NEW_MOUNTS, _NEW_IPC, _NEW_PIDS, _NEW_NETWORK = 0x20000, 0x08000000, 0x20000000, 0x40000000
_SET_FLAGS, _UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000


def live(
    settings: Mapping[str, Any], own: frozenset[str], serve: Callable[[interpreter.Waiting], int]
) -> Callable[[], int] | None:
    """Stay until the host hangs up, then None. ``serve`` is what a runner does; what it returns is how its
    process ends. In an interpreter that was given a program this returns what runs it."""
    gc.freeze()  # a collection would touch, and so copy, every page in every fork
    while True:
        maker = os.fork()
        if not maker:
            return _make(settings, own, serve)
        if os.waitpid(maker, 0)[1]:
            return None


def _make(
    settings: Mapping[str, Any], own: frozenset[str], serve: Callable[[interpreter.Waiting], int]
) -> Callable[[], int]:
    masked = _below("/proc/")
    try:
        network = 0 if settings["limits"]["network"] else _NEW_NETWORK
        check(libc.unshare(_NEW_MOUNTS | _NEW_IPC | _NEW_PIDS | network), "unshare")
        if network:
            any_socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
            fcntl.ioctl(any_socket.fileno(), _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
            any_socket.close()
        _mount("none", "/", None, _REC | _PRIVATE)
        for at, data in settings["disks"].items():
            _mount("tmpfs", at, "tmpfs", _NOSUID | _NODEV, f"{data},uid={NOBODY},gid={NOBODY}")
        _mount("devpts", "/dev/pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
        if os.path.isdir("/dev/mqueue"):
            _mount("mqueue", "/dev/mqueue", "mqueue", _NOSUID | _NODEV | _NOEXEC)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        answers, requests = os.pipe()
        runner = os.fork()
        if not runner:
            _mount_proc(masked)
            become(NOBODY)
            confine(settings["seccomp"])
            os.close(answers)
            theirs.close()
            os._exit(serve(interpreter.Waiting(ours, requests)))
        ours.close()
        os.close(requests)
        become(NOBODY)
        confine(settings["seccomp"])
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
    except OSError as error:
        os.write(1, pack({"error": f"no namespaces for a lease: {error}"}))
        os._exit(1)
    while os.read(answers, 1):
        if parent := _begin(theirs):
            os.close(answers)
            return interpreter.become(theirs, parent, own)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(runner, 0)[1]) and 1)


def _begin(jobs: _socket.socket) -> int:
    """Fork what is to become an interpreter; in there, the process id of its parent, which ends and leaves it
    to process 1, the runner. Elsewhere 0. Where no process can begin, or process 1 has ended, 0 is sent."""
    between = -1
    try:
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            return 0
        parent = os.getpid()
        if not os.fork():
            return parent
    except OSError:
        with contextlib.suppress(OSError):
            jobs.sendall(bytes(4))
        if between:
            return 0
    os._exit(0)


def _below(place: str) -> list[str]:
    """What is mounted below a folder."""
    with open("/proc/self/mountinfo") as file:
        return [at for at in (line.split()[4] for line in file) if at.startswith(place)]


def _mount_proc(masked: list[str]) -> None:
    """This pid namespace's /proc, with what a container hides or forbids to write covered as before."""
    covers = {at: os.open(at, os.O_PATH) for at in masked}
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    for at, cover in covers.items():
        _mount(f"/proc/self/fd/{cover}", at, None, _BIND)
        os.close(cover)


def _mount(source: str, at: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, at, kind)]
    check(libc.mount(*words, flags, data and data.encode()), f"mount {kind or source} at {at}")
