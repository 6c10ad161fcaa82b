"""The ``unit_tests`` check: hidden unittest or pytest files against a solution that cannot touch them.

In the box run two processes. The tests' own (`harness`) makes itself undumpable, forks the solution's
(`server`), and only then reads the tests, which lie in no file. The solution is imported there alone; in
the tests its modules are stand-ins (`proxies`) that hand over plain values. So, of what a solution may try:

- patched json, unittest, pytest or builtins, ``atexit``, files named conftest.py, pytest.py, json.py,
  sitecustomize.py or ``__pycache__``: they change the solution's own process, which reports nothing
- ``sys.exit(0)``, ``os._exit(0)``, ``kill``: an exception, or the end of a test that thereby fails; the other
  tests run anew in an emptied box
- forged result lines: results go over a descriptor that only the tests' process holds
- reading or editing the tests: they are in the memory of a process that the kernel keeps closed to it
- a lying ``__eq__`` (or any other operator): it is never shown what it is compared with; see `proxies`

Not stopped: guessing from the calls which test is running, and whatever a test itself hands over: an expected
value that it passes as an argument, a list that it compares with after the call could change it. A test
file's own mistake is never the solution's: Undecided.

``wall_s`` and the other limits hold for all tests together. Feedback names the tests that failed; of tests
that are not ``visible`` it says no more than of a hidden case (`judge.functions`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from aigym_kernel.judge.bundle import START, bundle
from aigym_kernel.judge.testing import harness, proxies, server, subset, wire
from aigym_kernel.judge.values import builtin_name, line_of
from aigym_kernel.judge.verdict import Undecided, Verdict, hidden, ran_out, refill, run, share, stopped
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.tasks import Task, UnitTestsCheck

OUTPUT_KB = 8192
#: What enters the box.
MODULES = (wire, server, proxies, subset, harness)


@dataclass
class _Progress:
    """What is known so far of the tests of one check."""

    names: list[str] | None = None
    outcomes: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    unloaded: Mapping[str, Any] | None = None
    late: bool = False


def check_unit_tests(
    task: Task, check: UnitTestsCheck, files: Mapping[str, bytes], sandbox: Sandbox
) -> Verdict:
    """The share of tests that pass; skipped ones do not count.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the tests themselves are broken, or there are none.
    """
    answer = [PurePosixPath(task.answer).stem] if task.answer else []
    job = {"tests": _sources(task, check), "answer": answer, "modules": _modules(files)}
    progress = _Progress()
    room = max(task.limits.output_kb, OUTPUT_KB)
    with sandbox.open(dataclasses.replace(task.limits, output_kb=room)) as box:
        while not progress.late and progress.unloaded is None:
            before = len(progress.outcomes)
            _go_on(box, task, check, files, job, progress)
            if len(progress.outcomes) in (before, len(progress.names or ())):
                break
    if progress.unloaded is not None:
        told = _told(task, check, files, progress.unloaded)
        return Verdict(value=0.0, feedback=f"the tests cannot use the solution: {told}")
    counted = [name for name in progress.names or () if progress.outcomes.get(name) != "skipped"]
    if not counted:
        raise Undecided(f"{', '.join(check.tests)}: there is no test to run")
    problems = [
        f"{name}: {_told(task, check, files, progress.errors[name])}"
        for name in counted
        if name in progress.errors
    ]
    not_run = sum(name not in progress.outcomes for name in counted)
    return share(problems, len(counted), not_run, what="test")


def _sources(task: Task, check: UnitTestsCheck) -> dict[str, str]:
    sources = {}
    for name in check.tests:
        source = hidden(task, name)
        try:
            sources[PurePosixPath(name).name] = source.decode("utf-8-sig")
            compile(source, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise Undecided(f"{name}: {error}") from None
    return sources


def _modules(files: Mapping[str, bytes]) -> list[str]:
    """The names under which tests import the solution."""
    return sorted({PurePosixPath(n).parts[0].removesuffix(".py") for n in files if n.endswith(".py")})


def _go_on(
    box: Box,
    task: Task,
    check: UnitTestsCheck,
    files: Mapping[str, bytes],
    job: Mapping[str, Any],
    progress: _Progress,
) -> None:
    """Run the tests that have not run, until all have or the solution ends the run."""
    refill(box, files)
    left = json.dumps({**job, "skip": list(progress.outcomes)}).encode()
    execution = run(box, ["python3", "-I", "-c", START], stdin=bundle(*MODULES) + left)
    running = ""
    for line in execution.stdout.splitlines():
        message = _message(line)
        if "broken" in message:
            raise Undecided(f"{', '.join(check.tests)}: {message['broken']}")
        progress.names = message.get("collected", progress.names)
        progress.unloaded = message.get("unloaded", progress.unloaded)
        running = message.get("started", running)
        if name := message.get("ended"):
            running, progress.outcomes[name] = "", message["outcome"]
            if message["outcome"] == "failed":
                progress.errors[name] = message["error"]
    progress.late = ran_out(execution)
    if running:
        progress.outcomes[running] = "failed"
        progress.errors[running] = {"ended": _end(task, execution)}
    elif progress.names is None and progress.unloaded is None:
        if execution.status in ("ok", "error") and execution.stderr:
            told = stopped(execution, task.limits) or "ended without a word"
            raise Undecided(f"the tests' process {told}: {execution.stderr.strip()[-300:]}")
        progress.unloaded = {"ended": _end(task, execution)}


def _message(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:  # the last line of a process that was killed
        return {}
    return message if isinstance(message, dict) else {}


def _end(task: Task, execution: Execution) -> str:
    told = stopped(execution, task.limits) or "ended with exit code 0"
    return f"{told} before the test had ended" if execution.status in ("ok", "error", "signal") else told


def _told(task: Task, check: UnitTestsCheck, files: Mapping[str, bytes], error: Mapping[str, Any]) -> str:
    """What went wrong; of hidden tests, no text from inside the box."""
    if "ended" in error:
        return str(error["ended"])
    names = [str(name) for name in error["names"]]
    place = line_of(files, task.answer, error)
    at = f" at {place}" if place else ""
    if names[0] == "Ended":
        return "the solution ended its process, or broke the line to it"
    if not check.visible:
        if not place and names[0] in ("AssertionError", "Refused"):
            return "failed"
        if names[0] in ("ImportError", "ModuleNotFoundError") and not error["theirs"]:
            return str(error["message"])  # of Python, about a name that the tests import
        return f"raised {builtin_name(names)}{at}"
    in_test = f" (line {error['test']} of the tests)" if error["test"] else ""
    message = str(error["message"]).strip()
    return f"{names[0]}{at}{in_test}" + (f": {message}" if message else "")
