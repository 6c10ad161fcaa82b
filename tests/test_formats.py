"""Foreign formats: HumanEval's problems, how solutions to them are read, judged and attacked."""

from __future__ import annotations

import gzip
import importlib.util
import json
import marshal
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import missing
from samples import hurried

import aigym_kernel
from aigym_kernel.errors import TaskError, UnknownName
from aigym_kernel.formats import human_eval
from aigym_kernel.judge import candidate, inside, judge
from aigym_kernel.judge.asserts import complete
from aigym_kernel.judge.bundle import START, bundle
from aigym_kernel.sandboxes import Limits, check, open_sandbox
from aigym_kernel.tasks import FunctionCheck, LlmCheck, Task, load_task
from aigym_kernel.trajectories import Mark

pytestmark = pytest.mark.usefixtures("sandbox", "store_dir")

HUMAN_EVAL = Path(__file__).parent / "data" / "HumanEval_even.jsonl.gz"


def write(path: Path, *records: Any) -> Path:
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def problem(head: str, check: str, solution: str, **changes: Any) -> dict[str, Any]:
    """A problem whose prompt is ``head`` and a docstring, and whose check is ``check``."""
    prompt = textwrap.dedent(head).strip() + '\n    """ Do it. """\n'
    name = prompt.rpartition("def ")[2].partition("(")[0]
    body = textwrap.indent(textwrap.dedent(check).strip(), "    ")
    return {
        "task_id": f"Own/{name}",
        "prompt": prompt,
        "entry_point": name,
        "canonical_solution": textwrap.indent(textwrap.dedent(solution).strip(), "    ") + "\n",
        "test": f"METADATA = {{}}\n\n\ndef check(candidate):\n{body}\n",
    } | changes


def task(tmp_path: Path, *arguments: Any, **changes: Any) -> Task:
    """A problem as the task that it becomes, with plenty of time for a solution."""
    path = write(tmp_path / "problems.jsonl", problem(*arguments, **changes))
    return human_eval(path, limits=Limits(wall_s=60, memory_mb=256))[0]


def only(task: Task, solution: str) -> Mark:
    [mark] = judge(task, solution).marks
    return mark


def test_the_package_has_it_as_an_attribute() -> None:
    tasks = aigym_kernel.formats.human_eval(HUMAN_EVAL)
    assert len(tasks) == 82
    assert (tasks[0].id, tasks[0].title) == ("humaneval-0", "HumanEval/0")
    assert tasks[0].prompt.endswith('"""\n')
    assert tasks[-1].title == "HumanEval/162"


OWN = [
    problem(  # a definition of the prompt's, and random inputs
        'def shift(s: str):\n    return "".join(chr((ord(c) - 94) % 26 + 97) for c in s)\n\n\n'
        "def unshift(s: str):",
        """
        from random import choice, randint
        import string
        for _ in range(50):
            text = "".join(choice(string.ascii_lowercase) for _ in range(randint(5, 10)))
            assert candidate(shift(text)) == text
        """,
        'return "".join(chr((ord(c) - 100) % 26 + 97) for c in s)',
    ),
    problem(  # the function by its own name, compared with itself and with a literal
        "def thirds(l: list):",
        "assert tuple(candidate([5, 1, 2])) == tuple(thirds([5, 1, 2]))\n"
        "assert tuple(candidate([5, 1, 2, 4])) == (4, 1, 2, 5)",
        "l = list(l)\nl[::3] = sorted(l[::3])\nreturn l",
    ),
    problem(  # a root within a tolerance, by a definition that needs an import of the prompt's
        "import math\n\n\ndef poly(xs: list, x: float):\n"
        "    return sum(c * math.pow(x, i) for i, c in enumerate(xs))\n\n\ndef zero(xs: list):",
        "import copy, math, random\nrng = random.Random(7)\nfor _ in range(20):\n"
        "    xs = [rng.randint(1, 9), rng.randint(1, 9)]\n"
        "    assert math.fabs(poly(xs, candidate(copy.deepcopy(xs)))) < 1e-4",
        "return -xs[0] / xs[1]",
    ),
    problem(
        "def no_vowels(text):",
        "assert candidate('a\\nb\\r\\n\\tc\\x00\\u2028\\U0001f600') == "
        "'\\nb\\r\\n\\tc\\x00\\u2028\\U0001f600'\n"
        "assert candidate('') == ''",
        "return ''.join(c for c in text if c not in 'aeiou')",
    ),
    problem(
        "def binary(n, m):",
        "assert candidate(1, 5) == '0b11'\nassert candidate(7, 5) == -1",
        "return -1 if n > m else bin((n + m) // 2)",
    ),
    problem(
        "def larger(a, b):",
        "assert candidate(1, '2,3') == '2,3'\nassert candidate('1', 1) is None\n"
        "assert candidate(5, 6.0) == 6.0",
        "x, y = (float(str(v).replace(',', '.')) for v in (a, b))\n"
        "return None if x == y else a if x > y else b",
    ),
    problem(
        "def between(a, b):",
        "assert candidate(1, 3) == (2,)\nassert candidate(3, 3) == ()\n"
        "assert candidate((1, 2), (2, 3)) == 'tuples'",
        "return 'tuples' if isinstance(a, tuple) else tuple(range(a + 1, b))",
    ),
    problem(
        "def cells(rows, x):",
        "assert candidate([[1], [], [1, 1]], 1) == [(0, 0), (2, 1), (2, 0)]\nassert candidate([], 1) == []",
        "return [(i, j) for i, r in enumerate(rows) for j in range(len(r) - 1, -1, -1) if r[j] == x]",
    ),
    problem(
        "def calculate(signs, numbers):",
        "assert candidate(['**', '*', '+'], [2, 3, 4, 5]) == 37",
        "return eval(''.join(f'{n}{s}' for n, s in zip(numbers, [*signs, ''])))",
    ),
    problem(
        "def digest(text):",
        "assert candidate('') == None\nassert candidate('password') == '5f4dcc3b5aa765d61d8327deb882cf99'",
        "import hashlib\nreturn hashlib.md5(text.encode()).hexdigest() if text else None",
    ),
    problem(
        "def letters(text):",
        "assert candidate('a b b') == {'b': 2}\nassert candidate('') == {}\n"
        "assert candidate('a b') == {'a': 1, 'b': 1}",
        "words = text.split()\nmost = max(map(words.count, words), default=0)\n"
        "return {w: words.count(w) for w in words if words.count(w) == most}",
    ),
    problem(
        "def cases(d):",
        "assert candidate({'p': 'x', 5: 'y', 'A': ''}) is False\n"
        "assert candidate({'p': [1, {2: 'x'}]}) == True",
        "return all(isinstance(k, str) and k.islower() for k in d)",
    ),
    problem("def solution(x):", "assert candidate(2) == 4", "return 2 * x"),
    problem("def check(x):", "assert candidate(2) == 4", "return 2 * x"),
    problem(
        "def volume(grid, most):\n    import math",
        "assert candidate([[0, 0, 1], [1, 1, 1]], 2) == 3",
        "return sum(math.ceil(sum(row) / most) for row in grid)",
    ),
    problem(
        "def factorials(n):",
        "assert candidate(12) == __import__('math').factorial(500) + 12",
        "import math\nreturn math.factorial(500) + n",
    ),
]


@pytest.mark.parametrize("record", OWN, ids=lambda r: str(r["entry_point"]))
def test_kinds_of_problems(tmp_path: Path, record: dict[str, Any]) -> None:
    [task] = human_eval(write(tmp_path / "own.jsonl", record))
    score = judge(task, task.reference[0])
    assert score.passed, score
    empty = judge(task, "    pass\n")
    assert empty.total == 0.0, empty


DATA = """
    assert candidate((1, 2)) == (1, 2) and candidate((1, 2)) != [1, 2]
    assert candidate([1, (2, [3])]) == [1, (2, [3])]
    assert candidate({1, 2}) == {1, 2} and type(candidate(frozenset({1}))) is frozenset
    assert candidate(b'\\x00\\xff') == b'\\x00\\xff'
    assert candidate(2 - 3j) == 2 - 3j
    assert candidate(True) is True and candidate(1) is not True
    assert candidate(-0.0).hex() == '-0x0.0p+0' and candidate(1e308 * 10) == float('inf')
    assert candidate(float('nan')) != candidate(float('nan'))
    assert candidate('\\ud800"\\\\') == '\\ud800"\\\\'
    assert candidate({(1, 'a'): {None: [set()]}}) == {(1, 'a'): {None: [set()]}}
    assert candidate(value=3) == 3
    assert candidate(2 ** 9000) == 2 ** 9000
"""


def test_data_crosses_unchanged(tmp_path: Path) -> None:
    echo = task(tmp_path, "def echo(value):", DATA, "return value")
    assert judge(echo, echo.reference[0]).passed


def test_arguments_changed_in_place_and_objects_that_come_back(tmp_path: Path) -> None:
    test = """
        rows = [[3, 1], {'a': [2]}, {5}, 'text']
        inner = rows[0]
        assert candidate(rows) is inner and inner == [1, 3] and rows[0] is inner
        assert rows == [[1, 3], {'a': [2, 7], 'b': 1}, {5, 6}, 'more']
        pair = [1]
        both = candidate([pair, {'a': pair}, set(), ''])
        assert both is pair and pair == [1, 7], pair
    """
    solution = (
        "rows[0].sort()\nrows[1]['a'].append(7)\nrows[1]['b'] = 1\nrows[2].add(6)\nrows[3] = 'more'\n"
        "return rows[0]"
    )
    change = task(tmp_path, "def change(rows):", test, solution)
    assert judge(change, change.reference[0]).passed, judge(change, change.reference[0])
    copying = "    rows = __import__('copy').deepcopy(rows)\n" + change.reference[0]
    assert not judge(change, copying).passed


def test_exceptions_by_name(tmp_path: Path) -> None:
    test = """
        for wrong, kind in ((1, ValueError), ('x', Own), (None, LookupError)):
            try:
                candidate(wrong)
            except kind as error:
                assert wrong is None or error.args == ('told', wrong)
            else:
                assert False
    """
    solution = """
        if x is None:
            return {}[x]
        raise (ValueError if x == 1 else type('Less', (Own,), {}))('told', x)
    """
    raising = task(tmp_path, "class Own(Exception):\n    pass\n\n\ndef raising(x):", test, solution)
    assert judge(raising, raising.reference[0]).passed, judge(raising, raising.reference[0])
    assert not judge(raising, "    raise TypeError('told', x)").passed


def test_an_iterator_is_read_as_one(tmp_path: Path) -> None:
    pairs = task(tmp_path, "def pairs(n):", "assert list(candidate(2)) == [(0, 0), (1, 1)]", "return n")
    assert judge(pairs, "    return zip(range(n), range(n))").passed
    assert judge(pairs, "    for i in range(n):\n        yield i, i").passed
    assert (
        "not plain data, or too large"
        in only(pairs, "    import itertools\n    return map(id, iter(int, 1))").feedback
    )


DOUBLE = (
    "def double(x):",
    "assert candidate(2) == 4\nassert candidate(-3) == -6, 'canary-77'",
    "return x * 2",
)


@pytest.mark.parametrize(
    ("solution", "told"),
    [
        ("    return x * 2 if x > 0 else 0", "the hidden tests failed after call 2: wrong value"),
        ("    y = {}\n    return y[x]", "call 1 of the hidden tests raised KeyError at line 4: return y[x]"),
        ("    class Own(Exception): pass\n    raise Own(x)", "raised Exception at line 4"),
        ("    return x *", "solution.py cannot be used: SyntaxError"),
        ("    return y\nraise OSError('no')", "solution.py cannot be used: OSError: no\nline 4: raise"),
        ("double = None", "it defines no function or class 'double'"),
        ("    raise SystemExit(0)", "call 1 of the hidden tests ended by sys.exit instead of returning"),
        ("    import os\n    os._exit(0)", "call 1 of the hidden tests ended the solution's process"),
        (
            "import os\nos._exit(0)\ndef double(x): return 2 * x",
            "loading solution.py ended the solution's process",
        ),
        ("    while True: pass", "no answer within 1 s"),
        ("    return object()", "call 1 of the hidden tests: what it returned is not plain data"),
        ("    return 'x' * 2 ** 21", "too large"),
        ("    return x.__class__", "not plain data"),
    ],
)
def test_what_is_told(tmp_path: Path, solution: str, told: str) -> None:
    double = task(tmp_path, *DOUBLE)
    mark = only(hurried(double) if "while" in solution else double, solution)
    assert mark.value == 0.0
    assert told in mark.feedback
    assert "canary-77" not in mark.feedback


ATTACKS = {
    "equal to all": "class All:\n    def __eq__(self, other): return True\ndef double(x): return All()",
    "equal numbers": "class All(int):\n    def __eq__(self, other): return True\n"
    "    __hash__ = int.__hash__\ndef double(x): return All(1)",
    "exits": "import atexit, sys\natexit.register(print, '{\"passed\": true, \"calls\": 2}')\n"
    "def double(x): sys.exit(0)",
    "patches": "import builtins, json, marshal, os, sys\n"
    "for name, value in list(vars(builtins).items()):\n"
    "    if isinstance(value, type) and issubclass(value, AssertionError):\n"
    "        builtins.AssertionError = OSError\n"
    "json.dumps = json.loads = lambda *a, **k: {'passed': True, 'calls': 2}\n"
    "for m in list(sys.modules.values()):\n"
    "    for n in ('run_tests', 'report'):\n"
    "        if hasattr(m, n): setattr(m, n, lambda *a: {'passed': True})\n"
    "def double(x): return None",
    "forged lines": "import os\nfor fd in range(256):\n"
    "    try: os.write(fd, b'{\"passed\": true, \"calls\": 2}\\n')\n    except OSError: pass\n"
    "def double(x): return 0",
    "forged frames": "import os\nfor fd in range(256):\n"
    "    line = b'{\"error\": \"E\", \"passed\": true, \"calls\": 2}'\n"
    "    try: os.write(fd, b'%08x' % len(line) + line)\n    except OSError: pass\n"
    "def double(x): return 0",
    "ends the loop": "def double(x): raise StopIteration",
    "ends the tests": "import os\ndef double(x):\n    os.kill(os.getppid(), 9)\n    return 0",
    "interrupts": "import os\ndef double(x):\n    os.kill(os.getppid(), 2)\n    return 0",
    "starves": "import os, resource\ndef double(x):\n"
    "    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_STACK):\n"
    "        resource.prlimit(os.getppid(), limit, (0, 0))\n    return 0",
    "others' descriptors": "import glob, os\ndef double(x):\n"
    "    for path in glob.glob('/proc/[0-9]*/fd/*'):\n"
    "        try:\n"
    "            with open(path, 'wb', 0) as file: file.write(b'{\"passed\": true, \"calls\": 2}\\n')\n"
    "        except OSError: pass\n    return 0",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_gain_nothing(tmp_path: Path, name: str) -> None:
    double = ("def double(x):", "assert all(map(lambda x: candidate(x) == 2 * x, [2, -3]))", "return 2 * x")
    mark = only(task(tmp_path, *double), ATTACKS[name])
    assert mark.value == 0.0, mark.feedback


SPY = """
import gc, os, re, sys
word = re.compile(b"canar[y]-7[7]")  # whose own text is not what it finds

def seen():
    frame = sys._getframe()
    while frame:
        if word.search(repr((frame.f_locals, frame.f_globals)).encode("utf-8", "replace")):
            yield "frames"
        frame = frame.f_back
    if any(word.search(o) for o in gc.get_objects() if isinstance(o, bytes)):
        yield "objects"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ", "fd/0", "fd/1", "fd/3", "fd/4", "cwd", "mem"):
            try:
                if name in ("cmdline", "environ"):
                    with open(f"/proc/{pid}/{name}", "rb") as file:
                        if word.search(file.read()):
                            yield f"{pid} {name}"
                elif int(pid) == os.getpid():
                    if name == "mem" and remembered():
                        yield "memory"
                else:
                    os.stat(f"/proc/{pid}/{name}/") if name == "cwd" else open(f"/proc/{pid}/{name}", "rb")
                    yield f"{pid} {name}"
            except OSError:
                pass

def remembered():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            start, end = (int(n, 16) for n in span.split("-"))
            try:
                memory.seek(start)
                if "r" in rights and word.search(memory.read(end - start)):
                    return True
            except (OSError, ValueError, OverflowError):  # of vsyscall
                pass
    return False

def double(x):
    found = sorted(set(seen()))
    return found or 2 * x
"""


EVERYWHERE = [
    "bwrap",
    "pool-bwrap",
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("pool-docker", marks=pytest.mark.docker),
]


@pytest.mark.parametrize("where", EVERYWHERE)
def test_nothing_hidden_is_within_reach(tmp_path: Path, where: str) -> None:
    """The solution looks for a word of the tests in its frames, its memory and all that /proc shows, and
    answers rightly only where it finds none."""
    if problem := check(where):
        missing(problem)
    double = task(tmp_path, *DOUBLE)
    assert judge(double, SPY, sandbox=where).passed
    knowing = SPY + 'held = b"can" + b"ary-77"\n'
    assert judge(double, knowing, sandbox=where).total == 0.0, "it finds what is there"


def test_the_tests_use_their_own_definitions(tmp_path: Path) -> None:
    shift, _ = human_eval(write(tmp_path / "two.jsonl", OWN[0], OWN[1]))
    fooling = "def shift(s): return s\ndef unshift(s): return s\n"
    assert not judge(shift, fooling).passed
    assert judge(shift, shift.prompt + shift.reference[0] + "\ndef shift(s): return ''").passed


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ("assert nothing_of_the_kind", "the tests are broken: NameError"),
        ("pass", "the tests are broken: they never call double"),
        ("import numpy_of_the_host", "ModuleNotFoundError"),
        ("candidate(object())", "an argument of type 'object' cannot be passed; use plain data"),
    ],
)
def test_broken_tests_are_no_zero(tmp_path: Path, test: str, told: str) -> None:
    mark = only(task(tmp_path, "def double(x):", test, "return 1"), "    return 1")
    assert mark.value is None
    assert told in mark.feedback


def test_tests_without_a_check_function(tmp_path: Path) -> None:
    """As MBPP has them."""
    mbpp = {"test": "assert double(3) == 6\nassert double('a') == 'aa'\n"}
    assert judge(task(tmp_path, *DOUBLE, **mbpp), "    return 2 * x").passed
    assert not judge(task(tmp_path, *DOUBLE, **mbpp), "    return x + 3").passed


BODY = "    y = x\n    for _ in range(1):\n        y += x\n    return y\n"
WHOLE = "from os import path\n\ndef double(x: int) -> int:\n" + BODY
COMPLETIONS = {
    "body": BODY,
    "body after an empty line": "\n" + BODY,
    "body whose first line has lost its indentation": BODY.lstrip(),
    "body without indentation": textwrap.dedent(BODY),
    "body of one line without indentation": "return x * 2",
    "a block that has lost its first indentation": "if x:\n        return 2 * x\n    return 0",
    "a list that has lost its first indentation": "return sum([\n        x,\n        x,\n    ])",
    "a block without indentation": "if x:\n    return 2 * x\nreturn 0",
    "whole function": WHOLE,
    "whole prompt": 'def double(x):\n    """ Do it. """\n' + BODY,
    "as a lambda": "double = lambda x: 2 * x",
    "in a fence": f"Here it is:\n\n```python\n{WHOLE}```\nThis doubles `x`.",
    "body in a fence": f"```\n{BODY}```",
    "in a fence that is never closed": f"Sure!\n```python\n{WHOLE}",
    "in a fence that began before": f"{BODY}```\nThis works because ...",
    "in the second fence": f"```bash\npip install it\n```\n\n```py\n{WHOLE}\n```\n```\ndouble(1)\n```",
    "indented fence": "1. So:\n   ```python\n   def double(x):\n       return x + x\n   ```\n",
    "indented fence around a body": "1. So:\n  ```\n      return x + x\n  ```\n",
    "body and more": BODY + "\n\ndef other():\n    return 1\n",
    "body, and the function again": BODY + "\n\ndef double(x):\n    return x + x\n",
    "lines that end as on Windows": f"```python\n{WHOLE}```\n".replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_ways_to_hand_in(name: str) -> None:
    for prelude in (
        'import os\n\n\ndef double(x):\n    """ Do it. """\n',
        'def double(\n    x,\n):\n    import os\n    r"""\n  Do it,\n          well. \\d"""\n\n\n',
        "def double(x):\n",
        "import os\n\ndef double(x):",
    ):
        space: dict[str, Any] = {}
        exec(complete(prelude, "double", COMPLETIONS[name]), space)
        assert space["double"](21) == 42


def test_what_is_no_code_stays_wrong(tmp_path: Path) -> None:
    mark = only(task(tmp_path, *DOUBLE), "Just return x times two.")
    assert "SyntaxError" in mark.feedback
    assert only(task(tmp_path, *DOUBLE), "").value == 0.0
    assert only(task(tmp_path, *DOUBLE), "\ud800").value == 0.0


def test_a_box_with_another_python_compiles_for_itself(tmp_path: Path) -> None:
    double = task(tmp_path, *DOUBLE)
    modules = bundle(inside, candidate)
    other = modules.replace(importlib.util.MAGIC_NUMBER, b"\0\0\r\n", 1)
    assert other != modules
    job = {"file": "solution.py", "function": "double", "limit": 1000, "prelude": "", "tests": "double(1)"}
    with open_sandbox().open(double.limits, {"solution.py": "def double(x): return 2 * x"}) as box:
        done = box.run(["python3", "-I", "-c", START], stdin=other + marshal.dumps(job, 2))
    assert json.loads(done.stdout) == {"passed": True, "calls": 1}


GOOD = problem(*DOUBLE)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([GOOD, {k: v for k, v in GOOD.items() if k != "test"}],
         "line 2 (Own/double): the field 'test' (code that defines check(candidate)) is missing"),
        ([GOOD | {"prompt": 3}], "line 1 (Own/double): the field 'prompt' must be text (code up to"),
        ([{"taks_id": "x"} | {k: v for k, v in GOOD.items() if k != "task_id"}], "Did you mean 'taks_id'?"),
        ([GOOD, "", GOOD], "line 3 (Own/double): the task_id stands in line 1 too"),
        ([GOOD | {"task_id": "//"}], "the field 'task_id' must hold letters or digits"),
        ([GOOD, '{"task_id": '], "line 2, column 13: is not JSON"),
        ([GOOD, "[1, 2]"], "line 2: expected an object, got [1, 2]"),
        ([GOOD | {"entry_point": "triple"}], "the entry_point 'triple' is not in the prompt; it def"),
        ([GOOD | {"test": "def check(candidate:\n"}], "the field 'test' is not Python (its line 1)"),
        ([""], "is empty; expected one JSON object per line"),
        (["[" + json.dumps(GOOD) + "]"], "is one JSON list; write one object per line"),
        (["1" * 5000], "line 1: a number too long"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file(tmp_path: Path, records: list[Any], told: str) -> None:
    path = write(tmp_path / "wrong.jsonl", *records)
    with pytest.raises(TaskError) as caught:
        human_eval(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_unpacked(tmp_path: Path) -> None:
    plain = tmp_path / "plain.jsonl.gz"
    write(plain, GOOD)
    with pytest.raises(TaskError, match="is not compressed with gzip, whatever its name says"):
        human_eval(plain)
    whole = gzip.compress(json.dumps(GOOD).encode())
    plain.write_bytes(whole[:-9])
    with pytest.raises(TaskError, match=r"is damaged: .*; fetch or compress it anew"):
        human_eval(plain)
    plain.write_bytes(b"\xff\xfe{}")
    with pytest.raises(TaskError, match="gzip"):
        human_eval(plain)
    with pytest.raises(TaskError, match="cannot be read: No such file"):
        human_eval(tmp_path / "absent.jsonl")
    (tmp_path / "unnamed").write_bytes(whole)
    assert len(human_eval(tmp_path / "unnamed")) == 1


def test_all_mistakes_of_a_file_come_in_one(tmp_path: Path) -> None:
    path = write(tmp_path / "many.jsonl", *[{"task_id": str(i)} for i in range(5)])
    with pytest.raises(TaskError, match=r"20 problems(.|\n)*and 12 more"):
        human_eval(path)


COMMAND = [sys.executable, "-m", "aigym_kernel", "judge", "--format", "human-eval"]


def command(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def test_all_canonical_solutions_pass() -> None:
    done = command(HUMAN_EVAL, "--solutions", "canonical", "--workers", 2, "--json")
    found = json.loads(done.stdout)
    assert (found["passed"], found["total"], found["tasks"]) == (82, 82, 82)
    assert (found["pass@1"], found["missing"], found["sandbox"]) == (1.0, [], "bwrap")
    assert found["seconds_per_solution"] == pytest.approx(found["wall_s"] / 82, abs=1e-4)
    last = found["results"][-1]
    assert (last["task_id"], last["sample"], last["status"]) == ("HumanEval/162", 1, "passed")


def test_all_empty_bodies_fail(tmp_path: Path) -> None:
    tasks = human_eval(HUMAN_EVAL)
    empty = write(
        tmp_path / "empty.jsonl", *[{"task_id": t.title, "completion": "    pass\n"} for t in tasks]
    )
    found = json.loads(command(HUMAN_EVAL, "--solutions", empty, "--workers", 2, "--json", code=1).stdout)
    assert (found["passed"], found["total"], found["unjudged"], found["pass@1"]) == (0, 82, 0, 0.0)
    assert {r["status"] for r in found["results"]} == {"failed"}


def test_several_solutions_per_task(tmp_path: Path) -> None:
    problems = write(tmp_path / "two.jsonl", GOOD, GOOD | {"task_id": "Own/again"})
    right, wrong = "    return 2 * x\n", "    return x\n"
    pairs = [("Own/double", right), ("Own/double", wrong), ("Own/double", wrong), ("Own/double", WHOLE)]
    pairs += [("Own/again", wrong), ("Own/again", right)]
    samples = write(tmp_path / "s.jsonl", *[{"task_id": t, "completion": c} for t, c in pairs])
    done = command(problems, "--solutions", samples, "--json", code=1)
    found = json.loads(done.stdout)
    assert (found["passed"], found["total"], found["repeated"]) == (3, 6, 1)
    assert found["pass@1"] == pytest.approx(1 / 2)
    assert found["pass@2"] == pytest.approx((1 - 1 / 6 + 1) / 2)
    assert "pass@5" not in found
    assert [r["sample"] for r in found["results"]] == [1, 2, 3, 4, 1, 2]
    assert "1 solutions are the same as an earlier one" in done.stderr


def test_a_task_without_a_solution_is_told(tmp_path: Path) -> None:
    problems = write(tmp_path / "two.jsonl", GOOD, GOOD | {"task_id": "Own/again"})
    samples = write(tmp_path / "s.jsonl", {"task_id": "Own/again", "completion": "return x * 2"})
    done = command(problems, "--solutions", samples, code=1)
    assert "1 of 1 solutions passed, pass@1 1.000" in done.stdout
    assert "note: 1 of 2 tasks have no solution: Own/double" in done.stderr
    complete_ = write(tmp_path / "c.jsonl", *[{"task_id": t, "completion": "return x * 2"}
                                              for t in ("Own/again", "Own/double")])  # fmt: skip
    command(problems, "--solutions", complete_)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"task_id": "Own/duoble", "completion": ""}, "line 1 (Own/duoble): unknown task_id 'Own/duoble'"),
        ({"task_id": "Own/duoble", "completion": ""}, "Did you mean 'Own/double'?"),
        ({"task_id": "Own/double", "solution": ""}, "line 1 (Own/double): the field 'completion' (the"),
        ({"task_id": "Own/double", "completion": None}, "'completion' must be text (the solution's code)"),
        ("{}}", "line 1, column 3: is not JSON"),
    ],
)  # fmt: skip
def test_mistakes_in_solutions(tmp_path: Path, record: Any, told: str) -> None:
    problems = write(tmp_path / "one.jsonl", GOOD)
    done = command(problems, "--solutions", write(tmp_path / "s.jsonl", record), code=2)
    assert done.stderr.startswith(f"error: {tmp_path / 's.jsonl'}: ")
    assert told in done.stderr


def test_mistakes_in_the_command(tmp_path: Path) -> None:
    problems = write(tmp_path / "one.jsonl", GOOD)
    assert "--solutions canonical or a file" in command(problems, code=2).stderr
    assert "cannot be read" in command(problems, "--solutions", "canoncal", code=2).stderr
    assert "cannot be read" in command(tmp_path / "no.jsonl", "--solutions", "canonical", code=2).stderr
    wrong = command(problems, "--solutions", "canonical", "--sandbox", "bwarp", code=2)
    assert "unknown sandbox 'bwarp'. Did you mean 'bwrap'" in wrong.stderr


AIGYM = {
    "task_id": "Sum of two (7)",
    "category": "algorithms",
    "grade": 7,
    "prompt": "Write sum_of_two(a, b).",
    "version": "1.2",
    "rubric_version": 3,
    "time_limit_sec": 2.5,
    "memory_mb": 128,
    "metric": "weighted_sum",
    "rubric": [
        {"description": "It adds", "weight": 0.6, "check": {"type": "function", "function": "sum_of_two"}},
        {"description": "It says why", "weight": 0.4},
    ],
}


def aigym_file(folder: Path, **changes: Any) -> Path:
    (folder / "hidden").mkdir(exist_ok=True)
    (folder / "hidden" / "cases.yaml").write_text("[{args: [1, 2], expected: 3}]")
    data = {key: value for key, value in (AIGYM | changes).items() if value != "left out"}
    (folder / "sum.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "sum.yaml"


def test_aigym_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = aigym_kernel.formats.aigym(aigym_file(tmp_path))
    assert (task.id, task.title, task.rubric.pass_mark) == ("sum-of-two-7", "Sum of two (7)", 0.6)
    assert (task.limits.wall_s, task.limits.memory_mb, task.answer) == (2.5, 128, "solution.py")
    assert task.labels == {
        "category": "algorithms", "grade": 7, "version": "1.2", "rubric_version": 3, "metric": "weighted_sum",
    }  # fmt: skip
    adds, says = task.rubric.criteria
    assert (adds.name, adds.weight, adds.check.type) == ("It adds", 0.6, "function")
    assert says.check == LlmCheck(type="llm", instructions="It says why")
    assert load_task(tmp_path / "sum.yaml") == task
    assert load_task(str(tmp_path / "sum.yaml")) == task
    monkeypatch.chdir(tmp_path)
    assert load_task("sum.yaml") == task
    assert json.loads(json.dumps(task.to_dict()))["labels"]["rubric_version"] == 3


def test_aigym_task_passes_from_its_mark_on(tmp_path: Path) -> None:
    task = aigym_kernel.formats.aigym(aigym_file(tmp_path))
    solution = "def sum_of_two(a, b):\n    return a + b\n"

    def model(value: float) -> Any:
        def answer(messages: Any) -> str:
            word = re.search(r"VERDICT-\w+", messages[0]["content"])
            assert word
            return f'{word[0]} {{"value": {value}, "reason": "because"}}'

        return answer

    assert judge(task, solution, model=model(0.0)).passed, "0.6 is enough"
    assert not judge(task, "def sum_of_two(a, b): return 4", model=model(1.0)).passed
    unjudged = judge(task, solution)
    assert (unjudged.total, [m.status for m in unjudged.marks]) == (None, ["passed", "unjudged"])


def test_aigym_criteria_bound_by_an_argument(tmp_path: Path) -> None:
    plain = aigym_file(tmp_path, rubric=[{"description": "It adds", "weight": 2}])
    assert load_task(plain).answer == "answer.txt"
    for bound in ({"type": "function", "function": "f"}, FunctionCheck(type="function", function="f")):
        task = aigym_kernel.formats.aigym(plain, checks={"It adds": bound})
        assert judge(task, "def f(a, b): return a + b").passed
    with pytest.raises(UnknownName, match=r"unknown criterion 'It ads'\. Did you mean 'It adds'"):
        load_task(plain, checks={"It ads": {"type": "function", "function": "f"}})
    with pytest.raises(TaskError, match="'It adds' has a check of its own; leave it out"):
        load_task(aigym_file(tmp_path), checks={"It adds": {"type": "function", "function": "f"}})
    with pytest.raises(TaskError, match="checks= is for AIGYM's format"):
        load_task("two-sum", checks={"fast": {"type": "function", "function": "f"}})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"promt": "x"}, "promt: no such key; Did you mean 'prompt'?"),
        ({"prompt": "left out"}, "prompt: is missing"),
        ({"task_id": "??"}, "task_id: '??'"),
        ({"time_limit_sec": "5 s"}, "time_limit_sec: '5 s': it should be a valid number"),
        ({"time_limit_sec": -1}, "time_limit_sec: -1: it should be greater than 0"),
        ({"memory_mb": 0}, "memory_mb: 0: it should be greater than or equal to 1"),
        ({"version": [1]}, "version"),
        ({"rubric": []}, "rubric: []: "),
        ({"rubric": "good"}, "rubric: 'good'"),
        ({"rubric": [{"description": "a", "weight": "much"}]}, "rubric[0].weight: 'much'"),
        ({"rubric": [{"description": "a", "weight": -1}]}, "rubric[0].weight: -1"),
        ({"rubric": [{"description": "a", "weight": 0}]}, "rubric: the weights sum to zero"),
        ({"rubric": [{"description": "a", "wieght": 1}]}, "rubric[0].wieght: no such key; Did you mean"),
        ({"rubric": [{"weight": 1}]}, "rubric[0].description: is missing"),
        ({"rubric": [{"description": "a"}] * 2}, "rubric[1].description: 'a' is used twice"),
        ({"rubric": [{"description": "a", "check": {"type": "functoin"}}]}, "Did you mean 'function'"),
        ({"rubric": [{"description": "a", "check": {"type": "program", "script": "hidden/no"}}]},
         "rubric[0].check.script: there is no file 'hidden/no'"),
    ],
)  # fmt: skip
def test_mistakes_in_an_aigym_task(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    source = aigym_file(tmp_path, **changes)
    with pytest.raises(TaskError) as caught:
        load_task(source)
    assert str(caught.value).startswith(f"{source}: ")
    assert told in str(caught.value)
