"""Agents out of runs and files: the right policy, and a plain word where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import save_file

import aigym_kernel as aigym
from aigym_kernel.errors import AigymError, RunError, TrainingError, UnknownName
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.train import DQNConfig, Policy
from aigym_kernel.train.checkpoints import save
from aigym_kernel.trained import FILES

SEEN, DONE = spaces.Box(-1, 1, (4,), np.float32), spaces.Discrete(5)
OBSERVATIONS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def policy(seed: int) -> Policy:
    made = Policy(SEEN, DONE, (8,), torch.Generator().manual_seed(seed), head="q")
    for value in made.parameters():
        value.data = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
    return made


def checkpoint(path: Path, seed: int) -> Path:
    return save(
        path,
        algo="dqn",
        config=DQNConfig(),
        env_id="e",
        env_kwargs={},
        step=1,
        policy=policy(seed),
        state={"a": np.zeros(3)},
    )


def added(store_dir: Path, run_id: str = "20260101-train-a", kind: str = "train") -> aigym.Run:
    store = Store(store_dir)
    store.add_run(RunRecord(run_id=run_id, kind=kind, name="a"), RunStatus(state="stopped"))  # type: ignore[arg-type]
    return aigym.load_run(run_id)


def actions(agent: object) -> list[int]:
    assert callable(agent)
    return [agent(observation, []) for observation in OBSERVATIONS]


def expected(seed: int) -> list[int]:
    return [int(a) for a in policy(seed).act_batch(OBSERVATIONS)]


def test_a_run_its_id_and_its_files_give_the_same_agent(store_dir: Path) -> None:
    run = added(store_dir)
    policy(1).save(run.folder / FILES["final"])
    checkpoint(run.folder / FILES["best"], 2)
    checkpoint(run.folder / FILES["latest"], 3)
    assert len({tuple(expected(seed)) for seed in (1, 2, 3)}) == 3
    for seed, which in ((1, "final"), (2, "best"), (3, "latest")):
        path = run.folder / FILES[which]
        for agent in (
            run.agent(which=which),  # type: ignore[arg-type]
            aigym.load_agent(run, which=which),  # type: ignore[arg-type]
            aigym.load_agent(run.id, which=which),  # type: ignore[arg-type]
            aigym.load_agent(run.id, which=which, store=Store(store_dir)),  # type: ignore[arg-type]
            aigym.load_agent(path),
            aigym.load_agent(str(path)),
        ):
            assert actions(agent) == expected(seed)
    assert aigym.load_agent(run).name == run.id
    assert aigym.load_agent(run, which="best").name == f"{run.id} (best)"
    sampled = aigym.load_agent(run, greedy=False)
    assert not sampled.greedy


def test_a_network_of_ones_own_is_given_again(tmp_path: Path) -> None:
    own = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU())
    made = Policy(SEEN, DONE, own)
    path = made.save(tmp_path / "own.safetensors")
    with pytest.raises(TrainingError, match="a network of your own"):
        aigym.load_agent(path)
    other = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU())
    assert actions(aigym.load_agent(path, network=other)) == actions(aigym.policy_agent(made))


def test_a_policy_that_is_not_there_is_named_with_those_that_are(store_dir: Path) -> None:
    run = added(store_dir)
    with pytest.raises(RunError, match=r"\(stopped\) has saved no policy; .*run\.wait\(\) first$"):
        run.agent()
    checkpoint(run.folder / FILES["latest"], 3)
    with pytest.raises(RunError, match=r"no best policy; .*evaluate_every=; there is which='latest'"):
        run.agent(which="best")
    with pytest.raises(UnknownName, match="Did you mean 'latest'"):
        run.agent(which="lates")  # type: ignore[arg-type]
    played = added(store_dir, "20260101-rollout-b", kind="rollout")
    with pytest.raises(RunError, match="of kind rollout and has no policy"):
        aigym.load_agent(played)


def test_what_names_nothing_is_told(store_dir: Path, tmp_path: Path) -> None:
    added(store_dir)
    with pytest.raises(UnknownName, match=r"unknown run or policy file .*\. Did you mean '20260101"):
        aigym.load_agent("20260101-trian-a")
    policy(1).save(tmp_path / "policy.safetensors")
    with pytest.raises(UnknownName, match=r"unknown policy file .*polcy.*Did you mean .*policy.safetensors"):
        aigym.load_agent(tmp_path / "polcy.safetensors")
    with pytest.raises(UnknownName, match="unknown policy file"):
        aigym.load_agent("nowhere/policy.safetensors")
    with pytest.raises(AigymError, match=r"load_agent\(7\): expected a run"):
        aigym.load_agent(7)  # type: ignore[arg-type]


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match="no checkpoint that a training wrote"):
        aigym.load_agent(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        aigym.load_agent(tmp_path / "text.safetensors")
    path = checkpoint(tmp_path / "cut.safetensors", 1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TrainingError, match="cut short"):
        aigym.load_agent(path)
