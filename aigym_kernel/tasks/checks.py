"""The checks that a rubric's criteria name by ``type``, and the cases that some of them read from files.

The fields are the keys in YAML. A field that names files is a `HiddenFile` or a `WorkFile`; a check that
runs the answer file says ``runs_answer``, one with a file ``cases`` names their class in ``case``. What
carries a check out is a function in `aigym_kernel.judge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool

from aigym_kernel.tasks.fields import FORBID, Count, HiddenFile, Number, Seconds, Text, WorkFile

Metric = Literal["accuracy", "rmse", "mae", "r2"]


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

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class OutputCase:
    """One run: what goes in and what must come out."""

    stdin: str = ""
    stdout: str
    visible: StrictBool = False

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class FunctionCheck:
    """Call ``function`` of the answer file with each case's ``args`` and compare what it returns.

    ``cases`` is a YAML or JSON list of `FunctionCase`. ``tolerance`` is both the relative and the
    absolute difference that a number may show. The value is the share of cases that are right.
    """

    type: Literal["function"]
    function: Text
    cases: HiddenFile = "hidden/cases.yaml"
    tolerance: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.0

    runs_answer: ClassVar[bool] = True
    case: ClassVar[Any] = FunctionCase
    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class OutputCheck:
    """Run the answer file with each case's ``stdin`` and compare its standard output line by line,
    spaces at line ends aside. ``cases`` is a list of `OutputCase`. The value is the share right."""

    type: Literal["stdin_stdout"]
    cases: HiddenFile = "hidden/cases.yaml"

    runs_answer: ClassVar[bool] = True
    case: ClassVar[Any] = OutputCase
    __pydantic_config__ = FORBID


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
    submission: WorkFile = "submission.csv"
    truth: HiddenFile = "hidden/truth.csv"

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class ProgramCheck:
    """Run the hidden Python ``script`` in a fresh box over the solution's files, as ``python -I``.

    It must not import the solution (a subprocess may run it), and prints as its last line
    ``{"value": 0..1, "feedback": "..."}``.
    """

    type: Literal["program"]
    script: HiddenFile = "hidden/check.py"

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class LlmCheck:
    """Have a language model grade the solution's files by ``instructions``, which say what earns how much.

    It is asked ``votes`` times, for at most ``timeout_s`` seconds each; the value is the ``median`` (or
    ``mean``) of the votes that can be read, which must be more than half of them.
    """

    type: Literal["llm"]
    instructions: Text
    votes: Annotated[Count, Field(le=25)] = 3
    combine: Literal["median", "mean"] = "median"
    timeout_s: Seconds = 120.0

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class HumanCheck:
    """A person gives the mark (`aigym.review`), by ``instructions``. Until then it is unjudged."""

    type: Literal["human"]
    instructions: Text

    __pydantic_config__ = FORBID


Check = FunctionCheck | OutputCheck | MetricCheck | ProgramCheck | LlmCheck | HumanCheck
