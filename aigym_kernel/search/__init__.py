"""Past plays like this one, or about this text: `similar`.

    similar("walls itself in after ten apples")       a DataFrame, the nearest first
    similar(trajectory), similar("0f3a...")           plays like this one: a Trajectory, or an id
    similar('"index out of range"', by="words")       what is in quotes has to occur
    similar(text, embedder="all-MiniLM-L6-v2")        with a sentence-transformers model

Searched is what `documents` makes of each trajectory. What is worked out of it is kept beside the
trajectories (`kept`) and brought up to date by each question; the first one on a large store takes its
time. Not for exact conditions: those are SQL's.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aigym_kernel.errors import AigymError, UnknownName, check_whole
from aigym_kernel.search import documents, embedders, ranking, upkeep
from aigym_kernel.search.embedders import Embedder, HashedWords
from aigym_kernel.search.kept import Kept
from aigym_kernel.search.upkeep import Recorded
from aigym_kernel.store import Store, schema
from aigym_kernel.store.conditions import selection
from aigym_kernel.store.snapshot import open_snapshot
from aigym_kernel.trajectories import Trajectory

if TYPE_CHECKING:
    import pandas

__all__ = ["Embedder", "HashedWords", "similar"]

_ID = re.compile(r"[0-9a-f]{16}")
_COLUMNS = {
    "trajectory_id": "str",
    "similarity": "float64",
    "run_id": "str",
    "env_id": "str",
    "agent": "str",
    "outcome": "str",
    "return": "float64",
    "score": "float64",
    "excerpt": "str",
}
_MOST = 1_000
_TELLING = 40  # words of a whole document that are looked for
_AT_A_TIME = 200  # documents that are read to find a phrase

# One question at a time brings things up to date; a second one then finds them done.
_lock = threading.Lock()


def similar(
    question: Trajectory | str,
    k: int = 10,
    *,
    store: Store | None = None,
    by: Literal["meaning", "words"] = "meaning",
    embedder: Embedder | str | None = None,
    where: Mapping[str, Any] | Sequence[str] | None = None,
) -> pandas.DataFrame:
    """The recorded trajectories that are most like the question, the nearest first.

    Columns: ``trajectory_id``, ``similarity``, ``run_id``, ``env_id``, ``agent``, ``outcome``, ``return``,
    ``score``, ``excerpt`` (the passage that has most words of the question). Similarity by meaning lies
    between -1 and 1: of a trajectory the cosine of the two vectors less the mean of all; of a text two parts
    of that and one part of its words, as a share of the best. By words it is BM25, from 0 on, and what has
    no word of the question is left out. A recorded trajectory is not among those that are like it. The words
    that excerpts were taken around are in ``attrs["words"]``; `ranking.parts` shows where they are.

    Args:
        question: a Trajectory, recorded or not; the id of a recorded one; or a text.
        k: how many, 1 to 1,000.
        store: where to look; by default the store that AIGYM_DATA names.
        by: ``meaning``: near vectors. ``words``: exact words, in any case of letters, the rarer the more; a
            phrase in double quotes has to occur.
        embedder: what makes vectors: an `Embedder`, or the name or path of a sentence-transformers model;
            by default `HashedWords`.
        where: only trajectories of which this holds, as in `Store.page`; or the ids of the only ones.

    Raises:
        AigymError: the question is empty or no such thing, k is out of range, ``where`` is a text, or the
            embedder is missing or gives what are no vectors.
        UnknownName: no trajectory has this id, or a column that trajectories do not have.
        StoreError: the store is missing, broken or newer than this version.
    """
    check_whole("k", k, 1, _MOST)
    if by not in ("meaning", "words"):
        raise UnknownName("by", by, ("meaning", "words"))
    if by == "words" and embedder is not None:
        raise AigymError("embedder= goes with by='meaning'; by='words' needs none, leave one of them out")
    _check_question(question)
    if isinstance(where, str):
        raise AigymError(f"where={where!r:.80} is a text; pass {{column: value}}, or a list of ids")
    chosen = _embedder(embedder)
    folder = (store or Store()).folder
    conditions = where if isinstance(where, Mapping) else {}
    source, values = selection(conditions)
    with _lock, open_snapshot(folder, "runs" if "kind" in conditions else "") as snapshot:
        recorded = upkeep.look(snapshot, folder)
        text, itself = _asked(recorded, question)
        among = pc.not_equal(recorded.ids, itself or "").to_numpy()
        if where is not None and not isinstance(where, Mapping):
            among &= pc.is_in(recorded.ids, value_set=pa.array(list(where), pa.string())).to_numpy()
        elif conditions:
            some = snapshot.arrow(f"SELECT t.trajectory_id FROM {source}", values)["trajectory_id"]
            among &= pc.is_in(recorded.ids, value_set=some.combine_chunks()).to_numpy()
        sought = ranking.telling(text) or list(dict.fromkeys(ranking.words(text)))
        if by == "words":
            scores = _by_words(recorded, text, sought, among, k, whole=itself is not None)
        else:
            scores = _by_meaning(recorded, text, sought, among, chosen, whole=itself is not None)
        best = _best(scores, k)
        return _answer(recorded, best, scores[best], sought)


def _best(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Where the k highest scores are, the highest first; never where there is none."""
    falling = np.where(np.isfinite(scores), -scores, np.inf)
    if k < len(falling):
        # Those that equal the last are decided by their place, not by how the numbers were partitioned.
        some = np.flatnonzero(falling <= np.partition(falling, k - 1)[k - 1])
    else:
        some = np.arange(len(falling))
    some = some[np.argsort(falling[some], kind="stable")][:k]
    return some[np.isfinite(scores[some])]


def _embedder(given: Embedder | str | None) -> Embedder:
    return embedders.load(given) if isinstance(given, str) else given or HashedWords()


def _check_question(question: object) -> None:
    if not isinstance(question, str | Trajectory):
        raise AigymError(f"the question {question!r:.80} is neither a Trajectory, nor an id, nor a text")
    if isinstance(question, str) and not ranking.words(question):
        raise AigymError(
            f"the question {question!r:.80} has no word; give a text, a trajectory's id, or a Trajectory"
        )


def _asked(recorded: Recorded, question: Trajectory | str) -> tuple[str, str | None]:
    """The question as a text; if it is about a trajectory, recorded or not, also the id of that."""
    given = schema.clean(question.id if isinstance(question, Trajectory) else question).strip()
    if pc.is_in(pa.array([given]), value_set=recorded.ids.combine_chunks())[0].as_py():
        return upkeep.texts(recorded, [given])[given], given
    if isinstance(question, Trajectory):
        return documents.document(question), given
    if _ID.fullmatch(given):
        some = recorded.ids.slice(max(0, len(recorded.ids) - 1_000))
        raise UnknownName("trajectory", given, some.to_pylist())
    return given, None


def _by_meaning(
    recorded: Recorded,
    text: str,
    sought: list[str],
    among: NDArray[np.bool_],
    embedder: Embedder,
    *,
    whole: bool,
) -> NDArray[np.float64]:
    """The similarity of each trajectory; NaN where nothing is known of it."""
    found = upkeep.vectors_of(recorded, embedder)
    vector = embedders.vectors(embedder, [text])[0]
    if not vector.any():
        raise AigymError(
            f"to {embedder.name!r} the question {text!r:.80} says nothing; use rarer words, or by='words'"
        )
    near = _at(found, recorded, _cosines(found, embedder.dimensions).scores(vector))
    near[~among] = np.nan
    if whole:
        return near
    # A few words are too little for vectors of whole documents to stand out among many.
    documents = upkeep.documents_of(recorded)
    exact = _at(documents, recorded, _words(documents).scores(sought))
    best = float(np.nanmax(exact[among], initial=0))
    return (2 * near + (np.nan_to_num(exact) / best if best else 0)) / 3


def _at(found: Kept, recorded: Recorded, scores: NDArray[Any]) -> NDArray[np.float64]:
    """The scores of rows as those of recorded trajectories; NaN where one has no row."""
    return np.append(scores.astype(np.float64), np.nan)[found.places(recorded.ids)]


@lru_cache(maxsize=2)
def _cosines(found: Kept, dimensions: int) -> ranking.Cosines:
    return ranking.Cosines(found, dimensions)


@lru_cache(maxsize=1)
def _words(found: Kept) -> ranking.Words:
    return ranking.Words(found)


def _by_words(
    recorded: Recorded, text: str, sought: list[str], among: NDArray[np.bool_], k: int, *, whole: bool
) -> NDArray[np.float64]:
    """BM25 of each trajectory; NaN where there is no word of the question."""
    found = upkeep.documents_of(recorded)
    index = _words(found)
    if whole:
        sought = sorted(sought, key=index.rarity, reverse=True)[:_TELLING]
    phrases = [] if whole else ranking.phrases(text)
    sought = [*sought, *(word for phrase in phrases for word in ranking.words(phrase) if word not in sought)]
    every = index.scores(sought)
    every[every <= 0] = np.nan
    for word in {word for phrase in phrases for word in ranking.words(phrase)}:
        lacking = np.ones(len(every), dtype=bool)
        lacking[index.found(word)[0]] = False
        every[lacking] = np.nan
    scores = _at(found, recorded, every)
    scores[~among] = np.nan
    return _saying(recorded, phrases, scores, k) if phrases else scores


def _saying(
    recorded: Recorded, phrases: list[str], scores: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    """The scores of the first k that hold all phrases; NaN elsewhere."""
    saying = np.full_like(scores, np.nan)
    order = _best(scores, len(scores))
    for start in range(0, len(order), _AT_A_TIME):
        some = order[start : start + _AT_A_TIME]
        ids = recorded.ids.take(pa.array(some)).to_pylist()
        said = upkeep.texts(recorded, ids)
        for place, trajectory_id in zip(some, ids):
            if all(ranking.says(said.get(trajectory_id, ""), phrase) for phrase in phrases):
                saying[place] = scores[place]
        if np.isfinite(saying).sum() >= k:
            break
    return saying


def _answer(
    recorded: Recorded, places: NDArray[np.int64], scores: NDArray[np.float64], sought: list[str]
) -> pandas.DataFrame:
    import pandas

    ids, runs = (column.take(pa.array(places)).to_pylist() for column in (recorded.ids, recorded.runs))
    query = (
        'SELECT trajectory_id, run_id, env_id, agent, outcome, "return", score FROM trajectories '
        "WHERE trajectory_id IN (SELECT unnest(?))"
    )
    rows = {(r["trajectory_id"], r["run_id"]): r for r in recorded.snapshot.rows(query, [ids])}
    said = upkeep.texts(recorded, ids)
    answer = [
        {**rows[key], "similarity": float(score), "excerpt": ranking.excerpt(said.get(key[0], ""), sought)}
        for key, score in zip(zip(ids, runs), scores)
    ]
    frame = pandas.DataFrame(answer, columns=list(_COLUMNS)).astype(_COLUMNS)
    frame.attrs["words"] = sought
    return frame
