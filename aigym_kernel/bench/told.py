"""What a report says in words and tables: what was run, what failed, what changed.

    lead(state)         what a reader who never saw the tool must know first
    failures(state), changes(state), cells(state)       blocks, for `pages`

Numbers and their statistics are in `measured`, where the cells ran in `origins`, commands in `again`.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aigym_kernel import contrasts
from aigym_kernel.bench import origins, results, standing
from aigym_kernel.bench.blocks import (
    Block,
    Code,
    Folded,
    Inline,
    Items,
    Line,
    Link,
    Mark,
    Paragraph,
    Pre,
    Table,
)
from aigym_kernel.bench.phrases import clean, distinct, joined, listed, moment, title
from aigym_kernel.bench.records import Budget, Cell, State, cell_folder, notebook_names
from aigym_kernel.grouping import text
from aigym_kernel.rendering import short

SHOWN_LOGS = 40
UNFOLDED = 60
OWN_WORDS = 3_000
LOG_LINES = 20
LOG_WIDTH = 300
REASONS: Mapping[str | None, str] = {
    "error": "the notebook raised an error",
    "timeout": "took longer than allowed",
    "memory": "used more memory than allowed",
    "disk": "wrote more to the disk than allowed",
    "kernel": "the notebook's process died",
    "metric": "did not report a metric that counts",
    "changed": "a module beside the notebook was changed meanwhile",
    "device": "asked for a GPU that is not there",
    "machine": "the machine or process that attended to it was lost",
    "stopped": "somebody stopped the benchmark",
}
_ROWS = ". In the tables a row is a method, and its number the mean over the cells that are done."
_INTERVALS = (
    " The interval in brackets says how far chance may have moved that mean: had other seeds been drawn, it "
    "would mostly lie in there (a 95 % bootstrap interval over seeds). Where the intervals of two methods "
    "overlap, their order may be chance."
)


def lead(state: State, verdict: Sequence[Inline]) -> list[Block]:
    """What was run, what came out, and what a number of the tables is."""
    return [
        Paragraph([*_standing(state), " ", *verdict]),
        Paragraph([*_what(state), *_compared(state), *_constants(state)]),
        *([Paragraph(_reading(state))] if state.results else []),
        *([Paragraph(_when(state))] if state.results else []),
        *_own_words(state),
    ]


def _own_words(state: State) -> list[Block]:
    """What each notebook says of itself: its first text before its parameters."""
    blocks: list[Block] = []
    for source, name in notebook_names(state.plan.cells).items():
        try:
            notebook = json.loads((state.folder / source).read_text(encoding="utf-8"))
            cells = itertools.takewhile(lambda cell: cell["cell_type"] != "code", notebook["cells"])
            said = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if said.strip():
            label = f"What the notebook {name} says of itself"
            blocks.append(Folded(label, [Pre(label, clean(said.strip())[:OWN_WORDS])]))
    return blocks


def _standing(state: State) -> list[Inline]:
    total, done = len(state.plan.cells), len(state.results)
    found = standing.words(state).values()
    line: list[Inline] = [Mark(f"{done} of {total} cells done", "good" if done == total else "warn")]
    for word in ("failed", "running", "queued", "interrupted"):
        if count := sum(one == word for one in found):
            line += [", ", Mark(f"{count} {word}", "bad" if word == "failed" else "warn")]
    return [*line, "."]


def _what(state: State) -> list[Inline]:
    names = [Code(name) for name in dict.fromkeys(cell.notebook for cell in state.plan.cells)]
    total = len(state.plan.cells)
    if total == 1:
        return ["The Jupyter notebook ", names[0], " is run once, in a process of its own: one cell."]
    line: list[Inline] = ["The Jupyter notebook " if len(names) == 1 else "The Jupyter notebooks "]
    line += joined(names)
    line += [f" {'is' if len(names) == 1 else 'are'} run {total:,} times, each time in a process of its own "]
    return [*line, "and with other parameters. One such run is called a cell. "]


def _compared(state: State) -> list[Inline]:
    """The parameters that vary, by what they mean."""
    plan = state.plan
    methods = results.method_parameters(state)
    line: list[Inline] = []
    names = list(dict.fromkeys(results.method_names(state).values()))
    if methods:
        count = f"{len(names)} " if len(notebook_names(state.plan.cells)) == 1 else ""
        line += [f"This compares {count}methods ("]
        for i, name in enumerate(methods):
            line += ["; " if i else "", Code(name), ": ", listed(_values(state, name))]
        line += [")"]
    tasks = list(dict.fromkeys(results.task_names(state).values()))
    if len(tasks) > 1:
        line += [f" on {len(tasks)} tasks (" if line else f"There are {len(tasks)} tasks ("]
        line += [Code(plan.task), ": "] if plan.task and len(notebook_names(state.plan.cells)) == 1 else []
        line += [listed(tasks), ")"]
    seeds = _values(state, plan.seed) if plan.seed else []
    if len(seeds) > 1:
        line += [", each" if line else "It runs", f" with {len(seeds)} seeds (", Code(plan.seed or "")]
        line += [": ", listed(seeds), "). A seed decides everything that is random in a run"]
    return [*line, ". "] if line else []


def _constants(state: State) -> list[Inline]:
    names = dict.fromkeys(name for cell in state.plan.cells for name in cell.parameters)
    constant = [name for name in names if len(_values(state, name)) == 1]
    if not constant:
        return []
    line: list[Inline] = ["The same for all: " if len(state.plan.cells) > 1 else " Its parameters: "]
    for i, name in enumerate(constant):
        value = next(cell.parameters[name] for cell in state.plan.cells if name in cell.parameters)
        line += [", " if i else "", Code(f"{name} = {short(text(value), 60)}")]
    return [*line, "."]


def _reading(state: State) -> list[Inline]:
    main = dict.fromkeys(
        (group.metric.name, group.metric.direction)
        for row in results.groups(state).values()
        for group in row.values()
        if group.metric
    )
    named: list[Inline] = []
    for i, (name, direction) in enumerate(main):
        named += ["; " if i else "", Code(name), f" ({direction} is better)"]
    if len(state.plan.cells) == 1:
        return ["The notebook itself measures and reports its numbers; the one that counts is ", *named, "."]
    return [
        "The notebook itself measures and reports its numbers; the one that counts is ",
        *named,
        _ROWS,
        _INTERVALS if results.repeated(state) else "",
    ]


def _when(state: State) -> list[Inline]:
    found = list(state.results.values())
    first, last = min(r.started_at for r in found), max(r.ended_at for r in found)
    took = standing.duration(statistics.median(result.seconds for result in found))
    if len(found) == 1:
        return [f"It took {took} and ended {moment(last)}."]
    return [f"A cell took {took} (median); the first began {moment(first)}, the last ended {moment(last)}."]


# What went wrong, and what changed


def failures(state: State) -> list[Block]:
    """A table of the cells that failed for good, and the end of each one's log."""
    failed = [cell for cell in state.plan.cells if state.statuses[cell.id].state == "failed"]
    if not failed:
        return [Paragraph("No cell failed.")]
    rows: list[list[Line]] = []
    logs: list[Block] = []
    for cell in failed:
        tried = results.last(state, cell)
        reason, error = (tried.reason, tried.error) if tried else (None, None)
        attempts = state.statuses[cell.id].attempts
        rows.append(
            [
                title(cell),
                REASONS.get(reason, "unknown"),
                clean(error),
                str(len(attempts)),
                _links(state, cell),
            ]
        )
        if len(logs) < SHOWN_LOGS and (end := _log(state, cell)):
            logs.append(Pre(f"{title(cell)}: the end of its log", end))
    table = Table(
        caption=f"The {len(failed)} cells that failed" if len(failed) > 1 else "The cell that failed",
        headings=["cell", "reason", "error", "attempts", "files"],
        rows=rows,
        numbers=frozenset({3}),
    )
    more = f" (the first {SHOWN_LOGS})" if len(failed) > SHOWN_LOGS else ""
    return [table, *([Folded(f"The last lines of their logs{more}", logs)] if logs else [])]


def changes(state: State) -> list[Block]:
    """What a reader must know beside the numbers: changed notebooks, retries, what was cut."""
    lines: list[Line] = [*origins.warnings(state)]
    lines += [note.removeprefix("note: ") for note in standing.notes(state)]
    retried: list[list[Line]] = []
    for cell in state.plan.cells:
        kept = state.results.get(cell.id)
        last = results.last(state, cell)
        for note in kept.notes if kept else last.notes if last else ():
            lines.append(f"{title(cell)}: {note}")
        for attempt in state.statuses[cell.id].attempts:
            lost = attempt.state != "done" and attempt != last
            if lost and not (kept and attempt.n == kept.attempt):
                why = REASONS.get(attempt.reason, "unknown")
                retried.append([title(cell), str(attempt.n), why, clean(attempt.error)])
    blocks: list[Block] = [Items(lines)] if lines else []
    if retried:
        caption = "Attempts that were lost and made again"
        headings = ["cell", "attempt", "reason", "error"]
        blocks.append(Table(caption=caption, headings=headings, rows=retried, numbers=frozenset({1})))
    return blocks or [
        Paragraph("Nothing: no notebook was changed since, nothing was cut, no cell was run twice.")
    ]


def _log(state: State, cell: Cell) -> str:
    """The end of the last attempt's log, without colours and control characters."""
    status = state.statuses[cell.id]
    path = cell_folder(state.folder, cell.id) / f"attempt-{status.attempt}" / "log.txt"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_LINES * LOG_WIDTH * 4))
            said = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = clean(said.replace("\r\n", "\n").replace("\r", "\n")).rstrip().splitlines()
    return "\n".join(
        line if len(line) <= LOG_WIDTH else line[:LOG_WIDTH] + "…" for line in lines[-LOG_LINES:]
    )


# All cells


def cells(state: State) -> list[Block]:
    """Every cell with what it reported, and its files."""
    metrics = list(results.metrics(state))
    words = standing.words(state)
    rows: list[list[Line]] = []
    for cell in state.plan.cells:
        result = state.results.get(cell.id)
        values = result.metrics if result else {}
        rows.append(
            [
                title(cell),
                _state(words[cell.id]),
                _links(state, cell),
                *(contrasts.number(values.get(name)) for name in metrics),
                standing.duration(result.seconds) if result else "–",
            ]
        )
    blocks: list[Block] = []
    blocks.append(
        Table(
            caption="Every cell: its parameters and what it reported",
            headings=["cell", "state", "files", *metrics, "took"],
            rows=rows,
            numbers=frozenset(range(3, 4 + len(metrics))),
        )
    )
    intro = Paragraph(
        [
            "The links lead to the notebooks as they were run, with all their output. ",
            *_limits(state.plan.budget),
        ]
    )
    return [intro, Folded(f"All {len(rows)} cells", blocks) if len(rows) > UNFOLDED else blocks[0]]


def _limits(budget: Budget) -> list[Inline]:
    """What each cell was allowed."""
    memory = f"{budget.memory_mb:,} MB" if budget.memory_mb else "any amount"
    gpus = "" if budget.gpus is None else f", {budget.gpus} GPUs"
    retries = f"; one that failed was tried again up to {budget.retries} times" if budget.retries else ""
    threads = f"{budget.threads} thread{'' if budget.threads == 1 else 's'}"
    time = standing.duration(budget.timeout_s)
    disk = f"{budget.disk_mb:,} MB of disk"
    return [f"Each was allowed {time}, {memory} of memory, {disk}, {threads}{gpus}{retries}."]


def _state(word: str) -> Mark:
    if word == "skipped":
        return Mark("done before", "good")
    kinds: Mapping[str, Any] = {"done": "good", "failed": "bad", "queued": "dull"}
    return Mark(word, kinds.get(word, "warn"))


def _links(state: State, cell: Cell) -> list[Inline]:
    """The files of the attempt that counts, as far as they are there."""
    result = state.results.get(cell.id)
    n = result.attempt if result else state.statuses[cell.id].attempt
    stem = Path(cell.notebook).stem
    page = (result.page if result else None) or f"attempt-{n}/{stem}.html"
    notebook = result.notebook if result else f"attempt-{n}/{cell.notebook}"
    line: list[Inline] = []
    for word, path in (("page", page), ("notebook", notebook), ("log", f"attempt-{n}/log.txt")):
        if (cell_folder(state.folder, cell.id) / path).is_file():
            line += [*([" "] if line else []), Link(word, f"cells/{cell.id}/{path}")]
    return line


def _values(state: State, name: str) -> list[Any]:
    return distinct(cell.parameters[name] for cell in state.plan.cells if name in cell.parameters)
