"""Steering a training while it goes on: pause, speed, learning rate, the game that is watched."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aigym_kernel import control
from aigym_kernel.control import Control, Reader, steer
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError, RunError, UnknownName
from aigym_kernel.live import LIVE_SEED, Live
from aigym_kernel.runs import train
from aigym_kernel.train import Policy

pytestmark = pytest.mark.usefixtures("store_dir")


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def test_what_was_asked_is_one_file(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert reader.read() == Control()
    steer(tmp_path, speed="watch", learning_rate=1e-3)
    steer(tmp_path, save=True)
    asked = steer(tmp_path, save=True, paused=True)
    assert asked == Control(paused=True, speed="watch", learning_rate=1e-3, save=2) == reader.read()
    assert json.loads((tmp_path / "control.json").read_text()) == asdict(asked)
    with pytest.raises(UnknownName, match=r"unknown speed 'wach'\. Did you mean 'watch'"):
        steer(tmp_path, speed="wach")
    with pytest.raises(RunError, match="learning_rate=0 must be a number above 0"):
        steer(tmp_path, learning_rate=0)
    (tmp_path / "control.json").write_text("{")
    with pytest.raises(RunError, match="delete it"):
        control.read(tmp_path)
    assert reader.read() == asked, "a damaged file changes nothing"


def test_a_training_is_paused_changed_watched_and_stopped() -> None:
    run = train("aigym/Snake-v0", total_timesteps=50_000_000)
    live = run.folder / "live.json"
    until(lambda: run.status().step > 0, "first update")
    run.pause()
    until(lambda: run.status().state == "paused", "paused")
    assert not live.exists(), "nobody looked"
    step = run.status().step
    recorded = run.metrics("entropy")
    assert recorded[-1][0] == step, "all is on the disk while it waits"
    with pytest.raises(AigymError, match="is paused by process"):
        run.store.delete(run.id, ask=False)
    run.set(learning_rate=1.25e-4, speed="watch")
    (run.folder / "watched").touch()
    assert run.resume().status().step >= step
    until(lambda: run.status().step > step and run.status().state == "running", "goes on")

    played: dict[int, Any] = {}

    def seen() -> dict[str, Any]:
        (run.folder / "watched").touch()
        shown: dict[str, Any] = json.loads(live.read_text()) if live.exists() else {"n": 0, "frames": []}
        played.update({frame["n"]: frame for frame in shown["frames"]})
        return shown

    until(lambda: seen()["n"] >= 4 and any(f["start"] for f in played.values()), "a game from its start")
    shown = seen()
    assert [f["n"] for f in shown["frames"]] == list(range(shown["n"] - len(shown["frames"]), shown["n"]))
    assert all((frame["action"] is None) == frame["start"] for frame in played.values())
    board = np.array(shown["frames"][-1]["board"])
    assert board.ndim == 2
    assert board.shape[0] >= 8
    assert shown["frames"][-1]["image"] is None
    assert shown["step"] > 0
    until(lambda: run.status().step >= shown["step"], "so far it is")
    assert shown["episode"] >= 1
    run.set(speed="max")
    os.kill(run.status().pid or 0, signal.SIGTERM)  # as good as run.stop()
    assert run.wait(120).status().state == "stopped"
    for change in (run.pause, run.save, lambda: run.set(speed="watch")):
        with pytest.raises(RunError, match="it is stopped, at step"):
            change()


def test_an_environment_without_a_board_is_drawn_small(tmp_path: Path) -> None:
    env = make("CartPole-v1")
    policy = Policy(env.observation_space, env.action_space)
    live = Live(tmp_path, "CartPole-v1", {}, seed=0)
    for _ in range(4):
        live.turn(policy, 128, paced=True)
    live.close()
    shown = json.loads((tmp_path / "live.json").read_text())
    assert shown["step"] == 128
    assert shown["ended"] is None
    assert all(frame["board"] is None for frame in shown["frames"])
    if pytest.importorskip("pygame"):
        png = base64.b64decode(shown["frames"][0]["image"].removeprefix("data:image/png;base64,"))
        width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
        assert (width, height) == (150, 100)


def test_a_recurrent_policy_is_watched_with_its_memory(tmp_path: Path) -> None:
    spec = {"layers": [{"type": "gru", "units": 8}]}
    env = make("CartPole-v1")
    policy = Policy(env.observation_space, env.action_space, spec, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weights in policy.parameters():
            weights.mul_(5)
    live = Live(tmp_path, "CartPole-v1", {}, seed=0)
    for _ in range(8):
        live.turn(policy, 1, paced=True)
    live.close()
    frames = json.loads((tmp_path / "live.json").read_text())["frames"]
    observation, _ = env.reset(seed=LIVE_SEED)
    state, generator = policy.initial_state(1), torch.Generator().manual_seed(LIVE_SEED)
    expected = []
    for _ in frames[1:]:
        action, state = policy.sample_recurrent(policy.encode(observation[None]), state, generator)
        expected.append(int(action))
        observation, *_ = env.step(expected[-1])
    assert len(expected) > 3
    assert [frame["action"] for frame in frames[1:]] == expected


def test_a_game_that_fails_is_not_shown_and_breaks_nothing(tmp_path: Path, capsys: Any) -> None:
    env = make("CartPole-v1")
    live = Live(tmp_path, lambda: 1 / 0, {}, seed=0)  # type: ignore[arg-type,return-value]
    for _ in range(2):
        live.turn(Policy(env.observation_space, env.action_space), 0)
    assert capsys.readouterr().out.count("is not shown any more") == 1
