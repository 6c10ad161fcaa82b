"""Where two runs of one notebook part: run, trajectory, step, field, and what stood there either time.

    for found in divergences(store, run_id, again_id): print(found)
    # train ppo CartPole-v1: trajectory 12 (seed 3) at step 37: observation[2] was 0.25, then 0.5

Trajectories are told apart by their digests (`canonical`), so that only those that differ are read. Of these
the first counts in which the environment answered the same actions in another way, since all that is learnt
from it differs too; where no environment did, the first one recorded.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aigym_kernel import alignment, rendering
from aigym_kernel.bench.canonical import Play, Recorded, metric_rows, recorded, timeless, told
from aigym_kernel.store import Store
from aigym_kernel.store.schema import json_text
from aigym_kernel.trajectories import Image, Message, Trajectory

MOST_READ = 64
"""So many of the trajectories that differ are read, to see whether an environment differs in one."""

SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """One place where two runs part. ``runs`` and ``trajectories``: ids of the first and the second time;
    ``number`` counts the trajectories of a run from 0; ``step`` is the step within it, or for a metric of a
    training the environment steps done; ``values``: the first and the second."""

    run: str
    runs: tuple[str, str] | None
    field: str
    values: tuple[Any, Any]
    step: int | None = None
    number: int | None = None
    seed: int | None = None
    trajectories: tuple[str, str] | None = None

    def __str__(self) -> str:
        where = self.run
        if self.number is not None:
            seed = "" if self.seed is None else f" (seed {self.seed})"
            where += f": trajectory {self.number}{seed}"
        at = "" if self.step is None else f" at step {self.step:,}"
        one, other = (value if isinstance(value, str) else repr(value) for value in self.values)
        return f"{where}{at}: {self.field} was {one}, then {other}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


Found = tuple[int | None, str, Any, Any]
"""Step, field, and the two values."""


def divergences(store: Store, run_id: str, again_id: str) -> list[Divergence]:
    """The first trajectory that differs, and the first value of a training's metric that does; either may be
    missing.

    Raises:
        UnknownName: the store has no such run.
        StoreError: it cannot be read.
    """
    pairs, alone = _paired(recorded(store, run_id), recorded(store, again_id))
    plays = (_of_plays(store, a, b) for a, b in pairs if a.digest != b.digest)
    # What a notebook reports is compared by its name, direction and tolerance elsewhere.
    metrics = (_of_metrics(store, a, b) for a, b in pairs if a.run.kind != "notebook")
    found = [next((one for one in some if one), None) for some in (plays, metrics)]
    return [one for one in found if one] or alone


def _paired(
    first: Sequence[Recorded], second: Sequence[Recorded]
) -> tuple[list[tuple[Recorded, Recorded]], list[Divergence]]:
    """Runs of the same kind and name belong together, those of one configuration sooner; and those that are
    there only once."""
    left, pairs, alone = list(second), list[tuple[Recorded, Recorded]](), list[Divergence]()
    for one in first:
        like = [o for o in left if (o.depth, _name(o)) == (one.depth, _name(one))]
        other = next((o for o in like if _config(o) == _config(one)), like[0] if like else None)
        if other is None:
            alone.append(Divergence(run=_name(one), runs=None, field="run", values=("there", "missing")))
        else:
            left.remove(other)
            pairs.append((one, other))
    alone += [Divergence(run=_name(o), runs=None, field="run", values=("missing", "there")) for o in left]
    return pairs, alone


def _name(one: Recorded) -> str:
    # The notebook's own run: what it is called may differ with the folder.
    return f"{one.run.kind} {told(one.run.name)}" if one.depth else "the notebook itself"


def _config(one: Recorded) -> str:
    return told(json_text(one.run.config))


# Trajectories


def _of_plays(store: Store, one: Recorded, other: Recorded) -> Divergence | None:
    """The first trajectory of two runs that differs."""
    mine, theirs = _unmatched(one.plays, other.plays), _unmatched(other.plays, one.plays)
    runs = (one.run.run_id, other.run.run_id)
    best: Divergence | None = None
    for number, play in mine[:MOST_READ]:
        alike = next(((n, p) for n, p in theirs if p.key == play.key), None)
        if alike is None:
            continue
        theirs.remove(alike)
        found = parted(store.load(play.id), store.load(alike[1].id))
        if found is None:
            continue
        step, field, *values = found
        made = Divergence(
            run=_name(one),
            runs=runs,
            field=field,
            values=(values[0], values[1]),
            step=step,
            number=number,
            seed=play.seed,
            trajectories=(play.id, alike[1].id),
        )
        if not field.startswith("action"):
            return made
        best = best or made
    if best is None and (mine or theirs):
        number, play = (mine or theirs)[0]
        there = ("there", "missing") if mine else ("missing", "there")
        best = Divergence(
            run=_name(one), runs=runs, field="trajectory", values=there, number=number, seed=play.seed
        )
    return best


def _unmatched(plays: Sequence[Play], others: Sequence[Play]) -> list[tuple[int, Play]]:
    """Those that the other run has not, with their numbers."""
    there = Counter(play.digest for play in others)
    found = []
    for number, play in enumerate(plays):
        if there[play.digest]:
            there[play.digest] -= 1
        else:
            found.append((number, play))
    return found


def parted(a: Trajectory, b: Trajectory) -> Found | None:
    """Where two trajectories part: the first step that differs, of it the first field; then what stands
    beside the steps. None where all that counts is the same."""
    columns: list[tuple[str, Any, Any]] = [
        ("observation", a.observations, b.observations),
        ("action", a.actions, b.actions),
        ("reward", a.rewards, b.rewards),
        ("terminated", _flags(a, a.terminated), _flags(b, b.terminated)),
        ("truncated", _flags(a, a.truncated), _flags(b, b.truncated)),
        ("info", [*map(_info, a.infos)], [*map(_info, b.infos)]),
    ]
    rows = [(_first(x, y), name, x, y) for name, x, y in columns]
    known = [(row, name, x, y) for row, name, x, y in rows if row is not None]
    if known:
        step, name, x, y = min(known, key=lambda found: found[0])
        return step, *_leaf(name, x[step], y[step])
    if len(a) != len(b):
        return min(len(a), len(b)), "length", len(a), len(b)
    for (name, x), (_, y) in zip(_beside(a), _beside(b), strict=False):
        if json_text(x) != json_text(y):
            last = len(a) - 1 if name == "info" and len(a) else None
            return last, *_leaf(name, x, y)
    return None


def _first(x: Any, y: Any) -> int | None:
    """The first row that differs, as far as both go."""
    rows = min(len(x), len(y))
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        if x.dtype != y.dtype or x.shape[1:] != y.shape[1:]:
            return 0 if rows else None
        cells = [np.ascontiguousarray(v[:rows]).reshape(rows, math.prod(v.shape[1:])) for v in (x, y)]
        differ = np.any(cells[0].view(np.uint8) != cells[1].view(np.uint8), axis=1)
        return int(np.argmax(differ)) if differ.any() else None
    return next((i for i in range(rows) if not _same(x[i], y[i])), None)


def _same(x: Any, y: Any) -> bool:
    return type(x) is type(y) and json_text(x) == json_text(y)


def _flags(trajectory: Trajectory, last: bool) -> np.ndarray[Any, np.dtype[np.bool_]]:
    flags = np.zeros(len(trajectory), np.bool_)
    flags[-1:] = last
    return flags


def _info(info: Mapping[str, Any]) -> Any:
    return json.loads(timeless(json_text(info)))


def _beside(trajectory: Trajectory) -> Iterator[tuple[str, Any]]:
    """What counts beside the steps, in order."""
    yield "info", _info(trajectory.final_info)
    yield "error", None if trajectory.error is None else told(trajectory.error)
    for n, message in enumerate(trajectory.messages):
        yield f"message {n}", _spoken(message)
    yield "messages", len(trajectory.messages)
    if trajectory.score is not None:
        for mark in trajectory.score.marks:
            yield f"mark {mark.name}", {"value": mark.value, "feedback": told(mark.feedback)}
        yield "score", trajectory.score.total
    yield "outcome", trajectory.outcome
    yield "env_kwargs", told(json_text(trajectory.env_kwargs))


def _spoken(message: Message) -> dict[str, Any]:
    content = [message.content] if isinstance(message.content, str) else message.content
    names = ("role", "name", "reasoning", "error", "model", "step", "input_tokens", "output_tokens")
    return {
        **{name: getattr(message, name) for name in (*names, "token_ids", "logprobs")},
        "content": [part.data.hex() if isinstance(part, Image) else part for part in content],
        "tool_calls": [[call.name, call.arguments] for call in message.tool_calls],
    }


def _leaf(name: str, x: Any, y: Any) -> tuple[str, Any, Any]:
    """The innermost thing that differs: its path and both values, short enough for a line."""
    if isinstance(x, Mapping) and isinstance(y, Mapping):
        for key in dict.fromkeys([*x, *y]):
            if key not in x or key not in y:
                return f"{name}.{key}", _plain(x.get(key, "missing")), _plain(y.get(key, "missing"))
            if not _same(x[key], y[key]):
                return _leaf(f"{name}.{key}", x[key], y[key])
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.dtype != y.dtype:
        return f"dtype of {name}", x.dtype.name, y.dtype.name
    if _is_row(x) and _is_row(y):
        for i in range(min(len(x), len(y))):
            if not _same(x[i], y[i]):
                return _leaf(f"{name}[{i}]", x[i], y[i])
        return f"length of {name}", len(x), len(y)
    if isinstance(x, str) and isinstance(y, str) and max(len(x), len(y)) > SHOWN:
        start = max(0, alignment.common(x, y) - SHOWN // 4)
        cut = [f"{'…' if start else ''}{text[start : start + SHOWN]}" for text in (x, y)]
        return f"{name} from character {start:,} on", cut[0], cut[1]
    return name, _plain(x), _plain(y)


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0:
        value = value.item()
    return value if value is None or isinstance(value, bool | int | float) else rendering.short(value, SHOWN)


# Metrics


def _of_metrics(store: Store, one: Recorded, other: Recorded) -> Divergence | None:
    """The first value that two runs measured differently, by steps."""
    mine, theirs = ([*metric_rows(store, r.run.run_id)] for r in (one, other))
    left: dict[tuple[str, int], list[float]] = {}
    for name, step, value in theirs:
        left.setdefault((name, step), []).append(value)
    found: list[tuple[int, str, Any, Any]] = []
    for name, step, value in mine:
        again = left.get((name, step), [])
        then = again.pop(0) if again else None
        if then is None or value.hex() != then.hex():
            found.append((step, name, value, "missing" if then is None else then))
    found += [(step, name, "missing", some[0]) for (name, step), some in left.items() if some]
    if not found:
        return None
    step, name, value, then = min(found, key=lambda one: one[0])
    return Divergence(
        run=_name(one),
        runs=(one.run.run_id, other.run.run_id),
        field=f"metric {name}",
        values=(value, then),
        step=step,
    )
