"""Where things are and which device computes: environment variables, paths, device choice.

    AIGYM_DATA      folder of the store          default: data/ in the checkout, without one ./data
    AIGYM_TASKS     folder of the tasks          default: tasks/ in the checkout, without one ./tasks
    AIGYM_SANDBOX   one of SANDBOXES             default: bwrap
    AIGYM_LLM_URL   a chat endpoint of the OpenAI kind, such as http://localhost:8000/v1     no default
    AIGYM_LLM_MODEL the name of the model there  no default
    AIGYM_LLM_KEY   its key                      default: none is sent
    AIGYM_STEP_LIMIT_S   seconds that one call of an environment in a process may take   default: 120
    FORCE_DEVICE    cpu, cuda, cuda:1, mps       wins over every argument

Nothing here is cached: a changed variable counts from the next call on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aigym_kernel.errors import AigymError, UnknownName

if TYPE_CHECKING:
    import torch

CHECKOUT = Path(__file__).resolve().parent.parent
SANDBOXES = ("bwrap", "docker", "pool", "pool-bwrap", "pool-docker")


def _folder(variable: str, name: str) -> Path:
    if value := os.environ.get(variable):
        return Path(value).expanduser().resolve()
    return (CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()) / name


def data_dir() -> Path:
    """The folder of the store. It need not exist yet."""
    return _folder("AIGYM_DATA", "data")


def tasks_dir() -> Path:
    """The folder whose sub-folders are tasks. It need not exist."""
    return _folder("AIGYM_TASKS", "tasks")


def task_ids() -> list[str]:
    """The ids of all tasks, sorted: the names of folders that hold a task.yaml. None in a folder that this
    user may not read."""
    try:
        return sorted(p.parent.name for p in tasks_dir().glob("*/task.yaml"))
    except OSError:
        return []


def sandbox_name(name: str | None = None) -> str:
    """The sandbox to use: the argument, else ``AIGYM_SANDBOX``, else ``bwrap``.

    Raises:
        UnknownName: the name is none of `SANDBOXES`.
    """
    chosen = name or os.environ.get("AIGYM_SANDBOX") or "bwrap"
    if chosen not in SANDBOXES:
        raise UnknownName("sandbox", chosen, SANDBOXES)
    return chosen


def llm() -> tuple[str, str, str] | None:
    """Address, model and key of the language model that grades; None unless address and model are set."""
    url, model, key = (os.environ.get(f"AIGYM_LLM_{name}", "") for name in ("URL", "MODEL", "KEY"))
    return (url.rstrip("/"), model, key) if url and model else None


def step_limit_s() -> float:
    """How long one call of an environment that runs in a process of its own may take, in seconds.

    Raises:
        AigymError: ``AIGYM_STEP_LIMIT_S`` is no number above 0.
    """
    value = os.environ.get("AIGYM_STEP_LIMIT_S") or "120"
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise AigymError(f"AIGYM_STEP_LIMIT_S={value!r} must be a number of seconds above 0, such as 120")
    return seconds


def device(name: str | None = None) -> torch.device:
    """The torch device to compute on: ``FORCE_DEVICE``, else the argument, else MPS, CUDA, CPU.

    Raises:
        AigymError: the device is not a device, or this machine has none of its kind.
    """
    import torch

    forced = os.environ.get("FORCE_DEVICE")
    chosen = forced or name
    if chosen is None or chosen == "auto":
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = "FORCE_DEVICE" if forced else "device"
    try:
        found = torch.device(chosen)
    except RuntimeError:
        raise AigymError(f"{source}={chosen!r} is no device; use cpu, cuda, cuda:1 or mps") from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(found.type, False):
        raise AigymError(
            f"{source}={chosen!r}: this machine has no such device; use 'cpu', or see aigym.doctor()"
        )
    return found
