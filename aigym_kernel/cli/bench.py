"""``aigym bench``: notebooks as benchmarks, from a terminal.

    aigym bench run NOTEBOOK... -p NAME VALUE... [--seeds 0..4] [--workers 2]
    aigym bench resume | status | stop | report | verify [BENCH]
    aigym bench leaderboard [BENCH...]

BENCH is a name in the store or a folder; by default the bench that was started last.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aigym_kernel.cli.bench_new import new
from aigym_kernel.cli.bench_results import leaderboard, report
from aigym_kernel.cli.bench_verify import verify
from aigym_kernel.cli.cluster import on_cluster, ray
from aigym_kernel.cli.output import INTERRUPTED, answer, as_json
from aigym_kernel.cli.spread import Spread
from aigym_kernel.errors import BenchError

if TYPE_CHECKING:
    from aigym_kernel.bench.handle import Bench
    from aigym_kernel.bench.records import Metric
    from aigym_kernel.bench.telling import Event


@click.group()
def bench() -> None:
    """Run notebooks as benchmarks. Grids of parameters, resumed after a crash, verified and ranked."""


bench.add_command(new)
bench.add_command(report)
bench.add_command(leaderboard)
bench.add_command(verify)


def _carries_out(command: Callable[..., None]) -> Callable[..., None]:
    """The options of whatever runs cells."""
    for option in (
        as_json,
        click.option(
            "--fail-on",
            multiple=True,
            metavar="CONDITION",
            help='Exit code 1 where it holds: "return_mean < 400", of the mean over seeds. Repeatable.',
        ),
        on_cluster,
        click.option("--workers", type=click.IntRange(1, 1024), help="Cells at a time. Default: cores."),
    ):
        command = option(command)
    return command


@bench.command(cls=Spread)
@click.argument("notebooks", nargs=-1, type=click.Path(path_type=Path), metavar="NOTEBOOK...")
@click.option("--suite", help="A name in benchmarks/suites, or a YAML file, in place of notebooks.")
@click.option("--name", help="Of the bench. Default: the notebook's or the suite's.")
@click.option("--out", type=click.Path(path_type=Path), help="Its folder. Default: one in the store.")
@click.option("--timeout", metavar="TIME", help="For each cell: 90s, 30m, 2h. Default: 1h.")
@click.option("--memory", metavar="SIZE", help="For each cell: 500M, 4G. Default: no limit.")
@click.option("--disk", metavar="SIZE", help="For what each cell writes. Default: 10G.")
@click.option("--retries", type=click.IntRange(min=0), help="How often a failed cell is tried again.")
@click.option("--threads", type=click.IntRange(min=1), help="Cores for each cell. Default: 1.")
@click.option("--gpus", type=click.IntRange(min=0), help="For each cell alone. Default: shared.")
@click.option("--data", multiple=True, metavar="PATH", help="For the cells' working folders. Repeatable.")
@click.option("--metric", multiple=True, metavar="NAME[:lower]", help="Must be reported; the first ranks.")
@_carries_out
@click.pass_context
def run(
    ctx: click.Context,
    /,
    notebooks: tuple[Path, ...],
    suite: str | None,
    name: str | None,
    out: Path | None,
    data: tuple[str, ...],
    metric: tuple[str, ...],
    timeout: str | None,
    memory: str | None,
    disk: str | None,
    **options: Any,
) -> None:
    """Run NOTEBOOKs with every combination of values, and wait.

    Cells that are done are skipped.

    Ctrl-C ends it and keeps what is done; a second one kills. Exit code 0: all cells are done; 1: one failed,
    or a condition of --fail-on holds; 2: a mistake in what was asked; 130: interrupted.
    """
    from aigym_kernel.bench.handle import benchmark
    from aigym_kernel.bench.plan import values

    if not notebooks and suite is None:
        raise BenchError("give a NOTEBOOK, before -p and its values, or --suite NAME")
    limits = {limit: options.pop(limit) for limit in ("retries", "threads", "gpus")}
    limits |= {
        "timeout_s": None if timeout is None else _seconds(timeout),
        "memory_mb": None if memory is None else _megabytes(memory),
        "disk_mb": None if disk is None else _megabytes(disk, "--disk"),
    }
    grid, seeds = ctx.meta["grid"], ctx.meta["seeds"]
    _conditions(options["fail_on"])  # a mistake in one is told before anything is written
    made = benchmark(
        list(notebooks) or None,
        suite=suite,
        grid={parameter: values(texts) for parameter, texts in grid.items()},
        seeds=None if seeds is None else values(seeds),
        name=name,
        out=out,
        data=data or None,
        metrics=[_metric(text) for text in metric] or None,
        **{limit: value for limit, value in limits.items() if value is not None},
    )
    _carry_out(made, **options)


@bench.command()
@click.argument("name", required=False, metavar="[BENCH]")
@_carries_out
def resume(name: str | None, **options: Any) -> None:
    """Run what is not done of BENCH: failed and unfinished cells.

    BENCH is a name or a folder; without it, the bench that was started last. Exit codes are those of run.
    """
    from aigym_kernel.bench.handle import load_bench

    _carry_out(load_bench(name), **options)


@bench.command()
@click.argument("name", required=False, metavar="[BENCH]")
@as_json
def status(name: str | None, json_: bool) -> None:
    """Say how BENCH stands, with a line per cell.

    BENCH is a name or a folder; without it, the bench that was started last.
    """
    from aigym_kernel.bench import standing
    from aigym_kernel.bench.handle import load_bench

    state = load_bench(name).state()
    answer(standing.summary(state) if json_ else None, json_, lambda: standing.text(state))


@bench.command()
@click.argument("name", required=False, metavar="[BENCH]")
@as_json
def stop(name: str | None, json_: bool) -> None:
    """Ask BENCH to begin no more cells and end the running ones.

    Returns at once; a verification of BENCH is asked too. BENCH is a name or a folder; without it, the bench
    that was started last.
    """
    from aigym_kernel.bench.handle import load_bench

    found = load_bench(name)
    running, verifying = found.running, found.verifying
    found.stop()
    also = "its verification is asked to stop" if verifying else "nobody works on it"
    text = "asked to stop" if running else also
    answer({"bench": found.name, "asked": running or verifying}, json_, lambda: f"{found.name}: {text}")


def _carry_out(
    found: Bench,
    *,
    workers: int | None,
    executor: str | None,
    ray_address: str | None,
    fail_on: Sequence[str],
    json_: bool,
) -> None:
    """Run it here, tell it on standard error, answer with how it stands, and exit."""
    from aigym_kernel.bench import conditions, holding, standing
    from aigym_kernel.bench.scheduling import carry_out

    asked = _conditions(fail_on)
    for condition in asked:
        conditions.foresee(condition, found.state())
    with telling(found.name) as tell:
        state = carry_out(found.folder, workers=workers, executor=ray(executor, ray_address), tell=tell)
    words = standing.words(state).values()
    answer(standing.summary(state) if json_ else None, json_, lambda: standing.text(state))
    if any(word in ("queued", "interrupted") for word in words):
        sys.exit(INTERRUPTED)
    called = holding.called(found.folder)
    held = conditions.failures(asked, state) if asked else []
    see = f"see: aigym bench leaderboard {called}, aigym bench report {called}"
    for line in (see, *(f"failed: {one}" for one in held)):
        _say(line)
    sys.exit(1 if held or "failed" in words else 0)


def _say(line: str) -> None:
    """A line on standard error, or nothing where nobody reads it."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


@contextlib.contextmanager
def telling(name: str) -> Iterator[Callable[[Event], None]]:
    """Lines on standard error; in a terminal a bar below them. Where nobody reads them any more, such as in a
    terminal that was closed, they are dropped: that is no reason to lose what runs."""
    if not sys.stderr.isatty():

        def lines(event: Event) -> None:
            if event.what != "progress":
                _say(event.line)

        yield lines
        return
    from tqdm import tqdm

    from aigym_kernel.bench.standing import duration

    shape = "{desc}: {n_fmt}/{total_fmt} |{bar:20}|{postfix}"
    bars: list[tqdm[Any]] = []
    with contextlib.ExitStack() as until_the_end:

        def both(event: Event) -> None:
            with contextlib.suppress(OSError):
                draw(event)

        def draw(event: Event) -> None:
            if not bars:
                made = tqdm(total=event.total, desc=name, leave=False, bar_format=shape)
                bars.append(until_the_end.enter_context(made))
            bar = bars[0]
            bar.n = event.done
            left = [] if event.left_s is None else [f"about {duration(event.left_s)} left"]
            running = [event.text] if event.what == "progress" and event.text else []
            bar.set_postfix_str(", ".join([*left, *running]), refresh=False)
            if event.what != "progress":
                bar.write(event.line, file=sys.stderr)
            bar.refresh()

        yield both


def _conditions(texts: Sequence[str]) -> list[Any]:
    from aigym_kernel.bench import conditions

    return [conditions.parse(text) for text in texts]


def _metric(text: str) -> Metric:
    from aigym_kernel.bench.records import Metric

    name, colon, direction = text.partition(":")
    if not name or (colon and direction not in ("lower", "higher")):
        raise BenchError(f"--metric {text!r}: write NAME, or NAME:lower where less is better")
    return Metric(name=name, direction="lower" if direction == "lower" else "higher")


_TIMES = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZES = {"M": 1.0, "G": 1024.0, "T": 1024.0**2}


def _seconds(text: str) -> float:
    """``90s``, ``30m``, ``1h30m``; a number alone is seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if "".join(number + unit for number, unit in parts) != text or not text:
        raise BenchError(f"--timeout {text!r}: write a time such as 90s, 30m or 1h30m")
    return sum(float(number) * _TIMES[unit or "s"] for number, unit in parts)


def _megabytes(text: str, option: str = "--memory") -> int:
    """``500M``, ``4G``, ``4GB``, ``4 GiB``; a number alone is megabytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([MGT])(?:i?B)?)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise BenchError(f"{option} {text!r}: write a size such as 500M or 4G")
    return round(float(match[1]) * _SIZES[(match[2] or "M").upper()])
