"""Tags and notes that people give trajectories, also later: the table ``notes`` and ``trajectories.tags``.

Like a review, none of them changes what was recorded: each is a row, in a segment of its own. Its ``kind`` is
``note``, ``tag`` or ``untag``; a trajectory has a tag where the last of the last two says so. The view
``trajectories`` has the tags as a list, in the order in which they were given: ``list_contains(tags, 'odd')``
finds those that have one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aigym_kernel.errors import AigymError
from aigym_kernel.store import schema
from aigym_kernel.trajectories import Note

# It is small, and made once: every question would make it again.
_TAGS = """
    CREATE TABLE recorded.tagged AS
    SELECT run_id, trajectory_id, list(text ORDER BY time) AS tags
    FROM (SELECT run_id, trajectory_id, text, max(time) AS time, arg_max(kind, time) AS kind
          FROM notes WHERE kind <> 'note' GROUP BY ALL)
    WHERE kind = 'tag' GROUP BY ALL"""


_NONE = "CREATE TABLE recorded.tagged (run_id VARCHAR, trajectory_id VARCHAR, tags VARCHAR[])"


def views(trajectories: str, *, tagged: bool) -> tuple[str, ...]:
    """The statements that make the view ``trajectories`` of a SELECT over trajectories, and that SELECT as
    ``recorded.untagged``: the first rows in some order are found seven times sooner before tags are joined.
    ``tagged``: whether there are any tags."""
    untagged = f"CREATE VIEW recorded.untagged AS {trajectories}"
    if not tagged:
        view = "CREATE VIEW trajectories AS SELECT *, []::VARCHAR[] AS tags FROM recorded.untagged"
        return _NONE, untagged, view
    view = """
    CREATE VIEW trajectories AS SELECT t.*, coalesce(n.tags, []) AS tags FROM recorded.untagged t
    LEFT JOIN recorded.tagged n ON t.run_id = n.run_id AND t.trajectory_id = n.trajectory_id"""
    return _TAGS, untagged, view


def note_row(run_id: str, trajectory_id: str, note: Note) -> dict[str, Any]:
    """The row of ``notes`` for a note.

    Raises:
        AigymError: it has no text.
    """
    if not isinstance(note.text, str) or not note.text.strip():
        raise AigymError(f"a note of trajectory {trajectory_id!r} is {note.text!r}; write some text")
    return _row(run_id, trajectory_id, "note", note.text, note.by, schema.microseconds(note.at))


def tag_rows(
    run_id: str, trajectory_id: str, tags: Iterable[str], remove: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """The rows of ``notes`` for tags given and taken away.

    Raises:
        AigymError: one is no text, or several, or empty.
    """
    chosen = [("tag", tag) for tag in _checked(tags)] + [("untag", tag) for tag in _checked(remove)]
    now = schema.microseconds(time.time()) or 0
    # Each a microsecond later: that is their order, and what comes last counts.
    return [_row(run_id, trajectory_id, kind, tag, "", now + i) for i, (kind, tag) in enumerate(chosen)]


def _checked(tags: Iterable[str]) -> list[str]:
    if isinstance(tags, str):
        raise AigymError(f"tags {tags!r} are one text; give a list of texts, such as [{tags!r}]")
    found = list(tags)
    for tag in found:
        if not isinstance(tag, str) or not tag.strip() or len(tag) > 200:
            raise AigymError(f"tag {tag!r:.100} is no text of 1 to 200 characters; choose a short word")
    return found


def _row(
    run_id: str, trajectory_id: str, kind: str, text: str, author: str, at: int | None
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "trajectory_id": schema.clean(trajectory_id),
        "kind": kind,
        "text": schema.clean(text),
        "author": schema.clean(author),
        "time": at,
    }


def tags(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The tags that these rows of one trajectory, by time, leave it with."""
    last: dict[str, str] = {}
    for row in rows:
        if row["kind"] != "note":
            last.pop(row["text"], None)
            last[row["text"]] = row["kind"]
    return tuple(text for text, kind in last.items() if kind == "tag")


def notes(rows: Sequence[Mapping[str, Any]]) -> tuple[Note, ...]:
    """The notes among these rows of one trajectory."""
    return tuple(
        Note(text=row["text"], by=row["author"], at=schema.seconds(row["time"]) or 0.0)
        for row in rows
        if row["kind"] == "note"
    )
