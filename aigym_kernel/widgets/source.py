"""The JavaScript and CSS that a widget ships, read from the files beside this one.

    module("drawing", "board")     the text of one ES module
    style()                        the text of all *.css, style.css first

anywidget hands the browser one module as text, in which relative imports cannot resolve. So files that
import each other are joined here, imports first, with those import lines left out; nothing is compiled.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
TALK = ("markdown", "windowed", "conversation")
PLAYER = ("ansi", "chunks", "scenes", "tables", "timeline", "find", "about", "similar", *TALK, "player")
BESIDE = ("compare", "diff")
BOARD = ("drawing", "keys", "sight", "ansi", "scenes", "plots", "game", "controls", "board")
REWARDS = ("drawing", "ansi", "scenes", "rewards")
EXPLORER = (
    "drawing",
    "keys",
    "requests",
    "crossfilter",
    "line",
    "list",
    "live",
    *PLAYER,
    *BESIDE,
    "explorer",
)
BENCH = ("drawing", "keys", "requests", "sight", "ansi", "matrix", "cell", "bench")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[a-z]+\.js";\n', re.MULTILINE)


def module(*names: str) -> str:
    """One ES module made of ``<name>.js`` files, each after those that it imports."""
    return "\n".join(_IMPORT.sub("", (FOLDER / f"{name}.js").read_text(encoding="utf-8")) for name in names)


def style() -> str:
    """The CSS of all widgets; every selector starts from the class ``aigym``."""
    first = FOLDER / "style.css"
    others = sorted(path for path in FOLDER.glob("*.css") if path != first)
    return "\n".join(path.read_text(encoding="utf-8") for path in (first, *others))
