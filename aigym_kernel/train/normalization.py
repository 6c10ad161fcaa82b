"""Rewards on a scale of about 1, whatever the environment's: `RewardScale`.

    scale = RewardScale(n_envs=16, gamma=0.99)
    rewards = scale(rollout.rewards, rollout.dones)         (T, N), divided by the returns' spread so far

Rewards are divided, not shifted: a shift would change what is best where episodes end at different times.
Observations are normalised by the Policy itself, whose buffers are saved with its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 10.0
"""No scaled reward lies farther from 0."""


class RewardScale:
    """The running variance of the discounted return of ``n_envs`` environments (detail 9 of continuous
    control in Huang et al. 2022). Moments are joined as Chan, Golub and LeVeque (1979) do."""

    def __init__(self, n_envs: int, gamma: float) -> None:
        self._gamma = gamma
        self._returns = np.zeros(n_envs)
        self._mean, self._variance, self._count = 0.0, 1.0, 0.0

    def __call__(self, rewards: NDArray[Any], dones: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Count the steps of a roll-out in, and scale its rewards by the spread as it is then.

        Args:
            rewards: (T, N) as the environments gave them.
            dones: (T, N), whether step t ended its episode.
        """
        seen = np.empty(rewards.shape)
        for t in range(len(rewards)):
            self._returns = self._returns * self._gamma + rewards[t]
            seen[t] = self._returns
            self._returns[dones[t]] = 0.0
        self._join(float(seen.mean()), float(seen.var()), float(seen.size))
        scaled = np.clip(rewards / np.sqrt(self._variance + 1e-8), -MOST, MOST)
        return np.asarray(scaled, dtype=np.float32)

    def _join(self, mean: float, variance: float, count: float) -> None:
        """Moments of what was seen before and of ``count`` more, together."""
        both = self._count + count
        apart = mean - self._mean
        squares = self._variance * self._count + variance * count + apart**2 * self._count * count / both
        self._mean += apart * count / both
        self._variance, self._count = squares / both, both

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {
            "returns": self._returns.copy(),
            "mean": self._mean,
            "variance": self._variance,
            "count": self._count,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._returns = np.array(state["returns"], dtype=np.float64)
        self._mean, self._variance, self._count = (float(state[k]) for k in ("mean", "variance", "count"))
