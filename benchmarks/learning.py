"""Do PPO and DQN learn what they should, over ten seeds? Prints a table and writes it as JSON.

    .venv/bin/python benchmarks/learning.py [--seeds 10] [--only PART ...] [--slots N]

Each training is one `aigym.train` with the environment's preset, in a process of its own, recorded in a store
that is thrown away; as many run side by side as there are slots. Its return is the mean of 20 greedy episodes
with seeds that training never saw (for Snake: apples less 1 for dying). Of a goal's seeds the table has the
mean with its bootstrap interval (95 %, `aigym_kernel.intervals`), how many reached the threshold, and what
others publish for the same environment and algorithm:

- zoo: SB3's zoo, benchmark.md of DLR-RM/rl-baselines3-zoo (one trained agent each; LunarLander is v2 there);
- CleanRL: the tables of docs.cleanrl.dev/rl-algorithms (ppo, dqn), means over seeds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from machine import keep, machine

import aigym_kernel as aigym
from aigym_kernel.errors import RunError
from aigym_kernel.intervals import bootstrap

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What has to be learnt: the mean return over the seeds has to reach ``threshold``. ``references``: who
    publishes which return."""

    env: str
    algo: str
    threshold: float
    references: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.env} {self.algo}"


GOALS = (
    Goal(env="CartPole-v1", algo="ppo", threshold=475, references={"zoo": 500.0, "CleanRL": 492.4}),
    Goal(env="CartPole-v1", algo="dqn", threshold=475, references={"zoo": 500.0, "CleanRL": 488.69}),
    Goal(env="Acrobot-v1", algo="ppo", threshold=-100, references={"zoo": -73.5, "CleanRL": -89.93}),
    Goal(env="LunarLander-v3", algo="ppo", threshold=200, references={"zoo": 242.1}),
    Goal(env="MountainCar-v0", algo="dqn", threshold=-120, references={"zoo": -100.8, "CleanRL": -194.95}),
    Goal(env="Pendulum-v1", algo="ppo", threshold=-200, references={"zoo": -172.2}),
    # 20 apples and one death: the return is 19. The board of 10 x 10 is the default.
    Goal(env="aigym/Snake-v0", algo="ppo", threshold=19),
    Goal(env="MinAtar/Breakout-v1", algo="ppo", threshold=10),
)


def measure(goal: Goal, seeds: int, slots: int) -> list[dict[str, Any]]:
    """One row per seed; ``failed`` says why one has no return."""
    started = time.perf_counter()
    runs = aigym.train(goal.env, goal.algo, seeds=range(seeds), record="none", at_once=slots)
    rows = []
    for seed, run in enumerate(runs):
        row: dict[str, Any] = {"env": goal.env, "algo": goal.algo, "seed": seed}
        row["load"] = round(os.getloadavg()[0], 2)
        try:
            status = run.wait(progress=False).status()
        except RunError as problem:
            rows.append(row | {"failed": str(problem)[:200]})
        else:
            row |= {"steps": status.step, "eval_before": status.summary["eval_return_mean_before"]}
            row |= {name: status.summary[name] for name in ("steps_per_second", "train_s")}
            rows.append(row | {"eval": status.summary["eval_return_mean"]})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    print(
        f"{goal.name}: {time.perf_counter() - started:.0f} s for {seeds} seeds in {slots} slots", flush=True
    )
    return rows


def summary(goal: Goal, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the seeds of one goal say together."""
    returns = np.array([row["eval"] for row in rows if "failed" not in row], dtype=np.float64)
    told: dict[str, Any] = {"goal": goal.name, "threshold": goal.threshold, "seeds": len(rows)}
    if len(returns):
        mean = bootstrap([returns])
        told |= {"mean": round(mean.value, 1), "reached": bool(mean.value >= goal.threshold)}
        if mean.low is not None and mean.high is not None:
            told["interval"] = [round(mean.low, 1), round(mean.high, 1)]
        told["seeds_that_reached_it"] = int((returns >= goal.threshold).sum())
    return told | {"published": goal.references}


def device_name() -> str:
    """The GPU's name, or how many CPUs there are."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()}-cpu"
    return name.lower().replace(" ", "-")


def possible(goal: Goal) -> bool:
    """Whether the environment's package is here; says so if not."""
    try:
        aigym.make(goal.env).close()
    except (aigym.AigymError, gymnasium.error.Error) as problem:
        print(f"{goal.name} is left out: {problem}")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="trainings side by side")
    parser.add_argument("--only", nargs="*", default=[""], help="goals whose name contains one of these")
    parser.add_argument("--result", type=Path, default=RESULTS / f"learning-{device_name()}.json")
    given = parser.parse_args()
    goals = [goal for goal in GOALS if any(part in goal.name for part in given.only) and possible(goal)]
    before, rows, told = os.getloadavg(), [], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a run tidies up when it is done
        os.environ["AIGYM_DATA"] = folder
        for goal in goals:
            own = measure(goal, given.seeds, given.slots)
            rows += own
            told.append(summary(goal, own))
    for one in told:
        print("  ".join(f"{key} {value}" for key, value in one.items()))
    about = machine(before, slots=given.slots, seeds=given.seeds)
    keep(given.result, {"machine": about, "goals": told, "rows": rows})


if __name__ == "__main__":
    main()
