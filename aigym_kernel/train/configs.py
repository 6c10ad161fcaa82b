"""What the configurations of all algorithms share: checks of their numbers, presets by environment.

An algorithm's own file holds its configuration as one frozen dataclass; these functions are called by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from aigym_kernel.envs.vector import BACKENDS
from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.train.layers import parse
from aigym_kernel.train.schedules import SCHEDULES

C = TypeVar("C")


def check(
    config: Any,
    *,
    whole: Sequence[str] = (),
    unit: Sequence[str] = (),
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> None:
    """Raise a TrainingError for the first named field that is not a whole number (``seed`` from 0, the
    others from 1 on), not in [0, 1], not above 0, not from 0 on, not True or False,
    for a ``..._schedule`` that is none, or for a ``network`` that is no layers; an UnknownName for a
    ``vectorize`` that is no backend."""
    if getattr(config, "vectorize", "auto") not in BACKENDS:
        raise UnknownName("backend (vectorize)", config.vectorize, BACKENDS)
    parse(config.network)
    if isinstance(config.network, list):  # as JSON gives it back
        object.__setattr__(config, "network", tuple(config.network))
    for name in whole:
        value = getattr(config, name)
        least, most = (0, 2**32 - 1) if name == "seed" else (1, 2**53)
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_whole or not least <= value <= most:
            raise wrong(config, name, f"must be a whole number from {least} to {most}")
    for name in unit:
        if not 0 <= _number(config, name) <= 1:
            raise wrong(config, name, "must lie in [0, 1]")
    for name in positive:
        if not 0 < _number(config, name) < math.inf:
            raise wrong(config, name, "must be a number above 0")
    for name in not_negative:
        if not 0 <= _number(config, name) < math.inf:
            raise wrong(config, name, "must be a number from 0 on")
    for name in flags:
        if not isinstance(getattr(config, name), bool):
            raise wrong(config, name, "must be True or False")
    for name in (field.name for field in fields(config) if field.name.endswith("_schedule")):
        if getattr(config, name) not in SCHEDULES:
            raise wrong(config, name, f"must be one of {', '.join(SCHEDULES)}")


def wrong(config: Any, name: str, rule: str) -> TrainingError:
    """The error that names a field, its value and the rule that it breaks."""
    return TrainingError(f"{type(config).__name__}: {name}={getattr(config, name)!r} {rule}")


def preset(
    cls: type[C], presets: Mapping[str, Mapping[str, Any]], env_id: str, changes: Mapping[str, Any]
) -> C:
    """A configuration from the preset of an environment with ``changes``.

    Raises:
        UnknownName: a change to a field that does not exist.
        TrainingError: a value that cannot be.
    """
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            raise UnknownName(f"field of {cls.__name__}", name, known)
    return cls(**{**presets.get(env_id, {}), **changes})


def _number(config: Any, name: str) -> float:
    value = getattr(config, name)
    return float(value) if isinstance(value, (int, float, np.number)) else math.nan
