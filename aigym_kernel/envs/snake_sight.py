"""What the snakes of many boards see: `Snake`'s observations, for all boards at once.

    see(rules, sight)        (M, ...) as `Rules.space` says, from what `Sight` holds

Features need floods. Each row of a board is one number whose bits are its cells, so that a step of a flood is
eight operations on (size, M) numbers, whatever the width; all boards flood at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.envs import snake_rules as r

Words = NDArray[np.unsignedinteger[Any]]
Whole = NDArray[np.int64]
SOLID = np.float32(2.0**30)
"""The age of an obstacle, less than a game's steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """M boards, turned so that the heads look up; cells are numbered row by row.

    ``ages`` (M, size * size) float32: of the body's cells, how many steps they stay (the tail 1, the head
    as many as the snake is long), of obstacles far more, else 0 or less. ``heads``, ``apples`` (M,): their
    cells, -1 where there is no apple. ``lengths``, ``hungers`` (M,)."""

    ages: NDArray[np.float32]
    heads: Whole
    apples: Whole
    lengths: Whole
    hungers: Whole


def see(rules: r.Rules, sight: Sight) -> NDArray[Any]:
    """The observations."""
    if rules.observation == "features":
        return _features(rules, sight)
    return _grid(rules, sight) if rules.observation == "grid" else _image(rules, sight)


def _grid(rules: r.Rules, sight: Sight) -> NDArray[np.float32]:
    many, cells = sight.ages.shape
    seen = np.empty((many, 4, cells), np.float32)
    seen[:, ::2] = 0.0
    share = np.maximum(sight.ages, 0.0)
    share /= sight.lengths.astype(np.float32)[:, None]
    if rules.obstacles:
        np.minimum(share, 1.0, out=share)
    seen[:, 1] = share
    everyone = np.arange(many)
    seen[everyone, 0, sight.heads] = 1.0
    seen[everyone, 2, sight.apples] = sight.apples >= 0  # the last cell, where there is no apple: stays 0
    seen[:, 3] = (sight.hungers / rules.starvation).astype(np.float32)[:, None]
    return seen.reshape(many, 4, rules.size, rules.size)


def _image(rules: r.Rules, sight: Sight) -> NDArray[np.uint8]:
    many, brightest = len(sight.ages), r.SHADES - 1
    ages = sight.ages.astype(np.int64)
    codes = np.where(ages > 0, r.BODY_SHADE + brightest * ages // sight.lengths[:, None], 0)
    codes[ages > SOLID / 2] = 2
    everyone, left = np.arange(many), rules.starvation - sight.hungers
    codes[everyone, sight.heads] = 1
    eatable = np.flatnonzero(sight.apples >= 0)
    shades = r.APPLE_SHADE + brightest * left // rules.starvation
    codes[eatable, sight.apples[eatable]] = shades[eatable]
    return r.image(codes.reshape(many, rules.size, rules.size))


def _features(rules: r.Rules, sight: Sight) -> NDArray[np.float32]:
    size, many = rules.size, len(sight.ages)
    everyone = np.arange(many)
    rows = _packed(sight.ages <= 1, size)  # the tail leaves its cell as the head moves
    head_row, head_column = np.divmod(sight.heads, size)
    aside = rows.ravel().take(head_row * many + everyone)
    ahead = _column(rows, head_column)
    lines = (_before(ahead, head_row), _before(aside, head_column), _after(aside, head_column))
    one = rows.dtype.type(1)
    target_rows = (np.maximum(head_row - 1, 0), head_row, head_row)
    target_columns = (head_column, head_column - 1, head_column + 1)
    targets = [
        np.where(line > 0, one << np.maximum(column, 0).astype(rows.dtype), 0).astype(rows.dtype)
        for line, column in zip(lines, target_columns)
    ]
    places = [row * many + everyone for row in target_rows]
    paths, region = _from_apple(rows, sight.apples, places, targets)
    tails = (sight.ages == 1).argmax(axis=1)
    tail_row, tail_column = np.divmod(tails, size)
    tail_place, tail_bit = tail_row * many + everyone, tail_column.astype(rows.dtype)
    sizes = np.bitwise_count(region).sum(axis=0, dtype=np.int64)
    nearest = np.where(paths > 0, paths, np.iinfo(np.int64).max).min(axis=0)
    seen = np.zeros((many, len(r.FEATURE_NAMES)), np.float32)
    for i, (line, place, target, path) in enumerate(zip(lines, places, targets, paths)):
        away = np.flatnonzero((target & ~region.take(place)) != 0)
        if len(away):
            found = _flood(rows[:, away], target_rows[i][away], target[away])
            region[:, away] = found
            sizes[away] = np.bitwise_count(found).sum(axis=0, dtype=np.int64)
        may = line > 0
        moves = seen[:, 7 * i : 7 * i + 7]
        moves[:, 0] = may
        moves[:, 1] = line / size
        moves[:, 2] = sizes / size**2
        moves[:, 3] = np.minimum(1.0, sizes / sight.lengths)
        moves[:, 4] = region.take(tail_place) >> tail_bit & one
        moves[:, 5] = np.where(path > 0, 1.0 / np.maximum(path, 1), 0.0)
        moves[:, 6] = (path > 0) & (path == nearest)
        moves[~may] = 0.0
    apple_row, apple_column = np.divmod(sight.apples, size)
    there = sight.apples >= 0
    seen[:, 21] = there * (head_row - apple_row) / size
    seen[:, 22] = there * (apple_column - head_column) / size
    seen[:, 23] = sight.lengths / size**2
    seen[:, 24] = sight.hungers / rules.starvation
    return seen


def _packed(free: NDArray[np.bool_], size: int) -> Words:
    """Boards (M, size * size) as numbers (size, M), one for each row, whose lowest bit is the first cell."""
    bits = next(bits for bits in (8, 16, 32, 64) if bits >= size)
    dtype = np.dtype(f"<u{bits // 8}")
    if size <= 24:  # as many bits as float32 holds: a product of matrices is the fastest way there
        numbers = free.reshape(-1, size).astype(np.float32) @ (2.0 ** np.arange(size)).astype(np.float32)
        return np.ascontiguousarray(numbers.astype(dtype).reshape(-1, size).T)
    packed = np.packbits(free.reshape(-1, size, size), axis=-1, bitorder="little")
    words = np.zeros((*packed.shape[:-1], bits // 8), np.uint8)
    words[..., : packed.shape[-1]] = packed
    return np.ascontiguousarray(words.view(dtype)[..., 0].T)


def _column(rows: Words, column: Whole) -> NDArray[np.uint64]:
    """One column of each board as a number, whose lowest bit is the uppermost cell."""
    bits = rows >> column.astype(rows.dtype) & rows.dtype.type(1)
    places = np.arange(len(rows), dtype=rows.dtype)[:, None]
    numbers: NDArray[np.uint64] = np.bitwise_or.reduce(bits << places, axis=0).astype(np.uint64)
    return numbers


def _after(line: Words, place: Whole) -> Any:
    """How many bits in a row are 1 above a place."""
    rest = line.astype(np.uint64) >> np.uint64(1) >> place.astype(np.uint64)
    return np.bitwise_count(rest & ~(rest + np.uint64(1))).astype(np.int64)


def _before(line: Words, place: Whole) -> Any:
    """How many bits in a row are 1 below a place."""
    barred = ~line.astype(np.uint64) & ((np.uint64(1) << place.astype(np.uint64)) - np.uint64(1))
    for shift in (1, 2, 4, 8, 16, 32):
        barred |= barred >> np.uint64(shift)
    return place - np.bitwise_count(barred)


def _grown(front: Words, left: Words) -> Any:
    """The cells of ``left`` beside ``front``."""
    grown = front << 1
    grown |= front >> 1
    grown[1:] |= front[:-1]
    grown[:-1] |= front[1:]
    grown &= left
    return grown


def _flood(rows: Words, start: Whole, bit: Words) -> Words:
    """The cells that are connected with one cell of each board."""
    front = np.zeros_like(rows)
    front[start, np.arange(rows.shape[1])] = bit
    left = rows & ~front
    while front.any():
        front = _grown(front, left)
        left ^= front
    return rows ^ left


def _from_apple(rows: Words, apples: Whole, places: list[Whole], targets: list[Words]) -> tuple[Whole, Words]:
    """Flood from the apples. For each of the three targets the steps from the head through it to the apple
    (0: no way) (3, M), and the cells that the flood reached."""
    size, many = rows.shape
    front = np.zeros_like(rows)
    boards = np.flatnonzero(apples >= 0)
    row, column = np.divmod(apples[boards], size)
    front[row, boards] = rows.dtype.type(1) << column.astype(rows.dtype)
    left = rows ^ front
    paths = np.ones((3, many), np.int64)
    waiting = [target & left.take(place) for place, target in zip(places, targets)]
    while front.any():
        for path, wait in zip(paths, waiting):
            path += wait != 0
        front = _grown(front, left)
        left ^= front
        waiting = [wait & left.take(place) for place, wait in zip(places, waiting)]
    for path, wait, target in zip(paths, waiting, targets):
        path[(wait != 0) | (target == 0)] = 0
    paths[:, apples < 0] = 0
    return paths, rows ^ left
