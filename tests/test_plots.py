"""What a board plots: bands, bins, groups of seeds, logarithmic axes."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from aigym_kernel.rendering import band_chart
from aigym_kernel.widgets.plots import BINS, plots


def series(n: int, **metrics: Any) -> dict[str, tuple[Any, Any]]:
    x = np.arange(1, n + 1) * 100.0
    return {name: (x, np.broadcast_to(np.asarray(y, float), (n,)).copy()) for name, y in metrics.items()}


def test_only_what_was_recorded_is_plotted_known_metrics_first() -> None:
    made = plots([[series(5, zeal=1, entropy=0.5, return_mean=2, return_q10=1, return_q90=3)]])
    assert [plot["name"] for plot in made] == ["return_mean", "entropy", "zeal"]
    [line] = made[0]["lines"]
    assert line["x"] == [100, 200, 300, 400, 500]
    assert (line["low"], line["high"]) == ([1.0] * 5, [3.0] * 5)
    assert line["band"] == "10 % to 90 % of the episodes"
    assert made[1]["lines"][0]["low"] == []
    assert plots([[{}]]) == []


def test_a_long_series_keeps_its_extremes_as_a_band_and_its_means_as_the_line() -> None:
    y = np.sin(np.arange(10_000) / 500)
    y[4321] = 40.0
    [plot] = plots([[series(10_000, entropy=y)]])
    [line] = plot["lines"]
    assert len(line["x"]) == len(line["y"]) == BINS
    assert line["x"][-1] == 1_000_000
    assert max(line["high"]) == 40.0
    assert max(line["y"]) < 2.5
    assert abs(np.mean(line["y"]) - y.mean()) < 1e-3
    assert all(low <= mid <= high for low, mid, high in zip(line["low"], line["y"], line["high"]))


def test_seeds_are_one_line_between_the_lowest_and_the_highest() -> None:
    short, long = series(10, return_mean=1.0), series(20, return_mean=3.0)
    other = series(20, return_mean=9.0)
    [plot] = plots([[short, long], [other]])
    both, alone = plot["lines"]
    assert both["band"] == "lowest to highest of 2 runs"
    assert (both["y"][0], both["low"][0], both["high"][0]) == (2.0, 1.0, 3.0)
    assert (both["y"][-1], both["low"][-1]) == (3.0, 3.0)  # the short one has ended
    assert (alone["group"], alone["y"][0]) == (1, 9.0)


def test_evaluations_are_dots_and_what_is_no_number_is_left_out() -> None:
    recorded = series(6, return_mean=[1, np.nan, 3, np.inf, 5, 6], value_loss=np.geomspace(1, 1e6, 6))
    recorded["eval_return_mean"] = (np.array([200.0, 600.0]), np.array([2.5, np.nan]))
    returns, loss = plots([[recorded]])
    assert returns["lines"][0]["y"] == [1, 3, 5, 6]
    assert returns["lines"][0]["dots"] == [[200, 2.5]]
    assert (returns["log"], loss["log"]) == (False, True)
    json.dumps([returns, loss], allow_nan=False)


def test_a_band_that_misses_points_is_no_band() -> None:
    recorded = {**series(6, return_mean=1), **series(4, return_q10=0, return_q90=2)}
    [plot] = plots([[recorded]])
    assert plot["lines"][0]["band"] == ""


def test_the_still_has_evaluations_before_the_first_point_and_numbers_without_exponents() -> None:
    line = {"group": 0, "x": [2_000, 4_000], "y": [9e3, 17_530.0], "low": [], "high": []}
    line |= {"dots": [[0, -0.000257]]}
    drawn = band_chart({"title": "steps per second", "log": False, "lines": [line]}, width=275, height=110)
    assert 'alt="steps per second: 17,530: from' in drawn
    svg = base64.b64decode(drawn.partition("base64,")[2].partition('"')[0]).decode()
    assert ">0</text>" in svg
    assert ">-2.6e-04</text>" in svg
    assert 'cx="55.0"' in svg
