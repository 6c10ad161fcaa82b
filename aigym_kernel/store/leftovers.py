"""The temporary files of segments: claiming one, and removing those of writers that were killed.

    file = claim(path)      a new file, held by this process until it is closed; None if the name is taken
    remove(run_folder)      removes what killed writers left in a run that is over

Whoever writes a temporary file holds a lock on it (flock), which ends with the process however that ends:
a file that can be locked is nobody's. Where locks of other hosts are not seen (some network file systems),
the run's status still says that it is running, and its files are left alone. Nothing here ever waits for
another writer, and published segments are not touched.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from aigym_kernel.store import runs

SUFFIX = ".parquet.tmp"


def claim(path: Path) -> BinaryIO | None:
    """Makes the file and holds it. None if there is one, or if it was removed as nobody's at once.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    try:
        file = path.open("xb")
    except FileExistsError:
        return None
    # Where a file system has no locks, `remove` cannot lock either.
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
    # Between the two calls above the file was nobody's, and `remove` may have taken it away.
    if inode(path) == os.fstat(file.fileno()).st_ino:
        return file
    file.close()
    return None


def remove(run_folder: Path, paths: Iterable[Path]) -> None:
    """Removes those of the run's temporary ``paths`` that nobody writes, once the run is over."""
    paths = list(paths)
    if not paths or runs.active(run_folder):
        return
    for path in paths:
        # What cannot be locked is being written; what cannot be removed harms nobody.
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if inode(path) == os.fstat(file.fileno()).st_ino:
                path.unlink()


def is_abandoned(path: Path) -> bool:
    """Whether nobody writes a temporary file any more, as far as locks tell."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def inode(path: Path) -> int | None:
    """Which file a path names; None if none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None
