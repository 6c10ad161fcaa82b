"""What a task is: frozen data, checked when it is read (`aigym_kernel.tasks`).

The classes here, in `checks` and in `limits` are also the schema of task.yaml and of the files of cases:
their fields are its keys, and the annotations say what each may hold. Not here: reading files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from aigym_kernel import rendering
from aigym_kernel.tasks.checks import Check, FunctionCase, OutputCase
from aigym_kernel.tasks.fields import FORBID, Count, Identifier, LanguageName, Text
from aigym_kernel.tasks.limits import Limits

Label = Annotated[str | int | float, Field(union_mode="left_to_right")]
Kind = Literal["code", "data", "shell", "interactive"]
ToolName = Literal["bash", "read", "write", "validate", "submit"]


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One line of the rubric. Where ``required``, the task passes only with this mark full."""

    name: Text
    check: Annotated[Check, Field(discriminator="type")]
    weight: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 1.0
    required: StrictBool = False

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """How a solution is scored: the weighted mean of the criteria's values, in [0, 1].
    It passes from ``pass_mark`` on, when every required mark is full too."""

    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    pass_mark: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class Task:
    """What ``task.yaml`` says, and the files beside it.

    ``answer``: the file that a single text answer is written to. ``tools``: empty where one answer
    ends the task. ``files``: what the solver finds in /work. ``reference``: the texts that, played
    in order as actions, score 1.0. ``hidden`` and ``cases`` are for the judge alone. ``validations``: how
    often the tool ``validate`` judges on the public split; the final score then rests on the hidden one.
    ``labels``: what its source says of it beyond that, such as category and version.
    """

    id: Identifier
    title: Text
    kind: Kind
    prompt: Text
    rubric: Rubric
    difficulty: Annotated[int, Field(strict=True, ge=1, le=5)] = 1
    language: LanguageName = "python"
    answer: str = ""
    tools: tuple[ToolName, ...] = ()
    max_steps: Count = 1
    validations: Annotated[int, Field(strict=True, ge=0)] = 0
    limits: Limits = field(default_factory=Limits)
    labels: Mapping[str, Label] = field(default_factory=dict)
    folder: Path = field(repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    hidden: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    reference: tuple[str, ...] = field(default=(), repr=False)
    cases: Mapping[str, tuple[FunctionCase, ...] | tuple[OutputCase, ...]] = field(
        default_factory=dict, repr=False
    )

    __pydantic_config__ = FORBID

    def to_dict(self) -> dict[str, Any]:
        """What a solver may know, as plain values for JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "kind": self.kind,
            "difficulty": self.difficulty,
            "language": self.language,
            "prompt": self.prompt,
            "answer": self.answer,
            "tools": list(self.tools),
            "max_steps": self.max_steps,
            "validations": self.validations,
            "limits": dataclasses.asdict(self.limits),
            "labels": dict(self.labels),
            "files": sorted(self.files),
            "criteria": [
                {"name": c.name, "check": c.check.type, "weight": c.weight, "required": c.required}
                for c in self.rubric.criteria
            ],
        }

    def _repr_html_(self) -> str:
        rows = [
            [c.name, c.check.type, f"{c.weight:g}", "yes" if c.required else ""] for c in self.rubric.criteria
        ]
        return (
            f"<div><p><b>{rendering.escape(self.id)}</b> {rendering.escape(self.title)} "
            f"({self.kind}, difficulty {self.difficulty} of 5, tools: {', '.join(self.tools) or 'none'})</p>"
            + rendering.pre(self.prompt)
            + rendering.table(["criterion", "check", "weight", "required"], rows)
            + "</div>"
        )
