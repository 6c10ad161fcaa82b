"""A bench in a process of its own, which outlives whoever started it.

    start(folder, workers=2)        returns its process id at once

The folder's lock is taken here and passed on to that process, so that nobody comes between; what it says is
in ``log.txt``. Its standard input tells it what to do; the process itself is `work`.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from aigym_kernel import starting
from aigym_kernel.bench import holding
from aigym_kernel.errors import AigymError
from aigym_kernel.executors import Ray
from aigym_kernel.store.records import cannot_write


def start(folder: Path, *, workers: int | None = None, executor: Ray | None = None) -> int:
    """Carry the bench in ``folder`` out in the background, in a session of its own: Ctrl-C here does not
    reach it.

    Raises:
        BenchError: another process works on it.
        StoreError: the folder cannot be written.
    """
    hold = holding.take(folder, workers=workers or 1)
    orders: dict[str, Any] = {"lock": hold.file.fileno(), "workers": workers}
    if executor is not None:
        orders["ray"] = {"address": executor.address}
    try:
        process = starting.spawn("aigym_kernel.bench.background", folder, keep=[hold.file.fileno()])
        hold.name(workers=workers or 1, pid=process.pid)
    except OSError as problem:
        raise cannot_write(folder / "log.txt", problem) from None
    finally:
        hold.release()
    starting.tell(process, orders)
    return process.pid


def work(folder: str | Path) -> None:
    """What that process does."""
    path = Path(folder)
    orders = json.loads(sys.stdin.read())
    hold = holding.inherited(path, orders["lock"])
    from aigym_kernel.bench.scheduling import carry_out
    from aigym_kernel.bench.telling import Event

    def tell(event: Event) -> None:
        if event.what != "progress":
            print(time.strftime("%Y-%m-%d %H:%M:%S"), event.line, flush=True)

    executor = Ray(**orders["ray"]) if "ray" in orders else None
    try:
        carry_out(path, workers=orders["workers"], executor=executor, tell=tell, hold=hold)
    except AigymError as problem:
        print(f"error: {problem}", flush=True)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
