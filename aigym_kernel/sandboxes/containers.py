"""Boxes made by Docker: one container each, with the same runner (`inside`) as process 1.

`DockerSandbox().open(limits)` needs a daemon and the image ``aigym-sandbox``, of which it uses python3 and
bash (``aigym sandbox build``). The container has no network, a read-only root, no
capabilities and one CPU, and is removed when the box is closed or when this process ends. Python packages
in the image's ``/opt/packages`` are hidden from a box whose ``Limits.packages`` asks for none. Not here:
building images.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import docker.errors
import docker.types
import requests

import docker
from aigym_kernel.errors import SandboxError, SandboxFull
from aigym_kernel.executors import Ray
from aigym_kernel.sandboxes import inside
from aigym_kernel.sandboxes.gpus import Gpus, check, device_requests
from aigym_kernel.sandboxes.inside.run import ENVIRONMENT
from aigym_kernel.sandboxes.links import Link, hang_up, receive_exactly, send_all, wait_for
from aigym_kernel.sandboxes.mapping import Program, run_many
from aigym_kernel.sandboxes.owners import Owner
from aigym_kernel.sandboxes.protocol import Execution
from aigym_kernel.sandboxes.remote import RunnerBox, bytes_in_memory, cannot_open, no_room, settings
from aigym_kernel.tasks import Limits

IMAGE = "aigym-sandbox"
LABEL = "aigym-sandbox"
OWNER_LABEL = "aigym-sandbox.owner"
PACKAGES = "/opt/packages"  # where the Dockerfile puts Python packages
NOBODY = 65534
BUILD = "aigym sandbox build"
GONE_S = 10  # for a container to be gone whose runner has ended


class DockerSandbox:
    """A `Sandbox` of Docker containers, with GPUs where asked for (`gpus`)."""

    name = "docker"
    memory = "cgroup"

    def __init__(self, *, gpus: Gpus | None = None) -> None:
        self._gpus = check(gpus)

    def open(self, limits: Limits, files: Mapping[str, str | bytes] | None = None) -> RunnerBox:
        """See `Sandbox.open`."""
        box = self.box(self.start(limits), limits)
        if files:
            box.put(files)
        return box

    def start(self, limits: Limits, level: str = "") -> Link:
        """A new runner, which is about to say hello to `box`. ``level``: see `Pool`."""
        link = _start(limits, level, self._gpus)
        if limits.packages and (problem := _without(link.image, limits.packages)):
            link.close()
            raise SandboxError(problem)
        return link

    def box(self, link: Link, limits: Limits, end: Callable[[bool], str] | None = None) -> RunnerBox:
        """See `RunnerBox`, whose errors are put into Docker's words."""
        try:
            return RunnerBox(link, limits, end)
        except SandboxError as error:
            raise cannot_open(
                f"image {IMAGE!r} did not start its runner: {error}", f"Rebuild it: {BUILD}"
            ) from None

    def map(
        self, programs: Iterable[Program], *, workers: int | None = None, executor: Ray | None = None
    ) -> Iterator[Execution]:
        """See `Sandbox.map`."""
        return run_many(self, programs, workers, executor)


class _AttachedLink:
    """A container's attached standard streams. Docker cuts them into frames of its own: stream number,
    three zero bytes, length."""

    group = None  # the daemon's business

    def __init__(self, client: docker.DockerClient, container: Any, stream: Any) -> None:
        self._client = client
        self._name: str = container.name
        self.image: str = container.attrs["Image"]
        self._stream = stream  # keeps the HTTP response, and so the socket, alive
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._since = int(time.time())
        self._ready = bytearray()
        self._printed = bytearray()
        self._hung_up = False

    def send(self, data: bytes, deadline: float) -> None:
        send_all(self._socket, data, deadline)

    def wait(self, deadline: float) -> None:
        wait_for(self._socket, deadline)

    def receive(self, size: int, deadline: float) -> bytes:
        while len(self._ready) < size:
            stream, length = struct.unpack(">BxxxI", receive_exactly(self._socket, 8, deadline))
            target = self._ready if stream == 1 else self._printed
            target += receive_exactly(self._socket, length, deadline)
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def keep(self, name: str, archive: bytes) -> str:
        from aigym_kernel.sandboxes import images

        return images.keep(name, archive, self.image)

    def hang_up(self) -> None:
        self._hung_up = True
        hang_up(self._socket)

    def ended_for_memory(self) -> bool:
        if self._hung_up:
            return False
        # It comes after the end of the stream, on a busy machine seconds after; hardly after the container.
        for event, seconds in (["oom", "destroy"], GONE_S), (["oom"], 2):
            filters = {"container": self._name, "event": event}
            until = int(time.time()) + seconds
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                found = self._client.events(since=self._since, until=until, filters=filters, decode=True)
                if next(iter(found), {}).get("Action") == "oom":
                    return True
        return False

    def forget(self) -> None:
        os.close(self._socket.detach())  # whoever else refers to the socket object

    def close(self) -> str:
        self._socket.close()
        self._stream.close()
        _remove(self._client, self._name)
        return self._printed[-4000:].decode("utf-8", "replace")


def _start(limits: Limits, level: str, gpus: Gpus | None = None) -> _AttachedLink:
    name = f"aigym-{secrets.token_hex(8)}"
    client = connect()
    try:
        command = ["python3", *([] if level else ["-I", "-S"]), "-c", inside.BOOT]
        options = {**_options(limits, gpus), **_resident(limits, level)}
        container = client.containers.create(IMAGE, command, name=name, **options)
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container.start()
    except docker.errors.ImageNotFound:
        raise SandboxError(f"Docker has no image {IMAGE!r}. Build it: {BUILD}") from None
    except (docker.errors.DockerException, requests.RequestException) as error:
        _remove(client, name)  # it may be there, although the answer never came
        if gpus and "device" in str(error):
            raise SandboxError(
                f"gpus={gpus!r}: Docker has no such GPUs ({error}). Install NVIDIA's driver and its "
                "Container Toolkit and restart the daemon, or open the box without gpus"
            ) from None
        raise _refused(error) from None
    link = _AttachedLink(client, container, stream)
    # Without user namespaces of their own, all containers share nobody's RLIMIT_NPROC.
    with contextlib.suppress(OSError):  # who waits for its hello hears why it ended
        link.send(inside.source(settings(limits, level, nproc=0)), time.monotonic() + 30)
    return link


def _remove(client: docker.DockerClient, name: str) -> None:
    """Tried again where this process or the daemon has no room even for that: a container that never
    started does not remove itself."""
    for pause in (0.1, 0.5, 2.0, 5.0, None):
        try:
            client.api.remove_container(name, force=True, v=True)
        except docker.errors.APIError as error:
            if not no_room(str(error)):  # not there (any more): auto_remove may have been faster
                return
        except requests.ConnectionError as error:
            if not no_room(str(error)):  # no daemon, and so no container of it
                return
        except requests.RequestException:
            pass
        else:
            return
        if pause:
            time.sleep(pause)


def _options(limits: Limits, gpus: Gpus | None) -> dict[str, Any]:
    """The container's confinement, in the Docker SDK's words."""
    disk = f"exec,nosuid,nodev,size={limits.disk_mb}m,nr_inodes={2 * limits.files}"
    disk += f",uid={NOBODY},gid={NOBODY},mode=0755"
    return {
        "entrypoint": [],
        "hostname": "sandbox",
        "stdin_open": True,  # attached, not detached: the daemon closes it when this process is gone
        "auto_remove": True,
        "network_mode": "bridge" if limits.network else "none",
        "device_requests": device_requests(gpus) if gpus else None,
        "read_only": True,
        "cap_drop": ["ALL"],
        "nano_cpus": 10**9,
        "ipc_mode": "private",
        "shm_size": "4m",
        "tmpfs": {"/work": disk, "/tmp": disk, **({} if limits.packages else {PACKAGES: "ro,size=4k"})},
        "log_config": docker.types.LogConfig(type="none"),
        "ulimits": [docker.types.Ulimit(name="core", soft=1, hard=1)],
    }


@lru_cache(maxsize=32)
def _without(_image: str, packages: tuple[str, ...]) -> str:
    """Which of ``packages`` the image of that id does not have and what to do, or nothing. Asks in a box of
    its own, whose limits do not depend on the first one who wants to know."""
    with RunnerBox(_start(Limits(packages=packages), ""), Limits()) as box:
        done = box.run(["python3", "-I", "-c", _ABSENT, *packages])
    if done.status != "ok":
        raise SandboxError(
            f"cannot tell which Python packages image {IMAGE!r} has: {done.stderr}{done.detail}"
        )
    absent = ", ".join(done.stdout.split())
    return absent and (
        f"image {IMAGE!r} does not have the Python package {absent}. Install it in docker/Dockerfile, where "
        f"numpy and ipython are, and rebuild: {BUILD}"
    )


_ABSENT = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        version(name)
    except PackageNotFoundError:
        print(name)
"""


def _resident(limits: Limits, level: str) -> dict[str, Any]:
    """What differs where a resident makes namespaces for the runner: it is root, with the capabilities for
    that and for giving them up. Neither the runner nor a program has any."""
    memory = bytes_in_memory(limits, level)
    return {
        "user": "0:0" if level else f"{NOBODY}:{NOBODY}",
        "labels": {LABEL: "pool" if level else "box", OWNER_LABEL: str(Owner.this())},
        "cap_add": ["SYS_ADMIN", "NET_ADMIN", "SETPCAP", "SETUID", "SETGID"] if level else [],
        "security_opt": ["no-new-privileges", *(["apparmor=unconfined"] if level else [])],
        "environment": ENVIRONMENT if level else {},
        # Resident, maker, runner; and while no program runs, two that are about to become the next one.
        "pids_limit": max(limits.pids, 2) + 3 if level else limits.pids + 1,
        "mem_limit": memory,
        "memswap_limit": memory,
    }


def connect() -> docker.DockerClient:
    """This process's client of the daemon.

    Raises:
        SandboxError: no daemon answers.
    """
    try:
        return _client(os.getpid())
    except docker.errors.DockerException as error:
        raise _refused(error) from None


def image_id() -> str:
    """The id of the image that boxes are made of, which is a hash of its content.

    Raises:
        SandboxError: no daemon answers, or it has no such image.
    """
    try:
        return str(connect().images.get(IMAGE).id)
    except docker.errors.ImageNotFound:
        raise SandboxError(f"Docker has no image {IMAGE!r}. Build it: {BUILD}") from None
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise SandboxError(f"Docker does not tell about image {IMAGE!r}: {error}") from None


@lru_cache(maxsize=1)
def _client(_process: int) -> docker.DockerClient:
    """One client per process: a forked child must not share its parent's open connections."""
    client = docker.from_env(timeout=60)
    threading.Thread(target=_clean, args=(client,), daemon=True).start()
    return client


def _clean(client: docker.DockerClient) -> None:
    """Remove containers that a killed process made and did not start: those do not end by themselves."""
    with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
        for each in client.api.containers(all=True, filters={"label": OWNER_LABEL, "status": "created"}):
            owner = Owner.parse(each["Labels"][OWNER_LABEL])
            if owner and owner.gone:
                client.api.remove_container(each["Id"], force=True, v=True)


def _refused(error: Exception) -> SandboxError:
    if isinstance(error, requests.ReadTimeout):
        return SandboxFull(f"the Docker daemon is overloaded ({error}): run fewer boxes at a time")
    if "no space left" in str(error):
        return SandboxError(
            f"Docker's disk is full ({error}). Free some: aigym sandbox prune, docker system prune; "
            "on Linux AIGYM_SANDBOX=bwrap needs no disk"
        )
    if isinstance(error, docker.errors.APIError):
        return cannot_open(f"Docker cannot start a box from image {IMAGE!r}: {error}", f"Rebuild it: {BUILD}")
    return cannot_open(
        f"no Docker daemon answers ({error})",
        "Start it (systemctl start docker, or Docker Desktop), let this user reach its socket, or point "
        "DOCKER_HOST at it; on Linux AIGYM_SANDBOX=bwrap needs none",
    )
