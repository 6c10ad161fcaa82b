"""What two runs of one notebook must have in common to be the same: canonical metrics and trajectories.

    hashes(store, run_id, metrics, declared)      {"metrics": sha256, "trajectories": sha256}
    recorded(store, run_id)                       what was recorded below a run, with digests

Everything that the notebook's run and those below it recorded counts, to the last bit: observations,
actions, rewards, ends, infos, scores, marks, messages. What differs by nature (`VARIES`: ids, clocks, memory)
does not count, nor in which order, flushes and segments it was written. Nor do runs that did not get done
(killed, stopped, failed, still running), and what a training recorded that was taken back when it was
resumed. Steps are read as Arrow columns; nothing is done per step in Python. Nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aigym_kernel.bench.records import Metric
from aigym_kernel.errors import StoreError, UnknownName
from aigym_kernel.store import RunRecord, Store, segments

# What differs between two runs of the same code, by table; the other columns count. ``parent`` of a
# trajectory is an id; ``extra`` and ``raw`` of a message are what its service sent along; ``evidence`` is
# prompts and answers of a judging model, whose verdict counts.
VARIES: Mapping[str, frozenset[str]] = {
    "trajectories": frozenset({"trajectory_id", "run_id", "parent", "started_at", "wall_s", "judge_s"}),
    "steps": frozenset({"trajectory_id", "run_id"}),
    "messages": frozenset({"trajectory_id", "run_id", "tool_call_id", "time", "cost", "extra", "raw"}),
    "marks": frozenset({"trajectory_id", "run_id", "evidence"}),
    # Names of metrics that trainings record: speed and memory.
    "metrics": frozenset(
        {"steps_per_second", "cpu_percent", "rss_mb", "gpu_memory_mb", "gpu_percent", "train_s"}
    ),
    # Keys of infos, wherever they stand in one; also ``t`` of ``episode``, gymnasium's seconds.
    "info": frozenset(
        {"wall_s", "cpu_s", "judge_s", "wall_time", "cpu_time", "time", "timestamp", "elapsed", "elapsed_s"}
        | {"duration", "duration_s", "seconds", "started_at", "ended_at", "peak_mb", "memory_mb", "rss_mb"}
        | {"pid", "hostname", "path", "folder"}
    ),
}

# What other columns say already.
_DERIVED = frozenset({"return", "reward_mean", "reward_min", "reward_max", "info_numbers", "info_texts"})

_VALUE = r'(?:-?[0-9][0-9.eE+-]*|"(?:[^"\\]|\\.)*"|null|NaN|-?Infinity)'
_TIMES = (
    (rf'"({"|".join(sorted(VARIES["info"]))})": {_VALUE}', r'"\1": null'),
    (rf'("episode": \{{[^{{}}]*"t": ){_VALUE}', r"\1null"),
)
# In a text: the folder of a file, the address of an object; of a run's id the time and the random end.
_PLACE = re.compile(r"(?<![\w.])/(?:[^\s/:'\"<>|]+/)+|\b0x[0-9a-f]{6,16}\b")
_RUN_ID = re.compile(r"\b\d{8}-\d{6}-((?:train|rollout|notebook|bench|import)-[a-z0-9-]*)-[0-9a-f]{4}\b")
_TOLD = ("agent", "error", "feedback", "env_kwargs")

_TRIES = 5
_CAME_WITH_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Play:
    """One trajectory: what tells which one it is, and ``digest``, the SHA-256 of what it holds."""

    id: str
    key: tuple[Any, ...]  # group, env_id, agent, task_id, seed
    digest: bytes

    @property
    def seed(self) -> int | None:
        """What its environment was reset with."""
        seed: int | None = self.key[-1]
        return seed


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One run and its trajectories, in the order in which they were recorded."""

    run: RunRecord
    depth: int  # 0: the run that was asked for
    plays: tuple[Play, ...]

    @property
    def digest(self) -> bytes:
        """Of its kind, name and trajectories, in whatever order these were written."""
        found = hashlib.sha256(json.dumps([self.depth, self.run.kind if self.depth else ""]).encode())
        found.update((told(self.run.name) if self.depth else "").encode("utf-8", "backslashreplace"))
        for digest in sorted(play.digest for play in self.plays):
            found.update(digest)
        return found.digest()


def hashes(
    store: Store, run_id: str, metrics: Mapping[str, float], declared: Sequence[Metric]
) -> dict[str, str]:
    """The two hashes of what a notebook came to: ``metrics``, those that it reported and no clock decides
    (``declared`` says which), and ``trajectories``, all that its run and those below recorded.

    Raises:
        StoreError: the store cannot be read, or a file in it is damaged.
    """
    measured = {metric.name for metric in declared if metric.measured}
    exact = {name: float(value).hex() for name, value in metrics.items() if name not in measured}
    text = json.dumps(exact, sort_keys=True, ensure_ascii=True)
    below = hashlib.sha256()
    for digest in sorted(one.digest for one in recorded(store, run_id)):
        below.update(digest)
    return {"metrics": hashlib.sha256(text.encode()).hexdigest(), "trajectories": below.hexdigest()}


def recorded(store: Store, run_id: str) -> list[Recorded]:
    """A run and every run below it that is done, the oldest first, each with its trajectories.

    Raises:
        UnknownName: the store has no such run.
        StoreError: the store cannot be read, or a file in it is damaged.
    """
    return [
        Recorded(run=run, depth=depth, plays=_plays(store.folder, run.run_id))
        for run, depth in runs_below(store, run_id)
    ]


def runs_below(store: Store, run_id: str) -> list[tuple[RunRecord, int]]:
    """A run, whatever its state, and every run below it that is done, with how far below it is (1: a child);
    children after their parent, in the order of their creation."""
    top = store.run(run_id)
    # A run is written after its parent, or came with it from another store: older files need no reading.
    oldest = (store.run_folder(run_id) / "run.json").stat().st_mtime - _CAME_WITH_S
    children = defaultdict[str, list[RunRecord]](list)
    for other in store.run_ids():
        with suppress(StoreError, UnknownName, FileNotFoundError):  # damaged, or deleted meanwhile
            if (store.run_folder(other) / "run.json").stat().st_mtime < oldest:
                continue
            record = store.run(other)
            if record.parent is not None:
                children[record.parent].append(record)

    def walk(record: RunRecord, depth: int) -> Iterator[tuple[RunRecord, int]]:
        yield record, depth
        for child in sorted(children.pop(record.run_id, ()), key=lambda r: (r.created_at, r.run_id)):
            if store.status(child.run_id).state == "done":
                yield from walk(child, depth + 1)

    return list(walk(top, 0))


def told(text: str) -> str:
    """A text without the folders of files and the addresses of objects, and with ids of runs that say only
    what was run: an agent is named after the training that it comes from."""
    return _RUN_ID.sub(r"\1", _PLACE.sub("", text))


def timeless(text: str) -> str:
    """An info's JSON with nothing of `VARIES` in it."""
    for pattern, instead in _TIMES:
        text = re.sub(pattern, instead, text)
    return text


# The trajectories of one run


def _plays(folder: Path, run_id: str) -> tuple[Play, ...]:
    """A training merges its segments after it is done: a file that is gone stands in a wider one."""
    for attempt in range(_TRIES):
        try:
            return tuple(_read(folder, run_id))
        except FileNotFoundError as error:
            if attempt == _TRIES - 1:
                raise StoreError(f"{error.filename} is gone; look with aigym store check") from None
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"run {run_id} cannot be read: {error}; look with aigym store check") from None
    raise AssertionError


def _read(folder: Path, run_id: str) -> Iterator[Play]:
    rows = {row["trajectory_id"]: row for row in _rows(folder, run_id, "trajectories")}
    beside = {table: defaultdict[str, list[Any]](list) for table in ("messages", "marks")}
    for table, found in beside.items():
        for row in _rows(folder, run_id, table):
            found[row["trajectory_id"]].append(_kept(table, row))
    steps = _Steps()
    for part in _parts(folder, run_id, "steps"):
        steps.take(part)
    for name, row in rows.items():
        head = [_kept("trajectories", row), beside["messages"][name], beside["marks"][name]]
        digest = hashlib.sha256(json.dumps(head, default=_shortened).encode())
        digest.update(steps.digest(name))
        key = (row["group"], row["env_id"], told(row["agent"]), row["task_id"], row["seed"])
        yield Play(id=name, key=key, digest=digest.digest())


def _parts(folder: Path, run_id: str, table: str) -> Iterator[pa.Table]:
    found = segments.listing(folder, run_id, table).values()
    for segment in sorted(found, key=lambda one: one.numbers):
        yield from segments.parts(segment)


def _rows(folder: Path, run_id: str, table: str) -> Iterator[dict[str, Any]]:
    for part in _parts(folder, run_id, table):
        names = [name for name in part.column_names if name not in _DERIVED]
        columns = [part[name].to_pylist() for name in names]
        for row in zip(*columns, strict=True):
            yield dict(zip(names, row, strict=True))


def _kept(table: str, row: Mapping[str, Any]) -> list[Any]:
    """The cells of a row that count, in the order of their columns."""
    cells = []
    for name, value in row.items():
        if name in VARIES[table]:
            continue
        if value is not None and name in _TOLD:
            value = told(value)
        elif value is not None and name == "info":
            value = timeless(value)
        elif value is not None and name == "tool_calls":
            value = [[call.get("name"), call.get("arguments")] for call in json.loads(value)]
        cells.append(value)
    return cells


def _shortened(value: Any) -> str:
    return hashlib.sha256(value).hexdigest()


# Their steps

_LISTS = ("observation", "action")
_BYTES = ("observation_text", "observation_bytes", "action_text", "action_bytes", "info")


class _Steps:
    """Digests of the steps of many trajectories at a time, whatever the pieces in which they come."""

    def __init__(self) -> None:
        # By trajectory: how many steps were taken, and by column the digest so far.
        self._taken = defaultdict[str, int](int)
        self._found = defaultdict[str, dict[str, Any]](dict)

    def take(self, part: pa.Table) -> None:
        """The next rows of ``steps``, of any trajectories."""
        part = part.combine_chunks()
        if not part.num_rows:
            return
        ids = part["trajectory_id"].combine_chunks().dictionary_encode()
        codes, t = ids.indices.to_numpy(zero_copy_only=False), part["t"].to_numpy()
        new = np.flatnonzero(np.diff(codes) != 0) + 1
        if len(new) >= len(ids.dictionary) or not _rises(codes, t):
            order = np.lexsort((t, codes))
            order = order[np.concatenate([[True], _changes(codes[order], t[order])])]
            part, codes, t = part.take(pa.array(order)).combine_chunks(), codes[order], t[order]
            new = np.flatnonzero(np.diff(codes) != 0) + 1
        columns = list(_columns(part))
        starts = np.concatenate([[0], new]).tolist()
        names = ids.dictionary.take(pa.array(codes[starts])).to_pylist()
        for name, first, stop in zip(names, starts, [*starts[1:], len(codes)], strict=True):
            # A step that was written twice counts once.
            first = min(stop, first + max(0, self._taken[name] - int(t[first])))
            self._taken[name] += stop - first
            for column, data, ends in columns:
                begin, end = ends[first], ends[stop]
                if end > begin:
                    known = self._found[name].get(column)
                    if known is None:
                        known = self._found[name][column] = hashlib.blake2b()
                    known.update(data[begin:end])

    def digest(self, name: str) -> bytes:
        """Of a trajectory's steps; forgotten then."""
        found = self._found.pop(name, {})
        return b"".join(column.encode() + found[column].digest() for column in sorted(found))


def _rises(codes: NDArray[Any], t: NDArray[Any]) -> bool:
    """Whether the steps of each trajectory follow one another."""
    return bool(np.all((np.diff(t) == 1) | (np.diff(codes) != 0)))


def _changes(codes: NDArray[Any], t: NDArray[Any]) -> NDArray[np.bool_]:
    changes: NDArray[np.bool_] = (np.diff(codes) != 0) | (np.diff(t) != 0)
    return changes


def _columns(part: pa.Table) -> Iterator[tuple[str, memoryview, Sequence[int]]]:
    """By column the bytes of all rows, and where those of each row begin (one more than there are rows)."""
    rows = part.num_rows
    plain = [part["reward"].to_numpy().view(np.uint8).reshape(rows, 8)]
    plain += [part[name].to_numpy().astype(np.uint8).reshape(rows, 1) for name in ("terminated", "truncated")]
    for name in _LISTS + _BYTES:
        cells = part[name].combine_chunks()
        if name == "info" and cells.null_count < rows:
            cells = _timeless(cells)
        lengths = pc.list_value_length(cells) if name in _LISTS else pc.binary_length(cells)
        counts = pc.fill_null(lengths, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        plain.append(counts.view(np.uint8).reshape(rows, 4))
        if cells.null_count == rows:
            continue
        if name in _LISTS:
            values = cells.flatten().to_numpy(zero_copy_only=False)
            yield name, values.view(np.uint8).data, _ends(counts, 8)
        else:
            offsets = np.frombuffer(cells.buffers()[1], np.int32)[cells.offset :][: rows + 1]
            data = memoryview(cells.buffers()[2] or b"")
            yield name, data, offsets.tolist()
    fixed = np.concatenate(plain, axis=1)
    yield "", fixed.reshape(-1).data, range(0, (rows + 1) * fixed.shape[1], fixed.shape[1])


def _ends(counts: NDArray[np.int32], size: int) -> Sequence[int]:
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(np.maximum(counts, 0) * size, out=ends[1:])
    found: list[int] = ends.tolist()
    return found


def _timeless(cells: pa.Array) -> pa.Array:
    """`timeless` for a column; the texts of most environments are few."""
    texts = cells.dictionary_encode()
    clean = texts.dictionary
    for pattern, instead in _TIMES:
        clean = pc.replace_substring_regex(clean, pattern=pattern, replacement=instead)
    return pa.DictionaryArray.from_arrays(texts.indices, clean).dictionary_decode().cast(pa.string())


def metric_rows(store: Store, run_id: str) -> Iterable[tuple[str, int, float]]:
    """What a run measured on its way: name, step, value, without what `VARIES`, in the order of recording."""
    for row in _rows(store.folder, run_id, "metrics"):
        if row["name"] not in VARIES["metrics"]:
            yield row["name"], row["step"], row["value"]
