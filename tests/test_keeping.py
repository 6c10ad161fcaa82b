"""Which trajectories are recorded, and how a Batch is cut for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigym_kernel.batches import Batch, pick
from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.keeping import Keeper
from aigym_kernel.options import Options


def batch(lengths: list[int]) -> Batch:
    steps, count = sum(lengths), len(lengths)
    return Batch(
        env_id="e",
        agent="a",
        observations=np.arange(2 * (steps + count)).reshape(-1, 2),
        actions=np.arange(steps),
        rewards=np.arange(steps, dtype=np.float64)[::-1],
        lengths=np.array(lengths, dtype=np.int64),
        terminated=np.arange(count) % 2 == 0,
        truncated=np.arange(count) % 2 == 1,
        seeds=np.arange(count) + 7,
        final_infos=[{"i": i} for i in range(count)],
    )


@given(st.lists(st.integers(1, 5), max_size=6), st.data())
def test_what_is_picked_is_what_was_there(lengths: list[int], data: st.DataObject) -> None:
    whole = batch(lengths)
    chosen = [i for i in range(len(lengths)) if data.draw(st.booleans())]
    picked = pick(whole, chosen)
    assert len(picked) == len(chosen)
    for one, i in zip(picked, chosen):
        other = whole[i]
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in ("id", "seed", "terminated", "truncated", "final_info", "started_at"):
            assert getattr(one, name) == getattr(other, name)


def test_every_nth_counts_over_batches_and_goes_on_where_it_was() -> None:
    keeper = Keeper(3)
    kept = [t.seed for _ in range(3) for t in keeper.choose(batch([1, 1, 1, 1]))]
    assert kept == [7, 10, 9, 8]  # numbers 0, 3, 6, 9 of twelve
    assert [t.seed for t in Keeper(3, keeper.seen).choose(batch([1]))] == [7]


def test_the_best_and_the_worst_of_each_update() -> None:
    keeper = Keeper("best-and-worst")
    some = batch([1, 4, 2, 1])  # returns 7, 6 + 5 + 4 + 3, 2 + 1, 0
    assert [t.total_reward for t in keeper.choose(some)] == [18, 0]
    assert len(keeper.choose(batch([2]))) == 1
    assert len(keeper.choose(batch([]))) == len(Keeper("none").choose(some)) == 0
    assert Keeper("all").choose(some) is some


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(UnknownName, match=r"unknown way to record 'al'\. Did you mean 'all'"):
        Options(record="al")
    for wrong in (0, True, 1.5):
        with pytest.raises(TrainingError, match="every n-th"):
            Options(record=wrong)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="evaluate_every=0 must be a whole number"):
        Options(evaluate_every=0)
    with pytest.raises(TrainingError, match="save_every_s=0 must be a number of seconds"):
        Options(save_every_s=0)
