"""Wrappers by name, so that they can be recorded: `wrap`, which `make(..., wrappers=[...])` calls.

    make("CartPole-v1", wrappers=["TimeAwareObservation", ["FrameStackObservation", {"stack_size": 4}]])
    make("CartPole-v1", wrappers=["my_wrappers:Shaped"])            a class of your own, by module

Each is a name, or a pair of a name and keyword arguments that JSON can hold; the first one is the innermost.
Since they are part of an environment's keyword arguments, training, evaluation and `envs.replay` build the
same environment. Those that keep something from one episode to the next are refused: an episode could not be
played again from its seed. Vector wrappers are not for this.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import gymnasium
from gymnasium import wrappers as gymnasium_wrappers

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.rollouts import NAMED

_STATISTICS = (
    "it scales by what it saw in earlier episodes, so that none could be played again from its seed; PPO "
    "does it itself and saves it with the policy: PPOConfig({})"
)
REFUSED = {
    "NormalizeObservation": _STATISTICS.format("normalize_observations=True"),
    "NormalizeReward": _STATISTICS.format("normalize_rewards=True"),
    "Autoreset": "whoever steps an environment here resets it, with a seed for each episode",
    "ArrayConversion": "environments give NumPy arrays here",
    "JaxToNumpy": "environments give NumPy arrays here",
    "JaxToTorch": "environments give NumPy arrays here",
    "NumpyToTorch": "environments give NumPy arrays here",
}
KNOWN = [
    name
    for name in gymnasium_wrappers.__all__
    if name not in ("vector", *REFUSED) and not name.startswith("_")
]


def wrap(env: gymnasium.Env[Any, Any], wrappers: Sequence[Any]) -> gymnasium.Env[Any, Any]:
    """``env`` inside of ``wrappers``, the first of which is the innermost.

    Raises:
        UnknownName: gymnasium has no wrapper of this name, or the module no such class.
        AigymError: it is no wrapper, refuses its arguments or this environment, or is in `REFUSED`.
    """
    if isinstance(wrappers, str) or not isinstance(wrappers, Sequence):
        raise AigymError(f"wrappers={wrappers!r} must be a list, such as ['FlattenObservation']")
    for entry in wrappers:
        name, kwargs = _entry(entry)
        made = _class(name)
        try:
            inspect.signature(made).bind(env, **kwargs)
            env = made(env, **kwargs)
        except AigymError:
            raise
        except Exception as problem:
            takes = ", ".join(list(inspect.signature(made).parameters)[1:]) or "no arguments"
            raise AigymError(
                f"wrapper {name!r} with {kwargs}: {problem} (it takes {takes}; the observation_space is "
                f"{env.observation_space}, the action_space {env.action_space})"
            ) from None
        vars(env)[NAMED] = [name, kwargs]
    return env


def _entry(entry: Any) -> tuple[str, dict[str, Any]]:
    parts = [entry, {}] if isinstance(entry, str) else list(entry) if isinstance(entry, Sequence) else []
    if len(parts) != 2 or not isinstance(parts[0], str) or not isinstance(parts[1], Mapping):
        raise AigymError(
            f"wrappers: {entry!r} must be a name or a pair of a name and keyword arguments, such as "
            "['FrameStackObservation', {'stack_size': 4}]"
        )
    name, kwargs = parts[0], dict(parts[1])
    try:
        json.dumps(kwargs)
    except (TypeError, ValueError):
        raise AigymError(
            f"wrapper {name!r} with {kwargs}: its arguments have to be plain data, since they are recorded; "
            "write a class that holds what is not, and name it as 'module:Class'"
        ) from None
    return name, kwargs


def _class(name: str) -> type[gymnasium.Wrapper[Any, Any, Any, Any]]:
    if name in REFUSED:
        raise AigymError(f"wrapper {name!r} cannot be used by name: {REFUSED[name]}")
    module, colon, own = name.partition(":")
    if not colon and name not in KNOWN:
        raise UnknownName("wrapper", name, KNOWN, "A class of your own is named as 'module:Class'.")
    try:
        found = getattr(import_module(module), own) if colon else getattr(gymnasium_wrappers, name)
    except ImportError as problem:
        raise AigymError(f"wrapper {name!r}: {problem}") from None
    except AttributeError:
        raise UnknownName(f"wrapper in module {module}", own, dir(import_module(module))) from None
    if not (isinstance(found, type) and issubclass(found, gymnasium.Wrapper)):
        raise AigymError(f"wrapper {name!r} is {found!r}, not a subclass of gymnasium.Wrapper")
    return found
