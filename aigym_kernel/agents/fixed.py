"""Agents that learn nothing: random choices, a list of actions, the actions of a trajectory.

random_agent(env.action_space, seed=0)
scripted([0, 0, 1], name="a short walk")
replay(trajectory)
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gymnasium import Space

from aigym_kernel.errors import AigymError, check_whole
from aigym_kernel.trajectories import Step, Trajectory


@dataclass(frozen=True, kw_only=True)
class RandomAgent:
    """Samples its space, whatever it sees."""

    space: Space[Any]
    name: str = "random"

    def __call__(self, observation: Any, steps: Sequence[Step]) -> Any:  # noqa: ARG002
        return self.space.sample()


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Takes the action whose turn it is, the k-th after k steps: one agent plays any number of episodes."""

    actions: Sequence[Any]
    name: str = "scripted"

    def __call__(self, observation: Any, steps: Sequence[Step]) -> Any:  # noqa: ARG002
        if len(steps) >= len(self.actions):
            raise AigymError(
                f"agent {self.name!r} has {len(self.actions)} actions and was asked for action "
                f"{len(steps) + 1}: the episode goes on; give it more actions, or fewer steps to the rollout"
            )
        return self.actions[len(steps)]


def random_agent(action_space: Space[Any], seed: int | None = None) -> RandomAgent:
    """An agent that samples a copy of ``action_space``: the environment's own generator stays untouched.

    Args:
        seed: the same seed gives the same actions; None, other ones each time.

    Raises:
        AigymError: what is given is no space, or no seed.
    """
    if not isinstance(action_space, Space):
        raise AigymError(f"random_agent({action_space!r}): expected a space, such as env.action_space")
    if seed is not None:
        check_whole("random_agent: seed", seed, 0)
    space = copy.deepcopy(action_space)
    space.seed(seed)
    return RandomAgent(space=space)


def scripted(actions: Sequence[Any], name: str | None = None) -> Scripted:
    """An agent that takes these actions in turn.

    Raises:
        AigymError: they are no sequence; when called once too often, there are no more of them.
    """
    if isinstance(actions, str) or not hasattr(actions, "__getitem__"):
        raise AigymError(
            f"scripted({actions!r}): expected a list of actions, such as [0, 1] or ['ls', 'submit']"
        )
    return Scripted(actions=actions, name=name or "scripted")


def replay(trajectory: Trajectory) -> Scripted:
    """An agent that repeats a trajectory's actions; with its seed too, a deterministic env repeats itself."""
    if not isinstance(trajectory, Trajectory):
        raise AigymError(
            f"replay({trajectory!r}): expected a Trajectory; load one by id: aigym.Store().load(id)"
        )
    return Scripted(actions=list(trajectory.actions), name=f"replay of {trajectory.id}")
