"""A widget where there is no kernel: playable HTML, made of the widget's own JavaScript and what it holds.

    document(held, still, module=..., style=...)     a whole page: one file, no network, no kernel
    fragment(held, still, module=..., style=...)     the same inside another page, as an output of a notebook

Both begin with ``still``, the script-free picture (`stills`), which is what readers without scripts see and
what JupyterLab leaves of a notebook that it does not trust. The script puts the widget in its place. A whole
page forbids every request by its Content-Security-Policy and runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from aigym_kernel import rendering

LIMIT = 1_000_000
"""Bytes that neither a page nor a fragment reaches."""

_DARK = """
body { margin: 0; padding: 12px; background: #fff; color: #212121; font: 13px/1.45 system-ui, sans-serif; }
body > .aigym, body > div { max-width: 1500px; margin: 0 auto; }
body > div table { border-collapse: collapse; }
@media (prefers-color-scheme: dark) {
  body {
    background: #111; color: #e0e0e0; color-scheme: dark;
    --jp-ui-font-color1: #e0e0e0; --jp-ui-font-color2: #a9adb1; --jp-layout-color1: #111;
    --jp-layout-color2: #262626; --jp-border-color2: #4a4d50; --jp-brand-color1: #64a5f0;
    --jp-warn-color1: #ffb74d;
  }
}
"""


def request_key(what: str, **arguments: Any) -> str:
    """The same text as `requestKey` in page.js makes of a request."""
    parts = [[name, arguments[name]] for name in sorted(arguments)]
    return f"{what} {json.dumps(parts, separators=(',', ':'), ensure_ascii=False)}"


def state_of(widget: Any) -> dict[str, Any]:
    """The synced state of a widget that its JavaScript draws from."""
    hidden = {"layout", "tabbable", "tooltip"}
    state: dict[str, Any] = widget.get_state()
    return {name: value for name, value in state.items() if name not in hidden and not name.startswith("_")}


def fragment(held: Mapping[str, Any], still: str, *, module: str, style: str) -> str:
    """HTML for an output: the still, then what replaces it. Several on one page do not disturb each other."""
    name = f"aigym-{secrets.token_hex(6)}"
    return (
        f'<div id="{name}">{still}</div><style>{style}</style>'
        f'<script type="application/json" id="{name}-data">{embedded(held)}</script>'
        f'<script type="module">{_script(module, name)}</script>'
    )


def document(held: Mapping[str, Any], still: str, *, module: str, style: str, title: str) -> str:
    """A whole HTML page."""
    name = "aigym-held"
    script = _script(module, name)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{rendering.escape(title)}</title>'
        f'<style>{style}{_DARK}</style></head>\n<body><div id="{name}">{still}</div>\n'
        f'<script type="application/json" id="{name}-data">{embedded(held)}</script>\n'
        f'<script type="module">{script}</script></body></html>\n'
    )


def embedded(value: Any) -> str:
    """JSON that is safe inside a script element, whatever texts it holds; bytes as ``{"$bytes": base64}``."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_bytes)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # A lone surrogate has no UTF-8; as an escape it is JSON.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _bytes(value: Any) -> dict[str, str]:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"a page cannot hold {type(value).__name__}")
    return {"$bytes": base64.b64encode(bytes(value)).decode()}


def _script(module: str, name: str) -> str:
    """The widget's module, and the call that draws it; as text that no HTML parser ends early."""
    script = f'{lean(module)}\nshowHeld("{name}", render);\n'
    return re.sub(r"<(?=!--|/?script)", r"\\x3c", script, flags=re.IGNORECASE)


def lean(module: str) -> str:
    """JavaScript without the comments and blank lines that stand on lines of their own."""
    without = re.sub(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/[ \t]*\n", "", module, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^[ \t]*(//.*)?\n", "", without, flags=re.MULTILINE)
