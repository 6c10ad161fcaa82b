"""What the explorer answers to the browser: `ANSWERS`, from the name of a request to the function for it.

    {"ask": "x-1", "what": "rows", "from": 0, "to": 60}      from the browser, see requests.js
    {"answer": "x-1", "value": {...}}                        back to it, or {"answer": ..., "error": "..."}

A function gets the explorer and the request and returns plain values; its `AigymError` is told in words.
A pane's functions stand in the pane's own module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.widgets import beside, pane
from aigym_kernel.widgets.alike import similar
from aigym_kernel.widgets.following import follow
from aigym_kernel.widgets.rows import choose, rows, sparks

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer

CHANGED = (
    "filters",
    "search",
    "order_by",
    "descending",
    "columns",
    "selected",
    "chosen",
    "step",
    "view",
    "live",
)


def change(explorer: Explorer, arguments: Mapping[str, Any]) -> None:
    """Sets some of the explorer's state."""
    for name, value in arguments.items():
        if name in CHANGED:
            setattr(explorer, name, value)


def refresh(explorer: Explorer, _arguments: Mapping[str, Any]) -> None:
    """Reads the store again."""
    explorer.refresh()


ANSWERS: dict[str, Callable[[Explorer, Mapping[str, Any]], Any]] = {
    "change": change,
    "choose": choose,
    "follow": follow,
    "refresh": refresh,
    "rows": rows,
    "similar": similar,
    "sparks": sparks,
    "steps": pane.steps,
    "frames": pane.frames,
    "step": pane.step,
    "find": pane.find,
    "tag": pane.tag,
    "note": pane.note,
    "turns": pane.turns,
    "turn": pane.turn,
    "compare": beside.compared,
    "diff": beside.differed,
    "diff rows": beside.difference_rows,
    "diff boards": beside.difference_boards,
}

# Answered in a thread of their own: they may take long, and what comes after them does not wait.
ASIDE = frozenset({"similar", "sparks"})


def answer(explorer: Explorer, request: Mapping[str, Any]) -> dict[str, Any]:
    """The message that goes back for one request."""
    try:
        what = request.get("what")
        if what not in ANSWERS:
            raise UnknownName("request", what, ANSWERS)
        return {"answer": request["ask"], "value": ANSWERS[what](explorer, request)}
    except AigymError as problem:
        return {"answer": request["ask"], "error": str(problem)}
    except Exception as problem:  # no cell that it could reach
        return {"answer": request["ask"], "error": f"{type(problem).__name__}: {problem}"}
