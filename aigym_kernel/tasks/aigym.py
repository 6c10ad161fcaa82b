"""AIGYM's own task format: one YAML file per task, graded by described criteria.

    task_id: sum-of-two          category: algorithms       grade: 7
    prompt: Write a function that ...
    version: 2                   rubric_version: 1          metric: weighted_sum
    time_limit_sec: 5            memory_mb: 256
    rubric:
      - {description: Finds every pair, weight: 0.7}
      - {description: Explains the idea, weight: 0.3}

A criterion is graded by a language model (the check ``llm``, its instructions being the description) unless
it is bound to another check: by a key ``check`` of its own, written as in task.yaml, or by `load_task`'s
``checks``. A task passes from 0.6 on. What a Task has no field for is kept in its ``labels``.
Not here: reading the file and what lies beside it (`aigym_kernel.tasks`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field

from aigym_kernel import documents
from aigym_kernel.errors import TaskError, UnknownName
from aigym_kernel.tasks.checks import TYPES, Check, LlmCheck
from aigym_kernel.tasks.definition import Criterion, Label, Rubric, Task
from aigym_kernel.tasks.fields import FORBID, Count, Seconds, Text
from aigym_kernel.tasks.limits import Limits

PASS_MARK = 0.6
LABELS = ("category", "grade", "version", "rubric_version", "metric")


@dataclass(frozen=True, kw_only=True)
class Described:
    """One criterion as AIGYM writes it."""

    description: Text
    weight: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 1.0
    check: Annotated[Check, Field(discriminator="type")] | None = None

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class AigymTask:
    """A task as AIGYM writes it. Seconds for one run of the solution, MiB for all of its processes."""

    task_id: Annotated[str, Field(pattern=r"[A-Za-z0-9]")]
    prompt: Text
    rubric: Annotated[tuple[Described, ...], Field(min_length=1)]
    category: Label | None = None
    grade: Label | None = None
    version: Label | None = None
    rubric_version: Label | None = None
    metric: Label | None = None
    time_limit_sec: Seconds = field(default_factory=lambda: Limits().wall_s)
    memory_mb: Annotated[Count, Field(le=1 << 20)] = field(default_factory=lambda: Limits().memory_mb)

    __pydantic_config__ = FORBID


_SCHEMA = documents.Schema(tags=TYPES, keyed={"rubric": Described})


def is_aigym(data: Mapping[Any, Any]) -> bool:
    """Whether a document is a task in this format rather than in the workbench's own."""
    return "task_id" in data


def translated(
    data: Mapping[Any, Any], source: Path, beside: Mapping[str, Any], checks: Mapping[str, Any] | None
) -> Task:
    """The Task that ``data`` describes. ``beside`` are a Task's computed fields, ``checks`` a Check (or its
    keys) by the description of a criterion.

    Raises:
        TaskError: a key or value is wrong.
        UnknownName: ``checks`` names a description that is not there.
    """
    given = {str(key): value for key, value in data.items()}
    if checks:
        given["rubric"] = _bound(given.get("rubric"), checks, source)
    found = cast(AigymTask, _SCHEMA.validate(AigymTask, given, source))
    criteria = tuple(
        Criterion(
            name=c.description,
            weight=c.weight,
            check=c.check or LlmCheck(type="llm", instructions=c.description),
        )
        for c in found.rubric
    )
    runs = any(not isinstance(c.check, LlmCheck) for c in criteria)
    return Task(
        id=re.sub(r"[^a-z0-9]+", "-", found.task_id.lower()).strip("-"),
        title=found.task_id,
        kind="code",
        prompt=found.prompt,
        answer="solution.py" if runs else "answer.txt",
        limits=Limits(wall_s=found.time_limit_sec, memory_mb=found.memory_mb),
        rubric=Rubric(criteria=criteria, pass_mark=PASS_MARK),
        labels={name: value for name in LABELS if (value := getattr(found, name)) is not None},
        **beside,
    )


def _bound(rubric: Any, checks: Mapping[str, Any], source: Path) -> Any:
    if not isinstance(rubric, list) or not all(isinstance(c, dict) for c in rubric):
        return rubric  # which the schema then refuses
    known = [str(c.get("description")) for c in rubric]
    for name in checks:
        if name not in known:
            raise UnknownName("criterion", name, known, f"checks= names descriptions of {source}.")
    for name, criterion in zip(known, rubric):
        if name in checks and "check" in criterion:
            raise TaskError(f"{source}: {name!r} has a check of its own; leave it out of checks=")
    return [c | ({"check": checks[name]} if name in checks else {}) for name, c in zip(known, rubric)]


def in_its_keys(problem: str) -> str:
    """What `consistency.contradictions` says, by the keys of this format."""
    return problem.replace("rubric.criteria", "rubric").replace("].name:", "].description:")
