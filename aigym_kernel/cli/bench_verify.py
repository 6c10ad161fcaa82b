"""``aigym bench verify``: whether cells of a bench come to the same when they run again."""

from __future__ import annotations

import sys
from typing import Any

import click

from aigym_kernel.cli.cluster import on_cluster, ray
from aigym_kernel.cli.output import INTERRUPTED, answer, as_json
from aigym_kernel.cli.spread import spread


class _WithCells(click.Command):
    """A command with ``--cells VALUE...``, in its context's ``meta`` as ``cells``: texts, or None."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest, found = spread(args, ("--cells",))
        asked = [part for _, values in found for value in values for part in value.split(",") if part]
        if found and not asked:
            raise click.UsageError("--cells: write how many, or their ids", ctx)
        ctx.meta["cells"] = asked or None
        return super().parse_args(ctx, rest)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Theirs stand before click's."""
        with formatter.section("Cells"):
            told = "How many, spread over those that are done, or ids (or how they begin). Default: all."
            formatter.write_dl([("--cells N|ID...", told)])
        super().format_options(ctx, formatter)


@click.command(cls=_WithCells)
@click.argument("name", required=False, metavar="[BENCH]")
@click.option("--workers", type=click.IntRange(1, 1024), help="Cells at a time. Default: cores.")
@on_cluster
@click.option("--tolerance", type=float, metavar="X", help="Relative, for every metric, in place of its own.")
@as_json
@click.pass_context
def verify(
    ctx: click.Context,
    name: str | None,
    workers: int | None,
    executor: str | None,
    ray_address: str | None,
    tolerance: float | None,
    json_: bool,
) -> None:
    """Run cells of BENCH again: do they come to the same?

    Says of each where it parts from the first time. BENCH is a name or a folder; without it, the bench that
    was started last.

    Ctrl-C ends it, and the verdicts that were reached stay; a second one kills. Exit code 0: all identical or
    within tolerance; 1: one diverged, or failed the second time; 130: interrupted, some were not verified.
    """
    from aigym_kernel.bench.handle import load_bench
    from aigym_kernel.bench.verify import verify as verified
    from aigym_kernel.cli.bench import telling

    asked: list[str] | None = ctx.meta["cells"]
    cells: Any = asked
    bench = load_bench(name)
    if asked and len(asked) == 1 and asked[0].isdigit():
        # The beginning of an id may be digits alone: one that is more than there are cells.
        ids = [cell.id for cell in bench.state().plan.cells]
        if int(asked[0]) <= len(ids) or not any(one.startswith(asked[0]) for one in ids):
            cells = int(asked[0])
    with telling(f"verify {bench.name}") as tell:
        found = verified(
            bench.folder,
            cells=cells,
            workers=workers,
            executor=ray(executor, ray_address),
            tolerance=tolerance,
            tell=tell,
        )
    answer(found.to_dict(), json_, lambda: found)
    sys.exit(INTERRUPTED if found.left else 0 if found.ok else 1)
