"""``aigym judge --format``: all the problems of a file in a foreign format, with solutions to them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from aigym_kernel.sandboxes import Sandbox
    from aigym_kernel.tasks import Task
    from aigym_kernel.trajectories import Score

CANONICAL = "canonical"
KS = (1, 2, 5, 10, 20, 50, 100)


def judge_samples(
    problems: Path, read: Callable[[Path], list[Task]], solutions: str, sandbox: str | None, workers: int
) -> dict[str, Any]:
    """Judge every solution, ``workers`` at a time: counts, pass@k, times, and a result per solution.

    Raises:
        AigymError: a file is wrong, or no box can be opened.
    """
    from aigym_kernel.formats.samples import read_samples
    from aigym_kernel.sandboxes import open_sandbox

    tasks = read(problems)
    if solutions == CANONICAL:
        pairs = [(task, text) for task in tasks for text in task.reference]
    else:
        pairs = read_samples(solutions, tasks)
    boxes = open_sandbox(sandbox)
    started = time.perf_counter()
    scores = _judged(pairs, boxes, workers)
    wall_s = time.perf_counter() - started
    given = {task.title for task, _ in pairs}
    return {
        **_counted(scores),
        "tasks": len(tasks),
        "missing": [task.title for task in tasks if task.title not in given],
        "repeated": len(pairs) - len({(task.id, text) for task, text in pairs}),
        "sandbox": boxes.name,
        "workers": workers,
        "wall_s": round(wall_s, 3),
        "seconds_per_solution": round(wall_s / len(pairs), 4),
        "results": _results(pairs, scores),
    }


def _judged(pairs: Sequence[tuple[Task, str]], boxes: Sandbox, workers: int) -> list[Score]:
    from tqdm import tqdm

    from aigym_kernel.errors import AigymError, SandboxError
    from aigym_kernel.executors import Threads, in_order
    from aigym_kernel.judge import judge, unjudged

    broken = []

    def one(pair: tuple[Task, str]) -> Score:
        try:
            # As a file, never as what might be the path of one here.
            return judge(pair[0], {pair[0].answer: pair[1]}, sandbox=boxes)
        except AigymError as error:  # one that is too large, say, must not stop the others
            broken.extend([error] if isinstance(error, SandboxError) else [])
            return unjudged(pair[0], f"could not be judged: {error}")

    crew = Threads(one, workers)
    scores = list(tqdm(in_order(pairs, crew), total=len(pairs), unit=" solutions", disable=None))
    if len(broken) == len(scores):
        raise broken[0]
    return scores


def _counted(scores: Sequence[Score]) -> dict[str, Any]:
    """How many passed, and pass@k for as many k as every task has judged solutions."""
    from aigym_kernel.judge.batch import pass_at_k

    judged = [score for score in scores if score.total is not None]
    fewest = min(Counter(score.task_id for score in judged).values(), default=0)
    return {
        "passed": sum(score.passed for score in scores),
        "total": len(scores),
        "unjudged": len(scores) - len(judged),
        **{f"pass@{k}": pass_at_k(judged, k=k) for k in KS if k <= fewest},
    }


def _results(pairs: Sequence[tuple[Task, str]], scores: Sequence[Score]) -> list[dict[str, Any]]:
    numbers: Counter[str] = Counter()
    results = []
    for (task, _), score in zip(pairs, scores):
        numbers[task.id] += 1
        results.append(
            {
                "task_id": task.title,
                "sample": numbers[task.id],
                "status": "unjudged" if score.total is None else "passed" if score.passed else "failed",
                "seconds": round(score.wall_s, 4),
                "feedback": score.marks[0].feedback,
            }
        )
    return results


def told(found: dict[str, Any]) -> str:
    """What `judge_samples` found, for a person to read."""
    lines = [
        f"{r['task_id']} {r['sample']}: {r['status']}, {r['feedback']}"
        for r in found["results"]
        if r["status"] != "passed"
    ]
    rates = "".join(f", {k} {v:.3f}" for k, v in found.items() if k.startswith("pass@"))
    lines.append(
        f"{found['passed']} of {found['total']} solutions passed{rates} "
        f"({found['wall_s']:.1f} s, {found['seconds_per_solution'] * 1000:.0f} ms per solution)"
    )
    return "\n".join(lines)


def warn(found: dict[str, Any]) -> None:
    """Say on standard error what the counts alone do not: tasks without a solution, and repeated ones."""
    missing, repeated = found["missing"], found["repeated"]
    if missing:
        some = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        click.echo(f"note: {len(missing)} of {found['tasks']} tasks have no solution: {some}", err=True)
    if repeated:
        click.echo(f"note: {repeated} solutions are the same as an earlier one of their task", err=True)
