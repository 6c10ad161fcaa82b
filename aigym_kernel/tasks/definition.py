"""What a task is: frozen data, checked when it is read (`aigym_kernel.tasks`).

The classes here are also the schema of task.yaml and of the files of cases: their fields are its keys, and
the annotations say what each may hold. Not here: reading files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import ConfigDict, Field, StrictBool, TypeAdapter, ValidationError

from aigym_kernel import documents, rendering
from aigym_kernel.errors import TaskError

Kind = Literal["code", "data", "shell", "interactive"]
Metric = Literal["accuracy", "rmse", "mae", "r2"]
ToolName = Literal["bash", "read", "write", "submit"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Text = Annotated[str, Field(min_length=1)]
_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program in a sandbox may use: seconds, MiB, processes, KiB per output stream.

    ``wall_s`` and ``cpu_s`` hold for one run of a program, and for one case when a function is
    called. ``cpu_s`` None: only the wall time counts.

    Raises:
        TaskError: a value is of the wrong type, not positive, or beyond a day, 1 TiB, 1 GiB of output.
    """

    wall_s: Seconds = 10.0
    cpu_s: Seconds | None = None
    memory_mb: Annotated[Count, Field(le=1 << 20)] = 512
    pids: Annotated[Count, Field(le=32_768)] = 64
    disk_mb: Annotated[Count, Field(le=1 << 20)] = 64
    output_kb: Annotated[Count, Field(le=1 << 20)] = 1024

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        for name, allowed in _limit_types().items():
            try:
                allowed.validate_python(getattr(self, name))
            except ValidationError as error:
                told = documents.told(dict(error.errors()[0]))
                raise TaskError(f"Limits({name}=...): {told}") from None


@lru_cache(maxsize=1)
def _limit_types() -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(Limits, include_extras=True).items()}


@dataclass(frozen=True, kw_only=True)
class FunctionCheck:
    """Call ``function`` of the answer file with each case's ``args`` and compare what it returns.

    ``cases`` is a YAML or JSON list of `FunctionCase`. ``tolerance`` is both the relative and the
    absolute difference that a number may show. The value is the share of cases that are right.
    """

    type: Literal["function"]
    function: Text
    cases: Text = "hidden/cases.yaml"
    tolerance: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.0

    __pydantic_config__ = _FORBID


@dataclass(frozen=True, kw_only=True)
class OutputCheck:
    """Run the answer file with each case's ``stdin`` and compare its standard output line by line,
    spaces at line ends aside. ``cases`` is a list of `OutputCase`. The value is the share right."""

    type: Literal["stdin_stdout"]
    cases: Text = "hidden/cases.yaml"

    __pydantic_config__ = _FORBID


@dataclass(frozen=True, kw_only=True)
class MetricCheck:
    """Score the file ``submission`` (CSV) against ``truth`` by ``metric`` over the column ``target``,
    rows matched by the column ``id``. A task whose answer is a program runs it first.

    The metric's value is mapped linearly: ``at_zero`` gives 0, ``at_full`` or better gives 1.
    """

    type: Literal["metric"]
    metric: Metric
    target: Text
    at_zero: Number
    at_full: Number
    id: Text = "id"
    submission: Text = "submission.csv"
    truth: Text = "hidden/truth.csv"

    __pydantic_config__ = _FORBID


@dataclass(frozen=True, kw_only=True)
class ProgramCheck:
    """Run the hidden Python ``script`` in a fresh box over the solution's files, as ``python -I``.

    It must not import the solution (a subprocess may run it), and prints as its last line
    ``{"value": 0..1, "feedback": "..."}``.
    """

    type: Literal["program"]
    script: Text = "hidden/check.py"

    __pydantic_config__ = _FORBID


Check = FunctionCheck | OutputCheck | MetricCheck | ProgramCheck


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One line of the rubric. Where ``required``, the task passes only with this mark full."""

    name: Text
    check: Annotated[Check, Field(discriminator="type")]
    weight: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 1.0
    required: StrictBool = False

    __pydantic_config__ = _FORBID


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """How a solution is scored: the weighted mean of the criteria's values, in [0, 1].
    It passes from ``pass_mark`` on, when every required mark is full too."""

    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    pass_mark: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0

    __pydantic_config__ = _FORBID


@dataclass(frozen=True, kw_only=True)
class FunctionCase:
    """One call. With ``calls`` (a list of ``[method, argument, ...]``) ``args`` make an object, and
    ``expected`` is the list of what its methods return. ``raises`` names an exception instead of a
    value. A ``visible`` case is shown with its input and expected value when it fails."""

    args: Annotated[tuple[Any, ...], Field()] = ()
    calls: tuple[Annotated[tuple[Any, ...], Field(min_length=1)], ...] | None = None
    expected: Any = None
    raises: str = ""
    visible: StrictBool = False

    __pydantic_config__ = _FORBID


@dataclass(frozen=True, kw_only=True)
class OutputCase:
    """One run: what goes in and what must come out."""

    stdin: str = ""
    stdout: str
    visible: StrictBool = False

    __pydantic_config__ = _FORBID


@dataclass(frozen=True, kw_only=True)
class Task:
    """What ``task.yaml`` says, and the files beside it.

    ``answer``: the file that a single text answer is written to. ``tools``: empty where one answer
    ends the task. ``files``: what the solver finds in /work. ``reference``: the texts that, played
    in order as actions, score 1.0. ``hidden`` and ``cases`` are for the judge alone.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: Text
    kind: Kind
    prompt: Text
    rubric: Rubric
    difficulty: Annotated[int, Field(strict=True, ge=1, le=5)] = 1
    language: Literal["python", "bash"] = "python"
    answer: str = ""
    tools: tuple[ToolName, ...] = ()
    max_steps: Count = 1
    limits: Limits = field(default_factory=Limits)
    folder: Path = field(repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    hidden: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    reference: tuple[str, ...] = field(default=(), repr=False)
    cases: Mapping[str, tuple[FunctionCase, ...] | tuple[OutputCase, ...]] = field(
        default_factory=dict, repr=False
    )

    __pydantic_config__ = _FORBID

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
            "limits": dataclasses.asdict(self.limits),
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
