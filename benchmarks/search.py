"""Search over trajectories: does it find what is meant, and how long does it take? Prints tables.

    .venv/bin/python benchmarks/search.py [--distractors 5000] [--trajectories 100000] [--embedder MODEL]

*Found*: 82 HumanEval problems with their solutions are recorded as trajectories among others that consist of
sentences of the standard library's documentation under the same prompt; 44 questions, written from the
problems' titles in other words, each have one right answer. Recorded too are plays of CartPole under seven
policies, without a name: right is a play of the same policy. *Taken*: plays of 100 steps, 8 numbers observed.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import inspect
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from aigym_kernel.search import similar
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Trajectory

PROBLEMS = Path(__file__).parent.parent / "tests" / "data" / "HumanEval_even.jsonl.gz"
PROMPT = "You are an agent. Write a Python file solution.py with the function described below.\n"

#: The number of a problem, and what somebody may ask who looks for it.
QUESTIONS = {
    0: "are two values in a sequence nearer than a given distance",
    2: "fractional part of a decimal number",
    4: "how far numbers lie from their average",
    6: "maximum nesting depth of parentheses groups",
    8: "add up and multiply all integers",
    10: "extend a word so that it reads the same backwards",
    12: "which of the strings has the most letters",
    16: "number of different letters ignoring upper and lower case",
    18: "count overlapping occurrences of a substring",
    20: "the pair of numbers with the smallest difference",
    22: "keep only the ints from a mixed list",
    24: "biggest proper divisor",
    26: "drop numbers that appear more than once",
    28: "join strings together",
    30: "keep numbers greater than zero",
    32: "root of a polynomial",
    34: "sorted distinct values",
    44: "convert a number to another base",
    46: "fibonacci-like sequence with four terms",
    48: "does a string read the same forwards and backwards",
    50: "undo a caesar shift cipher",
    56: "angle brackets matched correctly",
    58: "intersection of two lists",
    62: "differentiate a polynomial given its coefficients",
    64: "counting vowels in a word",
    66: "sum of ascii codes of capital letters",
    76: "is a number a power of another",
    78: "prime digits in a hexadecimal string",
    82: "length of the string is prime",
    84: "binary digit sum",
    90: "second smallest element of a list",
    96: "list of primes below n",
    114: "smallest sum of a contiguous subarray",
    116: "sorting by the number of one bits",
    120: "k largest elements in sorted order",
    124: "check whether a date such as 03-11-2000 is correct",
    126: "is the list in ascending order",
    130: "tribonacci numbers",
    140: "replace blanks by underscores and dashes",
    148: "planets between two planets ordered by distance from the sun",
    154: "rotation of a word contained in another word",
    156: "write a number in roman numerals",
    160: "evaluate an arithmetic expression from operators and operands",
    162: "md5 hash of a text",
}

SOURCES = (
    "argparse ast asyncio collections csv datetime decimal email.message functools heapq html http.client "
    "inspect io itertools json logging math os pathlib pickle random re shutil socket sqlite3 statistics "
    "string subprocess tarfile tempfile textwrap threading time typing unittest urllib.request uuid zipfile"
)

POLICIES: dict[str, Callable[[Any, np.random.Generator], bool]] = {
    "random": lambda _, draw: draw.random() < 0.5,
    "left": lambda *_: False,
    "angle": lambda o, _: o[2] > 0,
    "speed": lambda o, _: o[3] > 0,
    "both": lambda o, _: o[2] + 0.5 * o[3] > 0,
    "both, drifting": lambda o, _: o[2] + 0.5 * o[3] > 0.02,
    "both, 30 % random": lambda o, draw: (o[2] + 0.5 * o[3] > 0) ^ (draw.random() < 0.15),
}


def record(store: Store, run_id: str, trajectories: Iterable[Trajectory]) -> None:
    store.add_run(RunRecord(run_id=run_id, kind="rollout", name=run_id))
    with store.writer(run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)


def solved(name: str, prompt: str, answer: str) -> Trajectory:
    return Trajectory(
        id=name,
        env_id="aigym/problem",
        agent="reference",
        observations=[PROMPT + prompt, ""],
        actions=[answer],
        rewards=np.ones(1),
        terminated=True,
        truncated=False,
    )


def problems() -> Iterator[Trajectory]:
    with gzip.open(PROBLEMS, "rt", encoding="utf-8") as lines:
        for problem in map(json.loads, lines):
            yield solved(problem["task_id"], problem["prompt"], problem["canonical_solution"])


def distractors(count: int) -> Iterator[Trajectory]:
    sentences: set[str] = set()
    for module in map(importlib.import_module, SOURCES.split()):
        for value in vars(module).values():
            text = (inspect.getdoc(value) or "") if callable(value) else ""
            sentences |= {s for s in re.split(r"\.\s|\n\n", text) if len(s) > 20}
    pool, draw = sorted(sentences), random.Random(0)
    for number in range(count):
        said = ". ".join(draw.sample(pool, draw.randint(3, 12)))
        yield solved(f"distractor-{number}", said, "")


def plays(each: int) -> Iterator[Trajectory]:
    env = gymnasium.make("CartPole-v1")
    for name, policy in POLICIES.items():
        for seed in range(each):
            draw = np.random.default_rng(seed)
            observations, actions, over = [env.reset(seed=seed)[0]], [], False
            while not over:
                actions.append(int(policy(observations[-1], draw)))
                observation, _, terminated, truncated, _ = env.step(actions[-1])
                observations.append(observation)
                over = terminated or truncated
            yield Trajectory(
                id=f"{name}/{seed}",
                env_id="CartPole-v1",
                agent="somebody",
                observations=np.array(observations),
                actions=np.array(actions),
                rewards=np.ones(len(actions)),
                terminated=terminated,
                truncated=truncated,
            )


def found(folder: Path, count: int, embedder: str | None) -> None:
    """Prints how often the right one is found."""
    store = Store(folder)
    record(store, "problems", problems())
    record(store, "distractors", distractors(count))
    record(store, "plays", plays(30))
    print(f"\n{len(QUESTIONS)} questions, one right among {82 + count:,}: first, in 10, mean reciprocal rank")
    ways: list[dict[str, Any]] = [{}, {"by": "words"}, *([{"embedder": embedder}] if embedder else [])]
    for way in ways:
        ranks = []
        for number, question in QUESTIONS.items():
            names = list(similar(question, 1000, store=store, **way)["trajectory_id"])
            right = f"HumanEval/{number}"
            ranks.append(names.index(right) + 1 if right in names else 10_000)
        told = " ".join(f"{key}={value}" for key, value in way.items()) or "by=meaning"
        first, ten = (sum(rank <= n for rank in ranks) / len(ranks) for n in (1, 10))
        print(f"  {told:20} {first:5.0%} {ten:5.0%} {statistics.fmean(1 / rank for rank in ranks):6.3f}")
    print("\nplays of CartPole: share of the same policy among the 10 most similar")
    for name in POLICIES:
        shares = []
        for seed in range(30):
            alike = similar(f"{name}/{seed}", 10, store=store, where={"run_id": "plays"})["trajectory_id"]
            shares.append(sum(other.rsplit("/", 1)[0] == name for other in alike) / 10)
        print(f"  {name:20} {statistics.fmean(shares):5.0%}")


def many(count: int) -> Iterator[Trajectory]:
    draw = np.random.default_rng(0)
    for number in range(count):
        steps, chance = int(draw.integers(50, 150)), draw.random()
        yield Trajectory(
            env_id="CartPole-v1",
            agent=f"ppo-{number % 7}",
            observations=draw.standard_normal((steps + 1, 8)).astype(np.float32),
            actions=(draw.random(steps) < chance).astype(np.int64),
            rewards=np.ones(steps),
            terminated=True,
            truncated=False,
            final_info={"outcome": f"place{number % 160}", "seen": f"thing{number * 7 % 160}"},
        )


ONCE = """
import time
start = time.perf_counter()
from aigym_kernel.search import similar
similar("place7 or thing9")
print(time.perf_counter() - start)
"""


def taken(folder: Path, count: int, rounds: int = 20) -> None:
    """Prints what the first question and later ones take."""
    store = Store(folder)
    for number in range(10):
        record(store, f"run-{number}", many(count // 10))
    store.index()
    print(f"\n{count:,} trajectories of 100 steps; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    start = time.perf_counter()
    first = similar("place7 or thing9", store=store)
    print(f"  the first question of all, which reads every step    {time.perf_counter() - start:8.1f} s")
    once = [sys.executable, "-c", ONCE]
    env = {**os.environ, "AIGYM_DATA": str(folder)}
    told = subprocess.run(once, env=env, capture_output=True, text=True, check=True).stdout
    print(f"  the first question of another process, with imports  {float(told):8.1f} s")
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "a text, by meaning": ("place7 or thing9", {}),
        "a text, by words": ("place7 or thing9", {"by": "words"}),
        "a phrase in quotes": ('"place7"', {"by": "words"}),
        "a trajectory": (first["trajectory_id"][0], {}),
        "a text, of one run": ("place7 or thing9", {"where": {"run_id": "run-3"}}),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (question, way) in ways.items():
            start = time.perf_counter()
            similar(question, store=store, **way)
            times[name].append(1000 * (time.perf_counter() - start))
    for name, values in times.items():
        told = f"{statistics.median(values):8.0f} ms (least {min(values):.0f}, most {max(values):.0f})"
        print(f"  {name:52} {told}  target 300")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--distractors", type=int, default=5_000)
    parser.add_argument("--trajectories", type=int, default=100_000, help="0: not measured")
    parser.add_argument("--embedder", help="name or folder of a sentence-transformers model, to compare")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aigym-search-") as folder:
        found(Path(folder) / "found", given.distractors, given.embedder)
        if given.trajectories:
            taken(Path(folder) / "taken", given.trajectories)


if __name__ == "__main__":
    main()
