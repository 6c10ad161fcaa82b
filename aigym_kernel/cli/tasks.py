"""``aigym tasks`` and ``aigym judge``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from aigym_kernel.cli.output import answer, as_json, records, table


@click.command()
@click.argument("task_id", metavar="[ID]", required=False)
@as_json
def tasks(task_id: str | None, json_: bool) -> None:
    """List the tasks, or show one."""
    from aigym_kernel.tasks import load_task, tasks_table

    if task_id is None:
        all_tasks = tasks_table()
        answer(records(all_tasks), json_, lambda: table(all_tasks))
        return
    task = load_task(task_id)
    answer(task.to_dict(), json_, lambda: f"{task.title} ({task.id})\n\n{task.prompt}")


@click.command()
@click.argument("task_id", metavar="TASK")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--sandbox", help="bwrap or docker.")
@as_json
def judge(task_id: str, file: Path, sandbox: str | None, json_: bool) -> None:
    """Judge FILE as a solution of TASK; exit code 1 when it does not pass."""
    from aigym_kernel.judge import judge as decide
    from aigym_kernel.sandboxes import open_sandbox

    score = decide(task_id, file, sandbox=open_sandbox(sandbox))
    answer(score.to_dict(), json_, lambda: score)
    sys.exit(0 if score.passed else 1)
