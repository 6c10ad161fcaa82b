"""What a network's outputs mean in an action space: Discrete, MultiDiscrete, MultiBinary, Box.

    sample(space, outputs, log_std, generator)           one action per row
    log_prob_entropy(space, outputs, log_std, actions)   of these actions
    to_env(space, actions)                               what environments take

| space | outputs per row | distribution | an action, as `sample` gives it |
|---|---|---|---|
| Discrete(n) | n logits | softmax | () int64, from 0 |
| MultiDiscrete | logits, group after group | a softmax per group | (groups,) int64, from 0 |
| MultiBinary | one logit per switch | each by itself | (switches,) int64, 0 or 1 |
| Box | the means | Gaussian with ``log_std`` | (dimensions,) float32, unclipped |

``log_std`` (dimensions,) is used with a Box only. Log-probabilities and entropies are in nats.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch.nn.functional import logsigmoid

_HALF_LOG_2PI = 0.9189385332046727


def output_width(space: gymnasium.Space[Any]) -> int:
    """How many numbers a network gives for one action."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    return sum(_groups(space)) if isinstance(space, spaces.MultiDiscrete) else int(np.prod(space.shape or ()))


def sample(
    space: gymnasium.Space[Any],
    outputs: torch.Tensor,
    log_std: torch.Tensor | None,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """One action per row of ``outputs`` (B, outputs), drawn from the distribution."""
    if isinstance(space, spaces.Discrete):
        return _drawn(outputs, generator)
    if isinstance(space, spaces.MultiDiscrete):
        parts = outputs.split(_groups(space), -1)  # type: ignore[no-untyped-call]
        return torch.stack([_drawn(part, generator) for part in parts], -1)
    if isinstance(space, spaces.MultiBinary):
        even = torch.rand(outputs.shape, generator=generator, device=outputs.device)
        return (even < outputs.sigmoid()).long()
    assert log_std is not None
    noise = torch.randn(outputs.shape, generator=generator, device=outputs.device)
    return outputs + noise * log_std.exp()


def best(space: gymnasium.Space[Any], outputs: torch.Tensor) -> torch.Tensor:
    """The most likely action per row, in `sample`'s form; for a Box the mean."""
    if isinstance(space, spaces.Discrete):
        return outputs.argmax(-1)
    if isinstance(space, spaces.MultiDiscrete):
        parts = outputs.split(_groups(space), -1)  # type: ignore[no-untyped-call]
        return torch.stack([part.argmax(-1) for part in parts], -1)
    return (outputs > 0).long() if isinstance(space, spaces.MultiBinary) else outputs


def log_prob_entropy(
    space: gymnasium.Space[Any],
    outputs: torch.Tensor,
    log_std: torch.Tensor | None,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each row's action, as `sample` gave it, and the entropy: (B,) each."""
    if isinstance(space, spaces.Discrete):
        return _of_logits(outputs, actions)
    if isinstance(space, spaces.MultiDiscrete):
        parts = outputs.split(_groups(space), -1)  # type: ignore[no-untyped-call]
        pairs = [_of_logits(part, actions[..., i]) for i, part in enumerate(parts)]
        logs, entropies = zip(*pairs)
        return torch.stack(logs).sum(0), torch.stack(entropies).sum(0)
    if isinstance(space, spaces.MultiBinary):
        on, off = logsigmoid(outputs), logsigmoid(-outputs)
        log_prob = torch.where(actions > 0, on, off).sum(-1)
        return log_prob, -(on.exp() * on + off.exp() * off).sum(-1)
    assert log_std is not None
    z = (actions - outputs) * (-log_std).exp()
    log_prob = (-0.5 * z * z - log_std - _HALF_LOG_2PI).sum(-1)
    return log_prob, (log_std + _HALF_LOG_2PI + 0.5).sum().expand(log_prob.shape)


def to_env(space: gymnasium.Space[Any], actions: torch.Tensor) -> NDArray[Any]:
    """What environments get for a batch of `sample`'s actions (B, ...): shifted by ``start``, clipped to the
    box, in the space's shape: (B, *shape)."""
    array: NDArray[Any] = actions.detach().cpu().numpy()
    if isinstance(space, spaces.Discrete):
        return array + int(space.start)
    shaped = array.reshape(len(array), *(space.shape or ()))
    if isinstance(space, spaces.MultiDiscrete):
        return (shaped + space.start).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return shaped.astype(space.dtype)
    assert isinstance(space, spaces.Box)
    clipped: NDArray[Any] = np.clip(shaped, space.low, space.high)
    return clipped.astype(space.dtype)


def _groups(space: spaces.MultiDiscrete) -> list[int]:
    """How many choices each part has."""
    groups: list[int] = space.nvec.ravel().tolist()
    return groups


def _drawn(logits: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """What torch.multinomial draws, to the last bit: the first of independent exponential clocks of rate p.
    But that looks for NaN first: a GPU is waited for, or, on finding one, of no more use to the process."""
    chances = logits.softmax(-1)
    return (chances / torch.empty_like(chances).exponential_(1, generator=generator)).argmax(-1)


def _of_logits(logits: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logs = logits.log_softmax(-1)
    chosen = logs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return chosen, -(logs.exp() * logs).sum(-1)
