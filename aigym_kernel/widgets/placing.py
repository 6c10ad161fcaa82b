"""Puts a widget into a notebook with its still beside it: two outputs, of which one is seen.

    place(widget)      displays it, and the text/html of its bundle as an output of its own
    renew(widget)      replaces that output, wherever it was placed; the widget stays as it is

Of an output that holds a widget JupyterLab shows the widget and nothing else: in a notebook that it trusts
and that was saved without widget state it says "Error displaying widget: model not found", whatever
text/html lies beside. And whatever is replaced in such an output draws the widget anew. So the still is an
output of its own. Its style hides it while the widget is there or may still come, and hides that error where
it does not. Readers without widgets (GitHub, nbconvert, a lab that does not trust the notebook) find an empty
output and the still.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

KEEP_S = 30.0
_CHILD, _OUTPUT = ".jp-OutputArea-child", ".jp-OutputArea-output"
_NOT_LOST = f"{_CHILD}:has(> {_OUTPUT}:not(.jupyter-widgets, .jp-RenderedHTMLCommon))"
_STYLE = f"""
{_NOT_LOST}:not(:has(.jupyter-widgets-error-widget)) + {_CHILD}:has(.aigym-still),
{_CHILD}:has(.aigym:not(.aigym-still *)) + {_CHILD}:has(.aigym-still),
{_CHILD}:has(> {_OUTPUT}.jupyter-widgets):not(:has(.aigym)):has(+ {_CHILD} .aigym-still),
:root:has(.aigym:not(.aigym-still *)) .aigym-still:not(.jp-OutputArea *) {{ display: none }}
"""


class Placed(Protocol):
    """A widget whose bundle of MIME types has a still as its text/html."""

    @property
    def model_id(self) -> Any: ...

    def _repr_mimebundle_(self) -> Any: ...


_placed: weakref.WeakSet[Any] = weakref.WeakSet()


def place(widget: Placed) -> None:
    """Display ``widget`` and, as a second output, its still."""
    from IPython.display import display

    _placed.add(widget)
    data, metadata = widget._repr_mimebundle_()
    still = _still(data)
    # An empty page, so that who shows no widgets does not show its repr above the still.
    display({**data, "text/html": ""}, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]
    display(still, raw=True, display_id=_name(widget))  # type: ignore[no-untyped-call]


def renew(widget: Placed) -> None:
    """Replace the still of ``widget`` by that of now; nothing where it was not placed."""
    from IPython.display import update_display

    if widget in _placed:
        data, _ = widget._repr_mimebundle_()
        update_display(_still(data), raw=True, display_id=_name(widget))  # type: ignore[no-untyped-call]


def pause_s(going_s: float) -> float:
    """How long to wait until the still of what has gone on for so many seconds is renewed: a notebook that is
    saved meanwhile is that much behind, and its document does not grow with every glance."""
    return max(KEEP_S, going_s / 20)


def _name(widget: Placed) -> str:
    return f"aigym-still-{widget.model_id}"


def _still(data: Any) -> dict[str, str]:
    return {"text/html": f'<div class="aigym-still"><style>{_STYLE}</style>{data["text/html"]}</div>'}
