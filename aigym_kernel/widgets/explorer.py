"""Look at everything that was recorded: a list of trajectories, and any of them step by step.

    explore()                                      the newest first
    explore(where={"env_id": "aigym/Snake-v0"})    only some; a value may be a list
    explorer.selected, explorer.step               what is being looked at; may be set

All state is in traits, so that Python can read and set it, and a saved notebook plays the chosen
trajectory without a kernel. The browser sends names, ids and ranges, never a query. Exported pages
show `Explorer.to_html`. Nothing is written here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import anywidget
import traitlets

from aigym_kernel import rendering
from aigym_kernel.errors import AigymError
from aigym_kernel.store import Store
from aigym_kernel.widgets import source, stills
from aigym_kernel.widgets.replies import stay_where_sent
from aigym_kernel.widgets.shown import finite, shown

PAGE_SIZE = 20
MAX_CHOICES = 200
FILTERS = ("env_id", "agent", "outcome", "run_id")
_QUERY = ("where", "search", "order_by", "descending")


class Explorer(anywidget.AnyWidget):
    """The trajectories of a store, filtered, sorted, paged and played.

    Set by Python or the browser: ``where`` (column to a value or a list of values), ``search``,
    ``order_by``, ``descending``, ``offset``, ``selected`` (a trajectory's id), ``step``. Computed here:
    ``page`` (rows), ``total``, ``choices`` (column to value and count), ``trajectory`` (see `shown`),
    ``error`` (what went wrong with the last of them). ``asked`` and ``answered`` count the browser's
    requests, so that it can tell a kernel that is gone.
    """

    _esm = source.module("drawing", "player", "explorer")
    _css = source.style()

    where = traitlets.Dict().tag(sync=True)
    search = traitlets.Unicode().tag(sync=True)
    order_by = traitlets.Unicode("started_at").tag(sync=True)
    descending = traitlets.Bool(True).tag(sync=True)
    offset = traitlets.Int(0, min=0).tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int(0, min=0).tag(sync=True)
    page: Any = traitlets.List().tag(sync=True)
    page_size = traitlets.Int(PAGE_SIZE, read_only=True).tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    trajectory = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    asked = traitlets.Int(0).tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        store: Store | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        selected: str | None = None,
    ) -> None:
        self._store = store or Store()
        self._reading = threading.RLock()  # JupyterLab may answer in a subshell's thread while a cell runs
        self._problems = {"list": "", "trajectory": ""}
        super().__init__(where=dict(where or {}), selected=selected or "")
        self.observe(self._on_query, list(_QUERY))
        self.observe(self._on_offset, "offset")
        self.observe(self._on_asked, "asked")
        self.observe(self._on_selected, "selected")
        self.on_msg(self._on_message)
        if self.selected:
            self._load()
        self.refresh()
        stay_where_sent(self.comm)

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    def refresh(self) -> None:
        """Read the store again: the page, its total, and what the filters offer."""
        with self._problems_shown("list"):
            self.choices = {column: self._offered(column) for column in FILTERS}
            self._turn()
            if not self.selected and self.page:
                self.selected = self.page[0]["trajectory_id"]

    def to_html(self) -> str:
        """The same as static HTML, under 300 kB: no script, no network."""
        error = f"<p>{rendering.escape(self.error)}</p>" if self.error else ""
        return error + stills.explorer(self.page, self.total, self.trajectory)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.to_html()}, metadata

    def __repr__(self) -> str:
        return f"Explorer({self.total:,} trajectories, selected {self.selected or 'none'}, step {self.step})"

    def _turn(self) -> None:
        found = self._store.page(
            where=self.where,
            search=self.search,
            order_by=self.order_by,
            descending=self.descending,
            limit=PAGE_SIZE,
            offset=self.offset,
        )
        self.page = [_row(row) for row in found.rows]
        self.total = found.total

    def _offered(self, column: str) -> list[list[Any]]:
        return [[str(value), int(count)] for value, count in self._store.values(column)[:MAX_CHOICES]]

    def _load(self) -> None:
        with self._problems_shown("trajectory"):
            try:
                self.trajectory = shown(self._store.load(self.selected)) if self.selected else {}
            except Exception:
                self.trajectory = {}
                raise

    @contextmanager
    def _problems_shown(self, what: str) -> Iterator[None]:
        """A question from the browser has no cell that an exception could reach: it goes to ``error``."""
        with self._reading:
            try:
                yield
                self._problems[what] = ""
            except AigymError as problem:
                self._problems[what] = str(problem)
            except Exception as problem:
                self._problems[what] = f"{type(problem).__name__}: {problem}"
            self.error = "\n".join(filter(None, self._problems.values()))

    def _on_query(self, _change: object) -> None:
        with self._problems_shown("list"):
            self.offset = 0
            self._turn()

    def _on_offset(self, _change: object) -> None:
        with self._problems_shown("list"):
            self._turn()

    def _on_selected(self, _change: object) -> None:
        self.step = 0
        self._load()

    def _on_asked(self, change: Any) -> None:
        self.answered = change["new"]

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if isinstance(content, dict) and content.get("refresh"):
            self.refresh()


def explore(
    store: Store | None = None, *, where: Mapping[str, Any] | None = None, selected: str | None = None
) -> Explorer:
    """Open the explorer.

    Args:
        store: what to look at; default: the store of `settings.data_dir`.
        where: column of ``trajectories`` to the value, or list of values, that it must have.
        selected: the id of the trajectory to open; default: the newest.
    """
    return Explorer(store, where=where, selected=selected)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trajectory_id": row["trajectory_id"],
        "run_id": row["run_id"],
        "env_id": row["env_id"],
        "agent": row["agent"],
        "outcome": row["outcome"],
        "length": int(row["length"]),
        "return": finite(row["return"]),
        "score": finite(row["score"]),
        "started_at": _epoch(row["started_at"]),
    }


def _epoch(moment: datetime | None) -> float | None:
    """Seconds since 1970 of a TIMESTAMP; the store keeps them in UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()
