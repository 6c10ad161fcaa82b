"""Snake on a device: step for step what it is in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aigym_kernel.envs.replay import resimulate
from aigym_kernel.envs.snake_torch import SnakeTorchEnv
from aigym_kernel.envs.snake_vector import SnakeVectorEnv
from aigym_kernel.envs.vector import NotNative, make_vec
from aigym_kernel.errors import AigymError, TrainingError
from aigym_kernel.train import DQNConfig, PPOConfig, dqn, ppo

FORMULA = "10*apple - 0.01*step - 5*(wall or self) + 0.1*closer - distance/size + 0.3*length/(1 + hunger)"


def careful(boards: Any, directions: Any, rng: np.random.Generator) -> Any:
    """A step onto a free cell where there is one, nearer to the apple if possible; one in 30 at random."""
    n, size, _ = boards.shape
    everyone = np.arange(n)
    walled = np.pad(boards, ((0, 0), (1, 1), (1, 1)), constant_values=4)
    flat = boards.reshape(n, -1)
    head, apple = (flat == 2).argmax(1), (flat == 3).argmax(1)
    worth = np.zeros((n, 3))
    for turn, change in enumerate((0, -1, 1)):
        down, right = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])[(directions + change) % 4].T
        row, column = head // size + down, head % size + right
        far = np.abs(row - apple // size) + np.abs(column - apple % size)
        free = np.isin(walled[everyone, row + 1, column + 1], (0, 3))
        worth[:, turn] = np.where(free, 100.0 - far, 0.0) + rng.random(n)
    return np.where(rng.random(n) < 0.03, rng.integers(0, 3, n), worth.argmax(1))


@settings(max_examples=6, deadline=None)
@given(
    size=st.integers(3, 9),
    observation=st.sampled_from(["grid", "image"]),
    rewards=st.sampled_from([None, {"closer": 0.1, "self": -3.0}, FORMULA]),
    seed=st.integers(0, 2**32 - 1),
    starvation=st.sampled_from([None, 2, 7, 40]),
    sense=st.booleans(),
    data=st.data(),
)
def test_step_for_step_like_numpy(
    size: int, observation: str, rewards: Any, seed: int, starvation: Any, sense: bool, data: st.DataObject
) -> None:
    arguments = {
        "size": size,
        "observation": observation,
        "rewards": rewards,
        "starvation": starvation,
        "length": data.draw(st.integers(2, size)),
    }
    assert longest(arguments, 100, seed, sense) >= 2


def test_long_snakes_too() -> None:
    assert longest({"size": 4, "observation": "grid"}, 200, 1, sense=True) == 16
    assert longest({"size": 10, "observation": "grid"}, 200, 1, sense=True) > 15


def longest(arguments: dict[str, Any], steps: int, seed: int, sense: bool) -> int:
    """Plays both side by side and compares all that they give; the length of the longest snake."""
    one, other = SnakeVectorEnv(8, seed, **arguments), SnakeTorchEnv(8, seed, **arguments)
    rng, most = np.random.default_rng(seed), 0
    (seen, infos), (also, there) = one.reset(), other.reset()
    for t in range(steps):
        assert np.array_equal(seen, also.numpy())
        assert also.numpy().dtype == seen.dtype
        assert np.array_equal(infos["episode_seed"], there["episode_seed"].numpy())
        boards = one.boards()
        assert np.array_equal(boards, other.boards().numpy())
        actions = careful(boards, one._directions, rng) if sense else rng.integers(0, 3, 8)
        if t == steps // 2:
            (seen, infos), (also, there) = one.reset(), other.reset()
            continue
        seen, rewards, over, _, infos = one.step(actions)
        also, got, ended, _, there = other.step(torch.from_numpy(actions))
        assert np.array_equal(rewards, got.numpy())
        assert np.array_equal(over, ended.numpy())
        final = there["final"]
        most = max(most, int(final["length"].max()))
        for i, info in infos.get("final_infos", {}).items():
            assert np.array_equal(infos["final_obs"][i], final["observation"][i].numpy())
            assert (info["apples"], info["length"]) == (int(final["apples"][i]), int(final["length"][i]))
    return most


def config(**changes: Any) -> PPOConfig:
    sizes = {"total_timesteps": 2048, "n_envs": 16, "n_steps": 32, "n_epochs": 1, "n_minibatches": 1}
    return PPOConfig(**{**sizes, "vectorize": "torch", "device": "cpu", **changes})


def test_training_on_the_device_hands_over_what_can_be_played_again() -> None:
    kwargs = {"size": 5, "observation": "grid", "rewards": {"closer": 0.1}, "starvation": 6}
    trajectories = [
        trajectory
        for update in ppo("aigym/Snake-v0", config(), env_kwargs=kwargs)
        for trajectory in update.trajectories
    ]
    assert len(trajectories) > 50
    assert {t.final_info["death"] for t in trajectories} >= {"wall", "starvation"}
    assert all(resimulate(t).diverged_at is None for t in trajectories[::5])


def test_training_on_the_device_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    kwargs = {"size": 5, "observation": "grid"}
    updates = ppo("aigym/Snake-v0", config(normalize_observations=True), env_kwargs=kwargs)
    for update in updates:
        if update.step == 1024:
            path = update.checkpoint(tmp_path / "half.safetensors")
    whole = update
    for update in ppo("aigym/Snake-v0", config(normalize_observations=True), env_kwargs=kwargs, resume=path):
        last = update
    assert last.step == whole.step
    assert [t.seed for t in last.trajectories] == [t.seed for t in whole.trajectories]
    for name, weights in whole.policy.state_dict().items():
        assert torch.equal(weights, last.policy.state_dict()[name]), name


def test_dqn_takes_its_steps_there_too() -> None:
    sizes = {"total_timesteps": 600, "learning_starts": 200, "vectorize": "torch", "device": "cpu"}
    for update in dqn("aigym/Snake-v0", DQNConfig(**sizes), env_kwargs={"size": 4, "observation": "grid"}):
        last = update
    assert last.step >= 600


def test_a_policy_with_memory_is_refused() -> None:
    network = {"layers": [{"type": "flatten"}, {"type": "gru", "units": 8}]}
    with pytest.raises(TrainingError, match="policies without memory"):
        list(ppo("aigym/Snake-v0", config(network=network), env_kwargs={"size": 4, "observation": "grid"}))


def test_what_it_does_not_cover_is_said() -> None:
    assert isinstance(
        make_vec("aigym/Snake-v0", 2, 0, {"observation": "grid"}, backend="torch"), SnakeTorchEnv
    )
    with pytest.raises(AigymError, match="observation='grid' or 'image', not 'features'"):
        make_vec("aigym/Snake-v0", 2, 0, backend="torch")
    with pytest.raises(NotNative, match="no obstacles"):
        SnakeTorchEnv(2, 0, observation="grid", obstacles=2)
    envs = SnakeTorchEnv(2, 0, observation="grid")
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\)"):
        envs.step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(AigymError, match="neither a seed nor options"):
        envs.reset(seed=3)
