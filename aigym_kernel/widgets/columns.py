"""The columns that the explorer filters and sorts by, and all their values, held in memory.

    table = read(store, "SELECT ... FROM trajectories")
    table.ids, table.columns["return"], table.columns["agent"]

A hundred thousand trajectories take some 20 MB. Read again where the store has changed; nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigym_kernel.store import Store

SEARCHED = ("trajectory_id", "run_id", "env_id", "agent", "outcome")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A column: its ``label`` for people, its ``kind``, and ``sql``, how it is written in a query.

    ``among``: the table whose rows it is a column of, where several belong to one trajectory.
    """

    name: str
    label: str
    kind: Literal["number", "time", "text"]
    sql: str
    among: str | None = None


def _source(name: str, label: str, kind: Literal["number", "time", "text"]) -> Source:
    return Source(name=name, label=label, kind=kind, sql=f'"{name}"')


COLUMNS: Mapping[str, Source] = {
    column.name: column
    for column in (
        _source("return", "return", "number"),
        _source("length", "steps", "number"),
        _source("score", "score", "number"),
        _source("started_at", "started", "time"),
        _source("outcome", "outcome", "text"),
        _source("env_id", "env", "text"),
        _source("task_id", "task", "text"),
        _source("agent", "agent", "text"),
        _source("run_id", "run", "text"),
        _source("wall_s", "seconds", "number"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """One number per trajectory (float64; times in seconds since 1970). ``missing``: where there is none."""

    values: NDArray[np.float64]
    missing: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Names:
    """One text per trajectory: ``names`` in order, and for each trajectory which; len(names) is none."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Some trajectories: their ids and columns, all of one length."""

    ids: NDArray[np.object_]
    columns: Mapping[str, Numbers | Names]

    def __len__(self) -> int:
        return len(self.ids)


EMPTY = Table(
    ids=np.array([], dtype=object),
    columns={
        name: Names(names=(), codes=np.array([], dtype=np.int32))
        if column.kind == "text"
        else Numbers(values=np.array([]), missing=np.array([], dtype=bool))
        for name, column in COLUMNS.items()
    },
)


def read(store: Store, query: str) -> Table:
    """The trajectories that a query gives, in the order of their ids."""
    frame = store.sql(query).sort_values("trajectory_id", ignore_index=True)
    return Table(
        ids=frame["trajectory_id"].to_numpy(dtype=object),
        columns={name: _column(frame, column) for name, column in COLUMNS.items()},
    )


def selection(columns: Mapping[str, Source] = COLUMNS) -> str:
    """What `read` wants its query to select."""
    parts = ["trajectory_id"]
    for c in columns.values():
        parts.append(f'{c.sql} AS "{c.name}"')
        if c.kind == "number":  # a DataFrame cannot tell NULL from NaN
            parts.append(f'({c.sql} IS NULL) AS "no {c.name}"')
    return ", ".join(parts)


def _column(frame: pd.DataFrame, column: Source) -> Numbers | Names:
    cells = frame[column.name]
    if column.kind == "text":
        found, names = pd.factorize(cells, sort=True)
        codes = np.where(found < 0, len(names), found).astype(np.int32)
        return Names(names=tuple(map(str, names)), codes=codes)
    if column.kind == "time":
        micros = cells.to_numpy(dtype="datetime64[us]").astype(np.int64)
        missing = cells.isna().to_numpy(dtype=bool)
        return Numbers(values=np.where(missing, np.nan, micros / 1e6), missing=missing)
    missing = frame[f"no {column.name}"].to_numpy(dtype=bool)
    return Numbers(values=cells.to_numpy(dtype=np.float64, na_value=np.nan), missing=missing)
