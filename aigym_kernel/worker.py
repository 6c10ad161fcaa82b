"""The background process of a training: `starting.start` starts it on a run's folder.

    python -c "from aigym_kernel.worker import work; work('data/runs/<run_id>')"     orders on standard input

It waits for a slot (`slots`), for which it loads next to nothing; then it trains what ``run.json`` asks for
and records it (`loop`), resumed from its latest checkpoint where the orders say so. A file named ``stop`` in
the folder, or SIGTERM, ends it after the current update.

In a cell of a bench (`bench`) AIGYM_CELL_PID names the cell's process, with which the training ends, and
AIGYM_CELL the cell's folder, whose slots it takes: what other cells do does not change when it is its turn.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from aigym_kernel import slots
from aigym_kernel.slots import Slot

_LAST_WORDS_S = 120.0


def work(folder: str | Path) -> None:
    """Carry out the training that ``folder/run.json`` asks for."""
    path = Path(folder)
    # Until whoever started this has written down our process id, or is gone.
    orders: dict[str, Any] = json.loads(sys.stdin.read() or "{}")
    signal.signal(signal.SIGTERM, lambda *_: (path / "stop").touch())
    if cell := os.environ.get("AIGYM_CELL_PID"):
        threading.Thread(target=_end_with, args=(int(cell), path), daemon=True).start()
    slot = _turn(path, orders)
    if slot is None:
        _stopped_early(path)
        return
    if slot.gpu is not None:
        # Before torch is imported, which looks at it then.
        os.environ["CUDA_VISIBLE_DEVICES"] = visible(slot.gpu)
        orders["gpu"] = slot.gpu
    try:
        _train(path, orders, slot)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    finally:
        slot.release()


def visible(gpu: int) -> str:
    """What CUDA_VISIBLE_DEVICES is to be for the GPU with this number among those that can be seen now."""
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return seen[gpu] if gpu < len(seen) else str(gpu)


def _end_with(pid: int, path: Path) -> None:
    """When this process is gone: stop after the current update, as on SIGTERM, or soon in any case."""
    try:
        if hasattr(os, "pidfd_open"):
            select.select([os.pidfd_open(pid)], [], [])
        else:
            while True:
                os.kill(pid, 0)
                time.sleep(1)
    except ProcessLookupError:
        pass
    (path / "stop").touch()
    time.sleep(_LAST_WORDS_S)
    os._exit(1)


def _turn(path: Path, orders: dict[str, Any]) -> Slot | None:
    cell = os.environ.get("AIGYM_CELL")
    return slots.take(
        Path(cell) if cell else path.parent.parent,
        f"{orders.get('place', 0):020.6f}-{path.name}",
        kind=orders.get("kind", "cpu"),
        limit=orders.get("limit") or slots.cores(),
        gpus=orders.get("gpus", 0),
        gpu=orders.get("gpu"),
        together=orders.get("together", 1),
        stopped=(path / "stop").exists,
    )


def _stopped_early(path: Path) -> None:
    """It was asked to stop before its turn came."""
    from aigym_kernel.store import Store

    store = Store(path.parent.parent)
    store.write_status(path.name, replace(store.status(path.name), state="stopped"))


def _train(path: Path, orders: dict[str, Any], slot: Slot) -> None:
    from aigym_kernel.devices import use_threads
    from aigym_kernel.loop import Training, read_progress
    from aigym_kernel.options import Options
    from aigym_kernel.recording import hung, reason, recording
    from aigym_kernel.store import Store, rewind
    from aigym_kernel.train.checkpoints import load
    from aigym_kernel.watchdog import watching

    store = Store(path.parent.parent)
    record = store.run(path.name)
    checkpoints = path / "artifacts" / "checkpoints"
    checkpoints.parent.mkdir(exist_ok=True)
    total = int(record.config[record.config["algo"]]["total_timesteps"])
    limit = Options(**record.config.get("run", {})).hang_after_s
    resume, step, rewound, progress = None, 0, None, None
    try:
        if orders.get("resume"):
            if (checkpoints / "latest.safetensors").is_file():
                resume = checkpoints / "latest.safetensors"
                step = load(resume).step
                progress = read_progress(checkpoints, step)
            if (path / "waypoints.json").exists():
                rewound = rewind(store, record.run_id, step)
    except Exception as problem:
        failed = replace(store.status(record.run_id), state="failed", error=reason(problem))
        store.write_status(record.run_id, failed)
        raise
    summary = {"threads": use_threads(orders.get("threads") or slot.threads)}
    if progress is not None:
        summary = {**progress.summary, **summary}
    with recording(store, record.run_id, total_steps=total, step=step, summary=summary) as (writer, report):
        training = Training(path, record, writer, report, slot=slot, turn=lambda: _turn(path, orders))
        with watching(limit, lambda where: hung(writer, report, where, limit)):
            training.carry_out(resume, step, rewound)
    store.compact(record.run_id)
