"""Options that take as many values as follow them: ``-p algo ppo dqn -p seed 0..4 --seeds 1 2 3``.

Click's options take a fixed number, so these are taken out of the arguments before click sees them. Values
end at the next option; ``--`` ends the last one's. A negative number is a value.
"""

from __future__ import annotations

import re
from typing import Any

import click

from aigym_kernel.errors import BenchError

_NEGATIVE = re.compile(r"-(\.?\d|inf\b).*")


def spread(arguments: list[str], names: tuple[str, ...]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The arguments without the options of these ``names``, and each of those with its values."""
    rest: list[str] = []
    found: list[tuple[str, list[str]]] = []
    values = rest
    for i, argument in enumerate(arguments):
        if argument == "--":
            return [*rest, *arguments[i:]], found
        if argument in names:
            values = []
            found.append((argument, values))
        elif argument.startswith("-") and not _NEGATIVE.fullmatch(argument):
            values = rest
            rest.append(argument)
        else:
            values.append(argument)
    return rest, found


class Spread(click.Command):
    """A command with ``-p NAME VALUE...`` and ``--seeds VALUE...``, in its context's ``meta`` as ``grid``
    (name -> texts) and ``seeds`` (texts, or None)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest, found = spread(args, ("-p", "--seeds"))
        grid: dict[str, list[str]] = {}
        seeds: list[str] | None = None
        for option, values in found:
            if option == "--seeds":
                if seeds is not None or not values:
                    raise BenchError("--seeds: give it once, with its values, such as --seeds 0..4")
                seeds = [part for value in values for part in value.split(",") if part]
            elif len(values) < 2:
                shown = " ".join(["-p", *values])
                raise BenchError(f"{shown}: write the parameter's name and its values, such as -p seed 0..4")
            elif values[0] in grid:
                raise BenchError(f"-p {values[0]} is given twice; write all its values after one -p")
            else:
                grid[values[0]] = values[1:]
        ctx.meta.update(grid=grid, seeds=seeds)
        return super().parse_args(ctx, rest)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Theirs stand before click's."""
        rows: list[tuple[Any, Any]] = [
            ("-p NAME VALUE...", "A parameter and its values; 0..4 is a range. Repeatable; after NOTEBOOK."),
            ("--seeds VALUE...", "The values of the parameter seed: 0..4, or 1 2 3."),
        ]
        with formatter.section("Grid"):
            formatter.write_dl(rows)
        super().format_options(ctx, formatter)
