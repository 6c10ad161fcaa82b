"""What a board knows of one run: its status, what it recorded, the game that is played beside it.

    seen = Watched(run)
    seen.glance()           reads its status
    seen.read()             reads metrics and outcomes if they may have grown; whether they have
    seen.series, seen.outcomes, seen.alerts()
    seen.game()             what is new in the run's live.json, None where nothing is
    seen.last_game()        how the newest recorded episode looked at its end

Reads files and the store of the run and writes nothing but the file ``watched``, by which the run knows that
somebody looks.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from aigym_kernel import alerts, control
from aigym_kernel.errors import AigymError
from aigym_kernel.handles import Run
from aigym_kernel.recording import FINAL
from aigym_kernel.trajectories import Trajectory
from aigym_kernel.widgets import playback
from aigym_kernel.widgets.plain import finite

LAST = 500
"""Episodes whose outcomes are counted."""
PACE = 120
BINS = 24
_EPISODES = """
SELECT outcome, count(*) AS n FROM (
  SELECT outcome FROM trajectories WHERE run_id = ? ORDER BY started_at DESC, trajectory_id LIMIT ?)
GROUP BY outcome ORDER BY n DESC, outcome
"""
_EPISODES_OVER_TIME = f"""
WITH mine AS (SELECT outcome, epoch_us(started_at) AS us FROM trajectories WHERE run_id = ?),
span AS (SELECT min(us) AS first, greatest(max(us) - min(us), 1) AS length FROM mine)
SELECT least((us - first) * {BINS} // length, {BINS - 1})::INTEGER AS bin, outcome, count(*) AS n
FROM mine, span GROUP BY ALL
"""


class Watched:
    """One run as it is known so far; see the module's text."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.record = run.record
        self.status = run.status()
        self.series: dict[str, tuple[Any, Any]] = {}
        self.outcomes: dict[str, Any] = {"counts": [], "over": []}
        self._since = -1
        self._read_to: tuple[int, bool] | None = None
        self._frames_to = -1
        self._live_at: tuple[int, int] | None = None
        self._way: deque[tuple[float, int]] = deque(maxlen=PACE)

    @property
    def ended(self) -> bool:
        return self.status.state in FINAL

    @property
    def _goes_on_here(self) -> bool:
        return not self.ended and self.status.host == socket.gethostname()

    @property
    def config(self) -> dict[str, Any]:
        """The fields of the algorithm's configuration."""
        return alerts.config_of(self.record)

    def glance(self) -> None:
        """Read the status again: one small file."""
        status = self.run.status()
        if status.step < self.status.step:  # resumed from a checkpoint: what came after it may be gone
            self.series, self._since = {}, -1
            self._way.clear()
        self.status = status
        if status.state == "running" and (not self._way or self._way[-1][1] < status.step):
            self._way.append((status.heartbeat, status.step))

    def read(self) -> bool:
        """Read what was recorded since the last time; False where nothing can have been."""
        if (here := (self.status.step, self.ended)) == self._read_to:
            return False
        grown = self._read_metrics()
        if grown or self._read_to is None or self.ended:
            self._read_outcomes()
        self._read_to = here
        return True

    def seconds_left(self) -> float | None:
        """How long it goes on, at the pace of its last minute; None while nothing tells."""
        status = self.status
        if status.state != "running" or not status.step:
            return None
        (then, behind), (now, here) = self._way[0], self._way[-1]
        if now - then < 2.0:
            if not behind:  # it has just begun: its start would count as training
                return None
            then, behind = self.record.created_at, 0
        return (now - then) * (status.total_steps - here) / max(1, here - behind)

    def _read_metrics(self) -> bool:
        rows = self.run.store.sql(
            "SELECT step, name, value, epoch_us(time) AS us FROM metrics "
            "WHERE run_id = ? AND epoch_us(time) > ? ORDER BY step, time",
            [self.run.id, self._since],
        )
        if rows.empty:
            return False
        self._since = int(rows["us"].max())
        for name, part in rows.groupby("name", sort=False):
            x, y = part["step"].to_numpy(dtype=float), part["value"].to_numpy(dtype=float)
            before = self.series.get(str(name), (x[:0], y[:0]))
            self.series[str(name)] = np.concatenate([before[0], x]), np.concatenate([before[1], y])
        return True

    def _read_outcomes(self) -> None:
        last = self.run.store.sql(_EPISODES, [self.run.id, LAST])
        over = self.run.store.sql(_EPISODES_OVER_TIME, [self.run.id])
        names = list(dict.fromkeys([*last["outcome"], *over["outcome"]]))
        table = np.zeros((BINS, len(names)))
        for place, name, n in over.itertuples(index=False):
            table[place, names.index(name)] += n
        totals = table.sum(axis=1)
        counts = dict(zip(last["outcome"], last["n"]))
        self.outcomes = {
            "counts": [[str(name), int(counts.get(name, 0))] for name in names],
            "over": [(row / total).round(3).tolist() for row, total in zip(table, totals) if total],
        }

    def alerts(self) -> list[alerts.Alert]:
        """What is wrong as far as is known."""
        asked = self.steered()["learning_rate"]
        return alerts.alerts(
            self.series,
            step=self.status.step,
            total_steps=self.status.total_steps,
            config=self.config if asked is None else {**self.config, "learning_rate": asked},
            summary=self.status.summary,
            free=free_memory() if self._goes_on_here else {},
            goal=alerts.goal_of(self.record),
        )

    def steered(self) -> dict[str, Any]:
        """What it was asked, and when it last saved: speed, learning_rate, saved_at, resumable."""
        latest = self.run.folder / "artifacts" / "checkpoints" / "latest.safetensors"
        saved_at = None
        with suppress(OSError):
            saved_at = latest.stat().st_mtime
        asked = control.Control()
        with suppress(AigymError):
            asked = control.read(self.run.folder)
        return {
            "speed": asked.speed,
            "learning_rate": asked.learning_rate,
            "saved_at": saved_at,
            "resumable": saved_at is not None and self.ended and self.status.state != "done",
        }

    def touch(self) -> None:
        """Tell the run that somebody looks at it."""
        with suppress(OSError):
            (self.run.folder / "watched").touch()

    def game(self) -> dict[str, Any] | None:
        """What is new in the run's ``live.json``."""
        path = self.run.folder / "live.json"
        try:
            stat = path.stat()
            if (at := (stat.st_mtime_ns, stat.st_ino)) == self._live_at:
                return None
            live: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        self._live_at = at
        frames = [frame for frame in live.get("frames", ()) if frame["n"] > self._frames_to]
        if not frames:
            return None
        self._frames_to = frames[-1]["n"]
        return {"step": live["step"], "frames": frames, "run_id": self.run.id}

    def last_game(self) -> dict[str, Any] | None:
        """The end of the newest recorded episode as one frame, drawn by playing it again; None where none was
        recorded or its environment has nothing to draw."""
        with suppress(AigymError, OSError):
            found = self.run.store.sql(
                "SELECT trajectory_id FROM trajectories WHERE run_id = ? ORDER BY started_at DESC LIMIT 1",
                [self.run.id],
            )
            if len(found):
                return self._end_of(self.run.store.load(str(found["trajectory_id"].iloc[0])))
        return None

    def _end_of(self, trajectory: Trajectory) -> dict[str, Any] | None:
        again = playback.boards(trajectory)
        kind = "board" if again else "image"
        again = again or playback.frames(trajectory)
        if again is None:
            return None
        end = len(trajectory)
        seen = again.look(end, end + 1)
        if not seen:
            return None
        look = seen[0].tolist() if kind == "board" else seen[0]
        reward = finite(float(trajectory.rewards[-1])) if end else 0.0
        frame = {
            "n": 0,
            "board": None,
            "image": None,
            "reward": reward,
            "action": None,
            "start": False,
            "return": finite(trajectory.total_reward),
            "ended": trajectory.outcome,
        }
        return {"step": self.status.step, "frames": [{**frame, kind: look}], "run_id": self.run.id}


def free_memory() -> dict[str, float]:
    """What is left of this machine's memory, as a share of it; {} where that cannot be known."""
    values: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                values[name] = int(rest.split()[0])
    if len(values) < 2:
        return {}
    return {"memory": values["MemAvailable"] / values["MemTotal"]}
