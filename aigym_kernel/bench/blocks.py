"""A text of paragraphs, tables and figures, written once and shown twice: as an HTML page and as Markdown.

    document = Document(title="Benchmark a", lead=(Paragraph("Two methods."),), sections=(Section(...),))
    html(document, script="")       a whole page that asks nobody for anything
    markdown(document)              the same for a pull request; figures are left out

Every text is data: it may hold any character and becomes neither tags nor Markdown. Of a figure, the tables
beside it must say the same. Knows nothing of benches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from aigym_kernel.rendering import escape

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Code:
    """A name or command, as it is typed."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Words that must not be missed."""

    text: str


@dataclass(frozen=True)
class Link:
    """Words that lead to a file, by its path from where the page is, or to a section (``#id``)."""

    text: str
    path: str


@dataclass(frozen=True)
class Mark:
    """A word that says how something went, coloured on the page."""

    text: str
    kind: Literal["good", "bad", "warn", "dull"]


Inline = str | Code | Strong | Link | Mark
Line = Inline | Sequence[Inline]


@dataclass(frozen=True)
class Paragraph:
    line: Line


@dataclass(frozen=True)
class Items:
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class Table:
    """``headings`` of the columns; the column ``named`` says what a row is about. Columns in ``numbers`` are
    aligned to the right."""

    caption: Line
    headings: Sequence[str]
    rows: Sequence[Sequence[Line]]
    named: int = 0
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Pre:
    """Text that keeps its lines, such as a log or commands."""

    label: str
    text: str


@dataclass(frozen=True)
class Figure:
    """HTML, made by this package, that only a page can show."""

    label: str
    html: str


@dataclass(frozen=True)
class Folded:
    """Blocks that are out of the way until somebody wants them."""

    summary: str
    blocks: Sequence[Block]


Block = Paragraph | Items | Table | Pre | Figure | Folded


@dataclass(frozen=True, kw_only=True)
class Section:
    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Document:
    title: str
    lead: Sequence[Block]
    sections: Sequence[Section] = field(default=())


# HTML


def html(document: Document, *, script: str = "") -> str:
    """The page. ``script`` is what its figures need, put into it once."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    contents = "".join(f'<li><a href="#{s.id}">{escape(s.title)}</a></li>' for s in document.sections)
    body = "".join(
        f'<section aria-labelledby="{s.id}"><h2 id="{s.id}">{escape(s.title)}</h2>\n'
        f"{_blocks(s.blocks)}</section>\n"
        for s in document.sections
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(document.title)}</title>'
        f"<style>{style}</style>{f'<script>{script}</script>' if script else ''}</head>\n"
        f"<body><header><h1>{escape(document.title)}</h1>{_blocks(document.lead)}</header>"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n<main>{body}</main></body></html>\n'
    )
    # A lone surrogate in somebody's output has no UTF-8.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _blocks(blocks: Iterable[Block]) -> str:
    return "\n".join(map(_block, blocks))


def _block(block: Block) -> str:
    match block:
        case Paragraph(line):
            return f"<p>{_line(line)}</p>"
        case Items(lines):
            return f"<ul>{''.join(f'<li>{_line(line)}</li>' for line in lines)}</ul>"
        case Table():
            return _table(block)
        case Pre(label, text):
            return f'<pre tabindex="0" role="region" aria-label="{escape(label)}">{escape(text)}</pre>'
        case Figure(label, content):
            return f'<figure role="group" aria-label="{escape(label)}">{content}</figure>'
        case Folded(summary, inner):
            return f"<details><summary>{escape(summary)}</summary>{_blocks(inner)}</details>"


def _table(table: Table) -> str:
    def kind(i: int) -> str:
        return ' class="number"' if i in table.numbers else ""

    head = "".join(f'<th scope="col"{kind(i)}>{escape(h)}</th>' for i, h in enumerate(table.headings))
    rows = []
    for row in table.rows:
        cells = [
            f'<th scope="row"{kind(i)}>{_line(line)}</th>'
            if i == table.named
            else f"<td{kind(i)}>{_line(line)}</td>"
            for i, line in enumerate(row)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    # It scrolls by itself where the window is narrower; so it must be reachable by keyboard.
    label = escape(_plain(table.caption))
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<caption>{_line(table.caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _line(line: Line) -> str:
    match line:
        case str():
            return escape(line)
        case Code(text):
            return f"<code>{escape(text)}</code>"
        case Strong(text):
            return f"<strong>{escape(text)}</strong>"
        case Link(text, path):
            return f'<a href="{escape(_address(path))}">{escape(text)}</a>'
        case Mark(text, kind):
            return f'<span class="mark {kind}">{escape(text)}</span>'
    return "".join(map(_line, line))


def _plain(line: Line) -> str:
    if isinstance(line, str):
        return line
    return line.text if isinstance(line, Code | Strong | Link | Mark) else "".join(map(_plain, line))


def _address(path: str) -> str:
    return path if path.startswith("#") else quote(path)


# Markdown


def markdown(document: Document) -> str:
    """GitHub's Markdown."""
    parts = [f"# {_escaped(document.title)}", *_parts(document.lead)]
    for section in document.sections:
        parts += [f"## {_escaped(section.title)}", *_parts(section.blocks)]
    return ("\n\n".join(parts) + "\n").encode("utf-8", "backslashreplace").decode("utf-8")


def _parts(blocks: Iterable[Block]) -> list[str]:
    found: list[str] = []
    for block in blocks:
        match block:
            case Paragraph(line):
                found.append(_marked(line))
            case Items(lines):
                found.append("\n".join(f"- {_marked(line)}" for line in lines))
            case Table():
                found += [f"**{_marked(block.caption)}**", _rows(block)]
            case Pre(label, text):
                fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
                found += [_escaped(label) + ":", f"{fence}text\n{text}\n{fence}"]
            case Folded(summary, inner):
                found += [f"<details><summary>{escape(summary)}</summary>", *_parts(inner), "</details>"]
            case Figure():
                pass
    return found


def _rows(table: Table) -> str:
    rules = ["--:" if i in table.numbers else "---" for i in range(len(table.headings))]
    lines = [[_escaped(h) or " " for h in table.headings], rules]
    lines += [[_marked(line) or " " for line in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _marked(line: Line) -> str:
    match line:
        case str():
            return _escaped(line)
        case Code(text):
            return _code(text)
        case Strong(text) | Mark(text, "bad" | "warn"):
            return f"**{_escaped(text)}**"
        case Mark(text, _):
            return _escaped(text)
        case Link(text, path):
            return f"[{_escaped(text)}]({_address(path)})" if not path.startswith("#") else _escaped(text)
    return "".join(map(_marked, line))


def _code(text: str) -> str:
    """A code span; one in a table ends at a bar that is not escaped."""
    one_line = re.sub(r"\s+", " ", text).replace("|", "\\|")
    ticks = "`" * (1 + max(map(len, re.findall("`+", one_line)), default=0))
    space = " " if "`" in one_line else ""
    return f"{ticks}{space}{one_line}{space}{ticks}"


def _escaped(text: str) -> str:
    """Text in one line that Markdown shows as it is, and that calls nobody."""
    line = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]|~])", r"\\\1", line)
    line = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)
    return re.sub(r"(?<!\w)@(?=\w)", "@\u200b", line)
