"""Our own files of trajectories: nothing is lost, nothing is held that need not be, mistakes are named."""

from __future__ import annotations

import itertools
import json
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trajectory_examples import same, trajectories

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import files, jsonl, parquet
from aigym_kernel.trajectories import Trajectory

OWN = [(jsonl, "x.jsonl"), (parquet, "x.parquet")]
few = settings(max_examples=40, deadline=None)


def numeric(length: int = 3, **fields: object) -> Trajectory:
    given = {
        "env_id": "CartPole-v1",
        "agent": "random",
        "observations": np.arange(4 * (length + 1), dtype=np.float32).reshape(length + 1, 4),
        "actions": np.arange(length) % 2,
        "rewards": np.ones(length),
        "terminated": True,
        "truncated": False,
    }
    return Trajectory(**{**given, **fields})


@pytest.mark.parametrize(("own", "name"), OWN, ids=["jsonl", "parquet"])
@few
@given(st.lists(trajectories(), max_size=3))
def test_nothing_is_lost(own: ModuleType, name: str, recorded: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        assert own.write(path, recorded) == len(recorded)
        if own is jsonl and not recorded:
            assert path.read_bytes() == b""
            return
        found = list(own.read(path))
    assert len(found) == len(recorded)
    for a, b in zip(found, recorded):
        assert same(a, b)


@pytest.mark.parametrize(("own", "name"), OWN, ids=["jsonl", "parquet"])
def test_trajectories_are_taken_and_given_one_by_one(own: ModuleType, name: str, tmp_path: Path) -> None:
    alive = list[weakref.ref[Trajectory]]()
    most = 0

    def some() -> Iterator[Trajectory]:
        nonlocal most
        for i in range(30):
            one = numeric(5, seed=i)
            alive.append(weakref.ref(one))
            yield one
            most = max(most, sum(ref() is not None for ref in alive))

    path = tmp_path / name
    assert own.write(path, some()) == 30
    assert most <= 2
    reading = own.read(path)
    assert next(reading).seed == 0
    if own is jsonl:
        with path.open("ab") as file:
            file.write(b"no trajectory\n")
        assert [t.seed for t in itertools.islice(reading, 29)] == list(range(1, 30))
        with pytest.raises(ExchangeError, match="line 31"):
            next(reading)


def test_every_line_is_strict_json_in_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    rewards = np.array([np.nan])
    jsonl.write(path, [numeric(1, rewards=rewards, error="lone \ud800 é", final_info={"a": np.inf})])

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    record = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert record["rewards"] == [{"$float": "NaN"}]
    assert record["observations"]["$array"] == "float32"


def test_parquet_is_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write(path, [numeric(3, tags=("good",), seed=7), numeric(2, error="broke \ud800")])
    table = pq.read_table(path)
    assert table["length"].to_pylist() == [3, 2]
    assert table["outcome"].to_pylist() == ["terminated", "error"]
    assert table["error"].to_pylist() == [None, "broke \\ud800"]
    assert table["tags"].to_pylist() == [["good"], []]
    assert table["observations_shape"].to_pylist() == [[4, 4], [3, 4]]
    assert len(table["observations"].to_pylist()[0]) == 16


def broken(path: Path, data: bytes, message: str, own: ModuleType = jsonl) -> None:
    path.write_bytes(data)
    with pytest.raises(ExchangeError) as caught:
        list(own.read(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    jsonl.write(path, [numeric()])
    good = path.read_bytes()
    assert len(list(jsonl.read(path))) == 1
    broken(path, b"", "is empty")
    broken(path, b"\n \n", "is empty")
    broken(path, good[:-100], "the JSON ends in the middle; was it cut short?")
    broken(path, good + b"\x00\xff\xfe", "line 2, byte 2: is not UTF-8 text")
    broken(path, good + b"[1, 2]\n", "line 2: is no trajectory")
    broken(path, good + b"{'a': 1}\n", "line 2, column 2: is not JSON")
    broken(path, b"[" * 100_000, "line 1: its lists or objects are nested too deep")
    broken(path, b'{"a": ' + b"9" * 5000 + b"}", "line 1: Exceeds the limit")
    record = json.loads(good)
    for change, message in [
        ({"aigym_trajectory": 2}, "line 1: aigym_trajectory: 2 is not 1; a newer version wrote it"),
        ({"agent": 5}, "line 1: agent: 5 is not text"),
        ({"seed": "x"}, "line 1: seed: 'x' is not a whole number"),
        ({"rewards": [1]}, "line 1: trajectory of CartPole-v1: 3 actions need 4 observations and 3 rewards"),
        ({"rewards": ["a"]}, "line 1: rewards: is no list of numbers"),
        ({"observations": 3}, "line 1: observations: is no list, but 3"),
        ({"observations": {"$array": "float32", "shape": [9], "values": [1]}}, "is no value of this format"),
        ({"observations": {"$array": "object", "shape": [1], "values": [1]}}, "holds no plain values"),
        ({"actions": {"$array": "int8", "shape": [1], "values": [10**30]}}, "is no value of this format"),
        ({"wall_s": 10**400}, "line 1: int too large to convert to float"),
        ({"actions": {"$pickle": "x"}}, "'$pickle' has no meaning"),
        ({"speed": 1}, "line 1: speed: no such field"),
        ({"messages": [{"role": "robot"}]}, "line 1: messages[0].role: 'robot' is none of system, user"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"tags": "good"}, "line 1: tags: is no list, but 'good'"),
        ({"score": {"total": 1.0}}, "line 1: score.task_id: is missing"),
    ]:
        broken(path, json.dumps({**record, **change}).encode(), message)
    del record["agent"]
    broken(path, json.dumps(record).encode(), "line 1: agent: is missing")


def test_a_line_or_a_trajectory_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 2**20)
    path = tmp_path / "x.jsonl"
    broken(path, b'"' + b"a" * 2**20 + b'"', "line 1: is larger than 1 MiB; use Parquet")
    path.unlink()
    large = numeric(1, observations=np.zeros((2, 2**19)))
    with pytest.raises(ExchangeError, match="more than the 1 that are read back; use Parquet"):
        jsonl.write(path, [numeric(), large])
    assert not list(tmp_path.iterdir())
    assert parquet.write(tmp_path / "x.parquet", [large]) == 1


def test_values_that_json_has_no_word_for_are_named(tmp_path: Path) -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for own, name in OWN:
        for value, message in [(deep, "nested too deep for JSON"), (10**5000, "Exceeds the limit")]:
            with pytest.raises(ExchangeError, match=message):
                own.write(tmp_path / name, [numeric(final_info={"a": value})])
    assert not list(tmp_path.iterdir())


def test_a_parquet_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write(path, [numeric(50)])
    good = path.read_bytes()
    broken(path, b"", "is no Parquet file", parquet)
    broken(path, good[: len(good) // 2], "is no Parquet file", parquet)
    broken(path, b"PAR1" + b"\x00" * 50 + b"PAR1", "is no Parquet file", parquet)
    table = pq.read_table(path) if path.write_bytes(good) else None
    assert table is not None
    pq.write_table(table.select(["agent"]).replace_schema_metadata(None), path)
    with pytest.raises(ExchangeError, match="is Parquet, but not of trajectories: it has the columns agent"):
        list(parquet.read(path))
    pq.write_table(table.drop(["rewards"]), path)
    with pytest.raises(ExchangeError, match="rewards"):
        list(parquet.read(path))


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def failing() -> Iterator[Trajectory]:
        yield numeric()
        raise KeyboardInterrupt

    for own, name in OWN:
        with pytest.raises(KeyboardInterrupt):
            own.write(tmp_path / name, failing())
        assert not list(tmp_path.iterdir())
        with pytest.raises(ExchangeError, match="there is no folder"):
            own.write(tmp_path / "no" / name, [numeric()])
        # Neither can its temporary file be made here nor removed, as on a read-only disk.
        with pytest.raises(ExchangeError, match="cannot be written: File name too long"):
            own.write(tmp_path / ("x" * 240 + name), [numeric()])
    path = tmp_path / "x.jsonl"
    path.write_text("mine")
    with pytest.raises(ExchangeError, match="exists already; choose another name, or delete it"):
        jsonl.write(path, [numeric()])
    assert path.read_text() == "mine"
