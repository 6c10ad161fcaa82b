"""Dice for many boards: a random stream for every episode, each the one that its seed gives alone.

    dice = Dice(4096, seed=0)
    seeds = dice.begin_next(who)               the next episode of each board in ``who``, and its stream
    numbers = dice.integers(who, counts)       what ``np_random.integers(count)`` gives in that episode

The seed of episode i of board k is the one that ``Seeds`` in `envs.vector` draws from
``default_rng([seed, k])``. Streams are begun for many episodes in advance, all at once (`envs.streams`).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.envs import streams
from aigym_kernel.errors import AigymError, check_whole

Whole = NDArray[np.int64]
AHEAD = 16
"""How many episodes of a board are begun in advance."""
_LONGEST_SEARCH = 2**20


class Words:
    """A random stream each for ``n`` users, who draw from it when they need to."""

    def __init__(self, n: int) -> None:
        self.streams = np.zeros((8, n), np.int64)
        self.kept = np.zeros(n, np.int64)
        self.keeps = np.zeros(n, np.bool_)

    def begin(self, who: Whole, started: NDArray[np.int64]) -> None:
        """New streams (8, len(who)) for some users."""
        self.streams[:, who] = started
        self.keeps[who] = False

    def draw(self, who: Whole) -> Whole:
        """The next word of 32 bits of each user in ``who``, no user twice."""
        words, empty = self.kept[who], ~self.keeps[who]
        those = who[empty]
        if len(those):
            after, (words[empty], self.kept[those]) = streams.advance(tuple(self.streams[:, those]))
            self.streams[:4, those] = after[:4]
        self.keeps[who] = empty
        return words


class Dice:
    """The random numbers of ``n`` boards in a run with ``seed``. ``who``: an array of boards, none twice."""

    def __init__(self, n: int, seed: int) -> None:
        check_whole("seed", seed, 0, 2**32 - 1)
        self._n, self._seed = n, seed
        self._boards = Words(n)
        self._seeds = np.zeros((n, AHEAD), np.int64)
        self._begun = np.zeros((8, n, AHEAD), np.int64)
        self._rewind()

    def _rewind(self) -> None:
        everyone = np.arange(self._n)
        self._lanes = Words(self._n)
        self._lanes.begin(everyone, np.stack(streams.seeded([np.full(self._n, self._seed), everyone])))
        self._used, self._ready = np.zeros((2, self._n), np.int64)

    def begin_next(self, who: Whole) -> Whole:
        """Begin each board's next episode; the seeds of these."""
        if (self._used[who] == self._ready[who]).any():
            self._prepare()
        place = self._used[who] % AHEAD
        self._used[who] += 1
        self._boards.begin(who, self._begun[:, who, place])
        return self._seeds[who, place]

    def begin(self, who: Whole, seeds: Whole) -> None:
        """Begin episodes with seeds from elsewhere."""
        self._boards.begin(who, np.stack(streams.seeded([seeds])))

    def take_over(self, board: int, generator: np.random.Generator) -> None:
        """Let a board go on with the stream of a generator that was drawn from already."""
        limbs, kept, keeps = streams.of_generator(generator)
        self._boards.streams[:, board] = limbs
        self._boards.kept[board], self._boards.keeps[board] = kept, keeps

    def integers(self, who: Whole, counts: Whole) -> Whole:
        """A number from 0 to ``count - 1`` for each board; counts from 1 on. As NumPy does, a board whose
        count is 1 draws nothing."""
        numbers = np.zeros(len(who), np.int64)
        places = np.flatnonzero(counts > 1)
        while len(places):
            words = self._boards.draw(who[places])
            numbers[places] = streams.below(words, counts[places])
            places = places[streams.rejected(words, counts[places])]
        return numbers

    def find(self, seeds: Whole) -> None:
        """Let each board's next episode be the one after the episode with this seed.

        Raises:
            AigymError: no episode of this run has the seed.
        """
        self._rewind()
        missing = np.arange(self._n)
        for _ in range(_LONGEST_SEARCH):
            missing = missing[self._lanes.draw(missing) >> 1 != seeds[missing]]
            if not len(missing):
                return
        raise AigymError(f"no episode of environment {missing[0]} of this run has seed {seeds[missing[0]]}")

    def standing(self) -> tuple[Words, Words]:
        """Copies of the boards' streams and of those that their next seeds are drawn from. To be asked for
        right after `find`: later, seeds are drawn that no board has used."""
        return copy.deepcopy(self._boards), copy.deepcopy(self._lanes)

    def _prepare(self) -> None:
        """Begin as many episodes in advance as there is room for."""
        drawn: list[tuple[Whole, Whole]] = []
        while len(who := np.flatnonzero(self._ready - self._used < AHEAD)):
            place = self._ready[who] % AHEAD
            self._seeds[who, place] = self._lanes.draw(who) >> 1  # what integers(2**31) makes of a word
            self._ready[who] += 1
            drawn.append((who, place))
        boards, places = (np.concatenate(part) for part in zip(*drawn))
        started: Any = streams.seeded([self._seeds[boards, places]])
        self._begun[:, boards, places] = np.stack(started)
