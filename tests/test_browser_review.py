"""The review form in a real JupyterLab: mouse, keyboard, hostile text, what is recorded."""

from __future__ import annotations

from labs import BROWSER, Lab

pytestmark = BROWSER

RECORD = """
import numpy as np
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

evil = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
marks = (
    Mark(name="tests", value=0.5, weight=3.0, required=True, feedback="1 of 2 right\\n" + evil),
    Mark(name="style", value=None, feedback="waits for a person", evidence={"answers": [evil]}),
)
store = Store()
store.add_run(RunRecord(run_id="reviewed", kind="rollout", name="to be reviewed"))
played = Trajectory(
    id="played", env_id="aigym/x-v0", agent="somebody",
    observations=["Write it. " + evil, "judged"], actions=["def f(): pass  # " + evil],
    rewards=np.array([0.0]), terminated=True, truncated=False,
    score=Score(task_id="x", total=None, passed=False, marks=marks, pass_mark=0.8),
)
with store.writer("reviewed") as writer:
    writer.trajectory(played)
from aigym_kernel.widgets import review
form = review("played", by="ada")
form
"""
SHOW = """
marks = store.sql("SELECT name, value, judged, reviewer, note FROM marks ORDER BY name")
print(marks.to_json(orient="values"))
print(store.sql("SELECT score, passed, outcome FROM trajectories").to_json(orient="values"))
"""


def test_a_person_marks_a_solution(lab: Lab) -> None:
    lab.open("review.ipynb", RECORD, SHOW)
    lab.wait(".aigym-review .aigym-mark")
    cells = lab.cells()
    page, keyboard = lab.page, lab.page.keyboard
    assert "<img src=x" in lab.text(".aigym-review .aigym-exchange")
    assert "1 of 2 marks wait for a value" in lab.text(".aigym-review .aigym-heading")
    assert page.locator(".aigym-review [aria-selected=true]").inner_text().startswith("unjudged")

    # By mouse: the mark that waits.
    page.locator(".aigym-review button:has-text('½')").click()
    page.locator(".aigym-review textarea").fill("b d d x " + "<img src=x onerror='window.pwned=2'>")
    page.locator(".aigym-review button:has-text('Give this mark')").click()
    lab.expect("document.querySelector('.aigym-review .aigym-heading').innerText.includes('score 0.5')")
    assert "ada said 0.5" in lab.text(".aigym-review .aigym-reviewed")

    # By keyboard: the judge's mark is overridden.
    page.locator(".aigym-review [aria-selected=true]").focus()
    keyboard.press("k")
    lab.expect("document.querySelector('.aigym-review [aria-selected=true]').innerText.includes('tests')")
    for key in ("b", "x", "a", "d", "d", "m", "y", "c", "z"):
        keyboard.press(key)
    keyboard.press("v")
    keyboard.type("two")
    keyboard.press("Enter")
    lab.expect("document.querySelector('.aigym-review [role=alert]').innerText.includes('two is no value')")
    keyboard.press("Control+a")
    keyboard.type("100%")
    keyboard.press("Escape")
    keyboard.press("n")
    keyboard.type("ran it myself")
    keyboard.press("Control+Enter")
    lab.expect("document.querySelector('.aigym-review .aigym-heading').innerText.includes('passed')")
    assert "the judge said 0.5" in lab.text(".aigym-review .aigym-reviewed")
    assert lab.cells() == cells
    assert page.evaluate("window.pwned") is None
    assert page.locator(".aigym-review img, .aigym-review script").count() == 0
    for theme in ("Dark", "Light"):
        lab.theme(f"JupyterLab {theme}")
        lab.shot(f"review-{theme.lower()}", ".aigym-review")

    # Outside of it the notebook has its keys again; what was given is recorded.
    page.locator(".aigym-review [aria-selected=true]").focus()
    keyboard.press("Escape")
    page.evaluate(
        "(async () => { const w = window.jupyterapp.shell.currentWidget;"
        " w.content.activeCellIndex = 1; await window.jupyterapp.commands.execute('notebook:run-cell'); })()"
    )
    lab.expect("document.body.innerText.includes('[[0.875,true,\"passed\"]]')")
    assert '["tests",1.0,0.5,"ada","ran it myself"]' in page.locator(".jp-Notebook").inner_text()


def test_a_saved_form_shows_without_a_kernel(lab: Lab) -> None:
    import nbformat

    lab.open("saved_form.ipynb", RECORD.replace('"reviewed"', '"again"').replace('"played"', '"second"'))
    lab.wait(".aigym-review .aigym-mark")
    outputs = "window.jupyterapp.shell.currentWidget.content.model.cells.get(0).outputs"
    lab.expect(f"{outputs}.get(1)?.data['text/html']?.includes('1 of 2 right')")
    lab.save()
    saved = nbformat.read(lab.folder / "saved_form.ipynb", as_version=4)
    pages = [o["data"]["text/html"] for o in saved.cells[0].outputs if "text/html" in o.get("data", {})]
    assert pages[0] == ""
    assert "1 of 2 right" in pages[1]
    assert "<script" not in pages[1]
