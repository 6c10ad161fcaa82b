"""What is recorded right now, as a locked DuckDB: `open_snapshot`.

    with open_snapshot(folder, query) as snapshot:
        snapshot.ask(query, parameters, lambda answer: answer.df())

Each one is a DuckDB of its own in memory, with the present generation of the index attached READ_ONLY and
the segments which that does not hold beside it. Before any question is asked it is locked: it can then
neither read any other file nor write one. Whether a statement reads at all is for `check_reading` to say.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from aigym_kernel.errors import QueryError, StoreError, StoreWarning, UnknownName
from aigym_kernel.store import index, reviews, schema
from aigym_kernel.store.index import Key, Segment
from aigym_kernel.store.records import R, RunRecord, RunStatus, from_file, read_record, settle

T = TypeVar("T")

VERSION = 1
TABLES = ("runs", *reversed(schema.TABLES))

# With more unindexed segments than this a reader builds the next generation before it answers.
INDEX_WHEN = 256

# Checks


def check_folder(folder: Path) -> None:
    """Refuses a store's folder that is a file, or lies below one.

    Raises:
        StoreError: naming the file.
    """
    place = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    if place.exists() and not place.is_dir():
        raise StoreError(
            f"{place} is a file, so there can be no store in {folder}; let AIGYM_DATA (or what Store() was "
            "given) name a folder"
        )


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


_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_BLANK = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(rf"{_BLANK}EXPLAIN\b{_BLANK}(?:ANALYZE\b|\([^)]*\))?", re.IGNORECASE | re.DOTALL)


def check_reading(query: str) -> None:
    """Refuses all but one reading statement.

    Raises:
        QueryError: it is not text, does not parse, is none or several statements, or one that is not for
            reading.
    """
    if not isinstance(query, str):
        raise QueryError(f"the query is {query!r:.80}, which is not text; write one SELECT as a str")
    try:
        statements = duckdb.extract_statements(schema.clean(query))
    except duckdb.Error as error:
        raise QueryError(_message(error)) from None
    if not statements:
        raise QueryError("the query is empty; write one SELECT")
    kinds = [s.type for s in statements]
    # PIVOT is taken apart into CREATE TYPE (in memory) and SELECT, neither of which has a text of its own.
    pivot = not any(s.query for s in statements) and set(kinds[:-1]) == {duckdb.StatementType.CREATE}
    if len(statements) > 1 and not (pivot and kinds[-1] == duckdb.StatementType.SELECT):
        raise QueryError(f"the query holds {len(statements)} statements; run one at a time")
    if kinds[-1] not in _READING:
        raise QueryError(
            f"the store is read-only, and {kinds[-1].name} is no reading statement; use SELECT, WITH, "
            "FROM, PIVOT, SUMMARIZE, DESCRIBE, SHOW or EXPLAIN"
        )
    if kinds[-1] == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs what it explains.
        check_reading(_EXPLAIN.sub("", query, count=1))


# The snapshot

# What DuckDB never raises on a damaged page: it meets that with errors of many other kinds.
_NO_DAMAGE = (duckdb.ParserException, duckdb.CatalogException, duckdb.BinderException)


class Snapshot:
    """A locked DuckDB in which the tables are what is recorded right now."""

    def __init__(self, folder: Path, question: str) -> None:
        self._folder = folder
        self._question = question
        self._connection = duckdb.connect()
        self._loose: list[Segment] = []

    def open(self) -> None:
        held, outdated = _attach_generation(self._connection, self._folder)
        # The generation is looked at first: what it lacks is then sure to be among the segments.
        loose, stale = index.split(index.segments(self._folder), held or ())
        many = len(loose) > INDEX_WHEN and len(index.sound(loose)) > INDEX_WHEN
        if (many or outdated) and self._build():
            self.close()
            self._connection = duckdb.connect()
            held, _ = _attach_generation(self._connection, self._folder)
            loose, stale = index.split(index.segments(self._folder), held or ())
        self._loose = index.sound(loose)
        try:
            self._make_tables(held is not None, stale)
        except duckdb.Error as error:
            raise StoreError(f"the store in {self._folder} cannot be read: {_message(error)}") from None
        self._lock()

    def _build(self) -> bool:
        try:
            return index.build(self._folder, wait=False) is not None
        except StoreError:
            # A folder that cannot be written can still be read, only more slowly.
            return False

    def _make_tables(self, attached: bool, stale: list[str]) -> None:
        self._connection.execute("CREATE SCHEMA recorded")
        for table, columns in schema.TABLES.items():
            names, parts = schema.names_sql(columns), []
            if attached:
                parts.append(f"SELECT {names} FROM generation.{table}")
                if stale:
                    parts[0] += f" WHERE run_id NOT IN ({', '.join(map(index.quote, stale))})"
            if chosen := [s for s in self._loose if s.table == table]:
                parts.append(f"SELECT {names} FROM {index.from_files(table, chosen)}")
            place = f"recorded.{table}" if table in reviews.CHANGED else table
            if parts:
                self._connection.execute(f"CREATE VIEW {place} AS {' UNION ALL '.join(parts)}")
            else:
                self._connection.execute(f"CREATE TABLE {place} ({schema.columns_sql(columns)})")
        some = self._connection.execute(
            "SELECT EXISTS (FROM reviews), EXISTS (FROM notes WHERE kind <> 'note')"
        ).fetchone()
        assert some is not None
        for view in reviews.views(reviewed=some[0], tagged=some[1]):
            self._connection.execute(view)
        self._connection.execute(f"CREATE TABLE runs ({schema.columns_sql(schema.RUNS)})")
        if "runs" in self._question.lower() and (rows := run_rows(self._folder)):
            self._connection.register("run_rows", schema.rows_table("runs", rows))
            self._connection.execute("INSERT INTO runs SELECT * FROM run_rows")
            self._connection.unregister("run_rows")

    def _lock(self) -> None:
        # Made by DuckDB only when an answer outgrows the memory, and removed by it.
        name = f"aigym-duckdb-{os.getpid()}-{threading.get_ident()}"
        spill = Path(os.environ.get("TMPDIR") or "/tmp") / name
        allowed = ", ".join(index.quote(s.path) for s in self._loose)
        self._connection.execute(
            f"SET temp_directory = {index.quote(str(spill))}; SET python_enable_replacements = false; "
            f"SET allowed_paths = [{allowed}]; SET enable_external_access = false; "
            "SET lock_configuration = true"
        )

    def ask(
        self, query: str, parameters: Sequence[Any] | None, fetch: Callable[[duckdb.DuckDBPyConnection], T]
    ) -> T:
        """What ``fetch`` makes of the answer.

        Segments whose pages turn out to be damaged are named, left out, and the query runs again.

        Raises:
            QueryError: with DuckDB's message.
        """
        # Recorded text was cleaned in the same way.
        query = schema.clean(query)
        if isinstance(parameters, list | tuple):
            parameters = [schema.clean(p) if isinstance(p, str) else p for p in parameters]
        try:
            return fetch(self._connection.execute(query, parameters))
        except duckdb.Error as error:
            if isinstance(error, _NO_DAMAGE) or not self._damaged():
                raise QueryError(_message(error)) from None
        self.close()
        self._connection = duckdb.connect()
        self.open()
        try:
            return fetch(self._connection.execute(query, parameters))
        except duckdb.Error as error:
            raise QueryError(_message(error)) from None

    def _damaged(self) -> bool:
        return len(index.sound(self._loose, whole=True)) < len(self._loose)

    def rows(self, query: str, parameters: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """The answer as one mapping per row."""

        def fetch(answer: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            names = [column[0] for column in answer.description]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

        return self.ask(query, parameters, fetch)

    def arrow(self, query: str, parameters: Sequence[Any]) -> pa.Table:
        """The answer as Arrow columns."""
        return self.ask(query, parameters, lambda answer: answer.to_arrow_table())

    def close(self) -> None:
        self._connection.close()


@contextmanager
def open_snapshot(folder: Path, question: str) -> Iterator[Snapshot]:
    """Everything recorded up to now. ``runs`` has rows only where ``question`` speaks of it.

    Raises:
        StoreError: the store is missing, broken or newer than this version.
    """
    check_version(folder)
    snapshot = Snapshot(folder, question)
    try:
        snapshot.open()
        yield snapshot
    finally:
        snapshot.close()


def _attach_generation(
    connection: duckdb.DuckDBPyConnection, folder: Path
) -> tuple[frozenset[Key] | None, bool]:
    """Attaches the present generation: what it holds (None if there is none that can be read), and whether
    an earlier version made it."""
    seen = None
    problem: Exception | None = None
    while (path := index.generation(folder)) is not None and path != seen:
        try:
            return index.attach(connection, path), False
        except index.Outdated:
            return None, True
        except (duckdb.Error, OSError) as error:
            # It may have been replaced and removed between the two looks: then CURRENT names another.
            seen, problem = path, error
    if seen is not None and problem is not None:
        what = "is gone" if isinstance(problem, FileNotFoundError) else f"is unreadable ({_message(problem)})"
        warnings.warn(
            f"the index {seen} {what}; reading all segments instead, which is slower. "
            "Build it again with Store().index(rebuild=True).",
            StoreWarning,
            stacklevel=2,
        )
    return None, False


# Runs


_run_files: dict[str, tuple[tuple[int, int, int], Any]] = {}


def _run_file(kind: type[R], path: Path) -> R:
    stat = path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _run_files.get(str(path))
    if known is None or known[0] != state:
        known = _run_files[str(path)] = (state, from_file(kind, path))
    found: R = known[1]
    return found


def run_ids(folder: Path) -> list[str]:
    """The ids of all runs that have a run.json, oldest name first."""
    runs = folder / "runs"
    if not runs.is_dir():
        return []
    return sorted(p.name for p in runs.iterdir() if (p / "run.json").is_file())


def run_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``runs``. A run whose files are broken is named in a StoreWarning and left out."""
    rows = []
    for run_id in run_ids(folder):
        place = folder / "runs" / run_id
        path = place / "run.json"
        try:
            record = _run_file(RunRecord, path)
            path = place / "status.json"
            status = settle(_run_file(RunStatus, path))
            rows.append(_run_row(run_id, record, status))
        except (StoreError, OSError, TypeError, ValueError) as error:
            warnings.warn(f"{path} is unreadable, its run was skipped: {error}", StoreWarning, stacklevel=2)
    return rows


def _run_row(run_id: str, record: RunRecord, status: RunStatus) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "kind": record.kind,
        "name": schema.clean(record.name),
        "state": status.state,
        "parent": None if record.parent is None else schema.clean(record.parent),
        "created_at": schema.microseconds(record.created_at),
        "heartbeat": schema.microseconds(status.heartbeat),
        "step": int(status.step),
        "total_steps": int(status.total_steps),
        "error": None if status.error is None else schema.clean(status.error),
        "config": schema.json_text(record.config),
        "summary": schema.json_text(status.summary),
        "provenance": schema.json_text(record.provenance),
    }


def _message(error: Exception) -> str:
    """DuckDB's own message; for an unknown table, with the names of ours."""
    text = str(error).strip()
    if match := re.search(r"Table with name (\S+) does not exist!", text):
        message = str(UnknownName("table", match[1], TABLES))
        return message if "Known:" in message else f"{message} Tables: {', '.join(TABLES)}."
    return text
