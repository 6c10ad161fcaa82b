"""What ``import aigym_kernel`` costs beside a bare interpreter: both, in turns, 30 times each.

.venv/bin/python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

CASES = {"bare interpreter": "pass", "import aigym_kernel": "import aigym_kernel"}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(30):
        for name, code in CASES.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[name].append(1000 * (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:20} {median:6.1f} ms (median of 30)")
    bare, ours = medians.values()
    print(f"ratio {ours / bare:.2f}")


if __name__ == "__main__":
    main()
