"""Where the cells of a bench ran and on what: their provenance, what they share told once.

blocks(state)       a table of what all have in common, and one of what differs, with the cells named
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aigym_kernel.bench.blocks import Block, Folded, Line, Paragraph, Table
from aigym_kernel.bench.phrases import title
from aigym_kernel.bench.records import State
from aigym_kernel.grouping import flat, text
from aigym_kernel.rendering import short

NAMED = 6
FEW = 5
WIDTH = 160
PACKAGES, VARIABLES = "packages.", "environment."
_DECISIVE = {
    "code": "code of the package",
    "lock": "locked packages",
    "packages_hash": "installed packages",
    "cpu": "model of CPU",
    "gpus": "GPUs",
}
_UNTOLD = ("load.cpus", "load.at", "load_at_end.cpus", "load_at_end.at", "load_at_end.load_5m")
_TITLES = {
    "git_commit": "git commit",
    "git_dirty": "files changed since that commit",
    "git_diff": "hash of these changes",
    "code": "hash of the package's code",
    "lock": "hash of the locked packages",
    "packages_hash": "hash of all installed packages",
    "python": "Python",
    "platform": "operating system",
    "cpu": "CPU",
    "cpus": "CPU cores",
    "memory_mb": "memory of the machine (MB)",
    "gpus": "GPUs",
    "gpu_driver": "GPU driver",
    "sandbox.name": "sandbox",
    "sandbox.image": "image of the sandbox",
    "load.load_1m": "load of the machine when a cell began (1 min)",
    "load.load_5m": "load of the machine when a cell began (5 min)",
    "load.free_mb": "free memory when a cell began (MB)",
    "load_at_end.load_1m": "load of the machine when a cell ended (1 min)",
    "load_at_end.free_mb": "free memory when a cell ended (MB)",
}


def blocks(state: State) -> list[Block]:
    """What is known of code, packages, machine, devices and times."""
    found = {cell: _of(state, cell) for cell in state.results}
    if not found:
        return [Paragraph("Nothing yet: no cell is done.")]
    names = list(dict.fromkeys(name for one in found.values() for name in one))
    common: dict[str, Any] = {}
    differing: list[list[Line]] = []
    for name in names:
        values = {cell: _text(one[name]) if name in one else "(not known)" for cell, one in found.items()}
        if len(set(values.values())) == 1:
            common[name] = next(iter(values.values()))
        else:
            differing += _differing(state, name, values, found)
    packages = {name: value for name, value in common.items() if name.startswith(PACKAGES)}
    rest: list[list[Line]] = [[n, short(v, WIDTH)] for n, v in common.items() if n not in packages]
    headings = ["what", "value"]
    told: list[Block] = [Table(caption="The same for all cells that are done", headings=headings, rows=rest)]
    if packages:
        rows: list[list[Line]] = [[n.removeprefix(PACKAGES), v] for n, v in packages.items()]
        table = Table(caption="Packages and their versions", headings=["package", "version"], rows=rows)
        told.append(Folded(f"{len(rows)} packages that all cells share", [table]))
    if differing:
        headings = ["what", "value", "cells"]
        told.append(Table(caption="What differs between cells", headings=headings, rows=differing))
    return told


def warnings(state: State) -> list[str]:
    """What differs between cells although it may change their results."""
    lines = []
    known = [flat(result.provenance) for result in state.results.values()]
    for name, told in _DECISIVE.items():
        if len({_text(one.get(name)) for one in known}) > 1:
            lines.append(f"Not all cells ran with the same {told}: see “Where it ran, and on what”.")
    return lines


def _of(state: State, cell_id: str) -> dict[str, Any]:
    cell = next(cell for cell in state.plan.cells if cell.id == cell_id)
    told = ["notebook", *(["data"] if state.plan.data else [])]  # the other parts of its id are known here
    parts = {f"hash of the {name}": cell.parts[name] for name in told if name in cell.parts}
    known = flat(state.results[cell_id].provenance)
    return {_title(name): value for name, value in known.items() if name not in _UNTOLD} | parts


def _title(name: str) -> str:
    """What a part of the provenance is called for people; a package or variable keeps its name."""
    if name.startswith((PACKAGES, VARIABLES)):
        return name
    return _TITLES.get(name) or name.replace("_", " ").replace(".", ": ")


def _differing(
    state: State, name: str, values: Mapping[str, str], found: Mapping[str, Mapping[str, Any]]
) -> list[list[Line]]:
    """A line per value with the cells that have it; of very many values, their extent."""
    members: dict[str, list[str]] = defaultdict(list)
    for cell, value in values.items():
        members[value].append(cell)
    if len(members) > FEW:
        known = [found[cell][name] for cell in values if name in found[cell]]
        numbers = all(isinstance(v, int | float) for v in known)
        low, high = (min(known), max(known)) if numbers else (min(map(_text, known)), max(map(_text, known)))
        return [[name, f"{short(_text(low))} to {short(_text(high))}", f"{len(members)} values"]]
    labels = {cell.id: title(cell) for cell in state.plan.cells}
    most = max(members, key=lambda value: len(members[value]))
    rows: list[list[Line]] = []
    for value, cells in members.items():
        some = "; ".join(labels[cell] for cell in cells[:NAMED])
        more = f" and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
        told = f"{len(cells)} cells" if value == most and len(cells) > 1 else some + more
        rows.append([name, short(value, WIDTH), told])
    return rows


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == []:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else text(value)
