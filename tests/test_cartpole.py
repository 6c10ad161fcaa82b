"""Our vectorised CartPole-v1 against gymnasium's, step for step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigym_kernel.envs.cartpole import MAX_STEPS, CartPoles
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import AigymError

GOOD = np.array([0.1, 0.5, 2.0, 1.0])
"""Pushing to the side to which this leans keeps the pole up for long."""


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 5), skill=st.floats(0, 1))
def test_it_is_gymnasiums_to_the_last_bit(seed: int, n: int, skill: float) -> None:
    ours = make_vec("CartPole-v1", n, seed, backend="native")
    theirs = make_vec("CartPole-v1", n, seed, backend="sync")
    assert isinstance(ours, CartPoles)
    seen, infos = ours.reset()
    expected, told = theirs.reset()
    random = np.random.default_rng(seed)
    for _ in range(120):
        assert np.array_equal(seen, expected)
        assert np.array_equal(infos["episode_seed"], told["episode_seed"])
        assert ("final_obs" in infos) == ("final_obs" in told)
        for i in told.get("final_infos", ()):
            assert np.array_equal(infos["final_obs"][i], told["final_obs"][i])
            assert infos["final_infos"][i] == told["final_infos"][i]
        actions = np.where(random.random(n) < skill, seen @ GOOD > 0, random.integers(0, 2, n)).astype(int)
        seen, *rest, infos = ours.step(actions)
        expected, *others, told = theirs.step(actions)
        assert all(np.array_equal(one, other) for one, other in zip(rest, others, strict=True))
        assert seen.dtype == expected.dtype
    theirs.close()


def test_an_episode_is_cut_off_after_500_steps_as_gymnasiums() -> None:
    ours, theirs = (make_vec("CartPole-v1", 2, 1, backend=name) for name in ("native", "sync"))
    seen, _ = ours.reset()
    theirs.reset()
    cut = 0
    for t in range(MAX_STEPS + 5):
        actions = (seen @ GOOD > 0).astype(int)
        seen, *rest, infos = ours.step(actions)
        expected, *others, told = theirs.step(actions)
        assert np.array_equal(seen, expected)
        assert all(np.array_equal(one, other) for one, other in zip(rest, others, strict=True))
        if rest[2].any():
            cut += 1
            assert t == MAX_STEPS - 1
            assert np.array_equal(infos["final_obs"][0], told["final_obs"][0])
    assert cut == 1
    theirs.close()


def test_it_goes_on_in_the_middle_of_episodes() -> None:
    random, taken = np.random.default_rng(0), [list[int](), list[int](), list[int]()]
    first = CartPoles(3, 7)
    first.reset()
    for _ in range(40):
        actions = random.integers(0, 2, 3)
        seen, _, terminated, truncated, infos = first.step(actions)
        for i, over in enumerate(terminated | truncated):
            taken[i] = [] if over else [*taken[i], int(actions[i])]
    second = CartPoles(3, 7)
    second.reset()
    again, told = second.restore_episodes(infos["episode_seed"].tolist(), taken)
    assert np.array_equal(again, seen)
    assert np.array_equal(told["episode_seed"], infos["episode_seed"])
    for _ in range(60):
        actions = random.integers(0, 2, 3)
        one, other = first.step(actions), second.step(actions)
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[4]["episode_seed"], other[4]["episode_seed"])


def test_what_it_does_not_cover_is_left_to_gymnasium_or_refused() -> None:
    auto = make_vec("CartPole-v1", 2, 0, {"sutton_barto_reward": True})
    assert not isinstance(auto, CartPoles)
    auto.close()
    with pytest.raises(AigymError, match="sutton_barto_reward was given"):
        make_vec("CartPole-v1", 2, 0, {"sutton_barto_reward": True}, backend="native")
    with pytest.raises(AigymError, match="not all 0 or 1"):
        CartPoles(2, 0).step(np.array([0, 2]))
    with pytest.raises(AigymError, match="no options"):
        CartPoles(2, 0).reset(options={"low": 0})
