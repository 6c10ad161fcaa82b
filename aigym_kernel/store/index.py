"""The segments on the disk, and the index made of them: whole DuckDB files, each one a generation.

    segments(folder)                every published segment
    generation(folder)              the generation that index/CURRENT names, if any
    build(folder)                   publishes the next one

A generation is built under a temporary name and then renamed; it is never opened for writing again, so any
number of readers may hold it. Its table ``segments`` says what it holds; a reader adds the rest. Whoever
builds holds a lock on ``index/.lock``; readers and writers never take it. A builder that is killed leaves
a temporary file, which the next one removes, and with it what killed writers left in their runs. The whole
folder may be deleted: it is built again from the segments, which are the truth.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from aigym_kernel.errors import StoreError, StoreWarning
from aigym_kernel.store import leftovers, schema
from aigym_kernel.store.records import cannot_write, replace_file, sync_folder

KEEP = 2
_GENERATION = re.compile(r"traj-(\d{6,})\.duckdb")
_SEGMENT = re.compile(r"\d{6,}\.parquet")

# A file by its run, table, name, size and time of change (ns). The last two tell a run from another one
# that was recorded under the same id after the first had been deleted.
Key = tuple[str, str, str, int, int]
_KEY_SQL = 'run_id VARCHAR, "table" VARCHAR, name VARCHAR, size BIGINT, changed BIGINT'


@dataclass(frozen=True, slots=True)
class Segment:
    """One published file: rows of one table of one run."""

    run_id: str
    table: str
    path: str
    key: Key


# Segments


def segments(folder: Path) -> dict[Key, Segment]:
    """Every published segment, by run and number.

    The tables are listed in the reverse of the order in which a writer publishes, so that for every
    trajectory's row that is listed its steps and marks are listed too.
    """
    found: dict[Key, Segment] = {}
    for run_id in _entries(f"{folder}/runs"):
        for table in reversed(schema.TABLES):
            found.update(_segments(f"{folder}/runs/{run_id}/{table}", run_id, table))
    return found


def split(found: dict[Key, Segment], held: Iterable[Key]) -> tuple[list[Segment], list[str]]:
    """What is to be read beside a generation that holds ``held``: segments, and runs to leave out of it.

    A run of which anything was deleted or replaced is left out whole: its rows do not tell their segments.
    """
    held = frozenset(held)
    stale = {key[0] for key in held - found.keys()}
    loose = [segment for key, segment in found.items() if key not in held or segment.run_id in stale]
    return loose, sorted(stale)


# What folders held, by their paths, with the time of change that this belongs to.
_listings: dict[str, tuple[int, tuple[str, ...]]] = {}
_segment_listings: dict[str, tuple[tuple[str, ...], dict[Key, Segment]]] = {}


def _segments(path: str, run_id: str, table: str) -> dict[Key, Segment]:
    names = _entries(path)
    known = _segment_listings.get(path)
    if known is not None and known[0] is names:
        return known[1]
    made = {}
    for name in filter(_SEGMENT.fullmatch, names):
        try:
            stat = Path(path, name).stat()
        except FileNotFoundError:
            continue
        key = (run_id, table, name, stat.st_size, stat.st_mtime_ns)
        made[key] = Segment(run_id, table, f"{path}/{name}", key)
    _segment_listings[path] = (names, made)
    return made


def _entries(path: str) -> tuple[str, ...]:
    """The sorted names in a folder, hidden ones left out; none if there is no folder."""
    place = Path(path)
    try:
        changed = place.stat().st_mtime_ns
        known = _listings.get(path)
        if known is not None and known[0] == changed:
            return known[1]
        found = (p.name for p in place.iterdir() if not p.name.startswith("."))
        names = tuple(sorted(found, key=lambda name: (len(name), name)))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    # A folder changed within the clock's tick may change again without its time showing it.
    if time.time_ns() - changed > 2_000_000_000:
        _listings[path] = (changed, names)
    return names


# What was found wrong with a file, by its path: its state then, whether all of it was read, the finding.
_checked: dict[str, tuple[tuple[int, int, int], bool, str | None]] = {}

# Files that lack a column of `schema.ADDED`.
_older: set[str] = set()


def fault(segment: Segment, *, whole: bool = False) -> str | None:
    """What is wrong with a segment's file, or None. ``whole`` reads all of it, not only its footer."""
    try:
        stat = Path(segment.path).stat()
        state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = _checked.get(segment.path)
        if known is not None and known[0] == state and (known[1] >= whole or known[2] is not None):
            return known[2]
        found = _read_fault(segment, whole)
    except FileNotFoundError:
        return "it is gone"
    except OSError as error:
        return str(error)
    _checked[segment.path] = (state, whole, found)
    return found


def _read_fault(segment: Segment, whole: bool) -> str | None:
    try:
        with pq.ParquetFile(segment.path, page_checksum_verification=True) as file:
            there = file.schema_arrow
            _older.discard(segment.path)
            for field in schema.TABLES[segment.table]:
                if field.name not in there.names and field.name in schema.ADDED.get(segment.table, ()):
                    _older.add(segment.path)
                elif field.name not in there.names or not _same(there.field(field.name).type, field.type):
                    return f"it has no column {field.name} of type {field.type}"
            if whole:
                file.read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        return " ".join(str(error).split())[:200]
    return None


def _same(there: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(there) and there.value_type == wanted.value_type)
    return bool(there == wanted)


def sound(found: Iterable[Segment], *, whole: bool = False) -> list[Segment]:
    """The segments that can be read. Each other one is named in a StoreWarning."""
    good = []
    for segment in found:
        problem = fault(segment, whole=whole)
        if problem is None:
            good.append(segment)
        else:
            warnings.warn(
                f"{segment.path} is unreadable and was skipped: {problem}. Restore it from a copy, or "
                "delete it to be rid of this warning.",
                StoreWarning,
                stacklevel=2,
            )
    return good


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


_held: dict[tuple[str, int, int], frozenset[Key]] = {}


def attach(connection: duckdb.DuckDBPyConnection, path: Path) -> frozenset[Key]:
    """Attaches a generation READ_ONLY as ``generation``; returns the keys of the segments it holds.

    Raises:
        Outdated: an earlier version made it, with fewer columns.
        duckdb.Error: it cannot be read. OSError: it is gone.
    """
    stat = path.stat()
    connection.execute(f"ATTACH {quote(str(path))} AS generation (READ_ONLY)")
    key = (str(path), stat.st_ino, stat.st_mtime_ns)
    keys = _held.get(key)
    if keys is None:
        try:
            keys = _read_keys(connection, "generation.segments")
            _check_columns(connection)
        except (duckdb.Error, Outdated):
            connection.execute("DETACH generation")
            raise
        _held.clear()
        _held[key] = keys
    return keys


def _check_columns(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        for table, columns in schema.TABLES.items():
            connection.execute(f"SELECT {schema.names_sql(columns)} FROM generation.{table} LIMIT 0")
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise Outdated(str(error)) from None


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
    for run_id in _entries(f"{folder}/runs"):
        place = folder / "runs" / run_id
        names = [
            (t, n) for t in schema.TABLES for n in _entries(f"{place}/{t}") if n.endswith(leftovers.SUFFIX)
        ]
        leftovers.remove(place, [place / table / name for table, name in names])


def _newest(index: Path) -> int:
    numbers = [int(m[1]) for p in index.iterdir() if (m := _GENERATION.fullmatch(p.name))]
    return max(numbers, default=0)


def _copy(present: Path, temporary: Path) -> bool:
    """Copies a generation to go on from; False if it cannot be used."""
    try:
        with duckdb.connect() as connection:
            attach(connection, present)
    except (Outdated, duckdb.Error, OSError):
        return False
    shutil.copyfile(present, temporary)
    return True


def _fill(folder: Path, path: Path, *, fresh: bool) -> bool:
    """Brings a generation's file up to date; returns whether that changed it."""
    with duckdb.connect(str(path)) as connection:
        if fresh:
            connection.execute(f"CREATE TABLE segments ({_KEY_SQL})")
            for table, columns in schema.TABLES.items():
                connection.execute(f"CREATE TABLE {table} ({schema.columns_sql(columns)})")
        loose, stale = split(segments(folder), _read_keys(connection, "segments"))
        for table in (*schema.TABLES, "segments") if stale else ():
            connection.execute(f"DELETE FROM {table} WHERE run_id IN (SELECT unnest(?))", [stale])
        new = sound(loose)
        changed = bool(stale)
        for table in schema.TABLES:
            if chosen := [s for s in new if s.table == table]:
                _insert(connection, table, chosen)
                changed = True
        connection.execute("CHECKPOINT")
    return changed


def _read_keys(connection: duckdb.DuckDBPyConnection, table: str) -> frozenset[Key]:
    rows = connection.execute(f'SELECT run_id, "table", name, size, changed FROM {table}').fetchall()
    return frozenset((run, name_of, name, size, changed) for run, name_of, name, size, changed in rows)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, chosen: list[Segment]) -> None:
    names = schema.names_sql(schema.TABLES[table])
    for attempt in range(2):
        connection.execute("BEGIN")
        try:
            if chosen:
                connection.execute(f"INSERT INTO {table} SELECT {names} FROM {from_files(table, chosen)}")
                keys = [list(column) for column in zip(*(s.key for s in chosen), strict=True)]
                marks = ", ".join(["unnest(?)"] * len(keys))
                connection.execute(f"INSERT INTO segments SELECT {marks}", keys)
            connection.execute("COMMIT")
            return
        except duckdb.Error:
            connection.execute("ROLLBACK")
            # A footer can be whole where the pages are not: look at every byte, once.
            kept = sound(chosen, whole=True)
            if attempt or len(kept) == len(chosen):
                raise
            chosen = kept


# SQL text


def quote(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def from_files(table: str, chosen: Sequence[Segment]) -> str:
    """What stands after FROM to read these segments of one table, which `sound` has looked at."""
    files = f"[{', '.join(quote(s.path) for s in chosen)}]"
    if not any(s.path in _older for s in chosen):
        return f"read_parquet({files})"
    return (
        f"(SELECT {schema.added_sql(table)} WHERE false "
        f"UNION ALL BY NAME FROM read_parquet({files}, union_by_name = true))"
    )
