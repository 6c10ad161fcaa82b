"""Installed packages in a box: those that were asked for, what they require, and nothing else."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import missing

from aigym_kernel.errors import SandboxError, TaskError
from aigym_kernel.sandboxes import Limits, Sandbox, check, execute, open_sandbox
from aigym_kernel.sandboxes.packages import paths

NUMPY = Limits(packages=("numpy",), wall_s=60)
IMPORTS = """
import subprocess, sys
for name in ('numpy', 'traitlets', 'pytest'):
    try:
        __import__(name)
        print('has', name)
    except ImportError:
        print('lacks', name)
code = 'import numpy; print(numpy.arange(4).sum())'
print(subprocess.run(['python3', '-I', '-c', code], capture_output=True, text=True).stdout)
"""


@pytest.fixture(scope="module", params=["bwrap", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "bwrap" and sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    if problem := check(request.param):
        missing(f"{request.param}: {problem}")
    return open_sandbox(request.param)


def test_without_asking_there_is_only_the_standard_library(sandbox: Sandbox) -> None:
    done = execute(IMPORTS, sandbox=sandbox)
    assert done.stdout == "lacks numpy\nlacks traitlets\nlacks pytest\n\n"
    hidden = "import importlib.metadata as m; print([d.metadata['Name'] for d in m.distributions()])"
    assert execute(hidden, sandbox=sandbox).stdout == "[]\n"


def test_what_was_asked_for_is_found_with_and_without_isolated_mode(sandbox: Sandbox) -> None:
    done = execute(IMPORTS, limits=NUMPY, sandbox=sandbox)
    assert done.stdout.startswith("has numpy\n"), done.stderr
    assert done.stdout.endswith("\n6\n\n")


def test_numpy_starts_no_threads_of_its_own(sandbox: Sandbox) -> None:
    """One per processor would end it where there are more of them than processes allowed."""
    code = "import numpy; a = numpy.ones((300, 300)); print((a @ a).sum())"
    done = execute(code, limits=Limits(packages=("numpy",), pids=1, wall_s=60), sandbox=sandbox)
    assert (done.status, done.stdout) == ("ok", "27000000.0\n"), done.stderr


def test_what_it_requires_comes_with_it(sandbox: Sandbox) -> None:
    code = "from IPython.core.interactiveshell import InteractiveShell\nprint(InteractiveShell.__name__)"
    done = execute(code, limits=Limits(packages=("ipython",), wall_s=60), sandbox=sandbox)
    assert done.stdout == "InteractiveShell\n", done.stderr


def test_a_package_cannot_be_changed(sandbox: Sandbox) -> None:
    code = """
import numpy, os
at = os.path.dirname(numpy.__file__)
for path in (numpy.__file__, at + '/new.py', at + '/../new.py'):
    try:
        open(path, 'a')
        print('wrote', path)
    except OSError:
        pass
"""
    done = execute(code, limits=NUMPY, sandbox=sandbox)
    assert (done.status, done.stdout) == ("ok", ""), done.stderr


def test_an_unknown_package_is_a_clear_error(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match=r"'?no-such-package'?.*(pip install|sandbox build)"):
        sandbox.open(Limits(packages=("no-such-package",)))


def test_bwrap_shows_no_other_package_of_the_environment() -> None:
    if sys.platform != "linux" or check("bwrap"):
        missing("bwrap")
    code = """
import importlib.metadata as m, os, sys
print(sorted(d.metadata['Name'].lower() for d in m.distributions()))
print([at for at in os.listdir(sys.path[-1]) if 'numpy' not in at])
print(m.version('numpy'))
"""
    done = execute(code, limits=NUMPY, sandbox="bwrap")
    assert done.stdout == f"['numpy']\n[]\n{version('numpy')}\n", done.stderr


def test_a_box_may_be_asked_for_several() -> None:
    found = paths(("numpy", "Traitlets"))
    assert {"numpy", "traitlets"} <= found.keys()
    assert all((root / path).exists() for path, root in found.items())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with three distributions: two share a namespace, one of those requires a third."""
    site = tmp_path / "site-packages"
    _distribution(
        site,
        "ns-a",
        {"ns/a.py": "", "ns/deep/only_a.py": "", "a.pth": ""},
        'Requires-Dist: one; extra == "x"',
    )
    _distribution(
        site, "ns-b", {"ns/b.py": ""}, "Requires-Dist: one", "Requires-Dist: gone; python_version < '3'"
    )
    _distribution(site, "one", {"one.py": "", "../../bin/one": ""})
    monkeypatch.syspath_prepend(site)
    return site


def _distribution(site: Path, name: str, files: dict[str, str], *lines: str) -> None:
    info = f"{name.replace('-', '_')}-1.dist-info"
    files = {**files, f"{info}/METADATA": "\n".join([f"Name: {name}", "Version: 1", *lines, ""])}
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (site / info / "RECORD").write_text("".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))


def test_a_shared_namespace_is_shown_in_parts(site: Path) -> None:
    assert paths(("ns_a",)).keys() == {"ns/a.py", "ns/deep", "a.pth", "ns_a-1.dist-info"}
    assert paths(("NS.B",)).keys() == {"ns/b.py", "ns_b-1.dist-info", "one.py", "one-1.dist-info"}
    assert "ns" in paths(("ns-a", "ns-b"))
    (site / "ns" / "left_by_somebody.py").touch()
    assert "ns" not in paths(("ns-a", "ns-b", "one"))


def test_a_box_sees_its_part_of_a_namespace(site: Path) -> None:
    if sys.platform != "linux" or check("bwrap"):
        missing("bwrap")
    code = "import os, ns.a, ns.deep.only_a; print(sorted(os.listdir(ns.__path__[0])))"
    done = execute(code, limits=Limits(packages=("ns-a",)), sandbox="bwrap")
    assert done.stdout == "['a.py', 'deep']\n", done.stderr


def test_paths_of_this_machine_are_not_shown(site: Path) -> None:
    info = site / "one-1.dist-info"
    (info / "direct_url.json").write_text('{"url": "file:///home/somebody/one", "dir_info": {}}')
    with (info / "RECORD").open("a") as record:
        record.write("one-1.dist-info/direct_url.json,,\n")
    assert paths(("one",)).keys() == {"one.py", "one-1.dist-info/METADATA", "one-1.dist-info/RECORD"}
    (info / "direct_url.json").write_text('{"url": "file:///home/x", "dir_info": {"editable": true}}')
    with pytest.raises(SandboxError, match="'one' is installed in editable mode"):
        paths(("one", "one"))


def test_a_requirement_that_is_missing_is_named(site: Path) -> None:
    _distribution(site, "two", {"two.py": ""}, "Requires-Dist: not-there-at-all>=2")
    with pytest.raises(SandboxError, match=r"'two' requires the package 'not-there-at-all'.*pip install"):
        paths(("two",))


@pytest.mark.parametrize("packages", ["numpy", ("",), ("../x",), ("--pre",), (3,)])
def test_names_that_cannot_be_packages_are_refused(packages: object) -> None:
    with pytest.raises(TaskError, match="packages"):
        Limits(packages=packages)  # type: ignore[arg-type]
    assert hash(Limits(packages=["numpy"], wall_s=60)) == hash(NUMPY)  # type: ignore[arg-type]
