"""How near documents are to a question: by vectors, by words; and the part of a document that shows why.

cosines(kept, vector)                 one similarity per kept vector
Words(kept).scores(words)             BM25 of each kept document
excerpt(document, words)              the passage with most of the words
parts(excerpt, words)                 the same in parts, every second of which is one of the words
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aigym_kernel.search.embedders import Vectors
from aigym_kernel.search.kept import Kept

_WORD = re.compile(r"\w+")
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_STEADY = 32  # recorded trajectories from which on their mean counts more than half
_K1, _B = 1.2, 0.75
_EXCERPT = 200


class Cosines:
    """Cosine similarity of vectors of length 1, less their mean.

    What all documents say, such as one prompt of a system, is in the mean and makes nothing similar
    (Mu and Viswanath 2018); of few vectors the mean is that of chance, and counts less.
    """

    def __init__(self, kept: Kept, dimensions: int) -> None:
        # Left where they were read: one after the other costs no more than all at once, and no copy.
        self._parts = [_matrix(chunk, dimensions) for chunk in kept.table["vector"].chunks]
        n = sum(map(len, self._parts))
        total = np.zeros(dimensions, dtype=np.float32)
        for part in self._parts:
            total += part.sum(axis=0)
        self._mean: Vectors = total / np.float32(n + _STEADY)
        squares = 1 - 2 * self._dots(self._mean) + self._mean @ self._mean
        self._lengths: Vectors = np.sqrt(np.maximum(squares, np.float32(1e-12)))

    def _dots(self, vector: Vectors) -> Vectors:
        # Not `part @ vector`: on a busy machine BLAS's threads wait ten times as long for each other.
        dots = [np.einsum("ij,j->i", part, vector) for part in self._parts]
        return np.concatenate(dots or [np.zeros(0, np.float32)])

    def scores(self, vector: Vectors) -> Vectors:
        """One per row, from -1 to 1."""
        question = vector - self._mean
        dots = self._dots(question) - self._mean @ question
        found: Vectors = dots / (self._lengths * max(float(np.linalg.norm(question)), 1e-6))
        return np.clip(found, -1, 1)


def _matrix(chunk: pa.Array, dimensions: int) -> Vectors:
    data = np.frombuffer(chunk.buffers()[1] or b"", dtype=np.float32)
    return data[chunk.offset * dimensions : (chunk.offset + len(chunk)) * dimensions].reshape(-1, dimensions)


# Words


def words(text: str) -> list[str]:
    """The words of a text in small letters; of names such as ``two_sum`` or ``maxDepth`` also the pieces.
    Of a document the last line, which holds no words, is left out."""
    text = text.split("\n#", 1)[0]
    found = []
    for word in _WORD.findall(text):
        found.append(word.casefold())
        if not word.islower() or "_" in word or not word.isalpha():
            pieces = _PIECE.findall(word)
            if len(pieces) > 1:
                found += [piece.casefold() for piece in pieces]
    return found


def terms(text: str) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """The words of a document as numbers, each once, and how often each occurs."""
    counts = Counter(words(text))
    numbers = np.fromiter(map(term, counts), dtype=np.uint32, count=len(counts))
    return numbers, np.minimum(np.fromiter(counts.values(), np.int64, len(counts)), 65_535).astype(np.uint16)


def term(word: str) -> int:
    """A word as a number."""
    return zlib.crc32(word.encode("utf-8", "replace"))


class Words:
    """BM25 (Robertson and Zaragoza 2009) over the terms of kept documents."""

    def __init__(self, kept: Kept) -> None:
        lists, counts = (kept.table[name].combine_chunks() for name in ("terms", "counts"))
        self._terms = lists.flatten().to_numpy()
        self._counts = counts.flatten().to_numpy()
        self._starts = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())])
        sums = np.concatenate([[0], np.cumsum(self._counts, dtype=np.int64)])
        self._lengths = np.diff(sums[self._starts]).astype(np.float64)

    def found(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows that have the word, and how often."""
        places = np.flatnonzero(self._terms == np.uint32(term(word)))
        return np.searchsorted(self._starts, places, side="right") - 1, self._counts[places].astype(
            np.float64
        )

    def rarity(self, word: str) -> float:
        """How much an occurrence of the word tells: more, the fewer rows have it."""
        return self._rarity(len(self.found(word)[0]))

    def _rarity(self, rows: int) -> float:
        return float(np.log(1 + (len(self._lengths) - rows + 0.5) / (rows + 0.5)))

    def scores(self, wanted: Iterable[str]) -> NDArray[np.float64]:
        """One per row; 0 where no word occurs."""
        total = np.zeros(len(self._lengths))
        typical = max(float(self._lengths.mean()), 1.0) if len(total) else 1.0
        for word in wanted:
            rows, counts = self.found(word)
            norm = _K1 * (1 - _B + _B * self._lengths[rows] / typical)
            total[rows] += self._rarity(len(rows)) * counts * (_K1 + 1) / (counts + norm)
        return total


def telling(text: str) -> list[str]:
    """The words of a text, each once, without the common words of English; the most frequent first, 100 at
    most."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    counts = Counter(word for word in words(text) if len(word) > 1 and word not in ENGLISH_STOP_WORDS)
    return [word for word, _ in counts.most_common(100)]


def phrases(text: str) -> list[str]:
    """What stands in double quotes, with single blanks."""
    found = (" ".join(phrase.split()) for phrase in re.findall(r'"([^"]*)"', text))
    return [phrase for phrase in found if phrase]


def says(document: str, phrase: str) -> bool:
    """Whether the phrase occurs, in any case of letters, blanks and line ends being alike."""
    return phrase.casefold() in " ".join(document.split()).casefold()


def excerpt(document: str, wanted: Sequence[str]) -> str:
    """Up to about 200 characters of a document, around the most of the wanted words; its beginning where
    there is none of them."""
    text = " ".join(document.split("\n#", 1)[0].split())
    places = _places(text, wanted)
    best, start = 0, 0
    for i, first in enumerate(places):
        near = {m[0].casefold() for m in places[i : i + 40] if m.end() <= first.start() + _EXCERPT}
        if len(near) > best:
            best, start = len(near), first.start()
    start = max(0, start - 30)
    while 0 < start < len(text) and not text[start - 1].isspace():
        start += 1
    part = text[start : start + _EXCERPT]
    return f"{'... ' if start else ''}{part.strip()}{' ...' if start + _EXCERPT < len(text) else ''}"


def parts(text: str, wanted: Sequence[str]) -> list[str]:
    """The text cut at the wanted words: the first, third, ... part is what stands between them."""
    found, end = list[str](), 0
    for place in _places(text, wanted):
        found += [text[end : place.start()], place[0]]
        end = place.end()
    return [*found, text[end:]]


def _places(text: str, wanted: Sequence[str]) -> list[re.Match[str]]:
    sought = {word.casefold() for word in wanted}
    return [m for m in _WORD.finditer(text) if not sought.isdisjoint(words(m[0]))]
