"""Scored groups of Atropos (NousResearch) as JSON Lines: read and written.

    read(path)                     a trajectory per member of each group, with ``group`` in common
    write(path, trajectories)      a line per run of trajectories with the same ``group``

    {"tokens": [[...], ...], "masks": [[...], ...], "scores": [...], "messages": [...], "advantages": ...,
     "ref_logprobs": ..., "inference_logprobs": ..., "generation_params": ..., "group_overrides": ...,
     "overrides": [...], "images": ..., "env_id": ...}

The form is ``ScoredDataGroup`` of ``atroposlib.envs.base``: a mask is -100 where the token was not the
model's, else the token. The score is the reward of the last step. Each stretch of the model's tokens
becomes the ``token_ids`` (and ``logprobs``) of an assistant's message, where there are as many stretches as
such messages; all of a member is in ``final_info["atropos"]``, and written from there. Members without
messages get one assistant's message without text.

Written trajectories without ``final_info["atropos"]`` have the tokens that their messages hold; those whose
messages hold none are refused, for there is nothing to train on. Costs, times and marks have no place here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aigym_kernel import rendering
from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import chat, files
from aigym_kernel.trajectories import Message, Trajectory, conversation

_NOT_THE_MODELS = -100
# Of each member, and of the group as a whole.
_MEMBER = ("advantages", "ref_logprobs", "inference_logprobs", "overrides", "images")
_GROUP = ("generation_params", "group_overrides", "env_id")


def read(path: Path) -> Iterator[Trajectory]:
    """The members of each group, in their order.

    Raises:
        ExchangeError: a line is no scored group; names line and field.
    """
    for number, text in files.lines(path):
        data = files.parse(text, path, number)
        try:
            yield from _members(data, f"{path.stem}:{number}", path.stat().st_mtime)
        except RecursionError:
            raise ExchangeError(f"{path}: line {number}: its values are nested too deep") from None
        except (ValueError, OverflowError) as e:
            raise ExchangeError(f"{path}: line {number}: {e}") from None


def _members(data: Any, group: str, time: float) -> Iterator[Trajectory]:
    if not isinstance(data, Mapping) or not {"tokens", "masks", "scores"} <= set(data):
        raise ValueError("is no scored group: an object with tokens, masks and scores is needed")
    size = len(_list(data["tokens"], "tokens"))
    for name in ("masks", "scores", "messages", *_MEMBER):
        value = data.get(name)
        # What nobody gave is None, or empty.
        given = name in ("masks", "scores") or value not in (None, [])
        if given and (count := len(_list(value, name))) != size:
            raise ValueError(f"{name}: has {count} members, but tokens has {size}")
    shared = {name: data[name] for name in _GROUP if data.get(name) is not None}
    for i in range(size):
        kept: dict[str, Any] = {name: data[name][i] for name in _MEMBER if data.get(name)}
        kept |= {"tokens": _ids(data["tokens"][i], f"tokens[{i}]"), "group": shared}
        kept["masks"] = _ids(data["masks"][i], f"masks[{i}]")
        if len(kept["masks"]) != len(kept["tokens"]):
            raise ValueError(f"masks[{i}]: has {len(kept['masks'])} entries, tokens {len(kept['tokens'])}")
        score = data["scores"][i]
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise ValueError(f"scores[{i}]: {_shown(score)} is not a number")
        said = data["messages"][i] if data.get("messages") else None
        kept["messages"] = "text" if isinstance(said, str) else "none" if said is None else "list"
        messages = _with_tokens(_said(said, f"messages[{i}]"), kept)
        env = data.get("env_id")
        turns = sum(m.role == "assistant" for m in messages)
        yield conversation(
            messages,
            rewards=[0.0] * (turns - 1) + [float(score)],
            env_id="atropos" if env is None else f"atropos/{env}",
            agent="atropos",
            group=group,
            started_at=time,
            final_info={"atropos": kept},
        )


def _said(said: Any, place: str) -> list[Message]:
    """The messages of a member, with at least one of the assistant."""
    if said is None or isinstance(said, str):
        return [Message(role="assistant", content=said or "")]
    messages = [chat.to_message(m, f"{place}[{k}]") for k, m in enumerate(_list(said, place))]
    if not any(m.role == "assistant" for m in messages):
        messages.append(Message(role="assistant", extra={"atropos": "no message"}))
    return messages


def _with_tokens(messages: list[Message], kept: Mapping[str, Any]) -> list[Message]:
    """The messages, those of the assistant with their tokens where it is plain which are whose."""
    stretches, start = list[slice](), 0
    for own, run in itertools.groupby(kept["masks"], lambda mask: mask != _NOT_THE_MODELS):
        end = start + sum(1 for _ in run)
        if own:
            stretches.append(slice(start, end))
        start = end
    spoken = [k for k, m in enumerate(messages) if m.role == "assistant"]
    if len(spoken) != len(stretches):
        return messages
    logprobs = kept.get("inference_logprobs")
    if not isinstance(logprobs, list) or len(logprobs) != len(kept["tokens"]):
        logprobs = []
    for k, stretch in zip(spoken, stretches):
        messages[k] = replace(
            messages[k],
            token_ids=tuple(kept["tokens"][stretch]),
            logprobs=tuple(map(float, logprobs[stretch])),
        )
    return messages


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{place}: is no list, but {_shown(value)}")
    return value


def _ids(value: Any, place: str) -> list[int]:
    wrong = [v for v in _list(value, place) if isinstance(v, bool) or not isinstance(v, int)]
    if wrong:
        raise ValueError(f"{place}: {_shown(wrong[0])} is no token")
    return list(value)


def _shown(value: object) -> str:
    return rendering.short(repr(value), 60)


# Writing


def write(path: Path, trajectories: Iterable[Trajectory]) -> int:
    """One line per group: trajectories of one group that follow each other.

    Raises:
        ExchangeError: the file exists or cannot be written, or a trajectory holds no tokens.
    """
    count = 0
    with files.new_file(path) as file:
        for _, members in itertools.groupby(trajectories, lambda t: (t.group, t.group or t.id)):
            group = list(members)
            # A score may be NaN, which Python's JSON, and so Atropos, has a word for.
            line = json.dumps(_group(group), ensure_ascii=False, default=str)
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            count += len(group)
    return count


def _group(members: list[Trajectory]) -> dict[str, Any]:
    kept = [_kept(t) for t in members]
    said = [_written(t, k) for t, k in zip(members, kept)]
    group: dict[str, Any] = {
        "tokens": [k["tokens"] for k in kept],
        "masks": [k["masks"] for k in kept],
        "scores": [t.total_reward for t in members],
        "messages": None if all(m is None for m in said) else said,
    }
    for name in _MEMBER:
        group[name] = [k.get(name) for k in kept] if any(name in k for k in kept) else None
    shared = kept[0].get("group")
    return group | dict.fromkeys(_GROUP) | (dict(shared) if isinstance(shared, Mapping) else {})


def _kept(trajectory: Trajectory) -> Mapping[str, Any]:
    kept = trajectory.final_info.get("atropos")
    if isinstance(kept, Mapping) and {"tokens", "masks"} <= set(kept):
        return kept
    spoken = [m for m in trajectory.messages if m.role == "assistant"]
    tokens = [token for m in spoken for token in m.token_ids]
    if not tokens:
        raise ExchangeError(
            f"trajectory {trajectory.id!r}: its messages hold no token ids, and a scored group is made of "
            "them; export conversations as ATIF"
        )
    logprobs = [value for m in spoken for value in m.logprobs]
    own = {"inference_logprobs": logprobs} if len(logprobs) == len(tokens) else {}
    return {"tokens": tokens, "masks": tokens, **own}


def _written(trajectory: Trajectory, kept: Mapping[str, Any]) -> Any:
    if kept.get("messages") == "none":
        return None
    if kept.get("messages") == "text":
        return trajectory.messages[0].text
    return [chat.from_message(m) for m in trajectory.messages if m.extra != {"atropos": "no message"}]
