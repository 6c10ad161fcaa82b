"""Snake: its rules, its observations, its contract with gymnasium."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import aigym_kernel.envs
from aigym_kernel.envs.snake import START_LENGTH, Snake
from aigym_kernel.errors import AigymError, UnknownName

STRAIGHT, LEFT, RIGHT = 0, 1, 2
HEADINGS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


def head_of(env: Snake) -> tuple[int, int]:
    (place,) = np.argwhere(env.board() == 2).tolist()
    return place[0], place[1]


def apple_of(env: Snake) -> tuple[int, int] | None:
    places = np.argwhere(env.board() == 3).tolist()
    return (places[0][0], places[0][1]) if places else None


def cycle(size: int) -> dict[tuple[int, int], tuple[int, int]]:
    """A Hamiltonian cycle of an even board: each cell's successor. Row 0 leads back to column 0."""
    path = [(0, column) for column in range(size - 1, -1, -1)]
    for column in range(size):
        rows = range(1, size) if column % 2 == 0 else range(size - 1, 0, -1)
        path += [(row, column) for row in rows]
    return dict(zip(path, [*path[1:], path[0]]))


def turn_to(heading: int, here: tuple[int, int], there: tuple[int, int]) -> tuple[int, int]:
    """The action that leads from here to the neighbour there, and the new heading."""
    wanted = HEADINGS.index((there[0] - here[0], there[1] - here[1]))
    return {0: STRAIGHT, 3: LEFT, 1: RIGHT}[(wanted - heading) % 4], wanted


def win(env: Snake, seed: int) -> tuple[list[int], float, dict[str, Any]]:
    """Follow the cycle until the board is full."""
    successor, heading = cycle(env.size), 1
    env.reset(seed=seed)
    actions: list[int] = []
    total = 0.0
    # The start looks to the right, the cycle may want the opposite: a turn downwards joins it.
    while True:
        here = head_of(env)
        there = successor[here]
        wanted = HEADINGS.index((there[0] - here[0], there[1] - here[1]))
        if (wanted - heading) % 4 == 2:
            there = (here[0] + 1, here[1])
        action, heading = turn_to(heading, here, there)
        _, reward, terminated, truncated, info = env.step(action)
        assert not truncated
        actions.append(action)
        total += reward
        if terminated:
            return actions, total, info


def check_board(env: Snake, info: dict[str, Any]) -> None:
    board = env.board()
    assert board.shape == (env.size, env.size)
    assert np.count_nonzero(board == 2) == 1
    # As many distinct cells on the board as the snake is long: none twice, none outside or on the apple.
    assert np.count_nonzero((board == 1) | (board == 2)) == info["length"]
    assert info["length"] == START_LENGTH + info["apples"]
    assert np.count_nonzero(board == 3) == (0 if info["length"] == env.size**2 else 1)


@pytest.mark.parametrize("observation", ["features", "grid"])
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasiums_checker_has_no_complaint(observation: str, render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(aigym_kernel.envs.SNAKE, observation=observation, render_mode=render_mode)
        check_env(env.unwrapped)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(3, 7),
    seed=st.integers(0, 2**31 - 1),
    observation=st.sampled_from(["features", "grid"]),
    actions=st.lists(st.integers(0, 2), min_size=1, max_size=150),
)
def test_no_sequence_of_actions_breaks_the_board(
    size: int, seed: int, observation: str, actions: list[int]
) -> None:
    env = Snake(size=size, observation=observation)
    seen, info = env.reset(seed=seed)
    check_board(env, info)
    for action in actions:
        seen, reward, terminated, truncated, info = env.step(action)
        assert seen in env.observation_space
        assert not truncated
        check_board(env, info)
        assert reward in (-1.0, 0.0, 1.0)
        if terminated:
            assert info["outcome"] == (info["death"] or "full")
            assert (reward == -1.0) == (info["death"] is not None)
            seen, info = env.reset()
            check_board(env, info)
        else:
            assert info["death"] is None
            assert "outcome" not in info


def test_the_same_seed_and_actions_play_the_same_game() -> None:
    actions = np.random.default_rng(3).integers(0, 3, 300)

    def game(seed: int) -> list[bytes]:
        env = Snake(size=6)
        out = [env.reset(seed=seed)[0].tobytes()]
        for action in actions:
            observation, reward, terminated, _, info = env.step(action)
            out += [observation.tobytes(), env.board().tobytes(), repr((reward, info)).encode()]
            if terminated:
                out.append(env.reset()[0].tobytes())
        return out

    assert game(5) == game(5)
    assert game(5) != game(6)


def test_a_wall_ends_the_game() -> None:
    env = Snake(size=5)
    env.reset(seed=0)
    steps = [env.step(STRAIGHT) for _ in range(3)]
    assert [step[2] for step in steps] == [False, False, True]
    assert steps[-1][4]["death"] == steps[-1][4]["outcome"] == "wall"
    assert steps[-1][1] == -1.0


def test_its_own_body_ends_the_game() -> None:
    env = Snake(size=8)
    for seed in range(1000):  # a game that gives two apples in a row to the right: length 5 bites itself
        env.reset(seed=seed)
        if [env.step(STRAIGHT)[4]["apples"] for _ in range(2)] == [1, 2]:
            break
    for action in (RIGHT, RIGHT):
        assert not env.step(action)[2]
    _, reward, terminated, _, info = env.step(RIGHT)
    assert terminated
    assert info["death"] == info["outcome"] == "self"
    assert reward == -1.0


def test_the_head_may_enter_the_cell_that_the_tail_leaves() -> None:
    env = Snake(size=8)
    for seed in range(1000):  # one apple straight ahead: length 4 turns in a square of 4 cells for ever
        env.reset(seed=seed)
        if env.step(STRAIGHT)[4]["apples"] == 1:
            break
    lengths = set()
    for _ in range(12):
        _, _, terminated, _, info = env.step(RIGHT)
        lengths.add(info["length"])
        if info["length"] == 5:
            break
        assert not terminated
    assert 4 in lengths


def test_starvation_ends_the_game_at_its_limit_and_is_seen_coming() -> None:
    env = Snake(size=10, starvation=11)
    for seed in range(100):  # an apple out of the way of the circle
        env.reset(seed=seed)
        hunger: list[float] = []
        info: dict[str, Any] = {}
        terminated = False
        while not terminated:
            observation, reward, terminated, truncated, info = env.step(RIGHT)
            hunger.append(float(observation[-1]))
        if info["apples"] == 0:
            break
    assert info["death"] == info["outcome"] == "starvation"
    assert reward == -1.0
    assert not truncated
    assert hunger == pytest.approx([k / 11 for k in range(1, 12)])


@pytest.mark.parametrize("size", [4, 6])
def test_a_full_board_wins(size: int) -> None:
    env = Snake(size=size)
    actions, total, info = win(env, seed=1)
    assert info["outcome"] == "full"
    assert info["death"] is None
    assert info["length"] == size * size
    assert total == size * size - START_LENGTH
    assert apple_of(env) is None
    with pytest.raises(gymnasium.error.ResetNeeded, match="over"):
        env.step(actions[0])


def test_apples_lie_on_every_free_cell_alike() -> None:
    env = Snake(size=4)
    counts = np.zeros((4, 4))
    for seed in range(2600):
        env.reset(seed=seed)
        counts += env.board() == 3
    body = (env.board() == 1) | (env.board() == 2)
    assert counts[body].sum() == 0
    expected = 2600 / 13
    assert np.abs(counts[~body] - expected).max() < 5 * np.sqrt(expected)


def test_rewards_by_event() -> None:
    env = Snake(size=10, rewards={"step": -0.01, "closer": 0.1, "farther": -0.2, "apple": 2.0, "death": -3.0})
    for seed in range(20):
        env.reset(seed=seed)
        terminated = False
        while not terminated:
            (row, column), apple = head_of(env), apple_of(env)
            assert apple is not None
            before, apples = abs(row - apple[0]) + abs(column - apple[1]), env.board() == 3
            _, reward, terminated, _, _ = env.step(STRAIGHT)
            if terminated:
                assert reward == pytest.approx(-0.01 - 3.0)
            elif apples[head_of(env)]:
                assert reward == pytest.approx(-0.01 + 2.0 + 0.1)
            else:
                row, column = head_of(env)
                nearer = abs(row - apple[0]) + abs(column - apple[1]) < before
                assert reward == pytest.approx(-0.01 + (0.1 if nearer else -0.2))


def test_features_say_what_is_around_the_head() -> None:
    env = Snake(size=5)
    observation, _ = env.reset(seed=0)
    apple = apple_of(env)
    assert apple is not None
    moves = observation[:21].reshape(3, 7)
    # The head is at (2, 2), looking right, its body to the left of it: two free cells ahead, left and right.
    assert moves[:, 0].tolist() == [1, 1, 1]
    assert moves[:, 1] == pytest.approx([0.4, 0.4, 0.4])
    assert moves[:, 2] == pytest.approx([23 / 25] * 3)  # all but the head and the middle of the body
    assert moves[:, 4].tolist() == [1, 1, 1]
    assert observation[21:23] == pytest.approx([(apple[1] - 2) / 5, (apple[0] - 2) / 5])
    assert observation[23:] == pytest.approx([3 / 25, 0])
    env.step(STRAIGHT)
    observation = env.step(STRAIGHT)[0]  # the head is at the right wall
    assert observation[:21].reshape(3, 7)[0].tolist() == [0] * 7


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), actions=st.lists(st.integers(0, 2), max_size=60), size=st.integers(3, 7))
def test_reachable_cells_and_paths_agree_with_a_plain_search(
    seed: int, actions: list[int], size: int
) -> None:
    env = Snake(size=size)
    observation, _ = env.reset(seed=seed)
    heading, tail = 1, None
    trail = [(size // 2, max(size // 2, 2) - i) for i in range(3)]
    for action in actions:
        observation, _, terminated, _, info = env.step(action)
        if terminated:
            return
        heading = (heading + (0, -1, 1)[action]) % 4
        trail = [head_of(env), *trail][: info["length"]]
    tail = trail[-1]
    board = env.board()

    def neighbours(place: tuple[int, int]) -> list[tuple[int, int]]:
        around = [(place[0] + dr, place[1] + dc) for dr, dc in HEADINGS]
        return [
            (r, c)
            for r, c in around
            if 0 <= r < size and 0 <= c < size and (board[r, c] in (0, 3) or (r, c) == tail)
        ]

    for k, turn in enumerate((0, -1, 1)):
        dr, dc = HEADINGS[(heading + turn) % 4]
        start = (trail[0][0] + dr, trail[0][1] + dc)
        free, _, cells, room, to_tail, nearness, _ = observation[7 * k : 7 * k + 7]
        if start not in neighbours(trail[0]):
            assert free == 0
            continue
        distance, queue = {start: 1}, [start]
        for place in queue:
            for other in neighbours(place):
                if other not in distance:
                    distance[other] = distance[place] + 1
                    queue.append(other)
        apple = apple_of(env)
        assert free == 1
        assert cells == pytest.approx(len(distance) / size**2)
        assert room == pytest.approx(min(1, len(distance) / len(trail)))
        assert to_tail == (tail in distance)
        assert nearness == pytest.approx(1 / distance[apple] if apple in distance else 0)


def test_the_grid_is_turned_so_that_the_head_looks_up() -> None:
    env = Snake(size=5, observation="grid")
    grid, _ = env.reset(seed=4)
    board = env.board()
    assert grid.shape == (4, 5, 5)
    turned = np.rot90(board)  # it looks to the right: a quarter turn to the left makes that up
    assert np.array_equal(grid[0], turned == 2)
    assert np.array_equal(grid[1] > 0, (turned == 1) | (turned == 2))
    assert np.array_equal(grid[2], turned == 3)
    assert np.argwhere(grid[1] == 1).tolist() == np.argwhere(grid[0] == 1).tolist()
    assert np.unique(grid[1]) == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_rendering() -> None:
    env = Snake(size=4, render_mode="ansi")
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\)"):
        env.render()
    env.reset(seed=0)
    text = env.render()
    assert isinstance(text, str)
    rows = text.splitlines()
    assert [len(row) for row in rows] == [4] * 4
    assert rows[2].startswith("oo@")
    assert text.count("*") == 1
    env = Snake(size=4, render_mode="rgb_array")
    env.reset(seed=0)
    image = env.render()
    assert isinstance(image, np.ndarray)
    assert image.shape == (64, 64, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 4


@pytest.mark.parametrize(
    ("kwargs", "error", "says"),
    [
        ({"size": 2}, AigymError, "size=2"),
        ({"size": 5.5}, AigymError, "size=5.5"),
        ({"size": True}, AigymError, "size=True"),
        ({"observation": "pixels"}, UnknownName, "features"),
        ({"observation": "feature"}, UnknownName, "Did you mean 'features'"),
        ({"rewards": {"aple": 1}}, UnknownName, "Did you mean 'apple'"),
        ({"rewards": {"apple": float("nan")}}, AigymError, "'apple'"),
        ({"starvation": 0}, AigymError, "starvation=0"),
        ({"render_mode": "human"}, UnknownName, "rgb_array"),
    ],
)
def test_arguments_that_cannot_be(kwargs: dict[str, Any], error: type[AigymError], says: str) -> None:
    with pytest.raises(error, match=says):
        Snake(**kwargs)


def test_step_before_reset_and_an_unknown_action() -> None:
    env = Snake()
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\)"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(AigymError, match="action=3"):
        env.step(3)
