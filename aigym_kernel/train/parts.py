"""The parts of a training that have state, into a checkpoint and out of it again.

    parts = {"collector": collector, "generator": generator, "optimizer": optimizer}
    state = state_of(parts)
    restore(parts, state)

A part has ``state()`` and ``restore(state)``, or is torch's generator or optimiser. The policy is not one of
them: a checkpoint holds it by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from aigym_kernel.errors import TrainingError
from aigym_kernel.train import checkpoints


def state_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What `restore` needs, by the parts' names."""
    return {name: _state(part) for name, part in parts.items()}


def restore(parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Bring every part to where it was."""
    for name, part in parts.items():
        if isinstance(part, torch.Generator):
            part.set_state(state[name])
        elif isinstance(part, torch.optim.Optimizer):
            checkpoints.restore_optimizer(part, state[name])
        else:
            part.restore(state[name])


def check_present(at: int, done: int) -> None:
    """Raise a TrainingError where an update made after ``at`` rounds is no longer the present one."""
    if at != done:
        raise TrainingError("this update is past: call update.checkpoint before the next one")


def _state(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, torch.optim.Optimizer):
        return checkpoints.optimizer_state(part)
    return part.state()
