"""The loop of a background training: what happens between two Updates.

    with recording(store, run_id, total_steps=total) as (writer, report):
        Training(folder, record, writer, report, turn=turn).carry_out(resume=path, rewound=rewound)

Each Update is recorded; then the run does what it was asked meanwhile (`control`): it pauses, stops, saves,
takes another learning rate, plays a step of the game that is watched (`live`). The policy is evaluated on
environments and seeds of its own, and the training saved before that is needed. Nothing is learnt here: that
is the trainer's.

    artifacts/checkpoints/latest.safetensors  every ``save_every_s`` seconds, at a pause, on stop, on request
    artifacts/checkpoints/best.safetensors    at the best evaluation
    artifacts/checkpoints/progress.json       what else goes on from a checkpoint, by its step
    artifacts/policy.safetensors              at the end
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aigym_kernel import carried, settings
from aigym_kernel.batches import Batch, Update
from aigym_kernel.control import Reader
from aigym_kernel.devices import Meter, out_of_memory
from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.replay import retrace
from aigym_kernel.errors import StoreError
from aigym_kernel.keeping import Keeper
from aigym_kernel.live import Live
from aigym_kernel.options import Options
from aigym_kernel.recording import Report
from aigym_kernel.slots import Slot
from aigym_kernel.store import Rewound, RunRecord, Writer
from aigym_kernel.store.records import replace_file
from aigym_kernel.train import ALGORITHMS, evaluate
from aigym_kernel.train.finished import finished_before
from aigym_kernel.trajectories import Trajectory

EVALUATION_SEED = 10_000
"""Added to a training's seed, so that no evaluation plays an episode it was trained on."""

LOOK_S = 0.05
"""How often a training looks whether something was asked of it."""

CHECKED_STEPS = 2_000
"""So much of the first trajectory is played again, to see whether the environment follows its seed."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What goes on from a checkpoint beside the trainer's own state: seconds trained, trajectories seen, the
    step of the next evaluation, the best one so far, the learning rate last asked for, the summary."""

    train_s: float = 0.0
    seen: int = 0
    evaluate_at: int = 0
    best: float | None = None
    rate: float | None = None
    summary: dict[str, Any]


class Training:
    """One training in its own process, from the first Update to the last."""

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        writer: Writer,
        report: Report,
        *,
        slot: Slot,
        turn: Callable[[], Slot | None],
    ) -> None:
        """``turn`` waits for the slot that comes after a pause; None when asked to stop."""
        self._folder, self._writer, self._report = folder, writer, report
        self._algo = record.config["algo"]
        self._config = ALGORITHMS[self._algo].config(**record.config[self._algo])
        self._options = Options(**record.config.get("run", {}))
        self._env, self._policy = carried.environment(folder, record), carried.policy(folder)
        self._env_kwargs: dict[str, Any] = record.config["env_kwargs"]
        self._device = str(settings.device(self._config.device))
        self._checkpoints = folder / "artifacts" / "checkpoints"
        self._reader = Reader(folder)
        self._live = Live(folder, self._env, self._env_kwargs, self._config.seed)
        self._meter = Meter()
        self._slot, self._turn = slot, turn
        self._progress = Progress(evaluate_at=self._options.evaluate_every or 0, summary={})
        self._keeper = Keeper(self._options.record)
        self._rewound: Rewound | None = None
        self._from = 0  # the step that was resumed from; all up to it is in the store
        self._saves = self._reader.read().save
        self._began = self._saved = time.perf_counter()
        self._looked = 0.0
        self._checked = False
        self._evaluated = -1

    def carry_out(self, resume: Path | None = None, step: int = 0, rewound: Rewound | None = None) -> None:
        """Train to the end, or until asked to stop.

        Args:
            resume: the checkpoint of ``step`` to go on from; ``rewound`` is what `store.rewind` returned.

        Raises:
            TrainingError: memory ran out; and what the trainer raises.
        """
        self._from, self._rewound, self._checked = step, rewound, resume is not None
        if resume is not None:
            self._progress = read_progress(self._checkpoints, step) or self._progress
            self._keeper.seen = self._progress.seen
        try:
            self._loop(resume)
        except Exception as problem:
            if clear := out_of_memory(problem, self._config, self._device):
                raise clear from problem
            raise

    def _loop(self, resume: Path | None) -> None:
        # Iterator is all that a trainer promises; each is a generator, which can be told things.
        updates: Generator[Update, Any, None] = ALGORITHMS[self._algo].train(
            self._env, self._config, env_kwargs=self._env_kwargs, policy=self._policy, resume=resume
        )  # type: ignore[assignment]
        message: dict[str, float] | None = None
        stopped = False
        try:
            while not stopped:
                try:
                    update = updates.send(message)
                except StopIteration:
                    break
                except Exception as problem:
                    with suppress(StoreError):  # the first problem is the one to hear of
                        self._record(finished_before(problem))
                    raise
                if update.step == 0 and resume is None:
                    self._begin(update)
                elif update.step > self._from:
                    self._take(update)
                elif anew := int(update.metrics.get("episodes_not_restored", 0)):
                    self._warn(
                        f"{anew} unfinished episodes began anew when the run was resumed: with the same seed "
                        "and actions their environment went another way"
                    )
                self._report(update.step, total_steps=update.total_steps)
                stopped, message = self._obey(update)
        finally:
            updates.close()
            self._live.close()
        self._end(update, stopped=stopped)

    def _begin(self, update: Update) -> None:
        """Before anything is learnt."""
        if not (self._folder / "waypoints.json").exists():
            self._writer.waypoint(0)
        mean = self._evaluate(update)
        self._report(0, {"eval_return_mean_before": mean}, total_steps=update.total_steps)
        self._began = self._saved = time.perf_counter()

    def _take(self, update: Update) -> None:
        """Record an Update, and evaluate and save when it is time to."""
        self._record(update.trajectories)
        self._writer.metrics(update.step, {**update.metrics, **self._meter.read(self._device)})
        if "return_mean" in update.metrics:
            self._report(update.step, {"return_mean": update.metrics["return_mean"]})
        if not self._checked and len(update.trajectories):
            self._checked = True
            if problem := not_repeated(update.trajectories[0], self._env):
                self._warn(problem)
        every = self._options.evaluate_every
        if every and update.step >= self._progress.evaluate_at:
            self._progress = replace(self._progress, evaluate_at=(update.step // every + 1) * every)
            mean = self._evaluate(update)
            if self._progress.best is None or mean > self._progress.best:
                self._progress = replace(self._progress, best=mean)
                self._report(update.step, {"eval_return_best": mean, "eval_best_step": update.step})
                self._write(update, "best")
        if time.perf_counter() - self._saved >= self._options.save_every_s:
            self._save(update)

    def _record(self, finished: Batch) -> None:
        """Those that are to be kept."""
        batch = self._keeper.choose(finished)
        self._writer.batch(batch if self._rewound is None else self._rewound.renamed(batch))

    def _evaluate(self, update: Update) -> float:
        """The mean return on seeds of its own. Recorded where evaluations were asked for."""
        seed = self._config.seed + EVALUATION_SEED
        played = evaluate(update.policy, self._env, seed=seed, env_kwargs=self._env_kwargs)
        returns = [t.total_reward for t in played]
        mean = float(np.mean(returns))
        self._evaluated = update.step
        if self._options.evaluate_every:
            low, high = np.quantile(returns, (0.1, 0.9)).tolist()
            values = {"eval_return_mean": mean, "eval_return_q10": low, "eval_return_q90": high}
            self._writer.metrics(update.step, values)
            if self._options.record != "none":
                for trajectory in played:
                    own = trajectory if self._rewound is None else self._rewound.again(trajectory)
                    self._writer.trajectory(replace(own, group="evaluation"))
            self._report(update.step, values)
        return mean

    def _save(self, update: Update) -> None:
        """All that is needed to go on from here, in this order: the record, what this loop knows, the
        trainer's state. A kill in between leaves the checkpoint before with all that belongs to it."""
        self._checkpoints.mkdir(exist_ok=True)
        self._writer.waypoint(update.step)
        progress = replace(
            self._progress,
            train_s=self._seconds(),
            seen=self._keeper.seen,
            summary=dict(self._report.status.summary),
        )
        write_progress(self._checkpoints, update.step, progress)
        self._write(update, "latest")
        self._saved = time.perf_counter()

    def _write(self, update: Update, name: str) -> None:
        self._checkpoints.mkdir(exist_ok=True)
        update.checkpoint(self._checkpoints / f"{name}.safetensors")

    def _obey(self, update: Update) -> tuple[bool, dict[str, float] | None]:
        """Do what the run was asked: whether to stop, and what to tell the trainer."""
        now = time.perf_counter()
        if now - self._looked < LOOK_S:
            return False, None
        control, stopped = self._reader.read(), self._reader.stopped()
        watched = self._reader.watched()
        if watched:
            self._live.turn(update.policy, update.step, paced=control.speed == "watch")
        # At the pace of a game each update is looked after, else at most every `LOOK_S`.
        self._looked = 0.0 if watched else now
        if control.save != self._saves:
            self._saves = control.save
            self._save(update)
        if control.paused and not stopped:
            self._pause(update)
            control, stopped = self._reader.read(), self._reader.stopped()
        message = None
        if control.learning_rate is not None and control.learning_rate != self._progress.rate:
            self._progress = replace(self._progress, rate=control.learning_rate)
            message = {"learning_rate": control.learning_rate}
        return stopped, message

    def _pause(self, update: Update) -> None:
        """Save, give the slot to others, and wait until it is to go on, or to stop."""
        began = time.perf_counter()
        self._save(update)
        self._slot.release()
        self._report(update.step, state="paused", now=True)
        while self._reader.read().paused and not self._reader.stopped():
            time.sleep(LOOK_S)
        self._report(update.step, state="queued", now=True)
        if slot := self._turn():
            self._slot = slot
        self._report(update.step, now=True)
        self._began += time.perf_counter() - began

    def _seconds(self) -> float:
        """Trained so far, without pauses."""
        return self._progress.train_s + time.perf_counter() - self._began

    def _end(self, update: Update, *, stopped: bool) -> None:
        seconds = self._seconds()
        if stopped:
            self._save(update)
        update.policy.save(self._folder / "artifacts" / "policy.safetensors")
        last = self._report.status.summary.get("eval_return_mean")
        if self._evaluated != update.step or last is None:
            last = self._evaluate(update)
        summary = {
            "return_mean": update.metrics.get("return_mean"),
            "eval_return_mean": last,
            "steps_per_second": round(update.step / seconds, 1),
            "train_s": round(seconds, 2),
        }
        self._report(update.step, summary, state="stopped" if stopped else "running")
        if self._rewound is not None and not stopped and (lost := sorted(self._rewound.lost)):
            self._warn(
                f"notes or tags belong to {len(lost)} episodes recorded after the checkpoint that this run "
                f"was resumed from, and did not come again: {', '.join(lost[:5])}; see rewound/ in its folder"
            )

    def _warn(self, problem: str) -> None:
        status = self._report.status
        known = status.summary.get("warnings", [])
        self._report(status.step, {"warnings": [*known, problem]}, state=status.state, now=True)


def read_progress(checkpoints: Path, step: int) -> Progress | None:
    """What was written with the checkpoint of ``step``; None where nothing was."""
    with suppress(OSError, ValueError, KeyError):
        known = json.loads((checkpoints / "progress.json").read_text(encoding="utf-8"))
        return Progress(**known[str(step)])
    return None


def write_progress(checkpoints: Path, step: int, progress: Progress) -> None:
    """Keeps the one before as well: its checkpoint is there until the new one is."""
    path = checkpoints / "progress.json"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = dict(list(json.loads(path.read_text(encoding="utf-8")).items())[-1:])
    known.pop(str(step), None)
    replace_file(path, json.dumps({**known, str(step): asdict(progress)}) + "\n")


def not_repeated(trajectory: Trajectory, env: EnvSource) -> str | None:
    """Why a trajectory cannot be had again from its seed and actions; None if it can."""
    way = retrace(trajectory, source=env)
    try:
        for _ in range(CHECKED_STEPS):
            next(way)
    except StopIteration as end:
        if end.value is None:
            return None
        return (
            f"{trajectory.env_id} does not follow its seed: played again with seed {trajectory.seed} and the "
            f"same actions, step {end.value} went another way; draw random numbers from self.np_random, and "
            "call super().reset(seed=seed)"
        )
    except Exception as problem:  # whatever an environment may raise
        return f"{trajectory.env_id} cannot be played again: {type(problem).__name__}: {problem}"
    finally:
        way.close()
    return None
