"""An agent that follows a trained policy.

policy_agent(policy)                             # the most likely action
policy_agent(policy, greedy=False)               # a sample from the policy's distribution
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aigym_kernel.trajectories import Step


class Acts(Protocol):
    """What can choose an action for one observation (`train.networks.Policy` does)."""

    def act(self, observation: Any, *, greedy: bool = True) -> Any:
        """The action for one unbatched observation."""
        ...


@dataclass(frozen=True, kw_only=True)
class PolicyAgent:
    """Asks its policy, step after step; it keeps no memory of its own."""

    policy: Acts
    greedy: bool = True
    name: str = "policy"

    def __call__(self, observation: Any, steps: Sequence[Step]) -> Any:  # noqa: ARG002
        return self.policy.act(observation, greedy=self.greedy)


def policy_agent(policy: Acts, greedy: bool = True, *, name: str = "policy") -> PolicyAgent:
    """An agent that acts as ``policy`` says.

    Args:
        policy: the network itself, not a copy: while it is trained further, the agent changes with it.
        greedy: the most likely action; otherwise one sampled from the policy's distribution.
        name: what the record calls the agent.
    """
    return PolicyAgent(policy=policy, greedy=greedy, name=name)
