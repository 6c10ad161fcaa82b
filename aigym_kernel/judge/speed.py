"""The ``speed`` check: the solution's time as a multiple of a reference's, measured in one box, in turns.

Every run is a process of its own in an emptied box and answers one case, so that nothing can be kept from one
to the next and nothing of the solution is alive while the reference runs. Every answer is compared, also of
runs that are measured: a solution that notices the clock can only answer right, or fail.

Two clocks are read from outside, less what an empty program takes. CPU time over the whole process tree
hardly depends on what else the machine does; what noise there is makes a turn longer, so that each side's
fastest turn counts. But waiting takes none, and that of short-lived children nobody waits for is not always
seen: so the ratio of the wall times counts where it is larger both by the shortest ones and in most turns. A
load that comes or goes meanwhile rarely distorts both. The first turn of the reference is over before the
solution has run at all. Several threads thus gain nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aigym_kernel.judge import answers
from aigym_kernel.judge.comparison import difference
from aigym_kernel.judge.functions import ask, problem
from aigym_kernel.judge.verdict import Undecided, Verdict, cases_of, hidden, refill, stopped
from aigym_kernel.sandboxes import languages
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.tasks import FunctionCase, SpeedCheck, Task

LEAST_S = 0.05
"""What the reference has to take, beyond the start of its interpreter: less cannot be told from noise."""


def check_speed(task: Task, check: SpeedCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """The ratio, mapped from ``at_zero`` .. ``at_full`` to 0 .. 1; 0 where an answer is wrong.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the reference is wrong, or too fast to be measured.
    """
    reference = {**task.files, task.answer: hidden(task, check.reference)}
    theirs, ours = answers.build(task, files, sandbox), answers.build(task, reference, sandbox)
    if isinstance(theirs, Verdict):
        return theirs
    if isinstance(ours, Verdict):
        raise Undecided(f"{check.reference}: {ours.feedback}")
    cases = cases_of(task, check.cases)
    turns: list[tuple[_Time, _Time]] = []
    with sandbox.open(task.limits) as box:
        start = _start(box, task, check)
        for _ in range(check.repeats):
            spent = [_Time(), _Time()]
            for number, case in enumerate(cases):
                for side, program in enumerate((ours, theirs)):
                    told, execution = _run(box, task, check, program, case)
                    if told and side == 0:
                        raise Undecided(f"{check.reference}: case {number + 1}: {told}")
                    if told:
                        return Verdict(value=0.0, feedback=f"case {number + 1} is not right: {told}")
                    spent[side] += _Time(execution.cpu_s, execution.wall_s) - start
            turns.append((spent[0], spent[1]))
    return _verdict(check, turns)


@dataclass(frozen=True)
class _Time:
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def __add__(self, other: _Time) -> _Time:
        return _Time(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)

    def __sub__(self, other: _Time) -> _Time:
        return _Time(max(0.0, self.cpu_s - other.cpu_s), max(0.0, self.wall_s - other.wall_s))


def _verdict(check: SpeedCheck, turns: list[tuple[_Time, _Time]]) -> Verdict:
    cpu = [min(turn[side].cpu_s for turn in turns) for side in (0, 1)]
    walls = [[max(LEAST_S, turn[side].wall_s) for turn in turns] for side in (0, 1)]
    if cpu[0] < LEAST_S:
        raise Undecided(
            f"{check.reference} takes {cpu[0] * 1000:.0f} ms of CPU time for all cases; at least "
            f"{LEAST_S * 1000:.0f} ms are needed to compare: give larger cases"
        )
    ratios = [theirs.cpu_s / ours.cpu_s for ours, theirs in turns]
    mostly = statistics.median(theirs / ours for ours, theirs in zip(*walls, strict=True))
    ratio = max(cpu[1] / cpu[0], min(min(walls[1]) / min(walls[0]), mostly))
    value = min(1.0, max(0.0, (check.at_zero - ratio) / (check.at_zero - check.at_full)))
    # Full points read the same whenever they are had: what was measured is evidence then.
    told = f"at most {check.at_full:g} times the reference's time over {len(turns)} turns"
    if value < 1.0:
        told = (
            f"{ratio:.2f} times the reference's time over {len(turns)} turns, {min(ratios):.2f} to "
            f"{max(ratios):.2f} (full points up to {check.at_full:g}, none from {check.at_zero:g})"
        )
    return Verdict(value=value, feedback=told, evidence={"ratio": ratio, "ratios": ratios})


def _run(
    box: Box, task: Task, check: SpeedCheck, program: Mapping[str, bytes], case: Any
) -> tuple[str, Execution]:
    """What is wrong with one answer, or nothing; and how its process ran."""
    if isinstance(case, FunctionCase):
        answer, execution = ask(box, task, check.function, program, case)
        return problem(task, check.tolerance, case, answer, program), execution
    refill(box, program)
    execution = answers.run(box, task, stdin=case.stdin)
    if told := stopped(execution, task.limits):
        return told, execution
    compare = "numeric" if check.tolerance else "lines"
    told = difference(execution.stdout, case.stdout, compare, check.tolerance)
    return told if case.visible or not told else "wrong output", execution


def _start(box: Box, task: Task, check: SpeedCheck) -> _Time:
    """What a program takes that does nothing; nothing where a language has no empty programs."""
    if languages.language(task.language).compile:
        return _Time()
    taken = []
    for _ in range(3):
        if check.function:
            execution = ask(box, task, check.function, {task.answer: b""}, None)[1]
        else:
            refill(box, {task.answer: b""})
            execution = answers.run(box, task)
        taken.append(_Time(execution.cpu_s, execution.wall_s))
    return _Time(min(t.cpu_s for t in taken), min(t.wall_s for t in taken))
