"""``aigym runs``, ``aigym sql``, ``aigym index rebuild`` and ``aigym store ...``: what the store holds."""

from __future__ import annotations

import sys
from dataclasses import asdict

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
    """Answer QUERY, in SQL. Tables: runs, trajectories, steps, messages, metrics, marks, reviews, notes."""
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
@click.option("--format", "format_", help="jsonl, parquet, atif ... Default: what PATH ends in.")
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
@click.option("--format", "format_", help="jsonl, inspect ... Default: what name and content agree on.")
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


@store.command("export-run")
@click.argument("run_id")
@click.argument("path")
@as_json
def export_run(run_id: str, path: str, json_: bool) -> None:
    """Write all of the run RUN_ID into the new file PATH. `import-run` reads it."""
    from aigym_kernel.handles import load_run

    place = load_run(run_id).export(path)
    size = place.stat().st_size
    answer(
        {"run_id": run_id, "path": str(place), "bytes": size},
        json_,
        lambda: f"run {run_id} in {place} ({size / 1e6:,.1f} MB)",
    )


@store.command("import-run")
@click.argument("path")
@as_json
def import_run(path: str, json_: bool) -> None:
    """Take the run in the file PATH into the store. `export-run` wrote it."""
    from aigym_kernel.handles import import_run

    run = import_run(path)
    answer({"run_id": run.id, "state": run.status().state}, json_, lambda: f"{path} is run {run.id}")


@store.command()
@as_json
def check(json_: bool) -> None:
    """Read everything, and say what is damaged or left over. Exit code 1 if anything is."""
    from aigym_kernel.store import Store

    problems = Store().check()
    text = "\n".join(map(str, problems)) or "nothing is wrong"
    answer([asdict(problem) for problem in problems], json_, lambda: text)
    sys.exit(bool(problems))


@store.command()
@click.argument("run_id", required=False)
@as_json
def compact(run_id: str | None, json_: bool) -> None:
    """Merge small files into few large ones. Those of RUN_ID, or of all runs."""
    from aigym_kernel.store import Store

    done = Store().compact(run_id)
    saved = f"{done.bytes_before / 1e6:,.1f} MB before, {done.bytes_after / 1e6:,.1f} MB now"
    answer(asdict(done), json_, lambda: f"{done.merged} segments became {done.written}: {saved}")


@store.command()
@click.argument("run_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def delete(run_id: str, yes: bool, json_: bool) -> None:
    """Move the run RUN_ID to the trash, which `restore` undoes."""
    from aigym_kernel.store import Store

    place = Store().delete(run_id, ask=not yes)
    told = "kept" if place is None else f"moved to {place}; undo: aigym store restore {run_id}"
    answer({"run_id": run_id, "trash": place and str(place)}, json_, lambda: told)
    sys.exit(place is None)


@store.command()
@click.argument("run_id", required=False)
@as_json
def restore(run_id: str | None, json_: bool) -> None:
    """Bring the deleted run RUN_ID back. Without it, list what lies in the trash."""
    from aigym_kernel.store import Store

    if run_id is None:
        names = Store().deleted()
        answer(names, json_, lambda: "\n".join(names) or "nothing was deleted")
        return
    place = Store().restore(run_id)
    answer({"run_id": place.name, "folder": str(place)}, json_, lambda: f"run {place.name} is back")


@store.command()
@click.argument("folder")
@as_json
def merge(folder: str, json_: bool) -> None:
    """Copy the runs of the store in FOLDER. It may be another machine's."""
    from aigym_kernel.store import Store

    run_ids = Store().merge(folder)
    answer(
        {"runs": run_ids}, json_, lambda: f"{len(run_ids)} new or grown runs: {', '.join(run_ids) or 'none'}"
    )


@store.command()
@click.argument("trajectory_id")
@click.argument("tags", nargs=-1)
@click.option("--remove", multiple=True, metavar="TAG", help="Take this tag away.")
@as_json
def tag(trajectory_id: str, tags: tuple[str, ...], remove: tuple[str, ...], json_: bool) -> None:
    """Give a trajectory TAGS; prints all that it then has."""
    from aigym_kernel.store import Store

    left = Store().tag(trajectory_id, *tags, remove=remove)
    answer({"trajectory_id": trajectory_id, "tags": left}, json_, lambda: ", ".join(left) or "no tags")


@store.command()
@click.argument("trajectory_id")
@click.argument("text")
@click.option("--by", default="", help="Who says so.")
@as_json
def note(trajectory_id: str, text: str, by: str, json_: bool) -> None:
    """Write TEXT about a trajectory."""
    from aigym_kernel.store import Store

    written = Store().note(trajectory_id, text, by)
    answer({"trajectory_id": trajectory_id, **asdict(written)}, json_, lambda: "noted")
