"""What is most like a trajectory, or about a text, in the whole store of the explorer.

    {"what": "similar", "question": "walls itself in", "k": 10, "by": "meaning"}
    -> {"rows": [{"trajectory_id", "similarity", "excerpt", "env_id", "agent", "outcome", ...}, ...]}

``question``: a text, or a trajectory's id; see `search.similar`. A row's excerpt is recorded text: it may
only ever become ``textContent``. The first question on a large store reads every step and takes its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aigym_kernel.search import similar as search
from aigym_kernel.widgets.plain import finite

if TYPE_CHECKING:
    from aigym_kernel.widgets.explorer import Explorer


def similar(explorer: Explorer, arguments: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of `search.similar`, whatever is filtered in the explorer."""
    frame = search(
        arguments.get("question", ""),
        arguments.get("k", 10),
        store=explorer.store,
        by=arguments.get("by", "meaning"),
    )
    rows = frame.to_dict("records")
    return {"rows": [{str(k): finite(v) if isinstance(v, float) else v for k, v in r.items()} for r in rows]}
