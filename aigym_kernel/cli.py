"""The command ``aigym``: the library's functions for scripts and continuous integration.

    aigym doctor | tasks [ID] | judge TASK FILE | exec FILE | train ENV | runs | sql QUERY
    aigym index rebuild | run NOTEBOOK -p name value

Every command takes ``--json``: one JSON document on standard output, everything else on standard error.
Exit code 0: success; 1: the thing asked for failed (a solution that does not pass); 2: a user's mistake.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import yaml

from aigym_kernel.errors import AigymError, NotebookError, RunError

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON document.")


class _Commands(click.Group):
    """Turns a user's mistake into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AigymError as problem:
            click.echo(f"error: {problem}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aigym-kernel")
def main() -> None:
    """AIGym Workbench: sandboxed tasks, a rubric judge, training, every step in SQL."""


def _print(data: Any, json_: bool, text: Callable[[], Any] | None = None) -> None:
    """``data`` as JSON (infinite and NaN as null), or ``text()`` for people."""
    if json_:
        click.echo(json.dumps(_plain(data), indent=2))
    else:
        click.echo(str(text() if text else data))


def _plain(value: Any) -> Any:
    """As JSON has it: NaN and no time are null, a time is ISO text, bytes hexadecimal, the rest text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return _plain(value.tolist())
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray):
        return value.hex()
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return None if text in ("NaT", "<NA>") else text


def _records(frame: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows


def _table(frame: Any) -> str:
    return "nothing" if frame.empty else str(frame.to_string(index=False, max_colwidth=60, na_rep=""))


@main.command()
@as_json
def doctor(json_: bool) -> None:
    """Say what works on this machine."""
    from aigym_kernel.doctor import doctor as examine

    found = examine()
    _print(found.to_dict(), json_, lambda: found)
    sys.exit(0 if found.healthy else 1)


@main.command()
@click.argument("task_id", metavar="[ID]", required=False)
@as_json
def tasks(task_id: str | None, json_: bool) -> None:
    """List the tasks, or show one."""
    from aigym_kernel.tasks import load_task, tasks_table

    if task_id is None:
        table = tasks_table()
        _print(_records(table), json_, lambda: _table(table))
        return
    task = load_task(task_id)
    _print(task.to_dict(), json_, lambda: f"{task.title} ({task.id})\n\n{task.prompt}")


@main.command()
@click.argument("task_id", metavar="TASK")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--sandbox", help="bwrap or docker.")
@as_json
def judge(task_id: str, file: Path, sandbox: str | None, json_: bool) -> None:
    """Judge FILE as a solution of TASK; exit code 1 when it does not pass."""
    from aigym_kernel.judge import judge as decide
    from aigym_kernel.sandboxes import open_sandbox

    score = decide(task_id, file, sandbox=open_sandbox(sandbox))
    _print(score.to_dict(), json_, lambda: score)
    sys.exit(0 if score.passed else 1)


@main.command("exec")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--language", default="python", show_default=True, type=click.Choice(["python", "bash"]))
@click.option("--sandbox", help="bwrap or docker.")
@click.option("--wall-s", type=click.FloatRange(min=0, min_open=True), help="Seconds of wall time.")
@click.option("--cpu-s", type=click.FloatRange(min=0, min_open=True), help="Seconds of CPU time.")
@click.option("--memory-mb", type=click.IntRange(min=1), help="MiB for the whole process tree.")
@click.option("--pids", type=click.IntRange(min=1), help="Processes at a time.")
@click.option("--disk-mb", type=click.IntRange(min=1), help="MiB that may be written.")
@click.option("--output-kb", type=click.IntRange(min=1), help="KiB per output stream.")
@as_json
def execute(file: Path, language: Any, sandbox: str | None, json_: bool, **limits: Any) -> None:
    """Run FILE in a sandbox; standard input is passed on unless it is a terminal."""
    from aigym_kernel.sandboxes import Limits, execute, open_sandbox

    given = {name: value for name, value in limits.items() if value is not None}
    stdin = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    result = execute(
        file.read_bytes(), language, stdin=stdin, limits=Limits(**given), sandbox=open_sandbox(sandbox)
    )
    if json_:
        _print(result.to_dict(), True)
    else:
        click.echo(result.stdout, nl=False)
        click.echo(result.stderr, nl=False, err=True)
        click.echo(f"{result.status} after {result.wall_s:.2f} s {result.detail}", err=True)
    sys.exit(0 if result.status == "ok" else 1)


@main.command()
@click.argument("env")
@click.option("--algo", default="ppo", show_default=True)
@click.option("--total-timesteps", type=click.IntRange(min=1), help="Default: the preset's.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@as_json
def train(env: str, algo: str, total_timesteps: int | None, seed: int, json_: bool) -> None:
    """Train an agent on ENV and wait for it; Ctrl-C or SIGTERM stops it and keeps what it learnt."""
    from aigym_kernel.runs import train as start

    run = start(env, algo, total_timesteps=total_timesteps, seed=seed)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: run.stop())
    _watch(run)
    status = run.status()
    summary = {
        "run_id": run.id,
        "state": status.state,
        "step": status.step,
        "return_mean": status.summary.get("return_mean"),
        "eval_return_mean_before": status.summary.get("eval_return_mean_before"),
        "eval_return_mean": status.summary.get("eval_return_mean"),
        "steps_per_second": status.summary.get("steps_per_second"),
        "error": status.error,
    }
    _print(summary, json_, lambda: "\n".join(f"{k:24} {v}" for k, v in summary.items()))
    sys.exit(0 if status.state in ("done", "stopped") else 1)


def _watch(run: Any) -> None:
    """A progress bar on standard error until ``run`` has ended."""
    import time

    from tqdm import tqdm

    total = run.status().total_steps
    with tqdm(total=total, unit="step", unit_scale=True, desc=run.record.name) as bar:
        while True:
            try:
                finished = run.finished
                bar.update(run.status().step - bar.n)
                if finished:
                    return
                time.sleep(0.25)
            except KeyboardInterrupt:
                run.stop()


@main.command()
@as_json
def runs(json_: bool) -> None:
    """List the runs of the store, newest first."""
    from aigym_kernel.store import sql

    frame = sql(
        "select run_id, kind, name, state, step, total_steps, created_at, error from runs "
        "order by created_at desc"
    )
    _print(_records(frame), json_, lambda: _table(frame))


@main.command("sql")
@click.argument("query")
@as_json
def sql_(query: str, json_: bool) -> None:
    """Answer QUERY over runs, trajectories, steps, metrics and marks."""
    from aigym_kernel.store import sql

    frame = sql(query)
    _print(_records(frame), json_, lambda: _table(frame))


@main.group()
def index() -> None:
    """The DuckDB index of the store."""


@index.command()
@as_json
def rebuild(json_: bool) -> None:
    """Build the index anew from the segments, which are the truth."""
    from aigym_kernel.store import Store

    path = Store().index(rebuild=True)
    _print({"index": str(path)}, json_, lambda: path)


@main.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter; repeatable."
)
@as_json
def run(notebook: Path, parameters: tuple[tuple[str, str], ...], json_: bool) -> None:
    """Execute NOTEBOOK with papermill as a recorded run; values are read as YAML."""
    from aigym_kernel.notebooks import run_notebook

    given = {name: _yaml_value(name, value) for name, value in parameters}
    try:
        done = run_notebook(notebook, given)
    except RunError as problem:
        click.echo(f"error: {problem}", err=True)
        sys.exit(1)
    artifacts = done.folder / "artifacts"
    learnt = _learnt(done)
    found = {
        "run_id": done.id,
        "notebook": str(artifacts / notebook.name),
        "report": str((artifacts / notebook.name).with_suffix(".html")),
        "store": str(done.store.folder),
        "trainings": learnt,
    }
    _print(found, json_, lambda: _found(found))


def _yaml_value(name: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise NotebookError(f"-p {name} {value!r} is not a YAML value; quote it as text") from None


def _learnt(run: Any) -> list[dict[str, Any]]:
    """What the trainings that a notebook started have learnt."""
    frame = run.store.sql(
        "select run_id, name, step, summary from runs where parent = ? and kind = 'train' "
        "order by created_at",
        [run.id],
    )
    return [
        {"run_id": r.run_id, "name": r.name, "steps": int(r.step), **json.loads(r.summary)}
        for r in frame.itertuples()
    ]


def _found(found: dict[str, Any]) -> str:
    lines = [f"{name:10} {found[name]}" for name in ("notebook", "report", "store")]
    for training in found["trainings"]:
        before, after = training.get("eval_return_mean_before"), training.get("eval_return_mean")
        if before is not None and after is not None:
            lines.append(
                f"learnt     {training['name']}: mean return {before:.1f} before, {after:.1f} after "
                f"{training['steps']:,} steps ({training['train_s']:.0f} s)"
            )
    return "\n".join(lines)
