"""The difference of two trajectories, step by step: where they part, and where they meet again.

    found = aigym.diff(a, b)               ids, or trajectories
    found.first                            (12, 12): the first step of either that differs, or None
    found.divergences                      every stretch that differs, as rows from, to
    found.rows(10, 20)                     rows as plain values, with the words and numbers that differ

Trajectories that both have messages are compared message by message, others step by step: a step is the same
where observation, action and reward are, exactly. Rows go on after what only one of them has
(`alignment.align`). Knows nothing of widgets; `contrasts.difference` draws it without a script.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aigym_kernel import alignment, contrasts
from aigym_kernel.errors import AigymError
from aigym_kernel.store import Store
from aigym_kernel.store.schema import json_text
from aigym_kernel.trajectories import Image, Message, Trajectory

MAX_TEXT = 20_000
MAX_NUMBERS = 12
BEFORE = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
    """What `diff` found. ``kind``: what one row compares. ``blocks``: the alignment; row numbers count
    through them. The last step's row has the observation where the trajectory ended."""

    a: Trajectory
    b: Trajectory
    kind: Literal["messages", "steps"]
    blocks: tuple[alignment.Block, ...]
    notes: tuple[str, ...]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(block.rows for block in self.blocks)]

    @property
    def length(self) -> int:
        """How many rows there are."""
        return self._starts[-1]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.divergences

    @cached_property
    def divergences(self) -> list[tuple[int, int]]:
        """The stretches of rows that differ: from, to (excluded)."""
        starts = self._starts
        return [(starts[n], starts[n + 1]) for n, block in enumerate(self.blocks) if not block.same]

    @property
    def first(self) -> tuple[int, int] | None:
        """The first places of a and b that differ; None where nothing does."""
        return next(((block.a0, block.b0) for block in self.blocks if not block.same), None)

    def places(self, row: int) -> tuple[int | None, int | None, bool]:
        """Which step (or message) of a and of b stand in a row, and whether they are the same."""
        n = bisect.bisect_right(self._starts, row) - 1
        block, offset = self.blocks[n], row - self._starts[n]
        i = block.a0 + offset if block.a0 + offset < block.a1 else None
        j = block.b0 + offset if block.b0 + offset < block.b1 else None
        return i, j, block.same

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Rows as plain values: ``a`` and ``b`` (places or None), ``same``, ``parts``: name, ``same``, ``a``
        and ``b`` as pieces (whether the other has it too, text), ``numbers`` (name, a's, b's, the gap)."""
        return [self._row(row) for row in range(max(0, start), min(stop, self.length))]

    def _row(self, row: int) -> dict[str, Any]:
        i, j, same = self.places(row)
        fields = _message_fields if self.kind == "messages" else _step_fields
        one = {} if i is None else fields(self.a, i)
        other = {} if j is None else fields(self.b, j)
        names = [
            n for n in dict.fromkeys([*one, *other]) if not _empty(one.get(n)) or not _empty(other.get(n))
        ]
        parts = [_part(name, one.get(name), other.get(name)) for name in names]
        return {"row": row, "a": i, "b": j, "same": same, "parts": parts}

    def counts(self) -> dict[str, int]:
        """How many rows are the same, differ, and stand in one only."""
        found = {"same": 0, "changed": 0, "only_a": 0, "only_b": 0}
        for block in self.blocks:
            n, m = block.a1 - block.a0, block.b1 - block.b0
            found["same" if block.same else "changed"] += min(n, m)
            found["only_a"] += max(0, n - m)
            found["only_b"] += max(0, m - n)
        return found

    def to_dict(self, rows: tuple[int, int] = (0, 0)) -> dict[str, Any]:
        """Plain values: who is compared, counts, divergences, and the asked-for ``rows``."""
        return {
            "a": _facts(self.a),
            "b": _facts(self.b),
            "kind": self.kind,
            "length": self.length,
            "counts": self.counts(),
            "divergences": [list(stretch) for stretch in self.divergences],
            "notes": list(self.notes),
            "from": rows[0],
            "rows": self.rows(*rows),
        }

    def __repr__(self) -> str:
        if self.first is None:
            return f"Difference({self.a.id} and {self.b.id}: the same {self.length} {self.kind})"
        i, j = self.first
        found = f"{len(self.divergences)} divergence{'s' * (len(self.divergences) != 1)}"
        return (
            f"Difference({self.a.id} and {self.b.id}: {found} in {self.length} {self.kind}, "
            f"the first at {i} and {j})"
        )

    def __str__(self) -> str:
        firsts = [self._row(start) for start, _ in self.divergences[: contrasts.MAX_TOLD]]
        return contrasts.difference_text(repr(self), firsts, len(self.divergences))

    def _repr_html_(self) -> str:
        told = self.divergences[: contrasts.MAX_TOLD]
        shown = [self.rows(start - 2, min(stop, start + 6) + 1) for start, stop in told]
        return contrasts.difference(self.to_dict(), shown)


def diff(a: str | Trajectory, b: str | Trajectory, *, store: Store | None = None) -> Difference:
    """Two trajectories aligned step by step: where they part, and where they meet again.

    Where both have messages, message by message. A step is the same where observation, action and reward
    are, exactly.

    Args:
        a: the id of a recorded trajectory, or a trajectory. ``b`` likewise.
        store: where they are recorded; default: the store that AIGYM_DATA names.

    Raises:
        UnknownName: no finished trajectory has this id.
        AigymError: it is neither an id nor a trajectory.
    """
    one, other = (_loaded(which, store) for which in (a, b))
    talk = bool(one.messages) and bool(other.messages)
    keys = _message_keys if talk else _step_keys
    notes = []
    if one.env_id != other.env_id:
        notes.append(f"Two environments: {one.env_id} and {other.env_id}.")
    elif one.seed != other.seed:
        notes.append(f"Two seeds: {one.seed} and {other.seed}. Different starts are to be expected.")
    if bool(one.messages) != bool(other.messages):
        notes.append("Only one of them has messages: compared by steps.")
    return Difference(
        a=one,
        b=other,
        kind="messages" if talk else "steps",
        blocks=tuple(alignment.align(*keys(one, other))),
        notes=tuple(notes),
    )


def _loaded(which: object, store: Store | None) -> Trajectory:
    if isinstance(which, Trajectory):
        return which
    if not isinstance(which, str):
        raise AigymError(f"diff: {which!r:.80} is neither a trajectory nor the id of one")
    return (store or Store()).load(which)


def _facts(t: Trajectory) -> dict[str, Any]:
    total = t.total_reward
    return {
        "id": t.id,
        "run_id": t.run_id,
        "env_id": t.env_id,
        "agent": t.agent,
        "seed": t.seed,
        "outcome": t.outcome,
        "length": len(t),
        "return": total if math.isfinite(total) else None,
        "score": None if t.score is None else t.score.total,
    }


# What makes two steps or messages the same

Keys = tuple[Sequence[Hashable], Sequence[Hashable]]


def _step_keys(a: Trajectory, b: Trajectory) -> Keys:
    columns = [
        _column_keys(a.observations, b.observations),
        _column_keys(_ended(a), _ended(b)),
        _column_keys(_with_end(a), _with_end(b)),
    ]
    one, other = (list(zip(*(column[side] for column in columns))) for side in (0, 1))
    return one, other


def _with_end(t: Trajectory) -> list[float | None]:
    return [*map(float, t.rewards), None]


def _ended(t: Trajectory) -> list[Any]:
    return [*t.actions, f"end: {t.outcome}"]


def _column_keys(a: Any, b: Any) -> Keys:
    one, other = _as_numbers(a), _as_numbers(b)
    if one is not None and other is not None and one.shape[1:] == other.shape[1:]:
        kind = np.result_type(one, other)
        return _bytes(one.astype(kind)), _bytes(other.astype(kind))
    return [_digest(value) for value in a], [_digest(value) for value in b]


def _as_numbers(values: Any) -> NDArray[Any] | None:
    return values if isinstance(values, np.ndarray) and values.dtype.kind in "biufc" else None


def _bytes(array: NDArray[Any]) -> list[bytes]:
    array = array + 0 if array.dtype.kind == "f" else array  # minus zero is zero
    flat = np.ascontiguousarray(array.reshape(len(array), -1))
    if flat.shape[1] * flat.itemsize > 64:
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in flat]
    return [row.tobytes() for row in flat]


def _digest(value: Any) -> Hashable:
    if value is None or (isinstance(value, str) and len(value) < 64):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return (value.shape, *_bytes(value[None]))
    text = value if isinstance(value, str) else json_text(value)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _message_keys(a: Trajectory, b: Trajectory) -> Keys:
    one, other = ([_digest(list(_spoken(m).items())) for m in t.messages] for t in (a, b))
    return one, other


def _spoken(message: Message) -> dict[str, str]:
    """What a message says, field by field; ids, costs, counts and times are not what it says."""
    content = (message.content,) if isinstance(message.content, str) else message.content
    calls = [
        f"{c.name}({c.arguments if isinstance(c.arguments, str) else _pretty(c.arguments)})"
        for c in message.tool_calls
    ]
    return {
        "role": f"{message.role} {message.name or ''}".strip(),
        "reasoning": message.reasoning,
        "text": "\n".join(_image(p) if isinstance(p, Image) else p for p in content),
        "tool calls": "\n".join(calls),
        "error": message.error or "",
    }


def _image(image: Image) -> str:
    digest = hashlib.blake2b(image.data, digest_size=4).hexdigest()
    return f"[image {image.media_type}, {len(image.data):,} bytes, {digest}]"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


# What a row shows


def _message_fields(t: Trajectory, i: int) -> Mapping[str, Any]:
    return _spoken(t.messages[i])


def _step_fields(t: Trajectory, i: int) -> Mapping[str, Any]:
    shown: dict[str, Any] = {"observation": _shown(t.observations[i])}
    if i == len(t):
        return shown | {"end": t.outcome}
    return shown | {"action": _shown(t.actions[i]), "reward": np.array([float(t.rewards[i])])}


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray | np.generic | int | float) and np.asarray(value).dtype.kind in "biuf":
        return np.asarray(value).reshape(-1)
    return json_text(value)


def _part(name: str, a: Any, b: Any) -> dict[str, Any]:
    part: dict[str, Any] = {"name": name}
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
        where = np.flatnonzero(~((a == b) | ((a != a) & (b != b))))
        part["numbers"] = [
            ["" if len(a) == 1 else str(n), _number(a[n]), _number(b[n]), _number(float(b[n]) - float(a[n]))]
            for n in where[:MAX_NUMBERS].tolist()
        ]
        part["more"] = max(0, len(where) - MAX_NUMBERS)
        one, other = _numbers_text(a), _numbers_text(b)
        return part | {"same": not len(where), "a": [[not len(where), one]], "b": [[not len(where), other]]}
    one, other = (_numbers_text(v) if isinstance(v, np.ndarray) else v for v in (a, b))
    if one is None or other is None:
        sides = {"a": _single(one), "b": _single(other)}
        return part | {"same": False, **sides}
    pieces, pieces_b = alignment.words(*_window(one, other))
    return part | {"same": one == other, "a": _folded(pieces), "b": _folded(pieces_b)}


def _single(text: str | None) -> list[list[Any]]:
    return [] if text is None else [[False, text[:MAX_TEXT]]]


def _window(a: str, b: str) -> tuple[str, str]:
    """The part of two long texts that lies round their first difference."""
    if max(len(a), len(b)) <= MAX_TEXT:
        return a, b
    start = max(0, alignment.common(a, b) - BEFORE)
    lead = f"… {start:,} characters the same …\n" if start else ""
    return lead + a[start : start + MAX_TEXT], lead + b[start : start + MAX_TEXT]


def _folded(pieces: alignment.Pieces) -> list[list[Any]]:
    """Pieces as plain lists, the inside of long ones that are the same left out."""
    folded = []
    for same, text in pieces:
        if same and len(text) > 3 * BEFORE:
            left = len(text) - 2 * BEFORE
            text = f"{text[:BEFORE]}\n… {left:,} characters the same …\n{text[-BEFORE:]}"
        folded.append([same, text])
    return folded


def _number(value: Any) -> float | None:
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _numbers_text(values: NDArray[Any]) -> str:
    shown = ", ".join(f"{v:.5g}" for v in values[:64].tolist())
    return shown if len(values) <= 64 else f"{shown}, … ({len(values):,} numbers)"
