"""The loop of a background training: what happens between two Updates.

    with recording(store, run_id, total_steps=total) as (writer, report):
        Training(folder, record, writer, report).carry_out()

Each Update is recorded; then the run does what it was asked meanwhile (`control`): it pauses, stops, takes
another learning rate, plays a step of the game that is watched (`live`). The policy is evaluated before and
after on seeds of its own, and saved. Nothing is learnt here: that is the trainer's.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from aigym_kernel import settings
from aigym_kernel.batches import Update
from aigym_kernel.control import Reader
from aigym_kernel.devices import Meter, out_of_memory
from aigym_kernel.envs import EnvSource
from aigym_kernel.live import Live
from aigym_kernel.recording import Report
from aigym_kernel.store import RunRecord, Writer
from aigym_kernel.train import ALGORITHMS, evaluate

EVALUATION_SEED = 10_000
"""Added to a training's seed, so that no evaluation plays an episode it was trained on."""

LOOK_S = 0.05
"""How often a training looks whether something was asked of it."""


class Training:
    """One training in its own process, from the first Update to the last."""

    def __init__(self, folder: Path, record: RunRecord, writer: Writer, report: Report) -> None:
        self._folder, self._writer, self._report = folder, writer, report
        algo = record.config["algo"]
        self._algorithm = ALGORITHMS[algo]
        self._config = self._algorithm.config(**record.config[algo])
        self._env = _environment(folder, record)
        self._env_kwargs: dict[str, Any] = record.config["env_kwargs"]
        self._device = str(settings.device(self._config.device))
        self._reader = Reader(folder)
        self._live = Live(folder, self._env, self._env_kwargs, self._config.seed)
        self._meter = Meter()
        self._rate: float | None = None
        self._looked = 0.0
        self._waited = 0.0

    def carry_out(self) -> None:
        """Train to the end, or until asked to stop.

        Raises:
            TrainingError: memory ran out; and what the trainer raises.
        """
        try:
            self._loop()
        except Exception as problem:
            if clear := out_of_memory(problem, self._config, self._device):
                raise clear from problem
            raise

    def _loop(self) -> None:
        # Iterator is all that a trainer promises; each is a generator, which can be told things.
        updates: Generator[Update, Any, None] = self._algorithm.train(
            self._env, self._config, env_kwargs=self._env_kwargs
        )  # type: ignore[assignment]
        started = time.perf_counter()
        message: dict[str, float] | None = None
        stopped = False
        try:
            while not stopped:
                try:
                    update = updates.send(message)
                except StopIteration:
                    break
                if update.step == 0:
                    summary = {"eval_return_mean_before": self._evaluated(update)}
                    self._report(0, summary, total_steps=update.total_steps)
                    started = time.perf_counter()
                else:
                    self._writer.batch(update.trajectories)
                    self._writer.metrics(update.step, {**update.metrics, **self._meter.read(self._device)})
                self._report(update.step)
                stopped, message = self._obey(update)
        finally:
            updates.close()
            self._live.close()
        seconds = time.perf_counter() - started - self._waited
        self._end(update, seconds, stopped=stopped)

    def _obey(self, update: Update) -> tuple[bool, dict[str, float] | None]:
        """Do what the run was asked: whether to stop, and what to tell the trainer."""
        now = time.perf_counter()
        if now - self._looked < LOOK_S:
            return False, None
        control = self._reader.read()
        watched = self._reader.watched()
        if watched:
            self._live.turn(update.policy, update.step, paced=control.speed == "watch")
        # At the pace of a game each update is looked after, else at most every `LOOK_S`.
        self._looked = 0.0 if watched else now
        if control.paused and not self._reader.stopped():
            self._pause(update)
            control = self._reader.read()
        message = None
        if control.learning_rate is not None and control.learning_rate != self._rate:
            self._rate = control.learning_rate
            message = {"learning_rate": control.learning_rate}
        return self._reader.stopped(), message

    def _pause(self, update: Update) -> None:
        """Wait until it is to go on, or to stop."""
        began = time.perf_counter()
        self._writer.flush()
        self._report(update.step, state="paused", now=True)
        while self._reader.read().paused and not self._reader.stopped():
            time.sleep(LOOK_S)
        self._report(update.step, now=True)
        self._waited += time.perf_counter() - began

    def _evaluated(self, update: Update) -> float:
        seed = self._config.seed + EVALUATION_SEED
        played = evaluate(update.policy, self._env, seed=seed, env_kwargs=self._env_kwargs)
        return sum(t.total_reward for t in played) / len(played)

    def _end(self, update: Update, seconds: float, *, stopped: bool) -> None:
        update.policy.save(self._folder / "artifacts" / "policy.safetensors")
        summary = {
            "return_mean": update.metrics.get("return_mean"),
            "eval_return_mean": self._evaluated(update),
            "steps_per_second": round(update.step / seconds, 1),
            "train_s": round(seconds, 2),
        }
        self._report(update.step, summary, state="stopped" if stopped else "running")


def _environment(folder: Path, record: RunRecord) -> EnvSource:
    """The environment's id, or the function that `runs.train` was given."""
    pickled = folder / "artifacts" / "make_env.pkl"
    if not pickled.is_file():
        return str(record.config["env"])
    import cloudpickle

    make_env: EnvSource = cloudpickle.loads(pickled.read_bytes())
    return make_env
