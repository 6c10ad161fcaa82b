"""How fast do PPO and DQN train CartPole-v1, ours and the peers'? Prints a table and writes it as JSON.

    .venv/bin/python benchmarks/train.py [--peers .venv-train/bin/python] [--seeds 3] [--only PART ...]

All systems take the same number of steps with one torch thread, each training in a fresh process; whatever
it costs to start, import, build and compile is counted. The order is drawn anew for each seed. Processes run
side by side in as many slots as there are cores, so that none waits for another; processor time is reported
too. What each system is, and how it is measured, is in `benchmarks/train_systems.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import keep, machine
from train_systems import SYSTEMS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
LIMIT_S = 900


def train(name: str, seed: int, steps: int, python: str, folder: Path) -> dict[str, Any]:
    """One training in a process of its own; ``failed`` says why there is no result."""
    result = folder / f"{name}-{seed}.json".replace(" ", "_")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    threads |= {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    paths = {"PYTHONPATH": str(HERE.parent)} if name.startswith("aigym") else {}
    row: dict[str, Any] = {"system": name, "seed": seed, "steps": steps, "load": round(os.getloadavg()[0], 2)}
    arguments = [name, str(seed), str(steps), repr(time.time()), str(result)]
    try:
        done = subprocess.run(
            [python, str(HERE / "train_systems.py"), *arguments],
            env={**os.environ, **threads, **paths},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return row | {"failed": f"took longer than {LIMIT_S} s"}
    if done.returncode:
        return row | {"failed": done.stderr.strip().splitlines()[-1][:200]}
    row |= json.loads(result.read_text(encoding="utf-8"))
    return row | {"steps_per_second": round(steps / row["wall_s"], 1)}


def summaries(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the seeds of each system, the fastest first, with what ours is times as fast."""
    found = []
    for name in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == name and "failed" not in row]
        if not own:
            continue
        reached = [row["reached_s"] for row in own]
        found.append(
            {
                "system": name,
                "steps_per_second": statistics.median(row["steps_per_second"] for row in own),
                "wall_s": statistics.median(row["wall_s"] for row in own),
                "cpu_s": statistics.median(row["cpu_s"] for row in own),
                "reached_475_s": statistics.median(reached) if None not in reached else None,
                "reached_by": f"{len(reached) - reached.count(None)} of {len(reached)}",
                "greedy": [row["greedy"] for row in own],
            }
        )
    for algo in ("ppo", "dqn"):
        for ours in (f"aigym {algo}", f"aigym {algo}, zoo"):
            base = next((one for one in found if one["system"] == ours), None)
            for one in found:
                if base is not None and f" {algo}" in one["system"]:
                    key = "ours_preset_is_x" if ours == f"aigym {algo}" else "ours_zoo_is_x"
                    one[key] = round(base["steps_per_second"] / one["steps_per_second"], 2)
    return sorted(found, key=lambda one: (one["system"].split()[1][:3], -one["steps_per_second"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=".venv-train/bin/python", help="the peers' interpreter")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="trainings side by side")
    parser.add_argument("--only", nargs="*", default=[""], help="systems whose name contains one of these")
    parser.add_argument("--result", type=Path, default=RESULTS / f"train-{os.cpu_count()}-cpu.json")
    given = parser.parse_args()
    names = [name for name in SYSTEMS if any(part in name for part in given.only)]
    if not Path(given.peers).is_file():
        print(f"no interpreter at {given.peers}: peers are left out; see benchmarks/README.md")
        names = [name for name in names if name.startswith("aigym")]
    before, order = os.getloadavg(), random.Random(0)
    jobs = [(name, seed) for seed in range(given.seeds) for name in order.sample(names, len(names))]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.slots) as pool:

        def job(one: tuple[str, int]) -> None:
            name, seed = one
            python = sys.executable if name.startswith("aigym") else given.peers
            rows.append(train(name, seed, given.steps, python, Path(folder)))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)

        list(pool.map(job, jobs))
    told = summaries(rows)
    for one in told:
        print("  ".join(f"{key} {value}" for key, value in one.items()))
    about = machine(before, slots=given.slots, steps=given.steps)
    keep(given.result, {"machine": about, "systems": told, "rows": rows})


if __name__ == "__main__":
    main()
