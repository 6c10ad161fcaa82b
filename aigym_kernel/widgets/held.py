"""What an explorer holds of a store in memory, and what follows from its filters.

    held = Held(store)
    held.read({"env_id": {"values": ["CartPole-v1"]}})        all trajectories that these let through
    held.narrow({"return": {"range": [0, 10]}}, "ppo", "length", False, ["return", "agent"])
    held.places                                               of those that pass, in order, in held.table

What costs time is kept until the store is read again: bins, the masks of filters that have not changed, the
order, the rewards of steps and keys of final infos that somebody wanted to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.store import Store
from aigym_kernel.store.schema import clean
from aigym_kernel.widgets import crossfilter
from aigym_kernel.widgets.columns import (
    COLUMNS,
    SEARCHED,
    Column,
    Names,
    Numbers,
    Spread,
    empty,
    info,
    info_sources,
    read,
    rewards,
)
from aigym_kernel.widgets.filters import Filter, condition

CHARTED = (
    "return",
    "length",
    "score",
    "started_at",
    "outcome",
    "env_id",
    "task_id",
    "agent",
    "run_id",
    "tags",
)
REWARDS_AT_ONCE = 500_000  # steps; with more than these their chart has to be asked for


class Held:
    """The trajectories of a store: ``table``, the ``sources`` of their columns, and ``places``."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sources = {**COLUMNS, **info_sources(store)}
        self.table = empty()
        self.places: NDArray[np.int64] = np.array([], dtype=np.int64)
        self._forget()

    def _forget(self) -> None:
        self._further: dict[str, Column | Spread] = {}
        self._bins: dict[str, crossfilter.Bins] = {}
        self._masks: dict[str, tuple[Any, NDArray[np.bool_]]] = {}
        self._order: tuple[Any, NDArray[np.int64]] = (None, self.places)

    def read(self, where: Mapping[str, Filter]) -> None:
        """Reads the trajectories that ``where`` lets through.

        Raises:
            StoreError: there is no store, or it is broken.
        """
        self.sources = {**COLUMNS, **info_sources(self.store)}
        self.table = read(self.store, condition([where], self.sources))
        self._forget()

    def offered(self) -> list[list[str]]:
        """Name, label and kind of each column in which any trajectory has a value."""
        return [[c.name, c.label, c.kind] for c in self.sources.values() if self._has_values(c.name)]

    def narrow(
        self,
        filters: Mapping[str, Filter],
        search: str,
        order_by: str,
        descending: bool,
        shown: Sequence[str],
    ) -> list[dict[str, Any]]:
        """Works out ``places`` and returns the charts: the shown ones, or those that tell something."""
        masks = self._masks_of({**filters, **({"": search} if search else {})})
        columns = {name: self._column(name) for name in shown or self._telling()}
        for name, column in columns.items():
            if name not in self._bins and isinstance(column, Numbers):
                self._bins[name] = crossfilter.bins(column, time=self.sources[name].kind == "time")
        through = np.ones(len(self.table), dtype=bool)
        for mask in masks.values():
            through &= mask
        by = (order_by, descending)
        if self._order[0] != by:
            column = self._column(order_by)
            self._order = (by, crossfilter.order(column, len(self.table), descending=descending))
        self.places = self._order[1][through[self._order[1]]]
        return crossfilter.charts(self.sources, columns, self._bins, masks, len(self.table))

    def _has_values(self, name: str) -> bool:
        if name == "reward":
            return self.table.steps > 0
        if name not in self.table.columns:  # a key of final infos is there because one has it
            return True
        column = self.table.columns[name]
        return not column.missing.all() if isinstance(column, Numbers) else bool(column.names)

    def _telling(self) -> list[str]:
        """The columns that say something at little cost."""
        found = [name for name in CHARTED if self._has_values(name) and not self._is_one_name(name)]
        if 0 < self.table.steps <= REWARDS_AT_ONCE:
            found.insert(found.index("length") + 1, "reward")
        return found

    def _is_one_name(self, name: str) -> bool:
        column = self.table.columns[name]
        return isinstance(column, Names) and len(np.unique(column.codes)) == 1

    def _column(self, name: str) -> Column | Spread:
        if name in self.table.columns:
            return self.table.columns[name]
        if name not in self._further:
            if name == "reward":
                self._further[name] = rewards(self.store, self.table, crossfilter.edges_between)
            else:
                self._further[name] = info(self.store, self.table, self.sources[name])
        return self._further[name]

    def _masks_of(self, wanted: Mapping[str, Any]) -> dict[str, NDArray[np.bool_]]:
        """What each filter lets through, the searched text under no name."""
        before, self._masks = self._masks, {}
        for name, how in wanted.items():
            if name in before and before[name][0] == how:
                self._masks[name] = before[name]
            elif name:
                self._masks[name] = (how, self._passing(name, how))
            else:
                self._masks[name] = (how, crossfilter.holding(self.table, clean(how), SEARCHED))
        return {name: mask for name, (_, mask) in self._masks.items()}

    def _passing(self, name: str, how: Filter) -> NDArray[np.bool_]:
        column = self._column(name)
        if not isinstance(column, Spread) or crossfilter.on_edges(column, how):
            return crossfilter.passes(column, how)
        test = condition([{name: how}], self.sources)
        ids = self.store.sql(f"SELECT trajectory_id FROM trajectories WHERE {test}")["trajectory_id"]
        return np.isin(self.table.ids.astype(str), ids.to_numpy(dtype=str))
