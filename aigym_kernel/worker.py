"""The background process of a training: `runs.train` starts it on a run's folder.

    python -c "from aigym_kernel.worker import work; work('data/runs/<run_id>')"

It trains what ``run.json`` asks for, records it, evaluates the policy before and after on seeds of its
own, and saves it. A file named ``stop`` in the folder, or SIGTERM, ends it after the current update.
"""

from __future__ import annotations

import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from aigym_kernel.envs import EnvSource
from aigym_kernel.recording import Report, recording
from aigym_kernel.store import RunRecord, RunState, Store, Writer
from aigym_kernel.train import ALGORITHMS, evaluate

EVALUATION_SEED = 10_000
"""Added to a training's seed, so that no evaluation plays an episode it was trained on."""


def work(folder: str | Path) -> None:
    """Carry out the training that ``folder/run.json`` asks for."""
    path = Path(folder)
    sys.stdin.read()  # Until whoever started this has written down our process id, or is gone.
    store = Store(path.parent.parent)
    record = store.run(path.name)
    (path / "artifacts").mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: (path / "stop").touch())
    total = int(record.config[record.config["algo"]]["total_timesteps"])
    try:
        with recording(store, record.run_id, total_steps=total) as (writer, report):
            _train(path, record, writer, report)
        store.compact(record.run_id)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _train(path: Path, record: RunRecord, writer: Writer, report: Report) -> None:
    algo, env_kwargs = record.config["algo"], record.config["env_kwargs"]
    env = _environment(path, record)
    algorithm = ALGORITHMS[algo]
    config = algorithm.config(**record.config[algo])

    def evaluated(policy: Any) -> float:
        played = evaluate(policy, env, seed=config.seed + EVALUATION_SEED, env_kwargs=env_kwargs)
        return sum(t.total_reward for t in played) / len(played)

    started = time.perf_counter()
    state: RunState = "running"
    for update in algorithm.train(env, config, env_kwargs=env_kwargs):
        if update.step == 0:
            report(0, {"eval_return_mean_before": evaluated(update.policy)}, total_steps=update.total_steps)
            started = time.perf_counter()
        else:
            writer.batch(update.trajectories)
            writer.metrics(update.step, update.metrics)
        report(update.step)
        if (path / "stop").exists():
            state = "stopped"
            break
    seconds = time.perf_counter() - started
    update.policy.save(path / "artifacts" / "policy.safetensors")
    summary = {
        "return_mean": update.metrics.get("return_mean"),
        "eval_return_mean": evaluated(update.policy),
        "steps_per_second": round(update.step / seconds, 1),
        "train_s": round(seconds, 2),
    }
    report(update.step, summary, state=state)


def _environment(path: Path, record: RunRecord) -> EnvSource:
    """The environment's id, or the function that `runs.train` was given."""
    pickled = path / "artifacts" / "make_env.pkl"
    if not pickled.is_file():
        return str(record.config["env"])
    import cloudpickle

    make_env: EnvSource = cloudpickle.loads(pickled.read_bytes())
    return make_env
