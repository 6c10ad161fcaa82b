"""Does PPO learn within the quickstart's budget, for every seed? Prints a table and writes it as JSON.

    .venv/bin/python benchmarks/learning.py [--seeds 5]

Each row is one `aigym.train` in a process of its own, recorded in a store that is thrown away. ``eval`` is
the mean return of 20 greedy episodes with seeds that training never saw; for Snake the return is the number
of apples less 1 for dying. ``wall_s`` holds everything: process start, evaluation before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import aigym_kernel as aigym

BUDGET = {"CartPole-v1": 100_000, "aigym/Snake-v0": 400_000}
RESULTS = Path(__file__).parent / "results"


def measure(env: str, steps: int, seed: int) -> dict[str, object]:
    started = time.perf_counter()
    run = aigym.train(env, total_timesteps=steps, seed=seed).wait()
    wall = time.perf_counter() - started
    status = run.status()
    return {
        "env": env,
        "seed": seed,
        "steps": status.step,
        "eval_before": status.summary["eval_return_mean_before"],
        "eval": status.summary["eval_return_mean"],
        "steps_per_second": status.summary["steps_per_second"],
        "wall_s": round(wall, 1),
    }


def device_name() -> str:
    """The GPU's name, or how many CPUs there are."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()}-cpu"
    return name.lower().replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGYM_DATA"] = folder
        for env, steps in BUDGET.items():
            for seed in range(seeds):
                rows.append(measure(env, steps, seed))
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    machine = {
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"learning-{device_name()}.json"
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
