"""What does a cell of a bench cost beside plain papermill? Prints a table and writes it as JSON.

    .venv/bin/python benchmarks/bench.py [--rounds 10] [--cells 10]

The same small notebook (a parameter, three cells that compute nothing, one that reports a metric) is executed

- by ``papermill in.ipynb out.ipynb -p n 1``, a process for each notebook,
- as a cell of a bench: `keeper.attend`, which also records the run, holds the budget, hashes what was
  recorded, signs the notebook and writes its HTML page; the process that forks those of cells runs already,
- and, in every third round, by ``aigym bench run`` over ``--cells`` cells with one worker, from the start of
  that command to its end, divided by the number of cells.

One runs at a time, the order is drawn anew in each round. Processor time is that of all processes concerned.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
from machine import keep, machine

from aigym_kernel.bench.keeper import Order, attend
from aigym_kernel.bench.records import Cell

RESULTS = Path(__file__).parent / "results"
CODE = [
    "n: int = 1",
    "x = n + 1",
    "print(x)",
    "y = [x] * 10",
    "import aigym_kernel\naigym_kernel.report(x=x)",
]


def notebook(path: Path) -> Path:
    """The notebook that all of them execute."""
    nb = nbformat.v4.new_notebook()
    nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb.cells = [nbformat.v4.new_code_cell(text) for text in CODE]
    nb.cells[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)
    return path


def papermill(folder: Path, n: int) -> float:
    """A process for the notebook; returns the processor time it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "papermill", str(folder / "n.ipynb"), str(folder / "out.ipynb")]
    subprocess.run([*command, "-p", "n", str(n)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cell(folder: Path, n: int) -> float:
    """A cell of a bench, in the bench's process; returns the processor time it took."""
    made = Cell(id=f"{n:016x}", notebook="n.ipynb", source="n.ipynb", folder=str(folder), parameters={"n": n})
    before = _used()
    attempt = attend(Order(folder=folder, cell=made, attempt=1, store=str(folder)), lambda: False)
    if attempt.state != "done":
        raise SystemExit(f"a cell failed: {attempt.error}")
    return _used() - before


def whole(folder: Path, n: int, cells: int) -> float:
    """``aigym bench run`` over so many cells. Its processor time is not known: not all of it is ours."""
    command = [
        sys.executable,
        "-m",
        "aigym_kernel",
        "bench",
        "run",
        str(folder / "n.ipynb"),
        "--workers",
        "1",
    ]
    command += ["--out", str(folder / f"bench-{n}"), "-p", "n", f"0..{cells - 1}"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "AIGYM_DATA": str(folder)})
    return float("nan")


def _used() -> float:
    """Processor time of this process, of that which forks cells, and of all that it forked and that ended."""
    times = [psutil.Process().cpu_times()]
    for process in psutil.Process().children():
        times.append(process.cpu_times())
    own = sum(each.user + each.system for each in times)
    return own + sum(each.children_user + each.children_system for each in times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cells", type=int, default=10, help="of a whole bench")
    parser.add_argument("--result", type=Path, default=RESULTS / f"bench-{os.cpu_count()}-cpu.json")
    given = parser.parse_args()
    before, order = os.getloadavg(), random.Random(0)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = notebook(Path(name) / "n.ipynb").parent
        began = time.perf_counter()
        cell(folder, 10**6)
        first = round(time.perf_counter() - began, 2)
        papermill(folder, 0)
        for n in range(given.rounds):
            systems: dict[str, tuple[int, Callable[[], float]]] = {
                "papermill": (1, lambda: papermill(folder, n)),  # noqa: B023  called in this turn
                "cell of a bench": (1, lambda: cell(folder, n)),  # noqa: B023
            }
            if n % 3 == 0:
                systems["aigym bench run"] = (given.cells, lambda: whole(folder, n, given.cells))  # noqa: B023
            for system in order.sample(list(systems), len(systems)):
                count, run = systems[system]
                began = time.perf_counter()
                cpu_s = run()
                wall_s = (time.perf_counter() - began) / count
                rows.append({"system": system, "round": n, "wall_s": round(wall_s, 3)})
                if cpu_s == cpu_s:
                    rows[-1]["cpu_s"] = round(cpu_s, 3)
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    told = summaries(rows)
    for one in told:
        print("  ".join(f"{key} {value}" for key, value in one.items()))
    print(f"the first cell, with the start of the process that forks the others: {first} s")
    about = machine(before, rounds=given.rounds, cells=given.cells)
    keep(given.result, {"machine": about, "first_cell_s": first, "systems": told, "rows": rows})


def summaries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians of each system, and how many times papermill's they are."""
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys(
        row["system"] for row in sorted(rows, key=lambda row: row["system"] != "papermill")
    ):
        one: dict[str, Any] = {"system": name}
        for key in ("wall_s", "cpu_s"):
            values = [row[key] for row in rows if row["system"] == name and key in row]
            if values:
                one[key] = round(statistics.median(values), 3)
                one[f"{key[:-2]}_is_x_papermill"] = round(one[key] / found[0][key], 2) if found else 1.0
        found.append(one)
    return found


if __name__ == "__main__":
    main()
