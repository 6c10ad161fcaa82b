"""What an environment's own documentation calls its observed numbers and its actions.

    observation_names("CartPole-v1")     ("Cart Position", "Cart Velocity", ...)
    action_names("CartPole-v1")          ("Push cart to the left", "Push cart to the right")

Gymnasium's environments have a table of observations and a list of actions in their docstring; any other that
is written like this is understood too. () where there is nothing to be found. No environment is made.
"""

from __future__ import annotations

import re

from aigym_kernel.envs import SNAKE
from aigym_kernel.envs.snake_rules import FEATURE_NAMES
from aigym_kernel.widgets.playback import creator

_ROW = re.compile(r"^\s*\|\s*(\d+)\s*\|\s*([^|]+?)\s*\|", re.MULTILINE)
_ITEM = re.compile(r"^\s*[-*]\s*(\d+)\s*:\s*(.+?)\s*$", re.MULTILINE)
_ACTIONS = {SNAKE: ("straight", "left", "right")}


def observation_names(env_id: str) -> tuple[str, ...]:
    """One name per observed number, or ()."""
    if env_id == SNAKE:
        return FEATURE_NAMES
    return _numbered(_ROW, _section(env_id, "Observation Space"))


def action_names(env_id: str) -> tuple[str, ...]:
    """One name per action of a Discrete space, or ()."""
    if env_id in _ACTIONS:
        return _ACTIONS[env_id]
    section = _section(env_id, "Action Space")
    return _numbered(_ITEM, section) or _numbered(_ROW, section)


def _section(env_id: str, title: str) -> str:
    text = getattr(creator(env_id), "__doc__", None) or ""
    found = re.search(rf"^\s*#+\s*{title}\s*$(.*?)(?=^\s*#+\s|\Z)", text, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def _numbered(pattern: re.Pattern[str], section: str) -> tuple[str, ...]:
    """What is numbered 0, 1, 2 ... without a gap."""
    names: list[str] = []
    for number, name in pattern.findall(section):
        if int(number) != len(names):
            break
        names.append(re.sub(r"[*`$\\]", "", name)[:60])
    return tuple(names)
