"""What a notebook shows of the widgets where no script runs: plain HTML with SVG images.

    explorer(page, total, shown)     the list and the chosen trajectory
    review(score, texts)             a score and the solution that it is about
    board(view, plots, ...)          the state of training runs
    launcher(task, view)             a task, and how it was played

Made of the same plain values as the widgets. Long texts are cut so that a page stays below 300 kB.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from aigym_kernel.rendering import (
    BAD,
    DULL,
    GOOD,
    Markup,
    alert_line,
    badge,
    band_chart,
    escape,
    legend,
    line_chart,
    picture,
    pre,
    table,
)
from aigym_kernel.trajectories import Score
from aigym_kernel.widgets.shown import board_at

LISTED = 20
PLOTS = 24
FILM = 8
TURNS = 20
TURN_TEXT = 4_000
EXCHANGE_HTML, MARKS_HTML = 120_000, 80_000
_GOOD = ("passed", "full", "done")
_BAD = ("failed", "error", "killed")
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~]?)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CELLS = {1: "#48a060", 2: "#1f6b38", 3: "#d64c4c", 4: "#888"}


def explorer(page: Sequence[Mapping[str, Any]], total: int, shown: Mapping[str, Any]) -> str:
    """The HTML of an explorer: one page of trajectories, and the chosen one."""
    if not page:
        return "<p>No trajectory recorded, or none matches.</p>"
    rows = [
        [
            moment(row["started_at"]),
            row["env_id"],
            row["agent"],
            outcome(row["outcome"]),
            row["length"],
            _number(row["return"]),
            _number(row["score"]),
        ]
        for row in page
    ]
    headers = ("started", "env", "agent", "outcome", "steps", "return", "score")
    caption = f"trajectories: {len(page)} of {total:,}"
    return f"<div>{table(headers, rows, caption)}{trajectory(shown) if shown else ''}</div>"


def trajectory(shown: Mapping[str, Any]) -> str:
    """The HTML of one trajectory: what it was, its return, its boards or its texts, its marks."""
    facts = (
        f"return {_number(shown['return'])}, {shown['length']} steps, seed {shown['seed']}, id {shown['id']}"
    )
    by = f"{outcome(shown['outcome'])} by {escape(shown['agent'])}"
    parts = [f"<p><b>{escape(shown['env_id'])}</b> {by}: {escape(facts)}</p>"]
    parts += [f"<p>{escape(note)}</p>" for note in shown["notes"]]
    if shown["error"]:
        parts.append(pre(_cut(shown["error"])))
    if shown["boards"]:
        parts.append(_film(shown["boards"]))
    if shown["images"]:
        parts.append(_pictures(shown))
    if shown["talk"]:
        parts.append(_conversation(shown["talk"]))
    if shown["texts"]:
        parts.append(_exchange(shown))
    if shown["length"] > 1:
        sums = accumulate((value or 0.0 for value in shown["overview"]["sum"]), initial=0.0)
        each = shown["length"] / len(shown["overview"]["sum"])
        curve = [(i * each, value) for i, value in enumerate(sums)]
        parts.append(line_chart(thin(curve, 400), title="return so far, over steps", height=140))
    if shown["marks"]:
        parts.append(_marks(shown["marks"]))
    return "".join(parts)


def board(
    view: Mapping[str, Any],
    plots: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Mapping[str, Any]],
    alerts: Sequence[Mapping[str, Any]],
    live: Mapping[str, Any],
) -> str:
    """The HTML of a board, as far as it was known when it was made; the values are those of its traits."""
    runs = view["runs"]
    parts = [_runs(runs[:LISTED]) if len(runs) > 1 else _run(runs[0], view["seen_at"])]
    if len(runs) > LISTED:
        parts.append(f"<p>{len(runs) - LISTED} further runs are not listed here.</p>")
    for alert in alerts[:LISTED]:
        about = f"{runs[alert['run']]['label']}: " if len(runs) > 1 else ""
        parts.append(alert_line(alert["level"], about + alert["text"], alert["advice"]))
    if len(view["groups"]) > 1:
        parts.append(legend([group["name"] for group in view["groups"]]))
    parts.append(_game(live))
    parts += [_outcomes(one, run["label"] if len(runs) > 1 else "") for one, run in zip(outcomes[:4], runs)]
    if not plots:
        parts.append("<p>nothing recorded yet</p>")
    for plot in plots[:PLOTS]:
        main = plot["name"] == "return_mean"
        parts.append(band_chart(plot, width=560 if main else 275, height=200 if main else 110))
    return f"<div>{''.join(parts)}</div>"


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """Several runs, a line each."""
    rows = []
    for run in runs:
        told = ", ".join(f"{name} {_number(value)}" for name, value in run["numbers"])
        steps = f"{run['step']:,} of {run['total_steps']:,}"
        rows.append(
            [run["label"], outcome(run["state"]), _bar(_share(run), 120), steps, _cut(run["error"]) or told]
        )
    return table(("run", "", "", "steps", ""), rows)


def _share(run: Mapping[str, Any]) -> float:
    """How much of a run is done."""
    share = run["step"] / run["total_steps"] if run["total_steps"] else 0.0
    return 1.0 if run["state"] == "done" else min(1.0, share)


def _run(run: Mapping[str, Any], seen_at: float) -> str:
    took = f"{max(0.0, (run['ended_at'] or seen_at) - run['started_at']):.1f} s"
    numbers = ", ".join(f"{name} {_number(value)}" for name, value in run["numbers"])
    return (
        f"<p><b>{escape(run['label'])}</b> {outcome(run['state'])} "
        f"{run['step']:,} of {run['total_steps']:,} steps in {took}</p>"
        + _bar(_share(run), 560)
        + (f"<p>{escape(numbers)}</p>" if numbers else "")
        + (pre(_cut(run["error"])) if run["error"] else "")
    )


def _bar(share: float, width: int) -> Markup:
    """A share of a whole."""
    whole = f'<rect width="{width}" height="8" rx="4" fill="#8884"/>'
    part = f'<rect width="{width * share:.0f}" height="8" rx="4" fill="#1976d2"/>'
    return picture(whole + part, view=(width, 8), width=width, alt=f"{share:.0%}")


def _game(live: Mapping[str, Any]) -> str:
    """The newest frame of the game."""
    if not live.get("frames"):
        return ""
    frame = live["frames"][-1]
    if frame["board"]:
        image = cells_picture([v for row in frame["board"] for v in row], len(frame["board"][0]), "the game")
    elif frame["image"] and len(frame["image"]) < EXCHANGE_HTML // 2:
        image = Markup(f'<img src="{escape(frame["image"])}" alt="the game" style="max-height:160px">')
    else:
        return ""
    ended = f"ended: {frame['ended']}, " if frame["ended"] else ""
    told = escape(f"{ended}return {_number(frame['return'])}")
    return (
        f'<figure style="display:inline-block;margin:4px 16px 4px 0;text-align:center;vertical-align:top">'
        f"{image}<figcaption>{told}</figcaption></figure>"
    )


def _outcomes(outcomes: Mapping[str, Any], label: str) -> str:
    """How the last episodes ended."""
    counts = [(name, n) for name, n in outcomes["counts"] if n]
    total = sum(n for _, n in counts)
    if not total:
        return ""
    rows = [[name, _bar(n / total, 120), f"{n / total:.0%}"] for name, n in counts[:LISTED]]
    title = f"{label}: how" if label else "How"
    table_html = table(("", "", ""), rows, f"{title} the last {total:,} episodes ended")
    return f'<div style="display:inline-block;vertical-align:top;margin-right:16px">{table_html}</div>'


def launcher(task: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    """The HTML of a task and of the play of it that goes on or was last."""
    parts = [f"<p><b>{escape(task['id'])}</b> {escape(task['title'])}</p>", pre(_cut(task["prompt"]))]
    if view["state"] != "idle":
        total = "" if view["total"] is None else f" score {_number(view['total'])}"
        parts.append(f"<p>{outcome(view['state'])} {escape(view['agent'])}{total}</p>")
    turns = [turn for turn in view["turns"] if turn != ["observation", task["prompt"]]]
    for who, text in turns[:TURNS]:
        parts.append(f"<details><summary>{who}</summary>{pre(_cut(text))}</details>")
    if len(turns) > TURNS:
        parts.append(f"<p>{len(turns) - TURNS} further turns are not shown here.</p>")
    if view["error"]:
        parts.append(pre(_cut(view["error"])))
    if view["marks"]:
        parts.append(_marks(view["marks"]))
    return f"<div>{''.join(parts)}</div>"


def review(score: Score, texts: Sequence[Sequence[str]]) -> str:
    """The HTML of a score under review: what was handed in, then its marks with what people said of them."""
    parts: list[str] = []
    size = 0
    for label, text in texts[:TURNS]:
        part = f"<details><summary>{escape(label)}</summary>{pre(_cut(text))}</details>"
        size += len(part)
        if size > EXCHANGE_HTML:
            break
        parts.append(part)
    if len(parts) < len(texts):
        parts.append(f"<p>{len(texts) - len(parts)} further texts are not shown here.</p>")
    return f"<div>{''.join(parts)}{score._repr_html_()}</div>"


def outcome(text: str) -> Markup:
    """An outcome or a state as a coloured label."""
    return badge(text, GOOD if text in _GOOD else BAD if text in _BAD else DULL)


def moment(epoch: float | None) -> str:
    """A time of day with its date, in local time."""
    return "–" if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))


def thin(points: Sequence[tuple[float, float]], limit: int) -> list[tuple[float, float]]:
    """At most ``limit`` (at least 4) points: the first, the last, each bucket's lowest and highest."""
    if len(points) <= limit:
        return list(points)
    buckets, inner = (limit - 2) // 2, len(points) - 2
    kept = [points[0]]
    for b in range(buckets):
        bucket = range(1 + b * inner // buckets, 1 + (b + 1) * inner // buckets)
        low = min(bucket, key=lambda i: points[i][1])
        high = max(bucket, key=lambda i: points[i][1])
        kept += [points[i] for i in sorted({low, high})]
    return [*kept, points[-1]]


def _number(value: float | str | None) -> str:
    if isinstance(value, str):  # what JSON has no number for, in words
        return value
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _cut(text: str) -> str:
    return text if len(text) <= TURN_TEXT else text[:TURN_TEXT] + "\n… (cut)"


def _marks(marks: Sequence[Mapping[str, Any]]) -> str:
    rows: list[list[object]] = []
    size = 0
    for mark in marks:
        feedback = pre(_cut(mark["feedback"]))
        size += len(feedback)
        if size > MARKS_HTML:
            rows.append(["", f"{len(marks) - len(rows)} more", "", ""])
            break
        rows.append([outcome(mark["status"]), mark["name"], _number(mark["value"]), feedback])
    return table(("", "criterion", "value", "feedback"), rows)


def _film(boards: Mapping[str, Any]) -> str:
    """Up to eight boards from the first to the last that are here."""
    last = len(boards["changes"])
    times = sorted({round(i * last / (FILM - 1)) for i in range(FILM)})
    return f"<div>{''.join(_still(boards, t) for t in times)}</div>"


def _pictures(shown: Mapping[str, Any]) -> str:
    """Up to eight of the observed pictures that are here, as far as they fit."""
    images = shown["images"]
    parts: list[str] = []
    for t in sorted({round(i * (len(images) - 1) / (FILM - 1)) for i in range(FILM)}):
        if sum(map(len, parts)) + len(images[t]) < EXCHANGE_HTML and images[t]:
            alt = f"observation {t}"
            parts.append(
                f'<figure style="display:inline-block;margin:4px 8px 4px 0;text-align:center">'
                f'<img src="{images[t]}" alt="{alt}" style="max-height:120px">'
                f"<figcaption>{t}</figcaption></figure>"
            )
    return f"<div>{''.join(parts)}</div>"


def _still(boards: Mapping[str, Any], t: int) -> str:
    image = cells_picture(board_at(dict(boards), t), boards["width"], f"board after {t} steps")
    return (
        f'<figure style="display:inline-block;margin:4px 8px 4px 0;text-align:center">{image}'
        f"<figcaption>{t}</figcaption></figure>"
    )


def cells_picture(cells: Sequence[int], width: int, alt: str) -> Markup:
    """A board's cells, row by row, as a picture."""
    height = len(cells) // width
    drawn = "".join(
        f'<rect x="{i % width}" y="{i // width}" width=".92" height=".92" fill="{_CELLS.get(value, DULL)}"/>'
        for i, value in enumerate(cells)
        if value
    )
    frame = f'<rect width="{width}" height="{height}" fill="none" stroke="#888" stroke-width=".06"/>'
    return picture(frame + drawn, view=(width, height), width=120, alt=alt)


def _conversation(talk: Mapping[str, Any]) -> str:
    """The first turns, each to be opened, the last one open. Calls and answers stand under their turn."""
    made: list[tuple[str, str]] = []
    size = 0
    for turn in talk["first"][:TURNS]:
        said = [text for kind, text in turn["parts"] if kind == "t"]
        body = "".join(
            pre(_cut(_ESCAPES.sub("", text))) for text in [turn.get("reasoning", ""), *said] if text
        )
        for call in turn.get("calls", ()):
            lines = [f"{name}: {text}" for name, text in call["arguments"]]
            answers = [text for kind, text in call.get("result", ()) if kind == "t"]
            body += f"<div>call of {escape(call['name'])}</div>{pre(_cut(chr(10).join(lines)))}"
            answers.append(call.get("error", ""))
            body += "".join(pre(_cut(_ESCAPES.sub("", text))) for text in answers if text)
        size += len(body)
        if size > EXCHANGE_HTML:
            break
        made.append((escape(f"{turn['role']}, step {turn['step']}"), body))
    opened = ["", " open"]
    parts = [
        f"<details{opened[n == len(made)]}><summary>{head}</summary>{body}</details>"
        for n, (head, body) in enumerate(made, start=1)
    ]
    if left := talk["turns"] - len(made):
        parts.append(f"<p>{left:,} further turns are not shown here.</p>")
    return "".join(parts)


def _exchange(shown: Mapping[str, Any]) -> str:
    """The turns, each to be opened; the last action is open. What makes a page too large is left out."""
    here, steps = shown["shown"], shown["length"]
    parts: list[str] = []
    size = 0
    for t in range(here + 1):
        turn = _turn(shown, t)
        size += len(turn)
        if size > EXCHANGE_HTML or t >= TURNS:
            break
        parts.append(turn)
    if left := steps + 1 - len(parts):
        parts.append(f"<p>{left:,} further steps are not shown here.</p>")
    return "".join(parts)


def _turn(shown: Mapping[str, Any], t: int) -> str:
    steps = shown["length"]
    acted = t < len(shown["actions"])
    head = "end" if t == steps else f"step {t}"
    if acted:
        head += f", reward {_number(shown['rewards'][t])}"
    body = f"<div>observation</div>{pre(_cut(_ESCAPES.sub('', shown['texts'][t])))}"
    if acted:
        body += f"<div>action</div>{pre(_cut(shown['actions'][t]))}"
    is_open = " open" if t == max(0, steps - 1) else ""
    return f"<details{is_open}><summary>{head}</summary>{body}</details>"
