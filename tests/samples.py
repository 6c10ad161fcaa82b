"""A task of a few lines, for tests of the judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from aigym_kernel.judge import judge
from aigym_kernel.tasks import Task, load_task
from aigym_kernel.trajectories import Mark, Score


def make(folder: Path, checks: list[dict[str, Any]], hidden: Mapping[str, Any], **changes: Any) -> Task:
    """A task in ``folder``; what is not text in ``hidden`` is written as YAML."""
    rubric = {"criteria": [{"name": f"c{i}", **c} for i, c in enumerate(checks)]} | changes.pop("rubric", {})
    data = {
        "id": folder.name,
        "title": "A sample",
        "kind": "code",
        "prompt": "Do it.",
        "answer": "solution.py",
        "limits": {"wall_s": 60.0, "memory_mb": 128},
        "rubric": rubric,
    }
    (folder / "hidden").mkdir(parents=True)
    (folder / "files").mkdir()
    (folder / "task.yaml").write_text(yaml.safe_dump(data | changes))
    for name, content in hidden.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (folder / "hidden" / name).write_text(text)
    return load_task(folder)


def hurried(task: Task, wall_s: float = 1.0) -> Task:
    """The same with less time, for solutions that never end: where the machine is busy, others need more."""
    return replace(task, limits=replace(task.limits, wall_s=wall_s))


def only(score: Score) -> Mark:
    """The mark of a score that has one."""
    assert len(score.marks) == 1
    return score.marks[0]


def marked(
    folder: Path, check: dict[str, Any], hidden: Mapping[str, Any], solution: Any, **changes: Any
) -> Mark:
    """The mark of one check on a solution."""
    return only(judge(make(folder / "sample", [{"check": check}], hidden, **changes), solution))
