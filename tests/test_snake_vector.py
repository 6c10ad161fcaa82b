"""Many boards of Snake at once, in NumPy and in torch, are many single ones."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aigym_kernel.envs.dice import Dice
from aigym_kernel.envs.snake import Snake
from aigym_kernel.envs.snake_rules import ENDS
from aigym_kernel.envs.snake_torch import SnakeTorchEnv
from aigym_kernel.envs.snake_vector import SnakeVectorEnv
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import AigymError, UnknownName

FORMULA = "10*apple - 0.01*step - 5*(wall or self) + 0.1*closer - distance/size + 0.3*length/(1 + hunger)"
REWARDS = st.sampled_from([None, {"closer": 0.1, "self": -3.0, "step": -0.01}, FORMULA])


def towards_apples(boards: Any, directions: Any, rng: np.random.Generator) -> list[int]:
    """Greedy steps that avoid what they see, so that snakes grow long; some of them at random."""
    actions = []
    for board, direction in zip(boards, directions):
        (head,), apples = np.argwhere(board == 2), np.argwhere(board == 3)
        best, action = np.inf, int(rng.integers(3))
        for turn, change in enumerate((0, -1, 1)):
            step = ((-1, 0), (0, 1), (1, 0), (0, -1))[(direction + change) % 4]
            row, column = head[0] + step[0], head[1] + step[1]
            inside = 0 <= row < len(board) and 0 <= column < len(board)
            if inside and board[row, column] in (0, 3) and len(apples):
                far = abs(apples[0] - (row, column)).sum() + rng.random() * 1.5
                best, action = (far, turn) if far < best else (best, action)
        actions.append(action if rng.random() < 0.97 else int(rng.integers(3)))
    return actions


def same(arguments: dict[str, Any], n: int, steps: int, seed: int, greedy: bool, near: bool = True) -> int:
    """Plays in NumPy, in torch and alone side by side and compares all that they give; the length of the
    longest snake. Unless ``near`` torch waits for nothing, as on a GPU."""
    rng, longest = np.random.default_rng(seed), 0
    envs, there = SnakeVectorEnv(n, seed, **arguments), SnakeTorchEnv(n, seed, **arguments)
    there._near = near
    alone = [Snake(**arguments) for _ in range(n)]
    lanes = [np.random.default_rng([seed, i]) for i in range(n)]
    for t in range(steps):
        if t % (steps // 2) == 0:
            observations, infos = envs.reset()
            seen, told = there.reset()
            for i, env in enumerate(alone):
                own = int(lanes[i].integers(2**31))
                assert infos["episode_seed"][i] == own
                assert np.array_equal(env.reset(seed=own)[0], observations[i])
        assert seen.numpy().dtype == observations.dtype
        assert np.array_equal(seen.numpy(), observations)
        assert np.array_equal(told["episode_seed"].numpy(), infos["episode_seed"])
        boards = envs.boards()
        assert np.array_equal(there.boards().numpy(), boards)
        directions = [env._direction for env in alone]
        actions = towards_apples(boards, directions, rng) if greedy else rng.integers(0, 3, n).tolist()
        observations, rewards, terminated, truncated, infos = envs.step(np.array(actions))
        seen, got, over, cut, told = there.step(torch.tensor(actions))
        assert np.array_equal(got.numpy(), rewards)
        assert np.array_equal(over.numpy(), terminated)
        assert not truncated.any()
        assert not cut.any()
        for i, env in enumerate(alone):
            assert np.array_equal(env.board(), boards[i])
            observation, reward, ended, _, info = env.step(actions[i])
            longest = max(longest, info["length"])
            assert (reward, ended) == (rewards[i], terminated[i])
            if ended:
                final = {name: values[i] for name, values in told["final"].items()}
                assert infos["final_infos"][i] == info
                assert np.array_equal(infos["final_obs"][i], observation)
                assert np.array_equal(final["observation"].numpy(), observation)
                assert (final["apples"], final["length"]) == (info["apples"], info["length"])
                assert ENDS[final["end"]] == info["outcome"]
                own = int(lanes[i].integers(2**31))
                assert infos["episode_seed"][i] == own
                observation, info = env.reset(seed=own)
            else:
                assert i not in infos.get("final_infos", {})
            assert np.array_equal(observation, observations[i])
            assert (infos["apples"][i], infos["length"][i]) == (info["apples"], info["length"])
    return longest


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(3, 9),
    observation=st.sampled_from(["features", "grid", "image"]),
    rewards=REWARDS,
    seed=st.integers(0, 2**32 - 1),
    starvation=st.sampled_from([None, 2, 7, 40]),
    greedy=st.booleans(),
    near=st.booleans(),
    data=st.data(),
)
def test_step_for_step_like_single_ones(
    size: int,
    observation: str,
    rewards: Any,
    seed: int,
    starvation: Any,
    greedy: bool,
    near: bool,
    data: st.DataObject,
) -> None:
    arguments = {
        "size": size,
        "observation": observation,
        "rewards": rewards,
        "starvation": starvation,
        "obstacles": data.draw(st.sampled_from([0, 0, size**2 // 5])),
        "length": data.draw(st.integers(2, size)),
    }
    same(arguments, 5, 60, seed, greedy, near)


@pytest.mark.parametrize("observation", ["features", "grid", "image"])
def test_long_snakes_and_full_boards_too(observation: str) -> None:
    for size, least in ((4, 10), (10, 15)):
        arguments = {"size": size, "observation": observation}
        assert same(arguments, 6, 250, 3, greedy=True) >= least


@pytest.mark.parametrize("size", [15, 16, 17, 33, 62, 63, 64])
def test_boards_of_every_word_length(size: int) -> None:
    arguments = {"size": size, "length": size - 1}
    same(arguments, 2, 24, 1, greedy=True)


def test_a_full_board_is_won() -> None:
    envs = SnakeVectorEnv(20, 0, size=3, rewards={"full": 7.0})
    rng, won = np.random.default_rng(0), []
    envs.reset()
    for _ in range(100):
        actions = towards_apples(envs.boards(), envs._directions, rng)
        observations, rewards, _, _, infos = envs.step(np.array(actions))
        for i, info in infos.get("final_infos", {}).items():
            if info["outcome"] == "full":
                won.append((info["length"], info["death"], rewards[i]))
                assert infos["final_obs"][i][21:] == pytest.approx([0, 0, 1, 0])
    assert won
    assert set(won) == {(9, None, 8.0)}
    assert observations in envs.observation_space


def test_an_episode_can_be_taken_up_again_in_its_middle() -> None:
    def play(envs: SnakeVectorEnv, steps: int, seed: int) -> list[Any]:
        rng, out = np.random.default_rng(seed), []
        for _ in range(steps):
            actions = rng.integers(0, 3, envs.num_envs)
            out.append((actions, envs.step(actions)))
        return out

    arguments: dict[str, Any] = {"size": 6, "obstacles": 3}
    envs = SnakeVectorEnv(7, 4, **arguments)
    _, infos = envs.reset()
    taken: list[list[int]] = [[] for _ in range(7)]
    for actions, (*_, after) in play(envs, 45, 0):
        for i in range(7):
            taken[i] = [] if i in after.get("final_infos", {}) else [*taken[i], actions[i]]
        infos = after
    observations = envs._see(np.arange(7))
    other = SnakeVectorEnv(7, 4, **arguments)
    again, there = other.restore_episodes(infos["episode_seed"].tolist(), taken)
    assert np.array_equal(again, observations)
    assert np.array_equal(there["episode_seed"], infos["episode_seed"])
    for (_, one), (_, two) in zip(play(envs, 60, 1), play(other, 60, 1)):
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])
        assert np.array_equal(one[4]["episode_seed"], two[4]["episode_seed"])
    with pytest.raises(AigymError, match="no episode of environment 0 in a run with seed 4 has the seed 5"):
        SnakeVectorEnv(1, 4).restore_episodes([5], [[]])


def test_dice_begin_more_episodes_than_they_prepare() -> None:
    dice, lanes = Dice(3, 9, 33), [np.random.default_rng([9, i]) for i in range(3)]
    rng = np.random.default_rng(0)
    for _ in range(80):
        who = np.flatnonzero(rng.random(3) < 0.6)
        seeds, numbers = dice.begin_next(who) if len(who) else ([], [])
        for board, seed, first in zip(who, seeds, numbers):
            assert seed == lanes[board].integers(2**31)
            alone = np.random.default_rng(seed)
            assert first == alone.integers(33)
            for count in (97, 1, 5, 5, 1, 60):
                [number] = dice.integers(np.array([board]), np.array([count]))
                assert number == alone.integers(count)


def test_make_vec_takes_it_where_it_can() -> None:
    assert isinstance(make_vec("aigym/Snake-v0", 2, 0, {"size": 5}), SnakeVectorEnv)
    assert not isinstance(make_vec("aigym/Snake-v0", 2, 0, {"render_mode": "ansi"}), SnakeVectorEnv)
    with pytest.raises(AigymError, match="has no render_mode"):
        make_vec("aigym/Snake-v0", 2, 0, {"render_mode": "ansi"}, backend="native")


def test_seeds_may_be_given() -> None:
    envs = SnakeVectorEnv(3, 0, size=6)
    one, infos = envs.reset(seed=11)
    assert infos["episode_seed"].tolist() == [11, 12, 13]
    two, _ = envs.reset(seed=[11, 12, 13])
    assert np.array_equal(one, two)
    assert np.array_equal(one[1], Snake(size=6).reset(seed=12)[0])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"n": 0}, AigymError, "n=0"),
        ({"seed": -1}, AigymError, "seed=-1"),
        ({"size": 2}, AigymError, "size=2"),
        ({"rewards": "3*aple"}, UnknownName, "Did you mean 'apple'"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], error: type[AigymError], says: str) -> None:
    with pytest.raises(error, match=says):
        SnakeVectorEnv(**{"n": 2, **arguments})


def test_steps_that_cannot_be() -> None:
    envs = SnakeVectorEnv(2, 0, size=5, rewards="1 / (hunger - 2)")
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\)"):
        envs.step([0, 0])
    with pytest.raises(AigymError, match="got 3 seeds for 2 boards"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(AigymError, match="cannot be changed here"):
        envs.reset(options={"size": 4})
    envs.reset()
    for wrong in ([0, 3], [0, -1], [0], [0.5, 1.0]):
        with pytest.raises(AigymError, match="actions must be 2 of 0"):
            envs.step(wrong)
    envs.step([1, 1])
    with pytest.raises(AigymError, match=r"divides by zero.*hunger=2"):
        envs.step([1, 1])
