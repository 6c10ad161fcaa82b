"""One text as a page and as Markdown: whatever is in it stays text, tables stay tables."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from aigym_kernel.bench.blocks import (
    Code,
    Document,
    Figure,
    Folded,
    Items,
    Line,
    Link,
    Mark,
    Paragraph,
    Pre,
    Section,
    Strong,
    Table,
    html,
    markdown,
)

HOSTILE = [
    "<b>&amp;</b>",
    "a|b",
    "*a* _b_ __c__ ~~d~~ `e` [f](g) ![h](i)",
    "back\\slash \\| \\`",
    "``` ` ````",
    "two\nlines",
    "</td></table><script>alert(1)</script>",
    "snake_case_name",
]


def _document(text: str) -> Document:
    rows: list[list[Line]] = [
        [text, Code(text), Strong(text)],
        [Mark(text, "bad"), Link(text, "a b/c.html"), ""],
    ]
    table = Table(caption=["the ", text], headings=["one", text, "three"], rows=rows, numbers=frozenset({2}))
    return Document(
        title=text,
        lead=[Paragraph(["before ", text, " after"])],
        sections=[
            Section(id="s", title=text, blocks=[table, Items([text]), Pre(text, text), Folded(text, [table])])
        ],
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_shows_any_text_as_it_is(text: str) -> None:
    page = BeautifulSoup(html(_document(text)), "html.parser")
    assert page.script is None
    assert page.h1.text == page.title.text == text
    assert page.header.p.text == f"before {text} after"
    cells = [cell.text for cell in page.table.tbody.find_all(["th", "td"])]
    assert cells == [text, text, text, text, text, ""]
    assert page.pre.text.strip("\n") == text
    assert page.select_one("td a")["href"] == "a%20b/c.html"


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown(_document(text)))
    page = BeautifulSoup(rendered, "html.parser")
    assert page.script is None
    assert _one_line(page.h1.text) == _one_line(text)
    assert _one_line(page.p.text) == _one_line(f"before {text} after")
    cells = [_one_line(cell.text) for cell in page.table.tbody.find_all("td")]
    assert cells == [_one_line(text)] * 5 + [""]
    assert page.pre.text.strip("\n") == text
    assert page.table.a["href"] == "a%20b/c.html"


def test_tables_can_be_read_by_ear_and_reached_by_key() -> None:
    page = BeautifulSoup(html(_document("x")), "html.parser")
    assert page.html["lang"] == "en"
    for table in page.find_all("table"):
        assert table.caption.text == "the x"
        assert [th["scope"] for th in table.thead.find_all("th")] == ["col"] * 3
        assert [th["scope"] for th in table.tbody.find_all("th")] == ["row"] * 2
        assert (table.parent["tabindex"], table.parent["role"]) == ("0", "region")
    assert page.nav.a["href"] == "#s"
    assert page.section["aria-labelledby"] == page.h2["id"] == "s"


def test_a_page_may_ask_nobody_and_markdown_has_no_figures() -> None:
    document = Document(title="t", lead=[Figure("a figure", "<svg></svg>")])
    page = BeautifulSoup(html(document, script="draw()"), "html.parser")
    assert "default-src 'none'" in page.find("meta", {"http-equiv": True})["content"]
    assert page.figure["aria-label"] == "a figure"
    assert page.script.text == "draw()"
    assert "svg" not in markdown(document)


def test_markdown_calls_nobody_by_name() -> None:
    assert "@octocat" not in markdown(Document(title="t", lead=[Paragraph("ask @octocat, not a@b.org")]))
    assert "a@b.org" in markdown(Document(title="t", lead=[Paragraph("ask @octocat, not a@b.org")]))


def test_a_lone_surrogate_can_be_written() -> None:
    document = Document(title="\ud800", lead=[])
    assert "\\ud800" in html(document)
    assert "ud800" in markdown(document)
