"""Hostile and broken programs on every sandbox: what is reported, what they reached, what they left.

The programs and what must be reported are in tests/data/*abuse_cases.yaml; the checks that hold for all of
them are those of that file's head. They run a few at a time, before the first of their tests; each test
then looks at one report.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from conftest import missing

from aigym_kernel import settings
from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes import LANGUAGES, Execution, Limits, Sandbox, check, execute, open_sandbox

DATA = Path(__file__).parent / "data"
CASES: dict[str, dict[str, Any]] = {
    case["name"]: case
    for file in ("sandbox_abuse_cases.yaml", "more_abuse_cases.yaml")
    for case in yaml.safe_load((DATA / file).read_text("utf-8"))["cases"]
}
NAMES = [
    pytest.param(name, marks=pytest.mark.docker if "docker" in name else ())
    for name in settings.SANDBOXES
    if name != "pool"  # another name of pool-bwrap or pool-docker
]
WORKERS = 4  # most cases sleep until their time is up
OUTPUT = 1 << 20
pytestmark = pytest.mark.timeout(900)  # the first test of a sandbox waits for all its cases

#: What the box is asked next. A process that is left over is one of /proc beside this and the runner.
NEXT = """
import os, sys
print(1 + 1)
print(os.readlink("/proc/self/ns/pid"))
print([p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())])
mounts = [line.split() for line in open("/proc/self/mounts")]
kept = ("tmpfs", "devtmpfs", "proc", "devpts", "mqueue")  # of memory
print([m[1] for m in mounts if "rw" in m[3].split(",") and m[2] not in kept])
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case's report, and how the box was found 0.3 s later."""

    execution: Execution
    fetched: Mapping[str, bytes] = field(default_factory=dict)
    next: Execution
    asked: float  # when, in seconds since the start of the machine; the case's processes began before that


@dataclass(frozen=True, kw_only=True)
class Host:
    """What there is to steal and to reach on this side."""

    canary: str
    names: Mapping[str, str]  # what the cases call it
    drop: Path

    def fill_in(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"{{{{{name}}}}}", value)
        return text


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    canary = "canary-51c7e0d9"
    secret = folder / "secret.txt"
    secret.write_text(canary)
    program = Path(shutil.copy(shutil.which("sleep") or "/bin/sleep", folder / "hostonly"))
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen([sys.executable, "-c", _LISTENER], stdout=subprocess.PIPE, text=True) as listener,
        subprocess.Popen([program, "600"]) as running,
    ):
        patch.setenv("AIGYM_TEST_SECRET", canary)
        assert listener.stdout is not None
        names = {
            "CANARY": canary,
            "HOST_PORT": listener.stdout.readline().strip(),
            "GATEWAY": "172.17.0.1",
            "HOST_FILE": str(secret),
            "HOST_DROP": str(folder / "drop"),
            "HOST_DIR": str(folder),
            "HOST_PROC": program.name,
        }
        yield Host(canary=canary, names=names, drop=folder / "drop")
        listener.kill()
        running.kill()


_LISTENER = (
    "import socket, time; s = socket.create_server(('0.0.0.0', 0)); "
    "print(s.getsockname()[1], flush=True); time.sleep(600)"
)


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if problem := check(request.param):
        missing(f"{request.param}: {problem}")
    found = open_sandbox(request.param)
    with found if isinstance(found, contextlib.AbstractContextManager) else contextlib.nullcontext():
        yield found


@pytest.fixture(scope="module")
def outcomes(sandbox: Sandbox, host: Host) -> dict[str, Outcome]:
    """Every case's outcome by name."""
    with ThreadPoolExecutor(WORKERS) as workers:
        return dict(zip(CASES, workers.map(lambda case: _run(sandbox, case, host), CASES.values())))


def limits_of(case: Mapping[str, Any]) -> Limits:
    """What has no reason to time out gets all the time that a busy machine may need; what waits for what a
    case leaves behind does so for longer."""
    return Limits(
        wall_s=float(case.get("wall", 3)) if "timeout" in case["expect"]["status"] else 45.0,
        memory_mb=case.get("memory_mb", 128),
        pids=case.get("pids", 32),
        disk_mb=case.get("disk_mb", 32),
        output_kb=case.get("out_mb", 1) << 10,
    )


def _run(sandbox: Sandbox, case: Mapping[str, Any], host: Host) -> Outcome:
    language = LANGUAGES[case["language"]]
    command = [word.format(file=language.file) for word in language.run]
    code, stdin = host.fill_in(case["code"]), case.get("stdin", "")
    fetched = {}
    limits = limits_of(case)
    with sandbox.open(replace(limits, wall_s=60.0), {language.file: code}) as box:
        execution = box.run(command, stdin=stdin, limits=limits)
        time.sleep(0.3)
        for path in (host.fill_in(path) for path in case.get("fetch", ())):
            with contextlib.suppress(SandboxError):
                fetched[path] = box.read(path)
        asked = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            box.clear()
            after = box.run(["python3", "-c", NEXT])
        except SandboxError:  # for memory that no process maps the kernel may end the runner, and the box
            assert execution.status == "memory_limit", execution
            after = execute(NEXT, sandbox=sandbox)
    return Outcome(execution=execution, fetched=fetched, next=after, asked=asked)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, outcomes: Mapping[str, Outcome], host: Host) -> None:
    case, outcome = CASES[name], outcomes[name]
    done, expect = outcome.execution, case["expect"]
    assert done.status in expect["status"], done
    assert done.exit_code == expect.get("exit", done.exit_code)
    assert (done.exit_code is not None) == (done.status in ("ok", "error")) or done.status == "memory_limit"
    for stream in ("stdout", "stderr"):
        text = getattr(done, stream)
        for words in expect.get(f"{stream}_has", ()):
            assert host.fill_in(words) in text, done
        for words in expect.get(f"{stream}_lacks", ()):
            assert host.fill_in(words) not in text, done


@pytest.mark.parametrize("name", CASES)
def test_what_every_case_must_leave_alone(name: str, outcomes: Mapping[str, Outcome], host: Host) -> None:
    outcome = outcomes[name]
    done = outcome.execution
    report = json.dumps(done.to_dict())
    assert host.canary not in report
    assert len(done.stdout.encode()) + len(done.stderr.encode()) <= 2 * OUTPUT
    assert not outcome.fetched, "a link or a path that leaves /work was followed"
    assert not host.drop.exists()
    two, _, alive, written_through = outcome.next.stdout.splitlines() or ["", "", "", ""]
    assert (outcome.next.status, two) == ("ok", "2"), outcome.next
    assert alive == "[]", "processes of the run are alive"
    assert written_through == "[]", "a place of the host can be written to"


def test_no_process_outlives_its_sandbox(
    sandbox: Sandbox, outcomes: Mapping[str, Outcome], host: Host
) -> None:
    """The boxes are closed: nobody on this machine is in their process namespaces any more, except the
    runners of a pool."""
    asked = {outcome.next.stdout.split()[1]: outcome.asked for outcome in outcomes.values()}
    if not sandbox.name.startswith("pool"):
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                space = str(Path(f"/proc/{pid}/ns/pid").readlink())
                started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
                # The kernel gives a namespace's number to another one once it is gone.
                assert started / os.sysconf("SC_CLK_TCK") >= asked.get(space, 0), (pid, space)
    assert execute("print(1 + 1)", sandbox=sandbox).stdout == "2\n"


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="others write to this machine's disk")
def test_the_disk_of_the_host_does_not_fill(sandbox: Sandbox, host: Host) -> None:
    noisy = [case for case in CASES.values() if case["category"] in ("disk", "output")]

    def grows(cases: list[dict[str, Any]]) -> bool:
        before = shutil.disk_usage("/").used
        with ThreadPoolExecutor(WORKERS) as workers:
            assert all(workers.map(lambda case: _run(sandbox, case, host), cases))
        return shutil.disk_usage("/").used - before >= 20 << 20

    # Other tests write meanwhile, but not each time, and hardly during one case, again and again.
    if all(grows(noisy) for _ in range(3)):
        culprits = [case["name"] for case in noisy if all(grows([case]) for _ in range(8))]
        assert not culprits
