"""Training: algorithms are generators of Updates, one file each.

    for update in ppo("CartPole-v1", PPOConfig.preset("CartPole-v1", seed=1)): ...
    for update in dqn("CartPole-v1"): ...
    for update in clone(trajectories): ...             imitates what was recorded
    trajectories = evaluate(update.policy, "CartPole-v1")

`runs.train` runs one in the background and records it. Trainers know nothing of stores, sandboxes or
widgets: they yield `Update`s and the caller owns the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aigym_kernel.batches import Update
from aigym_kernel.train import dqn as _dqn
from aigym_kernel.train import ppo as _ppo
from aigym_kernel.train.clone import CloneConfig, clone
from aigym_kernel.train.dqn import DQNConfig, dqn
from aigym_kernel.train.evaluation import evaluate
from aigym_kernel.train.networks import Policy
from aigym_kernel.train.ppo import PPOConfig, ppo


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """A way to train, by name: its configuration, what checks an environment for it and gives its spaces, the
    policy that it begins with, its generator."""

    config: type[PPOConfig] | type[DQNConfig]
    check: Callable[..., tuple[Any, Any]]
    begin: Callable[..., Policy]
    train: Callable[..., Iterator[Update]]


ALGORITHMS = {
    "ppo": Algorithm(config=PPOConfig, check=_ppo.check, begin=_ppo.begin, train=ppo),
    "dqn": Algorithm(config=DQNConfig, check=_dqn.check, begin=_dqn.begin, train=dqn),
}

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "CloneConfig",
    "DQNConfig",
    "PPOConfig",
    "Policy",
    "clone",
    "dqn",
    "evaluate",
    "ppo",
]
