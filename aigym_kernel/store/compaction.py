"""Merges many small segments into few large ones: `compact`.

    done = compact(folder)              done.merged segments became done.written
    covered(folder)                     what a killed compaction left of segments that it had merged

Segments of consecutive numbers become one that stands for all of them (``000001-000128.parquet``): once it
has that name, what it was made of does not count any more, and is removed at the end, when the index knows
the new ones. So there is no moment at which a row is missing or twice, and a killed compaction leaves files
that count for nothing. Writers are never waited for, nor do they wait. A reader that finds a file gone asks
again (`snapshot`). Rows stay in their order; nothing in them changes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aigym_kernel.store import index, schema, segments, waypoints, writing
from aigym_kernel.store.leftovers import claim
from aigym_kernel.store.records import cannot_write, sync_folder
from aigym_kernel.store.segments import Segment

# A merged segment is about this large; one of half the size is left as it is.
LARGE = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What a compaction did: how many segments it merged, into how many, and their bytes."""

    merged: int = 0
    written: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(
            merged=self.merged + other.merged,
            written=self.written + other.written,
            bytes_before=self.bytes_before + other.bytes_before,
            bytes_after=self.bytes_after + other.bytes_after,
        )


def compact(folder: Path, run_id: str | None = None) -> Compacted:
    """Merges the small segments of a run, or of all runs, and brings the index up to date.

    Raises:
        StoreError: the disk is full or the folder cannot be written. What was merged stays merged.
    """
    done = Compacted()
    with locked(folder):
        remove(covered(folder))
        found = segments.segments(folder).values()
        for group in _groups(folder, (s for s in found if run_id in (None, s.run_id))):
            done += _merge(group)
        index.build(folder)
        remove(covered(folder))
    return done


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While this is held nobody else merges segments of the store, or takes any away."""
    path = folder / ".compact.lock"
    try:
        file = path.open("a")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _groups(folder: Path, found: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Segments to be merged: of one table of one run, small, of consecutive numbers, and with no waypoint
    between them.

    A number that is missing between two may still be published, by a writer that is slow.
    """
    # A segment is published after the waypoints before it are written: none is missing here.
    begins: dict[str, dict[str, set[int]]] = {}
    group: list[Segment] = []
    size = 0
    for segment in found:
        if segment.run_id not in begins:
            begins[segment.run_id] = waypoints.begins(folder / "runs" / segment.run_id)
        small = segment.key[3] < LARGE // 2
        fits = group and (
            (segment.run_id, segment.table) == (group[0].run_id, group[0].table)
            and segment.numbers[0] == group[-1].numbers[1] + 1
            and segment.numbers[0] not in begins[segment.run_id].get(segment.table, ())
            and size + segment.key[3] <= LARGE
        )
        if group and not (small and fits):
            yield from [group] if len(group) > 1 else []
            group, size = [], 0
        if small and _readable(segment):
            group.append(segment)
            size += segment.key[3]
        elif group:
            yield from [group] if len(group) > 1 else []
            group, size = [], 0
    yield from [group] if len(group) > 1 else []


def _readable(segment: Segment) -> bool:
    """Whether all of it can be read, and holds no column of a later version, which would be lost."""
    if segments.fault(segment, whole=True) is not None:
        return False
    try:
        names = pq.read_schema(segment.path).names
    except (pa.ArrowException, OSError):
        return False
    return set(names) <= set(schema.TABLES[segment.table].names)


def _merge(group: list[Segment]) -> Compacted:
    first, last = group[0].numbers[0], group[-1].numbers[1]
    folder = Path(group[0].path).parent
    final = folder / f"{first:06d}-{last:06d}.parquet"
    temporary = final.with_name(f"{final.name}.tmp")
    try:
        # Whoever made it held the lock that is held here, and does not live any more.
        temporary.unlink(missing_ok=True)
        file = claim(temporary)
        if file is None:
            return Compacted()
        with file:
            _write(group, file)
            file.flush()
            os.fsync(file.fileno())
            temporary.rename(final)
        sync_folder(folder)
        size = final.stat().st_size
    except FileNotFoundError:
        # The run was deleted meanwhile.
        return Compacted()
    except OSError as error:
        raise cannot_write(final, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Compacted(
        merged=len(group), written=1, bytes_before=sum(s.key[3] for s in group), bytes_after=size
    )


def _write(group: list[Segment], file: object) -> None:
    """Writes the rows of a group in row groups of the size that `writing` has."""
    columns = schema.TABLES[group[0].table]
    waiting: list[pa.Table] = []
    rows = 0
    with pq.ParquetWriter(file, columns, **writing.options(columns)) as writer:
        for segment in group:
            for part in segments.parts(segment):
                waiting.append(part)
                rows += part.num_rows
                if rows >= (most := writing.group_rows(part)):
                    table = pa.concat_tables(waiting)
                    whole = rows - rows % most
                    writer.write_table(table.slice(0, whole), row_group_size=most)
                    waiting, rows = [table.slice(whole)], rows - whole
        if rows:
            writer.write_table(pa.concat_tables(waiting), row_group_size=rows)


def covered(folder: Path) -> list[Path]:
    """The files of segments that were merged into others, which are whole, and are still there."""
    found = []
    for run_id in segments.entries(f"{folder}/runs"):
        for table in schema.TABLES:
            place = folder / "runs" / run_id / table
            names = segments.entries(str(place))
            good, left = segments.counting(names)
            found += [place / name for name in left if left and _all_whole(folder, run_id, table, good)]
    return found


def _all_whole(folder: Path, run_id: str, table: str, names: list[str]) -> bool:
    listed = segments.listing(folder, run_id, table)
    wide = [s for s in listed.values() if s.key[2] in names and s.numbers[0] != s.numbers[1]]
    return all(segments.fault(s, whole=True) is None for s in wide)


def remove(paths: Iterable[Path]) -> None:
    """Removes files that count for nothing."""
    for path in paths:
        path.unlink(missing_ok=True)
