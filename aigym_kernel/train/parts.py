"""The parts of a training that have state, into a checkpoint and out of it again.

    parts = {"collector": collector, "generator": generator, "optimizer": optimizer}
    state = state_of(parts)
    restore(parts, state)

A part has ``state()`` and ``restore(state)``, or is torch's generator or optimiser. The policy is not one of
them: a checkpoint holds it by itself.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import torch

from aigym_kernel.agents import PolicyAgent
from aigym_kernel.errors import TrainingError
from aigym_kernel.train import checkpoints
from aigym_kernel.train.networks import Policy


def state_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What `restore` needs, by the parts' names."""
    return {name: _state(part) for name, part in parts.items()}


def restore(parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Bring every part to where it was. Random numbers that another kind of device drew cannot go on here:
    those that follow are others."""
    for name, part in parts.items():
        if isinstance(part, torch.Generator):
            _restore_generator(part, state[name])
        elif isinstance(part, torch.optim.Optimizer):
            checkpoints.restore_optimizer(part, state[name])
        else:
            part.restore(state[name])


def _restore_generator(generator: torch.Generator, state: torch.Tensor) -> None:
    """A state's size tells the kinds of devices apart. What is drawn instead depends on it alone."""
    if len(state) == len(generator.get_state()):
        generator.set_state(state)
    else:
        generator.manual_seed(zlib.crc32(state.numpy().tobytes()))


def copy_of(policy: Any, seen: gymnasium.Space[Any], act: gymnasium.Space[Any], *, algo: str) -> Any:
    """A copy of what somebody gave a training to start from (a policy, a module, a function that builds one),
    so that theirs stays as it is.

    Raises:
        TrainingError: it is a policy for other spaces than these, an agent, or cannot be copied.
    """
    _check_given(policy, algo)
    if isinstance(policy, Policy):
        for kind, theirs in (("observation_space", seen), ("action_space", act)):
            if (own := getattr(policy, kind)) != theirs:
                raise TrainingError(f"{algo}: policy was made for {kind} {own}, the environment has {theirs}")
    try:
        return copy.deepcopy(policy)
    except Exception as problem:  # whatever a class of the user's may raise
        raise TrainingError(
            f"{algo}: policy={type(policy).__name__} cannot be copied: {problem}; give a function that "
            "builds it for an observation space instead"
        ) from None


def check_policy(policy: object, what: str) -> None:
    """Raise a TrainingError where ``policy``, which somebody gave to ``what``, is no Policy."""
    _check_given(policy, what)
    if not isinstance(policy, Policy):
        raise TrainingError(
            f"{what}: policy={type(policy).__name__} is no Policy; Policy(observation_space, action_space, "
            "module) makes one of a module"
        )


def _check_given(policy: object, what: str) -> None:
    """Raise a TrainingError where an agent, or the name of a run or file, was given for a policy."""
    if isinstance(policy, PolicyAgent):
        raise TrainingError(f"{what}: policy={policy.name!r} is an agent; give what it follows: agent.policy")
    if isinstance(policy, (str, Path)):
        raise TrainingError(
            f"{what}: policy={str(policy)!r} is a name; of a run or file it is "
            f"aigym.load_agent({str(policy)!r}).policy"
        )


def check_present(at: int, done: int) -> None:
    """Raise a TrainingError where an update made after ``at`` rounds is no longer the present one."""
    if at != done:
        raise TrainingError("this update is past: call update.checkpoint before the next one")


def check_sound(policy: Policy, algo: str, step: int, rate: float) -> None:
    """Raise a TrainingError where a weight of ``policy`` has become NaN or infinite by ``step``."""
    sums = torch.stack([weights.detach().sum() for weights in policy.parameters()])
    if not bool(torch.isfinite(sums.sum())):
        raise TrainingError(
            f"{algo}: by step {step:,} weights of the network have become NaN or infinite; lower "
            f"learning_rate ({rate:g} now), or scale observations and rewards if they are very large"
        )


def _state(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, torch.optim.Optimizer):
        return checkpoints.optimizer_state(part)
    return part.state()
