"""A replay buffer of n-step transitions, drawn evenly or by priority.

    replay = Replay(100_000, n_envs=8, n_step=3, gamma=0.99, alpha=0.6, seed=0)
    replay.add(rollout)                                # what a Collector gave
    batch = replay.sample(128, beta=0.4)
    replay.set_priorities(batch, abs(td_errors))

Rows are steps of all environments side by side, in a ring: the oldest are overwritten. An n-step return is
made when it is drawn, from the n rows that follow, and ends with its episode. Proportional priorities with
importance weights: Schaul et al. 2016 (arXiv 1511.05952), section 3.3 and 3.4. ``alpha`` 0 draws evenly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.train.collect import Rollout

_LEAST_PRIORITY = 1e-6

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """B transitions: ``rewards`` the discounted sum of up to n, ``discounts`` what the value of
    ``next_observations`` counts (0 where the episode had ended), ``weights`` the importance weights,
    ``indices`` for `Replay.set_priorities`."""

    observations: NDArray[Any]
    actions: NDArray[np.int64]
    rewards: Floats
    next_observations: NDArray[Any]
    discounts: Floats
    weights: Floats
    indices: NDArray[np.int64]


class Replay:
    """The last ``capacity`` steps of ``n_envs`` environments."""

    def __init__(
        self, capacity: int, *, n_envs: int, n_step: int, gamma: float, alpha: float, seed: int
    ) -> None:
        self._rows = max(math.ceil(capacity / n_envs), n_step + 1)
        self._envs = n_envs
        self._n_step = n_step
        self._gammas = gamma ** np.arange(n_step + 1, dtype=np.float64)
        self._alpha = alpha
        self._random = np.random.default_rng(seed)
        self._columns: dict[str, NDArray[Any]] = {}
        self._head = 0  # the row that is written next
        self._written = 0
        self._tree = _SumTree(self._rows * n_envs) if alpha else None
        self._highest = 1.0

    def __len__(self) -> int:
        """How many transitions can be drawn: their n rows are all there."""
        return max(0, min(self._written, self._rows) - self._n_step + 1) * self._envs

    def add(self, rollout: Rollout) -> None:
        """Append the rows of a roll-out."""
        steps = len(rollout.rewards)
        following = rollout.observations[1:].copy()
        terminated = rollout.dones.copy()
        for t, index, final in rollout.truncated:
            following[t, index] = final
            terminated[t, index] = False
        columns: dict[str, NDArray[Any]] = {
            "observation": rollout.observations[:-1],
            "next": following,
            "action": rollout.actions.cpu().numpy(),
            "reward": rollout.rewards,
            "done": rollout.dones,
            "terminated": terminated,
        }
        for name, values in columns.items():
            if name not in self._columns:
                self._columns[name] = np.zeros((self._rows, *values.shape[1:]), values.dtype)
            for first in range(0, steps, self._rows):  # a roll-out may be longer than the ring
                part = values[first : first + self._rows]
                self._columns[name][(self._head + first + np.arange(len(part))) % self._rows] = part
        if self._tree is not None:
            rows = self._head + np.arange(steps)
            # A row can be drawn once the n - 1 after it are there; until then the old one is void.
            self._set(rows, 0.0)
            ready, oldest = rows - self._n_step + 1, self._head + max(steps - self._rows, -self._written)
            self._set(ready[ready >= oldest], self._highest)
        self._head = (self._head + steps) % self._rows
        self._written += steps

    def cut(self, envs: list[int]) -> None:
        """What these environments give from now on is of other episodes than their last row."""
        if "done" in self._columns:
            self._columns["done"][(self._head - 1) % self._rows, envs] = True

    def sample(self, size: int, beta: float, batches: int = 1) -> Batch:
        """``size`` transitions, with replacement. ``beta`` 1 corrects fully for the priorities. Where all are
        drawn evenly, several ``batches``, end to end: the same that as many calls would give."""
        if self._tree is None:
            most = min(self._written, self._rows) + 1
            drawn = [
                (
                    self._random.integers(self._n_step, most, size),
                    self._random.integers(self._envs, size=size),
                )
                for _ in range(batches)
            ]
            back, envs = np.concatenate(drawn, axis=1)
            rows = (self._head - back) % self._rows
            indices, weights = rows * self._envs + envs, np.ones(len(rows), np.float32)
        else:
            parts = (np.arange(size) + self._random.random(size)) / size  # one draw from each equal share
            indices = self._tree.find(parts * self._tree.total)
            rows, envs = np.divmod(indices, self._envs)
            shares = self._tree.values(indices) / self._tree.total
            raw = (len(self) * shares) ** -beta
            weights = (raw / raw.max()).astype(np.float32)
        along = (rows[:, None] + np.arange(self._n_step)) % self._rows, envs[:, None]
        done = self._columns["done"][along]
        counted = np.ones(done.shape, np.bool_)  # the step itself, and those before which no episode ended
        counted[:, 1:] = ~np.logical_or.accumulate(done[:, :-1], axis=1)
        last = counted.sum(axis=1) - 1
        end = along[0][np.arange(len(rows)), last], envs
        return Batch(
            observations=self._columns["observation"][rows, envs],
            actions=self._columns["action"][rows, envs].astype(np.int64),
            rewards=(self._columns["reward"][along] * counted * self._gammas[:-1]).sum(1).astype(np.float32),
            next_observations=self._columns["next"][end],
            discounts=(self._gammas[last + 1] * ~self._columns["terminated"][end]).astype(np.float32),
            weights=weights,
            indices=indices,
        )

    def set_priorities(self, batch: Batch, errors: NDArray[np.floating[Any]]) -> None:
        """Give the transitions of ``batch`` the priorities of their absolute TD errors (B,)."""
        if self._tree is None:
            return
        priorities = (np.abs(errors).astype(np.float64) + _LEAST_PRIORITY) ** self._alpha
        self._highest = max(self._highest, float(priorities.max()))
        self._tree.set(batch.indices, priorities)

    def state(self) -> dict[str, Any]:
        """What `restore` needs: the rows that are filled, as views of the buffer's own arrays."""
        filled = min(self._written, self._rows)
        state: dict[str, Any] = {
            "columns": {name: values[:filled] for name, values in self._columns.items()},
            "head": self._head,
            "written": self._written,
            "highest": self._highest,
            "random": self._random.bit_generator.state,
        }
        if self._tree is not None:
            state["priorities"] = self._tree.leaves(filled * self._envs)
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of a buffer of the same size."""
        for name, values in state.get("columns", {}).items():
            self._columns[name] = np.zeros((self._rows, *values.shape[1:]), values.dtype)
            self._columns[name][: len(values)] = values
        self._head, self._written = int(state["head"]), int(state["written"])
        self._highest = float(state["highest"])
        self._random.bit_generator.state = state["random"]
        if self._tree is not None:
            leaves = np.asarray(state["priorities"])
            self._tree.set(np.arange(len(leaves)), leaves)

    def _set(self, rows: NDArray[np.int64], priority: float) -> None:
        assert self._tree is not None
        indices = ((rows % self._rows)[:, None] * self._envs + np.arange(self._envs)).ravel()
        self._tree.set(indices, np.full(len(indices), priority))


class _SumTree:
    """Priorities in a binary tree of sums: setting and drawing B of N takes B log N, all of B at once."""

    def __init__(self, size: int) -> None:
        self._levels = max(1, math.ceil(math.log2(size)))
        self._first = 1 << self._levels  # where the leaves begin
        self._sums = np.zeros(2 * self._first)

    @property
    def total(self) -> float:
        return float(self._sums[1])

    def values(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._sums[self._first + indices]

    def leaves(self, count: int) -> NDArray[np.float64]:
        """The first ``count`` priorities; sums follow from them."""
        return self._sums[self._first : self._first + count]

    def set(self, indices: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        at = self._first + indices
        self._sums[at] = priorities
        for _ in range(self._levels):
            at = at >> 1  # some twice: sorting them out takes longer than adding twice
            self._sums[at] = self._sums[2 * at] + self._sums[2 * at + 1]

    def find(self, amounts: NDArray[np.float64]) -> NDArray[np.int64]:
        """The leaves at which the running sum of priorities exceeds ``amounts``."""
        at = np.ones(len(amounts), np.int64)
        left_over = amounts.copy()
        for _ in range(self._levels):
            at <<= 1
            left = self._sums[at]
            # Rounding must not lead into an empty branch.
            right = (left_over >= left) & (self._sums[at + 1] > 0)
            np.subtract(left_over, left, out=left_over, where=right)
            at += right
        return at - self._first
