"""Files into and out of a store: `Store.export`, `Store.import_` and their commands."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_exchange import numeric
from trajectory_examples import same

from aigym_kernel.cli import main
from aigym_kernel.errors import ExchangeError, StoreError, UnknownName
from aigym_kernel.exchange import jsonl
from aigym_kernel.store import RunRecord, Store, loading
from aigym_kernel.trajectories import Image, Mark, Message, Score, ToolCall, Trajectory, conversation


def talk(**fields: object) -> Trajectory:
    """A conversation with an image, a call and its result, and a score."""
    given = {"env_id": "aigym/task", "agent": "tiny", "group": "g1", "started_at": 1.7e9}
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content=("What is this?", Image(data=b"\x89PNG"))),
        Message(
            role="assistant",
            tool_calls=(ToolCall(id="c1", name="look", arguments={"x": 1}),),
            reasoning="Let me look.",
            model="tiny-1",
            input_tokens=12,
            output_tokens=3,
            cost=0.25,
            token_ids=(5, 6, 7),
            logprobs=(-0.5, -0.25, -1.0),
            at=1.7e9,
        ),
        Message(role="tool", content="a cat", tool_call_id="c1", name="look"),
        Message(role="assistant", content="A cat."),
    ]
    score = Score(task_id="cat", total=1.0, passed=True, marks=(Mark(name="right", value=1.0),))
    return conversation(messages, rewards=[0.0, 1.0], **{**given, "score": score, **fields})


@pytest.fixture
def store(store_dir: Path) -> Store:
    """A store with a numeric run and a conversation."""
    store = Store()
    store.add_run(RunRecord(run_id="r1", kind="rollout", name="first"))
    with store.writer("r1") as writer:
        for seed in range(3):
            writer.trajectory(numeric(seed + 1, seed=seed, started_at=1.6e9 + seed, id=f"n{seed}"))
        writer.trajectory(talk(id="talk"))
    return store


def comparable(trajectory: Trajectory) -> Trajectory:
    from dataclasses import replace

    return replace(trajectory, run_id=None)


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet"])
def test_a_store_goes_through_a_file_unchanged(store: Store, tmp_path: Path, name: str) -> None:
    assert store.export(tmp_path / name) == 4
    other = Store(tmp_path / "other")
    run_id = other.import_(tmp_path / name)
    assert other.run_ids() == [run_id]
    for trajectory_id in ("n0", "n1", "n2", "talk"):
        found, recorded = other.load(trajectory_id), store.load(trajectory_id)
        assert found.run_id == run_id
        assert same(comparable(found), comparable(recorded))
    run = other.run(run_id)
    assert (run.kind, run.name) == ("import", name)
    assert run.provenance["format"] == name.partition(".")[2]
    assert run.provenance["source"] == str(tmp_path / name)
    assert len(run.provenance["sha256"]) == 64
    assert run.provenance["bytes"] == (tmp_path / name).stat().st_size
    status = other.status(run_id)
    assert status.state == "done"
    assert status.summary == {"trajectories": 4, "steps": 8, "new_ids": 0}


def test_what_people_added_and_images_go_along(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_TRAJECTORIES", 2)
    images = np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3)
    dicts = [{"a": np.zeros(2, np.float32), "b": i} for i in range(3)]
    with store.writer("r1") as writer:
        writer.trajectory(numeric(2, observations=images, id="images", actions=["a", "b"]))
        writer.trajectory(numeric(2, observations=dicts, id="dicts"))
        writer.trajectory(numeric(0, id="empty", observations=np.zeros((1, 4)), actions=np.zeros(0)))
    store.review("talk", "right", 0.25, by="ada", note="no")
    store.tag("n1", "good", "odd")
    store.note("n1", "look at this", by="ada")
    recorded = {t.id: t for t in map(store.load, ["n0", "n1", "n2", "talk", "images", "dicts", "empty"])}
    for name in ("x.jsonl", "x.parquet", "x"):
        assert store.export(tmp_path / name, "atif" if name == "x" else None) == 7
        other = Store(tmp_path / "others" / name)
        other.import_(tmp_path / name)
        for trajectory_id, trajectory in recorded.items():
            assert same(comparable(other.load(trajectory_id)), comparable(trajectory)), trajectory_id
    assert recorded["n1"].tags == ("good", "odd")
    assert recorded["talk"].score is not None
    assert recorded["talk"].score.marks[0].value == 0.25


def test_files_of_others_become_runs_and_groups_stay_together(store: Store, tmp_path: Path) -> None:
    with store.writer("r1") as writer:
        writer.trajectory(talk(id="talk2", started_at=1.0, group="g2"))
        writer.trajectory(talk(id="talk3", started_at=2.0))
    groups = tmp_path / "groups.jsonl"
    assert store.export(groups, "atropos", where={"env_id": "aigym/task"}) == 3
    assert [len(json.loads(line)["tokens"]) for line in groups.read_text().splitlines()] == [2, 1]
    run_id = store.import_(groups)
    assert store.run(run_id).provenance["format"] == "atropos"
    assert store.status(run_id).summary["trajectories"] == 3
    traj = tmp_path / "runs" / "task.traj"
    traj.parent.mkdir()
    traj.write_text(json.dumps({"trajectory": [{"action": "ls", "observation": None}], "history": []}))
    assert store.run(store.import_(traj)).provenance["format"] == "mlgym"
    assert store.run(store.import_(traj.parent)).provenance["format"] == "mlgym"
    with pytest.raises(ExchangeError, match="the format 'mlgym' can only be read; write one of jsonl"):
        store.export(tmp_path / "x.traj", "mlgym")
    traj.rename(tmp_path / "runs" / "x.parquet")
    with pytest.raises(ExchangeError, match=r"is named like Parquet .*, but is a \.traj of MLGym"):
        store.import_(tmp_path / "runs" / "x.parquet")


def test_only_what_was_asked_for_is_exported(store: Store, tmp_path: Path) -> None:
    assert store.export(tmp_path / "a.jsonl", where={"env_id": "CartPole-v1", "seed": [0, 2]}) == 2
    assert [t.id for t in jsonl.read(tmp_path / "a.jsonl")] == ["n0", "n2"]
    with pytest.raises(ExchangeError, match="nothing to export: the store has no trajectory where"):
        store.export(tmp_path / "b.jsonl", where={"env_id": "none"})
    with pytest.raises(UnknownName, match="Did you mean 'env_id'"):
        store.export(tmp_path / "b.jsonl", where={"env": "x"})
    assert not (tmp_path / "b.jsonl").exists()


def test_the_format_is_told_by_the_name_or_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match=r"its name tells no format; pass format=, one of jsonl, parquet"):
        store.export(tmp_path / "x.csv")
    with pytest.raises(UnknownName, match="Did you mean 'parquet'"):
        store.export(tmp_path / "x.csv", "parkett")
    store.export(tmp_path / "x.csv", "jsonl", where={"trajectory_id": "n0"})
    run_id = store.import_(tmp_path / "x.csv", name="again")
    assert store.run(run_id).name == "again"
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.csv").read_bytes())
    with pytest.raises(ExchangeError, match=r"is named like Parquet of .*, but is JSON Lines of"):
        store.import_(tmp_path / "x.parquet")
    with pytest.raises(ExchangeError, match="is no Parquet file"):
        store.import_(tmp_path / "x.parquet", "parquet")
    store.export(tmp_path / "y.parquet", where={"trajectory_id": "n0"})
    (tmp_path / "y.jsonl").write_bytes((tmp_path / "y.parquet").read_bytes())
    with pytest.raises(ExchangeError, match=r"is named like JSON Lines of .*, but is Parquet of"):
        store.import_(tmp_path / "y.jsonl")


def test_an_id_that_is_taken_becomes_a_new_one(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    store.export(path, where={"trajectory_id": ["n0", "n1"]})
    path.write_bytes(path.read_bytes() * 2)
    run_id = store.import_(path, run_id="copy")
    assert run_id == "copy"
    ids = list(store.sql("SELECT trajectory_id FROM trajectories WHERE run_id = 'copy'")["trajectory_id"])
    assert len(set(ids)) == 4
    assert not set(ids) & {"n0", "n1"}
    assert store.status("copy").summary["new_ids"] == 4
    with pytest.raises(StoreError, match="run 'copy' exists already"):
        store.import_(path, run_id="copy")
    with pytest.raises(StoreError, match="cannot name a folder"):
        store.import_(path, run_id="../x")


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet", "x.json", "x.traj", "x.eval", "x", "x.minari"])
def test_a_file_that_is_none_is_one_clear_error_and_no_run(store: Store, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    runs = store.run_ids()
    cases = {
        "empty": b"",
        "binary": bytes(range(256)) * 10,
        "latin": "é".encode("latin-1") * 100,
        "nested": b"[" * 100_000,
        "number": b"9" * 100_000,
        "text": b"Dear reader,\n",
        "json": b'{"hello": [1, 2, 3]}',
        "list": b"[1, 2, 3]\n",
        "cut zip": b"PK\x03\x04" + bytes(50),
        "cut parquet": b"PAR1" + bytes(50),
    }
    for what, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(ExchangeError) as caught:
            store.import_(path)
        assert str(path) in str(caught.value), what
        assert len(str(caught.value)) < 600, what
    path.unlink()
    with pytest.raises(ExchangeError, match="there is no such file"):
        store.import_(path)
    path.mkdir()
    with pytest.raises(ExchangeError, match="this folder"):
        store.import_(path)
    assert store.run_ids() == runs
    assert not list((store.folder / "incoming").glob("*"))


def test_what_fails_midway_leaves_no_run(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    jsonl.write(path, [numeric(2) for _ in range(5)])
    with path.open("a") as file:
        file.write('{"aigym_trajectory": 1, "id": "x"}\n')
    before = store.run_ids()
    with pytest.raises(ExchangeError, match=r"x\.jsonl: line 6: env_id: is missing"):
        store.import_(path)
    jsonl.write(tmp_path / "y.jsonl", [numeric(seed=1), numeric(seed=2**70)])
    with pytest.raises(StoreError, match="does not fit 64 bits"):
        store.import_(tmp_path / "y.jsonl")
    assert store.run_ids() == before
    assert sorted(p.name for p in (store.folder / "runs").iterdir()) == before
    assert not list((store.folder / "incoming").iterdir())
    assert len(store.sql("SELECT * FROM trajectories")) == 4


def test_what_a_killed_import_left_is_removed(store: Store, tmp_path: Path) -> None:
    left = store.folder / "incoming" / "0123456789abcdef"
    (left / "runs" / "half").mkdir(parents=True)
    os.utime(left, (time.time() - 3600,) * 2)
    jsonl.write(tmp_path / "x.jsonl", [numeric(2)])
    store.import_(tmp_path / "x.jsonl")
    assert not left.exists()


def test_the_commands_say_what_they_did(store: Store, tmp_path: Path) -> None:
    path = str(tmp_path / "x.jsonl")
    ran = CliRunner().invoke(main, ["store", "export", path, "--where", "agent=random", "--where", "seed=1"])
    assert ran.output == f"1 trajectories in {path}\n"
    ran = CliRunner().invoke(main, ["store", "import", path, "--name", "copy", "--json"])
    found = json.loads(ran.output)
    assert found == {"run_id": found["run_id"], "trajectories": 1, "steps": 2, "new_ids": 1}
    assert store.run(found["run_id"]).name == "copy"
    ran = CliRunner().invoke(main, ["store", "import", str(tmp_path / "none.jsonl")])
    assert ran.exit_code == 2
    assert ran.stderr.startswith("error: ")
    ran = CliRunner().invoke(main, ["store", "export", str(tmp_path / "y.jsonl"), "--where", "agent"])
    assert "is no COLUMN=VALUE" in ran.output + ran.stderr
