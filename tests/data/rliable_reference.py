"""Makes rliable_reference.json: what rliable itself says of a fixed random table of scores.

    python -m venv venv && venv/bin/pip install rliable==1.2.0 "pandas<3"
    venv/bin/python tests/data/rliable_reference.py

It needs a Python environment of its own: rliable 1.2 asks for a release of arch that pandas 3 does not have.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

SEED, RUNS, TASKS, REPETITIONS = 2021, 10, 5, 50_000

draws = np.random.default_rng(SEED)
np.random.seed(SEED)  # where rliable draws from
# Two decimals, so that some scores are equal within a task and between the methods.
scores = {
    name: np.round(draws.normal(centre, 0.35, size=(RUNS, TASKS)) + np.linspace(-0.3, 0.4, TASKS), 2)
    for name, centre in (("one", 0.55), ("two", 0.7))
}
tau = np.linspace(-0.5, 1.75, 10)


def aggregates(table: np.ndarray) -> np.ndarray:
    of = ("mean", "median", "iqm", "optimality_gap")
    return np.array([getattr(metrics, f"aggregate_{name}")(table) for name in of])


def several(function, **arguments):
    points, intervals = function(scores, **arguments, reps=REPETITIONS)
    return {name: {"value": points[name].tolist(), "interval": intervals[name].tolist()} for name in scores}


(point,), (interval,) = (
    found.values()
    for found in library.get_interval_estimates(
        {"both": [scores["one"], scores["two"]]},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=2_000,
    )
)
found = {
    "made": f"rliable 1.2.0, {REPETITIONS} resamples (2000 for the improvement), seed {SEED}",
    "scores": {name: table.tolist() for name, table in scores.items()},
    "tau": tau.tolist(),
    "aggregates": several(library.get_interval_estimates, func=aggregates),
    "profiles": several(library.create_performance_profile, tau_list=tau),
    "average_profiles": several(
        library.create_performance_profile, tau_list=tau, use_score_distribution=False
    ),
    "improvement": {"value": point.tolist(), "interval": interval.tolist()},
}
text = json.dumps(found, indent=None).replace('"a', '\n"a').replace('"pro', '\n"pro').replace("]], ", "]],\n")
Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
