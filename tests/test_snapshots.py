"""Folders that go into boxes and come out: uploads, downloads, snapshots; what hostile ones do not reach."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import missing

from aigym_kernel.errors import SandboxError, UnknownName
from aigym_kernel.sandboxes import (
    Box,
    Limits,
    Sandbox,
    check,
    open_sandbox,
    open_snapshot,
    remove_snapshot,
    snapshots,
)
from aigym_kernel.sandboxes.folders import unpack_here

SMALL = Limits(wall_s=60, disk_mb=16, files=500)
NAMES = ["bwrap", pytest.param("docker", marks=pytest.mark.docker)]
MAKE = """
import os, socket
os.makedirs("a/empty"); os.makedirs("a/shut"); os.mkdir("odd\\udcff name")
open("a/tool.sh", "w").write("#!/bin/bash\\necho ran\\n"); os.chmod("a/tool.sh", 0o755)
open("a/secret", "w").write("s"); os.chmod("a/secret", 0)
open("a/shut/in", "w").write("x" * 1_500_000); os.chmod("a/shut", 0)
os.symlink("tool.sh", "a/link"); os.symlink("/etc/passwd", "out"); os.symlink("a", "b")
os.symlink("nowhere", "dead")
os.link("a/tool.sh", "same"); os.mkfifo("pipe"); socket.socket(socket.AF_UNIX).bind("socket")
os.utime("a/empty", (1e9, 1e9)); os.utime("a/tool.sh", (1e9, 1e9))
"""
LIST = r"find . -printf '%y %m %l %P %n %s\n' | sort; stat -c '%n %Y' a/tool.sh a/empty"


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if problem := check(request.param):
        missing(f"{request.param}: {problem}")
    return open_sandbox(request.param)


@pytest.fixture(scope="module")
def place(sandbox: Sandbox) -> Iterator[Box]:
    with sandbox.open(SMALL) as box:
        yield box


@pytest.fixture
def box(place: Box) -> Box:
    place.clear()
    return place


@pytest.fixture
def kept(sandbox: Sandbox, store_dir: Path) -> Iterator[str]:
    """A name for a snapshot, free before and after."""
    name = f"test-{os.getpid()}"
    assert name not in snapshots(sandbox)
    yield name
    if name in snapshots(sandbox):
        remove_snapshot(name, sandbox)
    assert name not in snapshots(sandbox)


def test_a_snapshot_is_the_same_working_folder(sandbox: Sandbox, box: Box, kept: str) -> None:
    assert box.run(["python3", "-c", MAKE]).status == "ok"
    before = box.run(["bash", "-c", "rm socket; " + LIST]).stdout
    where = box.commit(kept)
    assert kept in where
    assert snapshots(sandbox).count(kept) == 1
    with open_snapshot(kept, SMALL, sandbox=sandbox) as other:
        assert other.run(["bash", "-c", LIST]).stdout == before
        assert other.run(["a/tool.sh"]).stdout == "ran\n"
        other.write({"later": "1"})
    with open_snapshot(kept, SMALL, sandbox=sandbox) as other:
        assert "later" not in other.export(), "a box changes nothing of the snapshot that it began with"
    assert box.run(["bash", "-c", LIST]).stdout == before, "nor does a snapshot change the box"
    with pytest.raises(SandboxError, match=rf"snapshot '{kept}' already: .*remove_snapshot\('{kept}'\)"):
        box.commit(kept)
    with pytest.raises(SandboxError, match=r"cannot write|No space"):
        open_snapshot(kept, Limits(disk_mb=1), sandbox=sandbox)


def test_a_snapshot_beside_a_session(sandbox: Sandbox, box: Box, kept: str) -> None:
    with box.session() as shell:
        shell.run("mkdir d; echo one > d/f; cd d; (while :; do mv f g; mv g f; done) 2>/dev/null &")
        box.commit(kept)
        assert shell.run("pwd; jobs -rp | wc -l").stdout == "/work/d\n1\n", "it goes on"
    with open_snapshot(kept, sandbox=sandbox) as other:
        assert list(other.export().values()) == [b"one\n"]


def test_names_of_snapshots(sandbox: Sandbox, box: Box, store_dir: Path) -> None:
    for name in ("", "../x", "a/b", "A", ".a", "a b", "x" * 101, None):
        with pytest.raises(SandboxError, match="a name is of up to 100 small letters"):
            box.commit(name)  # type: ignore[arg-type]
        with pytest.raises(SandboxError, match="a name is of up to 100 small letters"):
            open_snapshot(name, sandbox=sandbox)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="snapshot 'no-such-one'"):
        open_snapshot("no-such-one", sandbox=sandbox)
    with pytest.raises(UnknownName, match="snapshot 'no-such-one'"):
        remove_snapshot("no-such-one", sandbox)


def test_what_cannot_be_a_snapshot(box: Box, store_dir: Path) -> None:
    box.run(["truncate", "-s", "12M", "sparse1", "sparse2"])
    with pytest.raises(SandboxError, match="with 'sparse2' there is more than fits"):
        box.commit("too-large")
    box.clear()
    box.run(["python3", "-c", "import os\nfor _ in range(70): os.mkdir('d'); os.chdir('d')"])
    with pytest.raises(SandboxError, match="more than 64 folders deep"):
        box.commit("too-deep")


# Up


def test_upload_of_a_folder(box: Box, tmp_path: Path) -> None:
    (tmp_path / "in/sub/empty").mkdir(parents=True)
    (tmp_path / "in/run.sh").write_text("#!/bin/bash\necho ran\n")
    (tmp_path / "in/run.sh").chmod(0o755)
    (tmp_path / "in/sub/link").symlink_to("../run.sh")
    box.upload(tmp_path / "in", "project")
    assert (
        box.run(["bash", "-c", "project/run.sh; project/sub/link; ls -A project/sub"]).stdout
        == "ran\nran\nempty\nlink\n"
    )
    (tmp_path / "in/run.sh").write_text("echo changed")
    box.upload(tmp_path / "in/run.sh", "project")
    assert box.read("project/run.sh") == b"echo changed"
    box.upload(tmp_path / "in/run.sh")
    assert box.read("run.sh") == b"echo changed"


def test_upload_goes_through_no_link_in_the_box(box: Box, tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/sub/file").write_text("new")
    box.run(["bash", "-c", "mkdir /tmp/other; ln -s /tmp/other sub; ln -s /tmp/other to; mkfifo file"])
    box.upload(tmp_path / "in")
    box.upload(tmp_path / "in", "to")
    assert box.read("sub/file") == box.read("to/sub/file") == b"new"
    assert box.run(["bash", "-c", "ls /tmp/other"]).stdout == ""


def test_what_cannot_be_uploaded(box: Box, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary-77aa")
    for name, target in (("abs", str(secret)), ("rel", "../secret"), ("deep/rel", "../../secret")):
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).symlink_to(target)
        with pytest.raises(SandboxError, match=rf"cannot upload .*{name}: it is a link to .*outside"):
            box.upload(folder)
    assert box.export() == {}
    with pytest.raises(SandboxError, match=r"cannot upload .*nothing-here"):
        box.upload(tmp_path / "nothing-here")
    (tmp_path / "large").write_bytes(bytes(17 << 20))
    with pytest.raises(SandboxError, match="'large' there is more than fits"):
        box.upload(tmp_path / "large")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SandboxError, match="neither a regular file nor a folder"):
        box.upload(tmp_path / "pipe")
    with pytest.raises(SandboxError, match=r"'\.\./x' is not a path below /work"):
        box.upload(secret, "../x")


# Down


def test_download(box: Box, tmp_path: Path) -> None:
    box.run(["python3", "-c", MAKE])
    assert box.download(tmp_path / "new/out") == 6, "four links, a pipe, a second name"
    found = sorted(str(p.relative_to(tmp_path / "new/out")) for p in (tmp_path / "new/out").rglob("*"))
    assert found == ["a", "a/empty", "a/secret", "a/shut", "a/shut/in", "a/tool.sh", "odd\udcff name"]
    assert not any(p.is_symlink() for p in (tmp_path / "new/out").rglob("*"))
    assert (tmp_path / "new/out/a/tool.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new/out/a/shut/in").read_text() == "x" * 1_500_000
    with pytest.raises(SandboxError, match=r"cannot download to .*out: it holds something"):
        box.download(tmp_path / "new/out")
    assert box.download(tmp_path / "part", "a/shut") == 0
    assert [p.name for p in (tmp_path / "part").iterdir()] == ["in"]
    with pytest.raises(SandboxError, match="no folder 'b' below /work"):
        box.download(tmp_path / "link", "b")
    with pytest.raises(SandboxError, match="is not a path below /work"):
        box.download(tmp_path / "up", "../etc")
    (tmp_path / "alias").symlink_to(tmp_path / "part")
    with pytest.raises(SandboxError, match="cannot download to"):
        box.download(tmp_path / "alias")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "in/x", "x\0y"])
def test_a_hostile_archive_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    """As if a box's runner had been taken over."""
    (tmp_path / "outside").mkdir()
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        link = tarfile.TarInfo("in")
        link.type, link.linkname = tarfile.SYMTYPE, "../outside"
        tar.addfile(link)
        for kind in (tarfile.REGTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o6777
            tar.addfile(member)
    with pytest.raises(SandboxError, match="cannot download to"):
        unpack_here(data.getvalue(), tmp_path / "to")
    assert not any((tmp_path / "outside").iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "to"]


def test_devices_and_special_modes_are_left_out(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, kind in (("null", tarfile.CHRTYPE), ("disk", tarfile.BLKTYPE), ("suid", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = kind, 0o7777, 1e300
            tar.addfile(member)
    with contextlib.suppress(SandboxError):  # a time that no file can have
        assert unpack_here(data.getvalue(), tmp_path / "to") == 2
    assert (tmp_path / "to/suid").stat().st_mode & 0o7000 == 0
    with pytest.raises(SandboxError, match="no archive"):
        unpack_here(b"x" * 2000, tmp_path / "other")
