"""Fixtures that more than one test module uses, and the one way to say that a part is missing here."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from aigym_kernel import settings
from aigym_kernel.sandboxes import check

pytest.register_assert_rewrite("labs")
from labs import browser, lab, server, shared_lab  # noqa: E402

__all__ = ["browser", "lab", "missing", "sandbox", "server", "shared_lab", "store_dir"]

# A shell without job control starts what it puts in the background with SIGINT ignored, and whatever that
# starts inherits it: tests of Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What takes long on a busy machine is no fault of the code under test: without CI=true Hypothesis would fail
# an example after 200 ms, and a test whose first examples took a second to draw. With it the examples are the
# same in every run: what fails there is what a commit has changed. Without it new ones are drawn.
hypothesis.settings.register_profile(
    "busy",
    hypothesis.settings.default,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("busy")


def missing(reason: str) -> NoReturn:
    """Skip by name on a user's machine; in continuous integration everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"must be there with CI=true: {reason}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that drive a browser, which is all work, lie evenly among the others, which mostly wait: so that
    of the processes of `make test` seldom two have one."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    drives = {path for path, own in files.items() if any(i.get_closest_marker("browser") for i in own)}
    place: dict[Path, float] = {}
    for part in (drives, files.keys() - drives):
        ordered = [path for path in files if path in part]
        place |= {path: (number + 0.5) / len(ordered) for number, path in enumerate(ordered)}
    items.sort(key=lambda item: place[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests failed that were tried again (`make test`): passing then makes nobody forget it."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"first try of {report.nodeid}")
        terminalreporter.line(report.longreprtext)


@pytest.fixture
def store_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that AIGYM_DATA names, here and in every process started from here."""
    folder = tmp_path / "data"
    monkeypatch.setenv("AIGYM_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def sandbox() -> None:
    """For tests that run code in the default sandbox."""
    if problem := check(settings.sandbox_name()):
        missing(problem)
