"""Environments by name: `make` builds any of them, ours or gymnasium's.

    make("two-sum")             a task, as a gymnasium.Env     (= "aigym/two-sum-v0")
    make("aigym/Snake-v0", size=8)
    make("CartPole-v1")         anything that gymnasium knows
    make("MinAtar/Breakout-v1") where the package MinAtar is installed
    make("pettingzoo:pettingzoo.butterfly.cooperative_pong_v6")     see `envs.pettingzoo`
    make("CartPole-v1", wrappers=["TimeAwareObservation"])          see `envs.wrappers`
    make("ale_py:ALE/Pong-v5")  imports the module that registers it

Importing this package registers ours under ``aigym/...``; in a process that has not imported it,
``gymnasium.make("aigym_kernel.envs:aigym/Snake-v0")`` does both. Ours come without wrappers: they check
the order of calls and end their episodes themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.settings import task_ids  # not from tasks, which takes as long to import as all of this

SNAKE = "aigym/Snake-v0"

EnvSource = str | Callable[..., gymnasium.Env[Any, Any]]
"""An environment's id, or a function that builds one."""


def _register(name: str, entry_point: str, **kwargs: Any) -> None:
    if name not in gymnasium.registry:
        gymnasium.register(
            name,
            entry_point=f"aigym_kernel.envs.{entry_point}",
            order_enforce=False,
            disable_env_checker=True,
            kwargs=kwargs,
        )


def _register_tasks() -> None:
    for task_id in task_ids():
        _register(f"aigym/{task_id}-v0", "task_env:TaskEnv", task_id=task_id)


def _register_minatar() -> None:
    """The games of the package MinAtar (Young and Tian 2019, arXiv 1903.03176), if it is there, which
    registers none by itself: v0 with all six actions, v1 with those that do something in the game."""
    if importlib.util.find_spec("minatar") is None:
        return
    for game in ("asterix", "breakout", "freeway", "seaquest", "space_invaders"):
        for version, minimal in (("v0", False), ("v1", True)):
            name = f"MinAtar/{game.title().replace('_', '')}-{version}"
            if name not in gymnasium.registry:
                kwargs = {"game": game, "use_minimal_action_set": minimal}
                gymnasium.register(name, entry_point="minatar.gym:BaseEnv", kwargs=kwargs)


def env_id(name: str) -> str:
    """The gymnasium id that ``name`` stands for: itself, ``aigym/<task>-v0`` for a task's id, ``id`` for
    ``module:id``, whose module is imported, or ``pettingzoo/<module>-v0`` for ``pettingzoo:<module>``.

    Raises:
        UnknownName: neither a task nor an environment.
        AigymError: it is no text, or the module cannot be imported.
    """
    if not isinstance(name, str):
        raise AigymError(f"an environment is named by an id such as 'CartPole-v1', not by {name!r}")
    _register_tasks()
    _register_minatar()
    known = gymnasium.registry
    if name.startswith(("pettingzoo:", "pettingzoo/")):
        module = name[len("pettingzoo:") :].removesuffix("-v0")
        name = f"pettingzoo/{module}-v0"
        _register(name, "pettingzoo:Joint", module=module)
    elif ":" in name:
        module, _, name = name.partition(":")
        try:
            importlib.import_module(module)
        except ImportError as problem:
            raise AigymError(f"environment '{module}:{name}': {problem}") from None
    if name in known:
        return name
    if (task := f"aigym/{name}-v0") in known:
        return task
    own = [n for n in known if n.startswith("aigym/")]
    others = [n for n in known if not n.startswith(("aigym/", "GymV", "phys2d/", "tabular/"))]
    hint = "One of another package: import that first, or name its module too, as in 'ale_py:ALE/Pong-v5'."
    raise UnknownName("environment", name, [*task_ids(), *own, *others], hint)


def make(name: str, *, wrappers: Sequence[Any] = (), **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Build an environment.

    Args:
        name: a task's id, or a gymnasium id.
        wrappers: names of wrappers to put around it, each alone or with its arguments: see `envs.wrappers`.
        kwargs: passed to ``gymnasium.make`` (``render_mode``, Snake's ``size`` ...).

    Raises:
        UnknownName: neither a task nor an environment.
        AigymError: a package that the environment needs is missing, or it refuses an argument.
    """
    if sys.platform == "linux" and not ({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame would complain that there is no screen
    try:
        made: gymnasium.Env[Any, Any] = gymnasium.make(env_id(name), **kwargs)
    except gymnasium.error.DependencyNotInstalled as problem:
        raise AigymError(f"environment {name!r} needs a package: {problem}") from None
    except gymnasium.error.Error as problem:
        raise AigymError(f"environment {name!r} cannot be built: {problem}") from None
    except TypeError as problem:
        if kwargs:
            raise AigymError(f"environment {name!r} with {kwargs}: {problem}") from None
        raise
    if not wrappers:
        return made
    from aigym_kernel.envs.wrappers import wrap

    return wrap(made, wrappers)


_register(SNAKE, "snake:Snake")
_register_tasks()
