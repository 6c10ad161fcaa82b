"""The widgets in a real JupyterLab, in Chromium; see labs.py for what drives it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from labs import BROWSER, SCREENS, Lab

pytestmark = BROWSER

RECORD = '''
import numpy as np
import time
from aigym_kernel.runs import rollout
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

def hungry(observation, steps):
    """Takes the free move that is nearest to the apple."""
    moves = observation[:21].reshape(3, 7)
    return int(np.argmax(moves[:, 0] * (1 + moves[:, 3] + 2 * moves[:, 4] + 4 * moves[:, 5])))

rollout(hungry, "aigym/Snake-v0", n=24, seed=1)
def upright(observation, steps):
    return int(observation[2] + observation[3] > 0)

rollout(upright, "CartPole-v1", n=3, seed=1)
evil = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
marks = (
    Mark(name="visible tests", value=1.0, weight=2.0, required=True, feedback="12 of 12 passed"),
    Mark(name="hidden tests " + evil, value=0.5, feedback=evil + "\\n2 of 4 passed"),
)
text = Trajectory(
    env_id="aigym/two-sum-v0", agent=evil, seed=0,
    observations=["Write two_sum(numbers, target).\\n" + evil, "Traceback: NameError: name 'seen'", "judged"],
    actions=["def two_sum(numbers, target):\\n    return seen\\n", "def two_sum(numbers, target):\\n" + evil],
    rewards=np.array([0.0, 0.75]), terminated=True, truncated=False,
    score=Score(task_id="two-sum", total=0.75, passed=False, marks=marks, wall_s=0.4),
)
store = Store()
store.add_run(RunRecord(run_id=f"hostile-{time.time_ns()}", kind="rollout", name="hostile text"))
with store.writer(store.run_ids()[-1]) as writer:
    writer.trajectory(text)
'''


EXPLORE = "from aigym_kernel.widgets import explore\nexplorer = explore()\nexplorer"
ROW = ".aigym-explorer .aigym-row"
STEP = "document.querySelector('.aigym-explorer input[type=range]').value"


def chosen(lab: Lab) -> str:
    """The id of the row that is selected in the list."""
    return str(lab.page.locator(f"{ROW}[aria-current=true]").get_attribute("data-id"))


def open_explorer(lab: Lab) -> None:
    """In one page and one kernel for all tests that open it."""
    lab.show("explorer.ipynb", RECORD, EXPLORE)
    lab.wait(ROW)
    lab.expect("document.querySelector('.aigym-player input[type=range]') !== null")


def test_recorded_text_runs_no_script_and_shows_as_it_is(shared_lab: Lab) -> None:
    lab = shared_lab
    open_explorer(lab)
    assert "<img src=x onerror='window.pwned=1'>" in lab.text(".aigym-exchange")
    assert "hidden tests <img" in lab.text(".aigym-marks")
    assert lab.page.evaluate("window.pwned") is None
    assert lab.page.locator(".aigym-explorer img, .aigym-explorer script").count() == 0
    lab.shot("explorer-text-light-1280", ".aigym-explorer")


def test_filters_search_and_order(shared_lab: Lab) -> None:
    lab = shared_lab
    open_explorer(lab)
    rows = "[...document.querySelectorAll('.aigym-explorer .aigym-row')]"
    envs = "[data-column=env_id] .aigym-bars button"
    lab.page.locator(f"{envs}:has-text('CartPole')").click()
    lab.expect(f"{rows}.length > 0 && {rows}.every(r => r.innerText.includes('CartPole'))")
    lab.page.locator(f"{envs}:has-text('Snake')").click()
    lab.expect(f"{rows}.length > 0 && {rows}.every(r => r.innerText.includes('Snake'))")
    newest = lab.page.locator(ROW).first.get_attribute("data-id")
    lab.page.locator(".aigym-grid-head button:has-text('steps')").click()
    steps = f"{rows}.map(r => Number(r.querySelector('.aigym-cell-number').innerText.replace(',', '')))"
    lab.expect(f"{steps}.every((n, i, all) => i == 0 || n <= all[i - 1])")
    lab.page.locator(".aigym-grid-head button:has-text('steps')").click()
    lab.expect(f"{steps}.every((n, i, all) => i == 0 || n >= all[i - 1])")
    lab.page.locator(".aigym input[type=search]").fill(str(newest))
    lab.expect(f"{rows}.length == 1 && {rows}[0].dataset.id == '{newest}'")
    lab.page.locator(".aigym input[type=search]").fill("no such thing")
    lab.expect(f"{rows}.length == 0")


def test_it_reads_well_narrow_and_dark(shared_lab: Lab) -> None:
    lab = shared_lab
    open_explorer(lab)
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        lab.page.set_viewport_size({"width": width, "height": 900})
        for name, agent in (("snake", "hungry"), ("values", "upright")):
            lab.page.locator(f"{ROW}:has-text('{agent}')").first.click()
            lab.wait(".aigym-board" if name == "snake" else ".aigym-values")
            lab.page.locator(".aigym-player input[type=range]").fill("60")
            lab.shot(f"explorer-{name}-{theme.lower()}-{width}", ".aigym-explorer")
            for part in (".aigym-explorer", ".aigym-grid", ".aigym-player", ".aigym-controls"):
                fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{part}'))"
                assert lab.page.evaluate(fits), f"{part} overflows at {width} px"
    lab.theme("JupyterLab Light")


def test_mouse_and_keys_move_the_widget_and_leave_the_notebook_alone(lab: Lab) -> None:
    lab.open("keys.ipynb", RECORD, EXPLORE)
    lab.wait(ROW)
    lab.expect("document.querySelector('.aigym-player input[type=range]') !== null")
    cells = lab.cells()
    lab.page.locator(f"{ROW}:has-text('hungry')").nth(2).click()
    lab.answered()
    lab.wait(".aigym-board")
    first = chosen(lab)
    lab.page.locator("button[aria-label^='play']").click()
    lab.pause_when(f"{STEP} > 5")
    keyboard = lab.page.keyboard
    lab.page.locator(".aigym-grid").focus()
    keyboard.press("j")
    below = chosen(lab)
    assert below != first
    opened = "document.querySelector('.aigym-facts').innerText.includes('{}')"
    lab.expect(opened.format(below))  # what is opened later pauses what plays then
    keyboard.press("k")
    assert chosen(lab) == first
    lab.expect(opened.format(first))
    lab.answered()
    for key in ("b", "x", "a", "d", "d", "m", "y", "c", "v", "z", "Enter", "Shift+Enter", "0", "0"):
        keyboard.press(key)
    keyboard.press("End")
    last = int(lab.page.evaluate(STEP))
    assert last > 5
    keyboard.press("ArrowLeft")
    lab.expect(f"{STEP} == {last - 1}")
    keyboard.press("Home")
    keyboard.press("ArrowRight")
    lab.expect(f"{STEP} == 1")
    keyboard.press("Space")
    lab.expect(f"{STEP} > 3")
    keyboard.press("Space")
    keyboard.press("?")
    assert lab.page.locator(".aigym-keys").is_visible()
    keyboard.press("?")
    keyboard.press("/")
    keyboard.type("bdx")
    assert lab.page.locator(".aigym input[type=search]").input_value() == "bdx"
    assert lab.cells() == cells
    keyboard.press("Escape")
    keyboard.press("Escape")
    keyboard.press("b")  # outside the widget the notebook has its keys again
    lab.expect(f"window.jupyterapp.shell.currentWidget.content.model.cells.length == {cells + 1}")
    lab.page.goto("about:blank")  # the notebook has a cell more now


TRAIN = """from aigym_kernel.runs import train
from aigym_kernel.widgets import board
run = train("CartPole-v1", algo="ppo", total_timesteps=200_000_000)
board(run)"""
WAIT = """from aigym_kernel.widgets import refresh
run.wait()
refresh(run)
run.status().state"""


def test_a_board_stops_its_training_and_an_explorer_answers_while_a_cell_waits(lab: Lab) -> None:
    lab.open("board.ipynb", RECORD, TRAIN, EXPLORE, WAIT)
    lab.wait(".aigym-live .aigym-line")
    lab.wait(ROW)
    cells = lab.cells()
    lab.page.locator(".aigym input[type=search]").fill("two-sum")
    rows = "[...document.querySelectorAll('.aigym-explorer .aigym-row')]"
    lab.expect(f"{rows}.length > 0 && {rows}.every(r => r.innerText.includes('two-sum'))")
    assert lab.text(".aigym-live .aigym-badge") == "running"
    lab.shot("board-running-light-1280", ".aigym-live")
    lab.page.locator(".aigym-stop").focus()
    for key in ("b", "x", "d", "d", "Space"):
        lab.page.keyboard.press(key)
    lab.wait(".aigym-live .aigym-badge:has-text('stopped')")
    lab.expect("document.querySelector('.jp-Notebook').innerText.includes(\"'stopped'\")")
    assert lab.cells() == cells
    assert not lab.page.locator(".aigym-stop").is_visible()
    kept = "window.jupyterapp.shell.currentWidget.content.model.cells.get(1).outputs.get(1).data['text/html']"
    assert ">stopped</span>" in lab.page.evaluate(kept)
    assert lab.page.locator(".aigym-live").count() == 1
    lab.theme("JupyterLab Dark")
    lab.page.set_viewport_size({"width": 800, "height": 900})
    lab.shot("board-stopped-dark-800", ".aigym-live")
    lab.theme("JupyterLab Light")


NBCONVERT = ["nbconvert", "--execute", "--inplace", "--to", "notebook"]
NBCONVERT += ["--ExecutePreprocessor.startup_timeout=300", "--ExecutePreprocessor.iopub_timeout=300"]


def test_a_saved_notebook_plays_where_nothing_answers(lab: Lab) -> None:
    """Executed and saved elsewhere, opened here beside a kernel that knows nothing of the widget."""
    name = "saved.ipynb"
    lab.write(name, RECORD, EXPLORE.replace("explore()", "explore(where={'env_id': 'aigym/Snake-v0'})"))
    for arguments in ([*NBCONVERT, name], ["trust", name]):
        command = [sys.executable, "-m", "jupyter", *arguments]
        done = subprocess.run(
            command, cwd=lab.folder, env=lab.server.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    lab.look(name)
    lab.wait(".aigym-board")
    assert lab.page.locator(ROW).count() > 10
    lab.page.locator("button[aria-label^='play']").click()
    lab.expect(f"{STEP} > 5")
    before = chosen(lab)
    lab.page.locator(ROW).nth(4).click()
    lab.wait(".aigym-note:has-text('No answer from the kernel')")
    assert chosen(lab) == before


@pytest.mark.usefixtures("sandbox")
def test_the_quickstart_from_top_to_bottom(lab: Lab) -> None:
    """Run all of the project's own first notebook, stop its second training, use its explorer."""
    quickstart = Path(__file__).parent.parent / "notebooks" / "quickstart.ipynb"
    notebook = nbformat.read(quickstart, as_version=4)
    cells = len(notebook.cells)
    parameters = notebook.cells[1]
    parameters.source = parameters.source.replace(
        "snake_steps: int = 400_000", "snake_steps: int = 9_000_000"
    )
    assert "9_000_000" in parameters.source
    nbformat.write(notebook, lab.folder / "quickstart.ipynb")
    lab.look("quickstart.ipynb")
    lab.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    badge = ".aigym-live:has-text('Snake') .aigym-badge"
    lab.wait(f"{badge}:has-text('running')")
    lab.expect("document.querySelectorAll('.aigym-live:has(.aigym-line)').length == 2")
    lab.page.locator(".aigym-live:has-text('Snake') .aigym-stop").click()
    lab.wait(f"{badge}:has-text('stopped')")
    lab.expect("document.querySelectorAll('.aigym-explorer .aigym-player').length == 2")
    lab.wait(".aigym-explorer .aigym-board")
    first = lab.page.locator(".aigym-explorer").first
    before = first.locator(".aigym-row[aria-current=true]").get_attribute("data-id")
    first.locator(".aigym-grid").focus()
    for key in ("j", "b", "x", "ArrowRight", "Space"):
        lab.page.keyboard.press(key)
    row = "document.querySelector('.aigym-explorer .aigym-row[aria-current=true]')"
    lab.expect(f"{row} && {row}.dataset.id != '{before}'")
    lab.answered()
    assert lab.cells() == cells
    finished = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status == 'idle'"
    lab.expect(finished)
    assert lab.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert lab.page.locator(".js-plotly-plot").count() == 1
    first.scroll_into_view_if_needed()
    lab.shot("quickstart", ".jp-Notebook")
    first.locator("button[aria-label^='pause'], button[aria-label^='play']").first.click()
    lab.shot("quickstart-explorer", ".aigym-explorer")


LAUNCH = """
import time
from aigym_kernel.widgets import launch

def slow(observation, steps):
    time.sleep(0.2 if not steps else 3)  # of twenty steps: time enough to stop it
    return "bash echo step $((6 * 7))"

launcher = launch(["two-sum", "mend-ledger"], agents={"slow": slow})
launcher
"""
PLAYED = ".aigym-launcher [role=status] .aigym-badge"


def test_a_task_is_launched_by_mouse_and_keys(lab: Lab) -> None:
    lab.open("launch.ipynb", LAUNCH, "import time; time.sleep(600)")
    lab.wait(".aigym-launcher textarea")
    cells = lab.cells()
    lab.page.locator("textarea[aria-label=answer]").click()
    for key in ("b", "x", "d", "d", "Shift+Enter"):
        lab.page.keyboard.press(key)
    assert lab.cells() == cells
    answer = "def two_sum(numbers, target):\n    return '<img src=x onerror=alert(1)>'"
    lab.page.locator("textarea[aria-label=answer]").fill(answer)
    lab.page.keyboard.press("Control+Enter")
    lab.expect(f"document.querySelector('{PLAYED}')?.innerText == 'failed'")
    assert "<img src=x" in lab.text(".aigym-launcher .aigym-exchange")
    assert lab.page.locator(".aigym-launcher .aigym-mark").count() == 2
    assert lab.page.locator(".aigym-launcher img").count() == 0
    lab.page.select_option("select[aria-label=task]", "mend-ledger")
    lab.page.select_option("select[aria-label=agent]", "slow")
    lab.page.locator(".aigym-start").click()
    lab.expect("document.querySelector('.aigym-launcher .aigym-exchange').innerText.includes('step 42')")
    lab.page.locator(".aigym-launcher .aigym-stop").click()
    lab.expect(f"document.querySelector('{PLAYED}').innerText == 'error'")
    assert "stopped from the launcher" in lab.text(".aigym-launcher .aigym-error")
    lab.page.select_option("select[aria-label=agent]", "reference solution")
    lab.page.locator(".aigym-start").click()
    lab.expect(f"document.querySelector('{PLAYED}').innerText == 'passed'")
    assert "score 1 in" in lab.text(".aigym-launcher [role=status]")
    lab.shot("launcher-light-1280", ".aigym-launcher")
