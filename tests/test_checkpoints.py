"""Checkpoints: what goes in comes out to the last bit, and what cannot be used is named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.torch import save_file

from aigym_kernel.errors import TrainingError
from aigym_kernel.train import Policy
from aigym_kernel.train.checkpoints import Checkpoint, State, load, optimizer_state, restore_optimizer, save
from aigym_kernel.train.parts import restore

SEEN, DONE = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)


@dataclass(frozen=True, kw_only=True)
class Config:
    """As an algorithm's: plain values, some of which may change."""

    total_timesteps: int = 100
    gamma: float = 0.99
    layers: tuple[int, ...] = (4, 4)
    network: dict[str, Any] = field(default_factory=dict)


def policy(seed: int = 0) -> Policy:
    return Policy(SEEN, DONE, (4,), torch.Generator().manual_seed(seed))


def saved(path: Path, state: State | None = None, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "algo": "ppo",
        "config": Config(),
        "env_id": "Some-v0",
        "env_kwargs": {"size": 8, "walls": (1, 2)},
        "step": 2**40,
        "policy": policy(),
        "state": state or {},
    }
    return save(path / "one.safetensors", **{**given, **changes})


def same(a: Any, b: Any) -> bool:
    """The same types, values, shapes and bits."""
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        if a.dtype == torch.bfloat16:
            a, b = a.view(torch.int16), b.view(torch.int16)
        return a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, np.ndarray):
        alike = isinstance(b, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape)
        return alike and a.tobytes() == b.tobytes()
    return type(a) is type(b) and repr(a) == repr(b)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KINDS = (
    hnp.boolean_dtypes() | hnp.integer_dtypes(endianness="=") | hnp.unsigned_integer_dtypes(endianness="=")
)
ARRAYS = hnp.arrays(
    KINDS | hnp.floating_dtypes(sizes=(16, 32, 64), endianness="="), hnp.array_shapes(min_dims=0, min_side=0)
)
TENSORS = ARRAYS.map(lambda array: torch.from_numpy(array.copy())) | st.lists(
    st.floats(width=16), max_size=4
).map(lambda values: torch.tensor(values, dtype=torch.bfloat16))
STATES = st.recursive(
    st.dictionaries(st.text(), PLAIN | ARRAYS | TENSORS, max_size=4),
    lambda inner: st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(state=STATES)
def test_every_state_comes_back_to_the_last_bit(tmp_path: Path, state: State) -> None:
    assert same(load(saved(tmp_path, state)).state, state)


def test_the_generators_of_numpy_and_torch_go_on_where_they_stood(tmp_path: Path) -> None:
    numpys = [np.random.Generator(kind(5)) for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox)]
    ours = torch.Generator().manual_seed(2**63)
    for generator in numpys:
        generator.integers(10, dtype=np.int32)  # half a word of PCG64 stays behind
    torch.rand(3, generator=ours)
    kept = load(
        saved(
            tmp_path,
            {
                "numpy": {str(i): g.bit_generator.state for i, g in enumerate(numpys)},
                "torch": ours.get_state(),
            },
        )
    ).state
    for i, generator in enumerate(numpys):
        other = np.random.Generator(type(generator.bit_generator)(99))
        other.bit_generator.state = kept["numpy"][str(i)]
        assert other.integers(2**60, size=9).tolist() == generator.integers(2**60, size=9).tolist()
    again = torch.Generator()
    again.set_state(kept["torch"])
    assert torch.equal(torch.rand(9, generator=again), torch.rand(9, generator=ours))


def test_what_is_kept_beside_the_state(tmp_path: Path) -> None:
    checkpoint = load(saved(tmp_path))
    assert (checkpoint.algo, checkpoint.env_id, checkpoint.step) == ("ppo", "Some-v0", 2**40)
    assert checkpoint.config_for(Config) == Config(layers=[4, 4])  # type: ignore[arg-type]
    assert checkpoint.versions["torch"] == torch.__version__.split("+")[0] or torch.__version__
    assert checkpoint.policy().head == "actor-critic"
    assert same(dict(checkpoint.policy().state_dict()), dict(policy().state_dict()))
    other = policy(1)
    assert same(dict(checkpoint.policy(other).state_dict()), dict(policy().state_dict()))
    checkpoint.check("ppo", "Some-v0", {"walls": [1, 2], "size": 8}, SEEN, DONE)


def test_views_and_strides_are_kept_as_what_they_show(tmp_path: Path) -> None:
    base, array = torch.arange(12.0).reshape(3, 4), np.arange(12).reshape(3, 4)
    array.flags.writeable = False
    state = {"a": base, "b": base[1:], "c": base.T, "d": array[::-1, ::2], "e": np.array([1, 2], ">i4")}
    kept = load(saved(tmp_path, state)).state
    assert all(torch.equal(kept[name], state[name]) for name in "abc")
    assert all(np.array_equal(kept[name], state[name]) for name in "de")
    kept["d"][0] = 7  # what was loaded can be written to


def test_an_optimizer_goes_on_where_it_stood(tmp_path: Path) -> None:
    def step(model: Policy, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model.values(torch.ones(1, 3)).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    one = policy()
    first = torch.optim.Adam(one.parameters(), lr=0.1, fused=True)
    step(one, first)
    checkpoint = load(saved(tmp_path, {"adam": optimizer_state(first)}, policy=one))
    two = checkpoint.policy()
    second = torch.optim.Adam(two.parameters(), lr=0.5, fused=True)
    restore_optimizer(second, checkpoint.state["adam"])
    for model, optimizer in ((one, first), (two, second)):
        step(model, optimizer)
    assert same(dict(one.state_dict()), dict(two.state_dict()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algo": "dqn"}, r"checkpoint of ppo and cannot be resumed by dqn; use ppo\("),
        ({"env_id": "Other-v0"}, "training on Some-v0, not on Other-v0"),
        ({"env_kwargs": {"size": 9}}, "env_kwargs=.*'size': 8.*given are .*'size': 9"),
        ({"observation_space": spaces.Box(-1, 1, (4,))}, r"observation_space .*3.*Some-v0 has .*4"),
        ({"action_space": spaces.Discrete(3)}, r"action_space Discrete\(2\), Some-v0 has Discrete\(3\)"),
    ],
)
def test_another_training_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    given = {"algo": "ppo", "env_id": "Some-v0", "env_kwargs": {"size": 8, "walls": [1, 2]}}
    asked = {**given, "observation_space": SEEN, "action_space": DONE, **changes}
    with pytest.raises(TrainingError, match=words):
        load(saved(tmp_path)).check(**asked)


def test_another_configuration_is_named(tmp_path: Path) -> None:
    checkpoint = load(saved(tmp_path))
    longer = Config(total_timesteps=200)
    assert checkpoint.config_for(Config, longer) is longer
    with pytest.raises(TrainingError, match=r"trained with gamma=0\.99 and not 0\.5; leave config out"):
        checkpoint.config_for(Config, Config(gamma=0.5))
    with pytest.raises(TrainingError, match="other fields than this one"):
        replace(checkpoint, config={**checkpoint.config, "odd": 1}).config_for(Config)


def test_a_checkpoint_from_before_a_field_was_there_is_resumed_with_its_default(tmp_path: Path) -> None:
    checkpoint = replace(load(saved(tmp_path)), config={"gamma": 0.9})
    assert checkpoint.config_for(Config) == Config(gamma=0.9)
    assert checkpoint.config_for(Config, Config(gamma=0.9)) == Config(gamma=0.9)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"do not fit this network: .*size mismatch"):
        load(saved(tmp_path)).policy(Policy(SEEN, DONE, (5,)))


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the file does not exist"):
        load(tmp_path / "nothing")
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        load(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(TrainingError, match="no checkpoint that a training wrote"):
        load(tmp_path / "other")
    with pytest.raises(TrainingError, match=r"holds a policy alone.*policy=Policy\.load"):
        load(policy().save(tmp_path / "policy"))
    path = saved(tmp_path)
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(TrainingError, match="cut short"):
            load(path)


def rewritten(path: Path, header: dict[str, str], **tensors: torch.Tensor) -> Path:
    with safe_open(path, framework="pt") as file:
        there = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        before = file.metadata()
    save_file({**there, **tensors}, path, metadata={**before, **header})
    return path


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="format 2, written by a newer aigym-kernel; this one reads"):
        load(rewritten(saved(tmp_path), {"version": "2"}))
    with pytest.raises(TrainingError, match="no checkpoint that a training wrote"):
        load(rewritten(saved(tmp_path), {"version": "two"}))


@pytest.mark.parametrize("header", [{"state": "{"}, {"config": "3"}, {"step": "two"}, {"state": "[]"}])
def test_a_damaged_header_is_named(tmp_path: Path, header: dict[str, str]) -> None:
    with pytest.raises(TrainingError, match="whose header is damaged"):
        load(rewritten(saved(tmp_path, {"a": torch.zeros(1)}), header))


def test_broken_weights_are_neither_written_nor_read(tmp_path: Path) -> None:
    broken = policy()
    name, weight = next(iter(broken.state_dict().items()))
    good = saved(tmp_path)
    before = good.read_bytes()
    weight[0] = float("nan")
    with pytest.raises(TrainingError, match=f"not saved to .*{name} is NaN or infinite"):
        saved(tmp_path, policy=broken)
    assert good.read_bytes() == before
    with pytest.raises(TrainingError, match=f"cannot be used: .*{name} is NaN or infinite"):
        load(rewritten(good, {}, **{f"policy/{name}": weight}))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").mkdir()
    with pytest.raises(TrainingError, match="cannot be written"):
        saved(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]


@pytest.mark.parametrize(
    "value", [np.int64(3), {1}, np.array(["text"]), [torch.zeros(1)], [{1: 2}], object(), {2: np.zeros(1)}]
)
def test_what_cannot_be_kept_is_a_type_error_with_its_place(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match="inner"):
        saved(tmp_path, {"outer": {"inner": value}})


def test_env_kwargs_that_are_no_data_are_kept_by_their_type(tmp_path: Path) -> None:
    checkpoint: Checkpoint = load(saved(tmp_path, env_kwargs={"formula": max}))
    assert checkpoint.env_kwargs == {"formula": "builtin_function_or_method"}
    checkpoint.check("ppo", "Some-v0", {"formula": min}, SEEN, DONE)
    json.dumps(checkpoint.config)


def test_random_numbers_of_another_kind_of_device_do_not_go_on_here() -> None:
    """A state of CUDA's generator has 16 bytes, one of the CPU's 5,056."""
    drawn = []
    for last in (1, 1, 2):
        generator = torch.Generator().manual_seed(0)
        there = torch.tensor([7, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0, 0, 0, 0], dtype=torch.uint8)
        restore({"generator": generator}, {"generator": there})
        drawn.append(torch.rand(3, generator=generator))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
