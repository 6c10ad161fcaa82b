"""AIGYM's task files, by the name under which the other formats are read. See `aigym_kernel.tasks.aigym`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigym_kernel.tasks import Task, load_task


def aigym(path: str | Path, *, checks: Mapping[str, Any] | None = None) -> Task:
    """The task in a file with AIGYM's keys. Each criterion is graded by a language model, or by the Check (or
    its keys) that it names itself, or that ``checks`` names by its description; it passes from 0.6 on.

    Raises:
        TaskError: the file, or one that it names, is wrong.
        UnknownName: no criterion has a description that ``checks`` names.
    """
    return load_task(Path(path), checks=checks)
