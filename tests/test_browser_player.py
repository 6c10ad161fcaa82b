"""The trajectory pane in a real JupyterLab, by mouse and by keyboard alone; labs.py drives it."""

from __future__ import annotations

import pytest
from labs import BROWSER, SCREENS, Lab

from aigym_kernel.store import Store

pytestmark = BROWSER

RECORD = '''
import gymnasium, numpy as np
from aigym_kernel.runs import rollout
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory

def hungry(observation, steps):
    moves = observation[:21].reshape(3, 7)
    return int(np.argmax(moves[:, 0] * (1 + moves[:, 3] + 2 * moves[:, 4] + 4 * moves[:, 5])))

class Colours(gymnasium.Env):
    """Renders a picture that a package must draw."""
    metadata = {"render_modes": ["rgb_array"]}
    observation_space, action_space = gymnasium.spaces.Box(0, 1e9, (1,), float), gymnasium.spaces.Discrete(2)
    def __init__(self, render_mode=None):
        self.render_mode = render_mode
    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.array([0.0]), {}
    def step(self, action):
        self.t += 1
        return np.array([float(self.t)]), 0.0, False, False, {}
    def render(self):
        picture = np.zeros((60, 80, 3), np.uint8)
        picture[:, : self.t % 80] = (200, 60, 60)
        return picture

gymnasium.register("test/Colours-v0", Colours, disable_env_checker=True, order_enforce=False)
rng = np.random.default_rng(0)
evil = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
n = 100_000

def made(name, observations, actions, **fields):
    values = {"rewards": np.zeros(len(actions)), "terminated": True, "truncated": False, **fields}
    values = {"env_id": "test/Any-v0", **values}
    return Trajectory(agent=name, observations=observations, actions=actions, **values)

def screen(t):
    """What a terminal is sent: it is cleared, coloured, and given a hostile title."""
    bar = f"\\x1b[41m{'#' * (9 - t % 9)}\\x1b[0m"
    return f"\\x1b[2J\\x1b[1;1H\\x1b[1;32mlevel {t}\\x1b[0m  HP {bar}\\x1b]0;{evil}\\x07\\r\\n{evil}"

def said(t):
    more = evil if t == 3 else " needle" if t % 900 == 650 else ""
    return f"seen {t}: " + "lorem " * (t % 7) + more

def nested(t):
    grid = np.eye(9, dtype=np.uint8) * (t % 250)
    return {"position": {"x": t, "y": 2.5}, "name": evil, "grid": grid}

pixels = np.zeros((60, 24, 32, 3), np.uint8)
for t in range(60):
    pixels[t, 8:16, t % 24 : t % 24 + 8] = (90, 200, 120)
marks = (Mark(name="tests", value=1.0, required=True, feedback="12 of 12 passed"),
         Mark(name="style " + evil, value=0.5, feedback=evil))
walk = np.cumsum(rng.normal(size=(n + 1, 4)), axis=0)
gains = (rng.random(n) < 2e-4) * 1.0 - (rng.random(n) < 1e-4)
waves = np.sin(np.arange(801)[:, None] / np.arange(3, 33))
made_all = [
    made("long", walk, rng.integers(0, 2, n), rewards=gains, env_id="CartPole-v1",
         infos=[{"lap": t // 9_000, "speed": t % 100 / 10} for t in range(n)]),
    made("wide", waves, [0] * 800, rewards=np.sin(np.arange(800) / 40)),
    made("talk", [said(t) for t in range(3001)], [f"answer {t}" for t in range(3000)],
         rewards=np.arange(3000) % 50 == 49,
         infos=[{"error": "boom"} if t == 777 else {} for t in range(3000)],
         score=Score(task_id="t", total=0.5, passed=False, marks=marks)),
    made("screen", [screen(t) for t in range(40)], ["l"] * 39),
    made("camera", pixels, [1] * 59),
    made("nested", [nested(t) for t in range(30)], [{"push": t} for t in range(29)]),
    made("rendered", np.arange(200.0).reshape(-1, 1), [0] * 199, env_id="test/Colours-v0", seed=1,
         terminated=False),
    made("nothing", ["only an observation"], []),
]
store = Store()
if not (store.folder / "runs" / "many").is_dir():  # else an earlier test has recorded them
    store.add_run(RunRecord(run_id="many", kind="rollout", name="many"))
    with store.writer("many") as writer:
        for one in made_all:
            writer.trajectory(one)
    rollout(hungry, "aigym/Snake-v0", n=4, seed=1)
from aigym_kernel.widgets import explore
'''

ROW = ".aigym-explorer .aigym-row"
STEP = "Number(document.querySelector('.aigym-player input[type=range]').value)"
FACTS = "document.querySelector('.aigym-now').innerText"


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """One page and one kernel for all tests here."""
    return shared_lab


def open_pane(lab: Lab) -> None:
    lab.show("pane.ipynb", RECORD, "explorer = explore()\nexplorer")
    lab.wait(ROW)
    lab.expect("document.querySelector('.aigym-player input[type=range]') !== null")


def choose(lab: Lab, agent: str) -> None:
    """Opens the trajectory of an agent by a click on its row."""
    lab.page.locator(f"{ROW}:has-text('{agent}')").first.click()
    lab.expect(f"document.querySelector('.aigym-heading').innerText.includes('by {agent}')")


def go(lab: Lab, t: int) -> None:
    lab.page.locator(".aigym-player > input[type=range]").fill(str(t))


KINDS = {
    "hungry": ".aigym-board",
    "long": ".aigym-values",
    "wide": ".aigym-heat",
    "talk": ".aigym-exchange",
    "screen": ".aigym-terminal",
    "camera": ".aigym-picture",
    "nested": ".aigym-tree",
    "nothing": ".aigym-exchange",
}


def test_each_kind_has_its_scene_and_fits_in_both_themes(lab: Lab) -> None:
    open_pane(lab)
    for theme, width in SCREENS:
        lab.theme(f"JupyterLab {theme}")
        lab.page.set_viewport_size({"width": width, "height": 900})
        for agent, selector in KINDS.items():
            choose(lab, agent)
            lab.wait(f".aigym-place-of-scene {selector}")
            go(lab, 13)
            lab.shot(f"pane-{agent}-{theme.lower()}-{width}", ".aigym-player")
            fits = "(e => e.scrollWidth <= e.clientWidth + 1)(document.querySelector('.aigym-player'))"
            assert lab.page.evaluate(fits), f"{agent} overflows at {width} px"
    lab.theme("JupyterLab Light")
    assert lab.page.evaluate("window.pwned") is None
    assert lab.page.locator(".aigym-player script, .aigym-player img:not([src^='data:'])").count() == 0


def test_a_hundred_thousand_steps_by_mouse(lab: Lab) -> None:
    open_pane(lab)
    choose(lab, "long")
    page = lab.page
    line = page.locator(".aigym-timeline")
    box = line.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    lab.expect("document.querySelector('.aigym-tip').innerText.includes('step')")
    page.mouse.down()
    lab.expect(f"Math.abs({STEP} - 50_000) < 1_500")
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 40, steps=20)
    page.mouse.up()
    lab.expect(f"Math.abs({STEP} - 80_000) < 1_500 && !{FACTS}.includes('…')")
    assert "lap 8" in lab.text(".aigym-infos")
    page.locator("button[aria-label^='next event']").click()
    after = page.evaluate(STEP)
    page.locator("button[aria-label^='previous event']").click()
    lab.expect(f"{STEP} < {after}")
    page.locator("button[aria-label^='first step']").click()
    page.select_option("select[aria-label=speed]", "max")
    page.locator("button[aria-label^='play']").click()
    lab.pause_when(f"{STEP} > 2_000")
    page.locator("[data-scene=steps]").click()
    page.locator(".aigym-steps").evaluate("e => { e.scrollTop = e.scrollHeight / 2; }")
    lab.expect(
        "[...document.querySelectorAll('.aigym-step-row')].some(r => r.innerText.includes('Push cart'))"
        " && Number(document.querySelector('.aigym-step-row').dataset.t) > 40_000"
    )
    page.locator(".aigym-step-row").nth(6).click()
    lab.expect(f"{STEP} > 40_000 && {STEP} < 60_000")
    assert page.locator(".aigym-step-row").count() < 60
    page.locator("[data-scene=json]").click()
    lab.expect(f"JSON.parse(document.querySelector('.aigym-json').innerText).t === {STEP}")
    lab.expect("'truncated' in JSON.parse(document.querySelector('.aigym-json').innerText)")
    choose(lab, "rendered")
    page.locator("[data-scene=frames]").click()
    go(lab, 100)
    lab.expect("document.querySelector('.aigym-picture').naturalWidth === 80")
    choose(lab, "talk")
    page.locator(".aigym-exchange").evaluate("e => { e.scrollTop = e.scrollHeight; }")
    lab.expect("Number([...document.querySelectorAll('.aigym-turn')].at(-1).dataset.t) > 25")
    assert page.locator(".aigym-turn").count() < 120


def test_find_and_remarks_by_keyboard_alone(lab: Lab) -> None:
    open_pane(lab)
    cells = lab.cells()
    choose(lab, "talk")
    keyboard = lab.page.keyboard
    lab.page.locator(".aigym-grid").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft"):
        keyboard.press(key)
    lab.expect(f"{STEP} === 11")
    keyboard.press("e")
    lab.expect(f"{STEP} === 49")
    keyboard.press("E")
    lab.expect(f"{STEP} === 49")
    keyboard.press("v")
    lab.wait(".aigym-steps")
    for _ in range(2):
        keyboard.press("v")
    lab.wait(".aigym-place-of-scene .aigym-exchange")
    lab.page.locator(".aigym-timeline").focus()
    keyboard.press("Control+f")
    keyboard.insert_text("NEEDLE")
    lab.expect("document.querySelector('.aigym-find').innerText.includes('1 of 3')")
    lab.expect(f"{STEP} === 650")
    lab.expect("CSS.highlights.get('aigym-found')?.size === 1")
    keyboard.press("Enter")
    lab.expect(f"{STEP} === 1550")
    keyboard.press("Shift+Enter")
    lab.expect(f"{STEP} === 650")
    lab.shot("pane-find-light-1280", ".aigym-player")
    keyboard.press("Escape")
    assert not lab.page.locator(".aigym-find").is_visible()
    keyboard.press("f")
    keyboard.type("boom")
    lab.expect(f"{STEP} === 777")
    keyboard.press("Escape")
    keyboard.press("t")
    keyboard.type("odd <b>")
    keyboard.press("Enter")
    lab.expect("document.querySelector('.aigym-tag')?.innerText.startsWith('odd <b>')")
    keyboard.press("Tab")
    keyboard.type("bx: looks wrong at 777")
    keyboard.press("Control+Enter")
    lab.expect("document.querySelector('.aigym-said')?.innerText.includes('looks wrong at 777')")
    kept = Store(lab.store).load(lab.page.locator(".aigym-row[aria-current=true]").get_attribute("data-id"))
    assert kept.tags == ("odd <b>",)
    assert [note.text for note in kept.notes] == ["bx: looks wrong at 777"]
    keyboard.press("Escape")
    for key in ("b", "x", "d", "d", "z"):
        keyboard.press(key)
    assert lab.cells() == cells
    keyboard.press("?")
    assert "find in all steps" in lab.text(".aigym-keys")


def test_what_a_busy_kernel_is_asked_is_waited_for_and_shown_when_it_answers(lab: Lab) -> None:
    open_pane(lab)
    choose(lab, "rendered")
    silent = "No answer from the kernel"
    note = "document.querySelector('.aigym-explorer > .aigym-note')"
    scene = "document.querySelector('.aigym-place-of-scene').innerText"
    with lab.busy():
        lab.page.locator("[data-scene=json]").click()
        lab.expect(f"!{note}.hidden && {note}.innerText.includes('{silent}')")
        assert "truncated" not in lab.text(".aigym-json"), "what is here of it is shown meanwhile"
    lab.expect("'truncated' in JSON.parse(document.querySelector('.aigym-json').innerText)")
    lab.expect(f"{note}.hidden")
    with lab.busy():
        lab.page.locator("[data-scene=frames]").click()
        go(lab, 100)
        lab.expect(f"{scene}.includes('{silent}')")
    lab.expect("document.querySelector('.aigym-picture').naturalWidth === 80")
    lab.expect(f"!{scene}.includes('{silent}')")
    choose(lab, "talk")
    with lab.busy():
        lab.page.locator("button[aria-label^='find']").click()
        lab.page.keyboard.type("needle")
        lab.expect("document.querySelector('.aigym-find').innerText.includes('of what is loaded')")
        tag = lab.page.locator("input[aria-label='add a tag']")
        tag.fill("late")
        tag.press("Enter")
        lab.wait(".aigym-remarks [role=alert]:has-text('Not kept so far')")
    lab.expect("document.querySelector('.aigym-find').innerText.includes('1 of 3')")
    lab.expect("[...document.querySelectorAll('.aigym-tag')].some(one => one.innerText.startsWith('late'))")
    lab.expect("document.querySelector(\"input[aria-label='add a tag']\").value === ''")
    assert not lab.page.locator(".aigym-remarks [role=alert]").is_visible()


def test_without_a_kernel_what_is_loaded_plays_and_is_searched(lab: Lab) -> None:
    open_pane(lab)
    choose(lab, "hungry")
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    lab.page.locator("button[aria-label^='play']").click()
    lab.pause_when(f"{STEP} > 5")
    lab.page.locator("button[aria-label^='find']").click()
    lab.page.keyboard.type("apples")
    lab.expect("document.querySelector('.aigym-find').innerText.includes('of what is loaded')")
    lab.page.keyboard.press("Escape")
    lab.page.locator("[data-scene=json]").click()
    lab.expect(f"JSON.parse(document.querySelector('.aigym-json').innerText).t === {STEP}")
    lab.page.locator("input[aria-label='add a tag']").fill("kept here")
    lab.page.keyboard.press("Enter")
    lab.expect("document.querySelector('.aigym-remarks [role=alert]').innerText.includes('Not kept')")
    assert lab.page.locator("input[aria-label='add a tag']").input_value() == "kept here"
    lab.page.goto("about:blank")  # another test begins with a kernel
    # The notebook's own widget manager says in the console that the kernel is gone.
    lab.problems[:] = [problem for problem in lab.problems if "Cannot send" not in problem]
