"""Tasks: ``tasks/<id>/task.yaml`` and the files beside it, read into frozen data.

    load_task("two-sum")       -> Task        by id, or by the path of a task's folder
    task_ids()                 -> every id in `settings.tasks_dir()`
    tasks_table()              -> a pandas.DataFrame, one row per task

A task's folder:

    task.yaml         what is asked and how it is judged; the keys are the fields of `Task`
    files/            put into the sandbox's /work for whoever solves the task
    hidden/           cases, truths and scripts that only the judge reads
    reference/        what scores 1.0: the answer file, or ``actions.yaml``, a list of actions

A mistake in any of them is one TaskError that names file, key, value and what is allowed.
Not here: judging (`aigym_kernel.judge`), playing (`aigym_kernel.envs.task_env`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, StrictBool

from aigym_kernel import documents, rendering, settings
from aigym_kernel.errors import TaskError, UnknownName

if TYPE_CHECKING:
    import pandas

Kind = Literal["code", "data", "shell", "interactive"]
Metric = Literal["accuracy", "rmse", "mae", "r2"]
ToolName = Literal["bash", "read", "write", "submit"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Text = Annotated[str, Field(min_length=1)]
_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program in a sandbox may use: seconds, MiB, processes, KiB per output stream.

    ``wall_s`` and ``cpu_s`` hold for one run of a program, and for one case when a function is
    called. ``cpu_s`` None: only the wall time counts.
    """

    wall_s: Positive = 10.0
    cpu_s: Positive | None = None
    memory_mb: Count = 512
    pids: Count = 64
    disk_mb: Count = 64
    output_kb: Count = 1024

    __pydantic_config__ = _FORBID


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


def load_task(id_or_path: str | Path) -> Task:
    """The task of that id in `settings.tasks_dir()`, or the one at that path (a folder or its task.yaml).

    Raises:
        UnknownName: no task has that id.
        TaskError: its YAML or one of its files is wrong, or the path holds no task.yaml.
    """
    if isinstance(id_or_path, str) and "/" not in id_or_path:
        folder = settings.tasks_dir() / id_or_path
        if not (folder / "task.yaml").is_file():
            hint = f"Tasks are read from {settings.tasks_dir()} (AIGYM_TASKS)."
            raise UnknownName("task", id_or_path, task_ids(), hint)
    else:
        path = Path(id_or_path).expanduser().resolve()
        folder = path.parent if path.name == "task.yaml" else path
        if not (folder / "task.yaml").is_file():
            raise TaskError(f"{folder}: there is no task.yaml in it")
    return _read_task(folder)


def task_ids() -> list[str]:
    """The ids of all tasks, sorted: the names of folders that hold a task.yaml."""
    return sorted(p.parent.name for p in settings.tasks_dir().glob("*/task.yaml"))


def tasks_table() -> pandas.DataFrame:
    """All tasks, easiest first: id, title, kind, difficulty, language, tools, criteria, wall_s."""
    import pandas

    tasks = sorted((load_task(i) for i in task_ids()), key=lambda t: (t.difficulty, t.id))
    columns = ["id", "title", "kind", "difficulty", "language", "tools", "criteria", "wall_s"]
    rows = [
        [
            t.id,
            t.title,
            t.kind,
            t.difficulty,
            t.language,
            ", ".join(t.tools),
            len(t.rubric.criteria),
            t.limits.wall_s,
        ]
        for t in tasks
    ]
    return pandas.DataFrame(rows, columns=columns)


_SCHEMA = documents.Schema(
    tags={
        "function": FunctionCheck,
        "stdin_stdout": OutputCheck,
        "metric": MetricCheck,
        "program": ProgramCheck,
    },
    keyed={"limits": Limits, "rubric": Rubric, "criteria": Criterion},
    computed=("folder", "files", "hidden", "reference", "cases"),
)


def _read_task(folder: Path) -> Task:
    source = folder / "task.yaml"
    data = documents.read(source)
    if not isinstance(data, dict):
        raise TaskError(f"{source}: expected keys such as id, title and prompt, got {documents.shown(data)}")
    keys = _SCHEMA.keys(Task)
    strange = [documents.unknown_key("", k, keys) for k in data if k in _SCHEMA.computed]
    given = {str(k): v for k, v in data.items() if k not in _SCHEMA.computed}
    folders = {
        "folder": folder,
        "files": _read_folder(folder / "files"),
        "hidden": _read_folder(folder / "hidden"),
    }
    task = cast(Task, _SCHEMA.validate(Task, given | folders, source, strange))
    if problems := _contradictions(task):
        raise TaskError(documents.message(source, problems))
    cases = {
        c.check.cases: _read_cases(c.check, folder)
        for c in task.rubric.criteria
        if isinstance(c.check, FunctionCheck | OutputCheck)
    }
    return dataclasses.replace(task, cases=cases, reference=_read_reference(task))


def _contradictions(task: Task) -> list[str]:
    """What a schema cannot say: keys that contradict each other or the files."""
    problems = []
    if task.id != task.folder.name:
        problems.append(f"id: {task.id!r} differs from its folder's name; use {task.folder.name!r}")
    if task.tools and "submit" not in task.tools:
        problems.append("tools: without 'submit' nobody can hand in a solution; add it")
    if not task.tools and task.max_steps != 1:
        problems.append(f"max_steps: {task.max_steps}, but a task without tools has one step; leave it out")
    if not task.answer and (not task.tools or any(_runs_answer(c.check) for c in task.rubric.criteria)):
        problems.append("answer: is missing; name the file that holds the answer, such as solution.py")
    answer = PurePosixPath(task.answer)
    if answer.is_absolute() or ".." in answer.parts:
        problems.append(f"answer: {task.answer!r} must be a path below the working folder")
    criteria = task.rubric.criteria
    if sum(c.weight for c in criteria) <= 0:
        problems.append("rubric.criteria: the weights sum to zero; give one of them a positive weight")
    names = [c.name for c in criteria]
    for i, c in enumerate(criteria):
        where = f"rubric.criteria[{i}]"
        if c.name in names[:i]:
            problems.append(f"{where}.name: {c.name!r} is used twice; each criterion needs its own name")
        if isinstance(c.check, MetricCheck) and c.check.at_zero == c.check.at_full:
            problems.append(f"{where}.check.at_full: equals at_zero ({c.check.at_full:g}); they must differ")
        for key in ("cases", "truth", "script"):
            name = getattr(c.check, key, None)
            if name is not None and name.removeprefix("hidden/") not in task.hidden:
                problems.append(_missing_file(f"{where}.check.{key}", name, task))
    return problems


def _runs_answer(check: Check) -> bool:
    return isinstance(check, FunctionCheck | OutputCheck)


def _missing_file(where: str, name: str, task: Task) -> str:
    if not name.startswith("hidden/"):
        return f"{where}: {name!r} must lie in hidden/, where no solver sees it"
    known = sorted(f"hidden/{n}" for n in task.hidden)
    return f"{where}: there is no file {name!r}; {documents.suggest(name, known)}"


def _read_folder(folder: Path) -> dict[str, bytes]:
    """Regular files by relative path, byte code left out."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and "__pycache__" not in p.parts
    }


def _read_reference(task: Task) -> tuple[str, ...]:
    folder = task.folder / "reference"
    if not task.tools:
        answer = folder / task.answer
        return (answer.read_text(encoding="utf-8"),) if answer.is_file() else ()
    source = folder / "actions.yaml"
    if not source.is_file():
        return ()
    actions = documents.read(source)
    if not isinstance(actions, list) or not all(isinstance(a, str) for a in actions):
        raise TaskError(f"{source}: expected a list of action texts, got {documents.shown(actions)}")
    return tuple(actions)


def _read_cases(check: FunctionCheck | OutputCheck, folder: Path) -> Any:
    source = folder / check.cases
    data = documents.read(source)
    if not isinstance(data, list) or not data:
        raise TaskError(f"{source}: expected a list of cases, got {documents.shown(data)}")
    case_type = FunctionCase if isinstance(check, FunctionCheck) else OutputCase
    cases = cast(list[Any], _SCHEMA.validate(tuple[case_type, ...], data, source))  # type: ignore[valid-type]
    if isinstance(check, FunctionCheck):
        for i, raw in enumerate(data):
            if ("expected" in raw) == ("raises" in raw):
                raise TaskError(f"{source}: [{i}]: give either expected or raises")
            for key in ("args", "calls", "expected"):
                try:
                    strange = _not_plain(raw.get(key))
                except RecursionError:
                    raise TaskError(f"{source}: [{i}].{key}: refers to itself") from None
                if strange:
                    raise TaskError(f"{source}: [{i}].{key}: holds {strange}; quote it, or use plain values")
    return cases


def _not_plain(value: object) -> str:
    """What in ``value`` is not a plain value (a YAML date, for one), or nothing."""
    if isinstance(value, dict):
        return next(filter(None, map(_not_plain, [*value.keys(), *value.values()])), "")
    if isinstance(value, list):
        return next(filter(None, map(_not_plain, value)), "")
    plain = value is None or isinstance(value, bool | int | float | str)
    return "" if plain else f"{documents.shown(value)} ({type(value).__name__})"
