"""Figures of a bench: what is drawn, that names stay text, that looks agree, that nothing is fetched."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from labs import ARTIFACTS, strangers, watch

from aigym_kernel.bench.figures import (
    curves_figure,
    improvement_figure,
    intervals_figure,
    profile_figure,
)
from aigym_kernel.scores import Band, aggregate, curve, improvements, performance_profile, ratio_profile

EVIL = "<a href='https://example.org'>x</a><img src=x onerror='window.pwned=1'>"
DRAWS = np.random.default_rng(0)
SCORES = {
    name: DRAWS.normal(centre, 0.3, size=(6, 4)) for name, centre in (("ppo", 0.4), (EVIL, 0.6), ("dqn", 0.7))
} | {"single": DRAWS.normal(0.5, 0.2, size=(1, 4)), "none": np.full((6, 4), np.nan)}
SCORES["dqn"][:, 3] = np.nan
STEPS = np.linspace(0, 1e5, 30)
CURVES = {
    task: {method: curve(STEPS, top * np.tanh(STEPS / 3e4) + DRAWS.normal(size=(5, 30))) for method in SCORES}
    for task, top in (("CartPole-v1", 500), (EVIL, 20), ("third", 5), ("fourth", 1))
}


def every() -> list[go.Figure]:
    methods = list(SCORES)
    ratios: dict[str, dict[str, float | None]] = {"ppo": {"a": 1.0}, "dqn": {"a": 2.0}}
    return [
        intervals_figure(aggregate(SCORES), methods=methods),
        profile_figure(performance_profile(SCORES), methods=methods),
        profile_figure(ratio_profile(ratios, {"a": "higher"}), title=EVIL, x="factor", y="share of tasks"),
        improvement_figure(improvements(SCORES)),
        curves_figure(CURVES, methods=methods),
    ]


def texts(value: Any) -> list[str]:
    """Every string of a figure's JSON."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("figure", every())
def test_names_are_text_and_axes_have_titles(figure: go.Figure) -> None:
    shown = figure.to_plotly_json()
    assert not [text for text in texts(shown) if re.search("<(a|img)", text)]
    layout = shown["layout"]
    assert layout["title"]["text"]
    assert all(axis["title"]["text"] for name, axis in layout.items() if name.startswith("xaxis"))
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"


def test_an_interval_reaches_from_low_to_high_and_who_lacks_tasks_says_so() -> None:
    found = aggregate(SCORES)
    figure = intervals_figure(found, ["mean"])
    bars = [trace for trace in figure.data if trace.mode == "lines"]
    ticks = [trace for trace in figure.data if trace.mode == "markers"]
    means = [row.mean for row in found.values() if row.mean is not None]
    assert [tuple(bar.x) for bar in bars] == [(m.low, m.high) for m in means if m.low is not None]
    assert [tick.x[0] for tick in ticks] == [m.value for m in means]
    assert figure.layout.yaxis.ticktext[2:] == ("dqn (3 of 4 tasks)", "single", "none (0 of 4 tasks)")
    low, high = figure.layout.xaxis.range
    assert low < min(bar.x[0] for bar in bars) < max(bar.x[1] for bar in bars) < high


def test_a_method_looks_the_same_in_every_figure() -> None:
    methods = ["absent", "ppo", "dqn"]
    profiles = performance_profile({name: SCORES[name] for name in ("dqn", "ppo")})
    lines = {
        trace.name: (trace.line.color, trace.line.dash)
        for figure in (profile_figure(profiles, methods=methods), curves_figure(CURVES))
        for trace in figure.data
        if trace.line.width
    }
    own = intervals_figure(aggregate({"dqn": SCORES["dqn"]}), methods=methods).data[0]
    profile = profile_figure(profiles, methods=methods).data[2]
    assert (profile.name, profile.line.color) == ("dqn", own.line.color)
    assert len(set(lines.values())) == len(lines)


def test_no_two_of_many_methods_look_the_same() -> None:
    band = Band(x=STEPS, value=STEPS, low=STEPS, high=STEPS)
    figure = curves_figure({"task": {f"m{i}": band for i in range(32)}})
    lines = [trace for trace in figure.data if trace.line.width]
    assert len({(trace.line.color, trace.line.dash) for trace in lines}) == 32
    # Nearly one colour without red, without green and without blue (distance in CIELAB below 13).
    for one, other in ((0, 4), (1, 5), (3, 7), (5, 6), (2, 7)):
        assert lines[one].line.dash != lines[other].line.dash


def test_a_band_is_drawn_where_there_are_seeds_and_a_line_where_anything_is_known() -> None:
    values = np.array([[1.0, 2, 3, np.nan], [3.0, 4, np.nan, np.nan]])
    low, high, line = curves_figure({"task": {"ppo": curve([0, 1, 2, 3], values)}}).data
    assert (list(low.x), list(high.x), list(line.x)) == ([0, 1], [0, 1], [0, 1, 2])
    assert list(line.y) == [2, 3, 3]
    assert high.fill == "tonexty"
    (alone,) = curves_figure({"task": {"ppo": curve([5], np.array([[1.0]]))}}).data
    assert alone.mode == "markers"


def test_each_method_is_once_in_the_legend() -> None:
    shown = [trace.name for trace in curves_figure(CURVES).data if trace.showlegend]
    assert len(shown) == len(set(shown)) == len(SCORES)


def test_nothing_to_draw_is_said() -> None:
    for figure in (
        intervals_figure({}),
        intervals_figure(aggregate({"none": SCORES["none"]})),
        profile_figure({}),
        improvement_figure({("a", "b"): None}),
        curves_figure({}),
    ):
        assert "nothing to draw yet" in [a.text for a in figure.layout.annotations]


@pytest.mark.browser
def test_figures_open_offline_on_light_and_dark(browser: Any, tmp_path: Path) -> None:
    body = "".join(f.to_html(full_html=False, include_plotlyjs=i == 0) for i, f in enumerate(every()))
    page = browser.new_page(viewport={"width": 1000, "height": 2400})
    requests: list[str] = []
    problems: list[str] = []
    watch(page, requests, problems)
    for name, background in (("light", "#fff"), ("dark", "#111")):
        path = tmp_path / f"{name}.html"
        path.write_text(f"<meta charset=utf-8><body style='background:{background}'>{body}", encoding="utf-8")
        page.goto(path.as_uri())
        page.wait_for_function("document.querySelectorAll('[class^=x][class$=title]').length === 11")
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"bench-figures-{name}.png", full_page=True)
        assert EVIL[:10] in page.inner_text("body")
        assert page.evaluate("window.pwned === undefined && !document.querySelector('a[href*=example]')")
    page.close()
    assert [url for url in strangers(requests) if not url.startswith("file:///")] == []
    assert problems == []


def test_every_pair_that_can_be_compared_has_a_row() -> None:
    figure = improvement_figure(improvements(SCORES))
    pairs = list(itertools.combinations([name for name in SCORES if name != "none"], 2))
    assert len(figure.layout.yaxis.ticktext) == len(pairs)
    assert figure.layout.yaxis.ticktext[1] == "ppo over dqn"
