"""A training watched and steered on its board, in a real browser."""

from __future__ import annotations

import json

from labs import BROWSER, Lab

from aigym_kernel.store import Store

pytestmark = BROWSER

TRAIN = """
import aigym_kernel as aigym
from aigym_kernel.widgets import placing
placing.KEEP_S = 1
run = aigym.train("aigym/Snake-v0", total_timesteps=200_000_000)
run
"""
WAIT = "run.wait()\nrun.status().state"
LIVE = ".aigym-live"
BADGE = f"document.querySelector('{LIVE} .aigym-heading .aigym-badge')?.innerText"
PIXELS = f"""(() => {{
  const canvas = document.querySelector('{LIVE} canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 0; i < data.length; i += 16) sum = (sum * 31 + data[i]) % 1000003;
  return sum;
}})()"""


def test_a_training_is_watched_and_steered(lab: Lab) -> None:
    lab.open("steer.ipynb", TRAIN, WAIT)
    lab.wait(f"{LIVE} .aigym-line")
    lab.page.evaluate(f"document.querySelector('{LIVE}').marked = true")
    cells = lab.cells()
    run = Store(lab.store).run_folder(Store(lab.store).run_ids()[-1])
    steering = run / "control.json"
    told = f"document.querySelector('{LIVE} .aigym-told').innerText"

    # The game moves: its picture changes while somebody looks.
    lab.wait(f"{LIVE} canvas.aigym-board")
    lab.page.evaluate("window.pictures = new Set()")
    lab.expect(f"window.pictures.add({PIXELS}).size >= 4")
    assert "return so far" in lab.text(f"{LIVE} .aigym-game")
    lab.wait(f"{LIVE} .aigym-outcome:has-text('wall')")

    # What the notebook keeps grows with the training; the board is not drawn anew for that.
    kept = "window.jupyterapp.shell.currentWidget.content.model.cells.get(0).outputs.get(1).data['text/html']"
    lab.expect(f"{kept}.includes('episodes ended') && {kept}.includes('>running</span>')")
    assert lab.page.evaluate(f"document.querySelector('{LIVE}').marked")
    assert not lab.page.locator(".aigym-still").is_visible()

    # By keys: the cursor goes over all charts, pause and resume; the notebook does not hear of it.
    lab.page.locator(f"{LIVE} .aigym-charts").focus()
    for key in ("ArrowRight", "ArrowRight", "b", "x", "d", "d"):
        lab.page.keyboard.press(key)
    cursors = f"[...document.querySelectorAll('{LIVE} .aigym-cursor')]"
    lab.expect(f"{cursors}.length > 8 && {cursors}.every(c => c.getAttribute('visibility') == 'visible')")
    lab.page.keyboard.press("Escape")
    lab.expect(f"{cursors}.every(c => c.getAttribute('visibility') == 'hidden')")
    lab.page.keyboard.press("p")
    lab.expect(f"{BADGE} == 'paused'")
    lab.page.locator(f"{LIVE} button:has-text('Resume')").click()
    lab.expect(f"{BADGE} == 'running'")

    # A learning rate that is none is told here, a good one reaches the run.
    rate = lab.page.locator(f"{LIVE} input[aria-label='learning rate']")
    rate.fill("fast")
    rate.press("Enter")
    lab.expect(f"{told}.includes('above 0')")
    rate.fill("1e-3")
    lab.page.locator(f"{LIVE} button:has-text('Set')").click()
    lab.expect(f"{told}.includes('0.001')")
    lab.page.select_option(f"{LIVE} select[aria-label=speed]", "watch")
    lab.expect(f"{told}.includes('watch')")
    lab.shot("board-running-light-1280", LIVE)
    lab.page.locator(f"{LIVE} button:has-text('Save')").click()
    lab.expect(f"{told}.includes('saves')")
    asked = json.loads(steering.read_text(encoding="utf-8"))
    assert asked == {"paused": False, "speed": "watch", "learning_rate": 0.001, "save": 1}

    lab.page.locator(f"{LIVE} .aigym-stop").click()
    lab.expect(f"{BADGE} == 'stopped'")
    lab.expect("document.querySelector('.jp-Notebook').innerText.includes(\"'stopped'\")")
    assert lab.cells() == cells
    lab.expect(f"{kept}.includes('>stopped</span>')")
    page = str(lab.page.evaluate(kept))
    assert "episodes ended" in page
    assert len(page) < 150_000
    lab.theme("JupyterLab Dark")
    lab.page.set_viewport_size({"width": 800, "height": 900})
    lab.shot("board-stopped-dark-800", LIVE)
    fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{LIVE}'))"
    assert lab.page.evaluate(fits)

    # A kernel that was restarted knows nothing of the board, which says so and what to call.
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    lab.page.locator(f"{LIVE} button:has-text('Resume')").click()
    lab.wait(f"{LIVE} .aigym-note:has-text('aigym.load_run')")
    lab.theme("JupyterLab Light")

    # Nor does a browser that comes later find its model: the notebook, which it trusts, shows what it kept.
    lab.save()
    lab.look("steer.ipynb")
    lab.wait(".aigym-still :text('stopped')")
    assert not lab.page.locator(":text('model not found')").is_visible()
    lab.page.goto("about:blank")
    assert any("widget model not found" in told for told in lab.problems)
    lab.problems.clear()
