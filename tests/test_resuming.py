"""A training that is killed, stopped or fails goes on from its latest checkpoint as if nothing was."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from aigym_kernel.errors import RunError
from aigym_kernel.runs import Run, rollout, train
from aigym_kernel.slots import take

pytestmark = pytest.mark.usefixtures("store_dir")

MEASURED = ["steps_per_second", "cpu_percent", "rss_mb"]


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def metrics(run: Run) -> list[Any]:
    frame = run.store.sql(
        "select step, name, value from metrics where run_id = ? and not list_contains(?, name) order by all",
        [run.id, MEASURED],
    )
    return list(frame.itertuples(index=False, name=None))


def played(run: Run) -> list[Any]:
    frame = run.store.sql(
        'select agent, "group", seed, length, "return", outcome from trajectories where run_id = ? '
        "order by all",
        [run.id],
    )
    return list(frame.fillna("").itertuples(index=False, name=None))


def stored_steps(run: Run) -> tuple[int, int]:
    frame = run.store.sql(
        "select count(*) as n, count(distinct (trajectory_id, t)) as d from steps where run_id = ?",
        [run.id],
    )
    return int(frame["n"][0]), int(frame["d"][0])


def slow_down(run: Run) -> None:
    """One update between two steps of a game that is watched: it cannot end before it is killed or stopped,
    however late this process gets its turn."""
    run.set(speed="watch")
    watched, later = run.folder / "watched", time.time() + 3600
    watched.touch()
    os.utime(watched, (later, later))


def test_a_killed_training_goes_on_and_nobody_can_tell(store_dir: Path) -> None:
    asked: dict[str, Any] = {"total_timesteps": 40_960, "seed": 3, "record": 7, "evaluate_every": 15_000}
    asked |= {"device": "cpu", "n_steps": 16, "n_minibatches": 2}  # 80 updates, 8 s at the pace of a game
    store_dir.mkdir()
    before = take(store_dir, "0", kind="cpu", limit=1, stopped=lambda: False)
    assert before is not None
    run = train("CartPole-v1", save_every_s=0.2, at_once=1, **asked)
    slow_down(run)
    before.release()
    whole = train("CartPole-v1", **asked)
    latest = run.folder / "artifacts" / "checkpoints" / "latest.safetensors"
    until(latest.exists, "a first checkpoint")
    first = latest.stat().st_mtime_ns
    until(lambda: latest.stat().st_mtime_ns != first or run.finished, "a second checkpoint")
    os.kill(run.status().pid or 0, signal.SIGKILL)
    until(lambda: run.finished, "seen to be gone")
    assert run.status().state == "killed", "it must not have ended before"
    reached = run.status().step

    run.resume()
    until(lambda: run.status().state == "running" or run.finished, "goes on")
    run.stop()
    run.wait(120)
    assert run.status().state == "stopped"
    assert reached > 0
    stopped_at = run.status().step
    run.resume().set(speed="max")
    assert run.wait(240).status().state == "done"
    with pytest.raises(RunError, match="is done: nothing is left to do"):
        run.resume()

    whole.wait(240)
    assert run.status().step == whole.status().step >= stopped_at
    assert metrics(run) == metrics(whole)
    assert played(run) == played(whole)
    assert stored_steps(run) == stored_steps(whole)
    assert stored_steps(run)[0] == stored_steps(run)[1] > 1_000
    for name in ("eval_return_mean", "eval_return_best", "eval_return_mean_before", "return_mean"):
        assert run.status().summary[name] == whole.status().summary[name]
    one, other = (load_file(r.folder / "artifacts" / "policy.safetensors") for r in (run, whole))
    assert all((one[name] == other[name]).all() for name in one | other)
    assert rollout(run.agent(), "CartPole-v1", seed=1)[0].total_reward > 0
    assert (run.folder / "artifacts" / "checkpoints" / "best.safetensors").is_file()


def test_a_training_killed_before_its_first_checkpoint_starts_anew() -> None:
    run = train("CartPole-v1", total_timesteps=50_000_000)
    until(lambda: len(run.metrics("entropy")) > 0, "something is recorded")
    flushed, _ = stored_steps(run)
    os.kill(run.status().pid or 0, signal.SIGKILL)
    until(lambda: run.finished, "seen to be gone")
    assert run.store.sql("select state from runs")["state"].tolist() == [run.status().state] == ["killed"]
    with pytest.raises(RunError, match="was killed at step"):
        run.wait()
    with pytest.raises(RunError, match="has saved no policy"):
        run.agent()
    assert stored_steps(run)[0] == stored_steps(run)[1] >= flushed > 0
    before = run.metrics("entropy")
    run.resume().pause()
    until(lambda: run.status().state == "paused", "paused, with a checkpoint")
    after = run.metrics("entropy")
    assert len(after) == len(dict(after)), "no metric twice"
    assert after[: len(before)] == before[: len(after)]
    run.save()
    run.stop()
    assert run.wait(120).status().state == "stopped"
    assert stored_steps(run)[0] == stored_steps(run)[1]
