"""The ``function`` check: call the solution's function in a box, compare its answers on the host.

Each case has the task's limits and a process of its own, which is given that case's input and nothing of
what is expected (see `judge.inside`). Between two cases every process of the box is ended, all that can
be written to is emptied, and the solution's files are put there anew. What is shared is the box's kernel:
a solution that works at it may pass a few numbers on, such as the last process id, from case to case.

Visible cases run first. Of a hidden one the feedback tells whether it was right, else how its process
ended, or which built-in exception was raised at which line of the solution: never text from inside the box,
though a solution that works at it may choose among these by its input.

After the first case that does not answer in time, no other is run.
"""

from __future__ import annotations

import dataclasses
import marshal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigym_kernel.judge import inside
from aigym_kernel.judge.values import ANSWER_LENGTH, builtin_name, equal, line_of, parse, shown
from aigym_kernel.judge.verdict import Verdict, cases_of, ran_out, refill, run, share, stopped, visible_first
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.tasks import FunctionCase, FunctionCheck, Task

_SOURCE = Path(inside.__file__).read_text(encoding="utf-8")


def check_function(task: Task, check: FunctionCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """The share of cases that return what is expected.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the task has no such cases.
    """
    if task.answer not in files:
        return Verdict(value=0.0, feedback=f"there is no file {task.answer}")
    cases = [case for case in cases_of(task, check.cases) if isinstance(case, FunctionCase)]
    room = max(task.limits.output_kb, ANSWER_LENGTH // 1024 + 1)
    problems: dict[int, str] = {}
    ran = 0
    with sandbox.open(dataclasses.replace(task.limits, output_kb=room)) as box:
        for number in visible_first(cases):
            case = cases[number]
            answer = _ask(box, task, check, files, case)
            # What a solution says while it loads may be shown whole only where it knows no input.
            if not ran and "loading" in answer and "loading" in (alone := _ask(box, task, check, files)):
                return Verdict(value=0.0, feedback=not_loaded(task, alone, files))
            ran += 1
            if told := problem(task, check.tolerance, case, answer, files):
                call = f": {_call(check.function, case)}" if case.visible else " failed"
                problems[number] = f"{'' if case.visible else 'hidden '}case {number + 1}{call}: {told}"
            if "late" in answer:
                break
    return share([problems[n] for n in sorted(problems)], len(cases), not_run=len(cases) - ran)


def _ask(
    box: Box, task: Task, check: FunctionCheck, files: Mapping[str, bytes], case: FunctionCase | None = None
) -> dict[str, Any]:
    return ask(box, task, check.function, files, case)[0]


def ask(
    box: Box, task: Task, function: str, files: Mapping[str, bytes], case: FunctionCase | None
) -> tuple[dict[str, Any], Execution]:
    """The solution's answer to one case, or to being loaded; ``{"ended": why}`` where there is none. And how
    its process ran."""
    job = {"file": task.answer, "function": function, "limit": ANSWER_LENGTH}
    job |= {"args": None, "calls": None} if case is None else {"args": case.args, "calls": case.calls}
    refill(box, files)
    execution = run(box, ["python3", "-I", "-c", _SOURCE], stdin=marshal.dumps(job, 2).hex())
    line, complete, _ = execution.stdout.partition("\n")
    if execution.status == "ok" and complete:
        return parse(line), execution
    reason = stopped(execution, task.limits) or "ended with exit code 0"
    if execution.status in ("ok", "error", "signal"):
        reason = f"ended before answering ({reason.removeprefix('ended with ')})"
    return {"ended": reason} | ({"late": True} if ran_out(execution) else {}), execution


def not_loaded(task: Task, answer: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """What kept the answer file from being loaded, for a person to read."""
    name, message = str(answer.get("error"))[:80], str(answer.get("message"))[:300]
    told = message if name == "LoadFailed" else f"{name}: {message}"
    place = line_of(files, task.answer, answer)
    return f"{task.answer} cannot be used: {told}" + (f"\n{place}" if place else "")


def problem(
    task: Task,
    tolerance: float,
    case: FunctionCase,
    answer: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> str:
    """What is wrong with an answer, or nothing. Of a hidden case only what gives no value away."""
    if "ended" in answer:
        return str(answer["ended"])
    if "error" in answer:
        told = _raised(case, answer)
        place = line_of(files, task.answer, answer)
        return f"{told} at {place}" if told and place else told
    if case.raises:
        got = f", got {shown(answer['value'])}" if case.visible and "value" in answer else ""
        return f"expected {case.raises}{got}" if case.visible else "did not raise what it should"
    if "value" not in answer:
        told = str(answer.get("unsendable"))[:200] if case.visible else "it is not plain data, or too large"
        return f"what it returned cannot be used: {told}"
    if equal(answer["value"], case.expected, tolerance):
        return ""
    if not case.visible:
        return "wrong value"
    return f"expected {shown(case.expected)}, got {shown(answer['value'])}"


def _raised(case: FunctionCase, answer: Mapping[str, Any]) -> str:
    given = answer.get("names")
    names = [n for n in given if isinstance(n, str)] if isinstance(given, list) else []
    if case.raises and case.raises in names:
        return ""
    name, message = str(answer["error"])[:80], str(answer.get("message", ""))[:300]
    if name == "SystemExit":
        code = f"({message[:40]})" if case.visible else ""
        return f"ended by sys.exit{code} instead of returning"
    if not case.visible:
        return f"raised {builtin_name(names)}"
    return f"raised {name}" + (f": {message}" if message else "")


def _call(function: str, case: FunctionCase) -> str:
    """The call of a visible case as one would write it."""
    first = f"{function}({', '.join(shown(a, 120) for a in case.args)})"
    if case.calls is None:
        return first
    calls = [f"{name}({', '.join(shown(a, 60) for a in args)})" for name, *args in case.calls]
    more = f", ... {len(calls) - 12} more" if len(calls) > 12 else ""
    return f"{first}: {', '.join(calls[:12])}{more}"
