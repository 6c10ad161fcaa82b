"""A bench looked at and steered on its board, in a real browser."""

from __future__ import annotations

import time

import bench_commands
import benches
from labs import BROWSER, Lab

from aigym_kernel.bench import holding, records
from aigym_kernel.bench.records import CellStatus

pytestmark = BROWSER

BENCH = ".aigym-bench"
CELLS = f"[...document.querySelectorAll('{BENCH} .aigym-matrix-cell')]"
BADGE = f"document.querySelector('{BENCH} .aigym-heading .aigym-badge')?.innerText"
PANEL = f"{BENCH} .aigym-cell-panel"
ACTIVE = f"document.querySelector('{BENCH} [data-active]')"

PARAMETERS = 'env_id: str = "CartPole-v1"\nwait: float = 0.0\nseed: int = 0'
PLAY = """
import time
import aigym_kernel as aigym
from aigym_kernel.agents import random_agent
env = aigym.make(env_id)
played = aigym.rollout(random_agent(env.action_space, seed=seed), env, n=3, seed=seed)
print("played", len(played), flush=True)
"""
WAIT = """
for i in range(int(wait * 5)):
    print("line", i, flush=True)
    time.sleep(0.2)
"""
REPORT = 'aigym.report(steps=sum(map(len, played)))\nassert seed == 0, "an odd seed"'
START = """
import aigym_kernel as aigym
bench = aigym.benchmark("toy.ipynb", grid={"wait": [0.0, 600.0]}, seeds=[0, 1], workers=2)
bench.run()
bench.board()
"""


def test_a_bench_is_watched_opened_and_stopped(lab: Lab) -> None:
    bench_commands.notebook(lab.folder / "toy.ipynb", PARAMETERS, PLAY, WAIT, REPORT)
    lab.open("watched.ipynb", START, "bench.wait()\n'ended'")
    lab.wait(f"{BENCH} .aigym-matrix-cell")
    cells = lab.cells()
    # Seeds are the columns; of four cells one is done, one has failed and two wait.
    states = f"{CELLS}.map(c => c.classList[1].replace('aigym-cell-', '')).join()"
    lab.expect(f"{states} == 'done,failed,running,running'")
    assert float(lab.page.evaluate(f"{CELLS}[0].innerText")) > 20
    assert lab.page.evaluate(f"{CELLS}[1].innerText") == "✕ error"

    # By keys to a cell that failed: what is said of it; the notebook does not hear of them.
    lab.page.locator(f"{BENCH} [role=grid]").focus()
    for key in ("ArrowRight", "b", "x", "d", "d", "Enter"):
        lab.page.keyboard.press(key)
    lab.wait(f"{PANEL} pre:has-text('an odd seed')")
    assert lab.page.evaluate(f"{ACTIVE}.ariaLabel") == "wait 0.0, seed 1: failed, error"
    assert "what a cell reports counts once it is done" in lab.text(PANEL)  # it had reported when it failed
    lab.shot("bench-failed-light-1280", BENCH)

    # A click on one that is done: facts, its notebook in a frame, what it played.
    lab.page.locator(f"{BENCH} .aigym-matrix-cell").first.click()
    lab.wait(f"{PANEL} td:has-text('steps')")
    lab.page.locator(f"{BENCH} [role=grid]").focus()
    lab.page.keyboard.press("2")
    frame = lab.page.frame_locator(f"{PANEL} iframe[sandbox=allow-scripts]")
    frame.locator("text=played 3").first.wait_for()
    lab.shot("bench-notebook-light-1280", BENCH)
    lab.page.keyboard.press("4")
    lab.wait(f"{PANEL} .aigym-played tbody tr")
    assert lab.page.locator(f"{PANEL} .aigym-played tbody tr").count() == 3
    assert "aigym.explore(where={'run_id': ['" in lab.text(f"{PANEL} .aigym-code-line")

    # The log of a running one is followed.
    lab.page.locator(f"{BENCH} .aigym-matrix-cell").nth(2).click()
    lab.page.locator(f"{BENCH} [role=grid]").focus()
    lab.page.keyboard.press("3")
    lab.wait(f"{PANEL} .aigym-terminal")
    log = f"document.querySelector('{PANEL} .aigym-terminal').innerText"
    before = len(lab.page.evaluate(log))
    lab.expect(f"{log}.length > {before} + 20")
    lab.theme("JupyterLab Dark")
    lab.shot("bench-log-dark-1280", BENCH)

    lab.page.locator(f"{BENCH} .aigym-stop").click()
    lab.expect(f"{BADGE} == 'interrupted'")
    lab.expect(f"{CELLS}.filter(c => c.innerText == 'interrupted').length == 2")
    lab.expect("document.querySelector('.jp-Notebook').innerText.includes(\"'ended'\")")
    assert lab.cells() == cells
    assert lab.text(f"{BENCH} .aigym-heading button:has-text('Resume')") == "Resume"
    kept = "window.jupyterapp.shell.currentWidget.content.model.cells.get(0).outputs.get(1).data['text/html']"
    lab.expect(f"{kept}.includes('2 interrupted')")
    assert "an odd seed" in str(lab.page.evaluate(kept))
    # Escape closes the cell, then leaves the board.
    lab.page.locator(f"{BENCH} [role=grid]").focus()
    lab.page.keyboard.press("Escape")
    lab.expect(f"document.querySelector('{PANEL}').hidden")
    lab.theme("JupyterLab Light")


def test_a_thousand_cells_are_walked_through_and_listed(lab: Lab) -> None:
    folder = lab.folder / "many"
    failed = {("m3", "b", seed): ("memory", "more than 512 MB") for seed in range(2)}
    queued = [(f"m{i}", task, seed) for i in range(20) for task in "ab" for seed in range(2, 25)]
    benches.write(folder, [f"m{i}" for i in range(20)], ("a", "b"), 25, failed=failed, queued=queued)  # type: ignore[arg-type]
    hold = holding.take(folder, workers=2)
    lab.open("many.ipynb", "import aigym_kernel as aigym\naigym.bench_board('many')")
    lab.wait(f"{BENCH} .aigym-matrix-cell")
    assert lab.page.evaluate(f"{CELLS}.length") == 1000
    for cell in records.read(folder).plan.cells[977:979]:
        inner = {"label": "ppo", "step": 4096, "total": 10_000}
        began = time.time() - 9
        status = CellStatus(state="running", attempt=1, started_at=began, done=2, total=5, inner=inner)
        records.replace(records.cell_folder(folder, cell.id) / "status.json", status)
    lab.expect(f"{CELLS}.filter(c => c.innerText.startsWith('▸')).length == 2")

    # To the last row and column; the active cell stays in view, clear of the sticky heads.
    lab.page.locator(f"{BENCH} [role=grid]").focus()
    for key in ("PageDown",) * 4 + ("End",):
        lab.page.keyboard.press(key)
    assert lab.page.evaluate(f"{ACTIVE}.ariaLabel") == "algo m19, env_id b, seed 24: queued"
    box, cell = (
        lab.page.locator(f"{BENCH} {name}").bounding_box() for name in ("[role=grid]", "[data-active]")
    )
    assert box["x"] + 100 < cell["x"] < box["x"] + box["width"] - cell["width"]
    assert box["y"] + 24 < cell["y"] < box["y"] + box["height"] - cell["height"]
    lab.shot("bench-thousand-light-1280", BENCH)
    lab.page.select_option(f"{BENCH} select[aria-label=columns]", "")
    lab.wait(f"{BENCH} .aigym-matrix-list .aigym-matrix-cell:has-text('running 48 %, ppo, 4,096 of 10,000')")
    assert lab.page.evaluate(f"{CELLS}.length") == 1000
    lab.page.set_viewport_size({"width": 800, "height": 900})
    fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{BENCH}'))"
    assert lab.page.evaluate(fits)
    hold.release()
    lab.expect(f"{BADGE} == 'interrupted'")
