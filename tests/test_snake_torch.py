"""Snake on a device, and training there. That it is the same game: test_snake_vector.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from aigym_kernel.envs import streams
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.envs.snake_rules import FEATURE_NAMES, LINES, snake_rules
from aigym_kernel.envs.snake_sight import SOLID, Sight, see
from aigym_kernel.envs.snake_torch import SnakeTorchEnv, _draw
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import AigymError, TrainingError
from aigym_kernel.train import DQNConfig, PPOConfig, dqn, ppo


def config(**changes: Any) -> PPOConfig:
    sizes = {"total_timesteps": 2048, "n_envs": 16, "n_steps": 32, "n_epochs": 1, "n_minibatches": 1}
    return PPOConfig(**{**sizes, "vectorize": "torch", "device": "cpu", **changes})


@pytest.mark.parametrize(
    "seen", [{"observation": "grid"}, {}, {"obstacles": 3}], ids=["grid", "features", "obstacles"]
)
def test_training_on_the_device_hands_over_what_can_be_played_again(seen: dict[str, Any]) -> None:
    kwargs = {"size": 5, "rewards": {"closer": 0.1}, "starvation": 6, **seen}
    trajectories = [
        trajectory
        for update in ppo("aigym/Snake-v0", config(), env_kwargs=kwargs)
        for trajectory in update.trajectories
    ]
    assert len(trajectories) > 50
    assert {t.final_info["death"] for t in trajectories} >= {"wall", "starvation"}
    assert all(resimulate(t).diverged_at is None for t in trajectories[::5])


def test_training_on_the_device_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    kwargs = {"size": 5, "obstacles": 2}
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
    for update in dqn("aigym/Snake-v0", DQNConfig(**sizes), env_kwargs={"size": 4}):
        last = update
    assert last.step >= 600


def test_a_policy_with_memory_is_refused() -> None:
    network = {"layers": [{"type": "flatten"}, {"type": "gru", "units": 8}]}
    with pytest.raises(TrainingError, match="policies without memory"):
        list(ppo("aigym/Snake-v0", config(network=network), env_kwargs={"size": 4, "observation": "grid"}))


@pytest.mark.parametrize("observation", ["features", "grid", "image"])
def test_no_step_waits_for_a_value(observation: str) -> None:
    envs = SnakeTorchEnv(4, 0, size=5, observation=observation, obstacles=3, rewards="apple - hunger / size")
    seen, _ = envs.reset()
    envs.to("meta")  # whose tensors have no values: whatever needs one fails
    after, rewards, *_ = envs.step(torch.zeros(4, dtype=torch.int64, device="meta"))
    assert (after.shape, after.dtype, after.device.type) == (seen.shape, seen.dtype, "meta")
    assert rewards.shape == (4,)


def test_a_flood_that_waits_for_nothing_finds_the_end_of_a_long_way() -> None:
    """Every other row is free, and they hang together at their ends: 49 cells, from the second to the last
    47 steps."""
    free = np.zeros((9, 9), np.bool_)
    free[::2] = free[1::4, -1] = free[3::4, 0] = True
    ages = np.where(free, 0.0, SOLID).astype(np.float32)
    ages[0, :2] = 1, 2
    rules = snake_rules(size=9, obstacles=20, length=2)
    numbers = {"heads": 1, "apples": 80, "lengths": 2, "hungers": 3}
    there = {name: torch.tensor([number]) for name, number in numbers.items()}
    lines, board = torch.from_numpy(LINES), torch.from_numpy(ages).reshape(1, -1)
    sight = Sight(xp=torch, near=False, real=torch.float64, lines=lines, ages=board, **there)
    seen = dict(zip(FEATURE_NAMES, see(rules, sight)[0].tolist()))
    assert seen["right: apple's nearness"] == pytest.approx(1 / 47)
    assert seen["right: reachable"] == pytest.approx(47 / 81)
    assert seen["left: reachable"] == pytest.approx(1 / 81)
    assert seen["left: tail reachable"] == 1
    assert seen["straight: free"] == 0


def test_what_it_does_not_cover_is_said() -> None:
    assert isinstance(make_vec("aigym/Snake-v0", 2, 0, backend="torch"), SnakeTorchEnv)
    with pytest.raises(AigymError, match="has no render_mode"):
        make_vec("aigym/Snake-v0", 2, 0, {"render_mode": "ansi"}, backend="torch")
    envs = SnakeTorchEnv(2, 0, observation="grid")
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\)"):
        envs.step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(AigymError, match="neither a seed nor options"):
        envs.reset(seed=3)


def test_a_word_that_numpy_rejects_is_passed_over() -> None:
    """A quarter of the words are, for the larger count; a stream where two in a row are is left aside."""
    n, rng = 40, np.random.default_rng(0)
    rows = torch.stack([*streams.seeded([torch.arange(n)]), *torch.zeros((2, n), dtype=torch.int64)])
    alone, compared = {i: np.random.default_rng(i) for i in range(n)}, 0
    for _ in range(12):
        which = rng.random(n) < 0.7
        counts = np.where(rng.random(n) < 0.5, 3 * 2**30, 97)
        rows, words = _draw(rows, torch.from_numpy(which), torch.from_numpy(counts))
        for i in np.flatnonzero(which).tolist():
            word, count = int(words[i]), int(counts[i])
            if streams.rejected(word, count):
                alone.pop(i, None)
            elif i in alone:
                compared += 1
                assert streams.below(word, count) == alone[i].integers(count)
    assert compared > 200
