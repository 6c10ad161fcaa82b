"""Takes over the runs of another store, of another machine for instance: `Store.merge`.

Runs are compared by the content of their segments. One that is not here is copied as a whole; one of which
all that the other store has is here already is skipped; one that has grown there gets what is new. Two
different runs of one id are a collision. All of this is found out before anything is copied. Pickles (an
environment or network of the user's) are not: reading one runs code.
"""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from aigym_kernel.errors import StoreError
from aigym_kernel.store import schema, segments, snapshot
from aigym_kernel.store.records import cannot_write, sync_folder
from aigym_kernel.store.transfer import incoming

if TYPE_CHECKING:
    from aigym_kernel.store import Store


def merge(store: Store, other: Path) -> list[str]:
    """Copies the runs of another store; see `Store.merge`."""
    snapshot.check_version(other)
    if store.folder.resolve() == other.resolve():
        raise StoreError(f"{other} cannot be merged into itself; name the folder of another store")
    store.create()
    taken: dict[str, list[str]] = {}
    collisions = []
    for run_id in sorted(segments.entries(f"{other}/runs")):
        missing = _missing(store.folder / "runs" / run_id, other / "runs" / run_id)
        if missing is None:
            collisions.append(run_id)
        elif missing:
            taken[run_id] = missing
    if collisions:
        names = ", ".join(map(repr, collisions[:20])) + (", ..." if len(collisions) > 20 else "")
        raise StoreError(
            f"nothing was merged: {len(collisions)} of the runs in {other} have an id that a different run "
            f"has here: {names}. Delete them in one of the two stores; Store.export and Store.import_ bring "
            "their trajectories over as a new run"
        )
    with incoming(store) as staged:
        for run_id, files in taken.items():
            _copy(other / "runs" / run_id, store.folder / "runs" / run_id, staged.folder / run_id, files)
    return list(taken)


def _missing(mine: Path, theirs: Path) -> list[str] | None:
    """The files that are only there, in the order in which they are to appear; None if the two are different
    runs. Segments here that are not there mean that this run went on, so that it cannot take in others."""
    if not mine.exists():
        return [name for name in files(theirs) if not is_code(name)]
    here, there = set(_segments(mine)), _segments(theirs)
    both = ["run.json", *(name for name in there if name in here)]
    if any(_differ(mine / name, theirs / name) for name in both):
        return None
    new = [name for name in there if name not in here]
    if new and not here <= set(there):
        return None
    return [*new, *(name for name in ("status.json",) if new and (theirs / name).exists())]


def is_code(name: str) -> bool:
    """Whether a file of a run is a pickle, also where disks tell no case apart: none comes from elsewhere."""
    return name.casefold().endswith(".pkl")


def _segments(run: Path) -> list[str]:
    """The segments of a run, those of the trajectories first: of each that is listed all the rest is too."""
    return [
        f"{table}/{name}"
        for table in reversed(schema.TABLES)
        for name in segments.counting(p.name for p in _listed(run / table))[0]
    ][::-1]


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def files(run: Path) -> list[str]:
    """What of a run is to be copied, in the order in which it is to appear."""
    chosen = _segments(run)
    rest = [p.relative_to(run) for p in run.rglob("*") if p.is_file() and p.suffix != ".tmp"]
    return [*chosen, *(p.as_posix() for p in rest if p.parts[0] not in schema.TABLES)]


def _differ(one: Path, other: Path) -> bool:
    if not one.exists() or not other.exists():
        return one.exists() != other.exists()
    try:
        return not filecmp.cmp(one, other, shallow=False)
    except OSError as error:
        raise StoreError(f"{one} and {other} cannot be compared: {error}") from error


def _copy(source: Path, target: Path, staged: Path, files: list[str]) -> None:
    """Copies files to where nobody looks, then puts them in their places, in order."""
    try:
        for name in files:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, staged / name)
        if not target.exists():
            staged.rename(target)
        else:
            for name in files:
                (target / name).parent.mkdir(exist_ok=True)
                (staged / name).replace(target / name)
        sync_folder(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
