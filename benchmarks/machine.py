"""What machine a measurement was taken on, and what else it was doing."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
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
