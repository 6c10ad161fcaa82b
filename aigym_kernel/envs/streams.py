"""NumPy's random streams, many at once: what ``numpy.random.default_rng(seed)`` draws, for arrays of seeds.

    streams = seeded([seeds])                    one stream for each seed
    streams, words = advance(streams)            its next two words of 32 bits each
    below(words[0], count)                       what ``integers(count)`` makes of the first

Building a NumPy generator takes as long as 50 steps of a board, and every episode has one of its own. These
are the same ones, `SeedSequence` and PCG64 (O'Neill 2014, XSL RR 128/64), written in whole numbers of 64 bits
that hold 32 each: the same lines run on NumPy arrays and on torch tensors of any device. Both are frozen by
NumPy's promise of reproducible streams (NEP 19); a test holds these lines against them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LOW = 0xFFFFFFFF
_INIT_A, _MULT_A, _INIT_B, _MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
_MIX_L, _MIX_R = 0xCA01F9DD, 0x4973F715
_PCG = tuple(0x2360ED051FC65DA44385DF649FCCF645 >> 32 * i & _LOW for i in range(4))

Array = Any
"""A NumPy array or a torch tensor of int64."""
Streams = tuple[Array, ...]
"""Eight arrays: the state's four words of 32 bits, the lowest first, and the increment's."""


def seeded(entropy: list[Array]) -> Streams:
    """The streams of ``default_rng(seed)`` for ``entropy=[seed]``, of ``default_rng([a, b])`` for ``[a, b]``.

    Args:
        entropy: one to four arrays of one shape with numbers below 2**32.
    """
    pool = _pool(entropy)
    words, constant = [], _INIT_B
    for i in range(8):
        word = pool[i % 4] ^ constant
        constant = constant * _MULT_B & _LOW
        words.append(_fold(word * constant & _LOW))
    # Pairs of words are NumPy's numbers of 64 bits; the first two of these are the state, high before low.
    start = (words[2], words[3], words[0], words[1])
    sequence = (words[6], words[7], words[4], words[5])
    carried = [*(part << 1 for part in sequence)]
    increment = [carried[0] & _LOW | 1]
    increment += [(carried[i] | carried[i - 1] >> 32 & 1) & _LOW for i in range(1, 4)]
    state = _carry([a + b for a, b in zip(increment, start)])
    return (*_multiplied(state, increment), *increment)


def advance(streams: Streams) -> tuple[Streams, tuple[Array, Array]]:
    """The streams one number of 64 bits on, and that number: its low word, which NumPy hands out first,
    and its high word."""
    increment = streams[4:]
    state = _multiplied(streams[:4], increment)
    low, high = state[0] ^ state[2], state[1] ^ state[3]
    turn = state[3] >> 26
    swap, turn = turn >> 5, turn & 31
    one, other = low + (high - low) * swap, high + (low - high) * swap
    left = 32 - turn
    return (*state, *increment), (
        (one >> turn | other << left) & _LOW,
        (other >> turn | one << left) & _LOW,
    )


def below(word: Array, count: Array) -> Array:
    """A number from 0 to ``count - 1`` (Lemire 2019, as ``Generator.integers`` does it). NumPy draws again
    where `rejected` says so."""
    return word * count >> 32 & _LOW


def rejected(word: Array, count: Array) -> Array:
    """Whether NumPy draws another word for this count: once in some 40 million draws."""
    return (word * count & _LOW) < (_LOW + 1 - count) % count


def of_generator(generator: np.random.Generator) -> tuple[list[int], int, bool]:
    """The stream of a NumPy generator as `Streams` has it, the word that it keeps, and whether it keeps
    one."""
    state: Any = generator.bit_generator.state
    numbers = (state["state"]["state"], state["state"]["inc"])
    limbs = [number >> 32 * i & _LOW for number in numbers for i in range(4)]
    return limbs, state["uinteger"], bool(state["has_uint32"])


def _pool(entropy: list[Array]) -> list[Array]:
    constant = _INIT_A

    def hashed(word: Array) -> Array:
        nonlocal constant
        word = word ^ constant
        constant = constant * _MULT_A & _LOW
        return _fold(word * constant & _LOW)

    zero = entropy[0] * 0
    pool = [hashed(word) for word in (entropy + [zero] * 4)[:4]]
    for source in range(4):
        for target in range(4):
            if source != target:
                mixed = pool[target] * _MIX_L - hashed(pool[source]) * _MIX_R
                pool[target] = _fold(mixed & _LOW)
    return pool


def _fold(word: Array) -> Array:
    return word ^ word >> 16


def _multiplied(state: Any, increment: Any) -> list[Array]:
    """``state * _PCG + increment`` modulo 2**128. A product may reach 2**64 and turn negative in 64 bits:
    its bits are right all the same."""
    total = list(increment)
    for i in range(4):
        for j in range(4 - i):
            product = state[i] * _PCG[j]
            total[i + j] = total[i + j] + (product & _LOW)
            if i + j < 3:
                total[i + j + 1] = total[i + j + 1] + (product >> 32 & _LOW)
    return _carry(total)


def _carry(total: list[Array]) -> list[Array]:
    for i in range(3):
        total[i + 1] = total[i + 1] + (total[i] >> 32)
    return [part & _LOW for part in total]
