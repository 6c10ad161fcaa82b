"""What is agreed for all cells of a bench, checked: data, metrics, budget, baselines.

    files = data({"prices.csv": "../prices.csv"})
    wanted = metrics(["return_mean", Metric(name="loss", direction="lower")])

Each raises BenchError, which names what is wrong. Not here: what differs between cells (`plan`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aigym_kernel.bench.records import Budget, Metric
from aigym_kernel.errors import BenchError, UnknownName

LEAST_MEMORY_MB = 100
"""An idle notebook takes 130 to 145 MB; below this the unit was meant otherwise."""


def first_twice(texts: list[str]) -> str | None:
    """The first text that is there before, or None."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def data(given: Mapping[str, str | Path] | Sequence[str | Path]) -> dict[str, Path]:
    """Name below the working folder -> file or folder, which is there."""
    if isinstance(given, str | Path):
        given = [given]
    if not isinstance(given, Mapping):
        paths = [Path(path).expanduser() for path in given]
        if twice := first_twice([path.name for path in paths]):
            raise BenchError(f"data: two files are called {twice}; name them: {{'other name': path}}")
        given = {path.name: path for path in paths}
    files = {}
    for name, path in given.items():
        place = Path(name)
        if not name or place.is_absolute() or ".." in place.parts or place == Path():
            raise BenchError(f"data: {name!r} must be a name below the cell's working folder")
        file = Path(path).expanduser().resolve()
        try:
            there = file.exists()
        except OSError as problem:
            raise BenchError(f"data: {file} cannot be read: {problem.strerror}") from None
        if not there:
            raise BenchError(f"data: there is no {file}; check the path")
        files[place.as_posix()] = file
    for name in files:
        if above := next((str(p) for p in Path(name).parents if str(p) in files), None):
            raise BenchError(f"data: {name} lies inside {above}, which is data itself; put it elsewhere")
    return files


def metrics(given: Sequence[Metric | str]) -> tuple[Metric, ...]:
    """Metrics with different names; a name alone means that more is better."""
    if isinstance(given, str):
        given = [given]
    found = tuple(Metric(name=one) if isinstance(one, str) else one for one in given)
    for one in found:
        if not isinstance(one, Metric):
            raise BenchError(f"metrics: {one!r} must be the name of a metric, or a Metric")
        if one.direction not in ("higher", "lower") or not one.tolerance >= 0:
            raise BenchError(
                f"metrics: {one}: direction is 'higher' or 'lower', tolerance a number from 0 on"
            )
    if twice := first_twice([one.name for one in found]):
        raise BenchError(f"metrics: {twice} is named twice; name it once")
    return found


def budget(given: Budget | Mapping[str, Any]) -> Budget:
    """A budget of numbers that can be kept. Raises also UnknownName: there is no such part."""
    if isinstance(given, Mapping):
        known = [field.name for field in dataclasses.fields(Budget)]
        for name in given:
            if name not in known:
                raise UnknownName("part of a budget", name, known)
        given = Budget(**given)
    least = {"retries": 0, "gpus": 0, "threads": 1}
    for name, value in dataclasses.asdict(given).items():
        if value is None and name in ("memory_mb", "gpus"):
            continue
        whole = name in least
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (value < least[name] or value != int(value) if whole else value <= 0):
            unit = {"s": "seconds", "mb": "megabytes"}.get(name.rpartition("_")[2])
            wanted = f"a whole number from {least[name]} on" if whole else f"a number of {unit} above 0"
            raise BenchError(f"budget: {name}={value!r} must be {wanted}")
    if given.memory_mb is not None and given.memory_mb < LEAST_MEMORY_MB:
        n = given.memory_mb
        raise BenchError(
            f"budget: memory_mb={n:g} was read as {n:g} MB, and no notebook's kernel starts in less than "
            f"{LEAST_MEMORY_MB}; for {n:g} GB write --memory {n:g}G, or memory_mb={1024 * n:g}"
        )
    return given


def baselines(given: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Task -> the two scores that count as 0 and 1."""
    found = {}
    for task, scores in given.items():
        if not isinstance(scores, Mapping) or set(scores) != {"low", "high"}:
            raise BenchError(f"baselines: {task}: {scores!r} must be {{'low': number, 'high': number}}")
        plain = {name: _number(task, name, value) for name, value in scores.items()}
        if plain["low"] == plain["high"]:
            raise BenchError(f"baselines: {task}: low and high are both {plain['low']:g}; they must differ")
        found[task] = plain
    return found


def _number(task: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BenchError(f"baselines: {task}: {name}={value!r} must be a number")
    return float(value)
