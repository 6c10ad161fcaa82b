"""A notebook to start a benchmark from: ``notebooks/template.ipynb``, or the copy in an installed package.

    write("reaction-times")          -> reaction-times.ipynb, in the present folder

Nothing that exists is overwritten.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat

from aigym_kernel.errors import BenchError
from aigym_kernel.settings import CHECKOUT

PLACES = (CHECKOUT / "notebooks", Path(__file__).parent)
"""Where the template may be: in a checkout, in an installed package."""


def write(name: str) -> Path:
    """Copy the template to ``name`` (``.ipynb`` is added where it is missing) under a title of its own, and
    make the folder where there is none. Returns the file's path.

    Raises:
        BenchError: the name cannot be one, the file exists, or it cannot be written.
    """
    path = Path(name).expanduser()
    if path.suffix != ".ipynb":
        path = path.with_name(f"{path.name}.ipynb") if path.name else path
    if not re.fullmatch(r"\w[\w .-]*", path.stem) or str(name).endswith("/"):
        raise BenchError(
            f"{name!r} cannot name a notebook; use letters, digits, '-', '_' and '.', such as reaction-times"
        )
    title = path.stem.replace("_", " ").replace("-", " ")
    nb = _template()
    nb.metadata["title"] = f"Benchmark: {title}"
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("Benchmark: template", f"Benchmark: {title}")
            cell.source = cell.source.replace("template.ipynb", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(nbformat.writes(nb) + "\n")  # type: ignore[no-untyped-call]
    except FileExistsError:
        raise BenchError(f"{path} exists already; take another name, or remove it first") from None
    except OSError as problem:
        raise BenchError(f"{path} cannot be written: {problem.strerror}; take another folder") from None
    return path


def _template() -> Any:
    for place in PLACES:
        if (path := place / "template.ipynb").is_file():
            return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    raise BenchError(
        "this installation brings no template.ipynb. Take notebooks/template.ipynb from the project's source"
    )
