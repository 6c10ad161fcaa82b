"""Hidden Python scripts of a task's author, run in a box: checkers, evaluations, looks over the files.

A script comes over stdin and so never lies among the files. It runs as ``python3 -I`` in /work, cannot
import what lies there by accident, and first makes its own process unreadable for any that it starts
(``PR_SET_DUMPABLE``), so that solution code run in a subprocess sees neither the script nor its verdict.
What it prints goes through descriptors that no process it starts inherits: these have /dev/null in place of
its standard streams, unless the script gives them others.

A script that crashes or says nothing usable is never the solution's fault: Undecided. One that was killed or
stopped, or ran out of something, is `Stopped`: solution code that it ran may have done that.
"""

from __future__ import annotations

import json
import re
from typing import Any

from aigym_kernel import rendering
from aigym_kernel.judge.verdict import Undecided, Verdict, hidden, run, stopped
from aigym_kernel.sandboxes.protocol import Box
from aigym_kernel.tasks import Limits, Task

_STARTED = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
sys.stdout, sys.stderr = [open(os.dup(fd), "w", 1, "utf-8", "backslashreplace") for fd in (1, 2)]
null = os.open(os.devnull, os.O_RDWR)
for fd in range(3): os.dup2(null, fd)
exec(compile({!r}, {!r}, "exec"), {{"__name__": "__main__"}})
"""
# No room, no process, no memory, no descriptor left; too long a wait.
_STARVED = re.compile(
    r"OSError: \[Errno (11|12|23|24|28|122)\]|BlockingIOError|MemoryError|subprocess\.TimeoutExpired"
)


class Stopped(Undecided):
    """The script did not end by itself, for a reason that may lie in what it looked at."""


def last_line(box: Box, task: Task, script: str, limits: Limits) -> Any:
    """What the script's last line says, read as JSON.

    Raises:
        SandboxError: the sandbox broke.
        Stopped: the script was killed or stopped, or ran out of something.
        Undecided: it failed otherwise, or its last line is no JSON.
    """
    try:
        source = hidden(task, script).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Undecided(f"{script} is not UTF-8 text (byte {error.start})") from None
    execution = run(box, ["python3", "-I", "-"], stdin=_STARTED.format(source, script))
    if told := stopped(execution, limits):
        last = execution.stderr.strip().splitlines()[-1:] or [""]
        outside = execution.status != "error" or _STARVED.match(last[0])
        kind = Stopped if outside else Undecided
        raise kind(f"{script} {told}; {rendering.short(last[0], 200)}".rstrip("; "))
    line = (execution.stdout.strip().splitlines() or [""])[-1]
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Undecided(
            f"{script}: its last line must be JSON, it is {rendering.short(line, 120)!r}"
        ) from None


def verdict(box: Box, task: Task, script: str, limits: Limits) -> Verdict:
    """The verdict that the script's last line holds: ``{"value": 0..1, "feedback": "..."}``.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the script failed, or its last line is no verdict.
    """
    answer = last_line(box, task, script, limits)
    value = answer.get("value") if isinstance(answer, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Undecided(
            f"{script}: its last line must be "
            f'{{"value": 0..1, "feedback": "..."}}, it is {rendering.short(json.dumps(answer), 120)!r}'
        )
    return Verdict(value=float(value), feedback=str(answer.get("feedback", "")))
