"""The ``unit_tests`` check: what tests may do, what they tell, and solutions that pass without solving."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import hurried, make, marked, only

from aigym_kernel.errors import TaskError
from aigym_kernel.judge import judge, validate
from aigym_kernel.judge.testing import wire
from aigym_kernel.tasks import Task

pytestmark = pytest.mark.usefixtures("sandbox")

CHECK: dict[str, Any] = {"type": "unit_tests", "visible": True}
FEATURES = """
import unittest
import pytest
import solution
from solution import Point, double
from shared import LIMIT

class TestDouble(unittest.TestCase):
    def setUp(self):
        self.two = 2
    def test_value(self):
        self.assertEqual(double(self.two), 4)
    def test_raises(self):
        with self.assertRaisesRegex(TypeError, "none"):
            double(None)
    def test_own_exception(self):
        with self.assertRaises(solution.Broken) as caught:
            double("x")
        self.assertEqual(caught.exception.code, 7)
        self.assertIsInstance(caught.exception, ValueError)
    def test_parts(self):
        for n in range(3):
            with self.subTest(n=n):
                self.assertEqual(double(n), 2 * n)
    @unittest.skip("not today")
    def test_skipped(self):
        raise RuntimeError

@pytest.mark.parametrize("n, want", [(1, 2), pytest.param(3, 6, id="three")])
@pytest.mark.parametrize("again", [False, True])
def test_each(n, want, again):
    assert double(n) == want

@pytest.fixture
def point(origin):
    yield Point(1 + origin.x, 2)

class TestPoint:
    def setup_method(self):
        self.ready = True
    def test_object(self, point):
        assert self.ready and point.x == 1 and point != 3
        assert isinstance(point, Point) and issubclass(Point, solution.Base)
        assert (point + Point(1, 1)).x == 2
        assert point.__mul__(3).y == 6
        assert list(point) == [1, 2] and str(point) == "1,2" and len(point) == 2
        assert point.norm() == pytest.approx(5 ** 0.5)
        point.x = 9
        assert point.x == 9 and point[0] == 9
        assert point is point.me() and point == point.me()

def test_in_place():
    data = [LIMIT, 1, 2]
    assert solution.sort(data) is None
    assert data == [1, 2, LIMIT]

def test_callbacks():
    assert solution.apply(lambda x: x + 1, [1, 2]) == [2, 3]
    assert solution.count(iter([1, 2, 3])) == 3
    calls = []
    once = solution.memo(lambda x: calls.append(x) or x * 2)
    assert (once(4), once(4), calls) == (8, 8, [4])
    class Mine(Exception): pass
    def boom(x):
        raise Mine("b")
    with pytest.raises(Mine, match="^b$"):
        solution.apply(boom, [1])

def test_printed(capsys, tmp_path):
    solution.hello()
    assert capsys.readouterr().out == "hello\\n"
    (tmp_path / "x").write_text("y")

def test_values_with_names():
    pair = solution.pair()
    assert pair == (1, 2) and pair.a == 1 and type(solution.pair) is not tuple
    assert solution.Counter("aab").most_common(1) == [("a", 2)]
    assert list(solution.first(3)) == [0, 1, 2]
    with solution.five() as five:
        assert five == 5
    back = solution.same({1: (2.5, {3}, b"x", None, 1j, frozenset("a")), "r": range(3), "i": 2 ** 20000})
    assert back == {1: (2.5, {3}, b"x", None, 1j, frozenset("a")), "r": range(3), "i": 2 ** 20000}
    from datetime import date, datetime, time, timezone
    from decimal import Decimal
    from fractions import Fraction
    others = [Decimal("1.10"), Fraction(1, 3), date(2024, 2, 29), time(1, 2)]
    others.append(datetime(2024, 1, 2, 3, 4, 5, 6))
    others.append(datetime(2024, 1, 2, tzinfo=timezone.utc))
    assert solution.same(others) == others
    assert isinstance(back[1], tuple) and solution.Colour.RED.value == 1
    assert solution.Colour["RED"] is solution.Colour.RED
    from solution import inner
    import parts.deep
    assert (inner.NAME, parts.deep.f()) == ("inner", 3)

@pytest.mark.xfail
def test_expected_to_fail():
    assert double(1) == 3
"""
SHARED = {
    "conftest.py": "import pytest, solution as s\n@pytest.fixture\ndef origin(): return s.Point(0, 0)\n"
}
SHARED["shared.py"] = "LIMIT = 3\n"
SOLUTION = """
import contextlib, enum, inner
from collections import Counter, namedtuple
class Broken(ValueError):
    def __init__(self, text):
        super().__init__(text)
        self.code = 7
def double(x):
    if x is None:
        raise TypeError("none given")
    if x == "x":
        raise Broken("x")
    return 2 * x
class Base: pass
class Point(Base):
    def __init__(self, x, y): self.x, self.y = x, y
    def __add__(self, other): return Point(self.x + other.x, self.y + other.y)
    def __mul__(self, k): return Point(self.x * k, self.y * k)
    def __iter__(self): return iter((self.x, self.y))
    def __len__(self): return 2
    def __getitem__(self, i): return (self.x, self.y)[i]
    def __str__(self): return f"{self.x},{self.y}"
    def norm(self): return (self.x ** 2 + self.y ** 2) ** 0.5
    def me(self): return self
class Colour(enum.Enum):
    RED = 1
def sort(data): data.sort()
def apply(f, data): return [f(x) for x in data]
def count(data): return sum(1 for _ in data)
def memo(f):
    held = {}
    def once(x):
        if x not in held:
            held[x] = f(x)
        return held[x]
    return once
def hello(): print("hello")
def pair(): return namedtuple("Pair", "a b")(1, 2)
def first(n): yield from range(n)
def same(x): return x
@contextlib.contextmanager
def five(): yield 5
"""
FILES = {"solution.py": SOLUTION, "inner.py": "NAME = 'inner'", "parts/__init__.py": ""}
FILES["parts/deep.py"] = "def f(): return 3"


def test_what_tests_may_do(tmp_path: Path) -> None:
    check = CHECK | {"tests": ["hidden/test_solution.py", "hidden/conftest.py", "hidden/shared.py"]}
    mark = marked(tmp_path, check, {"test_solution.py": FEATURES, **SHARED}, FILES)
    assert (mark.value, mark.feedback) == (1.0, "14 of 14 tests right")


TESTS = """
import unittest
import pytest
from solution import double

class TestDouble(unittest.TestCase):
    def test_two(self):
        self.assertEqual(double(2), 4)
    def test_near(self):
        self.assertAlmostEqual(double(0.1), 0.2)
    def test_less(self):
        self.assertLess(double(-3), -5)
        self.assertIn(double(1), [2])
    def test_holds(self):
        self.assertCountEqual(double([1]), [1, 1])
        self.assertIn(1, double([1]))

def test_plain():
    assert double(3) == 6

def test_difference():
    assert abs(double(3) - 6) < 1e-9

def test_raises():
    with pytest.raises(TypeError):
        double(None)
"""
RIGHT = "def double(x): return x * 2\n"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tasks") / "sample"
    return make(folder, [{"check": CHECK}], {"test_solution.py": TESTS})


def test_right_and_wrong(task: Task) -> None:
    assert only(judge(task, RIGHT)).value == 1.0
    mark = only(judge(task, "def double(x):\n    return x + 2\n"))
    assert mark.value == pytest.approx(2 / 7)
    at = "test_solution.py::TestDouble::test_holds: TypeError at line 2: return x + 2 (line 15 of the tests)"
    assert mark.feedback.splitlines()[1:3] == [
        f'{at}: can only concatenate list (not "int") to list',
        "test_solution.py::TestDouble::test_less: AssertionError (line 12 of the tests): -1 not less than -5",
    ]
    assert "test_plain: AssertionError (line 19 of the tests): assert 5 == 6" in mark.feedback


def test_hidden_tests_tell_their_names_alone(tmp_path: Path) -> None:
    spy = "def double(x):\n    if x == 3: raise ValueError(f'secret {x}')\n    return f'secret {x}'\n"
    mark = marked(tmp_path, {"type": "unit_tests"}, {"test_solution.py": TESTS}, spy)
    assert "test_solution.py::TestDouble::test_two: failed" in mark.feedback
    assert "test_solution.py::test_plain: raised ValueError at line 2: if x == 3: raise" in mark.feedback
    assert "secret 2" not in mark.feedback
    assert "secret 3" not in mark.feedback


LIAR = """
class Liar{base}:
    __hash__ = None
    def __getattr__(self, name): return self
    def _yes(self, *a): return True
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __instancecheck__ = _yes
    def __ne__(self, other): return False
    def _zero(self, *a): return 0.0
    __sub__ = __rsub__ = __abs__ = __float__ = __round__ = _zero
    __class__ = property(lambda self: int)
def double(x):
    if x is None: return 0
    return Liar({value})
"""
EDIT = """
import glob, os, sys
for path in ['test_solution.py', '/work/test_solution.py', *glob.glob('/tmp/**', recursive=True)]:
    try:
        open(path, 'w').write('def test_nothing(): pass')
    except OSError: pass
def double(x): return 0
"""
FORGE = """
import json, os
line = json.dumps({"ended": "test_solution.py::test_plain", "outcome": "passed"}) + "\\n"
line += json.dumps({"collected": ["a"]}) + "\\n" + json.dumps({"ended": "a", "outcome": "passed"}) + "\\n"
def double(x):
    print(line)
    for place in ('/proc/self/fd', f'/proc/{os.getppid()}/fd', '/proc/1/fd'):
        for fd in range(3):
            try:
                open(f'{place}/{fd}', 'w').write(line)
            except OSError: pass
    for fd in range(3):
        try:
            os.write(fd, line.encode())
        except OSError: pass
    return 0
"""
WIRE = """
import os
def double(x):
    for fd in range(3, 64):
        try:
            os.write(fd, {data})
        except OSError: pass
    return 0
"""
PATCH = """
import builtins, gc, json, operator, os, sys, unittest
json.dumps = lambda *a, **k: '{"value": 4}'
unittest.TestCase.assertEqual = unittest.TestCase.assertLess = lambda *a, **k: None
builtins.len = builtins.isinstance = builtins.abs = lambda *a: 1
operator.eq = lambda *a: True
for held in gc.get_objects():
    if isinstance(held, dict) and 'compared' in held:
        held['compared'] = held['described'] = None
import aigym_kernel.judge.testing.harness as h
h.main = h.run = h.described = lambda *a, **k: None
def double(x): return 0
"""
PARENT = "import os, signal\ndef double(x):\n    os.kill(os.getppid(), {})\n    return 0\n"
TRACE = """
import ctypes, os
def double(x):
    libc = ctypes.CDLL(None)
    libc.ptrace(16, os.getppid(), 0, 0)
    for name in ('mem', 'maps', 'environ'):
        try:
            open(f'/proc/{os.getppid()}/{name}', 'rb').read(10)
            raise SystemExit('reached')
        except OSError: pass
    return 0
"""
STARVE = """
import os, resource
resource.prlimit(os.getppid(), resource.RLIMIT_{}, (0, 0))
def double(x): return 0
"""
PLUGIN = "import sys\ndef pytest_runtest_makereport(*a): sys.exit(0)\ndef double(x): return 0\n"
TRAPS: dict[str, Any] = {
    "sys.exit while loading": "import sys\nsys.exit(0)",
    "os._exit while loading": "import os\nos._exit(0)",
    "sys.exit": "import sys\ndef double(x): sys.exit(0)",
    "os._exit": "import os\ndef double(x): os._exit(0)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef double(x): return 0",
    "another program": "import os\ndef double(x): os.execvp('true', ['true'])",
    "kill": "import os\ndef double(x): os.kill(os.getpid(), 9)",
    **{f"kill the tests ({n})": PARENT.format(n) for n in (2, 9, 10, 15)},
    **{f"starve the tests ({n})": STARVE.format(n) for n in ("AS", "NOFILE", "CPU", "FSIZE")},
    "kill all": "import os\ndef double(x):\n    os.kill(-1, 9)\n    return 0",
    "liar": LIAR.format(base="", value=""),
    **{
        f"liar of {b}": LIAR.format(base=f"({b})", value=v)
        for b, v in (("int", "7"), ("float", "7"), ("list", "[7]"))
    },
    "lying class": LIAR.format(base="(type)", value="'x', (), {}"),
    "strange decimal": "from decimal import Decimal\ndef double(x): return Decimal('sNaN')",
    "own decimal": "import decimal\nclass D(decimal.Decimal):\n    def __eq__(s, o): return True\n"
    "decimal.Decimal = D\nD.__module__, D.__name__ = 'decimal', 'Decimal'\ndef double(x): return D(7)",
    "skip": "import unittest\ndef double(x): raise unittest.SkipTest('x')",
    "assertion": "def double(x): raise AssertionError",
    "interrupt": "def double(x): raise KeyboardInterrupt",
    "generator exit": "def double(x): raise GeneratorExit",
    "not implemented": "def double(x): return NotImplemented",
    "edited tests": EDIT,
    "forged lines": FORGE,
    "forged answers": WIRE.format(data=b'{"value": 4}\n'),
    "junk answers": WIRE.format(data=b"[" * 60_000 + b"\n"),
    "endless answer": WIRE.format(data="b'x' * 10 ** 7"),
    "strange answers": WIRE.format(data=b'{"value": {"k": "handle", "v": "x"}}\n{"error": 7}\n'),
    "closed line": "import os\ndef double(x): os.closerange(0, 99)",
    "everything patched": PATCH,
    "tracing": TRACE,
    "too deep": "def double(x):\n    y = []\n    y.append(y)\n    return y",
    "too large": "def double(x): return 'x' * 10 ** 7",
    "memory": "def double(x): return len('x' * 10 ** 10)",
    "leftovers": {
        "solution.py": PLUGIN,
        **dict.fromkeys(("conftest.py", "pytest.py", "unittest.py", "json.py", "socket.py"), PLUGIN),
        **dict.fromkeys(("sitecustomize.py", "usercustomize.py", "test_solution.py", "ctypes.py"), PLUGIN),
        "pytest.ini": "[pytest]\naddopts = --collect-only\n",
        "__pycache__/test_solution.cpython-311.pyc": b"\0" * 64,
    },
}


@pytest.mark.parametrize("name", TRAPS)
def test_no_trap_gains_a_point(task: Task, name: str) -> None:
    mark = only(judge(task, TRAPS[name]))
    assert mark.value == 0.0, mark.feedback


def test_time_runs_out(tmp_path: Path) -> None:
    stop = "import os, time\ndef double(x):\n    if x == 3:\n        {}\n    return x * 2\n"
    for number, body in enumerate(("os.kill(os.getppid(), 19)", "time.sleep(99)")):
        task = make(tmp_path / str(number), [{"check": CHECK}], {"test_solution.py": TESTS})
        mark = only(judge(hurried(task, 2.0), stop.format(body)))
        assert mark.value is not None
        assert mark.value < 1.0
        assert ": no answer within 2 s" in mark.feedback
        assert "not run" in mark.feedback


def test_one_crash_costs_one_test(task: Task) -> None:
    crash = "import os\ndef double(x):\n    if x == -3: os._exit(0)\n    return x * 2\n"
    mark = only(judge(task, crash))
    assert mark.value == pytest.approx(6 / 7)
    assert "test_less: the solution ended its process" in mark.feedback


def test_end_of_the_solution_is_never_what_a_test_waited_for(tmp_path: Path) -> None:
    tests = (
        "import pytest\nfrom solution import *\ndef test_x():\n    with pytest.raises(Bad):\n        f()\n"
    )
    exits = "import os\nBad = BaseException\ndef f(): os._exit(0)\n"
    mark = marked(tmp_path / "a", CHECK, {"test_solution.py": tests}, exits)
    assert (mark.value, "ended its process" in mark.feedback) == (0.0, True)


@pytest.mark.parametrize("name", ["StopIteration", "Own", "StopAsyncIteration", "GeneratorExit"])
def test_loops_of_a_test_do_not_end_early(tmp_path: Path, name: str) -> None:
    tests = "from solution import double, numbers\ndef test_all():\n    assert all(map(double, [1, 2]))\n"
    tests += "def test_next():\n    assert list(numbers()) == [1, 2]\n"
    early = f"class Own(StopIteration): pass\ndef double(x): raise {name}\n"
    early += "def numbers():\n    yield 1\n    yield 2\n"
    mark = marked(tmp_path, CHECK, {"test_solution.py": tests}, early)
    assert mark.value == 0.5
    assert f"(line 3 of the tests): the solution raised {name}" in mark.feedback


def test_packages_and_the_library_come_before_the_solution_s_files(tmp_path: Path) -> None:
    fake = "class Fake:\n    def __getattr__(self, name): return lambda *a, **k: True\n"
    files = {
        "solution.py": "def double(x): return 0",
        "numpy.py": fake + "testing = Fake()",
        "statistics.py": fake,
    }
    tests = "import numpy, solution, statistics\ndef test_x():\n"
    tests += "    assert statistics.mean([1, 3]) == 2\n"
    tests += "    numpy.testing.assert_array_equal(solution.double(2), 4)\n"
    limits = {"wall_s": 60.0, "packages": ["numpy"]}
    mark = marked(tmp_path, CHECK, {"test_solution.py": tests}, files, limits=limits)
    assert mark.value == 0.0
    assert "Arrays are not equal" in mark.feedback


def test_visible_tests_are_the_public_split(tmp_path: Path) -> None:
    first, second = (
        CHECK | {"tests": ["hidden/test_a.py"]},
        {"type": "unit_tests", "tests": ["hidden/test_b.py"]},
    )
    hidden = {"test_a.py": "from solution import f\ndef test_one():\n    assert f(1) == 1\n"}
    hidden["test_b.py"] = "from solution import f\ndef test_two():\n    assert f(2) == 4\n"
    split = {"tools": ["bash", "validate", "submit"], "validations": 2, "max_steps": 5}
    task = make(tmp_path / "a", [{"check": first}, {"check": second}], hidden, **split)
    files = {"solution.py": "def f(x): return x\n"}
    assert [(m.name, m.value) for m in validate(task, files).marks] == [("c0", 1.0)]
    assert [(m.name, m.value) for m in judge(task, files).marks] == [("c1", 0.0)]
    with pytest.raises(TaskError, match="all tests are visible, so the final score would rest on none"):
        make(tmp_path / "b", [{"check": first}], hidden, **split)
    with pytest.raises(TaskError, match="there is nothing to validate on; mark cases or unit tests"):
        make(tmp_path / "c", [{"check": second}], hidden, **split)


SEARCH = """
import gc, glob, os, subprocess
def look(x):
    places = ['/work', '/tmp', '/dev/shm', *glob.glob('/proc/*/cmdline'), *glob.glob('/proc/*/environ'),
              *glob.glob('/proc/*/mem')]
    found = subprocess.run(['grep', '-raohs', '-D', 'skip', 'cana[r]y-[0-9a-f]*', *places],
                           capture_output=True, text=True).stdout
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb') as memory:
        for line in maps:
            first, last = (int(n, 16) for n in line.split()[0].split('-'))
            try:
                memory.seek(first)
                text = memory.read(last - first)
            except (OSError, ValueError, OverflowError): continue
            at = text.find(b'cana' + b'ry-')
            while at >= 0:
                found += text[at:at + 23].decode('latin1') + ' '
                at = text.find(b'cana' + b'ry-', at + 1)
    return found
"""


def test_tests_are_nowhere_in_reach(tmp_path: Path) -> None:
    canary = "canary-" + os.urandom(8).hex()
    tests = (
        f"import solution\ndef test_hidden():\n    assert '{canary[7:]}' in solution.look(1)\n# {canary}\n"
    )
    task = make(tmp_path / "sample", [{"check": CHECK}], {"test_solution.py": tests})
    assert only(judge(task, SEARCH)).value == 0.0
    assert only(judge(task, {"solution.py": SEARCH, "note.txt": canary})).value == 1.0, "the search works"


def test_compiled_leftovers_are_not_run(tmp_path: Path) -> None:
    """A handed-in __pycache__ would run instead of the source that other checks look at."""
    import importlib.util
    import marshal
    import struct

    source, evil = "def f(): return 1\n", compile("def f(): return 2\n", "more.py", "exec")
    head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 1, 0, 0)  # unchecked: used whatever the source
    cached = importlib.util.cache_from_source("more.py")
    files = {"solution.py": "from more import f\n", "more.py": source, cached: head + marshal.dumps(evil)}
    tests = "import solution\ndef test_source():\n    assert solution.f() == 1\n"
    assert marked(tmp_path, CHECK, {"test_solution.py": tests}, files).value == 1.0


@pytest.mark.parametrize(
    ("tests", "told"),
    [
        ("def test_x(:", "hidden/test_solution.py: invalid syntax"),
        ("import math\nmath.nothing", "line 2: AttributeError: module 'math' has no attribute 'nothing'"),
        ("x = 1", "hidden/test_solution.py: there is no test to run"),
        ("import pytest\npytest.importorskip('x')", "pytest.importorskip is not supported"),
        (
            "def test_x(monkeypatch): pass",
            "test_x: there is no fixture 'monkeypatch'; known: tmp_path, capsys",
        ),
        ("import pytest\n@pytest.mark.skip\ndef test_x(): pass", "there is no test to run"),
        ("import pytest\n@pytest.mark.parametrize('a, b', [1])\ndef test_x(a, b): pass", ""),
    ],
)
def test_broken_tests_are_no_zero(tmp_path: Path, tests: str, told: str) -> None:
    mark = marked(tmp_path, CHECK, {"test_solution.py": tests}, RIGHT)
    assert mark.value is None
    assert told in mark.feedback


@pytest.mark.parametrize(
    ("solution", "told"),
    [
        ("x = 1", "ImportError (line 4 of the tests): cannot import name 'double' from 'solution'"),
        ("def double(:", "SyntaxError at line 1: def double(: (line 4 of the tests): invalid syntax"),
        ("import nothing", "ModuleNotFoundError at line 1: import nothing (line 4 of the tests): No module"),
        ("", "cannot import name 'double'"),
        ("while True: pass", "no answer within 1 s"),
    ],
)
def test_solution_that_does_not_load(task: Task, solution: str, told: str) -> None:
    mark = only(judge(hurried(task) if "while" in solution else task, solution))
    assert mark.value == 0.0
    assert told in mark.feedback


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"check\.tests: there is no file 'hidden/test_solution\.py'"):
        make(tmp_path / "a", [{"check": CHECK}], {})
    with pytest.raises(TaskError, match=r"check\.tests"):
        make(tmp_path / "b", [{"check": CHECK | {"tests": []}}], {})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


@given(plain)
def test_plain_values_travel(value: Any) -> None:
    assert wire.decode(wire.encode(value, no_handles), no_handles) == value


@given(
    st.recursive(st.none() | st.text() | st.integers(), lambda i: st.dictionaries(st.sampled_from("kvl"), i))
)
def test_any_message_is_a_value_or_an_end(data: Any) -> None:
    with contextlib.suppress(wire.Ended):
        assert wire.decode(data, no_handles) is not no_handles


def no_handles(*told: Any) -> Any:
    raise TypeError(told)


LOOPS = """
import unittest
from solution import f
class Loops(unittest.TestCase):
    def test_all(self):
        self.assertTrue(all(map(lambda x: f(x) == x, [1, 2])))
    def test_expected(self):
        with self.assertRaises(Exception):
            f(0)
    def test_caught(self):
        try:
            f(0)
        except Exception:
            pass
"""


def test_exceptions_that_would_end_a_loop_or_pass_for_expected_ones(tmp_path: Path) -> None:
    loops = make(tmp_path / "loops", [{"check": CHECK}], {"test_solution.py": LOOPS})
    assert judge(loops, "def f(x):\n    if not x: raise OSError\n    return x").passed
    ending = only(judge(loops, "def f(x): raise StopIteration"))
    assert ending.value == pytest.approx(2 / 3)
    assert "test_all: RuntimeError" in ending.feedback
    assert judge(loops, "import os\ndef f(x): os._exit(0)").total == 0.0
