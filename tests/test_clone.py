"""Behaviour cloning: what it imitates, what it refuses, and that it goes on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from aigym_kernel.agents import policy_agent
from aigym_kernel.batches import Update
from aigym_kernel.envs import make
from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.rollouts import collect, play
from aigym_kernel.runs import rollout
from aigym_kernel.store import load
from aigym_kernel.train import CloneConfig, Policy, PPOConfig, clone, evaluate, ppo
from aigym_kernel.trajectories import Trajectory


def balance(observation: Any, steps: Any) -> int:
    """Holds CartPole's pole upright nearly for ever."""
    x, speed, angle, turning = observation
    return int(0.02 * x + 0.1 * speed + angle + 0.4 * turning > 0)


def swing(observation: Any, steps: Any) -> Any:
    cosine, sine, speed = observation
    return np.array([np.clip(-2 * sine - 0.5 * speed * cosine, -2, 2)], np.float32)


def played(agent: Any, env_id: str, episodes: int) -> list[Trajectory]:
    env = make(env_id)
    return [collect(play(agent, env, seed=seed)) for seed in range(episodes)]


IMITATE = CloneConfig(n_epochs=15, learning_rate=3e-3, normalize_observations=True, device="cpu")


def metrics_of(updates: Sequence[Update]) -> list[dict[str, float]]:
    return [{k: v for k, v in u.metrics.items() if k != "steps_per_second"} for u in updates]


@pytest.fixture(scope="module")
def balancing() -> list[Trajectory]:
    return played(balance, "CartPole-v1", 6)


@pytest.mark.learning
def test_an_imitator_of_a_balancing_rule_balances(balancing: list[Trajectory]) -> None:
    *_, update = clone(balancing, IMITATE)
    assert update.metrics["validation_accuracy"] > 0.9
    assert update.step == update.total_steps == 15 * sum(map(len, balancing)) * 5 // 6
    plays = evaluate(update.policy, "CartPole-v1", episodes=5, seed=10_000)
    assert np.mean([t.total_reward for t in plays]) > 400
    after = next(u for u in ppo("CartPole-v1", PPOConfig(device="cpu"), policy=update.policy) if u.step)
    assert len(after.trajectories) < 10  # in 128 steps of 16 environments; a new policy's fall after about 20


def test_continuous_actions_are_imitated() -> None:
    trajectories = played(swing, "Pendulum-v1", 6)
    *_, update = clone(
        trajectories, CloneConfig(n_epochs=25, batch_size=64, learning_rate=5e-3, device="cpu")
    )
    assert update.metrics["validation_action_error"] < 0.25
    assert set(update.metrics) == {
        *("loss", "action_error", "validation_loss", "validation_action_error"),
        *("learning_rate", "steps_per_second"),
    }


SEEN, ACT = spaces.Box(-1, 1, (1,), np.float32), spaces.MultiDiscrete([2, 3], start=[5, 0])


def remembering(count: int) -> list[Trajectory]:
    """What to do in every step was shown in the first one only."""
    random = np.random.default_rng(0)
    trajectories = []
    for _ in range(count):
        sign, length = random.choice([-1.0, 1.0]), int(random.integers(2, 7))
        observations = np.zeros((length + 1, 1), np.float32)
        observations[0] = sign
        actions = np.tile([5 + (sign > 0), 1 + (sign > 0)], (length, 1))
        trajectories.append(
            Trajectory(
                env_id="remember",
                agent="expert",
                observations=observations,
                actions=actions,
                rewards=np.ones(length),
                terminated=True,
                truncated=False,
            )
        )
    return trajectories


def test_a_recurrent_policy_imitates_what_depends_on_the_past() -> None:
    found = {}
    for kind in ("gru", "dense"):
        network = {"layers": [{"type": kind, "units": 16}]}
        policy = Policy(SEEN, ACT, network, torch.Generator().manual_seed(0))
        config = CloneConfig(n_epochs=12, batch_size=64, learning_rate=1e-2, device="cpu")
        *_, update = clone(remembering(120), config, policy=policy)
        found[kind] = update.metrics["validation_accuracy"]
    assert found["gru"] > 0.99
    assert found["dense"] < 0.9


def test_a_training_goes_on_bit_for_bit(balancing: list[Trajectory], tmp_path: Path) -> None:
    some = balancing[:3]
    config = CloneConfig(n_epochs=4, normalize_observations=True, device="cpu")
    whole = list(clone(some, config))
    first = clone(some, config)
    for update in first:
        if update.step == 2 * update.total_steps // 4:
            break
    path = update.checkpoint(tmp_path / "clone.safetensors")
    next(first)
    with pytest.raises(TrainingError, match="this update is past"):
        update.checkpoint(path)
    rest = list(clone(some, resume=path))
    assert metrics_of(rest) == metrics_of(whole)[2:]
    for one, other in zip(rest[-1].policy.parameters(), whole[-1].policy.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(TrainingError, match="other trajectories"):
        next(clone(balancing[3:], resume=path))


def test_what_was_recorded_is_imitated(balancing: list[Trajectory], store_dir: Path) -> None:
    """As a run's trajectories come back from the store, and as a Batch."""
    rollout(balance, "CartPole-v1", n=2)
    recorded = load(env_id="CartPole-v1", return_=(400, None))
    assert [t.seed for t in recorded] == [0, 1]
    assert len(load(limit=1)) == 1
    assert load(env_id="nothing") == []
    config = CloneConfig(n_epochs=1, device="cpu")
    *_, first = clone(recorded, config)
    *_, second = clone(balancing[:2], config)
    assert metrics_of([first]) == metrics_of([second])
    update = next(u for u in ppo("CartPole-v1", PPOConfig(n_steps=256, device="cpu")) if u.step)
    *_, third = clone(update.trajectories, config)
    assert 0 < third.step < update.trajectories.lengths.sum()  # a tenth is held out


def test_the_policy_that_was_given_stays_as_it_was(balancing: list[Trajectory]) -> None:
    env = make("CartPole-v1")
    policy = Policy(env.observation_space, env.action_space)
    before = [p.clone() for p in policy.parameters()]
    updates = clone(balancing[:2], CloneConfig(n_epochs=1, device="cpu"), policy=policy)
    assert next(updates).metrics == {}
    after = updates.send({"learning_rate": 0.5})
    assert after.metrics["learning_rate"] == 0.5
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_what_cannot_be_imitated(balancing: list[Trajectory]) -> None:
    one, pendulum = balancing[0], played(swing, "Pendulum-v1", 1)[0]
    for trajectories, says in (
        ([], "no trajectory with a step"),
        ([one, pendulum], r"of CartPole-v1 \{\} have observation_space Box.*Pendulum-v1"),
        (
            [replace(one, actions=one.actions + 1)],
            f"trajectory {one.id} of CartPole-v1 has actions that",
        ),
        ([replace(one, observations=one.observations[:, :3])], r"observations of shape \(3,\)"),
    ):
        with pytest.raises(TrainingError, match=says):
            next(clone(trajectories))
    for odd in (["trajectory_id"], 3):
        with pytest.raises(TrainingError, match=r"is no Trajectory; aigym\.load"):
            next(clone(odd))  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="CartPole-v9"):
        next(clone([replace(one, env_id="CartPole-v9")]))
    env = make("CartPole-v1")
    values = Policy(env.observation_space, env.action_space, head="q")
    with pytest.raises(TrainingError, match="actor-critic is needed"):
        next(clone([one], policy=values))
    for wrong, says in (
        (policy_agent(values, name="mine"), "policy='mine' is an agent; give .* agent.policy"),
        (torch.nn.Linear(4, 2), "policy=Linear is no Policy; Policy.* makes one of a module"),
        ("20261122-run", r"policy='20261122-run' is a name; .* aigym.load_agent\('20261122-run'\).policy"),
    ):
        with pytest.raises(TrainingError, match=says):
            next(clone([one], policy=wrong))  # type: ignore[arg-type]
        with pytest.raises(TrainingError, match=says):
            evaluate(wrong, "CartPole-v1")  # type: ignore[arg-type]


def test_something_is_left_to_learn_from_however_much_is_held_out(balancing: list[Trajectory]) -> None:
    config = replace(IMITATE, n_epochs=1, validation_fraction=0.9)
    *_, update = clone(balancing[:3], config)
    assert update.step == min(len(t) for t in balancing[:3] if len(t) == update.step)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_epochs": 0}, "n_epochs=0"),
        ({"validation_fraction": 1.0}, "leaves nothing to learn from"),
        ({"learning_rate_schedule": "cosine"}, "one of linear, constant"),
        ({"normalize_observations": 1}, "must be True or False"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        CloneConfig(**changes)
