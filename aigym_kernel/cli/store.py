"""``aigym runs``, ``aigym sql`` and ``aigym index rebuild``: what the store holds."""

from __future__ import annotations

import click

from aigym_kernel.cli.output import answer, as_json, records, table


@click.command()
@as_json
def runs(json_: bool) -> None:
    """List the runs of the store, newest first."""
    from aigym_kernel.store import sql

    frame = sql(
        "select run_id, kind, name, state, step, total_steps, created_at, error from runs "
        "order by created_at desc"
    )
    answer(records(frame), json_, lambda: table(frame))


@click.command("sql")
@click.argument("query")
@as_json
def sql_(query: str, json_: bool) -> None:
    """Answer QUERY over runs, trajectories, steps, messages, metrics, marks and reviews."""
    from aigym_kernel.store import sql

    frame = sql(query)
    answer(records(frame), json_, lambda: table(frame))


@click.group()
def index() -> None:
    """The DuckDB index of the store."""


@index.command()
@as_json
def rebuild(json_: bool) -> None:
    """Build the index anew from the segments, which are the truth."""
    from aigym_kernel.store import Store

    path = Store().index(rebuild=True)
    answer({"index": str(path)}, json_, lambda: path)
