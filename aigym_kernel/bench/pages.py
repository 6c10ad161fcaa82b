"""The report of a bench: ``report.html`` and ``report.md`` in its folder, for readers who never saw the tool.

    html, markdown = write(folder)

The page is one file that opens without network, kernel or this package; its links lead to the executed
notebooks beside it. The Markdown says the same in tables and fits a comment on a pull request. Either may be
written while the bench goes on: it tells of the cells that have ended.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aigym_kernel.bench import again, beside, blocks, measured, origins, records, told
from aigym_kernel.bench.blocks import Block, Document, Figure, Paragraph, Section
from aigym_kernel.bench.leaderboard import leaderboard
from aigym_kernel.bench.records import State
from aigym_kernel.store.records import replace_file

COMMENT = 65_000
"""Bytes of Markdown that a comment on GitHub takes, a little less."""
LONG = ("cells", "failures", "provenance", "curves", "metrics", "comparison")
"""Sections that are left out of the Markdown, in this order, as long as it is longer."""


def write(folder: Path) -> tuple[Path, Path]:
    """Write the report of the bench in ``folder``; returns the paths of page and Markdown. Each is written
    whole or not at all.

    Raises:
        BenchError: there is no bench in this folder, or its files are damaged.
        StoreError: the disk is full or the folder cannot be written.
    """
    document = report(records.read(folder))
    page, markdown = folder / "report.html", folder / "report.md"
    content = blocks.html(document, script=_script(document))
    text = _fitting(document)
    replace_file(page, content)
    replace_file(markdown, text)
    return page, markdown


def report(state: State) -> Document:
    """What the report says, for whatever shows it."""
    board = leaderboard(state)
    found: list[tuple[str, str, list[Block]]] = [
        (
            "leaderboard",
            "Leaderboard" if len(board.standings) > 1 else "Result",
            measured.ranking(state, board),
        ),
        ("comparison", "Methods against each other", measured.compared(state, board)),
        ("passed", "pass@k", beside.solved(state, board)),
        ("metrics", "Other metrics", beside.others(state, board)),
        ("curves", "Learning curves", beside.learning(state, board)),
        ("failures", "Failures", told.failures(state)),
        ("changes", "What else a reader should know", told.changes(state)),
        ("cells", "All cells", told.cells(state)),
        ("provenance", "Where it ran, and on what", origins.blocks(state)),
        ("verified", "Verified: run again and compared", again.verified(state)),
        ("again", "How to check it and run it again", again.commands(state)),
    ]
    sections = tuple(Section(id=name, title=title, blocks=b) for name, title, b in found if b)
    lead = told.lead(state, measured.verdict(board))
    return Document(title=f"Benchmark {state.plan.name}", lead=lead, sections=sections)


def _fitting(document: Document) -> str:
    """Markdown that a comment on GitHub can hold: of what is too long, the page alone has all."""
    for name in ("", *LONG):
        if name:
            short = (Paragraph("Too long for this file: report.html, beside it, has it."),)
            sections = [replace(s, blocks=short) if s.id == name else s for s in document.sections]
            document = replace(document, sections=sections)
        text = blocks.markdown(document)
        if len(text.encode()) <= COMMENT:
            break
    return text


def _script(document: Document) -> str:
    """What draws the figures, if there are any."""
    if not any(isinstance(block, Figure) for section in document.sections for block in section.blocks):
        return ""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script
