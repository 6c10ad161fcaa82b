"""``%load_ext aigym_kernel``: two magics that only wrap functions.

%%solution two-sum          judges the cell's text with `judge` and shows the Score
%aigym select * from runs   answers with `sql`'s DataFrame (``%%aigym`` for longer queries)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from aigym_kernel.errors import AigymError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from aigym_kernel.handles import Run


def solution(line: str, cell: str) -> Any:
    """Judge the cell's text as a solution of the task named on the line."""
    from aigym_kernel.judge import judge

    task_id = line.strip()
    if not task_id:
        raise AigymError("%%solution needs a task, such as '%%solution two-sum'; see aigym.tasks()")
    return judge(task_id, cell)


def aigym(line: str, cell: str | None = None) -> Any:
    """Run the line's (or the cell's) SQL over the store."""
    from aigym_kernel.store import sql

    query = f"{line}\n{cell or ''}".strip()
    if not query:
        raise AigymError("%aigym needs SQL, such as '%aigym select * from runs'")
    return sql(query)


def register(shell: InteractiveShell) -> None:
    """Add the magics to an IPython shell."""
    shell.register_magic_function(solution, "cell")  # type: ignore[arg-type]
    shell.register_magic_function(aigym, "line_cell")  # type: ignore[arg-type]


def show_runs_as_boards(shell: InteractiveShell) -> None:
    """Let a shell display each Run, and several as Runs, as a live board. Loads nothing until then."""
    formatter = shell.display_formatter.ipython_display_formatter  # type: ignore[union-attr]
    for name in ("Run", "Runs"):
        formatter.for_type_by_name("aigym_kernel.handles", name, _show)
    shell.events.register("post_run_cell", _refresh_ended)


def _show(run: Run) -> None:
    from aigym_kernel.widgets.board import show

    show(run)


def _refresh_ended(*_: object) -> None:
    """After a cell: boards of runs and benches that have ended meanwhile become their final state."""
    for name in ("board", "bench"):
        if widget := sys.modules.get(f"aigym_kernel.widgets.{name}"):
            widget.refresh_ended()
