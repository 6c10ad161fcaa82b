"""The ``asserts`` check: hidden Python tests call the solution's function, which runs in another process.

Tests are code with asserts, as HumanEval and MBPP have them. They run in the box, in a process that nobody
can look into; the solution's process gets arguments and gives values, no more (see `judge.candidate`). Of
a failure the feedback tells after how many calls the tests failed, else how the solution's process ended,
or which built-in exception it raised at which of its lines.

Where the check has a ``prelude``, what is handed in may be written as models write it (see `complete`).
"""

from __future__ import annotations

import ast
import json
import marshal
import re
import textwrap
import threading
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aigym_kernel.judge import candidate, inside
from aigym_kernel.judge.bundle import START, bundle
from aigym_kernel.judge.functions import not_loaded
from aigym_kernel.judge.values import builtin_name, line_of
from aigym_kernel.judge.verdict import Undecided, Verdict, hidden, roomy, run, stopped
from aigym_kernel.sandboxes.protocol import Execution, Sandbox
from aigym_kernel.tasks import AssertsCheck, Task

ANSWER_BYTES = 1 << 20
"""The longest answer to one call, encoded; longer ones fail the tests."""
_one_at_a_time = threading.Lock()  # filters of warnings belong to the whole process
_OPENING = (":", "(", "[", "{", ",", "\\")
_FENCE = re.compile(r"^[ \t]*```([^\n`]*)$", re.MULTILINE)
_BLOCK = re.compile(r"^([ \t]*)```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def check_asserts(task: Task, check: AssertsCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """1 where all tests pass, else 0.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: the tests themselves are broken.
    """
    if task.answer not in files:
        return Verdict(value=0.0, feedback=f"there is no file {task.answer}")
    prelude = "" if check.prelude is None else _text(task, check.prelude)
    if prelude:
        answer = files[task.answer].decode("utf-8", "surrogateescape")
        whole = complete(prelude, check.function, answer)
        files = {**files, task.answer: whole.encode("utf-8", "surrogateescape")}
    job = {
        "file": task.answer,
        "function": check.function,
        "limit": ANSWER_BYTES,
        "prelude": definitions(prelude),
        "tests": _text(task, check.tests),
    }
    data = bundle(inside, candidate) + marshal.dumps(job, 2)
    with sandbox.open(roomy(task.limits, files), files) as box:
        execution = run(box, ["python3", "-I", "-c", START], stdin=data)
    return _verdict(task, files, execution)


def _verdict(task: Task, files: Mapping[str, bytes], execution: Execution) -> Verdict:
    line, complete_line, _ = execution.stdout.partition("\n")
    if execution.status != "ok" or not complete_line:
        if execution.stderr:  # to which only the judge's own process writes, before the solution is loaded
            raise Undecided(f"the tests could not be started: {execution.stderr.strip()[-300:]}")
        told = stopped(execution, task.limits) or "ended the tests"
        return Verdict(value=0.0, feedback=f"the hidden tests did not come to an end: {told}")
    report = json.loads(line)
    if "tests" in report:
        raise Undecided(f"the tests are broken: {report['tests']}")
    return Verdict(value=float("passed" in report), feedback=_told(task, files, report))


def _told(task: Task, files: Mapping[str, bytes], report: Mapping[str, Any]) -> str:
    if "passed" in report:
        return f"passed the hidden tests, which called it {report['calls']} times"
    if "loading" in report:
        return not_loaded(task, report, files)
    if "wrong" in report:
        return f"the hidden tests failed after call {report['calls']}: wrong value"
    call = f"call {report['calls']} of the hidden tests"
    if "ended" in report:
        return f"{call if report['calls'] else f'loading {task.answer}'} ended the solution's process"
    if "unsendable" in report:
        return f"{call}: what it returned is not plain data, or too large"
    if report["error"] == "SystemExit":
        return f"{call} ended by sys.exit instead of returning"
    names = [n for n in report["names"] if isinstance(n, str)]
    place = line_of(files, task.answer, report)
    return f"{call} raised {builtin_name(names)}" + (f" at {place}" if place else "")


def _text(task: Task, name: str) -> str:
    try:
        return hidden(task, name).decode("utf-8")
    except UnicodeDecodeError:
        raise Undecided(f"{name} is not UTF-8 text") from None


# What models hand in


def complete(prelude: str, function: str, text: str) -> str:
    """A whole program: ``prelude`` (imports, definitions, the head of ``function`` and its docstring) and
    then ``text``, which may be

    - the function's body, indented to follow the prelude,
    - a body of which the first line, or every line, has lost that indentation,
    - the whole function or a whole program, which replaces the head,
    - one of these in a Markdown code fence. Of several blocks the first that defines the function counts,
      else the first.

    Nothing else is mended: words around code without a fence stay, and are syntax errors.
    """
    name = re.escape(function)
    defined = re.compile(rf"^(?:(?:async +def|def|class) +{name}\b|{name} *[:=])", re.MULTILINE)
    code = _unfenced(text, defined)
    head, indent = _begun(prelude)
    lines = [line for line in code.split("\n") if line.strip()]
    if not lines or _indent(lines[0]):
        return head + code
    if defined.search(code):
        return definitions(prelude) + code
    code = code[code.index(lines[0]) :]
    second = _indent(lines[1]) if len(lines) > 1 else 0
    if second > (len(indent) if lines[0].rstrip().endswith(_OPENING) else 0):
        return head + indent + code
    return head + textwrap.indent(code, indent)


def definitions(prelude: str) -> str:
    """``prelude`` as a program by itself: what it begins but does not write has an empty body."""
    head, indent = _begun(prelude)
    return f"{head}{indent}pass\n" if head.rstrip().endswith(":") else head


@lru_cache(maxsize=1024)
def _begun(prelude: str) -> tuple[str, str]:
    """``prelude`` up to the place of the body that it begins, and that body's indentation."""
    head = prelude.rstrip() + "\n"
    last = head.splitlines()[-1]
    if head.rstrip().endswith(":"):
        return head, last[: _indent(last)] + "    "
    with _one_at_a_time, warnings.catch_warnings(action="ignore"):  # of escapes in a docstring
        try:
            begun = ast.parse(head).body[-1:]
        except SyntaxError:
            begun = []
    for node in begun:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            line = head.splitlines()[node.body[0].lineno - 1]
            return head, line[: _indent(line)]
    return head, "    "


def _unfenced(text: str, defined: re.Pattern[str]) -> str:
    fences = _FENCE.findall(text)
    before, _, _ = text.partition("```")
    if fences == [""] and before.strip():  # the end of a block that began before the text
        return before
    blocks = [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in _BLOCK.findall(text)]
    return next((b for b in blocks if defined.search(b)), blocks[0] if blocks else text)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
