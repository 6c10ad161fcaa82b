"""What the store holds, at a glance: its runs, and who is best at what.

    runs()                      a Listing of the newest runs: state, progress, time
    leaderboard()               a Listing: for each environment or task the best run's agent
    newest_training()           the Run to watch
    runs().frame                the same as a pandas DataFrame

A Listing is a table that a notebook shows with coloured states and, where asked for, links. It is made
once; make it again to see what has changed. For anything else there is `sql`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aigym_kernel import rendering
from aigym_kernel.errors import check_whole
from aigym_kernel.handles import Run
from aigym_kernel.recording import FINAL, as_store
from aigym_kernel.rendering import BAD, DULL, GOOD, Markup
from aigym_kernel.store import Store

if TYPE_CHECKING:
    import pandas

LAST = 100
_COLOURS = {"done": GOOD, "failed": BAD, "killed": BAD, "running": "#1565c0", "paused": "#b26a00"}

# A training's first episodes are another agent's than its last: of every run its last ones count.
_LEADERS = f"""
WITH last AS (
    SELECT * FROM trajectories
    QUALIFY row_number() OVER (
        PARTITION BY run_id, env_id, agent ORDER BY started_at DESC, trajectory_id) <= {LAST}
), judged AS (
    SELECT env_id, bool_or(score IS NOT NULL) AS scored FROM last GROUP BY env_id
), played AS (
    SELECT env_id, agent, run_id, count(*) AS trajectories,
        CASE WHEN any_value(scored)
            THEN avg(coalesce(score, CASE WHEN outcome = 'error' THEN 0.0 END)) END AS score,
        avg("return") AS return_mean, max("return") AS return_best
    FROM last JOIN judged USING (env_id) GROUP BY env_id, agent, run_id
)
SELECT env_id, agent, score, return_mean, return_best, trajectories, run_id FROM played
QUALIFY row_number() OVER (PARTITION BY env_id ORDER BY score DESC NULLS LAST, return_mean DESC, run_id) <= ?
ORDER BY env_id, score DESC NULLS LAST, return_mean DESC, run_id
"""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A table: ``frame`` has the values, ``caption`` says what it shows, ``link`` is an address in which
    ``{}`` stands for a run's id (empty: no links)."""

    frame: pandas.DataFrame
    caption: str
    link: str = ""

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.frame.to_string(index=False, max_colwidth=48, na_rep='')}"

    def _repr_html_(self) -> str:
        if self.frame.empty:
            return f"<p>{rendering.escape(self.caption)}</p>"
        columns = list(self.frame.columns)
        rows = [
            [self._shown(column, value) for column, value in zip(columns, row, strict=True)]
            for row in self.frame.itertuples(index=False)
        ]
        return rendering.table([column.replace("_", " ") for column in columns], rows, self.caption)

    def _shown(self, column: str, value: Any) -> object:
        if value is None or value != value:  # None, NaN and NaT
            return ""
        if column == "run_id" and self.link:
            address = self.link.replace("{}", quote(str(value), safe=""))
            return Markup(f'<a href="{rendering.escape(address)}">{rendering.escape(value)}</a>')
        return _CELLS.get(column, _plain)(value)


def runs(store: Store | str | Path | None = None, *, limit: int = 20, link: str = "") -> Listing:
    """The newest ``limit`` runs: run_id, name, kind, state, progress (in [0, 1]), step, total_steps,
    started_at (UTC), seconds (so far), error.

    Args:
        link: an address for each run, ``{}`` standing for its id; the default makes none.

    Raises:
        StoreError: there is no store, or it is broken.
        AigymError: ``limit`` is not a whole number from 1 on.
    """
    check_whole("runs: limit", limit, 1)
    frame = as_store(store).sql(
        "SELECT run_id, name, kind, state, CASE WHEN state = 'done' THEN 1.0 WHEN total_steps > 0 "
        "THEN least(1.0, step / total_steps) ELSE 0.0 END AS progress, step, total_steps, "
        "created_at AS started_at, greatest(0.0, epoch(CASE WHEN list_contains(?, state) THEN heartbeat "
        "ELSE now()::TIMESTAMP END) - epoch(created_at)) AS seconds, error, "
        "count(*) OVER () AS known FROM runs ORDER BY created_at DESC, run_id DESC LIMIT ?",
        [list(FINAL), limit],
    )
    known = int(frame["known"].iloc[0]) if len(frame) else 0
    caption = f"runs: the newest {len(frame)} of {known:,}" if known else "No run recorded yet."
    return Listing(frame=frame.drop(columns="known"), caption=caption, link=link)


def leaderboard(store: Store | str | Path | None = None, *, top: int = 1, link: str = "") -> Listing:
    """The best ``top`` runs of each environment or task: env_id, agent, score, return_mean, return_best,
    trajectories, run_id.

    Runs are ranked by the mean score, where an environment has scores, else by the mean return, over the
    last 100 trajectories of a run: those of a training's beginning say nothing of its agent. A trajectory
    that ended in an error scores 0; one that could not be judged does not count.

    Raises:
        StoreError: there is no store, or it is broken.
        AigymError: ``top`` is not a whole number from 1 on.
    """
    check_whole("leaderboard: top", top, 1)
    frame = as_store(store).sql(_LEADERS, [top])
    caption = f"best of {frame['env_id'].nunique():,} environments and tasks"
    return Listing(frame=frame, caption=caption if len(frame) else "Nothing played yet.", link=link)


def newest_training(store: Store | str | Path | None = None) -> Run | None:
    """The training that began last, one that still goes on before any other; None where there is none.

    Raises:
        StoreError: there is no store, or it is broken.
    """
    store = as_store(store)
    frame = store.sql(
        "SELECT run_id FROM runs WHERE kind = 'train' "
        "ORDER BY state IN ('queued', 'running', 'paused') DESC, created_at DESC, run_id DESC LIMIT 1"
    )
    return Run(str(frame["run_id"].iloc[0]), store) if len(frame) else None


def _plain(value: Any) -> object:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else rendering.short(value)


def _progress(share: float) -> Markup:
    bar = (
        '<rect width="100" height="8" rx="4" fill="#8884"/>'
        f'<rect width="{100 * share:.0f}" height="8" rx="4" fill="#1976d2"/>'
    )
    return rendering.picture(bar, view=(100, 8), width=100, alt=f"{share:.0%}")


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )


_CELLS: dict[str, Callable[[Any], object]] = {
    "state": lambda state: rendering.badge(state, _COLOURS.get(state, DULL)),
    "progress": _progress,
    "seconds": _took,
    "started_at": lambda moment: f"{moment:%Y-%m-%d %H:%M:%S}",
}
