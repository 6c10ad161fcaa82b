"""What this machine computes with, how much of it is in use, and what to do when memory runs out.

    devices()                       a table of the devices: memory, which one is chosen and why
    Meter().read()                  {"cpu_percent": ..., "rss_mb": ...} every two seconds, else {}
    out_of_memory(problem, config)  one clear TrainingError with numbers and advice

Which device is used is decided by `settings.device`; nothing here changes that.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from aigym_kernel import provenance, rendering, settings, slots
from aigym_kernel.errors import AigymError, TrainingError

METER_S = 2.0
_MB = 2**20


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device: ``name`` as torch has it, ``memory_total`` and ``memory_free`` in bytes (None where it
    does not tell), ``capability`` the compute capability of an NVIDIA GPU."""

    name: str
    model: str
    memory_total: int | None
    memory_free: int | None
    capability: str | None = None


@dataclass(frozen=True, kw_only=True)
class Devices:
    """All devices. ``chosen``: the name of the one that a training uses unless told otherwise; empty where
    ``FORCE_DEVICE`` names one that is not here. ``why``: in a sentence."""

    found: tuple[Device, ...]
    chosen: str
    why: str

    def __iter__(self) -> Iterator[Device]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def _rows(self) -> list[list[str]]:
        return [
            [
                "->" if d.name == self.chosen else "",
                d.name,
                d.model,
                "" if d.memory_total is None else _size(d.memory_total),
                "" if d.memory_free is None else _size(d.memory_free),
                d.capability or "",
            ]
            for d in self.found
        ]

    def __repr__(self) -> str:
        return "\n".join([*rendering.lines([["", *_COLUMNS], *self._rows()]), self.why])

    def _repr_html_(self) -> str:
        rows: list[list[object]] = [
            [rendering.badge("used", rendering.GOOD) if mark else "", *rest] for mark, *rest in self._rows()
        ]
        return rendering.table(["", *_COLUMNS], rows, self.why)


_COLUMNS = ("device", "model", "memory", "free", "compute capability")


def devices() -> Devices:
    """What torch can compute on here, with the one that is used and why: ``FORCE_DEVICE`` over the argument
    ``device`` over MPS over CUDA over CPU."""
    import torch

    memory = psutil.virtual_memory()
    found = [
        Device(
            name="cpu",
            model=f"{provenance.cpu()}, {slots.cores()} cores",
            memory_total=memory.total,
            memory_free=memory.available,
        )
    ]
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        free = None
        with suppress(RuntimeError):  # to ask takes some of it: a GPU that is full refuses
            free = torch.cuda.mem_get_info(i)[0]
        capability = f"{properties.major}.{properties.minor}"
        found.append(
            Device(
                name=f"cuda:{i}",
                model=properties.name,
                memory_total=properties.total_memory,
                memory_free=free,
                capability=capability,
            )
        )
    if torch.backends.mps.is_available():
        # One memory for both: what a Mac's GPU may take of it is its own recommendation.
        total = torch.mps.recommended_max_memory()
        used = torch.mps.driver_allocated_memory()
        found.append(Device(name="mps", model="Apple GPU", memory_total=total, memory_free=total - used))
    forced = os.environ.get("FORCE_DEVICE")
    try:
        used_device = settings.device()
    except AigymError as problem:
        return Devices(found=tuple(found), chosen="", why=str(problem))
    name = f"cuda:{used_device.index or 0}" if used_device.type == "cuda" else used_device.type
    if forced:
        why = f"FORCE_DEVICE={forced} is set and wins over every argument: {name} is used"
    else:
        ranked = {"mps": "MPS comes before CUDA and CPU", "cuda": "CUDA comes before CPU"}
        reason = ranked.get(used_device.type, "there is no GPU that torch can use")
        why = f"{name} is used: FORCE_DEVICE is not set, and {reason}; device=... chooses another"
    return Devices(found=tuple(found), chosen=name, why=why)


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / _MB:,.0f} MiB"


def share(device: str | None) -> tuple[str, int]:
    """The kind of device that a training on ``device`` computes on (``cpu``, ``cuda``, ``cuda:1``, ``mps``),
    and how many GPUs it may be given one of: 0 where it is named already, or is none."""
    import torch

    found = settings.device(device)
    kind = str(found)
    return kind, torch.cuda.device_count() if kind == "cuda" else 0


def use_threads(count: int) -> int:
    """Let torch compute on so many threads in this process, unless ``OMP_NUM_THREADS`` says how many; returns
    how many they are. Small networks use one in any case: see `train.networks.one_thread`."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(count)
    return torch.get_num_threads()


class Meter:
    """How much this process uses, at most every ``every_s`` seconds."""

    def __init__(self, every_s: float = METER_S) -> None:
        self._every_s = every_s
        self._process = psutil.Process()
        self._process.cpu_percent()  # The first call only starts the clock.
        self._due = time.monotonic() + every_s
        self._has_percent = True

    def read(self, device: str = "cpu") -> dict[str, float]:
        """``cpu_percent`` (100 is one core) since the last reading and ``rss_mb``; on CUDA also
        ``gpu_memory_mb``, what torch holds of it, and ``gpu_percent`` where pynvml is installed. Empty when
        the last reading is less than that ago."""
        now = time.monotonic()
        if now < self._due:
            return {}
        self._due = now + self._every_s
        read = {
            "cpu_percent": self._process.cpu_percent(),
            "rss_mb": self._process.memory_info().rss / _MB,
        }
        if device.startswith("cuda"):
            import torch

            read["gpu_memory_mb"] = torch.cuda.memory_reserved(device) / _MB
            if self._has_percent:
                try:
                    read["gpu_percent"] = float(torch.cuda.utilization(device))
                except Exception:  # pynvml is missing, or the driver does not tell: whatever it raises
                    self._has_percent = False
        return read


_FULL = re.compile(r"out of memory|can.t allocate memory|not enough memory|_ALLOC_FAILED", re.IGNORECASE)
_NEEDED = re.compile(r"(?:[Tt]ried|[Uu]nable) to allocate ([\d.]+) ?([KMGTPE]i?B|[Bb]ytes)")
_WAYS_OUT = {
    "buffer_size": "a smaller",
    "n_envs": "a smaller",
    "n_steps": "a smaller",
    "batch_size": "a smaller",
    "n_minibatches": "a larger",
    "network": "a smaller",
}


def out_of_memory(problem: BaseException, config: Any, device: str = "cpu") -> TrainingError | None:
    """What to tell somebody whose training ran out of memory: how much was asked for, how much is free, and
    which fields of ``config`` need less. None if ``problem`` is something else."""
    import torch

    full = isinstance(problem, RuntimeError) and _FULL.search(str(problem))
    if not (full or isinstance(problem, MemoryError | torch.OutOfMemoryError)):
        return None
    needed = _NEEDED.search(str(problem))
    asked = "more memory than there is"
    if needed:
        unit = needed[2].lower()
        asked = _size(float(needed[1])) if unit == "bytes" else f"{needed[1]} {needed[2]}"
        asked = f"{asked} more"
    memory = psutil.virtual_memory()
    left = f"{_size(memory.available)} of {_size(memory.total)} on this machine are free"
    if device.startswith("cuda"):
        left = f"{device} is full"
        with suppress(RuntimeError):  # where nothing at all is left, asking fails too
            free, total = torch.cuda.mem_get_info(device)
            name = torch.cuda.get_device_name(device)
            left = f"{_size(free)} of {_size(total)} on {device} ({name}) are free"
    ways = [f"{how} {f} (now {getattr(config, f)})" for f, how in _WAYS_OUT.items() if hasattr(config, f)]
    return TrainingError(
        f"out of memory: {asked} was needed, {left}; take "
        f"{', '.join(ways[:-1])} or {ways[-1]}, or end what else uses it"
    )
