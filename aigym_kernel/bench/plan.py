"""What a bench is to do: notebooks and grids, checked before anything starts, become a Plan.

    folder, plan = make_plan("bench_rl.ipynb", grid={"algo": ["ppo", "dqn"], "lr": [1e-3]}, seeds=range(5))
    folder, plan = make_plan(suites.load("smoke"), grid={"seed": values(["0..4"])})

Every combination of a notebook's values is one cell; `identity` says what its id is made of. The notebooks
are frozen: what runs is the copy below the bench's folder, whatever happens to the original meanwhile. A
copy never changes, so that this is safe while another process works on the same bench; ``bench.json`` is
written by who holds the bench's lock. Not here: carrying a Plan out (`scheduling`), suites' files (`suites`).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nbformat
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from aigym_kernel import parameters, rendering
from aigym_kernel.bench import identity, records, terms
from aigym_kernel.bench.records import Budget, Cell, Metric, Plan
from aigym_kernel.bench.suites import Entry, Suite
from aigym_kernel.errors import AigymError, BenchError, NotebookError, UnknownName
from aigym_kernel.parameters import UNKNOWN, Parameter, Text
from aigym_kernel.parameters import values as values
from aigym_kernel.recording import as_store
from aigym_kernel.store import Store
from aigym_kernel.store.records import replace_file

MOST_CELLS = 100_000
TASK_NAMES = ("env_id", "env", "task", "task_id")
SEED_NAME = "seed"
_NAME = re.compile(r"[^\W_][\w.-]{0,79}")


def make_plan(
    notebooks: str | Path | Suite | Sequence[str | Path],
    *,
    grid: Mapping[str, Any] | None = None,
    seeds: Iterable[int] | None = None,
    name: str | None = None,
    store: Store | str | Path | None = None,
    metrics: Sequence[Metric | str] | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    data: Mapping[str, str | Path] | Sequence[str | Path] | None = None,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    task: str | None = None,
    seed: str | None = None,
    out: str | Path | None = None,
) -> tuple[Path, Plan]:
    """The bench's folder, with the notebooks frozen in it, and its plan.

    Args:
        notebooks: one, several with the same grid, or a `Suite`, of which every argument given here replaces
            the part of its name; of its grids the parameters that are given.
        grid: parameter -> its values, or one value. Each value of a list parameter is a list of its own.
        seeds: the values of the parameter that is the seed.
        name: of the bench, and of its folder in the store; default: the suite's or the notebook's.
        metrics: that must be reported, the first ranks; a name alone means that more is better.
        data: files and folders for each cell's working folder: name there -> path, or paths alone.
        baselines: task -> ``{"low": ..., "high": ...}``, the scores that count as 0 and 1.
        task: the parameter that is the task; default: the first of `TASK_NAMES` that is asked for.
        seed: the parameter that is the seed; default: ``seed``.
        out: the bench's folder, in place of the store's.

    Raises:
        UnknownName: a notebook has no such parameter, or names a kernel that is not installed.
        NotebookError: a notebook cannot be read, takes no parameters, or a value has the wrong type.
        BenchError: whatever else is wrong with what is asked for; names it.
    """
    suite = notebooks if isinstance(notebooks, Suite) else _suite(notebooks)
    suite = _overridden(suite, grid or {}, seeds, seed)
    home = as_store(store)
    folder = _folder(suite.name, name, home, out)
    files = terms.data(suite.data if data is None else data)
    sources = [_source(entry, suite.seed or SEED_NAME) for entry in suite.notebooks]
    limits = terms.budget(suite.budget if budget is None else budget)
    cells = _cells(sources, files, limits)
    if twice := terms.first_twice([cell.id for cell in cells]):
        one, other = [c for c in cells if c.id == twice][:2]
        raise BenchError(f"two cells are the same: {one.label} and {other.label}; ask for each once")
    plan = Plan(
        name=folder.name,
        store=str(home.folder),
        cells=tuple(cells),
        metrics=terms.metrics(suite.metrics if metrics is None else metrics),
        budget=limits,
        baselines=terms.baselines(suite.baselines if baselines is None else baselines),
        data={key: str(path) for key, path in files.items()},
        task=_meaning("task", task or suite.task, TASK_NAMES, cells),
        seed=_meaning("seed", suite.seed, (SEED_NAME,), cells),
    )
    _freeze(folder, sources, cells)
    return folder, plan


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A notebook with all that is asked of it: ``choices`` are parameter -> values, checked."""

    path: Path
    notebook: nbformat.NotebookNode
    found: dict[str, Parameter]
    choices: dict[str, list[Any]]

    @property
    def count(self) -> int:
        return math.prod(map(len, self.choices.values()))


def _suite(notebooks: str | Path | Sequence[str | Path]) -> Suite:
    alone = isinstance(notebooks, str | Path) or not isinstance(notebooks, Iterable)
    paths = cast(list[str | Path], [notebooks] if alone else list(cast(Iterable[Any], notebooks)))
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise BenchError(f"{notebooks!r}: expected the path of a notebook, several, or a suite")
    entries = tuple(Entry(notebook=str(Path(path).expanduser().resolve())) for path in paths)
    return Suite(notebooks=entries, name="-".join(Path(path).stem for path in paths))


def _overridden(
    suite: Suite, grid: Mapping[str, Any], seeds: Iterable[int] | None, seed: str | None
) -> Suite:
    """The suite with what was given beside it."""
    if not isinstance(grid, Mapping):
        raise BenchError(f"grid={rendering.short(grid)!r} must be a mapping of parameters to their values")
    seed = seed or suite.seed
    varied = {name: _choices(name, value) for name, value in grid.items()}
    if seeds is not None:
        name = seed or SEED_NAME
        if name in varied:
            raise BenchError(f"{name} is given twice: in the grid and by seeds=; leave one out")
        varied[name] = _choices(name, seeds)
    entries = []
    for entry in suite.notebooks:
        own = {**{k: [v] for k, v in entry.parameters.items()}, **entry.grid}
        own |= {} if entry.seeds is None else {seed or SEED_NAME: list(entry.seeds)}
        entries.append(Entry(notebook=entry.notebook, grid={**own, **varied}))
    return dataclasses.replace(suite, notebooks=tuple(entries), seed=seed)


def _choices(name: str, value: Any) -> list[Any]:
    """The values that a grid gives for one parameter."""
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return [value]
    found = list(itertools.islice(value, MOST_CELLS + 1))
    if len(found) > MOST_CELLS:
        raise BenchError(f"{name} has more than {MOST_CELLS:,} values, more than any bench has cells")
    return found


def _source(entry: Entry, seed: str) -> _Source:
    path = Path(entry.notebook)
    notebook = parameters.read(path)
    _check_kernel(path, notebook)
    found = parameters.of(notebook, path.name)
    choices = {name: _checked(path.name, found, name, given) for name, given in entry.grid.items()}
    if seed in choices:  # last, so that the seeds of a method stand together
        choices[seed] = choices.pop(seed)
    return _Source(path=path, notebook=notebook, found=found, choices=choices)


def _check_kernel(path: Path, notebook: nbformat.NotebookNode) -> None:
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if not kernel:
        raise NotebookError(f"{path.name} names no kernel; open it in JupyterLab, choose one and save")
    manager = KernelSpecManager()
    try:
        manager.get_kernel_spec(kernel)
    except NoSuchKernel:
        hint = "Install it, or choose another in JupyterLab and save the notebook."
        raise UnknownName(f"kernel of {path.name}", kernel, manager.find_kernel_specs(), hint) from None


def _checked(notebook: str, found: dict[str, Parameter], name: str, given: list[Any]) -> list[Any]:
    """The values of one parameter, as the notebook wants them, each once."""
    hint = ""
    if name in found and not any(isinstance(v, list | tuple | Text) for v in given):
        hint = (
            f"; each value of {name} is a list of its own: {name}=[[...], [...]] in a grid, "
            f'-p {name} "[...]" on the command line'
        )
        hint = hint if isinstance(found[name].default, list | tuple) else ""
    elif name in found and isinstance(found[name].default, list | tuple):
        hint = f'; each value of {name} is a list of its own: -p {name} "[...]" "[...]"'
    if not given:
        raise BenchError(f"{name} has no values: give at least one, or leave it out")
    checked = [
        _plain(name, parameters.checked(notebook, found, {name: _listed(value)}, hint)[name])
        for value in given
    ]
    if twice := terms.first_twice([json.dumps(value, sort_keys=True) for value in checked]):
        raise BenchError(f"{name} has the value {twice} twice; give each value once")
    return checked


def _plain(name: str, value: Any) -> Any:
    """A value as a file of JSON gives it back."""
    try:
        again = json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        again = UNKNOWN
    if again != _listed(value):
        raise BenchError(
            f"{name}={rendering.short(repr(value))} cannot be written to a file as it is; use texts, finite "
            "numbers, True, False, None, lists, and dicts whose keys are texts"
        )
    return again


def _listed(value: Any) -> Any:
    """The same with lists in place of tuples and arrays."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [_listed(one) for one in value]
    return {k: _listed(v) for k, v in value.items()} if isinstance(value, dict) else value


def _cells(sources: list[_Source], files: dict[str, Path], budget: Budget) -> list[Cell]:
    if (count := sum(source.count for source in sources)) > MOST_CELLS:
        sizes = " x ".join(f"{len(v)} {k}" for k, v in max(sources, key=lambda s: s.count).choices.items())
        raise BenchError(f"that is {count:,} cells ({sizes}), more than {MOST_CELLS:,}; ask for fewer")
    common = {
        "data": identity.of_values({name: identity.of_files([path]) for name, path in files.items()}),
        "code": identity.code_version(),
        "lock": identity.lock_version(),
        "threads": identity.of_values(int(budget.threads)),
        "gpus": identity.of_values(None if budget.gpus is None else int(budget.gpus)),
    }
    cells = []
    for source in sources:
        parts = common | {"notebook": identity.of_notebook(source.notebook, source.path.parent)}
        defaults = {p.name: _listed(p.default) for p in source.found.values() if p.default is not UNKNOWN}
        tasks: dict[str, str] = {}
        for chosen in itertools.product(*source.choices.values()):
            asked = dict(zip(source.choices, chosen))
            resolved = defaults | asked
            named = json.dumps([v for v in resolved.values() if isinstance(v, str | list)], default=str)
            if named not in tasks:
                tasks[named] = identity.of_tasks(resolved.values())
            own = parts | {"parameters": _hash_of(resolved), "tasks": tasks[named]}
            cells.append(
                Cell(
                    id=identity.cell_id(own),
                    notebook=source.path.name,
                    source=f"notebooks/{own['notebook']}/{source.path.name}",
                    folder=str(source.path.parent),
                    parameters=asked,
                    parts=own,
                )
            )
    return _labelled(cells)


def _hash_of(resolved: dict[str, Any]) -> str:
    try:
        return identity.of_values(resolved)
    except TypeError:  # a default such as a set or bytes: the notebook's hash covers it
        return identity.of_values({k: v for k, v in resolved.items() if _is_plain(v)})


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, sort_keys=True)
    except TypeError:
        return False
    return True


def _labelled(cells: list[Cell]) -> list[Cell]:
    """The cells with labels: the notebook, where there are several, and the parameters that differ between
    the cells of one notebook."""
    seen: dict[tuple[str, str], set[str]] = {}
    counts, names = Counter(cell.source for cell in cells), records.notebook_names(cells)
    for cell in cells:
        for name, value in cell.parameters.items():
            seen.setdefault((cell.source, name), set()).add(json.dumps(value))
    given = Counter((cell.source, name) for cell in cells for name in cell.parameters)
    labelled = []
    for cell in cells:
        shown = [
            f"{name}=" + (rendering.short(value, 40) or "''")
            for name, value in cell.parameters.items()
            if len(seen[cell.source, name]) > 1 or given[cell.source, name] < counts[cell.source]
        ]
        told = [names[cell.source]] if len(counts) > 1 or not shown else []
        label = ": ".join(told + ([", ".join(shown)] if shown else []))
        labelled.append(dataclasses.replace(cell, label=label))
    return labelled


def _folder(own: str | None, name: str | None, store: Store, out: str | Path | None) -> Path:
    if out is not None:
        folder = Path(out).expanduser().resolve()
        if name not in (None, folder.name):
            raise BenchError(f"name={name!r} and the folder {folder} differ; give one of them")
        try:
            here = {p.name for p in folder.iterdir()}
        except FileNotFoundError:
            return folder
        except NotADirectoryError:
            raise BenchError(f"{folder} is a file, or lies below one; a bench needs a folder") from None
        except OSError as problem:
            raise BenchError(f"{folder} cannot be read: {problem.strerror}; give another folder") from None
        if "bench.json" not in here and not here <= {"notebooks", "lock", "log.txt"}:
            raise BenchError(f"{folder} holds other files and no bench; give a new folder, or an empty one")
        return folder
    chosen = name if name is not None else re.sub(r"[^\w.-]+", "-", own or "").strip("-._")[:80] or "bench"
    if not isinstance(chosen, str) or not _NAME.fullmatch(chosen):
        raise BenchError(
            f"name={chosen!r} cannot be a folder's name; use letters, digits and . _ -, at most 80, "
            "beginning with a letter or digit"
        )
    return store.folder / "benches" / chosen


def _meaning(what: str, given: str | None, names: Sequence[str], cells: list[Cell]) -> str | None:
    """The parameter that is the task, or the seed."""
    asked = dict.fromkeys(name for cell in cells for name in cell.parameters)
    if given is None:
        return next((name for name in names if name in asked), None)
    if given not in asked:
        raise UnknownName(
            f"parameter to be the {what}", given, asked, "It must be one that is given a value."
        )
    return given


def _freeze(folder: Path, sources: list[_Source], cells: list[Cell]) -> None:
    """Copy each notebook, without outputs, to where its cells look for it."""
    places = {(cell.notebook, cell.folder): folder / cell.source for cell in cells}
    for source in sources:
        target = places[source.path.name, str(source.path.parent)]
        copy = cast(nbformat.NotebookNode, nbformat.from_dict(source.notebook))  # type: ignore[no-untyped-call]
        for cell in copy.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        try:
            if target.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, nbformat.writes(copy))  # type: ignore[no-untyped-call]
        except OSError as problem:
            if isinstance(problem, AigymError):
                raise
            raise BenchError(f"{folder} cannot be written: {problem.strerror or problem}") from None
