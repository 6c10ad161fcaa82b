"""A trajectory as plain values that fit into a message to the browser and into a saved notebook.

    shown(trajectory) -> dict      what player.js and stills.py draw; see `Shown` in player.js

Three views: ``boards`` for environments with a ``board()`` (the game is played again from seed and
actions), ``text`` where observations are text, ``values`` where they are numbers. Long ones are cut,
and ``notes`` says so: at most 2,000 steps, 20 kB for one text, 2 MB of text, 64 numbers per step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from aigym_kernel import rendering
from aigym_kernel.envs import SNAKE
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.trajectories import Trajectory

MAX_STEPS = 2_000
MAX_TEXT = 20_000
MAX_TEXTS = 2_000_000
MAX_VALUES = 64
MAX_NUMBERS = 60_000
ACTIONS = {SNAKE: ("straight", "left", "right")}


def shown(trajectory: Trajectory) -> dict[str, Any]:
    """Plain values of a trajectory, in columns; ``texts[i]`` and ``values[i]`` are observation i."""
    notes: list[str] = []
    steps = min(len(trajectory), MAX_STEPS)
    if steps < len(trajectory):
        notes.append(f"Only the first {steps:,} of {len(trajectory):,} steps are shown; aigym.sql has all.")
    boards = _boards(trajectory, steps, notes)
    observations = [trajectory.observations[i] for i in range(steps + 1)]
    values = [] if boards else _values(observations, notes)
    texts = [] if boards or values else _texts([_plain_text(o) for o in observations], notes, "observation")
    actions = [_action(trajectory.env_id, trajectory.actions[i]) for i in range(steps)]
    return {
        "id": trajectory.id,
        "run_id": trajectory.run_id,
        "env_id": trajectory.env_id,
        "agent": trajectory.agent,
        "seed": trajectory.seed,
        "group": trajectory.group,
        "outcome": trajectory.outcome,
        "length": len(trajectory),
        "return": finite(trajectory.total_reward),
        "score": None if trajectory.score is None else trajectory.score.total,
        "wall_s": trajectory.wall_s,
        "error": None if trajectory.error is None else cut(trajectory.error),
        "view": "boards" if boards else "values" if values else "text",
        "shown": steps,
        "notes": notes,
        "marks": _marks(trajectory, notes),
        "rewards": [finite(float(r)) or 0.0 for r in trajectory.rewards[:steps]],
        "actions": _texts(actions, notes, "action"),
        "texts": texts,
        "values": values,
        "boards": boards,
    }


def finite(value: float | None) -> float | None:
    """The number rounded to six digits, or None for what JSON has no word for (NaN, infinities)."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def board_at(boards: dict[str, Any], t: int) -> list[int]:
    """The cells of `shown`'s boards after ``t`` steps, row by row."""
    cells: list[int] = list(boards["first"])
    for change in boards["changes"][:t]:
        for i in range(0, len(change), 2):
            cells[change[i]] = change[i + 1]
    return cells


def _has_board(env_id: str) -> bool:
    """Whether the environment's class draws boards, without making one (a task would open a sandbox)."""
    spec = gymnasium.registry.get(env_id)
    if spec is None or spec.entry_point is None:
        return False
    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    return hasattr(creator, "board")


def _boards(trajectory: Trajectory, steps: int, notes: list[str]) -> dict[str, Any] | None:
    """The first board and what each step changes in it, as (index, value) pairs."""
    try:
        if not _has_board(trajectory.env_id):
            return None
        again = resimulate(trajectory)
    except Exception as problem:  # whatever a changed or foreign environment raises: the record still shows
        notes.append(f"No boards: {trajectory.env_id} cannot be played again here ({problem}).")
        return None
    frames = again.frames[: steps + 1]
    if again.diverged_at is not None:
        notes.append(
            f"Played again, it goes another way from step {again.diverged_at} on (another version of "
            f"{trajectory.env_id}?): boards are right up to there."
        )
    if not frames:
        return None
    rows, columns = frames[0].shape
    flat = [np.asarray(frame).reshape(-1) for frame in frames]
    changes = []
    for before, after in pairwise(flat):
        where = np.flatnonzero(before != after)
        changes.append(np.column_stack([where, after[where]]).reshape(-1).astype(int).tolist())
    return {"width": columns, "height": rows, "first": flat[0].astype(int).tolist(), "changes": changes}


def _values(observations: Sequence[Any], notes: list[str]) -> list[list[float | None]]:
    """One row of numbers per observation; nothing when they are not numbers of one shape."""
    try:
        table = np.asarray(observations)
    except ValueError:
        return []
    if table.dtype.kind not in "biuf" or not table.size:
        return []
    table = table.reshape(len(observations), -1).astype(np.float64)
    width = min(table.shape[1], MAX_VALUES, max(1, MAX_NUMBERS // len(table)))
    if width < table.shape[1]:
        notes.append(f"Only the first {width} of {table.shape[1]:,} observed numbers are shown.")
    return [[finite(v) for v in row[:width].tolist()] for row in table]


def _action(env_id: str, action: Any) -> str:
    if isinstance(action, str):
        return action
    value = np.asarray(action)
    if value.dtype.kind in "iu" and value.ndim == 0:
        names = ACTIONS.get(env_id, ())
        return names[int(value)] if 0 <= int(value) < len(names) else str(int(value))
    if value.dtype.kind == "f":
        return ", ".join(f"{v:.4g}" for v in value.reshape(-1)[:MAX_VALUES].tolist())
    return _plain_text(action)


def _plain_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    try:
        return json.dumps(value, indent=1, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        return str(value)


def _texts(texts: Sequence[str], notes: list[str], what: str) -> list[str]:
    left = MAX_TEXTS
    kept = []
    for text in texts:
        part = cut(text, min(MAX_TEXT, left))
        left -= len(part)
        kept.append(part)
    short = sum(len(part) < len(text) for part, text in zip(kept, texts, strict=True))
    if short:
        many = "texts are" if short > 1 else "text is"
        notes.append(f"{short} long {what} {many} cut; aigym.sql has the whole.")
    return kept


def cut(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…" if limit > 0 else ""


def _marks(trajectory: Trajectory, notes: list[str]) -> list[dict[str, Any]]:
    if trajectory.score is None:
        return []
    marks: list[dict[str, Any]] = trajectory.score.to_dict()["marks"]
    told = []
    for mark in marks:
        mark.pop("evidence", None)  # `review` shows it
        said = [rendering.review(mark.pop("review"))] if "review" in mark else []
        told.append("\n".join(filter(None, [mark["feedback"], *said])))
    return [{**m, "feedback": f} for m, f in zip(marks, _texts(told, notes, "feedback"), strict=True)]
