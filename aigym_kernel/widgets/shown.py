"""A trajectory as plain values that fit into messages to the browser and into a saved notebook.

    opened = Opened(trajectory)
    opened.head()                       facts, overview, events and the first chunk; see `Shown` in chunks.js
    opened.chunk("values", 3)           the fourth chunk of what the scene "values" draws
    opened.frames(200, 240)             rendered pictures, by playing it again
    opened.whole(17), opened.find("apple")
    shown(trajectory)                   the head alone

A scene is one way to look at a trajectory. `Opened.scenes` says which there are, the first by default, and
how many steps a chunk of its data has: ``boards`` (environments with ``board()``), ``images``, ``values``
(numbers), ``text``, ``terminal`` (text with ANSI escapes), ``tree`` (dicts and other values), ``frames``
(environments that render). A chunk of n steps has n + 1 observations, so that each step has the one after it.
Nothing is sent whole that is long: `plain` cuts it, and ``notes`` say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel import rendering
from aigym_kernel.errors import AigymError
from aigym_kernel.pictures import data_uri, picture
from aigym_kernel.trajectories import Trajectory
from aigym_kernel.widgets import overview, playback
from aigym_kernel.widgets.conversation import Conversation
from aigym_kernel.widgets.documented import action_names, observation_names
from aigym_kernel.widgets.finding import Found, find
from aigym_kernel.widgets.plain import MAX_TEXT, cut, finite, text, tree

CHUNK_BYTES = 200_000
MAX_VALUES = 64
MAX_CHUNK = 2_000
WHOLE_TEXT = 1_000_000
_INFO_KEYS = 30
_ACTION_TEXT = 200


class Opened:
    """A trajectory that is being looked at: what was worked out for its head serves its chunks."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory
        self.notes: list[str] = []
        self._actions = action_names(trajectory.env_id)
        self._names = observation_names(trajectory.env_id)
        self._boards = self._playable()
        self._frames = playback.frames(trajectory)
        self.talk = Conversation(trajectory.messages) if trajectory.messages else None
        self.scenes = self._scenes()
        self.view = next(iter(self.scenes))
        self._numbers = self._overview() if "values" in self.scenes else None
        if unknown := int(np.count_nonzero(~np.isfinite(trajectory.rewards))):
            told = f"{unknown:,} of {len(trajectory):,} rewards are NaN or infinite; sums leave them out."
            self.notes.append(told)

    def head(self) -> dict[str, Any]:
        """Facts, overview, events, and the first chunk of the first scene's data, all in one mapping."""
        it = self.trajectory
        head = {
            "id": it.id,
            "run_id": it.run_id,
            "env_id": it.env_id,
            "agent": cut(it.agent, 200),
            "seed": it.seed,
            "group": it.group,
            "parent": it.parent,
            "outcome": cut(it.outcome, 100),
            "length": len(it),
            "return": finite(it.total_reward),
            "score": None if it.score is None else it.score.total,
            "wall_s": finite(it.wall_s),
            "error": None if it.error is None else cut(it.error),
            "view": self.view,
            "scenes": self.scenes,
            "marks": _marks(it),
            "tags": [cut(tag, 100) for tag in it.tags],
            "said": said(it),
            "overview": overview.rewards(it.rewards),
            "numbers": self._numbers,
            "events": overview.events(it),
            "talk": None if self.talk is None else self.talk.head(),
            **self.chunk(self.view, 0),
        }
        return {**head, "notes": self.notes}

    def chunk(self, scene: str, number: int) -> dict[str, Any]:
        """Chunk ``number`` of a scene: actions, rewards, infos, and what only this scene draws."""
        size = self.scenes.get(scene) or self.scenes[self.view]
        start = min(max(0, number * size), len(self.trajectory))
        stop = min(len(self.trajectory), start + size)
        it = self.trajectory
        before = it.rewards[:start]
        most = _ACTION_TEXT if scene == "conversation" else MAX_TEXT  # its messages say it whole
        made: dict[str, Any] = {
            "start": start,
            "shown": stop - start,
            "before": finite(float(before[np.isfinite(before)].sum())),
            "rewards": [finite(r) for r in it.rewards[start:stop].tolist()],
            "actions": [cut(self._action(it.actions[t]), most) for t in range(start, stop)],
            "infos": [_info(it.infos[t]) for t in range(start, stop)] if it.infos else [],
            "texts": [],
            "values": [],
            "images": [],
            "trees": [],
            "boards": None,
        }
        if stop == len(it) and it.final_info and not it.infos and stop > start:
            made["infos"] = [{}] * (stop - start - 1) + [_info(it.final_info)]
        observations = [it.observations[t] for t in range(start, stop + 1)]
        if scene in ("text", "terminal"):
            made["texts"] = _texts(observations)
        elif scene == "values":
            table = _table(observations)
            made["values"] = [[finite(v) for v in row] for row in table.tolist()]
        elif scene == "images":
            made["images"] = [_image(o) for o in observations]
        elif scene == "tree":
            made["trees"] = [tree(o) for o in observations]
        elif scene == "boards" and self._boards is not None:
            made["boards"] = _changes(self._boards.look(start, stop + 1))
            made |= _how_far(self._boards, stop + 1)
        return made

    def frames(self, start: int, stop: int) -> dict[str, Any]:
        """Pictures of the positions from ``start`` to ``stop - 1`` (60 at most), as data URIs; fewer after a
        divergence.

        Raises:
            AigymError: it cannot be played again or drawn here; the text says why, and what to install.
        """
        if self._frames is None:
            raise AigymError(f"{self.trajectory.env_id} renders no pictures, or has no seed to play it again")
        stop = min(stop, start + 60)
        return {"start": start, "images": self._frames.look(start, stop)} | _how_far(self._frames, stop)

    def whole(self, t: int) -> str:
        """All of step ``t`` as JSON; for the last position its observation. At most 1,000,000 characters."""
        it = self.trajectory
        if not 0 <= t <= len(it):
            raise AigymError(f"there is no step {t} in a trajectory of {len(it)} steps")
        step: dict[str, Any] = {"t": t, "observation": it.observations[t]}
        if t < len(it):
            took = it[t]
            step |= {"action": took.action, "reward": took.reward, "terminated": took.terminated}
            step |= {"truncated": took.truncated, "info": took.info}
        else:
            step |= {"final_info": it.final_info}
        here = [asdict(message) for message in it.messages if message.step == t]
        return cut(text(step | ({"messages": here} if here else {})), WHOLE_TEXT)

    def find(self, wanted: str) -> Found:
        """Where a text occurs, in all steps; see `finding`."""
        return find(self.trajectory, self._action, wanted)

    # What there is to look at

    def _scenes(self) -> dict[str, int]:
        it = self.trajectory
        first = it.observations[0]
        scenes: dict[str, int] = {} if self.talk is None else {"conversation": MAX_CHUNK}
        if self._boards is not None:
            scenes["boards"] = MAX_CHUNK
        if (pixels := picture(_as_array(first))) is not None:
            scenes["images"] = _size(len(data_uri(pixels)), 2, 100)
        elif (table := _numeric(it.observations)) is not None:
            scenes["values"] = _size(9 * min(table, MAX_VALUES), 50, 1_000)
        elif isinstance(first, str):
            sample = [o for o in self._sample() if isinstance(o, str)]
            size = _size(400 + 2 * sum(map(len, sample)) // max(1, len(sample)), 10, 400)
            escapes = sum("\x1b[" in o for o in sample)
            names = ("terminal", "text") if 2 * escapes > len(sample) else ("text", "terminal")
            scenes |= dict.fromkeys(names if escapes else ("text",), size)
        if not set(scenes) - {"boards", "conversation"} or not all(
            isinstance(o, type(first)) for o in self._sample()
        ):
            scenes["tree"] = _size(100 + len(str(tree(first))), 10, 200)
        if self._frames is not None:
            scenes["frames"] = 40
        return scenes

    def _sample(self) -> list[Any]:
        observations = self.trajectory.observations
        count = min(len(observations), 50)
        return [observations[i * len(observations) // count] for i in range(count)]

    def _playable(self) -> playback.Playback | None:
        boards = playback.boards(self.trajectory)
        if boards is None:
            return None
        try:
            seen = boards.look(0, MAX_CHUNK + 1)
        except AigymError as problem:
            self.notes.append(f"No boards: {problem}.")
            return None
        if boards.diverged_at is not None:
            self.notes.append(
                f"Played again, it goes another way from step {boards.diverged_at} on (another version of "
                f"{self.trajectory.env_id}?): boards are right up to there."
            )
        return boards if seen else None

    def _overview(self) -> dict[str, Any]:
        table = _table(self.trajectory.observations)
        width = _numeric(self.trajectory.observations) or 0
        if width > table.shape[1]:
            self.notes.append(f"Only the first {table.shape[1]} of {width:,} observed numbers are shown.")
        return overview.numbers(table, self._names if len(self._names) == width else ())

    def _action(self, action: Any) -> str:
        if isinstance(action, str):
            return cut(action)
        value = _as_array(action)
        if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iu":
            number = int(value.reshape(-1)[0])
            return self._actions[number] if 0 <= number < len(self._actions) else str(number)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return ", ".join(f"{v:.4g}" for v in value.reshape(-1)[:MAX_VALUES].tolist())
        return cut(text(action, None))


def shown(trajectory: Trajectory) -> dict[str, Any]:
    """What a widget and a page show of a trajectory at first; see `Opened.head`."""
    return Opened(trajectory).head()


def board_at(boards: dict[str, Any], t: int) -> list[int]:
    """The cells of a chunk's boards after ``t`` of its steps, row by row."""
    cells: list[int] = list(boards["first"])
    for change in boards["changes"][:t]:
        for i in range(0, len(change), 2):
            cells[change[i]] = change[i + 1]
    return cells


def said(trajectory: Trajectory) -> list[dict[str, Any]]:
    """What people noted, the latest last."""
    return [{"text": cut(note.text), "by": cut(note.by, 100), "at": note.at} for note in trajectory.notes]


# Parts of a chunk


def _size(each: int, low: int, high: int) -> int:
    """How many observations of ``each`` characters fit into a chunk."""
    return max(low, min(high, CHUNK_BYTES // max(1, each)))


def _as_array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else value


def _numeric(observations: Any) -> int | None:
    """How many numbers each observation is, where they are numbers of one shape."""
    if isinstance(observations, np.ndarray):
        if observations.dtype.kind not in "biuf":
            return None
        return int(observations[0].size) or None
    first = _as_array(observations[0])
    if not isinstance(first, np.ndarray) or first.dtype.kind not in "biuf" or not first.size:
        return None
    same = all(np.shape(o) == first.shape and np.asarray(o).dtype.kind in "biuf" for o in observations)
    return int(first.size) if same else None


def _table(observations: Any) -> NDArray[np.float64]:
    """(n, width): the first numbers of each observation."""
    if isinstance(observations, np.ndarray):
        return observations.reshape(len(observations), -1)[:, :MAX_VALUES].astype(np.float64)
    rows = [np.asarray(o).reshape(-1)[:MAX_VALUES].astype(np.float64) for o in observations]
    return np.stack(rows)


def _texts(observations: Sequence[Any]) -> list[str]:
    share = max(200, 2 * CHUNK_BYTES // max(1, len(observations)))
    return [cut(text(o), min(20_000, share) if len(observations) > 2 else 20_000) for o in observations]


def _image(observation: Any) -> str:
    pixels = picture(_as_array(observation))
    return "" if pixels is None else data_uri(pixels)


def _info(info: Any) -> dict[str, Any]:
    """The short values of an info as they are, others as text."""
    made: dict[str, Any] = {}
    for key in list(info)[:_INFO_KEYS]:
        value = info[key]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float):
            value = finite(value)
        elif not isinstance(value, bool | int | None) or abs(value or 0) > 2**53:
            value = cut(text(value, None), _ACTION_TEXT)
        made[cut(str(key), 100)] = value
    return made


def _how_far(again: playback.Playback, stop: int) -> dict[str, int | None]:
    reached = again.reached(stop)
    return {"diverged_at": again.diverged_at} | ({} if reached is None else {"reached": reached})


def _changes(frames: list[NDArray[Any]]) -> dict[str, Any] | None:
    """The first board and what each step changes in it, as (index, value) pairs."""
    if not frames:
        return None
    rows, columns = frames[0].shape
    flat = [frame.reshape(-1) for frame in frames]
    changes = []
    for before, after in pairwise(flat):
        where = np.flatnonzero(before != after)
        changes.append(np.column_stack([where, after[where]]).reshape(-1).astype(int).tolist())
    return {"width": columns, "height": rows, "first": flat[0].astype(int).tolist(), "changes": changes}


def _marks(trajectory: Trajectory) -> list[dict[str, Any]]:
    if trajectory.score is None:
        return []
    marks: list[dict[str, Any]] = trajectory.score.to_dict()["marks"]
    left = CHUNK_BYTES
    for mark in marks:
        mark.pop("evidence", None)  # `review` shows it
        told = [rendering.review(mark.pop("review"))] if "review" in mark else []
        mark["feedback"] = cut("\n".join(filter(None, [mark["feedback"], *told])), min(20_000, left))
        left -= len(mark["feedback"])
    return marks
