"""The index: whole DuckDB files, each one a generation.

    generation(folder)              the generation that index/CURRENT names, if any
    build(folder)                   publishes the next one
    split(found, held)              which segments a reader adds to a generation, and what it leaves out of it

A generation holds the rows of all tables but those of `schema.BULK`, whose rows stay in the segments: of them
it holds where each trajectory's rows lie (``places``). Each row tells its segment, and the table ``segments``
which those are; a reader adds the rest. A generation is built under a temporary name and then renamed; it is
never opened for writing again, so any number of readers may hold it. Whoever builds holds a lock on
``index/.lock``; readers and writers never take it. A builder that is killed leaves a temporary file, which
the next one removes, and with it what killed writers and compactions left in the runs. The whole folder may
be deleted: it is built again from the segments, which are the truth.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from aigym_kernel.errors import StoreError, StoreWarning
from aigym_kernel.store import leftovers, schema, segments
from aigym_kernel.store.records import cannot_write, replace_file, sync_folder
from aigym_kernel.store.segments import Key, Segment, quote

KEEP = 2
_GENERATION = re.compile(r"traj-(\d{6,})\.duckdb")

_HELD = pa.schema(
    [
        ("id", pa.int32()),
        *((name, pa.string()) for name in ("run_id", "table", "name")),
        *((name, pa.int64()) for name in ("size", "changed")),
        ("lacks", pa.list_(pa.string())),
    ]
)
_OWN = {
    "segments": 'id INTEGER, run_id VARCHAR, "table" VARCHAR, name VARCHAR, size BIGINT, changed BIGINT, '
    "lacks VARCHAR[]",
    "places": "trajectory_id VARCHAR, first BIGINT, stop BIGINT, segment INTEGER",
}

# As many bytes of rows wait for one INSERT.
_AT_ONCE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Held:
    """A segment that a generation holds: under which number, and what `segments.lacks` said of it."""

    id: int
    lacks: tuple[str, ...]


def kept() -> Iterator[str]:
    """The tables whose rows a generation holds."""
    return (table for table in schema.TABLES if table not in schema.BULK)


def split(found: Mapping[Key, Segment], held: Mapping[Key, Held]) -> tuple[list[Segment], list[int]]:
    """What is to be read beside a generation that holds ``held``, and which of its segments (by number) do
    not count any more: they were deleted, replaced, or merged into wider ones."""
    loose = [segment for key, segment in found.items() if key not in held]
    return loose, [kept.id for key, kept in held.items() if key not in found]


# Generations


def generation(folder: Path) -> Path | None:
    """The generation that ``index/CURRENT`` names; None if there is none yet. It may be gone."""
    try:
        name = (folder / "index" / "CURRENT").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return folder / "index" / name if _GENERATION.fullmatch(name) else None


class Outdated(Exception):
    """A generation of an earlier version: to be built again, from the segments."""


_held: dict[tuple[str, int, int], Mapping[Key, Held]] = {}


def attach(connection: duckdb.DuckDBPyConnection, path: Path) -> Mapping[Key, Held]:
    """Attaches a generation READ_ONLY as ``generation``; returns the segments it holds.

    Raises:
        Outdated: an earlier version made it, with fewer columns.
        duckdb.Error: it cannot be read. OSError: it is gone.
    """
    stat = path.stat()
    connection.execute(f"ATTACH {quote(str(path))} AS generation (READ_ONLY)")
    key = (str(path), stat.st_ino, stat.st_mtime_ns)
    held = _held.get(key)
    if held is None:
        try:
            _check_columns(connection)
            held = _read_held(connection, "generation.")
        except (duckdb.Error, Outdated):
            connection.execute("DETACH generation")
            raise
        _held.clear()
        _held[key] = held
    return held


def _check_columns(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        for table in kept():
            names = schema.names_sql(schema.TABLES[table])
            connection.execute(f"SELECT {names}, segment FROM generation.{table} LIMIT 0")
        for table in _OWN:
            connection.execute(f"FROM generation.{table} LIMIT 0")
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise Outdated(str(error)) from None


def _read_held(connection: duckdb.DuckDBPyConnection, place: str) -> Mapping[Key, Held]:
    rows = connection.execute(f"FROM {place}segments").fetchall()
    return {
        (run, table, name, size, changed): Held(i, tuple(lacks))
        for i, run, table, name, size, changed, lacks in rows
    }


def build(folder: Path, *, rebuild: bool = False, wait: bool = True) -> Path | None:
    """Publishes the next generation and returns it; the present one if that holds everything already.

    Args:
        rebuild: from the segments alone, not from the present generation.
        wait: for another process that is building; otherwise return None then.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    index = folder / "index"
    try:
        index.mkdir(exist_ok=True)
        with _lock(index / ".lock", wait) as held:
            return _build(folder, rebuild) if held else None
    except StoreError:
        raise
    except OSError as error:
        raise cannot_write(index, error) from error
    except duckdb.Error as error:
        raise StoreError(
            f"cannot build the next generation in {index}: {error}. Free some space there, or delete that "
            "folder to have it built anew; nothing recorded is in it alone"
        ) from error


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[bool]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _build(folder: Path, rebuild: bool) -> Path:
    index = folder / "index"
    for leftover in index.glob("*.tmp*"):
        leftover.unlink(missing_ok=True)
    _remove_leftovers(folder)
    present = generation(folder)
    temporary = index / f"{secrets.token_hex(4)}.duckdb.tmp"
    try:
        if rebuild or present is None or not _copy(present, temporary):
            temporary.unlink(missing_ok=True)
            present = None
        changed = _fill(folder, temporary, fresh=present is None)
        if present is not None and not changed:
            return present
        final = index / f"traj-{_newest(index) + 1:06d}.duckdb"
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(final)
        try:
            sync_folder(index)
            replace_file(index / "CURRENT", final.name + "\n")
        finally:
            if generation(folder) != final:
                final.unlink(missing_ok=True)
    finally:
        for leftover in index.glob(f"{temporary.name}*"):
            leftover.unlink(missing_ok=True)
    for path in index.iterdir():
        match = _GENERATION.fullmatch(path.name)
        if match and int(match[1]) <= _newest(index) - KEEP:
            path.unlink(missing_ok=True)
    return final


def _remove_leftovers(folder: Path) -> None:
    for run_id in segments.entries(f"{folder}/runs"):
        place = folder / "runs" / run_id
        for table in schema.TABLES:
            names = segments.entries(f"{place}/{table}")
            unfinished = [place / table / n for n in names if n.endswith(leftovers.SUFFIX)]
            leftovers.remove(place, unfinished)


def connect(path: str = ":memory:", **config: str) -> duckdb.DuckDBPyConnection:
    """A database without DuckDB's progress: in a notebook that would be a black bar in whichever cell runs,
    once a query takes longer than two seconds."""
    connection = duckdb.connect(path, config=dict(config))
    connection.execute("SET enable_progress_bar = false")
    return connection


def _newest(index: Path) -> int:
    numbers = [int(m[1]) for p in index.iterdir() if (m := _GENERATION.fullmatch(p.name))]
    return max(numbers, default=0)


def _copy(present: Path, temporary: Path) -> bool:
    """Copies a generation to go on from; False if it cannot be used."""
    try:
        with connect() as connection:
            attach(connection, present)
    except (Outdated, duckdb.Error, OSError):
        return False
    shutil.copyfile(present, temporary)
    return True


def _fill(folder: Path, path: Path, *, fresh: bool) -> bool:
    """Brings a generation's file up to date; returns whether that changed it."""
    with connect(str(path)) as connection:
        if fresh:
            for table, columns in _OWN.items():
                connection.execute(f"CREATE TABLE {table} ({columns})")
            for table in kept():
                columns = schema.columns_sql(schema.TABLES[table])
                connection.execute(f"CREATE TABLE {table} ({columns}, segment INTEGER)")
        held = _read_held(connection, "")
        loose, stale = split(segments.segments(folder), held)
        for table in (*kept(), "places") if stale else ():
            connection.execute(f"DELETE FROM {table} WHERE segment IN (SELECT unnest(?))", [stale])
        if stale:
            connection.execute("DELETE FROM segments WHERE id IN (SELECT unnest(?))", [stale])
        new, problems = segments.sound(loose)
        first = max((kept.id for kept in held.values()), default=0) + 1
        waiting = defaultdict[str, list[pa.Table]](list)
        size = 0
        for number, segment in enumerate(new, first):
            try:
                table, rows = _rows(number, segment)
            except FileNotFoundError:
                # Merged or deleted since it was listed: the next generation holds what took its place.
                continue
            except (pa.ArrowException, OSError):
                # Its footer is whole, and its pages are not.
                problems += segments.sound([segment], whole=True)[1]
                continue
            waiting[table].append(rows)
            waiting["segments"].append(_hold(number, segment))
            size += rows.nbytes
            if size > _AT_ONCE:
                _insert(connection, waiting)
                size = 0
        changed = bool(stale or waiting)
        _insert(connection, waiting)
        connection.execute("CHECKPOINT")
    for problem in problems:
        warnings.warn(problem, StoreWarning, stacklevel=2)
    return changed


def _rows(number: int, segment: Segment) -> tuple[str, pa.Table]:
    """What a generation holds of a segment, and in which of its tables."""
    if segment.table in schema.BULK:
        places = segments.read_places(segment).values()
        # Typed: of a segment without rows, which a rewinding leaves, no type could be guessed.
        kinds = {"trajectory_id": pa.string(), "first": pa.int64(), "stop": pa.int64()}
        rows = pa.table({n: pa.array([getattr(place, n) for place in places], k) for n, k in kinds.items()})
        table = "places"
    else:
        table = segment.table
        rows = pa.concat_tables([schema.TABLES[table].empty_table(), *segments.parts(segment)])
    return table, rows.append_column("segment", pa.array([number] * rows.num_rows, pa.int32()))


def _hold(number: int, segment: Segment) -> pa.Table:
    """The row of ``segments``."""
    values = dict(zip(_HELD.names, (number, *segment.key, list(segments.lacks(segment))), strict=True))
    return pa.Table.from_pylist([values], schema=_HELD)


def _insert(connection: duckdb.DuckDBPyConnection, waiting: Mapping[str, list[pa.Table]]) -> None:
    for table, parts in waiting.items():
        if not parts:
            continue
        connection.register("new_rows", pa.concat_tables(parts))
        connection.execute(f"INSERT INTO {table} SELECT * FROM new_rows")
        connection.unregister("new_rows")
        parts.clear()
