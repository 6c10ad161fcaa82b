"""An explorer without its kernel: the page that `Explorer.to_html` writes, and what a notebook keeps of it.

    whole(explorer)        a page that plays the open trajectory, and others of the list while they fit
    part(explorer)         the same with the open trajectory alone, as an output of a notebook

Both stay below `page.LIMIT` whatever was recorded. First the other trajectories are left out, then a
comparison, then rows of the list, then the open trajectory, which is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aigym_kernel.errors import AigymError
from aigym_kernel.widgets import beside, page, source
from aigym_kernel.widgets.answers import ANSWERS
from aigym_kernel.widgets.rows import sparks
from aigym_kernel.widgets.shown import shown

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer

OTHERS = 24
FEW_ROWS = 20
_MARGIN = 5_000  # what stands around the parts that are measured


def whole(explorer: Explorer) -> str:
    """The page of an explorer."""
    module, style = source.module(*source.EXPLORER, "page"), source.style()
    still = explorer.static_html()
    room = _room(module, style, still)
    held = _held(explorer, room)
    _fill(held["answers"], _chunks(explorer), (room - _size(held)) // 2)
    _fill(held["trajectories"], _others(explorer), room - _size(held))
    title = f"{explorer.total:,} trajectories"
    return page.document(held, still, module=module, style=style, title=title)


def part(explorer: Explorer) -> str:
    """The HTML of an explorer in an executed notebook."""
    module, style = source.module(*source.EXPLORER, "page"), source.style()
    still = explorer.static_html()
    held = _held(explorer, _room(module, style, still))
    return page.fragment(held, still, module=module, style=style)


def _held(explorer: Explorer, room: int) -> dict[str, Any]:
    """What the page holds, in at most ``room`` bytes."""
    _compute(explorer)
    state = page.state_of(explorer)
    held: dict[str, Any] = {"state": state, "trajectories": {}, "sparks": _sparks(explorer), "answers": {}}
    state["total"] = len(state["rows"])  # the list has these and asks for no others
    state["running"] = 0
    if _size(held) > room and state["view"] != "trajectory":
        state |= {"view": "trajectory", "comparison": {}, "difference": {}}
    if _size(held) > room:
        state["rows"] = state["rows"][:FEW_ROWS]
        state["total"] = len(state["rows"])
    if _size(held) > room:
        state["trajectory"] = {}
        state["error"] = "The open trajectory is too large for this page; run the notebook to see it."
    return held


def _compute(explorer: Explorer) -> None:
    """What the view shows and only a browser has asked for so far."""
    try:
        if explorer.view == "compare" and not explorer.comparison:
            beside.compared(explorer, {})
        if explorer.view == "diff" and not explorer.difference:
            beside.differed(explorer, {})
    except AigymError:  # a store that cannot be read, which the explorer tells
        return


def _fill(parts: dict[str, Any], further: Iterator[tuple[str, Any]], room: int) -> None:
    """Adds one after the other while they fit into ``room`` bytes."""
    for name, value in further:
        room -= _size([name, value])
        if room < 0:
            return
        parts[name] = value


def _sparks(explorer: Explorer) -> dict[str, Any]:
    try:
        return dict(sparks(explorer, {"ids": [row["trajectory_id"] for row in explorer.rows]}))
    except AigymError:  # told where the list says that it could not be read
        return {}


def _chunks(explorer: Explorer) -> Iterator[tuple[str, Any]]:
    """Of the open trajectory: the beginning of its other scenes, then the rest of the first one."""
    shown = explorer.trajectory
    if not shown:
        return
    first = shown["view"]
    wanted = [(scene, 0) for scene in shown["scenes"] if scene not in (first, "frames")]
    wanted += [(first, i) for i in range(1, 1 + (shown["length"] - 1) // max(1, shown["scenes"][first]))]
    requests: list[tuple[str, dict[str, Any]]]
    requests = [("steps", {"id": shown["id"], "scene": scene, "chunk": chunk}) for scene, chunk in wanted]
    if shown["talk"]:
        chunks = range(1, len(shown["talk"]["starts"]))
        requests = [("turns", {"id": shown["id"], "chunk": chunk}) for chunk in chunks] + requests
    for what, request in requests:
        try:
            yield page.request_key(what, **request), ANSWERS[what](explorer, request)
        except AigymError:  # this one cannot be drawn; the page does without it
            continue


def _others(explorer: Explorer) -> Iterator[tuple[str, Any]]:
    """Trajectories of the list beside the open one."""
    for row in explorer.rows[:OTHERS]:
        if row["trajectory_id"] != explorer.selected:
            try:
                yield row["trajectory_id"], shown(explorer.store.load(row["trajectory_id"]))
            except AigymError:  # gone or unreadable meanwhile: the page does without it
                continue


def _room(module: str, style: str, still: str) -> int:
    return page.LIMIT - _MARGIN - sum(len(text.encode()) for text in (page.lean(module), style, still))


def _size(value: Any) -> int:
    return len(page.embedded(value).encode())
