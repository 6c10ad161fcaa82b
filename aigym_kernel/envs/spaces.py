"""A gymnasium space of any text: gymnasium's own `Text` knows only the characters it is given."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from gymnasium.spaces import Text
from numpy.typing import NDArray

SAMPLE_LENGTH = 80


class UnicodeText(Text):
    """Strings of up to ``max_length`` characters, any of Unicode's but lone surrogates (no UTF-8 for them).

    There is no array form: an AsyncVectorEnv needs ``shared_memory=False``.
    `sample` draws up to 80 printable ASCII characters: enough for tests, cheap to judge.
    """

    def __init__(
        self, max_length: int, *, min_length: int = 0, seed: int | np.random.Generator | None = None
    ) -> None:
        # The character set is what `sample` draws from; `contains` does not use it.
        super().__init__(max_length, min_length=min_length, charset=string.printable[:95], seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a str of a fitting length that UTF-8 can hold."""
        if not isinstance(x, str) or not self.min_length <= len(x) <= self.max_length:
            return False
        return x.isascii() or not any("\ud800" <= c <= "\udfff" for c in x)

    def sample(
        self,
        mask: tuple[int | None, NDArray[np.int8] | None] | None = None,
        probability: tuple[int | None, NDArray[np.float64] | None] | None = None,
    ) -> str:
        """Random printable ASCII; ``mask`` and ``probability`` as in gymnasium's `Text`."""
        if mask is None and probability is None:
            longest = max(self.min_length, min(self.max_length, SAMPLE_LENGTH))
            mask = (int(self.np_random.integers(self.min_length, longest + 1)), None)
        return super().sample(mask, probability)

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length}, min_length={self.min_length})"

    def __eq__(self, other: object, /) -> bool:
        return (
            isinstance(other, UnicodeText)
            and self.min_length == other.min_length
            and self.max_length == other.max_length
        )

    @property
    def is_np_flattenable(self) -> bool:
        """False: there is no array of fixed size for text of any characters."""
        return False
