"""One HTML page from an executed notebook that opens with no network and no kernel.

    write_html(Path("quickstart.ipynb"), Path("quickstart.html"))

Widgets appear as the static HTML that they emit beside their view; plotly figures stay interactive, with
plotly's script inside the page once. Nothing is fetched: no MathJax, no widget manager, no fonts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
from traitlets.config import Config

WIDGET = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"

TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def write_html(notebook: Path, page: Path) -> None:
    """Write the page. It is complete or absent: written beside its place and moved there."""
    from nbconvert import HTMLExporter

    nb = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    figures = _prepare(nb)
    exporter = HTMLExporter(config=Config({"HTMLExporter": {"theme": "light"}}), raw_template=TEMPLATE)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(nb, resources={"metadata": {"name": notebook.stem}})
    if figures:
        from plotly.offline import get_plotlyjs

        body = body.replace("</head>", f"<script>{get_plotlyjs()}</script></head>", 1)
    unfinished = page.with_suffix(".tmp")
    unfinished.write_text(body, encoding="utf-8")
    unfinished.replace(page)


def _prepare(nb: Any) -> int:
    """Leave in every output what a page without kernel can show; returns how many figures there are."""
    figures = 0
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            if figure := data.pop(PLOTLY, None):
                figures += 1
                data["text/html"] = _figure_html(figure)
    return figures


def _figure_html(figure: Any) -> str:
    import plotly.io

    parsed = plotly.io.from_json(json.dumps(figure), skip_invalid=True)
    html: str = plotly.io.to_html(parsed, include_plotlyjs=False, full_html=False)
    return html
