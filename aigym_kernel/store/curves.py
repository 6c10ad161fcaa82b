"""Numbers to be drawn, made by DuckDB from the table ``trajectories``: a return curve, a histogram.

    returns(folder, ["ppo-1", "ppo-2"])                                 one row per run and stretch of steps
    histogram(folder, "return", where={"env_id": "aigym/Snake-v0"})     one row per bin, or per value

Steps are not read: both take as long as there are trajectories.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigym_kernel.errors import UnknownName, check_whole
from aigym_kernel.store import runs, schema
from aigym_kernel.store.conditions import column, conditions, source
from aigym_kernel.store.snapshot import open_snapshot

if TYPE_CHECKING:
    import pandas

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


def returns(folder: Path, run_ids: Sequence[str] | None, bins: int) -> pandas.DataFrame:
    """How returns grew; see `Store.returns`."""
    check_whole("bins", bins, 1, 100_000)
    chosen = None if run_ids is None else [run_ids] if isinstance(run_ids, str) else list(run_ids)
    for run_id in chosen or ():
        if not (folder / "runs" / str(run_id)).is_dir():
            raise UnknownName("run", run_id, runs.run_ids(folder))
    # An evaluation is no step of the training beside which it was played.
    mine = "WHERE \"group\" IS DISTINCT FROM 'evaluation'"
    mine += "" if chosen is None else " AND run_id IN (SELECT unnest(?::VARCHAR[]))"
    levels = ", ".join(f"q[{i}] AS {name}" for i, name in enumerate(QUANTILES, 1))
    # By the time at which they ended, since that is when their return was known.
    query = f"""
        WITH ended AS (
          SELECT run_id, "return", sum(length) OVER (
            PARTITION BY run_id ORDER BY started_at + to_microseconds((wall_s * 1e6)::BIGINT), trajectory_id
            ROWS UNBOUNDED PRECEDING) AS step
          FROM trajectories {mine}),
        binned AS (
          SELECT run_id, "return", least(floor(greatest(step - 1, 0) / width), {bins - 1}) AS bin, width
          FROM ended, (SELECT greatest(max(step), 1) / {bins} AS width FROM ended) WHERE isfinite("return"))
        SELECT run_id, step, n, mean, {levels} FROM (
          SELECT run_id, (bin + 1) * any_value(width) AS step, count(*) AS n, avg("return") AS mean,
                 quantile_cont("return", {list(QUANTILES.values())}) AS q
          FROM binned GROUP BY run_id, bin) ORDER BY run_id, step"""
    with open_snapshot(folder, "") as asked:
        return asked.ask(query, None if chosen is None else [chosen], lambda answer: answer.df())


def histogram(folder: Path, name: str, where: Mapping[str, Any] | None, bins: int) -> pandas.DataFrame:
    """How often which values are; see `Store.histogram`."""
    import pandas

    check_whole("bins", bins, 1, 100_000)
    values = column(name)
    tests, parameters = conditions(where or {}, "")
    chosen = f"{source([*(where or {}), name])} WHERE {' AND '.join(tests) or 'true'}"
    kind = schema.TABLES["trajectories"].field(name).type if name in _COLUMNS else None
    with open_snapshot(folder, "runs") as asked:
        if kind == schema.TIME:
            values = f"epoch_us({values})"
        elif not (name.startswith("info.") or kind in (pa.int64(), pa.float64())):
            shown = f"unnest({values})" if name == "tags" else values
            query = f"SELECT value, count(*) AS n FROM (SELECT {shown} AS value FROM {chosen}) GROUP BY 1 "
            return asked.ask(
                f"{query} ORDER BY n DESC, value NULLS LAST", parameters, lambda answer: answer.df()
            )
        whole = kind in (pa.int64(), schema.TIME)
        there = f"FROM {chosen} AND isfinite({values}::DOUBLE)"
        ends = asked.rows(f"SELECT min({values}) AS low, max({values}) AS high {there}", parameters)[0]
        edges = _edges(ends["low"], ends["high"], bins, whole=whole)
        counts = np.zeros(len(edges) - 1, dtype=np.int64)
        if len(counts):
            width = float(edges[1] - edges[0])
            place = f"greatest(least(floor(({values} - ?) / ?), ?), 0)::BIGINT"
            query = f"SELECT {place} AS bin, count(*) AS n {there}"
            ends_first = [edges[0].item(), width, len(counts) - 1, *parameters]
            for row in asked.rows(f"{query} GROUP BY 1", ends_first):
                counts[row["bin"]] = row["n"]
    shown_edges = pandas.to_datetime(edges, unit="us") if kind == schema.TIME else edges
    return pandas.DataFrame({"low": shown_edges[:-1], "high": shown_edges[1:], "n": counts})


_COLUMNS = frozenset(schema.TABLES["trajectories"].names)


def _edges(low: Any, high: Any, bins: int, *, whole: bool) -> NDArray[Any]:
    """Bins of one width from the least value to the largest; of whole numbers none is split."""
    if low is None:
        return np.zeros(1)
    if whole:
        width = max(math.ceil((high - low + 1) / bins), 1)
        count = math.ceil((high - low + 1) / width)
        edges: NDArray[Any] = np.arange(low, low + (count + 1) * width, width, dtype=np.int64)
        return edges
    if high == low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)
