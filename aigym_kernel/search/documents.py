"""What a trajectory says, as text: what is searched, and what embedders are given.

    document(trajectory)              of a Trajectory in memory
    read(snapshot, ids)               of recorded ones: yields (ids, documents), some at a time

A document holds, one per line and in this order: environment and its arguments, agent, outcome, task;
tags, notes and the feedback of marks and reviews; error; the final info; then the messages with their
reasoning and tool calls, or, without messages, the texts of observations and actions. Of more than
`LONGEST` characters the first three quarters and the last one are kept.

What is made of numbers is told by the last line, words that begin with ``#`` and that similar plays share:
how large return and length are, how often which discrete action was taken and which pairs of actions
followed each other, and the mean and spread of each dimension of other actions and of observations of up to
`DIMENSIONS` numbers. A number becomes two words, its doublings on two grids that are half a step apart, so
that close numbers have at least one in common. Larger observations, such as images, are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aigym_kernel.store import columns, schema
from aigym_kernel.store.snapshot import Snapshot
from aigym_kernel.trajectories import Message, Trajectory

VERSION = 1
"""What is kept of documents composed in another way is worked out again."""

LONGEST = 32_000
DIMENSIONS = 16

_PART = 4_000  # characters of one text of a step, a message or an info
_MANY_STEPS, _SHORT_PART = 5_000, 400  # with more steps, of one text of a step
_CELLS = 8_000_000  # numbers that are read at a time
_TEXT_CELLS = 500  # what a step of texts counts as
_SMALLEST = 0.01  # below this all numbers are alike
_SHARES = 16  # how finely the share of an action is told
_COMMONEST = 24  # actions, and pairs of them

_COLUMNS = (
    *("trajectory_id", "env_id", "env_kwargs", "agent", "outcome", "task_id", "error", "info", "return"),
    *("length", "tags", "final_observation_text"),
    *("observation_dtype", "observation_shape", "action_dtype", "action_shape"),
)

_COMMENTS = (
    ("notes", "text", "kind = 'note'"),
    ("marks", "feedback", "feedback <> ''"),
    ("reviews", "note", "note <> ''"),
)


@dataclass(frozen=True, kw_only=True)
class _Play:
    """What a document is made of. Numbers have one row per step."""

    facts: Mapping[str, Any]
    comments: Sequence[str] = ()
    said: Sequence[str] = ()
    actions: NDArray[np.float64] | None = None
    observations: NDArray[np.float64] | None = None


def document(trajectory: Trajectory) -> str:
    """The document of a trajectory, recorded or not."""
    score = trajectory.score
    facts = {
        "env_id": trajectory.env_id,
        "env_kwargs": schema.json_text(trajectory.env_kwargs),
        "agent": trajectory.agent,
        "outcome": trajectory.outcome,
        "task_id": None if score is None else score.task_id,
        "error": trajectory.error,
        "info": schema.json_text(trajectory.final_info),
        "return": trajectory.total_reward,
        "length": trajectory.length,
    }
    marks = score.marks if score else ()
    comments = [*trajectory.tags, *sorted(note.text for note in trajectory.notes)]
    comments += sorted(mark.feedback for mark in marks)
    comments += sorted(mark.review.note for mark in marks if mark.review)
    # As the store would hold them: then this is the document that it gives, too.
    observations, actions = columns.encode(trajectory.observations), columns.encode(trajectory.actions)
    said = [text for message in trajectory.messages for text in _said(message)]
    if not said:
        part = _part(trajectory.length)
        said = _in_turn(*([text[:part] for text in c.texts or ()] for c in (observations, actions)))
    play = _Play(
        facts=facts,
        comments=comments,
        said=said,
        actions=_short_rows(actions.numbers),
        # Where it ended is not one of the steps.
        observations=_short_rows(observations.rows(0, trajectory.length).numbers),
    )
    return _compose(play)


def _part(steps: int) -> int:
    """How many characters of a step's text are looked at in a trajectory of so many steps."""
    return _PART if steps <= _MANY_STEPS else _SHORT_PART


def _short_rows(numbers: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    return None if numbers is None or not 0 < numbers.shape[1] <= DIMENSIONS else numbers


def _said(message: Message) -> Iterator[str]:
    calls = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in message.tool_calls]
    yield from (
        message.text,
        message.reasoning,
        schema.json_text(calls) if calls else "",
        message.error or "",
    )


def _in_turn(observations: Sequence[str], actions: Sequence[str]) -> list[str]:
    longest = max(len(observations), len(actions))
    return [part[i] for i in range(longest) for part in (observations, actions) if i < len(part)]


# Text


def _compose(play: _Play) -> str:
    facts = play.facts
    env = " ".join(str(facts[n]) for n in ("env_id", "task_id") if facts[n])
    if facts["env_kwargs"] not in (None, "{}"):
        env += " " + facts["env_kwargs"]
    lines = [env, f"{facts['agent']}: {facts['outcome']}", *play.comments, facts["error"] or ""]
    if facts["info"] not in (None, "{}"):
        lines.append(facts["info"][:_PART])
    text = "\n".join(line for line in lines if line)
    room = LONGEST - len(text)
    said = "\n".join(part[:_PART] for part in play.said if part)
    if len(said) > room:
        said = said[: 3 * room // 4] + "\n...\n" + said[-room // 4 :] if room > 100 else ""
    words = "#" + " #".join(_number_words(play))
    # A line that begins like the last one would be taken for it.
    lines = [line.lstrip("#") for line in f"{text}\n{said}".splitlines()]
    return schema.clean("\n".join([*filter(str.strip, lines), words]))


def _number_words(play: _Play) -> Iterator[str]:
    for name in ("return", "length"):
        for word in _level(float(play.facts[name])):
            # As much as several words of text: it is all that is known of the whole.
            yield from [f"{name}{word}"] * 3
    if play.actions is not None and len(play.actions):
        if play.actions.shape[1] == 1 and np.all(play.actions == np.rint(play.actions)):
            yield from _discrete(play.actions[:, 0])
        else:
            yield from _spread("action", play.actions)
    if play.observations is not None and len(play.observations):
        yield from _spread("observation", play.observations)


def _level(value: float) -> tuple[str, str]:
    if not math.isfinite(value):
        return (f"={value}", f"~{value}")
    level = math.copysign(math.log2(1 + abs(value) / _SMALLEST), value)
    return (f"={math.floor(level)}", f"~{math.floor(level + 0.5)}")


def _discrete(actions: NDArray[np.float64]) -> Iterator[str]:
    kinds, codes = np.unique(actions, return_inverse=True)
    names = [f"{kind:g}" for kind in kinds]
    yield from _shares(names, codes)
    if len(kinds) <= _COMMONEST and len(codes) > 1:
        pairs = [f"{first},{then}" for first in names for then in names]
        yield from _shares(pairs, codes[:-1] * len(kinds) + codes[1:])


def _shares(names: Sequence[str], codes: NDArray[np.int64]) -> Iterator[str]:
    counts = np.bincount(codes)
    for i in np.argsort(-counts, kind="stable")[:_COMMONEST]:
        yield from [f"action{names[i]}"] * math.ceil(_SHARES * counts[i] / len(codes))


def _spread(name: str, values: NDArray[np.float64]) -> Iterator[str]:
    with np.errstate(all="ignore"):
        mean = values.mean(axis=0)
        spread = np.sqrt(np.square(values - mean).mean(axis=0))
    for what, numbers in (("mean", mean.tolist()), ("spread", spread.tolist())):
        for i, number in enumerate(numbers):
            one, other = _level(number)
            yield f"{name}{i}{what}{one}"
            yield f"{name}{i}{what}{other}"


# From the store


def read(snapshot: Snapshot, ids: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """The documents of recorded trajectories, as many at a time as fit well into memory; those whose row
    is not there are left out."""
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(ids), 20_000):
        query = f"SELECT {names} FROM trajectories WHERE trajectory_id IN (SELECT unnest(?))"
        rows += snapshot.rows(query, [list(ids[start : start + 20_000])])
    chunk, cells = dict[str, dict[str, Any]](), 0
    for row in rows:
        size = (row["length"] + 1) * sum(_cells(row, name) for name in ("observation", "action"))
        if chunk and cells + size > _CELLS:
            yield _documents(snapshot, chunk)
            chunk, cells = {}, 0
        chunk[row["trajectory_id"]] = row
        cells += size
    if chunk:
        yield _documents(snapshot, chunk)


def _cells(row: Mapping[str, Any], name: str) -> int:
    """What a step's observation or action counts as."""
    if row[f"{name}_dtype"] in ("text", "json"):
        return _TEXT_CELLS
    return int(min(math.prod(row[f"{name}_shape"]), DIMENSIONS)) + 1


def _documents(snapshot: Snapshot, rows: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    ids = list(rows)
    # A trajectory of very many steps comes alone, so that its texts can be cut while they are read.
    longest = max(_part(row["length"]) for row in rows.values())
    cells = [
        part for name in ("observation", "action") for part in (_short(name), _cut(f"{name}_text", longest))
    ]
    steps = _of_each(snapshot, ids, "t", ", ".join(cells), "steps")
    parts = ", ".join(_cut(name) for name in ("content", "reasoning", "tool_calls", "error"))
    messages = _of_each(snapshot, ids, "i", parts, "messages")
    comments = {trajectory_id: list(row["tags"]) for trajectory_id, row in rows.items()}
    for table, column, some in _COMMENTS:
        query = (
            f'SELECT trajectory_id, {column} AS "text" FROM {table} '
            f"WHERE {some} AND trajectory_id IN (SELECT unnest(?)) ORDER BY ALL"
        )
        for row in snapshot.rows(query, [ids]):
            comments[row["trajectory_id"]].append(row["text"])
    found = []
    for i, (trajectory_id, facts) in enumerate(rows.items()):
        said = [text or "" for message in messages.rows(i) for text in message.values()]
        if not said:
            part, last = _part(facts["length"]), facts["final_observation_text"]
            observations = [*steps.texts("observation_text", i), *([] if last is None else [last])]
            actions = steps.texts("action_text", i)
            said = _in_turn(*([text[:part] for text in texts] for texts in (observations, actions)))
        play = _Play(
            facts=facts,
            comments=comments[trajectory_id],
            said=said,
            actions=steps.numbers("action", i),
            observations=steps.numbers("observation", i),
        )
        found.append(_compose(play))
    return ids, found


def _short(column: str) -> str:
    return f"CASE WHEN len({column}) <= {DIMENSIONS} THEN {column} END AS {column}"


def _cut(column: str, length: int = _PART) -> str:
    return f"left({column}, {length}) AS {column}"


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows of several trajectories, sorted: those of the i-th are ``bounds[i]`` to ``bounds[i + 1]``."""

    table: pa.Table
    bounds: NDArray[np.int64]

    def _part(self, i: int) -> pa.Table:
        return self.table.slice(self.bounds[i], self.bounds[i + 1] - self.bounds[i])

    def rows(self, i: int) -> list[dict[str, str | None]]:
        found: list[dict[str, str | None]] = self._part(i).to_pylist()
        return found

    def texts(self, name: str, i: int) -> list[str]:
        if not len(self.table) or self.table[name].null_count == len(self.table):
            return []
        return [text for text in self._part(i)[name].to_pylist() if text is not None]

    def numbers(self, name: str, i: int) -> NDArray[np.float64] | None:
        """One row per step, or None where not every step has as many numbers."""
        steps = int(self.bounds[i + 1] - self.bounds[i])
        if not steps:
            return None
        cells = self.table[name].chunk(0).slice(self.bounds[i], steps)
        values = cells.flatten().to_numpy()
        width, rest = divmod(len(values), steps)
        return None if rest or not width or cells.null_count else values.reshape(steps, width)


def _of_each(snapshot: Snapshot, ids: Sequence[str], order: str, parts: str, table: str) -> _Rows:
    """Rows of a table by trajectory, in their order, each once."""
    query = f'SELECT trajectory_id, "{order}", {parts} FROM {table} '
    found = snapshot.arrow(query + "WHERE trajectory_id IN (SELECT unnest(?))", [list(ids)]).combine_chunks()
    place = pc.index_in(found["trajectory_id"], value_set=pa.array(ids, pa.string())).to_numpy()
    keys, rows = np.unique(place.astype(np.int64) << 40 | found[order].to_numpy(), return_index=True)
    if len(rows) < len(found) or np.any(np.diff(rows) != 1):
        found = found.take(pa.array(rows)).combine_chunks()
    bounds = np.searchsorted(keys, np.arange(len(ids) + 1, dtype=np.int64) << 40)
    return _Rows(table=found.drop_columns(["trajectory_id", order]), bounds=bounds)
