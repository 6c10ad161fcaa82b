"""The ``stdin_stdout`` check: run the solution as a program, compare its standard output on the host.

Output is compared line by line; spaces at line ends and empty lines at the end do not count. Every case
has the task's limits, and finds the solution's files as they were handed in and nothing that a case before
it left behind (see `judge.functions`, which also says what of a hidden case is shown). After the first
that does not end in time, no other is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aigym_kernel.judge.values import builtin_name, shown
from aigym_kernel.judge.verdict import Verdict, ran_out, refill, run, share, stopped, visible_first
from aigym_kernel.sandboxes.protocol import Execution, Sandbox
from aigym_kernel.tasks import Limits, OutputCase, OutputCheck, Task

PROGRAMS = {"python": "python3", "bash": "bash"}
_LINE = re.compile(r'File "(?:/work/)?(?P<file>[^"]+)", line (?P<line>\d{1,7})')
_ERROR = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")


def check_output(task: Task, check: OutputCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """The share of cases that print what is expected and end with exit code 0.

    Raises:
        SandboxError: the sandbox broke.
    """
    if task.answer not in files:
        return Verdict(value=0.0, feedback=f"there is no file {task.answer}")
    cases = [case for case in task.cases[check.cases] if isinstance(case, OutputCase)]
    problems: dict[int, str] = {}
    ran = 0
    with sandbox.open(task.limits) as box:
        for number in visible_first(cases):
            case = cases[number]
            refill(box, files)
            execution = run(box, [PROGRAMS[task.language], task.answer], stdin=case.stdin)
            ran += 1
            if told := _problem(task, case, execution, files):
                problems[number] = (
                    f"case {number + 1}: input {shown(case.stdin, 120)}: {told}"
                    if case.visible
                    else f"hidden case {number + 1} failed: {told}"
                )
            if ran_out(execution):
                break
    return share([problems[n] for n in sorted(problems)], len(cases), not_run=len(cases) - ran)


def _problem(task: Task, case: OutputCase, execution: Execution, files: Mapping[str, bytes]) -> str:
    if told := stopped(execution, task.limits):
        return told + _error(task.answer, execution, files[task.answer], whole=case.visible)
    got, expected = _lines(execution.stdout), _lines(case.stdout)
    if got == expected:
        return ""
    if not case.visible:
        return "wrong output" if got else "no output"
    at = next((i for i, (g, e) in enumerate(zip(got, expected)) if g != e), min(len(got), len(expected)))
    line = [shown(side[at], 80) if at < len(side) else "no such line" for side in (expected, got)]
    return f"output line {at + 1}: expected {line[0]}, got {line[1]}"


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


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
    return told + _error(answer, execution, source, whole=True) if told else ""
