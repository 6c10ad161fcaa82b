"""Static HTML and SVG that need no kernel, no script and no network: tables, line charts, scores.

Everything that a user may look at in a saved notebook is drawn here. SVG is put into ``<img>``: a notebook
that JupyterLab does not trust loses inline SVG and keeps pictures. Greys read on light and dark alike.
"""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

EVIDENCE_LENGTH = 20_000
GOOD, BAD, DULL = "#2e7d32", "#c62828", "#757575"
WARN = "#b26a00"
COLOURS = ("#1976d2", "#d1730a", "#2e9e5b", "#b0479c", "#7a6ad0", "#8a7a14", "#c8453c", "#2a9aa8")
"""One for each group of runs, readable on light and on dark."""
_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top"


def escape(value: object) -> str:
    """Text that is safe inside HTML."""
    return html.escape(str(value))


def short(value: object, width: int = 80) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(str(value).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """An HTML table; every cell is escaped except values that are `Markup`."""
    head = "".join(f'<th style="{_CELL}">{escape(h)}</th>' for h in headers)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_cell(c)}</td>' for c in row) + "</tr>" for row in rows
    )
    title = f"<caption style='text-align:left'>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of text, its columns side by side."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


class Markup(str):
    """HTML made by this module, not to be escaped again."""

    __slots__ = ()


def _cell(value: object) -> str:
    return value if isinstance(value, Markup) else escape(value)


def badge(text: str, colour: str) -> Markup:
    """A small coloured label."""
    return Markup(
        f'<span style="background:{colour};color:#fff;border-radius:3px;padding:0 6px;'
        f'font-size:90%">{escape(text)}</span>'
    )


def pre(text: str) -> Markup:
    """Preformatted text. JupyterLab would break its lines inside of words."""
    style = "margin:0;padding:0;background:none;white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"
    return Markup(f'<pre style="{style}">{escape(text)}</pre>')


def line_chart(
    points: Sequence[tuple[float, float]], *, title: str = "", width: int = 560, height: int = 180
) -> Markup:
    """An SVG line through (x, y) points, with the extent of both axes written out."""
    if not points:
        return Markup(f"<p>{escape(title)}: nothing recorded yet</p>")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    sx, sy = (width - 70) / ((x1 - x0) or 1), (height - 45) / ((y1 - y0) or 1)
    path = " ".join(f"{60 + (x - x0) * sx:.1f},{height - 25 - (y - y0) * sy:.1f}" for x, y in points)
    label = f'font-size="11" font-family="sans-serif" fill="{DULL}"'
    return picture(
        f'<text x="60" y="13" {label}>{escape(title)}</text>'
        f'<path d="M60 20V{height - 25}H{width - 5}" stroke="{DULL}" fill="none" opacity=".6"/>'
        f'<polyline points="{path}" fill="none" stroke="#1976d2" stroke-width="1.8"/>'
        f'<text x="55" y="28" text-anchor="end" {label}>{y1:.4g}</text>'
        f'<text x="55" y="{height - 25}" text-anchor="end" {label}>{y0:.4g}</text>'
        f'<text x="60" y="{height - 8}" {label}>{x0:,.0f}</text>'
        f'<text x="{width - 5}" y="{height - 8}" text-anchor="end" {label}>{x1:,.0f}</text>',
        view=(width, height),
        width=width,
        alt=f"{title}: from {y0:.4g} to {y1:.4g}",
    )


def band_chart(plot: Mapping[str, Any], *, width: int, height: int) -> Markup:
    """An SVG of lines with bands: ``plot`` has ``title``, ``log`` and ``lines``, each with ``group`` (its
    colour), ``x``, ``y``, ``low`` and ``high`` (empty, or the band), ``dots`` ((x, y) pairs)."""
    lines, log = plot["lines"], plot["log"]
    parts = ("y",) if log else ("y", "low", "high")
    values = [v for line in lines for name in parts for v in line[name]]
    values += [y for line in lines for _, y in line["dots"] if y is not None]
    steps = [x for line in lines for x in (line["x"][0], line["x"][-1], *(x for x, _ in line["dots"]))]
    x0, x1 = min(steps), max(steps)
    y0, y1 = min(values), max(values)
    rise = math.log10 if log else float
    sx, sy = (width - 62) / ((x1 - x0) or 1), (height - 45) / ((rise(y1) - rise(y0)) or 1)

    def at(x: float, y: float) -> str:
        return f"{55 + (x - x0) * sx:.1f},{height - 25 - (rise(y) - rise(y0)) * sy:.1f}"

    drawn = []
    for line in lines:
        colour = COLOURS[line["group"] % len(COLOURS)]
        if line["low"] and not log:
            edge = [at(x, y) for x, y in zip(line["x"], line["high"])]
            edge += [at(x, y) for x, y in zip(reversed(line["x"]), reversed(line["low"]))]
            drawn.append(f'<polygon points="{" ".join(edge)}" fill="{colour}" opacity=".18"/>')
        path = " ".join(at(x, y) for x, y in zip(line["x"], line["y"]))
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        for x, y in line["dots"]:
            if y is not None:
                px, py = at(x, y).split(",")
                drawn.append(f'<circle cx="{px}" cy="{py}" r="2.5" fill="{colour}"/>')
    title = plot["title"] + (" (log)" if log else "")
    if len(lines) == 1:
        last = lines[0]["y"][-1]
        title += f": {last:,.0f}" if 1e4 <= abs(last) < 1e9 else f": {last:.4g}"
    label = f'font-size="11" font-family="sans-serif" fill="{DULL}"'
    return picture(
        f'<text x="55" y="13" {label}>{escape(title)}</text>'
        f'<path d="M55 20V{height - 25}H{width - 7}" stroke="{DULL}" fill="none" opacity=".6"/>'
        f'<text x="50" y="28" text-anchor="end" {label}>{_short_number(y1)}</text>'
        f'<text x="50" y="{height - 25}" text-anchor="end" {label}>{_short_number(y0)}</text>'
        f'<text x="55" y="{height - 8}" {label}>{x0:,.0f}</text>'
        f'<text x="{width - 7}" y="{height - 8}" text-anchor="end" {label}>{x1:,.0f}</text>' + "".join(drawn),
        view=(width, height),
        width=width,
        alt=f"{title}: from {y0:.4g} to {y1:.4g}",
    )


def _short_number(value: float) -> str:
    """A number that fits beside an axis."""
    if 0 < abs(value) < 1e-3:  # -0.000257 does not
        return f"{value:.1e}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"


def legend(names: Sequence[str]) -> Markup:
    """Which colour of a `band_chart` is whose."""
    return Markup(
        "<p>"
        + " &nbsp; ".join(
            f'<span style="color:{COLOURS[i % len(COLOURS)]}">●</span> {escape(name)}'
            for i, name in enumerate(names)
        )
        + "</p>"
    )


def alert_line(level: str, text: str, advice: str) -> Markup:
    """One thing that is wrong (``bad`` or ``warn``) with its advice."""
    colour = BAD if level == "bad" else WARN
    return Markup(
        f'<p style="border-left:3px solid {colour};padding-left:8px;margin:4px 0">'
        f"<b>{escape(text)}</b> {escape(advice)}</p>"
    )


def picture(svg: str, *, view: tuple[float, float], width: int, alt: str) -> Markup:
    """SVG elements, in a box of ``view`` units, as an image ``width`` pixels wide."""
    height = round(width * view[1] / view[0])
    return Markup(
        f'<img alt="{escape(alt)}" width="{width}" height="{height}" style="max-width:100%" '
        f'src="{picture_source(svg, view=view, width=width)}">'
    )


def picture_source(svg: str, *, view: tuple[float, float], width: int) -> str:
    """What a `picture` has as its ``src``."""
    height = round(width * view[1] / view[0])
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {view[0]} {view[1]}" '
        f'width="{width}" height="{height}">{svg}</svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(whole.encode()).decode()}"


def score(data: Mapping[str, Any]) -> str:
    """The HTML of a Score, from its ``to_dict()``."""
    unjudged = data["total"] is None
    word = "passed" if data["passed"] else "unjudged" if unjudged else "failed"
    colours = {"passed": GOOD, "failed": BAD, "unjudged": DULL}
    total = "–" if unjudged else f"{data['total']:.2f}"
    rows = [
        [
            badge(m["status"], colours[m["status"]]),
            m["name"] + (" (required)" if m["required"] else ""),
            "–" if m["value"] is None else f"{m['value']:.2f}",
            f"{m['weight']:g}",
            _told(m),
        ]
        for m in data["marks"]
    ]
    return (
        f"<div><p><b>{escape(data['task_id'])}</b> {badge(word, colours[word])} score <b>{total}</b>"
        f" in {data['wall_s']:.2f} s</p>"
        + table(["", "criterion", "value", "weight", "feedback"], rows)
        + "</div>"
    )


def review(data: Mapping[str, Any]) -> str:
    """One line on a person's word, from a Review's fields."""
    judged = "gave no value" if data["judged"] is None else f"said {data['judged']:.2f}"
    note = f": {data['note']}" if data["note"] else ""
    return f"reviewed by {data['by'] or 'somebody'} (the judge {judged}){note}"


def _told(mark: Mapping[str, Any]) -> Markup:
    """Feedback, review and evidence of a mark."""
    told: str = pre(mark["feedback"])
    if "review" in mark:
        told += pre(review(mark["review"]))
    if "evidence" in mark:
        text = json.dumps(mark["evidence"], indent=1, ensure_ascii=False, default=str)
        cut = text if len(text) <= EVIDENCE_LENGTH else text[:EVIDENCE_LENGTH] + "\n… (cut)"
        told += f"<details><summary>evidence</summary>{pre(cut)}</details>"
    return Markup(told)
