"""A real JupyterLab and Notebook 7 in Chromium: one server and one browser for all tests of a session.

    def test_something(lab):
        lab.open("name.ipynb", "a cell", "another")      written, opened and run
        lab.wait(".aigym-explorer")

Each test module has a store of its own. Every test fails that made a request to another machine or raised in
the page. Skipped by name where there is no Chromium, unless CI=true. Screenshots go to tests/artifacts/.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

ARTIFACTS = Path(__file__).parent / "artifacts"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
WAIT_MS = 300_000
SCREENS = (("Light", 1280), ("Dark", 800))  # both themes and both widths, once each
BROWSER = [pytest.mark.browser, pytest.mark.timeout(900)]  # for pytestmark: starting the server counts too
# Puts a text in the place of the last cell's and runs that cell.
ANEW = """
(text) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = notebook.widgets.length - 1;
  notebook.activeCell.outputArea.model.clear();
  notebook.activeCell.model.sharedModel.setSource(text);
  void window.jupyterapp.commands.execute("notebook:run-cell");
}
"""
# Python has answered all that the explorers asked; where that takes long, they say so meanwhile.
ANSWERED = """
[...document.querySelectorAll(".aigym-explorer")].every((one) => !one.hasAttribute("aria-busy")
  && !one.querySelector(":scope > .aigym-note:not([hidden])")?.innerText.includes("No answer from"))
"""
# Pauses what plays in the moment in which the condition holds: soon after it may have played to its end.
PAUSED = """
({condition}) && (document.querySelector(".aigym-player button[aria-label^='pause']")?.click(), true)
"""
# Holds the kernel, all its threads, from when the first file is there until the second one is.
HOLD = """
import ctypes, pathlib, sys
c, interval = ctypes.PyDLL(None), sys.getswitchinterval()
sys.setswitchinterval(1000)
pathlib.Path({began!r}).touch()
while c.access({ended!r}.encode(), 0):
    c.usleep(10_000)
sys.setswitchinterval(interval)
"""
RUN = """
(code) => {
  window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
}
"""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass(frozen=True)
class Server:
    """A running Jupyter server: JupyterLab at /lab, Notebook 7 at /notebooks. It writes into ``home``."""

    url: str
    token: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that shares its notebooks' kernels and trust."""
        return environment(self.home)


@dataclass
class Lab:
    """A browser page that looks at the server; ``kernel`` names the kernel whose store is ``store``."""

    server: Server
    kernel: str
    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def token(self) -> str:
        return self.server.token

    @property
    def folder(self) -> Path:
        """Where the notebooks are."""
        return self.server.home / "notebooks"

    @property
    def store(self) -> Path:
        """The store of the notebooks that `write` makes."""
        return self.server.home / "stores" / self.kernel

    def open(self, name: str, *cells: str, width: int = 1280) -> None:
        """Write a notebook, open it alone and run all of it. No other test's may have its ``name``: it would
        go on in that one's kernel."""
        self.write(name, *cells)
        self.look(name, width=width)
        # Without waiting for the promise, which settles when the last cell has run.
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def show(self, name: str, record: str, cell: str) -> None:
        """Run a cell in a notebook whose first cell has been run once, in one page and one kernel for all
        tests that share them."""
        if not self.page.evaluate(f"window.jupyterapp?.shell?.currentWidget?.context?.path === {name!r}"):
            self.open(name, record, cell)
            return
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.evaluate(ANEW, cell)

    def write(self, name: str, *cells: str) -> None:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata["kernelspec"] = {
            "name": self.kernel,
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.folder / name)

    def look(self, name: str, *, width: int = 1280) -> None:
        """Open a notebook that exists, with the side bar closed."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.goto(f"{self.url}/lab/tree/{name}?reset&token={self.token}")
        self.page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.context?.isReady"
            " && window.jupyterapp.shell.currentWidget.content?.model?.cells?.length > 0",
            timeout=WAIT_MS,
        )
        self.page.evaluate("window.jupyterapp.shell.collapseLeft()")
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")

    def wait(self, selector: str) -> Any:
        """The element, once it is visible; fails at once with the message when a cell raised."""
        errors = [f"[data-mime-type='application/vnd.jupyter.{kind}']" for kind in ("stderr", "error")]
        found = self.page.wait_for_selector(", ".join([selector, *errors]))
        kind = found.get_attribute("data-mime-type") or ""
        assert not kind.startswith("application/vnd.jupyter"), found.inner_text()
        return found

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).first.inner_text())

    def expect(self, condition: str) -> None:
        """Waits until a JavaScript expression holds."""
        self.page.wait_for_function(condition)

    def answered(self) -> None:
        """Waits until Python has answered what the explorers asked."""
        self.expect(ANSWERED)

    def pause_when(self, condition: str) -> None:
        """Waits until a condition holds while a trajectory plays, and pauses it."""
        self.expect(PAUSED.format(condition=condition))
        self.page.wait_for_selector(".aigym-player button[aria-label^='play']")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Meanwhile the kernel answers nothing, as in a cell that waits in C."""
        began, ended = (self.server.home / f"{secrets.token_hex(8)}-{name}" for name in ("began", "ended"))
        self.page.evaluate(RUN, HOLD.format(began=str(began), ended=str(ended)))
        while not began.exists():
            self.page.wait_for_timeout(50)
        try:
            yield
        finally:
            ended.touch()

    def cells(self) -> int:
        """How many cells the open notebook has."""
        return int(self.page.evaluate("window.jupyterapp.shell.currentWidget.content.model.cells.length"))

    def save(self) -> None:
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")

    def theme(self, name: str) -> None:
        self.page.evaluate(
            f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: {name!r}}})"
        )
        light = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    def shot(self, name: str, selector: str) -> None:
        """A picture of one widget, for people to look at."""
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.set_viewport_size({"width": self.page.viewport_size["width"], "height": 1500})
        self.answered()
        self.page.evaluate(DRAWN)
        self.page.locator(selector).first.screenshot(path=ARTIFACTS / f"{name}.png")


def watch(page: Any, requests: list[str], problems: list[str]) -> None:
    """Notes every request of a page and everything that went wrong in it; waits as long as all tests do.

    One thing is no fault of a widget: the list of kernels is an error of Jupyter's server while one of them
    starts (jupyter_server 2, `kernel_model`), and asked for again."""

    def hear(message: Any) -> None:
        refused = message.text.startswith(
            "Failed to load resource: the server responded with a status of 500"
        )
        if message.type == "error" and not (refused and "/api/kernels?" in message.location["url"]):
            problems.append(f"{message.text}\n{message.location}")

    page.set_default_timeout(WAIT_MS)
    page.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
    page.on("console", hear)


def strangers(requests: list[str], *own: str) -> list[str]:
    """The requests to anything but ``own`` (host:port) and what lies in the page itself."""
    allowed = ("data:", "blob:", *(f"{kind}://{host}/" for kind in ("http", "ws") for host in own))
    return [url for url in requests if not url.startswith(allowed)]


def environment(home: Path) -> dict[str, str]:
    """The environment of a Jupyter server that keeps everything under ``home``."""
    names = {"AIGYM_DATA": "store", "IPYTHONDIR": "ipython", "JUPYTERLAB_SETTINGS_DIR": "settings"}
    names |= {f"JUPYTER_{kind}_DIR": kind.lower() for kind in ("CONFIG", "DATA", "RUNTIME")}
    names |= {"JUPYTERLAB_WORKSPACES_DIR": "workspaces", "HOME": "home"}
    return {**os.environ, **{name: str(home / path) for name, path in names.items()}}


def free_port() -> int:
    """A port for a server that is about to start: none of those that the system hands out meanwhile to
    everybody who connects or asks for any."""
    while True:
        port = random.randrange(11_000, 32_000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def await_server(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until ``url`` answers for at most three minutes; fails with the server's log."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{url} did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


@contextmanager
def running(home: Path, **variables: str) -> Iterator[Server]:
    """A Jupyter server that keeps everything under ``home``, with ``variables`` in its environment."""
    (home / "notebooks").mkdir(parents=True)
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8"
    )
    port, token = free_port(), secrets.token_hex(16)
    arguments = [
        *("--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home / 'notebooks'}"),
        *("--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"),
        "--JupyterNotebookApp.expose_app_in_browser=True",
    ]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *arguments],
            env={**environment(home), **variables},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await_server(f"{url}/api/status?token={token}", process, home / "server.log")
        yield Server(url, token, home)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server, which ends its kernels first; kernels whose server is killed end by themselves."""
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("lab") / "home") as started:
        yield started


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        from conftest import missing

        missing("no chromium on PATH: the widgets were not looked at in a browser")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT_MS)
        yield launched
        launched.close()


@contextmanager
def _opened(server: Server, browser: Any, module: str) -> Iterator[Lab]:
    opened = Lab(server, module.rpartition(".")[2], browser.new_page())
    _add_kernel(opened)
    watch(opened.page, opened.requests, opened.problems)
    yield opened
    opened.page.close()
    assert strangers(opened.requests, server.url.removeprefix("http://")) == []
    assert opened.problems == []


@pytest.fixture
def lab(server: Server, browser: Any, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """JupyterLab in a fresh page. Fails when a request left this machine or a widget raised."""
    with _opened(server, browser, request.module.__name__) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_lab(server: Server, browser: Any, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The same in one page for all tests of a module; see `Lab.show`."""
    with _opened(server, browser, request.module.__name__) as opened:
        yield opened


def _add_kernel(lab: Lab) -> None:
    """A kernel with a store of its own, for the notebooks of one test module."""
    folder = lab.server.home / "data" / "kernels" / lab.kernel
    if folder.exists():
        return
    folder.mkdir(parents=True)
    arguments = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {
        "argv": arguments,
        "display_name": lab.kernel,
        "language": "python",
        "env": {"AIGYM_DATA": str(lab.store)},
    }
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
