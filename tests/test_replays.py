"""Recorded trajectories are checked by playing them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from aigym_kernel.agents import random_agent
from aigym_kernel.errors import UnknownName
from aigym_kernel.replays import resimulate, verify_replays
from aigym_kernel.runs import load_run, rollout


class Unseeded(gymnasium.Env[Any, Any]):
    """Goes another way each time."""

    observation_space = spaces.Box(0, 1, (1,), np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.rng, self.t = np.random.default_rng(), 0
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return (np.zeros(1) if self.t < 3 else self.rng.random(1)), 0.0, self.t == 5, False, {}


def test_a_run_is_checked_by_playing_it_again(store_dir: Path) -> None:
    played = rollout(random_agent(spaces.Discrete(2), seed=0), "CartPole-v1", n=4)
    run_id = played[0].run_id
    assert run_id is not None
    frame = verify_replays(load_run(run_id))
    assert frame["result"].tolist() == ["same"] * 4
    assert set(frame["trajectory_id"]) == {t.id for t in played}
    assert frame["diverged_at"].isna().all()
    assert len(verify_replays(run_id, limit=2)) == 2
    assert resimulate(played[0].id).diverged_at is None
    with pytest.raises(UnknownName, match="unknown run"):
        verify_replays("no-such-run")


def test_what_diverges_is_told_with_its_step(store_dir: Path) -> None:
    gymnasium.register("Unseeded-v0", entry_point=Unseeded)
    try:
        run_id = rollout(random_agent(spaces.Discrete(2), seed=0), "Unseeded-v0", n=2)[0].run_id
        assert run_id is not None
        frame = verify_replays(run_id)
        assert frame["result"].tolist() == ["diverged"] * 2
        assert frame["diverged_at"].tolist() == [2, 2]
    finally:
        del gymnasium.registry["Unseeded-v0"]
    frame = verify_replays(run_id)
    assert frame["result"].tolist() == ["impossible"] * 2
    assert "unknown environment 'Unseeded-v0'" in frame["problem"][0]
