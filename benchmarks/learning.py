"""Do PPO and DQN learn within the quickstart's budget, for every seed? Prints a table and writes it as JSON.

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

BUDGET = (
    ("CartPole-v1", "ppo", 100_000),
    ("aigym/Snake-v0", "ppo", 400_000),
    ("CartPole-v1", "dqn", 100_000),
)
RESULTS = Path(__file__).parent / "results"


def measure(env: str, algo: str, steps: int, seed: int) -> dict[str, object]:
    started = time.perf_counter()
    run = aigym.train(env, algo=algo, total_timesteps=steps, seed=seed).wait()
    wall = time.perf_counter() - started
    status = run.status()
    return {
        "env": env,
        "algo": algo,
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
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a run tidies up when it is done
        os.environ["AIGYM_DATA"] = folder
        for env, algo, steps in BUDGET:
            for seed in range(seeds):
                rows.append(measure(env, algo, steps, seed))
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
