"""What boxes leave behind when their process is killed, `aigym sandbox list` and `prune`, and the image."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from conftest import missing

import docker
from aigym_kernel import settings
from aigym_kernel.cli import main
from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes import cgroups, check, leftovers
from aigym_kernel.sandboxes.containers import LABEL, OWNER_LABEL
from aigym_kernel.sandboxes.owners import Owner

NAMES = [
    pytest.param(name, marks=pytest.mark.docker if "docker" in name else ())
    for name in settings.SANDBOXES
    if name != "pool"
]


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    if problem := check("docker"):
        missing(f"docker: {problem}")
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def ended() -> Owner:
    """A process that is gone."""
    with subprocess.Popen(["sleep", "60"]) as process:
        owner = Owner(pid=process.pid, start=Owner.this().start + 1)
        process.kill()
    return owner


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _asked(*arguments: str) -> Any:
    done = CliRunner().invoke(main, ["sandbox", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


_HOST = """
import os, sys
from aigym_kernel.sandboxes import Limits, open_sandbox
box = open_sandbox(sys.argv[1]).open(Limits(wall_s=600))
box.run(["true"])
print("open", flush=True)
box.run(["bash", "-c", f"(sleep {sys.argv[2]} &); trap '' TERM INT HUP; sleep {sys.argv[2]}"])
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_host_leaves_nothing(name: str) -> None:
    if problem := check(name):
        missing(f"{name}: {problem}")
    seconds = f"570.{os.getpid()}"  # how this test knows its own

    def running() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]

    with subprocess.Popen([sys.executable, "-c", _HOST, name, seconds], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        _until(lambda: len(running()) == 2)
        mine = f"{process.pid}-"
        owned = [each for each in leftovers.leftovers() if each.owner.startswith(mine)]
        assert bool(owned) == ("docker" in name or cgroups.place(os.getpid()) is not None)
        assert not any(each.abandoned for each in owned)
        process.send_signal(signal.SIGKILL)
    _until(lambda: not running())
    _until(lambda: not any(each.owner.startswith(mine) for each in leftovers.leftovers()))


@pytest.mark.docker
def test_containers_that_nobody_owns_are_pruned(client: docker.DockerClient, ended: Owner) -> None:
    """Made and never started, as a process killed in between leaves them."""
    made = []

    def make(owner: Owner) -> str:
        labels = {LABEL: "box", OWNER_LABEL: str(owner)}
        made.append(client.containers.create("aigym-sandbox", "true", labels=labels))
        return str(made[-1].name)

    try:
        mine, foreign = make(Owner.this()), make(Owner(pid=1, start=1, where="another machine"))
        for _ in range(5):
            abandoned = make(ended)
            listed = {each["name"]: each for each in _asked("list")}
            pruned = [each["name"] for each in _asked("prune")]
            if abandoned in listed and abandoned in pruned:
                break  # else another process, which does the same as it begins, was faster: anew
        assert [listed[name]["abandoned"] for name in (abandoned, mine, foreign)] == [True, False, False]
        assert listed[mine]["owner"] == str(Owner.this())
        assert abandoned in pruned
        left = {each["name"] for each in _asked("list")}
        assert abandoned not in left
        assert {mine, foreign} <= left
    finally:
        for container in made:
            with contextlib.suppress(docker.errors.NotFound):
                container.remove(force=True)


def test_groups_that_nobody_owns_are_pruned(ended: Owner) -> None:
    place = cgroups.place(os.getpid())
    if place is None:
        pytest.skip("this user may make no control groups")
    abandoned = place.folder / f"{cgroups._prefix(ended)}1"
    foreign = place.folder / f"aigym-{ended.pid}-{ended.start}-1-1"  # of another namespace, so who knows
    foreign.mkdir()
    group = cgroups.make(1 << 30)
    assert group is not None
    try:
        for _ in range(5):
            abandoned.mkdir()
            with group.inside():
                removed = [each["name"] for each in _asked("prune")]
            if str(abandoned) in removed:
                break  # else another process, which does the same as it begins, was faster: anew
        assert str(abandoned) in removed
        assert not abandoned.exists()
        assert group.folder.exists()
        assert foreign.exists()
    finally:
        group.remove()
        foreign.rmdir()


def test_a_new_process_removes_the_groups_of_a_killed_one(ended: Owner) -> None:
    place = cgroups.place(os.getpid())
    if place is None:
        pytest.skip("this user may make no control groups")
    abandoned = place.folder / f"{cgroups._prefix(ended)}2"
    abandoned.mkdir()
    code = "from aigym_kernel.sandboxes import execute; print(execute('print(1)', sandbox='bwrap').status)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr
    assert not abandoned.exists()


@pytest.mark.docker
def test_images_that_a_newer_one_replaced_are_pruned(client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM aigym-sandbox\nLABEL test={os.getpid()}\n")
    image, _ = client.images.build(path=str(tmp_path), labels={LABEL: "image"})
    listed = {each["name"]: each["abandoned"] for each in _asked("list")}
    assert listed[image.id]
    assert not listed.get("aigym-sandbox:latest")
    assert image.id in [each["name"] for each in _asked("prune")]


@pytest.mark.docker
def test_the_image_is_built(client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a base without a registry, and under a name of its own: the sandbox's image stays."""
    name = f"aigym-sandbox-test-{os.getpid()}"
    monkeypatch.setattr(leftovers, "IMAGE", name)
    monkeypatch.setattr(leftovers, "_dockerfile", lambda: "ARG BASE=x\nFROM ${BASE}\nRUN echo built\n")
    lines: list[str] = []
    identity = leftovers.build(lines.append, "aigym-sandbox")
    try:
        assert client.images.get(name).id == identity
        assert "built" in lines
    finally:
        client.images.remove(name)


@pytest.mark.docker
def test_a_build_that_fails_says_why(client: docker.DockerClient) -> None:
    done = CliRunner().invoke(main, ["sandbox", "build", "--base", "127.0.0.1:9/no-such-image"])
    assert done.exit_code == 2
    assert "did not build on '127.0.0.1:9/no-such-image': " in done.stderr
    assert "--base IMAGE" in done.stderr


def test_without_a_daemon_the_rest_is_listed(tmp_path: Path, ended: Owner) -> None:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    command = [sys.executable, "-m", "aigym_kernel", "sandbox"]
    done = subprocess.run([*command, "list", "--json"], capture_output=True, text=True, env=environment)
    assert {each["kind"] for each in json.loads(done.stdout)} <= {"cgroup"}
    done = subprocess.run([*command, "build"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no Docker daemon answers")


def test_the_dockerfile_is_found_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"FROM ${BASE}", f"LABEL {LABEL}=image"} <= set(leftovers._dockerfile().splitlines())
    monkeypatch.setattr(leftovers, "CHECKOUT", tmp_path)
    monkeypatch.setattr(leftovers, "__file__", str(tmp_path / "leftovers.py"))
    with pytest.raises(SandboxError, match="Take docker/Dockerfile from the project's source"):
        leftovers._dockerfile()


def test_owners() -> None:
    owner = Owner.this()
    assert Owner.parse(str(owner)) == owner
    assert not owner.gone
    assert Owner(pid=owner.pid, start=owner.start + 1).gone
    assert not Owner(pid=owner.pid, start=owner.start + 1, where="another machine").gone
    assert Owner.parse("") is None
    assert Owner.parse("x-y@z") is None
