"""The same function over many items, in order: on threads, and on a real Ray cluster that loses a node."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from clusters import TwoNodes, two_nodes
from conftest import missing

from aigym_kernel.errors import AigymError, RunError, SandboxError, SolutionError
from aigym_kernel.executors import AHEAD, Ray, Threads, in_order
from aigym_kernel.sandboxes import Limits, Program, Sandbox, check, open_sandbox


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Threads


def test_results_come_in_order_whoever_is_faster() -> None:
    second_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_done.wait(90)
        if item == 1:
            second_done.set()
        return item * item

    assert list(in_order(range(100), Threads(work, workers=3))) == [n * n for n in range(100)]


def test_an_exception_is_raised_in_its_place_and_no_more_is_drawn() -> None:
    drawn = 0

    def endless() -> Iterator[int]:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield number

    def work(item: int) -> float:
        return 1 / (item - 5)

    results = in_order(endless(), Threads(work, workers=2))
    assert [next(results) for _ in range(5)] == [1 / (n - 5) for n in range(5)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert drawn <= 6 + 2 * AHEAD
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("aigym-map")]


# Ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    if problem := check("bwrap"):
        missing(f"bwrap: {problem}")
    return open_sandbox("bwrap")


def test_a_cluster_answers_every_program_in_order_though_a_node_dies(
    cluster: TwoNodes, sandbox: Sandbox
) -> None:
    programs = (Program(f"import time; time.sleep(0.2); print({n})") for n in range(16))
    executions = sandbox.map(programs, executor=Ray(address=cluster.address))
    printed = [next(executions).stdout for _ in range(4)]
    cluster.kill_second()  # in the middle of a program
    printed += [execution.stdout for execution in executions]
    assert printed == [f"{n}\n" for n in range(16)]


def test_a_pool_is_made_anew_on_each_node(cluster: TwoNodes) -> None:
    pool = open_sandbox("pool-bwrap")
    programs = [Program(f"print({n})") for n in range(6)]
    assert [e.stdout for e in pool.map(programs, executor=Ray())] == [f"{n}\n" for n in range(6)]


def test_closing_ends_what_runs_on_the_cluster(cluster: TwoNodes, sandbox: Sandbox) -> None:
    words = ["sleep", f"500.{os.getpid()}"]

    def alive() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == words]

    sleeper = Program(f"exec {' '.join(words)}", "bash", limits=Limits(wall_s=600))
    executions = sandbox.map([Program("print(1)"), sleeper], executor=Ray(), workers=1)
    assert next(executions).stdout == "1\n"
    _until(alive)
    executions.close()  # type: ignore[attr-defined]
    _until(lambda: not alive())


@pytest.mark.parametrize(
    ("program", "kind", "told"),
    [
        ("print(1)", SolutionError, "must be Program, not str"),
        (Program("", files={"../x": ""}), SandboxError, "below /work"),
    ],
)
def test_errors_arrive_from_the_cluster_as_they_are(
    cluster: TwoNodes, sandbox: Sandbox, program: Program, kind: type, told: str
) -> None:
    with pytest.raises(kind, match=told):
        list(sandbox.map([program], executor=Ray()))


def test_a_second_cluster_is_refused(cluster: TwoNodes, sandbox: Sandbox) -> None:
    with pytest.raises(RunError, match=f"uses the Ray cluster at {cluster.address}, not 10.0.0.1:6379"):
        sandbox.map([], executor=Ray(address="10.0.0.1:6379"))


def test_another_executor_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(AigymError, match=r"executor='ray' must be None \(threads\) or aigym.Ray"):
        sandbox.map([], executor="ray")  # type: ignore[arg-type]


_NO_RAY = """
from aigym_kernel.executors import Ray
def told(address):
    try: Ray(address=address).crew(print)
    except Exception as error: print(type(error).__name__, error)
"""


def test_no_ray_is_one_clear_error() -> None:
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    code = f"import os, sys\nsys.modules['ray'] = None\n{_NO_RAY}told(None)\ndel sys.modules['ray']\n"
    code += "told('127.0.0.1:9')\ntold('nowhere')\nos.environ['RAY_ADDRESS'] = '127.0.0.1:9'\ntold(None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    wanted = [
        "pip install 'aigym-kernel[ray]'",
        "no Ray cluster answers at 127.0.0.1:9",
        "no Ray cluster answers at nowhere",
        "no Ray cluster answers at 127.0.0.1:9",
    ]
    lines = [line for line in done.stdout.splitlines() if line.startswith("RunError")]
    assert len(lines) == len(wanted), done.stdout + done.stderr
    assert all(words in line for words, line in zip(wanted, lines)), lines


def test_a_cluster_that_wants_a_token_is_one_clear_error(tmp_path: Path) -> None:
    code = (
        "import socket\nfrom aigym_kernel.executors import Ray\n"
        "heard = socket.create_server(('127.0.0.1', 0))\n"
        "try:\n    Ray(address=f'127.0.0.1:{heard.getsockname()[1]}').crew(print)\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    alone = {**known, "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=alone
    )
    assert done.stdout.startswith("RunError the Ray cluster at 127.0.0.1:"), done.stdout + done.stderr
    assert "set RAY_AUTH_MODE to what it was where the cluster was started" in done.stdout
    assert "no authentication token was found" in done.stdout
