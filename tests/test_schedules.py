"""What changes while a training goes on: rates that fall, and what their caller sends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.train.schedules import Decay, heed


def test_a_linear_number_falls_to_0_and_a_constant_one_stays() -> None:
    linear, constant = Decay(2.0, "linear", over=4), Decay(2.0, "constant", over=4)
    assert [linear.at(i) for i in range(5)] == [2.0, 1.5, 1.0, 0.5, 0.0]
    assert [constant.at(i) for i in range(5)] == [2.0] * 5


def test_a_change_holds_from_then_on_and_survives_a_restart() -> None:
    rate = Decay(2.0, "linear", over=4)
    rate.change(8.0, at=2)
    again = Decay(2.0, "linear", over=4)
    again.restore(rate.state())
    for one in (rate, again):
        assert [one.at(i) for i in (2, 3, 4)] == [8.0, 4.0, 0.0]


def test_what_was_sent_is_carried_out() -> None:
    rate = Decay(2.0, "constant", over=4)
    heed(None, rate, at=1)
    assert rate.at(1) == 2.0
    heed({"learning_rate": np.float32(3)}, rate, at=1)
    assert rate.at(1) == 3.0


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"learning_rate": 0}, "learning_rate=0 must be a number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"learning_rate": True}, "learning_rate=True"),
        (1e-3, r"send\(0\.001\): a mapping is needed"),
    ],
)
def test_what_cannot_be_sent(message: Any, says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        heed(message, Decay(2.0, "linear", over=4), at=1)
    with pytest.raises(UnknownName, match="Did you mean 'learning_rate'"):
        heed({"learning_rat": 1e-3}, Decay(2.0, "linear", over=4), at=1)
