"""Snake as a gymnasium environment: a board, a growing body, an apple at a time.

    env = gymnasium.make("aigym/Snake-v0", size=10)         # or Snake(size=10)
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(0)
    env.unwrapped.board()                                   # (size, size): 0 empty, 1 body, 2 head, 3 apple

The snake starts with three cells in the middle row, facing right. Everything random (where apples
appear) comes from ``reset(seed=)``, so a seed and the actions replay a game exactly. Cells, floods and
collisions are bits of Python integers: a step with features takes 10 to 15 microseconds and needs no
compiled code. One board per environment; `envs.vector` runs many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from aigym_kernel.errors import AigymError, UnknownName

OBSERVATIONS = ("features", "grid")
RENDER_MODES = ("ansi", "rgb_array")
REWARDS: Mapping[str, float] = {"apple": 1.0, "step": 0.0, "closer": 0.0, "farther": 0.0, "death": -1.0}
START_LENGTH = 3
_OF_A_MOVE = (
    "free",
    "line",
    "reachable",
    "room for the body",
    "tail reachable",
    "apple's nearness",
    "shortest",
)
FEATURE_NAMES = (
    *(f"{move}: {name}" for move in ("straight", "left", "right") for name in _OF_A_MOVE),
    *("apple ahead", "apple to the right", "length", "hunger"),
)
FEATURES = len(FEATURE_NAMES)
TURNS = (0, -1, 1)
"""What action 0, 1, 2 adds to the direction: straight on, a turn to the left, a turn to the right."""

_UP, _RIGHT, _DOWN, _LEFT = range(4)
_GLYPHS = ".o@*"
_COLOURS = np.array([[24, 26, 30], [72, 160, 96], [150, 220, 130], [214, 76, 76]], dtype=np.uint8)
_CELL_PIXELS = 16


class Snake(gymnasium.Env[NDArray[np.float32], int]):
    """The game of Snake on a square board with walls.

    Actions, ``Discrete(3)``, relative to where the head looks: 0 straight on, 1 left, 2 right. So
    there is no illegal reversal, and a policy need not learn each situation four times. For the same
    reason both observations are turned so that the head looks up.

    Observations, float32:

    ``features`` (25,), all in [-1, 1]. For each of the moves straight, left, right in turn:
    may the head go there (0 or 1); free cells in a line / size; cells reachable from there / board;
    are there as many reachable cells as the body has (1, else the ratio); is the tail reachable
    (where it is, there is a way to go on); the apple's nearness along the shortest free path
    (1 / (1 + steps), 0 when there is no path); is this move on a shortest path (0 or 1). Then the
    apple's offset ahead and to the right / size, the length / board, and the hunger.

    ``grid`` (4, size, size), all in [0, 1]: the head; the body, each cell with the share of its life
    that is left (the tail is about to go); the apple; the hunger, everywhere the same.

    Rewards: by event, summed when several happen in one step. ``apple`` 1, ``step`` 0 (every step),
    ``closer`` and ``farther`` 0 (steps towards or away from the apple, by city-block distance),
    ``death`` -1. ``rewards`` replaces some of them.

    Ends: at a wall, in its own body, by starvation (``starvation`` steps without an apple, default
    twice the number of cells), or with a full board (won). All of them are ``terminated``, starvation
    too: the hunger is part of both observations, so the end follows from the state that the agent
    sees and there is no future value to bootstrap. Nothing here truncates.

    ``info``: ``apples``, ``length``, ``death`` (None, ``wall``, ``self`` or ``starvation``) and, in the
    last step only, ``outcome`` (the death, or ``full``).

    Raises:
        AigymError: a size, starvation limit or action that cannot be.
        UnknownName: an observation, render mode or reward event that does not exist.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        size: int = 10,
        observation: str = "features",
        rewards: Mapping[str, float] | None = None,
        starvation: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if not _whole(size) or not 3 <= size <= 64:
            raise AigymError(f"Snake: size={size!r} must be a whole number from 3 to 64")
        if observation not in OBSERVATIONS:
            raise UnknownName("observation of Snake", observation, OBSERVATIONS)
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UnknownName("render mode of Snake", render_mode, RENDER_MODES)
        for event, value in (rewards or {}).items():
            if event not in REWARDS:
                raise UnknownName("reward event of Snake", event, REWARDS)
            if not isinstance(value, (int, float)) or not np.isfinite(value):
                raise AigymError(f"Snake: rewards[{event!r}]={value!r} must be a finite number")
        if starvation is not None and (not _whole(starvation) or starvation < 1):
            raise AigymError(
                f"Snake: starvation={starvation!r} must be a whole number of steps from 1 on, or None"
            )
        self.size = int(size)
        self.observation = observation
        self.rewards = {event: float(value) for event, value in {**REWARDS, **(rewards or {})}.items()}
        self.starvation = starvation or 2 * self.size**2
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(3)  # type: ignore[assignment]
        shape = (FEATURES,) if observation == "features" else (4, self.size, self.size)
        low = -1.0 if observation == "features" else 0.0
        self.observation_space = spaces.Box(low, 1.0, shape, np.float32)

        # Cell (row, column) is bit (row + 1) * width + column of every mask. The column and the two
        # rows that are never inside are the wall, so that a step off the board lands in it.
        self._width = self.size + 1
        self._inside = sum(1 << self._cell(r, c) for r in range(self.size) for c in range(self.size))
        self._moves = (-self._width, 1, self._width, -1)
        self._body: deque[int] = deque()  # the head first
        self._taken = 0
        self._apple: int | None = None
        self._direction = _RIGHT
        self._hunger = 0
        self._apples = 0
        self._death: str | None = None
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """A new game. ``options`` are accepted and unused, as the gymnasium API wants."""
        super().reset(seed=seed, options=options)
        row, column = self.size // 2, max(self.size // 2, START_LENGTH - 1)
        self._body = deque(self._cell(row, column - i) for i in range(START_LENGTH))
        self._taken = sum(1 << cell for cell in self._body)
        self._direction = _RIGHT
        self._hunger = self._apples = 0
        self._death = None
        self._playing = True
        self._place_apple()
        return self._observe(), self._info()

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One move. The tail leaves its cell first, so the head may enter where the tail was."""
        if not self._playing:
            why = "the game is over" if self._body else "there is no game yet"
            raise gymnasium.error.ResetNeeded(f"Snake: {why}; call reset() before step()")
        turn = int(action)
        if turn not in (0, 1, 2):
            raise AigymError(f"Snake: action={action!r} is none of 0 (straight on), 1 (left), 2 (right)")
        self._direction = (self._direction + TURNS[turn]) & 3
        head = self._body[0] + self._moves[self._direction]
        before = self._apple_distance(self._body[0])
        self._hunger += 1
        bit = 1 << head
        reward = self.rewards["step"]
        if not bit & self._inside:
            self._death = "wall"
        elif bit & self._taken and head != self._body[-1]:
            self._death = "self"
        else:
            reward += self._advance(head, bit, before)
            if self._hunger >= self.starvation and self._apple is not None:
                self._death = "starvation"
        info = self._info()
        if self._death is not None or self._apple is None:
            self._playing = False
            reward += self.rewards["death"] if self._death else 0.0
            info["outcome"] = self._death or "full"
        return self._observe(), reward, not self._playing, False, info

    def board(self) -> NDArray[np.int8]:
        """The board as it is: (size, size) int8, row 0 on top: 0 empty, 1 body, 2 head, 3 apple."""
        cells = np.zeros((self.size, self.size), dtype=np.int8)
        for part in self._body:
            cells[self._place(part)] = 1
        if self._body:
            cells[self._place(self._body[0])] = 2
        if self._apple is not None:
            cells[self._place(self._apple)] = 3
        return cells

    def render(self) -> str | NDArray[np.uint8] | None:
        """``ansi``: lines of ``.o@*`` (empty, body, head, apple). ``rgb_array``: (16 size, 16 size, 3)."""
        if not self._body:
            raise gymnasium.error.ResetNeeded("Snake: there is no game yet; call reset() before render()")
        if self.render_mode == "ansi":
            return "\n".join("".join(_GLYPHS[cell] for cell in row) for row in self.board()) + "\n"
        if self.render_mode == "rgb_array":
            pixels = _COLOURS[self.board()]
            frame: NDArray[np.uint8] = pixels.repeat(_CELL_PIXELS, 0).repeat(_CELL_PIXELS, 1)
            return frame
        gymnasium.logger.warn("Snake: render() needs render_mode='ansi' or 'rgb_array' in gymnasium.make")
        return None

    def _cell(self, row: int, column: int) -> int:
        return (row + 1) * self._width + column

    def _place(self, cell: int) -> tuple[int, int]:
        row, column = divmod(cell, self._width)
        return row - 1, column

    def _info(self) -> dict[str, Any]:
        return {"apples": self._apples, "length": len(self._body), "death": self._death}

    def _apple_distance(self, cell: int) -> int:
        """City-block distance from a cell to the apple."""
        assert self._apple is not None
        (row, column), (to_row, to_column) = self._place(cell), self._place(self._apple)
        return abs(row - to_row) + abs(column - to_column)

    def _advance(self, head: int, bit: int, before: int) -> float:
        """Move the head to a free cell; eat or drag the tail along. Returns what that is worth."""
        if head == self._apple:
            self._body.appendleft(head)
            self._taken |= bit
            self._apples += 1
            self._hunger = 0
            self._place_apple()
            return self.rewards["apple"] + self.rewards["closer"]
        self._taken ^= 1 << self._body.pop()
        self._body.appendleft(head)
        self._taken |= bit
        return self.rewards["closer" if self._apple_distance(head) < before else "farther"]

    def _place_apple(self) -> None:
        """Put the apple on a free cell, each equally likely; nowhere when the board is full."""
        free = self._inside & ~self._taken
        count = free.bit_count()
        if not count:
            self._apple = None
            return
        for _ in range(int(self.np_random.integers(count))):
            free &= free - 1  # drops the lowest free cell
        self._apple = (free & -free).bit_length() - 1

    def _observe(self) -> NDArray[np.float32]:
        return self._features() if self.observation == "features" else self._grid()

    def _grid(self) -> NDArray[np.float32]:
        planes = np.zeros((4, self.size, self.size), dtype=np.float32)
        length = len(self._body)
        for i, part in enumerate(self._body):
            planes[(1, *self._place(part))] = (length - i) / length
        planes[(0, *self._place(self._body[0]))] = 1.0
        if self._apple is not None:
            planes[(2, *self._place(self._apple))] = 1.0
        planes[3] = self._hunger / self.starvation
        return np.ascontiguousarray(np.rot90(planes, self._direction, axes=(1, 2)))

    def _features(self) -> NDArray[np.float32]:
        head, tail = self._body[0], 1 << self._body[-1]
        length, area = len(self._body), self.size**2
        free = self._inside & ~self._taken | tail  # the tail leaves its cell as the head moves
        steps = [self._moves[(self._direction + turn) & 3] for turn in TURNS]
        targets = [1 << (head + step) & free for step in steps]
        paths, region = self._paths_from_apple(free, targets)
        nearest = min(filter(None, paths), default=0)
        values: list[float] = []
        for step, target, path in zip(steps, targets, paths):
            if not target:
                values += (0.0,) * 7
                continue
            line, cell = 1, head + step + step
            while free >> cell & 1:
                line += 1
                cell += step
            if not target & region:
                region = self._flood(free, target)
            cells = region.bit_count()
            values += (
                1.0,
                line / self.size,
                cells / area,
                min(1.0, cells / length),
                1.0 if region & tail else 0.0,
                1.0 / path if path else 0.0,
                1.0 if path and path == nearest else 0.0,
            )
        ahead, right = self._apple_offset(head)
        values += (ahead / self.size, right / self.size, length / area, self._hunger / self.starvation)
        return np.array(values, dtype=np.float32)

    def _paths_from_apple(self, free: int, targets: list[int]) -> tuple[list[int], int]:
        """Flood from the apple over free cells: for each target the steps from the head through it
        to the apple (0: no way), and all the cells that the flood reached."""
        paths = [0, 0, 0]
        if self._apple is None:
            return paths, 0
        width, wanted = self._width, targets[0] | targets[1] | targets[2]
        front = 1 << self._apple
        left, steps = free ^ front, 1
        while front:
            if front & wanted:
                for i in range(3):
                    if front & targets[i]:
                        paths[i] = steps
            front = (front << 1 | front >> 1 | front << width | front >> width) & left
            left ^= front
            steps += 1
        return paths, free ^ left

    def _flood(self, free: int, start: int) -> int:
        """The cells of ``free`` that are connected to ``start``."""
        width, front, left = self._width, start, free ^ start
        while front:
            front = (front << 1 | front >> 1 | front << width | front >> width) & left
            left ^= front
        return free ^ left

    def _apple_offset(self, head: int) -> tuple[int, int]:
        """The apple's place seen from the head: cells ahead, cells to the right."""
        if self._apple is None:
            return 0, 0
        (row, column), (to_row, to_column) = self._place(head), self._place(self._apple)
        up, right = row - to_row, to_column - column
        return ((up, right), (right, -up), (-up, -right), (-right, up))[self._direction]


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
