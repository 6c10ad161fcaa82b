"""Where cells run on this machine: cores and GPUs of its own for each worker.

    places(budget, workers=2)       two Places, or a BenchError where the budget cannot be met

Cores are shared out only where all workers find enough of them, else every cell may use all. GPUs are named
as CUDA_VISIBLE_DEVICES names them. Nothing is pinned here; `keeper` does that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from aigym_kernel import slots
from aigym_kernel.bench.records import Budget
from aigym_kernel.errors import BenchError, check_whole


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the cells of one worker may use. ``cores`` empty: all; ``gpus`` None: whatever there is."""

    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] | None = None


def places(budget: Budget, workers: int | None, cells: int) -> list[Place]:
    """A place for each worker; ``workers`` None: as many as there are cores for, or GPUs where cells ask for
    some, and no more than ``cells``.

    Raises:
        BenchError: ``workers`` is no such number; a cell asks for more GPUs than there are, or the workers
            together do.
    """
    if workers is not None:
        check_whole("workers", workers, 1, 1024, BenchError)
    gpus, wanted = visible_gpus(), budget.gpus
    if wanted and wanted > len(gpus):
        there = f"has {len(gpus)}" if gpus else "has none"
        raise BenchError(
            f"each cell asks for {wanted} GPU{'s' * (wanted > 1)} (gpus={wanted}) and this machine {there}; "
            "ask for fewer, or run the bench where they are"
        )
    most = len(gpus) // wanted if wanted else None
    if workers is None:
        workers = max(1, min(most or slots.cores(), slots.cores() // budget.threads, max(1, cells)))
    elif most is not None and workers > most:
        raise BenchError(
            f"{workers} workers with {wanted} GPUs each (gpus={wanted}) need {workers * (wanted or 0)}, and "
            f"there are {len(gpus)}; take {most} workers"
        )
    each = range(workers)
    return [Place(cores=_cores(i, workers, budget), gpus=_gpus(i, workers, wanted, gpus)) for i in each]


def _cores(i: int, workers: int, budget: Budget) -> tuple[int, ...]:
    if not hasattr(os, "sched_getaffinity"):
        return ()
    there = sorted(os.sched_getaffinity(0))
    if workers * budget.threads > len(there):
        return ()
    return tuple(there[i * budget.threads : (i + 1) * budget.threads])


def _gpus(i: int, workers: int, wanted: int | None, gpus: list[str]) -> tuple[str, ...] | None:
    if wanted is not None:
        return tuple(gpus[i * wanted : (i + 1) * wanted])
    if not gpus:
        return None
    return tuple(gpus[i::workers]) or (gpus[i % len(gpus)],)


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that processes may use here, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    if not (command := shutil.which("nvidia-smi")):
        return []
    try:
        answer = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = sum(line.startswith("GPU ") for line in answer.stdout.splitlines())
    return [str(i) for i in range(found)] if answer.returncode == 0 else []
