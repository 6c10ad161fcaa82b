"""What every Snake obeys: arguments, rewards, obstacles, how an image looks. Used by the single environment
and by those that step many boards, so that there is one definition of each.

    rules = snake_rules(size=8, rewards="10*apple - 0.01*step - 5*(wall or self)")
    rules.worth[MOVED_CLOSER][NO_END]        what a step towards the apple gives

A step has one move and one end. So rewards by event are a table of their few combinations; only a formula
over quantities (``length``, ``hunger`` ...) is evaluated at every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from aigym_kernel.envs.formula import Formula, parse
from aigym_kernel.errors import AigymError, UnknownName, check_whole

OBSERVATIONS = ("features", "grid", "image")
REWARDS: Mapping[str, float] = {"apple": 1.0, "step": 0.0, "closer": 0.0, "farther": 0.0, "death": -1.0}
ENDS = (None, "wall", "self", "starvation", "full")
"""How a step may leave the game; the last is a full board, which is won."""
CAUSES = ("wall", "self", "starvation")
EVENTS = ("apple", "step", "closer", "farther", "death", *CAUSES, "full")
QUANTITIES = ("length", "apples", "hunger", "distance", "size")
NO_END, WALL, SELF, STARVATION, FULL = range(5)
DIED, ATE, MOVED_CLOSER, MOVED_FARTHER = range(4)
"""What a move may be: into death, onto the apple, towards it, away from it."""
_POSSIBLE = (
    *((DIED, end) for end in (WALL, SELF)),
    *((ATE, end) for end in (NO_END, FULL)),
    *((move, end) for move in (MOVED_CLOSER, MOVED_FARTHER) for end in (NO_END, STARVATION)),
)

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
TURNS = (0, -1, 1)
"""What action 0, 1, 2 adds to the direction: straight on, a turn to the left, a turn to the right."""
UP, RIGHT, DOWN, LEFT = range(4)

COLOURS = np.array(
    [[24, 26, 30], [72, 160, 96], [150, 220, 130], [214, 76, 76], [120, 124, 134]], dtype=np.uint8
)
"""Of the codes in ``board()``: empty, body, head, apple, obstacle."""
IMAGE_PIXELS = 4
"""The side of a cell in the observation ``image``."""
SHADES = 8
BODY_SHADE, APPLE_SHADE = 3, 3 + SHADES


def _palette() -> NDArray[np.uint8]:
    """Empty, head, obstacle, then eight shades of body (the tail is the darkest) and of apple (the hungrier
    the darker)."""
    body, apple = (
        [[part * (5 + shade) // (4 + SHADES) for part in COLOURS[code].tolist()] for shade in range(SHADES)]
        for code in (1, 3)
    )
    return np.array([*COLOURS[[0, 2, 4]].tolist(), *body, *apple], dtype=np.uint8)


PALETTE = _palette()
LINES = np.tile(PALETTE, IMAGE_PIXELS).view(np.int32)
"""Each colour as a line of four pixels, which is three numbers of four bytes."""


def _pairs() -> NDArray[Any]:
    """The lines of two cells side by side, at the place that their two bytes make."""
    codes = np.stack([*np.indices((len(PALETTE),) * 2, dtype=np.uint8)], axis=-1)
    table = np.zeros(2**16, "V24")
    table[codes.view(np.uint16)] = LINES[codes].reshape(*codes.shape[:2], 6).view("V24")
    return table


PAIRS = _pairs()


@dataclass(frozen=True, kw_only=True, eq=False)
class Rules:
    """One game of Snake, all but its state. ``text``: its rewards as a formula. ``worth[move][end]``: the
    reward of each combination, where ``formula`` is None; else the formula is evaluated at each step."""

    text: str
    size: int
    observation: str
    starvation: int
    obstacles: int
    length: int
    worth: tuple[tuple[float, ...], ...]
    formula: Formula | None

    @property
    def start(self) -> tuple[int, int]:
        """Row and column of the head at the start; the body lies to its left."""
        return self.size // 2, max(self.size // 2, self.length - 1)

    @property
    def space(self) -> spaces.Box:
        """The space of the observations."""
        if self.observation == "image":
            side = IMAGE_PIXELS * self.size
            return spaces.Box(0, 255, (side, side, 3), np.uint8)
        if self.observation == "grid":
            return spaces.Box(0.0, 1.0, (4, self.size, self.size), np.float32)
        return spaces.Box(-1.0, 1.0, (len(FEATURE_NAMES),), np.float32)


def snake_rules(
    size: int = 10,
    observation: str = "features",
    rewards: Mapping[str, float] | str | None = None,
    starvation: int | None = None,
    obstacles: int = 0,
    length: int = 3,
) -> Rules:
    """Check the arguments of Snake; see there what they mean, and what is raised."""
    check_whole("Snake: size", size, 3, 64)
    if observation not in OBSERVATIONS:
        raise UnknownName("observation of Snake", observation, OBSERVATIONS)
    if starvation is not None:
        check_whole("Snake: starvation", starvation, 1)
    check_whole("Snake: obstacles", obstacles, 0, size**2 // 4)
    check_whole("Snake: length", length, 2, size)
    formula = parse(
        rewards if isinstance(rewards, str) else _as_formula(rewards),
        (*EVENTS, *QUANTITIES),
        "rewards of Snake",
    )
    worth = [[0.0] * len(ENDS) for _ in range(4)]
    by_event = not formula.names & set(QUANTITIES)
    if by_event:
        for move, end in _POSSIBLE:
            worth[move][end] = finite(formula, events(move, end))
    return Rules(
        text=formula.text,
        size=int(size),
        observation=observation,
        starvation=int(starvation or 2 * size**2),
        obstacles=int(obstacles),
        length=int(length),
        worth=tuple(map(tuple, worth)),
        formula=None if by_event else formula,
    )


def _as_formula(rewards: Mapping[str, float] | None) -> str:
    """Rewards by event as the formula that they stand for."""
    if not isinstance(rewards, Mapping | None):
        raise AigymError(
            f"Snake: rewards={rewards!r} must be a mapping such as {{'apple': 1, 'death': -1}}, "
            "or a formula such as '10*apple - 0.01*step - 5*(wall or self)'"
        )
    for event, value in (rewards or {}).items():
        if event not in EVENTS:
            raise UnknownName("reward event of Snake", event, EVENTS)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= 1e9:
            raise AigymError(f"Snake: rewards[{event!r}]={value!r} must be a finite number")
    given = {**REWARDS, **(rewards or {})}
    worth = {**dict.fromkeys(CAUSES, given["death"]), "full": 0.0, **given}
    groups = (("step",), ("apple", "closer", "farther"), (*CAUSES, "full"))
    sums = (" + ".join(f"{float(worth[event])!r}*{event}" for event in group) for group in groups)
    return " + ".join(f"({added})" for added in sums)


def events(move: int, end: int) -> dict[str, float]:
    """Which events a step has, 1 or 0 each."""
    return {
        "step": 1.0,
        "apple": float(move == ATE),
        "closer": float(move in (ATE, MOVED_CLOSER)),
        "farther": float(move == MOVED_FARTHER),
        "death": float(end in (WALL, SELF, STARVATION)),
        **{name: float(end == code) for code, name in enumerate(ENDS) if name},
    }


def finite(formula: Formula, values: Mapping[str, float]) -> float:
    """The formula's value.

    Raises:
        AigymError: it is not a finite number.
    """
    reward = float(formula(values))
    if not math.isfinite(reward):
        raise AigymError(not_finite(formula, values))
    return reward


def not_finite(formula: Formula, values: Mapping[str, float]) -> str:
    """What to say of a formula that gave no number."""
    shown = ", ".join(f"{name}={values[name]:g}" for name in sorted(formula.names))
    return (
        f"rewards of Snake: {formula.text!r} divides by zero or grows without bounds at {shown}; "
        "guard it, for example 'apple / hunger if hunger else 0'"
    )


def draw_obstacles(rules: Rules, rng: np.random.Generator) -> NDArray[np.int64]:
    """Where the obstacles of a game stand: cells (row * size + column), drawn one after the other among
    those that leave every free cell within reach of the head, its own body in the way or not."""
    size, width = rules.size, rules.size + 1
    row, column = rules.start
    head = 1 << (row + 1) * width + column
    body = sum(head >> i for i in range(1, rules.length))
    inside = sum(((1 << size) - 1) << (r + 1) * width for r in range(size))
    free = inside & ~body & ~head
    chosen: list[int] = []
    candidates = [cell for cell in range(size**2) if free >> _bit(cell, size) & 1]
    while len(chosen) < rules.obstacles:
        rejected = []
        for cell in rng.permutation(candidates).tolist():
            without = free & ~(1 << _bit(cell, size))
            if len(chosen) < rules.obstacles and without and flood(without, head, width) == without:
                free = without
                chosen.append(cell)
            else:
                rejected.append(cell)
        candidates = rejected  # a cell that cut the board in two may be an end of it by now
    return np.array(chosen, dtype=np.int64)


def _bit(cell: int, size: int) -> int:
    row, column = divmod(cell, size)
    return (row + 1) * (size + 1) + column


def flood(free: int, start: int, width: int) -> int:
    """The cells of ``free`` that ``start`` is connected to, as bits, ``width`` to a row. Start is one of them
    only if it is free."""
    front, left = start, free & ~start
    while front:
        front = (front << 1 | front >> 1 | front << width | front >> width) & left
        left ^= front
    return free ^ left


def turned(values: NDArray[Any], direction: int) -> NDArray[Any]:
    """Planes (..., size, size) turned so that the head looks up."""
    return np.ascontiguousarray(np.rot90(values, direction, axes=(-2, -1)))


def image(codes: Any, xp: Any = np, lines: Any = LINES) -> Any:
    """Places in `PALETTE` (..., size, size) as pixels (..., 4 size, 4 size, 3). ``xp``: numpy or torch, whose
    arrays the places and ``lines``, which are `LINES`, are."""
    *many, size, _ = codes.shape
    side = IMAGE_PIXELS * size
    # Of each cell a line of pixels at once, then each row of cells as often as it is high.
    if xp is np:  # which is fastest with few large things: two cells' lines as one
        codes, table = (codes, lines.view("V12")) if size % 2 else (codes.view(np.uint16), PAIRS)
        pixels = table.ravel().take(codes).view(np.uint8).reshape(*many, size, 3 * side)
        pixels = pixels.repeat(IMAGE_PIXELS, axis=-2)
    else:
        rows = lines[codes.to(xp.int64)].reshape(*many, size, 1, 3 * size)
        rows = xp.broadcast_to(rows, (*many, size, IMAGE_PIXELS, 3 * size))
        pixels = rows.reshape(*many, side, 3 * size).view(xp.uint8)
    return pixels.reshape(*many, side, side, 3)
