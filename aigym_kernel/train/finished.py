"""The episodes that finished in a training: their figures as metrics, and that no error loses them.

    finished = Finished()
    with kept(fresh):                  # an error in the block has them as error.trajectories
        fresh.append(rollout.trajectories)
    finished.add(join(fresh))
    finished.metrics()

Not here: cutting trajectories out of roll-outs (`collect`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from aigym_kernel.batches import Batch, join

RECENT = 100
"""`Finished` looks at so many of the latest episodes."""


class Finished:
    """Return and length of the last `RECENT` finished episodes of a training, as metrics."""

    def __init__(self) -> None:
        self._returns = np.zeros(0)
        self._lengths = np.zeros(0, np.int64)

    def add(self, batch: Batch) -> None:
        """Episodes that finished, oldest first."""
        self._returns = np.concatenate([self._returns, batch.returns])[-RECENT:]
        self._lengths = np.concatenate([self._lengths, batch.lengths])[-RECENT:]

    def metrics(self) -> dict[str, float]:
        """``return_mean``, ``return_q10`` and ``return_q90`` (a tenth of the episodes is below, above),
        ``length_mean``; nothing before an episode has finished."""
        if not len(self._returns):
            return {}
        low, high = np.quantile(self._returns, (0.1, 0.9)).tolist()
        return {
            "return_mean": float(self._returns.mean()),
            "return_q10": low,
            "return_q90": high,
            "length_mean": float(self._lengths.mean()),
        }

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"])


@contextmanager
def kept(finished: Sequence[Batch]) -> Iterator[None]:
    """An exception that leaves the block carries ``finished``, as it is by then: see `carry`."""
    try:
        yield
    except Exception as problem:
        carry(problem, finished)
        raise


def carry(problem: Exception, finished: Sequence[Batch]) -> None:
    """Have it carry these episodes, before those that it carries already."""
    problem.trajectories = join([*finished, finished_before(problem)])  # type: ignore[attr-defined]


def finished_before(problem: Exception) -> Batch:
    """The episodes that finished between a training's last Update and the ``problem`` that ended it."""
    found: Batch = getattr(problem, "trajectories", None) or join([])
    return found
