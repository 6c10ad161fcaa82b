"""The short way of small networks against the way through torch: the same random numbers, the same result."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from aigym_kernel.batches import empty
from aigym_kernel.train import DQNConfig, Policy, PPOConfig, dqn, fast, ppo
from aigym_kernel.train.collect import Rollout
from aigym_kernel.train.dqn import Learner
from aigym_kernel.train.ppo import learn

THREE = spaces.Discrete(3)
BOX = spaces.Box(-1, 1, (2, 2), np.float32)
ARM = spaces.Box(-1, 1, (3,), np.float32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a trainer has it: with more they would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SEEN: list[Any] = [
    BOX,
    spaces.Box(-1, 1, (3,), np.float64),
    spaces.Box(0, 255, (2, 3), np.uint8),
    spaces.Discrete(5, start=2),
]


def policy_for(seen: Any = BOX, act: Any = THREE, network: Any = (16, 8), **more: Any) -> Policy:
    return Policy(seen, act, network, torch.Generator().manual_seed(1), **more)


def rollout(policy: Policy, steps: int = 16, n: int = 4) -> Rollout:
    """What a policy might have done, with episodes that end and that are cut off."""
    random, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    policy.observation_space.seed(0)
    drawn = [policy.observation_space.sample() for _ in range((steps + 1) * n)]
    observations = np.stack(drawn).reshape(steps + 1, n, *(policy.observation_space.shape or ()))
    dones = random.random((steps, n)) < 0.2
    ends = [(int(t), int(i), observations[0, 0]) for t, i in np.argwhere(dones)][::2]
    with torch.no_grad():
        actions = torch.stack([policy.sample(policy.encode(o), generator) for o in observations[:-1]])
    return Rollout(
        observations=observations,
        actions=actions,
        rewards=random.normal(size=(steps, n)).astype(np.float32),
        dones=dones,
        truncated=tuple(ends),
        trajectories=empty(),
    )


def close(one: Policy, other: Policy, tolerance: float = 2e-5) -> None:
    theirs = other.state_dict()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, theirs[name], rtol=tolerance, atol=tolerance, msg=name)


def learned(policy: Policy, config: PPOConfig) -> tuple[Policy, dict[str, float], list[torch.Tensor]]:
    trained = copy.deepcopy(policy)
    optimizer = torch.optim.Adam(trained.parameters(), lr=config.learning_rate, eps=1e-5, fused=True)
    steps = rollout(policy)
    for _ in range(2):
        metrics = learn(trained, optimizer, steps, config, torch.Generator().manual_seed(3))
    moments = [optimizer.state[p]["exp_avg"] for p in trained.parameters()]
    assert {float(optimizer.state[p]["step"]) for p in trained.parameters()} == {16.0}
    return trained, metrics, moments


@pytest.mark.parametrize("act", [THREE, ARM], ids=str)
@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ((16, 8), {}),
        ((8,), {"clip_range_vf": 0.05, "clip_range": 0.02}),
        ((8, 8, 8), {"ent_coef": 0.05, "max_grad_norm": 100.0}),
        ((16, 8), {"n_minibatches": 1, "n_epochs": 8}),  # in another order
    ],
)
def test_ppo_learns_the_same_either_way(act: Any, network: Any, changes: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"n_envs": 4, "n_steps": 16, "n_epochs": 2, "n_minibatches": 4}
    config = PPOConfig(learning_rate=3e-3, **usual | changes)
    policy = policy_for(act=act, network=network)
    quick = learned(policy, config)
    with fast.off():
        torchs = learned(policy, config)
    close(quick[0], torchs[0])
    for one, other in zip(quick[2], torchs[2], strict=True):  # Adam's mean of the gradients
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert quick[1] == pytest.approx(torchs[1], rel=1e-3, abs=1e-5)


def test_a_stop_by_kl_divergence_comes_at_the_same_time() -> None:
    config = PPOConfig(n_envs=4, n_steps=16, n_epochs=9, n_minibatches=4, target_kl=0.01)

    def stopped() -> tuple[Policy, float]:
        policy = policy_for()
        optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2, eps=1e-5, fused=True)
        learn(policy, optimizer, rollout(policy), config, torch.Generator().manual_seed(3))
        return policy, float(optimizer.state[next(policy.parameters())]["step"])

    policy, steps = stopped()
    with fast.off():
        other, others = stopped()
    assert 0 < steps == others < 36
    close(policy, other, 2e-4)


@pytest.mark.parametrize("head", ["q", "dueling"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"double": False, "n_step": 1, "priority_exponent": 0.0, "tau": 1.0, "target_update_interval": 2}],
)
def test_dqn_learns_the_same_either_way(head: Any, changes: dict[str, Any]) -> None:
    config = DQNConfig(
        n_envs=4, batch_size=32, gradient_steps=3, max_grad_norm=1.0, dueling=head == "dueling", **changes
    )
    trained = []
    for way in (True, False):
        policy = policy_for(head=head)
        learner = Learner(policy, config, 2)
        learner.replay.add(rollout(policy))
        if way:
            learner.learn(1)
        else:
            with fast.off():
                learner.learn(1)
        trained.append((policy, learner.metrics()))
    close(trained[0][0], trained[1][0])
    assert trained[0][1] == pytest.approx(trained[1][1], rel=1e-4)
    assert not torch.equal(trained[0][0].actor.body[0].weight, policy_for(head=head).actor.body[0].weight)  # type: ignore[union-attr,index]


def test_a_step_is_kept_until_something_else_is_in_its_place() -> None:
    policy, config = policy_for(head="q"), DQNConfig(dueling=False)
    target = copy.deepcopy(policy.actor)
    optimizer = torch.optim.Adam(policy.parameters(), fused=True)
    first = fast.dqn_step(policy, target, optimizer, config)
    assert first is not None
    assert fast.dqn_step(policy, target, optimizer, config, first) is first
    with fast.off():
        assert fast.dqn_step(policy, target, optimizer, config, first) is None
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    second = fast.dqn_step(policy, target, optimizer, config, first)
    assert second not in (None, first)
    policy.requires_grad_(False)
    assert fast.dqn_step(policy, target, optimizer, config) is None


@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("head", ["actor-critic", "q", "dueling"])
def test_the_same_actions_are_drawn(seen: Any, head: Any) -> None:
    policy = policy_for(seen, head=head)
    policy.epsilon = 0.3
    check_actions(policy)


def test_the_same_continuous_actions_are_drawn() -> None:
    policy = policy_for(act=ARM)
    assert policy.log_std is not None
    policy.log_std.data += torch.tensor([0.5, -1.0, 0.0])
    check_actions(policy)


def check_actions(policy: Policy) -> None:
    act = fast.actor(policy, 7)
    assert act is not None
    policy.observation_space.seed(0)
    ours, theirs = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    for _ in range(40):
        batch = np.stack([policy.observation_space.sample() for _ in range(7)])
        with torch.no_grad():
            expected = policy.sample(policy.encode(batch), theirs)
        torch.testing.assert_close(act(batch, ours), expected)
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("trainer", ["ppo", "dqn"])
def test_a_whole_training_has_the_same_curve(trainer: str) -> None:
    def curve() -> list[dict[str, float]]:
        if trainer == "ppo":
            config: Any = PPOConfig.preset("CartPole-v1", total_timesteps=3_072, device="cpu")
            updates: Any = ppo("CartPole-v1", config)
        else:
            config = DQNConfig(total_timesteps=2_048, learning_starts=128, gradient_steps=4, device="cpu")
            updates = dqn("CartPole-v1", replace(config, priority_exponent=0.0))
        return [{k: v for k, v in u.metrics.items() if k != "steps_per_second"} for u in updates]

    quick = curve()
    with fast.off():
        torchs = curve()
    assert len(quick) == len(torchs) > 2
    for one, other in zip(quick, torchs):
        assert one == pytest.approx(other, rel=2e-2, abs=2e-3)
    assert quick == curve()  # to the last bit


def test_what_it_trained_is_saved_copied_and_gone_on_with_as_ever(tmp_path: Path) -> None:
    config = PPOConfig(n_envs=4, n_steps=16, n_epochs=1, n_minibatches=4)
    policy = policy_for()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3, eps=1e-5, fused=True)
    learn(policy, optimizer, rollout(policy), config, torch.Generator().manual_seed(3))
    loaded = Policy.load(policy.save(tmp_path / "policy.safetensors"))
    close(loaded, policy, 0.0)
    copied, other = copy.deepcopy(policy), copy.deepcopy(optimizer.state_dict())
    again = torch.optim.Adam(copied.parameters(), lr=1e-3, eps=1e-5, fused=True)
    again.load_state_dict(other)
    for one, its in ((policy, optimizer), (copied, again)):
        learn(one, its, rollout(policy_for()), config, torch.Generator().manual_seed(4))
    close(copied, policy, 0.0)
    assert not torch.equal(next(loaded.parameters()), next(policy.parameters()))


@pytest.mark.parametrize(
    "policy",
    [
        policy_for(act=spaces.MultiDiscrete([2, 3])),
        policy_for(act=spaces.MultiBinary(2)),
        policy_for(network={"layers": [{"type": "dense", "units": 8}]}),
        policy_for(network={"layers": [{"type": "gru", "units": 8}]}),
        policy_for(network=(600, 600)),
    ],
    ids=["multi-discrete", "multi-binary", "layers", "recurrent", "large"],
)
def test_what_does_not_fit_goes_through_torch(policy: Policy) -> None:
    assert fast.actor(policy, 2) is None
    optimizer = torch.optim.Adam(policy.parameters())
    columns = dict.fromkeys(
        ("inputs", "actions", "log_prob", "value", "advantage", "target"), torch.zeros(8, 4)
    )
    assert fast.ppo_step(policy, optimizer, PPOConfig(), **columns) is None
