"""Folders between host and boxes: uploads, downloads, and snapshots, which are kept under a name.

    box.commit("prepared")                              # with bwrap a folder, with Docker an image
    with open_snapshot("prepared", Limits()) as box:    # another box with the same /work
    snapshots(); remove_snapshot("prepared")

A snapshot is ``/work`` as one tar archive: files with modes and times, links, pipes, empty folders. It holds
no process and nothing of ``/tmp``. It is one file to whoever keeps it: nobody who looks at a snapshot follows
a link of it. bwrap keeps it in ``snapshots/<name>`` of `settings.data_dir`, Docker as ``/work.tar`` in the
image ``aigym-snapshot:<name>``, made on the box's own; a pool as what it stands on.
Not here: the archive's format (`inside.archives`), images (`images`).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from aigym_kernel.errors import SandboxError, UnknownName
from aigym_kernel.sandboxes.inside import archives
from aigym_kernel.settings import data_dir
from aigym_kernel.tasks import Limits

if TYPE_CHECKING:
    from aigym_kernel.sandboxes.protocol import Sandbox
    from aigym_kernel.sandboxes.remote import RunnerBox

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_ARCHIVE = "work.tar"
_HERE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_snapshot(
    name: str, limits: Limits | None = None, *, sandbox: Sandbox | str | None = None
) -> RunnerBox:
    """A new box whose ``/work`` is as it was in the one that `Box.commit` was called on.

    Raises:
        UnknownName: there is no such snapshot or sandbox.
        SandboxError: no box can be opened, or it is smaller than what it is to hold.
    """
    from aigym_kernel.sandboxes import open_sandbox

    chosen = open_sandbox(sandbox)
    if _in_docker(chosen):
        from aigym_kernel.sandboxes import images

        archive = images.load(check_name(name))
    else:
        try:
            archive = (_folder() / check_name(name) / _ARCHIVE).read_bytes()
        except OSError:
            raise UnknownName("snapshot", name, snapshots(chosen)) from None
    box = chosen.open(Limits() if limits is None else limits)
    try:
        box.unpack(archive)  # type: ignore[attr-defined]
    except BaseException:
        box.close()
        raise
    return box  # type: ignore[return-value]


def snapshots(sandbox: Sandbox | str | None = None) -> list[str]:
    """The names of all that are kept.

    Raises:
        UnknownName: there is no such sandbox.
        SandboxError: no Docker daemon answers.
    """
    if _in_docker(sandbox):
        from aigym_kernel.sandboxes import images

        return images.names()
    return sorted(path.parent.name for path in _folder().glob(f"*/{_ARCHIVE}"))


def remove_snapshot(name: str, sandbox: Sandbox | str | None = None) -> None:
    """Forget a snapshot.

    Raises:
        UnknownName: there is none of that name, or no such sandbox.
        SandboxError: no Docker daemon answers.
    """
    if check_name(name) not in (known := snapshots(sandbox)):
        raise UnknownName("snapshot", name, known)
    if _in_docker(sandbox):
        from aigym_kernel.sandboxes import images

        images.remove(name)
    else:
        shutil.rmtree(_folder() / name)


def check_name(name: str) -> str:
    """The name. Raises SandboxError where it can be none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SandboxError(
            f"snapshot {name!r}: a name is of up to 100 small letters, digits, '.', '_' and '-', and begins "
            "with a letter or a digit"
        )
    return name


def keep_folder(name: str, archive: bytes) -> str:
    """Keep a snapshot as a folder; its path. Raises SandboxError."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
        Path(new, _ARCHIVE).write_bytes(archive)
        try:
            Path(new).rename(folder / name)
        except OSError:
            raise taken(name) from None
        Path(new).mkdir()  # which is what gets removed
    (folder / name).chmod(0o755)
    return str(folder / name)


def taken(name: str) -> SandboxError:
    """The error for a name that a snapshot has already."""
    return SandboxError(
        f"there is a snapshot {name!r} already: choose another name, or remove_snapshot({name!r}) first"
    )


def _folder() -> Path:
    return data_dir() / "snapshots"


def _in_docker(sandbox: Sandbox | str | None) -> bool:
    from aigym_kernel.sandboxes import open_sandbox

    return open_sandbox(sandbox).name.endswith("docker")


def packed(source: str | Path, limits: Limits) -> bytes:
    """A file or folder of the host as an archive for a box. Raises SandboxError."""
    path = Path(source)
    try:
        if path.is_dir():
            here = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                archive = archives.pack(here, limits.disk_mb << 20, mine=False)
            finally:
                os.close(here)
            _check_links(archive, path)
            return archive
        if not stat.S_ISREG(path.stat().st_mode):
            raise SandboxError(f"{path} is neither a regular file nor a folder")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy2(path, folder)
            return packed(folder, limits)
    except (OSError, ValueError) as error:
        raise SandboxError(f"cannot upload {path}: {error}") from None


def _check_links(archive: bytes, source: Path) -> None:
    """A link that leads out of the folder would be one to another file in the box than here."""
    import io

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.issym():
                target = os.path.normpath(PurePosixPath(member.name).parent / member.linkname)
                if target.startswith("/") or target.split("/")[0] == "..":
                    raise SandboxError(
                        f"cannot upload {source / member.name}: it is a link to {member.linkname}, which is "
                        f"outside of {source}; copy what it leads to, or leave it out"
                    )


def unpack_here(archive: bytes, to: str | Path) -> int:
    """Folders and regular files of a box, into an empty folder of the host; how many others there were.

    Raises:
        SandboxError: the folder holds something, or cannot be written to.
    """
    path = Path(to)
    try:
        path.mkdir(parents=True, exist_ok=True)
        here = os.open(path, _HERE)
        try:
            if any(path.iterdir()):
                raise SandboxError(f"cannot download to {path}: it holds something; name a new folder")
            return archives.unpack(archive, here, plain=True)
        finally:
            os.close(here)
    except (OSError, ValueError) as error:
        raise SandboxError(f"cannot download to {path}: {error}") from None
