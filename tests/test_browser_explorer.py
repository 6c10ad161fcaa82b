"""The explorer's charts and list in a real JupyterLab, by mouse and by keyboard; see labs.py."""

from __future__ import annotations

from typing import Any

from labs import BROWSER, SCREENS, Lab

pytestmark = BROWSER

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
"""
EXPLORE = "explorer = explore()\nexplorer"
ROWS = "[...document.querySelectorAll('.aigym-row')]"
PLOT = "[data-column={}] .aigym-histogram"


def opened(lab: Lab) -> None:
    """In one page and one kernel for all tests that open it."""
    lab.show("charts.ipynb", RECORD, EXPLORE)
    lab.wait(".aigym-row[aria-current=true]")
    lab.wait(".aigym-spark")


def total(lab: Lab) -> int:
    """How many trajectories pass, once Python has answered."""
    lab.answered()
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


def filters(lab: Lab) -> Any:
    """The filters that Python knows, once the browser has sent them all."""
    lab.answered()
    chips = lab.page.locator(".aigym-chips button[aria-label^='remove the filter']").all_inner_texts()
    return [chip.removesuffix(" ×") for chip in chips]


def test_charts_filter_each_other_by_mouse(shared_lab: Lab) -> None:
    lab = shared_lab
    opened(lab)
    assert lab.page.evaluate("window.pwned") is None
    all_ = total(lab)
    assert all_ == 2000

    # A drag over a histogram brushes it; all others and the list follow.
    drag(lab, "return", 0.25, 0.55)
    lab.wait(".aigym-chip")
    brushed = total(lab)
    assert 0 < brushed < all_
    assert len(filters(lab)) == 1
    agents = lab.page.locator("[data-column=agent] .aigym-bars button .aigym-number").all_inner_texts()
    assert sum(int(n.replace(",", "")) for n in agents) == brushed

    # An end is dragged, the whole is moved, a click inside clears.
    drag(lab, "return", 0.25, 0.1)
    wider = total(lab)
    assert wider > brushed
    before = filters(lab)
    drag(lab, "return", 0.3, 0.4)
    assert filters(lab) != before
    drag(lab, "return", 0.35, 0.35)
    lab.expect("document.querySelectorAll('.aigym-chip:not([hidden])').length == 0")
    assert total(lab) == all_

    # Bars: one, several with Ctrl, and none again.
    bars = lab.page.locator("[data-column=outcome] .aigym-bars button")
    bars.nth(0).click()
    lab.expect(f"{ROWS}.length && {ROWS}.every(row => row.innerText.includes('terminated'))")
    one = total(lab)
    bars.nth(1).click(modifiers=["Control"])
    lab.expect("document.querySelectorAll('[data-column=outcome] [aria-pressed=true]').length == 2")
    assert total(lab) > one
    lab.page.locator(".aigym-chip[aria-label^='remove the filter']").click()
    lab.expect("document.querySelectorAll('.aigym-bars [aria-pressed=true]').length == 0")

    # What is no number is counted apart; the menu adds and removes charts.
    lab.page.locator("[data-column=return] .aigym-apart button:has-text('NaN')").click()
    lab.expect(f"{ROWS}.length == 4 && {ROWS}.every(row => row.innerText.includes('NaN'))")
    lab.page.locator("[data-column=return] .aigym-apart button:has-text('NaN')").click()
    lab.page.locator(".aigym-menu summary").click()
    lab.page.locator(".aigym-menu label:has-text('seconds')").click()
    lab.wait("[data-column=wall_s]")
    lab.page.locator(".aigym-menu label:has-text('reward')").click()
    lab.expect("!document.querySelector('[data-column=reward]')")


STATE = "print('state', explorer.total, len(explorer.selection), list(explorer.filters), explorer.order_by)"


def test_charts_and_list_by_keyboard_alone(shared_lab: Lab) -> None:
    lab = shared_lab
    opened(lab)
    cells, keyboard = lab.cells(), lab.page.keyboard
    lab.page.locator(".aigym-grid").focus()
    keyboard.press("h")
    focused = "document.activeElement.closest('[data-column]')?.dataset.column"
    lab.expect(f"{focused} == 'return'")
    for _ in range(4):
        keyboard.press("ArrowRight")
    for _ in range(3):
        keyboard.press("Shift+ArrowLeft")
    lab.wait(".aigym-chip")
    brushed = total(lab)
    assert brushed < 2000
    text = lab.page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    assert text.startswith("return ")
    assert f"{brushed:,} of 1,990 trajectories" in text
    keyboard.press("ArrowUp")
    lab.expect(f"document.activeElement.getAttribute('aria-valuetext') != {text!r}")
    keyboard.press("Delete")
    lab.expect("!document.querySelector('.aigym-chip:not([hidden])')")

    lab.page.locator("[data-column=outcome] .aigym-bars button").first.focus()
    keyboard.press("Space")
    lab.expect("document.activeElement.getAttribute('aria-pressed') == 'true'")
    keyboard.press("Tab")
    keyboard.press("Space")
    lab.expect("document.querySelectorAll('[data-column=outcome] [aria-pressed=true]').length == 2")
    keyboard.press("c")
    lab.expect("document.querySelectorAll('.aigym-bars [aria-pressed=true]').length == 0")
    assert total(lab) == 2000

    # The list: its keys move, mark, and scroll; the focus stays.
    lab.page.locator(".aigym-grid").focus()
    first = lab.page.locator(".aigym-row[aria-current=true]").get_attribute("data-id")
    keyboard.press("x")
    keyboard.press("j")
    keyboard.press("Shift+ArrowDown")
    keyboard.press("Shift+ArrowDown")
    lab.wait(".aigym-list-foot .aigym-chip:has-text('4 marked')")
    for _ in range(30):
        keyboard.press("PageDown")
    lab.expect("document.querySelector('.aigym-grid').scrollTop > 5000")
    lab.wait(".aigym-row[aria-current=true]")
    assert lab.page.locator(".aigym-row[aria-current=true]").get_attribute("data-id") != first
    assert lab.page.locator(".aigym-row").count() < 60
    assert lab.page.evaluate("document.activeElement.className") == "aigym-grid"
    keyboard.press("X")
    lab.expect("document.querySelector('.aigym-list-foot .aigym-chip').hidden")
    assert lab.cells() == cells


def test_the_list_sorts_marks_and_scrolls_by_mouse_and_python_knows(lab: Lab) -> None:
    lab.open("list.ipynb", RECORD + EXPLORE, "input()", STATE)
    lab.page.wait_for_selector(".aigym-row[aria-current=true]")
    page = lab.page
    page.locator(".aigym-grid-head button:has-text('return')").click()
    returns = f"{ROWS}.map(row => Number(row.children[6].innerText.replace('−', '-').replace(/,/g, '')))"
    finite = f"{returns}.filter(Number.isFinite)"
    lab.expect(f"{finite}.length > 5 && {finite}.every((n, i, all) => !i || n <= all[i - 1])")
    page.locator(".aigym-row").nth(3).click(modifiers=["Control"])
    page.locator(".aigym-row").nth(7).click(modifiers=["Shift"])
    page.wait_for_selector(".aigym-list-foot .aigym-chip:has-text('5 marked')")
    page.evaluate("window.line = document.querySelector('.aigym-row')")
    for top in (40000, 40300, 39900):
        page.evaluate(f"document.querySelector('.aigym-grid').scrollTop = {top}")
        index = f"{ROWS}.map(row => Number(row.getAttribute('aria-rowindex')))"
        near = f"{top} / 26 - 12 < {index}[0] && {index}[0] < {top} / 26 + 2"
        lab.expect(f"{near} && {index}.every((n, i, all) => !i || n === all[i - 1] + 1)")
        lab.expect(f"{ROWS}.length && {ROWS}.every(row => row.dataset.id && !row.ariaBusy)")
        lab.expect(f"{ROWS}.every(row => row.offsetTop === 26 * (row.ariaRowIndex - 2))")
    assert page.evaluate("window.line.isConnected"), "lines are recycled"
    lab.expect(f"{ROWS}.every(row => row.querySelector('.aigym-spark'))")
    drag(lab, "length", 0.5, 0.8)
    page.wait_for_selector(".aigym-chips .aigym-chip")
    brushed = total(lab)
    page.locator(".lm-Widget input.jp-Stdin-input").press("Enter")
    said = page.wait_for_selector(".jp-OutputArea-output:has-text('state ')").inner_text()
    assert said.strip() == f"state {brushed} 5 ['length'] return"


def test_it_reads_well_narrow_and_dark(shared_lab: Lab) -> None:
    lab = shared_lab
    opened(lab)
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        lab.page.set_viewport_size({"width": width, "height": 900})
        drag(lab, "return", 0.25, 0.55)
        total(lab)
        lab.shot(f"crossfilter-{theme.lower()}-{width}", ".aigym-explorer")
        lab.page.keyboard.press("c")
        lab.page.set_viewport_size({"width": width, "height": 900})
        for part in (".aigym-explorer", ".aigym-grid", ".aigym-crosses", ".aigym-chip-line"):
            fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{part}'))"
            assert lab.page.evaluate(fits), f"{part} overflows at {width} px"
    lab.theme("JupyterLab Light")
