"""Answers questions about a store: SQL, one trajectory, one page of trajectories.

    sql(folder, "SELECT env_id, avg(return) FROM trajectories GROUP BY ALL")      pandas.DataFrame
    load(folder, trajectory_id)                                                   Trajectory
    page(folder, where={"env_id": "aigym/Snake-v0"}, search="wall")               Page

Every call opens a DuckDB of its own in memory, attaches the present generation of the index READ_ONLY and
adds the segments which that does not hold. Before the question is asked, DuckDB is locked: it can then
neither read any other file nor write one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from aigym_kernel.errors import QueryError, StoreError, StoreWarning, UnknownName
from aigym_kernel.store import index, schema
from aigym_kernel.store.index import Key, Segment
from aigym_kernel.store.records import RunRecord, RunStatus, read_record, settle
from aigym_kernel.trajectories import Mark, Score, Trajectory

if TYPE_CHECKING:
    import pandas

VERSION = 1
TABLES = ("runs", *reversed(schema.TABLES))

# With more unindexed segments than this a reader builds the next generation before it answers.
INDEX_WHEN = 256

_SEARCHED = ("trajectory_id", "env_id", "agent", "outcome")
_OF_RUNS = ("kind",)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some rows of ``trajectories`` (with the run's ``kind``), and how many there are in all."""

    rows: list[dict[str, Any]]
    total: int


# Questions


def sql(folder: Path, query: str, parameters: Sequence[Any] | None = None) -> pandas.DataFrame:
    """The answer to one reading statement."""
    check_reading(query)
    with _snapshot(folder, query) as snapshot:
        try:
            return snapshot.execute(query, parameters).df()
        except duckdb.Error as error:
            raise QueryError(_message(error)) from None


def load(folder: Path, trajectory_id: str) -> Trajectory:
    """One whole trajectory; see `Store.load`."""
    cleaned = schema.clean(trajectory_id)
    with _snapshot(folder, "") as snapshot:
        rows = snapshot.arrow("SELECT * FROM trajectories WHERE trajectory_id = ? LIMIT 1", [cleaned])
        if not rows.num_rows:
            recent = "SELECT trajectory_id FROM trajectories ORDER BY started_at DESC LIMIT 1000"
            known = [row[0] for row in snapshot.execute(recent, None).fetchall()]
            raise UnknownName("trajectory", trajectory_id, known)
        row = rows.to_pylist()[0]
        key = [row["run_id"], cleaned]
        steps = snapshot.arrow(
            "SELECT t, observation, observation_text, action, action_text, reward, info FROM steps "
            "WHERE run_id = ? AND trajectory_id = ?",
            key,
        )
        marks = snapshot.arrow(
            "SELECT name, value, weight, required, feedback FROM marks "
            "WHERE run_id = ? AND trajectory_id = ?",
            key,
        )
    return _trajectory(rows, row, steps, marks.to_pylist())


def page(
    folder: Path,
    *,
    where: Mapping[str, Any] | None = None,
    search: str = "",
    order_by: str = "started_at",
    descending: bool = True,
    limit: int = 50,
    offset: int = 0,
) -> Page:
    """Some trajectories; see `Store.page`."""
    tests, values = _conditions(where or {}, search)
    source = _source([*(where or {}), order_by]) + (f" WHERE {' AND '.join(tests)}" if tests else "")
    order = f"{_column(order_by)} {'DESC' if descending else 'ASC'} NULLS LAST, t.trajectory_id"
    # The rows of one page are few: their run's kind is joined to them, not to all that were searched.
    query = (
        f"WITH page AS (SELECT t.*, row_number() OVER () AS place FROM (SELECT t.* FROM {source} "
        f"ORDER BY {order} LIMIT ? OFFSET ?) t) "
        "SELECT page.* EXCLUDE (place), r.kind FROM page LEFT JOIN runs r USING (run_id) ORDER BY place"
    )
    with _snapshot(folder, "runs") as snapshot:
        answer = snapshot.execute(query, [*values, limit, offset])
        names = [column[0] for column in answer.description]
        rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
        total = snapshot.execute(f"SELECT count(*) FROM {source}", values).fetchall()[0][0]
    return Page(rows=rows, total=total)


def values(folder: Path, column: str) -> list[tuple[Any, int]]:
    """The distinct values of a column of trajectories; see `Store.values`."""
    query = f"SELECT {_column(column)} AS value, count(*) AS n FROM {_source([column])} GROUP BY 1 "
    with _snapshot(folder, "runs") as snapshot:
        return snapshot.execute(query + "ORDER BY n DESC, value NULLS LAST", None).fetchall()


# Checks


def check_version(folder: Path) -> None:
    """Refuses a store that is missing, broken or newer than this version.

    Raises:
        StoreError: naming the folder or both versions, and the way out.
    """
    path = folder / "store.json"
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
        QueryError: it does not parse, is none or several statements, or one that is not for reading.
    """
    try:
        statements = duckdb.extract_statements(query)
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


class _Snapshot:
    """A locked DuckDB in which the five tables are what is recorded right now."""

    def __init__(self, folder: Path, question: str) -> None:
        self._folder = folder
        self._question = question
        self._connection = duckdb.connect()
        self._loose: list[Segment] = []

    def open(self) -> None:
        held = _attach_generation(self._connection, self._folder)
        found = index.segments(self._folder)
        loose = [s for s in found if held is None or s.key not in held]
        if len(loose) > INDEX_WHEN and len(index.sound(loose)) > INDEX_WHEN and self._build():
            self.close()
            self._connection = duckdb.connect()
            held = _attach_generation(self._connection, self._folder)
            found = index.segments(self._folder)
            loose = [s for s in found if held is None or s.key not in held]
        self._loose = index.sound(loose)
        self._make_tables(held, {s.run_id for s in found})
        self._lock()

    def _build(self) -> bool:
        try:
            return index.build(self._folder, wait=False) is not None
        except StoreError:
            # A folder that cannot be written can still be read, only more slowly.
            return False

    def _make_tables(self, held: frozenset[Key] | None, run_ids: set[str]) -> None:
        gone = sorted({key[0] for key in held or ()} - run_ids)
        for table, columns in schema.TABLES.items():
            names, parts = schema.names_sql(columns), []
            if held is not None:
                parts.append(f"SELECT {names} FROM generation.{table}")
                if gone:
                    parts[0] += f" WHERE run_id NOT IN ({', '.join(map(index.quote, gone))})"
            if chosen := [s for s in self._loose if s.table == table]:
                parts.append(f"SELECT {names} FROM {index.from_files(chosen)}")
            if parts:
                self._connection.execute(f"CREATE VIEW {table} AS {' UNION ALL '.join(parts)}")
            else:
                self._connection.execute(f"CREATE TABLE {table} ({schema.columns_sql(columns)})")
        self._connection.execute(f"CREATE TABLE runs ({schema.columns_sql(schema.RUNS)})")
        if "runs" in self._question.lower() and (rows := run_rows(self._folder)):
            self._connection.register("run_rows", schema.rows_table("runs", rows))
            self._connection.execute("INSERT INTO runs SELECT * FROM run_rows")
            self._connection.unregister("run_rows")

    def _lock(self) -> None:
        spill = Path(tempfile.gettempdir()) / f"aigym-duckdb-{os.getpid()}-{threading.get_ident()}"
        allowed = ", ".join(index.quote(s.path) for s in self._loose)
        self._connection.execute(
            f"SET temp_directory = {index.quote(str(spill))}; SET python_enable_replacements = false; "
            f"SET allowed_paths = [{allowed}]; SET enable_external_access = false; "
            "SET lock_configuration = true"
        )

    def execute(self, query: str, parameters: Sequence[Any] | None) -> duckdb.DuckDBPyConnection:
        """Runs a query. Segments whose pages turn out damaged are named, left out, and it runs again."""
        try:
            return self._connection.execute(query, parameters)
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.DataError):
            if len(index.sound(self._loose, whole=True)) == len(self._loose):
                raise
        self.close()
        self._connection = duckdb.connect()
        self.open()
        return self._connection.execute(query, parameters)

    def arrow(self, query: str, parameters: Sequence[Any]) -> pa.Table:
        """The answer as Arrow columns."""
        return self.execute(query, parameters).to_arrow_table()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _snapshot(folder: Path, question: str) -> Iterator[_Snapshot]:
    check_version(folder)
    snapshot = _Snapshot(folder, question)
    try:
        snapshot.open()
        yield snapshot
    finally:
        snapshot.close()


def _attach_generation(connection: duckdb.DuckDBPyConnection, folder: Path) -> frozenset[Key] | None:
    """Attaches the present generation; None if there is none that can be read."""
    seen = None
    problem: Exception | None = None
    while (path := index.generation(folder)) is not None and path != seen:
        try:
            return index.attach(connection, path)
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
    return None


# Runs


_run_files: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {}


def _run_file(path: Path) -> dict[str, Any]:
    stat = path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _run_files.get(str(path))
    if known is None or known[0] != state:
        known = _run_files[str(path)] = (state, read_record(path))
    return known[1]


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
            record = RunRecord.from_dict(_run_file(path))
            path = place / "status.json"
            status = settle(RunStatus.from_dict(_run_file(path)))
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


# Parts of queries


def _column(name: str) -> str:
    """A column of trajectories (or the run's kind), ready for SQL."""
    if name in _OF_RUNS:
        return f'r."{name}"'
    if name in schema.TABLES["trajectories"].names:
        return f't."{name}"'
    raise UnknownName("column of trajectories", name, [*schema.TABLES["trajectories"].names, *_OF_RUNS])


def _source(columns: Sequence[str]) -> str:
    join = " LEFT JOIN runs r USING (run_id)" if set(columns) & set(_OF_RUNS) else ""
    return f"trajectories t{join}"


def _conditions(where: Mapping[str, Any], search: str) -> tuple[list[str], list[Any]]:
    tests, values = [], []
    for name, value in where.items():
        column = _column(name)
        wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        some = [v for v in wanted if v is not None]
        either = [f"{column} IN ({', '.join('?' * len(some))})"] if some else []
        if len(some) < len(wanted):
            either.append(f"{column} IS NULL")
        tests.append(f"({' OR '.join(either) or 'false'})")
        values += some
    if search:
        tests.append(f"({' OR '.join(f'contains(lower({_column(n)}), lower(?))' for n in _SEARCHED)})")
        values += [schema.clean(search)] * len(_SEARCHED)
    return tests, values


def _message(error: Exception) -> str:
    """DuckDB's own message; for an unknown table, with the names of ours."""
    text = str(error).strip()
    if match := re.search(r"Table with name (\S+) does not exist!", text):
        return f"{UnknownName('table', match[1], TABLES)} Tables: {', '.join(TABLES)}."
    return text


# A trajectory from its rows


def _trajectory(
    rows: pa.Table, row: Mapping[str, Any], steps: pa.Table, marks: list[dict[str, Any]]
) -> Trajectory:
    order = np.unique(steps["t"].to_numpy(), return_index=True)[1]
    if len(order) != row["length"]:
        raise StoreError(
            f"trajectory {row['trajectory_id']!r} of run {row['run_id']!r} has {row['length']} steps, but "
            f"{len(order)} can be read; look for a StoreWarning that names a damaged file"
        )
    steps = steps.take(pa.array(order)).combine_chunks()

    def cells(name: str, extra: str | None) -> Any:
        parts = []
        for suffix in ("", "_text"):
            chunks = steps[name + suffix].chunks
            if extra is not None:
                chunks = [*chunks, *rows[extra + suffix].chunks]
            kind = schema.TABLES["steps"].field(name + suffix).type
            parts.append(pa.concat_arrays([c.cast(kind) for c in chunks]) if chunks else pa.nulls(0, kind))
        return schema.decode(row[f"{name}_dtype"], row[f"{name}_shape"], *parts)

    infos = steps["info"].to_pylist()
    score = None
    if row["passed"] is not None:
        score = Score(
            task_id=row["task_id"],
            total=row["score"],
            passed=row["passed"],
            marks=tuple(Mark(**mark) for mark in marks),
            wall_s=row["judge_s"],
        )
    started = row["started_at"]
    same = ("env_id", "agent", "terminated", "truncated", "seed", "error", "group", "run_id", "wall_s")
    return Trajectory(
        id=row["trajectory_id"],
        observations=cells("observation", "final_observation"),
        actions=cells("action", None),
        rewards=steps["reward"].to_numpy().astype(np.float64, copy=True),
        env_kwargs=json.loads(row["env_kwargs"]),
        infos=tuple({} if i is None else json.loads(i) for i in infos) if any(infos) else (),
        final_info=json.loads(row["info"]),
        score=score,
        started_at=0.0 if started is None else started.replace(tzinfo=UTC).timestamp(),
        **{name: row[name] for name in same},
    )
