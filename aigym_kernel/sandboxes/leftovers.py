"""What boxes leave on a machine, and its removal; and the image of the Docker sandbox.

    leftovers()      containers, images and control groups of boxes, with who owns them
    prune()          removes those that no living process owns; returns them
    build(print)     makes the image from docker/Dockerfile, or from the copy in an installed package

A box ends and is removed with its process, even a killed one: a runner whose host is gone ends, and its
container or control group goes with it. What can stay is a container that was never started, a group whose
watcher was killed too, and images that a newer build replaced. Other processes' boxes are never touched.
A sandbox makes no folder on the host. Not here: snapshots, which belong to whoever made them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import docker.errors
import requests

import docker
from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes import cgroups
from aigym_kernel.sandboxes.containers import IMAGE, LABEL, OWNER_LABEL, connect
from aigym_kernel.sandboxes.owners import Owner
from aigym_kernel.settings import CHECKOUT

_FAILURES = (docker.errors.DockerException, requests.RequestException)


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One container, image or control group of boxes. ``owner``: the process, where one is known.
    ``abandoned``: nothing living owns or uses it."""

    kind: Literal["container", "image", "cgroup"]
    name: str
    state: str
    owner: str
    abandoned: bool


def leftovers() -> list[Leftover]:
    """Everything of boxes that is on this machine, in use or not. Without a Docker daemon, what can be known
    without one."""
    found = [
        Leftover(kind="cgroup", name=str(folder), state="", owner=str(owner), abandoned=owner.gone)
        for folder, owner in cgroups.groups()
    ]
    with contextlib.suppress(SandboxError):
        client = connect()
        found += [*_containers(client), *_images(client)]
    return found


def prune(*, images: bool = True) -> list[Leftover]:
    """Remove what is abandoned, ``images`` too or boxes alone; what was removed. A control group in which a
    process is stays."""
    removed = []
    for each in leftovers():
        if each.abandoned and (images or each.kind != "image") and _removed(each):
            removed.append(each)
    return removed


def _removed(each: Leftover) -> bool:
    try:
        if each.kind == "cgroup":
            Path(each.name).rmdir()
        elif each.kind == "container":
            connect().api.remove_container(each.name, force=True, v=True)
        else:
            connect().api.remove_image(each.name)
    except (OSError, *_FAILURES):  # it went meanwhile, or something uses it
        return False
    return True


def _containers(client: docker.DockerClient) -> list[Leftover]:
    found = []
    for each in client.api.containers(all=True, filters={"label": OWNER_LABEL}):
        owner = Owner.parse(each["Labels"].get(OWNER_LABEL, ""))
        found.append(
            Leftover(
                kind="container",
                name=each["Names"][0].lstrip("/") if each["Names"] else each["Id"],
                state=each["State"],
                owner=str(owner or ""),
                abandoned=owner is not None and owner.gone,
            )
        )
    return found


def _images(client: docker.DockerClient) -> list[Leftover]:
    """Those with a name stay: the sandbox's own, and snapshots."""
    found = []
    for each in client.api.images(filters={"label": LABEL}):
        names = [name for name in each["RepoTags"] or () if name != "<none>:<none>"]
        found.append(
            Leftover(
                kind="image",
                name=names[0] if names else each["Id"],
                state="" if names else "replaced by a newer one",
                owner="",
                abandoned=not names,
            )
        )
    return found


def build(told: Callable[[str], None], base: str | None = None) -> str:
    """Build the image `IMAGE`, on the image ``base`` if one is given; its id. ``told`` gets every line.

    Raises:
        SandboxError: no daemon, no Dockerfile, or the build failed.
    """
    client = connect()
    arguments = {"BASE": base} if base else {}
    identity, failed = "", ""
    try:
        for line in client.api.build(
            fileobj=io.BytesIO(_dockerfile().encode()),
            tag=IMAGE,
            buildargs=arguments,
            network_mode="host",  # packages are fetched from wherever this machine can fetch them
            rm=True,
            forcerm=True,
            decode=True,
        ):
            failed = line.get("error", failed)
            identity = line.get("aux", {}).get("ID", identity)
            if text := (line.get("stream") or line.get("status") or "").strip():
                told(text)
    except _FAILURES as error:
        failed = str(error)
    if failed or not identity:
        on = f" on {base!r}" if base else ""
        raise SandboxError(
            f"the image {IMAGE!r} did not build{on}: {failed.strip() or 'the daemon named no image'}. "
            "Without a registry, or for another system, name a Debian with python3 that Docker has: "
            "aigym sandbox build --base IMAGE"
        )
    return identity


def _dockerfile() -> str:
    for place in (CHECKOUT / "docker", Path(__file__).parent):
        if (place / "Dockerfile").is_file():
            return (place / "Dockerfile").read_text(encoding="utf-8")
    raise SandboxError(
        "this installation brings no Dockerfile. Take docker/Dockerfile from the project's source and run "
        f"docker build -t {IMAGE} FOLDER"
    )
