"""When a bench counts as failed: ``--fail-on "return_mean < 400"``.

    condition = parse("return_mean < 400")      METRIC OP NUMBER, OP one of < <= > >= == !=
    foresee(condition, state)                   before a bench begins: is that a metric of it?
    failures([condition], state)                a line for each method and task on which it holds

The value is the mean over the seeds that are done, of each method on each task. A notebook that does not
report the metric is left alone; where none of a group's cells is done, that is said.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from aigym_kernel.bench import results
from aigym_kernel.bench.records import State
from aigym_kernel.errors import BenchError, UnknownName

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(r"(?P<metric>[^<>=!]*[^<>=!\s])\s*(?P<operator><=|>=|==|!=|<|>)\s*(?P<number>\S+)")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A bench has failed where ``metric`` is in this relation to ``number``."""

    metric: str
    operator: str
    number: float

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.number:g}"


def parse(text: str) -> Condition:
    """The condition in a text such as ``return_mean < 400``.

    Raises:
        BenchError: the text is no METRIC OP NUMBER.
    """
    match = _FORM.fullmatch(text.strip())
    try:
        number = float(match["number"]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or math.isnan(number):
        raise BenchError(
            f'--fail-on {text!r} is no METRIC OP NUMBER, such as "return_mean < 400"; OP is one of '
            "< <= > >= == !="
        )
    return Condition(metric=match["metric"], operator=match["operator"], number=number)


def check(condition: Condition, names: Collection[str]) -> None:
    """Refuse a condition on a metric that is none of ``names``, unless there are none.

    Raises:
        UnknownName: it is none of them.
    """
    if names and condition.metric not in names:
        raise UnknownName("metric", condition.metric, names, f"It stands in --fail-on {str(condition)!r}.")


def foresee(condition: Condition, state: State) -> None:
    """Refuse a condition before a bench begins, as far as anybody knows what it will report: once each of its
    notebooks has a cell that is done, any other name; before that, since a notebook may report more than the
    plan asks for, only a slip in a metric's name (``scor``; not ``pass_at_5`` for ``pass_at_1``).

    Raises:
        UnknownName: there is no such metric.
    """
    names = results.metrics(state)
    done = {cell.source for cell in state.plan.cells if cell.id in state.results}
    slips = difflib.get_close_matches(condition.metric, names, cutoff=0.85)
    shapes = {re.sub(r"\d+", "0", name) for name in slips}
    slipped = bool(slips) and re.sub(r"\d+", "0", condition.metric) not in shapes
    if slipped or done == {cell.source for cell in state.plan.cells}:
        check(condition, names)


def failures(conditions: Sequence[Condition], state: State) -> list[str]:
    """A line for each method and task whose mean over seeds is in a condition's relation to its number, or
    that has no result at all; none: the bench is good.

    Raises:
        UnknownName: nothing reported a metric of this name.
    """
    said = []
    for condition in conditions:
        there = results.metrics(state)
        check(condition, there)
        found = results.groups(state, condition.metric) if there else results.groups(state)
        for group in (group for row in found.values() for group in row.values()):
            where = f"{condition.metric} of {group.method} on {group.task}"
            done = len(group.cells) - group.failed - group.unfinished
            if group.values:
                mean = float(np.mean(group.values))
                if _OPERATORS[condition.operator](mean, condition.number):
                    seeds = f"mean of {len(group.values)}" if len(group.values) > 1 else "one cell"
                    said.append(f"{where} is {mean:.6g} ({seeds}), and {condition} is a failure")
            elif not done:
                said.append(f"{where} is unknown: none of its {len(group.cells)} cells is done")
    return said
