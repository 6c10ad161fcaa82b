"""What is recorded right now, as a locked DuckDB: `open_snapshot`.

    with open_snapshot(folder, query) as snapshot:
        snapshot.ask(query, parameters, lambda answer: answer.df())
        snapshot.bulk("steps", run_id, trajectory_id)       one trajectory's rows, read from the segments

A `Database` is a DuckDB in memory, with the present generation of the index attached READ_ONLY and the
segments which that does not hold beside it. Before any question is asked it is locked: it can then neither
read any other file nor write one. Whether a statement reads at all is for `statements.check_reading` to say.
It is kept until something on the disk has changed, and each question, from whichever thread, has a cursor of
its own on it. A file that is gone when it is read was merged or deleted meanwhile: the question is asked
again.
"""

from __future__ import annotations

import os
import secrets
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from aigym_kernel.errors import QueryError, StoreError, StoreWarning
from aigym_kernel.store import index, reviews, runs, schema, segments, statements
from aigym_kernel.store.index import Held
from aigym_kernel.store.records import read_record
from aigym_kernel.store.segments import Key, Segment, quote

T = TypeVar("T")

VERSION = 1

# How many stores' databases a process keeps.
_KEEP = 4
_ELSEWHERE = "let AIGYM_DATA (or what Store() was given) name a folder of yours"

# Checks


def check_folder(folder: Path) -> None:
    """Refuses a store's folder that is a file, lies below one, or may not be looked into.

    Raises:
        StoreError: naming the file or folder.
    """
    try:
        (folder / "store.json").exists()
        place = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    except OSError as e:
        raise StoreError(f"{folder} cannot be read: {e.strerror}; {_ELSEWHERE}") from None
    if place.exists() and not place.is_dir():
        raise StoreError(f"{place} is a file, so there can be no store in {folder}; {_ELSEWHERE}")


def check_version(folder: Path) -> None:
    """Refuses a store that is missing, broken or newer than this version.

    Raises:
        StoreError: naming the folder or both versions, and the way out.
    """
    path = folder / "store.json"
    check_folder(folder)
    if not path.exists():
        raise StoreError(
            f"there is no store in {folder}; run something that records first, "
            "or let the environment variable AIGYM_DATA name the folder of your store"
        )
    version = read_record(path).get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise StoreError(f'{path} names no version ({version!r}); it should hold {{"version": {VERSION}}}')
    if version > VERSION:
        raise StoreError(
            f"the store in {folder} has version {version}, and this aigym_kernel reads up to version "
            f"{VERSION}; upgrade aigym-kernel, or let AIGYM_DATA name another folder"
        )


# What is kept between questions

_State = tuple[tuple[str, int, int] | None, Mapping[Key, Segment], frozenset[str]]


def _state(folder: Path) -> _State:
    """What a database is made of: the generation, by its path, inode and time of change, the segments, and
    which files are known to be damaged.

    The generation is looked at first: what it lacks is then sure to be among the segments.
    """
    path, stamp = index.generation(folder), None
    if path is not None:
        with suppress(OSError):
            stat = path.stat()
            stamp = (str(path), stat.st_ino, stat.st_mtime_ns)
    return stamp, segments.segments(folder), segments.faulty()


class _Gone(Exception):
    """A file that had been listed was merged or deleted before it was read: to be looked at again."""


class Database:
    """A locked DuckDB whose tables are what was recorded when it was made; see the module's text.

    ``problems``: a sentence about each file that had to be left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self._connection = _connect()
        self.state = _state(folder)
        held, outdated = self._attach()
        loose, stale = index.split(self.state[1], held or {})
        if outdated or len(loose) > segments.INDEX_WHEN:
            many = len(segments.sound(loose)[0]) > segments.INDEX_WHEN
            if (many or outdated) and self._build():
                self._connection = _connect()
                self.state = _state(folder)
                held, _ = self._attach()
                loose, stale = index.split(self.state[1], held or {})
        good, problems = segments.sound(loose)
        self.problems += problems
        self.gone = any(segments.is_gone(segment) for segment in loose) if problems else False
        self._stale = frozenset(stale)
        self._held = {h.id: self.state[1][key] for key, h in (held or {}).items() if key in self.state[1]}
        self._loose = {t: [s for s in good if s.table == t] for t in schema.TABLES}
        files = self._files(held or {})
        try:
            self._make_tables(held is not None, files)
        except duckdb.Error as error:
            if any(not Path(path).exists() for some in files.values() for path, _ in some):
                raise _Gone from None
            raise StoreError(f"the store in {folder} cannot be read: {statements.message(error)}") from None
        self._lock(files)

    def _attach(self) -> tuple[Mapping[Key, Held] | None, bool]:
        """Attaches the present generation: what it holds (None if there is none that can be read), and
        whether an earlier version made it."""
        seen = None
        problem: Exception | None = None
        while (path := index.generation(self.folder)) is not None and path != seen:
            try:
                return index.attach(self._connection, path), False
            except index.Outdated:
                return None, True
            except (duckdb.Error, OSError) as error:
                # It may have been replaced and removed between the two looks: then CURRENT names another.
                seen, problem = path, error
        if seen is not None and problem is not None:
            gone = isinstance(problem, FileNotFoundError)
            what = "is gone" if gone else f"is unreadable ({statements.message(problem)})"
            self.problems.append(
                f"the index {seen} {what}; reading all segments instead, which is slower. "
                "Build it again with Store().index(rebuild=True)."
            )
        return None, False

    def _build(self) -> bool:
        try:
            return index.build(self.folder, wait=False) is not None
        except StoreError:
            # A folder that cannot be written can still be read, only more slowly.
            return False

    def _files(self, held: Mapping[Key, Held]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        """The files that each table is read from, with the columns that they lack."""
        files = {t: [(s.path, segments.lacks(s)) for s in some] for t, some in self._loose.items()}
        for key, kept in held.items():
            segment = self.state[1].get(key)
            if segment is None or segment.table not in schema.BULK:
                continue
            if problem := segments.known_fault(segment):
                self.problems.append(problem)
            else:
                files[segment.table].append((segment.path, kept.lacks))
        return files

    def _make_tables(self, attached: bool, files: Mapping[str, list[tuple[str, tuple[str, ...]]]]) -> None:
        self._connection.execute("CREATE SCHEMA recorded; CREATE TABLE recorded.stale (segment INTEGER)")
        if self._stale:
            self._connection.execute("INSERT INTO recorded.stale SELECT unnest(?)", [list(self._stale)])
        for table, columns in schema.TABLES.items():
            parts = segments.from_files(table, files[table])
            if attached and table not in schema.BULK:
                rows = f"SELECT {schema.names_sql(columns)} FROM generation.{table}"
                stale = " WHERE segment NOT IN (FROM recorded.stale)" if self._stale else ""
                parts.insert(0, rows + stale)
            place = f"recorded.{table}" if table in reviews.CHANGED else table
            if parts:
                self._connection.execute(f"CREATE VIEW {place} AS {' UNION ALL '.join(parts)}")
            else:
                self._connection.execute(f"CREATE TABLE {place} ({schema.columns_sql(columns)})")
        some = self._connection.execute(
            "SELECT EXISTS (FROM reviews), EXISTS (FROM notes WHERE kind <> 'note')"
        ).fetchone()
        assert some is not None
        for statement in reviews.views(reviewed=some[0], tagged=some[1]):
            self._connection.execute(statement)

    def _lock(self, files: Mapping[str, list[tuple[str, tuple[str, ...]]]]) -> None:
        # Made by DuckDB only when an answer outgrows the memory, and removed by it.
        name = f"aigym-duckdb-{os.getpid()}-{secrets.token_hex(4)}"
        spill = Path(os.environ.get("TMPDIR") or "/tmp") / name
        allowed = ", ".join(quote(path) for some in files.values() for path, _ in some)
        self._connection.execute(
            f"SET temp_directory = {quote(str(spill))}; SET python_enable_replacements = false; "
            "SET parquet_metadata_cache = true; "
            f"SET allowed_paths = [{allowed}]; SET enable_external_access = false; "
            "SET lock_configuration = true"
        )

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one thread."""
        return self._connection.cursor()

    def places(
        self, cursor: duckdb.DuckDBPyConnection, table: str, run_id: str, trajectory_id: str
    ) -> list[tuple[Segment, segments.Place]]:
        """Where the rows of a trajectory in a table of `schema.BULK` lie, in the order of the segments.

        Raises:
            FileNotFoundError: a segment is gone. pyarrow.ArrowException, OSError: it is damaged.
        """
        found = []
        if self._held:
            query = "SELECT first, stop, segment FROM generation.places WHERE trajectory_id = ?"
            for first, stop, number in cursor.execute(query, [trajectory_id]).fetchall():
                segment = self._held.get(number)
                if segment is not None and (segment.run_id, segment.table) == (run_id, table):
                    found.append((segment, segments.Place(trajectory_id, first, stop)))
        for segment in self._loose[table]:
            if segment.run_id == run_id and (place := segments.places(segment).get(trajectory_id)):
                found.append((segment, place))
        return sorted(found, key=lambda one: one[0].numbers)

    def damaged(self, error: Exception) -> bool:
        """Whether a file that is read is gone or damaged, as ``error`` makes one suspect."""
        used = [s for some in self._loose.values() for s in some]
        used += [s for s in self._held.values() if s.table in schema.BULK]
        if any(segments.is_gone(segment) for segment in used):
            return True
        named = [segment for segment in used if segment.path in str(error)]
        return bool(segments.sound(named or used, whole=True)[1])


def memory() -> int:
    """How many bytes a database may use, and an answer: a quarter of the machine's, since several databases
    may be kept and answers lie beside them."""
    import psutil

    return max(psutil.virtual_memory().total // 4, 2**30)


def _connect() -> duckdb.DuckDBPyConnection:
    return index.connect(memory_limit=f"{memory() >> 20}MiB", autoload_known_extensions="false")


# By process: what a parent's threads held is nobody's in its forked child.
_databases: dict[tuple[int, Path], Database] = {}
_databases_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_databases_lock=threading.Lock()))


def _database(folder: Path, *, fresh: bool = False) -> Database:
    """The database that is kept, or a new one where something has changed."""
    key = (os.getpid(), folder)
    with _databases_lock:
        kept = _databases.pop(key, None)
        if kept is None or fresh or kept.state != _state(folder):
            kept = _made(folder)
        _databases[key] = kept
        mine = [k for k in _databases if k[0] == key[0]]
        for old in mine[: max(0, len(mine) - _KEEP)]:
            del _databases[old]
    return kept


def _made(folder: Path) -> Database:
    database = None
    for _ in range(_TRIES):
        try:
            database = Database(folder)
        except _Gone:
            continue
        if not database.gone:
            return database
    if database is None:
        raise StoreError(_RESTLESS.format(folder))
    return database


# One question

# What DuckDB never raises on a damaged page: it meets that with errors of many other kinds.
_NO_DAMAGE = (
    duckdb.ParserException,
    duckdb.CatalogException,
    duckdb.BinderException,
    duckdb.InterruptException,
    duckdb.OutOfMemoryException,
    duckdb.PermissionException,
)


class Snapshot:
    """One question's view of a store; see the module's text."""

    def __init__(self, folder: Path, question: str) -> None:
        self._folder = folder
        self._question = question.lower()
        self._open(fresh=False)

    def _open(self, *, fresh: bool) -> None:
        self._database = _database(self._folder, fresh=fresh)
        for problem in self._database.problems:
            warnings.warn(problem, StoreWarning, stacklevel=4)
        self._cursor = self._database.cursor()
        rows = runs.rows(self._folder) if "runs" in self._question else []
        self._cursor.register("runs", schema.rows_table("runs", rows))

    def ask(
        self,
        query: str,
        parameters: Sequence[Any] | None,
        fetch: Callable[[duckdb.DuckDBPyConnection], T],
        *,
        timeout_s: float | None = None,
    ) -> T:
        """What ``fetch`` makes of the answer.

        Segments whose pages turn out to be damaged are named, left out, and the query runs again.

        Raises:
            QueryError: with DuckDB's message; it took longer than ``timeout_s``, or was cancelled.
        """
        # Recorded text was cleaned in the same way.
        query = schema.clean(query)
        if isinstance(parameters, list | tuple):
            parameters = [schema.clean(p) if isinstance(p, str) else p for p in parameters]

        def work() -> T:
            return fetch(self._cursor.execute(query, parameters))

        for attempt in range(_TRIES):
            try:
                return (
                    work()
                    if timeout_s is None
                    else statements.run(self._folder, self._cursor, work, timeout_s)
                )
            except duckdb.Error as error:
                last = attempt == _TRIES - 1
                if last or self._is_no_damage(error) or not self._database.damaged(error):
                    raise QueryError(statements.message(error)) from None
            self.close()
            self._open(fresh=True)
        raise AssertionError

    def _is_no_damage(self, error: duckdb.Error) -> bool:
        # A file that is gone when a view is bound is looked for as a folder, which the lock does not allow.
        gone = isinstance(error, duckdb.PermissionException) and f"{self._folder}/runs/" in str(error)
        return isinstance(error, _NO_DAMAGE) and not gone

    def bulk(self, table: str, run_id: str, trajectory_id: str) -> pa.Table:
        """The rows of one trajectory in ``steps`` or another table of `schema.BULK`, in the order in which
        they were written. Damaged segments are named in a StoreWarning and left out."""
        for _ in range(_TRIES):
            try:
                places = self._database.places(self._cursor, table, run_id, trajectory_id)
                parts = [segments.read_place(segment, place) for segment, place in places]
                return pa.concat_tables([schema.TABLES[table].empty_table(), *parts])
            except (pa.ArrowException, OSError) as error:
                if not self._database.damaged(error):
                    raise StoreError(f"the store in {self._folder} cannot be read: {error}") from None
            self.close()
            self._open(fresh=True)
        raise StoreError(_RESTLESS.format(self._folder))

    def rows(self, query: str, parameters: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """The answer as one mapping per row."""

        def fetch(answer: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            names = [column[0] for column in answer.description]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

        return self.ask(query, parameters, fetch)

    def arrow(self, query: str, parameters: Sequence[Any] | None = None) -> pa.Table:
        """The answer as Arrow columns."""
        return self.ask(query, parameters, lambda answer: answer.to_arrow_table())

    def close(self) -> None:
        self._cursor.close()


# Each time a file was merged, deleted or found to be damaged meanwhile.
_TRIES = 20
_RESTLESS = "the store in {} changes faster than it can be read; try again"


@contextmanager
def open_snapshot(folder: Path, question: str) -> Iterator[Snapshot]:
    """Everything recorded up to now. ``runs`` has rows only where ``question`` speaks of it.

    Raises:
        StoreError: the store is missing, broken or newer than this version.
    """
    check_version(folder)
    snapshot = Snapshot(folder, question)
    try:
        yield snapshot
    finally:
        snapshot.close()
