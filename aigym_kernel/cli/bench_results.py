"""``aigym bench report`` and ``aigym bench leaderboard``: what a bench came to."""

from __future__ import annotations

import click

from aigym_kernel.cli.output import answer, as_json


@click.command()
@click.argument("name", required=False, metavar="[BENCH]")
@as_json
def report(name: str | None, json_: bool) -> None:
    """Write report.html and report.md into the folder of BENCH.

    Also while it goes on. BENCH is a name or a folder; without it, the bench that was started last.
    """
    from aigym_kernel.bench.handle import load_bench
    from aigym_kernel.bench.pages import write

    page, markdown = write(load_bench(name).folder)
    answer({"html": str(page), "markdown": str(markdown)}, json_, lambda: f"{page}\n{markdown}")


@click.command()
@click.argument("names", nargs=-1, metavar="[BENCH]...")
@as_json
def leaderboard(names: tuple[str, ...], json_: bool) -> None:
    """Rank the methods of BENCH, or of several benches together.

    By the main metric. BENCH is a name or a folder; without it, the bench that was started last.
    """
    from aigym_kernel.bench.handle import load_bench
    from aigym_kernel.bench.leaderboard import leaderboard as rank

    board = rank(*(load_bench(name).state() for name in names or (None,)))
    answer(board.to_dict(), json_, lambda: board)
