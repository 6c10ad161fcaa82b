"""Runs are deleted and come back, and the stores of two machines become one."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from aigym_kernel.errors import AigymError, StoreError, UnknownName
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Message, Trajectory


def play(identifier: str, steps: int = 2) -> Trajectory:
    return Trajectory(
        id=identifier,
        env_id="e",
        agent="a",
        observations=np.arange(steps + 1),
        actions=np.arange(steps),
        rewards=np.ones(steps),
        terminated=True,
        truncated=False,
        messages=(Message(role="user", content=identifier),),
    )


def made(folder: Path, *run_ids: str) -> Store:
    store = Store(folder)
    store.create()
    for run_id in run_ids:
        add(store, run_id)
    return store


def add(store: Store, run_id: str, state: str = "done") -> None:
    status = RunStatus(state=state, pid=os.getpid())  # type: ignore[arg-type]
    store.add_run(RunRecord(run_id=run_id, kind="rollout", name=run_id, created_at=1.0), status)
    with store.writer(run_id) as writer:
        writer.trajectory(play(f"{run_id}-0"))
        writer.metrics(2, {"loss": 1.0})


def ids(store: Store) -> list[str]:
    return store.sql("SELECT trajectory_id AS id FROM trajectories ORDER BY id")["id"].tolist()


def everything(store: Store) -> dict[str, list[str]]:
    tables = ("trajectories", "steps", "messages", "metrics", "runs")
    return {t: sorted(map(str, store.sql(f"SELECT run_id FROM {t}")["run_id"])) for t in tables}


# Deleting


def test_a_deleted_run_is_gone_and_comes_back_whole(tmp_path: Path) -> None:
    store = made(tmp_path, "one", "two")
    before = everything(store)
    store.index()
    place = store.delete("one", ask=False)
    assert place is not None
    assert place.parent == tmp_path / "trash"
    assert store.deleted() == [place.name]
    assert everything(store) == {table: [r for r in rows if r == "two"] for table, rows in before.items()}
    store.index()
    assert ids(store) == ["two-0"]
    assert store.restore("one") == store.run_folder("one")
    assert everything(store) == before
    assert store.load("one-0").messages[0].content == "one-0"
    assert store.deleted() == []


def test_of_several_deleted_runs_the_last_comes_back_unless_one_is_named(tmp_path: Path) -> None:
    store = made(tmp_path, "one")
    first = store.delete("one", ask=False)
    assert first is not None
    older = first.with_name("one@20200101-000000-abcd")
    first.rename(older)
    add(store, "one")
    second = store.delete("one", ask=False)
    assert second is not None
    assert store.deleted() == [second.name, older.name]
    store.restore("one")
    with pytest.raises(StoreError, match=r"there is another one of this id in .*delete that one first"):
        store.restore(older.name)
    store.delete("one", ask=False)
    store.restore(older.name)
    assert store.deleted()[0].startswith("one@")
    with pytest.raises(UnknownName, match=r"unknown deleted run 'onee'\. Did you mean 'one'"):
        store.restore("onee")


@pytest.mark.parametrize(("said", "gone"), [("y", True), (" YES ", True), ("", False), ("n", False)])
def test_deleting_asks(tmp_path: Path, said: str, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made(tmp_path, "one")
    asked = list[str]()

    def person(question: str) -> str:
        asked.append(question)
        return said

    monkeypatch.setattr("builtins.input", person)
    assert (store.delete("one") is not None) == gone
    assert "Move run 'one' (" in asked[0]
    assert store.run_ids() == ([] if gone else ["one"])


def test_what_cannot_be_deleted(tmp_path: Path) -> None:
    store = made(tmp_path, "one")
    with pytest.raises(AigymError, match="nobody is there to be asked whether run 'one' is to be deleted"):
        store.delete("one")
    with pytest.raises(UnknownName, match="Did you mean 'one'"):
        store.delete("onee", ask=False)
    add(store, "live", "running")
    with pytest.raises(StoreError, match=rf"'live' is running by process {os.getpid()} .* stop it first"):
        store.delete("live", ask=False)
    elsewhere = RunStatus(state="running", pid=1, host="another", heartbeat=time.time() - 3600)
    store.write_status("live", elsewhere)
    with pytest.raises(StoreError, match="by process 1 on another"):
        store.delete("live", ask=False)
    for path in ("..", "../one", "/etc", ".", "one/steps", ""):
        with pytest.raises(StoreError, match="cannot name a folder"):
            store.delete(path, ask=False)
        with pytest.raises(UnknownName):
            store.restore(path)
    assert store.run_ids() == ["live", "one"]


@pytest.mark.parametrize(
    "status",
    [
        RunStatus(state="queued"),
        RunStatus(state="running", pid=1, host="another", heartbeat=time.time() - 100_000),
        RunStatus(state="running", pid=2**22 + 1),
    ],
)
def test_a_run_that_nobody_records_any_more_can_be_deleted(tmp_path: Path, status: RunStatus) -> None:
    store = made(tmp_path, "one")
    store.write_status("one", status)
    assert store.delete("one", ask=False) is not None
    (store.restore("one") / "status.json").write_text("damaged")
    assert store.delete("one", ask=False) is not None


# Merging


def test_runs_of_another_store_are_copied_once(tmp_path: Path) -> None:
    here, there = made(tmp_path / "here", "one"), made(tmp_path / "there", "two", "three")
    (there.run_folder("two") / "artifacts").mkdir()
    (there.run_folder("two") / "artifacts" / "policy.bin").write_bytes(b"weights")
    (there.run_folder("two") / "artifacts" / "network.pkl").write_bytes(b"code")
    there.tag("two-0", "odd")
    assert here.merge(there) == ["three", "two"]
    assert ids(here) == ["one-0", "three-0", "two-0"]
    assert here.load("two-0").tags == ("odd",)
    assert here.load("two-0").messages == there.load("two-0").messages
    assert (here.run_folder("two") / "artifacts" / "policy.bin").read_bytes() == b"weights"
    assert not (here.run_folder("two") / "artifacts" / "network.pkl").exists(), "it would run somebody's code"
    before = everything(here)
    assert here.merge(tmp_path / "there") == []
    here.tag("two-0", "also odd")
    assert here.merge(there) == [], "what is there is here, and more"
    assert everything(here) == before


def test_a_run_that_has_grown_there_gets_what_is_new(tmp_path: Path) -> None:
    here, there = made(tmp_path / "here"), made(tmp_path / "there", "one")
    here.merge(there)
    with there.writer("one") as writer:
        writer.trajectory(play("one-1"))
    there.write_status("one", RunStatus(state="done", step=4))
    assert here.merge(there) == ["one"]
    assert ids(here) == ["one-0", "one-1"]
    assert here.status("one").step == 4
    assert here.merge(there) == []


def test_collisions_are_all_named_before_anything_is_copied(tmp_path: Path) -> None:
    here = made(tmp_path / "here", "one", "two", "same")
    there = made(tmp_path / "there", "fresh")
    shutil.copytree(here.run_folder("same"), there.run_folder("same"))
    for run_id in ("one", "two"):
        record = RunRecord(run_id=run_id, kind="train", name="another one", created_at=2.0)
        there.add_run(record, RunStatus(state="done"))
    with pytest.raises(StoreError, match=r"nothing was merged: 2 of the runs .*: 'one', 'two'\. Delete"):
        here.merge(there)
    assert here.run_ids() == ["one", "same", "two"]


def test_runs_that_both_went_on_collide(tmp_path: Path) -> None:
    here, there = made(tmp_path / "here", "one"), made(tmp_path / "there")
    there.merge(here)
    here.tag("one-0", "good")
    there.tag("one-0", "bad")
    with pytest.raises(StoreError, match="'one'"):
        here.merge(there)
    assert here.load("one-0").tags == ("good",)


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    store = made(tmp_path / "here", "one")
    (tmp_path / "link").symlink_to(tmp_path / "here")
    for same in (store, tmp_path / "here", tmp_path / "link", f"{tmp_path}/here/../here"):
        with pytest.raises(StoreError, match="cannot be merged into itself"):
            store.merge(same)
    with pytest.raises(StoreError, match="there is no store in"):
        store.merge(tmp_path / "nowhere")
    (tmp_path / "a file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        store.merge(tmp_path / "a file")
    assert store.run_ids() == ["one"]


FULL = """
import resource, sys
from aigym_kernel.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    Store(sys.argv[1]).merge(sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**6, 2**6))
for change in (lambda: Store(sys.argv[1]).tag("one-0", "x"), lambda: Store(sys.argv[1]).note("one-0", "x")):
    try:
        change()
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_disk_that_is_full_leaves_no_half_run(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    here, there = made(tmp_path / "here", "one"), made(tmp_path / "there", "two")
    (there.run_folder("two") / "artifacts").mkdir()
    (there.run_folder("two") / "artifacts" / "policy.bin").write_bytes(bytes(2**15))
    command = [sys.executable, "-c", FULL, str(here.folder), str(there.folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    assert len(said.splitlines()) == 3
    for line in said.splitlines():
        assert line.startswith("StoreError cannot write")
        assert "free some space" in line
    assert "Not on the disk: 1 tag or note" in said
    assert here.load("one-0").tags == ()
    assert everything(here)["runs"] == ["one"]
    assert not list((here.folder / "incoming").iterdir())
    assert here.merge(there) == ["two"]


READ_ONLY = """
import os, sys
from aigym_kernel.store import Store, merging
Store(sys.argv[1]).load("one-0")  # imports what is imported late: it may lie where only root may read
if os.getuid() == 0:  # who may write everything
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
store = Store(sys.argv[1])
print(store.load("one-0").messages[0].content)
for change in (
    lambda: store.delete("one", ask=False),
    lambda: store.tag("one-0", "x"),
    lambda: store.note("one-0", "x"),
    lambda: store.merge(sys.argv[2]),
):
    try:
        change()
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_read_only_store_is_read_and_says_what_is_wrong() -> None:
    # Not in tmp_path: nobody but its owner may enter that.
    with tempfile.TemporaryDirectory() as folder:
        here, there = made(Path(folder, "here"), "one"), made(Path(folder, "there"), "two")
        folders = [Path(folder), *(p for p in Path(folder).rglob("*") if p.is_dir())]
        for place in folders:
            place.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(here.folder), str(there.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        for place in folders:
            place.chmod(0o755)
        lines = done.stdout.splitlines()
        assert lines[:1] == ["one-0"], done.stderr
        assert len(lines) == 5
        for line in lines[1:]:
            assert line.startswith("StoreError cannot write")
            assert "make the folder writable" in line
        assert everything(here)["runs"] == ["one"]
