"""Mixed precision and compiled objectives: off by default, near the plain result."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import missing

from aigym_kernel.errors import TrainingError
from aigym_kernel.train.dqn import DQNConfig, dqn
from aigym_kernel.train.ppo import PPOConfig, ppo

PPO = PPOConfig(total_timesteps=256, n_envs=4, n_steps=32, n_epochs=2, n_minibatches=2, network=(16,))
DQN = DQNConfig(total_timesteps=96, n_envs=4, learning_starts=32, batch_size=16, network=(16,))
ALGORITHMS = pytest.mark.parametrize(("train", "config"), [(ppo, PPO), (dqn, DQN)])


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Not that of /tmp: what was compiled there for other instructions of the processor ends this process.
    Compiled here: each process that would help imports torch first, which takes longer."""
    from torch._inductor import config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "compile_threads", 1)
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


def _trained(train: Any, config: Any) -> tuple[dict[str, float], torch.Tensor]:
    """The last metrics without those of the clock, and all weights in one row."""
    *_, last = train("CartPole-v1", config)
    assert all(p.dtype == torch.float32 for p in last.policy.parameters())
    metrics = {name: value for name, value in last.metrics.items() if name != "steps_per_second"}
    return metrics, torch.cat([p.detach().flatten() for p in last.policy.parameters()])


@ALGORITHMS
def test_bfloat16_learns_nearly_the_same(train: Any, config: Any) -> None:
    plain, weights = _trained(train, config)
    mixed, rounded = _trained(train, replace(config, precision="bfloat16"))
    assert plain != mixed
    assert torch.nn.functional.cosine_similarity(weights, rounded, dim=0) > 0.99


@ALGORITHMS
def test_what_is_compiled_is_the_same_up_to_rounding(train: Any, config: Any) -> None:
    if not shutil.which("g++"):
        missing("torch.compile on the CPU needs a C++ compiler (g++)")
    _, weights = _trained(train, config)
    _, compiled = _trained(train, replace(config, compile=True))
    torch.testing.assert_close(compiled, weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cls", [PPOConfig, DQNConfig])
def test_what_cannot_be_is_refused(cls: Any) -> None:
    with pytest.raises(TrainingError, match=r"precision='float16' must be one of float32, bfloat16"):
        cls(precision="float16")
    with pytest.raises(TrainingError, match=r"compile='yes' must be True or False"):
        cls(compile="yes")


@pytest.mark.parametrize("kind", ["lstm", "gru", "dropout"])
def test_layers_that_change_with_each_step_are_not_compiled(kind: str) -> None:
    own = {"type": kind, "rate": 0.1} if kind == "dropout" else {"type": kind, "units": 4}
    network = {"layers": [{"type": "dense", "units": 4}, own]}
    with pytest.raises(TrainingError, match=rf"compile=True: layers of the types .*{kind}.* cannot be"):
        next(ppo("CartPole-v1", replace(PPO, compile=True, network=network)))


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from torch._inductor import config as inductor

    torch._dynamo.reset()
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with pytest.raises(TrainingError, match=r"compile=True: torch\.compile cannot compile here"):
        list(ppo("CartPole-v1", replace(PPO, compile=True, n_steps=24)))
    torch._dynamo.reset()
