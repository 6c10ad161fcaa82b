"""What one Python program costs in each sandbox, ours beside its peers. Prints tables and writes JSON.

    .venv/bin/python benchmarks/sandbox.py [--rounds 8] [--peers FOLDER] [--only NAME ...]

Every system (`systems.py`) waits warm in a process of its own. A round lets each run each program with one
and with two workers for about a second, in an order drawn anew each round, so that a change of the machine's
load meets all of them; in every second round each also starts from nothing. Peers that are not installed
(README.md) are left out and named. ``per_second`` is of all rounds together; ``p50`` and ``p90`` are of
single calls.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from machine import keep, machine
from systems import PEERS, PROGRAMS, SYSTEMS

HERE = Path(__file__).parent
WORKERS = (1, 2)
SECONDS = 1.0
COLD_EVERY = 2  # rounds; from nothing takes long, and what varies most is the rest
SETTLE_S = 0.2  # what a pool does after the last program is not the next system's to pay
#: Systems of ours, and what each has to be compared with.
TARGETS = {
    "pool-docker reuse": {"docker exec (SDK)": 10, "SWE-ReX": 3},
    "pool-docker fresh": {"docker exec (SDK)": 6, "SWE-ReX": 1.7},
    "pool-bwrap reuse": {"docker exec (SDK)": 10, "SWE-ReX": 3},
    "pool-bwrap fresh": {"docker exec (SDK)": 6, "SWE-ReX": 1.7},
}


class System:
    """One process of `systems.py`."""

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [python, str(HERE / "systems.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        """Raises RuntimeError with what went wrong over there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(command), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline() or '{"error": "its process ended"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return dict(answer)

    def close(self) -> None:
        """Have it end; `wait` hears of it. Containers take ten seconds to stop, so all do at a time."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> None:
        self.process.wait(60)


def start(names: list[str], peers: Path) -> tuple[list[System], dict[str, str]]:
    """The systems that work here, warm, and why the others do not."""
    systems, missing = [], {}
    for name in names:
        python = str(peers / "bin" / "python") if name in PEERS else sys.executable
        try:
            if not Path(python).exists():
                raise RuntimeError(f"no {python}: see benchmarks/README.md")
            system = System(name, python)
            system.ask(do="warm", workers=max(WORKERS))
        except RuntimeError as error:
            missing[name] = str(error)
            print(f"left out: {name}: {error}", flush=True)
        else:
            systems.append(system)
    return systems, missing


Key = tuple[str, str, str, int]  # system, state, program, workers


def rounds(systems: list[System], count: int) -> tuple[dict[Key, list[float]], dict[Key, float]]:
    """Latencies in milliseconds, and seconds that they took, over all rounds."""
    latencies: dict[Key, list[float]] = defaultdict(list)
    elapsed: dict[Key, float] = defaultdict(float)
    order = random.Random(0)
    for number in range(count):
        cells = [
            (system, state, program, workers)
            for system in systems
            for state in (("warm",) if number % COLD_EVERY else ("warm", "cold"))
            for program in PROGRAMS
            for workers in WORKERS
        ]
        order.shuffle(cells)
        for system, state, program, workers in cells:
            key = (system.name, state, program, workers)
            do = {"do": "run", "seconds": SECONDS} if state == "warm" else {"do": "cold"}
            found = system.ask(program=program, workers=workers, **do)
            latencies[key] += found["latencies_ms"]
            elapsed[key] += found["elapsed_s"]
            time.sleep(SETTLE_S)
        print(f"round {number + 1} of {count}: load {os.getloadavg()[0]:.1f}", flush=True)
    return latencies, elapsed


def rows(latencies: dict[Key, list[float]], elapsed: dict[Key, float]) -> list[dict[str, Any]]:
    found = []
    for key in sorted(
        latencies, key=lambda key: (key[1] == "cold", key[2], key[3], list(SYSTEMS).index(key[0]))
    ):
        system, state, program, workers = key
        values = latencies[key]
        found.append(
            {
                "system": system,
                "state": state,
                "program": program,
                "workers": workers,
                "runs": len(values),
                "p50_ms": round(statistics.median(values), 2),
                "p90_ms": round(sorted(values)[round(0.9 * (len(values) - 1))], 2),
                "min_ms": round(min(values), 2),
                "per_second": round(len(values) / elapsed[key], 2),
            }
        )
    return found


def ratios(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Warm throughput of each of our systems as a multiple of each peer's, with the target if one is set."""
    rate = {
        (row["system"], row["program"], row["workers"]): row["per_second"]
        for row in found
        if row["state"] == "warm"
    }
    ours = [name for name in SYSTEMS if name.startswith("pool-") or name in ("bwrap", "docker")]
    present = {row["system"] for row in found}
    return [
        {
            "system": name,
            "peer": peer,
            "program": program,
            "workers": workers,
            "times": round(rate[name, program, workers] / rate[peer, program, workers], 2),
            "target": TARGETS.get(name, {}).get(peer) if program == "print" else None,
        }
        for name in ours
        for peer in SYSTEMS
        if peer not in ours and {name, peer} <= present
        for program in PROGRAMS
        for workers in WORKERS
    ]


def show(found: list[dict[str, Any]], compared: list[dict[str, Any]]) -> None:
    group = None
    for row in found:
        if group != (group := (row["state"], row["program"], row["workers"])):
            print(f"\n{row['state']}, {row['program']}, {row['workers']} worker(s)")
            print(f"  {'':20} {'p50 ms':>9} {'p90 ms':>9} {'per s':>8} {'runs':>6}")
        print(
            f"  {row['system']:20} {row['p50_ms']:9.1f} {row['p90_ms']:9.1f} "
            f"{row['per_second']:8.1f} {row['runs']:6}"
        )
    print("\nthroughput against the targets (warm print)")
    for row in compared:
        if row["target"]:
            word = "met" if row["times"] >= row["target"] else "missed"
            print(
                f"  {row['system']:20} {row['times']:6.1f} times {row['peer']} with {row['workers']} "
                f"worker(s), target {row['target']}: {word}"
            )


def versions(peers: Path) -> dict[str, str]:
    found = {
        "docker": subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    }
    if (python := peers / "bin" / "python").exists():
        code = "from importlib.metadata import version as v; print(v('llm-sandbox'), v('swe-rex'))"
        told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout
        found |= dict(zip(("llm-sandbox", "swe-rex"), told.split()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--peers", type=Path, default=HERE.parent / ".venv-peers", help="the peers' virtual environment"
    )
    parser.add_argument("--only", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"sandbox-{os.cpu_count()}-cpu.json")
    given = parser.parse_args()
    load = os.getloadavg()
    systems, missing = start(given.only, given.peers)
    try:
        latencies, elapsed = rounds(systems, given.rounds)
    finally:
        for system in systems:
            system.close()
        for system in systems:
            system.wait()
    found = rows(latencies, elapsed)
    compared = ratios(found)
    show(found, compared)
    result = {
        "machine": machine(load, rounds=given.rounds, **versions(given.peers)),
        "left_out": missing,
        "rows": found,
        "ratios": compared,
    }
    print()
    keep(given.out, result)


if __name__ == "__main__":
    main()
