"""SQL statements: which ones only read, and running one so that it can be stopped.

    check_reading("SELECT 1")                 raises QueryError for anything but one reading statement
    run(folder, cursor, work, 60.0)           time, Ctrl-C and `cancel` interrupt it

What a statement may open is not decided here: `snapshot` locks DuckDB before any runs.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import duckdb

from aigym_kernel.errors import QueryError, UnknownName
from aigym_kernel.store import schema

T = TypeVar("T")

TABLES = ("runs", *reversed(schema.TABLES))

# Which statements read

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
        raise QueryError(message(error)) from None
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


def message(error: Exception) -> str:
    """DuckDB's own message; for an unknown table, with the names of ours."""
    text = str(error).strip()
    if match := re.search(r"Table with name (\S+) does not exist!", text):
        message = str(UnknownName("table", match[1], TABLES))
        return message if "Known:" in message else f"{message} Tables: {', '.join(TABLES)}."
    return text


# Running one


@dataclass(eq=False)
class _Running:
    """One statement that runs in a thread of its own."""

    folder: Path
    cursor: duckdb.DuckDBPyConnection
    begun: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)


_running: set[_Running] = set()


def cancel(folder: Path) -> int:
    """Interrupts every statement that `run` runs on this store in this process; returns how many. One that
    is ending already does not count."""
    found = [one for one in list(_running) if one.folder == folder and not one.wake.is_set()]
    for one in found:
        one.wake.set()
    return len(found)


def run(folder: Path, cursor: duckdb.DuckDBPyConnection, work: Callable[[], T], timeout_s: float) -> T:
    """What ``work``, which runs a statement on ``cursor``, returns or raises.

    Raises:
        QueryError: it took more than ``timeout_s`` seconds, or `cancel` was called meanwhile.
    """
    one = _Running(folder, cursor)
    values: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        one.begun.set()
        try:
            if not one.wake.is_set():
                values.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            one.done.set()
            one.wake.set()

    thread = threading.Thread(target=target, name="aigym-sql", daemon=True)
    _running.add(one)
    try:
        thread.start()
        in_time = one.wake.wait(timeout_s)
        ended = one.done.is_set()
    finally:
        _running.discard(one)
        # Ctrl-C may come before the thread has begun: then it does nothing any more.
        one.wake.set()
        # An interrupt that comes before the statement has begun does nothing, so that one is not enough.
        while one.begun.is_set() and not one.done.wait(0.01):
            cursor.interrupt()
    if values and ended:
        return values[0]
    if errors and ended:
        raise errors[0]
    if in_time:
        raise QueryError("the statement was cancelled")
    raise QueryError(
        f"the statement took longer than {timeout_s:g} s and was ended; let it read less (rows, columns "
        "or runs), or pass a larger timeout_s"
    )
