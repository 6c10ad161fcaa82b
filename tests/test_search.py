"""Search over trajectories: what is found, by meaning and by words, what is kept, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import missing

import aigym_kernel as aigym
from aigym_kernel.cli import main
from aigym_kernel.errors import AigymError, StoreError, StoreWarning, UnknownName
from aigym_kernel.search import documents, kept, ranking, similar
from aigym_kernel.search.embedders import HashedWords
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.store.snapshot import open_snapshot
from aigym_kernel.trajectories import Mark, Message, Note, Score, ToolCall, Trajectory, conversation
from aigym_kernel.widgets.answers import answer

TEXTS = {
    "sorting": "Sort the employees by their salary. I sorted the list with a key function.",
    "brackets": "Find the first unbalanced bracket. A stack of opening brackets is kept.",
    "recipe": "Write a recipe for pancakes. Mix flour, eggs and milk, then fry them in butter.",
    "cache": "Implement an LRU cache. The least recently used entry is evicted when it is full.",
}


def said(name: str, text: str, **changes: Any) -> Trajectory:
    messages = [Message(role="user", content=text), Message(role="assistant", content="Done.")]
    return conversation(messages, **{"env_id": "aigym/chat", "agent": "model", "id": name, **changes})


def plays(name: str, chance: float, n: int = 12, **changes: Any) -> list[Trajectory]:
    """Plays that differ in how often action 1 is taken."""
    random = np.random.default_rng(len(name))
    found = []
    for i in range(n):
        steps = int(random.integers(40, 60))
        fields = {
            "env_id": "CartPole-v1",
            "agent": "policy",
            "observations": random.normal(size=(steps + 1, 4)).astype(np.float32),
            "actions": (random.random(steps) < chance).astype(np.int64),
            "rewards": np.ones(steps),
            "terminated": True,
            "truncated": False,
            "id": f"{name}-{i}",
        }
        found.append(Trajectory(**{**fields, **changes}))
    return found


def record(store: Store, trajectories: Sequence[Trajectory], run_id: str = "r1") -> None:
    if run_id not in (store.run_ids() if (store.folder / "store.json").exists() else ()):
        run = RunRecord(run_id=run_id, kind="rollout", name=run_id)
        store.add_run(run, RunStatus(state="done"))
    with store.writer(run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)


@pytest.fixture
def store(store_dir: Path) -> Store:
    made = Store(store_dir)
    record(made, [said(name, text) for name, text in TEXTS.items()])
    return made


def ids(frame: Any) -> list[str]:
    return list(frame["trajectory_id"])


# What is found


def test_a_text_finds_what_is_about_it(store: Store) -> None:
    found = aigym.similar("which order do salaries come in", k=2)
    assert list(found.columns) == [
        *("trajectory_id", "similarity", "run_id", "env_id", "agent", "outcome", "return", "score"),
        "excerpt",
    ]
    assert ids(found)[0] == "sorting"
    assert found["similarity"].is_monotonic_decreasing
    assert ids(similar("balanced brackets"))[0] == "brackets"
    assert len(similar("balanced brackets", k=1)) == 1
    assert len(similar("balanced brackets", k=1000)) == len(TEXTS)


def test_a_part_of_a_word_is_near_the_word(store: Store) -> None:
    assert ids(similar("evict from caches"))[0] == "cache"
    assert similar("caching evictions", by="words").empty


def test_by_words_only_what_has_the_words(store: Store) -> None:
    found = similar("stack OPENING", by="words")
    assert ids(found) == ["brackets"]
    assert "A stack of opening brackets" in found["excerpt"][0]
    assert ids(similar("the pancakes", by="words"))[0] == "recipe"
    assert ids(similar('"least recently"', by="words")) == ["cache"]
    assert similar('"recently least"', by="words").empty
    assert ids(similar('"least recently" "is full"', by="words")) == ["cache"]
    assert similar('"least recently" "is empty"', by="words").empty


def test_the_pieces_of_names_are_words_too(store: Store) -> None:
    record(store, [said("code", "def first_gap(maxDepth): return 7")])
    for words in ("first_gap", "gap", "depth", "maxdepth"):
        assert ids(similar(words, by="words"))[0] == "code", words


def test_plays_of_numbers_are_near_plays_alike(store: Store) -> None:
    record(store, [*plays("mostly-left", 0.1), *plays("mostly-right", 0.9), *plays("both-ways", 0.5)])
    for kind in ("mostly-left", "mostly-right"):
        found = ids(similar(f"{kind}-0", k=8))
        assert f"{kind}-0" not in found
        assert sum(name.startswith(kind) for name in found) >= 6, found


def test_a_trajectory_need_not_be_recorded(store: Store) -> None:
    record(store, [*plays("mostly-left", 0.1), *plays("mostly-right", 0.9)])
    new = plays("new", 0.1, n=1)[0]
    assert sum(name.startswith("mostly-left") for name in ids(similar(new, k=8))) >= 6
    assert ids(similar(said("other", "flour and butter for a pancake"), by="words"))[0] == "recipe"
    recorded = store.load("recipe")
    assert "recipe" not in ids(similar(recorded))


def test_where_narrows(store: Store) -> None:
    record(store, [said("mine", TEXTS["sorting"])], run_id="r2")
    assert ids(similar("salary", where={"run_id": "r2"})) == ["mine"]
    assert ids(similar("salary", by="words", where={"run_id": ["r1"]})) == ["sorting"]
    assert set(ids(similar("salary", where={"kind": "rollout"}))) == {*TEXTS, "mine"}
    with pytest.raises(UnknownName, match="env_id"):
        similar("salary", where={"env": "x"})


def test_ids_limit_what_is_searched(store: Store) -> None:
    assert set(ids(similar("salary", where=["cache", "recipe", "not recorded"]))) == {"cache", "recipe"}
    assert similar("salary", by="words", where=["cache"]).empty
    assert similar("salary", where=[]).empty
    assert ids(similar("sorting", where=["sorting", "cache"])) == ["cache"]
    with pytest.raises(AigymError, match="where='cache' is a text"):
        similar("salary", where="cache")


def test_the_words_that_were_looked_for_are_told(store: Store) -> None:
    found = similar("Stack of BRACKETS", by="words")
    parts = ranking.parts(found["excerpt"][0], found.attrs["words"])
    assert "".join(parts) == found["excerpt"][0]
    assert parts[1::2] == ["stack", "brackets"]
    assert ranking.parts("max_depth, nothing", ["depth"]) == ["", "max_depth", ", nothing"]
    assert ranking.parts("nothing", ["depth"]) == ["nothing"]


def test_all_that_was_said_is_searched(store: Store) -> None:
    score = Score(
        task_id="gardening",
        total=0.0,
        passed=False,
        marks=(Mark(name="roses", value=0.0, feedback="the roses were not pruned"),),
    )
    call = ToolCall(id="c1", name="bash", arguments={"command": "ls /srv/orchids"})
    messages = [
        Message(role="assistant", reasoning="tulips first", tool_calls=(call,)),
        Message(role="tool", tool_call_id="c1", content="daffodil.txt", error="lily not found"),
    ]
    record(
        store,
        [
            conversation(
                messages,
                env_id="aigym/garden",
                agent="gardener",
                id="all",
                score=score,
                error="the hose burst",
                final_info={"watered": "violets"},
                env_kwargs={"season": "autumn"},
            )
        ],
    )
    words = "gardening roses pruned orchids tulips daffodil lily hose violets autumn gardener bash"
    for word in words.split():
        assert ids(similar(word, by="words")) == ["all"], word


def test_a_recorded_document_is_that_of_the_trajectory(store: Store) -> None:
    trajectories = [
        *plays("numbers", 0.3, n=3),
        *plays("continuous", 0.3, n=1, **(fifty() | {"actions": np.linspace(-1, 1, 50)[:, None]})),
        *plays("images", 0.3, n=1, **(fifty() | {"observations": np.zeros((51, 8, 8, 3), np.uint8)})),
        said("talk", "hello\n# a heading\nworld", tags=("odd",), notes=(Note(text="look here"),)),
        conversation([], env_id="empty", agent="nobody", id="empty"),
        said_by_steps("short", 20),
        said_by_steps("long", 6_000),
    ]
    record(store, trajectories)
    with open_snapshot(store.folder, "") as snapshot:
        chunks = list(documents.read(snapshot, [t.id for t in trajectories]))
    recorded = {name: text for names, texts in chunks for name, text in zip(names, texts)}
    for trajectory in trajectories:
        assert recorded[trajectory.id] == documents.document(trajectory), trajectory.id


def said_by_steps(name: str, steps: int) -> Trajectory:
    """Texts as observations and actions, some of them long, without messages."""
    return Trajectory(
        env_id="text",
        agent="a",
        id=name,
        observations=[f"seen{i} " * (1 + 999 * (i % 10 == 0)) for i in range(steps + 1)],
        actions=[f"did{i}" for i in range(steps)],
        rewards=np.zeros(steps),
        terminated=True,
        truncated=False,
    )


def fifty() -> dict[str, Any]:
    return {
        "observations": np.ones((51, 4)),
        "actions": np.arange(50) % 3,
        "rewards": np.ones(50),
    }


def test_a_long_document_keeps_its_beginning_and_its_end(store: Store) -> None:
    messages = [Message(role="user", content=f"word{i} " + "filler " * 500) for i in range(100)]
    text = documents.document(conversation(messages, env_id="long", agent="a"))
    assert len(text) < documents.LONGEST + 1_000
    assert "word0 " in text
    assert "word99 " in text
    assert "word60 " not in text


# What is kept


def folders(store: Store, run_id: str = "r1") -> Path:
    return store.folder / "runs" / run_id / "embeddings"


def test_new_trajectories_and_comments_are_found_at_once(store: Store) -> None:
    assert "waffles" not in ids(similar("waffles with syrup"))
    record(store, [said("waffles", "Bake waffles and serve them with syrup.")])
    assert ids(similar("waffles with syrup"))[0] == "waffles"
    assert similar("zebra", by="words").empty
    store.note("cache", "this one talks of a zebra")
    store.tag("sorting", "giraffe")
    assert ids(similar("zebra", by="words")) == ["cache"]
    assert ids(similar("zebra"))[0] == "cache"
    assert ids(similar("giraffe", by="words")) == ["sorting"]
    store.tag("sorting", remove=["giraffe"])
    assert similar("giraffe", by="words").empty


def test_another_process_reads_what_is_kept_and_answers_alike(store: Store) -> None:
    found = similar("salary", k=3)
    files = sorted(folders(store).rglob("*.parquet"))
    assert files
    times = [path.stat().st_mtime_ns for path in files]
    code = (
        "import json; from aigym_kernel.search import similar; f = similar('salary', k=3); "
        "print(json.dumps([list(f.trajectory_id), list(f.similarity)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, similarities = json.loads(done.stdout)
    assert names == ids(found)
    assert similarities == pytest.approx(list(found["similarity"]), abs=1e-5)
    assert sorted(folders(store).rglob("*.parquet")) == files
    assert [path.stat().st_mtime_ns for path in files] == times


def test_the_folder_may_be_deleted_and_its_files_damaged(store: Store) -> None:
    first = similar("salary")
    shutil.rmtree(folders(store))
    assert ids(similar("salary")) == ids(first)
    for path in folders(store).rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    assert ids(similar("salary")) == ids(first)
    for path in folders(store).rglob("*.parquet"):
        path.write_bytes(b"")
    assert ids(similar("salary")) == ids(first)
    assert list(first["excerpt"]) == list(similar("salary")["excerpt"])


def test_a_run_that_is_gone_is_not_searched(store: Store) -> None:
    record(store, [said("mine", TEXTS["sorting"])], run_id="r2")
    assert "mine" in ids(similar("salary"))
    shutil.rmtree(store.folder / "runs" / "r2")
    assert "mine" not in ids(similar("salary"))
    rows = kept.Shelf(name="x", columns=kept.pa.schema([("vector", kept.pa.binary(4))]))
    table = kept.pa.table({"trajectory_id": ["mine"], "seen": [0], "vector": [b"1234"]})
    kept.append(store.folder, "r2", rows, table)
    assert not (store.folder / "runs" / "r2").exists()


def test_many_small_files_become_one(store: Store) -> None:
    similar("salary")
    for i in range(10):
        record(store, [said(f"more-{i}", f"number {i} about salaries")])
        assert f"more-{i}" in ids(similar("salaries", k=100))
    place = next(p for p in folders(store).iterdir() if p.name.startswith(HashedWords.name))
    assert len(list(place.glob("*"))) < 10
    assert len(similar("salaries", k=100)) == len(TEXTS) + 10
    assert set(similar("salaries", by="words", k=100)["trajectory_id"]) == {f"more-{i}" for i in range(10)}


def test_several_processes_may_ask_at_once(store: Store) -> None:
    code = "from aigym_kernel.search import similar; print(*similar('salary', k=4).trajectory_id)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    answers = {process.communicate(timeout=120)[0] for process in processes}
    assert len(answers) == 1
    assert {*answers.pop().decode().split()} == {*TEXTS}
    assert not list(folders(store).rglob("*.tmp"))
    assert len(similar("salary")) == len(TEXTS)


def test_where_nothing_can_be_written_there_is_an_answer(store: Store) -> None:
    # A file in the folder's place: it cannot be written whoever asks, root too.
    folders(store).write_text("")
    with pytest.warns(StoreWarning, match="cannot be kept"):
        assert ids(similar("salary"))[0] == "sorting"
    assert ids(similar("pancakes"))[0] == "recipe"
    assert "flour" in similar("flour", by="words")["excerpt"][0]


# Embedders


class Letters:
    """Counts a, b, c."""

    name = "letters/of mine"
    dimensions = 3

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts: Sequence[str]) -> Any:
        self.asked += len(texts)
        return [[text.count(letter) for letter in "abc"] for text in texts]


def test_an_embedder_of_ones_own(store: Store) -> None:
    letters = Letters()
    assert len(similar("aaa", embedder=letters)) == len(TEXTS)
    assert letters.asked == len(TEXTS) + 1
    similar("bbb", embedder=letters)
    assert letters.asked == len(TEXTS) + 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0, 2.0]], r"shape \(1, 2\) for 4 texts; it has to give \(4, 3\)"),
        ([[1.0, 2.0, np.nan]] * 4, "NaN or infinite values for the text"),
        ([[1.0, 2.0, np.inf]] * 4, "NaN or infinite values for the text"),
        ("nothing", "gave what are no numbers"),
    ],
)
def test_a_wrong_embedder_is_named(store: Store, answer: Any, message: str) -> None:
    class Wrong(Letters):
        def __call__(self, texts: Sequence[str]) -> Any:
            return answer

    with pytest.raises(AigymError, match=message):
        similar("aaa", embedder=Wrong())


def test_vectors_are_the_same_for_ever() -> None:
    """Vectors that were kept by an earlier version have to stay right."""
    vector = HashedWords()(["Sorted lists of two_sum #return=3", "the of and"])
    assert vector.dtype == np.float32
    assert not vector[1].any()
    places = [39, 299, 236, 56]
    assert np.argsort(-np.abs(vector[0]))[:4].tolist() == places
    assert vector[0, places].tolist() == pytest.approx([-1.666, -1.516, 1.319, -1.289], abs=1e-3)


# What is refused


@pytest.mark.parametrize("question", ["", "   ", "?!", None, 7])
def test_a_question_without_a_word(store: Store, question: Any) -> None:
    with pytest.raises(AigymError, match="the question"):
        similar(question)


@pytest.mark.parametrize("k", [0, -1, 1001, 2.5, True, "3"])
def test_k_out_of_range(store: Store, k: Any) -> None:
    with pytest.raises(AigymError, match="from 1 to 1000"):
        similar("salary", k=k)


def test_other_mistakes(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown trajectory '0123456789abcdef'"):
        similar("0123456789abcdef")
    with pytest.raises(UnknownName, match="Did you mean 'meaning'"):
        similar("salary", by="meanings")  # type: ignore[arg-type]
    with pytest.raises(AigymError, match="goes with by='meaning'"):
        similar("salary", by="words", embedder=Letters())
    with pytest.raises(AigymError, match="says nothing"):
        similar("the of and")
    with pytest.raises(StoreError, match="no store"):
        similar("salary", store=Store(tmp_path / "none"))


def test_an_empty_store_answers_with_nothing(store_dir: Path) -> None:
    Store(store_dir).create()
    for by in ("meaning", "words"):
        found = similar("salary", by=by)  # type: ignore[arg-type]
        assert found.empty
        assert "similarity" in found.columns


def test_lone_surrogates_harm_nobody(store: Store) -> None:
    record(store, [said("odd", "caf\udce9 salary")])
    assert "odd" in ids(similar("salary \ud800"))
    assert "odd" in ids(similar("salary \ud800", by="words"))


# The command


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["similar", *arguments])


def test_the_command(store: Store) -> None:
    rows = json.loads(command("which order do salaries come in", "-k", "2", "--json").stdout)
    assert [len(rows), rows[0]["trajectory_id"]] == [2, "sorting"]
    found = command('"least recently"', "--by", "words").stdout
    assert "cache" in found
    assert "recipe" not in found
    refused = command("0123456789abcdef")
    assert refused.exit_code == 2
    assert "unknown trajectory" in refused.stderr


# sentence-transformers


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, made here: one layer, a word for each letter."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
        from transformers import BertConfig, BertModel, BertTokenizerFast
    except ImportError as error:
        missing(f"sentence-transformers ({error})")
    folder = tmp_path_factory.mktemp("model")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = folder / "bert"
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(bert)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(bert)
    transformer = Transformer(str(bert))
    SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu").save(str(folder / "tiny"))
    return folder / "tiny"


def test_a_model_of_sentence_transformers_by_its_path(store: Store, model: Path) -> None:
    found = similar(TEXTS["recipe"], k=2, embedder=str(model))
    assert ids(found)[0] == "recipe"
    place = next(p for p in folders(store).iterdir() if p.name.startswith("tiny-"))
    assert list(place.glob("*.parquet"))
    assert ids(similar("recipe", k=2, embedder=str(model)))


def test_a_model_that_is_not_there(store: Store, model: Path) -> None:
    with pytest.raises(AigymError, match="no sentence-transformers model on this machine"):
        similar("salary", embedder="nobody/no-such-model")


def test_what_is_kept_goes_with_its_run(store: Store) -> None:
    similar("salary")
    assert store.check() == []
    store.delete("r1", ask=False)
    assert similar("salary").empty
    store.restore("r1")
    files = sorted(folders(store).rglob("*.parquet"))
    assert ids(similar("salary"))[0] == "sorting"
    assert sorted(folders(store).rglob("*.parquet")) == files
    store.compact()
    assert ids(similar("salary"))[0] == "sorting"


def test_the_explorer_asks_for_what_is_similar(store: Store) -> None:
    explorer = aigym.explore()
    found = answer(explorer, {"ask": "x-1", "what": "similar", "question": "salary", "k": 2})
    rows = found["value"]["rows"]
    assert rows[0]["trajectory_id"] == "sorting"
    assert rows[0]["score"] is None
    assert rows[0]["excerpt"][1] == "salary"
    json.dumps(rows, allow_nan=False)
    refused = answer(explorer, {"ask": "x-2", "what": "similar", "question": "", "k": 2})
    assert "has no word" in refused["error"]


def test_the_explorer_finds_only_what_passes_its_filters(store: Store) -> None:
    record(store, plays("numbers", 0.3, n=3))
    record(store, plays("others", 0.3, n=3, **(fifty() | {"rewards": np.zeros(50)})))

    def found(explorer: Any, question: str) -> set[str]:
        asked = {"ask": "x-1", "what": "similar", "question": question, "k": 100}
        return {row["trajectory_id"] for row in answer(explorer, asked)["value"]["rows"]}

    zeros = {f"others-{i}" for i in range(3)}
    ones = {f"numbers-{i}" for i in range(3)}
    assert found(aigym.explore(), "salary") == {*TEXTS, *zeros, *ones}
    assert found(aigym.explore(where={"agent": "model"}), "salary") == set(TEXTS)
    assert found(aigym.explore(where={"agent": "policy"}, filters={"return": (None, 0)}), "salary") == zeros
    assert found(aigym.explore(filters={"reward": (1, 1)}), "others-0") == ones
    explorer = aigym.explore()
    explorer.search = "NUMBERS"
    assert found(explorer, "numbers-0") == ones - {"numbers-0"}
    explorer.search = "nobody's"
    assert found(explorer, "salary") == set()


def test_what_killed_processes_left_is_removed(store: Store) -> None:
    similar("salary")
    place = next(p for p in folders(store).iterdir() if p.name.startswith(HashedWords.name))
    for name, age in (("1-old.tmp", 7_200), ("2-new.tmp", 0)):
        (place / name).write_bytes(b"half")
        os.utime(place / name, (time.time() - age,) * 2)
    record(store, [said("more", "salaries")])
    similar("salary")
    assert [path.name for path in place.glob("*.tmp")] == ["2-new.tmp"]
