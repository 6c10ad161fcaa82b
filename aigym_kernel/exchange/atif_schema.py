"""What a document of ATIF, the Agent Trajectory Interchange Format, may hold: versions 1.0 to 1.8.

    document = checked(data, path)      a Document, or one error that names every rule broken, with its place

Source: the Harbor framework's RFC 0001 (docs/rfcs/0001-trajectory-format.md) and its models
``harbor.models.trajectories``; a field that they do not know is refused as they do. `atif` makes
trajectories of documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import plain

NEWEST_READ = 8
WRITTEN = "ATIF-v1.7"

IMAGES = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp"}
_AGENT_ONLY = ("model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics")

Extra = Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an image or a sound is: a path beside the document, an absolute one, or a URL."""

    media_type: str
    path: str
    duration_sec: float | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of a message: text, or a reference to an image or a sound."""

    type: Literal["text", "image", "audio"]
    text: str | None = None
    source: Source | None = None


Content = str | tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of a tool."""

    tool_call_id: str
    function_name: str
    arguments: Mapping[str, Any]
    extra: Extra = None


@dataclass(frozen=True, kw_only=True)
class SubagentRef:
    """Which trajectory a delegated task made: an embedded one, or one in another file."""

    trajectory_id: str | None = None
    session_id: str | None = None
    trajectory_path: str | None = None
    extra: Extra = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one call, or an action without calls, brought."""

    source_call_id: str | None = None
    content: Content | None = None
    subagent_trajectory_ref: tuple[SubagentRef, ...] | None = None
    extra: Extra = None


@dataclass(frozen=True, kw_only=True)
class Observation:
    """All results of a step."""

    results: tuple[Result, ...]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Tokens and cost of a step; ``cost_usd`` in US dollars."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    completion_token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    extra: Extra = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One turn, with the results that followed it."""

    step_id: int
    source: Literal["system", "user", "agent"]
    message: Content
    timestamp: str | None = None
    model_name: str | None = None
    reasoning_effort: str | float | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    observation: Observation | None = None
    metrics: Metrics | None = None
    is_copied_context: bool | None = None
    llm_call_count: int | None = None
    extra: Extra = None


@dataclass(frozen=True, kw_only=True)
class Agent:
    """Who acted."""

    name: str
    version: str
    model_name: str | None = None
    tool_definitions: tuple[Mapping[str, Any], ...] | None = None
    extra: Extra = None


@dataclass(frozen=True, kw_only=True)
class FinalMetrics:
    """Sums over the whole trajectory."""

    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_cost_usd: float | None = None
    total_steps: int | None = None
    extra: Extra = None


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole trajectory, with those of its subagents."""

    schema_version: str
    agent: Agent
    steps: tuple[Step, ...]
    session_id: str | None = None
    trajectory_id: str | None = None
    notes: str | None = None
    final_metrics: FinalMetrics | None = None
    continued_trajectory_ref: str | None = None
    extra: Extra = None
    subagent_trajectories: tuple[Document, ...] | None = None


def checked(data: Any, path: Path) -> Document:
    """The document in ``data``, which was read from ``path``.

    Raises:
        ExchangeError: a field is missing, unknown or of another type, or rules are broken.
    """
    try:
        document = plain.build(Document, data, "")
    except (ValueError, OverflowError) as e:
        raise ExchangeError(f"{path}: {e}") from None
    except RecursionError:
        raise ExchangeError(f"{path}: its subagents are nested too deep") from None
    assert isinstance(document, Document)
    problems = [*_broken(document, ""), *_missing_files(document, path.parent, "")]
    if len(problems) > 1:
        told = [*problems[:8], *([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])]
        raise ExchangeError("\n  ".join([f"{path}: {len(problems)} rules of ATIF are broken", *told]))
    if problems:
        raise ExchangeError(f"{path}: {problems[0]}")
    return document


def _broken(document: Document, place: str) -> Iterator[str]:
    """The rules that a document breaks, each with its place."""
    version = re.fullmatch(r"ATIF-v1\.(\d{1,3})", document.schema_version)
    if version is None or int(version[1]) > NEWEST_READ:
        yield (
            f"{place}schema_version: {document.schema_version!r:.40} is none of ATIF-v1.0 to "
            f"ATIF-v1.{NEWEST_READ}"
        )
    if not document.steps:
        yield f"{place}steps: is empty; a trajectory has at least one step"
    for i, step in enumerate(document.steps):
        yield from _broken_by_step(step, i, f"{place}steps[{i}]")
    final = document.final_metrics
    if final and final.total_steps is not None:
        total = final.total_steps
        if total < 0:
            yield f"{place}final_metrics.total_steps: {total} is below 0"
        elif total != len(document.steps) and not document.notes:
            yield (
                f"{place}final_metrics.total_steps: is {total}, but there are {len(document.steps)} steps, "
                "and no notes that say why"
            )
    seen = set[str]()
    for i, sub in enumerate(document.subagent_trajectories or ()):
        at = f"{place}subagent_trajectories[{i}]"
        if sub.trajectory_id is None:
            yield f"{at}.trajectory_id: is missing"
        elif sub.trajectory_id in seen:
            yield f"{at}.trajectory_id: {sub.trajectory_id!r:.60} is given twice"
        else:
            seen.add(sub.trajectory_id)
        yield from _broken(sub, f"{at}.")


def _broken_by_step(step: Step, i: int, place: str) -> Iterator[str]:
    if step.step_id != i + 1:
        yield f"{place}.step_id: is {step.step_id}, but step ids count 1, 2, 3, so {i + 1} is needed"
    if step.timestamp is not None and parsed_time(step.timestamp) is None:
        yield f"{place}.timestamp: {step.timestamp!r:.60} is no ISO 8601 time"
    if step.source != "agent":
        for name in _AGENT_ONLY:
            if getattr(step, name) is not None:
                yield f"{place}.{name}: belongs to steps of the source 'agent', not {step.source!r}"
    if step.llm_call_count is not None and step.llm_call_count < 0:
        yield f"{place}.llm_call_count: {step.llm_call_count} is below 0"
    if step.llm_call_count == 0 and step.source == "agent":
        for name in ("metrics", "reasoning_content"):
            if getattr(step, name) is not None:
                yield f"{place}.{name}: must be absent where llm_call_count is 0"
    yield from _broken_by_content(step.message, f"{place}.message")
    calls = {call.tool_call_id for call in step.tool_calls or ()}
    for k, result in enumerate(step.observation.results if step.observation else ()):
        at = f"{place}.observation.results[{k}]"
        if result.source_call_id is not None and result.source_call_id not in calls:
            yield f"{at}.source_call_id: {result.source_call_id!r:.60} is no tool_call_id of this step"
        yield from _broken_by_content(result.content, f"{at}.content")
        for n, ref in enumerate(result.subagent_trajectory_ref or ()):
            if ref.trajectory_id is None and ref.trajectory_path is None:
                yield f"{at}.subagent_trajectory_ref[{n}]: needs a trajectory_id or a trajectory_path"


def _broken_by_content(content: Content | None, place: str) -> Iterator[str]:
    for i, part in enumerate(content if isinstance(content, tuple) else ()):
        at = f"{place}[{i}]"
        needed, other = ("text", "source") if part.type == "text" else ("source", "text")
        if getattr(part, needed) is None:
            yield f"{at}.{needed}: is missing in a part of type {part.type!r}"
        if getattr(part, other) is not None:
            yield f"{at}.{other}: does not belong to a part of type {part.type!r}"
        if part.source is not None and part.type != "text":
            kind = part.source.media_type.strip().lower()
            if kind not in IMAGES if part.type == "image" else not kind.startswith("audio/"):
                yield f"{at}.source.media_type: {part.source.media_type!r:.40} is no type of {part.type}"
            seconds = part.source.duration_sec
            if seconds is not None and (part.type == "image" or seconds < 0):
                yield f"{at}.source.duration_sec: only a sound has one, of 0 or more"


def contents(document: Document, place: str) -> Iterator[tuple[str, Part]]:
    """Every part of every message and result, with its place."""
    for i, step in enumerate(document.steps):
        held = [(f"{place}steps[{i}].message", step.message)] + [
            (f"{place}steps[{i}].observation.results[{k}].content", result.content or "")
            for k, result in enumerate(step.observation.results if step.observation else ())
        ]
        for at, content in held:
            if isinstance(content, tuple):
                yield from ((f"{at}[{n}]", part) for n, part in enumerate(content))
    for i, sub in enumerate(document.subagent_trajectories or ()):
        yield from contents(sub, f"{place}subagent_trajectories[{i}].")


def _missing_files(document: Document, folder: Path, place: str) -> Iterator[str]:
    for at, part in contents(document, place):
        path = beside(part.source.path, folder) if part.source and part.type == "image" else None
        if path is not None and not path.is_file():
            yield f"{at}.source.path: there is no file {str(path)!r:.200}"


def beside(path: str, folder: Path) -> Path | None:
    """The file that a path means, if it lies in the document's folder; no other file is ever read."""
    if "://" in path or path.startswith("data:") or "\0" in path:
        return None
    try:
        found = (folder / path).resolve()
        found.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError):  # a name too long, say, or one that no file can have
        return None
    return found if found.is_relative_to(folder.resolve()) else None


def parsed_time(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 time (without a zone: UTC); None if it is none."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
