"""The ``function`` check: call the solution's function in a box, compare its answers on the host.

Each case has a process of its own and the task's ``wall_s``; after the first that does not answer in
time, no other is run. Expected values never enter the box (see `judge.inside`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigym_kernel.judge import inside
from aigym_kernel.judge.values import decode, encode, equal, parse, shown
from aigym_kernel.judge.verdict import Verdict, run, share, stopped
from aigym_kernel.sandboxes.protocol import Box, Sandbox
from aigym_kernel.tasks import FunctionCase, FunctionCheck, Limits, Task

ANSWER_BYTES = 65_536
"""The longest answer to one case, encoded; longer ones fail the case."""


def check_function(task: Task, check: FunctionCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """The share of cases that return what is expected.

    Raises:
        SandboxError: the sandbox broke.
    """
    if task.answer not in files:
        return Verdict(value=0.0, feedback=f"there is no file {task.answer}")
    cases = [case for case in task.cases[check.cases] if isinstance(case, FunctionCase)]
    answers = _answers(task, check, cases, files, sandbox)
    if "load" in answers[-1]:
        where = answers[-1].get("where")
        told = f"{task.answer} cannot be used: {answers[-1]['load']}"
        return Verdict(value=0.0, feedback=told + (f"\n{where}" if where else ""))
    problems = []
    for number, (case, answer) in enumerate(zip(cases, answers), 1):
        if told := _problem(check, case, answer, task.limits):
            call = f": {_call(check.function, case)}" if case.visible else " failed"
            problems.append(f"{'' if case.visible else 'hidden '}case {number}{call}: {told}")
    return share(problems, len(cases), not_run=len(cases) - len(answers))


def _answers(
    task: Task,
    check: FunctionCheck,
    cases: list[FunctionCase],
    files: Mapping[str, bytes],
    sandbox: Sandbox,
) -> list[dict[str, Any]]:
    """One answer per case, in order; fewer where a case did not answer in time or nothing loads."""
    source = Path(inside.__file__).read_text(encoding="utf-8")
    seconds, count = task.limits.wall_s, len(cases)
    limits = dataclasses.replace(
        task.limits,
        wall_s=seconds * count + 10,
        cpu_s=task.limits.cpu_s and task.limits.cpu_s * count,
        output_kb=max(task.limits.output_kb, count * (ANSWER_BYTES // 1024 + 1)),
    )
    answers: list[dict[str, Any]] = []
    with sandbox.open(limits, files) as box:
        while len(answers) < count:
            job = {
                "file": task.answer,
                "function": check.function,
                "seconds": seconds,
                "limit": ANSWER_BYTES,
                "cases": [_sent(case) for case in cases[len(answers) :]],
            }
            new, reason = _run_job(box, source, job, task.limits)
            answers += new[: count - len(answers)]
            if answers and ("timeout" in answers[-1] or "load" in answers[-1]):
                break
            if len(answers) < count:
                answers.append({"ended": reason})
    return answers


def _run_job(box: Box, source: str, job: dict[str, Any], limits: Limits) -> tuple[list[dict[str, Any]], str]:
    """The answers that came, and why no more did: the solution ended the process that runs its cases."""
    execution = run(box, ["python3", "-I", "-c", source], stdin=json.dumps(job))
    lines = execution.stdout.split("\n")[:-1]
    return [parse(line) for line in lines], stopped(execution, limits) or "ended before answering"


def _sent(case: FunctionCase) -> dict[str, Any]:
    """What of a case enters the box: never what is expected."""
    return {"args": encode(case.args), "calls": None if case.calls is None else encode(case.calls)}


def _problem(check: FunctionCheck, case: FunctionCase, answer: dict[str, Any], limits: Limits) -> str:
    """What is wrong with an answer, or nothing. Of a hidden case only what gives no value away."""
    if "timeout" in answer:
        return f"no answer within {limits.wall_s:g} s"
    if "ended" in answer:
        ended = str(answer["ended"])
        return f"ended before answering ({ended})" if ended[:4] in ("exit", "sign") else ended
    if "error" in answer:
        return _raised(case, answer)
    if case.raises:
        got = f", got {shown(answer['value'])}" if case.visible and "value" in answer else ""
        return f"expected {case.raises}{got}" if case.visible else "did not raise what it should"
    if "value" not in answer:
        return f"what it returned cannot be used: {answer.get('unsendable', 'no value')}"
    if equal(answer["value"], decode(encode(case.expected)), check.tolerance):
        return ""
    if not case.visible:
        return "wrong value"
    return f"expected {shown(case.expected)}, got {shown(answer['value'])}"


def _raised(case: FunctionCase, answer: dict[str, Any]) -> str:
    names = answer.get("names")
    if case.raises and isinstance(names, list) and case.raises in names:
        return ""
    name, where = str(answer["error"])[:80], str(answer.get("where", ""))[:200]
    if name == "SystemExit":
        told = f"ended by sys.exit({str(answer.get('message'))[:40]}) instead of returning"
    elif case.visible and answer.get("message"):
        told = f"raised {name}: {str(answer['message'])[:300]}"
    else:
        told = f"raised {name}"
    return told + (f" at {where}" if where else "")


def _call(function: str, case: FunctionCase) -> str:
    """The call of a visible case as one would write it."""
    first = f"{function}({', '.join(shown(a, 120) for a in case.args)})"
    if case.calls is None:
        return first
    calls = [f"{name}({', '.join(shown(a, 60) for a in args)})" for name, *args in case.calls]
    more = f", ... {len(calls) - 12} more" if len(calls) > 12 else ""
    return f"{first}: {', '.join(calls[:12])}{more}"
