"""What mixed precision and torch.compile bring: PPO on thousands of torch Snakes, plain and with each.

    .venv/bin/python benchmarks/acceleration.py --device cuda [--boards 8192] [--updates 8] [--rounds 3]

Whole updates (acting, stepping, learning) of ``n_steps`` 32 with 2 epochs of 32 minibatches; the first two of
each training, in which kernels are compiled and graphs are recorded, do not count. The variants take turns.
``steps_per_second``: the median over the rounds; ``ratio``: to plain float32. On a GPU what is compiled runs
as CUDA graphs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from pathlib import Path

import torch
from machine import keep, machine

from aigym_kernel.train.ppo import PPOConfig, ppo

RESULTS = Path(__file__).parent / "results"
CONV = {
    "layers": [
        {"type": "conv", "filters": 16, "kernel_size": 3, "activation": "relu"},
        {"type": "flatten"},
        {"type": "dense", "units": 128, "activation": "relu"},
    ]
}
WARM_UP = 2


def rate(config: PPOConfig, updates: int) -> float:
    """Environment steps per second over ``updates`` of them."""
    begun = 0.0
    for number, _ in enumerate(ppo("aigym/Snake-v0", config, env_kwargs={"observation": "image"})):
        if config.device != "cpu":
            torch.cuda.synchronize(config.device)
        if number == WARM_UP:
            begun = time.perf_counter()
    return updates * config.n_envs * config.n_steps / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--boards", type=int, default=8192)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    load = os.getloadavg()
    rates: dict[tuple[str, str, bool], list[float]] = {}
    networks = {"perceptron": (64, 64), "convolution": CONV}
    variants = [(p, c) for p in ("float32", "bfloat16") for c in (False, True)]
    for _, (name, network), (precision, compiled) in itertools.product(
        range(options.rounds), networks.items(), variants
    ):
        config = PPOConfig(
            total_timesteps=(WARM_UP + options.updates) * options.boards * 32,
            n_envs=options.boards,
            n_steps=32,
            n_epochs=2,
            n_minibatches=32,
            network=network,
            vectorize="torch",
            device=options.device,
            precision=precision,
            compile=compiled,
        )
        rates.setdefault((name, precision, compiled), []).append(rate(config, options.updates))
    medians = {key: statistics.median(own) for key, own in rates.items()}
    rows = []
    for (name, precision, compiled), median in medians.items():
        plain = medians[name, "float32", False]
        row = {"network": name, "precision": precision, "compile": compiled}
        rows.append({**row, "steps_per_second": round(median), "ratio": round(median / plain, 2)})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    where = options.device if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    told = machine(load, torch=torch.__version__, device=where, boards=options.boards, rounds=options.rounds)
    name = f"acceleration-{os.cpu_count()}-{where.lower().replace(' ', '-')}.json"
    keep(RESULTS / name, {"machine": told, "rows": rows})


if __name__ == "__main__":
    main()
