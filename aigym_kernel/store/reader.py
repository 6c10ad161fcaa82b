"""Answers questions about a store: SQL, one trajectory, one page of trajectories, a column's values.

    sql(folder, "SELECT env_id, avg(return) FROM trajectories GROUP BY ALL")      pandas.DataFrame
    load(folder, trajectory_id)                                                   Trajectory
    page(folder, where={"env_id": "aigym/Snake-v0"}, search="wall")               Page

Each call sees all that was flushed before it. Nothing is ever written but, now and then, the index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from aigym_kernel.errors import QueryError, StoreError, UnknownName, check_whole
from aigym_kernel.store import columns, messages, notes, schema, snapshot
from aigym_kernel.store.conditions import HIDDEN, column, conditions, order, source
from aigym_kernel.store.snapshot import Snapshot, open_snapshot
from aigym_kernel.store.statements import check_reading
from aigym_kernel.trajectories import Mark, Review, Score, Trajectory

if TYPE_CHECKING:
    import duckdb
    import pandas

# Rows of an answer are fetched in so many vectors of 2,048 at a time.
_VECTORS = 256
InfoKind = Literal["number", "text"]
_CELLS = ("", "_text", "_bytes")


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some rows of ``trajectories`` (with the run's ``kind``), and how many there are in all."""

    rows: list[dict[str, Any]]
    total: int


# Questions


def sql(
    folder: Path, query: str, parameters: Sequence[Any] | None = None, *, timeout_s: float = 60.0
) -> pandas.DataFrame:
    """The answer to one reading statement; see `Store.sql`."""
    check_reading(query)
    with open_snapshot(folder, query) as asked:
        return asked.ask(query, parameters, _frame, timeout_s=timeout_s)


def arrow(
    folder: Path, query: str, parameters: Sequence[Any] | None = None, *, timeout_s: float = 60.0
) -> pa.Table:
    """The answer to one reading statement, in Arrow columns; see `Store.arrow`."""
    check_reading(query)
    with open_snapshot(folder, query) as asked:
        return asked.ask(query, parameters, _table, timeout_s=timeout_s)


def _frame(answer: duckdb.DuckDBPyConnection) -> pandas.DataFrame:
    import pandas

    parts, size = [answer.fetch_df_chunk(_VECTORS)], 0
    while len(parts[-1]):
        size = _check_size(size + int(parts[-1].memory_usage(index=False).sum()))
        parts.append(answer.fetch_df_chunk(_VECTORS))
    return parts[0] if len(parts) <= 2 else pandas.concat(parts[:-1], ignore_index=True)


def _table(answer: duckdb.DuckDBPyConnection) -> pa.Table:
    reader, parts, size = answer.to_arrow_reader(2048 * _VECTORS), list[pa.RecordBatch](), 0
    for part in reader:
        size = _check_size(size + part.nbytes)
        parts.append(part)
    return pa.Table.from_batches(parts, schema=reader.schema)


def _check_size(size: int) -> int:
    if size > snapshot.memory():
        raise QueryError(
            f"the answer has more than {snapshot.memory() / 2**30:.1f} GiB, a quarter of this machine's "
            "memory; select fewer rows or columns, or let SQL aggregate them"
        )
    return size


def load(folder: Path, trajectory_id: str) -> Trajectory:
    """One whole trajectory; see `Store.load`."""
    with open_snapshot(folder, "") as asked:
        rows, cleaned = _row_of(asked, trajectory_id, "*")
        row = rows.to_pylist()[0]
        steps, said = (asked.bulk(t, row["run_id"], cleaned) for t in schema.BULK)
        # Marks as they were recorded, in their order: the view of both may turn them round.
        marks, reviews, noted = (
            asked.arrow(f"SELECT * FROM {t} WHERE trajectory_id = ? AND run_id = ?", [cleaned, row["run_id"]])
            for t in ("recorded.marks", "reviews", "notes")
        )
    return assembled(
        rows,
        steps,
        marks=marks.to_pylist(),
        reviews=reviews.to_pylist(),
        said=said.to_pylist(),
        noted=noted.to_pylist(),
    )


def assembled(
    rows: pa.Table,
    steps: pa.Table,
    *,
    marks: Sequence[Mapping[str, Any]],
    reviews: Sequence[Mapping[str, Any]],
    said: Sequence[Mapping[str, Any]],
    noted: Sequence[Mapping[str, Any]],
) -> Trajectory:
    """A trajectory from its row, its steps and its rows of the other tables; the marks in their order."""
    row = rows.to_pylist()[0]
    latest = {review["name"]: review for review in sorted(reviews, key=lambda r: r["time"])}
    spoken = {message["i"]: messages.message(message) for message in sorted(said, key=lambda m: m["i"])}
    people = sorted(noted, key=lambda n: n["time"])
    return replace(
        _trajectory(rows, row, steps, tuple(_mark(mark, latest.get(mark["name"])) for mark in marks)),
        messages=tuple(spoken.values()),
        tags=notes.tags(people),
        notes=notes.notes(people),
    )


def run_of(folder: Path, trajectory_id: str) -> str:
    """The run that a trajectory belongs to.

    Raises:
        UnknownName: no finished trajectory has this id. StoreError: the id is not text.
    """
    with open_snapshot(folder, "") as asked:
        return str(_row_of(asked, trajectory_id, "run_id")[0]["run_id"][0])


def tags(folder: Path, trajectory_id: str) -> tuple[str, ...]:
    """The tags that a trajectory has."""
    with open_snapshot(folder, "") as asked:
        return tuple(_row_of(asked, trajectory_id, "tags")[0]["tags"][0].as_py())


def _row_of(asked: Snapshot, trajectory_id: str, columns: str) -> tuple[pa.Table, str]:
    """A trajectory's row, and its id as it is in the tables."""
    if not isinstance(trajectory_id, str):
        raise StoreError(
            f"trajectory id {trajectory_id!r:.80} is not text; pass the id, such as trajectory.id"
        )
    cleaned = schema.clean(trajectory_id)
    rows = asked.arrow(f"SELECT {columns} FROM trajectories WHERE trajectory_id = ? LIMIT 1", [cleaned])
    if not rows.num_rows:
        recent = "SELECT trajectory_id FROM trajectories ORDER BY started_at DESC LIMIT 1000"
        raise UnknownName("trajectory", cleaned, [r["trajectory_id"] for r in asked.rows(recent)])
    return rows, cleaned


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
    tests, values = conditions(where or {}, search)
    # The rows of one page are few: tags and their run's kind are joined to them, not to all that were
    # searched.
    named = [*(where or {}), order_by]
    by_tags = "tags" in named
    chosen = source(named, table="trajectories" if by_tags else "recorded.untagged")
    chosen += f" WHERE {' AND '.join(tests)}" if tests else ""
    tags = "" if by_tags else "coalesce(g.tags, []) AS tags, "
    query = (
        f"WITH page AS (SELECT t.*, row_number() OVER () AS place FROM (SELECT t.* FROM {chosen} "
        f"ORDER BY {order(order_by, descending=descending)} LIMIT ? OFFSET ?) t) "
        f"SELECT page.* EXCLUDE (place, {', '.join(HIDDEN)}), {tags}r.kind FROM page "
        "LEFT JOIN runs r ON page.run_id = r.run_id LEFT JOIN recorded.tagged g "
        "ON page.run_id = g.run_id AND page.trajectory_id = g.trajectory_id ORDER BY place"
    )
    with open_snapshot(folder, "runs") as asked:
        rows = asked.rows(query, [*values, limit, offset])
        total = asked.rows(f"SELECT count(*) AS n FROM {chosen}", values)[0]["n"]
    return Page(rows=rows, total=total)


def trajectories(
    folder: Path,
    where: Mapping[str, Any],
    *,
    search: str,
    order_by: str,
    descending: bool,
    limit: int | None,
) -> pandas.DataFrame:
    """Trajectories as a table; see `Store.trajectories`."""
    # A name that Python keeps for itself is written with an underscore.
    where = {name.removesuffix("_"): value for name, value in where.items()}
    tests, values = conditions(where, search)
    query = (
        f"SELECT t.* EXCLUDE ({', '.join(HIDDEN)}) FROM {source([*where, order_by])} "
        f"WHERE {' AND '.join(tests) or 'true'} ORDER BY {order(order_by, descending=descending)}"
    )
    if limit is not None:
        check_whole("limit", limit, 0)
        query += f" LIMIT {limit}"
    with open_snapshot(folder, "runs") as asked:
        return asked.ask(query, values, _frame)


def info_keys(folder: Path) -> dict[str, InfoKind]:
    """The keys of final infos; see `Store.info_keys`."""
    keys = "SELECT unnest(map_keys(info_{}s)) AS key, '{}' AS kind FROM trajectories"
    query = (
        "SELECT key, arg_max(kind, n) AS kind FROM (SELECT key, kind, count(*) AS n FROM "
        f"({keys.format('number', 'number')} UNION ALL {keys.format('text', 'text')}) GROUP BY ALL) "
        "GROUP BY key ORDER BY sum(n) DESC, key"
    )
    with open_snapshot(folder, "") as asked:
        return {row["key"]: row["kind"] for row in asked.rows(query)}


def values(folder: Path, name: str) -> list[tuple[Any, int]]:
    """The distinct values of a column of trajectories; see `Store.values`."""
    query = f"SELECT {column(name)} AS value, count(*) AS n FROM {source([name])} GROUP BY 1 "
    with open_snapshot(folder, "runs") as asked:
        rows = asked.rows(query + "ORDER BY n DESC, value NULLS LAST")
    return [(row["value"], row["n"]) for row in rows]


# A trajectory from its rows


def _trajectory(
    rows: pa.Table, row: Mapping[str, Any], steps: pa.Table, marks: tuple[Mark, ...]
) -> Trajectory:
    order = np.unique(steps["t"].to_numpy(), return_index=True)[1]
    if len(order) != row["length"]:
        raise StoreError(
            f"trajectory {row['trajectory_id']!r} of run {row['run_id']!r} has {row['length']} steps, but "
            f"{len(order)} can be read; look for a StoreWarning that names a damaged file"
        )
    if len(order) < steps.num_rows or np.any(np.diff(order) < 0):
        steps = steps.take(pa.array(order))

    def cells(name: str, extra: str | None) -> Any:
        # By batches, since one array of Arrow's holds no more than 2 GiB.
        kinds = [schema.TABLES["steps"].field(name + suffix).type for suffix in _CELLS]
        tables = [(name, batch) for batch in steps.to_batches()]
        tables += [(extra, batch) for batch in rows.to_batches() if extra is not None]
        batches = [
            [b[column + s].cast(k) for s, k in zip(_CELLS, kinds, strict=True)] for column, b in tables
        ]
        parts, first = [], 0
        for numbers, texts, blobs in batches or [[pa.nulls(0, kind) for kind in kinds]]:
            shape = row[f"{name}_shape"]
            parts.append(columns.decode(row[f"{name}_dtype"], shape, numbers, texts, blobs, first))
            first += len(numbers)
        if isinstance(parts[0], np.ndarray):
            # In either case a copy that may be written to.
            return parts[0].copy() if len(parts) == 1 else np.concatenate(parts, dtype=parts[0].dtype)
        return [value for part in parts for value in part]

    infos = steps["info"].to_pylist()
    score = None
    if row["passed"] is not None:
        score = Score(
            task_id=row["task_id"],
            total=row["score"],
            passed=row["passed"],
            marks=marks,
            wall_s=row["judge_s"],
            pass_mark=1.0 if row["pass_mark"] is None else row["pass_mark"],
        )
    same = (
        "env_id",
        "agent",
        "terminated",
        "truncated",
        "seed",
        "error",
        "group",
        "parent",
        "run_id",
        "wall_s",
    )
    return Trajectory(
        id=row["trajectory_id"],
        observations=cells("observation", "final_observation"),
        actions=cells("action", None),
        rewards=steps["reward"].to_numpy().astype(np.float64, copy=True),
        env_kwargs=json.loads(row["env_kwargs"]),
        infos=tuple({} if i is None else json.loads(i) for i in infos) if any(infos) else (),
        final_info=json.loads(row["info"]),
        score=score,
        started_at=schema.seconds(row["started_at"]) or 0.0,
        **{name: row[name] for name in same},
    )


def _mark(row: Mapping[str, Any], latest: Mapping[str, Any] | None) -> Mark:
    """A mark from its row, and from its latest review where there is one."""
    review = None
    if latest is not None:
        at = schema.seconds(latest["time"]) or 0.0
        review = Review(judged=row["value"], note=latest["note"], by=latest["reviewer"], at=at)
    return Mark(
        value=row["value"] if latest is None else latest["value"],
        review=review,
        evidence={} if row["evidence"] is None else json.loads(row["evidence"]),
        **{name: row[name] for name in ("name", "weight", "required", "feedback")},
    )
