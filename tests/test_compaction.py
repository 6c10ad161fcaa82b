"""Merging segments: nothing lost, nothing twice, while others write and read, and when it is killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store_faults import FINITE, PLAY, ROOT, SCORE, assert_whole, kill, play, record, segment, start

from aigym_kernel.errors import StoreWarning, UnknownName
from aigym_kernel.store import Store, compaction
from aigym_kernel.store.segments import counting


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    made.create()
    return made


def names(store: Store, table: str = "steps", run_id: str = "r1") -> list[str]:
    return sorted(p.name for p in (store.run_folder(run_id) / table).iterdir())


def flushes(store: Store, *ids: str, run_id: str = "r1") -> None:
    """Each in a segment of its own."""
    with store.writer(run_id) as writer:
        for number, name in enumerate(ids):
            writer.trajectory(play(number, id=name, score=SCORE))
            writer.flush()


def test_many_segments_become_one_with_the_same_rows(store: Store) -> None:
    flushes(store, "a", "b", "c")
    flushes(store, "d", run_id="r2")
    before = store.sql("SELECT * FROM steps ORDER BY ALL")
    done = store.compact()
    assert (done.merged, done.written) == (9, 3)
    assert names(store) == names(store, "trajectories") == ["000001-000003.parquet"]
    assert names(store, run_id="r2") == ["000001.parquet"]
    assert store.sql("SELECT * FROM steps ORDER BY ALL").equals(before)
    assert store.load("b").rewards.tolist() == [1.0] * 5
    assert store.compact().merged == 0, "nothing is left to be merged"
    flushes(store, "e", "f")
    assert names(store)[1:] == ["000004.parquet", "000005.parquet"]
    assert store.compact("r1").merged == 9
    assert names(store) == ["000001-000005.parquet"]
    assert set(store.sql("SELECT DISTINCT trajectory_id AS i FROM steps")["i"]) == set("abcdef")
    store.index(rebuild=True)
    assert store.load("e").length == 5
    with pytest.raises(UnknownName, match="unknown run 'r3'"):
        store.compact("r3")


def test_large_steps_keep_their_values_and_stay_in_small_row_groups(store: Store) -> None:
    rng = np.random.default_rng(0)
    kept = [play(i, 9_000, observations=rng.standard_normal((9_001, 3)), id=str(i)) for i in range(5)]
    with store.writer("r1") as writer:
        for trajectory in kept:
            writer.trajectory(trajectory)
            writer.flush()
    store.compact()
    with pq.ParquetFile(segment(store, "steps").with_name("000001-000005.parquet")) as file:
        rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert rows == [16_384, 16_384, 45_000 - 2 * 16_384]
    for wanted in kept:
        np.testing.assert_array_equal(store.load(wanted.id).observations, wanted.observations)


def test_a_number_that_is_missing_is_left_to_whoever_may_hold_it(store: Store) -> None:
    flushes(store, *"abcde")
    segment(store, "steps", number=3).rename(store.folder / "held")
    store.compact()
    assert names(store) == ["000001-000002.parquet", "000004-000005.parquet"]
    (store.folder / "held").rename(segment(store, "steps", number=3))
    assert {"a", "b", "c", "d", "e"} == set(store.sql("SELECT DISTINCT trajectory_id AS i FROM steps")["i"])


def test_a_writer_that_has_fallen_behind_takes_no_number_that_was_merged(store: Store) -> None:
    with store.writer("r1") as slow:
        slow.trajectory(play(0, id="first"))
        slow.flush()
        flushes(store, *"abc")
        store.compact()
        for name in "xy":
            slow.trajectory(play(0, id=name))
            slow.flush()
    assert names(store) == ["000001-000004.parquet", "000005.parquet", "000006.parquet"]
    assert store.page().total == 6
    assert store.load("x").length == 5


def test_damaged_segments_and_those_of_later_versions_are_left_alone(store: Store) -> None:
    flushes(store, *"abcdef")
    path = segment(store, "metrics", number=2)
    with store.writer("r1") as writer:
        for step in range(4):
            writer.metrics(step, {"loss": step})
            writer.flush()
    path.write_bytes(path.read_bytes()[:-9])
    later = segment(store, "steps", number=3)
    table = pq.read_table(later).append_column("later", pa.array([1] * 5))
    pq.write_table(table, later)
    with pytest.warns(StoreWarning, match=r"metrics/000002\.parquet is unreadable"):
        store.compact()
    assert names(store) == ["000001-000002.parquet", "000003.parquet", "000004-000006.parquet"]
    assert names(store, "metrics") == ["000001.parquet", "000002.parquet", "000003-000004.parquet"]
    with pytest.warns(StoreWarning):
        assert store.load("c").length == 5


def test_a_compaction_killed_before_it_removed_anything(store: Store) -> None:
    flushes(store, *"abc")
    store.index()
    saved = store.folder / "saved"
    shutil.copytree(store.run_folder("r1"), saved)
    store.compact()
    for path in saved.rglob("*.parquet"):
        shutil.copy2(path, store.run_folder("r1") / path.relative_to(saved))
    (store.run_folder("r1") / "steps" / "000001-000002.parquet.tmp").write_bytes(b"PAR1")
    assert len(names(store)) == 5
    for _ in range(2):
        assert assert_whole(store) == {"a", "b", "c"}
        store.index(rebuild=True)
    assert {p.name for p in compaction.covered(store.folder)} == {f"00000{n}.parquet" for n in (1, 2, 3)}
    store.compact()
    assert names(store) == ["000001-000003.parquet"]
    assert assert_whole(store) == {"a", "b", "c"}


def test_what_was_merged_into_a_damaged_segment_is_kept(store: Store) -> None:
    flushes(store, *"ab")
    originals = {n: segment(store, "steps", number=n).read_bytes() for n in (1, 2)}
    store.compact()
    wide = segment(store, "steps").with_name("000001-000002.parquet")
    wide.write_bytes(wide.read_bytes()[:-9])
    for number, content in originals.items():
        segment(store, "steps", number=number).write_bytes(content)
    assert compaction.covered(store.folder) == []


def test_which_names_count() -> None:
    found = ["000001.parquet", "000001-000003.parquet", "000003.parquet", "000004.parquet", "x.parquet"]
    assert counting(found) == (
        ["000001-000003.parquet", "000004.parquet"],
        ["000001.parquet", "000003.parquet"],
    )
    wider = counting(["000001-000003.parquet", "000001-000009.parquet", "000004-000009.parquet"])
    assert wider[0] == ["000001-000009.parquet"]


COMPACTING = """
from aigym_kernel.store import Store
while True:
    Store().compact()
    print("done", flush=True)
"""


def test_four_writers_a_reader_and_compactions_that_are_killed(store: Store) -> None:
    writers = [start(FINITE, run, "30") for run in "abcd"]
    compacting = start(COMPACTING)
    seen: set[str] = set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reads = 0
            while any(writer.poll() is None for writer in writers) or reads < 5:
                now = assert_whole(store)
                assert seen <= now, "what was once seen stays"
                seen = now
                if now:
                    assert store.load(sorted(now)[reads % len(now)]).length == 5
                if reads % 3 == 2:
                    kill(compacting)
                    compacting = start(COMPACTING)
                reads += 1
            assert compacting.stdout is not None
            assert compacting.stdout.readline() == "done\n"
    finally:
        for process in (*writers, compacting):
            if process.poll() is None:
                kill(process)
    assert [writer.returncode for writer in writers] == [0] * 4
    store.compact()
    wanted = {f"{run}-{i}" for run in "abcd" for i in range(30)}
    assert assert_whole(store) == wanted
    store.index(rebuild=True)
    assert assert_whole(store) == wanted
    assert len(list(store.folder.rglob("*.parquet"))) == 12, "one per run and table"


# No file may grow beyond 16 KiB.
FULL = """
import resource, signal
from aigym_kernel.errors import StoreError
from aigym_kernel.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))
try:
    Store().compact()
except StoreError as error:
    print(error)
"""


def test_a_compaction_on_a_full_disk(store: Store) -> None:
    rng = np.random.default_rng(0)
    with store.writer("r1") as writer:
        for i in range(3):
            writer.trajectory(play(i, 900, observations=rng.standard_normal((901, 2)), id=str(i)))
            writer.flush()
    before = names(store)
    done = subprocess.run(
        [sys.executable, "-c", FULL], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True, timeout=240
    )
    assert done.stdout.startswith(f"cannot write {store.run_folder('r1')}/steps/000001-000003.parquet")
    assert "free some space" in done.stdout
    assert names(store) == before
    assert store.load("2").length == 900
    store.compact()
    assert names(store) == ["000001-000003.parquet"]
    assert store.load("2").length == 900


def test_two_compactions_take_turns(store: Store) -> None:
    flushes(store, *"abcdef")
    code = PLAY + "Store().compact()"
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert assert_whole(store) == set("abcdef")
    record(store, play(7, id="g", score=SCORE))
    assert assert_whole(store) == set("abcdefg")
