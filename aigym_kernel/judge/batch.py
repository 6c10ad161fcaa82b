"""Many solutions of one task judged at once, and pass@k.

    scores = judge_many("two-sum", [first, second, third], workers=4)
    scores[1], len(scores), scores.pass_at_k(2)       in the order of the solutions
    pass_at_k(20, 3, 5)                               of 20 samples 3 passed; k = 5

pass@k counts whether a score passed; partial credit is each score's ``total``, and ``scores.mean`` the mean
of these. What could not be judged counts in neither: it is no failure.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, overload

from aigym_kernel import rendering
from aigym_kernel import scores as counts
from aigym_kernel.errors import AigymError, SandboxError, check_whole
from aigym_kernel.judge import judge, unjudged
from aigym_kernel.judge.llm import Model
from aigym_kernel.sandboxes import open_sandbox
from aigym_kernel.sandboxes.protocol import Sandbox
from aigym_kernel.tasks import Task, load_task
from aigym_kernel.trajectories import Score

ROWS = 200


@dataclass(frozen=True)
class Scores:
    """The verdicts on several solutions, in their order."""

    scores: tuple[Score, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __getitem__(self, number: int) -> Score:
        return self.scores[number]

    @property
    def passed(self) -> int:
        """How many passed."""
        return sum(score.passed for score in self.scores)

    @property
    def mean(self) -> float | None:
        """The mean total of those that could be judged; None if there are none."""
        totals = [score.total for score in self.scores if score.total is not None]
        return sum(totals) / len(totals) if totals else None

    def pass_at_k(self, k: int) -> float:
        """See `pass_at_k`."""
        return pass_at_k(self.scores, k=k)

    def __str__(self) -> str:
        mean = "-" if self.mean is None else f"{self.mean:.2f}"
        lost = sum(score.total is None for score in self.scores)
        return f"{self.passed} of {len(self)} passed, mean score {mean}" + (
            f", {lost} could not be judged" if lost else ""
        )

    def _repr_html_(self) -> str:
        colours = {"passed": rendering.GOOD, "failed": rendering.BAD, "unjudged": rendering.DULL}
        names = list(dict.fromkeys(mark.name for score in self.scores for mark in score.marks))
        rows = []
        for number, score in enumerate(self.scores[:ROWS]):
            word = "passed" if score.passed else "unjudged" if score.total is None else "failed"
            values = {mark.name: mark.value for mark in score.marks}
            wrong = next((m.feedback for m in score.marks if m.status != "passed"), "")
            rows.append(
                [
                    number,
                    rendering.badge(word, colours[word]),
                    _number(score.total),
                    *(_number(values.get(name)) for name in names),
                    f"{score.wall_s:.2f} s",
                    rendering.short(wrong, 120),
                ]
            )
        more = f" (the first {ROWS} are shown)" if len(self) > ROWS else ""
        headers = ["", "", "score", *names, "took", "what is wrong first"]
        return rendering.table(headers, rows, f"{self}{more}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def judge_many(
    task: Task | str | Path,
    solutions: Iterable[str | Mapping[str, str | bytes] | Path],
    *,
    workers: int | None = None,
    sandbox: Sandbox | str | None = None,
    model: Model | None = None,
) -> Scores:
    """`judge` for each of ``solutions``, ``workers`` of them at a time (default: one per CPU).

    One that cannot be judged, for whatever reason, has an unjudged score that says why; the others go on.

    Raises:
        UnknownName: no task has that id, no sandbox that name.
        TaskError: the task's files are wrong.
        SandboxError: no box can be opened for any of them.
    """
    if workers is not None:
        check_whole("workers", workers, 1, 1024)
    task = task if isinstance(task, Task) else load_task(task)
    box = open_sandbox(sandbox)
    broken: list[SandboxError] = []

    def one(solution: Any) -> Score:
        try:
            return judge(task, solution, sandbox=box, model=model)
        except Exception as error:  # whatever it is, it must not reach the others
            if isinstance(error, SandboxError):
                broken.append(error)
            told = str(error) if isinstance(error, AigymError) else f"{type(error).__name__}: {error}"
            return unjudged(task, f"could not be judged: {told}")

    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="judge")
    try:
        scores = tuple(pool.map(one, solutions))
    finally:
        pool.shutdown(cancel_futures=True)
    if broken and len(broken) == len(scores):
        raise broken[0]
    return Scores(scores)


@overload
def pass_at_k(n: int, c: int, k: int) -> float: ...
@overload
def pass_at_k(n: Iterable[Score], *, k: int) -> float: ...
def pass_at_k(n: int | Iterable[Score], c: int | None = None, k: int | None = None) -> float:
    """`scores.pass_at_k`: how probably one of ``k`` solutions drawn from ``n``, of which ``c`` pass, passes.

    Instead of ``n`` and ``c`` it takes scores, of one task or of several: then it is the mean over the tasks.
    Scores that could not be judged are left out.

    Raises:
        AigymError: ``k`` is more than there are solutions (of some task), or not a whole number from 1 on.
    """
    if not isinstance(n, Iterable):
        return counts.pass_at_k(n, cast(int, c), cast(int, k))
    check_whole("k", k, 1)
    assert k is not None
    tasks: dict[str, list[bool]] = defaultdict(list)
    for score in n:
        tasks[score.task_id] += [] if score.total is None else [score.passed]
    if not tasks:
        raise AigymError("pass@k of no scores; hand in at least k of them")
    for task_id, passed in tasks.items():
        if len(passed) < k:
            raise AigymError(f"k={k}, but only {len(passed)} solutions of task {task_id!r} were judged")
    return sum(counts.pass_at_k(len(p), sum(p), k) for p in tasks.values()) / len(tasks)
