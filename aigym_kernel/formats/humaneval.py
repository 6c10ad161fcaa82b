"""HumanEval's format: JSONL with task_id, prompt, entry_point, canonical_solution and test.

    tasks = human_eval("HumanEval.jsonl.gz")
    judge(tasks[0], "    return sorted(numbers)\n")

``prompt`` ends where the body of the function ``entry_point`` begins, ``test`` defines ``check(candidate)``.
A solution is the body, the whole function, or either in a Markdown code fence (`judge.asserts.complete`).
MBPP-like files work where they have these fields; further fields, as in HumanEval+, are passed over.

Source: Chen et al. 2021, https://arxiv.org/abs/2107.03374; https://github.com/openai/human-eval.
Not here: judging (the check ``asserts``).
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path
from typing import Any

from aigym_kernel.formats.lines import read_objects, refuse, text_field
from aigym_kernel.tasks import AssertsCheck, Criterion, Limits, Rubric, Task

FIELDS = {
    "task_id": "the problem's name",
    "prompt": "code up to the function's body",
    "entry_point": "the function's name",
    "canonical_solution": "a body that passes",
    "test": "code that defines check(candidate)",
}


def human_eval(path: str | Path, *, limits: Limits | None = None) -> list[Task]:
    """The problems of a file, in its order. A task's ``title`` is the ``task_id``; its ``id`` is made of it
    in lower case (``HumanEval/0``: ``humaneval-0``); ``reference`` holds the canonical solution.

    ``limits`` hold for one solution and its tests together; by default 10 s and 512 MiB.

    Raises:
        TaskError: the file cannot be read, or what is in it is wrong; names file, line, problem and field.
    """
    source = Path(path).expanduser()
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    problems = []
    for number, record in read_objects(source):
        found = _problems(number, record, lines)
        problems += found
        if not found:
            lines[_slug(record["task_id"])] = number
            tasks.append(_task(record, source.parent, limits or Limits()))
    refuse(source, problems)
    return tasks


def _problems(number: int, record: dict[str, Any], lines: dict[str, int]) -> list[str]:
    name = record.get("task_id")
    known = f"line {number}" + (f" ({name})" if isinstance(name, str) else "")
    problems = [told for f, hint in FIELDS.items() if (told := text_field(record, f, known, hint))]
    if problems:
        return problems
    slug, function = _slug(record["task_id"]), record["entry_point"]
    if not slug:
        problems.append(f"{known}: the field 'task_id' must hold letters or digits")
    elif slug in lines:
        problems.append(
            f"{known}: the task_id stands in line {lines[slug]} too; give each problem a name of its own"
        )
    if not re.search(rf"^(async +def|def) +{re.escape(function)}\b", record["prompt"], re.MULTILINE):
        defined = re.findall(r"^(?:async +def|def) +(\w+)", record["prompt"], re.MULTILINE)
        there = f"it defines {', '.join(defined)}" if defined else "it defines no function"
        problems.append(
            f"{known}: the entry_point {function!r} is not in the prompt; {there}; name the one to be written"
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(record["test"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        at = f" (its line {e.lineno})" if isinstance(e, SyntaxError) else ""
        problems.append(f"{known}: the field 'test' is not Python{at}: {getattr(e, 'msg', e)}")
    return problems


def _task(record: dict[str, Any], folder: Path, limits: Limits) -> Task:
    check = AssertsCheck(type="asserts", function=record["entry_point"], prelude="hidden/prelude.py")
    return Task(
        id=_slug(record["task_id"]),
        title=record["task_id"],
        kind="code",
        prompt=record["prompt"],
        answer="solution.py",
        limits=limits,
        rubric=Rubric(criteria=(Criterion(name="tests", check=check, required=True),)),
        folder=folder,
        hidden={
            "prelude.py": record["prompt"].encode("utf-8", "surrogatepass"),
            "tests.py": record["test"].encode("utf-8", "surrogatepass"),
        },
        reference=(record["canonical_solution"],),
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
