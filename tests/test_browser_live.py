"""An explorer that follows a run which another process records, in a real browser."""

from __future__ import annotations

import os

import numpy as np
from labs import BROWSER, Lab

from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Trajectory

pytestmark = BROWSER

COUNT = ".aigym-explorer .aigym-list-foot"
SWITCH = ".aigym-explorer .aigym-live-switch"
SCROLLED = "document.querySelector('.aigym-explorer .aigym-grid').scrollTop"
ASKED = """
import aigym_kernel as aigym
from aigym_kernel.widgets import answers

asked = []
answer = answers.ANSWERS["follow"]
answers.ANSWERS["follow"] = lambda *given: (asked.append(1), answer(*given))[1]
explorer = aigym.explore()
explorer
"""


def play(store: Store, n: int, first: int) -> None:
    with store.writer("going") as writer:
        for i in range(first, first + n):
            writer.trajectory(
                Trajectory(
                    id=f"t{i:04}",
                    run_id="going",
                    env_id="x-v0",
                    agent="somebody",
                    observations=np.zeros((5, 2)),
                    actions=np.zeros(4, dtype=int),
                    rewards=np.full(4, float(i % 7)),
                    terminated=True,
                    truncated=False,
                    started_at=1_700_000_000.0 + i,
                )
            )


def test_it_follows_a_run_of_another_process_and_stops_when_told(lab: Lab) -> None:
    store = Store(lab.store)
    run = RunRecord(run_id="going", kind="rollout", name="going")
    store.add_run(run, RunStatus(state="running", pid=os.getpid()))
    play(store, 200, 0)
    lab.open("live.ipynb", ASKED, "len(asked)")
    lab.wait(f"{COUNT}:has-text('200 trajectories')")
    lab.wait(SWITCH)
    play(store, 3, 200)
    lab.wait(f"{COUNT}:has-text('203 trajectories')")
    assert lab.text(".aigym-explorer .aigym-row") != ""
    newest = lab.page.locator(".aigym-explorer .aigym-row").first
    assert newest.get_attribute("data-id") == "t0202"

    # A row is open, another is at the top of the view, a chart is brushed: all stay.
    lab.page.locator(".aigym-explorer .aigym-row[data-id='t0200']").click()
    lab.page.evaluate("document.querySelector('.aigym-explorer .aigym-grid').scrollTop = 26 * 50")
    lab.page.wait_for_selector(".aigym-row[data-id='t0150']")
    at = lab.page.locator(".aigym-row[data-id='t0150']").bounding_box()
    play(store, 10, 203)
    lab.wait(f"{COUNT}:has-text('213 trajectories')")
    lab.expect(f"{SCROLLED} == 26 * 60")
    lab.page.wait_for_selector(".aigym-row[data-id='t0150']")
    now = lab.page.locator(".aigym-row[data-id='t0150']").bounding_box()
    assert abs(now["y"] - at["y"]) < 2
    assert "t0200" in lab.text(".aigym-explorer .aigym-player")

    # Switched off by its key, nothing is asked; switched on, it catches up.
    lab.page.locator(".aigym-explorer .aigym-grid").focus()
    lab.page.keyboard.press("l")
    lab.wait(f"{SWITCH}[aria-checked=false]")
    play(store, 1, 213)
    lab.page.wait_for_timeout(3000)
    assert "213 trajectories" in lab.text(COUNT)
    lab.page.locator(SWITCH).click()
    lab.wait(f"{COUNT}:has-text('214 trajectories')")

    # The run ends: the last is shown, then the switch goes and nothing is asked any more.
    play(store, 1, 214)
    store.write_status("going", RunStatus(state="done"))
    lab.wait(f"{COUNT}:has-text('215 trajectories')")
    lab.page.locator(SWITCH).wait_for(state="hidden")


def test_a_silent_kernel_is_asked_once_and_nothing_is_told(lab: Lab) -> None:
    store = Store(lab.store)
    if "going" not in (store.run_ids() if lab.store.exists() else ()):
        store.add_run(RunRecord(run_id="going", kind="rollout", name="going"))
        play(store, 5, 0)
    store.write_status("going", RunStatus(state="running", pid=os.getpid()))
    lab.open("silent.ipynb", ASKED)
    lab.wait(SWITCH)
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    sent = "window.__sent = 0; WebSocket.prototype.send = function () { window.__sent += 1; }"
    lab.page.evaluate(sent)
    lab.page.wait_for_timeout(6000)
    assert int(lab.page.evaluate("window.__sent")) <= 1
    assert lab.page.locator(".aigym-explorer .aigym-note:visible").count() == 0
    store.write_status("going", RunStatus(state="done"))
