"""A whole trajectory at a glance: its rewards and numbers in buckets, and what happened when.

    rewards(trajectory.rewards)        at most 1,000 buckets: lowest, highest, sum
    numbers(observations, names)       the same of observed numbers: lines where they are few, else shades
    events(trajectory)                 [[t, kind, text], ...] in order, at most 1,000

Bucket i of n holds the steps from i * T // n to (i + 1) * T // n. NaN and infinities count as nothing. An
event at step t belongs to position t, where the reward of that step is shown; the end to position T.
Kinds: ``gain``, ``loss`` (rewards that stand out), ``change`` (an info key that seldom changes), ``tool``,
``error``, ``end``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.trajectories import Trajectory
from aigym_kernel.widgets.plain import cut, finite

BUCKETS = 1_000
LINES = 12
LINE_BUCKETS = 300
SHADE_BUCKETS = 240
MAX_EVENTS = 1_000
_SELDOM = 0.2  # a key that changes in more than this share of the steps is a course, not an event
_MANY_KEYS = 30
_TRACEBACK = "Traceback (most recent call last)"


def rewards(values: NDArray[np.float64]) -> dict[str, list[float | None]]:
    """Lowest, highest and sum of the rewards in each bucket."""
    known = np.where(np.isfinite(values), values, 0.0)
    starts = _starts(len(known), BUCKETS)
    if not len(starts):
        return {"low": [], "high": [], "sum": []}
    parts = {
        "low": np.minimum.reduceat(known, starts),
        "high": np.maximum.reduceat(known, starts),
        "sum": np.add.reduceat(known, starts),
    }
    return {name: [finite(v) for v in part.tolist()] for name, part in parts.items()}


def numbers(table: NDArray[np.float64], names: Sequence[str]) -> dict[str, Any]:
    """Observed numbers over all positions.

    Args:
        table: (T + 1, width).
        names: of the numbers; those without a name are told by their place.

    Returns:
        ``names``; up to `LINES` numbers as ``lines``, each with its lowest and highest per bucket; more as
        ``shades``: in base64, number after number, one byte per bucket (1 to 255 between that number's own
        lowest and highest, 0 where it has none).
    """
    width = table.shape[1]
    told = [names[i] if i < len(names) else str(i) for i in range(width)]
    starts = _starts(len(table), LINE_BUCKETS if width <= LINES else SHADE_BUCKETS)
    known = np.where(np.isfinite(table), table, np.nan)
    low, high = np.fmin.reduceat(known, starts), np.fmax.reduceat(known, starts)
    if width <= LINES:
        lines = [
            {"low": [finite(v) for v in low[:, i].tolist()], "high": [finite(v) for v in high[:, i].tolist()]}
            for i in range(width)
        ]
        return {"names": told, "lines": lines, "shades": None}
    middle = (low + high) / 2
    with np.errstate(all="ignore"):
        lowest, highest = np.fmin.reduce(low), np.fmax.reduce(high)
        share = (middle - lowest) / (highest - lowest)
    share = np.where(np.isnan(middle), np.nan, np.where(highest > lowest, share, 0.5))
    shades = np.where(np.isnan(share), 0, 1 + np.nan_to_num(share) * 254).astype(np.uint8)
    ranges = [[finite(a), finite(b)] for a, b in zip(lowest.tolist(), highest.tolist(), strict=True)]
    packed = base64.b64encode(shades.T.tobytes()).decode("ascii")
    return {"names": told, "lines": [], "shades": {"data": packed, "columns": len(starts), "ranges": ranges}}


def _starts(length: int, buckets: int) -> NDArray[np.int64]:
    count = min(length, buckets)
    return np.arange(count, dtype=np.int64) * length // max(1, count)


def events(trajectory: Trajectory) -> list[list[Any]]:
    """What happened, in order; the more there is of a kind, the more of it is left out."""
    kinds = [_spikes(trajectory.rewards), _changes(trajectory), _errors(trajectory), _calls(trajectory)]
    share = MAX_EVENTS // len(kinds)
    found = [event for kind in kinds for event in _thin(kind, share)]
    return sorted([*found, _end(trajectory)], key=lambda event: event[0])


def _thin(found: list[list[Any]], limit: int) -> list[list[Any]]:
    """Some of them, spread over the whole."""
    if len(found) <= limit:
        return found
    return [found[i * len(found) // limit] for i in range(limit)]


def _spikes(values: NDArray[np.float64]) -> list[list[Any]]:
    """Rewards far from what is usual; where most are equal, all others."""
    if len(values) < 2:
        return []
    known = values[np.isfinite(values)]
    usual = float(np.median(known)) if len(known) else 0.0
    spread = float(np.median(np.abs(known - usual))) if len(known) else 0.0
    # 1.4826: the median distance of a normal distribution as standard deviations; 6 of these are no chance.
    far = 6 * 1.4826 * spread if spread else 1e-9
    where: list[int] = np.flatnonzero(~(np.abs(values - usual) <= far)).tolist()
    if len(where) > max(50, len(values) // 2):
        return []
    largest = sorted(where, key=lambda t: -abs(float(values[t]) - usual))[:MAX_EVENTS]
    return [[t, "gain" if values[t] > usual else "loss", _reward(float(values[t]))] for t in sorted(largest)]


def _reward(value: float) -> str:
    return f"reward {value:.4g}" if math.isfinite(value) else f"reward is {value}"


def _changes(trajectory: Trajectory) -> list[list[Any]]:
    """Where short values in infos change, such as apples, lives or the state of a build."""
    infos = trajectory.infos
    if len(infos) < 2:
        return []
    keys = [key for key in list(infos[0])[:_MANY_KEYS] if key not in ("error", "exception")]
    found: list[list[Any]] = []
    for key in keys:
        column = [info.get(key) for info in infos]
        if not all(value is None or isinstance(value, str | int | float | bool) for value in column):
            continue
        turns = [t for t, (one, other) in enumerate(pairwise(column), 1) if not _equal(one, other)]
        if turns and len(turns) <= max(3, _SELDOM * len(column)):
            found += [[t, "change", f"{key} {_short(column[t - 1])} → {_short(column[t])}"] for t in turns]
    return sorted(found, key=lambda event: event[0])


def _equal(one: Any, other: Any) -> bool:
    if one != one and other != other:  # NaN and NaN
        return True
    return type(one) is type(other) and bool(one == other)


def _short(value: Any) -> str:
    return cut(f"{value:.4g}" if isinstance(value, float) else str(value), 40)


def _errors(trajectory: Trajectory) -> list[list[Any]]:
    found = []
    for t, info in enumerate(trajectory.infos):
        for key in ("error", "exception"):
            if said := info.get(key):
                found.append([t, "error", cut(f"{key}: {said}", 120)])
    observations = trajectory.observations
    for t in range(1, len(observations) if _texts(observations) else 0):
        seen = observations[t]
        if isinstance(seen, str) and _TRACEBACK in seen:
            last = seen.rstrip().rpartition("\n")[2]
            found.append([t, "error", cut(last or "traceback", 120)])
    for message in trajectory.messages:
        if message.error and message.step is not None:
            found.append([message.step, "error", cut(message.error, 120)])
    return sorted(found, key=lambda event: event[0])


def _texts(observations: Any) -> bool:
    return not isinstance(observations, np.ndarray) or observations.dtype.kind in "OU"


def _calls(trajectory: Trajectory) -> list[list[Any]]:
    return [
        [message.step, "tool", cut(f"calls {call.name}", 120)]
        for message in trajectory.messages
        if message.step is not None
        for call in message.tool_calls
    ]


def _end(trajectory: Trajectory) -> list[Any]:
    how = trajectory.outcome
    said: Mapping[bool, str] = {
        trajectory.terminated: "terminated",
        trajectory.truncated and not trajectory.terminated: "truncated",
    }
    told = said.get(True, "")
    return [len(trajectory), "end", cut(how if how == told or not told else f"{told}: {how}", 120)]
