"""The explorer for everybody: contrast, screen readers, focus, motion, widths; and in Notebook 7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labs import BROWSER, DRAWN, SCREENS, Lab

pytestmark = BROWSER

TALKS = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport talks\n"
RECORD = (
    TALKS
    + """
import numpy as np
import aigym_kernel as aigym
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

store = Store()
if not store.folder.exists():
    agent = aigym.random_agent(aigym.make("aigym/Snake-v0").action_space, seed=0)
    aigym.rollout(agent, "aigym/Snake-v0", n=30)
    agent = aigym.random_agent(aigym.make("CartPole-v1").action_space, seed=0)
    aigym.rollout(agent, "CartPole-v1", n=30)
    failed = Mark(name="tests", value=0.0, required=True, feedback="0 of 2 right")
    marks = (failed, Mark(name="style", value=1.0))
    store.add_run(RunRecord(run_id="told", kind="rollout", name="told"))
    with store.writer("told") as writer:
        for i in range(5):
            writer.trajectory(Trajectory(
                id=f"told-{i}", run_id="told", env_id="aigym/two-sum-v0", agent="writer",
                observations=["Write it.", "Traceback: no", "judged"], actions=["def f(): pass", "again"],
                rewards=np.array([-1.0, 0.5]), terminated=True, truncated=False, error=None,
                score=Score(task_id="two-sum", total=i / 4, passed=i == 4, marks=marks), tags=("odd",),
            ))
    talks.record_talks()
    talks.record_trainings()
explorer = aigym.explore(selected="told-1")
explorer
"""
)
ROOT = ".aigym-explorer"

# Every visible text with its contrast to what lies behind it: colours are resolved by drawing them.
CONTRASTS = """
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => c.map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.querySelector(".aigym-explorer"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest("button:disabled, select, .aigym-spoken")) continue;
    if (element.closest("[aria-selected=false] > .aigym-check")) continue;
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(at);
    let back = [255, 255, 255];
    for (const one of chain) back = over(rgba(getComputedStyle(one).backgroundColor), back);
    const style = getComputedStyle(element);
    const own = rgba(element instanceof SVGElement ? style.fill : style.color);
    own[3] *= chain.reduce((share, one) => share * Number(getComputedStyle(one).opacity), 1);
    const [a, b] = [light(over(own, back)), light(back)];
    const where = element.className?.baseVal ?? element.className;
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), where, text]);
  }
  return found;
}
"""
OVERFLOWING = """
() => [...document.querySelectorAll(
    ".aigym-explorer, .aigym-explorer section, .aigym-halves, .aigym-controls, .aigym-view")]
  .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
  .map((one) => `${one.className}: ${one.scrollWidth} in ${one.clientWidth}`)
"""
MOVING = """
() => [...document.querySelectorAll(".aigym-explorer *")]
  .map((one) => [one.className, getComputedStyle(one)])
  .filter(([, s]) => s.animationName !== "none" || s.transitionDuration.split(", ").some((d) => d !== "0s"))
  .map(([name]) => String(name))
"""
OUTLINE = """
() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  const name = `${one.tagName} ${one.className.baseVal ?? one.className} ${one.ariaLabel ?? ""}`;
  return [!!one.closest(".aigym-explorer"), seen, name];
}
"""
ROLES = ("button", "searchbox", "textbox", "combobox", "slider", "switch", "checkbox", "tab", "grid", "image")


def nameless(page: Any) -> list[str]:
    """Controls and pictures of the explorer that the accessibility tree has no name for."""
    session = page.context.new_cdp_session(page)
    session.send("Accessibility.enable")
    root = session.send("Runtime.evaluate", {"expression": f"document.querySelector('{ROOT}')"})
    found, named = [], 0
    for role in ROLES:
        asked = {"objectId": root["result"]["objectId"], "role": role}
        for node in session.send("Accessibility.queryAXTree", asked)["nodes"]:
            if node["ignored"]:
                continue
            named += 1
            if not node.get("name", {}).get("value", "").strip():
                described = session.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})
                found.append(f"{role} {described['node'].get('attributes')}")
    session.detach()
    assert named > 20, "the accessibility tree has the explorer's controls"
    return found


def look_for(lab: Lab, text: str) -> None:
    """Searches, and waits until the list has what was found."""
    lab.page.locator(f"{ROOT} input[type=search]").fill(text)
    rows = f"[...document.querySelectorAll('{ROOT} .aigym-row')]"
    lab.expect(f"{rows}.length && {rows}.every(row => row.innerText.includes('{text}'))")


def assert_legible(lab: Lab, name: str, theme: str, width: int) -> None:
    lab.shot(f"explorer-{name}-{theme.lower()}-{width}", ROOT)
    low = [one for one in lab.page.evaluate(CONTRASTS) if one[0] < 4.5]
    assert low == [], f"{name}, {theme}, {width} px"
    assert lab.page.evaluate(OVERFLOWING) == [], f"{name}, {theme}, {width} px"


def test_it_can_be_read_and_reached_by_everybody(lab: Lab) -> None:
    lab.open("everybody.ipynb", RECORD)
    lab.wait(f"{ROOT} .aigym-row[aria-current=true]")
    lab.page.emulate_media(reduced_motion="reduce")
    lab.page.locator(f"{ROOT} .aigym-grid").focus()
    lab.page.keyboard.press("?")
    lab.page.keyboard.press("x")
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        lab.page.set_viewport_size({"width": width, "height": 900})
        for name in ("two-sum", "Snake", "CartPole", "Chat"):
            lab.page.evaluate(f"document.querySelector('{ROOT} .aigym-grid').scrollTop = 0")
            look_for(lab, name)
            lab.page.locator(f"{ROOT} .aigym-row:has-text('{name}')").first.click()
            lab.page.wait_for_selector(f"{ROOT} .aigym-player .aigym-heading:has-text('{name}')")
            assert_legible(lab, name.lower(), theme, width)
        lab.page.locator(f"{ROOT} [data-view=diff]").click()
        lab.wait(f"{ROOT} .aigym-diff .aigym-pair")
        assert_legible(lab, "diff", theme, width)
        look_for(lab, "Task-v0")
        lab.page.locator(f"{ROOT} [data-view=compare]").click()
        lab.wait(f"{ROOT} .aigym-compare .aigym-band")
        assert_legible(lab, "compare", theme, width)
        lab.page.locator(f"{ROOT} [data-view=trajectory]").click()
    lab.theme("JupyterLab Light")
    assert nameless(lab.page) == []
    assert lab.page.evaluate(MOVING) == []
    lab.page.locator(f"{ROOT} input[type=search]").fill("")
    lab.wait(f"{ROOT} .aigym-row:has-text('CartPole')")
    lab.wait(f"{ROOT} .aigym-player .aigym-heading")
    lab.page.locator(f"{ROOT} input[type=search]").focus()
    reached = 0
    for _ in range(200):
        lab.page.keyboard.press("Tab")
        inside, seen, what = lab.page.evaluate(OUTLINE)
        if not inside:
            break
        reached += 1
        assert seen, f"no focus to be seen on {what}"
    assert reached > 15


def test_notebook_7_shows_and_plays_it_and_keeps_its_cells(lab: Lab) -> None:
    lab.write("seven.ipynb", RECORD.replace("told-1", ""), "1 + 1")
    page = lab.page
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.goto(f"{lab.url}/notebooks/seven.ipynb?token={lab.token}")
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context?.isReady")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
    # Until the last cell has run, which takes the focus then.
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    lab.wait(f"{ROOT} .aigym-row")
    lab.wait(".jp-RenderedText pre:text-is('2')")
    page.evaluate(DRAWN)
    lab.page.locator(f"{ROOT} input[type=search]").fill("Snake")
    lab.page.locator(f"{ROOT} .aigym-row:has-text('Snake')").nth(2).click()
    lab.wait(f"{ROOT} .aigym-board")
    cells = lab.cells()
    mode = "window.jupyterapp.shell.currentWidget.content.mode"
    before = page.evaluate(mode)
    page.locator(f"{ROOT} .aigym-grid").focus()
    row = f"document.querySelector('{ROOT} .aigym-row[aria-current=true]').dataset.id"
    opened = f"document.querySelector('{ROOT} .aigym-facts').innerText.includes({row})"
    for key in ("b", "d", "d", "m", "y", "v", "z", "0", "0", "Enter", "Shift+Enter", "j", "k", "ArrowRight"):
        page.keyboard.press(key)
        lab.expect(opened)  # what is opened later begins at its first step
    assert (lab.cells(), page.evaluate(mode)) == (cells, before)
    lab.expect("document.querySelector('.aigym-explorer input[type=range]')?.value >= 1")
    page.keyboard.press("?")
    assert page.locator(f"{ROOT} .aigym-keys").is_visible()
    lab.shot("notebook-7", ROOT)
    page.close()  # nothing is told after that
    # Notebook's own: one of its plug-ins finds no settings beside JupyterLab's. A widget's code is in a blob.
    ours = [told for told in lab.problems if "/static/notebook/" not in told or "blob:" in told]
    lab.problems[:] = ours
