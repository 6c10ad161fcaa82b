"""NVIDIA GPUs in a box: what ``BwrapSandbox(gpus=...)`` binds and ``DockerSandbox(gpus=...)`` requests.

``gpus`` is ``"all"``, a list of their numbers such as ``[0]``, or None for none of them. A box with GPUs has
no address-space limit (CUDA reserves more addresses than any machine has memory), and what a program
stores on the GPU is limited by nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from aigym_kernel.errors import SandboxError

Gpus = Literal["all"] | Sequence[int]

_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


def check(gpus: Gpus | None) -> Gpus | None:
    """``gpus`` itself.

    Raises:
        SandboxError: it is neither "all" nor a list of numbers.
    """
    numbers = not isinstance(gpus, str) and isinstance(gpus, Sequence) and len(gpus) > 0
    if gpus is None or gpus == "all" or (numbers and all(type(n) is int and n >= 0 for n in gpus)):
        return gpus
    raise SandboxError(f"gpus={gpus!r}: give 'all', a list of GPU numbers such as [0], or None")


def devices(gpus: Gpus, dev: Path = Path("/dev")) -> list[str]:
    """The device files that a box with ``gpus`` needs.

    Raises:
        SandboxError: this machine has no such GPU.
    """
    found = {int(path.name[6:]): path for path in dev.glob("nvidia[0-9]*") if path.name[6:].isdigit()}
    wanted = sorted(found) if gpus == "all" else list(gpus)
    if not found or not set(wanted) <= found.keys():
        have = f"only {', '.join(map(str, sorted(found)))}" if found else "none"
        raise SandboxError(
            f"gpus={gpus!r}: this machine has {have} of the device files {dev}/nvidia0, nvidia1, ...; "
            "install NVIDIA's driver and run nvidia-smi once, or open the box without gpus"
        )
    shared = [dev / name for name in _SHARED if (dev / name).exists()]
    return [str(path) for path in (*(found[n] for n in wanted), *shared)]


def library_folders() -> list[str]:
    """Folders outside /usr, which every box sees, in which the driver's libcuda.so.1 lies."""
    places = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), "/run/opengl-driver/lib"]
    found = {str(Path(at).resolve()) for at in places if at and Path(at, "libcuda.so.1").exists()}
    return sorted(at for at in found if not at.startswith("/usr/"))


def device_requests(gpus: Gpus) -> list[Any]:
    """The same in the Docker SDK's words."""
    from docker.types import DeviceRequest

    if gpus == "all":
        return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return [DeviceRequest(device_ids=list(map(str, gpus)), capabilities=[["gpu"]])]
