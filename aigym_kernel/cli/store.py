"""``aigym runs``, ``aigym sql``, ``aigym index rebuild`` and ``aigym store ...``: what the store holds."""

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


@click.group()
def store() -> None:
    """What is done with the store as a whole."""


@store.command()
@click.argument("path")
@click.option("--format", "format_", help="By default what the name of the file ends in.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only trajectories with this value.")
@as_json
def export(path: str, format_: str | None, where: tuple[str, ...], json_: bool) -> None:
    """Write trajectories into the new file PATH."""
    from aigym_kernel.store import Store

    wanted = dict[str, list[str]]()
    for test in where:
        column, equals, value = test.partition("=")
        if not equals:
            raise click.BadParameter(f"{test!r} is no COLUMN=VALUE", param_hint="--where")
        wanted.setdefault(column, []).append(value)
    count = Store().export(path, format_, where=wanted)
    answer({"path": path, "trajectories": count}, json_, lambda: f"{count} trajectories in {path}")


@store.command("import")
@click.argument("path")
@click.option("--format", "format_", help="By default what name and content agree on.")
@click.option("--run-id", help="By default made of the time and the name.")
@click.option("--name", help="Of the new run; by default the name of the file.")
@as_json
def import_(path: str, format_: str | None, run_id: str | None, name: str | None, json_: bool) -> None:
    """Record the trajectories of the file PATH as a new run."""
    from aigym_kernel.store import Store

    recorded = Store()
    run_id = recorded.import_(path, format_, run_id=run_id, name=name)
    summary = recorded.status(run_id).summary
    answer(
        {"run_id": run_id, **summary},
        json_,
        lambda: f"{summary['trajectories']} trajectories, {summary['steps']} steps in run {run_id}",
    )
