"""How fast is Snake: one board, thousands in NumPy, thousands in torch? Prints a table and writes it as JSON.

    .venv/bin/python benchmarks/snake.py [--boards 4096] [--device cpu] [--rounds 5]

The same random actions for all; one thread. The ways take turns, so that other load meets all of them alike;
each figure is the median of the rounds, in steps of one board per second of processor time (on a device of
its own per second). ``ratio``: to the single environment with the same observation. Several sizes of boards
and numbers of them would be several tables: run it several times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import keep, machine

from aigym_kernel.envs.snake import Snake
from aigym_kernel.envs.snake_torch import SnakeTorchEnv
from aigym_kernel.envs.snake_vector import SnakeVectorEnv

RESULTS = Path(__file__).parent / "results"
Way = Callable[[int], None]
"""Takes so many steps, of each board."""


def single(observation: str) -> Way:
    env, rng = Snake(observation=observation), np.random.default_rng(0)
    env.reset(seed=0)

    def play(steps: int) -> None:
        for i, action in enumerate(rng.integers(0, 3, steps).tolist()):
            if env.step(action)[2]:
                env.reset(seed=i)

    return play


def in_numpy(observation: str, n: int) -> Way:
    envs, rng = SnakeVectorEnv(n, 0, observation=observation), np.random.default_rng(0)
    envs.reset()

    def play(steps: int) -> None:
        for actions in rng.integers(0, 3, (steps, n)):
            envs.step(actions)

    return play


def in_torch(observation: str, n: int, device: str) -> Way:
    envs = SnakeTorchEnv(n, 0, observation=observation).to(device)
    generator = torch.Generator(device).manual_seed(0)
    envs.reset()

    def play(steps: int) -> None:
        for actions in torch.randint(3, (steps, n), generator=generator, device=device):
            envs.step(actions)
        if device != "cpu":
            torch.cuda.synchronize(device)

    return play


def rate(way: Way, steps: int, boards: int, clock: Callable[[], float]) -> float:
    begun = clock()
    way(steps)
    return steps * boards / (clock() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=4096)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    load, n, device = os.getloadavg(), options.boards, options.device
    its_clock = time.process_time if device == "cpu" else time.perf_counter
    rows = []
    for observation in ("grid", "image", "features"):
        ways = {
            "single": (single(observation), 2000, 1, time.process_time),
            "numpy": (in_numpy(observation, n), 16, n, time.process_time),
            "torch": (in_torch(observation, n, device), 16, n, its_clock),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(options.rounds + 1):
            for name, way in ways.items():
                measured = rate(*way)
                if round_:  # the first warms up
                    rates[name].append(measured)
        medians = {name: statistics.median(own) for name, own in rates.items()}
        for name, median in medians.items():
            rows.append(
                {
                    "observation": observation,
                    "way": name,
                    "boards": ways[name][2],
                    "steps_per_second": round(median),
                    "ratio": round(median / medians["single"], 1),
                }
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    where = "cpu" if device == "cpu" else torch.cuda.get_device_name(device).lower().replace(" ", "-")
    path = RESULTS / f"snake-{os.cpu_count()}-{where}.json"
    told = machine(load, torch=torch.__version__, numpy=np.__version__, device=where)
    keep(path, {"machine": told, "rows": rows})


if __name__ == "__main__":
    main()
