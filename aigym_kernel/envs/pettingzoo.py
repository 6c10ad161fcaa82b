"""A PettingZoo environment in which one agent steers all: `Joint`.

    make("pettingzoo:pettingzoo.butterfly.cooperative_pong_v6")         a module with parallel_env()

For agents with equal spaces that are rewarded together. An action is one per agent (MultiDiscrete of Discrete
ones), an observation one row per agent, in the order of ``possible_agents``, zeros for one that is gone; the
reward is the sum, and ``info["rewards"]`` has each agent's. An episode ends when all are gone.

It is a single environment on purpose: what one agent alone saw and did could not be played again from its
seed, since the others move too. That shuts out policies that the agents share and those that play against
each other.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from aigym_kernel.errors import AigymError


class Joint(gymnasium.Env[NDArray[Any], NDArray[Any]]):
    """All agents of ``module.parallel_env(render_mode=..., **kwargs)`` as one.

    Raises:
        AigymError: no such module, it has no ``parallel_env``, its agents' spaces differ, or observations are
            no Box.
    """

    metadata = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, module: str, render_mode: str | None = None, **kwargs: Any) -> None:
        try:
            build = import_module(module).parallel_env
        except ImportError as problem:
            raise AigymError(
                f"environment 'pettingzoo:{module}' cannot be imported: {problem}; pip install pettingzoo, "
                "and what the environment needs"
            ) from None
        except AttributeError:
            raise AigymError(f"environment 'pettingzoo:{module}': the module has no parallel_env()") from None
        self._env = build(render_mode=render_mode, **kwargs)
        self.render_mode = render_mode
        self._agents: list[Any] = list(self._env.possible_agents)
        first = self._agents[0]
        for kind in ("observation_space", "action_space"):
            for agent in self._agents[1:]:
                if getattr(self._env, kind)(agent) != getattr(self._env, kind)(first):
                    raise AigymError(
                        f"environment 'pettingzoo:{module}': {first} and {agent} differ in {kind}"
                    )
        self._seen = self._env.observation_space(first)
        if not isinstance(self._seen, spaces.Box):
            raise AigymError(f"environment 'pettingzoo:{module}': observations are {self._seen}, not a Box")
        self.observation_space = batch_space(self._seen, len(self._agents))
        self.action_space = batch_space(self._env.action_space(first), len(self._agents))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        observations, _ = self._env.reset(seed=seed, options=options)
        return self._rows(observations), {}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One action of each agent; those of agents that are gone are ignored."""
        present = set(self._env.agents)
        chosen = {agent: own for agent, own in zip(self._agents, action) if agent in present}
        observations, rewards, _, truncations, _ = self._env.step(chosen)
        over = not self._env.agents
        truncated = over and any(truncations.values())
        each = {str(agent): float(reward) for agent, reward in rewards.items()}
        return (
            self._rows(observations),
            sum(each.values()),
            over and not truncated,
            truncated,
            {"rewards": each},
        )

    def _rows(self, observations: dict[Any, Any]) -> NDArray[Any]:
        rows = np.zeros((len(self._agents), *self._seen.shape), self._seen.dtype)
        for i, agent in enumerate(self._agents):
            if agent in observations:
                rows[i] = observations[agent]
        return rows

    def render(self) -> Any:
        """What the environment renders."""
        return self._env.render()

    def close(self) -> None:
        """Close it."""
        self._env.close()
