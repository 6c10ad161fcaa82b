"""Look at everything that was recorded: charts that filter each other, a list, and any trajectory.

    explore()                                      the newest first
    explore(where={"env_id": "aigym/Snake-v0"})    only some, whatever is filtered in the widget
    explore(filters={"return": (10, None)})        filtered, as if brushed
    explorer.sql, explorer.selection, explorer.to_df()      what is filtered or chosen, for Python
    explore(permalink=explorer.permalink)          as it was

All state is in traits, so that Python can read and set it, and a saved notebook plays the chosen
trajectory without a kernel. The browser sends names, ids and ranges, never a query (module ``answers``).
Exported pages show `Explorer.to_html`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import anywidget
import traitlets

from aigym_kernel import contrasts, rendering
from aigym_kernel.differences import Difference
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import Store
from aigym_kernel.widgets import pane, placing, saved, source, stills
from aigym_kernel.widgets.answers import ASIDE, CHANGED, answer
from aigym_kernel.widgets.filters import checked, condition, packed, unpacked
from aigym_kernel.widgets.following import Seen, look
from aigym_kernel.widgets.held import Held
from aigym_kernel.widgets.replies import stay_where_sent
from aigym_kernel.widgets.rows import plain
from aigym_kernel.widgets.shown import Opened

if TYPE_CHECKING:
    import pandas

FIRST_ROWS = 60
DIFFERING = 12
VIEWS = ("trajectory", "compare", "diff")
_KEPT_IN_LINKS = ("where", *CHANGED)


class Explorer(anywidget.AnyWidget):
    """The trajectories of a store: filtered by charts, listed, and one of them played.

    Set by Python or the browser: ``where`` and ``filters`` (see `filters.checked`; both must let a trajectory
    through, charts speak of what ``where`` lets through), ``search``, ``order_by``, ``descending``,
    ``columns`` (the charted ones; none: those that say something), ``selected`` (a trajectory's id),
    ``chosen`` (ids marked in the list), ``step``, ``view``.

    Computed here: ``offered`` (columns that can be charted), ``charts`` (see `crossfilter.charts`),
    ``total`` (how many pass), ``among`` (of how many), ``rows`` (the list's first), ``stamp`` (changes with
    the list), ``trajectory`` (see `shown`), ``error`` (what went wrong with the last of them),
    ``running`` (how many runs go on; while ``live`` is set the browser follows them, see `following`).
    """

    _esm = source.module(*source.EXPLORER)
    _css = source.style()

    where: Any = traitlets.Dict().tag(sync=True)
    filters: Any = traitlets.Dict().tag(sync=True)
    search = traitlets.Unicode().tag(sync=True)
    order_by = traitlets.Unicode("started_at").tag(sync=True)
    descending = traitlets.Bool(True).tag(sync=True)
    columns: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)
    chosen: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    step = traitlets.Int(0, min=0).tag(sync=True)
    view = traitlets.Unicode("trajectory").tag(sync=True)
    offered: Any = traitlets.List().tag(sync=True)
    charts: Any = traitlets.List().tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)
    among = traitlets.Int(0).tag(sync=True)
    rows: Any = traitlets.List().tag(sync=True)
    stamp = traitlets.Int(0).tag(sync=True)
    trajectory = traitlets.Dict().tag(sync=True)
    comparison = traitlets.Dict().tag(sync=True)
    difference = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    running = traitlets.Int(0).tag(sync=True)

    def __init__(self, store: Store | None = None, **state: Any) -> None:
        self.store = store or Store()
        self.held = Held(self.store)
        self.seen = Seen()
        self.sparks: dict[str, list[float | None]] = {}  # of trajectories that were in view
        self.opened: dict[str, Opened] = {}
        self.beside: Difference | None = None  # whose head ``difference`` is
        self._reading = threading.RLock()  # JupyterLab may answer in a subshell's thread while a cell runs
        self._problems = {"list": "", "trajectory": ""}
        super().__init__(**state)
        self.observe(self._on_where, "where")
        self.observe(self._on_narrowed, ["filters", "search", "order_by", "descending", "columns"])
        self.observe(self._on_selected, "selected")
        self.on_msg(self._on_message)
        if self.selected:
            self._load()
        self.refresh()
        stay_where_sent(self.comm)

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    @traitlets.validate("where", "filters")
    def _check_filters(self, proposal: Any) -> Any:
        return checked(proposal["value"], self.held.sources)

    @traitlets.validate("order_by")
    def _check_order(self, proposal: Any) -> Any:
        if proposal["value"] == "reward":  # many to each trajectory
            raise AigymError("trajectories cannot be sorted by 'reward'; take 'return'")
        return self._known(proposal["value"])

    @traitlets.validate("columns")
    def _check_columns(self, proposal: Any) -> Any:
        return [self._known(name) for name in proposal["value"]]

    def _known(self, name: str) -> str:
        if name not in self.held.sources:
            raise UnknownName("column of the explorer", name, self.held.sources)
        return name

    @traitlets.validate("view")
    def _check_view(self, proposal: Any) -> Any:
        if proposal["value"] not in VIEWS:
            raise UnknownName("view", proposal["value"], VIEWS)
        return proposal["value"]

    # For Python

    @property
    def sql(self) -> str:
        """A SELECT for `aigym.sql` that gives the trajectories that pass, in the order of the list."""
        sources = self.held.sources
        test = condition([self.where, self.filters], sources, self.search)
        direction = "DESC" if self.descending else "ASC"
        column = "list_min(tags)" if self.order_by == "tags" else sources[self.order_by].sql
        return (
            f"SELECT * FROM trajectories WHERE {test} ORDER BY {column} {direction} NULLS LAST, trajectory_id"
        )

    @property
    def selection(self) -> list[str]:
        """The ids chosen in the list; where there are none, of all that pass, in the list's order."""
        return list(self.chosen) or self.held.table.ids[self.held.places].tolist()

    def to_df(self) -> pandas.DataFrame:
        """The rows of ``trajectories`` of `selection`, in its order."""
        if not self.chosen:
            return self.store.sql(self.sql)
        ids = list(self.chosen)
        frame = self.store.sql("SELECT * FROM trajectories WHERE trajectory_id IN (SELECT unnest(?))", [ids])
        return (
            frame.set_index("trajectory_id", drop=False)
            .reindex([i for i in ids if i in set(frame["trajectory_id"])])
            .reset_index(drop=True)
        )

    @property
    def permalink(self) -> str:
        """A short text with which ``explore(permalink=...)`` shows the same of the same store."""
        state = {name: getattr(self, name) for name in _KEPT_IN_LINKS}
        defaults = self.trait_defaults(*_KEPT_IN_LINKS)
        return packed({name: value for name, value in state.items() if value != defaults[name]})

    def refresh(self) -> None:
        """Read the store again: charts, list, and what is selected where nothing was."""
        with self._problems_shown("list"):
            self.seen = look(self.store, self.seen)
            self.running = len(self.seen.going)
            self.held.read(self.where)
            self.among = len(self.held.table)
            self.offered = self.held.offered()
            self._narrow()
            if not self.selected and self.rows:
                self.selected = self.rows[0]["trajectory_id"]

    @overload
    def to_html(self) -> str: ...
    @overload
    def to_html(self, path: str | Path) -> None: ...
    def to_html(self, path: str | Path | None = None) -> str | None:
        """A page that shows and plays the same without a kernel and without a network, under 1 MB: the first
        rows of the list, the open trajectory, and others of the list while they fit. Written to ``path``
        where one is given, else returned.

        Raises:
            AigymError: ``path`` cannot be written.
        """
        page = saved.whole(self)
        if path is None:
            return page
        try:
            Path(path).expanduser().write_text(page, encoding="utf-8")
        except OSError as error:
            raise AigymError(f"cannot write {path}: {error.strerror or error}") from None
        return None

    def static_html(self) -> str:
        """The same as a picture, under 300 kB: no script."""
        error = f"<p>{rendering.escape(self.error)}</p>" if self.error else ""
        listed = stills.explorer(self.rows[: stills.LISTED], self.total, self.trajectory)
        if self.view == "compare" and self.comparison.get("groups"):
            return error + contrasts.comparison(self.comparison) + listed
        if self.view == "diff" and self.difference.get("a"):
            return (
                error + contrasts.difference(self.difference, [self.difference["rows"][:DIFFERING]]) + listed
            )
        return error + listed

    def _ipython_display_(self) -> None:
        placing.place(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": saved.part(self)}, metadata

    def __repr__(self) -> str:
        return f"Explorer({self.total:,} trajectories, selected {self.selected or 'none'}, step {self.step})"

    # Computed

    def _narrow(self) -> None:
        held = self.held
        charts = held.narrow(self.filters, self.search, self.order_by, self.descending, self.columns)
        with self.hold_sync():
            self.charts = charts
            self.total = len(held.places)
            self.rows = plain(held.table, held.places[:FIRST_ROWS])
            self.stamp += 1

    def _load(self) -> None:
        with self._problems_shown("trajectory"):
            try:
                self.opened.pop(self.selected, None)  # chosen anew: with what was said of it meanwhile
                self.trajectory = pane.opened(self, self.selected).head() if self.selected else {}
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

    def _on_where(self, _change: object) -> None:
        self.refresh()

    def _on_narrowed(self, _change: object) -> None:
        with self._problems_shown("list"):
            self._narrow()

    def _on_selected(self, _change: object) -> None:
        with self.hold_sync():  # else what is open until it has loaded would be put to its beginning
            self.step = 0
            self._load()

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if not isinstance(content, dict) or "ask" not in content:
            return
        if content.get("what") in ASIDE:
            name = f"answer of an explorer: {content['what']}"
            threading.Thread(target=lambda: self.send(answer(self, content)), name=name, daemon=True).start()
            return
        with self._reading:
            self.send(answer(self, content))


def explore(
    store: Store | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    selected: str | None = None,
    view: str | None = None,
    permalink: str | None = None,
) -> Explorer:
    """Open the explorer.

    Args:
        store: what to look at; default: the store of `settings.data_dir`.
        where: which trajectories there are at all: a column of ``trajectories`` to a value, a list of values,
            or a tuple (low, high) with None for an open end.
        filters: the same, as if brushed in the charts.
        selected: the id of the trajectory to open; default: the newest.
        view: what to open beside the list; one of `VIEWS`.
        permalink: the `Explorer.permalink` of an earlier one; the other arguments win over it.

    Raises:
        UnknownName: a column that there is not.
        AigymError: a filter or a permalink that is none.
    """
    given = {"where": where, "filters": filters, "selected": selected, "view": view}
    state = {} if permalink is None else unpacked(permalink)
    for name in state:
        if name not in _KEPT_IN_LINKS:
            raise UnknownName("part of a permalink", name, _KEPT_IN_LINKS)
    try:
        return Explorer(
            store, **{**state, **{name: value for name, value in given.items() if value is not None}}
        )
    except traitlets.TraitError as problem:
        what = "the explorer" if permalink is None else f"permalink={permalink!r:.60}"
        raise AigymError(f"{what} cannot be opened like this: {problem}") from None
