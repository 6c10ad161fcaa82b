"""Rewards on a scale of about 1: the running variance against the plain one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aigym_kernel.train.normalization import MOST, RewardScale


def test_the_spread_is_that_of_all_discounted_returns_so_far() -> None:
    random = np.random.default_rng(0)
    rewards, dones = random.normal(3, 5, (60, 4)), random.random((60, 4)) < 0.1
    scale, seen, running = RewardScale(4, gamma=0.9), [], np.zeros(4)
    for first in range(0, 60, 20):
        part = slice(first, first + 20)
        scaled = scale(rewards[part], dones[part])
        for t in range(first, first + 20):
            running = 0.9 * running + rewards[t]
            seen.append(running)
            running = np.where(dones[t], 0, running)
        assert scaled == pytest.approx(rewards[part] / np.std(seen), rel=1e-5)
        assert scaled.dtype == np.float32


def test_it_goes_on_from_its_state() -> None:
    random = np.random.default_rng(1)
    rewards, dones = random.normal(size=(40, 3)), random.random((40, 3)) < 0.2
    whole, first, second = (RewardScale(3, gamma=0.99) for _ in range(3))
    whole(rewards[:20], dones[:20])
    first(rewards[:20], dones[:20])
    state = first.state()
    json.dumps({key: value for key, value in state.items() if key != "returns"})
    second.restore(state)
    assert np.array_equal(whole(rewards[20:], dones[20:]), second(rewards[20:], dones[20:]))


def test_what_is_rare_and_large_is_cut_and_nothing_divides_by_0() -> None:
    scale = RewardScale(1, gamma=0.0)
    rewards = np.zeros((1000, 1))
    rewards[500] = -1e6
    assert scale(rewards, np.zeros((1000, 1), np.bool_)).min() == -MOST
    assert np.all(RewardScale(1, gamma=0.9)(np.zeros((5, 1)), np.zeros((5, 1), np.bool_)) == 0)
