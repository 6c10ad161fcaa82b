"""Trajectories out of a store into a file, and from a file into a new run: `Store.export`, `Store.import_`.

An import is made in a folder of its own, ``incoming/`` in the store, and appears as a run all at once: what
fails midway leaves nothing. What a killed import left is removed by the next one. Formats: `exchange`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigym_kernel import exchange
from aigym_kernel.errors import ExchangeError, StoreError
from aigym_kernel.store import loading
from aigym_kernel.store.records import RunRecord, RunStatus, cannot_write
from aigym_kernel.trajectories import Trajectory, new_id

if TYPE_CHECKING:
    from aigym_kernel.store import Store


def export(store: Store, path: Path, format: str | None, where: Mapping[str, Any] | None) -> int:
    """Writes trajectories into a new file; see `Store.export`."""
    chosen = exchange.for_writing(path, format)
    assert chosen.write is not None
    keys = loading.keys(store.folder, where or {}, chosen.order_by)
    if not keys:
        told = f" where {dict(where)}" if where else ""
        raise ExchangeError(f"nothing to export: the store has no trajectory{told}")
    return chosen.write(path, loading.load_each(store.folder, keys))


def import_(store: Store, path: Path | str, format: str | None, run_id: str | None, name: str | None) -> str:
    """Records what a file holds as a new run; see `Store.import_`."""
    source = exchange.locate(path)
    chosen = exchange.tell(source, format)
    title = name or source.name
    if run_id is None:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40]
        run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-import-{slug}-{secrets.token_hex(2)}"
    store.create()
    final = store.run_folder(run_id)
    if final.exists():
        raise StoreError(f"run {run_id!r} exists already in {final}; choose another run id")
    provenance = {"source": str(source), "format": chosen.name, **_digest(source)}
    record = RunRecord(run_id=run_id, kind="import", name=title, provenance=provenance)
    known = set(store.sql("SELECT trajectory_id FROM trajectories")["trajectory_id"])
    with incoming(store) as staged:
        folder = staged.add_run(record)
        summary = {"trajectories": 0, "steps": 0, "new_ids": 0}
        with staged.writer(run_id) as writer:
            for trajectory in _with_new_ids(chosen.read(source), known, summary):
                writer.trajectory(trajectory)
        if not summary["trajectories"]:
            raise ExchangeError(f"{source}: holds no trajectory")
        steps = summary["steps"]
        done = RunStatus(state="done", step=steps, total_steps=steps, summary=summary)
        staged.write_status(run_id, done)
        try:
            folder.rename(final)
        except OSError as error:
            raise cannot_write(final, error) from error
    return run_id


def _with_new_ids(
    trajectories: Iterator[Trajectory], known: set[str], summary: dict[str, int]
) -> Iterator[Trajectory]:
    """The trajectories, one whose id is taken with a new one; counts them."""
    for trajectory in trajectories:
        summary["trajectories"] += 1
        summary["steps"] += len(trajectory)
        if trajectory.id in known:
            summary["new_ids"] += 1
            trajectory = replace(trajectory, id=new_id())
        known.add(trajectory.id)
        yield trajectory


def _digest(source: Path) -> dict[str, Any]:
    """SHA-256 and size of a file; of a folder, those of its files with their names, in order."""
    digest, size = hashlib.sha256(), 0
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    for path in paths:
        if path != source:
            digest.update(path.relative_to(source).as_posix().encode("utf-8", "surrogateescape") + b"\0")
        with exchange.files.reading(path) as file:
            while block := file.read(2**20):
                digest.update(block)
                size += len(block)
    return {"sha256": digest.hexdigest(), "bytes": size}


@contextmanager
def incoming(store: Store) -> Iterator[Store]:
    """A store of its own on the same disk, which goes with the block."""
    parent = store.folder / "incoming"
    try:
        parent.mkdir(exist_ok=True)
        _remove_abandoned(parent)
        folder = parent / secrets.token_hex(8)
        folder.mkdir()
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(parent, error) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield type(store)(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_abandoned(parent: Path) -> None:
    """Removes what imports left whose process is gone: nobody holds a lock on it."""
    for folder in parent.iterdir():
        try:
            held = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between its making and its lock a folder is nobody's; such a young one is left alone.
            if time.time() - os.fstat(held).st_mtime > 60:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(held)
