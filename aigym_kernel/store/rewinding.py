"""Takes a run's record back to a checkpoint of its training, so that going on from there doubles nothing.

    writer.batch(update.trajectories)           while it trains, with every checkpoint: first all that belongs
    writer.metrics(update.step, ...)            to the update (its evaluation too),
    writer.waypoint(update.step)                then this,
    update.checkpoint(path)                     then the file (others to keep: ``waypoint(step, keep=)``)

    rewound = rewind(store, run_id, step)       when it is resumed from the checkpoint of ``step``, before it
    for update in ppo(..., resume=path):        records anything:
        if update.step > step:                  the first update is in the record already
            writer.batch(rewound.renamed(update.trajectories))

What was recorded after the waypoint goes to ``rewound/`` in the run's folder, and nothing there is ever
removed: whoever wants the room deletes it. What people wrote (notes, tags, reviews) stays. An episode that is
recorded again as it was gets the id it had, and with it what people wrote of it; `Rewound.lost` names those
of which that cannot be said.

Per table an empty segment takes the place of all later ones: the same rename by which `compaction` replaces
segments, which readers and the index follow already, so that a question asked meanwhile sees a table as it
was or as it is. A rewinding that is killed is done again by the next one. Nobody but the training itself
may write to the run meanwhile, except people their notes.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from aigym_kernel.batches import Batch
from aigym_kernel.errors import StoreError
from aigym_kernel.store import columns, compaction, index, schema, segments, waypoints, writing
from aigym_kernel.store.leftovers import claim
from aigym_kernel.store.records import cannot_write, sync_folder
from aigym_kernel.store.segments import Segment
from aigym_kernel.trajectories import Trajectory

if TYPE_CHECKING:
    from aigym_kernel.store.store import Store

FOLDER = "rewound"

_Print = tuple[int | None, int]
"""Seed and length of an episode; `_Rest` tells those apart that share them."""
_Rest = tuple[float, bytes]
"""Its return, and its last observation as it was recorded."""
_CELLS = ("final_observation", "final_observation_text", "final_observation_bytes")


class Rewound:
    """What `rewind` moved: ``trajectories`` and ``metrics`` (values) to ``folder`` (None: nothing was to be
    moved); ``annotated``: ids of those trajectories that people had written something about."""

    def __init__(self, folder: Path | None, trajectories: int, metrics: int) -> None:
        self.folder, self.trajectories, self.metrics = folder, trajectories, metrics
        self.annotated: frozenset[str] = frozenset()
        self._ids: dict[_Print, dict[_Rest, list[str]]] = defaultdict(dict)

    @property
    def lost(self) -> frozenset[str]:
        """Of ``annotated`` those that were not recorded again so far. Their rows are in ``folder``, and what
        was written about them is in the tables ``notes`` and ``reviews``."""
        return self.annotated & self._all()

    def renamed(self, batch: Batch) -> Batch:
        """The batch, its episodes that had been recorded before with the ids that they had then: those of
        the same seed, length, return and last observation."""
        if not self._ids or not len(batch.seeds):
            return batch
        ids = list(batch.ids)
        for i, key in enumerate(zip(map(int, batch.seeds), map(int, batch.lengths))):
            if key in self._ids:
                ids[i] = self.again(batch[i]).id
        return replace(batch, ids=tuple(ids))

    def again(self, trajectory: Trajectory) -> Trajectory:
        """The same for one trajectory."""
        key = (trajectory.seed, len(trajectory))
        known = self._ids.get(key)
        if known is None:
            return trajectory
        last = columns.encode(trajectory.observations[-1:])
        cells = [
            None if last.numbers is None else last.numbers[0],
            None if last.texts is None else last.texts[0],
            None if last.blobs is None else bytes(last.blobs[0] or b""),
        ]
        rest = (trajectory.total_reward, _bytes(cells))
        ids = known.get(rest)
        if not ids:
            return trajectory
        before = ids.pop(0)
        if not ids:
            del known[rest]
        if not known:
            del self._ids[key]
        return replace(trajectory, id=before)

    def _add(self, row: dict[str, Any]) -> None:
        rest = row["return"], _bytes([row[cell] for cell in _CELLS])
        ids = self._ids[row["seed"], row["length"]].setdefault(rest, [])
        if row["trajectory_id"] not in ids:
            ids.append(row["trajectory_id"])

    def _all(self) -> set[str]:
        return {one for known in self._ids.values() for ids in known.values() for one in ids}

    def _look_for(self, written_about: set[str]) -> None:
        self.annotated = frozenset(self._all() & written_about)


def rewind(store: Store, run_id: str, step: int) -> Rewound:
    """Takes the record of a run back to its waypoint at ``step``; see the module's text.

    Raises:
        StoreError: the run has no such waypoint, or the disk is full or not to be written; then the same call
            finishes it later.
        UnknownName: there is no such run.
    """
    store.run(run_id)
    run = store.run_folder(run_id)
    known = waypoints.read(run)
    if step not in known:
        have = ", ".join(f"{s:,}" for s in known) or "none"
        raise StoreError(
            f"the record of run {run_id!r} cannot be taken back to step {step:,}: it has no waypoint there "
            f"(it has: {have}); resume it from a checkpoint of one of these steps, or start it anew"
        )
    place = run / FOLDER / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    moved = {"trajectories": 0, "metrics": 0}
    with compaction.locked(store.folder):
        try:
            # A trajectory's row first: whoever sees it finds the rest, but for the moment in between.
            for table in reversed(waypoints.TABLES):
                rows = _take_back(store.folder, run, table, known[step][table], place / table)
                if table in moved:
                    moved[table] = rows
            waypoints.write(run, {s: known[s] for s in known if s <= step})
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise cannot_write(place, error) from error
    index.build(store.folder)
    rewound = Rewound(place if place.exists() else None, moved["trajectories"], moved["metrics"])
    # Of all rewindings: what was recorded again since, before the last one, is among them.
    for path in sorted((run / FOLDER).glob("*/trajectories/*.parquet")):
        names = ["trajectory_id", "seed", "length", "return", *_CELLS]
        for row in pq.read_table(path, columns=names).to_pylist():
            rewound._add(row)
    rewound._look_for(_written_about(store.folder, run_id))
    return rewound


def _take_back(folder: Path, run: Path, table: str, last: int, place: Path) -> int:
    """Puts an empty segment in the place of those after ``last``, and them into ``place``; returns how many
    rows they had."""
    later = [s for s in segments.listing(folder, run.name, table).values() if s.numbers[1] > last]
    if crossing := [s for s in later if s.numbers[0] <= last]:
        raise StoreError(
            f"{crossing[0].path} holds rows from before and after the checkpoint, so that the record cannot "
            "be taken back to it; start the run anew"
        )
    rows = {segment: _count(segment) for segment in later}
    total = sum(rows.values())
    if not total:
        return 0
    place.mkdir(parents=True)
    for segment in later:
        if rows[segment]:
            _link(Path(segment.path), place / segment.key[2])
    sync_folder(place)
    # One number more than there is: of two segments of the same numbers neither stands for the other.
    final = run / table / f"{last + 1:06d}-{later[-1].numbers[1] + 1:06d}.parquet"
    temporary = final.with_name(f"{final.name}.tmp")
    # Whoever made one of this name held the lock that is held here, and does not live any more.
    temporary.unlink(missing_ok=True)
    file = claim(temporary)
    if file is None:
        raise StoreError(f"{temporary} is in the way; call this again")
    try:
        with file:
            file.write(writing.parquet(schema.TABLES[table].empty_table()))
            file.flush()
            os.fsync(file.fileno())
            temporary.rename(final)
        sync_folder(final.parent)
    finally:
        temporary.unlink(missing_ok=True)
    for segment in later:
        Path(segment.path).unlink(missing_ok=True)
    return total


def _count(segment: Segment) -> int:
    """Its rows; 1 for a damaged one, which is moved like the others."""
    if segments.fault(segment) is not None:
        return 1
    return int(pq.read_metadata(segment.path).num_rows)


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV):
            raise
        shutil.copy2(source, target)


def _written_about(folder: Path, run_id: str) -> set[str]:
    """The trajectories of a run that have a note, a tag or a review."""
    found: set[str] = set()
    for table in ("notes", "reviews"):
        there = segments.sound(segments.listing(folder, run_id, table).values())[0]
        for segment in there:
            names = pq.read_table(segment.path, columns=["trajectory_id"])["trajectory_id"]
            found.update(names.unique().to_pylist())
    return found


def _bytes(cells: Iterable[Any]) -> bytes:
    """The three cells of an observation as one key."""
    numbers, text, blob = cells
    if numbers is not None:
        return np.asarray(numbers, dtype=np.float64).tobytes()
    return str(text).encode() if text is not None else bytes(blob or b"")
