"""What the snakes of many boards see: `Snake`'s observations, for all boards at once, in NumPy or in torch.

    see(rules, sight)        (M, ...) as `Rules.space` says, from what `Sight` holds

The same lines run on NumPy's arrays and on torch's tensors. Features need floods. Each row of a board is one
number whose bits are its cells, so that a step of a flood is eight operations on (size, M) numbers, whatever
the width; all boards flood at the same time. Where nothing may wait for a value (`Sight.near`), a flood takes
as many steps as the longest way on any board has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aigym_kernel.envs import snake_rules as r

Array = Any
"""A NumPy array or a torch tensor."""
SOLID = 2.0**30
"""The age of an obstacle, less than a game's steps."""
_WHOLE = 1e-4
"""More than rounding takes from a number of shades, less than half of what lies between two."""
_AT_ONCE = 15
"""How many bits become a number at once: float32 holds them all, and so does every kind of word."""
_LARGEST = 2**63 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """M boards, turned so that the heads look up; cells are numbered row by row.

    ``xp``: numpy or torch, whose arrays the others are, `snake_rules.LINES` as ``lines`` among them.
    ``near``: whether looking at a value costs no waiting, as it does on a GPU. ``real``: the type of numbers
    with the most digits.

    ``ages`` (M, size * size) float32: of the body's cells, how many steps they stay (the tail 1, the head
    as many as the snake is long), of obstacles far more, else 0 or less. ``heads``, ``apples`` (M,): their
    cells, -1 where there is no apple. ``lengths``, ``hungers`` (M,)."""

    xp: Any = np
    near: bool = True
    real: Any = np.float64
    lines: Array
    ages: Array
    heads: Array
    apples: Array
    lengths: Array
    hungers: Array

    def joined(self, other: Sight) -> Sight:
        """These boards, then the others."""
        names = ("ages", "heads", "apples", "lengths", "hungers")
        both = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return replace(self, **{name: self.xp.concatenate(two) for name, two in both.items()})

    def hunger(self, rules: r.Rules) -> Array:
        """The share of their time that has passed since the last apple (M,)."""
        return self.xp.asarray(self.hungers, dtype=self.real) / rules.starvation


def see(rules: r.Rules, sight: Sight) -> Array:
    """The observations."""
    if rules.observation == "features":
        return _features(rules, sight)
    return _grid(rules, sight) if rules.observation == "grid" else _image(rules, sight)


def _grid(rules: r.Rules, sight: Sight) -> Array:
    xp, (many, cells), device = sight.xp, sight.ages.shape, sight.ages.device
    seen = xp.empty((many, 4, cells), dtype=xp.float32, device=device)
    seen[:, ::2] = 0.0
    share = sight.ages / xp.asarray(sight.lengths, dtype=xp.float32)[:, None]
    xp.clip(share, 0, 1, out=seen[:, 1])  # free cells are below 0, obstacles above 1
    seen[:, 3] = xp.asarray(sight.hunger(rules), dtype=xp.float32)[:, None]
    flat, first = seen.reshape(-1), 4 * cells * xp.arange(many, device=device)
    one = xp.ones(many, dtype=xp.float32, device=device)
    flat[first + sight.heads] = one
    # The plane's last cell, which stays 0, where there is no apple.
    flat[first + 2 * cells + sight.apples % cells] = one * (sight.apples >= 0)
    return seen.reshape(many, 4, rules.size, rules.size)


def _image(rules: r.Rules, sight: Sight) -> Array:
    xp, many, brightest = sight.xp, len(sight.ages), r.SHADES - 1
    # What is added keeps a whole number of shades whole; the next shade is 1 / length away at least.
    shares = sight.ages * xp.asarray(brightest / sight.lengths, dtype=xp.float32)[:, None]
    shades = xp.clip(shares, 0, r.SHADES) + (r.BODY_SHADE + _WHOLE)
    codes = xp.asarray(shades, dtype=xp.uint8) * (sight.ages > 0)
    if rules.obstacles:
        codes[sight.ages > SOLID / 2] = 2
    everyone, left = xp.arange(many, device=codes.device), rules.starvation - sight.hungers
    apples = r.APPLE_SHADE + brightest * left // rules.starvation
    # The last cell stays what it is, where there is no apple.
    apples = xp.where(sight.apples >= 0, apples, codes[everyone, sight.apples])
    codes[everyone, sight.apples] = xp.asarray(apples, dtype=xp.uint8)
    codes[everyone, sight.heads] = xp.ones_like(codes[:, 0])
    return r.image(codes.reshape(many, rules.size, rules.size), xp, sight.lines)


def _features(rules: r.Rules, sight: Sight) -> Array:
    xp, size, many = sight.xp, rules.size, len(sight.ages)
    # A GPU multiplies by 1 / size where size is a plain number, which is another last bit now and then.
    side = xp.full((), size, device=sight.ages.device)
    everyone = xp.arange(many, device=sight.ages.device)
    rows = _packed(sight.ages <= 1, size, xp)  # the tail leaves its cell as the head moves
    row, column = sight.heads // size, sight.heads % size
    aside = xp.asarray(rows.take(row * many + everyone), dtype=xp.int64)
    ahead = _column(rows, column, xp)
    lines = xp.stack([_before(ahead, row), _before(aside, column), _after(aside, column)])
    places = xp.stack([(row - 1).clip(0), row, row]) * many + everyone
    bits = _word(xp.stack([column, column - 1, column + 1]).clip(0, size - 1), rows, xp)
    targets = xp.where(lines > 0, 1 << bits, 0)
    tails = xp.asarray(sight.ages == 1, dtype=xp.int8).argmax(1)
    tail = tails // size * many + everyone, _word(tails % size, rows, xp)
    paths, sizes, ways_back = _explored(sight, rows, places, targets, tail)

    seen = xp.zeros((many, len(r.FEATURE_NAMES)), dtype=xp.float32, device=sight.ages.device)
    near = xp.where(paths > 0, 1.0 / paths.clip(1), 0.0)
    shortest = (near > 0) & (near == xp.amax(near, 0))
    room = (sizes / sight.lengths).clip(max=1.0)
    for i, part in enumerate((1.0, lines / side, sizes / side**2, room, ways_back, near, shortest)):
        seen[:, i:21:7] = (part * (lines > 0)).T
    there = sight.apples >= 0
    seen[:, 21] = there * (row - sight.apples // size) / side
    seen[:, 22] = there * (sight.apples % size - column) / side
    seen[:, 23] = sight.lengths / side**2
    seen[:, 24] = sight.hunger(rules)
    return seen


def _explored(
    sight: Sight, rows: Array, places: Array, targets: Array, tail: tuple[Array, Array]
) -> tuple[Array, Array, Array]:
    """What floods tell of the three targets: the steps from the head through each to the apple (0: no way),
    the cells within reach of each, and whether the tail is (3, M). ``places``, ``targets`` (3, M) and
    ``tail``: words of ``rows``, counted through, and bits in them."""
    xp, (size, many), device = sight.xp, rows.shape, rows.device
    everyone = xp.arange(many, device=device)
    there = xp.where(sight.apples >= 0, 1 << _word(sight.apples % size, rows, xp), 0)
    front = xp.zeros_like(rows)
    front[sight.apples // size, everyone] = there
    paths, region = _flooded(sight, rows, front, places, targets)
    away = (targets & ~region.take(places)) != 0  # which the apple's flood did not reach
    pairs = xp.arange(3 * many, device=device)
    if sight.near:
        pairs = pairs[away.reshape(-1)]
    sizes = xp.stack(3 * [_count(region).sum(0)])
    ways_back = xp.stack(3 * [region.take(tail[0]) >> tail[1] & 1])
    if len(pairs):
        away, boards, each = away.reshape(-1)[pairs], pairs % many, xp.arange(len(pairs), device=device)
        own = rows[:, boards]
        front = xp.zeros_like(own)
        front[places.reshape(-1)[pairs] // many, each] = xp.where(away, targets.reshape(-1)[pairs], 0)
        _, found = _flooded(sight, own, front, places[:0, boards], targets[:0, boards])
        back = found.take(tail[0][boards] // many * len(pairs) + each) >> tail[1][boards] & 1
        for whole, part in ((sizes, _count(found).sum(0)), (ways_back, back)):
            flat = whole.reshape(-1)
            flat[pairs] = xp.where(away, part, flat[pairs])
    return paths, sizes, ways_back


def longest_way(size: int) -> int:
    """More cells than a shortest way on a board has: of no square of four cells more than three, since four
    would hold a shorter one."""
    half, odd = divmod(size, 2)
    return 3 * half**2 + odd * (4 * half + 1)


def _flooded(sight: Sight, rows: Array, front: Array, places: Array, targets: Array) -> tuple[Array, Array]:
    """Flood ``rows`` from the cells in ``front``, which are among them. For each target how many steps
    behind a first one the flood came there (0: it did not), and the cells that it reached."""
    left = rows ^ front
    steps, waiting = sight.xp.ones_like(places), targets & left.take(places)
    for number in range(longest_way(len(rows))):
        if sight.near and number % 4 == 0 and not front.any():  # looking takes as long as a step
            break
        steps += waiting != 0
        front = _grown(front, left)
        left ^= front
        waiting = targets & left.take(places)
    steps *= (waiting == 0) & (targets != 0)
    return steps, rows ^ left


def _grown(front: Array, left: Array) -> Array:
    """The cells of ``left`` beside ``front``."""
    grown = front + front  # to the next bit; torch shifts slowly
    grown |= front >> 1
    lower, upper = grown[1:], grown[:-1]
    lower |= front[:-1]
    upper |= front[1:]
    grown &= left
    return grown


def _packed(free: Array, size: int, xp: Any) -> Array:
    """Boards (M, size * size) as numbers (size, M), one for each row, whose lowest bit is the first cell.
    They have a bit more than a row has cells, so none is negative; 64 cells take all 64."""
    bits = next(bits for bits in (8, 16, 32, 64) if bits > size or bits == 64)
    rows = xp.zeros((size, len(free)), dtype=getattr(xp, f"int{bits}"), device=free.device)
    cells = xp.asarray(free.reshape(-1, size), dtype=xp.float32)
    powers = xp.asarray(1 << xp.arange(_AT_ONCE, device=free.device), dtype=xp.float32)
    for first in range(0, size, _AT_ONCE):  # a product of matrices is the fastest way
        part = cells[:, first : first + _AT_ONCE]
        numbers = _word(part @ powers[: part.shape[1]], rows, xp)
        rows |= numbers.reshape(-1, size).T << first
    return rows


def _word(numbers: Array, rows: Array, xp: Any) -> Array:
    """Numbers of the type that ``rows`` has."""
    return xp.asarray(numbers, dtype=rows.dtype)


def _column(rows: Array, column: Array, xp: Any) -> Array:
    """One column of each board as a number, whose lowest bit is the uppermost cell."""
    bits = rows >> _word(column, rows, xp) & 1
    return (bits << xp.arange(len(rows), dtype=rows.dtype, device=rows.device)[:, None]).sum(0)


def _after(line: Array, place: Array) -> Array:
    """How many bits in a row are 1 above a place."""
    rest = (line >> 1 & _LARGEST) >> place
    return _count(rest & ~(rest + 1))


def _before(line: Array, place: Array) -> Array:
    """How many bits in a row are 1 below a place."""
    barred = ~line & ((1 << place) - 1)
    for shift in (1, 2, 4, 8, 16, 32):
        barred |= barred >> shift
    return place - _count(barred)


def _count(words: Array) -> Array:
    """How many bits of each word are 1."""
    bits = 8 * words.dtype.itemsize
    full = 2**bits - 1
    pairs = words - (words >> 1 & full // 3)
    fours = (pairs & full // 5) + (pairs >> 2 & full // 5)
    eights = fours + (fours >> 4) & full // 17
    return eights * (full // 255) >> bits - 8
