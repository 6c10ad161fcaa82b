"""Files of trajectories, our own and those of others: read and written by `Store.import_` and `Store.export`.

    chosen = tell(path)                         which format a file has, by its name and by its content
    for trajectory in chosen.read(path): ...    one by one
    for_writing(path).write(path, trajectories)

A format is a module with ``read(path) -> Iterator[Trajectory]`` and, where it can be written,
``write(path, trajectories) -> int``; each module says what it keeps and what it cannot hold. This package
knows nothing of the store.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigym_kernel.errors import ExchangeError, UnknownName
from aigym_kernel.exchange import (
    atif,
    atif_writing,
    atropos,
    files,
    inspect_eval,
    jsonl,
    minari_dataset,
    mlgym,
    parquet,
    plain,
)
from aigym_kernel.trajectories import Trajectory


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one kind of file is read and written.

    ``suffixes``: what the names of such files end in. ``order_by``: the column of trajectories in whose
    order it wants to be written.
    """

    name: str
    what: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Iterator[Trajectory]]
    write: Callable[[Path, Iterable[Trajectory]], int] | None = None
    order_by: str = "started_at"


FORMATS = {
    f.name: f
    for f in (
        Format(
            name="jsonl",
            what="JSON Lines of trajectories",
            suffixes=(".jsonl", ".ndjson"),
            read=jsonl.read,
            write=jsonl.write,
        ),
        Format(
            name="parquet",
            what="Parquet of trajectories",
            suffixes=(".parquet",),
            read=parquet.read,
            write=parquet.write,
        ),
        Format(
            name="atif",
            what="ATIF, a document or a folder of them",
            suffixes=(".json",),
            read=atif.read,
            write=atif_writing.write,
        ),
        Format(
            name="mlgym",
            what="a .traj of MLGym",
            suffixes=(".traj", ".json"),
            read=mlgym.read,
        ),
        Format(
            name="inspect",
            what="a log of Inspect",
            suffixes=(".eval", ".json"),
            read=inspect_eval.read,
        ),
        Format(
            name="minari",
            what="a dataset of Minari",
            suffixes=(),
            read=minari_dataset.read,
            write=minari_dataset.write,
        ),
        Format(
            name="atropos",
            what="scored groups of Atropos",
            suffixes=(".jsonl",),
            read=atropos.read,
            write=atropos.write,
            order_by="group",
        ),
    )
}


_DOCUMENTS = (".json", ".traj")


def locate(path: str | Path) -> Path:
    """Where the file or folder is, or the dataset of Minari that has this id.

    Raises:
        ExchangeError: this user may not look there.
    """
    found = Path(path).expanduser().absolute()
    try:
        return found if found.exists() else minari_dataset.folder_of(str(path)) or found
    except OSError as e:
        raise files.cannot_read(found, e) from None


def named(name: str) -> Format:
    """The format of this name. Raises UnknownName."""
    if name not in FORMATS:
        raise UnknownName("format of trajectories", name, FORMATS)
    return FORMATS[name]


def for_writing(path: Path, name: str | None = None) -> Format:
    """The format to write a file in: the one named, else the one that its name ends in.

    Raises:
        UnknownName: no format has this name.
        ExchangeError: the file's name tells none, or the format can only be read.
    """
    by_name = [f for f in FORMATS.values() if f.write and path.suffix.lower() in f.suffixes]
    if name is None and not by_name:
        raise ExchangeError(f"{path}: its name tells no format; pass format=, one of {_listed(writing=True)}")
    chosen = named(name) if name is not None else by_name[0]
    if chosen.write is None:
        raise ExchangeError(
            f"the format {chosen.name!r} can only be read; write one of {_listed(writing=True)}"
        )
    return chosen


def _listed(*, writing: bool) -> str:
    return ", ".join(f.name for f in FORMATS.values() if f.write or not writing)


def tell(path: Path, name: str | None = None) -> Format:
    """The format of what is at ``path``: the one named, else what name and content agree on.

    Raises:
        UnknownName: no format has this name.
        ExchangeError: there is nothing, it is empty, of no known format, or not what its name says.
    """
    if name is not None:
        return named(name)
    if not path.exists():
        raise ExchangeError(f"{path}: there is no such file")
    found = _by_content(path)
    expected = [f for f in FORMATS.values() if path.suffix.lower() in f.suffixes]
    if expected and found not in expected:
        raise ExchangeError(
            f"{path}: is named like {' or '.join(f.what for f in expected)}, but is {found.what}; rename it, "
            f"or pass format={found.name!r}"
        )
    return found


def _by_content(path: Path) -> Format:
    if path.is_dir():
        return _by_members(path)
    with files.reading(path) as file:
        head = file.read(8)
    if not head:
        raise ExchangeError(f"{path}: is empty")
    if head.startswith(b"PAR1"):
        return FORMATS["parquet"]
    if head.startswith(b"PK"):
        return _by_zip(path)
    if path.suffix in _DOCUMENTS:
        return _by_keys(files.document(path), path)
    # A line that is an object tells enough; a document over many lines has to be read whole.
    number, text = next(files.lines(path))
    if not text.rstrip().endswith("}"):
        return _by_keys(files.document(path), path)
    return _by_keys(files.parse(text, path, number), path)


def _by_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as e:
        raise ExchangeError(f"{path}: is a damaged zip file: {e}") from None
    if not {"header.json", "_journal/start.json"} & set(names):
        raise ExchangeError(f"{path}: is a zip file, but no log of Inspect")
    return FORMATS["inspect"]


def _by_members(path: Path) -> Format:
    """The format of a folder, by its first file."""
    if minari_dataset.is_dataset(path):
        return FORMATS["minari"]
    found = sorted(p for p in path.rglob("*") if p.suffix in _DOCUMENTS and p.is_file())
    if not found:
        raise ExchangeError(f"{path}: this folder holds no trajectories of a known format")
    return _by_content(found[0])


def _by_keys(data: Any, path: Path) -> Format:
    keys = set(data) if isinstance(data, dict) else set()
    if plain.MARKER in keys:
        return FORMATS["jsonl"]
    if {"schema_version", "steps"} <= keys:
        return FORMATS["atif"]
    if {"trajectory", "history"} <= keys or {"trajectory", "info"} <= keys:
        return FORMATS["mlgym"]
    if {"eval", "status"} <= keys:
        return FORMATS["inspect"]
    if {"tokens", "masks", "scores"} <= keys:
        return FORMATS["atropos"]
    told = f"an object with the keys {', '.join(sorted(keys)[:8])}" if keys else type(data).__name__
    raise ExchangeError(
        f"{path}: is JSON, but of no known format ({told}); pass format=, one of {_listed(writing=False)}"
    )
