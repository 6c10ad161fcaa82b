"""What the board of a bench answers of one cell: its facts, log, executed notebook and trajectories.

    {"what": "cell", "id": "4f..."}                               `facts`
    {"what": "log", "id": ..., "attempt": 2, "from": 8192}        `log`: what came after that byte
    {"what": "page", "id": ..., "attempt": 2}                     `page`: HTML for an iframe
    {"what": "trajectories", "id": ..., "attempt": 2}             `trajectories` below its run

Each function is a value of `ANSWERS`. The browser sends ids; paths and queries are made here. The page is
the notebook as far as it was executed, with a policy that forbids it every request.
"""

from __future__ import annotations

import codecs
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aigym_kernel import pages, settings
from aigym_kernel.bench import standing
from aigym_kernel.bench.records import Attempt, Cell, CellStatus, cell_folder
from aigym_kernel.errors import BenchError, UnknownName
from aigym_kernel.store import Store
from aigym_kernel.widgets.cells import Cells
from aigym_kernel.widgets.plain import cut, finite, text

LOG_TAIL = 64_000
LOG_MOST = 256_000
"""Bytes of a log: at the first look from its end, and in one answer."""
PAGE_MOST = 30_000_000
LISTED = 200
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; media-src data: blob:; form-action 'none'\">"
)
_OWN = """
SELECT run_id FROM runs
WHERE parent = ? AND (config->>'$.cell') = ? AND (config->>'$.attempt')::BIGINT = ?
"""
_BELOW = """
WITH RECURSIVE below(run_id) AS (
  SELECT run_id FROM runs WHERE run_id IN (SELECT unnest(?))
  UNION SELECT runs.run_id FROM runs JOIN below ON runs.parent = below.run_id
) SELECT run_id FROM below
"""
_PLAYED = f"""
SELECT trajectory_id, run_id, env_id, agent, outcome, length, "return", score,
  epoch(started_at) AS started_at, count(*) OVER () AS total
FROM trajectories WHERE run_id IN (SELECT unnest(?)) ORDER BY started_at DESC NULLS LAST, trajectory_id
LIMIT {LISTED}
"""


def facts(cells: Cells, request: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a cell that is known without opening its notebook, log or the store."""
    cell = _cell(cells, request)
    status, result = cells.state.statuses[cell.id], cells.state.results.get(cell.id)
    state = cells.words[cell.id]
    attempts = [_told(one, cells.folder, cell) for one in status.attempts]
    if state == "running":
        going = Attempt(n=status.attempt, state="running", started_at=status.started_at, host=status.host)
        attempts.append(
            {**_told(going, cells.folder, cell), "seconds": finite(time.time() - status.started_at)}
        )
    declared = {one.name: one for one in (result.declared if result is not None else ())}
    metrics = [
        [
            name,
            finite(value),
            "lower" if name in declared and declared[name].direction == "lower" else "higher",
            name in declared and declared[name].measured,
        ]
        for name, value in (result.metrics.items() if result is not None else ())
    ]
    return {
        "id": cell.id,
        "label": standing.label(cell),
        "notebook": cell.notebook,
        "state": state,
        "parameters": [[name, cut(text(value, None), 2_000)] for name, value in cell.parameters.items()],
        "attempts": attempts,
        "metrics": metrics,
        "notes": list(result.notes if result is not None else ()),
        "progress": cells.progress(cell, standing.typical_s(cells.state)) if state == "running" else None,
        "files": _files(cells.folder, cell, status),
    }


def _told(attempt: Attempt, folder: Path, cell: Cell) -> dict[str, Any]:
    """One attempt, with what there is to be looked at of it."""
    place = cell_folder(folder, cell.id) / f"attempt-{attempt.n}"
    return {
        "n": attempt.n,
        "state": attempt.state,
        "reason": attempt.reason or "",
        "error": cut(attempt.error or "", 4_000),
        "started_at": attempt.started_at,
        "seconds": finite(max(0.0, attempt.ended_at - attempt.started_at)),
        "peak_mb": finite(attempt.peak_mb),
        "host": attempt.host,
        "run_id": attempt.run_id or "",
        "notes": list(attempt.notes),
        "log": (place / "log.txt").is_file(),
        "page": _executed(place, cell) is not None,
    }


def _files(folder: Path, cell: Cell, status: CellStatus) -> list[list[str]]:
    """What of the cell lies where, as paths from the kernel's folder."""
    place = cell_folder(folder, cell.id)
    found = [("folder", place), ("notebook as it was", folder / cell.source)]
    for n in sorted({one.n for one in status.attempts} | ({status.attempt} - {0})):
        attempt = place / f"attempt-{n}"
        executed = _executed(attempt, cell)
        told = [("log", attempt / "log.txt"), ("page", attempt / f"{Path(cell.notebook).stem}.html")]
        told += [("executed notebook", executed)] if executed is not None else []
        found += [(f"{what}, attempt {n}", path) for what, path in told if path.is_file()]
    return [[what, os.path.relpath(path)] for what, path in found]


def _executed(attempt: Path, cell: Cell) -> Path | None:
    """The executed notebook of an attempt, or its page where only that is there."""
    for path in (attempt / cell.notebook, attempt / f"{Path(cell.notebook).stem}.html"):
        if path.is_file():
            return path
    return None


def log(cells: Cells, request: Mapping[str, Any]) -> dict[str, Any]:
    """The log of an attempt from a byte on, or its end: ``{"text", "from", "next", "size"}``."""
    path = _attempt(cells, request) / "log.txt"
    begin = request.get("from")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - LOG_TAIL) if not isinstance(begin, int) or begin > size else max(0, begin)
            file.seek(start)
            data = file.read(LOG_MOST)
    except FileNotFoundError:
        return {"text": "", "from": 0, "next": 0, "size": 0}
    # What ends in the middle of a character is left for the next answer.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    said = decoder.decode(data)
    return {"text": said, "from": start, "next": start + len(data) - len(decoder.getstate()[0]), "size": size}


def page(cells: Cells, request: Mapping[str, Any]) -> dict[str, str]:
    """The page of an attempt's notebook; made now where the attempt has none yet.

    Raises:
        BenchError: nothing was executed, the notebook cannot be read just now, or the page is too large.
    """
    attempt, cell = _attempt(cells, request), _cell(cells, request)
    written = attempt / f"{Path(cell.notebook).stem}.html"
    if written.is_file():
        found = _sized(written).read_text(encoding="utf-8", errors="replace")
    else:
        found = _made(attempt / cell.notebook)
    head = found.find("<head>")
    return {"html": found[: head + 6] + POLICY + found[head + 6 :] if head >= 0 else POLICY + found}


def _made(notebook: Path) -> str:
    if not notebook.is_file():
        raise BenchError(f"{notebook.name}: nothing of it was executed in this attempt; its log says why")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "page.html"
        try:
            pages.write_html(_sized(notebook), made)
        except ValueError as problem:  # it is being written
            raise BenchError(f"{notebook.name} cannot be read just now ({problem:.80}); try again") from None
        return made.read_text(encoding="utf-8")


def _sized(path: Path) -> Path:
    if (size := path.stat().st_size) > PAGE_MOST:
        shown = os.path.relpath(path)
        raise BenchError(f"{shown} has {size / 1e6:,.0f} MB, too much to be shown here; open the file")
    return path


def trajectories(cells: Cells, request: Mapping[str, Any]) -> dict[str, Any]:
    """What was played below an attempt's run: rows, the newest first, how many in all, and a line of code."""
    cell, n = _cell(cells, request), _number(request)
    known = {one.n: one.run_id for one in cells.state.statuses[cell.id].attempts}
    store = Store(Path(cells.plan.store))
    # An attempt that goes on is not among those that ended; its run says whose it is.
    ours = [cells.plan.run_id, cell.id, n]
    own = [known[n]] if known.get(n) else store.sql(_OWN, ours)["run_id"].tolist()
    runs = store.sql(_BELOW, [own])["run_id"].tolist()
    played = store.sql(_PLAYED, [runs])
    total = int(played.pop("total").iloc[0]) if len(played) else 0
    code = explored(cells, sorted({str(one) for one in played["run_id"]}))
    for name in ("return", "score"):
        played[name] = [finite(value) for value in played[name]]
    rows = played.astype(object).where(played.notna(), None).to_dict("records")
    return {"rows": rows, "total": total, "code": code, "runs": own}


def explored(cells: Cells, runs: list[str]) -> str:
    """The line of code that opens the trajectories of some runs in the explorer."""
    if not runs:
        return ""
    own = Path(cells.plan.store).resolve() == settings.data_dir().resolve()
    store = "" if own else f"aigym.Store({os.path.relpath(cells.plan.store)!r}), "
    return f"aigym.explore({store}where={{'run_id': {runs!r}}})"


def _cell(cells: Cells, request: Mapping[str, Any]) -> Cell:
    cell = cells.cell(str(request.get("id")))
    if cell is None:
        raise UnknownName("cell of the bench", request.get("id"), ())
    return cell


def _number(request: Mapping[str, Any]) -> int:
    n = request.get("attempt")
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise BenchError(f"attempt={n!r:.40} must be a whole number from 1 on")
    return n


def _attempt(cells: Cells, request: Mapping[str, Any]) -> Path:
    return cell_folder(cells.folder, _cell(cells, request).id) / f"attempt-{_number(request)}"


ANSWERS: dict[str, Callable[[Cells, Mapping[str, Any]], Any]] = {
    "cell": facts,
    "log": log,
    "page": page,
    "trajectories": trajectories,
}
