"""What the explorer answers where two things stand side by side: runs compared, two trajectories aligned.

    {"what": "compare", "runs": [...], "metric": "return"}    sets `Explorer.comparison`
    {"what": "diff", "a": "4f...", "b": "9c..."}               sets `Explorer.difference`
    {"what": "diff rows", "from": 40, "to": 80}                further rows of the difference
    {"what": "diff boards", "row": 12}                         the boards of both there

Each function is a value of `answers.ANSWERS`. Without ``runs`` those of the chosen trajectories are compared,
or of all that pass the filters; without ``a`` and ``b`` the first two chosen ones are aligned, or the
open one and another that began alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aigym_kernel.comparison import compare
from aigym_kernel.differences import Difference, diff
from aigym_kernel.errors import AigymError
from aigym_kernel.widgets.columns import Names

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer

COMPARED = 60
OFFERED = 200
METRICS = ("return", "score", "length", "wall_s")
MAX_DIVERGENCES = 2_000
MAX_ROWS = 60
ROWS_BYTES = 200_000


def compared(explorer: Explorer, request: Mapping[str, Any]) -> None:
    """Compares runs and keeps what came out, with the ``offered`` runs and metrics, in the explorer."""
    offered = _offered(explorer)
    runs = [str(run) for run in request.get("runs") or ()] or _chosen_runs(explorer)
    runs = runs or sorted(run for run, _ in offered)
    metric = str(request.get("metric") or explorer.comparison.get("metric") or "return")
    head = {
        "metric": metric,
        "offered": offered,
        "metrics": _metrics(explorer, runs),
        "chosen": runs[:COMPARED],
    }
    if len(runs) < 2:
        said = "Two or more runs are needed: mark trajectories of several in the list, or widen the filters."
        explorer.comparison = {**head, "groups": [], "notes": [said]}
        return
    found = compare(*runs[:COMPARED], metric=metric, store=explorer.store).to_dict()
    if len(runs) > COMPARED:
        found["notes"] = [*found["notes"], f"Only the first {COMPARED} of {len(runs):,} runs are compared."]
    explorer.comparison = {**found, **head}


def differed(explorer: Explorer, request: Mapping[str, Any]) -> None:
    """Aligns two trajectories and keeps the head and the rows round the first divergence in the explorer."""
    a, b = request.get("a") or "", request.get("b") or ""
    if not (a and b):
        a, b = _pair(explorer)
    if not (a and b):
        said = "Mark two trajectories in the list, or open one: another that began alike stands beside it."
        explorer.difference = {"missing": said}
        return
    found = diff(str(a), str(b), store=explorer.store)
    explorer.beside = found
    start = max(0, (found.divergences[0][0] if found.divergences else 0) - 2)
    rows = _rows(found, start, start + MAX_ROWS)
    plain = found.to_dict()
    plain["found"] = len(found.divergences)
    plain["divergences"] = plain["divergences"][:MAX_DIVERGENCES]
    explorer.difference = {**plain, "from": start, "rows": rows}


def difference_rows(explorer: Explorer, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Some rows of the difference, fewer where they are long; at least one of those there are."""
    start, stop = request.get("from"), request.get("to")
    if not isinstance(start, int) or not isinstance(stop, int) or not 0 <= start <= stop <= start + MAX_ROWS:
        raise AigymError(f"rows from {start!r} to {stop!r}: ask for at most {MAX_ROWS} at a time")
    return _rows(_held(explorer), start, stop)


def difference_boards(explorer: Explorer, request: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    """The boards of a and b in a row, or where they are the same there and go on, in the next: a step that
    differs shows in what comes after it. None where there is none."""
    found = _held(explorer)
    row = request.get("row")
    if not isinstance(row, int) or not 0 <= row < found.length:
        raise AigymError(f"there is no row {row!r} in a difference of {found.length} rows")
    i, j, _ = found.places(row)
    if i is not None and j is not None and i < len(found.a) and j < len(found.b):
        parts = found.rows(row, row + 1)[0]["parts"]
        if any(part["name"] == "observation" and part["same"] for part in parts):
            i, j = i + 1, j + 1
    return [_board(explorer, found.a.id, i), _board(explorer, found.b.id, j)]


def _held(explorer: Explorer) -> Difference:
    """The difference that is shown; worked out again where this explorer only remembers it."""
    if explorer.beside is None:
        if not explorer.difference.get("a"):
            raise AigymError("there is no difference yet; ask for one first")
        a, b = (explorer.difference[side]["id"] for side in ("a", "b"))
        explorer.beside = diff(a, b, store=explorer.store)
    return explorer.beside


def _rows(found: Difference, start: int, stop: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for row in range(start, min(stop, found.length)):
        rows += found.rows(row, row + 1)
        size += len(json.dumps(rows[-1]))
        if size > ROWS_BYTES:
            break
    return rows


def _board(explorer: Explorer, trajectory_id: str, t: int | None) -> dict[str, Any] | None:
    from aigym_kernel.widgets.pane import opened

    if t is None or "boards" not in (held := opened(explorer, trajectory_id)).scenes:
        return None
    chunk = held.chunk("boards", t // held.scenes["boards"])
    return None if chunk["boards"] is None else {**chunk["boards"], "t": t - chunk["start"], "step": t}


def _offered(explorer: Explorer) -> list[list[Any]]:
    """The runs of what passes the filters, the newest first, with their numbers of trajectories."""
    column = explorer.held.table.columns["run_id"]
    assert isinstance(column, Names)
    counts = np.bincount(column.codes[explorer.held.places], minlength=len(column.names) + 1)
    runs = [[name, int(n)] for name, n in zip(column.names, counts) if n]
    return sorted(runs, key=lambda run: str(run[0]), reverse=True)[:OFFERED]


def _chosen_runs(explorer: Explorer) -> list[str]:
    """The runs of the chosen trajectories, if these are several."""
    column = explorer.held.table.columns["run_id"]
    assert isinstance(column, Names)
    wanted = np.isin(explorer.held.table.ids, np.array(list(explorer.chosen), dtype=object))
    runs = [column.names[code] for code in np.unique(column.codes[wanted]) if code < len(column.names)]
    return runs if len(runs) > 1 else []


def _metrics(explorer: Explorer, runs: list[str]) -> list[str]:
    query = "SELECT DISTINCT name FROM metrics WHERE run_id IN (SELECT unnest(?)) ORDER BY name LIMIT 200"
    return [*METRICS, *explorer.store.sql(query, [runs])["name"]]


def _pair(explorer: Explorer) -> tuple[str, str]:
    if len(explorer.chosen) >= 2:
        return explorer.chosen[0], explorer.chosen[1]
    if not explorer.selected:
        return "", ""
    if len(explorer.chosen) == 1 and explorer.chosen[0] != explorer.selected:
        return explorer.chosen[0], explorer.selected
    return explorer.selected, _alike(explorer)


def _alike(explorer: Explorer) -> str:
    """A trajectory of the same environment, of the same seed if there is one, other than the open one."""
    found = explorer.store.sql(
        "SELECT other.trajectory_id FROM trajectories it JOIN trajectories other USING (env_id) "
        "WHERE it.trajectory_id = ? AND other.trajectory_id <> it.trajectory_id "
        "ORDER BY other.seed IS NOT DISTINCT FROM it.seed DESC, other.env_kwargs = it.env_kwargs DESC, "
        "abs(epoch(other.started_at) - epoch(it.started_at)), other.trajectory_id LIMIT 1",
        [explorer.selected],
    )
    return str(found["trajectory_id"].iloc[0]) if len(found) else ""
