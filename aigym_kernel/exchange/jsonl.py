"""JSON Lines of our own: one trajectory a line, nothing lost, as `plain` writes them.

    write(path, trajectories)      returns how many; takes them one by one
    read(path)                     yields them one by one

    {"aigym_trajectory": 1, "id": "...", "env_id": "CartPole-v1", "agent": "ppo", "terminated": true, ...,
     "observations": {"$array": "float32", "shape": [11, 4], "values": [...]}, "actions": ..., "rewards": ...}

A line has the fields of `Trajectory` that differ from their defaults. A line larger than `files.LARGEST` is
neither written nor read; `parquet` has no such limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import files, plain
from aigym_kernel.trajectories import Trajectory


def write(path: Path, trajectories: Iterable[Trajectory]) -> int:
    """One line per trajectory.

    Raises:
        ExchangeError: the file exists or cannot be written, or a trajectory makes too large a line.
    """
    count = 0
    with files.new_file(path) as file:
        for trajectory in trajectories:
            file.write(_line(trajectory))
            count += 1
    return count


def _line(trajectory: Trajectory) -> bytes:
    try:
        record = plain.from_trajectory(trajectory)
        line = plain.dumps(record, trajectory.id).encode("utf-8")
    except RecursionError:
        raise plain.too_deep(trajectory.id) from None
    if len(line) > files.LARGEST:
        raise ExchangeError(
            f"trajectory {trajectory.id!r} makes a line of {len(line) / 2**20:.0f} MiB, more than the "
            f"{files.LARGEST // 2**20} that are read back; use Parquet"
        )
    return line + b"\n"


def read(path: Path) -> Iterator[Trajectory]:
    """The trajectories in their order.

    Raises:
        ExchangeError: the file cannot be read, or a line is no trajectory; names the line.
    """
    for number, text in files.lines(path):
        record = files.parse(text, path, number)
        try:
            yield plain.to_trajectory(record)
        except RecursionError:
            raise ExchangeError(f"{path}: line {number}: its values are nested too deep") from None
        except (ValueError, OverflowError) as e:
            raise ExchangeError(f"{path}: line {number}: {e}") from None
