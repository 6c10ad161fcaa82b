"""What one check says, and how a command of the judge's is run. Shared by all checks."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigym_kernel.errors import AigymError, SandboxError
from aigym_kernel.sandboxes.protocol import Box, Execution
from aigym_kernel.tasks import FunctionCase, Limits, OutputCase, Task

SHOWN = 8
COMPARED, DIFF_LINES, STDERR_LINES = 300, 16, 5
PAGE = 4096


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``value`` in [0, 1] and why, for a person to read. None: nothing can be said about the solution.
    ``evidence`` is kept with the mark."""

    value: float | None
    feedback: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Undecided(AigymError):
    """The judge's own script failed: nothing can be said about the solution."""


def run(
    box: Box, command: Sequence[str], *, stdin: str | bytes = "", limits: Limits | None = None
) -> Execution:
    """`Box.run`, raising SandboxError where the sandbox broke."""
    execution = box.run(command, stdin=stdin, limits=limits)
    if execution.status == "sandbox_error":
        raise SandboxError(execution.detail or "the sandbox broke while the judge's command ran")
    return execution


def hidden(task: Task, name: str) -> bytes:
    """The content of a hidden file. Raises Undecided: the task holds none of that name."""
    content = task.hidden.get(name.removeprefix("hidden/"))
    if content is None:
        known = ", ".join(sorted(f"hidden/{n}" for n in task.hidden)) or "none"
        raise Undecided(f"task {task.id} has no hidden file {name!r} (it has: {known})")
    return content


def cases_of(task: Task, name: str) -> tuple[Any, ...]:
    """The cases of a hidden file. Raises Undecided: the task, one not made by `load_task`, has none."""
    if not (found := task.cases.get(name)):
        known = ", ".join(sorted(task.cases)) or "none"
        raise Undecided(f"task {task.id} has no cases {name!r} (it has: {known})")
    return found


def extra(module: str, package: str = "") -> Any:
    """A module of the extra ``judge``. Raises Undecided: it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise Undecided(
            f"it needs the package {package or module}: pip install 'aigym-kernel[judge]'"
        ) from None


def diff(expected: str, got: str) -> str:
    """The lines in which two texts differ, of the first `COMPARED` lines, `DIFF_LINES` at most."""
    wanted, given = ([_line(x) for x in text.splitlines()[:COMPARED]] for text in (expected, got))
    lines = list(difflib.unified_diff(wanted, given, "expected", "got", lineterm="", n=1))
    more = [f"... {len(lines) - DIFF_LINES} more lines of difference"] if len(lines) > DIFF_LINES else []
    return "\n".join([*lines[:DIFF_LINES], *more])


def printed(execution: Execution) -> str:
    """The end of what a program said on stderr, indented on lines of their own."""
    lines = execution.stderr[-2000:].rstrip().splitlines()[-STDERR_LINES:]
    return "".join(f"\n  stderr: {_line(line)}" for line in lines)


def _line(text: str) -> str:
    """Printable and at most 120 characters long."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:200])
    return text if len(text) <= 120 else text[:119] + "…"


def roomy(limits: Limits, files: Mapping[str, bytes]) -> Limits:
    """``limits`` with a disk on which ``files`` leave at least half of what they allow. A solution can be
    larger in a new box than where it was made: files of one byte take a page each, holes are filled."""
    pages = sum(-(-len(content) // PAGE) + 1 for content in files.values())
    taken_mb = pages * PAGE // 2**20 + 1
    if taken_mb * 2 <= limits.disk_mb:
        return limits
    return dataclasses.replace(limits, disk_mb=min(limits.disk_mb + taken_mb, 1 << 20))


def refill(box: Box, files: Mapping[str, bytes]) -> None:
    """Leave nothing in the box but ``files``, as if it had just been opened."""
    box.clear()
    box.write(files)


def visible_first(cases: Sequence[FunctionCase | OutputCase]) -> list[int]:
    """The order in which cases run, by their position: when those whose errors are shown whole run, the
    box has not yet held the input of any other."""
    return sorted(range(len(cases)), key=lambda i: not cases[i].visible)


def ran_out(execution: Execution) -> bool:
    """Whether it used all the time that it had: the other cases would probably do so too."""
    return execution.status in ("timeout", "cpu_limit")


def stopped(execution: Execution, limits: Limits) -> str:
    """Why a program ended other than with exit code 0, or nothing."""
    if execution.status == "ok":
        return ""
    return {
        "timeout": f"no answer within {limits.wall_s:g} s",
        "cpu_limit": f"used more than {limits.cpu_s or limits.wall_s:g} s of CPU time",
        "memory_limit": f"used more than {limits.memory_mb} MiB of memory",
        "output_limit": f"printed more than {limits.output_kb} KiB",
        "signal": execution.detail or "killed by a signal",
    }.get(execution.status, f"ended with exit code {execution.exit_code}")


def share(problems: Sequence[str], cases: int, not_run: int = 0, what: str = "case") -> Verdict:
    """The share of ``cases`` that are right, with the first few problems written out."""
    right = cases - len(problems) - not_run
    lines = [f"{right} of {cases} {what}{'' if cases == 1 else 's'} right", *problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"and {len(problems) - SHOWN} more")
    if not_run:
        lines.append(f"{not_run} further {what}{' was' if not_run == 1 else 's were'} not run")
    return Verdict(value=right / cases, feedback="\n".join(lines))
