"""What a training does besides learning, in real workers: evaluates, records by choice, waits for its slot,
fails with a reason, ends what hangs."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from aigym_kernel.errors import RunError, TrainingError
from aigym_kernel.runs import Runs, train
from aigym_kernel.store import sql
from aigym_kernel.watchdog import _watch

pytestmark = pytest.mark.usefixtures("store_dir")

SHORT: dict[str, Any] = {"n_envs": 4, "n_steps": 50, "n_minibatches": 4, "n_epochs": 1}


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Corridor(gymnasium.Env[Any, Any]):
    """Ten steps of reward 1, and whatever goes wrong in a test."""

    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    spec = None

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        late = self.steps == 120
        if late and self.wrong == "raises":
            raise ValueError("the board is gone")
        if late and self.wrong == "hangs":
            while True:
                time.sleep(0.05)
        reward = np.nan if late and self.wrong == "nan" else 1.0
        return self._seen(), reward, self.steps % 10 == 0, False, {}

    def _seen(self) -> Any:
        if self.wrong == "shape" and self.steps >= 120:
            return np.zeros(3, np.float32)
        draw = np.random.default_rng() if self.wrong == "unseeded" else self.np_random
        return draw.normal(size=2).clip(-9, 9).astype(np.float32)


def corridor(wrong: str) -> Callable[[], Any]:
    here = os.getpid()

    def make() -> Corridor:
        if wrong == "full" and os.getpid() != here:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (2**11, 2**11))  # as if the disk was full
        return Corridor(wrong)

    return make


def test_evaluations_are_recorded_apart_and_several_seeds_are_one() -> None:
    runs = train(
        "CartPole-v1", seeds=[5, 3], total_timesteps=6_000, evaluate_every=2_000, record=10, at_once=1
    )
    assert isinstance(runs, Runs)
    assert len(runs) == 2
    assert "queued" in repr(runs)
    first, second = runs
    assert [r.record.config["ppo"]["seed"] for r in runs] == [5, 3]
    runs.wait(120)
    assert [s.state for s in runs.status()] == ["done", "done"]
    assert "done" in runs._repr_html_()
    times = sql("select min(started_at) a, max(started_at) b from trajectories group by run_id order by a")
    assert times["b"][0] < times["a"][1], "at_once=1: one after the other"
    assert second.record.created_at > first.record.created_at
    for run in runs:
        curve = dict(run.metrics("eval_return_mean"))
        lows, highs = dict(run.metrics("eval_return_q10")), dict(run.metrics("eval_return_q90"))
        steps = list(curve)
        assert steps[0] == 0
        assert steps[-1] == run.status().step
        assert len(steps) == 4, "before, and after each 2,000 steps"
        assert all(lows[s] <= highs[s] for s in steps)
        assert run.status().summary["eval_return_mean"] == curve[steps[-1]]
        assert run.status().summary["eval_return_best"] == max(list(curve.values())[1:])
        kept = sql(
            'select "group" as g, agent, count(*) as n, avg("return") as mean from trajectories '
            "where run_id = ? group by all order by g nulls first",
            [run.id],
        )
        assert kept["agent"].tolist() == ["ppo", "policy"]
        assert kept["g"].tolist()[1] == "evaluation"
        assert kept["n"].tolist()[1] == 20 * len(steps)
        # Every tenth of all that finished; the metrics are those of all.
        assert 0 < kept["n"][0] < 60
        assert len(run.metrics("return_mean")) == len(run.metrics("entropy"))
        assert run.metrics("return_mean")[-1][1] < 60, "returns of the training hold no evaluation"


def test_a_queued_run_stops_at_once() -> None:
    first = train("CartPole-v1", total_timesteps=50_000_000, at_once=1, record="none")
    until(lambda: first.status().step > 0, "the first runs")
    second = train("CartPole-v1", total_timesteps=50_000_000, at_once=1)
    second.stop()
    assert second.wait(120).status().state == "stopped"
    first.pause()
    third = train("CartPole-v1", total_timesteps=2_000, at_once=1)
    assert third.wait(120).status().state == "done", "a paused run lends its slot"
    first.resume()
    until(lambda: first.status().state == "running", "has it back")
    Runs((first,)).stop()
    assert first.wait(120).status().state == "stopped"
    assert sql("select count(*) as n from trajectories where run_id = ?", [first.id])["n"][0] == 0
    assert first.metrics("return_mean")


def test_an_environment_that_only_this_process_has_registered_is_trained_on() -> None:
    gymnasium.register("OnlyHere-v0", entry_point=Corridor, max_episode_steps=7)
    summary = train("OnlyHere-v0", total_timesteps=400, **SHORT).wait(120).status().summary
    assert summary["eval_return_mean"] == 7
    assert "warnings" not in summary, "it follows its seed"


def test_failures_have_a_reason_and_keep_what_was_recorded() -> None:
    wrongs = {
        "raises": "raised ValueError: the board is gone",
        "nan": "gave a NaN or infinite reward",
        "shape": "(3,)",
        "hangs": "the environment hangs: Corridor.step at test_training.py:",
        "full": "cannot write",
    }
    started = {
        wrong: train(
            corridor(wrong), total_timesteps=4_000, hang_after_s=2 if wrong == "hangs" else 300, **SHORT
        )
        for wrong in wrongs
    }
    for wrong, run in started.items():
        with pytest.raises(RunError) as caught:
            run.wait(120)
        assert wrongs[wrong] in str(caught.value), wrong
        assert "log.txt" in str(caught.value)
        assert run.status().state == "failed"
        log = run.folder / "log.txt"
        until(lambda log=log: "most recent call" in log.read_text(), f"{wrong}: a stack in the log")
        kept = sql("select count(*) as n from trajectories where run_id = ?", [run.id])["n"][0]
        # In four environments: of two roll-outs of 50 steps each, or up to the step before the 120th.
        assert kept == {"full": 0, "hangs": 40}.get(wrong, 44), f"{wrong}: episodes of 10 steps"
    with pytest.raises(RunError, match="5 of 5 runs did not end well"):
        Runs(tuple(started.values())).wait()


@pytest.mark.parametrize(("looks", "hangs"), [(3, False), (6, True)])
def test_a_process_that_stood_still_does_not_hang(looks: int, hangs: bool) -> None:
    """Time passes between two looks without the environment having had a turn."""
    told: list[str] = []

    class Stopped(threading.Event):
        left = looks

        def wait(self, timeout: float | None = None) -> bool:
            self.left -= 1
            time.sleep(0.5 if self.left == 1 else 0)
            return self.left < 0

    class Waits(Corridor):
        def step(self, action: Any) -> Any:
            given = (threading.get_ident(), 0.4, told.append, Stopped())
            watchdog = threading.Thread(target=_watch, args=given)
            watchdog.start()
            watchdog.join()

    try:
        Waits().step(0)
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert [where.split(" at ")[0] for where in told] == ["Waits.step"] * hangs


def test_an_environment_without_a_seed_is_noticed() -> None:
    run = train(corridor("unseeded"), total_timesteps=400, **SHORT)
    [warning] = run.wait(120).status().summary["warnings"]
    assert "does not follow its seed" in warning
    assert "self.np_random" in warning


def test_out_of_memory_is_advice_with_numbers() -> None:
    run = train("CartPole-v1", n_steps=2**33)
    with pytest.raises(RunError, match=r"out of memory: .*iB more was needed, .*iB .*free; take .*n_envs"):
        run.wait(120)


def test_seeds_that_cannot_be() -> None:
    with pytest.raises(TrainingError, match="leave one out"):
        train("CartPole-v1", seed=1, seeds=[1])  # type: ignore[call-overload]
    for seeds in ([], [1, 1], 3):
        with pytest.raises(TrainingError, match="such as range"):
            train("CartPole-v1", seeds=seeds)  # type: ignore[call-overload]
    with pytest.raises(TrainingError, match=r"seed=\[1\] must be a whole number"):
        train("CartPole-v1", seeds=[[1]])  # type: ignore[list-item]
