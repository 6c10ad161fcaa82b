"""The ``stdin_stdout`` check: run the solution as a program, judge its standard output on the host.

Output is compared as the check says (`judge.comparison`), or by the task's own checker, a hidden script in
a box of its own that no process of the solution ever enters. Every case has the task's limits, and finds
the solution's files as they were handed in and nothing that a case before it left behind (see
`judge.functions`, which also says what of a hidden case is shown). After the first that does not end in
time, no other is run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping

from aigym_kernel.judge import answers, scripts
from aigym_kernel.judge.comparison import difference
from aigym_kernel.judge.values import builtin_name, shown
from aigym_kernel.judge.verdict import (
    Verdict,
    cases_of,
    diff,
    printed,
    ran_out,
    refill,
    share,
    stopped,
    visible_first,
)
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.tasks import Limits, OutputCase, OutputCheck, Task

_LINE = re.compile(r'File "(?:/work/)?(?P<file>[^"]+)", line (?P<line>\d{1,7})')
_ERROR = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
_Compared = Callable[[OutputCase, str], Verdict]


def check_output(task: Task, check: OutputCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """The share of cases that print what is expected and end with exit code 0.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the checker failed, or the task has no such cases.
    """
    program = answers.build(task, files, sandbox)
    if isinstance(program, Verdict):
        return program
    cases = [case for case in cases_of(task, check.cases) if isinstance(case, OutputCase)]
    problems: dict[int, str] = {}
    values: dict[int, float] = {}
    with contextlib.ExitStack() as stack:
        box = stack.enter_context(sandbox.open(task.limits))
        compared = _comparing(check)
        if check.checker:
            compared = _checking(task, check.checker, stack.enter_context(sandbox.open(task.limits)))
        for number in visible_first(cases):
            case = cases[number]
            refill(box, program)
            execution = answers.run(box, task, stdin=case.stdin)
            verdict = _verdict(task, case, execution, files, compared)
            values[number] = verdict.value or 0.0
            if verdict.value != 1.0:
                problems[number] = (
                    f"case {number + 1}: input {shown(case.stdin, 120)}: {verdict.feedback}"
                    if case.visible
                    else f"hidden case {number + 1} failed: {verdict.feedback}"
                )
            if ran_out(execution):
                break
    told = [problems[n] for n in sorted(problems)]
    counted = share(told, len(cases), not_run=len(cases) - len(values))
    return Verdict(value=sum(values.values()) / len(cases), feedback=counted.feedback)


def _verdict(
    task: Task, case: OutputCase, execution: Execution, files: Mapping[str, bytes], compared: _Compared
) -> Verdict:
    """What one case is worth. Of a hidden one only what gives no value away is told."""
    if told := stopped(execution, task.limits):
        told += _error(task.answer, execution, files[task.answer], whole=case.visible)
        return Verdict(value=0.0, feedback=told + (printed(execution) if case.visible else ""))
    verdict = compared(case, execution.stdout)
    if case.visible or verdict.value == 1.0:
        return verdict
    return Verdict(value=verdict.value, feedback="wrong output" if execution.stdout.strip() else "no output")


def _comparing(check: OutputCheck) -> _Compared:
    def compared(case: OutputCase, got: str) -> Verdict:
        told = difference(got, case.stdout, check.compare, check.tolerance)
        if told and case.stdout.count("\n") > 1:
            told += "\n" + diff(case.stdout, got)
        return Verdict(value=float(not told), feedback=told)

    return compared


def _checking(task: Task, checker: str, box: Box) -> _Compared:
    def compared(case: OutputCase, got: str) -> Verdict:
        texts = {"input": case.stdin, "expected": case.stdout, "got": got}
        refill(box, {name: text.encode("utf-8", "replace") for name, text in texts.items()})
        return scripts.verdict(box, task, checker, task.limits)

    return compared


def _error(answer: str, execution: Execution, source: bytes, *, whole: bool) -> str:
    """From a Python traceback on stderr: the exception and the innermost line of ``answer`` itself. Unless
    ``whole``, nothing that the program could have made up to say more."""
    lines = execution.stderr.rstrip().splitlines()
    if execution.status != "error" or not lines:
        return ""
    told = []
    if found := _ERROR.match(lines[-1]):
        name = found["name"] if whole else builtin_name([found["name"]])
        told.append(name + (f": {found['message'][:200]}" if whole and found["message"] else ""))
        places = [int(m["line"]) for line in lines if (m := _LINE.search(line)) and m["file"] == answer]
        if places and 1 <= places[-1] <= source.count(b"\n") + 1:
            told.append(f"line {places[-1]}")
    return f" ({', '.join(told)})" if told else ""


def ended(execution: Execution, limits: Limits, answer: str, source: bytes) -> str:
    """Why the solution's program did not end well, in full, or nothing."""
    told = stopped(execution, limits)
    return told + _error(answer, execution, source, whole=True) + printed(execution) if told else ""
