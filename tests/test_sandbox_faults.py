"""Sandboxes on a machine where something is wrong: one clear error each, and the other boxes go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import missing

import docker
from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes import Limits, Program, check, containers, execute, open_sandbox
from aigym_kernel.sandboxes.starter import find_binary

# Passes every byte between a socket of its own and the Docker daemon's: ended, it is a daemon that died.
_BETWEEN = """
import socket, sys, threading
def copy(source, target):
    try:
        while data := source.recv(65536): target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError: pass
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(50)
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    daemon = socket.socket(socket.AF_UNIX)
    daemon.connect(sys.argv[2])
    for pair in ((client, daemon), (daemon, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A way to the Docker daemon that can be cut."""
    if problem := check("docker"):
        missing(f"docker: {problem}")
    real = docker.from_env().api.base_url
    path = "/var/run/docker.sock" if real.startswith("http+docker") else real
    if not Path(path).exists():
        pytest.skip("the daemon is not on a Unix socket")
    command = [sys.executable, "-c", _BETWEEN, str(tmp_path / "docker.sock"), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        containers._client.cache_clear()
        yield process
        process.kill()
    containers._client.cache_clear()


@pytest.mark.docker
def test_a_daemon_that_dies_in_the_middle(daemon: subprocess.Popen[str]) -> None:
    with open_sandbox("docker").open(Limits(wall_s=60)) as box, open_sandbox("bwrap").open(Limits()) as other:
        assert box.run(["echo", "before"]).stdout == "before\n"
        threading.Timer(0.5, daemon.kill).start()
        done = box.run(["sleep", "60"])
        assert done.status == "sandbox_error"
        with pytest.raises(SandboxError, match="the sandbox broke"):
            box.export()
        with pytest.raises(SandboxError, match=r"no Docker daemon answers .*AIGYM_SANDBOX=bwrap"):
            open_sandbox("docker").open(Limits())
        assert other.run(["echo", "on it goes"]).stdout == "on it goes\n"


@pytest.mark.docker
def test_a_program_is_not_charged_for_a_daemon_that_dies(daemon: subprocess.Popen[str]) -> None:
    assert execute("print(1)", sandbox="docker").stdout == "1\n"
    sleeping = ["sleep", f"550.{os.getpid()}"]  # how this test knows its own

    def kill_once_it_runs() -> None:
        deadline = time.monotonic() + 60
        while all(p.info["cmdline"] != sleeping for p in psutil.process_iter(["cmdline"])):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        daemon.kill()

    threading.Thread(target=kill_once_it_runs, daemon=True).start()
    done = execute(f"exec {' '.join(sleeping)}", "bash", limits=Limits(wall_s=600), sandbox="docker")
    assert (done.status, done.exit_code) == ("sandbox_error", None)
    assert "then: " in done.detail
    assert "no Docker daemon answers" in done.detail


def test_a_box_that_breaks_is_tried_once_more(tmp_path: Path) -> None:
    """The first box is cut off in the middle; the program never hears of it."""
    if problem := check("bwrap"):
        missing(problem)

    class Breaking:
        name, memory, opened = "breaking", "looks", 0

        def open(self, limits: Limits, files: object = None):  # type: ignore[no-untyped-def]
            box = open_sandbox("bwrap").open(limits, files)  # type: ignore[arg-type]
            self.opened += 1
            if self.opened == 1:
                box.write({"first": ""})
                threading.Timer(0.3, box.close).start()
            return box

    sandbox = Breaking()
    code = "import os, time; os.path.exists('first') and time.sleep(60); print('fine')"
    done = execute(code, limits=Limits(wall_s=60), sandbox=sandbox)  # type: ignore[arg-type]
    assert (done.status, done.stdout, sandbox.opened) == ("ok", "fine\n", 2)


@pytest.mark.docker
def test_an_image_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := check("docker"):
        missing(f"docker: {problem}")
    monkeypatch.setattr(containers, "IMAGE", "no-such-image")
    with pytest.raises(SandboxError, match=r"no image 'no-such-image'. Build it: aigym sandbox build"):
        execute("print(1)", sandbox="docker")


def test_a_full_disk_of_docker_names_the_way_out() -> None:
    told = containers._refused(docker.errors.APIError("write /var/lib/docker/tmp: no space left on device"))
    assert "Docker's disk is full" in str(told)
    assert "aigym sandbox prune" in str(told)


def test_without_a_place_to_write() -> None:
    """Nothing of the host can be written to: no /tmp, no home, no full disk is in a box's way."""
    if problem := check("bwrap"):
        missing(problem)
    outer = [find_binary(), "--bind", "/", "/", "--dev", "/dev", "--die-with-parent", "--chdir", "/usr"]
    outer += [word for at in ("/tmp", "/var", "/usr") for word in ("--ro-bind", at, at)]
    code = "import tempfile\ntry: tempfile.gettempdir()\nexcept FileNotFoundError: print('nowhere')\n"
    code += "from aigym_kernel.sandboxes import execute; print(execute('print(1)', sandbox='bwrap').stdout)"
    done = subprocess.run([*outer, sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["nowhere", "1"], done.stderr


def test_five_hundred_at_once_all_answer() -> None:
    """More boxes than this machine has room for under a low limit of open files."""
    if problem := check("bwrap"):
        missing(problem)
    code = """
import resource
from aigym_kernel.sandboxes import Limits, Program, open_sandbox
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
limits = Limits(wall_s=60, memory_mb=64, disk_mb=1)
programs = [Program(f"echo {n}", "bash", limits=limits) for n in range(500)]
done = list(open_sandbox("bwrap").map(programs, workers=500))
print([each.stdout for each in done] == [f"{n}\\n" for n in range(500)])
"""
    environment = {**os.environ, "AIGYM_SANDBOX": "bwrap"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "True\n", done.stderr[-2000:]


def test_programs_beside_one_that_cannot_run_go_on() -> None:
    if problem := check("bwrap"):
        missing(problem)
    programs = [
        Program("print(1)"),
        Program("x = b'x' * (1 << 30)", limits=Limits(memory_mb=64)),
        Program("while True: pass", limits=Limits(wall_s=0.5)),
        Program("print(2)"),
    ]
    done = list(open_sandbox("bwrap").map(programs, workers=4))
    assert [each.status for each in done] == ["ok", "memory_limit", "timeout", "ok"]
