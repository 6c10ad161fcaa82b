"""Runs that were deleted, and may come back: `Store.delete`, `Store.deleted`, `Store.restore`.

A deleted run's folder is moved, as a whole and at once, to ``trash/<run id>@<time>`` in the store. Nothing
here ever removes it from the disk: that is for whoever deletes the folder ``trash``.
"""

from __future__ import annotations

import re
import secrets
import time
from functools import partial
from pathlib import Path

from aigym_kernel.errors import AigymError, StoreError, UnknownName
from aigym_kernel.store.records import ACTIVE, RunStatus, cannot_write, from_file, settled, sync_folder

# A process that has said nothing for so long records no more.
SILENT_S = 86_400.0

_NAME = re.compile(r"(.+)@(\d{8}-\d{6}-[0-9a-f]{4})")


def delete(folder: Path, run: Path, *, ask: bool) -> Path | None:
    """Moves the run's folder to the trash; see `Store.delete`."""
    _check_over(run)
    if ask and not _agreed(run):
        return None
    trash = folder / "trash"
    target = trash / f"{run.name}@{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    try:
        trash.mkdir(exist_ok=True)
        _move(run, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


def names(folder: Path) -> list[str]:
    """What lies in the trash, the last deleted first."""
    try:
        found = [p.name for p in (folder / "trash").iterdir() if _NAME.fullmatch(p.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda name: name.rpartition("@")[2], reverse=True)


def restore(folder: Path, name: str) -> Path:
    """Moves a run back from the trash; see `Store.restore`."""
    known = names(folder)
    chosen = next((n for n in known if name in (n, n.rpartition("@")[0])), None)
    if chosen is None:
        raise UnknownName("deleted run", name, [n.rpartition("@")[0] for n in known])
    target = folder / "runs" / chosen.rpartition("@")[0]
    if target.exists():
        raise StoreError(
            f"run {target.name!r} cannot come back from the trash: there is another one of this id in "
            f"{target}; delete that one first"
        )
    try:
        _move(folder / "trash" / chosen, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    sync_folder(source.parent)
    sync_folder(target.parent)


def _check_over(run: Path) -> None:
    path = run / "status.json"
    if not path.exists():
        return
    try:
        status = settled(partial(from_file, RunStatus, path))
    except StoreError:
        return  # A damaged run can be deleted too.
    silent = time.time() - status.heartbeat > SILENT_S  # of another machine no more can be known
    if status.state in ACTIVE and status.pid is not None and not silent:
        raise StoreError(
            f"run {run.name!r} is {status.state} by process {status.pid} on {status.host} and cannot be "
            "deleted; stop it first"
        )


def _agreed(run: Path) -> bool:
    files = [p for p in run.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) / 1e6
    question = f"Move run {run.name!r} ({len(files)} files, {size:,.1f} MB) to the trash? [y/N] "
    try:
        return input(question).strip().lower() in ("y", "yes")
    # What a notebook without a person raises (StdinNotImplementedError) is a RuntimeError.
    except (EOFError, OSError, RuntimeError):
        raise AigymError(
            f"nobody is there to be asked whether run {run.name!r} is to be deleted; say ask=False"
        ) from None
