"""How a background training is carried out, whatever its algorithm: `Options`, kept in the run's record.

    Options(evaluate_every=10_000, record=100)

Not what is learnt or how: that is the algorithm's own configuration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from aigym_kernel.errors import TrainingError, check_whole
from aigym_kernel.keeping import Record, check_record


@dataclass(frozen=True, kw_only=True)
class Options:
    """``record``: which trajectories (see `keeping.Record`). ``evaluate_every`` environment steps; None: only
    before and after. ``save_every_s``: seconds between checkpoints. ``at_once``: how many trainings of this
    kind may run in the store when it starts; None: one per core, or per GPU. ``hang_after_s``: how long one
    step of an environment may take.

    Raises:
        UnknownName, TrainingError: a value that cannot be.
    """

    record: Record = "all"
    evaluate_every: int | None = None
    save_every_s: float = 30.0
    at_once: int | None = None
    hang_after_s: float = 300.0

    def __post_init__(self) -> None:
        check_record(self.record)
        for name in ("evaluate_every", "at_once"):
            if getattr(self, name) is not None:
                check_whole(f"train: {name}", getattr(self, name), 1, error=TrainingError)
        for name in ("save_every_s", "hang_after_s"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 < value < math.inf):
                raise TrainingError(f"train: {name}={value!r} must be a number of seconds above 0")
