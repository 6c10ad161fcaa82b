"""What works on this machine, and the command that brings what does not.

    doctor()            a Report: a table in a notebook, text in a terminal, ``to_dict()`` for scripts

Every line is found out by trying: a sandbox runs a program, the store's folder is written to.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aigym_kernel import rendering, sandboxes, settings
from aigym_kernel.errors import AigymError
from aigym_kernel.store import Store

#: The optional parts: extra, the package that shows it is there, what it brings.
EXTRAS = (
    ("judge", "sacrebleu", "more checks"),
    ("games", "minatar", "LunarLander, MinAtar, pictures of CartPole and its kind"),
    ("dashboard", "voila", "Voilà"),
    ("embeddings", "sentence-transformers", "a model of yours for aigym.similar"),
    ("inspect", "inspect-ai", ".eval logs"),
    ("minari", "minari", "Minari datasets"),
    ("onnx", "onnxscript", "Policy.export to ONNX"),
    ("pettingzoo", "pettingzoo", "environments of several agents"),
    ("ray", "ray", "programs and benches on a cluster"),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing: whether it works, what was found, and what brings it if it is missing."""

    name: str
    works: bool
    found: str
    bring: str = ""
    needed: bool = False


@dataclass(frozen=True)
class Report:
    """All findings. ``healthy`` when nothing that the workbench cannot do without is missing."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether every needed thing works."""
        return all(f.works or not f.needed for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"healthy": self.healthy, "findings": [asdict(f) for f in self.findings]}

    def __str__(self) -> str:
        lines = []
        for f in self.findings:
            lines.append(f"{'ok' if f.works else '--':3} {f.name:18} {f.found}")
            if not f.works and f.bring:
                lines.append(f"{'':22} {f.bring}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        def mark(f: Finding) -> rendering.Markup:
            colour = rendering.GOOD if f.works else rendering.BAD if f.needed else rendering.DULL
            return rendering.badge("works" if f.works else "missing", colour)

        rows = [[mark(f), f.name, f.found, "" if f.works else f.bring] for f in self.findings]
        return rendering.table(["", "part", "found", "how to get it"], rows)


def doctor() -> Report:
    """Try every part of the workbench on this machine; takes a few seconds, changes nothing."""
    return Report((_python(), *_devices(), *_sandboxes(), _store(), _tasks(), *_programs()))


def _python() -> Finding:
    return Finding(
        name="python",
        works=sys.version_info >= (3, 11),
        found=f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs",
        bring="install Python 3.11 or newer",
        needed=True,
    )


def _devices() -> list[Finding]:
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    problem, uses = "", "no usable device"
    try:
        uses = f"uses {settings.device()}"
    except AigymError as error:
        problem = str(error)
    gpu = ", ".join(names) or ("Apple GPU (mps)" if mps else "none; trainings run on the CPU")
    return [
        Finding(
            name="torch", works=not problem, found=f"{torch.__version__}, {uses}", bring=problem, needed=True
        ),
        Finding(
            name="GPU",
            works=cuda or mps,
            found=gpu,
            bring="on a machine with a GPU: install its driver and a torch build for it",
        ),
    ]


def _sandboxes() -> list[Finding]:
    findings = []
    chosen = os.environ.get("AIGYM_SANDBOX") or "bwrap"
    if chosen not in settings.SANDBOXES:
        bring = f"set AIGYM_SANDBOX to one of {', '.join(settings.SANDBOXES)}, or unset it"
        findings.append(
            Finding(
                name="AIGYM_SANDBOX", works=False, found=f"{chosen!r} is no sandbox", bring=bring, needed=True
            )
        )
    # A pool works where what it stands on does.
    for name in (n for n in settings.SANDBOXES if n == chosen or not n.startswith("pool")):
        problem = sandboxes.check(name)
        found = "does not run"
        if problem is None:
            sandbox = sandboxes.open_sandbox(name)
            found = f"runs {', '.join(sandboxes.languages_in(sandbox))}; memory limited by {sandbox.memory}"
        usual = name == chosen
        findings.append(
            Finding(
                name=f"sandbox {name}",
                works=problem is None,
                found=found,
                bring=problem or "",
                needed=usual,
            )
        )
    return findings


def _store() -> Finding:
    store = Store()
    folder = store.folder
    while not os.access(folder, os.F_OK):
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
        works = True
    except OSError:
        works = False
    free = shutil.disk_usage(folder).free / 2**30
    return Finding(
        name="store",
        works=works,
        found=f"{store.folder} ({free:.0f} GiB free)",
        bring="set AIGYM_DATA to a folder that you may write to, on a disk with space",
        needed=True,
    )


def _tasks() -> Finding:
    from aigym_kernel.tasks import task_ids

    ids = task_ids()
    return Finding(
        name="tasks",
        works=bool(ids),
        found=f"{len(ids)} in {settings.tasks_dir()}",
        bring="set AIGYM_TASKS to a folder of tasks, or work in a checkout",
    )


def _programs() -> list[Finding]:
    """What only some things need: some checks of the judge, a cluster, tests of the widgets."""
    wanted: list[tuple[str, Callable[[], str | None], str]] = [
        ("jupyterlab", lambda: _version("jupyterlab"), "pip install jupyterlab"),
        *(_extra(*row) for row in EXTRAS),
        ("test extra", lambda: _version("pytest"), "make install"),
        ("node", lambda: shutil.which("node"), "install Node.js 20 or newer (tests of the widgets)"),
        ("chromium", chromium, "install Chromium (tests in a browser): apt-get install chromium"),
    ]
    return [
        Finding(name=name, works=bool(found := look()), found=found or "not found", bring=bring)
        for name, look, bring in wanted
    ]


def _extra(extra: str, package: str, brings: str) -> tuple[str, Callable[[], str | None], str]:
    return f"{extra} extra", lambda: _version(package), f"pip install 'aigym-kernel[{extra}]' ({brings})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def chromium() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    return found or (str(mac) if mac.exists() else None)
