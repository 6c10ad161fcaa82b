"""What `scores` found, as plotly figures: intervals, profiles, improvement, learning curves.

    intervals_figure(aggregate(scores))                  a row per method, a panel per metric
    profile_figure(performance_profile(scores))          a line per method, with its band
    improvement_figure(improvements(scores))             a row per pair of methods
    curves_figure({"CartPole-v1": {"ppo": curve(...)}})  a panel per task

Backgrounds are transparent and text is grey, so that they read on light and dark pages; methods differ in
their dashes as well as in their colour. ``methods`` gives the order that colours go by, so that several
figures of one bench agree although one of them lacks a method. Nothing is fetched when they are shown.
Reads no store and computes no number. Names in them are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aigym_kernel.intervals import Estimate
from aigym_kernel.rendering import COLOURS, DULL, escape, short
from aigym_kernel.scores import Aggregate, Band

METRICS = {"iqm": "interquartile mean", "mean": "mean", "median": "median", "gap": "optimality gap"}
"""The fields of `Aggregate` and what they are called."""

COLUMNS = 3
_DASHES = ("solid", "dash", "dot", "dashdot")
_GRID = "rgba(128,128,128,.28)"
_CLEAR = "rgba(0,0,0,0)"
_ROW, _PANEL, _EDGE = 34, 270, 130
_NAME = 44


def intervals_figure(
    aggregates: Mapping[str, Aggregate],
    metrics: Sequence[str] = tuple(METRICS),
    *,
    title: str = "Scores with 95 % intervals",
    methods: Sequence[str] = (),
) -> go.Figure:
    """A bar from end to end of each interval, a tick at the estimate; a method with fewer tasks than others
    says so. ``metrics``: those of `METRICS` to show, a panel each."""
    figure = _panels(1, len(metrics), [""] * len(metrics), shared_yaxes=True)
    colours = _looks(methods or aggregates)
    most = max((found.tasks for found in aggregates.values()), default=0)
    names = []
    for row, (method, found) in enumerate(aggregates.items()):
        few = f" ({found.tasks} of {most} tasks)" if found.tasks < most else ""
        names.append(escape(short(method, _NAME)) + few)
        for column, metric in enumerate(metrics, 1):
            colour, _ = colours[method]
            _interval(figure, column, row, getattr(found, metric), colour, escape(method))
    for column, metric in enumerate(metrics, 1):
        ends = [getattr(found, metric) for found in aggregates.values()]
        figure.update_xaxes(title_text=METRICS[metric], nticks=5, range=_reach(ends), col=column)
    _rows(figure, names)
    return _finished(figure, title, _EDGE + _ROW * len(names))


def improvement_figure(
    found: Mapping[tuple[str, str], Estimate | None], *, title: str = "Probability of improvement"
) -> go.Figure:
    """A row per pair of methods with the probability that the first is better; the interval of a pair that
    differs for sure does not reach the line at one half. Pairs without a common task are left out."""
    figure = _panels(1, 1, [""])
    pairs = {pair: estimate for pair, estimate in found.items() if estimate is not None}
    for row, ((one, other), estimate) in enumerate(pairs.items()):
        _interval(figure, 1, row, estimate, COLOURS[0], f"{escape(one)} over {escape(other)}")
    half = _NAME // 2
    _rows(figure, [f"{escape(short(one, half))} over {escape(short(other, half))}" for one, other in pairs])
    figure.update_xaxes(title_text="probability that the first is better", range=[-0.02, 1.02])
    figure.add_vline(x=0.5, line={"color": DULL, "dash": "dash", "width": 1.5})
    return _finished(figure, title, _EDGE + _ROW * len(pairs))


def profile_figure(
    profiles: Mapping[str, Band],
    *,
    title: str = "Performance profile",
    x: str = "score τ",
    y: str = "share of runs with a score above τ",
    methods: Sequence[str] = (),
) -> go.Figure:
    """A stepped line per method with its 95 % band, where there is one. Also for `scores.ratio_profile`,
    whose axes are the factor and the share of tasks; say so in ``x`` and ``y``."""
    figure = _panels(1, 1, [""])
    looks = _looks(methods or profiles)
    for method, band in profiles.items():
        _line(figure, (1, 1), method, band, looks[method], shape="hv", legend=True)
    figure.update_xaxes(title_text=escape(x))
    figure.update_yaxes(title_text=escape(y), range=[-0.02, 1.02])
    return _finished(figure, title, _EDGE + _PANEL, len(profiles))


def curves_figure(
    curves: Mapping[str, Mapping[str, Band]],
    *,
    title: str = "Learning curves, mean over seeds with 95 % band",
    x: str = "steps",
    y: str = "return",
    methods: Sequence[str] = (),
) -> go.Figure:
    """A panel per task, `COLUMNS` in a row, with a line and a band per method. Each panel has its own axes:
    tasks are not on one scale."""
    tasks = list(curves)
    columns = min(COLUMNS, max(1, len(tasks)))
    rows = -(-max(1, len(tasks)) // columns)
    empty = rows * columns - max(1, len(tasks))
    places: list[Any] = [[{} for _ in range(columns)] for _ in range(rows)]
    places[-1][columns - empty :] = [None] * empty
    figure = _panels(rows, columns, [escape(short(task, _NAME)) for task in tasks], specs=places)
    looks = _looks(methods or dict.fromkeys(method for task in tasks for method in curves[task]))
    listed: set[str] = set()
    for i, task in enumerate(tasks):
        place = (i // columns + 1, i % columns + 1)
        for method, band in curves[task].items():
            _line(figure, place, method, band, looks[method], shape="linear", legend=method not in listed)
            listed.add(method)
        figure.update_xaxes(title_text=escape(x), rangemode="tozero", nticks=5, row=place[0], col=place[1])
        if place[1] == 1:
            figure.update_yaxes(title_text=escape(y), row=place[0], col=1)
    return _finished(figure, title, _EDGE + _PANEL * rows, len(looks))


def _looks(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and dash of each method: no two of the first 32 have both in common. Colours that are one to an
    eye without red or green (the first and the fifth, say) differ in their dashes."""
    return {
        method: (COLOURS[i % len(COLOURS)], _DASHES[(i + i // 4 + i // 8) % len(_DASHES)])
        for i, method in enumerate(methods)
    }


def _panels(rows: int, columns: int, titles: Sequence[str], **options: Any) -> go.Figure:
    return make_subplots(
        rows, columns, subplot_titles=titles, horizontal_spacing=0.08 / columns + 0.02,
        vertical_spacing=0.36 / rows, **options,
    )  # fmt: skip


def _interval(
    figure: go.Figure, column: int, row: int, found: Estimate | None, colour: str, name: str
) -> None:
    """A thick translucent bar, a tick on it, and the figures when pointed at."""
    if found is None:
        return
    told = f"{name}<br>{found.value:.4g}"
    if found.low is not None and found.high is not None:
        told += f" [{found.low:.4g}, {found.high:.4g}]"
        bar = go.Scatter(
            x=[found.low, found.high], y=[row, row], mode="lines", opacity=0.45,
            line={"color": colour, "width": 16}, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
        figure.add_trace(bar, row=1, col=column)
    tick = go.Scatter(
        x=[found.value], y=[row], mode="markers", hovertemplate=f"{told}<extra></extra>", showlegend=False,
        marker={"symbol": "line-ns", "size": 18, "line": {"color": colour, "width": 4}},
    )  # fmt: skip
    figure.add_trace(tick, row=1, col=column)


def _reach(found: Iterable[Estimate | None]) -> list[float] | None:
    """A range that holds all intervals with room at either end: plotly lets thick lines touch the edge."""
    ends = [e for f in found if f is not None for e in (f.value, f.low, f.high) if e is not None]
    if not ends:
        return None
    room = 0.08 * (max(ends) - min(ends)) or 0.5
    return [min(ends) - room, max(ends) + room]


def _line(
    figure: go.Figure,
    place: tuple[int, int],
    method: str,
    band: Band,
    look: tuple[str, str],
    *,
    shape: str,
    legend: bool,
) -> None:
    colour, dash = look
    row, column = place
    named = {"legendgroup": escape(method), "name": escape(short(method, _NAME))}
    there = np.isfinite(band.low) & np.isfinite(band.high)
    if there.any():
        for y, fill in ((band.low, None), (band.high, "tonexty")):
            edge = go.Scatter(
                x=band.x[there], y=y[there], mode="lines", fill=fill, fillcolor=_translucent(colour),
                line={"width": 0, "shape": shape}, hoverinfo="skip", showlegend=False, **named,
            )  # fmt: skip
            figure.add_trace(edge, row=row, col=column)
    known = np.isfinite(band.value)
    line = go.Scatter(
        x=band.x[known], y=band.value[known], mode="lines" if known.sum() > 1 else "markers",
        line={"color": colour, "dash": dash, "width": 2.2, "shape": shape}, showlegend=legend,
        marker={"color": colour, "size": 8}, hovertemplate="%{x:.4g}: %{y:.4g}", **named,
    )  # fmt: skip
    figure.add_trace(line, row=row, col=column)


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},.22)"


def _rows(figure: go.Figure, names: Sequence[str]) -> None:
    """One named row each, the first on top."""
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=list(names), range=[len(names) - 0.4, -0.6], showgrid=False
    )


def _finished(figure: go.Figure, title: str, height: int, legend: int = 0) -> go.Figure:
    """Colours, title, size; a word where nothing was drawn. ``legend``: how many methods stand below."""
    axes = {"gridcolor": _GRID, "linecolor": DULL, "zeroline": False, "automargin": True, "showline": True}
    axes |= {"title_font": {"size": 13}, "title_standoff": 8}
    figure.update_xaxes(ticks="outside", **axes)
    figure.update_yaxes(**axes)
    figure.update_annotations(font={"size": 13, "color": DULL})
    figure.update_layout(
        template="none",
        title={"text": escape(title), "x": 0, "xref": "container", "xanchor": "left", "font": {"size": 16}},
        font={"size": 13, "color": DULL, "family": "system-ui, sans-serif"},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        height=height + 24 * -(-legend // 4),
        margin={"l": 20, "r": 20, "t": 70, "b": 50},
        showlegend=legend > 0,
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        modebar={"bgcolor": _CLEAR, "color": DULL, "activecolor": COLOURS[0]},
        hovermode="closest",
    )
    if not figure.data:
        figure.update_xaxes(visible=False).update_yaxes(visible=False)
        figure.add_annotation(
            text="nothing to draw yet", showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper"
        )
    return figure
