"""The ``program`` check: a hidden Python script looks over the solution's files in a fresh box.

The script comes over stdin and so never lies among the files. It runs as ``python3 -I`` in /work, cannot
import what lies there by accident, and first makes its own process unreadable for any that it starts
(``PR_SET_DUMPABLE``), so that solution code run in a subprocess sees neither the script nor its verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from aigym_kernel import rendering
from aigym_kernel.judge.verdict import Undecided, Verdict, hidden, run, stopped
from aigym_kernel.sandboxes.protocol import Sandbox
from aigym_kernel.tasks import ProgramCheck, Task

_STARTED = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); exec(compile({!r}, {!r}, 'exec'))\n"


def check_program(task: Task, check: ProgramCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """What the script's last line says: ``{"value": 0..1, "feedback": "..."}``.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the script failed, or its last line is no verdict.
    """
    source = hidden(task, check.script).decode("utf-8")
    with sandbox.open(task.limits, files) as box:
        execution = run(box, ["python3", "-I", "-"], stdin=_STARTED.format(source, check.script))
    if told := stopped(execution, task.limits):
        last = execution.stderr.strip().splitlines()[-1:] or [""]
        raise Undecided(f"{check.script} {told}; {rendering.short(last[0], 200)}".rstrip("; "))
    lines = execution.stdout.strip().splitlines()[-1:] or [""]
    try:
        verdict = json.loads(lines[0])
        value, feedback = verdict["value"], verdict.get("feedback", "")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(value)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Undecided(
            f"{check.script}: its last line must be "
            f'{{"value": 0..1, "feedback": "..."}}, it is {rendering.short(lines[0], 120)!r}'
        ) from None
    return Verdict(value=float(value), feedback=str(feedback))
