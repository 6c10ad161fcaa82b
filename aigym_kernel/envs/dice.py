"""Dice for many boards: a random stream for every episode, each the one that its seed gives alone.

    dice = Dice(4096, seed=0, first=97)
    seeds, numbers = dice.begin_next(who)      the next episode of each board in ``who``: its seed, and the
                                               first number that its stream gives, from 0 to 96
    numbers = dice.integers(who, counts)       what ``np_random.integers(count)`` gives in that episode

The seed of episode i of board k is the one that `Seeds` in `envs.episodes` draws from
``default_rng([seed, k])``. Streams are begun, and their first numbers drawn, for many episodes in advance,
all at once (`envs.streams`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.envs import streams
from aigym_kernel.envs.episodes import Seeds
from aigym_kernel.errors import check_whole

Whole = NDArray[np.int64]
AHEAD = 16
"""How many episodes of a board are begun in advance."""


class Words:
    """A random stream each for ``n`` users, who draw from it when they need to. ``rows`` (n, 6): the stream's
    four numbers, the word that it keeps, and whether it keeps one; side by side, so that a user is found at
    once."""

    def __init__(self, n: int) -> None:
        self.rows = np.zeros((n, 6), np.int64)

    def begin(self, who: Whole, started: streams.Streams) -> None:
        """New streams for some users."""
        self.rows[who, :4] = np.stack(started, axis=1)
        self.rows[who, 5] = 0

    def draw(self, who: Whole) -> Whole:
        """The next word of 32 bits of each user in ``who``, no user twice."""
        words: Whole
        words, keeps = self.rows[who, 4:].T
        empty = keeps == 0
        those = who[empty]
        if len(those):
            after, (words[empty], self.rows[those, 4]) = streams.advance(tuple(self.rows[those, :4].T))
            self.rows[those, :2] = np.stack(after[:2], axis=1)
        self.rows[who, 5] = empty
        return words

    def integers(self, who: Whole, counts: Whole) -> Whole:
        """A number from 0 to ``count - 1`` for each user; counts from 1 on. As NumPy does, one whose count is
        1 draws nothing."""
        numbers = np.zeros(len(who), np.int64)
        places = np.flatnonzero(counts > 1)
        while len(places):
            words = self.draw(who[places])
            numbers[places] = streams.below(words, counts[places])
            places = places[streams.rejected(words, counts[places])]
        return numbers


class Dice:
    """The random numbers of ``n`` boards in a run with ``seed``. ``who``: an array of boards, none twice.
    ``first``: below which an episode's first number is."""

    def __init__(self, n: int, seed: int, first: int) -> None:
        check_whole("seed", seed, 0, 2**32 - 1)
        self._n, self._seed, self._first = n, seed, first
        self._boards = Words(n)
        # Of each episode in advance: what `Words` has of it, its seed and its first number.
        self._begun = np.zeros((n, AHEAD, 8), np.int64)
        self.integers = self._boards.integers
        self._lanes = Words(n)
        self._lanes.begin(np.arange(n), streams.seeded([np.full(n, seed), np.arange(n)]))
        self._used, self._ready = np.zeros((2, n), np.int64)

    def begin_next(self, who: Whole) -> tuple[Whole, Whole]:
        """Begin each board's next episode; the seeds and first numbers of these."""
        used = self._used[who]
        if (used == self._ready[who]).any():
            self._prepare()
        rows = self._begun[who, used % AHEAD]
        self._used[who] = used + 1
        self._boards.rows[who] = rows[:, :6]
        return rows[:, 6], rows[:, 7]

    def begin(self, who: Whole, seeds: Whole) -> Whole:
        """Begin episodes with seeds from elsewhere; their first numbers."""
        rows = self._episodes(seeds)
        self._boards.rows[who] = rows[:, :6]
        return rows[:, 7]

    def take_over(self, board: int, generator: np.random.Generator) -> None:
        """Let a board go on with the stream of a generator that was drawn from already."""
        numbers, kept, keeps = streams.of_generator(generator)
        self._boards.rows[board] = *numbers, kept, keeps

    def find(self, seeds: Whole) -> None:
        """Let each board's next episode be the one after the episode with this seed.

        Raises:
            AigymError: no episode of this run has the seed.
        """
        self._used[:] = self._ready[:] = 0
        lanes = Seeds(self._seed, self._n)
        for board, seed in enumerate(seeds.tolist()):
            numbers, kept, keeps = streams.of_generator(lanes.follow(board, seed))
            self._lanes.rows[board] = *numbers, kept, keeps

    def standing(self) -> tuple[Whole, Whole]:
        """The rows of `Words` of the boards' streams and of those that their next seeds are drawn from. To be
        asked for right after `find`: later, seeds are drawn that no board has used."""
        return self._boards.rows, self._lanes.rows

    def _prepare(self) -> None:
        """Begin as many episodes in advance as there is room for."""
        drawn: list[tuple[Whole, Whole, Whole]] = []
        while len(who := np.flatnonzero(self._ready - self._used < AHEAD)):
            seeds = self._lanes.draw(who) >> 1  # what integers(2**31) makes of a word
            drawn.append((who, self._ready[who] % AHEAD, seeds))
            self._ready[who] += 1
        boards, places, seeds = (np.concatenate(part) for part in zip(*drawn))
        self._begun[boards, places] = self._episodes(seeds)

    def _episodes(self, seeds: Whole) -> Whole:
        """The rows of `_begun` for episodes with these seeds."""
        words, everyone = Words(len(seeds)), np.arange(len(seeds))
        words.begin(everyone, streams.seeded([seeds]))
        numbers = words.integers(everyone, np.full(len(seeds), self._first))
        return np.column_stack([words.rows, seeds, numbers])
