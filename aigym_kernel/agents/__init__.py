"""Agents: callables ``(observation, steps) -> action``, each with a ``name`` for the record.

    agent = random_agent(env.action_space, seed=0)
    agent = scripted(["ls", "cat a.txt"], name="two commands")
    agent = replay(trajectory)
    agent = policy_agent(policy)                   # a trained network: train.networks.Policy, or your own
    action = agent(observation, steps)             # steps: the Steps taken so far in this episode

Any callable of that shape is an agent; these need no base class and yours does not either. An agent
does not learn while it acts: that is what `train` is for.
"""

from aigym_kernel.agents.fixed import RandomAgent, Scripted, random_agent, replay, scripted
from aigym_kernel.agents.policy import Acts, PolicyAgent, policy_agent

__all__ = [
    "Acts",
    "PolicyAgent",
    "RandomAgent",
    "Scripted",
    "policy_agent",
    "random_agent",
    "replay",
    "scripted",
]
