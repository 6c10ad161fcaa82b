"""The lock of a bench's folder: one holder, named to the others, gone with its process, passed on."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aigym_kernel.bench import holding
from aigym_kernel.errors import BenchError, StoreError

HOLDS = """
import sys, pathlib
from aigym_kernel.bench import holding
hold = holding.take(pathlib.Path(sys.argv[1]), workers=3)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_refused_by_name_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert holding.last(folder) is None
    assert not holding.ask_to_stop(folder)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BenchError) as refused:
            holding.take(folder)
        for part in ("bench mine", f"process {other.pid} on ", "since 20", f"aigym bench stop {folder}"):
            assert part in str(refused.value)
        found = holding.holder(folder)
        assert found is not None
        assert (found.pid, found.workers) == (other.pid, 3)
        assert holding.ask_to_stop(folder)
        assert holding.stop_asked(folder)
        other.kill()
    assert holding.holder(folder) is None
    left = holding.last(folder)
    assert left is not None
    assert left.pid == other.pid
    holding.take(folder).release()
    assert not holding.stop_asked(folder), "what an earlier holder was asked does not count"


def test_a_lock_is_passed_on_to_a_process(tmp_path: Path) -> None:
    hold = holding.take(tmp_path)
    code = "import sys; sys.stdin.read()"
    descriptor = hold.file.fileno()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=(descriptor,)
    ) as heir:
        hold.name(workers=2, pid=heir.pid)
        hold.release()
        found = holding.holder(tmp_path)
        assert found is not None
        assert (found.pid, found.workers) == (heir.pid, 2)
    assert holding.holder(tmp_path) is None


def test_who_only_looks_refuses_nobody_however_long(tmp_path: Path) -> None:
    holding.take(tmp_path).release()
    with (tmp_path / "lock").open("rb") as looks:
        fcntl.flock(looks, fcntl.LOCK_SH)
        ends = threading.Timer(holding.PATIENCE_S + 0.5, fcntl.flock, (looks, fcntl.LOCK_UN))
        ends.start()
        holding.take(tmp_path).release()
        ends.join()


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*/lock: .*; .*then try again"):
        holding.take(tmp_path / "file" / "bench")
    hold = holding.take(tmp_path)
    (tmp_path / "stop").symlink_to(tmp_path / "nowhere" / "stop")
    with pytest.raises(StoreError, match=r"cannot write .*/stop: .*; .*then try again"):
        holding.ask_to_stop(tmp_path)
    hold.release()
