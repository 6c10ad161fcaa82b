"""``aigym tasks`` and ``aigym judge``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

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
@click.argument("task_id", metavar="TASK|PROBLEMS")
@click.argument(
    "file", metavar="[FILE]", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--format", "format_", type=click.Choice(["human-eval"]), help="PROBLEMS is a file in this format."
)
@click.option("--solutions", help="With --format: 'canonical', or a JSONL file of task_id and completion.")
@click.option("--workers", type=click.IntRange(1, 1024), help="With --format: solutions at a time.")
@click.option("--sandbox", help="bwrap, docker, or kept warm: pool, pool-bwrap, pool-docker.")
@as_json
def judge(
    task_id: str,
    file: Path | None,
    format_: str | None,
    solutions: str | None,
    workers: int | None,
    sandbox: str | None,
    json_: bool,
) -> None:
    """Judge FILE as a solution of TASK. With --format, judge solutions to all PROBLEMS of a file in a foreign
    format. Exit code 1 when one does not pass, or a problem has no solution."""
    if format_ is not None:
        if file is not None or solutions is None:
            raise click.UsageError("--format takes one file of problems, and --solutions canonical or a file")
        _judge_samples(Path(task_id), solutions, sandbox, workers or 1, json_)
    if file is None:
        raise click.UsageError("Missing argument 'FILE'.")
    if solutions is not None or workers is not None:
        raise click.UsageError("--solutions and --workers go with --format")
    from aigym_kernel.judge import judge as decide
    from aigym_kernel.sandboxes import open_sandbox

    score = decide(task_id, file, sandbox=open_sandbox(sandbox))
    answer(score.to_dict(), json_, lambda: score)
    sys.exit(0 if score.passed else 1)


def _judge_samples(
    problems: Path, solutions: str, sandbox: str | None, workers: int, json_: bool
) -> NoReturn:
    from aigym_kernel.cli import samples
    from aigym_kernel.formats import human_eval

    found = samples.judge_samples(problems, human_eval, solutions, sandbox, workers)
    samples.warn(found)
    answer(found, json_, lambda: samples.told(found))
    sys.exit(0 if found["passed"] == found["total"] and not found["missing"] else 1)
