"""The trajectory pane in a real JupyterLab, by mouse and by keyboard alone; labs.py drives it."""

from __future__ import annotations

import pytest
from labs import Lab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

RECORD = '''
import gymnasium, numpy as np, time
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
store.add_run(RunRecord(run_id=f"many-{time.time_ns()}", kind="rollout", name="many"))
with store.writer(store.run_ids()[-1]) as writer:
    for one in made_all:
        writer.trajectory(one)
rollout(hungry, "aigym/Snake-v0", n=4, seed=1)
from aigym_kernel.widgets import explore
explorer = explore()
explorer
'''

ROW = ".aigym-explorer .aigym-row"
STEP = "Number(document.querySelector('.aigym-player input[type=range]').value)"
FACTS = "document.querySelector('.aigym-now').innerText"


def open_pane(lab: Lab, name: str, *, width: int = 1280) -> None:
    lab.open(name, RECORD, width=width)
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
    open_pane(lab, "kinds.ipynb")
    for theme in ("Light", "Dark"):
        lab.theme(f"JupyterLab {theme}")
        for width in (1280, 800):
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
