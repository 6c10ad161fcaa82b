"""Tasks (placeholder until the YAML loader lands): Limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program in a sandbox may use: seconds, MiB, processes, KiB per output stream."""

    wall_s: float = 10.0
    cpu_s: float | None = None
    memory_mb: int = 512
    pids: int = 64
    disk_mb: int = 64
    output_kb: int = 1024
