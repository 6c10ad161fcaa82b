"""A handle on a bench: start it, look at it, wait for it, stop it, read what it came to.

    bench = benchmark("bench_rl.ipynb", grid={"algo": ["ppo", "dqn"]}, seeds=range(5), timeout_s=1800)
    bench.run()                 in the background; returns at once, and outlives the kernel
    bench.wait(); bench.stop(); bench.resume(); bench.state()
    bench.results(); bench.leaderboard(); bench.report()
    load_bench()                the newest bench of the store; load_bench("bench_rl"), or its folder

Everything is in the bench's folder, so a handle is cheap and any process may have one. Nothing is decided
here: `plan` checks, `scheduling` carries out, `standing` says how it stands.
"""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigym_kernel.bench import background, holding, records, results, standing, suites
from aigym_kernel.bench.leaderboard import Leaderboard, leaderboard
from aigym_kernel.bench.plan import make_plan
from aigym_kernel.bench.records import Budget, Metric, Plan, State
from aigym_kernel.errors import AigymError, BenchError, UnknownName, check_whole
from aigym_kernel.executors import Ray
from aigym_kernel.progress import following, wanted
from aigym_kernel.recording import as_store
from aigym_kernel.store import RunState, RunStatus, Store

if TYPE_CHECKING:
    import pandas

    from aigym_kernel.bench.telling import Event
    from aigym_kernel.bench.verify import Verification

_AS_RUN: dict[str, RunState] = {"skipped": "done", "interrupted": "stopped"}
"""What a cell's state is called where states of runs are told."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A bench, by its folder. ``workers`` and ``executor``: what `run` and `resume` use."""

    folder: Path
    workers: int | None = None
    executor: Ray | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name

    def state(self) -> State:
        """Its plan, and status and result of each cell, as the files have them now."""
        return records.read(self.folder)

    @property
    def running(self) -> bool:
        """Whether a process works on it."""
        return holding.holder(self.folder) is not None

    @property
    def verifying(self) -> bool:
        """Whether a process runs cells of it again (`verify`)."""
        return any(holding.holder(place) for place in self._verifications())

    def _verifications(self) -> list[Path]:
        return sorted(self.folder.glob("verify/*"))

    def run(self) -> Bench:
        """Run what is not done, in a process of its own, and return at once. Cells that are done are skipped,
        failed and interrupted ones run again. What the process says is in ``log.txt``.

        Raises:
            BenchError: another process works on it already.
            StoreError: its folder cannot be written.
        """
        background.start(self.folder, workers=self.workers, executor=self.executor)
        return self

    def resume(self) -> Bench:
        """The same as `run`, and harmless while it goes on."""
        return self if self.running else self.run()

    def stop(self) -> Bench:
        """Ask it, and a verification of it, to begin no more cells and to end the running ones, which are
        kept as interrupted; returns at once. Harmless when nobody works on it."""
        for folder in (self.folder, *self._verifications()):
            holding.ask_to_stop(folder)
        return self

    def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> Bench:
        """Wait until nobody works on it any more (at most ``timeout`` seconds) and return it. Cells that
        failed raise nothing here: look at the bench itself.

        Args:
            progress: tell how far it is: a bar in a terminal, elsewhere a line every few seconds. Default: in
                a terminal, and where papermill runs the notebook.

        Raises:
            BenchError: the time is over, its process ended before it had said how, or it was never started.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        shown = wanted() if progress is None else progress
        with following(self.name, shown, unit="cell") as tell:
            while True:
                began = time.monotonic()
                going = self.running  # first, so that the last state is the one after the end
                if shown:
                    tell(_as_runs(self.state()))
                if not going:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise BenchError(
                        f"bench {self.name} still runs after {timeout:g} s; wait longer, or end it with "
                        "bench.stop()"
                    )
                # Reading thousands of cells must not take the time of those that run.
                time.sleep(max(0.2, 20 * (time.monotonic() - began)))
        self._check_end()
        return self

    def _check_end(self) -> None:
        """Raise if the last start did not come to its end."""
        state = self.state()
        left = [word for word in standing.words(state).values() if word in ("queued", "interrupted")]
        last, log = holding.last(self.folder), self.folder / "log.txt"
        if len(left) == len(state.plan.cells) and not log.exists() and not any(self.folder.glob("cells/*")):
            raise BenchError(f"bench {self.name} was not started yet; bench.run() starts it")
        if left and last is not None and not holding.stop_asked(self.folder):
            raise BenchError(
                f"bench {self.name}: its process {last.pid} ended with {len(left)} cells left; "
                f"bench.resume() goes on. {log} ends with: {_last_line(log)}"
            )

    def results(self) -> pandas.DataFrame:
        """A row per cell with its parameters, state and metrics; see `results.frame`."""
        return results.frame(self.state())

    def leaderboard(self) -> Leaderboard:
        """The methods, best first, with intervals over seeds."""
        return leaderboard(self.state())

    def report(self) -> Path:
        """Write ``report.html``, and ``report.md`` beside it; returns the path of the page.

        Raises:
            StoreError: the disk is full or the folder cannot be written.
        """
        from aigym_kernel.bench.pages import write  # which brings plotly

        return write(self.folder)[0]

    def verify(
        self,
        cells: int | Sequence[str] | None = None,
        *,
        workers: int | None = None,
        tolerance: float | None = None,
        progress: bool = True,
    ) -> Verification:
        """Run cells that are done again, wait, and say whether they come to the same; see `bench.verify`.

        Args:
            cells: how many, or their ids; default: all.
            workers: how many at a time; default: the bench's own.
            tolerance: relative, for every metric, in place of its own.
            progress: print a line whenever a cell begins or ends.
        """
        from aigym_kernel.bench.verify import verify

        def tell(event: Event) -> None:
            if progress and event.what != "progress":
                print(event.line)

        return verify(
            self.folder,
            cells=cells,
            workers=workers or self.workers,
            executor=self.executor,
            tolerance=tolerance,
            tell=tell,
        )

    def board(self) -> Any:
        """The live board: a matrix of its cells, and everything of the one that is chosen."""
        import aigym_kernel  # whose public face knows the widget; nothing here does

        return aigym_kernel.bench_board(self)

    def __repr__(self) -> str:
        return standing.text(self.state())

    def _repr_html_(self) -> str:
        return standing.html(self.state())


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return lines[-1] if lines else "(nothing)"


def _as_runs(state: State) -> list[RunStatus]:
    """The cells as `progress.following` tells runs."""
    found = []
    for cell_id, word in standing.words(state).items():
        known: Any = _AS_RUN.get(word, word)
        step = int(cell_id in state.results)
        found.append(RunStatus(state=known, step=step, total_steps=1))
    return found


def benchmark(
    notebook: str | Path | Sequence[str | Path] | None = None,
    *,
    grid: Mapping[str, Any] | None = None,
    seeds: Iterable[int] | None = None,
    suite: str | Path | None = None,
    name: str | None = None,
    workers: int | None = None,
    executor: Ray | None = None,
    metrics: Sequence[Metric | str] | None = None,
    data: Mapping[str, str | Path] | Sequence[str | Path] | None = None,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    task: str | None = None,
    seed: str | None = None,
    out: str | Path | None = None,
    store: Store | str | Path | None = None,
    **limits: Any,
) -> Bench:
    """Make a bench: every combination of a notebook's parameters is a cell, checked before anything starts.
    `Bench.run` starts it.

        bench = aigym.benchmark("bench_rl.ipynb", grid={"algo": ["ppo", "dqn"]}, seeds=range(5))
        bench = aigym.benchmark(suite="smoke")

    A bench of this name gets this plan. Cells that it has in common with an earlier plan stay done.

    Args:
        notebook: its path, or several paths with the same grid.
        grid: parameter -> its values, or one value.
        seeds: the values of the parameter ``seed``, or of the one that ``seed=`` names.
        suite: in place of a notebook: a name in ``benchmarks/suites``, or the path of a YAML file. What else
            is given here replaces what it says.
        name: of the bench, and of its folder in the store; default: the notebook's or the suite's.
        workers: how many cells at a time; default: as many as there are cores for (or GPUs).
        executor: ``aigym.Ray(...)`` runs the cells on a cluster.
        metrics: names or `Metric`s that must be reported, the first ranks; default: what the notebook
            reports.
        data: files that cells find in their working folder: name there -> path, or paths.
        baselines: task -> ``{"low": ..., "high": ...}``, the scores that count as 0 and 1.
        task: the parameter that is the task; all that vary but this and the seed make the method.
        out: the folder of the bench, in place of one in the store.
        store: where its cells record; default: the one that AIGYM_DATA names.
        limits: fields of `Budget`, for each cell: ``timeout_s``, ``memory_mb``, ``disk_mb``, ``output_mb``,
            ``threads``, ``gpus``, ``retries``.

    Raises:
        UnknownName: the notebook has no such parameter, or there is no such suite or limit.
        NotebookError: the notebook cannot be read, or a value has the wrong type.
        BenchError: what is asked for cannot be; or a process works on a bench of this name with another plan.
    """
    if (notebook is None) == (suite is None):
        raise BenchError("benchmark: give a notebook, or suite=...; one of the two")
    if workers is not None:
        check_whole("workers", workers, 1, 1024, BenchError)
    source = notebook if suite is None else suites.load(suite)
    assert source is not None
    folder, plan = make_plan(
        source,
        grid=grid,
        seeds=seeds,
        name=name,
        store=store,
        metrics=metrics,
        budget=_budget(source, limits),
        data=data,
        baselines=baselines,
        task=task,
        seed=seed,
        out=out,
    )
    _write(folder, plan)
    return Bench(folder=folder, workers=workers, executor=executor)


def _budget(source: Any, limits: Mapping[str, Any]) -> Budget | None:
    """The suite's budget, or the default one, with what was given instead."""
    known = [field.name for field in dataclasses.fields(Budget)]
    for name in limits:
        if name not in known:
            others = [given for given in inspect.signature(benchmark).parameters if given != "limits"]
            raise UnknownName("argument of benchmark", name, [*known, *others])
    if not limits:
        return None
    return dataclasses.replace(source.budget if isinstance(source, suites.Suite) else Budget(), **limits)


def _write(folder: Path, plan: Plan) -> None:
    """Make it the bench's plan. The same plan again changes nothing, also while somebody works on it."""
    if (folder / "bench.json").is_file():
        before = records.load(Plan, folder / "bench.json")
        if dataclasses.replace(plan, run_id=before.run_id, created_at=before.created_at) == before:
            return
    hold = holding.take(folder)
    try:
        records.replace(folder / "bench.json", plan)
    finally:
        hold.release()


def load_bench(name: str | Path | None = None, store: Store | str | Path | None = None) -> Bench:
    """A handle on a bench.

    Args:
        name: of a bench in the store, or the folder of one; default: the one that was started last, wherever
            its folder is.

    Raises:
        BenchError: the store knows of no bench, or there is none in this folder, or none that may be read.
        UnknownName: the store has no bench of this name.
    """
    try:
        return Bench(folder=_found(name, as_store(store)))
    except OSError as problem:
        if isinstance(problem, AigymError):
            raise
        raise BenchError(f"{problem.filename} cannot be read: {problem.strerror}") from None


def _found(name: str | Path | None, store: Store) -> Path:
    home = store.folder / "benches"
    known = {path.parent.name: path.parent for path in home.glob("*/bench.json")}
    if name is None:
        started = [*known.values(), *_elsewhere(store)]
        if not started:
            raise BenchError(
                f"{home} holds no bench; start one with aigym bench run NOTEBOOK, or give the folder of one"
            )
        return max(started, key=_started)
    if str(name) in known:
        return known[str(name)]
    folder = Path(name).expanduser().resolve()
    if (folder / "bench.json").is_file():
        return folder
    if isinstance(name, Path) or folder.is_dir() or "/" in str(name):
        raise BenchError(f"{folder} is no bench: it has no bench.json; check the path")
    raise UnknownName("bench", name, known, f"Or give its folder; those in {home} go by their names.")


def _elsewhere(store: Store) -> Iterator[Path]:
    """The folders outside the store of benches that record in it (``out=``), as their runs say."""
    known: list[str] = []
    with suppress(OSError):  # there is no store yet
        known = store.run_ids()
    for run_id in known:
        if "-bench-" in run_id:
            with suppress(OSError):  # its record is damaged, or its folder is closed
                config = store.run(run_id).config
                folder = Path(str(config.get("folder")))
                again = "/" in str(config.get("bench"))  # a verification
                if not again and (folder / "bench.json").is_file():
                    yield folder


def _started(folder: Path) -> float:
    paths = [path for path in (folder / "bench.json", folder / "lock") if path.is_file()]
    return max(path.stat().st_mtime for path in paths)
