"""Conversation, comparison and difference in a real JupyterLab: by mouse, by keyboard, with hostile text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import HOSTILE
from labs import BROWSER, SCREENS, Lab
from talks import TOGETHER

pytestmark = BROWSER

RECORD = f"""import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import talks
from aigym_kernel.widgets import explore"""
EXPLORE = "talks.record_{}()\nexplorer = explore(where={})\nexplorer"
ROW = ".aigym-explorer .aigym-row"
TALK = ".aigym-conversation"
NEAR_ARE_DRAWN = f"""
(() => {{
  const view = document.querySelector("{TALK}").getBoundingClientRect();
  return [...document.querySelectorAll("{TALK} .aigym-chunk")].every((block) => {{
    const {{ top, bottom }} = block.getBoundingClientRect();
    return block.dataset.drawn || bottom < view.top - 1000 || top > view.bottom + 1000;
  }});
}})()
"""


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """One page and one kernel for all tests here."""
    return shared_lab


def open_explorer(lab: Lab, recorded: str, *, where: str) -> None:
    lab.show("views.ipynb", RECORD, EXPLORE.format(recorded, where))
    lab.wait(".aigym-explorer .aigym-row")


def test_a_conversation_by_mouse_and_by_keyboard(lab: Lab) -> None:
    open_explorer(lab, "talks", where="{'run_id': 'talks'}")
    lab.wait(f"{TALK} [data-turn='0']")
    page, cells = lab.page, lab.cells()
    assert page.locator(f"{TALK} img").count() == 1
    assert page.locator(f"{TALK} .aigym-markdown strong").first.inner_text() == "run"
    link = page.locator(f"{TALK} .aigym-markdown a").first
    assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert link.get_attribute("target") == "_blank"
    assert "8 messages" in lab.text(".aigym-talk-head")
    assert "30 → 15 tokens" in lab.text(".aigym-talk-head")
    assert "mean logprob −1" in lab.text(f"{TALK} [data-turn='2']")
    assert page.locator(f"{TALK} pre:has-text('print(x)')").count() == 0, "folded"
    page.locator(f"{TALK} [data-turn='3'] .aigym-call summary").click()
    lab.wait(f"{TALK} [data-turn='3'] pre:has-text('print(x)')")
    call = lab.text(f"{TALK} [data-turn='3'] .aigym-call")
    assert "x = 1\nprint(x)" in call
    assert "exit code 1" in call
    page.locator(TALK).focus()
    page.keyboard.press("o")
    lab.expect(f"[...document.querySelectorAll('{TALK} details')].every(d => d.open)")
    lab.expect(f"document.querySelector(`{TALK} [data-turn='4']`).innerText.includes('because of 2')")
    page.keyboard.press("O")
    lab.expect(f"[...document.querySelectorAll('{TALK} details')].every(d => !d.open)")
    for key in ("b", "x", "d", "d"):
        page.keyboard.press(key)
    page.keyboard.press("ArrowRight")
    lab.wait(f"{TALK} .aigym-current[data-turn='3']")
    page.locator(f"{TALK} [data-turn='4'] .aigym-step").click()
    lab.wait(f"{TALK} .aigym-current[data-turn='4']")
    assert lab.cells() == cells
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        page.set_viewport_size({"width": width, "height": 900})
        lab.shot(f"talk-{theme.lower()}-{width}", ".aigym-explorer")
        for part in (".aigym-explorer", TALK, ".aigym-talk-head"):
            fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{part}'))"
            assert page.evaluate(fits), f"{part} overflows at {width} px"
    lab.theme("JupyterLab Light")


def test_thousands_of_messages_are_read_from_end_to_end(lab: Lab) -> None:
    open_explorer(lab, "long", where="{'run_id': 'long'}")
    lab.wait(f"{TALK} [data-turn='0']")
    lab.page.locator(TALK).evaluate("e => { e.scrollTop = e.scrollHeight; }")
    lab.wait(f"{TALK} [data-turn='3351']")
    assert lab.page.locator(f"{TALK} article").count() < 400, "only what is near is there"
    with lab.busy():
        lab.page.locator(".aigym-player input[type=range]").fill("1700")
        lab.wait(f"{TALK} :text('These turns need the kernel')")
    lab.wait(f"{TALK} .aigym-current[data-turn='1702']")
    lab.expect(NEAR_ARE_DRAWN)
    inside = (
        f"(() => {{ const [a, b] = ['{TALK}', '{TALK} .aigym-current'].map(s => document.querySelector(s)"
        ".getBoundingClientRect()); return b.top >= a.top - 1 && b.top < a.bottom; })()"
    )
    lab.expect(inside)
    lab.page.locator(TALK).focus()
    lab.page.keyboard.press("f")
    lab.page.keyboard.type("Turn 3000")
    lab.page.keyboard.press("Enter")
    lab.wait(f"{TALK} .aigym-current[data-turn='3002']")


def test_runs_are_compared_by_mouse_and_by_keyboard(lab: Lab) -> None:
    open_explorer(lab, "trainings", where="{'env_id': 'Task-v0'}")
    page, cells = lab.page, lab.cells()
    page.locator("[data-view=compare]").click()
    lab.wait(".aigym-compare .aigym-band")
    text = lab.text(".aigym-compared")
    assert "learning_rate=1" in text
    assert "ppo.learning_rate" in text
    assert "algo" not in text, "what is the same is not shown"
    assert page.locator(".aigym-compare .aigym-band").count() == 2
    mean = page.locator(".aigym-compare .aigym-line").first.get_attribute("d")
    page.locator("[data-view=compare]").focus()
    for key in ("b", "x", "m"):
        page.keyboard.press(key)
    assert page.locator(".aigym-compare .aigym-line").first.get_attribute("d") != mean
    assert lab.cells() == cells
    page.select_option("select[aria-label=metric]", "length")
    lab.expect("document.querySelector('.aigym-compared').innerText.includes('mean length')")
    page.locator(".aigym-runs summary").click()
    for seed in range(4):
        page.get_by_role("checkbox", name=f"ppo-2-{seed}").uncheck()
    page.get_by_role("button", name="compare these").click()
    lab.expect("document.querySelector('.aigym-compare').innerText.includes('differ only in seed')")
    page.get_by_role("button", name="from the list").click()
    lab.expect("!document.querySelector('.aigym-compare').innerText.includes('differ only in seed')")
    page.select_option("select[aria-label=metric]", "return")
    lab.wait(".aigym-compare .aigym-band")
    page.locator(".aigym-chart[aria-label*='over steps']").hover()
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        page.set_viewport_size({"width": width, "height": 900})
        lab.shot(f"compare-{theme.lower()}-{width}", ".aigym-explorer")
        fits = "(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.aigym-explorer'))"
        assert page.evaluate(fits)
    lab.theme("JupyterLab Light")


def test_two_trajectories_are_aligned_by_mouse_and_by_keyboard(lab: Lab) -> None:
    open_explorer(lab, "talks", where="{'run_id': 'talks'}")
    page, cells = lab.page, lab.cells()
    page.locator("[data-view=diff]").click()
    lab.wait(".aigym-diff .aigym-current")
    assert "divergence 1 of 1" in lab.text(".aigym-diff")
    assert lab.text(".aigym-diff mark").strip() == "once more"
    folded = page.locator(".aigym-same").first
    assert "messages the same" in folded.inner_text()
    unanswered = ".aigym-diff :text('These rows need the kernel')"
    with lab.busy():
        folded.focus()
        page.keyboard.press("Enter")
        lab.wait(unanswered)
    lab.wait(".aigym-diff [data-row='0']")
    assert page.locator(unanswered).count() == 0
    for key in ("b", "x", "n", "p"):
        page.keyboard.press(key)
    assert lab.cells() == cells
    assert page.get_by_role("button", name="swap").count() == 1
    side = page.locator(".aigym-diff mark").get_attribute("class")
    page.get_by_role("button", name="swap").click()
    lab.expect(f"document.querySelector('.aigym-diff mark')?.className != '{side}'")
    lab.shot("diff-messages-light-1280", ".aigym-explorer")


def test_boards_stand_side_by_side_where_two_games_part(lab: Lab) -> None:
    open_explorer(lab, "boards", where="{'env_id': 'aigym/Snake-v0'}")
    page = lab.page
    page.locator(".aigym-grid").focus()
    page.keyboard.press("3")
    lab.wait(".aigym-boards canvas")
    assert page.locator(".aigym-boards canvas").count() == 2
    assert page.locator(".aigym-gaps").count() > 0
    with lab.busy():
        page.keyboard.press("n")
        page.locator(".aigym-boards").wait_for(state="hidden")
        lab.wait(".aigym-explorer > .aigym-note:has-text('No answer from the kernel')")
    lab.wait(".aigym-boards canvas")
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        page.set_viewport_size({"width": width, "height": 900})
        lab.shot(f"diff-boards-{theme.lower()}-{width}", ".aigym-explorer")
        for part in (".aigym-explorer", ".aigym-rows-of-both", ".aigym-boards"):
            fits = f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{part}'))"
            assert page.evaluate(fits), f"{part} overflows at {width} px"
    lab.theme("JupyterLab Light")


def test_similar_trajectories_by_mouse_and_by_keyboard(lab: Lab) -> None:
    open_explorer(lab, "topics", where="{'run_id': 'topics'}")
    page, cells = lab.page, lab.cells()
    found = page.locator(".aigym-like button")
    page.locator(f"{ROW}[data-id=topic-cook]").click()
    lab.expect("document.querySelector('.aigym-heading').innerText.includes('by cook')")
    page.get_by_role("button", name="similar").click()
    lab.expect("document.querySelectorAll('.aigym-like button').length === 3")
    assert found.first.get_attribute("data-id") == "topic-baker"
    assert {"flour", "eggs", "milk"} <= set(found.first.locator("mark").all_inner_texts())
    assert "onerror" in found.first.inner_text()
    assert page.locator(".aigym-like img").count() == 0
    assert page.evaluate("window.pwned") is None
    found.first.click()
    lab.expect("document.querySelector('.aigym-heading').innerText.includes('by baker')")
    lab.wait(".aigym-like button[aria-current]")
    assert found.count() == 3, "the list stays"
    page.get_by_role("button", name="mark them").click()
    lab.expect(f"document.querySelectorAll('{ROW}[aria-selected=true]').length === 4")
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        page.set_viewport_size({"width": width, "height": 900})
        lab.shot(f"similar-{theme.lower()}-{width}", ".aigym-similar")
        fits = "(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.aigym-similar'))"
        assert page.evaluate(fits)
    lab.theme("JupyterLab Light")
    page.locator("[data-view=diff]").click()
    lab.wait(".aigym-diff .aigym-pair")
    assert "pancakes" in lab.text(".aigym-diff"), "what was asked about stands beside the nearest"
    page.locator("[data-view=trajectory]").click()
    lab.wait(".aigym-similar")
    page.locator(".aigym-grid").focus()
    page.keyboard.press("s")
    lab.expect("document.querySelector('.aigym-similar').innerText.includes('3 like topic-baker')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    lab.expect("document.querySelector('.aigym-heading').innerText.includes('by cook')")
    page.locator("select[aria-label=by]").select_option("words")
    lab.expect("!document.querySelector('.aigym-similar').hasAttribute('aria-busy')")
    text = page.get_by_label("find trajectories about a text")
    text.fill('"flour recently"')
    text.press("Enter")
    lab.expect("document.querySelector('.aigym-similar').innerText.includes('nothing about')")
    text.fill("flour")
    text.press("Enter")
    lab.expect("document.querySelectorAll('.aigym-like button').length === 2")
    text.fill("?!")
    text.press("Enter")
    lab.expect("document.querySelector('.aigym-similar [role=alert]').innerText.includes('has no word')")
    page.locator("input[aria-label=search]").fill("baker")
    lab.expect(f"document.querySelectorAll('{ROW}').length === 1")
    text.fill("flour")
    text.press("Enter")
    lab.expect("document.querySelector('.aigym-similar').innerText.includes('1 of those that pass')")
    assert found.get_attribute("data-id") == "topic-baker"
    assert lab.cells() == cells


def test_hostile_text_stays_text_in_every_field_and_every_view(lab: Lab) -> None:
    dialogs: list[str] = []
    lab.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    open_explorer(lab, "spite", where="{'run_id': ['spite-1', 'spite-2']}")
    page = lab.page
    lab.wait(f"{TALK} [data-turn='0']")
    page.locator(".aigym-grid").focus()
    for i in range(0, len(HOSTILE), TOGETHER):
        lab.wait(f"{TALK} [data-turn='0']")
        page.get_by_role("button", name="unfold all").click()
        page.locator(".aigym-grid").focus()
        opened = page.locator(f"{ROW}[aria-current=true]").get_attribute("data-id")
        page.keyboard.press("j")
        if i + TOGETHER < len(HOSTILE):
            lab.expect(f"!document.querySelector('.aigym-facts').innerText.includes('{opened}')")
    for scene in page.locator(".aigym-player [data-scene]").all():
        scene.click()
        lab.answered()
    page.locator("[data-view=compare]").click()
    lab.wait(".aigym-compare table")
    assert "window.pwned" in lab.text(".aigym-compared")
    page.locator("[data-view=diff]").click()
    lab.wait(".aigym-diff .aigym-pair, .aigym-diff .aigym-same")
    linked = page.locator(".aigym-explorer a").evaluate_all("a => a.map(x => x.protocol)")
    assert set(linked) <= {"http:", "https:", "mailto:"}
    inside = "script, iframe, object, embed, style, link, meta, base, form, video, audio, svg a, math"
    assert page.locator(f".aigym-explorer :is({inside})").count() == 0
    names = "e => [...e.querySelectorAll('*')].flatMap(x => x.getAttributeNames())"
    found = page.locator(".aigym-explorer").evaluate(names)
    assert [name for name in found if name.startswith("on")] == []
    assert page.evaluate("window.pwned") is None
    assert dialogs == []
    assert len(HOSTILE) >= 60
