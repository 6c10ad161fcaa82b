"""The speed check: slow, fast, wrong and dishonest solutions against a reference, and mistakes of a task."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import missing
from test_judge import make, only

from aigym_kernel.errors import TaskError
from aigym_kernel.judge import judge
from aigym_kernel.judge.speed import _Time as Time
from aigym_kernel.judge.speed import _verdict as verdict
from aigym_kernel.tasks import SpeedCheck, Task

pytestmark = pytest.mark.usefixtures("sandbox")

N = 4_000_000
REFERENCE = "def work(n):\n    total = 0\n    for i in range(n):\n        total += i & 3\n    return total\n"
SLOW = REFERENCE.replace("range(n)", "range(10 * n)").replace("return total", "return total // 10")
FAST = "def work(n):\n    full, rest = divmod(n, 4)\n    return full * 6 + rest * (rest - 1) // 2\n"
EXPECTED = N // 4 * 6


def speed(folder: Path, source: str = REFERENCE, **change: Any) -> Task:
    # What is measured here is 1 or 10: a busy machine may double a ratio, or halve it.
    check = {"type": "speed", "function": "work", "at_zero": 4.0, "at_full": 3.0, "repeats": 2} | change
    cases = [{"args": [N], "expected": EXPECTED}]
    return make(
        folder,
        [{"check": check}],
        {"speed.yaml": cases, "reference.py": source},
        limits={"wall_s": 60.0},
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return speed(tmp_path_factory.mktemp("tasks") / "work")


@pytest.mark.parametrize(
    ("solution", "value"), [(REFERENCE, 1.0), (FAST, 1.0), (SLOW, 0.0)], ids=["same", "fast", "slow"]
)
def test_the_ratio_decides(work: Task, solution: str, value: float) -> None:
    mark = only(judge(work, solution))
    assert mark.value == value, mark.feedback
    assert "times the reference's time over 2 turns" in mark.feedback


def test_a_wrong_answer_is_worth_nothing_however_fast(work: Task) -> None:
    for wrong in ("def work(n): return 0", "def work(n): raise ValueError", "work = 5", "def work(n"):
        mark = only(judge(work, wrong))
        assert mark.value == 0.0
        assert "case 1 is not right" in mark.feedback
        assert str(EXPECTED) not in mark.feedback


DISHONEST = {
    "remembers from turn to turn": """
import os
PLACES = ['/work', '/tmp', '/dev/shm', '/work/__pycache__', '/var/tmp', '/run']
def work(n):
    for place in PLACES:
        if os.path.exists(place + '/known'): return int(open(place + '/known').read())
    total = 0
    for i in range(n * 10): total += i & 3
    total = n // 4 * 6
    for place in PLACES:
        try:
            os.makedirs(place, exist_ok=True)
            open(place + '/known', 'w').write(str(total))
        except OSError: pass
    return total
""",
    "hides its CPU time": """
import os, signal
def work(n):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    out, into = os.pipe()
    if os.fork() == 0:
        total = 0
        for i in range(n * 10): total += i & 3
        os.write(into, str(n // 4 * 6).encode())
        os._exit(0)
    os.close(into)
    return int(os.read(out, 100))
""",
    "waits instead": """
import time
def work(n):
    begun = time.perf_counter()
    for i in range(n): i & 3
    time.sleep(12 * (time.perf_counter() - begun))
    full, rest = divmod(n, 4)
    return full * 6 + rest * (rest - 1) // 2
""",
    "slows the reference down": """
import os, time
def work(n):
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            while True: pass
    for place in ('/work', '/tmp', '/dev/shm'):
        try: open(place + '/sitecustomize.py', 'w').write('while True: pass')
        except OSError: pass
    total = 0
    for i in range(n * 8): total += i & 3
    return n // 4 * 6
""",
    "patches the clocks": """
import time
for name in ('time', 'perf_counter', 'process_time', 'monotonic', 'thread_time'):
    setattr(time, name, lambda: 0.0)
def work(n):
    total = 0
    for i in range(n * 10): total += i & 3
    return n // 4 * 6
""",
    "answers and goes on": """
import os
def work(n):
    if os.fork() == 0:
        return n // 4 * 6 + 1
    for i in range(n * 10): pass
    return n // 4 * 6
""",
}


LATER = ("remembers from turn to turn", "slows the reference down")
"""What would gain something in a second turn only."""


@pytest.mark.parametrize("name", DISHONEST)
def test_cheating_gains_nothing(tmp_path: Path, name: str) -> None:
    mark = only(judge(speed(tmp_path / "work", repeats=1 + (name in LATER)), DISHONEST[name]))
    assert mark.value == 0.0, mark.feedback


@pytest.mark.parametrize(
    ("turns", "ratio"),
    [
        ([(1, 1, 2, 2), (1, 1, 2, 2), (1, 1, 2, 2)], 2.0),
        ([(1, 1, 2, 9), (1, 8, 2, 16), (1, 8, 2, 16)], 2.0),  # a load came, after the reference's first turn
        ([(1.6, 1.6, 2, 2), (1, 1, 3, 3), (1.8, 1.8, 2, 2)], 2.0),  # the processor was slower now and then
        ([(1, 1, 0.1, 9), (1, 1, 0.1, 9), (1, 3, 0.1, 12)], 9.0),  # it waits, or hides its CPU time
        ([(1, 0, 2, 0)], 2.0),  # the empty program's time was measured under load, the others' not
    ],
)
def test_one_bad_moment_changes_nothing(turns: list[tuple[float, ...]], ratio: float) -> None:
    check = SpeedCheck(type="speed", at_zero=20.0, at_full=1.0)
    pairs = [(Time(*turn[:2]), Time(*turn[2:])) for turn in turns]
    assert verdict(check, pairs).evidence["ratio"] == pytest.approx(ratio)


def test_programs_are_measured_too(tmp_path: Path) -> None:
    program = "n = int(input())\ntotal = 0\nfor i in range(n): total += i & 3\nprint(total)\n"
    slow = program.replace("range(n)", "range(10 * n)").replace("print(total)", "print(total // 10)")
    check = {"type": "speed", "at_zero": 4.0, "at_full": 3.0, "repeats": 2}
    cases = [{"stdin": f"{N // 2}\n", "stdout": f"{EXPECTED // 2}\n"}]
    files = {"speed.yaml": cases, "reference.py": program}
    task = make(tmp_path / "work", [{"check": check}], files, limits={"wall_s": 60.0})
    for solution, value in ((program, 1.0), (slow, 0.0)):
        mark = only(judge(task, solution))
        assert mark.value == value, mark.feedback
        assert "times the reference's time over 2 turns" in mark.feedback
    assert "case 1 is not right: wrong output" in only(judge(task, "print(1)")).feedback


def test_a_compiled_language(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        missing("no gcc: the speed of C programs was not measured")
    program = """
#include <stdio.h>
int main(void) {
    long n; volatile long total = 0;
    if (scanf("%ld", &n) != 1) return 1;
    for (long i = 0; i < n * TIMES; i++) total += i & 3;
    printf("%ld\\n", total / TIMES);
}"""
    check = {"type": "speed", "at_zero": 4.0, "at_full": 3.0, "repeats": 2, "reference": "hidden/reference.c"}
    n = 300_000_000
    files = {
        "speed.yaml": [{"stdin": f"{n}\n", "stdout": f"{n // 4 * 6}\n"}],
        "reference.c": program.replace("TIMES", "1"),
    }
    task = make(
        tmp_path / "work", [{"check": check}], files, language="c", answer="main.c", limits={"wall_s": 60.0}
    )
    for times, value in (("1", 1.0), ("10", 0.0)):
        mark = only(judge(task, program.replace("TIMES", times)))
        assert mark.value == value, mark.feedback
        assert "times the reference's time over 2 turns" in mark.feedback


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("def work(n): return 1", "hidden/reference.py: case 1: wrong value"),
        ("def work(n", "hidden/reference.py: case 1: raised SyntaxError"),
        (FAST, "give larger cases"),
    ],
)
def test_a_reference_that_will_not_do_is_no_zero(tmp_path: Path, reference: str, told: str) -> None:
    score = judge(speed(tmp_path / "work", reference), REFERENCE)
    assert score.total is None
    assert told in only(score).feedback


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"at_full": 4.0}, r"check.at_full: 4 must be less than at_zero \(4\)"),
        ({"at_zero": -1.0}, "greater than 0"),
        ({"reference": "hidden/no.py"}, "there is no file 'hidden/no.py'"),
        ({"cases": "hidden/no.yaml"}, "there is no file 'hidden/no.yaml'"),
        ({"repeats": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes_of_a_task(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(TaskError, match=told):
        speed(tmp_path / "work", **change)
