"""What does the explorer cost at ten million steps? Measured in a real JupyterLab in Chromium.

    .venv/bin/python benchmarks/explorer.py [--steps 10000000] [--store FOLDER] [--rounds 20]

Builds (or, with --store, reuses) a store of 100,000 trajectories with 10,000,000 steps, one more of 100,000
steps and one of 6,700 messages, opens `aigym.explore()` on it and measures from the browser's side:

    kernel_per_brush    answering one brush in the kernel, in the kernel's own clock
    brush_to_repaint    from the brush's change in the browser to the frame after the charts were drawn anew
    open_100k_steps     from choosing the trajectory of 100,000 steps to the frame after it was drawn
    open_6700_messages  the same for the conversation
    scroll_frames       frames per second while the list of 100,000 rows is scrolled from end to end
    scroll_near_frames  the same at five rows a frame, so that all rows are fetched and shown

Prints each figure beside its target and writes all to results/. Times are medians with the 90th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aigym_kernel.batches import Batch
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Message, Trajectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
RESULTS = Path(__file__).parent / "results"
LENGTH = 100
TARGETS = {
    "kernel_per_brush": "100 ms",
    "brush_to_repaint": "",
    "open_100k_steps": "1000 ms",
    "open_6700_messages": "1000 ms",
    "scroll_frames": "smooth: 60 a second",
    "scroll_near_frames": "smooth: 60 a second",
}

# Waits for the frame in which something is drawn: the next one begins after the work of this one.
FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))"
PREPARE = """
window.explorer = document.querySelector(".aigym-explorer");
window.settled = async () => {
  while (explorer.hasAttribute("aria-busy")) await FRAME;
  await FRAME;
};
""".replace("FRAME", FRAME)
BRUSH = """
async (i) => {
  const charts = [...explorer.querySelectorAll(".aigym-histogram")];
  const chart = charts[i % Math.min(3, charts.length)];
  const target = chart.querySelector(".aigym-plot") ?? chart;
  const box = target.getBoundingClientRect();
  const at = (share, kind, buttons) => target.dispatchEvent(new PointerEvent(kind, {
    clientX: box.left + share * box.width, clientY: box.top + box.height / 2,
    bubbles: true, pointerId: 1, isPrimary: true, button: 0, buttons }));
  const low = 0.2 + 0.01 * i;
  at(low, "pointerdown", 1);
  at(low + 0.1, "pointermove", 1);
  await settled();
  const started = performance.now();
  at(low + 0.3, "pointermove", 1);
  at(low + 0.3, "pointerup", 0);
  await settled();
  return performance.now() - started;
}
"""
OPEN = """
async (name) => {
  const search = explorer.querySelector("input[type=search]");
  search.value = name;
  search.dispatchEvent(new Event("input", { bubbles: true }));
  const row = () => [...explorer.querySelectorAll(".aigym-row")].find((one) => one.dataset.id === name);
  while (!row()) await FRAME;
  await settled();
  const shown = () => explorer.querySelector(".aigym-player")?.textContent.includes(name);
  const started = performance.now();
  row().click();
  while (!shown()) await FRAME;
  await settled();
  return performance.now() - started;
}
""".replace("FRAME", FRAME)
SCROLL = """
async (far) => {
  const grid = explorer.querySelector(".aigym-grid");
  const end = Math.min(grid.scrollHeight - grid.clientHeight, far);
  const times = [];
  for (let i = 0; i <= 240; i++) {
    grid.scrollTop = end * i / 240;
    times.push(await new Promise(requestAnimationFrame));
  }
  return times.slice(1).map((time, i) => time - times[i]);
}
"""
CELL = """
import time
import aigym_kernel as aigym
from aigym_kernel.widgets import answers

took = []
answer = answers.change
def timed(explorer, arguments):
    started = time.perf_counter()
    answer(explorer, arguments)
    if "filters" in arguments:
        took.append(1000 * (time.perf_counter() - started))
answers.ANSWERS["change"] = timed
started = time.perf_counter()
explorer = aigym.explore()
opened = 1000 * (time.perf_counter() - started)
explorer
"""
TOLD = "import json, sys; sys.stdout.write('<' + json.dumps({'took': took, 'opened': opened}) + '>')"


def build(store: Store, steps: int) -> None:
    """100 steps a trajectory, in eight runs of two environments, by five agents."""
    random = np.random.default_rng(0)
    runs, per_batch = 8, 1_000
    for run in range(runs):
        record = RunRecord(run_id=f"run-{run}", kind="rollout", name=f"run {run}")
        store.add_run(record, RunStatus(state="done"))
        with store.writer(record.run_id) as writer:
            for first in range(0, steps // LENGTH // runs, per_batch):
                count = min(per_batch, steps // LENGTH // runs - first)
                lengths = random.integers(LENGTH // 2, LENGTH * 3 // 2, count)
                lengths[-1] += count * LENGTH - lengths.sum() if lengths.sum() < count * LENGTH else 0
                total = int(lengths.sum())
                batch = Batch(
                    env_id=("CartPole-v1", "LunarLander-v3")[run % 2],
                    agent=f"agent {run % 5}",
                    observations=random.normal(size=(total + count, 8)).astype(np.float32),
                    actions=random.integers(0, 4, total),
                    rewards=random.normal(run, 1.0, total).astype(np.float32),
                    lengths=lengths,
                    terminated=random.random(count) < 0.7,
                    truncated=np.zeros(count, dtype=bool),
                    started_at=1.7e9 + run * 1e6 + first * 10.0 + np.arange(count),
                )
                writer.batch(batch)
    extremes(store)


def extremes(store: Store) -> None:
    """The trajectory of 100,000 steps and the conversation of 6,700 messages."""
    store.add_run(RunRecord(run_id="long", kind="rollout", name="long"), RunStatus(state="done"))
    random = np.random.default_rng(1)
    many = 100_000
    long = Trajectory(
        id="long-steps",
        run_id="long",
        env_id="LunarLander-v3",
        agent="agent 0",
        observations=random.normal(size=(many + 1, 8)).astype(np.float32),
        actions=random.integers(0, 4, many),
        rewards=random.normal(size=many),
        terminated=True,
        truncated=False,
    )
    told = [
        Message(
            role="assistant" if i % 2 else "user",
            content=f"**{i}** `x = {i}`\n\n" + "word " * 60,
            step=i // 2,
        )
        for i in range(6_700)
    ]
    turns = len(told) // 2
    talk = Trajectory(
        id="long-talk",
        run_id="long",
        env_id="aigym/talk-v0",
        agent="agent 1",
        observations=["asked"] * (turns + 1),
        actions=["answered"] * turns,
        rewards=np.zeros(turns),
        terminated=True,
        truncated=False,
        messages=tuple(told),
    )
    with store.writer("long") as writer:
        writer.trajectory(long)
        writer.trajectory(talk)


def spread(times: list[float]) -> dict[str, float]:
    """Median and 90th percentile."""
    ordered = sorted(times)
    return {
        "median": round(statistics.median(ordered), 1),
        "p90": round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 1),
    }


def measure(lab: Any, rounds: int) -> dict[str, Any]:
    """Drives one open explorer."""
    page = lab.page
    lab.open("benchmark.ipynb", CELL)
    lab.wait(".aigym-explorer .aigym-row")
    page.wait_for_timeout(2_000)
    page.evaluate(PREPARE)
    found: dict[str, Any] = {}
    brushes = [float(page.evaluate(BRUSH, i)) for i in range(rounds)]
    found["brush_to_repaint"] = spread(brushes)
    page.keyboard.press("Escape")
    page.locator(".aigym-explorer .aigym-grid").focus()
    page.keyboard.press("c")
    page.wait_for_timeout(1_000)
    for key, far in (("scroll_frames", 1e9), ("scroll_near_frames", 240 * 5 * 26)):
        gaps = list(page.evaluate(SCROLL, far))
        per_second = round(1000 * len(gaps) / sum(gaps), 1)
        found[key] = {"per_second": per_second, "slowest_ms": round(max(gaps), 1)}
        page.wait_for_timeout(1_000)
    for name, key in (("long-steps", "open_100k_steps"), ("long-talk", "open_6700_messages")):
        found[key] = spread([float(page.evaluate(OPEN, name))])
    told = page.evaluate(
        "async (code) => {"
        " const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;"
        " let text = ''; const future = kernel.requestExecute({ code });"
        " future.onIOPub = (m) => { if (m.header.msg_type === 'stream') text += m.content.text; };"
        " await future.done; return text; }",
        TOLD,
    )
    kernel = json.loads(told[told.index("<") + 1 : told.rindex(">")])
    found["kernel_per_brush"] = spread(kernel["took"])
    found["explore_opens"] = {"median": round(kernel["opened"], 1)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    import labs
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        store = Store(asked.store or Path(folder) / "store")
        if not (store.folder / "store.json").exists():
            started = time.perf_counter()
            build(store, asked.steps)
            print(f"built in {time.perf_counter() - started:.0f} s")
        store.index()
        with (
            labs.running(Path(folder) / "lab", AIGYM_DATA=str(store.folder)) as server,
            sync_playwright() as p,
        ):
            browser = p.chromium.launch(executable_path=labs.CHROMIUM, args=labs.FLAGS)
            lab = labs.Lab(server, "python3", browser.new_page(viewport={"width": 1280, "height": 1200}))
            labs.watch(lab.page, lab.requests, lab.problems)
            found = measure(lab, asked.rounds)
            browser.close()
        counts = store.sql("SELECT count(*) AS n, sum(length) AS steps FROM trajectories").iloc[0]
    found |= {"trajectories": int(counts["n"]), "steps": int(counts["steps"])}
    for name, figure in found.items():
        print(f"{name:20} {json.dumps(figure):45} {TARGETS.get(name, '')}")
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()}
    path = RESULTS / f"explorer-{os.cpu_count()}-cpu.json"
    path.write_text(json.dumps({**found, "machine": machine}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
