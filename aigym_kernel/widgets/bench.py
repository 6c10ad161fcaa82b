"""Look at a bench while it goes on: a matrix of its cells, and everything of the one that is chosen.

    bench_board(bench)             the widget; also bench.board()
    bench_board("bench_rl")        the same by its name or folder, whoever started it
    board.columns = "algo"         which parameter makes the columns; "" for a list of all cells

The board reads the bench's folder, so it works from any process and costs the cells little: twice a second,
only while the bench goes on and somebody looks, and then only files that were replaced. What a cell's panel
shows is read when it is asked for. It starts nothing but what its buttons say.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from aigym_kernel.bench import standing
from aigym_kernel.bench.handle import Bench, load_bench
from aigym_kernel.errors import AigymError, BenchError, UnknownName
from aigym_kernel.widgets import cell, matrix, placing, source
from aigym_kernel.widgets.cells import Cells, fits, layout
from aigym_kernel.widgets.replies import stay_where_sent

POLL_S, IDLE_S = 0.5, 3.0
SHARE = 0.1
"""Of the thread's time at most this much goes into reading the folder."""
WATCHED_S = 10.0
"""So long after the browser's last word somebody is taken to look; it says so every few seconds."""
_ASIDE = ("page", "trajectories")  # answered in a thread of their own: they may take seconds


class BenchBoard(anywidget.AnyWidget):
    """The cells of a bench as a matrix, with counts and the controls of the whole.

    ``cells`` is what does not change (see `Cell` in matrix.js), ``standing`` and ``going`` what does,
    ``view`` everything above the matrix; ``columns`` is the parameter that makes the columns (one of
    ``possible``), or "" for a list.
    """

    _esm = source.module(*source.BENCH)
    _css = source.style()

    names: traitlets.List[Any] = traitlets.List().tag(sync=True)
    cells: traitlets.List[Any] = traitlets.List().tag(sync=True)
    columns = traitlets.Unicode().tag(sync=True)
    possible: traitlets.List[Any] = traitlets.List().tag(sync=True)
    standing: traitlets.List[Any] = traitlets.List().tag(sync=True)
    going = traitlets.Dict().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._cells = Cells(bench.folder)
        self._plan: object = None
        self._reading = threading.RLock()
        self._looked_at = 0.0
        self._look = threading.Event()
        self._thread: threading.Thread | None = None
        self._refreshed = True  # whether the notebook keeps the last state
        super().__init__()
        stay_where_sent(self.comm)
        self._publish()
        self.on_msg(self._on_message)

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    @traitlets.validate("columns")
    def _check_columns(self, proposal: Any) -> Any:
        if proposal["value"] not in ("", *self.possible):
            raise UnknownName("parameter that can make the columns", proposal["value"], self.possible)
        return proposal["value"]

    def update(self) -> None:
        """Read the bench's folder again now."""
        with self._reading:
            try:
                changed = self._cells.read()
                self.error = ""
            except (AigymError, OSError) as problem:
                self.error = str(problem)
                return
            if changed:
                self._publish()

    def _publish(self) -> None:
        """Put what was read into the traits; they are sent only where they differ."""
        cells = self._cells
        with self.hold_sync():
            if self._plan is not cells.plan:
                self._plan = cells.plan
                self._layout = layout(cells.plan)
                self.names = list(self._layout.names)
                self.cells = [
                    {"id": one.id, "values": list(told), "label": standing.label(one)}
                    for one, told in zip(cells.plan.cells, self._layout.values)
                ]
                names, values = self._layout.names, self._layout.values
                self.possible = [name for name in names if fits(names, values, name)]
                self.columns = self._layout.columns
            self.standing = cells.standing(self._layout)
            self.going = cells.going()
            self.view = cells.view()
        self._refreshed = False

    def static_html(self) -> str:
        """The board as it is now, as HTML without script."""
        with self._reading:
            return matrix.html(self._cells, self._layout, self.columns)

    # While somebody looks

    def _follow(self) -> None:
        """Read while somebody looks: often while the bench goes on, else now and then."""
        began = time.monotonic()
        keep = began + placing.pause_s(0)
        while (now := time.monotonic()) < self._looked_at:
            self.update()
            took = time.monotonic() - now
            if now >= keep or not self._cells.holder:
                self._keep()
                keep = now + placing.pause_s(now - began)
            self._look.clear()
            self._look.wait(max(POLL_S if self._cells.holder else IDLE_S, took / SHARE))
        self._keep()

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        if "looking" in content:
            self._looked_at = time.monotonic() + WATCHED_S if content["looking"] else 0.0
            if content["looking"] and (self._thread is None or not self._thread.is_alive()):
                name = f"board of {self.bench.name}"
                self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
                self._thread.start()
            elif not content["looking"]:
                self._look.set()
        elif content.get("what") in _ASIDE:
            name = f"answer of a bench's board: {content['what']}"
            threading.Thread(target=lambda: self.send(self._answer(content)), name=name, daemon=True).start()
        elif "ask" in content:
            self.send(self._answer(content))

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The message that goes back for one request; see requests.js."""
        what = request.get("what")
        try:
            if what in ("stop", "resume"):
                return {"answer": request["ask"], "value": self._order(what)}
            if what not in cell.ANSWERS:
                raise UnknownName("request", what, (*cell.ANSWERS, "stop", "resume"))
            if what in _ASIDE:
                return {"answer": request["ask"], "value": cell.ANSWERS[what](self._cells, request)}
            with self._reading:
                return {"answer": request["ask"], "value": cell.ANSWERS[what](self._cells, request)}
        except (AigymError, OSError) as problem:
            return {"answer": request["ask"], "error": str(problem)}
        except Exception as problem:  # no cell that it could reach
            return {"answer": request["ask"], "error": f"{type(problem).__name__}: {problem}"}

    def _order(self, what: str) -> str:
        """Stop the bench, or go on with it; returns what comes of that, in words."""
        if what == "resume":
            self.bench.resume()
            told = "It goes on with what is not done."
        else:
            stops = self.bench.running
            self.bench.stop()
            told = "It begins no more cells and ends the running ones." if stops else "Nobody works on it."
        self.update()
        return told

    # What a notebook keeps

    def __repr__(self) -> str:
        return f"BenchBoard({self.view['name']}: {standing.counted(self._cells.words.values())})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata

    def _ipython_display_(self) -> None:
        _displayed.add(self)
        self._refreshed = True
        placing.place(self)

    def _keep(self) -> None:
        """Renew the still, so that a saved notebook has what is known now."""
        if not self._refreshed:
            self._refreshed = True
            placing.renew(self)


_displayed: weakref.WeakSet[BenchBoard] = weakref.WeakSet()


def refresh_ended() -> None:
    """Bring what the notebook keeps of every displayed board up to date, once nobody works on its bench any
    more. The browser's own copy is updated anyway."""
    for made in list(_displayed):
        made.update()
        if not made._cells.holder:
            made._keep()


def bench_board(bench: Bench | str | Path | None = None) -> BenchBoard:
    """The live board of a bench: a Bench, the name of one in the store or its folder; default: the newest.

    Raises:
        BenchError: there is no bench in the folder, or its files are damaged.
        UnknownName: the store has no bench of this name.
    """
    if isinstance(bench, Bench):
        return BenchBoard(bench)
    if not isinstance(bench, str | Path | None):
        raise BenchError(f"bench_board({bench!r}): expected a bench, its name or its folder")
    return BenchBoard(load_bench(bench))
