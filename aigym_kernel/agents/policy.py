"""An agent that follows a trained policy.

policy_agent(policy)                             # the most likely action
policy_agent(policy, greedy=False)               # a sample from the policy's distribution
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from aigym_kernel.trajectories import Step


class Acts(Protocol):
    """What can choose an action for one observation (`train.networks.Policy` does)."""

    def act(self, observation: Any, *, greedy: bool = True) -> Any:
        """The action for one unbatched observation."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """What does so from more than the observation, if it is ``recurrent`` (a `Policy` may be)."""

    @property
    def recurrent(self) -> bool:
        """Whether it remembers anything."""
        ...

    def initial_state(self, n: int) -> Any:
        """A tensor of what it remembers at the beginning of ``n`` episodes."""
        ...

    def act(self, observation: Any, *, greedy: bool = True, state: Any = None) -> Any:
        """The action; ``state`` is brought up to date in place."""
        ...


@dataclass(frozen=True, kw_only=True)
class PolicyAgent:
    """Asks its policy, step after step. What a recurrent one remembers of the episode so far is kept from
    call to call; called with the steps of another episode, it goes through these once more."""

    policy: Acts | Remembers
    greedy: bool = True
    name: str = "policy"
    _memory: list[_Memory] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, observation: Any, steps: Sequence[Step]) -> Any:
        policy = self.policy
        if not (isinstance(policy, Remembers) and policy.recurrent):
            return policy.act(observation, greedy=self.greedy)
        state = self._recall(policy, steps)
        action = policy.act(observation, greedy=self.greedy, state=state)
        seen = np.array(observation)  # a copy: the environment may reuse its array
        self._memory[:] = [_Memory(steps[-1] if steps else None, len(steps), seen, state)]
        return action

    def _recall(self, policy: Remembers, steps: Sequence[Step]) -> Any:
        """What the policy remembers after ``steps``, as a tensor of its own."""
        if steps and (kept := self._memory[:]):
            before = steps[-2] if len(steps) > 1 else None
            if (
                kept[0].count == len(steps) - 1
                and kept[0].last is before
                and np.array_equal(kept[0].seen, steps[-1].observation)
            ):
                return kept[0].state.clone()
        state = policy.initial_state(1)
        for step in steps:
            policy.act(step.observation, state=state)
        return state


@dataclass(frozen=True)
class _Memory:
    """What was kept at the last call: the last step and the number of steps before it, the observation that
    was acted on, and the state after it."""

    last: Step | None
    count: int
    seen: Any
    state: Any


def policy_agent(policy: Acts | Remembers, greedy: bool = True, *, name: str = "policy") -> PolicyAgent:
    """An agent that acts as ``policy`` says.

    Args:
        policy: the network itself, not a copy: while it is trained further, the agent changes with it.
        greedy: the most likely action; otherwise one sampled from the policy's distribution.
        name: what the record calls the agent.
    """
    return PolicyAgent(policy=policy, greedy=greedy, name=name)
