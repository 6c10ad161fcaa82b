"""What is most like a trajectory, or about a text, of those that pass the explorer's filters.

    {"what": "similar", "question": "walls itself in", "k": 10, "by": "meaning"}
    -> {"rows": [{"trajectory_id", "similarity", "excerpt", "env_id", "agent", "outcome", ...}, ...]}

``question``: a text, or a trajectory's id, which need not pass; see `search.similar`. An excerpt comes in
parts (`ranking.parts`); it is recorded text and may only ever become ``textContent``. The first question on
a large store reads every step and takes its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aigym_kernel.search import ranking
from aigym_kernel.search import similar as search
from aigym_kernel.widgets.filters import condition
from aigym_kernel.widgets.plain import finite

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer


def similar(explorer: Explorer, arguments: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of `search.similar`."""
    frame = search(
        arguments.get("question", ""),
        arguments.get("k", 10),
        store=explorer.store,
        by=arguments.get("by", "meaning"),
        where=_passing(explorer),
    )
    frame["excerpt"] = [ranking.parts(excerpt, frame.attrs["words"]) for excerpt in frame["excerpt"]]
    rows = frame.to_dict("records")
    return {"rows": [{str(k): finite(v) if isinstance(v, float) else v for k, v in r.items()} for r in rows]}


def _passing(explorer: Explorer) -> list[str] | None:
    """The ids that the filters let through; None where all pass."""
    if not (explorer.where or explorer.filters or explorer.search):
        return None
    test = condition([explorer.where, explorer.filters], explorer.held.sources, explorer.search)
    found = explorer.store.sql(f"SELECT trajectory_id FROM trajectories WHERE {test}")["trajectory_id"]
    return [str(trajectory_id) for trajectory_id in found]
