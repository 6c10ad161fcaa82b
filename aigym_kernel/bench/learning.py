"""What a learning curve says in one number: how high it is on the whole, and when it reaches a threshold.

    points = run.metrics("eval_return_mean")     (step, mean return) of each evaluation, in order
    area(points)                                 mean height of the curve: return, averaged over the steps
    steps_to(points, 475)                        the first evaluation at the threshold or above

Both look at evaluations (greedy, on seeds of their own), not at returns while training, which hold
exploration. Neither knows of seeds: means and intervals over them are made by the report of a bench.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from aigym_kernel.errors import BenchError

Points = Sequence[tuple[int, float]]
"""(environment step, mean return) of each evaluation, in order."""


def area(points: Points) -> float:
    """The area under the curve (trapezoids) divided by the steps that it spans, so that it is a return: the
    same for a longer training of the same shape, and comparable with the threshold.

    Raises:
        BenchError: there are fewer than two evaluations, or none of them at a later step.
    """
    steps = [step for step, _ in points]
    if len(points) < 2 or steps != sorted(set(steps)):
        raise BenchError(
            f"the area under a learning curve needs evaluations at two steps or more, got steps {steps[:5]}; "
            "train with evaluate_every=..., less than the steps of the training"
        )
    pieces = ((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points))
    return sum(pieces) / (steps[-1] - steps[0])


def steps_to(points: Points, threshold: float) -> int | None:
    """The step of the first evaluation whose mean return is at ``threshold`` or above; None where there is
    none. It is as fine as the evaluations are dense, and one lucky evaluation counts."""
    return next((step for step, value in points if value >= threshold), None)
