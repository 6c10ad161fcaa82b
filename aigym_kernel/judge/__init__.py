"""Judge a solution by a task's rubric.

    score = judge("two-sum", open("my.py").read())     # or a path, or a mapping of files
    score.passed, score.total, score.marks
    for known in judging("two-sum", solution):         # each Mark as it is decided, the Score last
    validate("two-sum", solution)                      on the visible cases alone

`batch` judges many solutions of a task at once.

Solutions run in a sandbox that holds no hidden file and no expected value; what they answer is compared
here, outside. A judge that cannot decide says so (``total`` None) and never gives a zero for it.
Not here: letting an agent work on a task (`aigym_kernel.envs.task_env`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from aigym_kernel import rendering
from aigym_kernel.errors import SolutionError, TaskError
from aigym_kernel.judge.checks import mark
from aigym_kernel.judge.llm import Model
from aigym_kernel.judge.verdict import roomy
from aigym_kernel.sandboxes import open_sandbox
from aigym_kernel.sandboxes.protocol import Sandbox
from aigym_kernel.tasks import Task, load_task, names_file, splits
from aigym_kernel.trajectories import Mark, Score, tally

__all__ = ["judge", "judging", "unjudged", "validate"]


def judge(
    task: Task | str | Path,
    solution: str | Mapping[str, str | bytes] | Path,
    *,
    sandbox: Sandbox | str | None = None,
    model: Model | None = None,
) -> Score:
    """The verdict on ``solution``: the answer file's text, its path as a
    ``pathlib.Path``, or all files by relative path.

    ``task`` is a Task or what `load_task` takes, ``sandbox`` a Sandbox or its name. In a task without
    tools the task's visible files lie beside the answer; in a task with tools a mapping is taken as all
    there is. ``model``, a function from chat messages to the answer's text, grades ``llm`` criteria;
    default: the one that AIGYM_LLM_URL and AIGYM_LLM_MODEL name.

    Raises:
        UnknownName: no task has that id, no sandbox that name.
        TaskError: the task's files are wrong.
        SolutionError: ``solution`` cannot be one.
        SandboxError: no box can be opened here. One that breaks on the way gives an unjudged mark.
    """
    *_, score = judging(task, solution, sandbox=sandbox, model=model)
    assert isinstance(score, Score)
    return score


def judging(
    task: Task | str | Path,
    solution: str | Mapping[str, str | bytes] | Path,
    *,
    sandbox: Sandbox | str | None = None,
    model: Model | None = None,
) -> Iterator[Mark | Score]:
    """What `judge` does, as it happens: yields one Mark per criterion of ``task.rubric``, in its order, as
    soon as it is decided, and at last the Score that holds them all::

        for known in judging("two-sum", solution):
            if isinstance(known, Score): ...    # the last one
            else: ...                           # a Mark

    Takes and raises what `judge` does; what is wrong with the arguments is raised by the call itself, before
    any iteration. Between two marks no box is open: dropping the iterator leaves nothing behind.
    """
    task = task if isinstance(task, Task) else load_task(task)
    return _started(splits.final(task), solution, sandbox, model)


def _started(
    task: Task, solution: Any, sandbox: Sandbox | str | None, model: Model | None
) -> Iterator[Mark | Score]:
    if sum(c.weight for c in task.rubric.criteria) <= 0:
        raise TaskError(
            f"task {task.id}: the weights of its criteria sum to zero; give one a positive weight"
        )
    files = _files(task, solution)
    task = dataclasses.replace(task, limits=roomy(task.limits, files))
    return _judging(task, files, open_sandbox(sandbox), model)


def _judging(
    task: Task, files: Mapping[str, bytes], sandbox: Sandbox, model: Model | None
) -> Iterator[Mark | Score]:
    started = time.perf_counter()
    marks = []
    for criterion in task.rubric.criteria:
        marks.append(mark(task, criterion, files, sandbox, model))
        yield marks[-1]
    yield _score(task, tuple(marks), time.perf_counter() - started)


def validate(
    task: Task | str | Path,
    solution: str | Mapping[str, str | bytes] | Path,
    *,
    sandbox: Sandbox | str | None = None,
) -> Score:
    """The verdict on ``solution`` by the public split alone: visible cases and tests, public truths. It
    rests on nothing of the hidden split, and tells nothing of it. Agents that have the tool ``validate`` get
    this, as often as the task's ``validations`` says; here nobody counts.

    Raises:
        TaskError: the task has no public split. And what `judge` raises.
    """
    task = task if isinstance(task, Task) else load_task(task)
    if (part := splits.public(task)) is None:
        raise TaskError(f"task {task.id} has no public split; {splits.WAY_OUT}")
    *_, score = _started(part, solution, sandbox, None)
    assert isinstance(score, Score)
    return score


def unjudged(task: Task, reason: str) -> Score:
    """The score of an attempt that nobody could judge: every mark without a value, and why."""
    marks = tuple(
        Mark(name=c.name, value=None, weight=c.weight, required=c.required, feedback=reason)
        for c in task.rubric.criteria
    )
    return _score(task, marks, 0.0)


def _score(task: Task, marks: tuple[Mark, ...], wall_s: float) -> Score:
    total, passed = tally(marks, task.rubric.pass_mark)
    return Score(
        task_id=task.id,
        total=total,
        passed=passed,
        marks=marks,
        wall_s=wall_s,
        pass_mark=task.rubric.pass_mark,
    )


def _files(task: Task, solution: Any) -> dict[str, bytes]:
    """The files that are judged, by relative path."""
    if isinstance(solution, Path):
        solution = {_answer(task): _read(solution)}
    elif isinstance(solution, str):
        _is_no_path(task, solution)
        solution = {_answer(task): solution}
    elif not isinstance(solution, Mapping):
        raise SolutionError(
            f"a solution is text, a mapping of files or a pathlib.Path, not {type(solution).__name__}"
        )
    files = {} if task.tools else dict(task.files)
    for name, content in solution.items():
        if not isinstance(name, str) or not names_file(name):
            raise SolutionError(f"{name!r} is no path of a file below the working folder")
        if not isinstance(content, str | bytes):
            raise SolutionError(f"{name}: its content must be str or bytes, not {type(content).__name__}")
        files[name] = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    # Byte code that was handed in would run in place of the source beside it, which is what others see.
    files = {name: content for name, content in files.items() if "__pycache__" not in name.split("/")}
    for name in files:
        if folder := next((str(p) for p in PurePosixPath(name).parents if str(p) in files), None):
            raise SolutionError(f"{folder!r} cannot be a file and the folder of {name!r} too")
    if sum(map(len, files.values())) > task.limits.disk_mb * 2**20:
        raise SolutionError(
            f"the files take more than the {task.limits.disk_mb} MiB that task {task.id} allows"
        )
    return files


def _answer(task: Task) -> str:
    if not task.answer:
        raise SolutionError(f"task {task.id} has no single answer file; hand in a mapping of files")
    return task.answer


def _read(path: Path) -> bytes:
    try:
        # A link would let a solution point at the task's own hidden or reference files.
        if path.is_symlink():
            raise SolutionError(f"{path} is a link; hand in the file itself")
        if not path.is_file():
            raise SolutionError(f"{path} is not a file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise SolutionError(f"{rendering.short(str(path), 200)} cannot be read: {told}") from None


def _is_no_path(task: Task, text: str) -> None:
    """A path given as text would be judged as code, and fail for no visible reason."""
    line = text.strip()
    if "\n" in line or not line.endswith(PurePosixPath(_answer(task)).suffix or "/"):
        return
    with contextlib.suppress(OSError, ValueError):
        if Path(line).is_file():
            raise SolutionError(
                f"{line!r} is a file's path, not an answer; pass Path({line!r}) to judge the file"
            )
