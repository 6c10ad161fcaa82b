"""A folder as one tar archive, and back: modes, times, empty folders, links and pipes included.

`pack` and `unpack` work below a descriptor, on either side: in a box, where everything below ``/work`` is the
program's and may be given rights to be read (`mine`), and on the host, where `unpack` takes neither links nor
pipes (``plain``) and replaces nothing. No link is followed. Not here: where archives are kept (the host's
`folders`).
"""

from __future__ import annotations

import contextlib
import os
import stat

from aigym_kernel.sandboxes.inside.files import DIRECTORY, MAX_DEPTH, create, kind_of, parts, reach, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    import tarfile
    from collections.abc import Iterator
    from typing import Any


def pack(folder: int, most: int, *, mine: bool) -> bytes:
    """Everything below the folder. Sockets, which nobody can answer any more, are left out.

    Raises:
        ValueError: files of more than ``most`` bytes together, or folders that are too deep.
    """
    import io
    import tarfile

    data = io.BytesIO()
    first: dict[tuple[int, int], str] = {}  # the name under which a file with several was packed

    def walk(folder: int, prefix: str, depth: int) -> None:
        nonlocal most
        if depth > MAX_DEPTH:
            raise ValueError(f"{prefix!r} is more than {MAX_DEPTH} folders deep")
        for name in sorted(os.listdir(folder)):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            member = tarfile.TarInfo(prefix + name)
            member.mode, member.mtime = stat.S_IMODE(found.st_mode), found.st_mtime
            if stat.S_ISDIR(found.st_mode):
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
                with _opened(name, folder, DIRECTORY, found.st_mode, 0o700, mine) as inner:
                    walk(inner, f"{prefix}{name}/", depth + 1)
            elif stat.S_ISLNK(found.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=folder)
                archive.addfile(member)
            elif stat.S_ISFIFO(found.st_mode):
                member.type = tarfile.FIFOTYPE
                archive.addfile(member)
            elif stat.S_ISREG(found.st_mode):
                same = first.setdefault((found.st_dev, found.st_ino), member.name)
                if same != member.name:
                    member.type, member.linkname = tarfile.LNKTYPE, same
                    archive.addfile(member)
                    continue
                most -= found.st_size
                if most < 0:
                    raise ValueError(f"with {member.name!r} there is more than fits on the box's disk")
                member.size = found.st_size
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                opened = _opened(name, folder, flags, found.st_mode, 0o400, mine)
                with opened as descriptor, open(descriptor, "rb", closefd=False) as file:
                    archive.addfile(member, file)

    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        walk(folder, "", 0)
    return data.getvalue()


@contextlib.contextmanager
def _opened(name: str, folder: int, flags: int, mode: int, needed: int, mine: bool) -> Iterator[int]:
    """A descriptor of an entry; with ``mine`` even if its mode forbids that, which it has again then."""
    lacking = mine and mode & needed != needed
    if lacking:
        os.chmod(name, stat.S_IMODE(mode) | needed, dir_fd=folder)
    try:
        descriptor = os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    finally:
        if lacking:
            os.chmod(name, stat.S_IMODE(mode), dir_fd=folder)


def unpack(data: bytes, folder: int, *, plain: bool) -> int:
    """Everything in the archive, below the folder; how many entries were left out. With ``plain`` only
    folders and regular files are taken, and what is there already is an error; else it is replaced.

    Raises:
        ValueError: a name that leads out of the folder.
        OSError: a full disk, or something is there already.
    """
    import io

    left_out, folders = 0, []
    with _readable(io.BytesIO(data)) as archive:
        for member in archive:
            *above, name = parts(member.name)
            if plain and not (member.isdir() or member.isreg()):
                left_out += 1
                continue
            at = reach(os.dup(folder), above, make=not plain)
            try:
                there = kind_of(name, at)
                if there and not plain and not (stat.S_ISDIR(there) and member.isdir()):
                    remove(name, at)
                if member.isdir():
                    folders.append(member)
                    if plain or not stat.S_ISDIR(there):
                        os.mkdir(name, 0o755, dir_fd=at)
                else:
                    _make(archive, member, name, at, folder)
                    if not member.issym():
                        _set(member, name, at, plain)
            finally:
                os.close(at)
    for member in reversed(folders):
        *above, name = parts(member.name)
        at = reach(os.dup(folder), above, make=False)
        try:
            _set(member, name, at, plain)
        finally:
            os.close(at)
    return left_out


@contextlib.contextmanager
def _readable(file: io.BytesIO) -> Iterator[tarfile.TarFile]:
    import tarfile

    try:
        with tarfile.open(fileobj=file) as archive:
            yield archive
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise ValueError(f"this is no archive of a folder: {error}") from None


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, at: int, folder: int) -> None:
    if member.isreg():
        content: Any = archive.extractfile(member)
        create(name, at, content.read())
    elif member.issym():
        os.symlink(member.linkname, name, dir_fd=at)
    elif member.isfifo():
        os.mkfifo(name, dir_fd=at)
    elif member.islnk():
        *above, same = parts(member.linkname)
        there = reach(os.dup(folder), above, make=False)
        try:
            os.link(same, name, src_dir_fd=there, dst_dir_fd=at, follow_symlinks=False)
        finally:
            os.close(there)


def _set(member: tarfile.TarInfo, name: str, at: int, plain: bool) -> None:
    """Mode and time; on a host without set-user-id and such, and never without the owner's rights."""
    mode = member.mode & 0o777 | 0o600 | (0o100 if member.isdir() else 0) if plain else member.mode
    os.chmod(name, mode, dir_fd=at)
    os.utime(name, (member.mtime, member.mtime), dir_fd=at, follow_symlinks=False)
