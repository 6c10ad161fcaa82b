"""Minari's datasets: written and read back, and read by minari itself."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import missing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from test_exchange import numeric
from trajectory_examples import infos, same, scores

from aigym_kernel import exchange
from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import minari_dataset
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Trajectory


@pytest.fixture(scope="module")
def minari() -> Any:
    for name in ("minari", "PIL", "h5py"):
        if importlib.util.find_spec(name) is None:
            missing(f"{name}: pip install 'aigym-kernel[minari]'")
    import minari

    return minari


dtypes = st.sampled_from(["float32", "float64", "int64", "int8", "uint8", "uint16", "float16"])
shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
leaves = st.tuples(dtypes, shapes)
kinds = (
    leaves | st.dictionaries(st.sampled_from("abc"), leaves, min_size=1) | st.tuples(leaves, leaves).map(list)
)


@st.composite
def rows(draw: st.DrawFn, kind: Any, length: int) -> Any:
    """A column of one kind of numbers."""
    if isinstance(kind, dict):
        parts = {k: draw(rows(kind[k], length)) for k in sorted(kind)}  # a Dict space sorts its keys
        return [{k: part[t] for k, part in parts.items()} for t in range(length)]
    if isinstance(kind, list):
        held = [draw(rows(v, length)) for v in kind]
        return [tuple(part[t] for part in held) for t in range(length)]
    dtype, shape = kind
    elements = st.integers(-(2**40), 2**40) if dtype == "int64" else None
    return draw(npst.arrays(np.dtype(dtype), (length, *shape), elements=elements))


@st.composite
def datasets(draw: st.DrawFn) -> list[Trajectory]:
    """Trajectories of one environment."""
    seen, done = draw(kinds), draw(kinds)
    found = []
    for _ in range(draw(st.integers(1, 3))):
        length = draw(st.integers(1, 4))
        found.append(
            numeric(
                length,
                env_id="Any-v0",
                observations=draw(rows(seen, length + 1)),
                actions=draw(rows(done, length)),
                rewards=np.array(draw(st.lists(st.floats(), min_size=length, max_size=length))),
                infos=draw(st.just(()) | st.lists(infos, min_size=length, max_size=length).map(tuple)),
                final_info=draw(infos),
                score=draw(st.none() | scores()),
                seed=draw(st.none() | st.integers(0, 2**31)),
                truncated=draw(st.booleans()),
                terminated=draw(st.booleans()),
            )
        )
    return found


@settings(max_examples=30, deadline=None)
@given(datasets())
def test_nothing_is_lost(minari: Any, recorded: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any-v0"
        assert minari_dataset.write(path, recorded) == len(recorded)
        found = list(minari_dataset.read(path))
    assert len(found) == len(recorded)
    for a, b in zip(found, recorded):
        assert same(a, b)


def test_minari_reads_what_is_written(minari: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cartpole-random-v0"
    minari_dataset.write(path, [numeric(3, seed=1), numeric(2, truncated=True, terminated=False)])
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = minari.load_dataset("cartpole-random-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 5)
    assert dataset.env_spec.id == "CartPole-v1"
    assert (dataset.action_space.n, dataset.observation_space.shape) == (2, (4,))
    assert dataset.recover_environment().spec.id == "CartPole-v1"
    first, second = dataset.iterate_episodes()
    assert first.observations.dtype == np.float32
    assert first.observations.shape == (4, 4)
    assert first.terminations.tolist() == [False, False, True]
    assert second.truncations.tolist() == [False, True]
    assert list(minari.list_local_datasets()) == ["cartpole-random-v0"]
    assert exchange.locate("cartpole-random-v0") == path
    assert exchange.tell(path).name == exchange.tell(path / "data").name == "minari"


def made_by_minari(minari: Any, folder: Path, data_format: str) -> Path:
    """A dataset as minari writes one: two kinds of observations, infos, a seed."""
    import gymnasium
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    space = gymnasium.spaces.Dict(
        {"a": gymnasium.spaces.Box(-1, 1, (2,), np.float32), "b": gymnasium.spaces.Discrete(5)}
    )
    (folder / "data").mkdir(parents=True)
    storage = MinariStorage.new(folder / "data", space, gymnasium.spaces.Discrete(3), data_format=data_format)
    storage.update_episodes(
        [
            EpisodeBuffer(
                id=0,
                seed=7,
                observations={"a": np.zeros((3, 2), np.float32), "b": np.array([1, 2, 3])},
                actions=np.array([0, 2]),
                rewards=[1.0, 2.0],
                terminations=[False, True],
                truncations=[False, False],
                infos={"speed": np.array([[0.0], [1.0], [2.0]]), "at": {"x": np.array([[0], [1], [2]])}},
            )
        ]
    )
    storage.update_metadata(
        {"dataset_id": "made/by-v3", "minari_version": minari.__version__, "algorithm_name": "ppo"}
    )
    return folder


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_a_dataset_of_others(minari: Any, tmp_path: Path, data_format: str) -> None:
    folder = made_by_minari(minari, tmp_path / "by-v3", data_format)
    (found,) = minari_dataset.read(folder)
    assert (found.env_id, found.agent, found.seed, len(found)) == ("made/by-v3", "ppo", 7, 2)
    assert found.observations[2]["a"].tolist() == [0.0, 0.0]
    assert [int(o["b"]) for o in found.observations] == [1, 2, 3]
    assert found.actions.tolist() == [0, 2]
    assert (found.terminated, found.truncated, found.total_reward) == (True, False, 3.0)
    assert [float(i["speed"][0]) for i in found.infos] == [1.0, 2.0]
    assert set(found.infos[0]["at"]) == {"x"}
    assert found.final_info["minari"] == {"dataset": "made/by-v3", "episode": 0}


def test_a_store_goes_through_a_dataset(
    minari: Any, store_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    store.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    with store.writer("r") as writer:
        recorded = [numeric(3 + i, started_at=1.0 + i) for i in range(5)]
        for trajectory in recorded:
            writer.trajectory(trajectory)
    assert store.export(tmp_path / "cart-v0", "minari") == 5
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    other = Store(tmp_path / "other")
    run_id = other.import_("cart-v0")
    assert other.run(run_id).provenance["source"] == str(tmp_path / "cart-v0")
    for trajectory in recorded:
        assert same(replace(other.load(trajectory.id), run_id=None), trajectory)


def test_what_minari_cannot_hold_is_named(minari: Any, tmp_path: Path) -> None:
    path = tmp_path / "x-v0"
    for some, message in [
        ([], "needs a trajectory"),
        ([numeric(2, actions=["a", "b"])], "its actions are not numbers of one shape throughout"),
        ([numeric(1, observations=[{"a": 1}, {"b": 1}])], "dicts with other keys"),
        ([numeric(0)], "has no steps; export those with length above 0"),
        ([numeric(2), numeric(2, actions=np.zeros(2))], "its actions are others than those of"),
        ([numeric(2), numeric(2, observations=np.zeros((3, 5)))], "its observations are others than those"),
    ]:
        with pytest.raises(ExchangeError, match=message):
            minari_dataset.write(path, some)
        assert not list(tmp_path.iterdir())
    with pytest.raises(ExchangeError, match="a name that ends in a version, such as cartpole-expert-v0"):
        minari_dataset.write(tmp_path / "x", [numeric()])
    path.mkdir()
    with pytest.raises(ExchangeError, match="exists already"):
        minari_dataset.write(path, [numeric()])


def test_a_folder_that_is_no_dataset_is_named(minari: Any, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match=r"it has no data/metadata\.json"):
        list(minari_dataset.read(tmp_path))
    path = tmp_path / "x-v0"
    minari_dataset.write(path, [numeric()])
    metadata = path / "data" / "metadata.json"
    good = json.loads(metadata.read_text())
    for change in ({"observation_space": "?"}, {"data_format": "xml"}, {"minari_version": "9"}):
        metadata.write_text(json.dumps(good | change))
        with pytest.raises(ExchangeError, match="is no dataset that minari can read"):
            list(minari_dataset.read(path))
    metadata.write_text(json.dumps(good))
    for file in (path / "data" / "0").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ExchangeError, match="is no dataset that minari can read, or a damaged one"):
        list(minari_dataset.read(path))


def test_without_minari_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ExchangeError, match=r"pip install 'aigym-kernel\[minari\]'"):
        minari_dataset.write(tmp_path / "x-v0", [numeric()])
