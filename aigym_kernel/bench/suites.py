"""Suites: files that say what a bench is to do, for others to run again.

    suite = load("smoke")               benchmarks/suites/smoke.yaml
    suite = load("my/suite.yaml")

An example; every key but ``notebooks`` may be left out:

    name: control
    notebooks:
      - notebook: ../../notebooks/bench_rl.ipynb   # from the suite's own folder
        parameters: {steps: 50_000}                # one value each
        grid:                                      # every combination is a cell
          env_id: [CartPole-v1, Acrobot-v1]
          algo: [ppo, dqn]
        seeds: 0..4                                # or a list
    metrics:                                       # that must be reported; the first ranks
      - {name: return_mean, tolerance: 0.01}
      - {name: seconds, direction: lower, measured: true}
    baselines:                                     # the scores that count as 0 and as 1
      CartPole-v1: {low: 22, high: 500}
      Acrobot-v1: {low: -500, high: -80}
    budget: {timeout_s: 1800, memory_mb: 4000, retries: 1}
    data: {prices.csv: ../data/prices.csv}         # name in the working folder: file or folder
    task: env_id                                   # the parameters that mean these
    seed: seed

Texts are read as on a command line (``1e-3`` is a number where the notebook wants one, ``0..4`` are five).
Not here: whether the notebooks have these parameters (`plan`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aigym_kernel import documents, settings
from aigym_kernel.bench.records import Budget, Metric
from aigym_kernel.errors import BenchError, NotebookError, TaskError, UnknownName
from aigym_kernel.parameters import Text, values
from aigym_kernel.tasks.fields import FORBID


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A notebook of a suite. ``grid``: parameter -> values; ``parameters``: parameter -> its only value."""

    __pydantic_config__ = FORBID

    notebook: str
    parameters: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    seeds: Any = None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What a suite's file says; see above. Made by `load`, paths and grids are as `plan` takes them."""

    __pydantic_config__ = FORBID

    notebooks: tuple[Entry, ...]
    name: str | None = None
    metrics: tuple[Metric, ...] = ()
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    data: dict[str, str] = field(default_factory=dict)
    task: str | None = None
    seed: str | None = None


_SCHEMA = documents.Schema(tags={}, keyed={"notebooks": Entry, "metrics": Metric, "budget": Budget})


def folder() -> Path:
    """Where suites are looked for by name: benchmarks/suites of the checkout, else of the working folder."""
    beside = settings.CHECKOUT / "benchmarks" / "suites"
    return beside if beside.is_dir() else Path.cwd() / "benchmarks" / "suites"


def load(name: str | Path) -> Suite:
    """The suite of that name in `folder`, or in that file; paths in it are made whole.

    Raises:
        UnknownName: there is none of that name.
        BenchError: the file cannot be read, or something in it is wrong; names file, key and value.
    """
    path = Path(name).expanduser()
    if isinstance(name, str) and "/" not in name and path.suffix not in (".yaml", ".yml"):
        path = folder() / f"{name}.yaml"
        if not path.is_file():
            known = [one.stem for one in folder().glob("*.yaml")]
            raise UnknownName("suite", name, known, f"Suites are read from {folder()}.")
    try:
        data = documents.read(path)
        if not isinstance(data, dict):
            raise TaskError(
                f"{path}: expected keys such as notebooks and metrics, got {documents.shown(data)}"
            )
        suite: Suite = _SCHEMA.validate(Suite, {str(k): v for k, v in data.items()}, path)
        if not suite.notebooks:
            raise TaskError(f"{path}: notebooks: is empty; name at least one")
        home = path.resolve().parent
        return dataclasses.replace(
            suite,
            name=suite.name or path.stem,
            notebooks=tuple(_entry(path, i, entry) for i, entry in enumerate(suite.notebooks)),
            data={key: str((home / Path(file).expanduser()).resolve()) for key, file in suite.data.items()},
        )
    except TaskError as problem:
        raise BenchError(str(problem)) from None


def _entry(path: Path, i: int, entry: Entry) -> Entry:
    """An entry whose notebook is a whole path and whose texts are typed by the notebook."""
    place = f"{path}: notebooks[{i}]"
    once = [name for name in entry.parameters if name in entry.grid]
    if once:
        raise TaskError(f"{place}: {once[0]} is in parameters and in grid; leave it out of one")
    grid = {name: _read(f"{place}.grid.{name}", given) for name, given in entry.grid.items()}
    seeds = None if entry.seeds is None else _read(f"{place}.seeds", entry.seeds)
    if seeds is not None and not (isinstance(entry.seeds, list) or len(seeds) > 1):
        raise TaskError(f"{place}.seeds: {entry.seeds!r} must be a range such as 0..4, or a list")
    return Entry(
        notebook=str((path.resolve().parent / Path(entry.notebook).expanduser()).resolve()),
        parameters={
            name: Text(one) if isinstance(one, str) else one for name, one in entry.parameters.items()
        },
        grid=grid,
        seeds=seeds,
    )


def _read(place: str, given: Any) -> list[Any]:
    """The values in a list, or the one that is given alone."""
    listed = given if isinstance(given, list) else [given]
    try:
        return [one for each in listed for one in (values([each]) if isinstance(each, str) else [each])]
    except NotebookError as problem:
        raise TaskError(f"{place}: {problem}") from None
