"""What a caller may change while a training runs: its learning rate.

    updates = ppo("CartPole-v1")
    update = next(updates)
    update = updates.send({"learning_rate": 1e-4})     # from now on, falling linearly to 0 at the end

`Rate` is the schedule that an algorithm follows; it is part of a checkpoint's state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aigym_kernel.errors import TrainingError, UnknownName


class Rate:
    """A learning rate that falls linearly to 0 over the training, from where it was last set.

    ``progress`` is the share of the training that is over, in [0, 1].
    """

    def __init__(self, initial: float) -> None:
        self._base = initial  # the rate at the moment ``since``
        self._since = 0.0

    def at(self, progress: float) -> float:
        """The rate at ``progress``."""
        return self._base * (1 - progress) / (1 - self._since)

    def take(self, message: Any, progress: float) -> None:
        """Obey what the caller sent to the generator; None, which ``next`` sends, changes nothing.

        Raises:
            UnknownName: it asks for something else than ``learning_rate``.
            TrainingError: it is no mapping, or the rate is no number above 0.
        """
        if message is None:
            return
        if not isinstance(message, Mapping):
            raise TrainingError(f"send({message!r}): expected a mapping such as {{'learning_rate': 1e-4}}")
        for name, value in message.items():
            if name != "learning_rate":
                raise UnknownName("thing to change while training", name, ["learning_rate"])
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 < value < math.inf:
                raise TrainingError(f"send: learning_rate={value!r} must be a number above 0")
            if progress < 1:  # after the last step there is nothing left to set it for
                self._base, self._since = float(value), progress

    def state(self) -> dict[str, Any]:
        """Where the schedule stands, for a checkpoint."""
        return {"base": self._base, "since": self._since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as `state` said."""
        self._base, self._since = state["base"], state["since"]
