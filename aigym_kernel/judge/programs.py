"""The ``program`` check: what a command does, or what a hidden script finds, over the solution's files.

With ``command``: it runs in a fresh box over the solution's files, and its exit code, its standard output
and the files that it leaves behind are compared on the host; what is expected never enters the box. With
``script``: see `judge.scripts`.
"""

from __future__ import annotations

from collections.abc import Mapping

from aigym_kernel.judge import scripts
from aigym_kernel.judge.comparison import difference
from aigym_kernel.judge.values import shown
from aigym_kernel.judge.verdict import SHOWN, Undecided, Verdict, diff, hidden, printed, run, stopped
from aigym_kernel.sandboxes.protocol import Execution, Sandbox
from aigym_kernel.tasks import ProgramCheck, Task


def check_program(task: Task, check: ProgramCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """What the script says, or the share of what the command had to do that it did.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the script failed, or its last line is no verdict.
    """
    if check.script:
        return _looked_over(task, check.script, files, sandbox)
    with sandbox.open(task.limits, files) as box:
        execution = run(box, check.command, stdin=check.stdin)
        left = box.export() if check.files else {}
    problems = [_end(task, check, execution)]
    if check.stdout is not None:
        problems.append(_text("output", check, execution.stdout.encode(), hidden(task, check.stdout)))
    for name, wanted in check.files.items():
        if name not in left:
            problems.append(f"there is no regular file {name}")
        else:
            problems.append(_text(name, check, left[name], hidden(task, wanted)))
    told = [problem for problem in problems if problem]
    right = len(problems) - len(told)
    lines = [f"{right} of {len(problems)} demands met", *told[:SHOWN]]
    if len(told) > SHOWN:
        lines.append(f"and {len(told) - SHOWN} more")
    return Verdict(value=right / len(problems), feedback="\n".join(lines))


def _looked_over(task: Task, script: str, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """What the script says. One that is stopped over the solution's files and not over the task's own was
    stopped by the solution: otherwise whoever kills the judge would not have failed."""
    try:
        with sandbox.open(task.limits, files) as box:
            return scripts.verdict(box, task, script, task.limits)
    except scripts.Stopped as stop:
        try:
            with sandbox.open(task.limits, task.files) as box:
                scripts.verdict(box, task, script, task.limits)
        except Undecided:
            raise stop from None
        return Verdict(value=0.0, feedback=f"{stop} (without the solution it ends well)")


def _end(task: Task, check: ProgramCheck, execution: Execution) -> str:
    """How the command ended, unless as it should."""
    if execution.exit_code == check.exit_code and execution.status in ("ok", "error"):
        return ""
    told = stopped(execution, task.limits) or "ended with exit code 0"
    wanted = f" instead of {check.exit_code}" if check.exit_code and check.visible else ""
    return f"{shown(' '.join(check.command), 80)} {told}{wanted}" + (
        printed(execution) if check.visible else ""
    )


def _text(what: str, check: ProgramCheck, got: bytes, expected: bytes) -> str:
    """How a text differs, in full only where the check is visible."""
    given, wanted = (side.decode("utf-8", "backslashreplace") for side in (got, expected))
    told = difference(given, wanted, check.compare, check.tolerance)
    if not told or not check.visible:
        return told and f"{what} is not as expected"
    return f"{what}: {told.removeprefix('output ')}\n{diff(wanted, given)}"
