"""What decides a cell's result, as hashes: a cell whose hashes are the same need not run again.

    parts = {"notebook": of_notebook(nb, folder), "parameters": of_values(...), "code": code_version(), ...}
    cell_id(parts)          16 hexadecimal digits

What makes cells run again:

    notebook     a code cell, its tags, the kernel, or a module beside the notebook that it imports: all cells
                 of that notebook. Not: prose, outputs, execution counts, other metadata, the file's name.
    parameters   a value. Leaving a parameter out and giving its default are the same, as far as the default
                 is a literal: a cell is what it computes, not how it was asked for.
    tasks        a file of a task that a parameter names, by its id or as an environment: the cells that do.
    data         a file of the plan's ``data``, or its name: all cells.
    code         a file of this package, but for its command line and widgets: all cells.
    lock         requirements.lock, Python's version, or the installed version of a package that this one
                 declares: all cells.
    threads      of a cell, and ``gpus``: sums in another order end in other bits: all cells.

Not: limits, metrics, baselines, the number of workers, the machine. Nothing is cached, for the files of a
notebook's session change while it lives.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from aigym_kernel import settings
from aigym_kernel.provenance import code_version, digest, lock_version, of_files
from aigym_kernel.tasks import task_ids

__all__ = ["cell_id", "code_version", "lock_version", "of_files", "of_notebook", "of_tasks", "of_values"]

TAGS = ("parameters", "raises-exception", "skip-execution")


def cell_id(parts: Mapping[str, str]) -> str:
    """The id of a cell with these ``parts``."""
    return of_values(parts)


def of_values(values: Any) -> str:
    """The hash of plain values, whatever the order of their keys."""
    return digest([json.dumps(values, sort_keys=True, ensure_ascii=False).encode()])


def of_notebook(notebook: nbformat.NotebookNode, folder: Path) -> str:
    """The hash of what a notebook computes; ``folder`` is where it looks for modules beside it."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tags = [sorted(set(cell.metadata.get("tags", ())) & set(TAGS)) for cell in code]
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    sources = [[cell.source, *tag] for cell, tag in zip(code, tags)]
    beside = {path.relative_to(folder).as_posix(): of_files([path]) for path in modules(notebook, folder)}
    return of_values([kernel, sources, beside])


def of_tasks(values: Iterable[Any]) -> str:
    """The hash of all tasks among ``values``, and in lists among them."""
    flat = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
    known = set(task_ids())
    named = {re.sub(r"^aigym/(.+)-v0$", r"\1", one) for one in flat if isinstance(one, str)} & known
    return of_values({task: of_files([settings.tasks_dir() / task]) for task in named})


def modules(notebook: nbformat.NotebookNode, folder: Path) -> list[Path]:
    """Modules and packages in ``folder`` that a notebook imports, and what those import from there."""
    found: set[Path] = set()
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    while texts:
        for name in _imported(texts.pop()):
            for path in (folder / f"{name}.py", folder / name):
                if path not in found and (path.is_file() or (path / "__init__.py").is_file()):
                    found.add(path)
                    files = [path] if path.is_file() else path.rglob("*.py")
                    texts += [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return sorted(found)


def _imported(source: str) -> set[str]:
    """First names of all modules that a text of Python imports; lines of IPython's own are left out."""
    try:
        tree = ast.parse(re.sub(r"^\s*[%!?].*$", "", source, flags=re.MULTILINE))
    except (SyntaxError, ValueError):
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names
