"""Let a person mark a solution: give the marks that wait for one, or override what the judge said.

    form = review(score, solution="def two_sum(...): ...")     form.score is what counts from then on
    form = review("3f2a...")                                   a recorded trajectory; kept in the store
    form.give("style", 0.8, note="clear names")                the same without the mouse

The judge's value stays beside the person's, with who gave it and when. What was recorded is not changed: a
review is recorded as a segment of its own (`store.reviews`).
"""

from __future__ import annotations

import getpass
import json
import threading
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from aigym_kernel.errors import AigymError
from aigym_kernel.store import Store
from aigym_kernel.trajectories import Mark, Score, Trajectory
from aigym_kernel.widgets import placing, source, stills
from aigym_kernel.widgets.plain import cut
from aigym_kernel.widgets.replies import stay_where_sent
from aigym_kernel.widgets.shown import shown

MOST_TEXTS = 60


class ReviewForm(anywidget.AnyWidget):
    """A solution, the criteria, and a place for a person's value and note on each.

    ``view`` holds all that is drawn (see `Form` in review.js); ``by`` is who reviews; ``score`` the Score as
    it counts now. ``selected`` is the mark that is being looked at, by its position.
    """

    _esm = source.module("drawing", "review")
    _css = source.style()

    view = traitlets.Dict().tag(sync=True)
    by = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self, score: Score, texts: list[tuple[str, str]], *, by: str, recorded: str = "", store: Store | None
    ) -> None:
        self.score = score
        self._texts = [[label, cut(text)] for label, text in texts[:MOST_TEXTS]]
        self._recorded = recorded
        self._store = store
        self._giving = threading.Lock()
        waiting = [i for i, mark in enumerate(score.marks) if mark.value is None]
        super().__init__(view=self._look(), by=by, selected=waiting[0] if waiting else 0)
        stay_where_sent(self.comm)
        self.on_msg(self._on_message)

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    def give(self, name: str, value: float, *, note: str = "", by: str | None = None) -> Score:
        """Give the mark ``name`` a person's ``value`` in [0, 1]; the score that counts from then on.

        Raises:
            UnknownName: there is no such mark.
            AigymError: the value is no number in [0, 1], or the trajectory's marks are not told apart.
            StoreError: the review cannot be recorded.
        """
        by = self.by if by is None else by
        with self._giving:
            if self._store is None:
                self.score = self.score.reviewed(name, value, note=note, by=by)
            else:
                self.score = self._store.review(self._recorded, name, value, note=note, by=by)
            self.view = self._look()
        placing.renew(self)
        return self.score

    def static_html(self) -> str:
        """The solution and the marks as they are now, as HTML without script."""
        return stills.review(self.score, self._texts)

    def _look(self, problem: str = "") -> dict[str, Any]:
        return {
            "task_id": self.score.task_id,
            "recorded": self._recorded,
            "total": self.score.total,
            "passed": self.score.passed,
            "pass_mark": self.score.pass_mark,
            "marks": [_mark(mark) for mark in self.score.marks],
            "texts": self._texts,
            "problem": problem,
            "asked": 0,
        }

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        """``{"give": {"name", "value", "note"}, "asked": n}`` from the browser; ``asked`` comes back."""
        if not isinstance(content, dict) or not isinstance(content.get("give"), dict):
            return
        given = content["give"]
        try:
            self.give(str(given.get("name")), given.get("value"), note=str(given.get("note", "")))
            problem = ""
        except AigymError as error:
            problem = str(error)
        self.view = {**self._look(problem), "asked": content.get("asked", 0)}

    def __repr__(self) -> str:
        waiting = sum(mark.value is None for mark in self.score.marks)
        state = f"{waiting} marks wait" if waiting else f"score {self.score.total:.2f}"
        return f"ReviewForm({self.score.task_id}: {state})"

    def _ipython_display_(self) -> None:
        placing.place(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata


def review(
    what: Score | Trajectory | str,
    *,
    solution: str | Mapping[str, str | bytes] | None = None,
    by: str | None = None,
    store: Store | None = None,
) -> ReviewForm:
    """A form for reviewing a score, or the score of a recorded trajectory (by its id).

    Args:
        solution: what to show beside the marks of a Score: the answer's text, or texts by file name.
        by: who reviews; default: the user's name on this machine.
        store: where the trajectory is; default: the store of `settings.data_dir`.

    Raises:
        UnknownName: no recorded trajectory has this id.
        AigymError: there is no score to review.
    """
    by = getpass.getuser() if by is None else by
    texts = _solution(solution)
    if isinstance(what, Score):
        return ReviewForm(what, texts, by=by, store=None)
    store = store or Store()
    trajectory = store.load(what.id if isinstance(what, Trajectory) else what)
    if trajectory.score is None:
        raise AigymError(f"trajectory {trajectory.id!r} has no score that could be reviewed")
    return ReviewForm(
        trajectory.score, [*_played(trajectory), *texts], by=by, recorded=trajectory.id, store=store
    )


def _solution(solution: str | Mapping[str, str | bytes] | None) -> list[tuple[str, str]]:
    if solution is None:
        return []
    if isinstance(solution, str):
        return [("solution", solution)]
    if not isinstance(solution, Mapping):
        raise AigymError(f"solution={solution!r:.80} must be text, or texts by file name")
    return [
        (str(name), content if isinstance(content, str) else content.decode("utf-8", "backslashreplace"))
        for name, content in solution.items()
    ]


def _played(trajectory: Trajectory) -> list[tuple[str, str]]:
    """What was seen and done, where it is text."""
    view = shown(trajectory)
    if view["view"] not in ("text", "terminal"):
        return []
    turns = [("observation", view["texts"][0])]
    for t, action in enumerate(view["actions"]):
        turns += [(f"action {t + 1}", action), ("observation", view["texts"][t + 1])]
    return turns


def _mark(mark: Mark) -> dict[str, Any]:
    judged = mark.value if mark.review is None else mark.review.judged
    evidence = json.dumps(mark.evidence, indent=1, ensure_ascii=False, default=str) if mark.evidence else ""
    return {
        "name": mark.name,
        "value": mark.value,
        "judged": judged,
        "weight": mark.weight,
        "required": mark.required,
        "status": mark.status,
        "feedback": cut(mark.feedback),
        "evidence": cut(evidence),
        "note": mark.review.note if mark.review else "",
        "by": mark.review.by if mark.review else "",
        "at": mark.review.at if mark.review else None,
    }
