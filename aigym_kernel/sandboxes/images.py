"""Snapshots as Docker images: ``aigym-snapshot:<name>``, the box's image with ``/work.tar`` in it.

`keep`, `load`, `names` and `remove` are what `folders` uses. The archive stays one file in the image, so
that the daemon, which is root, unpacks nothing that a program made. Not here: running containers.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import docker.errors
import requests

from aigym_kernel.errors import SandboxError, UnknownName
from aigym_kernel.sandboxes.containers import LABEL, OWNER_LABEL, connect
from aigym_kernel.sandboxes.folders import taken
from aigym_kernel.sandboxes.owners import Owner

REPOSITORY = "aigym-snapshot"
_PATH = "/work.tar"


def keep(name: str, archive: bytes, image: str) -> str:
    """Make the image; its name. Raises SandboxError."""
    if name in names():
        raise taken(name)
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w") as tar:
        member = tarfile.TarInfo(_PATH.lstrip("/"))
        member.size, member.mode = len(archive), 0o444
        tar.addfile(member, io.BytesIO(archive))
    with _never_started(image) as container:
        container.put_archive("/", outer.getvalue())
        container.commit(REPOSITORY, name, changes=f"LABEL {LABEL}=snapshot {OWNER_LABEL}=")
    return f"{REPOSITORY}:{name}"


def load(name: str) -> bytes:
    """The archive in an image.

    Raises:
        UnknownName: there is no such image.
        SandboxError: no daemon answers.
    """
    try:
        with _never_started(f"{REPOSITORY}:{name}") as container:
            outer = b"".join(container.get_archive(_PATH)[0])
    except docker.errors.NotFound:
        raise UnknownName("snapshot", name, names()) from None
    with tarfile.open(fileobj=io.BytesIO(outer)) as tar:
        inner: Any = tar.extractfile(_PATH.lstrip("/"))
        return bytes(inner.read())


def names() -> list[str]:
    """The snapshots that the daemon has. Raises SandboxError."""
    with _daemon():
        found = connect().api.images(REPOSITORY)
    tags = [tag for image in found for tag in image["RepoTags"] or ()]
    return sorted(tag.removeprefix(f"{REPOSITORY}:") for tag in tags)


def remove(name: str) -> None:
    """Remove an image. Raises SandboxError."""
    with _daemon():
        connect().api.remove_image(f"{REPOSITORY}:{name}")


@contextlib.contextmanager
def _never_started(image: str) -> Iterator[Any]:
    """A container that is only there to put a file in or take one out."""
    labels = {LABEL: "copy", OWNER_LABEL: str(Owner.this())}
    with _daemon():
        container = connect().containers.create(image, ["true"], network_mode="none", labels=labels)
        try:
            yield container
        finally:
            container.remove(force=True, v=True)


@contextlib.contextmanager
def _daemon() -> Iterator[None]:
    try:
        yield
    except docker.errors.NotFound:
        raise
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise SandboxError(f"Docker cannot keep or fetch the snapshot: {error}") from None
