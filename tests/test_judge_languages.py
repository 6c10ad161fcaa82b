"""Judging programs of other languages than Python: compiled once, run for every case."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import missing
from samples import make, marked, only

from aigym_kernel.errors import SandboxError, TaskError
from aigym_kernel.judge import judge
from aigym_kernel.sandboxes import execute

pytestmark = pytest.mark.usefixtures("sandbox")

OUTPUT = {"type": "stdin_stdout"}
CASES = [{"stdin": "1 2", "stdout": "3"}, {"stdin": "-1 1", "stdout": "0"}]
C = {"language": "c", "answer": "sum.c"}
SUM = '#include <stdio.h>\nint main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }\n'


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    try:
        execute("int main(void) {}", "c")
    except SandboxError as error:
        missing(str(error))


def test_a_compiled_solution(tmp_path: Path) -> None:
    assert marked(tmp_path, OUTPUT, {"cases.yaml": CASES}, SUM, **C).value == 1.0


def test_a_solution_that_does_not_compile_is_told_where(tmp_path: Path) -> None:
    mark = marked(tmp_path, OUTPUT, {"cases.yaml": CASES}, "int main(void) { return x; }", **C)
    assert mark.value == 0.0
    assert "sum.c does not compile" in mark.feedback
    assert "sum.c:1:25" in mark.feedback


def test_a_compiled_solution_leaves_nothing_for_the_next_case(tmp_path: Path) -> None:
    """Neither a file nor another program in the place of its own."""
    code = """#include <stdio.h>
#include <sys/stat.h>
int main(void) {
    struct stat s;
    printf("%d", stat("/work/left", &s) == 0);
    fclose(fopen("/work/left", "w"));
    remove("/work/.program/sum");
    FILE *f = fopen("/work/.program/sum", "w"); fputs("#!/bin/sh\\necho 0\\n", f); fclose(f);
    chmod("/work/.program/sum", 0755);
}"""
    task = make(tmp_path / "t", [{"check": OUTPUT}], {"cases.yaml": [{"stdout": "0"}] * 3}, **C)
    assert only(judge(task, code)).value == 1.0
    assert only(judge(task, code.replace('"%d", stat', '"x%d", stat'))).value == 0.0


def test_javascript_writes_a_submission(tmp_path: Path) -> None:
    check = {"type": "metric", "metric": "mae", "target": "y", "at_zero": 2, "at_full": 0}
    code = "require('fs').writeFileSync('submission.csv', 'id,y\\n1,5\\n2,6\\n')"
    changes = {"language": "javascript", "answer": "solve.js", "kind": "data"}
    mark = marked(tmp_path, check, {"truth.csv": "id,y\n1,5\n2,6\n"}, code, **changes)
    assert mark.value == 1.0, mark.feedback


@pytest.mark.parametrize("language", ["bash", "c"])
def test_checks_of_python_refuse_other_languages(tmp_path: Path, language: str) -> None:
    with pytest.raises(TaskError, match=rf"'function' is for Python and language is '{language}'"):
        make(
            tmp_path / "t",
            [{"check": {"type": "function", "function": "f"}}],
            {"cases.yaml": [{"args": [1], "expected": 1}]},
            language=language,
            answer="a",
        )


def test_a_task_names_a_language_that_exists(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"language: .*'javascript'"):
        make(tmp_path / "t", [{"check": OUTPUT}], {"cases.yaml": CASES}, language="java-script")


def test_a_task_asks_for_packages(tmp_path: Path) -> None:
    limits = {"wall_s": 60, "packages": ["numpy"]}
    code = "import numpy\nprint(numpy.arange(4).sum())"
    cases = [{"stdout": "6"}]
    assert marked(tmp_path / "a", OUTPUT, {"cases.yaml": cases}, code, limits=limits).value == 1.0
    assert marked(tmp_path / "b", OUTPUT, {"cases.yaml": cases}, code).value == 0.0
    limits = {"packages": ["no-such-package"]}
    with pytest.raises(SandboxError, match="pip install no-such-package"):
        marked(tmp_path / "c", OUTPUT, {"cases.yaml": cases}, code, limits=limits)
