"""MLGym's ``.traj`` files (and SWE-agent's, whose form they have): read.

    read(path)          of one file, or of every .traj of a folder and its sub-folders

    {"environment": "...", "info": {"exit_status", "score", ...},
     "trajectory": [{"action", "observation", "response", "state", "thought", "execution_time"}, ...],
     "history": [{"role", "content", "agent", ...}, ...]}

A step's observation is what its action brought; the first one is empty. ``state`` and ``execution_time``
go into the step's info, the rest of ``info`` into ``final_info``. The messages are those of ``history``,
each with the step that it belongs to; where there is none, they are made of the steps. Files in the wild
are irregular: times may be text, observations None, histories longer than trajectories (demonstrations,
repeated questions) or shorter. What is missing is empty; only what is of another kind is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aigym_kernel import rendering
from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import chat, files
from aigym_kernel.trajectories import Message, Trajectory

# What ``exit_status`` says where the agent did not submit by itself, in both programs.
_TRUNCATED = {"exit_cost", "exit_context", "exit_format", "early_exit", "max_steps"}
_ERRORS = {"exit_error", "exit_api", "exit_environment_error", "exit_command_timeout"}


def read(path: Path) -> Iterator[Trajectory]:
    """One trajectory per file.

    Raises:
        ExchangeError: a file is no JSON, or no trajectory of MLGym; names file and place.
    """
    for member in files.members(path, "*.traj"):
        data = files.document(member)
        try:
            yield _trajectory(data, member)
        except RecursionError:
            raise ExchangeError(f"{member}: its values are nested too deep") from None
        except (ValueError, OverflowError) as e:
            raise ExchangeError(f"{member}: {e}") from None


def _trajectory(data: Any, path: Path) -> Trajectory:
    steps = data.get("trajectory") if isinstance(data, Mapping) else None
    if not isinstance(steps, list):
        raise ValueError("has no list 'trajectory', so it is no file of MLGym or SWE-agent")
    for i, step in enumerate(steps):
        if not isinstance(step, Mapping):
            raise ValueError(f"trajectory[{i}]: is no object, but {_shown(step)}")
    history = data.get("history") or []
    info = data.get("info") or {}
    for name, value, kind in (("history", history, list), ("info", info, Mapping)):
        if not isinstance(value, kind):
            raise ValueError(f"{name}: is of another kind: {_shown(value)}")
    messages = [chat.to_message(item, f"history[{i}]") for i, item in enumerate(history)]
    infos = [_info(step) for step in steps]
    times = [seconds for i in infos if isinstance(seconds := i.get("execution_time"), float)]
    status = str(info.get("exit_status") or "")
    said = set(re.findall(r"\w+", status))  # such as "submitted (exit_cost)"
    truncated, failed = bool(said & _TRUNCATED), bool(said & _ERRORS)
    agents = [m.extra["agent"] for m in messages if isinstance(m.extra.get("agent"), str)]
    wall_s = sum(times)
    return Trajectory(
        env_id=_text(data.get("environment")) or "mlgym",
        env_kwargs={"task": path.stem},
        agent=agents[0] if agents else "mlgym",
        observations=["", *(_text(step.get("observation")) for step in steps)],
        actions=[_text(step.get("action")) for step in steps],
        rewards=np.zeros(len(steps)),
        terminated=bool(status) and not truncated and not failed,
        truncated=truncated,
        error=status if failed else None,
        infos=infos,
        final_info=info,
        messages=_placed(messages, steps) if messages else _told(steps),
        started_at=path.stat().st_mtime - wall_s,
        wall_s=wall_s,
    )


def _info(step: Mapping[str, Any]) -> dict[str, Any]:
    """What a step holds beside observation, action and what the model said."""
    shown = ("action", "observation", "response", "thought")
    info = {str(k): v for k, v in step.items() if k not in shown and v is not None}
    seconds = _seconds(info.get("execution_time"))
    if seconds is not None:
        info["execution_time"] = seconds
    state = info.get("state")
    if isinstance(state, str):
        with suppress(ValueError):  # text that is no JSON stays text
            info["state"] = json.loads(state)
    return info


def _seconds(value: Any) -> float | None:
    """A time in seconds: a number, or text such as ``1.25``, ``1.25s`` or ``0:01:05.5``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) and value >= 0 else None
    found = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?(?:e-?\d+)?)\s*s?", str(value).strip().lower())
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _placed(messages: Sequence[Message], steps: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages, each with the step that it led to; demonstrations and what was said again have none."""
    placed, t = list[Message](), 0
    for message in messages:
        if message.extra.get("is_demo"):
            placed.append(message)
            continue
        step = t if t < len(steps) else None
        if message.role == "assistant" and step is not None:
            if _led_to(message, steps[step]):
                t += 1
            else:
                step = None
        placed.append(replace(message, step=step))
    return tuple(placed)


def _led_to(message: Message, step: Mapping[str, Any]) -> bool:
    action = message.extra.get("action")
    if isinstance(action, str) and action.strip():
        return action.strip() == _text(step.get("action")).strip()
    said = message.text.strip()
    return said == _text(step.get("response")).strip() or said == _text(step.get("action")).strip()


def _told(steps: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    found = list[Message]()
    for t, step in enumerate(steps):
        said = _text(step.get("response")) or _text(step.get("action"))
        found.append(Message(role="assistant", content=said, reasoning=_text(step.get("thought")), step=t))
        if observation := _text(step.get("observation")):
            found.append(Message(role="user", content=observation, step=min(t + 1, len(steps) - 1)))
    return tuple(found)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(value: object) -> str:
    return rendering.short(repr(value), 60)
