"""Numbers that change while a training goes on, and what its caller changes in them.

    rate = Decay(1e-3, "linear", over=100)
    rate.at(0), rate.at(50)            0.001, 0.0005
    rate.change(2e-3, at=50)           from here on 0.002, falling to 0 at 100
    heed({"learning_rate": 2e-3}, rate, at=50)      the same, as `updates.send` brings it

Time is counted in a trainer's own rounds (updates, epochs). Not a place for what is sampled at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, Literal, get_args

from aigym_kernel.errors import TrainingError, UnknownName

Schedule = Literal["linear", "constant"]
SCHEDULES = get_args(Schedule)


class Decay:
    """A number that stays what it is, or falls linearly to 0 ``over`` so many rounds."""

    def __init__(self, value: float, schedule: Schedule, over: int) -> None:
        self._value, self._schedule, self._over = float(value), schedule, over
        self._since = 0

    def at(self, done: int) -> float:
        """The value for the round that comes after ``done`` of them."""
        if self._schedule == "constant":
            return self._value
        return self._value * (1 - (done - self._since) / (self._over - self._since))

    def change(self, value: float, *, at: int) -> None:
        """It is ``value`` from now on; a linear one falls from there to 0."""
        self._value, self._since = float(value), at

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"value": self._value, "since": self._since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._value, self._since = float(state["value"]), int(state["since"])


def heed(message: Mapping[str, Any] | None, rate: Decay, *, at: int) -> None:
    """Carry out what a trainer's caller sent after ``at`` rounds: ``{"learning_rate": x}``, or nothing.

    Raises:
        UnknownName: a name that cannot be changed while training.
        TrainingError: the message is no mapping, or the rate is no number above 0.
    """
    if message is None:
        return
    if not isinstance(message, Mapping):
        raise TrainingError(f"send({message!r}): a mapping is needed, such as {{'learning_rate': 1e-4}}")
    for name, value in message.items():
        if name != "learning_rate":
            raise UnknownName("name that can be changed while training", str(name), ["learning_rate"])
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            raise TrainingError(f"send: learning_rate={value!r} must be a number above 0")
        rate.change(float(value), at=at)
