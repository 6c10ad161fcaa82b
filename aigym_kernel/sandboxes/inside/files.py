"""Files below /work, the only ones that a host puts in or takes out, and the emptying of all that can be
written to. No process of the solution is alive while these run, so nothing can change meanwhile. No link is
followed, no pipe or device opened."""

# Descriptors throughout, and importing pathlib would cost every box 10 ms.
# ruff: noqa: PTH101, PTH123, PTH208
from __future__ import annotations

import contextlib
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

WORK = "/work"
DISKS = (WORK, "/tmp")  # each of ``disk_mb`` and ``files``
PLACES = (*DISKS, "/dev/shm", "/dev/mqueue")  # all that a program can write to
_TERMINALS = {"/dev/pts": 0o755, "/dev/pts/ptmx": 0o666}
MAX_DEPTH = 64  # folders below /work; deeper ones are not exported
MAX_PATH, MAX_NAMES = 4_000, 8 << 20  # bytes of one path, and of all that are exported
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts(path: str) -> list[str]:
    """The names that a path below /work consists of. Raises ValueError on one that leaves it."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if path.startswith("/") or not names or ".." in names or "\0" in path:
        raise ValueError(f"{path!r} is not a path below {WORK}")
    return names


def _folder(parts: Sequence[str], *, make: bool) -> int:
    """A descriptor of the folder, reached without following a link. With ``make``, whatever stands in
    the way is replaced."""
    os.chmod(WORK, 0o755)  # every right here may have been taken away, by the user that this is
    return reach(os.open(WORK, DIRECTORY), parts, make=make)


def reach(here: int, parts: Sequence[str], *, make: bool) -> int:
    """A descriptor of a folder below the one of ``here``, which it takes over."""
    for part in parts:
        try:
            if make:
                kind = kind_of(part, here)
                if kind and not stat.S_ISDIR(kind):
                    os.unlink(part, dir_fd=here)
                    kind = 0
                if not kind:
                    os.mkdir(part, 0o755, dir_fd=here)
            below = _descend(part, here)
        finally:
            os.close(here)
        here = below
    return here


@contextlib.contextmanager
def below(path: str, *, make: bool) -> Iterator[int]:
    """A folder below /work, or that itself (``.``). Raises FileNotFoundError."""
    try:
        folder = _folder([] if path == "." else parts(path), make=make)
    except OSError as error:
        raise FileNotFoundError(f"there is no folder {path!r} below {WORK}: {error.strerror}") from None
    try:
        yield folder
    finally:
        os.close(folder)


def kind_of(name: str, folder: int) -> int:
    """The mode of a directory entry itself; 0 where there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _descend(name: str, folder: int) -> int:
    kind = kind_of(name, folder)
    if stat.S_ISDIR(kind) and kind & 0o700 != 0o700:
        os.chmod(name, 0o755, dir_fd=folder)
    return os.open(name, DIRECTORY, dir_fd=folder)


def remove(name: str, folder: int) -> None:
    """Remove an entry and all below it, however deep."""
    if not stat.S_ISDIR(kind_of(name, folder)):
        os.unlink(name, dir_fd=folder)
        return
    inner = _descend(name, folder)
    try:
        _empty(inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def _empty(folder: int) -> None:
    """Remove all entries of a folder. A folder in a folder is moved up, under a name that nobody can have
    guessed: so neither the stack nor the number of open descriptors grows with the depth."""
    while names := os.listdir(folder):
        for name in names:
            if not stat.S_ISDIR(kind_of(name, folder)):
                os.unlink(name, dir_fd=folder)
                continue
            inner = _descend(name, folder)
            try:
                for below in os.listdir(inner):
                    if not stat.S_ISDIR(kind_of(below, inner)):
                        os.unlink(below, dir_fd=inner)
                        continue
                    os.close(_descend(below, inner))  # which gives back the right to move it
                    os.rename(below, os.urandom(16).hex(), src_dir_fd=inner, dst_dir_fd=folder)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)


def clear() -> None:
    """Remove all that a program may have left anywhere: files, and what a folder that stays can carry, its
    attributes and times. Links are removed, never followed."""
    for path in PLACES:
        with contextlib.suppress(PermissionError, FileNotFoundError):  # a container's /dev/shm is not ours
            os.chmod(path, 0o755)
        try:
            folder = os.open(path, DIRECTORY)
        except FileNotFoundError:  # only containers have /dev/mqueue
            continue
        try:
            _empty(folder)
            with contextlib.suppress(PermissionError):
                for name in os.listxattr(folder):
                    os.removexattr(folder, name)
                os.utime(folder)
        finally:
            os.close(folder)
    for path, mode in _TERMINALS.items():
        with contextlib.suppress(OSError):  # these are this user's own with bubblewrap alone
            os.chmod(path, mode)
            os.utime(path)


def write(files: Mapping[str, bytes]) -> None:
    """Write files below /work. Links, pipes and folders in their place are replaced, never followed."""
    for path, content in files.items():
        *above, name = parts(path)
        try:
            folder = _folder(above, make=True)
            try:
                if kind_of(name, folder):
                    remove(name, folder)
                create(name, folder, content)
            finally:
                os.close(folder)
        except OSError as error:
            raise OSError(f"cannot write {path!r} below {WORK}: {error.strerror}") from None


def create(name: str, folder: int, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        # Modes do not travel, so that everything may be run that was a program where it came from.
        with open(os.open(name, flags, 0o755, dir_fd=folder), "wb") as file:
            file.write(content)
    except OSError:  # a full disk: half a file is worse than none
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise


def _content(name: str, folder: int) -> int:
    """A descriptor of a regular file; a link, pipe or device raises OSError."""
    kind = kind_of(name, folder)
    if not stat.S_ISREG(kind):
        raise FileNotFoundError(f"{name!r} is not a regular file")
    if not kind & 0o400:
        os.chmod(name, 0o600, dir_fd=folder)
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)


def read(path: str, most: int) -> bytes:
    """A regular file below /work of at most ``most`` bytes."""
    *above, name = parts(path)
    try:
        folder = _folder(above, make=False)
        try:
            with open(_content(name, folder), "rb") as file:
                content = file.read(most + 1)
        finally:
            os.close(folder)
    except OSError:
        raise FileNotFoundError(f"there is no regular file {path!r} below {WORK}") from None
    if len(content) > most:
        raise ValueError(f"{path!r} is larger than the box's disk, {most >> 20} MiB")
    return content


def export(most: int) -> dict[str, bytes]:
    """Every regular file below /work. Together they hold at most ``most`` bytes, the size of the disk:
    only sparse files can exceed that, and the ones that no longer fit are left out. So are those with a path
    that no program could open, and those whose names do not fit into a frame with the others."""
    found: dict[str, bytes] = {}
    names = MAX_NAMES

    def walk(folder: int, prefix: str, depth: int) -> None:
        nonlocal most, names
        for name in sorted(os.listdir(folder)):
            kind = kind_of(name, folder)
            if stat.S_ISDIR(kind) and depth < MAX_DEPTH:
                inner = _descend(name, folder)
                try:
                    walk(inner, f"{prefix}{name}/", depth + 1)
                finally:
                    os.close(inner)
            elif stat.S_ISREG(kind) and os.stat(name, dir_fd=folder, follow_symlinks=False).st_size <= most:
                length = len(os.fsencode(prefix + name))
                if length > MAX_PATH or length > names:
                    continue
                names -= length
                with open(_content(name, folder), "rb") as file:
                    found[prefix + name] = file.read()
                most -= len(found[prefix + name])

    folder = _folder((), make=False)
    try:
        walk(folder, "", 0)
    finally:
        os.close(folder)
    return found
