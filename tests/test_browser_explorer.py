"""The explorer's charts and list in a real JupyterLab, by mouse and by keyboard; see labs.py."""

from __future__ import annotations

from typing import Any

import pytest
from labs import Lab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

RECORD = """
import numpy as np
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

random = np.random.default_rng(0)
evil = "<img src=x onerror='window.pwned=1'>"
agents = ["ppo", "dqn", "random", evil, "a name that is a good deal longer than any column is wide " * 4]

def one(i):
    steps = int(random.integers(3, 60))
    rewards = random.normal(0, 1, steps).round(1) + (i % 5)
    if i % 200 == 7:
        rewards[0] = (np.nan, np.inf, -np.inf)[i // 200 % 3]
    scored = i % 3 == 0
    total = float(random.choice([0, 0.25, 0.5, 0.75, 1.0]))
    mark = Mark(name="tests", value=total)
    return Trajectory(
        id=f"t{i:06}", env_id=("CartPole-v1", "Acrobot-v1")[i % 7 == 0], agent=agents[i % 11 % 5],
        observations=np.zeros((steps + 1, 2)), actions=np.zeros(steps, dtype=int), rewards=rewards,
        terminated=i % 4 > 0, truncated=i % 4 == 0, seed=i, started_at=1.79e9 + i * 37,
        score=Score(task_id="sums", total=total, passed=total == 1, marks=(mark,)) if scored else None,
        tags=("odd",) if i % 50 == 0 else (),
    )

store = Store()
if not store.folder.exists():
    for run in ("first", "second"):
        store.add_run(RunRecord(run_id=run, kind="rollout", name=run))
        with store.writer(run) as writer:
            for i in range(1000):
                writer.trajectory(one(i + 1000 * (run == "second")))
from aigym_kernel.widgets import explore
explorer = explore()
explorer
"""
ROWS = "[...document.querySelectorAll('.aigym-row')]"
PLOT = "[data-column={}] .aigym-histogram"


def opened(lab: Lab, name: str, *cells: str) -> None:
    lab.open(name, RECORD, *cells)
    lab.wait(".aigym-row[aria-current=true]")
    lab.wait(".aigym-spark")


def total(lab: Lab) -> int:
    """How many trajectories pass, once Python has answered."""
    lab.expect("!document.querySelector('.aigym-explorer').hasAttribute('aria-busy')")
    return int(lab.text(".aigym-list-foot [role=status]").split()[0].replace(",", ""))


def drag(lab: Lab, column: str, start: float, end: float) -> None:
    """Presses the mouse at one share of a histogram's width and lets go at another."""
    plot = lab.page.locator(PLOT.format(column))
    plot.scroll_into_view_if_needed()
    box: Any = plot.bounding_box()
    x = [box["x"] + share * box["width"] for share in (start, end)]
    y = box["y"] + box["height"] / 2
    lab.page.mouse.move(x[0], y)
    lab.page.mouse.down()
    lab.page.mouse.move((x[0] + x[1]) / 2, y)
    lab.page.mouse.move(x[1], y)
    lab.page.mouse.up()


def test_screens(lab: Lab) -> None:
    opened(lab, "screens.ipynb")
    for theme in ("Light", "Dark"):
        lab.theme(f"JupyterLab {theme}")
        for width in (1280, 800):
            lab.page.set_viewport_size({"width": width, "height": 900})
            drag(lab, "return", 0.25, 0.55)
            total(lab)
            lab.page.wait_for_timeout(400)
            lab.shot(f"crossfilter-{theme.lower()}-{width}", ".aigym-explorer")
            lab.page.keyboard.press("c")
            lab.page.set_viewport_size({"width": width, "height": 900})
            for part in (".aigym-explorer", ".aigym-grid", ".aigym-crosses", ".aigym-chip-line"):
                fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{part}'))"
                assert lab.page.evaluate(fits), f"{part} overflows at {width} px"
    lab.theme("JupyterLab Light")
