"""What is worked out of trajectories and kept beside them: documents, and vectors of each embedder.

    runs/<run_id>/embeddings/<name>/000001.parquet      trajectory_id, seen, and what is kept

    kept = load(folder, run_ids, shelf)       all rows of the runs; read once as long as no file changes
    append(folder, run_id, shelf, rows)       more rows, in a file of their own

Files are written as ``*.tmp``, fsync, and linked to the next free name; they are never changed. Several
processes may append the same row: that costs its space and nothing else. Everything here can be worked out
again: whoever deletes the folder loses time, a file that cannot be read is removed, and where nothing can
be written (a read-only store, a full disk) the rows stay in this process.
"""

from __future__ import annotations

import os
import secrets
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aigym_kernel.errors import StoreWarning
from aigym_kernel.store.records import sync_folder

ROWS = 1_000
"""Rows per row group: what is read to show one text."""

_ABANDONED_S = 3_600
_MANY, _SMALL = 8, 4_096  # so many files of fewer rows than this are joined


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """One kind of rows: the name of its folder, its columns, and those that only `cells` reads."""

    name: str
    columns: pa.Schema
    on_demand: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """All columns of its files. ``seen``: the time of the latest comment that the row knows of, in
        microseconds since 1970, 0 where there was none."""
        return pa.schema([("trajectory_id", pa.string()), ("seen", pa.int64()), *self.columns])

    def place(self, folder: Path, run_id: str) -> Path:
        """Its folder in a run."""
        return folder / "runs" / run_id / "embeddings" / self.name


class Kept:
    """The rows of a shelf, as they lie in its files: ``table`` has all columns but those on demand."""

    def __init__(self, shelf: Shelf, files: Sequence[tuple[Path | None, pa.Table]]) -> None:
        names = [name for name in shelf.schema.names if name not in shelf.on_demand]
        empty = pa.schema([shelf.schema.field(name) for name in names]).empty_table()
        self._files = files
        self._asked: tuple[pa.ChunkedArray, NDArray[np.int64]] | None = None
        self.table = pa.concat_tables([table.select(names) for _, table in files] or [empty])
        # Which file and which row of it, to read the other columns.
        self._file = np.repeat(np.arange(len(files)), [len(table) for _, table in files])
        self._row = np.concatenate([np.arange(len(table)) for _, table in files] or [np.zeros(0, np.int64)])

    @cached_property
    def seen(self) -> NDArray[np.int64]:
        """See `Shelf.schema`."""
        return np.asarray(self.table["seen"].to_numpy(), dtype=np.int64)

    @cached_property
    def _latest(self) -> tuple[pa.Array, NDArray[np.int64]]:
        order = np.argsort(-self.seen, kind="stable")
        return self.table["trajectory_id"].combine_chunks().take(pa.array(order)), order

    def places(self, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """The row of each trajectory, the one that has seen most where there are several; -1: none."""
        if self._asked is not None and self._asked[0].equals(ids):
            return self._asked[1]
        known, order = self._latest
        found = pc.index_in(ids, value_set=known).fill_null(-1).to_numpy()
        found = np.where(found < 0, -1, order[found] if len(order) else -1)
        if len(ids) >= ROWS:  # all of the store: asked again and again, and comparing ids is quick
            self._asked = (ids, found)
        return found

    def cells(self, name: str, rows: Sequence[int]) -> list[object]:
        """The values of a column in some rows.

        Raises:
            FileNotFoundError: another process has joined or removed the file since.
        """
        found: dict[int, object] = {}
        by_file = defaultdict[int, list[int]](list)
        for row in rows:
            by_file[int(self._file[row])].append(row)
        for number, those in by_file.items():
            path, table = self._files[number]
            if path is None:
                for row in those:
                    found[row] = table[name][int(self._row[row])].as_py()
                continue
            with pq.ParquetFile(path) as file:
                groups = defaultdict[int, list[int]](list)
                for row in those:
                    groups[int(self._row[row]) // ROWS].append(row)
                for group, members in groups.items():
                    column = file.read_row_group(group, columns=[name])[name]
                    for row in members:
                        found[row] = column[int(self._row[row]) % ROWS].as_py()
        return [found[row] for row in rows]


# Reading

_State = tuple[int, int, int]
# By store and shelf: what was read of each file, and what could not be written (without a path).
_tables: dict[tuple[str, str], dict[Path, tuple[_State, pa.Table]]] = defaultdict(dict)
_unwritten: dict[tuple[str, str], list[pa.Table]] = defaultdict(list)
_last: dict[tuple[str, str], tuple[list[object], Kept]] = {}


def load(folder: Path, run_ids: Iterable[str], shelf: Shelf) -> Kept:
    """All rows that are kept for these runs. The same object as before where nothing has changed."""
    key = (str(folder), shelf.name)
    known, found = _tables[key], {}
    for run_id in run_ids:
        for path in _paths(shelf.place(folder, run_id)):
            with suppress(FileNotFoundError):
                stat = path.stat()
                state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if path not in known or known[path][0] != state:
                    table = _read(path, shelf)
                    if table is None:
                        continue
                    known[path] = (state, table)
                found[path] = known[path]
    _tables[key] = found
    signature: list[object] = [(path, state) for path, (state, _) in found.items()]
    signature.append(len(_unwritten[key]))
    if key in _last and _last[key][0] == signature:
        return _last[key][1]
    files: list[tuple[Path | None, pa.Table]] = [(path, table) for path, (_, table) in found.items()]
    kept = Kept(shelf, files + [(None, table) for table in _unwritten[key]])
    _last[key] = (signature, kept)
    return kept


def _paths(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.suffix == ".parquet")
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: Path, shelf: Shelf) -> pa.Table | None:
    """A file without what is read on demand. What is no such file is removed: its rows are made again."""
    wanted = [field for field in shelf.schema if field.name not in shelf.on_demand]
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.equals(shelf.schema):
                return file.read([field.name for field in wanted])
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError):
        pass
    with suppress(OSError):
        path.unlink()
    return None


# Writing


def append(folder: Path, run_id: str, shelf: Shelf, rows: pa.Table) -> None:
    """Keeps more rows of a run; in this process alone, with a StoreWarning, where they cannot be written.
    Nothing is written for a run that is gone."""
    place = shelf.place(folder, run_id)
    rows = rows.cast(shelf.schema)
    try:
        # The run's own folder is not made: it may have been deleted a moment ago.
        place.parent.mkdir(exist_ok=True)
        place.mkdir(exist_ok=True)
        _write(place, rows)
        _join(place, shelf)
    except FileNotFoundError:
        return
    except OSError as error:
        key = (str(folder), shelf.name)
        if not _unwritten[key]:
            warnings.warn(
                f"what search works out cannot be kept in {place} ({error.strerror or error}); every process "
                "works it out for itself until that folder can be written",
                StoreWarning,
                stacklevel=2,
            )
        _unwritten[key].append(rows)


def _write(place: Path, rows: pa.Table) -> None:
    for left in place.glob("*.tmp"):
        # Of a process that was killed: nobody takes that long.
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                left.unlink()
    temporary = place / f"{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            # Vectors do not become smaller: they are read as they lie there.
            codec = {name: "none" if name == "vector" else "zstd" for name in rows.column_names}
            pq.write_table(rows, file, row_group_size=ROWS, compression=codec, use_dictionary=False)
            file.flush()
            os.fsync(file.fileno())
        numbers = [int(path.stem) for path in _paths(place) if path.stem.isdecimal()]
        number = max(numbers, default=0) + 1
        while True:
            try:
                (place / f"{number:06d}.parquet").hardlink_to(temporary)
                break
            except FileExistsError:
                number += 1
        sync_folder(place)
    finally:
        temporary.unlink(missing_ok=True)


def _join(place: Path, shelf: Shelf) -> None:
    """Makes one file of many small ones. Readers that still list those find the rows in the new one."""
    paths = _paths(place)
    if len(paths) < _MANY:
        return
    small = {}
    for path in paths:
        with suppress(FileNotFoundError, pa.ArrowException), pq.ParquetFile(path) as file:
            if file.metadata.num_rows < _SMALL and file.schema_arrow.equals(shelf.schema):
                small[path] = file.read()
    if len(small) < _MANY:
        return
    _write(place, pa.concat_tables(small.values()))
    for path in small:
        path.unlink(missing_ok=True)
