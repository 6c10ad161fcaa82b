"""What the schema of a task cannot say: keys that contradict each other or the files beside them."""

from __future__ import annotations

import re
from functools import singledispatch
from pathlib import PurePosixPath

from aigym_kernel import documents
from aigym_kernel.tasks.checks import (
    Check,
    MetricCheck,
    OutputCheck,
    ProgramCheck,
    SpeedCheck,
    StaticCheck,
    TextCheck,
)
from aigym_kernel.tasks.definition import Task
from aigym_kernel.tasks.fields import HiddenFile, WorkFile, named

__all__ = ["contradictions", "names_file"]


def contradictions(task: Task) -> list[str]:
    """What a schema cannot say: keys that contradict each other or the files."""
    problems = []
    if task.tools and "submit" not in task.tools:
        problems.append("tools: without 'submit' nobody can hand in a solution; add it")
    if not task.tools and task.max_steps != 1:
        problems.append(f"max_steps: {task.max_steps}, but a task without tools has one step; leave it out")
    if bool(task.validations) != ("validate" in task.tools):
        told = "and 'validate' among the tools need each other; give both or neither"
        problems.append(f"validations: {task.validations} {told}")
    runs_answer = any(hasattr(c.check, "runs_answer") for c in task.rubric.criteria)
    if not task.answer and (runs_answer or not task.tools):
        problems.append("answer: is missing; name the file that holds the answer, such as solution.py")
    if task.answer and not names_file(task.answer):
        problems.append(f"answer: {task.answer!r} must be the path of a file below the working folder")
    criteria = task.rubric.criteria
    if sum(c.weight for c in criteria) <= 0:
        problems.append("rubric.criteria: the weights sum to zero; give one of them a positive weight")
    names = [c.name for c in criteria]
    for i, c in enumerate(criteria):
        where = f"rubric.criteria[{i}]"
        if c.name in names[:i]:
            problems.append(f"{where}.name: {c.name!r} is used twice; each criterion needs its own name")
        if getattr(c.check, "python_only", False) and task.language != "python":
            problems.append(
                f"{where}.check.type: {c.check.type!r} is for Python and language is {task.language!r}; "
                "programs in any language are checked by stdin_stdout"
            )
        problems += [f"{where}.check.{key}: {told}" for key, told in wrong_values(c.check)]
        for key, name in named(c.check, WorkFile):
            if not names_file(name):
                problems.append(f"{where}.check.{key}: {name!r} must be the path of a file")
        for key, name in named(c.check, HiddenFile):
            if not name.startswith("hidden/") or name.removeprefix("hidden/") not in task.hidden:
                problems.append(_missing_file(f"{where}.check.{key}", name, task))
    return problems


def names_file(name: str) -> bool:
    """Whether ``name`` is a path below the working folder, written the one usual way."""
    try:
        name.encode("utf-8", "surrogateescape")  # which stands for bytes that are no UTF-8
    except UnicodeEncodeError:
        return False
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and "\0" not in name
        and path.as_posix() == name
    )


def _missing_file(where: str, name: str, task: Task) -> str:
    if not name.startswith("hidden/"):
        return f"{where}: {name!r} must lie in hidden/, where no solver sees it"
    known = sorted(f"hidden/{n}" for n in task.hidden)
    return f"{where}: there is no file {name!r}; {documents.suggest(name, known)}"


@singledispatch
def wrong_values(check: Check) -> list[tuple[str, str]]:  # noqa: ARG001
    """Key and what is wrong with its value, where a check's fields contradict each other. To be extended
    by registering a function for the check's class."""
    return []


@wrong_values.register
def _(check: SpeedCheck) -> list[tuple[str, str]]:
    if check.at_full < check.at_zero:
        return []
    return [
        ("at_full", f"{check.at_full:g} must be less than at_zero ({check.at_zero:g}): less time is better")
    ]


@wrong_values.register
def _(check: MetricCheck) -> list[tuple[str, str]]:
    problems = []
    if check.at_zero == check.at_full:
        problems.append(("at_full", f"equals at_zero ({check.at_full:g}); they must differ"))
    elif check.metric in ("rmse", "mae") and check.at_full > check.at_zero:
        problems.append(("at_full", f"is above at_zero, but {check.metric} is better the lower it is"))
    if bool(check.metric) == bool(check.script):
        problems.append(("metric", "give either metric or script"))
    elif check.script and check.public:
        problems.append(("public", "belongs to a metric; a script decides alone, on the truth"))
    elif check.metric and not check.target:
        problems.append(("target", "is missing; name the column that is compared"))
    return problems


@wrong_values.register
def _(check: ProgramCheck) -> list[tuple[str, str]]:
    if check.script and check.command:
        return [("script", "give either script or command")]
    if check.script and (check.files or check.stdout):
        return [("files", "is compared after a command; with a script, let that compare")]
    return []


@wrong_values.register
def _(check: OutputCheck) -> list[tuple[str, str]]:
    if check.checker and check.compare != "lines":
        return [("compare", f"{check.compare!r}, but the checker decides; leave one of them out")]
    return []


@wrong_values.register
def _(check: TextCheck) -> list[tuple[str, str]]:
    if bool(check.expected) == bool(check.reference):
        return [("expected", "give either expected or reference")]
    problems = []
    for i, wanted in enumerate(check.expected):
        if check.compare == "regex":
            try:
                re.compile(str(wanted))
            except (re.error, RecursionError, OverflowError) as error:
                problems.append((f"expected[{i}]", f"{wanted!r} is no pattern: {error}"))
        if check.compare == "numeric" and isinstance(wanted, str):
            problems.append((f"expected[{i}]", f"{wanted!r} is no number; write it without quotes"))
        if check.compare == "choice" and not re.fullmatch("[A-Za-z]", str(wanted)):
            problems.append((f"expected[{i}]", f"{wanted!r} is no choice; give one letter"))
    if check.reference and check.compare in ("regex", "numeric", "choice"):
        problems.append(("reference", f"{check.compare!r} reads expected; give that instead"))
    return problems


@wrong_values.register
def _(check: StaticCheck) -> list[tuple[str, str]]:
    named = (check.forbid_imports, check.require_imports, check.forbid_calls, check.require_calls)
    if not any((check.select, check.max_complexity, *named)):
        return [("select", "the check demands nothing; give select, max_complexity, or imports or calls")]
    return []
