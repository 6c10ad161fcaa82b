"""Imports go strictly downward: this table is the architecture, and every module has its place in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import aigym_kernel

PACKAGE = Path(aigym_kernel.__file__).parent

LAYERS = [
    {"alignment", "errors", "intervals", "pictures", "rendering"},
    {"contrasts", "documents", "executors", "printing", "reported", "settings", "trajectories"},
    {"batches", "exchange", "rollouts", "scores", "tasks"},
    {"store"},
    {"alerts", "differences", "formats", "grouping", "sandboxes", "search"},
    {"comparison", "judge", "tools"},
    {"agents", "envs"},
    {"provenance", "train"},
    {
        "carried",
        "control",
        "doctor",
        "keeping",
        "live",
        "pages",
        "parameters",
        "recording",
        "slots",
        "watchdog",
    },
    {"devices", "engine", "options", "progress"},
    {"loop", "starting", "trained"},
    {"handles", "worker"},
    {"runs"},
    {"dashboard", "notebooks", "overview", "replays"},
    {"bench"},
    {"cli", "widgets"},
    {"magics"},
    {"__init__"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# What only some layers may import.
ONLY_IN = {
    "torch": {"settings", "train", "agents", "devices", "doctor", "envs", "live"},
    "docker": {"sandboxes"},
    "IPython": {"magics", "reported", "sandboxes", "widgets"},
    "anywidget": {"widgets"},
    "ipywidgets": {"widgets"},
    "papermill": {"engine"},
    "duckdb": {"store"},
    "ray": {"executors"},
}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> set[str]:
    """Absolute names of everything that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; write the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_strictly_downward(path: Path) -> None:
    source = module_of(path)
    assert source in LEVEL, f"{source} has no layer; add it to LAYERS and to docs/architecture.md"
    if source == "__init__":
        return
    for name in imports(path):
        if not name.startswith("aigym_kernel."):
            continue
        target = name.split(".")[1]
        assert target in LEVEL, f"{path.name} imports {name}: not a module of ours"
        if target == source:
            continue
        assert LEVEL[target] < LEVEL[source], f"{source} (layer {LEVEL[source]}) imports {target}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_special_packages_stay_where_they_belong(path: Path) -> None:
    source = module_of(path)
    for name in imports(path):
        top = name.split(".")[0]
        assert source in ONLY_IN.get(top, {source}), f"{source} may not import {top}"


def test_inside_the_package_a_module_is_imported_by_its_full_name() -> None:
    """``from aigym_kernel import train`` gives the function; see `aigym_kernel._Package`."""
    functions = set(aigym_kernel.__all__)
    for path in FILES:
        if module_of(path) == "__init__":
            continue
        clash = {n for n in imports(path) if n.removeprefix("aigym_kernel.") in functions}
        assert not clash, f"{path.name}: {clash}"


def test_no_file_outgrows_a_reader() -> None:
    sizes = {p.relative_to(PACKAGE).as_posix(): len(p.read_text("utf-8").splitlines()) for p in FILES}
    assert not {name: n for name, n in sizes.items() if n > 420}
