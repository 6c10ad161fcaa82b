"""Many programs: order, laziness, a full machine, cancelling. On every sandbox that runs here."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import missing

from aigym_kernel.errors import AigymError, SandboxError, SandboxFull, SolutionError, UnknownName
from aigym_kernel.executors import AHEAD
from aigym_kernel.sandboxes import Limits, Program, Sandbox, check, execute, open_sandbox

NAMES = [
    "bwrap",
    "pool-bwrap",
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("pool-docker", marks=pytest.mark.docker),
]
SHORT = Limits(wall_s=60, memory_mb=128, pids=24, disk_mb=16)


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if problem := check(request.param):
        missing(f"{request.param}: {problem}")
    return open_sandbox(request.param)


@pytest.fixture
def bwrap() -> Sandbox:
    if problem := check("bwrap"):
        missing(f"bwrap: {problem}")
    return open_sandbox("bwrap")


def _numbers(n: int) -> list[Program]:
    return [Program(f"print({number})", limits=SHORT) for number in range(n)]


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(words: list[str]) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == words]


def _sleeper(seconds: str) -> Program:
    return Program(f"exec sleep {seconds}", "bash", limits=Limits(wall_s=600))


def test_executions_come_in_the_order_of_the_programs(sandbox: Sandbox) -> None:
    slow = Program("import time; time.sleep(0.6); print('slow')", limits=SHORT)
    done = list(sandbox.map([slow, *_numbers(5)], workers=3))
    assert [execution.stdout for execution in done] == ["slow\n", *(f"{n}\n" for n in range(5))]
    assert {execution.status for execution in done} == {"ok"}


def test_a_program_carries_all_that_execute_takes(sandbox: Sandbox) -> None:
    programs = [
        Program("read line; cat $line; exit 3", "bash", stdin="a.txt\n", files={"a.txt": "content"}),
        Program("while True: pass", limits=Limits(wall_s=0.5)),
    ]
    assert [(e.status, e.exit_code, e.stdout) for e in sandbox.map(programs, workers=2)] == [
        ("error", 3, "content"),
        ("timeout", None, ""),
    ]


def test_nothing_to_do(bwrap: Sandbox) -> None:
    assert list(bwrap.map([])) == []


def test_programs_are_drawn_as_they_are_needed(bwrap: Sandbox) -> None:
    drawn = 0

    def endless() -> Iterator[Program]:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield Program(f"print({number})")

    executions = bwrap.map(endless(), workers=2)
    assert drawn == 0
    assert [next(executions).stdout for _ in range(3)] == ["0\n", "1\n", "2\n"]
    assert drawn <= 3 + 2 * AHEAD
    executions.close()  # type: ignore[attr-defined]
    assert next(executions, None) is None


def test_a_finished_execution_does_not_wait_for_the_window_to_fill(bwrap: Sandbox) -> None:
    drawn, executions = 0, []

    def until_the_first_is_there() -> Iterator[Program]:
        nonlocal drawn
        while not executions:
            drawn += 1
            yield Program("print(1)")
            time.sleep(0.3)

    for execution in bwrap.map(until_the_first_is_there(), workers=1):
        executions.append(execution.stdout)
    assert executions == ["1\n"] * drawn
    assert drawn < AHEAD


def test_breaking_out_closes_running_boxes(sandbox: Sandbox) -> None:
    seconds = f"530.{os.getpid()}"
    executions = sandbox.map([*_numbers(1), *(_sleeper(seconds) for _ in range(4))], workers=2)
    assert next(executions).stdout == "0\n"
    _until(lambda: _alive(["sleep", seconds]))
    executions.close()  # type: ignore[attr-defined]
    _until(lambda: not _alive(["sleep", seconds]))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("aigym-map")]


def test_an_exception_of_the_programs_closes_running_boxes(bwrap: Sandbox) -> None:
    seconds = f"520.{os.getpid()}"

    def broken() -> Iterator[Program]:
        yield _sleeper(seconds)
        _until(lambda: _alive(["sleep", seconds]))
        raise ZeroDivisionError("in the programs")

    with pytest.raises(ZeroDivisionError, match="in the programs"):
        list(bwrap.map(broken(), workers=2))
    _until(lambda: not _alive(["sleep", seconds]))


_INTERRUPTED = """
import sys
from aigym_kernel.sandboxes import Limits, Program, open_sandbox
sleeper = Program(f"exec sleep {sys.argv[1]}", "bash", limits=Limits(wall_s=600))
try:
    list(open_sandbox("bwrap").map([sleeper] * 3, workers=2))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.read()
"""


def test_control_c_closes_running_boxes(bwrap: Sandbox) -> None:
    seconds = f"510.{os.getpid()}"
    command = [sys.executable, "-c", _INTERRUPTED, seconds]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _until(lambda: len(_alive(["sleep", seconds])) == 2)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        _until(lambda: not _alive(["sleep", seconds]))
        assert process.poll() is None, "the boxes ended before their process"
        process.communicate()


def test_an_error_is_raised_in_its_programs_place(bwrap: Sandbox) -> None:
    executions = bwrap.map([*_numbers(2), Program("", files={"../x": ""}), *_numbers(1)], workers=2)
    assert [next(executions).stdout for _ in range(2)] == ["0\n", "1\n"]
    with pytest.raises(SandboxError, match=r"'\.\./x' is not a path below /work"):
        next(executions)


@pytest.mark.parametrize(
    ("programs", "workers", "kind", "told"),
    [
        (["print(1)"], 1, SolutionError, r"must be Program, not str: Program\(code\)"),
        ([], 0, AigymError, "workers=0 must be a whole number from 1 to 1024"),
        ([], "two", AigymError, "workers='two'"),
    ],
)
def test_wrong_arguments(bwrap: Sandbox, programs: list, workers: int, kind: type, told: str) -> None:
    with pytest.raises(kind, match=told):
        list(bwrap.map(programs, workers=workers))


def test_a_wrong_program_is_refused_when_it_is_written_down() -> None:
    with pytest.raises(UnknownName, match=r"'pyhton'.*'python'"):
        Program("", "pyhton")
    with pytest.raises(SolutionError, match="limits must be Limits, not dict"):
        Program("", limits={})  # type: ignore[arg-type]


# A machine that is full. Real limits of this process stand in for a real machine's.


_FULL = """
import resource, sys, threading
from aigym_kernel.sandboxes import Limits, Program, open_sandbox
sandbox = open_sandbox(sys.argv[1])
assert [e.stdout for e in sandbox.map([Program("print(0)")])] == ["0\\n"]
in_use = max(int(name) for name in __import__("os").listdir("/proc/self/fd"))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 24, hard))
limits = Limits(wall_s=60)
programs = [Program(f"import time; time.sleep(0.1); print({n})", limits=limits) for n in range(12)]
done = list(sandbox.map(programs, workers=10))
print({e.status for e in done}, [e.stdout for e in done] == [f"{n}\\n" for n in range(12)])
"""


def test_too_many_open_files_only_mean_fewer_boxes_at_a_time(sandbox: Sandbox) -> None:
    command = [sys.executable, "-c", _FULL, sandbox.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=270, check=False)
    assert done.stdout == "{'ok'} True\n", done.stderr


def test_a_machine_that_stays_full_is_an_error_of_its_own(
    bwrap: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aigym_kernel.executors.PATIENCE_S", 0.2)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(free := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        with pytest.raises(SandboxFull, match=r"Too many open files.*fewer boxes"):
            execute("print(1)", sandbox=bwrap)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert execute("print(1)", sandbox=bwrap).stdout == "1\n"


_CROWDED = """
import pathlib, sys
from aigym_kernel.sandboxes import Limits, Program, open_sandbox
pathlib.Path(sys.argv[2], "cgroup.procs").write_text("0")
limits = Limits(wall_s=60)
programs = [Program(f"import time; time.sleep(0.3); print({n})", limits=limits) for n in range(40)]
done = list(open_sandbox(sys.argv[1]).map(programs, workers=40))
print({e.status for e in done}, [e.stdout for e in done] == [f"{n}\\n" for n in range(40)])
"""


def test_too_many_processes_and_threads_only_mean_fewer_boxes_at_a_time(bwrap: Sandbox) -> None:
    """The waiting threads of 40 workers alone would leave no room for a single box."""
    group = Path(f"/sys/fs/cgroup/pids/aigym-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs a control group of its own for processes: {error}")
    try:
        Path(group, "pids.max").write_text("45")
        command = [sys.executable, "-c", _CROWDED, bwrap.name, str(group)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=270, check=False)
        assert done.stdout == "{'ok'} True\n", done.stderr
        assert Path(group, "pids.events").read_text() != "max 0\n"
    finally:
        _until(lambda: not Path(group, "cgroup.procs").read_text())
        group.rmdir()
