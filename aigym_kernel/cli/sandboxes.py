"""``aigym sandbox build``, ``list`` and ``prune``: the image, and what boxes have left behind."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from aigym_kernel.cli.output import answer, as_json

if TYPE_CHECKING:
    from aigym_kernel.sandboxes.leftovers import Leftover


@click.group()
def sandbox() -> None:
    """The Docker sandbox's image, and what boxes have left behind."""


@sandbox.command()
@click.option("--base", help="A Debian image with python3 to build on; default: the Dockerfile's.")
@as_json
def build(base: str | None, json_: bool) -> None:
    """Build the image of the Docker sandbox."""
    from aigym_kernel.sandboxes.containers import IMAGE
    from aigym_kernel.sandboxes.leftovers import build

    identity = build(lambda line: click.echo(line, err=True), base)
    answer({"image": IMAGE, "id": identity}, json_, lambda: f"{IMAGE} is {identity}")


@sandbox.command("list")
@as_json
def list_(json_: bool) -> None:
    """List containers, images and control groups of boxes. Says which of them nobody owns any more."""
    from aigym_kernel.sandboxes.leftovers import leftovers

    found = leftovers()
    answer([asdict(each) for each in found], json_, lambda: _table(found))


@sandbox.command()
@as_json
def prune(json_: bool) -> None:
    """Remove what no living process owns."""
    from aigym_kernel.sandboxes.leftovers import prune

    removed = prune()
    answer([asdict(each) for each in removed], json_, lambda: _table(removed))


def _table(found: list[Leftover]) -> str:
    lines = [
        f"{each.kind:10} {'abandoned' if each.abandoned else '':10} {each.state:8} {each.name}  {each.owner}"
        for each in found
    ]
    return "\n".join(lines) or "nothing"
