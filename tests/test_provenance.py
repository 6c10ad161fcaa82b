"""What is kept of where a run comes from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import missing

from aigym_kernel import provenance, settings
from aigym_kernel.sandboxes import check


def test_code_packages_machine_and_load_are_told() -> None:
    found = json.loads(json.dumps(provenance.collect()))
    assert found["packages"]["torch"]
    assert found["packages"]["aigym-kernel"] == "0.1.0"
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["cpu"]
    assert found["cpus"] >= 1
    assert found["load"]["free_mb"] > 0
    for name in ("code", "lock", "packages_hash"):
        assert len(found[name]) == 16
    if (settings.CHECKOUT / ".git").exists():
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=settings.CHECKOUT, capture_output=True, text=True, check=True
        )
        assert found["git_commit"] == commit.stdout.strip()
        assert found["git_dirty"] == (found["git_diff"] is not None)


def test_what_differs_from_the_commit_has_a_hash(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    clean = provenance.git(tmp_path)
    assert clean["git_commit"]
    assert (clean["git_dirty"], clean["git_diff"]) == (False, None)
    hashes = []
    for text in ("2", "3"):
        (tmp_path / "a").write_text(text)
        hashes.append(provenance.git(tmp_path)["git_diff"])
    assert len({None, *hashes}) == 3


def test_no_folder_of_git_is_no_commit(tmp_path: Path) -> None:
    assert provenance.git(tmp_path) == {"git_commit": None, "git_dirty": False, "git_diff": None}


def test_only_harmless_variables_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_LLM_KEY", "secret")
    monkeypatch.setenv("AIGYM_LLM_MODEL", "m")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = provenance.collect()
    assert found["environment"]["AIGYM_LLM_MODEL"] == "m"
    assert found["environment"]["CUDA_VISIBLE_DEVICES"] == "1"
    assert "secret" not in json.dumps(found)


def test_gpus_are_read_from_what_the_driver_says(tmp_path: Path) -> None:
    for slot in ("0000:01:00.0", "0000:02:00.0"):
        folder = tmp_path / "gpus" / slot
        folder.mkdir(parents=True)
        (folder / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 18\n")
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (dvs)\n"
        "GCC version:  gcc version 12.3.0\n"
    )
    assert provenance.gpus(tmp_path) == {"gpus": ["NVIDIA H100 80GB HBM3"] * 2, "gpu_driver": "550.54.14"}


def test_the_hash_of_files_sees_contents_and_names_below(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "x").write_text("1")
    (folder / "loop").symlink_to(".")
    first = provenance.of_files([folder])
    (folder / "__pycache__" / "x.pyc").write_text("1")
    assert provenance.of_files([folder]) == first
    assert provenance.of_files([folder.rename(tmp_path / "b")]) == first
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert provenance.of_files([tmp_path / "b"]) != first


def test_another_sandbox_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_SANDBOX", "pool-bwrap")
    assert provenance.collect()["sandbox"] == {"name": "pool-bwrap"}
    monkeypatch.setenv("AIGYM_SANDBOX", "nonsense")
    assert provenance.collect()["sandbox"] == {"name": "nonsense"}


@pytest.mark.docker
def test_the_image_of_the_docker_sandbox_has_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := check("docker"):
        missing(problem)
    monkeypatch.setenv("AIGYM_SANDBOX", "docker")
    assert provenance.collect()["sandbox"]["image"].startswith("sha256:")
