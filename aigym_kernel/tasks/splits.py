"""The two splits of a task that lets agents validate: what they may try, and what the final score rests on.

    public(task)      the task with its visible cases and tests and public truths alone; None without any
    final(task)       without them, where agents may validate; otherwise the task itself

Each is a whole Task, so that judging on a split is judging. In the public one there is nothing of the hidden
split that feedback could tell. What has no public part (scripts, texts, people) is left out of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from aigym_kernel.tasks.checks import MetricCheck, UnitTestsCheck
from aigym_kernel.tasks.definition import Criterion, Task

WAY_OUT = "mark cases or unit tests 'visible: true', or give a metric check a truth 'public'"


def public(task: Task) -> Task | None:
    """The task as it may be validated."""
    criteria = tuple(c for c in map(_public, task.rubric.criteria) if _cases(task, c, visible=True))
    if not any(c.weight > 0 for c in criteria):
        return None
    return _with_cases(
        dataclasses.replace(task, rubric=dataclasses.replace(task.rubric, criteria=criteria)), visible=True
    )


def final(task: Task) -> Task:
    """The task as it is judged in the end: what is visible counts only where agents cannot validate."""
    if not task.validations:
        return task
    criteria = tuple(c for c in task.rubric.criteria if not _is_visible(c))
    rubric = dataclasses.replace(task.rubric, criteria=criteria)
    return _with_cases(dataclasses.replace(task, rubric=rubric), visible=False)


def _is_visible(criterion: Criterion) -> bool:
    return isinstance(criterion.check, UnitTestsCheck) and criterion.check.visible


def _public(criterion: Criterion) -> Criterion:
    check = criterion.check
    if isinstance(check, MetricCheck) and check.public is not None:
        swapped = dataclasses.replace(check, truth=check.public, public=check.truth)
        return dataclasses.replace(criterion, check=swapped)
    return criterion


def _cases(task: Task, criterion: Criterion, *, visible: bool) -> bool:
    """Whether a criterion has a part in that split."""
    check: Any = criterion.check
    if isinstance(check, MetricCheck):
        return check.public is not None
    if isinstance(check, UnitTestsCheck):
        return check.visible is visible
    return hasattr(check, "case") and any(c.visible is visible for c in task.cases[check.cases])


def _with_cases(task: Task, *, visible: bool) -> Task:
    cases: Any = {
        name: tuple(case for case in cases if case.visible is visible) for name, cases in task.cases.items()
    }
    return dataclasses.replace(task, cases=cases)


def contradictions(task: Task) -> list[str]:
    """What keeps agents from validating although the task says that they may. Cases have been read."""
    if not task.validations:
        return []
    if public(task) is None:
        return [f"validations: there is nothing to validate on; {WAY_OUT}"]
    if not any(c.weight > 0 for c in task.rubric.criteria if not _is_visible(c)):
        return ["validations: all tests are visible, so the final score would rest on none; hide some"]
    checks: list[Any] = [c.check for c in task.rubric.criteria]
    names = [check.cases for check in checks if hasattr(check, "case")]
    return [
        f"validations: all cases of {name} are visible, so the final score would rest on none; hide some"
        for name in dict.fromkeys(names)
        if all(case.visible for case in task.cases[name])
    ]
