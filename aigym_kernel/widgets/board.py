"""Watch trainings live, and steer them.

    board(run)                 the widget; a thread reads what the run records while it goes on
    board(run_a, run_b)        several at once, overlaid: a colour for each configuration, runs that
                               differ only in their seed as one line with a band
    show(run)                  displays it
    refresh(run)               sends the final state to every displayed board of the run, and the final
                               static HTML that saved and exported notebooks show. Before a person a board
                               does that by itself when its runs have ended

The board reads what the run has written to the store, so it works from any process, and a cell may
wait for the run meanwhile. It starts no run, and costs a run little: it reads the record at most once a
second, for at most a twentieth of the time, and the game is played only while the board is in sight.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anywidget
import traitlets

from aigym_kernel.errors import AigymError
from aigym_kernel.grouping import common, grouped, names
from aigym_kernel.handles import Run
from aigym_kernel.progress import headless
from aigym_kernel.widgets import placing, source, stills
from aigym_kernel.widgets.plain import finite
from aigym_kernel.widgets.plots import plots
from aigym_kernel.widgets.replies import stay_where_sent
from aigym_kernel.widgets.watching import Watched

POLL_S, READ_S, GAME_S = 0.5, 1.0, 0.3
SHARE = 0.05
"""Of the thread's time at most this much goes into reading what was recorded."""
WATCHED_S = 10.0
"""So long after the browser's last word somebody is taken to look; it says so every few seconds."""
TOUCH_S = 2.0
MAX_RUNS = 50
_NUMBERS = {
    "eval_return_mean_before": "evaluated before",
    "eval_return_mean": "evaluated last",
    "steps_per_second": "steps per second",
    "train_s": "seconds of training",
}


class Board(anywidget.AnyWidget):
    """Progress, charts, outcomes, alerts and the game of one run or several, with their controls.

    ``view`` holds what changes often, ``plots``, ``outcomes`` and ``alerts`` what was recorded, ``live`` the
    newest frames of the game: plain values, all that is drawn (see `Seen` in board.js).
    ``stopping`` are the runs that were asked to stop from here, by their place; ``told`` is what came of what
    was asked last.
    """

    _esm = source.module(*source.BOARD)
    _css = source.style()

    view = traitlets.Dict().tag(sync=True)
    plots: traitlets.List[Any] = traitlets.List().tag(sync=True)
    outcomes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    alerts: traitlets.List[Any] = traitlets.List().tag(sync=True)
    live = traitlets.Dict().tag(sync=True)
    stopping: traitlets.List[Any] = traitlets.List().tag(sync=True)
    told = traitlets.Dict().tag(sync=True)

    def __init__(self, *runs: Run) -> None:
        self.runs = runs
        self._seen = [Watched(run) for run in runs]
        self._groups = _groups([seen.record for seen in self._seen])
        self._reading = threading.Lock()
        self._looked_at = 0.0
        self._shown = 0
        self._kept = False
        super().__init__()
        stay_where_sent(self.comm)
        self.update()
        self.on_msg(self._on_message)
        self._thread: threading.Thread | None = None
        self._begin()

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    @property
    def ended(self) -> bool:
        """Whether all its runs have ended, as far as it has seen."""
        return all(seen.ended for seen in self._seen)

    def update(self) -> None:
        """Read the runs again now."""
        with self._reading:
            for seen in self._seen:
                seen.glance()
            try:
                self._read()
            finally:
                self._publish()

    def _read(self) -> None:
        grown = [seen.read() for seen in self._seen]
        if any(grown):
            self.plots = plots([[self._seen[i].series for i in group["runs"]] for group in self._groups])
            self.outcomes = [seen.outcomes for seen in self._seen]
        self.alerts = [
            {"run": i, "level": alert.level, "text": alert.text, "advice": alert.advice}
            for i, seen in enumerate(self._seen)
            for alert in seen.alerts()
        ]
        if self.ended and not self.live.get("frames"):
            self.live = self._seen[0].last_game() or {}

    def _publish(self) -> None:
        view = self._look()
        if {**view, "seen_at": 0} != {**self.view, "seen_at": 0}:
            self.view = view

    def static_html(self) -> str:
        """What is known so far, as HTML without script."""
        return stills.board(self.view, self.plots, self.outcomes, self.alerts, self.live)

    def _begin(self) -> None:
        """Follow the runs, unless all have ended or it does so already."""
        if self.ended or (self._thread is not None and self._thread.is_alive()):
            return
        self._kept = False
        name = f"board of {self.runs[0].id}"
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        due = 0.0
        began = time.monotonic()
        keep = began + placing.pause_s(0)
        while not self.ended:
            started = time.monotonic()
            # A store that cannot be read just now (a full disk, a moved folder) may be readable later.
            with contextlib.suppress(AigymError, OSError):
                if started < due:
                    self._glance()
                if started >= due or self.ended:
                    self.update()
                    due = started + max(READ_S, (time.monotonic() - started) / SHARE)
                if started >= keep and not self.ended and not headless():
                    self._keep()
                    keep = started + placing.pause_s(started - began)
            self._play(until=started + POLL_S)
        # Who executes a notebook with nobody before it hears only what comes while a cell runs:
        # `refresh_ended` is for that.
        if not self._kept and not headless():
            with contextlib.suppress(AigymError, OSError):
                self.update()
            self._keep()

    def _glance(self) -> None:
        """Look how far the runs are. That the last has ended is told once its record is read."""
        with self._reading:
            for seen in self._seen:
                seen.glance()
            if not self.ended:
                self._publish()

    def _play(self, until: float) -> None:
        """Wait; while somebody looks, say so to the run and hand on the frames of its game."""
        touched = 0.0
        while (left := until - time.monotonic()) > 0:
            looked_at = time.monotonic() < self._looked_at
            if looked_at and (seen := self._going()) is not None:
                if time.monotonic() - touched > TOUCH_S:
                    seen.touch()
                    touched = time.monotonic()
                if (game := seen.game()) is not None:
                    self.live = game
            time.sleep(min(left, GAME_S) if looked_at else left)

    def _going(self) -> Watched | None:
        """The run whose game is shown: the chosen one while it goes on, else the first that does."""
        going = [seen for seen in self._seen if seen.status.state == "running"]
        chosen = self._seen[self._shown]
        return chosen if chosen in going else next(iter(going), None)

    def _look(self) -> dict[str, Any]:
        labels = {i: group["name"] for group in self._groups for i in group["runs"]}
        return {
            "runs": [_told(seen, labels[i]) for i, seen in enumerate(self._seen)],
            "groups": self._groups,
            "seen_at": time.time(),
        }

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        if "looking" in content:
            self._looked_at = time.monotonic() + WATCHED_S if content["looking"] else 0.0
            if content["looking"]:
                self.send({"here": True})  # so that the browser knows that somebody tells it what happens
        if isinstance(shown := content.get("shown"), int) and 0 <= shown < len(self._seen):
            self._shown = shown
        if content.get("do") in _DOES:
            self._steer(content["do"], content.get("value"), content.get("run"))

    def _steer(self, what: str, value: Any, place: Any) -> None:
        """Ask the run at ``place`` for something, or all that can be asked where it is None."""
        places = (
            [place] if isinstance(place, int) and 0 <= place < len(self._seen) else range(len(self._seen))
        )
        revived = [what == "resume" and seen.steered()["resumable"] for seen in self._seen]
        can = [i for i in places if revived[i] or not self._seen[i].run.finished]
        problems = []
        for i in can:
            try:
                _DOES[what](self._seen[i].run, value)
            except (AigymError, OSError) as problem:
                problems.append(str(problem))
        if what == "stop":
            self.stopping = sorted({*self.stopping, *can})
        elif what == "resume":
            self.stopping = [i for i in self.stopping if i not in can]
        text = "; ".join(problems) or (_TOLD[what].format(value) if can else "It has ended.")
        self.told = {"n": self.told.get("n", 0) + 1, "what": what, "text": text, "bad": bool(problems)}
        self.update()
        self._begin()

    def __repr__(self) -> str:
        told = [f"{run['run_id']}: {run['state']}, step {run['step']:,}" for run in self.view["runs"]]
        return f"Board({'; '.join(told)})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata

    def _ipython_display_(self) -> None:
        for run in self.runs:
            _displayed.setdefault(run.id, weakref.WeakSet()).add(self)
        placing.place(self)

    def _keep(self) -> None:
        """Renew the still, so that a saved notebook has what is known now."""
        self._kept = self.ended
        placing.renew(self)


_DOES: dict[str, Callable[[Run, Any], object]] = {
    "pause": lambda run, _: run.pause(),
    "resume": lambda run, _: run.resume(),
    "stop": lambda run, _: run.stop(),
    "save": lambda run, _: run.save(),
    "learning_rate": lambda run, value: run.set(learning_rate=value),
    "speed": lambda run, value: run.set(speed=value),
}
_TOLD = {
    "pause": "It pauses after this update.",
    "resume": "It goes on.",
    "stop": "It stops after this update.",
    "save": "It saves after this update.",
    "learning_rate": "The learning rate is {:g} from the next update on.",
    "speed": "Speed: {}.",
}
_displayed: dict[str, weakref.WeakSet[Board]] = {}


def _groups(records: Sequence[Any]) -> list[dict[str, Any]]:
    """The runs by configuration; those that differ only in seed are one group: {"name", "runs": indices}."""
    sets = grouped(records, {record.run_id: {record.run_id} for record in records})
    index = {record.run_id: i for i, record in enumerate(records)}
    titles = names([common(group) for group in sets], sets) if len(sets) > 1 else [records[0].name]
    return [
        {"name": title.removeprefix("algo="), "runs": [index[record.run_id] for record in group]}
        for title, group in zip(titles, sets)
    ]


def _told(seen: Watched, label: str) -> dict[str, Any]:
    """One run as the browser and the still show it."""
    status, record = seen.status, seen.record
    seed = seen.config.get("seed")
    numbers = [(name, status.summary.get(key)) for key, name in _NUMBERS.items()]
    return {
        "run_id": seen.run.id,
        "name": record.name,
        "label": f"{label}, seed {seed}" if seed is not None else label,
        "state": status.state,
        "step": status.step,
        "total_steps": status.total_steps,
        "started_at": record.created_at,
        "ended_at": status.heartbeat if seen.ended else None,
        "seconds_left": finite(seen.seconds_left()),
        "error": status.error or "",
        **seen.steered(),
        "numbers": [[name, finite(v)] for name, v in numbers if isinstance(v, (int, float))],
    }


def board(*runs: Run | Iterable[Run]) -> Board:
    """The live board of a run, or of several overlaid.

    Args:
        runs: Runs, or what holds several of them (a list, the Runs of ``train(..., seeds=...)``).

    Raises:
        StoreError: a run's record or status cannot be read.
        AigymError: no run was given, one twice, or more than 50.
    """
    flat = [one for run in runs for one in ([run] if isinstance(run, Run) else run)]
    if not flat or not all(isinstance(run, Run) for run in flat):
        wrong = next((run for run in flat if not isinstance(run, Run)), None)
        raise AigymError(f"board: {wrong!r} is no Run; pass what aigym.train or aigym.load_run returned")
    if len({run.id for run in flat}) < len(flat):
        raise AigymError("board: a run is given twice; pass it once")
    if len(flat) > MAX_RUNS:
        raise AigymError(f"board: {len(flat)} runs are more than {MAX_RUNS}; choose some of them")
    return Board(*flat)


def show(*runs: Run | Iterable[Run]) -> Board:
    """Display the live board of runs and return it."""
    from IPython.display import display

    made = board(*runs)
    display(made)  # type: ignore[no-untyped-call]
    return made


def refresh(run: Run) -> None:
    """Bring every displayed board of ``run`` up to date, the static HTML beside it included.

    The browser's own copy is updated anyway; this is for what the notebook keeps. Does nothing when
    no board of the run was displayed in this process.
    """
    for made in list(_displayed.get(run.id, ())):
        made.update()
        if not made._kept:
            made._keep()


def refresh_ended() -> None:
    """`refresh` once for every displayed run that has ended since."""
    for run_id, boards in list(_displayed.items()):
        ended = [run for made in boards for run in made.runs if run.id == run_id and run.finished]
        if not boards:
            del _displayed[run_id]
        elif ended:
            refresh(ended[0])
            del _displayed[run_id]
