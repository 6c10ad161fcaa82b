"""What the explorer answers of one trajectory: its further steps, frames, hits, and what people say of it.

    {"what": "steps", "id": "4f...", "scene": "values", "chunk": 3}     `shown.Opened.chunk`
    {"what": "frames", "id": ..., "from": 40, "to": 80}                 `shown.Opened.frames`
    {"what": "step", "id": ..., "t": 17}                                one step as JSON
    {"what": "find", "id": ..., "text": "apple"}                        `finding.find`
    {"what": "turns", "id": ..., "chunk": 3}, {"what": "turn", "turn": 17}   `Conversation`
    {"what": "tag", "id": ..., "add": ["odd"], "remove": []}            into the store; also "note", "text"

Each function is a value of `answers.ANSWERS`. The last two that were opened stay in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aigym_kernel.errors import AigymError
from aigym_kernel.widgets.conversation import Conversation
from aigym_kernel.widgets.finding import Found
from aigym_kernel.widgets.shown import Opened, said

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer

_KEPT = 2


def opened(explorer: Explorer, trajectory_id: str) -> Opened:
    """A trajectory of the explorer's store, read once while it is among the last few.

    Raises:
        UnknownName: there is none of this id.
    """
    held = explorer.opened.pop(trajectory_id, None) or Opened(explorer.store.load(trajectory_id))
    explorer.opened[trajectory_id] = held
    while len(explorer.opened) > _KEPT:
        explorer.opened.pop(next(iter(explorer.opened)))
    return held


def steps(explorer: Explorer, request: Mapping[str, Any]) -> dict[str, Any]:
    """A chunk of steps with what a scene draws of them."""
    return opened(explorer, request["id"]).chunk(str(request["scene"]), _whole(request, "chunk"))


def frames(explorer: Explorer, request: Mapping[str, Any]) -> dict[str, Any]:
    """Rendered pictures of some positions."""
    return opened(explorer, request["id"]).frames(_whole(request, "from"), _whole(request, "to"))


def step(explorer: Explorer, request: Mapping[str, Any]) -> str:
    """One step as JSON."""
    return opened(explorer, request["id"]).whole(_whole(request, "t"))


def find(explorer: Explorer, request: Mapping[str, Any]) -> Found:
    """Where a text occurs in all steps."""
    return opened(explorer, request["id"]).find(str(request["text"])[:1_000])


def turns(explorer: Explorer, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A chunk of a conversation."""
    return _talk(explorer, request).chunk(_whole(request, "chunk"))


def turn(explorer: Explorer, request: Mapping[str, Any]) -> dict[str, Any]:
    """One turn of a conversation, whole."""
    return _talk(explorer, request).turn(_whole(request, "turn"))


def _talk(explorer: Explorer, request: Mapping[str, Any]) -> Conversation:
    held = opened(explorer, request["id"])
    if held.talk is None:
        raise AigymError(f"trajectory {held.trajectory.id} has no messages")
    return held.talk


def tag(explorer: Explorer, request: Mapping[str, Any]) -> dict[str, Any]:
    """Adds and removes tags; returns all tags and notes."""
    explorer.store.tag(request["id"], *map(str, request.get("add", ())), remove=request.get("remove", ()))
    return _remarks(explorer, request["id"])


def note(explorer: Explorer, request: Mapping[str, Any]) -> dict[str, Any]:
    """Adds a note; returns all tags and notes."""
    explorer.store.note(request["id"], str(request["text"]), by=str(request.get("by", "")))
    return _remarks(explorer, request["id"])


def _remarks(explorer: Explorer, trajectory_id: str) -> dict[str, Any]:
    now = explorer.store.load(trajectory_id)
    if trajectory_id in explorer.opened:
        explorer.opened[trajectory_id].trajectory = now
    told = {"tags": list(now.tags), "said": said(now)}
    if explorer.trajectory.get("id") == trajectory_id:
        explorer.trajectory = {**explorer.trajectory, **told}  # a saved notebook has them too
    return told


def _whole(request: Mapping[str, Any], name: str) -> int:
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise AigymError(f"{name}={value!r:.40} must be a whole number from 0 on")
    return value
