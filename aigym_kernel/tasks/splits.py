"""The two splits of a task that lets agents validate: what they may try, and what the final score rests on.

    public(task)      the task with its visible cases and public truths alone; None where it has none
    final(task)       without them, where agents may validate; otherwise the task itself

Each is a whole Task, so that judging on a split is judging. In the public one there is nothing of the hidden
split that feedback could tell. What has no public part (scripts, texts, people) is left out of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from aigym_kernel.tasks.checks import MetricCheck
from aigym_kernel.tasks.definition import Criterion, Task


def public(task: Task) -> Task | None:
    """The task as it may be validated."""
    criteria = tuple(c for c in map(_public, task.rubric.criteria) if _cases(task, c, visible=True))
    if not any(c.weight > 0 for c in criteria):
        return None
    return _with_cases(
        dataclasses.replace(task, rubric=dataclasses.replace(task.rubric, criteria=criteria)), visible=True
    )


def final(task: Task) -> Task:
    """The task as it is judged in the end: visible cases count only where agents cannot validate."""
    return _with_cases(task, visible=False) if task.validations else task


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
        way_out = "mark cases 'visible: true', or give a metric check a truth 'public'"
        return [f"validations: there is nothing to validate on; {way_out}"]
    checks: list[Any] = [c.check for c in task.rubric.criteria]
    names = [check.cases for check in checks if hasattr(check, "case")]
    return [
        f"validations: all cases of {name} are visible, so the final score would rest on none; hide some"
        for name in dict.fromkeys(names)
        if all(case.visible for case in task.cases[name])
    ]
