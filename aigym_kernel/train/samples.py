"""What PPO learns from: a roll-out with log-probabilities, values, advantages and the critic's targets.

    batch = samples(policy, rollout, gamma=0.99, gae_lambda=0.95)
    part = batch.part(torch.tensor([3, 1]))
    outputs, values = part.seen_by(policy)

Generalised advantage estimation: Schulman et al. 2016 (arXiv 1506.02438). Nothing is learnt here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aigym_kernel.train.collect import Rollout
from aigym_kernel.train.networks import Policy

AT_ONCE = 2**14
"""So many observations are looked at together: what a convolution makes of one is many times as large."""


def gae(
    rewards: NDArray[np.floating[Any]],
    values: NDArray[np.floating[Any]],
    dones: NDArray[np.bool_],
    gamma: float,
    gae_lambda: float,
) -> NDArray[np.float32]:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16), cut where an episode ended.

    Args:
        rewards: (T, N); where an episode was truncated, gamma * V(final observation) is already added.
        values: (T + 1, N), the critic's estimate of each observation, the last one included.
        dones: (T, N), whether step t ended its episode, by termination or truncation.

    Returns:
        Advantages (T, N); added to ``values[:-1]`` they are the targets of the critic.
    """
    advantages = np.zeros(rewards.shape, dtype=np.float32)
    running = np.zeros(rewards.shape[1], dtype=np.float32)
    goes_on = 1.0 - dones.astype(np.float32)
    deltas = rewards + gamma * values[1:] * goes_on - values[:-1]
    for t in range(len(rewards) - 1, -1, -1):
        running = deltas[t] + gamma * gae_lambda * goes_on[t] * running
        advantages[t] = running
    return advantages


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """B steps, one below the other; of a recurrent policy T steps of B environments side by side, (T, B).

    ``inputs``: encoded observations. ``actions``: as sampled. ``log_prob``, ``value``: what the policy gave
    them before learning. ``advantage``, ``target``: see `gae`. Of a recurrent policy also ``state`` (B, S),
    what it remembered before the first step, and ``starts`` (T, B), where an episode begins.
    """

    inputs: torch.Tensor
    actions: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor
    advantage: torch.Tensor
    target: torch.Tensor
    state: torch.Tensor | None = None
    starts: torch.Tensor | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.inputs) if self.state is None else len(self.state)

    def part(self, index: torch.Tensor) -> Samples:
        """Those at ``index``: of a recurrent policy whole sequences."""
        names = ("inputs", "actions", "log_prob", "value", "advantage", "target")
        if self.state is None:
            return Samples(**{name: getattr(self, name)[index] for name in names})
        columns = {name: getattr(self, name)[:, index] for name in (*names, "starts")}
        return Samples(**columns, state=self.state[index])

    def seen_by(self, policy: Policy) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's outputs and the critic's values, with gradients."""
        if self.state is None or self.starts is None:
            outputs, values = policy(self.inputs)
            return outputs, values
        return policy.forward_sequence(self.inputs, self.state, self.starts)


@torch.no_grad()
def samples(policy: Policy, rollout: Rollout, gamma: float, gae_lambda: float) -> Samples:
    """What ``policy``, which made the roll-out, is to learn from it. Truncated episodes are bootstrapped with
    the value of their last observation."""
    steps, envs = rollout.rewards.shape
    inputs = policy.encode(rollout.observations.reshape((steps + 1) * envs, *rollout.observations.shape[2:]))
    inputs = inputs.reshape(steps + 1, envs, *inputs.shape[1:])
    starts = None
    if policy.recurrent:
        assert rollout.starts is not None
        begun = np.concatenate([rollout.starts, rollout.dones[-1:]])
        starts = torch.from_numpy(begun).to(inputs.device)
        outputs, value = policy.forward_sequence(inputs, _remembered(rollout), starts)
    else:
        parts = [policy(part) for part in torch.split(inputs.flatten(0, 1), AT_ONCE)]
        outputs, value = (torch.cat(x).reshape(steps + 1, envs, *x[0].shape[1:]) for x in zip(*parts))
    rewards = rollout.rewards.copy()
    if rollout.truncated:
        at, indices, finals = (list(column) for column in zip(*rollout.truncated, strict=True))
        last = policy.encode(np.stack(finals))
        bootstrap = _values_after(policy, rollout, inputs, starts, at, indices, last)
        rewards[at, indices] += gamma * bootstrap.cpu().numpy()
    advantages = torch.from_numpy(gae(rewards, value.cpu().numpy(), rollout.dones, gamma, gae_lambda))
    advantage, value = advantages.to(inputs.device), value[:-1]
    columns = {
        "inputs": inputs[:-1],
        "actions": rollout.actions,
        "log_prob": policy.log_prob_entropy_of(outputs[:-1], rollout.actions)[0],
        "value": value,
        "advantage": advantage,
        "target": advantage + value,
    }
    if starts is None:
        return Samples(**{name: column.flatten(0, 1) for name, column in columns.items()})
    return Samples(**columns, starts=starts[:-1], state=_remembered(rollout))


def _values_after(
    policy: Policy,
    rollout: Rollout,
    inputs: torch.Tensor,
    starts: torch.Tensor | None,
    at: list[int],
    indices: list[int],
    last: torch.Tensor,
) -> torch.Tensor:
    """The values (K,) of the ``last`` observations of K episodes, cut off at steps ``at`` of ``indices``."""
    if starts is None:
        return policy.values(last)
    # The sequences once more, with an episode's own last observation in the place of the next one's first:
    # what the policy remembers by then is what the value depends on.
    following, number = [t + 1 for t in at], list(range(len(at)))
    cut, begun = inputs[:, indices], starts[:, indices]
    cut[following, number] = last
    begun[following, number] = False
    return policy.forward_sequence(cut, _remembered(rollout)[indices], begun)[1][following, number]


def _remembered(rollout: Rollout) -> torch.Tensor:
    assert rollout.policy_state is not None
    return rollout.policy_state
