"""The command ``aigym``: the library's functions for scripts and continuous integration.

    aigym doctor | tasks [ID] | judge TASK FILE | judge --format human-eval PROBLEMS | exec FILE
    aigym train ENV | runs | sql QUERY | similar TEXT | index rebuild | run NOTEBOOK -p name value
    aigym bench run NOTEBOOK... -p NAME VALUE... --seeds 0..4 | bench run --suite smoke | bench new NAME
    aigym bench resume|status|stop|report|leaderboard|verify [BENCH]
    aigym training pause|resume|stop|save|set [RUN] | devices | dashboard [--port 8866]
    aigym store export PATH | store import PATH | store merge FOLDER | store compact [RUN]
    aigym store export-run RUN PATH | store import-run PATH
    aigym store check | store delete RUN | store restore [RUN] | store tag ID TAG... | store note ID TEXT
    aigym sandbox build | sandbox list | sandbox prune

Every command but ``dashboard`` takes ``--json``: one JSON document on standard output, everything else on
standard error. Exit code 0: success; 1: the thing asked for failed (a solution that does not pass); 2: a
user's mistake; 130: Ctrl-C, with what was done kept.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import click

from aigym_kernel.cli.activities import dashboard, run, train, training
from aigym_kernel.cli.bench import bench
from aigym_kernel.cli.boxes import execute
from aigym_kernel.cli.output import INTERRUPTED, answer, as_json
from aigym_kernel.cli.sandboxes import sandbox
from aigym_kernel.cli.search import similar
from aigym_kernel.cli.store import index, runs, sql_, store
from aigym_kernel.cli.tasks import judge, tasks
from aigym_kernel.errors import AigymError


class _Commands(click.Group):
    """One line each: a user's mistake (exit code 2), Ctrl-C (130), a warning."""

    def invoke(self, ctx: click.Context) -> Any:
        def told(message: Any, *_: Any, **__: Any) -> None:
            click.echo(f"warning: {message}", err=True)

        try:
            with warnings.catch_warnings():
                warnings.showwarning = told
                return super().invoke(ctx)
        except AigymError as problem:
            click.echo(f"error: {problem}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aigym-kernel")
def main() -> None:
    """AIGym Workbench: sandboxed tasks, a rubric judge, training, every step in SQL."""


@main.command()
@as_json
def doctor(json_: bool) -> None:
    """Say what works on this machine."""
    from aigym_kernel.doctor import doctor as examine

    found = examine()
    answer(found.to_dict(), json_, lambda: found)
    sys.exit(0 if found.healthy else 1)


@main.command()
@as_json
def devices(json_: bool) -> None:
    """Say what trainings can compute on here, and what they use."""
    from aigym_kernel.devices import devices as look

    found = look()
    answer(found.to_dict(), json_, lambda: found)


for _command in (
    tasks,
    judge,
    execute,
    sandbox,
    train,
    training,
    runs,
    sql_,
    similar,
    index,
    store,
    run,
    bench,
    dashboard,
):
    main.add_command(_command)
