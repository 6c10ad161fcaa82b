"""Environments in processes of their own: `Process` is here, `serve` is what runs there.

    lane = Process(build, range(8), seed=0, name="CartPole-v1", limit_s=60)
    lane.ask("step", actions); heard = lane.answer()

A process that ends, or an environment that takes longer than ``limit_s`` for one call, is an `EnvError` that
names the environment, and its process is killed: nothing here waits for ever. What counts is for how many
looks it does not come back, not the clock: while this process itself is stopped nobody hangs. Not a sandbox:
what runs there may do all that this process may.

The process is started afresh and not forked (a fork inherits the locks of torch's threads) and does not
import the caller's ``__main__`` again (a script without a guard would run twice): a builder that was defined
there arrives by value.
"""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import numpy as np
from gymnasium import spaces

from aigym_kernel.envs.episodes import AnyEnv, Group, Heard, Sort, batch
from aigym_kernel.errors import AigymError, EnvError

_LOOK_S = 0.5
_TRACE_S = 20.0  # how long a process that hangs may take to say where
_START_S = 120.0
"""What a process may take at least to start and build one environment: it imports what that needs."""


class Process:
    """A process that holds some environments of a vector environment.

    Raises (when it is first asked for an answer):
        AigymError, EnvError: what building the environments raised there.
    """

    def __init__(
        self, build: Callable[[], AnyEnv], indices: range, *, seed: int, name: str, limit_s: float
    ) -> None:
        try:
            sent = cloudpickle.dumps((build, indices, seed, name))
        except Exception as problem:
            raise EnvError(
                f"{name}: what builds it cannot be sent to another process: {problem}; build what it needs "
                "inside the function, or use backend='sync'"
            ) from None
        self._name, self._step_limit_s = name, limit_s
        self._limit_s, self._busy = max(limit_s, _START_S), False
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._file.write(bytes(mmap.PAGESIZE))
        self._file.flush()
        self._doing = np.frombuffer(mmap.mmap(self._file.fileno(), mmap.PAGESIZE), np.int64)
        self._doing[0] = -1
        ours, theirs = socket.socketpair()
        paths = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from aigym_kernel.envs.processes import serve; serve()"),
                    *map(str, (theirs.fileno(), self._file.fileno(), os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._file.fileno()),
                # Several processes with as many threads each as there are cores would only wait.
                env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C is for the process that steps them
            )
        self._pipe = Connection(ours.detach())
        self._send(sent)

    def ask(self, what: str, *arguments: Any) -> None:
        """Call a method of the `Group` there."""
        self._send(pickle.dumps((what, arguments)))

    def answer(self) -> Any:
        """What it returned.

        Raises:
            EnvError: an environment raised, ended its process, or takes too long.
        """
        seen, waited, pause = -1, 0.0, min(_LOOK_S, self._limit_s / 4)
        try:
            while not self._pipe.poll(pause):
                if (now := int(self._doing[1])) != seen:
                    seen, waited = now, 0.0
                elif (waited := waited + pause) >= self._limit_s:
                    raise EnvError(self._hangs())
            ok, value = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, ConnectionError):
            raise EnvError(self._died()) from None
        self._busy, self._limit_s = False, self._step_limit_s
        if not ok:
            raise value
        return value

    def close(self) -> None:
        """End the process; it is killed where it does not end by itself."""
        if self._file.closed:
            return
        with contextlib.suppress(EnvError, OSError):
            if not self._busy:
                self.ask("close")
        self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self._busy and self._process.poll() is None else 5)
        self._process.kill()
        self._process.wait()
        self._file.close()

    def _send(self, data: bytes) -> None:
        self._busy = True
        with contextlib.suppress(ConnectionError):  # it is gone: `answer` says so
            self._pipe.send_bytes(data)

    def _at_work(self) -> str:
        index = int(self._doing[0])
        return f"environment {index}" if index >= 0 else "a process of its environments"

    def _died(self) -> str:
        try:
            code = self._process.wait(30)  # its end of the pipe is closed before it is gone
        except subprocess.TimeoutExpired:
            code = 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return (
            f"{self._name}: the process of {self._at_work()} {how}, in the middle of a call: the environment "
            "or a library of it crashed, called exit, or the machine was short of memory"
        )

    def _hangs(self) -> str:
        """Names what hangs, with the lines in which it does."""
        self._file.seek(0, os.SEEK_END)
        at = self._file.tell()
        self._process.send_signal(signal.SIGUSR1)
        told, before, until = "", None, time.monotonic() + _TRACE_S
        while told != before or not told:  # it is written in many small parts
            if time.monotonic() > until:
                break
            time.sleep(0.2)
            before = told
            self._file.seek(at)
            told = self._file.read().decode(errors="replace")
        lines = [line for line in told.splitlines() if "File" in line]
        place = "\n".join(line for line in lines[:3] if __file__ not in line)
        return (
            f"{self._name}: {self._at_work()} has taken longer than {self._limit_s:g} s for one call and was "
            "ended; mend what it waits for, or allow more with the environment variable AIGYM_STEP_LIMIT_S"
            + (f". It was in\n{place}" if place else "")
        )


def serve() -> None:
    """What a process runs: takes calls of a `Group`, sends what they return or raise, until told to close
    or nobody is left to tell it."""
    pipe_fd, file_fd, parent = map(int, sys.argv[1:])
    pipe = Connection(pipe_fd)
    with os.fdopen(os.dup(file_fd), "ab", buffering=0) as traces:
        faulthandler.register(signal.SIGUSR1, file=traces, all_threads=False)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        doing = memoryview(mmap.mmap(file_fd, mmap.PAGESIZE)).cast("q")
        group: Group | None = None
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                data = pipe.recv_bytes()
                try:
                    if group is None:
                        build, indices, seed, name = pickle.loads(data)
                        group = Group(build, indices, seed=seed, name=name, doing=doing)
                        value: Any = group.sort()
                    else:
                        what, arguments = pickle.loads(data)
                        value = _packed(getattr(group, what)(*arguments), group, indices.start, name)
                    ok = True
                except Exception as problem:
                    value = problem if isinstance(problem, AigymError) else EnvError(f"{problem!r}")
                    value.__cause__, ok = None, False
                # Spaces and builders may be of classes that only the notebook has; it is slower, though.
                dumps = cloudpickle.dumps if isinstance(value, Sort) else pickle.dumps
                pipe.send_bytes(dumps((ok, value)))


def _packed(value: Any, group: Group, first: int, name: str) -> Any:
    """Arrays of a Heard as one, which is faster to send than many; infos that cannot be sent as text."""
    if not isinstance(value, Heard):
        return value
    observations: Any = value.observations
    if isinstance(group.envs[0].observation_space, spaces.Box):
        observations = batch(group.envs[0].observation_space, observations, name, first)
    final = {i: (last, _sendable(info)) for i, (last, info) in value.final.items()}
    return Heard(**{**vars(value), "observations": observations, "final": final})


def _sendable(info: dict[str, Any]) -> dict[str, Any]:
    try:
        pickle.dumps(info)
    except Exception:
        return {str(key): repr(part) for key, part in info.items()}
    return info


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone, also one whose environment hangs."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
