"""SQL that anybody may write: it ends in time and when told to, and reaches nothing but the tables."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from test_store_faults import ROOT, play, record, segment

from aigym_kernel.errors import QueryError
from aigym_kernel.store import Store, snapshot

# Minutes of work that needs no memory.
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 1"


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    made.create()
    record(made, play(1, id="a"), play(2, id="b"))
    return made


# Time


def test_a_statement_that_takes_too_long_is_ended(store: Store) -> None:
    with pytest.raises(QueryError, match=r"took longer than 0\.2 s and was ended.*larger timeout_s"):
        store.sql(ENDLESS, timeout_s=0.2)
    assert store.sql("SELECT 1 AS n")["n"].tolist() == [1]
    with pytest.raises(QueryError, match="took longer"):
        store.arrow(ENDLESS, timeout_s=0.2)


def test_another_thread_cancels(store: Store) -> None:
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(store.sql, ENDLESS) for _ in range(3)]
        cancelled = 0
        while cancelled < 3:
            cancelled += store.cancel()
            assert Store(store.folder.parent).cancel() == 0, "those of another store go on"
            time.sleep(0.001)
        assert cancelled == 3, "one that is ending counts no second time"
        for future in asked:
            with pytest.raises(QueryError, match="was cancelled"):
                future.result(120)
    assert store.cancel() == 0


def test_an_interrupt_ends_the_statement(store: Store) -> None:
    code = f"""
import threading, time
from aigym_kernel.store import Store, statements

def tell():
    while not statements._running:
        time.sleep(0.01)
    print("go", flush=True)

threading.Thread(target=tell, daemon=True).start()
store = Store()
try:
    store.sql({ENDLESS!r})
except KeyboardInterrupt:
    print(store.sql("SELECT 42 AS n")["n"][0])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=180)[0] == "42\n"
    assert process.returncode == 0


@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupt_while_the_statement_begins_leaves_nothing_running(store: Store, begun: bool) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if begun:
            start(thread)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.sql(ENDLESS)
    for thread in threading.enumerate():
        if thread.name == "aigym-sql":
            thread.join(60)
            assert not thread.is_alive()


def test_an_answer_that_no_memory_holds_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "memory", lambda: 2**24)
    for ask in (store.sql, store.arrow):
        with pytest.raises(QueryError, match=r"the answer has more than .* GiB, a quarter of this machine's"):
            ask("SELECT range AS i FROM range(100000000)")
    assert len(store.sql("SELECT range AS i FROM range(1500000)")) == 1_500_000


def test_many_rows_come_in_one_frame(store: Store) -> None:
    frame = store.sql("SELECT range AS i, range % 3 = 0 AS b, 'x' || range AS s FROM range(1200000)")
    assert frame["i"].tolist() == list(range(1_200_000))
    assert frame.index.tolist()[-1] == 1_199_999
    assert frame["s"].iloc[-1] == "x1199999"
    assert list(store.sql("SELECT 1 AS a, 'b' AS b WHERE false").columns) == ["a", "b"]
    table = store.arrow("SELECT trajectory_id, length FROM trajectories WHERE length > ? ORDER BY 1", [3])
    assert table.to_pydict() == {"trajectory_id": ["a", "b"], "length": [5, 5]}


# What it may reach


def test_no_statement_writes_or_reads_another_file(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\nhidden,1\n")
    other = tmp_path / "other.parquet"
    other.write_bytes(segment(store, "steps").read_bytes())
    target = tmp_path / "written"
    hidden = (store.run_folder("r1") / "artifacts", store.folder / "store.json")
    hidden[0].mkdir()
    (hidden[0] / "notes.txt").write_text("hidden")
    attacks = [
        f"COPY (SELECT 1) TO '{target}'",
        f"COPY steps TO '{target}' (FORMAT parquet)",
        f"COPY steps FROM '{secret}'",
        f"EXPORT DATABASE '{target}'",
        f"IMPORT DATABASE '{tmp_path}'",
        f"ATTACH '{target}' AS x",
        f"ATTACH '{store.folder}/index/traj-000001.duckdb' AS x",
        "DETACH generation",
        "USE generation",
        "INSTALL httpfs",
        "LOAD httpfs",
        "FORCE INSTALL httpfs",
        "PRAGMA enable_external_access=true",
        "CALL pragma_version()",
        "SET enable_external_access = true",
        "SET GLOBAL allowed_directories = ['/']",
        "RESET enable_external_access",
        "CHECKPOINT",
        "BEGIN TRANSACTION",
        "CREATE TABLE x (a INTEGER)",
        "CREATE MACRO f() AS 1",
        f"CREATE SECRET s (TYPE s3, KEY_ID '{secret}')",
        "DELETE FROM recorded.rescored",
        "PREPARE p AS SELECT 1",
        "VACUUM",
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM read_csv_auto('{secret}')",
        f"SELECT * FROM sniff_csv('{secret}')",
        f"SELECT * FROM read_text('{secret}')",
        f"SELECT * FROM read_blob('{secret}')",
        f"SELECT * FROM read_json('{secret}')",
        f"SELECT * FROM read_parquet('{other}')",
        f"SELECT * FROM parquet_metadata('{other}')",
        f"SELECT * FROM read_parquet('{tmp_path}/*.parquet')",
        f"SELECT * FROM read_text('{hidden[0]}/notes.txt')",
        f"SELECT * FROM read_text('{hidden[1]}')",
        f"SELECT * FROM read_text('{segment(store)}/../../artifacts/notes.txt')",
        f"SELECT * FROM glob('{tmp_path}/*')",
        "SELECT * FROM glob('/etc/*')",
        f"SELECT * FROM query('COPY (SELECT 1) TO ''{target}''')",
        f"SELECT * FROM query_table(['{secret}'])",
        "SELECT * FROM read_csv('https://127.0.0.1:9/x.csv')",
        "SELECT getenv('HOME')",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM secret",
        f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{target}'",
        f"EXPLAIN ANALYZE SELECT * FROM read_text('{secret}')",
        f"SELECT 1; COPY (SELECT 1) TO '{target}'",
        f"WITH x AS (SELECT * FROM read_text('{secret}')) SELECT * FROM x",
        f"SELECT (SELECT content FROM read_text('{secret}'))",
        "SELECT * FROM pandas_scan(1)",
        "SELECT * FROM arrow_scan(1, 2, 3)",
    ]
    secret_frame = [1]  # a name of this frame is no table, either
    passed = []
    for attack in [*attacks, "SELECT * FROM secret_frame"]:
        with suppress(QueryError):
            store.sql(attack)
            passed.append(attack)
    assert passed == []
    assert secret_frame == [1]
    assert not target.exists()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != store.folder.name) == [
        "other.parquet",
        "secret.csv",
    ]
    settings = store.sql(
        "SELECT current_setting('enable_external_access') AS a, current_setting('lock_configuration') AS b, "
        "current_setting('autoload_known_extensions') AS c, current_setting('memory_limit') AS m"
    ).iloc[0]
    assert (settings["a"], settings["b"], settings["c"]) == (False, True, False)
    assert settings["m"].endswith("iB")
    assert store.page().total == 2


# A store that is asked again and again


def test_a_database_is_kept_until_something_changes(store: Store) -> None:
    first = snapshot._database(store.folder)
    assert snapshot._database(store.folder) is first
    record(store, play(3, id="c"), run_id="r2")
    second = snapshot._database(store.folder)
    assert second is not first
    assert store.page().total == 3
    store.index()
    third = snapshot._database(store.folder)
    assert third is not second
    assert snapshot._database(store.folder) is third


def test_many_threads_ask_while_it_changes(store: Store) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            seen = 0
            while not stop.is_set():
                frame = store.sql("SELECT count(*) AS n, (SELECT count(*) FROM runs) AS r FROM trajectories")
                assert frame["n"][0] >= seen
                seen = frame["n"][0]
                assert store.load("a").length == 5
                assert store.page(search="e").total >= 2
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(10):
        record(store, play(i), run_id=f"more-{i % 2}")
        if i % 4 == 3:
            store.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.page().total == 12


def test_a_forked_process_asks_for_itself(store: Store) -> None:
    assert store.page().total == 2
    code = """
import os, sys
from aigym_kernel.store import Store
store = Store()
assert store.page().total == 2
child = os.fork()
if child == 0:
    os._exit(0 if store.page().total == 2 and store.load("b").length == 5 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=240)
    assert done.returncode == 0


def test_a_generation_deleted_under_a_reader(store: Store) -> None:
    path = store.index()
    assert store.load("a").length == 5
    with snapshot.open_snapshot(store.folder, "") as asked:
        path.unlink()
        assert asked.rows("SELECT count(*) AS n FROM trajectories") == [{"n": 2}], "it has the file open"
    with pytest.warns(UserWarning, match="is gone; reading all segments instead"):
        assert store.load("b").length == 5
    store.index(rebuild=True)
    assert store.load("a").length == 5
