"""What a report says of doing it again: how the bench was verified, and the commands that verify and run it.

    verified(state)     the newest verdicts of `aigym bench verify`, where there are some
    commands(state)

Blocks, for `pages`.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from aigym_kernel.bench.blocks import Block, Line, Mark, Paragraph, Pre, Table
from aigym_kernel.bench.phrases import clean, distinct, moment, span, title
from aigym_kernel.bench.plan import SEED_NAME, TASK_NAMES
from aigym_kernel.bench.records import Budget, Cell, Metric, Plan, State
from aigym_kernel.grouping import text

_REACHED = ("identical", "within tolerance", "diverged", "failed")


def verified(state: State) -> list[Block]:
    """Which cells came to the same when they were run again: the newest verdict on each."""
    names = {cell.id: title(cell) for cell in state.plan.cells}
    found: dict[str, tuple[str, str]] = {}
    times, changed = [], set()
    for path in sorted(state.folder.glob("verify/*/verdict.json"), reverse=True):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            own = {str(one["cell"]): (str(one["word"]), str(one["why"])) for one in said["cells"]}
            when, parts = float(said["started_at"]), [str(part) for part in said["changed"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        new = {key for key in own.keys() & names.keys() - found.keys() if own[key][0] in _REACHED}
        if new:
            found |= {key: own[key] for key in new}
            times.append(when)
            changed |= set(parts)
    if not found:
        return []
    counts = Counter(word for word, _ in found.values())
    told = ", ".join(f"{counts[word]} {word}" for word in _REACHED if counts[word])
    were = "1 cell was" if len(found) == 1 else f"{len(found)} cells were"
    first, last = moment(min(times)), moment(max(times))
    on = f"On {last}" if first == last else f"Between {first} and {last}"
    line = f"{on}, {were} run again and compared with the first time: {told}."
    if changed:
        line += f" What had changed since the first time: {', '.join(sorted(changed))}."
    rows: list[list[Line]] = [
        [name, Mark(word, "bad" if word in ("diverged", "failed") else "warn"), clean(why)]
        for cell, name in names.items()
        for word, why in [found.get(cell, ("identical", ""))]
        if word != "identical"
    ]
    headings = ["cell", "verdict", "why"]
    table = Table(caption="Cells that were not identical", headings=headings, rows=rows)
    return [Paragraph(line), *([table] if rows else [])]


def commands(state: State) -> list[Block]:
    """How to run and verify it again."""
    plan = state.plan
    home = Path(plan.store).expanduser() / "benches" / plan.name
    bench, where = shlex.quote(plan.name), "where this benchmark was run"
    if home.resolve() != state.folder.resolve():
        bench, where = ".", "in the folder of this report"
    lines = [
        "aigym bench verify " + bench + "    # runs cells again and compares what they did, step by step",
        "aigym bench status " + bench,
    ]
    if len(state.results) < len(plan.cells):
        lines.append("aigym bench resume " + bench + "    # runs the cells that are not done")
    told: list[Block] = [
        Paragraph(
            "The benchmark was run by AIGym Workbench, a Python package whose command is aigym. To check it "
            f"{where}:"
        ),
        Pre("Commands that check it", "\n".join(lines)),
    ]
    anew = "To run all of it again as a new benchmark, with the notebooks and the code as they are now"
    entries = _entries(plan)
    # Under the name that it has, all cells would be there already.
    name = (re.sub(r"[^A-Za-z0-9._-]+", "-", state.folder.name)[:74] + "-again").lstrip("-._")
    if len(entries) == 1 and _in_a_line(plan):
        command = " ".join([*_asked(entries[0]), *_options(plan), f"--name {name}"])
        return [*told, Paragraph(f"{anew}:"), Pre("The command that runs it again", command)]
    file = f"{name}.yaml"
    return [
        *told,
        Paragraph(f"{anew}, save this as {file} beside the notebooks:"),
        Pre(f"The suite {file}", _suite(plan, entries)),
        Paragraph("and then:"),
        Pre("The command that runs it again", f"aigym bench run --suite {file}"),
    ]


def _entries(plan: Plan) -> list[list[Cell]]:
    """The cells in groups, each of which is one notebook with every combination of its values."""
    alike: dict[tuple[str, ...], list[Cell]] = {}
    for cell in plan.cells:
        alike.setdefault((cell.source, *sorted(cell.parameters)), []).append(cell)
    return [entry for cells in alike.values() for entry in _products(cells)]


def _products(cells: list[Cell]) -> list[list[Cell]]:
    """Cells with the same parameters, divided by the values of one after another until each part is whole.
    Values that go with the same choice of all others stay together."""
    if _whole(cells):
        return [cells]
    ways = []
    for name in cells[0].parameters:
        others: dict[str, set[str]] = {}
        for cell in cells:
            others.setdefault(_key(cell, name), set()).add(_key(cell, *cell.parameters.keys() - {name}))
        parts: dict[frozenset[str], list[Cell]] = {}
        for cell in cells:
            parts.setdefault(frozenset(others[_key(cell, name)]), []).append(cell)
        ways += [list(parts.values())] if len(parts) > 1 else []
    way = next((way for way in ways if all(map(_whole, way))), ways[0])
    return [entry for part in way for entry in _products(part)]


def _key(cell: Cell, *names: str) -> str:
    return json.dumps({name: cell.parameters[name] for name in names}, sort_keys=True)


def _whole(cells: list[Cell]) -> bool:
    return math.prod(map(len, _choices(cells).values())) == len(cells)


def _choices(cells: list[Cell]) -> dict[str, list[Any]]:
    return {name: distinct(cell.parameters[name] for cell in cells) for name in cells[0].parameters}


def _in_a_line(plan: Plan) -> bool:
    """Whether options of the command can say all that is agreed for the cells."""
    given, usual = plan.budget, Budget()
    return (
        not plan.baselines
        and not any(metric.tolerance or metric.measured for metric in plan.metrics)
        and given.output_mb == usual.output_mb
        and not any("/" in name for name in plan.data)
        and plan.task in (None, *TASK_NAMES)
        and plan.seed in (None, SEED_NAME)
    )


def _asked(cells: list[Cell]) -> list[str]:
    parts = ["aigym bench run", shlex.quote(cells[0].notebook)]
    for name, values in _choices(cells).items():
        typed = [span(values)] if span(values) else [shlex.quote(text(value)) for value in values]
        parts.append(f"-p {name} {' '.join(typed)}")
    return parts


def _suite(plan: Plan, entries: list[list[Cell]]) -> str:
    """A suite's file that asks for the same."""
    usual = asdict(Budget())
    notebooks = []
    for cells in entries:
        grid = {name: span(values) or values for name, values in _choices(cells).items()}
        notebooks.append({"notebook": cells[0].notebook, **({"grid": grid} if grid else {})})
    told = {
        "notebooks": notebooks,
        "metrics": [_said(asdict(metric), asdict(Metric(name=""))) for metric in plan.metrics],
        "baselines": plan.baselines,
        "budget": _said(asdict(plan.budget), usual),
        "data": {name: name for name in plan.data},
        "task": plan.task,
        "seed": plan.seed,
    }
    kept = {key: value for key, value in told.items() if value}
    return yaml.safe_dump(kept, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)


def _said(given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value != usual[name]}


def _options(plan: Plan) -> list[str]:
    """What was asked for beside the grid, where it is not what is so anyway."""
    given, usual = plan.budget, Budget()
    parts = [f"--timeout {given.timeout_s:g}s"] if given.timeout_s != usual.timeout_s else []
    parts += [f"--memory {given.memory_mb}M"] if given.memory_mb else []
    parts += [f"--disk {given.disk_mb}M"] if given.disk_mb != usual.disk_mb else []
    for name in ("retries", "threads", "gpus"):
        if getattr(given, name) != getattr(usual, name):
            parts.append(f"--{name} {getattr(given, name)}")
    for metric in plan.metrics:
        parts.append(
            "--metric " + shlex.quote(metric.name + (":lower" if metric.direction == "lower" else ""))
        )
    return [*parts, *(f"--data {shlex.quote(name)}" for name in plan.data)]
