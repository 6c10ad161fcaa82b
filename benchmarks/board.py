"""What does it cost a training to be watched? Measured in a real JupyterLab in Chromium.

    .venv/bin/python benchmarks/board.py [--env aigym/Snake-v0] [--steps 200000] [--rounds 5]

Trains the same again and again, in turns without a board and with one that is displayed and looked at (charts
and game). Of each training's own process, from its first Update to its last:

    cpu_us_per_step     CPU time, which other load hardly changes
    steps_per_second    wall time: what the browser and the kernel take from a full machine counts too

and of the kernel that shows the board `kernel_cpu_share`, its CPU time per second. Prints medians and the
ratio of the pairs (with/without), and writes all to results/. The target is 2 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

from aigym_kernel.recording import FINAL
from aigym_kernel.store import Store

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
RESULTS = Path(__file__).parent / "results"
FIRST = "import os\nimport aigym_kernel as aigym\nos.getpid()"
TRAIN = "run = aigym.train({env!r}, total_timesteps={steps}, seed={seed})\n{shown}"
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float | None:
    """CPU time of a process with all its threads; None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICK


def follow(store: Store, run_id: str, kernel: int) -> dict[str, float]:
    """Look at a run's process until it ends; see the module's text for the numbers."""
    seen: list[tuple[float, float, int, float]] = []
    while (status := store.status(run_id)).state not in FINAL:
        cpu = cpu_seconds(status.pid) if status.pid else None
        if status.step and cpu is not None and (not seen or seen[-1][2] != status.step):
            seen.append((time.perf_counter(), cpu, status.step, cpu_seconds(kernel) or 0.0))
        time.sleep(0.05)
    first, last = seen[0], seen[-1]
    steps = last[2] - first[2]
    return {
        "cpu_us_per_step": 1e6 * (last[1] - first[1]) / steps,
        "steps_per_second": steps / (last[0] - first[0]),
        "kernel_cpu_share": (last[3] - first[3]) / (last[0] - first[0]),
    }


def train(lab: Any, store: Store, asked: argparse.Namespace, *, seed: int, shown: bool) -> dict[str, float]:
    """One training in the notebook's kernel, with a board in sight or without any."""
    known = set(store.run_ids())
    ending = "run" if shown else "None"
    cell = TRAIN.format(env=asked.env, steps=asked.steps, seed=seed, shown=ending)
    lab.show("benchmark.ipynb", FIRST, cell)
    while not (new := set(store.run_ids()) - known):
        lab.page.wait_for_timeout(50)
    kernel = int(lab.text(".jp-OutputArea-output"))
    if shown:
        lab.wait(".aigym-live .aigym-progress")
        lab.page.locator(".aigym-live").scroll_into_view_if_needed()
    else:
        lab.page.wait_for_selector(".aigym-live", state="detached")
    # Playwright must not sleep: the page's messages are handled while it waits.
    (run_id,) = new
    found = follow(store, run_id, kernel)
    if shown:
        found["watched"] = float((store.run_folder(run_id) / "live.json").exists())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="aigym/Snake-v0")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    import labs
    from playwright.sync_api import sync_playwright

    load = os.getloadavg()
    pairs: list[tuple[dict[str, float], dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        store.create()
        with (
            labs.running(Path(folder) / "lab", AIGYM_DATA=str(store.folder)) as server,
            sync_playwright() as p,
        ):
            browser = p.chromium.launch(executable_path=labs.CHROMIUM, args=labs.FLAGS)
            lab = labs.Lab(server, "python3", browser.new_page(viewport={"width": 1280, "height": 1200}))
            labs.watch(lab.page, lab.requests, lab.problems)
            for seed in range(asked.rounds):
                order = (False, True) if seed % 2 == 0 else (True, False)
                found = {shown: train(lab, store, asked, seed=seed, shown=shown) for shown in order}
                pairs.append((found[False], found[True]))
                print(json.dumps({"without": found[False], "with": found[True]}))
            browser.close()
    summary: dict[str, Any] = {}
    for name in ("cpu_us_per_step", "steps_per_second", "kernel_cpu_share"):
        without, shown = ([pair[i][name] for pair in pairs] for i in (0, 1))
        summary[name] = {"without": statistics.median(without), "with": statistics.median(shown)}
        if name != "kernel_cpu_share":
            summary[name]["ratio"] = statistics.median(b / a for a, b in zip(without, shown))
    for name, figures in summary.items():
        print(f"{name:20} " + "  ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    path = RESULTS / f"board-{os.cpu_count()}-cpu.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[asked.env] = {"steps": asked.steps, "pairs": len(pairs), **summary, "machine": machine(load)}
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
