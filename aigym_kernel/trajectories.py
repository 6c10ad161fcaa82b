"""What is recorded, as frozen data: Step, Trajectory, Message, Note, Mark, Review, Score, Update.

    trajectory[3]          -> Step             the fourth interaction
    trajectory.total_reward, trajectory.length, trajectory.outcome
    trajectory.messages                        what a language-model agent said, heard and called
    conversation(messages, env_id=..., agent=...)   a Trajectory whose steps are the assistant's messages
    score.total, score.passed, score.marks     the judge's verdict
    score.reviewed("style", 0.8, by="ada")     the same with a person's word on one mark

A Trajectory keeps whole columns, not step objects, so that a trainer can hand over a batch as it is.
This module knows nothing of files, environments or notebooks.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aigym_kernel import rendering
from aigym_kernel.errors import AigymError, UnknownName

MarkStatus = Literal["passed", "failed", "unjudged"]
Role = Literal["system", "user", "assistant", "tool"]


def new_id() -> str:
    """An id that no other trajectory has."""
    return secrets.token_hex(8)


@dataclass(frozen=True, kw_only=True)
class Review:
    """A person's word on one mark. ``judged`` is the judge's own value, None where it had none; ``at`` is in
    seconds since 1970."""

    judged: float | None
    note: str = ""
    by: str = ""
    at: float = field(default_factory=lambda: round(time.time(), 6))


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One criterion's result. ``value`` lies in [0, 1]; None when the judge could not decide.

    ``review`` is there where a person gave the value. ``evidence``: what a verdict rests on beyond its
    feedback, as plain values (of the ``llm`` check the prompt and the answers).
    """

    name: str
    value: float | None
    weight: float = 1.0
    required: bool = False
    feedback: str = ""
    review: Review | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @property
    def status(self) -> MarkStatus:
        """``passed`` at full value, ``failed`` below, ``unjudged`` when the judge could not decide."""
        if self.value is None:
            return "unjudged"
        return "passed" if self.value >= 1.0 else "failed"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. ``review`` and ``evidence`` only where there are any."""
        names = ("name", "value", "weight", "required", "status", "feedback")
        review = {} if self.review is None else {"review": asdict(self.review)}
        evidence = {"evidence": dict(self.evidence)} if self.evidence else {}
        return {name: getattr(self, name) for name in names} | review | evidence


@dataclass(frozen=True, kw_only=True)
class Score:
    """The judge's verdict. ``total`` lies in [0, 1]; None while any mark is unjudged.

    ``passed`` holds when every required mark is full and the total reaches ``pass_mark``.
    """

    task_id: str
    total: float | None
    passed: bool
    marks: tuple[Mark, ...]
    wall_s: float = 0.0
    pass_mark: float = 1.0

    def reviewed(self, name: str, value: float, *, note: str = "", by: str = "") -> Score:
        """The score with a person's ``value`` for the mark ``name``, total and ``passed`` worked out anew.
        The judge's own value stays in the mark's `Review`, also when it is reviewed again.

        Raises:
            UnknownName: there is no such mark.
            AigymError: the value is no number in [0, 1], or several marks have this name.
        """
        found = [m for m in self.marks if m.name == name]
        if not found:
            raise UnknownName("mark", name, [m.name for m in self.marks])
        if len(found) > 1:
            raise AigymError(f"{len(found)} marks have the name {name!r}; only one could be reviewed")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise AigymError(f"value={value!r} of the mark {name!r} must be a number from 0 to 1")
        old = found[0]
        review = Review(judged=old.review.judged if old.review else old.value, note=note, by=by)
        new = replace(old, value=float(value), review=review)
        marks = tuple(new if m is old else m for m in self.marks)
        total, passed = tally(marks, self.pass_mark)
        return replace(self, marks=marks, total=total, passed=passed)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "unjudged" if self.total is None else "failed"
        total = "-" if self.total is None else f"{self.total:.2f}"
        lines = [f"{self.task_id}: {verdict}, score {total} ({self.wall_s:.2f} s)"]
        for mark in self.marks:
            value = "-" if mark.value is None else f"{mark.value:.2f}"
            lines.append(f"  {mark.status:8} {value}  {mark.name}")
            lines.extend(f"      {line}" for line in mark.feedback.splitlines())
            if mark.review:
                lines.extend(f"      {line}" for line in rendering.review(asdict(mark.review)).splitlines())
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task_id": self.task_id,
            "total": self.total,
            "passed": self.passed,
            "pass_mark": self.pass_mark,
            "wall_s": round(self.wall_s, 4),
            "marks": [m.to_dict() for m in self.marks],
        }

    def _repr_html_(self) -> str:
        return rendering.score(self.to_dict())


def tally(marks: Sequence[Mark], pass_mark: float) -> tuple[float | None, bool]:
    """Total and ``passed`` of a score: the weighted mean, None while a mark has no value.

    Raises:
        AigymError: the weights sum to zero.
    """
    weights = sum(m.weight for m in marks)
    if weights <= 0:
        raise AigymError("the weights of the rubric's criteria sum to zero; give one a positive weight")
    values = [m.value for m in marks if m.value is not None]
    if len(values) < len(marks):
        return None, False
    total = sum(m.weight * v for m, v in zip(marks, values)) / weights
    required = all(m.status == "passed" for m in marks if m.required)
    # A mean of full marks may fall short of 1 by a rounding error.
    return min(1.0, total), required and total >= pass_mark - 1e-9


@dataclass(frozen=True, kw_only=True)
class Step:
    """One interaction: ``observation`` is what the agent saw when it chose ``action``;
    reward, flags and ``info`` are what the environment answered (gymnasium's 5-tuple)."""

    t: int
    observation: Any
    action: Any
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A picture in a message: the bytes of a file, and what kind of file."""

    data: bytes = field(repr=False)
    media_type: str = "image/png"


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """An assistant's call of a tool. ``arguments`` is the text that the model wrote where that is no JSON
    object. The result is the message of role ``tool`` whose ``tool_call_id`` is this ``id``."""

    id: str
    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation with a language model.

    ``content``: text, or texts and images in their order. ``tool_call_id``: of role ``tool``, which call
    this answers; ``error``: what that call failed with. ``cost`` in US dollars. ``token_ids`` and
    ``logprobs``: one per output token. ``step``: the step ``t`` that it belongs to. ``at``: seconds since
    1970. ``extra``: what a foreign format holds beside, as plain values.
    """

    role: Role
    content: str | tuple[str | Image, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""
    error: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    step: int | None = None
    at: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @property
    def text(self) -> str:
        """The texts of ``content``, images left out."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part for part in self.content if isinstance(part, str))


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a person wrote about a trajectory later. ``at`` is in seconds since 1970."""

    text: str
    by: str = ""
    at: float = field(default_factory=lambda: round(time.time(), 6))


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """One whole play of an environment, in columns.

    Shapes, for T steps: ``observations`` T+1 (the last one is where it ended), ``actions`` T,
    ``rewards`` (T,) float64. Numeric columns are arrays, text columns are sequences of str.
    ``infos`` holds one mapping per step, or nothing where a trainer keeps only ``final_info``.
    ``seed`` is what ``reset(seed=)`` was called with: seed and actions replay a deterministic env.
    ``messages``: the conversation of a language-model agent, beside the steps. ``group``: those that started
    alike (of one prompt, say) share it; ``parent``: the trajectory that this one was continued from.
    ``tags`` and ``notes`` are what people said of it, also later.
    """

    env_id: str
    agent: str
    observations: NDArray[Any] | Sequence[Any]
    actions: NDArray[Any] | Sequence[Any]
    rewards: NDArray[np.float64]
    terminated: bool
    truncated: bool
    seed: int | None = None
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    infos: Sequence[Mapping[str, Any]] = ()
    final_info: Mapping[str, Any] = field(default_factory=dict)
    score: Score | None = None
    error: str | None = None
    messages: Sequence[Message] = ()
    group: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    run_id: str | None = None
    started_at: float = field(default_factory=time.time)
    wall_s: float = 0.0
    id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if len(self.observations) != steps + 1 or len(self.rewards) != steps:
            raise ValueError(
                f"trajectory of {self.env_id}: {steps} actions need {steps + 1} observations and "
                f"{steps} rewards, got {len(self.observations)} and {len(self.rewards)}"
            )
        if self.infos and len(self.infos) != steps:
            raise ValueError(f"trajectory of {self.env_id}: {len(self.infos)} infos, {steps} steps")

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, t: int) -> Step:
        steps = len(self)
        if not -steps <= t < steps:
            raise IndexError(f"step {t} of a trajectory of {steps} steps")
        t %= steps
        last = t == steps - 1
        return Step(
            t=t,
            observation=self.observations[t],
            action=self.actions[t],
            reward=float(self.rewards[t]),
            terminated=last and self.terminated,
            truncated=last and self.truncated,
            info=self.infos[t] if self.infos else (self.final_info if last else {}),
        )

    def __iter__(self) -> Iterator[Step]:
        return (self[t] for t in range(len(self)))

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(self)

    @property
    def total_reward(self) -> float:
        """The undiscounted return."""
        return float(np.sum(self.rewards))

    @property
    def outcome(self) -> str:
        """How it ended, in one word: ``error``, ``passed``, ``failed``, ``unjudged``, the env's own
        ``info["outcome"]`` (Snake: ``wall``, ``self``, ``starvation``, ``full``), ``truncated``,
        ``terminated`` or ``unfinished``."""
        if self.error is not None:
            return "error"
        if self.score is not None:
            if self.score.total is None:
                return "unjudged"
            return "passed" if self.score.passed else "failed"
        if own := self.final_info.get("outcome"):
            return str(own)
        if self.truncated:
            return "truncated"
        return "terminated" if self.terminated else "unfinished"

    def __repr__(self) -> str:
        return (
            f"Trajectory({self.id} {self.env_id} by {self.agent}: {len(self)} steps, "
            f"return {self.total_reward:g}, {self.outcome})"
        )

    def _repr_html_(self) -> str:
        rows = [
            [s.t, rendering.short(s.observation), rendering.short(s.action), f"{s.reward:g}"]
            for s in (self[t] for t in range(min(len(self), 20)))
        ]
        return f"<p>{rendering.escape(repr(self))}</p>" + rendering.table(
            ["t", "observation", "action", "reward"], rows
        )


def conversation(
    messages: Sequence[Message], *, rewards: Sequence[float] | None = None, **fields: Any
) -> Trajectory:
    """A Trajectory made of messages alone: each assistant's message is an action (its text, or its tool
    calls as JSON), the texts before it since the last one are the observation, the rest is the end.

    Args:
        rewards: one per assistant's message; default: zeros.
        fields: the other fields of `Trajectory`; ``terminated`` is True and ``truncated`` False by default.

    Raises:
        ValueError: there are more or fewer rewards than assistant's messages.
    """
    observations, actions, placed = [""], list[str](), list[Message]()
    for message in messages:
        placed.append(replace(message, step=len(actions)))
        if message.role == "assistant":
            actions.append(message.text or _calls_text(message.tool_calls))
            observations.append("")
        elif text := message.text:
            observations[-1] = f"{observations[-1]}\n{text}" if observations[-1] else text
    given = np.zeros(len(actions)) if rewards is None else np.asarray(rewards, dtype=np.float64)
    return Trajectory(
        observations=observations,
        actions=actions,
        rewards=given,
        messages=tuple(placed),
        **{"terminated": True, "truncated": False, **fields},
    )


def _calls_text(calls: Sequence[ToolCall]) -> str:
    return "\n".join(
        json.dumps({"name": c.name, "arguments": c.arguments}, ensure_ascii=False, default=str) for c in calls
    )
