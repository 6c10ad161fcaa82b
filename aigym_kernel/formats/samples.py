"""Solutions to a file's problems: JSONL with task_id and completion, as HumanEval's tools write it.

    for task, completion in read_samples("samples.jsonl", human_eval("HumanEval.jsonl.gz")): ...

A task may have any number of solutions. Not here: what a completion may look like (`judge.asserts.complete`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aigym_kernel.errors import UnknownName
from aigym_kernel.formats.lines import read_objects, refuse, text_field
from aigym_kernel.tasks import Task

FIELDS = {"task_id": "the problem's name", "completion": "the solution's code"}


def read_samples(path: str | Path, tasks: Sequence[Task]) -> list[tuple[Task, str]]:
    """Each line's task, found by its title (the ``task_id`` of the problems' file), and completion.

    Raises:
        TaskError: the file cannot be read, or what is in it is wrong; names file, line, task and field.
    """
    source = Path(path).expanduser()
    known = {task.title: task for task in tasks}
    found, problems = [], []
    for number, record in read_objects(source):
        name = record.get("task_id")
        place = f"line {number}" + (f" ({name})" if isinstance(name, str) else "")
        wrong = [told for f, hint in FIELDS.items() if (told := text_field(record, f, place, hint))]
        if not wrong and name not in known:
            wrong.append(f"{place}: {UnknownName('task_id', name, known)}")
        problems += wrong
        if not wrong:
            found.append((known[str(name)], record["completion"]))
    refuse(source, problems)
    return found
