"""The answer file as a program in its task's language: compiled once, run as often as a check wants.

    program = build(task, files, sandbox)           # the files of a box, or the Verdict where none can be
    with sandbox.open(task.limits, program) as box:
        execution = run(box, task, stdin="3 4")

What a compiler says is shown whole: it has seen nothing that is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

from aigym_kernel.errors import SandboxError
from aigym_kernel.judge.verdict import Verdict
from aigym_kernel.sandboxes import languages
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.tasks import Task

_SHOWN = 3000


def build(task: Task, files: Mapping[str, bytes], sandbox: Sandbox) -> dict[str, bytes] | Verdict:
    """``files`` and what its compiler makes of the answer. A value of 0 where there is no such file, or
    where it does not compile.

    Raises:
        SandboxError: the sandbox broke, or has no such compiler.
    """
    if task.answer not in files:
        return Verdict(value=0.0, feedback=f"there is no file {task.answer}")
    built = languages.build(sandbox.open, task.language, task.answer, files, task.limits)
    if not isinstance(built, Execution):
        return {**files, **built}
    _whole(built)
    told = "\n".join(filter(None, (built.detail, built.stderr.strip())))
    return Verdict(value=0.0, feedback=f"{task.answer} does not compile: {told[:_SHOWN]}")


def run(box: Box, task: Task, *, stdin: str = "") -> Execution:
    """Run the program in a box that holds what `build` returned.

    Raises:
        SandboxError: the sandbox broke, or has no such interpreter.
    """
    return _whole(languages.run(box, task.language, task.answer, task.limits, stdin=stdin))


def _whole(execution: Execution) -> Execution:
    if execution.status == "sandbox_error":
        raise SandboxError(execution.detail or "the sandbox broke while the solution's program ran")
    return execution
