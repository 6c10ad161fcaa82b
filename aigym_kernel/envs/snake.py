"""Snake as a gymnasium environment: a board, a growing body, an apple at a time.

    env = gymnasium.make("aigym/Snake-v0", size=10)         # or Snake(size=10)
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(0)
    env.unwrapped.board()                                   # (size, size) codes: 0 empty, 1 body, 2 head ...

The snake starts with three cells in the middle row, facing right. Everything random (where apples and
obstacles appear) comes from ``reset(seed=)``, so a seed and the actions replay a game exactly. Cells,
floods and collisions are bits of Python integers: a step with features takes 10 to 15 microseconds and
needs no compiled code. One board per environment; `envs.snake_vector` steps thousands at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from aigym_kernel.envs import snake_rules as r
from aigym_kernel.errors import AigymError, UnknownName

RENDER_MODES = ("ansi", "rgb_array")
_GLYPHS = ".o@*#"
_CELL_PIXELS = 16


class Snake(gymnasium.Env[NDArray[Any], int]):
    """The game of Snake on a square board with walls.

    Actions, ``Discrete(3)``, relative to where the head looks: 0 straight on, 1 left, 2 right. So
    there is no illegal reversal, and a policy need not learn each situation four times. For the same
    reason both observations are turned so that the head looks up.

    Observations:

    ``features`` (25,) float32, all in [-1, 1]. For each of the moves straight, left, right in turn:
    may the head go there (0 or 1); free cells in a line / size; cells reachable from there / board;
    are there as many reachable cells as the body has (1, else the ratio); is the tail reachable
    (where it is, there is a way to go on); the apple's nearness along the shortest free path
    (1 / (1 + steps), 0 when there is no path); is this move on a shortest path (0 or 1). Then the
    apple's offset ahead and to the right / size, the length / board, and the hunger.

    ``grid`` (4, size, size) float32, all in [0, 1]: the head; the body, each cell with the share of its
    life that is left (the tail is about to go), obstacles with 1; the apple; the hunger, everywhere the same.

    ``image`` (4 size, 4 size, 3) uint8: the board in colours, 4 pixels to a cell; the body grows darker
    towards the tail, the apple with the hunger.

    Rewards: by event, summed when several happen in one step: ``apple`` 1, ``step`` 0 (every step),
    ``closer`` and ``farther`` 0 (steps towards or away from the apple, by city-block distance), ``death``
    -1, which ``wall``, ``self`` and ``starvation`` replace for one cause, ``full`` 0 (the game is won). A
    mapping replaces some of them. Or a formula (`envs.formula`) over the same names, 1 where the event
    happened and 0 where not, and over how the game stands after the step: ``length``, ``apples``, ``hunger``
    (steps since the last apple), ``distance`` (to the apple, 0 on a full board) and ``size``:
    ``rewards="10*apple - 0.01*step - 5*(wall or self) + 0.1*closer"``.

    Ends: at a wall or an obstacle, in its own body, by starvation (``starvation`` steps without an apple,
    default twice the number of cells), or with a full board (won). All of them are ``terminated``,
    starvation too: the hunger is part of every observation, so the end follows from the state that the
    agent sees and there is no future value to bootstrap. Nothing here truncates.

    A curriculum: ``size`` (3 to 64), ``obstacles`` (how many, up to a quarter of the board; drawn anew in
    each game, from its seed, and none cuts a free cell off from the head) and ``length`` (of the snake at
    the start, 2 to ``size``). Each stage is an environment of its own, so that a recorded game is played
    again from its arguments and seed; ``features`` have the same space in every stage, the others in
    stages of one size.

    ``info``: ``apples``, ``length``, ``death`` (None, ``wall``, ``self`` or ``starvation``) and, in the
    last step only, ``outcome`` (the death, or ``full``).

    Raises:
        AigymError: an argument or action that cannot be; a formula that is none, or gives no finite number.
        UnknownName: an observation, render mode, reward event or name in a formula that does not exist.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        size: int = 10,
        observation: str = "features",
        rewards: Mapping[str, float] | str | None = None,
        starvation: int | None = None,
        render_mode: str | None = None,
        obstacles: int = 0,
        length: int = 3,
    ) -> None:
        self.rules = r.snake_rules(size, observation, rewards, starvation, obstacles, length)
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UnknownName("render mode of Snake", render_mode, RENDER_MODES)
        self.size = self.rules.size
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(3)  # type: ignore[assignment]
        self.observation_space = self.rules.space
        looks: dict[str, Callable[[], NDArray[Any]]]
        looks = {"features": self._features, "grid": self._grid, "image": self._image}
        self._look = looks[observation]

        # Cell (row, column) is bit (row + 1) * width + column of every mask. The column and the two
        # rows that are never inside are the wall, so that a step off the board lands in it.
        self._width = self.size + 1
        self._board = sum(1 << self._cell(row, c) for row in range(self.size) for c in range(self.size))
        self._inside = self._board  # less the obstacles
        self._moves = (-self._width, 1, self._width, -1)
        self._body: deque[int] = deque()  # the head first
        self._taken = 0
        self._apple: int | None = None
        self._direction = r.RIGHT
        self._hunger = 0
        self._apples = 0
        self._last, self._end = r.DIED, r.NO_END
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """A new game.

        Raises:
            AigymError: ``options`` holds anything: a game follows from the arguments and the seed alone.
        """
        super().reset(seed=seed, options=options)
        if options:
            raise AigymError(
                f"Snake: reset(options={options!r}): a game cannot be changed here, or its record would not "
                "say so; make another environment, such as make('aigym/Snake-v0', size=6)"
            )
        row, column = self.rules.start
        self._body = deque(self._cell(row, column - i) for i in range(self.rules.length))
        self._taken = sum(1 << cell for cell in self._body)
        self._inside = self._board
        if self.rules.obstacles:
            for cell in r.draw_obstacles(self.rules, self.np_random).tolist():
                self._inside ^= 1 << self._cell(*divmod(cell, self.size))
        self._direction = r.RIGHT
        self._hunger = self._apples = 0
        self._end = r.NO_END
        self._playing = True
        self._place_apple()
        return self._look(), self._info()

    def step(self, action: int) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One move. The tail leaves its cell first, so the head may enter where the tail was."""
        if not self._playing:
            why = "the game is over" if self._body else "there is no game yet"
            raise gymnasium.error.ResetNeeded(f"Snake: {why}; call reset() before step()")
        turn = int(action)
        if turn not in (0, 1, 2):
            raise AigymError(f"Snake: action={action!r} is none of 0 (straight on), 1 (left), 2 (right)")
        self._direction = (self._direction + r.TURNS[turn]) & 3
        head = self._body[0] + self._moves[self._direction]
        self._hunger += 1
        bit = 1 << head
        move = r.DIED
        if not bit & self._inside:
            self._end = r.WALL
        elif bit & self._taken and head != self._body[-1]:
            self._end = r.SELF
        else:
            move = self._advance(head, bit)
            if self._apple is None:
                self._end = r.FULL
            elif self._hunger >= self.rules.starvation:
                self._end = r.STARVATION
        self._last = move
        info = self._info()
        if self._end:
            self._playing = False
            info["outcome"] = r.ENDS[self._end]
        return self._look(), self._reward(), not self._playing, False, info

    def board(self) -> NDArray[np.int8]:
        """The board as it is: (size, size) int8, row 0 on top: 0 empty, 1 body, 2 head, 3 apple,
        4 obstacle."""
        cells = np.zeros((self.size, self.size), dtype=np.int8)
        for part in self._body:
            cells[self._place(part)] = 1
        if self._body:
            cells[self._place(self._body[0])] = 2
        if self._apple is not None:
            cells[self._place(self._apple)] = 3
        if self._inside != self._board:
            cells[self._obstacles()] = 4
        return cells

    def happened(self) -> dict[str, float]:
        """What a formula for the rewards sees of the last step: `EVENTS`, `QUANTITIES` of `snake_rules`."""
        return {
            **r.events(self._last, self._end),
            "length": float(len(self._body)),
            "apples": float(self._apples),
            "hunger": float(self._hunger),
            "distance": float(self._apple_distance(self._body[0])),
            "size": float(self.size),
        }

    def render(self) -> str | NDArray[np.uint8] | None:
        """``ansi``: lines of ``.o@*#`` (empty, body, head, apple, obstacle). ``rgb_array``: a picture
        (16 size, 16 size, 3)."""
        if not self._body:
            raise gymnasium.error.ResetNeeded("Snake: there is no game yet; call reset() before render()")
        if self.render_mode == "ansi":
            return "\n".join("".join(_GLYPHS[cell] for cell in row) for row in self.board()) + "\n"
        if self.render_mode == "rgb_array":
            pixels = r.COLOURS[self.board()]
            frame: NDArray[np.uint8] = pixels.repeat(_CELL_PIXELS, 0).repeat(_CELL_PIXELS, 1)
            return frame
        gymnasium.logger.warn("Snake: render() needs render_mode='ansi' or 'rgb_array' in gymnasium.make")
        return None

    def _cell(self, row: int, column: int) -> int:
        return (row + 1) * self._width + column

    def _place(self, cell: int) -> tuple[int, int]:
        row, column = divmod(cell, self._width)
        return row - 1, column

    def _obstacles(self) -> NDArray[np.bool_]:
        """Where the obstacles are: (size, size)."""
        bits = self._board ^ self._inside
        places = [bits >> self._cell(row, c) & 1 for row in range(self.size) for c in range(self.size)]
        return np.array(places, dtype=np.bool_).reshape(self.size, self.size)

    def _info(self) -> dict[str, Any]:
        death = r.ENDS[self._end] if self._end != r.FULL else None
        return {"apples": self._apples, "length": len(self._body), "death": death}

    def _apple_distance(self, cell: int) -> int:
        """City-block distance from a cell to the apple; 0 when there is none."""
        if self._apple is None:
            return 0
        (row, column), (to_row, to_column) = self._place(cell), self._place(self._apple)
        return abs(row - to_row) + abs(column - to_column)

    def _advance(self, head: int, bit: int) -> int:
        """Move the head to a free cell; eat or drag the tail along. Returns which kind of move it was."""
        if head == self._apple:
            self._body.appendleft(head)
            self._taken |= bit
            self._apples += 1
            self._hunger = 0
            self._place_apple()
            return r.ATE
        before = self._apple_distance(self._body[0])
        self._taken ^= 1 << self._body.pop()
        self._body.appendleft(head)
        self._taken |= bit
        return r.MOVED_CLOSER if self._apple_distance(head) < before else r.MOVED_FARTHER

    def _reward(self) -> float:
        if self.rules.formula is None:
            return self.rules.worth[self._last][self._end]
        return r.finite(self.rules.formula, self.happened())

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

    def _grid(self) -> NDArray[np.float32]:
        planes = np.zeros((4, self.size, self.size), dtype=np.float32)
        length = len(self._body)
        for i, part in enumerate(self._body):
            planes[(1, *self._place(part))] = (length - i) / length
        planes[(0, *self._place(self._body[0]))] = 1.0
        if self._apple is not None:
            planes[(2, *self._place(self._apple))] = 1.0
        planes[3] = self._hunger / self.rules.starvation
        if self._inside != self._board:
            planes[1, self._obstacles()] = 1.0
        return r.turned(planes, self._direction)

    def _image(self) -> NDArray[np.uint8]:
        codes = np.zeros((self.size, self.size), dtype=np.uint8)
        length, brightest = len(self._body), r.SHADES - 1
        for i, part in enumerate(self._body):
            codes[self._place(part)] = r.BODY_SHADE + brightest * (length - i) // length
        codes[self._place(self._body[0])] = 1
        if self._apple is not None:
            left = self.rules.starvation - self._hunger
            codes[self._place(self._apple)] = r.APPLE_SHADE + brightest * left // self.rules.starvation
        if self._inside != self._board:
            codes[self._obstacles()] = 2
        seen: NDArray[np.uint8] = r.image(r.turned(codes, self._direction))
        return seen

    def _features(self) -> NDArray[np.float32]:
        head, tail = self._body[0], 1 << self._body[-1]
        length, area = len(self._body), self.size**2
        free = self._inside & ~self._taken | tail  # the tail leaves its cell as the head moves
        steps = [self._moves[(self._direction + turn) & 3] for turn in r.TURNS]
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
                region = r.flood(free, target, self._width)
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
        values += (ahead / self.size, right / self.size, length / area, self._hunger / self.rules.starvation)
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

    def _apple_offset(self, head: int) -> tuple[int, int]:
        """The apple's place seen from the head: cells ahead, cells to the right."""
        if self._apple is None:
            return 0, 0
        (row, column), (to_row, to_column) = self._place(head), self._place(self._apple)
        up, right = row - to_row, to_column - column
        return ((up, right), (right, -up), (-up, -right), (-right, up))[self._direction]
