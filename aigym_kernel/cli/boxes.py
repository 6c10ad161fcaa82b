"""``aigym exec``: one program in a sandbox."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from aigym_kernel.cli.output import answer, as_json


@click.command("exec")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--language", help="python, bash, c ... Default: what FILE's name ends in; else python.")
@click.option("--sandbox", help="bwrap, docker, or kept warm: pool, pool-bwrap, pool-docker.")
@click.option("--wall-s", type=click.FloatRange(min=0, min_open=True), help="Seconds of wall time.")
@click.option("--cpu-s", type=click.FloatRange(min=0, min_open=True), help="Seconds of CPU time.")
@click.option("--memory-mb", type=click.IntRange(min=1), help="MiB for the whole process tree.")
@click.option("--pids", type=click.IntRange(min=1), help="Processes at a time.")
@click.option("--disk-mb", type=click.IntRange(min=1), help="MiB that may be written.")
@click.option("--output-kb", type=click.IntRange(min=1), help="KiB per output stream.")
@click.option("--network", is_flag=True, default=None, help="May reach the network.")
@click.option("--package", "packages", multiple=True, help="An installed Python package it may import.")
@as_json
def execute(file: Path, language: str | None, sandbox: str | None, json_: bool, **limits: Any) -> None:
    """Run FILE in a sandbox. Standard input is passed on unless it is a terminal."""
    from aigym_kernel.sandboxes import LANGUAGES, Limits, execute, open_sandbox

    endings = {Path(known.file).suffix.lower(): known.name for known in LANGUAGES.values()}
    language = language or endings.get(file.suffix.lower(), "python")
    given = {name: value for name, value in limits.items() if value is not None}
    stdin = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    result = execute(
        file.read_bytes(), language, stdin=stdin, limits=Limits(**given), sandbox=open_sandbox(sandbox)
    )
    if json_:
        answer(result.to_dict(), True)
    else:
        click.echo(result.stdout, nl=False)
        click.echo(result.stderr, nl=False, err=True)
        code = f"exit code {result.exit_code}" if result.status == "error" else ""
        why = "; ".join(filter(None, (code, result.detail)))
        click.echo(f"{result.status} after {result.wall_s:.2f} s{why and ': '}{why}", err=True)
    sys.exit(0 if result.status == "ok" else 1)
