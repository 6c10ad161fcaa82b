"""Solutions that go for the judge, not the task. None gets a point, stops the judge, or makes it give up.

What each says is judged in every kind of box that is there without a daemon; `tests/test_judge.py` holds the
ones that only touch how values are compared.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import hurried
from test_judge import CASES, make, only

from aigym_kernel.envs.task_env import TaskEnv
from aigym_kernel.judge import judge
from aigym_kernel.judge.values import ANSWER_LENGTH, equal, parse
from aigym_kernel.sandboxes import Sandbox, open_sandbox
from aigym_kernel.settings import SANDBOXES
from aigym_kernel.tasks import Task

pytestmark = pytest.mark.usefixtures("sandbox")

KINDS = [name for name in ("bwrap", "pool-bwrap") if name in SANDBOXES]
RIGHT = "def double(x):\n    return 2 * x\n"


@pytest.fixture(scope="module", params=KINDS)
def where(request: pytest.FixtureRequest) -> Any:
    return open_sandbox(request.param)


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tasks") / "double"
    limits = {"wall_s": 1.5, "memory_mb": 128, "disk_mb": 8, "pids": 16}
    check = {"type": "function", "function": "double"}
    return make(folder, [{"check": check}], {"cases.yaml": CASES}, limits=limits)


def nothing_gained(task: Task, solution: Any, where: Sandbox) -> str:
    """The feedback on a solution that is worth nothing, and is told so: not what the judge could not do."""
    score = judge(task, solution, sandbox=where)
    assert score.total == 0.0, str(score)
    return only(score).feedback


# The function check

WRITE_LINE = """
import os
def double(x):
    line = {line}
    for fd in range(3, 64):
        try:
            while line:
                line = line[os.write(fd, line):]
        except OSError:
            continue
        os._exit(0)
"""

LINES = {
    "deep": 'b\'{"value": \' + b"[" * 60_000 + b"]" * 100 + b"}\\n"',
    "deep, whole": 'b\'{"value": \' + b"[" * 400 + b"]" * 400 + b"}\\n"',
    "deep error": 'b\'{"error": \' + b"[" * 900 + b"]" * 900 + b"}\\n"',
    "one to a hash table": (
        'b\'{"value": {"dict": [\' + b",".join(b"[%d,0]" % (i * (2**61 - 1)) for i in range(1, 30_000))'
        " + b']}}\\n'"
    ),
    "not text": 'b\'{"error": {"x": [1]}, "names": {"a": 1}, "line": 1e999, "file": ["solution.py"]}\\n\'',
    "names of many kinds": 'b\'{"error": "E", "names": [1, null, {}, "ValueError"], "line": true}\\n\'',
    "huge line number": (
        'b\'{"error": "E", "names": [], "file": "solution.py", "line": -99999999999999999999}\\n\''
    ),
    "other file": 'b\'{"error": "E", "names": [], "file": "../../etc/passwd", "line": 1}\\n\'',
    "long int": 'b\'{"value": \' + b"9" * 60_000 + b"}\\n"',
    "invalid UTF-8": 'b"\\xff\\xfe{\\n" * 10',
    "control characters": 'b\'{"error": "\\x1b[2J\\\\u0000\\\\ud800", "names": [], "message": "\\x07"}\\n\'',
    "both": 'b\'{"value": 4, "value": 5, "error": "E"}\\n\'',
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_the_solution_wrote_itself(double: Task, where: Sandbox, name: str) -> None:
    nothing_gained(double, WRITE_LINE.format(line=LINES[name]), where)


def test_a_long_line_is_not_even_read() -> None:
    pairs = ",".join(f"[{i * (2**61 - 1)},0]" for i in range(1, 50_000))
    line = f'{{"value": {{"dict": [{pairs}]}}}}'
    assert len(line) > ANSWER_LENGTH
    assert parse(line) == {"ended": "its answer cannot be read"}


VALUES = {
    "inf": "float('inf')",
    "NaN": "float('nan')",
    "minus zero": "-0.0",
    "bool": "x > 0",
    "bytes": "bytes([2 * x % 256])",
    "complex": "complex(2 * x)",
    "a set": "{2 * x}",
    "a list around it": "[2 * x]",
    "deep": "eval('[' * 60 + str(2 * x) + ']' * 60)",
    "a mock": "__import__('unittest.mock').mock.MagicMock(__eq__=lambda s, o: True)",
    "any": "__import__('unittest.mock').mock.ANY",
    "lying class": "type('L', (), {'__class__': int, '__eq__': lambda s, o: True})()",
    "lying metaclass": "type('M', (type,), {'__subclasscheck__': lambda c, o: True})"
    "('L', (), {'__eq__': lambda s, o: True})()",
    "lying str": "type('L', (str,), {'__eq__': lambda s, o: True, '__hash__': lambda s: 0})('x')",
    "lying list": "type('L', (list,), {'__eq__': lambda s, o: True, '__iter__': lambda s: iter([4])})()",
    "lying dict": "type('L', (dict,), {'__eq__': lambda s, o: True, 'items': lambda s: [(4, 4)]})()",
    "raises when looked at": "type('L', (), {'__getattribute__': lambda s, n: 1 / 0})()",
    "generator": "(2 * x for _ in range(1))",
    "itself": "double",
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_is_not_the_answer(double: Task, where: Sandbox, name: str) -> None:
    nothing_gained(double, f"def double(x):\n    return {VALUES[name]}\n", where)


def test_true_is_not_one_as_a_key_either() -> None:
    assert not equal({True: 1}, {1: 1})
    assert not equal({(1, True): 1}, {(1, 1): 1})
    assert equal({(1, "a"): 1, 2.0: 0}, {(1, "a"): 1, 2: 0})


PROCESSES = {
    "answers at exit": """
        import atexit, os, sys
        atexit.register(lambda: os.write(1, b'{"value": 4}\\n'))
        def double(x): sys.exit(0)""",
    "answers from a thread": """
        import os, threading, time
        def late():
            time.sleep(0.2)
            for fd in range(64):
                try: os.write(fd, b'{"value": 4}\\n')
                except OSError: pass
        threading.Thread(target=late).start()
        def double(x): return 5""",
    "a process that goes on": """
        import os, time
        def double(x):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    while True:
                        for fd in range(64):
                            try: os.write(fd, b'{"value": 4}\\n')
                            except OSError: pass
                        time.sleep(0.01)
            return 5""",
    "kills all": "import os\ndef double(x): os.kill(-1, 9)",
    "kills process 1": """
        import os, signal
        def double(x):
            for number in range(1, 65):
                try: os.kill(1, number)
                except OSError: pass
            return 5""",
    "frames above": """
        import sys
        def double(x):
            frame = sys._getframe()
            while frame:
                for name in list(frame.f_locals):
                    if name in ('job', 'answer', 'line', 'result'): frame.f_locals[name] = '{"value": 4}'
                for name in ('encode', 'encode_object', 'answer', 'load'):
                    if name in frame.f_globals: frame.f_globals[name] = lambda *a, **k: '{"value": 5}'
                frame = frame.f_back
            return 5""",
    "fills memory": """
        def double(x):
            kept = []
            while True: kept.append(bytearray(10 ** 6))""",
    "fills the disk": """
        def double(x):
            try:
                with open('/work/big', 'wb') as f:
                    while True: f.write(bytes(10 ** 6))
            except OSError: pass
            try:
                with open('/tmp/big', 'wb') as f:
                    while True: f.write(bytes(10 ** 6))
            except OSError: pass
            return 5""",
    "fork bomb": """
        import os
        def double(x):
            while True:
                try: os.fork()
                except OSError: pass""",
    "floods": """
        import os
        def double(x):
            for fd in range(64):
                try:
                    while True: os.write(fd, b'x' * 65536)
                except OSError: pass""",
    "takes all descriptors": """
        import os
        def double(x):
            try:
                while True: os.dup(0)
            except OSError: return 5""",
    "takes all rights": """
        import os
        def double(x):
            for name in ('/work', '/tmp', '/work/solution.py'): os.chmod(name, 0)
            return 5""",
}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_that_goes_for_the_judge(double: Task, where: Sandbox, name: str) -> None:
    nothing_gained(double, textwrap.dedent(PROCESSES[name]).lstrip(), where)


SHADOWS = (
    *("json", "marshal", "os", "sys", "io", "codecs", "site", "ctypes", "pathlib", "subprocess", "re"),
    *("sitecustomize", "usercustomize", "conftest", "builtins", "encodings/__init__", "collections/__init__"),
)


def shadows(evil: str) -> dict[str, str]:
    """Files that stand for modules, wherever Python may look for them in the working folder."""
    files = {f"{name}.py": evil for name in SHADOWS}
    for version in range(11, 15):
        home = f".local/lib/python3.{version}/site-packages"
        files |= {f"{home}/evil.pth": f"import os; exec({evil!r})", f"{home}/usercustomize.py": evil}
    return files | {".pythonrc.py": evil, "pyvenv.cfg": "home = /work\n", "python3": "#!/bin/sh\n"}


FORGED = "import os\nos.write(1, b'{\"value\": 1}\\n')\nos._exit(0)\n"


def test_modules_of_the_solution_do_not_answer_for_the_function(double: Task, where: Sandbox) -> None:
    forged = FORGED.replace('"value": 1', '"value": 4')
    nothing_gained(double, shadows(forged) | {"solution.py": "def double(x): return 5"}, where)


LEAVES = """
import os, py_compile, sys
places = ['/work', '/tmp', '/dev/shm', '/work/.local/lib/python3.11/site-packages', '/work/__pycache__']
found = [p for p in places if os.path.exists(p + '/left.py')]
for place in places:
    try:
        os.makedirs(place, exist_ok=True)
        with open(place + '/left.py', 'w') as file: file.write('answers = {2: 4, 3: 6, -1: -2}')
    except OSError: pass
with open('/work/solution.py', 'w') as file: file.write('def double(x): return 2 * x')
py_compile.compile('/work/solution.py', cfile='/work/__pycache__/solution.cpython-311.pyc')
def double(x):
    return 2 * x if found else 5
"""


def test_nothing_is_left_from_case_to_case(double: Task, where: Sandbox) -> None:
    nothing_gained(double, LEAVES, where)


def test_the_next_solution_notices_nothing(double: Task, where: Sandbox) -> None:
    for name in ("fills the disk", "a process that goes on", "takes all rights"):
        judge(double, textwrap.dedent(PROCESSES[name]).lstrip(), sandbox=where)
        assert judge(hurried(double, 60.0), RIGHT, sandbox=where).passed, f"after: {name}"


# The stdin_stdout check


@pytest.fixture(scope="module")
def add(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tasks") / "add"
    cases = [{"stdin": "1 2\n", "stdout": "3\n"}, {"stdin": "5 5\n", "stdout": "10\n"}]
    limits = {"wall_s": 1.5, "memory_mb": 128, "disk_mb": 8, "pids": 16}
    return make(folder, [{"check": {"type": "stdin_stdout"}}], {"cases.yaml": cases}, limits=limits)


PROGRAMS = {
    "right, then a crash": "a, b = map(int, input().split())\nprint(a + b, flush=True)\nraise SystemExit(1)",
    "right, then killed": "import os\nprint(sum(map(int, input().split())), flush=True)\nos.abort()",
    "right, then never ends": "print(sum(map(int, input().split())), flush=True)\nwhile True: pass",
    "all answers": "print(3)\nprint(10)",
    "errors for output": "import sys\nprint(sum(map(int, input().split())), file=sys.stderr)",
    "searches for what is expected": """
import glob
for path in glob.glob('/proc/[0-9]*/*') + glob.glob('/**/cases*', recursive=True)[:5]:
    try:
        with open(path, 'rb') as file:
            if b'stdout' in file.read(100_000): print('found', path)
    except OSError: pass""",
    "terminal codes": "print('\\x1b[2J\\x1b[H3')",
    "surrogates": "import sys\nsys.stdout.buffer.write(b'\\xed\\xa0\\x80\\xff')",
    "long lines of a traceback": """
import sys
sys.stderr.write('File "' * 100_000 + '\\n' + 'a.' * 200_000)
sys.exit(1)""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_goes_for_the_judge(add: Task, where: Sandbox, name: str) -> None:
    told = nothing_gained(add, PROGRAMS[name], where)
    assert "found" not in told


def test_modules_of_the_solution_do_not_answer_for_the_program(add: Task, where: Sandbox) -> None:
    nothing_gained(add, shadows("") | {"solution.py": "print('none')"}, where)


# The metric check


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tasks") / "predict"
    check = {"type": "metric", "metric": "accuracy", "target": "y", "at_zero": 0.5, "at_full": 1.0}
    truth = "id,y\n" + "".join(f"{i},{i * 7 % 2}\n" for i in range(20))
    limits = {"wall_s": 20.0, "memory_mb": 128, "disk_mb": 64}
    return make(folder, [{"check": check}], {"truth.csv": truth}, kind="data", limits=limits)


SUBMISSIONS = {
    "a link to what it does not know": "import os\nos.symlink('/proc/1/environ', 'submission.csv')",
    "a pipe": "import os\nos.mkfifo('submission.csv')",
    "a folder": "import os\nos.mkdir('submission.csv')",
    "both answers": "f = open('submission.csv', 'w')\nf.write('id,y\\n')\n"
    "for i in range(20): f.write(f'{i},0\\n{i},1\\n')",
    "two columns of answers": "f = open('submission.csv', 'w')\nf.write('id,y,y\\n')\n"
    "for i in range(20): f.write(f'{i},0,1\\n')",
    "ids that are nearly the same": "f = open('submission.csv', 'w')\nf.write('id,y\\n')\n"
    "for i in range(20): f.write(f'{i},0\\n {i},1\\n')",
    "millions of rows": "f = open('submission.csv', 'w')\nf.write('id,y\\n')\n"
    "for i in range(300_000): f.write(f'{i},1\\n')",
    "one endless field": "f = open('submission.csv', 'w')\nf.write('id,y\\n\"')\n"
    "for i in range(50): f.write('x' * 10 ** 6)",
    "NUL": "f = open('submission.csv', 'w')\nf.write('id,y\\n' + '\\0,1\\n' * 20)",
}


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_a_submission_that_goes_for_the_judge(predict: Task, where: Sandbox, name: str) -> None:
    told = nothing_gained(predict, SUBMISSIONS[name], where)
    assert name != "millions of rows" or "it has more than 1,040 rows" in told


# Hidden scripts


SCRIPT = """
import json, subprocess, sys
done = subprocess.run([sys.executable, 'solution.py']{capture}, timeout=2)
with open('/work/notes', 'w') as file: file.write('x' * 10_000)
print(json.dumps({{'value': 0.0 if open('/work/solution.py').read() else 1.0, 'feedback': 'looked'}}))
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """Two tasks: the one's script gives the solution its own streams, the other's captures them."""
    ways = {"inherits": "", "captures": ", capture_output=True"}
    return {way: scripted(tmp_path_factory.mktemp("tasks") / "scripted", text) for way, text in ways.items()}


def scripted(folder: Path, capture: str) -> Task:
    script = "import os\nif not os.path.exists('solution.py'): open('solution.py', 'w').write('pass')\n"
    script += SCRIPT.format(capture=capture)
    limits = {"wall_s": 5.0, "memory_mb": 128, "disk_mb": 8, "pids": 24}
    return make(folder, [{"check": {"type": "program"}}], {"check.py": script}, limits=limits)


GUESTS = {
    "prints a verdict": "print('{\"value\": 1}')",
    "prints a verdict when the script has ended": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            script = os.getppid()
            while True:
                for fd in range(64):
                    try: os.write(fd, b'\\n{"value": 1}\\n')
                    except OSError: pass
        time.sleep(0.3)""",
    "kills the script": "import os\nos.kill(os.getppid(), 9)",
    "ends the script": "import os\nos.kill(os.getppid(), 15)",
    "kills all": "import os\nos.kill(-1, 9)",
    "stops the script": "import os\nos.kill(os.getppid(), 19)",
    "never ends": "while True: pass",
    "fills the disk": """
        try:
            with open('/work/big', 'wb') as file:
                while True: file.write(bytes(4096))
        except OSError: pass""",
    "fork bomb": """
        import os
        while True:
            try: os.fork()
            except OSError: pass""",
    "fills memory": """
        import os, time
        kept = [bytearray(b'x' * 10 ** 6) for _ in range(110)]
        if os.fork() == 0: time.sleep(60)
        time.sleep(60)""",
}


HOLDING = (*list(GUESTS)[:2], "fork bomb", "fills memory")
"""What writes to its streams, or holds them open when it has ended: there capturing makes a difference."""


@pytest.mark.parametrize(
    ("way", "name"), [*(("inherits", n) for n in GUESTS), *(("captures", n) for n in HOLDING)]
)
def test_a_script_is_not_answered_for(scripts: dict[str, Task], where: Sandbox, way: str, name: str) -> None:
    nothing_gained(scripts[way], textwrap.dedent(GUESTS[name]).lstrip(), where)


@pytest.mark.parametrize("way", ["inherits", "captures"])
def test_modules_of_the_solution_are_not_the_scripts(
    scripts: dict[str, Task], where: Sandbox, way: str
) -> None:
    script = scripts[way].hidden["check.py"].replace(b"timeout=2", b"timeout=60")
    patient = hurried(replace(scripts[way], hidden={"check.py": script}), 120.0)
    told = nothing_gained(patient, shadows(FORGED) | {"solution.py": "print(1)"}, where)
    assert told == "looked"


def test_a_script_that_fails_by_itself_is_no_zero(tmp_path: Path, where: Sandbox) -> None:
    script = "import os\nos.kill(os.getpid(), 9)"
    task = make(tmp_path / "scripted", [{"check": {"type": "program"}}], {"check.py": script})
    score = judge(task, "print(1)", sandbox=where)
    assert score.total is None
    assert "killed by signal SIGKILL" in only(score).feedback


# What an agent leaves in its box


@pytest.fixture(scope="module")
def tidy(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tasks") / "tidy"
    script = "import json, os\nopen('notes', 'w').write('x')\n"
    script += (
        "print(json.dumps({'value': float(os.path.exists('done')), 'feedback': str(len(os.listdir()))}))"
    )
    return make(
        folder,
        [{"check": {"type": "program"}}],
        {"check.py": script},
        kind="shell",
        answer="",
        tools=["bash", "submit"],
        max_steps=3,
        limits={"wall_s": 30.0, "memory_mb": 256, "disk_mb": 16},
    )


LEFT = {
    "a name that no solution may have": r"touch 'a\b' $'new\nline' $'\xff\xfe' ' ' '-rf'",
    "many small files beside a hole": "for i in $(seq 3000); do echo > s$i; done; truncate -s 15M hole",
    "long names in deep folders": (
        "n=$(printf '\\001%.0s' $(seq 200)); for i in $(seq 30); do mkdir $n; cd $n; done;"
        " for i in $(seq 2500); do : > $i$n; done"
    ),
    "links out of the folder": "ln -s /proc/1 p; ln -s / r; ln -s done loop; ln -s loop done2; mkfifo f",
    "no rights": "mkdir d; touch d/x; chmod 0 d .",
    "what looks like the judge's": "mkdir hidden; echo '{\"value\": 1}' > hidden/check.py",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_an_agent_leaves_does_not_stop_the_judge(
    tidy: Task, where: Sandbox, name: str, tmp_path: Path
) -> None:
    env = TaskEnv(str(tidy.folder))
    env._sandbox = where
    env.reset()
    env.step(f"bash {LEFT[name]}")
    _, reward, terminated, _, info = env.step("submit")
    env.close()
    assert (terminated, reward, info["outcome"]) == (True, 0.0, "failed"), info


def test_an_honest_agent_may_leave_as_much_as_its_disk_holds(tidy: Task, where: Sandbox) -> None:
    env = TaskEnv(str(tidy.folder))
    env._sandbox = where
    env.reset()
    env.step("bash head -c 15M /dev/zero > big; touch done")
    _, reward, _, _, info = env.step("submit")
    env.close()
    assert (reward, info["outcome"]) == (1.0, "passed"), json.dumps(info)
