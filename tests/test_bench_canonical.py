"""Canonical hashes: what varies by nature does not count, everything else does, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigym_kernel.batches import Batch
from aigym_kernel.bench.canonical import VARIES, hashes, recorded, timeless, told
from aigym_kernel.bench.records import Metric
from aigym_kernel.store import RunRecord, RunState, RunStatus, Store, schema
from aigym_kernel.trajectories import Mark, Message, Score, ToolCall, Trajectory, new_id

SEEN = np.array([[0.0, 0.1], [0.2, 0.3], [0.4, 0.5], [0.6, 0.7]])
SCORE = Score(task_id="two-sum", total=0.5, passed=False, marks=(Mark(name="a", value=0.5),), wall_s=0.1)
CALL = ToolCall(id="call-1", name="run", arguments={"x": 1})
PLAYED = Trajectory(
    env_id="aigym/Count-v0",
    agent="random",
    observations=SEEN,
    actions=np.array([0, 1, 0]),
    rewards=np.array([1.0, 0.5, 0.25]),
    terminated=True,
    truncated=False,
    seed=7,
    infos=({"x": 1, "wall_s": 0.25}, {"x": 2}, {"x": 3}),
    final_info={"x": 3, "episode": {"r": 1.75, "l": 3, "t": 0.125}},
    score=SCORE,
    error="ValueError: no (/tmp/one/attempt-1/work/env.py:3)",
    messages=(Message(role="assistant", content="hello", tool_calls=(CALL,), at=1.0),),
    started_at=100.0,
    wall_s=1.0,
)


def new_store(folder: Path, state: RunState = "done") -> Store:
    store = Store(folder)
    store.add_run(RunRecord(run_id="top", kind="notebook", name="bench"))
    store.add_run(RunRecord(run_id="below", kind="train", name="ppo", parent="top"), RunStatus(state=state))
    return store


def kept(folder: Path, *trajectories: Trajectory) -> str:
    store = new_store(folder)
    with store.writer("below") as writer:
        for trajectory in trajectories:
            writer.trajectory(trajectory)
    return hashes(store, "top", {}, ())["trajectories"]


def test_what_varies_by_nature_does_not_count(tmp_path: Path) -> None:
    infos = ({"x": 1, "wall_s": 0.75}, {"x": 2}, {"x": 3})
    call = replace(CALL, id="call-2")
    again = replace(
        PLAYED,
        id=new_id(),
        started_at=200.0,
        wall_s=3.0,
        infos=infos,
        final_info={"x": 3, "episode": {"r": 1.75, "l": 3, "t": 1e-05}},
        score=replace(SCORE, wall_s=9.0),
        error="ValueError: no (/home/me/two/work/env.py:3)",
        messages=(replace(PLAYED.messages[0], tool_calls=(call,), at=2.0),),
        parent=new_id(),
        agent="20261122-120000-train-ppo-cartpole-v1-0f0f",
    )
    first = replace(PLAYED, agent="20261121-235959-train-ppo-cartpole-v1-9abc")
    assert kept(tmp_path / "a", first) == kept(tmp_path / "b", again)
    other = replace(again, agent="20261122-120000-train-dqn-cartpole-v1-0f0f")
    assert kept(tmp_path / "a2", first) != kept(tmp_path / "b2", other)


@pytest.mark.parametrize(
    "change",
    [
        {"observations": np.nextafter(SEEN, 1.0)},
        {"observations": SEEN.astype(np.float32)},
        {"observations": [*"abcd"]},
        {"actions": np.array([0, 1, 1])},
        {"rewards": np.array([1.0, 0.5, np.nextafter(0.25, 1.0)])},
        {"terminated": False, "truncated": True},
        {"seed": 8},
        {"group": "evaluation"},
        {"infos": ({"x": 1}, {"x": 2}, {"x": 4})},
        {"final_info": {"x": 4}},
        {"score": replace(SCORE, marks=(Mark(name="a", value=0.5, feedback="no"),))},
        {"error": "ValueError: yes (/tmp/one/attempt-1/work/env.py:3)"},
        {"messages": (replace(PLAYED.messages[0], content="hallo"),)},
        {"messages": (replace(PLAYED.messages[0], tool_calls=(replace(CALL, name="read"),)),)},
        {"env_kwargs": {"size": 8}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_else_counts(tmp_path: Path, change: dict[str, Any]) -> None:
    assert kept(tmp_path / "a", PLAYED) != kept(tmp_path / "b", replace(PLAYED, **change))


def test_order_flushes_and_segments_do_not_count(tmp_path: Path) -> None:
    plays = [replace(PLAYED, seed=n, rewards=PLAYED.rewards + n, id=new_id()) for n in range(4)]
    found = {kept(tmp_path / "a", *plays), kept(tmp_path / "b", *reversed(plays))}
    store = new_store(tmp_path / "c")
    with store.writer("below") as writer:
        # Step by step, side by side, and a segment for each.
        for t in range(3):
            for play in plays:
                writer.step(play.id, play[t])
                writer.flush()
        for play in plays:
            writer.trajectory(play)
            writer.flush()
    # What is written step by step keeps packed cells beside the others, here and whenever it is done again.
    stepwise = hashes(store, "top", {}, ())
    store.compact()
    assert hashes(store, "top", {}, ()) == stepwise
    with new_store(tmp_path / "d").writer("below") as writer:
        for play in plays:
            for step in play:
                writer.step(play.id, step)
            writer.trajectory(play)
    assert hashes(Store(tmp_path / "d"), "top", {}, ()) == stepwise
    assert len(found) == 1


def test_a_batch_of_many_with_long_observations(tmp_path: Path) -> None:
    """Images are kept as bytes, of several widths in one segment."""
    drawn = np.random.default_rng(0)
    images = [drawn.integers(0, 255, (7, 24, 24), np.uint8), drawn.integers(0, 255, (7, 24, 25), np.uint8)]
    seen = [hashes_of_images(tmp_path / name, each) for name, each in (("a", images), ("b", images))]
    images[1][6, 23, 24] ^= 1
    assert seen[0] == seen[1] != hashes_of_images(tmp_path / "c", images)


def hashes_of_images(folder: Path, images: list[np.ndarray[Any, Any]]) -> str:
    store = new_store(folder)
    with store.writer("below") as writer:
        for seen in images:
            writer.batch(
                Batch(
                    env_id="Images-v0",
                    agent="ppo",
                    observations=seen,
                    actions=np.zeros((5, 2), np.float32),
                    rewards=np.ones(5),
                    lengths=np.array([2, 3]),
                    terminated=np.array([True, False]),
                    truncated=np.array([False, True]),
                    seeds=[1, 2],
                )
            )
    return hashes(store, "top", {}, ())["trajectories"]


def test_only_runs_that_are_done_count(tmp_path: Path) -> None:
    whole = kept(tmp_path / "a", PLAYED)
    store = new_store(tmp_path / "b")
    with store.writer("below") as writer:
        writer.trajectory(PLAYED)
    others: dict[str, RunState] = {"k": "killed", "s": "stopped", "f": "failed", "q": "queued"}
    for name, state in others.items():
        store.add_run(RunRecord(run_id=name, kind="train", name=name, parent="top"), RunStatus(state=state))
        with store.writer(name) as writer:
            writer.trajectory(replace(PLAYED, id=new_id()))
    store.add_run(RunRecord(run_id="other", kind="train", name="other"), RunStatus(state="done"))
    assert hashes(store, "top", {}, ())["trajectories"] == whole
    last = RunRecord(run_id="deeper", kind="rollout", name="random", parent="below")
    store.add_run(last, RunStatus(state="done"))
    assert [(one.run.run_id, one.depth) for one in recorded(store, "top")] == [
        ("top", 0),
        ("below", 1),
        ("deeper", 2),
    ]
    assert hashes(store, "top", {}, ())["trajectories"] != whole


def test_metrics_count_to_the_last_bit_unless_a_clock_decides_them(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    clock = (Metric(name="return_mean"), Metric(name="seconds", measured=True))
    one = hashes(store, "top", {"return_mean": 0.1 + 0.2, "seconds": 1.0}, clock)["metrics"]
    assert hashes(store, "top", {"seconds": 2.0, "return_mean": 0.1 + 0.2}, clock)["metrics"] == one
    assert hashes(store, "top", {"return_mean": 0.3, "seconds": 1.0}, clock)["metrics"] != one
    assert hashes(store, "top", {"return_mean": 0.1 + 0.2, "seconds": 1.0}, ())["metrics"] != one


def test_the_table_of_what_varies_names_columns_that_there_are() -> None:
    for table, columns in VARIES.items():
        if table in schema.TABLES and table != "metrics":
            assert columns <= set(schema.TABLES[table].names), table


def test_texts_without_what_varies() -> None:
    assert timeless('{"a": 1, "wall_s": 1.5e-3, "b": "wall_s"}') == '{"a": 1, "wall_s": null, "b": "wall_s"}'
    assert timeless('{"path": "/a \\" b", "n": 1}') == '{"path": null, "n": 1}'
    quoted = '{"said": "{\\"pid\\": 3}"}'
    assert timeless(quoted) == quoted
    assert told("at 0x7f00aabbccdd in /a/b/c.py:3, 1/2 of it") == "at  in c.py:3, 1/2 of it"
