"""Everything recorded, on disk and readable with SQL: `Store`.

    store = Store()                                     the folder that AIGYM_DATA names
    store.add_run(RunRecord(run_id="r1", kind="rollout", name="first"))
    with store.writer("r1") as writer:
        writer.trajectory(trajectory)
    store.sql("SELECT outcome, count(*) FROM trajectories GROUP BY ALL")
    store.load(trajectory.id)
    load(env_id="CartPole-v1", return_=(450, None))     whole trajectories, as a list

Immutable Parquet segments are the truth; DuckDB files in ``index/`` make reading fast and can be deleted.
Any number of processes may write and read at the same time, and none waits for another.

SQL sees eight tables: ``runs``, ``trajectories``, ``steps``, ``messages`` (its module says what the columns
hold), ``metrics``, ``marks``, ``reviews`` (what people said of marks) and ``notes`` (and of trajectories; the
modules of these two tell how the others show it). Times are UTC. A step's observation and action are in
``observation`` and ``action`` (DOUBLE[]) where they are numbers, in ``observation_text`` and ``action_text``
where they are text or JSON; the module ``schema`` has the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigym_kernel.errors import check_whole
from aigym_kernel.store.checking import Problem
from aigym_kernel.store.compaction import Compacted
from aigym_kernel.store.reader import Page
from aigym_kernel.store.records import RunKind, RunRecord, RunState, RunStatus
from aigym_kernel.store.rewinding import Rewound, rewind
from aigym_kernel.store.store import Store
from aigym_kernel.store.writer import Writer

if TYPE_CHECKING:
    import pandas

    from aigym_kernel.trajectories import Trajectory

__all__ = [
    "Compacted",
    "Page",
    "Problem",
    "Rewound",
    "RunKind",
    "RunRecord",
    "RunState",
    "RunStatus",
    "Store",
    "Writer",
    "load",
    "rewind",
    "sql",
    "trajectories",
]


def sql(query: str, parameters: Sequence[Any] | None = None) -> pandas.DataFrame:
    """`Store.sql` on the store that AIGYM_DATA names."""
    return Store().sql(query, parameters)


def trajectories(store: Store | Path | str | None = None, **filters: Any) -> pandas.DataFrame:
    """`Store.trajectories` on a store, its folder, or the one that AIGYM_DATA names.

    ``trajectories(env_id="aigym/Snake-v0", return_=(5, None), order_by="length", limit=100)``
    """
    chosen = store if isinstance(store, Store) else Store(store)
    return chosen.trajectories(**filters)


def load(
    store: Store | Path | str | None = None, *, limit: int | None = None, **filters: Any
) -> list[Trajectory]:
    """Whole trajectories as they were recorded, oldest first: what `train.clone` learns from.

    ``load(env_id="CartPole-v1", return_=(450, None), limit=200)``

    Args:
        store: one, its folder, or by default the one that AIGYM_DATA names.
        limit: at most so many.
        filters: as of `trajectories`.

    Raises:
        UnknownName: a column that trajectories do not have.
        AigymError: a tuple that is no range, or a limit that is no whole number.
    """
    from aigym_kernel.store import loading

    if limit is not None:
        check_whole("load: limit", limit, 0)
    chosen = store if isinstance(store, Store) else Store(store)
    where = {"return" if name == "return_" else name: value for name, value in filters.items()}
    found = loading.keys(chosen.folder, where, "started_at")
    return list(loading.load_each(chosen.folder, found[:limit]))
