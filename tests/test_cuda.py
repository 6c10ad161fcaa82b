"""On a GPU: trainings learn, go on from checkpoints of either device, and are fast without being others.

Nothing of this runs without an NVIDIA GPU; the tests beside it hold the same code on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aigym_kernel.devices import Meter, devices, out_of_memory
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.envs.snake_torch import SnakeTorchEnv
from aigym_kernel.train.dqn import DQNConfig, dqn
from aigym_kernel.train.evaluation import evaluate
from aigym_kernel.train.networks import Policy
from aigym_kernel.train.ppo import PPOConfig, ppo
from aigym_kernel.trained import load_agent

# No `missing` of conftest: a GPU is nothing that continuous integration could install.
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU")

LSTM = {"layers": [{"type": "dense", "units": 32}, {"type": "lstm", "units": 32}]}
GRU = {"layers": [{"type": "gru", "units": 16}, {"type": "dropout", "rate": 0.1}]}
CONV = {
    "layers": [
        {"type": "conv", "filters": 8, "kernel_size": 3, "activation": "relu"},
        {"type": "flatten"},
        {"type": "dense", "units": 32, "activation": "relu"},
    ]
}
SNAKE = "aigym/Snake-v0"
SHORT: dict[str, Any] = {
    "total_timesteps": 1024,
    "n_envs": 8,
    "n_steps": 32,
    "n_epochs": 2,
    "n_minibatches": 4,
}
REPLAYED: dict[str, Any] = {"total_timesteps": 4096, "learning_starts": 512, "batch_size": 32}
TRAININGS: dict[str, tuple[Callable[..., Any], Any, str, dict[str, Any]]] = {
    "discrete": (ppo, PPOConfig(**SHORT), "CartPole-v1", {}),
    "normalised": (
        ppo,
        PPOConfig(**SHORT, normalize_observations=True, normalize_rewards=True, target_kl=0.05),
        "Pendulum-v1",
        {},
    ),
    "lstm": (ppo, PPOConfig(**SHORT, network=LSTM), "CartPole-v1", {}),
    "gru": (
        ppo,
        PPOConfig(**SHORT | {"n_steps": 128, "total_timesteps": 4096}, network=GRU),
        "Pendulum-v1",
        {},
    ),
    "images": (ppo, PPOConfig(**SHORT, network=CONV), SNAKE, {"observation": "image"}),
    "snake": (
        ppo,
        PPOConfig(**SHORT, network=CONV, vectorize="torch"),
        SNAKE,
        {"observation": "grid", "obstacles": 3, "rewards": "10*apple - length/7 - 1/3 - 5*(wall or self)"},
    ),
    "features": (ppo, PPOConfig(**SHORT, vectorize="torch"), SNAKE, {"observation": "features"}),
    "values": (dqn, DQNConfig(**REPLAYED), "CartPole-v1", {}),
    "values of snake": (dqn, DQNConfig(**REPLAYED, vectorize="torch"), SNAKE, {}),
}


@pytest.fixture(autouse=True)
def _both_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_DEVICE", raising=False)


def _weights(policy: Policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in policy.parameters()])


@pytest.mark.parametrize("name", TRAININGS)
def test_goes_on_from_checkpoints_of_either_device(name: str, tmp_path: Path) -> None:
    train, config, env, kwargs = TRAININGS[name]
    files = {device: tmp_path / f"{device}.safetensors" for device in ("cpu", "cuda")}
    steps: dict[str, int] = {}
    for device, file in files.items():
        for number, update in enumerate(train(env, replace(config, device=device), env_kwargs=kwargs)):
            assert update.policy.device.type == device
            if number == 2:
                update.checkpoint(file)
                steps[device] = update.step
        assert all(np.isfinite(value) for value in update.metrics.values()), update.metrics
        for trajectory in list(update.trajectories)[:3]:
            assert resimulate(trajectory).diverged_at is None
    for there, (device, file) in zip(("cuda", "cuda", "cpu"), [*files.items(), ("cuda", files["cuda"])]):
        first, *_, last = train(env, replace(config, device=there), env_kwargs=kwargs, resume=file)
        assert first.step == steps[device]
        assert "episodes_not_restored" not in first.metrics
        assert last.policy.device.type == there
        assert last.step == update.step
    played = evaluate(update.policy, env, episodes=2, env_kwargs=kwargs)
    update.policy.save(tmp_path / "policy.safetensors")
    observation = played[0].observations[0]
    agent = load_agent(tmp_path / "policy.safetensors")
    assert np.shape(agent.policy.act(observation)) == np.shape(update.policy.act(observation))


@pytest.mark.parametrize("vectorize", ["auto", "torch"])
def test_ppo_learns_snake(vectorize: str) -> None:
    config = PPOConfig(
        total_timesteps=400_000,
        n_envs=256,
        n_steps=32,
        n_minibatches=8,
        n_epochs=3,
        learning_rate=2e-3,
        vectorize=vectorize,
        device="cuda",
    )
    *_, last = ppo(SNAKE, config, env_kwargs={"size": 6, "observation": "features"})
    assert last.metrics["return_mean"] > 3, last.metrics


@pytest.mark.parametrize(("train", "config"), [(ppo, PPOConfig), (dqn, DQNConfig)])
def test_cartpole_is_learnt(train: Any, config: Any) -> None:
    made = config.preset("CartPole-v1", total_timesteps=60_000, device="cuda")
    *_, last = train("CartPole-v1", made)
    played = evaluate(last.policy, "CartPole-v1", episodes=10)
    assert np.mean([one.total_reward for one in played]) > 150, last.metrics


@pytest.mark.parametrize("observation", ["grid", "image", "features"])
def test_snake_is_the_same_on_both_devices(observation: str) -> None:
    rules: dict[str, Any] = {"observation": observation, "obstacles": 4, "starvation": 37, "size": 7}
    here, there = (SnakeTorchEnv(64, 3, **rules).to(device) for device in ("cpu", "cuda"))
    actions = torch.randint(3, (100, 64), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(there.reset()[0].cpu(), here.reset()[0], rtol=0, atol=0)
    for taken in actions:
        for ours, theirs in zip(here.step(taken)[:4], there.step(taken.cuda())[:4]):
            torch.testing.assert_close(theirs.cpu(), ours, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("precision", "compiled"), [("float32", True), ("bfloat16", False), ("bfloat16", True)]
)
@pytest.mark.parametrize("name", ["discrete", "features", "images", "lstm", "values"])
def test_what_is_fast_is_nearly_the_same(name: str, precision: Any, compiled: bool) -> None:
    train, config, env, kwargs = TRAININGS[name]
    plain = replace(config, device="cuda")
    fast = replace(plain, precision=precision, compile=compiled and name != "lstm")
    gone = []
    for one in (plain, fast):
        updates = train(env, one, env_kwargs=kwargs)
        start = _weights(next(updates).policy)
        last = next(update for update in updates if "q_mean" in update.metrics or train is ppo)
        assert all(p.dtype == torch.float32 for p in last.policy.parameters())
        gone.append(_weights(last.policy) - start)
    # After one update of the same roll-out the weights have gone much the same way.
    torch.testing.assert_close(gone[1].norm(), gone[0].norm(), rtol=0.2, atol=0)
    assert torch.nn.functional.cosine_similarity(*gone, dim=0) > 0.9


def test_the_table_and_the_meter_tell_of_it() -> None:
    found = devices()
    assert found.chosen == "cuda:0"
    (gpu,) = (device for device in found if device.name == "cuda:0")
    assert gpu.memory_total is not None
    assert gpu.memory_free is None or gpu.memory_free <= gpu.memory_total
    assert Meter(0.0).read("cuda")["gpu_memory_mb"] >= 0


def test_out_of_its_memory_becomes_advice() -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    told = str(out_of_memory(caught.value, PPOConfig(), "cuda"))
    assert "GiB more was needed" in told
    assert torch.cuda.get_device_name() in told
    assert "a smaller n_envs (now 16)" in told
