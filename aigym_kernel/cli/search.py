"""``aigym similar``: past plays like one, or about a text."""

from __future__ import annotations

from typing import Literal

import click

from aigym_kernel.cli.output import answer, as_json, records, table


@click.command()
@click.argument("question")
@click.option("-k", "k", default=10, show_default=True, help="How many.")
@click.option(
    "--by",
    type=click.Choice(["meaning", "words"]),
    default="meaning",
    show_default=True,
    help="Near vectors, or exact words (a phrase in double quotes has to occur).",
)
@click.option("--embedder", metavar="MODEL", help="Name or folder of a sentence-transformers model.")
@as_json
def similar(
    question: str, k: int, by: Literal["meaning", "words"], embedder: str | None, json_: bool
) -> None:
    """List the recorded trajectories most like QUESTION. It is a text, or the id of one."""
    from aigym_kernel.search import similar as search

    frame = search(question, k, by=by, embedder=embedder)
    answer(records(frame), json_, lambda: table(frame))
