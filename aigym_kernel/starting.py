"""Start the process of a training, or start it again.

    start(store, record, options, together=5)       the first time
    start(store, record, options, resume=True)      from its latest checkpoint

Its standard input tells it how many may run beside it and on which kind of device (`slots`). Nothing is
checked here: `runs.train` and `Run.resume` do that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aigym_kernel import slots
from aigym_kernel.devices import share
from aigym_kernel.options import Options
from aigym_kernel.store import RunRecord, RunStatus, Store


def start(
    store: Store, record: RunRecord, options: Options, *, together: int = 1, resume: bool = False
) -> None:
    """Start `worker.work` in a session of its own, so that Ctrl-C here does not end it. The run is then
    ``queued``, until a slot is free."""
    config = record.config[record.config["algo"]]
    kind, gpus = share(config.get("device"))
    before = store.status(record.run_id)
    status = RunStatus(state="queued", total_steps=config["total_timesteps"])
    if resume:
        status = replace(status, step=before.step, total_steps=before.total_steps, summary=before.summary)
    orders: dict[str, Any] = {
        "kind": kind,
        "limit": options.at_once or (slots.cores() if kind == "cpu" else max(1, gpus)),
        "gpus": gpus,
        "together": together,
        "place": time.time() if resume else record.created_at,
        "resume": resume,
        "threads": before.summary.get("threads") if resume else None,
    }
    process = spawn("aigym_kernel.worker", store.run_folder(record.run_id))
    try:
        store.write_status(record.run_id, replace(status, pid=process.pid))
    finally:
        tell(process, orders)


def spawn(module: str, folder: Path, *, keep: Collection[int] = ()) -> subprocess.Popen[bytes]:
    """A process in a session of its own that calls ``work(folder)`` of a module and writes to the folder's
    log.txt. ``keep``: descriptors that it inherits. It waits for what `tell` says."""
    # What can be imported here can be imported there: a pickled function, a notebook may need it.
    paths = os.pathsep.join(path for path in sys.path if path)
    code = f"import sys; from {module} import work; work(sys.argv[1])"
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
            pass_fds=tuple(keep),
        )
    threading.Thread(target=process.wait, name=f"reaps {folder.name}", daemon=True).start()
    return process


def tell(process: subprocess.Popen[bytes], orders: Mapping[str, Any]) -> None:
    """Its orders, once and whole, on its standard input."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(orders).encode())
    process.stdin.close()
