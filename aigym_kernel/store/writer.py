"""Records one run: steps, marks, metrics and trajectories, as Parquet segments that never change.

    with store.writer(run_id) as writer:
        writer.step(trajectory_id, step)        as it happens, where a step takes long
        writer.trajectory(trajectory)           the rest of it; its row says that it is complete
        writer.batch(batch)                     many that are finished, as whole arrays
        writer.metrics(1024, {"return_mean": 21.5})

Rows wait in memory until 2 s have passed, or there are 50,000 of them (or 64 MiB), whichever the next call
notices first; `Writer.flush` and `Writer.close` write them at once. A killed process loses what waits.
What could not be written (a full disk) waits in the writer, so that a later flush writes it, once; it is
lost with the writer's process.

One run may have several writers, in several processes: each segment gets a number that only one can claim.
A Writer may be used from several threads. It does not read, and it never opens a DuckDB file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigym_kernel.batches import Batch
from aigym_kernel.errors import StoreError
from aigym_kernel.store import columns, notes, reviews, schema, segments, waypoints, writing
from aigym_kernel.store.columns import Block
from aigym_kernel.store.leftovers import claim, inode
from aigym_kernel.store.records import cannot_write, sync_folder
from aigym_kernel.store.rows import Plain, recorded_rows
from aigym_kernel.trajectories import Note, Review, Step, Trajectory

# Each flush costs a file and two fsyncs per table. At 25,000 steps/s a limit of 2,000 rows makes 28 files
# and 56 fsyncs a second; this one leaves it to the 2 s, and makes one file and three fsyncs.
FLUSH_ROWS = 50_000
FLUSH_BYTES = 64 * 2**20
FLUSH_S = 2.0


_NOTHING_PLAIN: Plain = {"observation": [], "action": []}


@dataclass
class _Early:
    """What is already written of a trajectory that is still being played."""

    steps: int = 0
    # Rows whose text was written as it is; `columns.decode` needs them if the column turns out mixed.
    plain: dict[str, list[int]] = field(default_factory=lambda: {"observation": [], "action": []})


class Writer:
    """Appends to one run; see the module's text. A context manager: leaving it closes."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.run_id = run_id
        self._folder = folder
        self._lock = threading.RLock()
        self._blocks: list[Block] = []
        self._rows: dict[str, list[dict[str, Any]]] = {t: [] for t in schema.TABLES if t != "steps"}
        self._early: dict[str, _Early] = {}
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._flushed_at = time.monotonic()
        self._next: dict[str, int] = {}
        # The last segment of a table that was begun: its name, its inode, what it holds.
        self._attempts: dict[str, tuple[Path, int, list[Any]]] = {}
        self._closed = False

    def step(self, trajectory_id: str, step: Step) -> None:
        """Writes one step of a trajectory that is still being played.

        Raises:
            StoreError: its ``t`` does not follow the last one, or the disk is full.
        """
        with self._lock:
            self._check_open()
            early = self._early.get(trajectory_id) or _Early()
            if step.t != early.steps:
                raise StoreError(
                    f"step t={step.t} of trajectory {trajectory_id!r} cannot follow {early.steps} steps; "
                    "write every step once, in order"
                )
            block = Block(
                trajectory_id=schema.clean(trajectory_id),
                start=step.t,
                observations=columns.encode([step.observation], alone=True),
                actions=columns.encode([step.action], alone=True),
                rewards=_rewards([step.reward], 1),
                terminated=bool(step.terminated),
                truncated=bool(step.truncated),
                infos=[schema.json_text(step.info)],
            )
            columns.check_size(trajectory_id, block.observations, block.actions)
            for name, column in (("observation", block.observations), ("action", block.actions)):
                if column.dtype == "text":
                    early.plain[name].append(step.t)
            early.steps += 1
            self._early[trajectory_id] = early
            self._append(block)
            self._flush_if_due()

    def trajectory(self, trajectory: Trajectory) -> None:
        """Writes a finished trajectory: the steps not yet written, its marks, its row.

        The run it belongs to is this writer's, whatever ``trajectory.run_id`` says.

        Raises:
            StoreError: more steps were written early than it has, its seed does not fit 64 bits, or
                the disk is full; in the last case it waits for a later flush, do not hand it in again.
        """
        with self._lock:
            self._check_open()
            early = self._early.get(trajectory.id) or _Early()
            length = len(trajectory)
            if early.steps > length:
                raise StoreError(
                    f"trajectory {trajectory.id!r} has {length} steps, but {early.steps} were written early"
                )
            observations = columns.encode(trajectory.observations)
            actions = columns.encode(trajectory.actions)
            columns.check_size(trajectory.id, observations, actions)
            # All of it is converted before any of it waits: a bad value must not spoil a later flush.
            rows = recorded_rows(self.run_id, trajectory, observations, actions, early.plain)
            infos = [schema.json_text(i) for i in trajectory.infos[early.steps :]]
            block = Block(
                trajectory_id=schema.clean(trajectory.id),
                start=early.steps,
                observations=observations.rows(early.steps, length),
                actions=actions.rows(early.steps, length),
                rewards=_rewards(trajectory.rewards[early.steps :], length - early.steps),
                terminated=bool(trajectory.terminated),
                truncated=bool(trajectory.truncated),
                infos=infos if trajectory.infos else None,
            )
            if len(block):
                self._append(block)
            for table, row in rows:
                self._add_row(table, row)
            self._early.pop(trajectory.id, None)
            self._flush_if_due()

    def batch(self, batch: Batch) -> None:
        """Writes many finished trajectories at once: the same as `trajectory` for each, only faster.

        Raises:
            StoreError: steps of one were written early, a seed does not fit 64 bits, or the disk is full; in
                the last case all of it waits for a later flush, do not hand it in again.
        """
        with self._lock:
            self._check_open()
            if early := next((name for name in batch.ids if name in self._early), None):
                raise StoreError(f"steps of trajectory {early!r} were written early; hand it in by itself")
            observations = columns.encode(batch.observations)
            actions = columns.encode(batch.actions)
            columns.check_size(batch.ids[0] if len(batch) else "", observations, actions)
            rewards = _rewards(batch.rewards, len(batch.rewards))
            blocks, rows = [], []
            for i, trajectory in enumerate(batch):
                own = batch.steps(i)
                seen = observations.rows(own.start + i, own.stop + i + 1)
                did = actions.rows(own.start, own.stop)
                rows += recorded_rows(self.run_id, trajectory, seen, did, _NOTHING_PLAIN)
                block = Block(
                    trajectory_id=schema.clean(trajectory.id),
                    start=0,
                    observations=seen.rows(0, len(did)),
                    actions=did,
                    rewards=rewards[own],
                    terminated=trajectory.terminated,
                    truncated=trajectory.truncated,
                    infos=None,
                )
                blocks += [block] if len(block) else []
            for block in blocks:
                self._append(block)
            for table, row in rows:
                self._add_row(table, row)
            self._flush_if_due()

    def review(self, trajectory_id: str, name: str, value: float, review: Review) -> None:
        """Writes a person's ``value`` for the mark ``name`` of a trajectory that was recorded before."""
        with self._lock:
            self._check_open()
            self._add_row("reviews", reviews.review_row(self.run_id, trajectory_id, name, value, review))
            self._flush_if_due()

    def tag(self, trajectory_id: str, tags: Iterable[str], remove: Iterable[str] = ()) -> None:
        """Gives a trajectory that was recorded before these tags, and takes others away."""
        with self._lock:
            self._check_open()
            for row in notes.tag_rows(self.run_id, trajectory_id, tags, remove):
                self._add_row("notes", row)
            self._flush_if_due()

    def note(self, trajectory_id: str, note: Note) -> None:
        """Writes a note on a trajectory that was recorded before."""
        with self._lock:
            self._check_open()
            self._add_row("notes", notes.note_row(self.run_id, trajectory_id, note))
            self._flush_if_due()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Writes named numbers measured after ``step`` environment steps, with the time of now."""
        with self._lock:
            self._check_open()
            now = schema.microseconds(time.time())
            rows = [
                {
                    "run_id": self.run_id,
                    "step": int(step),
                    "time": now,
                    "name": schema.clean(name),
                    "value": float(value),
                }
                for name, value in values.items()
            ]
            for row in rows:
                self._add_row("metrics", row)
            self._flush_if_due()

    def flush(self) -> None:
        """Writes all that waits, and returns once it is on the disk.

        Raises:
            StoreError: the disk is full or the folder cannot be written. What waits stays in the writer.
        """
        self._flush("This writer keeps it for the next flush; it is lost if the process ends before")

    def waypoint(self, step: int, *, keep: Iterable[int] = ()) -> None:
        """Flushes, and notes that the record reaches to here at ``step`` environment steps: call it when all
        of the update is written, right before its checkpoint is; `rewinding.rewind` then comes back here.

        Waypoints of other steps are forgotten, but those of ``keep`` and the one before.

        Raises:
            StoreError: as of `flush`; nothing is noted then.
        """
        with self._lock:
            self._check_open()
            self.flush()
            waypoints.note(self._folder, step, keep)

    def _flush(self, what_becomes_of_it: str) -> None:
        with self._lock:
            try:
                self._publish_all()
            except StoreError as error:
                waiting = self._unwritten()
                if not waiting:
                    raise
                raise StoreError(f"{error}. Not on the disk: {waiting}. {what_becomes_of_it}") from error

    def _publish_all(self) -> None:
        # Steps first, a trajectory's row last: a reader that sees the row finds all of it.
        self._publish("steps", self._blocks, partial(columns.steps_table, self.run_id))
        for table, rows in self._rows.items():
            self._publish(table, rows, partial(schema.rows_table, table))
        self._waiting_rows = self._waiting_bytes = 0
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Flushes; nothing can be written afterwards.

        Raises:
            StoreError: the disk is full or the folder cannot be written; it says what is not on the disk.
                The writer stays open then, so that it can be closed again once there is room.
        """
        with self._lock:
            if not self._closed:
                self._flush(
                    "It is lost unless this writer is closed again, in this process, and that succeeds"
                )
                self._closed = True

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the writer of run {self.run_id!r} is closed; open another one")

    def _unwritten(self) -> str:
        """What waits, in words."""
        counts = {"step": sum(map(len, self._blocks))}
        names = {
            "trajectories": "trajectory",
            "messages": "message",
            "metrics": "metric value",
            "marks": "mark",
            "reviews": "review",
            "notes": "tag or note",
        }
        for table, one in names.items():
            counts[one] = len(self._rows[table])
        plural = {"trajectory": "trajectories", "tag or note": "tags and notes"}
        return ", ".join(
            f"{n:,} {one if n == 1 else plural.get(one, one + 's')}" for one, n in counts.items() if n
        )

    def _append(self, block: Block) -> None:
        self._blocks.append(block)
        self._waiting_rows += len(block)
        self._waiting_bytes += block.nbytes

    def _add_row(self, table: str, row: dict[str, Any]) -> None:
        self._rows[table].append(row)
        self._waiting_rows += 1
        self._waiting_bytes += sum(len(value) for value in row.values() if isinstance(value, str))
        self._waiting_bytes += sum(map(len, row.get("images") or ()))

    def _flush_if_due(self) -> None:
        if (
            self._waiting_rows >= FLUSH_ROWS
            or self._waiting_bytes >= FLUSH_BYTES
            or time.monotonic() - self._flushed_at >= FLUSH_S
        ):
            self.flush()

    def _publish(self, table: str, waiting: list[Any], to_arrow: Callable[[list[Any]], pa.Table]) -> None:
        """Writes a segment under the next free number, then forgets what waited for it."""
        self._settle(table, waiting)
        if not waiting:
            return
        content = writing.parquet(to_arrow(waiting))
        final, temporary, file = self._claim(table)
        mine = os.fstat(file.fileno()).st_ino
        self._attempts[table] = (final, mine, list(waiting))
        try:
            # Renamed before it is closed: until then the file is held, and not taken for a leftover.
            with file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                temporary.rename(final)
            sync_folder(final.parent)
        except OSError as error:
            raise cannot_write(final, error) from error
        finally:
            self._settle(table, waiting)
            if inode(temporary) == mine:
                temporary.unlink()

    def _settle(self, table: str, waiting: list[Any]) -> None:
        """Forgets what the last attempt published.

        An interrupt may strike on either side of the rename, and from then on the temporary name may be
        another writer's: only the file itself tells which side it was. It may strike in here as well; then
        the next flush does this again, from the start.
        """
        if table in self._attempts:
            final, mine, rows = self._attempts[table]
            # No number is merged that was not published.
            if inode(final) == mine or segments.merged(final):
                published = set(map(id, rows))
                waiting[:] = [row for row in waiting if id(row) not in published]
            del self._attempts[table]

    def _claim(self, table: str) -> tuple[Path, Path, BinaryIO]:
        """The next free segment name, its temporary file, and that file open for writing.

        Whoever creates the temporary file owns the number until it is renamed or removed; the rename can
        then overwrite nothing.
        """
        folder = self._folder / table
        try:
            if table not in self._next:
                folder.mkdir(parents=True, exist_ok=True)
                taken = map(segments.numbers_of, segments.entries(str(folder)))
                self._next[table] = max((numbers[1] for numbers in taken if numbers), default=0) + 1
            while True:
                number = self._next[table]
                self._next[table] = number + 1
                final = folder / f"{number:06d}.parquet"
                temporary = folder / f"{number:06d}.parquet.tmp"
                file = claim(temporary)
                if file is None:
                    continue
                # In this order: a merged segment is published before what it was made of is removed.
                if not final.exists() and not segments.merged(final):
                    return final, temporary, file
                file.close()
                temporary.unlink()
        except OSError as error:
            raise cannot_write(folder, error) from error


def _rewards(values: Any, length: int) -> NDArray[np.float64]:
    """A copy of ``length`` rewards."""
    return np.array(values, dtype=np.float64).reshape(length)
