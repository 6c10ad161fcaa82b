"""Play a recorded trajectory again from its seed and actions, and say whether it goes the same way.

    again = resimulate(trajectory)
    again.frames          # one board per observation, for environments that have board()
    again.diverged_at     # None: every reward, observation and the end agree with the record

    for env in retrace(trajectory, render_mode="rgb_array"): env.render()     the same, as it goes

Only as good as the environment is deterministic: one that reads a clock or runs programs may diverge.
Needs an environment that this process can make by its id. What an environment raises is not caught here.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from aigym_kernel.envs import EnvSource, make
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
    frames: list[NDArray[Any]] = []
    way = retrace(trajectory)
    while True:
        try:
            env = next(way)
        except StopIteration as end:
            return Resimulation(frames=tuple(frames), diverged_at=end.value)
        if (board := getattr(env.unwrapped, "board", None)) is not None:
            frames.append(np.array(board()))


def retrace(
    trajectory: Trajectory, *, render_mode: str | None = None, source: EnvSource | None = None
) -> Generator[gymnasium.Env[Any, Any], None, int | None]:
    """The environment itself after the reset and after each step that agreed with the record: T + 1 times
    when all do. Returns the first step whose reward, end or next observation differs (0 also when the
    first observation does), or None. Closing the generator closes the environment. ``source``: a function
    that builds the environment, where it has no id.

    Raises:
        AigymError: the trajectory was recorded without a seed, or the environment needs a package.
        UnknownName: its environment is not registered here.
    """
    if trajectory.seed is None:
        raise AigymError(f"trajectory {trajectory.id} was recorded without a seed: it cannot be played again")
    rendering = {} if render_mode is None else {"render_mode": render_mode}
    kwargs = {**trajectory.env_kwargs, **rendering}
    env = source(**kwargs) if callable(source) else make(trajectory.env_id, **kwargs)
    try:
        observation, _ = env.reset(seed=trajectory.seed)
        if not _same(observation, trajectory.observations[0]):
            return 0
        yield env
        last = len(trajectory) - 1
        for t, action in enumerate(trajectory.actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            ended = (trajectory.terminated, trajectory.truncated) if t == last else (False, False)
            # A rollout may stop an episode that goes on: recorded as truncated, though the env is not.
            agrees = (terminated, truncated) == ended or (
                t == last and ended == (False, True) and not terminated
            )
            if not (
                agrees
                and np.isclose(
                    float(reward), float(trajectory.rewards[t]), rtol=1e-6, atol=1e-9, equal_nan=True
                )
                and _same(observation, trajectory.observations[t + 1])
            ):
                return t
            yield env
        return None
    finally:
        env.close()


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    left, right = np.asarray(one), np.asarray(other)
    if left.dtype.kind == right.dtype.kind == "f":
        # Another machine's sine may differ in the last bit, and that is no other way.
        return left.shape == right.shape and np.allclose(left, right, rtol=1e-5, atol=1e-7, equal_nan=True)
    return np.array_equal(left, right)
