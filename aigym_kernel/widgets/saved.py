"""An explorer without its kernel: the page that `Explorer.to_html` writes, and what a notebook keeps of it.

    whole(explorer)        a page that plays the open trajectory and opens others of the list while they fit
    part(explorer)         the same with the open trajectory alone, as an output of a notebook

Both stay below `page.LIMIT` whatever was recorded: first the other trajectories are left out, then rows of
the list, then the open trajectory, which is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aigym_kernel.errors import AigymError
from aigym_kernel.widgets import page, source
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
    held = _held(explorer, _room(module, style, still))
    left = _room(module, style, still) - _size(held)
    for row in explorer.rows[:OTHERS]:
        if row["trajectory_id"] == explorer.selected:
            continue
        if other := _other(explorer, row["trajectory_id"]):
            left -= _size(other)
            if left < 0:
                break
            held["trajectories"][row["trajectory_id"]] = other
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
    state = page.state_of(explorer)
    held: dict[str, Any] = {"state": state, "trajectories": {}, "answers": {}}
    state["total"] = len(state["rows"])  # the list has these and asks for no others
    if _size(held) > room:
        state["rows"] = state["rows"][:FEW_ROWS]
        state["total"] = len(state["rows"])
    if _size(held) > room:
        state["trajectory"] = {}
        state["error"] = "The open trajectory is too large for this page; run the notebook to see it."
    return held


def _other(explorer: Explorer, trajectory_id: str) -> dict[str, Any]:
    try:
        return shown(explorer.store.load(trajectory_id))
    except AigymError:  # gone or unreadable meanwhile: the page does without it
        return {}


def _room(module: str, style: str, still: str) -> int:
    return page.LIMIT - _MARGIN - sum(len(text.encode()) for text in (page.lean(module), style, still))


def _size(value: Any) -> int:
    return len(page.embedded(value).encode())
