"""``stdin_stdout`` with every comparison and with checkers, ``program`` with commands and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make, marked

from aigym_kernel.errors import TaskError
from aigym_kernel.judge.comparison import difference

pytestmark = pytest.mark.usefixtures("sandbox")


@pytest.mark.parametrize(
    ("compare", "got", "expected", "told"),
    [
        ("exact", "a\nb\n", "a\nb\n", ""),
        ("exact", "a\nb", "a\nb\n", "output line 2: expected '\\n', got the end"),
        ("exact", "a\nb\r\n", "a\nb\n", "output line 2: expected '\\n', got '\\r\\n'"),
        ("lines", "a  \nb\n\n", "a\nb", ""),
        ("lines", " a", "a", "output line 1: expected 'a', got ' a'"),
        ("lines", "a", "a\nb", "output line 2: expected 'b', got no such line"),
        ("whitespace", "a\n\n  b", "a b", ""),
        ("whitespace", "ab", "a b", "output word 1: expected 'a', got 'ab'"),
        ("whitespace", "1.0", "1", "output word 1: expected '1', got '1.0'"),
        ("numeric", "x 1.0000001 nan", "x 1 NaN", ""),
        ("numeric", "1.1", "1", "output word 1: expected '1', got '1.1'"),
        ("numeric", "inf 1", "1e999 1", ""),
        ("numeric", "one", "1", "output word 1: expected '1', got 'one'"),
        ("numeric", "1 2 3", "1 2", "output word 3: expected no such word, got '3'"),
    ],
)
def test_comparisons(compare: str, got: str, expected: str, told: str) -> None:
    assert difference(got, expected, compare, 1e-6) == told


@given(st.text(), st.sampled_from(["exact", "lines", "whitespace", "numeric"]))
def test_any_text_equals_itself(text: str, compare: str) -> None:
    assert difference(text, text, compare, 0.0) == ""
    assert difference(text, text + "x", compare, 0.0) != ""


def test_tolerance_is_the_task_s(tmp_path: Path) -> None:
    check = {"type": "stdin_stdout", "compare": "numeric", "tolerance": 0.01}
    cases = [{"stdin": "2", "stdout": "1.414"}, {"stdin": "3", "stdout": "1.732"}]
    mark = marked(tmp_path, check, {"cases.yaml": cases}, "print(int(input()) ** 0.5)")
    assert mark.value == 1.0


def test_visible_case_shows_a_diff_and_the_end_of_stderr(tmp_path: Path) -> None:
    cases = [{"stdin": "", "stdout": "a\nb\nc\n", "visible": True}, {"stdin": "", "stdout": "a\nb\nc\n"}]
    check = {"type": "stdin_stdout"}
    mark = marked(tmp_path / "a", check, {"cases.yaml": cases}, "print('a\\nB\\nc')")
    assert "output line 2: expected 'b', got 'B'\n--- expected\n+++ got" in mark.feedback
    assert "-b\n+B" in mark.feedback
    assert mark.feedback.endswith("hidden case 2 failed: wrong output")
    mark = marked(tmp_path / "b", check, {"cases.yaml": cases}, "import sys\nsys.exit('no luck')")
    assert "ended with exit code 1 (no luck)" not in mark.feedback
    assert "\n  stderr: no luck" in mark.feedback
    assert mark.feedback.count("no luck") == 1, "the hidden case shows none of it"


CHECKER = """
import json
from pathlib import Path
n = int(Path("input").read_text())
try:
    a, b = map(int, Path("got").read_text().split())
    right = a * b == n and min(a, b) > 1
except ValueError:
    right = False
told = "" if right else f"{Path('got').read_text().strip()} is no factorisation of {n}"
print(json.dumps({"value": 1.0 if right else 0.25, "feedback": told}))
"""


def test_checker_decides(tmp_path: Path) -> None:
    check = {"type": "stdin_stdout", "checker": "hidden/checker.py"}
    cases = [{"stdin": "15", "stdout": "", "visible": True}, {"stdin": "77", "stdout": ""}]
    hidden = {"cases.yaml": cases, "checker.py": CHECKER}
    task = make(tmp_path / "sample", [{"check": check}], hidden)
    right = "n = int(input())\na = min(k for k in range(2, n) if n % k == 0)\nprint(n // a, a)"
    from aigym_kernel.judge import judge

    assert judge(task, right).passed
    mark = judge(task, "print('3 5')").marks[0]
    assert mark.value == 0.625
    assert mark.feedback == "1 of 2 cases right\nhidden case 2 failed: wrong output"
    mark = judge(task, "print('one two')").marks[0]
    assert "case 1: input '15': one two is no factorisation of 15" in mark.feedback


@pytest.mark.parametrize(
    ("checker", "told"),
    [
        ("raise ValueError('oh')", "hidden/checker.py ended with exit code 1; ValueError: oh"),
        ("import os\nos.kill(os.getpid(), 9)", "hidden/checker.py killed by signal SIGKILL"),
        ("while True: pass", "hidden/checker.py used more than 1 s of CPU time"),
        ("print('fine')", "its last line must be JSON, it is 'fine'"),
        ("print('[1]')", 'its last line must be {"value": 0..1'),
        ("print('{\"value\": 2}')", 'its last line must be {"value": 0..1'),
        ("print('{\"value\": NaN}')", 'its last line must be {"value": 0..1'),
        ("", "its last line must be JSON, it is ''"),
    ],
)
def test_checker_that_crashes_is_no_zero(tmp_path: Path, checker: str, told: str) -> None:
    check = {"type": "stdin_stdout", "checker": "hidden/checker.py"}
    hidden = {"cases.yaml": [{"stdin": "1", "stdout": "1"}], "checker.py": checker}
    mark = marked(tmp_path, check, hidden, "print(1)", limits={"wall_s": 60.0, "cpu_s": 1.0})
    assert mark.value is None
    assert told in mark.feedback


def test_checker_is_never_in_reach_of_the_solution(tmp_path: Path) -> None:
    """It runs in another box: a process that the solution leaves behind finds neither it nor its files."""
    left = "import os, subprocess, sys\nprint(sorted(os.listdir('.')), sorted(os.listdir('/tmp')))\n"
    left += "subprocess.Popen(['sh', '-c', 'while :; do echo 1 > got; echo 1 > expected; done'],\n"
    left += "    start_new_session=True, stdout=subprocess.DEVNULL)\n"
    checker = "import json\ngot = open('got').read()\n"
    checker += "print(json.dumps({'value': float(got == \"['solution.py'] []\\n\"), 'feedback': got}))"
    check = {"type": "stdin_stdout", "checker": "hidden/checker.py"}
    cases = [{"stdin": str(n), "stdout": "", "visible": True} for n in range(3)]
    mark = marked(tmp_path, check, {"cases.yaml": cases, "checker.py": checker}, left)
    assert mark.value == 1.0, mark.feedback


BUILD: dict[str, Any] = {
    "type": "program",
    "command": ["python3", "solution.py", "in.txt"],
    "exit_code": 3,
    "stdout": "hidden/out.txt",
    "files": {"out/total.txt": "hidden/total.txt"},
    "visible": True,
}
FILES = {"out.txt": "done\n", "total.txt": "6\n"}


def test_command_with_exit_code_and_files(tmp_path: Path) -> None:
    right = (
        "import os, sys\nos.mkdir('out')\nopen('out/total.txt', 'w').write('6')\nprint('done')\nsys.exit(3)"
    )
    solution = {"solution.py": right, "in.txt": "1 2 3"}
    mark = marked(tmp_path / "a", BUILD, FILES, solution)
    assert (mark.value, mark.feedback) == (1.0, "3 of 3 demands met")
    wrong = "import os\nos.mkdir('out')\nopen('out/total.txt', 'w').write('7')\nprint('done')"
    mark = marked(tmp_path / "b", BUILD, FILES, {"solution.py": wrong})
    assert mark.value == pytest.approx(1 / 3)
    assert "'python3 solution.py in.txt' ended with exit code 0 instead of 3" in mark.feedback
    assert "out/total.txt: line 1: expected '6', got '7'" in mark.feedback
    mark = marked(tmp_path / "c", BUILD | {"visible": False}, FILES, {"solution.py": wrong})
    assert "out/total.txt is not as expected" in mark.feedback
    assert "6" not in mark.feedback
    link = "import os\nopen('/tmp/t', 'w').write('6')\nos.mkdir('out')\nos.symlink('/tmp/t', 'out/total.txt')"
    mark = marked(tmp_path / "d", BUILD, FILES, {"solution.py": link})
    assert "there is no regular file out/total.txt" in mark.feedback


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (BUILD | {"script": "hidden/out.txt"}, "check.script: give either script or command"),
        (BUILD | {"files": {"out/x": "hidden/no"}}, "check.files: there is no file 'hidden/no'"),
        (BUILD | {"files": {"../x": "hidden/out.txt"}}, "check.files: '../x' must be the path of a file"),
        (BUILD | {"exit_code": 300}, "check.exit_code: 300"),
        ({"type": "program"}, "check.script: there is no file 'hidden/check.py'"),
        (
            {"type": "stdin_stdout", "checker": "hidden/no.py"},
            "check.checker: there is no file 'hidden/no.py'",
        ),
        (
            {"type": "stdin_stdout", "checker": "hidden/out.txt", "compare": "exact"},
            "check.compare: 'exact', but the checker decides",
        ),
        ({"type": "stdin_stdout", "compare": "words"}, "check.compare: 'words' is not allowed"),
        ({"type": "stdin_stdout", "tolerance": -1}, "check.tolerance: -1"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, check: dict[str, Any], told: str) -> None:
    cases = [{"stdin": "", "stdout": ""}]
    with pytest.raises(TaskError) as caught:
        make(tmp_path / "sample", [{"check": check}], {**FILES, "cases.yaml": cases})
    assert told in str(caught.value)
