"""``aigym train`` and ``aigym run``: what takes a while and is recorded; ``aigym dashboard`` shows it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from aigym_kernel.cli.output import answer, as_json
from aigym_kernel.errors import NotebookError, RunError


@click.command()
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
    answer(summary, json_, lambda: "\n".join(f"{k:24} {v}" for k, v in summary.items()))
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


@click.command()
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
    answer(found, json_, lambda: _found(found))


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


@click.command()
@click.option("--port", default=8866, show_default=True, type=click.IntRange(1, 65_535))
def dashboard(port: int) -> None:
    """Serve runs, leaderboard, explorer and live board as an application on this machine, until Ctrl-C."""
    from aigym_kernel.dashboard import serve

    click.echo(f"http://localhost:{port}   (Ctrl-C ends it)", err=True)
    serve(port=port)
