"""What a notebook shows of a bench where no script runs: counts, the matrix of cells, what failed.

    html(cells, layout, columns)

The same cells as in the widget; a value leads to the page of its executed notebook. A thousand cells take
some 150 kB; more than that are not listed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from aigym_kernel.bench import standing
from aigym_kernel.bench.records import Cell, cell_folder
from aigym_kernel.rendering import BAD, DULL, Markup, escape, table
from aigym_kernel.widgets.cells import Cells, Layout

LISTED = 1_000
FAILURES = 20
COLOURS = {"running": "#1976d2", "failed": BAD, "interrupted": "#b26a00", "queued": DULL}


def html(cells: Cells, arranged: Layout, columns: str) -> str:
    """The board as it was last read; ``columns`` is the parameter that makes the columns, or ""."""
    view = cells.view()
    told = f"<p><b>{escape(view['name'])}</b> {escape(standing.counted(cells.words.values()))}"
    if view["metric"]:
        told += f"; {escape(view['metric'])}, {'lower' if view['lower'] else 'higher'} is better"
    parts = [told + "</p>"]
    if view["event"]:
        parts.append(f"<p>{escape(view['event'])}</p>")
    parts += [f"<p>{escape(note)}</p>" for note in view["notes"]]
    stands = cells.standing(arranged)
    drawn = [_cell(cells, cell, one) for cell, one in zip(cells.plan.cells[:LISTED], stands)]
    parts.append(_matrix(drawn, arranged, columns) if columns else _list(drawn, cells, arranged))
    if len(cells.plan.cells) > LISTED:
        parts.append(f"<p>{len(cells.plan.cells) - LISTED:,} further cells are not listed here.</p>")
    parts.append(
        _failures(cells, [cell for cell, one in zip(cells.plan.cells, stands) if one[0] == "failed"])
    )
    return f"<div>{''.join(parts)}</div>"


def _cell(cells: Cells, cell: Cell, stands: Sequence[Any]) -> Markup:
    """One cell: its value, shaded, or its state as a word."""
    state, value, reason, shade = stands
    if state in ("done", "skipped"):
        text = "done" if value is None else f"{value:,.4g}"
        page = cells.state.results[cell.id].page
        if page is not None:
            href = quote(os.path.relpath(cell_folder(cells.folder, cell.id) / page).replace(os.sep, "/"))
            text = f'<a href="{href}" style="color:inherit">{text}</a>'
        mark = " ◦" if state == "skipped" else ""
        colour = f"rgba(25,118,210,{0.08 + 0.37 * (shade or 0):.2f})"
        return Markup(f'<span style="display:block;padding:0 6px;background:{colour}">{text}{mark}</span>')
    word = f"✕ {reason or state}" if state == "failed" else state
    return Markup(f'<span style="color:{COLOURS[state]}">{escape(word)}</span>')


def _matrix(drawn: Sequence[Markup], arranged: Layout, columns: str) -> str:
    place = arranged.names.index(columns)
    rows: dict[tuple[str, ...], dict[str, Markup]] = {}
    heads: dict[str, None] = {}
    for markup, values in zip(drawn, arranged.values):
        rows.setdefault((*values[:place], *values[place + 1 :]), {})[values[place]] = markup
        heads[values[place]] = None
    names = [name for name in arranged.names if name != columns]
    first = [f"{columns} {head}" if i == 0 else head for i, head in enumerate(heads)]
    return table(
        (*names, *first), [[*row, *(found.get(head, "") for head in heads)] for row, found in rows.items()]
    )


def _list(drawn: Sequence[Markup], cells: Cells, arranged: Layout) -> str:
    names = arranged.names or ("notebook",)
    rows = [
        [*(values or (cell.notebook,)), markup]
        for cell, values, markup in zip(cells.plan.cells, arranged.values, drawn)
    ]
    return table((*names, ""), rows)


def _failures(cells: Cells, failed: Sequence[Cell]) -> str:
    """Why cells failed, one line each."""
    if not failed:
        return ""
    rows = []
    for cell in failed[:FAILURES]:
        last = standing.last_attempt(cells.state.statuses[cell.id])
        why = ("", "") if last is None else (last.reason or "", last.error or "")
        rows.append([standing.label(cell), *why])
    more = f", the first {FAILURES} of {len(failed)}" if len(failed) > FAILURES else ""
    return table(("cell", "reason", "error"), rows, f"failed{more}")
