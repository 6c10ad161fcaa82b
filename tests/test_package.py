"""The public face: exports, what an import costs, and that all lists of packages agree."""

from __future__ import annotations

import ast
import importlib.metadata
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import aigym_kernel
from aigym_kernel.errors import UnknownName

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    requirement
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in group
    if Requirement(requirement).name != PROJECT["name"]
]


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def test_all_equals_what_is_exported() -> None:
    assert set(aigym_kernel.__all__) == {*aigym_kernel._HOME, "__version__"}
    assert sorted(aigym_kernel._HOME) == list(aigym_kernel._HOME)
    for name in aigym_kernel.__all__:
        assert getattr(aigym_kernel, name) is not None
    tree = ast.parse((ROOT / "aigym_kernel" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    } - {"magics", "show_runs_as_boards"}
    assert typed == set(aigym_kernel._HOME)


def test_functions_win_over_modules_of_the_same_name() -> None:
    import aigym_kernel.judge
    import aigym_kernel.tasks
    import aigym_kernel.train

    for name in ("doctor", "judge", "tasks", "train"):
        assert callable(getattr(aigym_kernel, name)), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = aigym_kernel.trian


def test_import_stays_light() -> None:
    code = "import sys; before = set(sys.modules); import aigym_kernel; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "docker",
        "IPython",
        "plotly",
        "numpy",
        "pandas",
        "gymnasium",
        "duckdb",
        "anywidget",
        "ray",
    }
    assert not heavy & {name.split(".")[0] for name in loaded.stdout.split()}


def test_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("aigym-kernel") == aigym_kernel.__version__ == PROJECT["version"]


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_the_lock_satisfies_the_project(requirement: str) -> None:
    wanted = Requirement(requirement)
    pinned = lock()[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(pinned, prereleases=True), f"{requirement} but locked {pinned}"


def test_the_lock_pins_what_was_tested() -> None:
    """Only versions that are installed here may stand in the lock."""
    for name, version in lock().items():
        installed = importlib.metadata.version(name).split("+")[0]
        assert installed == version, f"{name}: locked {version}, installed {installed}"


def test_the_lock_installs_on_the_oldest_python() -> None:
    oldest = next(iter(SpecifierSet(PROJECT["requires-python"]))).version + ".0"
    for name in lock():
        needed = importlib.metadata.metadata(name)["Requires-Python"] or ""
        assert SpecifierSet(needed).contains(oldest), f"{name} needs Python {needed}"


def test_a_pickled_error_arrives_whole() -> None:
    error = UnknownName("environment", "Snak", ["Snake"], "See aigym.tasks().")
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived)) == (UnknownName, str(error))


def test_conda_uses_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert f"python{PROJECT['requires-python']}" in conda
    assert pip["pip"] == ["-c requirements.lock", "-e .[test]"]


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for requirement in REQUIREMENTS:
        assert f"`{Requirement(requirement).name}`" in text, requirement
