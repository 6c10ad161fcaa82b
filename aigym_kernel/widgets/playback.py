"""Boards and rendered frames of a trajectory, by playing it again, as far as somebody looks.

    again = boards(trajectory)              None where the environment has no board()
    again = frames(trajectory)              None where it cannot render pictures
    again.look(0, 50)                       what positions 0 to 49 look like; fewer after a divergence
    again.diverged_at                       the first step that went another way, as far as is known

Jumping ahead takes the steps between without looking at them. An environment is foreign code: what it raises
becomes an AigymError, and one that hangs is left behind after `HANGS_S`.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from aigym_kernel.envs.replay import retrace
from aigym_kernel.errors import AigymError
from aigym_kernel.pictures import data_uri, shrunk
from aigym_kernel.trajectories import Trajectory

PATIENCE_S, HANGS_S = 2.0, 20.0
_SLICE_S = 0.25
FRAME_HEIGHT, FRAME_WIDTH = 300, 480
MOST_CELLS = 10_000
_KEPT_BYTES = 64_000_000

T = TypeVar("T")
Look = Callable[[gymnasium.Env[Any, Any]], Any]


class Playback:
    """One trajectory played again; see the module's text. ``position`` is how far it has come."""

    def __init__(self, trajectory: Trajectory, look: Look, *, render_mode: str | None = None) -> None:
        self.trajectory = trajectory
        self.diverged_at: int | None = None
        self.position = -1
        self._look, self._render_mode = look, render_mode
        self._way: Generator[gymnasium.Env[Any, Any], None, int | None] | None = None
        self._kept: dict[int, Any] = {}
        self._bytes = 0
        self._problem: AigymError | None = None

    def look(self, start: int, stop: int) -> list[Any]:
        """What positions ``start`` to ``stop - 1`` look like.

        The list is shorter where the game went another way (``diverged_at``), or where it takes longer than
        `PATIENCE_S` to come as far (``reached``): asked again, it goes on from there.

        Raises:
            AigymError: the environment cannot be made here, raised, or hangs.
        """
        if self._problem is not None:
            raise self._problem
        try:
            return within(HANGS_S, lambda: self._advance(start, stop))
        except AigymError as problem:
            self._problem = problem
        except gymnasium.error.DependencyNotInstalled as problem:
            self._problem = AigymError(f"{self.trajectory.env_id} needs a package to be drawn: {problem}")
        except Exception as problem:  # whatever a changed or foreign environment raises
            said = f"{type(problem).__name__}: {problem}"
            self._problem = AigymError(f"{self.trajectory.env_id} cannot be played again here ({said})")
        raise self._problem

    def reached(self, stop: int) -> int | None:
        """How far it has come on the way to position ``stop - 1``; None where it is there, or diverged."""
        there = self.diverged_at is not None or self.position >= min(stop, len(self.trajectory) + 1) - 1
        return None if there else self.position

    def _advance(self, start: int, stop: int) -> list[Any]:
        late = time.monotonic() + PATIENCE_S
        wanted = range(start, min(stop, len(self.trajectory) + 1))
        if any(t <= self.position and t not in self._kept for t in wanted):
            self._restart()
        while self.position < wanted.stop - 1 and self.diverged_at is None and time.monotonic() < late:
            if self._way is None:
                self._way = retrace(self.trajectory, render_mode=self._render_mode)
            try:
                env = next(self._way)
            except StopIteration as end:
                self.diverged_at = end.value
                break
            self.position += 1
            if self.position >= start:
                self._keep(self.position, self._look(env))
        return [self._kept[t] for t in wanted if t in self._kept]

    def _restart(self) -> None:
        if self._way is not None:
            self._way.close()
        self._way, self.position, self.diverged_at = None, -1, None

    def _keep(self, t: int, seen: Any) -> None:
        if t in self._kept:
            return
        self._kept[t] = seen
        self._bytes += seen.nbytes if isinstance(seen, np.ndarray) else len(seen)
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            old = self._kept.pop(next(iter(self._kept)))
            self._bytes -= old.nbytes if isinstance(old, np.ndarray) else len(old)


class _LeftBehind(BaseException):
    """Raised inside an environment that hangs, so that a loop in Python ends."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, at the latest after ``seconds``. They are counted in slices: what a
    machine stands still meanwhile, asleep or overloaded, is not held against the work.

    It runs in a thread, since it may live in a notebook's own classes: a loop in Python is ended, a call
    that waits in C is left behind.

    Raises:
        AigymError: it is not ready by then.
    """
    done: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            done.append((True, work()))
        except BaseException as problem:
            done.append((False, problem))

    thread = threading.Thread(target=run, daemon=True, name="aigym playback")
    thread.start()
    for _ in range(max(1, round(seconds / _SLICE_S))):
        thread.join(_SLICE_S)
        if done:
            break
    if not done:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_LeftBehind)
        )
        raise AigymError(f"playing it again hangs: one step took more than {seconds:g} s")
    good, answer = done[0]
    if not good:
        raise answer
    return answer  # type: ignore[no-any-return]


def creator(env_id: str) -> Any:
    """The class or function that makes the environment, without making one; None where it cannot be had."""
    spec = gymnasium.registry.get(env_id)
    if spec is None or spec.entry_point is None:
        return None
    if not isinstance(spec.entry_point, str):
        return spec.entry_point
    try:
        return load_env_creator(spec.entry_point)
    except Exception:  # a package that it needs is missing, or raises
        return None


def boards(trajectory: Trajectory) -> Playback | None:
    """Plays a trajectory again whose environment has ``board()``: (rows, columns) of small integers."""
    if not hasattr(creator(trajectory.env_id), "board"):
        return None
    return Playback(trajectory, _board)


def _board(env: gymnasium.Env[Any, Any]) -> NDArray[np.int16]:
    cells = np.asarray(env.unwrapped.board())  # type: ignore[attr-defined]
    if cells.ndim != 2 or cells.dtype.kind not in "biu" or not 0 < cells.size <= MOST_CELLS:
        raise AigymError(
            f"board() gave {cells.dtype} of {cells.shape}, not whole numbers in rows and columns, "
            f"{MOST_CELLS:,} at most"
        )
    return cells.astype(np.int16)


def frames(trajectory: Trajectory) -> Playback | None:
    """Plays a trajectory again whose environment renders ``rgb_array``; each look is a PNG as a data URI."""
    modes = getattr(creator(trajectory.env_id), "metadata", {}).get("render_modes", ())
    if "rgb_array" not in modes or trajectory.seed is None:
        return None
    return Playback(trajectory, _rendered, render_mode="rgb_array")


def _rendered(env: gymnasium.Env[Any, Any]) -> str:
    pixels: Any = env.render()
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise AigymError(f"render() gave {type(pixels).__name__}, not a picture of (height, width, 3) uint8")
    return data_uri(shrunk(pixels, FRAME_HEIGHT, FRAME_WIDTH))
