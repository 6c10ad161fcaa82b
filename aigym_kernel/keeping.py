"""Which finished trajectories of a training are recorded: all, none, every n-th, the best and the worst.

    keeper = Keeper("best-and-worst")
    writer.batch(keeper.choose(update.trajectories))

Metrics are complete whatever is chosen here: they are made of all trajectories.
"""

from __future__ import annotations

import numpy as np

from aigym_kernel.batches import Batch, pick
from aigym_kernel.errors import TrainingError, UnknownName

Record = str | int
"""``all``, ``none``, ``best-and-worst`` (of each update's, by their return), or n: every n-th, from the first
on."""

WORDS = ("all", "none", "best-and-worst")


def check_record(record: object) -> None:
    """Raise an UnknownName or a TrainingError unless ``record`` is a Record."""
    if isinstance(record, str):
        if record not in WORDS:
            raise UnknownName("way to record", record, WORDS, "Or a whole number n: every n-th trajectory.")
    elif isinstance(record, bool) or not isinstance(record, int) or record < 1:
        raise TrainingError(
            f"record={record!r}: use 'all', 'none', 'best-and-worst', or n, a whole number from 1 on: "
            "every n-th"
        )


class Keeper:
    """Chooses what is recorded; ``seen`` counts what it was shown, and is all its state."""

    def __init__(self, record: Record, seen: int = 0) -> None:
        self._record = record
        self.seen = seen

    def choose(self, batch: Batch) -> Batch:
        """The trajectories of ``batch`` that are to be recorded, in their order."""
        first, self.seen = self.seen, self.seen + len(batch)
        if self._record == "all" or not len(batch):
            return batch
        if isinstance(self._record, int):
            return pick(batch, [i for i in range(len(batch)) if (first + i) % self._record == 0])
        if self._record == "none":
            return pick(batch, [])
        returns = [float(np.sum(batch.rewards[batch.steps(i)])) for i in range(len(batch))]
        return pick(batch, sorted({int(np.argmin(returns)), int(np.argmax(returns))}))
