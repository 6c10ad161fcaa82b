"""Store.check: every kind of damage is found and named with its way out, and a sound store has none."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from test_store_faults import SCORE, play, record, segment

from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.store.leftovers import claim


@pytest.fixture
def store(store_dir: Path) -> Store:
    """Two runs that are over, the first in two segments per table."""
    made = Store(store_dir)
    for run_id in ("r1", "r2"):
        made.add_run(RunRecord(run_id=run_id, kind="train", name="x"), RunStatus(state="done"))
        record(made, play(1, id=f"{run_id}-1", score=SCORE), run_id=run_id)
    record(made, play(2, id="r1-2", steps=500, score=SCORE))
    assert made.check() == []
    return made


def lines(store: Store) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [str(problem).replace(f"{store.folder}/", "") for problem in store.check()]
    assert not any("\n" in line for line in found)
    return found


def test_a_page_whose_checksum_is_wrong(store: Store) -> None:
    path = segment(store, "steps", number=2)
    store.index()
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = lines(store)
    assert "runs/r1/steps/000002.parquet: it is damaged and left out of every answer" in found[0]
    assert found[0].endswith("restore it from a copy, or delete it to give up its rows")
    assert "run r1: 1 of its trajectories lack steps ('r1-2' has 0 of 500); restore the" in found[1]
    assert len(found) == 2


def test_a_segment_that_is_missing(store: Store) -> None:
    store.index()
    segment(store, "steps", number=2).unlink()
    segment(store, "trajectories", run_id="r2").unlink()
    found = lines(store)
    assert found[0].startswith("runs/r1/steps/000002.parquet: it was there when the index was built")
    assert found[1].startswith("runs/r2/trajectories/000001.parquet: it was there when the index was built")
    assert "run r1: 1 of its trajectories lack steps" in found[2]
    assert "run r2: 5 steps belong to 1 trajectories without a row of their own (such as 'r2-1')" in found[3]
    assert "run r2: 1 marks belong to" in found[4]
    assert len(found) == 5
    store.index()
    assert lines(store) == found[2:], "the index forgets what is gone, the rows tell it still"


def test_steps_of_a_run_that_goes_on_are_no_orphans(store: Store) -> None:
    with store.writer("r2") as writer:
        writer.step("early", play()[0])
    assert "run r2: 1 steps belong to 1 trajectories" in lines(store)[0]
    store.write_status("r2", RunStatus(state="running", pid=os.getpid()))
    assert lines(store) == []


def test_what_killed_processes_left(store: Store) -> None:
    left = segment(store, "steps").with_name("000003.parquet.tmp")
    left.write_bytes(b"PAR1")
    held = claim(segment(store, "steps").with_name("000004.parquet.tmp"))
    assert held is not None
    with held:
        [line] = lines(store)
        assert line.startswith("runs/r1/steps/000003.parquet.tmp: a process that was killed left it; nothing")
    assert len(lines(store)) == 2
    store.index()
    assert lines(store) == []
    originals = {n: segment(store, "steps", number=n).read_bytes() for n in (1, 2)}
    store.compact()
    assert lines(store) == []
    segment(store, "steps").write_bytes(originals[1])
    assert lines(store)[0].startswith("runs/r1/steps/000001.parquet: a killed compaction left it")
    store.compact()
    assert lines(store) == []


def test_runs_without_a_record(store: Store) -> None:
    (store.run_folder("r1") / "run.json").unlink()
    (store.run_folder("r2") / "status.json").write_text('{"state": "sleeping"}')
    (store.folder / "runs" / "notes.txt").write_text("mine")
    found = lines(store)
    assert "runs/notes.txt: it is no run's folder; move it away" in found
    assert any(line.startswith("runs/r1/run.json: it is missing, so that") for line in found)
    assert any("runs/r2/status.json: is damaged: state 'sleeping' is none of" in line for line in found)
    assert len(found) == 3


def test_an_index_that_is_gone_and_a_trajectory_recorded_twice(store: Store) -> None:
    store.index().unlink()
    assert "it is gone, so that every reader reads all segments" in lines(store)[0]
    store.index(rebuild=True)
    record(store, play(1, id="r1-1"), run_id="r2")
    [line] = lines(store)
    assert line == "trajectory r1-1: it is recorded 2 times, in r1, r2; delete all but one of these runs"
