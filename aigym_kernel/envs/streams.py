"""NumPy's random streams, many at once: what ``numpy.random.default_rng(seed)`` draws, for arrays of seeds.

    streams = seeded([seeds])                    one stream for each seed
    streams, words = advance(streams)            its next two words of 32 bits each
    below(words[0], count)                       what ``integers(count)`` makes of the first

Building a NumPy generator takes as long as 50 steps of a board, and every episode has one of its own. These
are the same ones, `SeedSequence` and PCG64 (O'Neill 2014, XSL RR 128/64), written in int64, whose products
and sums wrap: the same lines run on NumPy arrays and on torch tensors of any device. Both are frozen by
NumPy's promise of reproducible streams (NEP 19); a test holds these lines against them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LOW = 0xFFFFFFFF
_INIT_A, _MULT_A, _INIT_B, _MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
_MIX_L, _MIX_R = 0xCA01F9DD, 0x4973F715
_PCG_HIGH, _PCG_LOW = 0x2360ED051FC65DA4, 0x4385DF649FCCF645
_SIGN = -(2**63)

Array = Any
"""A NumPy array or a torch tensor of int64."""
Streams = tuple[Array, ...]
"""Four arrays: the low and the high 64 bits of the state, and those of the increment. Bits, not numbers: half
of them are negative."""


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
    # NumPy's numbers of 64 bits: the state, high before low, then the increment likewise, less its last bit.
    high, low, upper, lower = (words[i] | words[i + 1] << 32 for i in range(0, 8, 2))
    increment = lower << 1 | 1, upper << 1 | lower >> 63 & 1
    return (*_multiplied(_sum((low, high), increment), increment), *increment)


def advance(streams: Streams) -> tuple[Streams, tuple[Array, Array]]:
    """The streams one number of 64 bits on, and that number: its low word, which NumPy hands out first,
    and its high word."""
    increment = streams[2:]
    low, high = _multiplied(streams[:2], increment)
    mixed, turn = low ^ high, high >> 58 & 63
    right = mixed >> turn & 2 * (1 << 63 - turn) - 1  # without the copies of the sign that came in
    number = right | mixed << (-turn & 63)
    return (low, high, *increment), (number & _LOW, number >> 32 & _LOW)


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
    bits = [number >> 64 * i & 2**64 - 1 for number in numbers for i in range(2)]
    return [part - (part >> 63 << 64) for part in bits], state["uinteger"], bool(state["has_uint32"])


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


def _multiplied(state: Streams, increment: Streams) -> Streams:
    """The state times PCG64's multiplier, and the increment, modulo 2**128. No sum before a shift reaches
    2**64, so none loses a bit."""
    low, high = state
    first, second = low & _LOW, low >> 32 & _LOW
    one, two = _PCG_LOW & _LOW, _PCG_LOW >> 32
    middle = second * one + (first * one >> 32 & _LOW)
    other = first * two + (middle & _LOW)
    carried = second * two + (middle >> 32 & _LOW) + (other >> 32 & _LOW)
    return _sum((low * _PCG_LOW, carried + low * _PCG_HIGH + high * _PCG_LOW), increment)


def _sum(one: Streams, other: Streams) -> Streams:
    """The sum of two numbers of 128 bits."""
    low = one[0] + other[0]
    carry = (low ^ _SIGN) < (other[0] ^ _SIGN)  # as if there were no signs
    return low, one[1] + other[1] + carry
