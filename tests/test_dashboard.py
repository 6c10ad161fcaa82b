"""The dashboard: executed like any notebook, and served by Voilà as an application in a real browser."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import missing
from labs import ARTIFACTS, await_server, end, free_port, strangers, watch

from aigym_kernel.agents import random_agent
from aigym_kernel.dashboard import serve
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError
from aigym_kernel.notebooks import run_notebook
from aigym_kernel.runs import rollout, train
from aigym_kernel.store import Store

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "dashboard.ipynb"
pytestmark = pytest.mark.usefixtures("store_dir")


def test_it_runs_on_any_store() -> None:
    Store().create()
    run = run_notebook(NOTEBOOK, progress=False)
    page = (run.folder / "artifacts" / "dashboard.html").read_text(encoding="utf-8")
    assert "No training recorded yet." in page
    rollout(random_agent(make("CartPole-v1").action_space), "CartPole-v1", n=3)
    run = run_notebook(NOTEBOOK, {"newest": 1}, progress=False)
    page = (run.folder / "artifacts" / "dashboard.html").read_text(encoding="utf-8")
    assert "the newest 1 of 3" in page
    assert "best of 1 environments" in page


def test_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AigymError, match="port=0 must be a whole number"):
        serve(port=0)
    with pytest.raises(AigymError, match=r"no notebook at .*absent\.ipynb"):
        serve(notebook=tmp_path / "absent.ipynb")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AigymError, match="choose another port"):
            serve(port=taken.getsockname()[1])
    # A path on which nothing is installed: the way out is named.
    code = "import sys; from aigym_kernel.dashboard import serve; sys.path[:] = []; serve()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'aigym-kernel[dashboard]'" in done.stderr


@pytest.mark.browser
@pytest.mark.timeout(900)
def test_it_is_an_application_in_a_browser(browser: Any, tmp_path: Path) -> None:
    if importlib.util.find_spec("voila") is None:
        missing("no voila (extra dashboard): the dashboard was not opened as an application")
    games = rollout(random_agent(make("aigym/Snake-v0").action_space, seed=0), "aigym/Snake-v0", n=3)
    training = train("CartPole-v1", algo="ppo", total_timesteps=50_000_000)
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aigym_kernel", "dashboard", "--port", str(port)], stdout=log, stderr=log
        )
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    requests: list[str] = []
    problems: list[str] = []
    watch(page, requests, problems)
    try:
        await_server(f"http://127.0.0.1:{port}/voila/static/voila.js", process, tmp_path / "log")
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(".aigym-live .aigym-badge:has-text('running')")
        page.wait_for_selector(".aigym-explorer .aigym-player")
        assert page.locator("caption:has-text('best of')").count() == 1
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "dashboard.png")
        with page.expect_popup() as opened:
            page.locator(f"table a:has-text('{games[0].run_id}')").first.click()
        other = opened.value
        watch(other, requests, problems)
        other.wait_for_url(f"**/?run={games[0].run_id}")
        other.wait_for_selector(".aigym-explorer .aigym-board")
        assert "random" in other.locator(".aigym-explorer .aigym-player").inner_text()
        page.locator(".aigym-live .aigym-stop").click()
        page.wait_for_selector(".aigym-live .aigym-badge:has-text('stopped')")
        page.close()
    finally:
        training.stop()
        end(process)
        training.wait()
    assert strangers(requests, f"127.0.0.1:{port}") == []
    assert problems == []
