"""The segments on the disk: which there are, what is wrong with one, where in it a trajectory's rows lie.

    found = segments(folder)            every segment that counts, by its key
    sound(found.values())               those that can be read, and what is wrong with the others
    places(segment)                     the rows of each trajectory in a segment of steps
    from_files("steps", chosen)         SQL that reads them

A segment is ``runs/<run>/<table>/000007.parquet``, or ``000001-000128.parquet``, which stands for all of
those numbers (`compaction` made it of them): what a wider one stands for does not count any more, whether it
is still there or not. Segments never change, so that what was once learnt of one is kept by this process.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aigym_kernel.store import schema

# With more segments beside the index than this a reader builds the next generation before it answers.
INDEX_WHEN = 256

_NAME = re.compile(r"(\d{6,})(?:-(\d{6,}))?\.parquet")

# A file by its run, table, name, size and time of change (ns). The last two tell a run from another one
# that was recorded under the same id after the first had been deleted.
Key = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """One published file: rows of one table of one run."""

    run_id: str
    table: str
    path: str
    key: Key

    @property
    def numbers(self) -> tuple[int, int]:
        """The first and the last number that it stands for."""
        numbers = numbers_of(self.key[2])
        assert numbers is not None, self.key
        return numbers


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows of a trajectory lie in a segment: from ``first`` up to and without ``stop``. Between them
    may be rows of others, where several were written step by step at a time."""

    trajectory_id: str
    first: int
    stop: int


def numbers_of(name: str) -> tuple[int, int] | None:
    """The first and the last number that a segment's file name stands for; None if it names no segment."""
    match = _NAME.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2] or match[1]))


# Which there are


def segments(folder: Path) -> dict[Key, Segment]:
    """Every segment that counts, by run and number.

    The tables are listed in the reverse of the order in which a writer publishes, so that for every
    trajectory's row that is listed its steps and marks are listed too.
    """
    found: dict[Key, Segment] = {}
    for run_id in entries(f"{folder}/runs"):
        # Which tables there are is asked first: a run has few of them, and each costs a look at the disk.
        there = entries(f"{folder}/runs/{run_id}")
        for table in reversed(schema.TABLES):
            if table in there:
                found.update(listing(folder, run_id, table))
    return found


def counting(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of a folder's names those of segments that count, by number, and those of segments that a wider one
    stands for."""
    ranges = {name: numbers for name in names if (numbers := numbers_of(name))}
    good: list[str] = []
    covered: list[str] = []
    reach = -1
    # Ranges are nested or apart, so that the widest of those that begin at a number comes first.
    for name, (_, last) in sorted(ranges.items(), key=lambda item: (item[1][0], -item[1][1])):
        (good if last > reach else covered).append(name)
        reach = max(reach, last)
    return good, covered


def merged(path: Path) -> bool:
    """Whether a wider segment stands for the one that has, or had, this path."""
    mine = numbers_of(path.name)
    assert mine is not None, path
    ranges = (numbers_of(name) for name in entries(str(path.parent)) if name != path.name)
    return any(r is not None and r[0] <= mine[0] and mine[1] <= r[1] for r in ranges)


# What folders held, by their paths, with the time of change that this belongs to.
_listings: dict[str, tuple[int, tuple[str, ...]]] = {}
_segment_listings: dict[str, tuple[tuple[str, ...], dict[Key, Segment]]] = {}


def listing(folder: Path, run_id: str, table: str) -> dict[Key, Segment]:
    """The segments of one table of one run, by number."""
    path = f"{folder}/runs/{run_id}/{table}"
    for _ in range(5):
        names = entries(path)
        known = _segment_listings.get(path)
        if known is not None and known[0] is names:
            return known[1]
        made, gone = {}, False
        for name in counting(names)[0]:
            try:
                stat = Path(path, name).stat()
            except FileNotFoundError:
                gone = True
                continue
            key = (run_id, table, name, stat.st_size, stat.st_mtime_ns)
            made[key] = Segment(run_id, table, f"{path}/{name}", key)
        if not gone:
            break
        # What stands for it now was not listed yet.
        _listings.pop(path, None)
    _segment_listings[path] = (names, made)
    return made


def entries(path: str) -> tuple[str, ...]:
    """The sorted names in a folder, hidden ones left out; none if there is no folder."""
    # `os` and not `pathlib`, which takes as long again: with a thousand runs this is what a question costs.
    try:
        changed = os.stat(path).st_mtime_ns  # noqa: PTH116
        known = _listings.get(path)
        if known is not None and known[0] == changed:
            return known[1]
        # A listing during which files come and go may miss both a merged file and what it was made of.
        # Names are never used again: two listings that agree missed nothing.
        names, before = _names(path), None
        while names != before:
            names, before = _names(path), names
    except (FileNotFoundError, NotADirectoryError):
        return ()
    # A folder changed within the clock's tick may change again without its time showing it.
    if time.time_ns() - changed > 2_000_000_000:
        _listings[path] = (changed, names)
    return names


def _names(path: str) -> tuple[str, ...]:
    found = (name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208
    return tuple(sorted(found, key=lambda name: (len(name), name)))


# What is wrong with one


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found in a file: its state then, whether all of it was read, what is wrong with it, and
    which columns of `schema.ADDED` it lacks."""

    state: tuple[int, int, int]
    whole: bool
    fault: str | None
    lacks: tuple[str, ...] = ()


_known: dict[str, _Known] = {}


def fault(segment: Segment, *, whole: bool = False, again: bool = False) -> str | None:
    """What is wrong with a segment's file, or None.

    Args:
        whole: reads all of it and compares checksums, not only its footer.
        again: also where that was done before: a disk may have changed since.
    """
    if again:
        _known.pop(segment.path, None)
    return _look(segment, whole).fault


def faulty() -> frozenset[str]:
    """The files in which this process found something wrong."""
    return frozenset(path for path, known in list(_known.items()) if known.fault is not None)


def is_gone(segment: Segment) -> bool:
    """Whether its file is not there any more."""
    return not Path(segment.path).exists()


def known_fault(segment: Segment) -> str | None:
    """A sentence about what this process once found wrong with it; None if nothing."""
    known = _known.get(segment.path)
    return None if known is None or known.fault is None else sound([segment])[1][0]


def lacks(segment: Segment) -> tuple[str, ...]:
    """The columns of `schema.ADDED` that a sound segment has not got."""
    known = _known.get(segment.path)
    return (known or _look(segment, False)).lacks


def _look(segment: Segment, whole: bool) -> _Known:
    try:
        stat = Path(segment.path).stat()
        state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = _known.get(segment.path)
        if known is not None and known.state == state and (known.whole >= whole or known.fault is not None):
            return known
        known = _known[segment.path] = _Known(state, whole, *_read(segment, whole))
        return known
    except FileNotFoundError:
        return _Known((0, 0, 0), False, "it is gone")
    except OSError as error:
        return _Known((0, 0, 0), False, str(error))


def _read(segment: Segment, whole: bool) -> tuple[str | None, tuple[str, ...]]:
    missing = []
    try:
        with pq.ParquetFile(segment.path, page_checksum_verification=True) as file:
            there = file.schema_arrow
            for field in schema.TABLES[segment.table]:
                if field.name not in there.names and field.name in schema.ADDED.get(segment.table, ()):
                    missing.append(field.name)
                elif field.name not in there.names or not _same(there.field(field.name).type, field.type):
                    return f"it has no column {field.name} of type {field.type}", ()
            for number in range(file.num_row_groups if whole else 0):
                file.read_row_group(number)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        return " ".join(str(error).split())[:200], ()
    return None, tuple(missing)


def _same(there: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(there) and there.value_type == wanted.value_type)
    return bool(there == wanted)


def sound(found: Iterable[Segment], *, whole: bool = False) -> tuple[list[Segment], list[str]]:
    """The segments that can be read, and a sentence about each other one."""
    good, problems = [], []
    for segment in found:
        problem = fault(segment, whole=whole)
        if problem is None:
            good.append(segment)
        else:
            problems.append(
                f"{segment.path} is unreadable and was skipped: {problem}. Restore it from a copy, or "
                "delete it to be rid of this warning."
            )
    return good, problems


# Where rows lie

_places: dict[Key, dict[str, Place]] = {}
_places_lock = threading.Lock()


def places(segment: Segment) -> Mapping[str, Place]:
    """Where each trajectory's rows lie in a segment of a table of `schema.BULK`.

    Raises:
        pyarrow.ArrowException, OSError: it cannot be read.
    """
    known = _places.get(segment.key)
    if known is None:
        known = read_places(segment)
        with _places_lock:
            while len(_places) >= INDEX_WHEN:
                del _places[next(iter(_places))]
            _places[segment.key] = known
    return known


def read_places(segment: Segment) -> dict[str, Place]:
    """The same, not kept."""
    column = "trajectory_id"
    found: dict[str, Place] = {}
    begin = 0
    with pq.ParquetFile(segment.path, read_dictionary=[column], page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            for chunk in file.read_row_group(number, columns=[column])[column].chunks:
                if not len(chunk):
                    continue
                codes = chunk.indices.to_numpy(zero_copy_only=False)
                names = chunk.dictionary.to_pylist()
                # Each group of equal ids that follow one another is looked at once, whatever its length.
                starts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1])
                stops = np.append(starts[1:], len(codes))
                for code, first, stop in zip(
                    codes[starts].tolist(), starts.tolist(), stops.tolist(), strict=True
                ):
                    name = names[code]
                    known = found.get(name)
                    first = begin + first if known is None else known.first
                    found[name] = Place(name, first, begin + stop)
                begin += len(chunk)
    return found


def read_place(segment: Segment, place: Place) -> pa.Table:
    """A trajectory's rows in a segment, with the columns of its table; those it lacks are null.

    Raises:
        FileNotFoundError: the segment is gone. pyarrow.ArrowException, OSError: it is damaged.
    """
    wanted = schema.TABLES[segment.table]
    with pq.ParquetFile(segment.path, page_checksum_verification=True) as file:
        groups, begin, skipped = [], 0, 0
        for number in range(file.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            if begin + rows <= place.first:
                skipped += rows
            elif begin < place.stop:
                groups.append(number)
            begin += rows
        there = set(file.schema_arrow.names)
        table = file.read_row_groups(groups, columns=[n for n in wanted.names if n in there])
    table = fill(table.slice(place.first - skipped, place.stop - place.first), wanted)
    return table.filter(pa.compute.equal(table["trajectory_id"], place.trajectory_id))


def parts(segment: Segment) -> Iterator[pa.Table]:
    """All rows of a segment by row groups, with the columns of its table; those it lacks are null.

    Raises:
        FileNotFoundError: the segment is gone. pyarrow.ArrowException, OSError: it is damaged.
    """
    wanted = schema.TABLES[segment.table]
    with pq.ParquetFile(segment.path, page_checksum_verification=True) as file:
        there = set(file.schema_arrow.names)
        names = [name for name in wanted.names if name in there]
        for number in range(file.num_row_groups):
            yield fill(file.read_row_group(number, columns=names), wanted)


def fill(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The table with the columns of ``wanted``, null where it has none."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


# SQL text


def quote(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def from_files(table: str, chosen: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    """SELECTs of all columns from files of one table, given with what `lacks` says of each."""
    alike = defaultdict[tuple[str, ...], list[str]](list)
    for path, missing in chosen:
        alike[missing].append(quote(path))
    return [
        f"SELECT {schema.names_sql(schema.TABLES[table], missing)} FROM read_parquet([{', '.join(paths)}])"
        for missing, paths in alike.items()
    ]
