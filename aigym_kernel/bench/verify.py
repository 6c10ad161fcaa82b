"""Run cells of a bench again and say whether they come to the same: identical, within tolerance, diverged.

    found = verify(folder)          every cell that is done; verify(folder, cells=3): three of them
    print(found)                    a line per cell, and where those that differ part first
    found.ok                        nothing diverged, nothing failed, and nothing was left out

The cells run in ``verify/<time>/`` of the bench's folder, a bench of its own, with the frozen notebooks and
the plan of then, and record into the same store, so that a trajectory can be held against its original
(`aigym.diff`). The originals stay as they are. ``verdict.json`` keeps the answer. The code may have changed
since: the answer is then about the code of now, and says what has changed.

Ctrl-C ends it as it ends a bench (`scheduling`): the verdicts that were reached stay, the other cells are
*not verified*.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from aigym_kernel import parameters, rendering
from aigym_kernel.bench import canonical, holding, identity, records, standing
from aigym_kernel.bench.divergence import Divergence, divergences
from aigym_kernel.bench.records import Cell, Metric, Plan, Result, State
from aigym_kernel.bench.scheduling import carry_out
from aigym_kernel.bench.telling import Tell
from aigym_kernel.errors import BenchError, NotebookError, StoreError, UnknownName, check_whole
from aigym_kernel.executors import Ray
from aigym_kernel.store import Store
from aigym_kernel.store.records import replace_file

Word = Literal["identical", "within tolerance", "diverged", "failed", "not verified", "skipped"]

_COLOURS: Mapping[str, str] = {
    "identical": rendering.GOOD,
    "within tolerance": rendering.GOOD,
    "diverged": rendering.BAD,
    "failed": rendering.BAD,
    "not verified": rendering.WARN,
    "skipped": rendering.DULL,
}
_COLUMNS = ("cell", "label", "verdict", "why")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the second time of one cell says. ``metrics``: name -> value of the first and of the second time.
    ``changed``: what its id is made of that is not as it was (`identity`: ``code``, ``lock``, ``tasks`` ...).
    ``why``: in a line; ``divergences`` name where it parted."""

    cell: str
    label: str
    word: Word
    why: str
    metrics: dict[str, tuple[float | None, float | None]] = dataclasses.field(default_factory=dict)
    divergences: tuple[Divergence, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict on every cell that was chosen, in the order of the plan. ``folder`` is where they ran."""

    bench: str
    folder: Path
    cells: tuple[Verdict, ...]
    started_at: float
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every cell that was to run again is identical or within tolerance."""
        return not self.left and not any(one.word in ("diverged", "failed") for one in self.cells)

    @property
    def left(self) -> tuple[str, ...]:
        """The cells that have no verdict, since somebody stopped it, or their machine was lost."""
        return tuple(one.cell for one in self.cells if one.word == "not verified")

    @property
    def changed(self) -> tuple[str, ...]:
        """What is not as it was when the originals ran."""
        return tuple(sorted({part for one in self.cells for part in one.changed}))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = {"ok": self.ok, "changed": list(self.changed), "left": list(self.left)}
        return {**asdict(self), "folder": str(self.folder), **told, "headline": self.headline()}

    def headline(self) -> str:
        """How many cells are what."""
        counts = Counter[str](one.word for one in self.cells)
        words = ", ".join(f"{counts[word]} {word}" for word in _COLOURS if counts[word])
        return f"bench {self.bench} verified: {words}"

    def notes(self) -> list[str]:
        """What a reader has to know beside the table."""
        found = []
        if self.changed:
            what = f"note: changed since the originals ran: {', '.join(self.changed)}. "
            instead = "for that of then, go back to it: the provenance of each result has its commit"
            found.append(f"{what}The verdict is about what is there now; {instead}")
        if self.left:
            bench = holding.called(self.folder.parent.parent)
            command = f"aigym bench verify {bench} --cells {' '.join(self.left)}"
            found.append(f"note: what was not verified is verified by: {command}")
        return found

    def __str__(self) -> str:
        rows = [_COLUMNS, *([one.cell, one.label, one.word, one.why] for one in self.cells)]
        return "\n".join([self.headline(), *rendering.lines(rows), *self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [[c.cell, c.label, rendering.badge(c.word, _COLOURS[c.word]), c.why] for c in self.cells]
        told = "".join(f"<p>{rendering.escape(note)}</p>" for note in self.notes())
        return rendering.table(_COLUMNS, rows, self.headline()) + told


def verify(
    folder: Path,
    *,
    cells: int | Sequence[str] | None = None,
    workers: int | None = None,
    executor: Ray | None = None,
    tolerance: float | None = None,
    tell: Tell = lambda _: None,
) -> Verification:
    """Run cells again and compare; see the module's text. Takes as long as they took.

    Args:
        cells: ids of cells, or beginnings of such; or how many, spread over those that are done; None: all.
        workers: how many at a time; it need not be what it was: results do not depend on it.
        tolerance: relative, for every metric, in place of its own.
        tell: as of `carry_out`.

    Returns:
        Per cell *identical*: every metric but those that a clock decides, and everything recorded, to the
        last bit. *within tolerance*: every such metric within its tolerance, at least one of which is above
        0. *diverged*. *failed*: the second time failed. *not verified*: it was not run to its end, or not
        compared, since somebody stopped it. *skipped*: the first time did not get done.

    Raises:
        UnknownName: no cell has this id.
        BenchError: there is no bench, none of the cells is done, or an argument cannot be.
        StoreError: the disk is full, or the folder cannot be written.
    """
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise BenchError(f"tolerance={tolerance!r} must be a number from 0 on, such as 0.01 for one percent")
    state = records.read(folder)
    chosen = _chosen(state, cells)
    done = [cell for cell in chosen if cell.id in state.results]
    if not done:
        raise BenchError(f"bench {state.plan.name}: no cell is done that could be verified; run it first")
    started = time.time()
    now = {cell.id: _parts_now(state, cell) for cell in done}
    place = _prepared(state, [dataclasses.replace(cell, parts=now[cell.id]) for cell in done])
    # The last word is the Verification's: what is left of it is not gone on with by `aigym bench resume`.
    again = carry_out(
        place, workers=workers, executor=executor, tell=lambda e: None if e.what == "ends" else tell(e)
    )
    verdicts, stopped = [], False
    for cell in chosen:
        changed = tuple(k for k, v in now.get(cell.id, {}).items() if cell.parts.get(k) != v)
        one = _no_verdict(cell, "stopped before it was compared")
        try:
            one = one if stopped else verdict(state, again, cell, tolerance)
        except KeyboardInterrupt:
            stopped = True
        verdicts.append(dataclasses.replace(one, changed=changed))
    found = Verification(
        bench=state.plan.name,
        folder=place,
        cells=tuple(verdicts),
        started_at=started,
        seconds=time.time() - started,
    )
    replace_file(place / "verdict.json", json.dumps(found.to_dict(), indent=1) + "\n")
    return found


def _chosen(state: State, cells: int | Sequence[str] | None) -> list[Cell]:
    """The cells that are asked for, in the plan's order."""
    plan = state.plan.cells
    if cells is None:
        return list(plan)
    if isinstance(cells, int):
        check_whole("cells", cells, 1, error=BenchError)
        done = [cell for cell in plan if cell.id in state.results]
        count = min(cells, len(done))
        return [done[i * len(done) // count] for i in range(count)]
    wanted = set()
    for asked in [cells] if isinstance(cells, str) else cells:
        found = [cell.id for cell in plan if cell.id.startswith(asked)]
        if len(found) != 1:
            hint = f"{len(found)} begin so; give more of it." if found else ""
            raise UnknownName(f"cell of bench {state.plan.name}", asked, [c.id for c in plan], hint)
        wanted.add(found[0])
    return [cell for cell in plan if cell.id in wanted]


def _parts_now(state: State, cell: Cell) -> dict[str, str]:
    """What the cell's id would be made of today. The notebook is the frozen one, with modules beside the
    original."""
    parts = dict(cell.parts) | {"code": identity.code_version(), "lock": identity.lock_version()}
    files = {name: Path(path) for name, path in state.plan.data.items()}
    try:
        parts["data"] = identity.of_values({n: identity.of_files([p]) for n, p in files.items()})
    except OSError:
        parts["data"] = "missing"
    try:
        frozen = parameters.read(state.folder / cell.source)
        parts["notebook"] = identity.of_notebook(frozen, Path(cell.folder))
        values = {p.name: p.default for p in parameters.of(frozen, cell.notebook).values()}
    except (NotebookError, OSError) as problem:
        raise BenchError(f"{state.folder / cell.source} cannot be read: {problem}") from None
    parts["tasks"] = identity.of_tasks((values | cell.parameters).values())
    return parts


def _prepared(state: State, cells: Iterable[Cell]) -> Path:
    """A bench of its own for the second time, below the folder of the first."""
    base = time.strftime("%Y%m%d-%H%M%S")
    for name in (base, *(f"{base}-{n}" for n in range(2, 100))):
        place = state.folder / "verify" / name
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as problem:
            raise BenchError(f"{place} cannot be made: {problem.strerror or problem}") from None
        break
    plan = dataclasses.replace(
        state.plan,
        name=f"{state.plan.name}/verify/{place.name}",
        cells=tuple(cells),
        run_id=None,
        created_at=time.time(),
    )
    for source in {cell.source for cell in plan.cells}:
        (place / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(state.folder / source, place / source)
    records.replace(place / "bench.json", plan)
    return place


# The comparison


def verdict(first: State, second: State, cell: Cell, tolerance: float | None = None) -> Verdict:
    """What the second time of a cell says, ``changed`` left out."""
    was, now = first.results.get(cell.id), second.results.get(cell.id)
    name = standing.label(cell)
    if was is None:
        state = first.statuses[cell.id].state
        return Verdict(cell=cell.id, label=name, word="skipped", why=f"the original is {state}")
    if now is None:
        status = second.statuses[cell.id]
        if (tried := standing.last_attempt(status)) is None:
            return _no_verdict(cell, "it never began")
        why = ": ".join(part for part in (tried.reason, tried.error) if part)
        if status.state != "failed":
            return _no_verdict(cell, why)
        return Verdict(cell=cell.id, label=name, word="failed", why=why)
    store, gone = Store(first.plan.store), ""
    if was.hashes != now.hashes:
        # What counts may have been another thing when the original ended: it is asked of the store again.
        try:
            hashes = canonical.hashes(store, was.run_id, was.metrics, was.declared)
            was = dataclasses.replace(was, hashes=hashes)
        except (StoreError, UnknownName) as problem:
            gone = f"no step can be named: {problem}"
    word, why = compared(first.plan, was, now, tolerance)
    parted: tuple[Divergence, ...] = ()
    if word != "identical" and was.hashes != now.hashes and not gone:
        parted = tuple(divergences(store, was.run_id, now.run_id))
    why = "; ".join([*map(str, parted), *filter(None, (why, gone))])
    names = dict.fromkeys([*was.metrics, *now.metrics])
    values = {n: (was.metrics.get(n), now.metrics.get(n)) for n in names}
    return Verdict(cell=cell.id, label=name, word=word, why=why, metrics=values, divergences=parted)


def _no_verdict(cell: Cell, why: str) -> Verdict:
    return Verdict(cell=cell.id, label=standing.label(cell), word="not verified", why=why)


def compared(plan: Plan, was: Result, now: Result, tolerance: float | None) -> tuple[Word, str]:
    """The verdict on two results of one cell, and which metrics differ by how much."""
    # The plan's word on a metric counts before the notebook's.
    said = {metric.name: metric for metric in (*was.declared, *plan.metrics)}
    names = dict.fromkeys([*was.metrics, *now.metrics])
    exact = [name for name in names if not said.get(name, Metric(name=name)).measured]
    allowed = {n: said.get(n, Metric(name=n)).tolerance if tolerance is None else tolerance for n in exact}
    told, far = [], False
    for name in exact:
        one, other = was.metrics.get(name), now.metrics.get(name)
        if one is None or other is None:
            far, text = True, f"{name} was {_shown(one)}, then {_shown(other)}"
        elif float(one).hex() == float(other).hex():
            continue
        else:
            far |= not math.isclose(one, other, rel_tol=allowed[name])
            text = f"{name} was {one!r}, then {other!r}{_apart(one, other)}"
        told.append(text)
    same = was.hashes.get("trajectories") == now.hashes.get("trajectories")
    if not told and same:
        if exact or _recorded(plan, now):
            return "identical", ""
        return "within tolerance", "a clock decides all its metrics, and nothing else was recorded"
    if not far and any(allowed.values()):
        return "within tolerance", "; ".join(told)
    return "diverged", "; ".join(told)


def _recorded(plan: Plan, result: Result) -> bool:
    """Whether a cell recorded any trajectory."""
    return any(one.plays for one in canonical.recorded(Store(plan.store), result.run_id))


def _shown(value: float | None) -> str:
    return "not reported" if value is None else repr(value)


def _apart(one: float, other: float) -> str:
    return f" ({abs(other - one) / abs(one):.2g} of it)" if one else ""
