"""Slots are shared by processes and given back by dying."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from aigym_kernel.slots import Slot, cores, take

HOLD = """
import sys, pathlib
from aigym_kernel.slots import take
slot = take(pathlib.Path(sys.argv[1]), "0-held", kind="cpu", limit=1, stopped=lambda: False)
print(sorted({"torch", "numpy", "pyarrow"} & set(sys.modules)), flush=True)
sys.stdin.read()
"""


def now(folder: Path, ticket: str, **settings: object) -> Slot | None:
    """A slot if there is one at once."""
    asked: dict[str, object] = {"kind": "cpu", "limit": 1, "stopped": lambda: True, **settings}
    return take(folder, ticket, **asked)  # type: ignore[arg-type]


def test_a_killed_process_gives_its_slot_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[]\n", "who waits has loaded nothing large"
        assert now(tmp_path, "1") is None
        assert now(tmp_path, "1", kind="cuda") is not None, "another device, another queue"
        assert now(tmp_path, "2", limit=2) is not None
        process.kill()
    slot = now(tmp_path, "3")
    assert slot is not None
    assert not (tmp_path / "slots" / "0-held").exists()
    slot.release()
    slot.release()
    assert (now(tmp_path, "4") or slot) is not slot


def test_who_came_first_goes_first(tmp_path: Path) -> None:
    first = take(tmp_path, "1", kind="cpu", limit=1, stopped=lambda: False)
    assert first is not None
    order: list[str] = []
    threads = []
    asking = threading.Event()

    def wait(ticket: str) -> None:
        slot = take(tmp_path, ticket, kind="cpu", limit=1, stopped=lambda: asking.set() or False)
        assert slot is not None
        order.append(ticket)
        slot.release()

    for ticket in ("3", "2"):
        asking.clear()
        threads.append(threading.Thread(target=wait, args=(ticket,)))
        threads[-1].start()
        assert asking.wait(30)
    first.release()
    for thread in threads:
        thread.join(30)
    assert order == ["2", "3"]


def test_a_slot_may_be_given_back_while_another_one_looks(tmp_path: Path) -> None:
    for round_ in range(5):
        held = [now(tmp_path, f"{round_}-{i}", limit=100) for i in range(40)]
        leaving = threading.Thread(target=lambda: [slot.release() for slot in held if slot])  # noqa: B023
        leaving.start()
        while leaving.is_alive():
            another = now(tmp_path, "another", limit=100)
            assert another is not None
            another.release()
        leaving.join()


def test_gpus_go_round_and_cores_are_shared(tmp_path: Path) -> None:
    held = [now(tmp_path, str(i), kind="cuda", limit=4, gpus=2, together=4) for i in range(4)]
    assert [slot and slot.gpu for slot in held] == [0, 1, 0, 1]
    assert all(slot and slot.threads == max(1, cores() // 4) for slot in held)
    held[1].release()  # type: ignore[union-attr]
    again = now(tmp_path, "9", kind="cuda", limit=4, gpus=2, gpu=1)
    assert again is not None
    assert again.gpu == 1
    alone = now(tmp_path, "cpu", limit=8)
    assert alone is not None
    assert alone.threads == cores() == len(os.sched_getaffinity(0))
