"""Find within a trajectory: a text in the observations, actions, infos and messages of all its steps.

    find(trajectory, action_text, "apple")     {"count": 12, "hits": [[t, "info", "... apple ..."], ...]}

Upper and lower case are the same. Observations that are numbers are not searched. At most `MAX_HITS` hits are
sent, the count is of all; one text that holds it twice counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import numpy as np

from aigym_kernel.trajectories import Trajectory
from aigym_kernel.widgets.plain import cut, text

MAX_HITS = 2_000
_AROUND = 40


class Found(TypedDict):
    """``hits``: position, where in it ("observation", "action", "info", "message"), and an excerpt."""

    count: int
    hits: list[list[Any]]


def find(trajectory: Trajectory, action_text: Callable[[Any], str], wanted: str) -> Found:
    """Every place that holds ``wanted``, in the order of steps; nothing for an empty text."""
    lower = wanted.lower()
    hits: list[list[Any]] = []
    count = 0
    for t, where, said in _texts(trajectory, action_text) if lower else ():
        at = said.lower().find(lower)
        if at >= 0:
            count += 1
            if len(hits) < MAX_HITS:
                start = max(0, at - _AROUND)
                part = said[start : at + len(wanted) + _AROUND].replace("\n", " ")
                hits.append([t, where, cut(f"…{part}" if start else part, 200)])
    return {"count": count, "hits": sorted(hits, key=lambda hit: hit[0])}


def _texts(trajectory: Trajectory, action_text: Callable[[Any], str]) -> Iterator[tuple[int, str, str]]:
    observations = trajectory.observations
    numbers = isinstance(observations, np.ndarray) and observations.dtype.kind in "biufc"
    for t in range(len(trajectory) + 1):
        if not numbers:
            yield t, "observation", text(observations[t], None)
        if t < len(trajectory):
            yield t, "action", action_text(trajectory.actions[t])
            if trajectory.infos and trajectory.infos[t]:
                yield t, "info", text(trajectory.infos[t], None)
    if trajectory.final_info:
        yield max(0, len(trajectory) - 1), "info", text(trajectory.final_info, None)
    for message in trajectory.messages:
        calls = [f"{call.name} {text(call.arguments, None)}" for call in message.tool_calls]
        said = "\n".join(filter(None, [message.reasoning, message.text, *calls, message.error or ""]))
        yield message.step or 0, "message", said
