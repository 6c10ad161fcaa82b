"""Runs leave a store as one file and enter another; what is hostile or damaged does not."""

from __future__ import annotations

import io
import json
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import aigym_kernel as aigym
from aigym_kernel.cli import main
from aigym_kernel.errors import AigymError, ExchangeError, StoreError, UnknownName
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Trajectory


def add(store: Store, run_id: str = "r", state: str = "done") -> aigym.Run:
    record = RunRecord(run_id=run_id, kind="train", name="ppo", config={"env": "e"}, created_at=5.0)
    store.add_run(record, RunStatus(state=state, step=9, total_steps=9))  # type: ignore[arg-type]
    with store.writer(run_id) as writer:
        for i in range(3):
            play(writer, f"{run_id}-{i}")
            writer.flush()
        writer.waypoint(9)
    folder = store.run_folder(run_id)
    (folder / "log.txt").write_text("all went well\n")
    (folder / "artifacts" / "checkpoints").mkdir(parents=True)
    (folder / "artifacts" / "checkpoints" / "latest.safetensors").write_bytes(b"\0" * 1000)
    for name in ("make_env.pkl", "network.PKL"):
        (folder / "artifacts" / name).write_bytes(b"code")
    (folder / "stop").touch()
    (folder / "rewound").mkdir()
    (folder / "rewound" / "x.parquet").write_bytes(b"old")
    return aigym.load_run(run_id, store)


def play(writer: aigym.store.Writer, name: str) -> None:  # type: ignore[name-defined]
    writer.trajectory(
        Trajectory(
            id=name,
            env_id="e",
            agent="a",
            observations=np.arange(4.0),
            actions=np.arange(3),
            rewards=np.ones(3),
            terminated=True,
            truncated=False,
        )
    )
    writer.metrics(3, {"loss": 1.0})


def test_a_run_arrives_as_it_was(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    run = add(here)
    here.note("r-1", "odd")
    path = run.export(tmp_path / "run.zip")
    arrived = aigym.import_run(path, there)
    assert (arrived.id, arrived.record, arrived.status()) == ("r", run.record, run.status())
    for table in ("trajectories", "steps", "metrics", "notes"):
        query = f"SELECT * FROM {table} ORDER BY ALL"
        assert str(there.arrow(query).to_pylist()) == str(here.arrow(query).to_pylist())
    assert there.load("r-1").notes[0].text == "odd"
    assert there.check() == []
    names = {p.relative_to(arrived.folder).as_posix() for p in arrived.folder.rglob("*") if p.is_file()}
    assert {"log.txt", "waypoints.json", "artifacts/checkpoints/latest.safetensors"} <= names
    # Nothing that steers, that was thrown away, or that would run somebody's code.
    assert not [
        name for name in names if name == "stop" or "rewound" in name or name.lower().endswith(".pkl")
    ]
    assert not list((there.folder / "incoming").iterdir())


def test_a_run_that_still_goes_on_arrives_as_one_that_was_stopped(tmp_path: Path) -> None:
    run = add(Store(tmp_path / "here"), state="running")
    arrived = aigym.import_run(run.export(tmp_path / "run.zip"), Store(tmp_path / "there"))
    assert (arrived.status().state, arrived.status().error) == ("stopped", "exported before it had ended")
    assert len(arrived.store.trajectories()) == 3


def test_a_run_is_exported_whole_while_its_segments_are_merged(tmp_path: Path) -> None:
    here = Store(tmp_path / "here")
    run = add(here)
    over = threading.Event()

    def write_and_merge() -> None:
        number = 3
        while not over.is_set():
            with here.writer("r") as writer:
                play(writer, f"r-{number}")
            here.compact()
            number += 1

    thread = threading.Thread(target=write_and_merge)
    thread.start()
    try:
        paths = [run.export(tmp_path / f"{i}.zip") for i in range(8)]
    finally:
        over.set()
        thread.join()
    for i, path in enumerate(paths):
        there = Store(tmp_path / f"there{i}")
        aigym.import_run(path, there)
        rows = there.sql("SELECT trajectory_id, length FROM trajectories")
        assert len(rows) >= 3
        assert rows["trajectory_id"].is_unique
        assert [p for p in there.check() if "lack steps" in p.what] == []


def test_names_that_are_taken_are_told(tmp_path: Path) -> None:
    here = Store(tmp_path / "here")
    run = add(here)
    path = run.export(tmp_path / "run.zip")
    with pytest.raises(ExchangeError, match=r"run\.zip exists already"):
        run.export(path)
    with pytest.raises(StoreError, match="run 'r' exists already"):
        aigym.import_run(path, here)
    with pytest.raises(ExchangeError, match="cannot be written"):
        run.export(tmp_path / "nowhere" / "run.zip")
    with pytest.raises(UnknownName, match="unknown run 'q'"):
        aigym.Run("q", here).export(tmp_path / "q.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here", "run.zip"]


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, tmp_path: Path, says: str) -> None:
    there = Store(tmp_path / "there")
    with pytest.raises(ExchangeError, match=says):
        aigym.import_run(path, there)
    assert there.run_ids() == []
    assert not (tmp_path / "there" / "incoming").exists() or not list(
        (tmp_path / "there" / "incoming").iterdir()
    )


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../../evil", "artifacts/../../evil", "artifacts\\..\\evil", "C:/evil"),
        *("stop", "steps/evil.txt", "steps/a/000001.parquet", "artifacts", "other/file", "./run.json"),
    ],
)
def test_an_entry_that_has_no_place_in_a_run_is_refused(tmp_path: Path, name: str) -> None:
    path = add(Store(tmp_path / "here")).export(tmp_path / "run.zip")
    refused(rewritten(path, lambda content: content.update({name: b"x"})), tmp_path, "is refused: its entry")
    assert not (tmp_path / "evil").exists()


def test_links_and_doubles_are_refused(tmp_path: Path) -> None:
    path = add(Store(tmp_path / "here")).export(tmp_path / "run.zip")
    link = zipfile.ZipInfo("artifacts/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, tmp_path, "'artifacts/link' is a link or no file")
    path = rewritten(path, lambda content: content.pop("artifacts/link"))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("log.txt", "again")
    refused(path, tmp_path, "it holds 'log.txt' twice")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = add(Store(tmp_path / "here")).export(tmp_path / "run.zip")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("artifacts/b", "w") as file,
    ):
        for _ in range(120):
            file.write(bytes(2**20))
    refused(path, tmp_path, "claims to hold 125.* MB: no exported run is compressed like that")


def no_run(content: dict[str, bytes]) -> None:
    content.pop("run.json")


def bad_record(content: dict[str, bytes]) -> None:
    content["run.json"] = b'{"run_id": "../up", "kind": "train", "name": "x"}'


def no_record(content: dict[str, bytes]) -> None:
    content["run.json"] = b"[1]"


def no_status(content: dict[str, bytes]) -> None:
    content.pop("status.json")


def bad_status(content: dict[str, bytes]) -> None:
    content["status.json"] = json.dumps({"state": "odd"}).encode()


def bad_segment(content: dict[str, bytes]) -> None:
    content["steps/000002.parquet"] = content["steps/000002.parquet"][:-20]


def foreign_rows(content: dict[str, bytes]) -> None:
    table = pq.read_table(io.BytesIO(content["metrics/000001.parquet"]))
    table = table.set_column(0, "run_id", pa.array(["other"] * len(table)))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    content["metrics/000001.parquet"] = sink.getvalue()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (no_run, "it has no run.json"),
        (bad_record, r"its run\.json is damaged .*cannot name a folder"),
        (no_record, r"its run\.json is damaged"),
        (no_status, "it has no status.json"),
        (bad_status, r"status\.json is damaged: state 'odd'"),
        (bad_segment, "1 of its segments are damaged"),
        (foreign_rows, r"metrics/000001\.parquet holds rows of another run"),
    ],
)
def test_what_is_damaged_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], object], says: str
) -> None:
    refused(rewritten(add(Store(tmp_path / "here")).export(tmp_path / "run.zip"), change), tmp_path, says)


def test_a_file_that_is_no_archive_or_cut_short_is_refused(tmp_path: Path) -> None:
    path = add(Store(tmp_path / "here")).export(tmp_path / "run.zip")
    whole = path.read_bytes()
    for data in (b"", b"hello", whole[: len(whole) // 2], whole[:300] + b"\xff" + whole[301:]):
        path.write_bytes(data)
        refused(path, tmp_path, "is no run that was exported, or is damaged|damaged")
    path.unlink()
    refused(path, tmp_path, "does not exist")
    refused(tmp_path, tmp_path, "cannot be read")


def test_from_the_command_line(store_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(Store(store_dir))
    path = str(tmp_path / "run.zip")
    done = CliRunner().invoke(main, ["store", "export-run", "r", path])
    assert (done.exit_code, "run r in" in done.output) == (0, True), done.output
    monkeypatch.setenv("AIGYM_DATA", str(tmp_path / "other"))
    done = CliRunner().invoke(main, ["store", "import-run", path, "--json"])
    assert json.loads(done.output) == {"run_id": "r", "state": "done"}
    with pytest.raises(AigymError, match="exists already"):
        aigym.import_run(path)
