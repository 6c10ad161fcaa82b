"""Which function carries out which check, and one criterion's Mark.

To add a check: its dataclass with a ``type`` of its own in `aigym_kernel.tasks`, a function
``(task, check, files, sandbox) -> Verdict`` in a module here, and a line in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aigym_kernel.errors import SandboxError, TaskError
from aigym_kernel.judge.asserts import check_asserts
from aigym_kernel.judge.functions import check_function
from aigym_kernel.judge.llm import Model, check_llm
from aigym_kernel.judge.metrics import check_metric
from aigym_kernel.judge.outputs import check_output
from aigym_kernel.judge.programs import check_program
from aigym_kernel.judge.sources import check_static
from aigym_kernel.judge.speed import check_speed
from aigym_kernel.judge.testing import check_unit_tests
from aigym_kernel.judge.texts import check_text
from aigym_kernel.judge.verdict import Undecided, Verdict
from aigym_kernel.sandboxes.protocol import Sandbox
from aigym_kernel.tasks import (
    AssertsCheck,
    Criterion,
    FunctionCheck,
    HumanCheck,
    LlmCheck,
    MetricCheck,
    OutputCheck,
    ProgramCheck,
    SpeedCheck,
    StaticCheck,
    Task,
    TextCheck,
    UnitTestsCheck,
)
from aigym_kernel.trajectories import Mark


def check_human(
    task: Task,  # noqa: ARG001
    check: HumanCheck,
    files: Mapping[str, bytes],  # noqa: ARG001
    sandbox: Sandbox,  # noqa: ARG001
) -> Verdict:
    """No value: a person gives it afterwards, see `trajectories.Score.reviewed`."""
    return Verdict(value=None, feedback=f"waits for a person's review: {check.instructions}")


CHECKS: Mapping[type, Callable[[Task, Any, Mapping[str, bytes], Sandbox], Verdict]] = {
    AssertsCheck: check_asserts,
    FunctionCheck: check_function,
    OutputCheck: check_output,
    MetricCheck: check_metric,
    ProgramCheck: check_program,
    HumanCheck: check_human,
    StaticCheck: check_static,
    SpeedCheck: check_speed,
    TextCheck: check_text,
    UnitTestsCheck: check_unit_tests,
}
FEEDBACK_LENGTH = 4000


def mark(
    task: Task,
    criterion: Criterion,
    files: Mapping[str, bytes],
    sandbox: Sandbox,
    model: Model | None = None,
) -> Mark:
    """One criterion's result. A sandbox that breaks is tried once more, in a fresh box; a mark that
    still cannot be given has the value None and says why. ``model`` answers ``llm`` checks.

    Raises:
        SandboxError: it broke twice because no box at all can be opened here.
    """
    for _ in range(2):
        try:
            if isinstance(criterion.check, LlmCheck):
                verdict = check_llm(task, criterion.check, files, model)
            else:
                verdict = CHECKS[type(criterion.check)](task, criterion.check, files, sandbox)
            break
        except SandboxError as error:
            verdict = Verdict(value=None, feedback=f"could not be judged, tried twice: {error}")
        except (Undecided, TaskError) as error:
            verdict = Verdict(value=None, feedback=f"could not be judged: {error}")
            break
    else:
        sandbox.open(task.limits).close()
    text = verdict.feedback[:FEEDBACK_LENGTH].encode("utf-8", "backslashreplace").decode("utf-8")
    return Mark(
        name=criterion.name,
        value=verdict.value,
        weight=criterion.weight,
        required=criterion.required,
        feedback=text,
        evidence=verdict.evidence,
    )
