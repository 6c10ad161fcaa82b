"""Static HTML of a comparison of runs and of a difference of trajectories: no script, no network, no kernel.

    comparison(view)              `Comparison.to_dict`
    difference(view, stretches)   `Difference.to_dict`, and rows of some divergences
    comparison_text(view)         what `print` shows of them, in short
    difference_text(head, rows, count)

Pictures are SVG inside ``<img>``, as in `rendering`. Long texts are cut: a page stays below 300 kB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Any

from aigym_kernel.rendering import COLOURS, DULL, Markup, escape, lines, picture, short, table

MAX_GROUPS = 20
MAX_CONFIG = 60
MAX_PAIRINGS = 100
MAX_CHARTS = 6
MAX_CELL = 1_500
MAX_TOLD = 5  # divergences that are shown
_LEFT, _WIDTH, _HEIGHT = 52, 560, 220

# Comparison


def comparison(view: Mapping[str, Any]) -> str:
    """The HTML of a comparison."""
    groups = view["groups"][:MAX_GROUPS]
    heads = [Markup(f"{_dot(i)} {escape(group['name'])}") for i, group in enumerate(groups)]
    parts = [f"<p>{escape(note)}</p>" for note in view["notes"]]
    if len(view["groups"]) > MAX_GROUPS:
        parts.append(f"<p>The tables show the first {MAX_GROUPS} of {len(view['groups'])} groups.</p>")
    parts += [_summary(view, groups, heads), _config(groups, heads)]
    tasks = list(dict.fromkeys(curve["task"] for curve in view["curves"]))
    parts += [_chart(view, task) for task in tasks[:MAX_CHARTS]]
    if len(tasks) > MAX_CHARTS:
        parts.append(f"<p>{len(tasks) - MAX_CHARTS} further tasks have curves that are not shown here.</p>")
    parts.append(_pairings(view))
    return f"<div>{''.join(parts)}</div>"


def estimate(value: Mapping[str, Any] | None) -> str:
    """A number with its interval, in few digits."""
    if value is None:
        return "–"
    if value["low"] is None:
        return number(value["value"])
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]"


def number(value: float | None) -> str:
    """Four digits, or a dash."""
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _dot(i: int) -> str:
    return f'<span style="color:{COLOURS[i % len(COLOURS)]}">●</span>'


def _summary(view: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], heads: Sequence[Markup]) -> str:
    rows: list[list[object]] = [
        ["runs", *[len(g["runs"]) for g in groups]],
        ["seeds", *[", ".join(map(str, g["seeds"][:12])) or "–" for g in groups]],
        ["trajectories", *[f"{g['trajectories']:,}" for g in groups]],
        ["steps", *[f"{g['steps']:,}" for g in groups]],
        [f"mean {view['metric']}", *[estimate(g["mean"]) for g in groups]],
        ["interquartile mean", *[estimate(g["iqm"]) for g in groups]],
    ]
    if len(groups) > 1:
        rows.append(
            [
                "P(better than the first)",
                "–",
                *[estimate(value) for value in view["improvement"][: len(groups) - 1]],
            ]
        )
    return _table(heads, rows, _caption(view))


def _caption(view: Mapping[str, Any]) -> str:
    return f"{view['metric']} by {view['unit']}, with 95 % bootstrap intervals"


def _table(heads: Sequence[Markup], rows: Sequence[Sequence[object]], caption: str) -> str:
    """`rendering.table` with coloured heads: they stand in its first row, since heads are escaped there."""
    return table([""] * (len(heads) + 1), [["", *heads], *rows], caption)


def _config(groups: Sequence[Mapping[str, Any]], heads: Sequence[Markup]) -> str:
    names = list(dict.fromkeys(name for group in groups for name in group["config"]))
    if not names:
        return ""
    rows = [
        [name, *[_short(g["config"][name]) if name in g["config"] else "–" for g in groups]]
        for name in names[:MAX_CONFIG]
    ]
    left = f", {len(names) - MAX_CONFIG} more" if len(names) > MAX_CONFIG else ""
    return _table(heads, rows, f"configuration that differs{left}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:119] + "…"


def _chart(view: Mapping[str, Any], task: str) -> Markup:
    """The curves of one task: the mean over runs, with its band."""
    curves = [curve for curve in view["curves"] if curve["task"] == task]
    points = [
        (x, y)
        for curve in curves
        for x, at in zip(curve["x"], curve["mean"])
        for y in (at["value"], at["low"], at["high"])
        if y is not None
    ]
    if not points:
        return Markup("")
    x1 = max(x for x, _ in points) or 1.0
    y0, y1 = min(y for _, y in points), max(y for _, y in points)

    def place(x: float, y: float) -> str:
        px = _LEFT + x / x1 * (_WIDTH - _LEFT - 8)
        py = 22 + (_HEIGHT - 50) * (1 - (y - y0) / ((y1 - y0) or 1.0))
        return f"{px:.1f},{py:.1f}"

    shapes = []
    for curve in curves:
        colour = COLOURS[curve["group"] % len(COLOURS)]
        both = [(x, at) for x, at in zip(curve["x"], curve["mean"]) if at["low"] is not None]
        if both:
            band = [place(x, at["high"]) for x, at in both] + [
                place(x, at["low"]) for x, at in reversed(both)
            ]
            shapes.append(f'<polygon points="{" ".join(band)}" fill="{colour}" opacity=".18"/>')
        line = " ".join(place(x, at["value"]) for x, at in zip(curve["x"], curve["mean"]))
        shapes.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    label = f'font-size="11" font-family="sans-serif" fill="{DULL}"'
    foot = _HEIGHT - 28
    frame = (
        f'<path d="M{_LEFT} 22V{foot}H{_WIDTH - 8}" stroke="{DULL}" fill="none" opacity=".6"/>'
        f'<text x="{_LEFT}" y="13" {label}>{escape(view["metric"])} over steps, {escape(task)}</text>'
        f'<text x="{_LEFT - 5}" y="30" text-anchor="end" {label}>{y1:.4g}</text>'
        f'<text x="{_LEFT - 5}" y="{foot}" text-anchor="end" {label}>{y0:.4g}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}" {label}>0</text>'
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 10}" text-anchor="end" {label}>{x1:,.0f}</text>'
    )
    alt = f"{view['metric']} over steps on {task}, from {y0:.4g} to {y1:.4g}"
    return picture(frame + "".join(shapes), view=(_WIDTH, _HEIGHT), width=_WIDTH, alt=alt)


def _pairings(view: Mapping[str, Any]) -> str:
    if not view["pairings"]:
        return ""
    names = [group["name"] for group in view["groups"]]
    rows = [
        [
            Markup(f"{_dot(p['group'])} {escape(names[p['group']])}"),
            p["task"],
            estimate(p["difference"]),
            p["pairs"] or "not paired",
            _won(p),
        ]
        for p in view["pairings"][:MAX_PAIRINGS]
    ]
    heads = ("", "task", "difference", "pairs of one seed", "wins / ties / losses")
    left = len(view["pairings"]) - MAX_PAIRINGS
    more = f", {left} more" if left > 0 else ""
    return table(heads, rows, f"by task, less {names[0]}{more}")


def comparison_text(view: Mapping[str, Any]) -> str:
    """A comparison as tables of text: the groups, and each beside the first on each task."""
    heads = ("", "runs", "trajectories", "steps", f"mean {view['metric']}", "interquartile mean")
    better = [None, *view["improvement"]]
    rows = [
        [
            *(short(group["name"], 60), str(len(group["runs"])), f"{group['trajectories']:,}"),
            *(f"{group['steps']:,}", estimate(group["mean"]), estimate(group["iqm"]), estimate(better[i])),
        ]
        for i, group in enumerate(view["groups"][:MAX_GROUPS])
    ]
    parts = [_caption(view), *lines([[*heads, "P(better than the first)"], *rows])]
    if (left := len(view["groups"]) - MAX_GROUPS) > 0:
        parts.append(f"and {left} more groups")
    if pairings := view["pairings"][:MAX_GROUPS]:
        names = [short(group["name"], 60) for group in view["groups"]]
        told = [[names[p["group"]], p["task"], estimate(p["difference"]), _won(p)] for p in pairings]
        columns = ("", "task", "difference", "wins / ties / losses")
        left = len(view["pairings"]) - MAX_GROUPS
        parts += ["", f"by task, less {names[0]}" + f", {left} more" * (left > 0), *lines([columns, *told])]
    return "\n".join([*parts, *view["notes"]])


def _won(pairing: Mapping[str, Any]) -> str:
    return f"{pairing['wins']} / {pairing['ties']} / {pairing['losses']}" if pairing["pairs"] else "–"


# Difference


def difference_text(head: str, rows: Sequence[Mapping[str, Any]], count: int) -> str:
    """A headline, and what differs in the first row of each of the ``count`` divergences in ``rows``."""
    told = [head]
    for row in rows:
        for part in row["parts"]:
            if not part["same"]:
                place, a, b = _first(part)
                told.append(f"  row {row['row']:,}, {part['name']}{place}: {a} | {b}")
    return "\n".join([*told, *([f"  and {count - len(rows):,} more"] if count > len(rows) else [])])


def _first(part: Mapping[str, Any]) -> tuple[str, str, str]:
    """Where two values differ first, and what stands there in a and in b."""
    if numbers := part.get("numbers"):
        at, a, b, _ = numbers[0]
        return f"[{at}]" * bool(at), str(a), str(b)
    a, b = ("".join(text for _, text in dropwhile(lambda piece: piece[0], part[side])) for side in "ab")
    return "", short(a, 60) or "–", short(b, 60) or "–"


def difference(view: Mapping[str, Any], stretches: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """The HTML of a difference: who is compared, how much is the same, and the first divergences."""
    facts = [
        [side, *[view[side][name] for name in ("id", "env_id", "agent", "seed", "outcome", "length")],
         number(view[side]["return"])]
        for side in ("a", "b")
    ]  # fmt: skip
    parts = [table(("", "id", "env", "agent", "seed", "outcome", "steps", "return"), facts)]
    parts += [f"<p>{escape(note)}</p>" for note in view["notes"]]
    counts = view["counts"]
    parts.append(
        f"<p>{counts['same']:,} {view['kind']} the same, {counts['changed']:,} differ, "
        f"{counts['only_a']:,} only in a, {counts['only_b']:,} only in b; "
        f"{len(view['divergences']):,} divergences.</p>"
    )
    for (start, _), rows in zip(view["divergences"], stretches):
        parts.append(f"<p><b>divergence at row {start:,}</b></p>{_rows(rows)}")
    if len(view["divergences"]) > len(stretches):
        parts.append(f"<p>{len(view['divergences']) - len(stretches):,} further divergences.</p>")
    return f"<div>{''.join(parts)}</div>"


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    cells: list[list[object]] = []
    for row in rows:
        for n, part in enumerate(row["parts"]):
            a, b = ("" if row[side] is None else row[side] for side in ("a", "b"))
            places = [a, b] if n == 0 else ["", ""]
            cells.append([*places, part["name"], _pieces(part["a"], "a"), _pieces(part["b"], "b")])
    return table(("a", "b", "", "in a", "in b"), cells)


def _pieces(pieces: Sequence[Sequence[Any]], side: str) -> Markup:
    """A text with what the other one lacks marked, up to `MAX_CELL` characters of it."""
    colour = "rgba(200,69,60,.22)" if side == "a" else "rgba(46,158,91,.24)"
    found, left = [], MAX_CELL
    for same, text in pieces:
        shown = escape(text[:left])
        found.append(shown if same else f'<span style="background:{colour}">{shown}</span>')
        left -= len(text)
        if left <= 0:
            found.append(" … (cut)")
            break
    style = "margin:0;padding:0;background:none;white-space:pre-wrap"
    return Markup(f'<pre style="{style}">{"".join(found)}</pre>')
