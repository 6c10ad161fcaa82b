"""The background process of a training: `runs.train` starts it on a run's folder.

    python -c "from aigym_kernel.worker import work; work('data/runs/<run_id>')"

It trains what ``run.json`` asks for and records it (`loop`). A file named ``stop`` in the folder, or SIGTERM,
ends it after the current update.
"""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path

from aigym_kernel.loop import Training
from aigym_kernel.recording import recording
from aigym_kernel.store import Store


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
            Training(path, record, writer, report).carry_out()
        store.compact(record.run_id)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
