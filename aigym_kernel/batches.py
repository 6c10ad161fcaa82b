"""Many finished trajectories as whole arrays laid end to end (`Batch`), and what a trainer yields (`Update`).

batch = Batch(env_id="CartPole-v1", agent="ppo", observations=..., lengths=lengths, ...)
writer.batch(batch)
batch[3]               the fourth Trajectory; its arrays are views
batch.returns          (N,), each one's sum of rewards
join([batch, later])   one Batch of both
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.errors import TrainingError
from aigym_kernel.trajectories import Trajectory, new_id


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Many finished trajectories of one environment and agent, as whole arrays laid end to end: what a
    trainer with many environments hands over at once (`Writer.batch`).

    Shapes, for N trajectories of T steps in all: ``observations`` (T + N, ...), of each trajectory one more
    than it has steps; ``actions`` (T, ...); ``rewards`` (T,); ``lengths``, ``terminated`` and ``truncated``
    (N,). ``seeds``, ``final_infos``, ``groups``, ``started_at``, ``wall_s`` and ``ids`` have N values, or
    none. ``batch[i]`` is the i-th Trajectory; its arrays are views.
    """

    env_id: str
    agent: str
    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.floating[Any]]
    lengths: NDArray[np.integer[Any]]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    seeds: Sequence[int] | NDArray[np.integer[Any]] = ()
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    final_infos: Sequence[Mapping[str, Any]] = ()
    groups: Sequence[str] = ()
    started_at: Sequence[float] | NDArray[np.floating[Any]] = ()
    wall_s: Sequence[float] | NDArray[np.floating[Any]] = ()
    ids: Sequence[str] = ()

    def __post_init__(self) -> None:
        count, steps = len(self.lengths), int(np.sum(self.lengths))
        if count and int(np.min(self.lengths)) < 0:
            raise ValueError(f"batch of {self.env_id}: lengths hold {int(np.min(self.lengths))}")
        wanted = {"observations": steps + count, "actions": steps, "rewards": steps}
        wanted |= {"terminated": count, "truncated": count}
        optional = ("seeds", "final_infos", "groups", "started_at", "wall_s", "ids")
        wanted |= {name: count for name in optional if len(getattr(self, name))}
        for name, rows in wanted.items():
            if len(getattr(self, name)) != rows:
                raise ValueError(
                    f"batch of {self.env_id}: {count} trajectories of {steps} steps in all need {rows} "
                    f"{name}, got {len(getattr(self, name))}"
                )
        if not len(self.ids):
            object.__setattr__(self, "ids", tuple(new_id() for _ in range(count)))
        if not len(self.started_at):
            object.__setattr__(self, "started_at", (time.time(),) * count)
        ends = np.cumsum(self.lengths)
        object.__setattr__(self, "_ends", tuple(ends.tolist()))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def returns(self) -> NDArray[np.float64]:
        """The sum of each trajectory's rewards: (N,)."""
        whose = np.repeat(np.arange(len(self)), self.lengths)
        sums: NDArray[np.float64] = np.bincount(whose, self.rewards, len(self)).astype(np.float64)
        return sums

    def steps(self, i: int) -> slice:
        """Where the steps of the i-th trajectory are in ``actions`` and ``rewards``. Its observations begin
        ``i`` later, and are one more."""
        ends: tuple[int, ...] = self._ends  # type: ignore[attr-defined]
        return slice(ends[i - 1] if i else 0, ends[i])

    def __getitem__(self, i: int) -> Trajectory:
        if not 0 <= i < len(self):
            raise IndexError(f"trajectory {i} of a batch of {len(self)}")
        own = self.steps(i)
        return Trajectory(
            env_id=self.env_id,
            agent=self.agent,
            observations=self.observations[own.start + i : own.stop + i + 1],
            actions=self.actions[own],
            rewards=np.asarray(self.rewards[own], dtype=np.float64),
            terminated=bool(self.terminated[i]),
            truncated=bool(self.truncated[i]),
            seed=int(self.seeds[i]) if len(self.seeds) else None,
            env_kwargs=self.env_kwargs,
            final_info=self.final_infos[i] if self.final_infos else {},
            group=self.groups[i] if self.groups else None,
            started_at=float(self.started_at[i]),
            wall_s=float(self.wall_s[i]) if len(self.wall_s) else 0.0,
            id=self.ids[i],
        )

    def __iter__(self) -> Iterator[Trajectory]:
        return (self[i] for i in range(len(self)))


def empty(env_id: str = "", agent: str = "") -> Batch:
    """A Batch without trajectories."""
    none = np.zeros(0)
    return Batch(
        env_id=env_id,
        agent=agent,
        observations=none,
        actions=none,
        rewards=none,
        lengths=none.astype(np.int64),
        terminated=none.astype(np.bool_),
        truncated=none.astype(np.bool_),
    )


def join(batches: Sequence[Batch]) -> Batch:
    """The trajectories of several batches of one environment and agent, in their order, as one Batch."""
    some = [batch for batch in batches if len(batch)]
    if len(some) < 2:
        return some[0] if some else empty()
    fields: dict[str, Any] = {}
    for name in ("observations", "actions", "rewards", "lengths", "terminated", "truncated"):
        fields[name] = np.concatenate([getattr(batch, name) for batch in some])
    for name in ("seeds", "final_infos", "groups", "started_at", "wall_s", "ids"):
        fields[name] = [value for batch in some for value in getattr(batch, name)]
    return replace(some[0], **fields)


def _writes_none(path: str | Path) -> Path:
    raise TrainingError(f"no checkpoint was written to {str(path)!r}: this trainer cannot write any")


def pick(batch: Batch, chosen: Sequence[int]) -> Batch:
    """Some trajectories of a batch, by their numbers in rising order, as a Batch of their own."""
    if len(chosen) == len(batch):
        return batch
    if not len(chosen):
        return empty(batch.env_id, batch.agent)
    own = [batch.steps(i) for i in chosen]
    steps = np.concatenate([np.arange(s.start, s.stop) for s in own])
    seen = np.concatenate([np.arange(s.start + i, s.stop + i + 1) for i, s in zip(chosen, own)])
    fields: dict[str, Any] = {"observations": batch.observations[seen]}
    fields |= {"actions": batch.actions[steps], "rewards": batch.rewards[steps]}
    for name in ("lengths", "terminated", "truncated"):
        fields[name] = getattr(batch, name)[list(chosen)]
    for name in ("seeds", "final_infos", "groups", "started_at", "wall_s", "ids"):
        values = getattr(batch, name)
        fields[name] = [values[i] for i in chosen] if len(values) else ()
    return replace(batch, **fields)


@dataclass(frozen=True, kw_only=True)
class Update:
    """What a trainer yields after each optimisation phase.

    ``step``: environment steps so far. ``metrics``: name to value. ``trajectories``: those that
    finished since the last update. ``policy``: the network being trained, an ``nn.Module`` that the
    next update changes; copy it to keep it. ``checkpoint(path)`` writes all that the training needs to go on
    from this update to one file and returns its path; call it before the next update.
    """

    step: int
    total_steps: int
    metrics: Mapping[str, float]
    trajectories: Batch = field(default_factory=empty)
    policy: Any = None
    checkpoint: Callable[[str | Path], Path] = _writes_none
