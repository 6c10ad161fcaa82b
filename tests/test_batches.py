"""Batches: joined, empty, summed; what an Update says without a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aigym_kernel.batches import Batch, Update, empty, join
from aigym_kernel.errors import TrainingError
from aigym_kernel.store import Store
from aigym_kernel.store.records import RunRecord


def batch(*lengths: int, start: int = 0) -> Batch:
    """Trajectories whose numbers tell where they were."""
    steps, count = sum(lengths), len(lengths)
    return Batch(
        env_id="Line",
        agent="walker",
        observations=start + np.arange(steps + count, dtype=np.float32)[:, None],
        actions=np.arange(steps),
        rewards=np.arange(steps) + 0.5,
        lengths=np.array(lengths),
        terminated=np.ones(count, np.bool_),
        truncated=np.zeros(count, np.bool_),
        seeds=[start + i for i in range(count)],
        final_infos=[{"i": i} for i in range(count)],
    )


def test_joined_batches_hold_the_same_trajectories_in_their_order() -> None:
    parts = [batch(3, 2), empty("Line", "walker"), batch(4, start=50)]
    joined = join(parts)
    separate = [trajectory for part in parts for trajectory in part]
    assert len(joined) == len(separate) == 3
    for one, other in zip(joined, separate, strict=True):
        assert np.array_equal(one.observations, other.observations)
        assert np.array_equal(one.actions, other.actions)
        assert (one.seed, one.final_info, one.id) == (other.seed, other.final_info, other.id)
    assert joined.returns.tolist() == [t.total_reward for t in separate]
    assert len(join([])) == len(join([empty()])) == 0


def test_an_empty_batch_is_recorded_as_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_run(RunRecord(run_id="r", kind="train", name="r", config={}, provenance={}, parent=None))
    with store.writer("r") as writer:
        writer.batch(empty("Line", "walker"))
        writer.batch(batch(2, 3))
    assert store.sql("select count(*) as n from trajectories")["n"][0] == 2
    assert list(empty()) == []
    assert empty().returns.shape == (0,)


def test_an_update_of_a_trainer_without_checkpoints_says_so(tmp_path: Path) -> None:
    update = Update(step=0, total_steps=1, metrics={})
    assert len(update.trajectories) == 0
    with pytest.raises(TrainingError, match="this trainer cannot write any"):
        update.checkpoint(tmp_path / "c.safetensors")
