"""A whole run in one file, for another store: `Run.export` and `import_run`.

    export_run(store, run_id, Path("run.zip"))
    import_run(other, Path("run.zip"))              its id

A zip archive of the run's folder: record, status, log, artifacts, segments. What is in it is compressed
already, so that the archive compresses nothing, and one that claims to grow a lot is refused. An import is
unpacked and looked at in ``incoming/`` and appears in the store all at once; a file that is not what an
exported run holds, in its place and readable, refuses all of it. Trajectories alone, in formats of others:
`transfer`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from aigym_kernel.errors import ExchangeError, StoreError
from aigym_kernel.store import merging, schema, segments, waypoints
from aigym_kernel.store.records import (
    RunRecord,
    RunStatus,
    cannot_write,
    from_file,
    replace_file,
    sync_folder,
)
from aigym_kernel.store.transfer import incoming

if TYPE_CHECKING:
    from aigym_kernel.store.store import Store

FILES = ("run.json", "status.json", "log.txt", waypoints.NAME)
MOST_GROWTH, ALWAYS_ALLOWED = 20, 64 * 2**20
MOST_FILES = 200_000
_BLOCK = 2**20
_TRIES = 20


def export_run(store: Store, run_id: str, path: Path) -> Path:
    """Writes a run to a new file; see `Run.export`."""
    run = store.run_folder(store.run(run_id).run_id)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        if path.exists():
            raise ExchangeError(f"{path} exists already; choose another name, or move it away")
        for _ in range(_TRIES):
            try:
                _pack(run, partial)
                break
            except FileNotFoundError:
                # Segments were merged meanwhile; a folder that is not there does not come by itself.
                if not path.parent.is_dir():
                    raise
        else:
            raise ExchangeError(f"run {run_id!r} changes faster than it can be exported; try again")
        partial.rename(path)
    except OSError as error:
        raise ExchangeError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return path


def _pack(run: Path, partial: Path) -> None:
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in merging.files(run):
            first = PurePosixPath(name).parts[0]
            known = name in FILES or first == "artifacts" or first in schema.TABLES
            if known and not (run / name).is_symlink():
                archive.write(run / name, name)


def import_run(store: Store, path: Path) -> str:
    """Takes a run out of a file that `export_run` wrote; see `handles.import_run`."""
    store.create()
    try:
        with zipfile.ZipFile(path) as archive, incoming(store) as staged:
            entries = _checked(archive, path)
            record = _record(archive, path)
            final = store.run_folder(record.run_id)
            if final.exists():
                raise StoreError(
                    f"run {record.run_id!r} exists already in {final}; delete it first (store.delete), or "
                    "import this one into another store"
                )
            place = staged.run_folder(record.run_id)
            try:
                for entry in entries:
                    _unpack(archive, entry, place)
                _check_content(staged, record, path)
                sync_folder(place)
                place.rename(final)
                sync_folder(final.parent)
            except StoreError:
                raise
            except OSError as error:
                raise cannot_write(place, error) from error
    except FileNotFoundError:
        raise ExchangeError(f"{path} does not exist") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as problem:
        if isinstance(problem, ExchangeError | StoreError):
            raise
        raise ExchangeError(f"{path} is no run that was exported, or is damaged: {problem}") from None
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise ExchangeError(f"{path} cannot be read: {error.strerror or error}") from error
    return record.run_id


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The files to unpack, when all that the archive says of itself has been looked at."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MOST_FILES:
        raise ExchangeError(f"{path} holds {len(entries):,} files, more than the {MOST_FILES:,} of any run")
    grown, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if grown > size * MOST_GROWTH + ALWAYS_ALLOWED:
        raise ExchangeError(
            f"{path} has {size / 1e6:,.1f} MB and claims to hold {grown / 1e6:,.1f} MB: no exported run is "
            "compressed like that"
        )
    seen: set[str] = set()
    for entry in entries:
        if problem := _problem(entry):
            raise ExchangeError(f"{path} is refused: its entry {entry.filename!r:.200} {problem}")
        if entry.filename in seen:
            raise ExchangeError(f"{path} is refused: it holds {entry.filename!r:.200} twice")
        seen.add(entry.filename)
    return [entry for entry in entries if not merging.is_code(entry.filename)]


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """What is wrong with where an entry wants to lie, or with what it is."""
    name, place = entry.filename, PurePosixPath(entry.filename)
    if place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name or ":" in name:
        return "leaves the run's folder"
    if str(place) != name:
        return "is no plain path"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link or no file"
    if entry.flag_bits & 1:
        return "is encrypted"
    first = place.parts[0]
    if first in schema.TABLES and len(place.parts) == 2 and segments.numbers_of(place.name):
        return None
    if name in FILES or (first == "artifacts" and len(place.parts) > 1):
        return None
    return "is nothing that a run has"


def _record(archive: zipfile.ZipFile, path: Path) -> RunRecord:
    try:
        with archive.open("run.json") as file:
            text = file.read(16 * _BLOCK)
        return RunRecord.from_dict(json.loads(text))
    except KeyError:
        raise ExchangeError(f"{path} is an archive without a run: it has no run.json") from None
    except (ValueError, TypeError, AttributeError, StoreError, RecursionError) as problem:
        raise ExchangeError(f"{path}: its run.json is damaged ({problem})") from None


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path) -> None:
    target = place / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, target.open("xb") as file:
        # It gives no more bytes than the size that was added up, whatever is in it.
        shutil.copyfileobj(source, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())


def _check_content(staged: Store, record: RunRecord, path: Path) -> None:
    """Whether all that was unpacked can be read and belongs to this run; a status that is no end becomes
    one."""
    found = segments.segments(staged.folder).values()
    problems = segments.sound(found, whole=True)[1]
    if problems:
        raise ExchangeError(f"{path}: {len(problems)} of its segments are damaged; export the run again")
    for segment in found:
        for part in segments.parts(segment):
            if part.num_rows and pc.unique(part["run_id"]).to_pylist() != [record.run_id]:
                raise ExchangeError(f"{path}: {segment.table}/{segment.key[2]} holds rows of another run")
    place = staged.run_folder(record.run_id)
    if not (place / "status.json").is_file():
        raise ExchangeError(f"{path} is an archive without a run: it has no status.json")
    try:
        status = from_file(RunStatus, place / "status.json")
        waypoints.read(place)
    except StoreError as problem:
        raise ExchangeError(f"{path}: {str(problem).replace(str(place), '').strip(' /')}") from None
    if status.state in ("queued", "running", "paused"):
        # Its process is on another machine, or over.
        over = replace(status, state="stopped", pid=None, error="exported before it had ended")
        replace_file(place / "status.json", schema.json_text(over.to_dict()) + "\n")
