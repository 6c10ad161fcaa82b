"""A run's record goes back to a waypoint: then everything is there once, and what people wrote stays."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from aigym_kernel.batches import Batch
from aigym_kernel.errors import StoreError, UnknownName
from aigym_kernel.store import Rewound, RunRecord, RunStatus, Store, Writer, rewind, waypoints
from aigym_kernel.trajectories import Note

LENGTH = 3


def episodes(first: int, last: int) -> Batch:
    """Training episodes as they come out again from the same checkpoint: the same but for ids and times."""
    seeds = np.arange(first, last)
    steps = len(seeds) * LENGTH
    times = np.tile(np.arange(LENGTH + 1.0), len(seeds))
    return Batch(
        env_id="e",
        agent="a",
        observations=(np.repeat(seeds, LENGTH + 1) + times)[:, None],
        actions=np.zeros(steps, np.int64),
        rewards=np.ones(steps),
        lengths=np.full(len(seeds), LENGTH),
        terminated=np.ones(len(seeds), bool),
        truncated=np.zeros(len(seeds), bool),
        seeds=seeds,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.add_run(RunRecord(run_id="r", kind="train", name="r"), RunStatus(state="stopped"))
    return store


def update(writer: Writer, number: int, rewound: Rewound | None = None) -> None:
    """What a training writes at step 10 * number: four episodes, a metric, a segment of each table."""
    batch = episodes(4 * number, 4 * number + 4)
    writer.batch(rewound.renamed(batch) if rewound else batch)
    writer.metrics(10 * number, {"loss": number})
    writer.flush()


def recorded(store: Store, *updates: int) -> list[str]:
    """The ids, oldest seed first, once it has been found that all of these updates are there, once."""
    for writer_free in (False, True):
        rows = store.sql("SELECT * FROM trajectories ORDER BY seed")
        wanted = [4 * u + i for u in updates for i in range(4)]
        assert rows["seed"].tolist() == wanted
        steps = store.sql("SELECT trajectory_id, count(*) AS n FROM steps GROUP BY ALL")
        assert dict(zip(steps["trajectory_id"], steps["n"])) == dict.fromkeys(rows["trajectory_id"], LENGTH)
        metrics = store.sql("SELECT step, value FROM metrics ORDER BY step")
        assert metrics["step"].tolist() == [10 * u for u in updates]
        if not writer_free:
            store.index()
    return [str(one) for one in rows["trajectory_id"]]


def test_what_came_after_the_waypoint_is_recorded_again_and_is_there_once(store: Store) -> None:
    with store.writer("r") as writer:
        for number in (1, 2, 3, 4):
            update(writer, number)
            if number == 2:
                writer.waypoint(20)
    before = recorded(store, 1, 2, 3, 4)
    rewound = rewind(store, "r", 20)
    assert (rewound.trajectories, rewound.metrics) == (8, 2)
    assert recorded(store, 1, 2) == before[:8]
    assert store.check() == []
    with store.writer("r") as writer:
        for number in (3, 4, 5):
            update(writer, number, rewound)
    # Who holds an id of an episode finds the same episode under it.
    assert recorded(store, 1, 2, 3, 4, 5)[:16] == before
    assert store.load(before[9]).seed == 13
    store.compact()
    assert recorded(store, 1, 2, 3, 4, 5)[:16] == before
    assert store.check() == []
    assert rewound.folder is not None
    assert sorted(p.name for p in rewound.folder.iterdir()) == ["metrics", "steps", "trajectories"]


def test_nothing_after_the_waypoint_is_nothing_to_do(store: Store) -> None:
    with store.writer("r") as writer:
        update(writer, 1)
        writer.waypoint(10)
    rewound = rewind(store, "r", 10)
    assert (rewound.folder, rewound.trajectories, rewound.lost) == (None, 0, frozenset())
    batch = episodes(0, 2)
    assert rewound.renamed(batch) is batch
    recorded(store, 1)


def test_everything_may_come_after_the_waypoint(store: Store) -> None:
    with store.writer("r") as writer:
        writer.waypoint(0)
        update(writer, 1)
    rewind(store, "r", 0)
    assert store.sql("SELECT count(*) AS n FROM trajectories")["n"].tolist() == [0]
    with store.writer("r") as writer:
        update(writer, 1)
    recorded(store, 1)


def test_what_people_wrote_stays_and_belongs_to_the_episode_that_was_recorded_again(store: Store) -> None:
    with store.writer("r") as writer:
        update(writer, 1)
        writer.waypoint(10)
        update(writer, 2)
    early, _, noted, tagged = recorded(store, 1, 2)[2:6]
    store.note(early, "early")
    store.note(noted, "look at this", by="ada")
    store.tag(tagged, "odd")
    rewound = rewind(store, "r", 10)
    assert rewound.annotated == rewound.lost == {noted, tagged}
    assert store.load(early).notes[0].text == "early"
    with store.writer("r") as writer:
        writer.batch(rewound.renamed(episodes(8, 9)))
        assert rewound.lost == {tagged}
        # As where an environment is not deterministic: another episode of the same seed is another one.
        other = episodes(9, 10)
        other.observations[-1] += 1
        writer.batch(rewound.renamed(other))
    assert rewound.lost == {tagged}
    (note,) = store.load(noted).notes
    assert isinstance(note, Note)
    assert (note.text, note.by) == ("look at this", "ada")
    assert store.sql("SELECT text FROM notes WHERE trajectory_id = ?", [tagged])["text"].tolist() == ["odd"]


def test_two_plays_that_cannot_be_told_apart_keep_their_two_ids(store: Store) -> None:
    """As evaluations on the same seeds are, where the policy plays them alike."""
    with store.writer("r") as writer:
        writer.waypoint(0)
        ids = []
        for batch in (episodes(5, 6), episodes(5, 6)):
            writer.trajectory(batch[0])
            ids.append(batch.ids[0])
    rewound = rewind(store, "r", 0)
    again = [rewound.again(episodes(5, 6)[0]).id for _ in range(3)]
    assert sorted(again[:2]) == sorted(ids)
    assert again[2] not in ids


def test_a_run_that_is_killed_again_and_again_keeps_its_ids(store: Store) -> None:
    with store.writer("r") as writer:
        update(writer, 1)
        writer.waypoint(10)
        for number in (2, 3, 4):
            update(writer, number)
    before = recorded(store, 1, 2, 3, 4)
    for reached in (2, 3):
        rewound = rewind(store, "r", 10)
        with store.writer("r") as writer:
            for number in range(2, reached + 1):
                update(writer, number, rewound)
        assert recorded(store, *range(1, reached + 1)) == before[: 4 * reached]
        store.compact()
    rewound = rewind(store, "r", 10)
    with store.writer("r") as writer:
        for number in (2, 3, 4):
            update(writer, number, rewound)
    assert recorded(store, 1, 2, 3, 4) == before
    assert store.check() == []


def test_a_rewinding_that_was_killed_is_finished_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writer("r") as writer:
        update(writer, 1)
        writer.waypoint(10)
        update(writer, 2)
    before = recorded(store, 1, 2)
    rename, calls = Path.rename, []

    def killed(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:  # the trajectories are taken back, the metrics are about to be
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        rewind(store, "r", 10)
    monkeypatch.undo()
    assert store.sql("SELECT count(*) AS n FROM metrics")["n"].tolist() == [2]
    rewound = rewind(store, "r", 10)
    assert recorded(store, 1) == before[:4]
    with store.writer("r") as writer:
        update(writer, 2, rewound)
    assert recorded(store, 1, 2) == before


def test_compaction_merges_nothing_across_a_waypoint(store: Store) -> None:
    with store.writer("r") as writer:
        for number in (1, 2, 3, 4, 5):
            update(writer, number)
            if number == 3:
                writer.waypoint(30)
    store.compact()
    names = sorted(p.name for p in (store.run_folder("r") / "steps").iterdir())
    assert names == ["000001-000003.parquet", "000004-000005.parquet"]
    rewind(store, "r", 30)
    recorded(store, 1, 2, 3)
    (store.run_folder("r") / waypoints.NAME).unlink()
    store.compact()
    assert len(list((store.run_folder("r") / "steps").iterdir())) == 1
    recorded(store, 1, 2, 3)


def test_the_latest_waypoint_stays_until_its_checkpoint_is_replaced(store: Store) -> None:
    kept: list[list[int]] = []
    with store.writer("r") as writer:
        for step, keep in ((1, []), (2, []), (3, []), (4, [2]), (4, [2]), (5, [4, 9])):
            writer.waypoint(step, keep=keep)
            kept.append(list(waypoints.read(store.run_folder("r"))))
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 3, 4], [4, 5]]
    rewind(store, "r", 4)
    assert list(waypoints.read(store.run_folder("r"))) == [4]


def test_readers_see_every_episode_whole_while_a_run_is_taken_back(store: Store) -> None:
    """A reader asks without a pause, a compaction runs without a pause, and the run is killed and resumed."""
    problems: list[object] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                rows = Store(store.folder).sql("SELECT seed, count(*) AS n FROM trajectories GROUP BY seed")
                steps = Store(store.folder).sql(
                    "SELECT trajectory_id, t, count(*) AS n FROM steps GROUP BY ALL"
                )
                problems.extend(rows[rows["n"] > 1].to_dict("records"))
                problems.extend(steps[steps["n"] > 1].to_dict("records"))
                if not {4, 5, 6, 7} <= set(rows["seed"]):
                    problems.append(f"lacks early episodes: {sorted(rows['seed'])}")
            except Exception as problem:
                problems.append(problem)

    def compact() -> None:
        while not over.is_set():
            try:
                Store(store.folder).compact()
            except Exception as problem:
                problems.append(problem)

    with store.writer("r") as writer:
        update(writer, 1)
        writer.waypoint(10)
    threads = [threading.Thread(target=read), threading.Thread(target=compact)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            rewound = rewind(store, "r", 10)
            with store.writer("r") as writer:
                for number in (2, 3):
                    update(writer, number, rewound)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert problems == []
    recorded(store, 1, 2, 3)


def test_what_cannot_be_taken_back_is_named(store: Store) -> None:
    with store.writer("r") as writer:
        update(writer, 1)
        writer.waypoint(10)
    with pytest.raises(StoreError, match=r"no waypoint there \(it has: 10\)"):
        rewind(store, "r", 20)
    with pytest.raises(UnknownName, match="unknown run 'q'"):
        rewind(store, "q", 20)
    (store.run_folder("r") / waypoints.NAME).write_text('{"10": 3}')
    with pytest.raises(StoreError, match="is damaged; delete it"):
        rewind(store, "r", 10)
    store.compact()
