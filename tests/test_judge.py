"""The judge: what it says of right and wrong solutions, and of those that try to fool it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import hurried, make

from aigym_kernel.errors import SandboxError, SolutionError, TaskError, UnknownName
from aigym_kernel.judge import judge
from aigym_kernel.judge.inside import encode
from aigym_kernel.judge.metrics import measure
from aigym_kernel.judge.values import decode, equal, parse
from aigym_kernel.sandboxes import Box, Limits, Sandbox, open_sandbox
from aigym_kernel.tasks import Task
from aigym_kernel.trajectories import Mark, Score

pytestmark = pytest.mark.usefixtures("sandbox")


CASES = [
    {"args": [2], "expected": 4, "visible": True},
    {"args": [3], "expected": 6},
    {"args": [-1], "expected": -2},
]


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tasks") / "double"
    return make(folder, [{"check": {"type": "function", "function": "double"}}], {"cases.yaml": CASES})


def only(score: Score) -> Mark:
    assert len(score.marks) == 1
    return score.marks[0]


def test_right_answer(double: Task) -> None:
    score = judge(double, "def double(x):\n    return 2 * x\n")
    assert (score.total, score.passed) == (1.0, True)
    assert score.wall_s > 0
    assert only(score).feedback == "3 of 3 cases right"


def test_partly_right_answer(double: Task) -> None:
    score = judge(double, "def double(x):\n    return 2 * abs(x)\n")
    assert score.total == pytest.approx(2 / 3)
    assert not score.passed
    assert only(score).feedback == "2 of 3 cases right\nhidden case 3 failed: wrong value"


def test_visible_case_is_shown_and_hidden_ones_are_not(double: Task) -> None:
    feedback = only(judge(double, "def double(x):\n    return x * x * x\n")).feedback
    assert "case 1: double(2): expected 4, got 8" in feedback
    assert "hidden case 2 failed: wrong value" in feedback
    assert "27" not in feedback
    assert "6" not in feedback


def test_error_names_the_line_of_the_solution(double: Task) -> None:
    feedback = only(judge(double, "def double(x):\n    y = [x]\n    return y[x]\n")).feedback
    assert "case 1: double(2): raised IndexError: list index out of range at line 3: return y[x]" in feedback
    assert "hidden case 2 failed: raised IndexError at line 3: return y[x]" in feedback


@pytest.mark.parametrize(
    ("solution", "told"),
    [
        ("", "it defines no function or class 'double'"),
        ("double = 3", "it defines no function or class 'double'"),
        ("def double(x:\n    return 2", "SyntaxError"),
        (
            "import nothing_of_the_kind",
            "ModuleNotFoundError: No module named 'nothing_of_the_kind'\nline 1: import",
        ),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("def double(x):\n    return '\0'", "cannot be used"),
        ("x = '\ud800'", "SyntaxError"),
    ],
)
def test_file_that_does_not_load(double: Task, solution: str, told: str) -> None:
    mark = only(judge(double, solution))
    assert mark.value == 0.0
    assert told in mark.feedback


EXIT_LOADING = "import os\nos._exit(0)"
KILL_PARENT = "import os\ndef double(x):\n    os.kill(os.getppid(), 9)\n    os._exit(0)"
STOP_PARENT = "import os\ndef double(x):\n    os.kill(os.getppid(), 19)\n    os.kill(os.getpid(), 19)"
FORGE = """
import os
for fd in range(3, 64):
    try:
        os.write(fd, b'{"value": 5}\\n')
    except OSError:
        pass
print('{"value": 4}')
def double(x):
    return 5
"""
FORGE_ABOVE = """
import os
def double(x):
    for fd in range(64):
        try:
            open(f'/proc/{os.getppid()}/fd/{fd}', 'wb').write(b'{"value": true}\\n')
        except OSError:
            pass
    return 5
"""
PATCH = """
import json
json.dumps = json.JSONEncoder.encode = lambda *a, **k: '{"value": [4, 6, -2], "passed": true}'
json.loads = lambda *a: 4
def double(x):
    return 5
"""
LIAR = """
class Liar:
    __hash__ = None
    def __eq__(self, other): return True
def double(x):
    return Liar()
"""
LYING_INT = """
class Liar(int):
    __hash__ = int.__hash__
    def __eq__(self, other): return True
    def __int__(self): return 4
    def __repr__(self): return '4'
def double(x):
    return Liar(5)
"""
BAD_ERROR = """
class Bad(Exception):
    def __str__(self): raise self
def double(x):
    raise Bad
"""
TRAPS = {
    "sys.exit": ("import sys\ndef double(x): sys.exit(0)", "ended by sys.exit(0) instead of returning"),
    "os._exit": ("import os\ndef double(x): os._exit(0)", "ended before answering (exit code 0)"),
    "os._exit while loading": (EXIT_LOADING, "ended before answering (exit code 0)"),
    "kill": (
        "import os\ndef double(x): os.kill(os.getpid(), 9)",
        "ended before answering (killed by signal SIGKILL)",
    ),
    "kill the judge's process": (KILL_PARENT, "0 of 3 cases right"),
    "another program": ("import os\ndef double(x): os.execvp('true', ['true'])", "ended before"),
    "forged lines on every stream": (FORGE, "expected 4, got 5"),
    "forged lines in the parent's output": (FORGE_ABOVE, "0 of 3 cases right"),
    "json patched": (PATCH, "0 of 3 cases right"),
    "object equal to everything": (LIAR, "'Liar' is not plain data"),
    "int equal to everything": (LYING_INT, "expected 4, got 5"),
    "NaN": ("def double(x): return float('nan')", "expected 4, got nan"),
    "bool": ("def double(x): return True", "expected 4, got True"),
    "text": ("def double(x): return str(2 * x)", "expected 4, got '4'"),
    "recursion": ("def double(x): return double(x)", "raised RecursionError"),
    "refers to itself": ("def double(x):\n    y = []\n    y.append(y)\n    return y", "refers to itself"),
    "too large": ("def double(x): return [0] * 200_000", "more than 65,536"),
    "too long an int": ("def double(x): return 10 ** 50_000", "it holds an int of"),
    "unending generator": ("import itertools\ndef double(x): return itertools.count()", "not plain data"),
    "memory": ("def double(x): return len('x' * 10 ** 10)", "0 of 3 cases right"),
    "lone surrogates": ("def double(x): return '\\ud800'", "'\\ud800'"),
    "exception that breaks": (BAD_ERROR, "raised Bad"),
    "closes its descriptors": ("import os\ndef double(x): os.closerange(0, 64)", "0 of 3"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_no_trap_scores(double: Task, name: str) -> None:
    solution, told = TRAPS[name]
    score = judge(double, solution)
    assert score.total == 0.0, str(score)
    assert not score.passed
    assert told in only(score).feedback


def test_stopping_the_judges_process_costs_the_time_of_one_case(double: Task) -> None:
    mark = only(judge(hurried(double), STOP_PARENT))
    assert mark.value == 0.0
    assert "no answer within 1 s\n2 further cases were not run" in mark.feedback


def test_noise_does_not_disturb_a_right_answer(double: Task) -> None:
    noise = "import sys, os\ndef double(x):\n    print('x' * 300_000)\n    sys.stderr.write('y' * 300_000)\n"
    noise += "    os.system('echo {} ; echo DONE >&2')\n    sys.stdout.close()\n    return 2 * x\n"
    assert judge(double, noise).passed


def test_processes_left_behind_do_not_hold_the_judge_up(double: Task) -> None:
    lasting = "import subprocess\ndef double(x):\n    subprocess.Popen(['sleep', '300'])\n    return 2 * x\n"
    score = judge(double, lasting)
    assert score.passed
    assert score.wall_s < 120


def test_one_crash_costs_one_case(double: Task) -> None:
    score = judge(double, "import os\ndef double(x):\n    x == 3 and os._exit(0)\n    return 2 * x\n")
    assert only(score).value == pytest.approx(2 / 3)
    assert "hidden case 2 failed: ended before answering (exit code 0)" in only(score).feedback


@pytest.mark.parametrize("body", ["import time; time.sleep(99)", "sum(range(10 ** 13))"])
def test_never_ending_stops_at_the_first(double: Task, body: str) -> None:
    mark = only(judge(hurried(double), f"def double(x):\n    {body}\n"))
    assert mark.value == 0.0
    assert mark.feedback.splitlines()[1:] == [
        "case 1: double(2): no answer within 1 s",
        "2 further cases were not run",
    ]


def test_what_came_before_the_case_that_never_ends_counts(double: Task) -> None:
    mark = only(judge(hurried(double, 5.0), "def double(x):\n    while x != 2: pass\n    return 4\n"))
    assert mark.value == pytest.approx(1 / 3)
    assert mark.feedback.splitlines()[1:] == [
        "hidden case 2 failed: no answer within 5 s",
        "1 further case was not run",
    ]


SEARCH = """
import gc, subprocess
PLACES = ['/work', '/tmp', '/home', '/root', '/mnt', '/opt/tasks', '/etc', '/var', '/run', '/dev/shm',
          '/proc/self/environ', '/proc/1/environ', '/proc/1/cmdline']
def find(x):
    command = ['grep', '-raohs', '-D', 'skip', 'canary-[0-9a-f][0-9a-f]*', *PLACES]
    found = subprocess.run(command, capture_output=True, text=True).stdout.split()
    held = [v for o in gc.get_objects() if isinstance(o, dict) for v in list(o.values())
            if isinstance(v, str) and v.startswith('canary-')]
    return [*found, *held, ''][0]
"""


KEEP = """
import gc, glob, os, subprocess, sys
PLACES = ('/work', '/tmp', '/dev/shm')
WORD = 'cana[r]y-[0-9a-f]*'
def find(x):
    found = set()
    lines = glob.glob('/proc/*/cmdline') + glob.glob('/proc/*/environ')
    command = ['grep', '-raohs', '-D', 'skip', WORD, *PLACES, *lines]
    found |= set(subprocess.run(command, capture_output=True, text=True).stdout.split())
    frame = sys._getframe()
    while frame:
        found |= {w for v in frame.f_locals.values() for w in str(v).split("'") if w.startswith('canary-')}
        frame = frame.f_back
    found |= {o for d in gc.get_objects() if isinstance(d, dict) for o in list(d.values())
              if isinstance(o, str) and o.startswith('canary-')}
    for place in PLACES:
        with open(place + '/left', 'w') as file:
            file.write(x)
        os.makedirs(f'{place}/{x}')
        os.chmod(f'{place}/{x}', 0)
        found |= {n for n in os.listdir(place) if n.startswith('canary-')}
    with open('/work/solution.py', 'a') as file:
        file.write('# ' + x)
    subprocess.Popen(['setsid', 'sh', '-c', 'sleep 60; echo ' + x], start_new_session=True)
    return sorted(w for w in found if len(w) == 23)
"""


def test_no_case_sees_another(tmp_path: Path) -> None:
    """Neither inputs nor files nor processes: whatever a case can find of a word is its own."""
    words = ["canary-" + os.urandom(8).hex() for _ in range(4)]
    cases = [{"args": [w], "expected": [w], "visible": w == words[2]} for w in words]
    check_ = {"type": "function", "function": "find"}
    task = make(tmp_path / "keep", [{"check": check_}], {"cases.yaml": cases})
    score = judge(task, KEEP)
    assert score.passed, str(score)


def test_no_program_sees_what_the_one_before_left(tmp_path: Path) -> None:
    cases = [{"stdin": f"{n}\n", "stdout": "[]\n[]\n"} for n in range(3)]
    task = make(tmp_path / "left", [{"check": {"type": "stdin_stdout"}}], {"cases.yaml": cases})
    solution = "import os\nfor place in ('/work', '/tmp'):\n"
    solution += "    print([n for n in os.listdir(place) if n != 'solution.py'])\n"
    solution += "    open(place + '/' + input() if place == '/tmp' else 'x', 'w').close()\n"
    score = judge(task, solution)
    assert score.passed, str(score)


def nested(place: str) -> str:
    return (
        f"import os\nos.chdir('{place}')\nfor _ in range(3000):\n    os.mkdir('d', 0o700)\n"
        "    os.chdir('d')\ndef double(x): return 2 * x\n"
    )


@pytest.mark.parametrize("place", ["/work", "/tmp"])
def test_folders_nested_deep_do_not_stop_the_judge(double: Task, place: str) -> None:
    assert judge(double, nested(place)).passed


TELL = {
    "name of an exception": "raise type(f'secret{x}', (ValueError,), {})(x)",
    "exit": "raise SystemExit(f'secret{x}')",
    "name of a type": "return type(f'secret{x}', (), {})()",
    "line of a file": "open(__file__, 'w').write(f'secret{x}\\n' * 9)\n    raise ValueError",
    "line number": "exec(compile('\\n' * (x + 770_000) + '1/0', '/work/solution.py', 'exec'))",
    "name of a file": "exec(compile('1/0', f'/work/secret{x}', 'exec'))",
    "forged answer": "import os\n    for fd in range(3, 9):\n        try:\n"
    '            os.write(fd, b\'{"ended": "secret%d", "error": "secret", "names": ["secret"]}\\n\' % x)\n'
    "        except OSError: pass",
}


@pytest.mark.parametrize("name", TELL)
def test_feedback_of_a_hidden_case_tells_no_input(tmp_path: Path, name: str) -> None:
    check_ = {"type": "function", "function": "f"}
    hidden = {"cases.yaml": [{"args": [5], "expected": 1}, {"args": [6], "expected": 1}]}
    task = make(tmp_path / "tell", [{"check": check_}], hidden)
    mark = only(judge(task, f"def f(x):\n    {TELL[name]}\n"))
    assert mark.value == 0.0
    assert "hidden case 1 failed" in mark.feedback
    assert "secret5" not in mark.feedback.replace("secret{x}", "")
    assert "770006" not in mark.feedback


def test_loading_tells_no_input(tmp_path: Path) -> None:
    """The error of a file that does not load is shown whole, and so comes from a process with no input."""
    spy = "import sys\nframe, told = sys._getframe(), ''\nwhile frame:\n    told += str(frame.f_locals)\n"
    spy += "    frame = frame.f_back\nassert 'secret' + '7' not in told\nraise ValueError('nothing found')"
    check_ = {"type": "function", "function": "f"}
    task = make(
        tmp_path / "loads", [{"check": check_}], {"cases.yaml": [{"args": ["secret7"], "expected": 1}]}
    )
    feedback = only(judge(task, spy)).feedback
    assert "solution.py cannot be used: ValueError: nothing found" in feedback


def test_hidden_output_case_tells_no_input(tmp_path: Path) -> None:
    cases = [{"stdin": "Secret5", "stdout": "x"}]
    task = make(tmp_path / "prints", [{"check": {"type": "stdin_stdout"}}], {"cases.yaml": cases})
    tell = "import sys\nsys.stderr.write('File \"solution.py\", line 7712\\n' + input() + '\\n')\nsys.exit(1)"
    feedback = only(judge(task, tell)).feedback
    assert "hidden case 1 failed: ended with exit code 1 (an exception)" in feedback
    assert "Secret5" not in feedback
    assert "7712" not in feedback


def test_cpu_limit_stops_at_the_first(tmp_path: Path) -> None:
    limits = {"wall_s": 60.0, "cpu_s": 0.3}
    check_ = {"type": "function", "function": "double"}
    task = make(tmp_path / "busy", [{"check": check_}], {"cases.yaml": CASES}, limits=limits)
    feedback = only(judge(task, "def double(x):\n    while True: pass")).feedback
    assert "case 1: double(2): used more than 0.3 s of CPU time" in feedback
    assert "2 further cases were not run" in feedback


def test_visible_cases_run_first_and_are_reported_in_order(tmp_path: Path) -> None:
    cases = [{"args": [n], "expected": 0, "visible": n == 2} for n in range(4)]
    check_ = {"type": "function", "function": "f"}
    task = make(tmp_path / "order", [{"check": check_}], {"cases.yaml": cases})
    lines = only(judge(hurried(task), "def f(x):\n    while x == 2: pass")).feedback.splitlines()
    assert lines == [
        "0 of 4 cases right",
        "case 3: f(2): no answer within 1 s",
        "3 further cases were not run",
    ]
    lines = only(judge(task, "def f(x):\n    return 1")).feedback.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "hidden case 1 failed", "hidden case 2 failed", "case 3", "hidden case 4 failed",
    ]  # fmt: skip


def test_hidden_values_are_not_in_the_box(tmp_path: Path) -> None:
    canary = "canary-" + os.urandom(8).hex()
    cases = [{"args": ["find"], "expected": canary}]
    task = make(
        tmp_path / "canary",
        [{"check": {"type": "function", "function": "find"}}],
        {"cases.yaml": cases, "check.py": f"# {canary}\n"},
    )
    assert judge(task, SEARCH).total == 0.0
    assert canary not in str(judge(task, SEARCH))
    assert judge(task, {"solution.py": SEARCH, "note.txt": canary}).passed, "the search itself works"


def test_class_driven_by_calls_and_exceptions(tmp_path: Path) -> None:
    cases = [
        {"args": [5], "calls": [["add", 2], ["total"]], "expected": [None, 7]},
        {"args": ["x"], "raises": "TypeError", "visible": True},
        {"args": [1], "calls": [["missing"]], "expected": [1], "visible": True},
    ]
    task = make(
        tmp_path / "counter", [{"check": {"type": "function", "function": "Counter"}}], {"cases.yaml": cases}
    )
    solution = (
        "class Counter:\n    def __init__(self, n): self.n = n + 0\n"
        "    def add(self, k): self.n += k\n    def total(self): return self.n\n"
    )
    feedback = only(judge(task, solution)).feedback
    assert feedback.startswith("2 of 3 cases right")
    assert "case 3: Counter(1): missing(): raised AttributeError" in feedback


def test_tolerance_and_structure(tmp_path: Path) -> None:
    check_ = {"type": "function", "function": "f", "tolerance": 1e-6}
    expected = {"mean": 0.3, "parts": [0.1, 0.2], 7: None}
    task = make(tmp_path / "mean", [{"check": check_}], {"cases.yaml": [{"args": [], "expected": expected}]})
    assert judge(task, "def f():\n    return {'mean': 0.1 + 0.2, 'parts': (0.1, 0.2), 7: None}").passed
    assert not judge(task, "def f():\n    return {'mean': 0.31, 'parts': (0.1, 0.2), 7: None}").passed
    assert not judge(task, "def f():\n    return {'mean': 0.3, 'parts': (0.1, 0.2), '7': None}").passed


def test_several_files_and_weights(tmp_path: Path) -> None:
    checks = [
        {"weight": 3, "check": {"type": "function", "function": "double"}},
        {
            "weight": 1,
            "required": True,
            "check": {"type": "function", "function": "triple", "cases": "hidden/t.yaml"},
        },
    ]
    hidden = {"cases.yaml": CASES, "t.yaml": [{"args": [1], "expected": 3}]}
    task = make(tmp_path / "two", checks, hidden, rubric={"pass_mark": 0.7})
    files: dict[str, str | bytes] = {
        "solution.py": "from parts.more import double\ndef triple(x): return 0",
        "parts/more.py": b"def double(x): return 2 * x",
    }
    score = judge(task, files)
    assert score.total == 0.75
    assert not score.passed, "a required mark is not full"


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Task:
    cases = [
        {"stdin": "1 2\n", "stdout": "3\n", "visible": True},
        {"stdin": "5 6\n", "stdout": "11\n"},
        {"stdin": "7 8\n", "stdout": "15\n"},
    ]
    folder = tmp_path_factory.mktemp("tasks") / "add"
    return make(folder, [{"check": {"type": "stdin_stdout"}}], {"cases.yaml": cases})


@pytest.mark.parametrize(
    ("solution", "value", "told"),
    [
        ("print(sum(map(int, input().split())), '  \\n\\n')", 1.0, "3 of 3"),
        ("print(3)", 1 / 3, "hidden case 2 failed: wrong output"),
        ("", 0.0, "hidden case 2 failed: no output"),
        ("print(4)", 0.0, "case 1: input '1 2\\n': output line 1: expected '3', got '4'"),
        ("print(3)\nraise SystemExit(3)", 0.0, "ended with exit code 3"),
        ("x = [1]\n\nprint(x[5])", 0.0, "exit code 1 (IndexError: list index out of range, line 3)"),
        ("while True: print('x' * 1000)", 0.0, "printed more than 1024 KiB"),
        ("x = 'x' * 10 ** 10", 0.0, "0 of 3"),
    ],
)
def test_programs(echo: Task, solution: str, value: float, told: str) -> None:
    mark = only(judge(echo, solution))
    assert mark.value == pytest.approx(value)
    assert told in mark.feedback


def test_a_program_that_never_ends(echo: Task) -> None:
    mark = only(judge(hurried(echo), "while True: pass"))
    assert mark.value == 0.0
    assert "no answer within 1 s\n2 further cases were not run" in mark.feedback


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tasks") / "predict"
    metric = {"type": "metric", "metric": "rmse", "target": "y", "at_zero": 2.0, "at_full": 1.0}
    truth = "id,y\na,1\nb,2\nc,3\n"
    return make(folder, [{"check": metric}], {"truth.csv": truth}, answer="submission.csv", kind="data")


@pytest.mark.parametrize(
    ("submission", "value", "told"),
    [
        ("id,y\na,1\nb,2\nc,3\n", 1.0, "rmse 0 over 3 rows"),
        ("y,id\n4.5,c\n2.5, a\n3.5,b\n", 0.5, "rmse 1.5"),
        ("\ufeffid,y\r\na,1\r\n\r\nb,2\r\nc,3", 1.0, "rmse 0"),
        ("id,y\na,1e308\nb,-1e308\nc,0\n", 0.0, "rmse inf"),
        ("", 0.0, "the header must name the column 'id' once"),
        ("a,1\nb,2\n", 0.0, "the header must name the column 'id' once"),
        ("id,y,y\n", 0.0, "the column 'y' once"),
        ("id,y\n", 0.0, "no rows"),
        ("id,y\na,1\nb,2\n", 0.0, "1 of 3 ids are missing, the first 'c'"),
        ("id,y\na,1\nb,2\nc,3\nd,4\n", 0.0, "1 ids were not asked for, the first 'd'"),
        ("id,y\na,1\na,2\nc,3\n", 0.0, "line 3: id 'a' is given twice"),
        ("id,y\na,1\nb,two\nc,3\n", 0.0, "line 3: 'two' is not a finite number"),
        ("id,y\na,1\nb,nan\nc,3\n", 0.0, "line 3: 'nan' is not a finite number"),
        ("id,y\na,1\nb\nc,3\n", 0.0, "line 3 has 1 values, the header 2"),
    ],
)
def test_submissions(predict: Task, submission: str, value: float, told: str) -> None:
    mark = only(judge(predict, submission))
    assert mark.value == pytest.approx(value)
    assert told in mark.feedback


def test_submission_that_is_no_text(predict: Task) -> None:
    mark = only(judge(predict, {"submission.csv": b"\xff\xfe\x00"}))
    assert (mark.value, mark.feedback) == (0.0, "submission.csv: it is not UTF-8 text")


def test_program_that_links_its_submission_elsewhere(tmp_path: Path) -> None:
    metric = {"type": "metric", "metric": "accuracy", "target": "y", "at_zero": 0.0, "at_full": 1.0}
    task = make(tmp_path / "linked", [{"check": metric}], {"truth.csv": "id,y\na,yes\nb,no\n"}, kind="data")
    assert judge(task, "open('submission.csv', 'w').write('id,y\\na,yes\\nb,no\\n')").passed
    assert judge(task, "open('submission.csv', 'w').write('id,y\\na,yes\\nb,yes\\n')").total == 0.5
    link = "import os\nopen('/tmp/s', 'w').write('id,y\\na,yes\\nb,no\\n')\n"
    link += "os.symlink('/tmp/s', 'submission.csv')"
    assert only(judge(task, link)).feedback == "there is no regular file submission.csv"
    assert "solution.py: ended with exit code 1 (ValueError: oh, line 2)" in str(
        judge(task, "import os\nraise ValueError('oh')")
    )


def test_measures() -> None:
    assert measure("accuracy", ["a", "b"], ["a", "c"]) == 0.5
    assert measure("mae", [1.0, 5.0], [2.0, 3.0]) == 1.5
    assert measure("rmse", [1.0, 5.0], [2.0, 3.0]) == pytest.approx(2.5**0.5)
    assert measure("r2", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 1.0
    assert measure("r2", [2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == 0.0


@pytest.mark.parametrize(
    ("script", "value", "told"),
    [
        ("import json\nprint('working')\nprint(json.dumps({'value': 0.5, 'feedback': 'half'}))", 0.5, "half"),
        ("import json, solution\nprint(json.dumps({'value': 1}))", None, "No module named 'solution'"),
        ("from pathlib import Path\nprint('{\"value\": %d}' % Path('solution.py').is_file())", 1.0, ""),
        ("print('all fine')", None, "its last line must be"),
        ("print('{\"value\": 7}')", None, "its last line must be"),
        ("raise OSError('disk')", None, "hidden/check.py ended with exit code 1; OSError: disk"),
        ("while True: pass", None, "hidden/check.py no answer within 1 s"),
    ],
)
def test_scripts(tmp_path: Path, script: str, value: float | None, told: str) -> None:
    task = make(tmp_path / "scripted", [{"check": {"type": "program"}}], {"check.py": script})
    files = {"solution.py": "print(1)", "json.py": "raise SystemExit('the solution was imported')"}
    score = judge(hurried(task) if "while" in script else task, files)
    assert only(score).value == value
    assert told in only(score).feedback
    assert score.total == value, "a judge that failed gives no zero"


SPY = """
import os
for name in ('cmdline', 'environ', 'mem', 'fd/0', 'fd/1'):
    try:
        with open(f'/proc/{os.getppid()}/{name}', 'r+b' if name == 'fd/1' else 'rb') as file:
            if name == 'fd/1':
                file.write(b'{"value": 1}\\n')
            print(name, 'canary: opened' if name == 'mem' else file.read(10 ** 6))
    except OSError as error:
        print(name, type(error).__name__)
"""


def test_script_is_out_of_reach_of_what_it_runs(tmp_path: Path) -> None:
    script = (
        "import json, subprocess, sys\nsecret = 'canary-5'\n"
        "done = subprocess.run([sys.executable, 'solution.py'], capture_output=True, text=True)\n"
        "print(json.dumps({'value': float('canary' in done.stdout), 'feedback': done.stdout[-500:]}))"
    )
    task = make(tmp_path / "reach", [{"check": {"type": "program"}}], {"check.py": script})
    mark = only(judge(task, SPY))
    assert mark.value == 0.0, mark.feedback
    assert "mem PermissionError" in mark.feedback
    assert "fd/1 PermissionError" in mark.feedback


class Breaking:
    """A sandbox whose first ``failures`` openings fail; then the real one."""

    name = "breaking"

    def __init__(self, failures: int) -> None:
        self.failures, self.opened = failures, 0

    def open(self, limits: Limits, files: Mapping[str, str | bytes] | None = None) -> Box:
        self.opened += 1
        if self.opened <= self.failures:
            raise SandboxError("the host ran out of namespaces")
        return open_sandbox().open(limits, files)


def test_broken_sandbox_is_tried_once_more(double: Task) -> None:
    once: Sandbox = Breaking(1)
    assert judge(double, "def double(x): return 2 * x", sandbox=once).passed


def test_broken_sandbox_is_never_a_zero(double: Task) -> None:
    broken = Breaking(2)
    score = judge(double, "def double(x): return 2 * x", sandbox=broken)
    assert (score.total, score.passed, only(score).status) == (None, False, "unjudged")
    assert "the host ran out of namespaces" in only(score).feedback


def test_no_sandbox_at_all_is_one_error(double: Task) -> None:
    with pytest.raises(SandboxError, match="the host ran out of namespaces"):
        judge(double, "def double(x): return 2 * x", sandbox=Breaking(99))


def test_sandbox_by_name_and_task_by_folder(double: Task) -> None:
    assert judge(double.folder, "def double(x): return 2 * x", sandbox="bwrap").passed
    with pytest.raises(UnknownName, match="unknown sandbox 'bwarp'"):
        judge(double, "", sandbox="bwarp")
    with pytest.raises(UnknownName, match="unknown sandbox '7'"):
        judge(double, "", sandbox=7)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="not by None"):
        judge(None, "")  # type: ignore[arg-type]


def test_path_as_text_is_not_judged_as_code(double: Task, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def double(x): return 2 * x")
    with pytest.raises(SolutionError, match=r"pass Path\('.*mine\.py'\) to judge the file"):
        judge(double, f"{mine}\n")
    assert "cannot be used" in only(judge(double, str(tmp_path / "nothing.py"))).feedback
    assert judge(double, "x = " + "'x' * " * 9000 + "1\ndef double(x): return 2 * x").total is not None


@pytest.mark.parametrize(
    ("solution", "told"),
    [
        (Path("x" * 5000), "cannot be read"),
        (Path("a\0b"), "a\0b"),
        (None, "NoneType"),
        (7, "int"),
        (b"def double(x): ...", "bytes"),
        ({"solution.py": 3}, "solution.py: its content must be str or bytes, not int"),
        ({"../solution.py": ""}, "'../solution.py'"),
        ({"/etc/passwd": ""}, "'/etc/passwd'"),
        ({"a/../../b": ""}, "'a/../../b'"),
        ({"": ""}, "''"),
        ({"\ud800.py": ""}, "'\\ud800.py' is no path"),
        ({3: ""}, "3 is no path"),
        ({"a": "", "a/b": ""}, "'a' cannot be a file and the folder of 'a/b' too"),
        ({"a": "x" * 2**20 * 65}, "more than the 64 MiB"),
    ],
)
def test_what_cannot_be_a_solution(double: Task, solution: Any, told: str) -> None:
    with pytest.raises(SolutionError) as caught:
        judge(double, solution)
    assert told in str(caught.value)


def test_files_on_disk(double: Task, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def double(x): return 2 * x")
    assert judge(double, mine).passed
    (tmp_path / "link.py").symlink_to(mine)
    with pytest.raises(SolutionError, match="is a link"):
        judge(double, tmp_path / "link.py")
    with pytest.raises(SolutionError, match="is not a file"):
        judge(double, tmp_path)


def test_unknown_task() -> None:
    with pytest.raises(LookupError, match="Did you mean 'two-sum'"):
        judge("two-summ", "")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back_equal(value: Any) -> None:
    assert equal(decode(json.loads(encode(value))), value)


@given(st.text())
def test_any_line_is_an_answer_or_the_lack_of_one(line: str) -> None:
    assert isinstance(parse(line), dict)


MALFORMED = {
    "no dict": '{"value": {"x": 1}}',
    "list as key": '{"value": {"dict": [[{"dict": []}, 1]]}}',
    "list": "[]",
    "number": "7",
    "deep": "[" * 100_000,
    "long": "1" * 5000,
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answers(line: str) -> None:
    assert parse(line) == {"ended": "its answer cannot be read"}
