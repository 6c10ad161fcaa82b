"""What any gymnasium space samples comes back from the store with its types, dtypes, shapes and order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from gymnasium import Space, spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigym_kernel.envs.spaces import UnicodeText
from aigym_kernel.errors import StoreError
from aigym_kernel.store import Store, columns, schema
from aigym_kernel.trajectories import Step, Trajectory


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("data"))
    made.create()
    return made


def play(observations: Any, actions: Any) -> Trajectory:
    return Trajectory(
        env_id="e",
        agent="a",
        observations=observations,
        actions=actions,
        rewards=np.zeros(len(actions)),
        terminated=True,
        truncated=False,
    )


def record(store: Store, trajectory: Trajectory, early: int = 0) -> Trajectory:
    with store.writer("r") as writer:
        for t in range(early):
            writer.step(trajectory.id, trajectory[t])
        writer.trajectory(trajectory)
    return store.load(trajectory.id)


def assert_exact(got: Any, wanted: Any) -> None:
    """Equal, and of the same types all the way down."""
    if isinstance(wanted, np.ndarray | np.generic):
        assert (type(got), got.dtype, got.shape) == (type(wanted), wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(got, wanted)
        return
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert list(got) == list(wanted), "the keys are in their order"
        for key in wanted:
            assert_exact(got[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_exact(one, other)
    else:
        assert got == wanted or (got != got and wanted != wanted)


# Spaces

numbers = [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int16, np.int64, np.uint64, np.bool_]


def boxes() -> st.SearchStrategy[Space[Any]]:
    def box(dtype: Any, shape: list[int]) -> Space[Any]:
        kind = np.dtype(dtype)
        if kind.kind == "f":
            return spaces.Box(-3, 3, tuple(shape), dtype)
        low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
        return spaces.Box(low, high, tuple(shape), dtype)

    return st.builds(box, st.sampled_from(numbers), st.lists(st.integers(1, 3), max_size=3))


flat = (
    boxes()
    | st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-9, 9))
    | st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 5), min_size=1, max_size=3))
    | st.builds(spaces.MultiBinary, st.integers(1, 4) | st.just((2, 3)))
    | st.builds(spaces.Text, st.integers(1, 5))
    | st.builds(UnicodeText, st.integers(1, 5))
)
graphs = st.builds(
    spaces.Graph,
    st.just(spaces.Box(-1, 1, (2,))),
    st.sampled_from([None, spaces.Discrete(3), spaces.Box(-1, 1, (1,), np.float64)]),
)
any_space = st.recursive(
    flat | graphs,
    lambda inner: (
        st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3).map(spaces.Dict)
        | st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple)
        | st.lists(inner, min_size=1, max_size=3).map(spaces.OneOf)
        | inner.map(spaces.Sequence)
        | boxes().map(lambda box: spaces.Sequence(box, stack=True))
    ),
    max_leaves=4,
)


def assert_samples(got: Any, wanted: list[Any], space: Space[Any]) -> None:
    for one, other in zip(got, wanted, strict=True):
        # In a column of numbers the number of one row has no array around it.
        scalar = isinstance(other, np.ndarray) and other.shape == ()
        assert_exact(np.asarray(one) if scalar else one, other)
        assert space.contains(np.asarray(one) if scalar else one)


@settings(max_examples=150, deadline=None)
@given(space=any_space, seed=st.integers(0, 999), rows=st.integers(1, 4), data=st.data())
def test_samples_of_any_space_come_back_exactly(
    space: Space[Any], seed: int, rows: int, data: st.DataObject
) -> None:
    space.seed(seed)
    wanted = [space.sample() for _ in range(rows)]
    early = data.draw(st.integers(0, rows))
    column = columns.encode(wanted)
    parts = [columns.encode([value], alone=True) for value in wanted[:early]]
    plain = [i for i, part in enumerate(parts) if part.dtype == "text"]
    blocks = [
        columns.Block(
            trajectory_id="x",
            start=0,
            observations=part,
            actions=part,
            rewards=np.zeros(len(part)),
            terminated=False,
            truncated=False,
            infos=None,
        )
        for part in (*parts, column.rows(early, rows))
        if len(part)
    ]
    table = columns.steps_table("r", blocks).combine_chunks()
    for name in ("observation", "action"):
        cells = [table[name + suffix].chunk(0) for suffix in ("", "_text", "_bytes")]
        shape = plain if column.dtype == "json" else column.shape
        assert_samples(columns.decode(column.dtype, shape, *cells), wanted, space)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(observed=any_space, acted=any_space, seed=st.integers(0, 999), steps=st.integers(0, 3))
def test_samples_come_back_from_the_store(
    store: Store, observed: Space[Any], acted: Space[Any], seed: int, steps: int
) -> None:
    observed.seed(seed)
    acted.seed(seed)
    wanted = play([observed.sample() for _ in range(steps + 1)], [acted.sample() for _ in range(steps)])
    got = record(store, wanted, early=steps // 2)
    assert_samples(got.observations, list(wanted.observations), observed)
    assert_samples(got.actions, list(wanted.actions), acted)


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 84, 84, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "observations",
    [
        IMAGES,
        list(IMAGES),
        np.arange(4 * 5000, dtype=np.float32).reshape(4, 5000),
        np.array([[1 + 2j, 3 - 4j]] * 4, dtype=np.complex64),
        np.array([2**64 - 1, 0, 2**53 + 1, 7], dtype=np.uint64),
        np.array([np.pi, np.inf, np.nan, 0], dtype=np.float16),
        np.array([1, 2, 3, 4], dtype=np.longdouble) / 3,
        np.array([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=">i2"),
        np.zeros((4, 0), dtype=np.complex128),
        np.zeros((4, 0), dtype=np.float32),
    ],
    ids=["images", "listed", "long", "complex", "uint64", "float16", "longdouble", ">i2", "empty", "empty32"],
)
@pytest.mark.parametrize("early", [0, 2])
def test_arrays_of_any_dtype_come_back(store: Store, observations: Any, early: int) -> None:
    got = record(store, play(observations, np.zeros(3)), early).observations
    assert_exact(got, np.asarray(observations))
    assert got.flags.writeable


@pytest.mark.parametrize(
    "value",
    [
        (1, "two", None, (3.5, [b"\x00\xff", True])),
        {"z": np.float32(1.5), "a": {"n": np.arange(3, dtype=np.int8)}, 3: "a number is a key"},
        [np.str_("text"), np.array(["a", "bc"]), np.datetime64("2026-01-02"), np.array([], dtype=np.float16)],
        "lone \udc80 surrogate",
        {"a": "\ud83d" + "\ude00"},
        1 + 2j,
        np.array(3),
        {"nan": float("nan"), "big": 2**70, "zero": -0.0},
        (),
        {},
    ],
)
@pytest.mark.parametrize("early", [0, 2])
def test_odd_values_come_back_beside_others(store: Store, value: Any, early: int) -> None:
    others = [np.zeros(2), 1.5, "text", True]
    for observations in ([value, *others], [*others, value]):
        got = record(store, play(observations, [0] * (len(observations) - 1)), early).observations
        for one, other in zip(got, observations, strict=True):
            assert_exact(one, other)


def test_sql_reads_numbers_and_text_and_has_images_as_bytes(store: Store) -> None:
    camera = {"camera": IMAGES[0], "goal": (np.float32(1.5), "north"), "joints": np.arange(2.0)}
    nested = play([camera] * 2, [{"move": np.int64(3)}])
    record(store, nested)
    row = store.sql(
        "SELECT observation_text, observation_text->'joints'->>1 AS joint, action_text->>'move' AS move "
        "FROM steps WHERE trajectory_id = ?",
        [nested.id],
    ).iloc[0]
    assert (row["joint"], row["move"]) == ("1.0", "3")
    assert '"camera": "uint8[84, 84, 3]", "goal": [1.5, "north"]' in row["observation_text"]
    seen = play(IMAGES, np.zeros(3))
    record(store, seen)
    cells = store.sql(
        "SELECT observation IS NULL AND observation_text IS NULL AS alone, "
        "octet_length(observation_bytes) AS n FROM steps WHERE trajectory_id = ?",
        [seen.id],
    )
    assert cells["alone"].all()
    assert set(cells["n"]) == {84 * 84 * 3}
    assert "final_observation_bytes" not in store.page().rows[0], "a page is for people"


def test_an_observation_of_200_mb_comes_back(store: Store) -> None:
    large = np.zeros((1, 200_000_000), dtype=np.uint8)
    large[0, ::4096] = 7
    got = record(store, play(large, [])).observations
    assert (got.dtype, got.shape) == (np.uint8, large.shape)
    assert np.array_equal(got[:, ::4096], large[:, ::4096])
    assert np.count_nonzero(got) == np.count_nonzero(large)


def test_steps_beyond_what_one_arrow_array_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "TABLE_BYTES", 50_000)
    wanted = play(IMAGES, np.arange(3))
    got = record(store, wanted)
    assert_exact(got.observations, IMAGES)
    assert_exact(got.actions, wanted.actions)
    assert store.sql("SELECT t FROM steps WHERE trajectory_id = ? AND terminated", [got.id])[
        "t"
    ].tolist() == [2]
    with pytest.raises(StoreError, match=r"observation or action of 60,000 bytes, and a cell holds 50,000"):
        record(store, play(np.zeros((2, 60_000), np.uint8), [0]))


def test_a_damaged_step_is_no_code(store: Store) -> None:
    step = Step(t=0, observation={"a": np.arange(3)}, action=0, reward=0, terminated=False, truncated=False)
    with store.writer("r") as writer:
        writer.step("early", step)
    blob = store.sql("SELECT observation_bytes AS b FROM steps WHERE trajectory_id = 'early'")["b"][0]
    assert b"pickle" not in bytes(blob)
    with pytest.raises(ValueError, match="bytes too many"):
        columns.packing.unpack(bytes(blob) + b"x")


def test_a_store_without_the_columns_added_since_is_read(tmp_path: Path) -> None:
    old = Store(tmp_path)
    old.create()
    wanted = play(np.arange(6, dtype=np.uint8).reshape(3, 2), ["left", "right"])
    record(old, wanted)
    for table, added in schema.ADDED.items():
        for path in tmp_path.rglob(f"{table}/*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(added), path)
    for _ in range(2):  # from the segments, then from the index
        got = old.load(wanted.id)
        assert_exact(got.observations, wanted.observations)
        assert got.actions == ["left", "right"]
        assert old.sql("SELECT reward_mean, parent FROM trajectories").isna().all(axis=None)
        old.index(rebuild=True)
