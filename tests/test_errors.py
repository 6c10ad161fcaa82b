"""What a user may cause is told in one sentence: here paths that cannot even be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aigym_kernel as aigym
from aigym_kernel.doctor import _store, _tasks
from aigym_kernel.store import Store
from aigym_kernel.train.networks import Policy

pytestmark = pytest.mark.usefixtures("store_dir")

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "template.ipynb"
CALLS: dict[str, Callable[[Path], Any]] = {
    "store": lambda path: Store(path).sql("select 1"),
    "new store": lambda path: Store(path).create(),
    "export": lambda path: Store().export(path.with_suffix(".jsonl")),
    "import": lambda path: Store().import_(path),
    "export of a run": lambda path: aigym.load_run(Store().run_ids()[0]).export(path),
    "notebook": aigym.run_notebook,
    "data of a bench": lambda path: aigym.benchmark(NOTEBOOK, data=[path]),
    "folder of a bench": lambda path: aigym.benchmark(NOTEBOOK, out=path),
    "store of a bench": lambda path: aigym.benchmark(NOTEBOOK, store=path),
    "bench": aigym.load_bench,
    "bench in a store": lambda path: aigym.load_bench(store=path),
    "agent": aigym.load_agent,
    "embedder": lambda path: aigym.similar("wall", embedder=str(path)),
    "checkpoint": lambda path: next(aigym.ppo("CartPole-v1")).checkpoint(path),
    "exported policy": lambda path: _policy().export(path.with_suffix(".pt")),
}


def _policy() -> Policy:
    env = aigym.make("CartPole-v1")
    return Policy(env.observation_space, env.action_space)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_path_that_cannot_be_looked_at(call: Callable[[Path], Any], tmp_path: Path) -> None:
    # To root no folder is closed, so the tests take the other kind.
    aigym.rollout(lambda observation, steps: 0, "CartPole-v1")
    with pytest.raises(aigym.AigymError):
        call(tmp_path / ("a" * 300))


def test_settings_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = str(tmp_path / ("a" * 300))
    monkeypatch.setenv("AIGYM_TASKS", nowhere)
    monkeypatch.setenv("AIGYM_DATA", nowhere)
    with pytest.raises(aigym.AigymError, match="set AIGYM_TASKS to another one"):
        aigym.tasks()
    with pytest.raises(aigym.AigymError, match="set AIGYM_TASKS to another one"):
        aigym.make("two-sum")
    assert not _tasks().works
    assert nowhere in _store().found
