"""The widgets' JavaScript: types checked by TypeScript, pure functions tested by node.

Needs node, and for the types ``npm ci`` once. Skipped by name without them, unless CI=true.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import missing

from aigym_kernel.widgets import source

ROOT = Path(__file__).resolve().parent.parent
TSC = ROOT / "node_modules" / "typescript" / "bin" / "tsc"
WIDGETS = {
    "explorer": source.EXPLORER,
    "board": source.BOARD,
    "bench": source.BENCH,
    "launcher": ("drawing", "launcher"),
    "builder": ("drawing", "builder"),
    "review": ("drawing", "review"),
    "rewards": source.REWARDS,
}


def _node(*arguments: str | Path, stdin: str | None = None) -> None:
    node = shutil.which("node")
    if node is None:
        missing("no node on PATH: JavaScript was not checked")
    answer = subprocess.run(
        [str(node), *map(str, arguments)], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=240
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_types() -> None:
    if not TSC.is_file():
        missing("no node_modules/typescript (npm ci): the types of the JavaScript were not checked")
    _node(TSC, "-p", ROOT)


def test_pure_functions() -> None:
    _node("--test", ROOT / "tests" / "js")


@pytest.mark.parametrize("name", WIDGETS)
def test_the_joined_module_is_one_that_node_can_load(name: str, tmp_path: Path) -> None:
    joined = source.module(*WIDGETS[name])
    assert not re.search(r"^import ", joined, re.MULTILINE)
    path = tmp_path / f"{name}.mjs"
    path.write_text(joined, encoding="utf-8")
    check = (
        "import(process.argv[1]).then(m => { if (typeof m.default.render !== 'function') process.exit(1) })"
    )
    _node("--input-type=module", "--eval", check, path.as_uri())


def test_recorded_text_cannot_become_markup_and_nothing_is_fetched() -> None:
    for path in source.FOLDER.glob("*.js"):
        code = re.sub(r"/\*.*?\*/|//.*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(", code
        ), path
        assert not re.search(r"https?:", code.replace("http://www.w3.org/2000/svg", "")), path
