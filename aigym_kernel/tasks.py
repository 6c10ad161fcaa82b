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
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import yaml
from pydantic import ConfigDict, Field, StrictBool, TypeAdapter, ValidationError

from aigym_kernel import rendering, settings
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


_FROM_FOLDER = ("folder", "files", "hidden", "reference", "cases")


def _read_task(folder: Path) -> Task:
    source = folder / "task.yaml"
    data = _read_yaml(source)
    if not isinstance(data, dict):
        raise TaskError(f"{source}: expected keys such as id, title and prompt, got {_shown(data)}")
    keys = _keys(Task)
    strange = [_unknown_key("", k, keys) for k in data if k in _FROM_FOLDER]
    given = {str(k): v for k, v in data.items() if k not in _FROM_FOLDER}
    folders = {
        "folder": folder,
        "files": _read_folder(folder / "files"),
        "hidden": _read_folder(folder / "hidden"),
    }
    task = cast(Task, _validate(Task, given | folders, source, strange))
    if problems := _contradictions(task):
        raise TaskError(_message(source, problems))
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
    return f"{where}: there is no file {name!r}; {_suggest(name, known)}"


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
    actions = _read_yaml(source)
    if not isinstance(actions, list) or not all(isinstance(a, str) for a in actions):
        raise TaskError(f"{source}: expected a list of action texts, got {_shown(actions)}")
    return tuple(actions)


def _read_cases(check: FunctionCheck | OutputCheck, folder: Path) -> Any:
    source = folder / check.cases
    data = _read_yaml(source)
    if not isinstance(data, list) or not data:
        raise TaskError(f"{source}: expected a list of cases, got {_shown(data)}")
    case_type = FunctionCase if isinstance(check, FunctionCheck) else OutputCase
    cases = cast(list[Any], _validate(tuple[case_type, ...], data, source))  # type: ignore[valid-type]
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
    return "" if plain else f"{_shown(value)} ({type(value).__name__})"


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the standard loader keeps the last silently, and says
    where a value is that looks like a date or a number and is none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as e:
            raise yaml.MarkedYAMLError(None, None, str(e), node.start_mark) from None


def _read_yaml(source: Path) -> Any:
    try:
        text = source.read_text(encoding="utf-8")
        return json.loads(text) if source.suffix == ".json" else yaml.load(text, _Loader)
    except UnicodeDecodeError as e:
        raise TaskError(f"{source}: is not UTF-8 text (byte {e.start})") from None
    except json.JSONDecodeError as e:
        raise TaskError(f"{source}: line {e.lineno}, column {e.colno}: {e.msg}") from None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise TaskError(f"{source}: {place}{e.problem or e.context}") from None
    except yaml.YAMLError as e:
        raise TaskError(f"{source}: {e}") from None


def _validate(wanted: Any, data: Any, source: Path, problems: list[str] | None = None) -> Any:
    """``data`` as ``wanted``, a dataclass or a tuple of one; every problem in one TaskError."""
    problems = list(problems or ())
    root = get_args(wanted)[0] if get_args(wanted) else wanted
    try:
        checked = TypeAdapter(wanted).validate_python(data)
    except ValidationError as e:
        problems += [_problem(dict(error), root) for error in e.errors()]
    if problems:
        raise TaskError(_message(source, problems))
    return checked


def _message(source: Path, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{source}: {problems[0]}"
    return "\n  ".join([f"{source}: {len(problems)} problems", *problems])


_CHECKS: dict[str, type] = {
    "function": FunctionCheck, "stdin_stdout": OutputCheck, "metric": MetricCheck, "program": ProgramCheck,
}  # fmt: skip
_KEYED: dict[str, type] = {"limits": Limits, "rubric": Rubric, "criteria": Criterion} | _CHECKS


def _problem(error: dict[str, Any], root: type) -> str:
    """One line for one of pydantic's errors in ``root``: key, value, what is allowed."""
    loc, kind, ctx = error["loc"], error["type"], error.get("ctx", {})
    path = ""
    for i, part in enumerate(loc):
        if i and loc[i - 1] == "check" and part in _CHECKS:
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    value = _shown(error["input"])
    if kind == "unexpected_keyword_argument":
        named = [p for p in loc[:-1] if isinstance(p, str)]
        wanted = _KEYED[named[-1]] if named else root
        return _unknown_key(path, loc[-1], _keys(wanted))
    if kind in ("missing", "union_tag_not_found"):
        tail = "" if kind == "missing" else f".type: is missing; use one of {', '.join(_CHECKS)}"
        return f"{path}{tail}" if tail else f"{path}: is missing"
    if kind == "union_tag_invalid":
        return f"{path}.type: {ctx['tag']!r} is not allowed; {_suggest(ctx['tag'], list(_CHECKS))}"
    if kind == "literal_error":
        allowed = [a.strip("'") for a in ctx["expected"].replace(" or ", ", ").split(", ")]
        return f"{path}: {value} is not allowed; {_suggest(str(error['input']), allowed)}"
    return f"{path}: {value}: {error['msg'].replace('Input should', 'it should')}"


def _keys(wanted: type) -> list[str]:
    return [f.name for f in dataclasses.fields(wanted) if f.name not in _FROM_FOLDER]


def _unknown_key(path: str, key: object, known: list[str]) -> str:
    return f"{path or key}: no such key; {_suggest(str(key), known)}"


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    listed = f"use one of {', '.join(known)}" if known else "there are none"
    return (f"Did you mean {' or '.join(map(repr, near))}? " if near else "") + listed


def _shown(value: object) -> str:
    return rendering.short(repr(value), 60)
