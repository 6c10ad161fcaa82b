"""Python programs without starting Python: an interpreter that was started long ago, forked from a process
that has never seen a program, waits for the next one and becomes it.

`Waiting` is the runner's side: `take` hands a program to the interpreter that waits. `become` is that
interpreter's side. Only ``python3 [-I] file.py ...`` and ``python3 [-I] -c source ...`` are taken; the rest
is started as ever. CPython's own entry points run the program, so that tracebacks, exit codes and the order
of things at exit are theirs. What differs from a fresh interpreter: addresses and the hash seed are those of
the box, and below the program's own frame there is one more, ``<string>``.
"""

# ruff: noqa: PTH113, PTH118, PTH120
from __future__ import annotations

import _socket
import builtins
import contextlib
import ctypes
import functools
import io
import marshal
import os
import signal
import struct
import sys

from aigym_kernel.sandboxes.inside.confine import dumpable, libc
from aigym_kernel.sandboxes.inside.files import WORK
from aigym_kernel.sandboxes.inside.run import ENVIRONMENT, LIBRARIES, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_IGNORE_COOKIE = 0x0800  # PyCF_IGNORE_COOKIE: a command is text already
_ISOLATED = ("isolated", "ignore_environment", "no_user_site", "safe_path")  # what -I sets

_LONGEST = 64 << 10  # bytes of a command: it has to go through a socket in one piece
_STREAMS = (("stdin", "surrogateescape"), ("stdout", "surrogateescape"), ("stderr", "backslashreplace"))

libc.fopen.restype = ctypes.c_void_p
_run_file = ctypes.pythonapi.PyRun_SimpleFileExFlags
_run_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p]
_run_command = ctypes.pythonapi.PyRun_SimpleStringFlags
_run_command.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
_set_item = ctypes.pythonapi.PyStructSequence_SetItem
_set_item.argtypes = [ctypes.py_object, ctypes.c_ssize_t, ctypes.py_object]
_set_item.restype = None
_keep = ctypes.pythonapi.Py_IncRef
_keep.argtypes = [ctypes.py_object]
_keep.restype = None


class Waiting:
    """The interpreter that waits, in the eyes of the runner, its process 1."""

    def __init__(self, jobs: _socket.socket, requests: int) -> None:
        self._jobs = jobs
        self._requests = requests
        self._asked = False
        self._pid = 0

    def ask(self) -> None:
        """Have one made, for the next program. Returns at once."""
        if not self._asked:
            os.write(self._requests, b"1")
            self._asked = True

    def take(self, argv: Sequence[str], pipes: Sequence[int], limits: Mapping[str, Any]) -> int:
        """Give it the program; its process id; 0 where it is none for it, or none could be made."""
        job = _job(argv)
        if job is None:
            self.send_away()
            return 0
        self.ask()
        pid = self.pid()
        self._asked, self._pid = False, 0
        if pid:
            data = marshal.dumps((pid, *job, dict(limits)))
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("3i", *pipes))
            self._jobs.sendmsg([data], [rights])
        return pid

    def send_away(self) -> None:
        """End it: what runs next is not for it, or shall be alone."""
        pid = self.pid()
        self._asked, self._pid = False, 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def pid(self) -> int:
        """Its process id, as soon as it is there; 0 where none was asked for, or could be made."""
        if self._asked and not self._pid:
            message = self._jobs.recv(4)
            if not message:
                raise OSError("the box has no interpreter any more")
            self._pid = int.from_bytes(message, "big")
            self._asked = bool(self._pid)
        return self._pid


def _job(argv: Sequence[str]) -> tuple[list[str], bool, bool, list[str]] | None:
    """A program for the interpreter: argv, isolated, is it a command, what follows ``-c`` or the name of the
    file and what follows it; else None."""
    if argv[0] not in ("python", "python3"):
        return None
    isolated = argv[1:2] == ["-I"]
    rest = list(argv[2:] if isolated else argv[1:])
    try:
        text = "\n".join(argv).encode()
        if b"\0" in text or len(text) > _LONGEST:
            return None
    except UnicodeError:  # surrogates: what becomes of them is a matter of the start
        return None
    if rest[:1] == ["-c"] and len(rest) > 1:
        return list(argv), isolated, True, rest[1:]
    if rest and rest[0].endswith(".py") and rest[0][0] != "-" and os.path.isfile(os.path.join(WORK, rest[0])):
        return list(argv), isolated, False, rest
    return None


def become(jobs: _socket.socket, parent: int, own: frozenset[str]) -> Callable[[], int]:
    """In a new process: wait for a program and put everything in its place. What is returned runs it, and is
    to be called from as few frames as possible. ``parent``: the process that forked this one and ends now.
    ``own``: the modules of an interpreter that just started."""
    with contextlib.suppress(ProcessLookupError):
        while True:  # until the runner is the parent and nothing else is there to be counted
            os.kill(parent, 0)
            os.sched_yield()
    jobs.sendall(os.getpid().to_bytes(4, "big"))
    wanted = 0
    while wanted != os.getpid():  # a job for one that was killed before it took it is nobody's any more
        data, control, _, _ = jobs.recvmsg(2 * _LONGEST, _socket.CMSG_SPACE(12))
        if not data:
            os._exit(0)
        wanted, argv, isolated, command, rest, limits = marshal.loads(data)
    jobs.detach()
    try:
        settle(dict(enumerate(struct.unpack("3i", control[0][2]))), limits)
        dumpable(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        program = _program(argv[0], command, rest)
        _dress(argv, isolated, command, rest)
    except BaseException as error:
        os.write(2, f"cannot run {argv[0]!r}: {error}\n".encode("utf-8", "replace"))
        os._exit(126)
    for name in [name for name in sys.modules if name not in own]:
        del sys.modules[name]
    return program


def _program(name: str, command: bool, rest: Sequence[str]) -> Callable[[], int]:
    if command:
        flags = struct.pack("ii", _IGNORE_COOKIE, sys.version_info[1])
        return functools.partial(_run_command, rest[0].encode() + b"\n", flags)
    path = os.path.join(WORK, rest[0]).encode()
    file = libc.fopen(path, b"rb")
    if not file:
        error = ctypes.get_errno()
        told = f"[Errno {error}] {os.strerror(error)}"
        os.write(2, f"{name}: can't open file {path.decode()!r}: {told}\n".encode())
        os._exit(2)
    return functools.partial(_run_file, file, path, 1, struct.pack("ii", 0, sys.version_info[1]))


def _dress(argv: Sequence[str], isolated: bool, command: bool, rest: Sequence[str]) -> None:
    """All of `sys` and of the environment that tells how an interpreter was started."""
    environment = {**LIBRARIES, **ENVIRONMENT}
    if os.environ != environment:
        os.environ.clear()
        os.environ.update(environment)
    sys.argv = ["-c" if command else rest[0], *rest[1:]]
    sys.orig_argv = list(argv)
    folders = ENVIRONMENT["PATH"].split(":")
    found = (at for at in folders if os.access(os.path.join(at, argv[0]), os.X_OK))
    sys.executable = sys._base_executable = os.path.join(next(found), argv[0])  # type: ignore[attr-defined]
    if isolated:
        for name in _ISOLATED:
            if name in type(sys.flags).__match_args__:
                _keep(yes := True if name == "safe_path" else 1)
                _set_item(sys.flags, type(sys.flags).__match_args__.index(name), yes)
    else:
        folder = "" if command else os.path.dirname(os.path.realpath(os.path.join(WORK, rest[0])))
        sys.path.insert(0, folder)
    main = type(sys)("__main__")
    main.__dict__.update(__builtins__=builtins, __loader__=builtins.__loader__)
    if sys.version_info < (3, 14):
        main.__dict__.update(__annotations__={})
    sys.modules["__main__"] = main
    for number, (name, errors) in enumerate(_STREAMS):
        stream = _stream(number, errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _stream(descriptor: int, errors: str) -> io.TextIOWrapper:
    """A standard stream as CPython makes it (create_stdio in pylifecycle.c)."""
    mode = "w" if descriptor else "r"
    raw = io.FileIO(descriptor, mode, closefd=False)
    raw.name = f"<{_STREAMS[descriptor][0]}>"
    buffer = io.BufferedWriter(raw) if descriptor else io.BufferedReader(raw)
    stream = io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", line_buffering=descriptor == 2)
    stream.mode = mode  # type: ignore[misc]
    return stream
