"""Align two sequences, and two texts: what is the same, what was put in, left out, replaced.

    align(["a", "b", "c"], ["a", "x", "c"])       [Block(same=True, ...), Block(same=False, ...), ...]
    words("the old text", "the new text")         the pieces of either text, each same or not

Time grows little faster than length, whatever the input: common ends are cut off, then what occurs once in
both anchors the rest (as `patience diff` does), and only small gaps between anchors go to difflib, which is
quadratic. A large gap without anchors is compared place by place. Knows nothing of trajectories.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

MAX_PRODUCT = 250_000
_DEPTH = 40
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Block:
    """a[a0:a1] against b[b0:b1]: equal item by item, or not."""

    same: bool
    a0: int
    a1: int
    b0: int
    b1: int

    @property
    def rows(self) -> int:
        """How many lines it takes to show both side by side."""
        return max(self.a1 - self.a0, self.b1 - self.b0)


def align(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Block]:
    """The blocks from begin to end, same and different ones in turns."""
    pieces: list[Block] = []
    for block in _blocks(a, b, 0, len(a), 0, len(b), 0):
        last = pieces[-1] if pieces else None
        if last is not None and last.same == block.same:
            pieces[-1] = Block(block.same, last.a0, block.a1, last.b0, block.b1)
        else:
            pieces.append(block)
    return pieces


def _blocks(
    a: Sequence[Hashable], b: Sequence[Hashable], a0: int, a1: int, b0: int, b1: int, depth: int
) -> Iterator[Block]:
    start = a0
    while a0 < a1 and b0 < b1 and a[a0] == b[b0]:
        a0, b0 = a0 + 1, b0 + 1
    if a0 > start:
        yield Block(True, start, a0, b0 - (a0 - start), b0)
    tail = 0
    while a0 < a1 - tail and b0 < b1 - tail and a[a1 - tail - 1] == b[b1 - tail - 1]:
        tail += 1
    a1, b1 = a1 - tail, b1 - tail
    if a0 < a1 and b0 < b1:
        yield from _gap(a, b, a0, a1, b0, b1, depth)
    elif a0 < a1 or b0 < b1:
        yield Block(False, a0, a1, b0, b1)
    if tail:
        yield Block(True, a1, a1 + tail, b1, b1 + tail)


def _gap(
    a: Sequence[Hashable], b: Sequence[Hashable], a0: int, a1: int, b0: int, b1: int, depth: int
) -> Iterator[Block]:
    """A part whose ends differ."""
    if (a1 - a0) * (b1 - b0) <= MAX_PRODUCT:
        matcher = SequenceMatcher(None, a[a0:a1], b[b0:b1], autojunk=False)
        for tag, i0, i1, j0, j1 in matcher.get_opcodes():
            yield Block(tag == "equal", a0 + i0, a0 + i1, b0 + j0, b0 + j1)
        return
    anchors = _anchors(a, b, a0, a1, b0, b1) if depth < _DEPTH else []
    if not anchors:
        yield from _place_by_place(a, b, a0, a1, b0, b1)
        return
    for i, j in [*anchors, (a1, b1)]:
        yield from _blocks(a, b, a0, i, b0, j, depth + 1)
        if i < a1:
            yield Block(True, i, i + 1, j, j + 1)
        a0, b0 = i + 1, j + 1


def _anchors(
    a: Sequence[Hashable], b: Sequence[Hashable], a0: int, a1: int, b0: int, b1: int
) -> list[tuple[int, int]]:
    """The longest rising chain of items that occur once in either part."""
    once = {key for key, n in Counter(a[a0:a1]).items() if n == 1}
    counts = Counter(b[b0:b1])
    place = {b[j]: j for j in range(b0, b1) if counts[b[j]] == 1 and b[j] in once}
    pairs = [(i, place[a[i]]) for i in range(a0, a1) if a[i] in place]
    tops: list[int] = []  # the lowest j that ends a chain of each length
    ends: list[int] = []  # and which pair that is
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        at = bisect.bisect_left(tops, j)
        before.append(ends[at - 1] if at else -1)
        tops[at : at + 1] = [j]
        ends[at : at + 1] = [n]
    chain = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(pairs[at])
        at = before[at]
    return chain[::-1]


def _place_by_place(
    a: Sequence[Hashable], b: Sequence[Hashable], a0: int, a1: int, b0: int, b1: int
) -> Iterator[Block]:
    for n in range(min(a1 - a0, b1 - b0)):
        i, j = a0 + n, b0 + n
        yield Block(a[i] == b[j], i, i + 1, j, j + 1)
    both = min(a1 - a0, b1 - b0)
    if a1 - a0 != b1 - b0:
        yield Block(False, a0 + both, a1, b0 + both, b1)


# Texts

Pieces = list[tuple[bool, str]]
"""A text cut up: whether the other text has the piece too, and the piece."""


def words(a: str, b: str) -> tuple[Pieces, Pieces]:
    """Both texts as pieces, by words where that is not too much work, else by what lies between their
    common ends."""
    head = common(a, b)
    tail = common(a[head:][::-1], b[head:][::-1])
    # Ends go back to the border of a word, so that no word is cut in two.
    while head and _inside(a, head) | _inside(b, head):
        head -= 1
    while tail and _inside(a, len(a) - tail) | _inside(b, len(b) - tail):
        tail -= 1
    left = _WORDS.findall(a[head : len(a) - tail])
    right = _WORDS.findall(b[head : len(b) - tail])
    ends = [(True, a[:head])], [(True, a[len(a) - tail :] if tail else "")]
    if len(left) * len(right) > MAX_PRODUCT:
        middle = [(False, "".join(left))], [(False, "".join(right))]
    else:
        opcodes = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
        middle = (
            [(tag == "equal", "".join(left[i0:i1])) for tag, i0, i1, _, _ in opcodes],
            [(tag == "equal", "".join(right[j0:j1])) for tag, _, _, j0, j1 in opcodes],
        )
    one, other = ([piece for piece in [*ends[0], *m, *ends[1]] if piece[1]] for m in middle)
    return one, other


def common(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def _inside(text: str, at: int) -> bool:
    """Whether a place lies within a word."""
    return 0 < at < len(text) and text[at - 1 : at + 1].replace("_", "a").isalnum()
