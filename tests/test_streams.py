"""Streams: word for word NumPy's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aigym_kernel.envs.streams import advance, below, of_generator, rejected, seeded

WORDS = st.integers(0, 2**32 - 1)


def drawn(streams: Any, words: int) -> list[list[int]]:
    """The first words of each stream."""
    out: list[Any] = []
    while len(out) < words:
        streams, pair = advance(streams)
        out += pair
    return np.array([np.asarray(word) for word in out]).T.tolist()


@settings(max_examples=60, deadline=None)
@given(entropy=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), parts=st.sampled_from([1, 2]))
def test_they_are_numpys_streams(entropy: list[tuple[int, int]], parts: int) -> None:
    expected = []
    for seeds in entropy:
        rng = np.random.default_rng(list(seeds[:parts]) if parts > 1 else seeds[0])
        expected.append(rng.integers(2**32, size=12, dtype=np.uint32).tolist())
    columns = np.array(entropy, dtype=np.int64).T[:parts]
    assert drawn(seeded(list(columns)), 12) == expected
    assert drawn(seeded([torch.from_numpy(column) for column in columns.copy()]), 12) == expected


@settings(max_examples=60, deadline=None)
@given(seed=WORDS, counts=st.lists(st.integers(2, 4096), min_size=1, max_size=20))
def test_numbers_below_a_count_are_numpys(seed: int, counts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    [words] = drawn(seeded([np.array([seed])]), len(counts))
    assert not any(rejected(np.array(word), count) for word, count in zip(words, counts))
    assert [int(below(word, count)) for word, count in zip(words, counts)] == [
        int(rng.integers(count)) for count in counts
    ]


def test_words_are_rejected_where_numpy_rejects_them() -> None:
    """Often for a large count, so that it is seen; for the counts of a board nearly never."""
    count = 3 * 2**30
    [words] = drawn(seeded([np.array([5])]), 400)
    kept = np.array(words)[~rejected(np.array(words), count)]
    assert 250 < len(kept) < 350
    rng = np.random.default_rng(5)
    assert below(kept, count).tolist() == [int(rng.integers(count)) for _ in kept]


@pytest.mark.parametrize("before", [0, 1, 2, 5])
def test_a_generator_is_taken_over_where_it_stands(before: int) -> None:
    rng = np.random.default_rng(11)
    for _ in range(before):
        rng.integers(100)
    limbs, kept, keeps = of_generator(rng)
    expected = rng.integers(2**32, size=6, dtype=np.uint32).tolist()
    [words] = drawn(tuple(np.array([limb]) for limb in limbs), 6)
    assert ([kept] if keeps else []) + words[: 6 - keeps] == expected
