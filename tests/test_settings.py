"""Paths and devices: what environment variables change."""

from __future__ import annotations

from pathlib import Path

import pytest

from aigym_kernel import settings
from aigym_kernel.errors import AigymError, UnknownName


def test_the_data_folder_follows_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_DATA", str(tmp_path / "elsewhere"))
    assert settings.data_dir() == tmp_path / "elsewhere"
    monkeypatch.delenv("AIGYM_DATA")
    assert settings.data_dir() == settings.CHECKOUT / "data"


def test_a_fresh_checkout_has_one_store_from_whichever_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.mkdir()
    monkeypatch.delenv("AIGYM_DATA", raising=False)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(settings, "CHECKOUT", checkout)
    assert settings.data_dir() == elsewhere / "data"  # installed, not checked out
    (checkout / "pyproject.toml").touch()
    assert settings.data_dir() == checkout / "data"  # though nothing has made it yet


def test_an_unknown_sandbox_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.sandbox_name() == "bwrap"
    monkeypatch.setenv("AIGYM_SANDBOX", "docker")
    assert settings.sandbox_name() == "docker"
    assert settings.sandbox_name("bwrap") == "bwrap"
    with pytest.raises(UnknownName, match=r"unknown sandbox 'dokcer'. Did you mean 'docker'"):
        settings.sandbox_name("dokcer")


def test_the_forced_device_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_DEVICE", "cpu")
    assert settings.device("cuda").type == "cpu"
    assert settings.device().type == "cpu"


@pytest.mark.parametrize(("name", "message"), [("cpuu", "is no device"), ("cuda:99", "no such device")])
def test_a_device_that_is_not_here_is_named(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_DEVICE", raising=False)
    with pytest.raises(AigymError, match=message) as caught:
        settings.device(name)
    assert name in str(caught.value)
