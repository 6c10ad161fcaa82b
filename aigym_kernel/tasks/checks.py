"""The checks that a rubric's criteria name by ``type``, and the cases that some of them read from files.

The fields are the keys in YAML. A field that names files is a `HiddenFile` or a `WorkFile`; a check that
runs the answer file says ``runs_answer``, one that understands no other language ``python_only``, one with a
file ``cases`` names their class in ``case``. What carries a check out is a function in `aigym_kernel.judge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

from pydantic import Field, StrictBool, StrictInt

from aigym_kernel.tasks.fields import FORBID, Count, HiddenFile, Number, Seconds, Text, Tolerance, WorkFile

Compare = Literal["exact", "lines", "whitespace", "numeric"]
Metric = Literal["accuracy", "f1", "f1_macro", "auc", "rmse", "mae", "r2"]


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
    tolerance: Tolerance = 0.0

    runs_answer: ClassVar[bool] = True
    python_only: ClassVar[bool] = True
    case: ClassVar[Any] = FunctionCase
    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class AssertsCheck:
    """Run ``tests``, Python code with asserts that calls ``function`` of the answer file, by that name or in
    a function ``check(candidate)``. The value is 1 when all of it holds, else 0.

    The tests run in a process that the solution, in another, cannot look into; between the two goes plain
    data. ``prelude`` is code that stands before the answer: imports, definitions that the tests use too (as
    they stand there, whatever the answer makes of them), and perhaps the head of ``function``, its body being
    the answer.
    """

    type: Literal["asserts"]
    function: Text
    tests: HiddenFile = "hidden/tests.py"
    prelude: HiddenFile | None = None

    runs_answer: ClassVar[bool] = True
    python_only: ClassVar[bool] = True
    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class OutputCheck:
    """Run the answer file with each case's ``stdin`` and compare its standard output. ``cases`` is a list
    of `OutputCase`. The value is the share that is right.

    ``compare``: ``exact`` to the last byte; ``lines`` with spaces at line ends and empty lines at the end
    aside; ``whitespace`` word by word; ``numeric`` word by word, numbers within ``tolerance`` (relative or
    absolute). Or a hidden Python script ``checker`` decides: it runs in a box of its own that holds the
    files input, expected and got, and prints as its last line ``{"value": 0..1, "feedback": "..."}``.
    """

    type: Literal["stdin_stdout"]
    cases: HiddenFile = "hidden/cases.yaml"
    compare: Compare = "lines"
    tolerance: Tolerance = 1e-6
    checker: HiddenFile | None = None

    runs_answer: ClassVar[bool] = True
    case: ClassVar[Any] = OutputCase
    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class MetricCheck:
    """Score the file ``submission`` (CSV) against ``truth`` by ``metric`` over the column ``target``,
    rows matched by the column ``id``. A task whose answer is a program runs it first. ``f1`` and ``auc``
    are those of the label ``positive``; for ``auc`` the submission holds scores. ``public``: the truth of
    further rows, which a submission must hold too and an agent may validate on.

    Or run the hidden Python ``script`` in a box that holds ``submission``, of whatever format, and
    ``truth``, if it is named, by these names; it prints as its last line
    ``{"value": number, "feedback": "..."}``.

    The value is mapped linearly: ``at_zero`` gives 0, ``at_full`` or better gives 1.
    """

    type: Literal["metric"]
    metric: Metric | None = None
    target: str = ""
    at_zero: Number = 0.0
    at_full: Number = 1.0
    positive: Text = "1"
    id: Text = "id"
    submission: WorkFile = "submission.csv"
    truth: HiddenFile | None = None
    public: HiddenFile | None = None
    script: HiddenFile | None = None

    __pydantic_config__ = FORBID

    def __post_init__(self) -> None:
        if self.script is None and self.truth is None:
            object.__setattr__(self, "truth", "hidden/truth.csv")


@dataclass(frozen=True, kw_only=True)
class ProgramCheck:
    """Run the hidden Python ``script`` in a fresh box over the solution's files, as ``python -I``. It must
    not import the solution (a subprocess may run it), and prints as its last line
    ``{"value": 0..1, "feedback": "..."}``.

    Or run ``command`` over the solution's files, with ``stdin``: the value is the share of these that hold:
    it ends with ``exit_code``; it prints what the hidden file ``stdout`` holds; it leaves each of ``files``
    with the content of the hidden file named beside it. Texts are compared as by `OutputCheck`.
    """

    type: Literal["program"]
    script: HiddenFile | None = None
    command: tuple[Text, ...] = ()
    stdin: str = ""
    exit_code: Annotated[int, Field(strict=True, ge=0, le=255)] = 0
    stdout: HiddenFile | None = None
    files: Mapping[WorkFile, HiddenFile] = field(default_factory=dict)
    compare: Compare = "lines"
    tolerance: Tolerance = 1e-6
    visible: StrictBool = False

    __pydantic_config__ = FORBID

    def __post_init__(self) -> None:
        if not self.command and self.script is None:
            object.__setattr__(self, "script", "hidden/check.py")


@dataclass(frozen=True, kw_only=True)
class UnitTestsCheck:
    """Run hidden unittest or pytest files (the subset of pytest in `judge.testing.subset`) against the
    solution, which they import by its file's name. All files of ``tests`` can import each other; those
    named test_*.py or *_test.py hold the tests. The value is the share that passes.

    Where ``visible``, feedback says how a test failed, else only which one and whether the solution raised.
    """

    type: Literal["unit_tests"]
    tests: Annotated[tuple[HiddenFile, ...], Field(min_length=1)] = ("hidden/test_solution.py",)
    visible: StrictBool = False

    python_only: ClassVar[bool] = True
    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class TextCheck:
    """Compare the text of ``file`` (the answer file where none is named) with what is ``expected``, one or
    several texts or numbers, or with the text of the hidden file ``reference``. The best match counts.

    ``exact`` spaces around it aside; ``regex`` a pattern for all of it; ``numeric`` its last number, within
    ``tolerance`` (relative or absolute); ``choice`` a letter, however it is dressed; ``rouge1``, ``rouge2``,
    ``rougeL``, ``chrf`` and ``f1`` (SQuAD's, by words) give a similarity s, worth min(1, s / ``at_full``).
    """

    type: Literal["text"]
    compare: Literal["exact", "regex", "numeric", "choice", "rouge1", "rouge2", "rougeL", "chrf", "f1"]
    expected: tuple[Text | StrictInt | Number, ...] = ()
    reference: HiddenFile | None = None
    file: WorkFile | None = None
    tolerance: Tolerance = 1e-6
    at_full: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0
    visible: StrictBool = False

    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class StaticCheck:
    """Look at the solution's Python source without running it. The value is the share of the named
    demands that are met: each rule of ``select`` (ruff's codes), each import and each call that is
    forbidden or required, and ``max_complexity`` of every function (McCabe, ruff's C901).

    Calls are dotted names as they would be without aliases (``eval``, ``os.system``), or a method of
    anything (``.sort``). Forbidding ``os`` forbids all that lies in it.
    """

    type: Literal["static"]
    select: tuple[Text, ...] = ()
    forbid_imports: tuple[Text, ...] = ()
    require_imports: tuple[Text, ...] = ()
    forbid_calls: tuple[Text, ...] = ()
    require_calls: tuple[Text, ...] = ()
    max_complexity: Count | None = None

    python_only: ClassVar[bool] = True
    __pydantic_config__ = FORBID


@dataclass(frozen=True, kw_only=True)
class SpeedCheck:
    """Measure the answer file against the hidden ``reference``, a file in the same language, over ``cases``:
    of `FunctionCase` where ``function`` is named, else of `OutputCase`. All answers have to be right.

    The value is mapped linearly from the ratio of the solution's time to the reference's: ``at_zero`` (and
    more) gives 0, ``at_full`` (and less) 1. Both run ``repeats`` times, in turns.
    """

    type: Literal["speed"]
    at_zero: Annotated[Number, Field(gt=0)]
    at_full: Annotated[Number, Field(gt=0)]
    function: str = ""
    cases: HiddenFile = "hidden/speed.yaml"
    reference: HiddenFile = "hidden/reference.py"
    repeats: Annotated[Count, Field(le=100)] = 5
    tolerance: Tolerance = 0.0

    runs_answer: ClassVar[bool] = True
    __pydantic_config__ = FORBID

    @property
    def case(self) -> Any:
        return FunctionCase if self.function else OutputCase

    @property
    def python_only(self) -> bool:
        return bool(self.function)


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


Check = (
    FunctionCheck
    | AssertsCheck
    | OutputCheck
    | UnitTestsCheck
    | ProgramCheck
    | MetricCheck
    | StaticCheck
    | TextCheck
    | SpeedCheck
    | LlmCheck
    | HumanCheck
)
TYPES = {get_args(get_type_hints(check)["type"])[0]: check for check in get_args(Check)}
"""Every check by the ``type`` that names it."""
