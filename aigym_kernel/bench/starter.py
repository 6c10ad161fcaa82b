"""Processes of cells, forked from one that has imported what each of them needs.

    started = begin(order, environment, log)          in the bench's process
    for line in started.lines(timeout_s): ...         what the cell says, as mappings
    started.pid, started.exit

Importing papermill and nbconvert takes two seconds of processor time, a fork of what has imported them a few
milliseconds. The forking process is `serve`: one for each process that calls `begin`, in a session of its
own, without any thread of Python's. It ends when that process ends, in whatever way, and ends the cells with
all that belongs to them; if it is killed itself, the kernel of the system ends the cells' own processes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from aigym_kernel.bench.members import OWN, Members
from aigym_kernel.bench.orders import Order
from aigym_kernel.errors import BenchError

_HEAD = struct.Struct("!Q")
_PR_SET_PDEATHSIG = 1
_lock = threading.Lock()
_server: _Server | None = None


class Started:
    """A cell's process. ``pid`` is known after the first line; ``exit`` at the end: its exit code, negative
    for a signal, or None if the process that forked it was lost."""

    def __init__(self, stream: int) -> None:
        self.pid: int | None = None
        self.exit: int | None = None
        self.ended = False
        self._stream, self._rest = stream, b""

    def lines(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """What it has said since, after at most so many seconds of waiting for the first word."""
        if not select.select([self._stream], [], [], timeout_s)[0]:
            return
        data = os.read(self._stream, 1 << 16)
        self.ended = not data
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in map(json.loads, whole):
            self.pid = line.get("pid", self.pid)
            self.exit = line.get("exit", self.exit)
            yield line

    def signal(self, number: int) -> None:
        """Send its own process a signal; harmless when it has ended."""
        if self.pid is not None and self.exit is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """No more lines."""
        os.close(self._stream)


def begin(order: Order, environment: Mapping[str, str], log: Path) -> Started:
    """Start the process of a cell, with this environment and no other; what it prints goes to ``log``.

    Raises:
        BenchError: no process can be started.
        OSError: the log cannot be written.
    """
    global _server
    ours, theirs = os.pipe()
    try:
        with log.open("ab") as file, _lock:
            if _server is None or not _server.runs():
                _server = _Server()
            try:
                _server.send(pickle.dumps((order, dict(environment))), (theirs, file.fileno()))
            except OSError:  # it ended since the last one
                _server = _Server()
                _server.send(pickle.dumps((order, dict(environment))), (theirs, file.fileno()))
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Started(ours)


class _Server:
    """This process' end of `serve`."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._socket, theirs = socket.socketpair()
        # What can be imported here can be imported there.
        paths = os.pathsep.join(path for path in sys.path if path)
        code = "import sys; from aigym_kernel.bench.starter import serve; serve(int(sys.argv[1]))"
        quiet = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with theirs, tempfile.TemporaryFile() as told:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                env={**os.environ, **quiet, "PYTHONPATH": paths},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            theirs.close()
            if self._socket.recv(1) != b"\n":
                self._process.wait()
                told.seek(0)
                said = told.read().decode(errors="replace").strip().splitlines() or ["no reason was given"]
                raise BenchError(f"no process can be started for the cells of a bench: {said[-1]}")

    def runs(self) -> bool:
        return self._owner == os.getpid() and self._process.poll() is None

    def send(self, message: bytes, files: tuple[int, int]) -> None:
        socket.send_fds(self._socket, [_HEAD.pack(len(message))], files)
        self._socket.sendall(message)


def serve(number: int) -> None:
    """Fork a process for each order that comes in on the socket with this number, until it is closed."""
    control = socket.socket(fileno=number)
    _prepare()
    woken, wakes = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, tuple[int, Order]] = {}
    control.sendall(b"\n")
    while True:
        ready = select.select([control.fileno(), woken], [], [])[0]
        if woken in ready:
            os.read(woken, 1 << 16)
            _reap(running)
        if control.fileno() in ready:
            received = _receive(control)
            if received is None:
                break
            order, environment, stream, log = received
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (control.detach(), woken, wakes, *(one for one, _ in running.values())):
                    os.close(each)
                _be(order, environment, stream, log)
            os.close(log)
            _say(stream, {"pid": pid})
            running[pid] = stream, order
    for pid, (_, order) in running.items():
        Members(order.place, pid).kill()


def _prepare() -> None:
    """Import what a cell's process needs, and do once what is slow the first time."""
    import nbformat

    from aigym_kernel import pages
    from aigym_kernel.bench import cell  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
        notebook.cells = [nbformat.v4.new_code_cell("1"), nbformat.v4.new_markdown_cell("*1*")]  # type: ignore[no-untyped-call]
        path = Path(folder) / "n.ipynb"
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
        pages.write_html(path, path.with_suffix(".html"))
    gc.freeze()


def _receive(control: socket.socket) -> tuple[Order, dict[str, str], int, int] | None:
    head, files, _, _ = socket.recv_fds(control, _HEAD.size, 2)
    if not head:
        return None
    missing = _HEAD.unpack(head)[0]
    parts = []
    while missing:
        part = control.recv(min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    order, environment = pickle.loads(b"".join(parts))  # from the process that started this one
    return order, environment, files[0], files[1]


def _reap(running: dict[int, tuple[int, Order]]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        stream, _ = running.pop(pid)
        _say(stream, {"exit": os.waitstatus_to_exitcode(status)})
        os.close(stream)


def _say(stream: int, line: Mapping[str, Any]) -> None:
    data = memoryview(json.dumps(line).encode() + b"\n")
    with suppress(BrokenPipeError):  # nobody attends to it any more
        while data:
            data = data[os.write(stream, data) :]


def _be(order: Order, environment: dict[str, str], stream: int, log: int) -> None:
    """Be the process of a cell. Does not return."""
    code = 1
    try:
        server = os.getppid()
        os.setsid()
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(environment, **{OWN: str(os.getpid())})
        with suppress(OSError):  # where memory runs out, the machine ends a cell rather than the bench
            Path("/proc/self/oom_score_adj").write_text("500", encoding="utf-8")
        if order.cores and hasattr(os, "sched_setaffinity"):
            with suppress(OSError):  # cores that this process may not use
                os.sched_setaffinity(0, order.cores)
        tell: Callable[[Mapping[str, Any]], None] = lambda line: _say(stream, line)  # noqa: E731
        from aigym_kernel.bench.cell import work

        work(order, tell)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            _flush(sys.stdout, sys.stderr)
        # What the forking process had, threads that are not here among it, is not to be taken apart.
        os._exit(code)


def _flush(*files: IO[str]) -> None:
    for file in files:
        file.flush()
