"""Spaces as a network sees them: which can be used, how wide they are, how they are written into a file.

    check_spaces(env.observation_space, env.action_space, "CartPole-v1")
    space_from_dict(space_to_dict(env.action_space))

What a network makes of an action space is in `train.actions`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from aigym_kernel.errors import TrainingError

_MAX_FLAT = 1_000_000


def check_spaces(
    observation: gymnasium.Space[Any], action: gymnasium.Space[Any], name: str, *, continuous: bool = True
) -> None:
    """Whether a Policy can be built for these spaces of the environment called ``name``; not ``continuous``:
    one that acts by action values.

    Raises:
        TrainingError: it cannot; the message names the space and those that work.
    """
    for kind, space in (("observation_space", observation), ("action_space", action)):
        if not isinstance(space, gymnasium.Space):
            raise TrainingError(f"{name}: {kind} is {space!r}; set it to one of gymnasium.spaces in __init__")
    usable = isinstance(observation, spaces.Discrete) or (
        isinstance(observation, spaces.Box) and observation.dtype.kind in "fiub"
    )
    if not usable:
        way = " (env_kwargs={'wrappers': ['FlattenObservation']} makes one Box of it)"
        raise TrainingError(
            f"{name}: observation_space {observation} cannot feed this network; Box and Discrete work"
            f"{way if observation.is_np_flattenable else ''}"
        )
    numbers = width(observation)
    if not 0 < numbers <= _MAX_FLAT:
        raise TrainingError(
            f"{name}: observation_space {observation} has {numbers:,} numbers, not 1 to {_MAX_FLAT:,}"
        )
    if isinstance(action, spaces.Discrete):
        return
    many = isinstance(action, (spaces.MultiDiscrete, spaces.MultiBinary))
    box = isinstance(action, spaces.Box) and action.dtype.kind == "f"
    if continuous and (many or box) and int(np.prod(action.shape or ())) > 0:
        return
    working = (
        "Discrete, MultiDiscrete, MultiBinary and Box of floats work"
        if continuous
        else "action values need Discrete; ppo acts in MultiDiscrete, MultiBinary and Box of floats too"
    )
    raise TrainingError(f"{name}: action_space {action} cannot be acted in; {working}")


def width(space: gymnasium.Space[Any]) -> int:
    """Numbers in one flattened element."""
    return int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape or ()))


def space_to_dict(space: gymnasium.Space[Any]) -> dict[str, Any]:
    """A space that `check_spaces` let through, as JSON values."""
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(space.start).tolist()
        return {
            "type": "MultiDiscrete",
            "nvec": space.nvec.tolist(),
            "start": start,
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
    assert isinstance(space, spaces.Box)
    return {
        "type": "Box",
        "shape": space.shape,
        "dtype": str(space.dtype),
        "low": _bound(space.low),
        "high": _bound(space.high),
    }


def space_from_dict(data: dict[str, Any]) -> gymnasium.Space[Any]:
    """The space that `space_to_dict` wrote."""
    if data["type"] == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    kind = np.dtype(data["dtype"])
    if data["type"] == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"], dtype=kind.type)
    if data["type"] == "MultiDiscrete":
        return spaces.MultiDiscrete(
            np.array(data["nvec"]), dtype=kind.type, start=np.array(data["start"], kind)
        )
    shape = tuple(data["shape"])
    low, high = (np.broadcast_to(np.array(data[key], dtype=kind), shape) for key in ("low", "high"))
    return spaces.Box(low, high, shape, kind.type)


def _bound(bound: NDArray[Any]) -> Any:
    """A Box's low or high: one number where all are the same (images), else the nested list."""
    return bound.flat[0].item() if bound.size and (bound == bound.flat[0]).all() else bound.tolist()
