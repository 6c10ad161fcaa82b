"""``aigym bench new``: a notebook to start a benchmark from."""

from __future__ import annotations

import shlex

import click

from aigym_kernel.cli.output import answer, as_json


@click.command()
@click.argument("name")
@as_json
def new(name: str, json_: bool) -> None:
    """Write NAME.ipynb here, a short benchmark to start from. NAME may be a path."""
    from aigym_kernel.bench.template import write

    path = write(name)
    answer(
        {"notebook": str(path)},
        json_,
        lambda: f"{path}: open it in JupyterLab, then: aigym bench run {shlex.quote(str(path))} -p seed 0..4",
    )
