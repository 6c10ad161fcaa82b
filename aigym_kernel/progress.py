"""Tell how far runs are: a bar in a terminal, a line every few seconds in a log.

    with following("ppo CartPole-v1", None) as tell:
        tell(statuses)                   as often as one likes

Told where somebody reads along: in a terminal, and under papermill (whose log and saved notebook keep the
lines). In a notebook with a person before it the live board does that.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from aigym_kernel.recording import FINAL
from aigym_kernel.store import RunStatus

LINE_S = 5.0
"""Between the first lines; later on a tenth of the time so far, so that a long training fills no notebook."""

Tell = Callable[[Sequence[RunStatus]], None]


@contextmanager
def following(name: str, progress: bool | None, unit: str = "step") -> Iterator[Tell]:
    """What tells the state of runs as it is now. ``progress`` None: where `wanted` says so. ``unit``: what
    they count."""
    if not (wanted() if progress is None else progress):
        yield lambda _: None
    elif _terminal():
        from tqdm import tqdm

        with tqdm(unit=unit, unit_scale=True, desc=name, leave=True) as bar:

            def advance(found: Sequence[RunStatus]) -> None:
                bar.total = sum(s.total_steps for s in found)
                bar.n = sum(s.step for s in found)
                told = _told(found).removeprefix("running, ").replace("mean return", "return")
                bar.set_postfix_str(told, refresh=False)  # so that 80 columns have it
                bar.update(0)
                bar.refresh()

            yield advance
    else:
        yield _Lines(name, unit).tell


def wanted() -> bool:
    """Whether somebody reads along who has no live board: in a terminal, or later in papermill's log."""
    return _terminal() or headless()


def _terminal() -> bool:
    return "ipykernel" not in sys.modules and sys.stderr.isatty()


def headless() -> bool:
    """Whether a notebook is executed with nobody before it: by `aigym run`, papermill, nbconvert. Their
    client does not take input, which Jupyter's own do."""
    if "ipykernel" not in sys.modules:
        return False
    if os.environ.get("AIGYM_PARENT_RUN"):
        return True
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(getattr(shell, "kernel", None), "_allow_stdin", True) is False


class _Lines:
    """A line at the beginning, every few seconds, and at the end."""

    def __init__(self, name: str, unit: str) -> None:
        self._name, self._unit = name, unit
        self._began = time.monotonic()
        self._due = 0.0
        self._last = ""

    def tell(self, found: Sequence[RunStatus]) -> None:
        now = time.monotonic()
        ended = all(s.state in FINAL for s in found)
        if now < self._due and not ended:
            return
        self._due = now + max(LINE_S, 0.1 * (now - self._began))
        step, total = sum(s.step for s in found), sum(s.total_steps for s in found)
        share = f"{step / total:4.0%}" if total else "  0%"
        line = f"{self._name}: {share} ({step:,} of {total:,} {self._unit}s) {_told(found)}"
        if line != self._last:
            self._last = line
            # Of a command, standard output is for its answer; of a cell, it is what papermill logs.
            print(line, file=sys.stdout if "ipykernel" in sys.modules else sys.stderr, flush=True)


def _told(found: Sequence[RunStatus]) -> str:
    """States and returns in a few words."""
    states = [s.state for s in found]
    counted = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    words = [counted if len(found) > 1 else states[0]] if found else []
    means = [s.summary["return_mean"] for s in found if s.summary.get("return_mean") is not None]
    if means:
        words.append(f"mean return {sum(means) / len(means):.4g}")
    return ", ".join(words)
