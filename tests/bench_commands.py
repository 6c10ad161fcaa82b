"""Tiny notebooks for tests of benches, and the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of code cells, the first one tagged ``parameters``."""
    nb = nbformat.v4.new_notebook()
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nb.cells[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)
    return path


def aigym(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    """``aigym bench ...`` in a session of its own, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "aigym_kernel", "bench", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **options.pop("env", {})},
        **options,
    )


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """What it says on standard error, up to the first line with this word."""
    assert process.stderr is not None
    found: list[str] = []
    for line in process.stderr:
        found.append(line.rstrip())
        if word in line:
            return found
    raise AssertionError(f"no line with {word!r} in: {found}")
