"""Steps of environments that live on a device with a policy that lives there too: nothing is copied to the
host, and nothing waited for, until all steps are taken.

    stretch = take_steps(envs, policy, n_steps, generator)
    stretch.observations                                    (T + 1, N, ...), on the device

Snake's obstacles are the exception: see `envs.snake_torch`. For `train.collect`, which cuts the trajectories.
Tried on the CPU only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aigym_kernel.envs.snake_rules import ENDS, FULL
from aigym_kernel.envs.snake_torch import SnakeTorchEnv
from aigym_kernel.errors import TrainingError
from aigym_kernel.train.networks import Policy


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """T steps of N environments: ``observations`` (T + 1, N, ...), ``actions`` (T, N, ...) on the device,
    ``rewards``, ``dones`` (T, N) on the host. Of each episode that ended, by step and environment: step,
    environment and seed in ``ends``, its last info in ``infos``, its last observation in ``last``."""

    observations: torch.Tensor
    actions: torch.Tensor
    rewards: NDArray[np.float64]
    dones: NDArray[np.bool_]
    ends: list[tuple[int, int, int]]
    infos: list[dict[str, Any]]
    last: NDArray[Any]


@torch.no_grad()
def take_steps(envs: SnakeTorchEnv, policy: Policy, n_steps: int, generator: torch.Generator) -> Stretch:
    """``n_steps`` steps in every environment, which are moved to the policy's device first.

    Raises:
        TrainingError: the policy is recurrent.
    """
    if policy.recurrent:
        raise TrainingError("vectorize='torch' is for policies without memory; use vectorize='auto'")
    envs.to(policy.device)
    first, n = envs.observe(), envs.num_envs
    observations = first.new_empty((n_steps + 1, *first.shape))
    observations[0] = first
    actions, rewards, dones = [], [], []
    # What ended is put side by side, what did not into one place behind it.
    room = n * (n_steps // envs.shortest + 1)
    last = first.new_empty((room + 1, *first.shape[1:]))
    ended = torch.zeros((room + 1, 6), dtype=torch.int64, device=policy.device)
    everyone = torch.arange(n, device=policy.device)
    count = torch.zeros((), dtype=torch.int64, device=policy.device)
    for t in range(n_steps):
        action = policy.sample(policy.encode(observations[t]), generator)
        observations[t + 1], reward, over, _, infos = envs.step(action)
        actions.append(action)
        rewards.append(reward)
        dones.append(over)
        final = infos["final"]
        place = torch.where(over, count + over.cumsum(0) - 1, room)
        said = (final[name] for name in ("seed", "end", "apples", "length"))
        ended[place] = torch.stack([torch.full_like(everyone, t), everyone, *said], 1)
        last[place] = final["observation"]
        count = count + over.sum()
    many = int(count)
    rows = ended[:many].tolist()
    return Stretch(
        observations=observations,
        actions=torch.stack(actions),
        rewards=torch.stack(rewards).cpu().double().numpy(),
        dones=torch.stack(dones).cpu().numpy(),
        ends=[(t, index, seed) for t, index, seed, *_ in rows],
        infos=[_info(end, apples, length) for *_, end, apples, length in rows],
        last=last[:many].cpu().numpy(),
    )


def _info(end: int, apples: int, length: int) -> dict[str, Any]:
    outcome = ENDS[end]
    return {"apples": apples, "length": length, "death": outcome if end != FULL else None, "outcome": outcome}
