"""How a run is steered while it goes on: the file ``control.json`` in its folder.

    steer(folder, paused=True)                       what `Run.pause` and a board do
    steer(folder, learning_rate=1e-3, speed="watch")
    Reader(folder).read()                            what the run's process sees; cheap when nothing changed

``stop`` is a file of its own, and so is ``watched``, which a board touches while somebody looks at it.
Nothing here starts, ends or waits for anything.
"""

from __future__ import annotations

import fcntl
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from aigym_kernel.errors import RunError, UnknownName
from aigym_kernel.store.records import replace_file

Speed = Literal["max", "watch"]

WATCHED_S = 5.0
"""A run counts as watched for so long after a board last touched its file ``watched``."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a run was asked to do. ``speed``: ``max`` trains as fast as it can, ``watch`` one update between
    two steps of the game that is played live, as long as somebody looks. ``learning_rate``: what it is from
    now on; None leaves the trainer's own schedule. ``save`` counts the requests to save.

    Raises:
        UnknownName: there is no such speed.
        RunError: any other value that cannot be.
    """

    paused: bool = False
    speed: Speed = "max"
    learning_rate: float | None = None
    save: int = 0

    def __post_init__(self) -> None:
        if self.speed not in get_args(Speed):
            raise UnknownName("speed", self.speed, get_args(Speed))
        rate = self.learning_rate
        number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if rate is not None and not (number and 0 < rate < math.inf):
            raise RunError(f"learning_rate={rate!r} must be a number above 0")
        if not isinstance(self.paused, bool) or not isinstance(self.save, int):
            raise RunError(f"control of a run: paused={self.paused!r}, save={self.save!r} cannot be")


def read(folder: Path) -> Control:
    """What the run in ``folder`` was asked; nothing yet without a file.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / "control.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Control(**{name: data[name] for name in asdict(Control()) if name in data})
    except FileNotFoundError:
        return Control()
    except (OSError, ValueError, TypeError, RunError, UnknownName) as problem:
        raise RunError(f"{path} cannot be read ({problem}); delete it, the run goes on without") from None


def steer(folder: Path, *, save: bool = False, **changes: Any) -> Control:
    """Change what the run in ``folder`` was asked, and return all of it. Others may do so at the same time.

    Args:
        save: ask once more for a checkpoint.
        changes: other fields of `Control`.

    Raises:
        UnknownName, RunError: a value that cannot be; the file is damaged.
        StoreError: it cannot be written.
    """
    with (folder / "control.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = read(folder)
        control = replace(before, save=before.save + save, **changes)
        replace_file(folder / "control.json", json.dumps(asdict(control)) + "\n")
    return control


class Reader:
    """The worker's eye on ``control.json``, ``stop`` and ``watched``: `look` costs microseconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._control = Control()

    def read(self) -> Control:
        """What is asked now. A damaged file changes nothing."""
        try:
            stat = (self._folder / "control.json").stat()
        except OSError:
            return self._control
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._control = read(self._folder)
            except RunError as problem:
                print(problem, flush=True)
        return self._control

    def stopped(self) -> bool:
        """Whether it was asked to end."""
        return (self._folder / "stop").exists()

    def watched(self) -> bool:
        """Whether somebody has looked at it within the last `WATCHED_S` seconds."""
        try:
            return time.time() - (self._folder / "watched").stat().st_mtime < WATCHED_S
        except OSError:
            return False
