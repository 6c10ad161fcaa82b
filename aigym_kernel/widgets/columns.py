"""The columns that the explorer filters and sorts by, and all their values, held in memory.

    table = read(store, "SELECT ... FROM trajectories")
    table.ids, table.columns["return"], table.columns["agent"]
    rewards(store, table)                    how often each trajectory had which reward, see `Spread`

A hundred thousand trajectories take some 20 MB, and as much again for rewards. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigym_kernel.errors import AigymError
from aigym_kernel.store import Store

Kind = Literal["number", "time", "text", "tags", "rewards"]
_KNOWN: tuple[tuple[str, str, Kind], ...] = (
    ("return", "return", "number"),
    ("length", "steps", "number"),
    ("score", "score", "number"),
    ("reward", "reward", "rewards"),
    ("started_at", "started", "time"),
    ("outcome", "outcome", "text"),
    ("env_id", "env", "text"),
    ("task_id", "task", "text"),
    ("agent", "agent", "text"),
    ("run_id", "run", "text"),
    ("tags", "tags", "tags"),
    ("wall_s", "seconds", "number"),
)
MOST_KEYS = 60
STEPS_AT_ONCE = 2_000_000
SEARCHED = ("trajectory_id", "run_id", "env_id", "agent", "outcome")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A column: its ``label`` for people, its ``kind``, and ``sql``, how it is written in a query.

    Of ``tags`` a trajectory has a list of texts; ``rewards`` are numbers, one for each of its steps.
    """

    name: str
    label: str
    kind: Kind
    sql: str


COLUMNS: Mapping[str, Source] = {
    name: Source(name=name, label=label, kind=kind, sql=f'"{name}"') for name, label, kind in _KNOWN
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
class Tags:
    """Any number of texts per trajectory: ``names`` in order; ``rows[i]`` has the text ``codes[i]``."""

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    size: int

    @property
    def without(self) -> NDArray[np.bool_]:
        """Which trajectories have none."""
        return np.asarray(np.bincount(self.rows, minlength=self.size) == 0)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How many steps of each trajectory lie in which bin: ``counts`` (trajectories, n bins + 3), float64.

    Between two of the n + 1 ``edges`` lies a bin, on none of the inner ones a value; the last three columns
    count NaN, minus infinity and infinity. ``totals``: their sums over all trajectories.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    totals: NDArray[np.float64]


Column = Numbers | Names | Tags


@dataclass(frozen=True, kw_only=True)
class Table:
    """Some trajectories: their ids and columns, all of one length."""

    ids: NDArray[np.object_]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def steps(self) -> int:
        """How many steps they have in all."""
        length = self.columns["length"]
        assert isinstance(length, Numbers)
        return int(length.values.sum())


def empty() -> Table:
    """A table of no trajectory, for a store that cannot be read."""
    nothing = pd.DataFrame({"trajectory_id": [], **{name: [] for name in _selected(COLUMNS)}})
    return _table(nothing, pd.DataFrame({"trajectory_id": [], "tag": []}))


def read(store: Store, test: str) -> Table:
    """The trajectories for which an SQL expression holds, in the order of their ids."""
    parts = ", ".join(f'{sql} AS "{name}"' for name, sql in _selected(COLUMNS).items())
    frame = store.sql(f"SELECT trajectory_id, {parts} FROM trajectories WHERE {test}")
    tags = "SELECT trajectory_id, unnest(tags) AS tag FROM trajectories WHERE len(tags) > 0"
    return _table(frame.sort_values("trajectory_id", ignore_index=True), store.sql(tags))


def _selected(columns: Mapping[str, Source]) -> dict[str, str]:
    """The columns of the table that is read, as SQL."""
    found = {}
    for name, column in columns.items():
        if column.kind in ("number", "time", "text"):
            found[name] = column.sql
        if column.kind == "number":  # a DataFrame cannot tell NULL from NaN
            found[f"no {name}"] = f"{column.sql} IS NULL"
    return found


def _table(frame: pd.DataFrame, tags: pd.DataFrame) -> Table:
    ids = frame["trajectory_id"].to_numpy(dtype=object)
    columns: dict[str, Column] = {}
    for name, column in COLUMNS.items():
        if column.kind == "text":
            columns[name] = _names(frame[name])
        elif column.kind == "time":
            missing = frame[name].isna().to_numpy(dtype=bool)
            micros = frame[name].to_numpy(dtype="datetime64[us]").astype(np.int64)
            columns[name] = Numbers(values=np.where(missing, np.nan, micros / 1e6), missing=missing)
        elif column.kind == "number":
            values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            columns[name] = Numbers(values=values, missing=frame[f"no {name}"].to_numpy(dtype=bool))
        elif column.kind == "tags":
            found = tags[tags["trajectory_id"].isin(ids)] if len(tags) else tags
            names = _names(found["tag"])
            rows = np.searchsorted(ids, found["trajectory_id"].to_numpy(dtype=object)).astype(np.int64)
            codes = names.codes.astype(np.int64)
            columns[name] = Tags(names=names.names, rows=rows, codes=codes, size=len(ids))
    return Table(ids=ids, columns=columns)


def _names(cells: pd.Series[Any]) -> Names:
    found, names = pd.factorize(cells, sort=True)
    codes = np.where(found < 0, len(names), found).astype(np.int32)
    return Names(names=tuple(map(str, names)), codes=codes)


# Further columns, read when they are wanted


def info_sources(store: Store) -> dict[str, Source]:
    """The columns for the most frequent keys of final infos, as ``info.<key>``; none without a store."""
    try:
        keys = list(store.info_keys().items())[:MOST_KEYS]
    except AigymError:
        return {}
    found = {}
    for key, kind in keys:
        quoted = key.replace("'", "''")
        sql = f"info_{kind}s['{quoted}']"
        found[f"info.{key}"] = Source(name=f"info.{key}", label=key, kind=kind, sql=sql)
    return found


def info(store: Store, table: Table, source: Source) -> Column:
    """One more column of the table's trajectories."""
    frame = store.sql(
        f"SELECT trajectory_id, {source.sql} AS value FROM trajectories WHERE {source.sql} IS NOT NULL"
    )
    cells = frame.drop_duplicates("trajectory_id").set_index("trajectory_id")["value"].reindex(table.ids)
    if source.kind == "text":
        return _names(cells)
    missing = ~np.isin(table.ids.astype(str), frame["trajectory_id"].to_numpy(dtype=str))
    return Numbers(values=cells.to_numpy(dtype=np.float64), missing=missing)


def rewards(
    store: Store, table: Table, edges_for: Callable[[float, float, bool], NDArray[np.float64]]
) -> Spread:
    """The rewards of all steps of the table's trajectories, counted in bins.

    Args:
        edges_for: gives the edges for the least and the largest finite reward, and whether all are whole.
    """
    ends = store.sql(
        "SELECT min(reward) AS low, max(reward) AS high, bool_and(reward = floor(reward)) AS whole "
        "FROM steps WHERE isfinite(reward)"
    ).iloc[0]
    if pd.isna(ends["low"]):
        return Spread(edges=np.array([0.0, 1.0]), counts=np.zeros((len(table), 4)), totals=np.zeros(4))
    edges = edges_for(float(ends["low"]), float(ends["high"]), bool(ends["whole"]))
    inner = edges[1:-1].tolist()
    hit = store.sql("SELECT DISTINCT reward FROM steps WHERE reward IN (SELECT unnest(?))", [inner])["reward"]
    edges[1:-1] = np.where(np.isin(inner, hit), np.nextafter(inner, -np.inf), inner)
    counts = np.zeros((len(table), len(edges) + 2))
    for rows, values in _steps(store, table):
        held = Numbers(values=values, missing=np.zeros(len(values), dtype=bool))
        cells = rows * counts.shape[1] + places(held, edges)
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    return Spread(edges=edges, counts=counts, totals=counts.sum(axis=0))


def _steps(store: Store, table: Table) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The rewards of some steps at a time, each with the row of its trajectory in the table."""
    runs = store.sql("SELECT run_id, sum(length) AS steps FROM trajectories GROUP BY ALL ORDER BY run_id")
    batches = runs["run_id"].groupby(runs["steps"].cumsum() // STEPS_AT_ONCE)
    # A trajectory that goes on has steps and no row yet; the table may hold fewer than the store.
    query = (
        "SELECT w.row, s.reward FROM steps s JOIN (SELECT unnest(?) AS trajectory_id, unnest(?) AS row) w "
        "USING (trajectory_id) WHERE s.run_id IN (SELECT unnest(?))"
    )
    run = table.columns["run_id"]
    assert isinstance(run, Names)
    for _, batch in batches:
        named = set(batch)
        some = np.array([name in named for name in run.names] + [False], dtype=bool)[run.codes]
        rows = np.flatnonzero(some)
        found = store.arrow(query, [table.ids[some].tolist(), rows.tolist(), batch.tolist()])
        yield found["row"].to_numpy(), found["reward"].to_numpy()


def places(numbers: Numbers, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Between which two of n + 1 edges each number lies; n for NaN, n + 1 and n + 2 for minus infinity and
    infinity, n + 3 for none."""
    n = len(edges) - 1
    values = numbers.values
    found = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n - 1)
    found[np.isnan(values)] = n
    found[values == -np.inf] = n + 1
    found[values == np.inf] = n + 2
    found[numbers.missing] = n + 3
    return found
