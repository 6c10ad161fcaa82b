"""What machine a measurement was taken on, and what else it was doing."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def machine(load_before: Sequence[float], **more: Any) -> dict[str, Any]:
    """Plain values for a file in ``results/``; ``load_before`` is what `os.getloadavg` said at the start."""
    return {
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "load_before": [round(value, 2) for value in load_before],
        "load_after": [round(value, 2) for value in os.getloadavg()],
        **more,
    }


def keep(path: Path, result: Mapping[str, Any]) -> None:
    """Write what was measured, and say where."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")
