"""How marks and people's reviews of them are stored, and how they appear in SQL: the views ``marks`` and
``trajectories``, in which the tags of people are shown too (see ``notes``).

A review never changes what was recorded: it is a row of the table ``reviews``, in a segment of its own. The
view ``marks`` has the latest review of each mark beside the judge's value: ``value`` is what counts (the
person's, where there is one), ``judged`` the judge's own. In ``trajectories`` the ``score``, ``passed`` and
``outcome`` of what was reviewed are worked out anew, as `trajectories.tally` does. ``return`` and rewards
stay what the environment gave. What was recorded first is in ``recorded.marks``, ``recorded.trajectories``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aigym_kernel.store import notes, schema
from aigym_kernel.trajectories import Mark, Review

CHANGED = ("marks", "trajectories")
"""The tables that a review shows in; as recorded they lie in the schema ``recorded``."""

_UNREVIEWED = (
    (),
    """
    CREATE VIEW marks AS
    SELECT *, value AS judged, NULL::VARCHAR AS reviewer, NULL::VARCHAR AS note,
           NULL::TIMESTAMP AS reviewed_at
    FROM recorded.marks
    """,
    "FROM recorded.trajectories",
)
# Both are small, and made once: every question would make them again.
_LATEST = """
    CREATE TABLE recorded.latest AS
    SELECT run_id, trajectory_id, name,
           arg_max({'value': value, 'reviewer': reviewer, 'note': note, 'time': time}, time) AS latest
    FROM reviews GROUP BY ALL"""
_RESCORED = """
    CREATE TABLE recorded.rescored AS
    SELECT run_id, trajectory_id, bool_and(NOT required OR coalesce(value >= 1, false)) AS full_marks,
           CASE WHEN count(value) = count(*) THEN least(1, sum(weight * value) / sum(weight)) END AS total
    FROM (SELECT m.run_id, m.trajectory_id, m.weight, m.required, coalesce(r.latest.value, m.value) AS value
          FROM (FROM recorded.marks SEMI JOIN reviews USING (run_id, trajectory_id)) m
          LEFT JOIN recorded.latest r USING (run_id, trajectory_id, name))
    GROUP BY ALL"""
_REVIEWED = (
    (_LATEST, _RESCORED),
    """
    CREATE VIEW marks AS
    SELECT m.* REPLACE (
             coalesce(r.latest.value, m.value) AS value,
             CASE WHEN r.latest IS NULL THEN m.status WHEN r.latest.value >= 1 THEN 'passed' ELSE 'failed' END
               AS status),
           m.value AS judged, r.latest.reviewer AS reviewer, r.latest.note AS note,
           r.latest.time AS reviewed_at
    FROM recorded.marks m LEFT JOIN recorded.latest r USING (run_id, trajectory_id, name)
    """,
    """
    SELECT t.* REPLACE (
             CASE WHEN s.run_id IS NULL THEN t.score ELSE s.total END AS score,
             CASE WHEN s.run_id IS NULL THEN t.passed
                  ELSE coalesce(s.full_marks AND s.total >= coalesce(t.pass_mark, 1) - 1e-9, false) END
               AS passed,
             CASE WHEN s.run_id IS NULL OR t.error IS NOT NULL THEN t.outcome
                  WHEN s.total IS NULL THEN 'unjudged'
                  WHEN s.full_marks AND s.total >= coalesce(t.pass_mark, 1) - 1e-9 THEN 'passed'
                  ELSE 'failed' END AS outcome)
    FROM recorded.trajectories t LEFT JOIN recorded.rescored s
    ON t.run_id = s.run_id AND t.trajectory_id = s.trajectory_id
    """,
)


def views(*, reviewed: bool, tagged: bool) -> tuple[str, ...]:
    """The statements that make them, in order. Where nothing is reviewed or tagged, no join is made."""
    tables, marks, trajectories = _REVIEWED if reviewed else _UNREVIEWED
    return *tables, marks, *notes.views(trajectories, tagged=tagged)


def mark_row(run_id: str, trajectory_id: str, mark: Mark) -> dict[str, Any]:
    """The row of ``marks``: the mark as the judge gave it."""
    if mark.review is not None:
        mark = replace(mark, value=mark.review.judged, review=None)
    return {
        "run_id": run_id,
        "trajectory_id": schema.clean(trajectory_id),
        "name": schema.clean(mark.name),
        "value": None if mark.value is None else float(mark.value),
        "weight": float(mark.weight),
        "required": bool(mark.required),
        "status": mark.status,
        "feedback": schema.clean(mark.feedback),
        "evidence": schema.json_text(mark.evidence) if mark.evidence else None,
    }


def review_row(
    run_id: str, trajectory_id: str, name: str, value: float | None, review: Review
) -> dict[str, Any]:
    """The row of ``reviews``: a person's value for a mark."""
    return {
        "run_id": run_id,
        "trajectory_id": schema.clean(trajectory_id),
        "name": schema.clean(name),
        "value": value,
        "note": schema.clean(review.note),
        "reviewer": schema.clean(review.by),
        "time": schema.microseconds(review.at),
    }
