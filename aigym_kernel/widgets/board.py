"""Watch a training run live, and stop it.

    board(run)             the widget; a thread reads the run's status and metrics twice a second
    show(run)              displays it
    refresh(run)           sends the final state to every displayed board of the run, and the final
                           static HTML that exported notebooks show; call it from the main thread

The board reads what the run has written to the store, so it works from any process, and a cell may
wait for the run meanwhile. It does not start a run.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
import weakref
from typing import Any

import anywidget
import traitlets

from aigym_kernel.errors import AigymError
from aigym_kernel.handles import Run
from aigym_kernel.recording import FINAL
from aigym_kernel.widgets import source, stills
from aigym_kernel.widgets.plain import finite
from aigym_kernel.widgets.replies import stay_where_sent

POLL_S = 0.5
MAX_POINTS = 500
CURVE = "return_mean"
_LATEST = {
    "return_mean": "mean return",
    "length_mean": "episode length",
    "steps_per_second": "steps per second",
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "td_loss": "TD loss",
    "q_mean": "mean action value",
    "epsilon": "random actions",
    "entropy": "entropy",
    "approx_kl": "approximate KL",
    "explained_variance": "explained variance",
    "learning_rate": "learning rate",
    "eval_return_mean_before": "evaluated before",
    "eval_return_mean": "evaluated after",
}


class Board(anywidget.AnyWidget):
    """A run's progress, return curve and latest numbers, with a stop button.

    ``view`` holds all that is drawn, as plain values (see `Seen` in board.js); ``stopping`` says that
    the run was asked to stop from here.
    """

    _esm = source.module("drawing", "board")
    _css = source.style()

    view = traitlets.Dict().tag(sync=True)
    stopping = traitlets.Bool(False).tag(sync=True)

    def __init__(self, run: Run) -> None:
        self.run = run
        self._record = run.record
        self._points: list[tuple[float, float]] = []
        self._latest: dict[str, float] = {}
        self._read_to = -1
        self._reading = threading.Lock()
        self._display_id = secrets.token_hex(8)
        super().__init__(view=self._look())
        stay_where_sent(self.comm)
        self.on_msg(self._on_message)
        if self.view["state"] not in FINAL:
            threading.Thread(target=self._follow, name=f"board of {run.id}", daemon=True).start()

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    def update(self) -> None:
        """Read the run again now."""
        with self._reading:
            view = self._look()
            if {**view, "seen_at": 0} != {**self.view, "seen_at": 0}:
                self.view = view

    def static_html(self) -> str:
        """What is known so far, as HTML without script."""
        return stills.board(self.view)

    def _follow(self) -> None:
        while self.view["state"] not in FINAL:
            time.sleep(POLL_S)
            # A store that cannot be read just now (a full disk, a moved folder) may be readable later.
            with contextlib.suppress(AigymError, OSError):
                self.update()

    def _look(self) -> dict[str, Any]:
        status = self.run.status()
        if status.step != self._read_to or status.state in FINAL:
            self._read_metrics()
            self._read_to = status.step
        now = time.time()
        ended = status.state in FINAL
        numbers = {**self._latest, **{k: v for k, v in status.summary.items() if isinstance(v, (int, float))}}
        passed = now - self._record.created_at
        left = (
            passed * (status.total_steps - status.step) / status.step if status.step and not ended else None
        )
        return {
            "run_id": self.run.id,
            "name": self._record.name,
            "state": status.state,
            "step": status.step,
            "total_steps": status.total_steps,
            "curve": stills.thin(self._points, MAX_POINTS),
            "metrics": [[name, finite(numbers[key])] for key, name in _LATEST.items() if key in numbers],
            "started_at": self._record.created_at,
            "ended_at": status.heartbeat if ended else None,
            "seconds_left": finite(left),
            "seen_at": now,
            "error": status.error or "",
        }

    def _read_metrics(self) -> None:
        """What was recorded since the last time."""
        since = self._points[-1][0] if self._points else -1
        rows = self.run.store.sql(
            "select step, name, value from metrics where run_id = ? and step > ? order by step",
            [self.run.id, since],
        )
        for step, name, value in rows.itertuples(index=False):
            self._latest[name] = float(value)
            if name == CURVE and (number := finite(float(value))) is not None:
                self._points.append((int(step), number))

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if isinstance(content, dict) and content.get("stop"):
            self.stopping = True
            self.run.stop()

    def __repr__(self) -> str:
        return f"Board({self.run.id}: {self.view['state']}, step {self.view['step']:,})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata

    def _ipython_display_(self) -> None:
        """Displays with an id of its own, so that `refresh` can replace what was displayed."""
        from IPython.display import display

        data, metadata = self._repr_mimebundle_()
        _displayed.setdefault(self.run.id, weakref.WeakSet()).add(self)
        display(data, metadata=metadata, raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]


_displayed: dict[str, weakref.WeakSet[Board]] = {}


def board(run: Run) -> Board:
    """The live board of a run.

    Raises:
        StoreError: the run's record or status cannot be read.
    """
    return Board(run)


def show(run: Run) -> Board:
    """Display the live board of a run and return it."""
    from IPython.display import display

    made = board(run)
    display(made)  # type: ignore[no-untyped-call]
    return made


def refresh(run: Run) -> None:
    """Bring every displayed board of ``run`` up to date, the static HTML beside it included.

    The browser's own copy is updated anyway; this is for what the notebook keeps. Does nothing when
    no board of the run was displayed in this process.
    """
    from IPython.display import update_display

    for made in list(_displayed.get(run.id, ())):
        made.update()
        data, metadata = made._repr_mimebundle_()
        update_display(  # type: ignore[no-untyped-call]
            data, metadata=metadata, raw=True, display_id=made._display_id
        )


def refresh_ended() -> None:
    """`refresh` once for every displayed run that has ended since."""
    for run_id, boards in list(_displayed.items()):
        made = next(iter(boards), None)
        if made is None:
            del _displayed[run_id]
        elif made.run.finished:
            refresh(made.run)
            del _displayed[run_id]
