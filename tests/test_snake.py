"""Snake: its rules, its observations, its contract with gymnasium."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import aigym_kernel.envs
from aigym_kernel.envs.snake import Snake
from aigym_kernel.envs.snake_rules import COLOURS
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
    assert info["length"] == 3 + info["apples"]
    assert np.count_nonzero(board == 3) == (0 if info["length"] == env.size**2 else 1)


@pytest.mark.parametrize("observation", ["features", "grid", "image"])
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
    observation=st.sampled_from(["features", "grid", "image"]),
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
    assert total == size * size - 3
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
        ({"rewards": {"apple": "1"}}, AigymError, "must be a finite number"),
        ({"rewards": 3}, AigymError, "rewards=3 must be a mapping"),
        ({"rewards": "3*aple"}, UnknownName, "name in the rewards of Snake 'aple'. Did you mean 'apple'"),
        ({"obstacles": 26}, AigymError, "obstacles=26 must be a whole number from 0 to 25"),
        ({"length": 11}, AigymError, "length=11 must be a whole number from 2 to 10"),
        ({"starvation": 0}, AigymError, "starvation=0"),
        ({"render_mode": "human"}, UnknownName, "rgb_array"),
    ],
)
def test_arguments_that_cannot_be(kwargs: dict[str, Any], error: type[AigymError], says: str) -> None:
    with pytest.raises(error, match=says):
        Snake(**kwargs)


def digest(kwargs: dict[str, Any]) -> str:
    """Of everything that 600 steps give."""
    seen, env = hashlib.sha256(), Snake(**kwargs)
    seen.update(env.reset(seed=7)[0].tobytes())
    for i, action in enumerate(np.random.default_rng(1).integers(0, 3, 600).tolist()):
        observation, reward, terminated, _, info = env.step(action if i % 3 else 0)
        seen.update(observation.tobytes())
        seen.update(repr((float(reward), terminated, info)).encode())
        if terminated:
            seen.update(env.reset(seed=i)[0].tobytes())
    return seen.hexdigest()[:16]


@pytest.mark.parametrize(
    ("kwargs", "known"),
    [
        ({}, "ff9e807fc178b2f6"),
        ({"size": 6, "observation": "grid"}, "48cac01c392cda7f"),
        (
            {
                "size": 4,
                "starvation": 9,
                "rewards": {"apple": 2.0, "step": -0.01, "closer": 0.1, "farther": -0.3, "death": -0.7},
            },
            "916f6dffa5eb674a",
        ),
        ({"size": 13, "observation": "grid", "rewards": {"closer": 0.1}}, "dc1c0079e1d81eaa"),
    ],
)
def test_games_recorded_long_ago_are_still_played_the_same_way(kwargs: dict[str, Any], known: str) -> None:
    """The digests are those of version 0.1.0: change a rule, and every stored game is unreadable."""
    assert digest(kwargs) == known


def games(env: Snake, steps: int, seed: int = 0) -> Iterator[tuple[float, dict[str, Any]]]:
    """Rewards and infos of random steps, with a little sense: no step into death that can be seen."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    for i in range(steps):
        _, reward, over, _, info = env.step(rng.integers(3))
        yield reward, info
        if over:
            env.reset(seed=i)


def test_rewards_by_cause_of_death() -> None:
    rewards = {"death": -2.0, "wall": -3.0, "self": -4.0}
    env = Snake(size=4, length=4, starvation=6, rewards=rewards)
    seen = {info["death"]: reward for reward, info in games(env, 3000) if "outcome" in info}
    assert seen == {"wall": -3.0, "self": -4.0, "starvation": -2.0}


def test_a_formula_of_events_equals_the_mapping_that_says_the_same() -> None:
    formula = "2*apple - 0.01*step + 0.1*closer - 0.2*farther - 3*wall - 4*(self or starvation) + 9*full"
    mapping = {"apple": 2, "step": -0.01, "closer": 0.1, "farther": -0.2, "wall": -3, "death": -4, "full": 9}
    one, other = (Snake(size=4, starvation=12, rewards=rewards) for rewards in (formula, mapping))
    for (a, _), (b, _) in zip(games(one, 1500), games(other, 1500)):
        assert a == pytest.approx(b, rel=1e-12)
    assert win(Snake(size=4, rewards="5*full"), seed=1)[1] == 5.0


def test_a_formula_of_quantities_sees_the_game_after_the_step() -> None:
    env = Snake(size=6, rewards="length + 100*apples + 10000*hunger - distance + 0.5*size")
    for reward, info in games(env, 400):
        apple = apple_of(env)
        assert apple is not None
        head = head_of(env)
        distance = abs(head[0] - apple[0]) + abs(head[1] - apple[1])
        rest = reward - (info["length"] + 100 * info["apples"] - distance + 3.0)
        assert rest % 10000 == 0
        assert rest >= 0


def test_a_formula_that_gives_no_number_says_where() -> None:
    with pytest.raises(AigymError, match=r"divides by zero.*apple=0"):
        Snake(rewards="1 / apple")
    env = Snake(size=6, rewards="apple / (hunger - 2)")
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(AigymError, match=r"divides by zero.*hunger=2"):
        env.step(0)
    assert Snake(rewards="1 / apple if apple else 0").rules.worth[1][0] == 1.0


@settings(max_examples=40, deadline=None)
@given(size=st.integers(3, 9), seed=st.integers(0, 10_000), data=st.data())
def test_obstacles_cut_nothing_off(size: int, seed: int, data: st.DataObject) -> None:
    obstacles, length = data.draw(st.integers(0, size**2 // 4)), data.draw(st.integers(2, size))
    env = Snake(size=size, obstacles=obstacles, length=length)
    env.reset(seed=seed)
    board = env.board()
    assert np.count_nonzero(board == 4) == obstacles
    assert np.count_nonzero((board == 1) | (board == 2)) == length
    reached, queue = {head_of(env)}, [head_of(env)]
    for row, column in queue:
        for dr, dc in HEADINGS:
            place = (row + dr, column + dc)
            if place not in reached and min(place) >= 0 and max(place) < size and board[place] in (0, 3):
                reached.add(place)
                queue.append(place)
    assert len(reached) == 1 + np.count_nonzero((board == 0) | (board == 3))


def test_an_obstacle_is_a_wall_and_is_seen() -> None:
    env = Snake(size=5, obstacles=6, observation="grid", render_mode="ansi")
    hits = 0
    for seed in range(200):
        grid, _ = env.reset(seed=seed)
        assert np.count_nonzero(grid[1] == 1) == 7
        assert str(env.render()).count("#") == 6
        ahead = env.board()[2, 3]
        _, _, over, _, info = env.step(STRAIGHT)
        assert over == (ahead == 4)
        hits += over
        assert info["death"] == ("wall" if over else None)
    assert hits > 10


def test_the_image_shows_the_board_turned() -> None:
    env = Snake(size=5, observation="image", obstacles=3, starvation=8)
    image, _ = env.reset(seed=4)
    assert (image.shape, image.dtype) == ((20, 20, 3), np.uint8)
    cells = image[::4, ::4]
    assert np.array_equal(cells.repeat(4, 0).repeat(4, 1), image)
    board = np.rot90(env.board())
    for code in (0, 2, 4):
        assert (cells[board == code] == COLOURS[code]).all()
    assert (cells[board == 3] == COLOURS[3]).all()
    assert len(np.unique(cells[board == 1], axis=0)) == 2  # the tail is darker
    later, _, _, _, info = env.step(LEFT)
    assert info["apples"] == 0
    darker = later[::4, ::4][env.board() == 3]  # it looks up now
    assert darker.sum() < cells[board == 3].sum()  # the hungrier, the darker the apple


def test_a_game_is_not_changed_at_reset() -> None:
    env = Snake()
    with pytest.raises(AigymError, match=r"make\('aigym/Snake-v0', size=6\)"):
        env.reset(options={"size": 6})
    env.reset(seed=0, options={})


def test_step_before_reset_and_an_unknown_action() -> None:
    env = Snake()
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\)"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(AigymError, match="action=3"):
        env.step(3)
