"""Fixtures that more than one test module uses."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def store_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that AIGYM_DATA names, here and in every process started from here."""
    folder = tmp_path / "data"
    monkeypatch.setenv("AIGYM_DATA", str(folder))
    return folder
