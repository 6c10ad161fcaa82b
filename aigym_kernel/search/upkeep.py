"""Brings what is kept up to date with what is recorded: `documents_of`, `vectors_of`.

    recorded = look(snapshot, folder)
    documents_of(recorded)                a row for each recorded trajectory, as its comments are now
    vectors_of(recorded, embedder)        the same for an embedder's vectors

Only what is new, or commented on since, is worked out. Nothing here is ever wrong for longer than that: rows
of trajectories that are gone stay in their run's folder and are not looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from aigym_kernel.search import documents, embedders, kept, ranking
from aigym_kernel.search.embedders import Embedder
from aigym_kernel.search.kept import Kept, Shelf
from aigym_kernel.store.snapshot import Snapshot

DOCUMENTS = Shelf(
    name=f"documents-{documents.VERSION}",
    columns=pa.schema(
        [("terms", pa.list_(pa.uint32())), ("counts", pa.list_(pa.uint16())), ("text", pa.string())]
    ),
    on_demand=("text",),
)

_BATCH = 2_000
_QUIET_S = 2  # what takes longer shows how far it is

_COMMENTED = """
    SELECT trajectory_id, epoch_us(max(time)) AS seen
    FROM (SELECT trajectory_id, time FROM reviews UNION ALL SELECT trajectory_id, time FROM notes)
    GROUP BY 1"""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What trajectories there are: ids, runs, and the time of each one's latest comment (see `Shelf`)."""

    snapshot: Snapshot
    folder: Path
    ids: pa.ChunkedArray
    runs: pa.ChunkedArray
    seen: NDArray[np.int64]

    def run_ids(self) -> list[str]:
        """The runs that have trajectories."""
        found: list[str] = pc.unique(self.runs).to_pylist()
        return found


def look(snapshot: Snapshot, folder: Path) -> Recorded:
    """What is recorded now."""
    rows = snapshot.arrow("SELECT trajectory_id, run_id FROM trajectories", [])
    seen = np.zeros(len(rows), dtype=np.int64)
    commented = snapshot.arrow(_COMMENTED, [])
    if len(commented):
        known = commented["trajectory_id"].combine_chunks()
        place = pc.index_in(rows["trajectory_id"], value_set=known).fill_null(-1).to_numpy()
        times = commented["seen"].fill_null(0).to_numpy()
        seen = np.where(place < 0, 0, times[place])
    return Recorded(
        snapshot=snapshot, folder=folder, ids=rows["trajectory_id"], runs=rows["run_id"], seen=seen
    )


def documents_of(recorded: Recorded) -> Kept:
    """The document of every recorded trajectory."""
    found = kept.load(recorded.folder, recorded.run_ids(), DOCUMENTS)
    lacking = _lacking(recorded, found)
    if not len(lacking):
        return found
    places = dict(zip(recorded.ids.take(pa.array(lacking)).to_pylist(), lacking.tolist()))
    with _progress(len(lacking), "reading trajectories") as bar:
        for ids, texts in documents.read(recorded.snapshot, list(places)):
            terms = [ranking.terms(text) for text in texts]
            columns = {
                "terms": pa.array([t[0] for t in terms], pa.list_(pa.uint32())),
                "counts": pa.array([t[1] for t in terms], pa.list_(pa.uint16())),
                "text": pa.array(texts, pa.string()),
            }
            _append(recorded, DOCUMENTS, np.array([places[i] for i in ids]), pa.table(columns))
            bar.update(len(ids))
    return kept.load(recorded.folder, recorded.run_ids(), DOCUMENTS)


def vectors_of(recorded: Recorded, embedder: Embedder) -> Kept:
    """The vector of every recorded trajectory.

    Raises:
        AigymError: the embedder gave what are no vectors.
    """
    shelf = _shelf(embedder)
    found = kept.load(recorded.folder, recorded.run_ids(), shelf)
    lacking = _lacking(recorded, found)
    if not len(lacking):
        return found
    documents_of(recorded)
    with _progress(len(lacking), f"embedding with {embedder.name}") as bar:
        for places, texts in _texts(recorded, lacking):
            made = embedders.vectors(embedder, texts)
            cells = pa.FixedSizeBinaryArray.from_buffers(
                shelf.schema.field("vector").type, len(made), [None, pa.py_buffer(made.tobytes())]
            )
            _append(recorded, shelf, places, pa.table({"vector": cells}))
            bar.update(len(places))
    return kept.load(recorded.folder, recorded.run_ids(), shelf)


def texts(recorded: Recorded, ids: Sequence[str]) -> dict[str, str]:
    """The documents of some trajectories, by id."""
    for _ in range(3):
        found = documents_of(recorded)
        rows = found.places(pa.chunked_array([pa.array(ids, pa.string())]))
        there = [(i, int(row)) for i, row in zip(ids, rows) if row >= 0]
        try:
            cells = found.cells("text", [row for _, row in there])
        except FileNotFoundError:
            continue  # another process has just joined that file to others
        return {i: str(cell) for (i, _), cell in zip(there, cells)}
    return dict(pair for those, said in documents.read(recorded.snapshot, ids) for pair in zip(those, said))


def _texts(recorded: Recorded, lacking: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    for start in range(0, len(lacking), _BATCH):
        places = lacking[start : start + _BATCH]
        ids = recorded.ids.take(pa.array(places)).to_pylist()
        said = texts(recorded, ids)
        there = [i for i, name in enumerate(ids) if name in said]
        if there:
            yield places[there], [said[ids[i]] for i in there]


def _lacking(recorded: Recorded, found: Kept) -> NDArray[np.int64]:
    """Which recorded trajectories have no row that knows of their latest comment."""
    places = found.places(recorded.ids)
    if not len(found.seen):
        return np.arange(len(places))
    return np.flatnonzero((places < 0) | (found.seen[places] < recorded.seen))


def _append(recorded: Recorded, shelf: Shelf, places: NDArray[np.int64], columns: pa.Table) -> None:
    """Keeps rows, each with its run."""
    head = {
        "trajectory_id": recorded.ids.take(pa.array(places)),
        "seen": pa.array(recorded.seen[places], pa.int64()),
    }
    rows = pa.table({**head, **{name: columns[name] for name in columns.column_names}})
    runs = recorded.runs.take(pa.array(places))
    for run_id in pc.unique(runs).to_pylist():
        kept.append(recorded.folder, run_id, shelf, rows.filter(pc.equal(runs, run_id)))


def _shelf(embedder: Embedder) -> Shelf:
    name = re.sub(r"[^A-Za-z0-9._+=@-]+", "-", embedder.name).lstrip(".-")[:80]
    if name != embedder.name:
        name += f"-{hashlib.sha256(embedder.name.encode()).hexdigest()[:8]}"
    # Vectors of documents that were composed in another way are others.
    return Shelf(
        name=f"{name}+{documents.VERSION}",
        columns=pa.schema([("vector", pa.binary(4 * embedder.dimensions))]),
    )


def _progress(total: int, what: str) -> tqdm[Any]:
    return tqdm(total=total, desc=what, unit=" trajectories", delay=_QUIET_S, leave=False)
