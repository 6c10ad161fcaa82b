"""Installed Python packages that a box asked for: which files they are, on the host.

`paths(("numpy",))` follows the metadata of this environment from the named distributions to all that they
require and says what has to be seen in a box, by path below its ``site-packages``: as few folders as can
be, but no file of any other distribution, not even in a namespace that several share.
Not here: mounting them (`bwrap`). In a container they are part of the image (`containers`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aigym_kernel.errors import SandboxError

_CACHE = "__pycache__"
_TELLS_PATHS = "direct_url.json"  # where on this machine something was installed from


def paths(names: Sequence[str]) -> Mapping[str, Path]:
    """What to show of the distributions ``names`` and of all that they require: paths below a folder of
    packages, each with that folder.

    Raises:
        SandboxError: one is not installed here, or in a way that does not say which files are its own.
    """
    folders = [(at, Path(at).stat().st_mtime_ns) for at in sys.path if at and Path(at).is_dir()]
    return _paths(tuple(names), tuple(folders))


@lru_cache(maxsize=32)
def _paths(names: tuple[str, ...], _installed: tuple[tuple[str, int], ...]) -> Mapping[str, Path]:
    tree: dict[str, Any] = {}
    for found in _with_requirements(names):
        for path, root in _files(found):
            *above, name = path.parts
            folder = tree
            for part in above:
                folder = folder.setdefault(part, {})
            folder[name] = root
    shown: dict[str, Path] = {}
    for name, entry in tree.items():
        shown |= _cover(PurePosixPath(name), entry)[0]
    return shown


def _with_requirements(names: Sequence[str]) -> Iterator[Distribution]:
    waiting = [(Requirement(name), "") for name in names]
    met: set[tuple[str, str]] = set()
    while waiting:
        wanted, asked_by = waiting.pop()
        for extra in {"", *wanted.extras}:
            if (canonicalize_name(wanted.name), extra) in met:
                continue
            met.add((canonicalize_name(wanted.name), extra))
            found = _installed(wanted.name, asked_by)
            if not extra:
                yield found
            for text in found.requires or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append((needed, wanted.name))


def _installed(name: str, asked_by: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        who = f"{asked_by!r} requires the package {name!r}, which" if asked_by else f"the package {name!r}"
        raise SandboxError(
            f"{who} is not installed in this environment, so no box can have it: pip install {name}"
        ) from None


def _files(found: Distribution) -> Iterator[tuple[PurePosixPath, Path]]:
    """Every file that lies below the folder of packages, and that folder. Scripts do not."""
    name = found.metadata["Name"]
    origin = json.loads(found.read_text(_TELLS_PATHS) or "{}")
    if found.files is None or origin.get("dir_info", {}).get("editable"):
        how = "without a list of its files" if found.files is None else "in editable mode"
        raise SandboxError(
            f"the package {name!r} is installed {how}, so a box cannot be given it: "
            f"pip install --force-reinstall {name} (not editable)"
        )
    root = Path(str(found.locate_file(""))).resolve()
    for file in found.files:
        path = PurePosixPath(file.as_posix())
        if ".." not in path.parts and not path.is_absolute() and path.name != _TELLS_PATHS:
            yield path, root


def _cover(path: PurePosixPath, entry: Any) -> tuple[dict[str, Path], Path | None]:
    """What to show of ``entry`` (a file's root, or a folder of entries), and its root if that is all that
    lies there."""
    if isinstance(entry, Path):
        return ({str(path): entry}, entry) if (entry / path).is_file() else ({}, None)
    shown: dict[str, Path] = {}
    roots: set[Path | None] = set()
    for name, below in entry.items():
        found, root = _cover(path / name, below)
        shown |= found
        if found:  # and not only recorded
            roots.add(root)
    root = roots.pop() if len(roots) == 1 else None
    lies = {at.name for at in (root / path).iterdir()} if root else set()
    if root is None or path.name == _CACHE or lies - entry.keys() - {_CACHE}:
        return shown, root if path.name == _CACHE else None
    return {str(path): root}, root
