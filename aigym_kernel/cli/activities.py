"""``aigym train``, ``aigym training`` and ``aigym run``: what takes a while and is recorded; ``aigym
dashboard`` shows it."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import yaml

from aigym_kernel.cli.output import INTERRUPTED, answer, as_json
from aigym_kernel.errors import NotebookError, RunError, TrainingError


@click.command()
@click.argument("env")
@click.option("--algo", default="ppo", show_default=True)
@click.option(
    "--total-timesteps", "--steps", type=click.IntRange(min=1), help="In all. Default: the preset's."
)
@click.option("--seed", type=click.IntRange(min=0), help="Default: 0.")
@click.option("--seeds", metavar="LIST", help="One run for each: 0,1,2 or 0-4.")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="A field of the configuration; repeatable."
)
@click.option("--evaluate-every", type=click.IntRange(min=1), metavar="STEPS")
@click.option("--record", default="all", show_default=True, help="all, none, best-and-worst, or every n-th.")
@click.option("--policy", metavar="RUN|FILE", help="Start from what a run has learnt, or a policy's file.")
@click.option("--at-once", type=click.IntRange(min=1), help="Start when fewer than so many run.")
@as_json
def train(
    env: str,
    algo: str,
    total_timesteps: int | None,
    seed: int | None,
    seeds: str | None,
    changes: tuple[str, ...],
    json_: bool,
    **options: Any,
) -> None:
    """Train an agent on ENV and wait for it. Ctrl-C or SIGTERM stops it and keeps what it learnt.

    NAME of --set is a field of the algorithm's configuration, VALUE is read as YAML: --set learning_rate=1e-3
    """
    from aigym_kernel.handles import Run, Runs
    from aigym_kernel.runs import train as start
    from aigym_kernel.trained import load_agent

    if options["record"].isdecimal():
        options["record"] = int(options["record"])
    if options["policy"] is not None:
        options["policy"] = load_agent(options["policy"]).policy
    several = None if seeds is None else _seeds(seeds)
    settings = {**options, **dict(_change(text) for text in changes)}
    settings |= {"total_timesteps": total_timesteps, "seed": seed, "seeds": several}
    started: Run | Runs = start(env, algo, **settings)
    runs = started if isinstance(started, Runs) else Runs((started,))
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: runs.stop())
    interrupted = _wait(runs)
    found = [_learnt_in(run) for run in runs]
    answer(
        found[0] if several is None else found,
        json_,
        lambda: "\n\n".join("\n".join(f"{k:24} {v}" for k, v in one.items()) for one in found),
    )
    ended = all(one["state"] in ("done", "stopped") for one in found)
    sys.exit(INTERRUPTED if interrupted else 0 if ended else 1)


def _learnt_in(run: Any) -> dict[str, Any]:
    status = run.status()
    named = ("return_mean", "eval_return_mean_before", "eval_return_mean", "steps_per_second")
    return {
        "run_id": run.id,
        "state": status.state,
        "step": status.step,
        **{name: status.summary.get(name) for name in named},
        "error": status.error,
    }


def _seeds(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    try:
        return list(range(int(first), int(last) + 1)) if dash else [int(part) for part in text.split(",")]
    except ValueError:
        raise TrainingError(f"--seeds {text!r}: write 0,1,2 or 0-4") from None


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise TrainingError(f"--set {text!r} is no NAME=VALUE, such as learning_rate=1e-3")
    read = _yaml_value(name, value, "--set")
    if isinstance(read, str):
        with suppress(ValueError):  # YAML takes 1e-3 for text
            read = float(read)
    return name, read


def _wait(runs: Any) -> bool:
    """Until all have ended, telling how far they are on standard error; what failed is told by the caller.
    Whether they were interrupted."""
    interrupted = False
    while True:
        try:
            runs.wait(progress=True)
        except RunError:
            return interrupted
        except KeyboardInterrupt:
            interrupted = True
            runs.stop()
        else:
            return interrupted


@click.group()
def training() -> None:
    """Steer trainings that go on, from any terminal. RUN is by default the newest training."""


def _steers(name: str, told: str, *options: Any) -> None:
    """Adds one command to the group: a method of Run."""

    def steer(run_id: str | None, json_: bool, **settings: Any) -> None:
        from aigym_kernel.overview import newest_training
        from aigym_kernel.runs import load_run

        run = newest_training() if run_id is None else load_run(run_id)
        if run is None:
            raise RunError("the store holds no training; start one with aigym train ENV")
        getattr(run, name)(**settings)
        answer({"run_id": run.id, "asked": name}, json_, lambda: f"{run.id}: {name} asked for")

    steer.__doc__ = told
    command: Any = as_json(steer)
    for option in options:
        command = option(command)
    training.command(name)(click.argument("run_id", required=False, metavar="[RUN]")(command))


_steers("pause", "Save, and wait until it is resumed.")
_steers("resume", "Go on. After a pause, or from the latest checkpoint of a run that ended.")
_steers("stop", "End after the current update, and keep all.")
_steers("save", "Write a checkpoint.")
_steers(
    "set",
    "Change how it goes on.",
    click.option("--speed", help="max or watch."),
    click.option("--learning-rate", type=float),
)


@click.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter; repeatable."
)
@as_json
def run(notebook: Path, parameters: tuple[tuple[str, str], ...], json_: bool) -> None:
    """Execute NOTEBOOK with papermill as a recorded run. Values are read as YAML."""
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


def _yaml_value(name: str, value: str, option: str = "-p") -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise NotebookError(f"{option} {name} {value!r} is not a YAML value; quote it as text") from None


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
    """Serve the dashboard on this machine, until Ctrl-C. Runs, leaderboard, explorer and live board."""
    from aigym_kernel.dashboard import serve

    serve(port=port)
