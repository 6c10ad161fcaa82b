"""Tasks: ``tasks/<id>/task.yaml`` and the files beside it, read into frozen data.

    load_task("two-sum")       -> Task        by id, or by the path of a task's folder or file
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
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aigym_kernel import documents, rendering, settings
from aigym_kernel.errors import AigymError, TaskError, UnknownName
from aigym_kernel.settings import task_ids
from aigym_kernel.tasks import aigym, splits
from aigym_kernel.tasks.checks import (
    TYPES,
    AssertsCheck,
    FunctionCase,
    FunctionCheck,
    HumanCheck,
    LlmCheck,
    MetricCheck,
    OutputCase,
    OutputCheck,
    ProgramCheck,
    SpeedCheck,
    StaticCheck,
    TextCheck,
    UnitTestsCheck,
)
from aigym_kernel.tasks.consistency import contradictions, names_file
from aigym_kernel.tasks.definition import Criterion, Rubric, Task
from aigym_kernel.tasks.limits import Limits

if TYPE_CHECKING:
    import pandas

__all__ = [
    "AssertsCheck",
    "Criterion",
    "FunctionCase",
    "FunctionCheck",
    "HumanCheck",
    "Limits",
    "LlmCheck",
    "MetricCheck",
    "OutputCase",
    "OutputCheck",
    "ProgramCheck",
    "Rubric",
    "SpeedCheck",
    "StaticCheck",
    "Task",
    "TextCheck",
    "UnitTestsCheck",
    "load_task",
    "names_file",
    "task_ids",
    "tasks_table",
]

# What can come back from a box (`judge.inside`): nothing beyond it may be expected.
_DEPTH, _INT_BITS = 64, 10_000
_DOCUMENTS = (".yaml", ".yml", ".json")


def load_task(id_or_path: str | Path, *, checks: Mapping[str, Any] | None = None) -> Task:
    """The task of that id in `settings.tasks_dir()`, or the one at that path: a folder, its task.yaml, or a
    file in AIGYM's format (`tasks.aigym`), for which ``checks`` may say what decides a criterion: a Check, or
    its keys, by the criterion's description.

    Raises:
        UnknownName: no task has that id, or no criterion that description.
        TaskError: its YAML or one of its files is wrong, the path holds no task.yaml, or there is no
            folder of tasks.
    """
    if not isinstance(id_or_path, str | Path):
        raise TaskError(f"a task is named by its id or its path, not by {documents.shown(id_or_path)}")
    try:
        if isinstance(id_or_path, str) and "/" not in id_or_path and not id_or_path.endswith(_DOCUMENTS):
            folder = _tasks_dir() / id_or_path
            if id_or_path not in task_ids():
                hint = f"Tasks are read from {folder.parent} (AIGYM_TASKS)."
                raise UnknownName("task", rendering.short(id_or_path, 80), task_ids(), hint)
        else:
            path = Path(id_or_path).expanduser().resolve()
            folder = path.parent if path.is_file() else path
            if not path.is_file() and not (folder / "task.yaml").exists():
                raise TaskError(f"{folder}: there is no task.yaml in it")
            if path.is_file():
                return _read_task(path, checks)
        return _read_task(folder / "task.yaml", checks)
    except (OSError, RuntimeError, ValueError) as e:  # ~somebody who is not there, or a NUL
        if isinstance(e, AigymError):
            raise
        told = getattr(e, "strerror", None) or e
        file = getattr(e, "filename", None) or id_or_path
        raise TaskError(f"{rendering.short(str(file), 200)}: cannot be read: {told}") from None


def _tasks_dir() -> Path:
    """`settings.tasks_dir()`. Raises TaskError: it is no folder."""
    folder = settings.tasks_dir()
    try:
        there = folder.is_dir()
    except OSError as e:
        raise TaskError(f"{folder}: cannot be read: {e.strerror}; set AIGYM_TASKS to another one") from None
    if not there:
        raise TaskError(f"tasks are read from {folder}, which is no folder; set AIGYM_TASKS to one that is")
    return folder


def tasks_table() -> pandas.DataFrame:
    """All tasks, easiest first: id, title, kind, difficulty, language, tools, criteria, wall_s. A task whose
    files are wrong is left out, with a warning that says what is wrong.

    Raises:
        TaskError: there is no folder of tasks.
    """
    import pandas

    _tasks_dir()
    tasks = []
    for task_id in task_ids():
        try:
            tasks.append(load_task(task_id))
        except TaskError as error:
            warnings.warn(f"task {task_id} is left out: {error}", stacklevel=2)
    tasks.sort(key=lambda t: (t.difficulty, t.id))
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
    tags=TYPES,
    keyed={"limits": Limits, "rubric": Rubric, "criteria": Criterion},
    computed={Task: ("folder", "files", "hidden", "reference", "cases")},
)


def _read_task(source: Path, checks: Mapping[str, Any] | None) -> Task:
    data, folder = documents.read(source), source.parent
    if not isinstance(data, dict):
        got = "it is empty" if data is None else f"got {documents.shown(data)}"
        raise TaskError(f"{source}: expected keys such as id, title and prompt; {got}")
    beside = {
        "folder": folder,
        "files": _read_folder(folder / "files"),
        "hidden": _read_folder(folder / "hidden"),
    }
    if aigym.is_aigym(data):
        task = aigym.translated(data, source, beside, checks)
        problems = [aigym.in_its_keys(problem) for problem in contradictions(task)]
    else:
        task = _validated(data, source, beside, checks)
        problems = contradictions(task)
        if task.id != folder.name:
            told = f"id: {task.id!r} differs from its folder's name; use {folder.name!r}"
            problems = [told, *problems]
    if problems:
        raise TaskError(documents.message(source, problems))
    with_cases: list[Any] = [c.check for c in task.rubric.criteria if hasattr(c.check, "case")]
    cases = {check.cases: _read_cases(check, folder) for check in with_cases}
    task = dataclasses.replace(task, cases=cases, reference=_read_reference(task))
    if problems := splits.contradictions(task):
        raise TaskError(documents.message(source, problems))
    return task


def _validated(
    data: dict[Any, Any], source: Path, beside: dict[str, Any], checks: Mapping[str, Any] | None
) -> Task:
    if checks:
        raise TaskError(f"{source}: its criteria name their checks themselves; checks= is for AIGYM's format")
    keys = _SCHEMA.keys(Task)
    computed = _SCHEMA.computed[Task]
    strange = [documents.unknown_key("", k, keys) for k in data if k in computed]
    given = {str(k): v for k, v in data.items() if k not in computed}
    return cast(Task, _SCHEMA.validate(Task, given | beside, source, strange))


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
        return (documents.read_text(answer),) if answer.is_file() else ()
    source = folder / "actions.yaml"
    if not source.is_file():
        return ()
    actions = documents.read(source)
    if not isinstance(actions, list) or not all(isinstance(a, str) for a in actions):
        raise TaskError(f"{source}: expected a list of action texts, got {documents.shown(actions)}")
    return tuple(actions)


def _read_cases(check: Any, folder: Path) -> Any:
    source = folder / check.cases
    data = documents.read(source)
    if not isinstance(data, list) or not data:
        raise TaskError(f"{source}: expected a list of cases, got {documents.shown(data)}")
    cases = cast(list[Any], _SCHEMA.validate(tuple[check.case, ...], data, source))
    if check.case is FunctionCase:
        for i, raw in enumerate(data):
            if ("expected" in raw) == ("raises" in raw):
                raise TaskError(f"{source}: [{i}]: give either expected or raises")
            for key in ("args", "calls", "expected"):
                if strange := _not_plain(raw.get(key)):
                    raise TaskError(f"{source}: [{i}].{key}: {strange}")
    return cases


def _not_plain(value: object, depth: int = 0) -> str:
    """What in ``value`` is not a plain value (a YAML date, for one) of usual size, or nothing."""
    if isinstance(value, dict | list):
        if depth == _DEPTH:
            return f"is nested more than {_DEPTH} deep"
        inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        return next(filter(None, (_not_plain(v, depth + 1) for v in inner)), "")
    if isinstance(value, int) and value.bit_length() > _INT_BITS:
        return f"holds an int of more than {_INT_BITS:,} bits"
    if value is None or isinstance(value, int | float | str):
        return ""
    return f"holds {documents.shown(value)} ({type(value).__name__}); quote it, or use plain values"
