"""What turns texts into vectors: `Embedder`, the one that is always there, and sentence-transformers' models.

    HashedWords()(["a text", "another"])          (2, 384) float32, rows of length 1
    load("all-MiniLM-L6-v2"), load("./model")     a sentence-transformers model that is on this machine
    similar("...", embedder=mine)                 any callable with a name and a number of dimensions

`HashedWords` knows nothing of meaning beyond shared words and parts of words, needs no download and gives
every text the same vector for ever, whatever else is recorded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aigym_kernel.errors import AigymError

Vectors = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Texts to vectors. The same text must always give the same vector under the same ``name``: vectors are
    kept under it. ``dimensions``: numbers per vector."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """(n, dimensions) float32 for n texts."""
        ...


def vectors(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """What the embedder makes of the texts, each row of length 1 (or 0 where it was 0).

    Raises:
        AigymError: it gave another shape, or values that are not finite.
    """
    try:
        found = np.asarray(embedder(texts), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise AigymError(f"the embedder {embedder.name!r} gave what are no numbers: {error}") from error
    wanted = (len(texts), embedder.dimensions)
    if found.shape != wanted:
        raise AigymError(
            f"the embedder {embedder.name!r} gave an array of shape {found.shape} for {len(texts)} texts; "
            f"it has to give {wanted}: one row per text, as many numbers as its dimensions say"
        )
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise AigymError(
            f"the embedder {embedder.name!r} gave NaN or infinite values for the text {texts[row]!r:.80}; "
            "vectors have to be finite"
        )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, np.where(lengths > 0, lengths, 1), dtype=np.float32)


# Words

_WORD = re.compile(r"#\S+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d{2,}|[^\W\d_a-zA-Z]+")
_FEATURES = 2**18
_ENTRIES = 12  # dimensions that a feature touches


class HashedWords:
    """Hashed words and parts of words, weighted, projected to 384 dimensions by a fixed random matrix.

    A word counts 1 + ln(how often it occurs); the common words of English count nothing. To each word belong
    the pieces of 3 to 5 letters that it consists of (Bojanowski et al. 2017), together as much as itself, so
    that "sorted" is near "sorting"; words that begin with ``#`` have none. There is no weight by rarity
    among the recorded: it would change with every new trajectory, and old vectors would be wrong.
    """

    name = "hashed-words-1"
    dimensions = 384

    def __call__(self, texts: Sequence[str]) -> Vectors:
        from sklearn.feature_extraction import FeatureHasher
        from sklearn.feature_extraction.text import CountVectorizer

        try:
            counter = CountVectorizer(analyzer=_words, dtype=np.float32)
            counts = counter.fit_transform(texts)
        except ValueError:  # not one word in all of them
            return np.zeros((len(texts), self.dimensions), dtype=np.float32)
        counts.data = 1 + np.log(counts.data)
        hasher = FeatureHasher(_FEATURES, input_type="pair", alternate_sign=False, dtype=np.float32)
        features = hasher.transform(_features(word) for word in counter.get_feature_names_out())
        found: Vectors = (counts @ (features @ _projection()).toarray()).astype(np.float32)
        return found


def _words(text: str) -> list[str]:
    common = _common()
    words = (word.lower() for word in _WORD.findall(text))
    return [word for word in words if len(word) > 1 and word not in common]


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)


def _features(word: str) -> Iterator[tuple[str, float]]:
    yield word, 1.0
    if not word[0].isalpha():
        return
    whole = f"<{word[:40]}>"
    pieces = [whole[i : i + n] for n in (3, 4, 5) for i in range(len(whole) - n + 1)]
    for piece in pieces:
        yield f"~{piece}", len(pieces) ** -0.5


@lru_cache(maxsize=1)
def _projection() -> Any:
    """Features to dimensions, sparse (Achlioptas 2003). Drawn by SplitMix64 (Steele et al. 2014) rather than
    by a library's generator, since it has to be the same in every version of every library."""
    from scipy.sparse import csr_matrix

    state = np.arange(1, _FEATURES * _ENTRIES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    places = (state % np.uint64(HashedWords.dimensions)).astype(np.int32)
    signs = np.where(state >> np.uint64(63), np.float32(1), np.float32(-1))
    starts = np.arange(0, len(state) + 1, _ENTRIES)
    return csr_matrix((signs, places, starts), shape=(_FEATURES, HashedWords.dimensions))


# Models


class _Model:
    """A sentence-transformers model."""

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self.name = name
        self.dimensions = len(model.encode("one text", show_progress_bar=False))

    def __call__(self, texts: Sequence[str]) -> Vectors:
        found = self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)


def load(model: str) -> Embedder:
    """A sentence-transformers model, by the path of its folder or by its name where it has been downloaded
    before. Nothing is downloaded here.

    Raises:
        AigymError: sentence-transformers is not installed, or there is no such model on this machine.
    """
    folder = Path(model).expanduser()
    try:
        if folder.is_dir():
            return _loaded(str(folder.resolve()), f"{folder.resolve().name}-{_state(folder)}")
    except OSError as error:
        raise AigymError(f"embedder={model!r}: {error.filename} cannot be read: {error.strerror}") from None
    return _loaded(model, model)


@lru_cache(maxsize=2)
def _loaded(model: str, name: str) -> Embedder:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise AigymError(
            f"embedder={model!r} needs sentence-transformers; pip install 'aigym-kernel[embeddings]', or "
            "leave out embedder= for the one that needs nothing"
        ) from None
    try:
        return _Model(SentenceTransformer(model, local_files_only=True), name)
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        raise AigymError(
            f"embedder={model!r} is no sentence-transformers model on this machine ({told}); give the path "
            f"of a folder that holds one, or download it first: SentenceTransformer({model!r})"
        ) from None


def _state(folder: Path) -> str:
    """What tells a folder's model from another one that was there before."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    told = "\n".join(f"{p.relative_to(folder)} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files)
    return hashlib.sha256(told.encode()).hexdigest()[:12]
