"""Play a recorded trajectory again from its seed and actions, and say whether it goes the same way.

    again = resimulate(trajectory)
    again.frames          # one board per observation, for environments that have board()
    again.diverged_at     # None: every reward, observation and the end agree with the record

Only as good as the environment is deterministic: one that reads a clock or runs programs may diverge.
Needs an environment that this process can make by its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError
from aigym_kernel.trajectories import Trajectory


@dataclass(frozen=True, kw_only=True, eq=False)
class Resimulation:
    """A trajectory played again.

    ``frames``: a copy of ``board()`` after the reset and after each step that agreed with the record:
    T + 1 frames when all did; none for an environment without boards. ``diverged_at``: the first step
    whose reward, end or next observation differs (0 also when the first observation does), or None.
    """

    frames: tuple[NDArray[Any], ...]
    diverged_at: int | None


def resimulate(trajectory: Trajectory) -> Resimulation:
    """Reset a fresh environment with the trajectory's seed and take its actions.

    Raises:
        AigymError: the trajectory was recorded without a seed.
        UnknownName: its environment is not registered here.
    """
    if trajectory.seed is None:
        raise AigymError(f"trajectory {trajectory.id} was recorded without a seed: it cannot be played again")
    env = make(trajectory.env_id, **trajectory.env_kwargs)
    try:
        return _play(env, trajectory)
    finally:
        env.close()


def _play(env: gymnasium.Env[Any, Any], trajectory: Trajectory) -> Resimulation:
    board = getattr(env.unwrapped, "board", None)
    frames: list[NDArray[Any]] = []
    observation, _ = env.reset(seed=trajectory.seed)
    if not _same(observation, trajectory.observations[0]):
        return Resimulation(frames=(), diverged_at=0)
    if board is not None:
        frames.append(np.array(board()))
    last = len(trajectory) - 1
    for t, action in enumerate(trajectory.actions):
        observation, reward, terminated, truncated, _ = env.step(action)
        ended = (trajectory.terminated, trajectory.truncated) if t == last else (False, False)
        # A rollout may stop an episode that goes on: recorded as truncated, though the env is not.
        agrees = (terminated, truncated) == ended or (t == last and ended == (False, True) and not terminated)
        if not (
            agrees
            and np.isclose(float(reward), float(trajectory.rewards[t]), rtol=1e-6, atol=1e-9)
            and _same(observation, trajectory.observations[t + 1])
        ):
            return Resimulation(frames=tuple(frames), diverged_at=t)
        if board is not None:
            frames.append(np.array(board()))
    return Resimulation(frames=tuple(frames), diverged_at=None)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    return np.array_equal(np.asarray(one), np.asarray(other))
