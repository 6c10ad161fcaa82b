"""What a finished trajectory leaves in every table but ``steps``: `recorded_rows`.

The row of ``trajectories`` comes last: it says that all the others are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.errors import StoreError
from aigym_kernel.store import messages, notes, reviews, schema
from aigym_kernel.store.columns import Column
from aigym_kernel.trajectories import Trajectory

# Of a final info there become columns at most so many keys, of so many characters each, and texts of so many.
MOST_KEYS, LONGEST_KEY, LONGEST_TEXT = 64, 100, 200

Plain = Mapping[str, list[int]]
"""Of ``observation`` and ``action``, the steps whose text was written as it is; see `columns.decode`."""


def recorded_rows(
    run_id: str, trajectory: Trajectory, observations: Column, actions: Column, plain: Plain
) -> list[tuple[str, dict[str, Any]]]:
    """Tables and rows, in the order in which they are to be written.

    Raises:
        StoreError: its seed does not fit 64 bits, or a message cannot be recorded.
        AigymError: a tag or note is no text.
    """
    row = _trajectory_row(run_id, trajectory, observations, actions, plain)
    said = [("messages", message) for message in messages.rows(run_id, trajectory)]
    return [*said, *_judged(run_id, trajectory), *_noted(run_id, trajectory), ("trajectories", row)]


def _judged(run_id: str, trajectory: Trajectory) -> Iterator[tuple[str, dict[str, Any]]]:
    for mark in trajectory.score.marks if trajectory.score else ():
        yield "marks", reviews.mark_row(run_id, trajectory.id, mark)
        if mark.review is not None:
            row = reviews.review_row(run_id, trajectory.id, mark.name, mark.value, mark.review)
            yield "reviews", row


def _noted(run_id: str, trajectory: Trajectory) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in notes.tag_rows(run_id, trajectory.id, trajectory.tags):
        yield "notes", row
    for note in trajectory.notes:
        yield "notes", notes.note_row(run_id, trajectory.id, note)


def _trajectory_row(
    run_id: str, trajectory: Trajectory, observations: Column, actions: Column, plain: Plain
) -> dict[str, Any]:
    length, score, seed = len(trajectory), trajectory.score, trajectory.seed
    if seed is not None and not -(2**63) <= int(seed) < 2**63:
        raise StoreError(f"seed {seed} of trajectory {trajectory.id!r} does not fit 64 bits")
    last = observations.rows(length, length + 1)
    clean, json_text = schema.clean, schema.json_text
    return {
        "trajectory_id": clean(trajectory.id),
        "run_id": run_id,
        "env_id": clean(trajectory.env_id),
        "env_kwargs": json_text(trajectory.env_kwargs),
        "agent": clean(trajectory.agent),
        "seed": None if seed is None else int(seed),
        "group": None if trajectory.group is None else clean(trajectory.group),
        "length": length,
        "return": trajectory.total_reward,
        "outcome": clean(trajectory.outcome),
        "score": None if score is None or score.total is None else float(score.total),
        "passed": None if score is None else bool(score.passed),
        "terminated": bool(trajectory.terminated),
        "truncated": bool(trajectory.truncated),
        "error": None if trajectory.error is None else clean(trajectory.error),
        "started_at": schema.microseconds(trajectory.started_at),
        "wall_s": float(trajectory.wall_s),
        "final_observation": None if last.numbers is None else last.numbers[0],
        "final_observation_text": None if last.texts is None else last.texts[0],
        "final_observation_bytes": None if last.blobs is None else _bytes(last.blobs[0]),
        "info": json_text(trajectory.final_info),
        "observation_dtype": observations.dtype,
        "observation_shape": _shape(observations, plain["observation"]),
        "action_dtype": actions.dtype,
        "action_shape": _shape(actions, plain["action"]),
        "task_id": None if score is None else clean(score.task_id),
        "judge_s": None if score is None else float(score.wall_s),
        "pass_mark": None if score is None else float(score.pass_mark),
        "parent": None if trajectory.parent is None else clean(trajectory.parent),
        "reward_mean": trajectory.total_reward / length if length else None,
        "reward_min": float(np.min(trajectory.rewards)) if length else None,
        "reward_max": float(np.max(trajectory.rewards)) if length else None,
        **promoted(trajectory.final_info),
    }


def promoted(info: Mapping[str, Any]) -> dict[str, list[tuple[str, Any]] | None]:
    """The cells of ``info_numbers`` and ``info_texts``: what in a final info is one number (also a boolean)
    or a short text, at the top or one level below (``episode.r``). So that SQL need not read JSON."""
    numbers: dict[str, float] = {}
    texts: dict[str, str] = {}
    pairs = list(info.items())
    pairs += [
        (f"{k}.{n}", v) for k, part in info.items() if isinstance(part, Mapping) for n, v in part.items()
    ]
    for key, value in pairs:
        name = schema.clean(str(key))
        if len(name) > LONGEST_KEY or len(numbers) + len(texts) >= MOST_KEYS:
            continue
        if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool | int | float):
            with suppress(OverflowError):
                numbers[name] = float(value)
        elif isinstance(value, str) and len(value) <= LONGEST_TEXT:
            texts[name] = schema.clean(value)
    return {"info_numbers": list(numbers.items()) or None, "info_texts": list(texts.items()) or None}


def _shape(column: Column, plain: list[int]) -> list[int]:
    return plain if column.dtype == "json" else list(column.shape)


def _bytes(blob: NDArray[np.uint8] | bytes | None) -> bytes | None:
    return None if blob is None else bytes(blob)
