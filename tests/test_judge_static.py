"""The ``static`` check: rules, imports and calls by syntax tree, aliases, and sources made to break it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import make, marked, only

from aigym_kernel.errors import TaskError
from aigym_kernel.judge import judge
from aigym_kernel.trajectories import Mark

pytestmark = pytest.mark.usefixtures("sandbox")

FORBID = {
    "type": "static",
    "forbid_imports": ["os", "socket"],
    "forbid_calls": ["eval", "os.system", ".sort"],
}
SPELLINGS = {
    "import": "import os",
    "alias": "import os as o\no.getcwd()",
    "part": "from os.path import join",
    "from": "from os import system as s\ns('x')",
    "inside a function": "def f():\n    import socket",
    "__import__": "__import__('os').system('x')",
    "importlib": "import importlib\nimportlib.import_module('o' + 's')",
    "importlib by name": "from importlib import import_module as i\ni(f'os')",
    "sys.modules": "import sys\nsys.modules['os'].getcwd()",
    "through another module": "import shutil\nshutil.os.getcwd()",
    "no name": "__import__('')\nimport os",
    "star": "from os import *\nsystem('x')",
    "import renamed": "i = __import__\ni('os')",
    "get": "import sys\nsys.modules.get('os').getcwd()",
    "vars": "import shutil\nvars(shutil)['os']",
    "getattribute": "import shutil\nshutil.__getattribute__('os')",
    "computed key hides": "import builtins\nvars(builtins)[input()]",
    "computed get hides": "globals().get(input())",
    "eval": "eval('1')",
    "eval renamed": "e = eval\ne('1')",
    "eval twice renamed": "f = e\ne = eval\nf('1')",
    "eval handed on": "print(list(map(eval, ['1'])))",
    "eval as default": "def f(g=eval):\n    return g('1')",
    "eval by walrus": "(e := eval)('1')",
    "eval from builtins": "import builtins as b\nb.eval('1')",
    "eval from __builtins__": "__builtins__.eval('1')",
    "eval looked up": "__builtins__['eval']('1')",
    "eval by getattr": "import builtins\ngetattr(builtins, 'ev' 'al')('1')",
    "eval from globals": "globals()['__builtins__'].eval('1')",
    "in a tuple": "a, b = eval, 1\na('1')",
    "method": "x = [2, 1]\nx.sort()",
    "exec hides": "exec('import ' + 'os')",
    "computed import hides": "import sys\n__import__(sys.argv[0])",
    "computed lookup hides": "import math\ngetattr(math, input())",
}


@pytest.fixture(scope="module")
def spelt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mark]:
    task = make(tmp_path_factory.mktemp("static") / "sample", [{"check": FORBID}], {})
    return {name: only(judge(task, source)) for name, source in SPELLINGS.items()}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_what_is_forbidden(spelt: dict[str, Mark], name: str) -> None:
    mark = spelt[name]
    assert mark.value is not None
    assert mark.value < 1.0, mark.feedback
    assert "forbidden" in mark.feedback


def test_what_is_allowed_is_not_confused(tmp_path: Path) -> None:
    source = "import re\nimport ostrich_free as os_free\nx = sorted([1])\nre.compile('a')\n"
    source += "d = {'a': 1}\nd[x[0]] = d.get(x[0])\n"
    source += "class A:\n    def eval(self): return self.sorted\nA().eval()\n'import os; eval(1)'\n"
    mark = marked(tmp_path, FORBID, {}, source)
    assert (mark.value, mark.feedback) == (1.0, "5 of 5 demands met")


def test_required_and_rules(tmp_path: Path) -> None:
    check = {"type": "static", "require_imports": ["math"], "require_calls": ["math.gcd", ".join"]}
    check |= {"select": ["F401", "E7"], "max_complexity": 2}
    source = "import os  # noqa\nfrom math import gcd\n\n\ndef f(x):\n    if x:\n        if x > 1:\n"
    source += "            return gcd(x, 2)\n    return x == None\n"
    mark = marked(tmp_path, check, {}, source)
    assert mark.value == pytest.approx(2 / 6)
    assert mark.feedback.splitlines() == [
        "2 of 6 demands met",
        "a call of .join is missing",
        "ruff F401: line 1: F401 `os` imported but unused",
        "ruff E7: line 9: E711 Comparison to `None` should be `cond is None`",
        "ruff C901: line 5: C901 `f` is too complex (3 > 2)",
    ]


def test_every_file_of_the_solution_is_looked_at(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"solution.py": "import more", "more.py": "import os"}
    assert "more.py, line 1" in marked(tmp_path / "a", FORBID, {}, files).feedback
    files = {"solution.py": "import more", "more.so": b"\x7fELF"}
    assert "more.so cannot be looked into" in marked(tmp_path / "b", FORBID, {}, files).feedback


def test_names_of_files_do_no_harm(tmp_path: Path) -> None:
    files = {
        "solution.py": "x = 1\n",
        "--config=x.py": "y = 1\n",
        "a\udcffb.py": "z = 1\n",
        "c\nd.py": "import os\n",
    }
    mark = marked(tmp_path, {"type": "static", "select": ["F"], "max_complexity": 3}, {}, files)
    assert mark.value == 0.5
    assert "F401" in mark.feedback


def test_configuration_of_the_solution_is_not_read(tmp_path: Path) -> None:
    files = {"solution.py": "import os\n", "ruff.toml": "ignore = ['F401']", ".ruff.toml": "exclude = ['*']"}
    mark = marked(tmp_path, {"type": "static", "select": ["F401"]}, {}, files)
    assert mark.value == 0.0


HOSTILE = {
    "no Python": ("def f(:", "solution.py, line 1: SyntaxError"),
    "empty": ("  \n", "there is no source to look at"),
    "NUL": ("x = 1\0", "null bytes"),
    "deep brackets": ("(" * 100_000, "too many nested parentheses"),
    "deep minus": ("x = " + "-" * 200_000 + "1", "solution.py"),
    "deep attribute": ("x = a" + ".a" * 100_000, ""),
    "deep sum": ("x = " + "1+" * 100_000 + "1", ""),
    "deep else": ("if 1: pass\n" + "elif 1: pass\n" * 20_000, ""),
    "10 MB": ("x = 1\n" * 1_800_000, "more than 1 MiB of source"),
    "not UTF-8": (b"x = '\xff'", "is not UTF-8 text (byte 5)"),
    "other encoding": (b"# coding: rot13\nvzcbeg bf\n", ""),
    "many names": ("".join(f"a{i} = a{i + 1}\n" for i in range(20_000)) + "a20000 = eval\n", ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sources(tmp_path: Path, name: str) -> None:
    source, told = HOSTILE[name]
    check = FORBID | {"select": ["E", "F"], "max_complexity": 5}
    mark = marked(tmp_path, check, {}, {"solution.py": source}, limits={"disk_mb": 64})
    assert mark.value is not None
    assert mark.value < 1.0
    assert told in mark.feedback


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ({}, "check.select: the check demands nothing"),
        ({"max_complexity": 0}, "check.max_complexity: 0"),
        ({"forbid_import": ["os"]}, "Did you mean 'forbid_imports'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, check: dict[str, Any], told: str) -> None:
    with pytest.raises(TaskError) as caught:
        make(tmp_path / "sample", [{"check": {"type": "static", **check}}], {})
    assert told in str(caught.value)


def test_unknown_rule_is_no_zero(tmp_path: Path) -> None:
    mark = marked(tmp_path, {"type": "static", "select": ["XYZ9"]}, {}, "x = 1")
    assert mark.value is None
    assert "XYZ9" in mark.feedback
