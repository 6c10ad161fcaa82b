"""Explorers without a kernel, in a real browser: pages of their own, exported ones, an untrusting Lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from labs import ARTIFACTS, BROWSER, WAIT_MS, Lab, strangers, watch

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.notebooks import run_notebook
from aigym_kernel.runs import rollout
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Trajectory
from aigym_kernel.widgets import explore

pytestmark = [*BROWSER, pytest.mark.usefixtures("store_dir")]

EVIL = "</script><script>window.pwned=1</script><img src=https://example.org/x onerror='window.pwned=1'>"
STEP = "document.querySelector('.aigym-explorer input[type=range]').value"
ROW = ".aigym-explorer .aigym-row"
SAID = ".aigym-explorer .aigym-note:has-text('This page was saved')"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of the browser that must make no request but for the file itself, and raise nothing."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    requests: list[str] = []
    problems: list[str] = []
    watch(opened, requests, problems)
    yield opened
    opened.close()
    assert [url for url in strangers(requests) if not url.startswith("file:///")] == []
    assert problems == []


def record() -> list[Trajectory]:
    agent = random_agent(make("aigym/Snake-v0").action_space, seed=0)
    games = rollout(agent, "aigym/Snake-v0", n=70)
    store = Store()
    store.add_run(RunRecord(run_id="hostile", kind="rollout", name=EVIL))
    talk = Trajectory(
        run_id="hostile",
        env_id="aigym/two-sum-v0",
        agent=EVIL,
        observations=[EVIL, "\u2028<!--", EVIL],
        actions=[EVIL, "done"],
        rewards=np.ones(2),
        terminated=True,
        truncated=False,
    )
    with store.writer("hostile") as writer:
        writer.trajectory(talk)
    return [*games, talk]


def plays(page: Any) -> None:
    page.locator(".aigym-explorer button[aria-label^='play']").first.click()
    # Not by wait_for_function, which evaluates text in the page: its policy forbids that.
    for _ in range(1200):
        if int(page.evaluate(STEP)) > 1:
            return
        page.wait_for_timeout(100)
    pytest.fail("it does not play")


def test_a_page_of_its_own_plays_and_asks_nobody(page: Any, tmp_path: Path) -> None:
    played = record()
    longest = max(played[-20:-1], key=len)
    path = tmp_path / "page.html"
    explore(selected=longest.id).to_html(path)
    page.goto(path.as_uri())
    page.wait_for_selector(".aigym-explorer .aigym-board")
    assert page.locator("text=60 of 71 trajectories").count() == 1
    plays(page)
    page.locator(ROW).first.click()
    page.wait_for_selector(f".aigym-explorer .aigym-player:has-text('{played[-1].id}')")
    assert "window.pwned=1" in page.locator(".aigym-player").inner_text()
    assert page.evaluate("window.pwned") is None
    assert page.locator("script").count() == 2
    assert not page.locator(SAID).is_visible()
    page.locator(ROW).first.focus()
    page.keyboard.press("/")
    page.keyboard.type("random")
    page.wait_for_selector(SAID)
    ARTIFACTS.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=ARTIFACTS / f"page-{scheme}.png", full_page=True)


def test_whatever_should_try_nothing_leaves_a_page(browser: Any, tmp_path: Path) -> None:
    record()
    path = tmp_path / "page.html"
    explore().to_html(path)
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(path.as_uri())
    asked = page.evaluate("fetch('https://example.org').then(() => 'went out', () => 'refused')")
    assert asked == "refused"
    script = "Object.assign(document.createElement('script'), {text: 'window.pwned = 1'})"
    page.evaluate(f"document.body.append({script})")
    assert page.evaluate("window.pwned") is None
    page.close()


def test_a_comparison_is_there_without_a_kernel(page: Any, tmp_path: Path) -> None:
    record()
    path = tmp_path / "page.html"
    explore(view="compare").to_html(path)
    page.goto(path.as_uri())
    page.wait_for_selector(".aigym-explorer .aigym-compare")
    assert "random" in page.locator(".aigym-compare").inner_text()
    page.locator("[data-view=trajectory]").click()
    page.wait_for_selector(".aigym-player .aigym-heading")
    page.locator("[data-view=diff]").click()
    page.wait_for_selector(SAID)
    page.screenshot(path=ARTIFACTS / "page-compare.png", full_page=True)


def test_without_scripts_a_page_shows_its_still(browser: Any, tmp_path: Path) -> None:
    played = record()
    path = tmp_path / "page.html"
    explore(selected=played[0].id).to_html(path)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(path.as_uri())
    assert page.locator("table tbody tr").count() >= 20
    assert page.locator("figure img").count() == 8
    assert "onerror=" in page.locator("body").inner_text()
    page.screenshot(path=ARTIFACTS / "page-no-script.png", full_page=True)
    context.close()


def test_an_exported_notebook_plays_each_explorer(page: Any, tmp_path: Path) -> None:
    played = record()
    cells = ["import aigym_kernel as aigym", f"aigym.explore(selected={played[0].id!r})", "aigym.explore()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "n.ipynb")
    run = run_notebook(tmp_path / "n.ipynb", progress=False)
    page.goto((run.folder / "artifacts" / "n.html").as_uri())
    page.locator(".aigym-explorer .aigym-player").nth(1).wait_for()
    plays(page)
    assert page.locator(".aigym-explorer .aigym-board").count() == 1
    heights = page.locator(".aigym-plot").evaluate_all("all => all.map((one) => one.clientHeight)")
    assert heights
    assert max(heights) < 200, "the page's own style of pictures reaches the charts"
    assert page.evaluate("window.pwned") is None
    page.screenshot(path=ARTIFACTS / "exported.png", full_page=True)


def test_a_lab_that_does_not_trust_a_notebook_shows_the_still(lab: Lab) -> None:
    """Executed by somebody else, opened without trust and without its widget state: no script runs."""
    played = record()
    data, _ = explore(selected=played[0].id)._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data={"text/html": data["text/html"]})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    notebook.metadata["kernelspec"] = {"name": lab.kernel, "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.folder / "untrusted.ipynb")
    lab.look("untrusted.ipynb")
    lab.page.wait_for_selector(".jp-OutputArea table tbody tr")
    assert lab.page.locator(".jp-OutputArea figure img").count() == 8
    assert lab.page.locator(".aigym-explorer").count() == 0
    assert lab.page.evaluate("window.pwned") is None
