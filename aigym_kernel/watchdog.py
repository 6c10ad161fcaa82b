"""Notices that an environment does not come back from a step or a reset, and where it hangs.

    with watching(300, report_and_exit): ...        report_and_exit("Maze.step at maze.py:41 ...")

A thread looks at the main thread's stack once a second: the same call of an environment's ``step`` or
``reset`` for so many seconds is a hang, however long learning itself may take. What counts is how often it
has looked, not the clock: a process that was stopped, or had no turn, did not hang meanwhile. Code that never
lets Python's other threads run (a loop in C) cannot be seen from Python: `faulthandler` then writes the stack
to standard error and ends the process, and the run counts as killed.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import gymnasium
from gymnasium.vector import VectorEnv

_CALLS = ("step", "reset")
_GRACE_S = 60.0  # for which this thread may at least be without a turn


@contextmanager
def watching(hang_after_s: float, hangs: Callable[[str], None]) -> Iterator[None]:
    """Call ``hangs(where)`` from another thread when this one is in one call of an environment for
    ``hang_after_s`` seconds. Its stack has then been written to standard error."""
    ended = threading.Event()
    thread = threading.Thread(
        target=_watch,
        args=(threading.get_ident(), hang_after_s, hangs, ended),
        name="watchdog",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


def _watch(thread: int, hang_after_s: float, hangs: Callable[[str], None], ended: threading.Event) -> None:
    last: FrameType | None = None
    seen, pause = 0.0, min(1.0, hang_after_s / 4)
    while not ended.wait(pause):
        # As long as this thread gets its turn the alarm is put off again.
        faulthandler.dump_traceback_later(hang_after_s + max(hang_after_s, _GRACE_S), exit=True)
        frame = sys._current_frames().get(thread)
        call = _call(frame)
        if call is None or call is not last:
            last, seen = call, 0.0
        elif (seen := seen + pause) >= hang_after_s and frame is not None:
            faulthandler.dump_traceback(all_threads=True)
            hangs(_where(call, frame))
            return


def _call(frame: FrameType | None) -> FrameType | None:
    """The outermost call of an environment on the stack."""
    found = None
    while frame is not None:
        if frame.f_code.co_name in _CALLS and isinstance(
            frame.f_locals.get("self"), gymnasium.Env | VectorEnv
        ):
            found = frame
        frame = frame.f_back
    return found


def _where(call: FrameType, frame: FrameType) -> str:
    """In one line: the innermost environment, and the line that it stands at."""
    inner: FrameType | None = frame
    while inner is not None and inner is not call:
        if inner.f_code.co_name in _CALLS and isinstance(
            inner.f_locals.get("self"), gymnasium.Env | VectorEnv
        ):
            call = inner
            break
        inner = inner.f_back
    place = f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
    return f"{type(call.f_locals['self']).__name__}.{call.f_code.co_name} at {place}"
