"""What a report says of numbers that do not rank: pass@k, the other metrics, learning curves.

    solved(state, board), others(state, board), learning(state, board)

Each gives blocks, or none where a bench has nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aigym_kernel.bench import figures, results, trainings
from aigym_kernel.bench.blocks import Block, Code, Line, Paragraph, Table
from aigym_kernel.bench.leaderboard import Leaderboard, shown
from aigym_kernel.bench.measured import figure
from aigym_kernel.bench.records import State
from aigym_kernel.errors import AigymError
from aigym_kernel.intervals import Estimate, bootstrap
from aigym_kernel.scores import Band

PASS_AT = re.compile(r"pass_?(?:at_|@)(\d+)")


def solved(state: State, board: Leaderboard) -> list[Block]:
    """pass@k, where notebooks report metrics such as ``pass_at_1``."""
    names = [name for name in results.metrics(state) if PASS_AT.fullmatch(name)]
    names.sort(key=lambda name: int(PASS_AT.fullmatch(name)[1]))  # type: ignore[index]
    if not names:
        return []
    titles = [f"pass@{match[1]}" for name in names if (match := PASS_AT.fullmatch(name))]
    return [
        Paragraph(
            "pass@k is the probability that at least one of k answers passes all tests of its task, "
            "estimated without bias from all answers that were given; here its mean over cells."
        ),
        _means(state, board, names, titles, "pass@k: mean [95 % interval]"),
    ]


def others(state: State, board: Leaderboard) -> list[Block]:
    """The metrics that do not rank."""
    main = {
        group.metric.name for row in results.groups(state).values() for group in row.values() if group.metric
    }
    known = results.metrics(state)
    names = [name for name in known if name not in main and not PASS_AT.fullmatch(name)]
    if not names or not state.results:
        return []
    lower = [name for name in names if known[name].direction == "lower"]
    clocked = [name for name in names if known[name].measured]
    said: list[Line] = []
    if lower:
        said.append(["Less is better of ", *_named(lower), "."])
    if clocked:
        said.append(["Measured with a clock, so different each time: ", *_named(clocked), "."])
    table = _means(state, board, names, names, "What else the notebooks report: mean [95 % interval]")
    return [table, *map(Paragraph, said)]


def _named(names: Sequence[str]) -> list[Code | str]:
    return [part for i, name in enumerate(names) for part in ([", "] if i else []) + [Code(name)]]


def _means(
    state: State, board: Leaderboard, names: Sequence[str], titles: Sequence[str], caption: str
) -> Table:
    """A row per method and task, the best methods first; a column per metric."""
    found = {name: results.groups(state, name) for name in names}
    rows: list[list[Line]] = []
    for standing in board.standings:
        for task in (entry.task for entry in standing.entries):
            cells = [_mean(found[name][standing.method][task].values) for name in names]
            if set(cells) != {shown(None)} or len(board.tasks) == 1:  # another notebook's metrics
                rows.append([standing.method, task, *cells])
    return _lean(board, Table(caption=caption, headings=["method", "task", *titles], rows=rows))


def _lean(board: Leaderboard, table: Table) -> Table:
    """The same without a column for methods or tasks where there is one; the first two columns are these."""
    kept = [i for i, several in enumerate((board.standings, board.tasks)) if len(several) > 1] or [0]
    columns = [*kept, *range(2, len(table.headings))]
    return replace(
        table,
        headings=[table.headings[i] for i in columns],
        rows=[[row[i] for i in columns] for row in table.rows],
        numbers=frozenset(columns.index(i) for i in table.numbers),
    )


def _mean(values: Sequence[float]) -> str:
    return shown(bootstrap([np.array(values)]) if values else None)


def learning(state: State, board: Leaderboard) -> list[Block]:
    """The learning curves, where cells trained something."""
    try:
        metric, found = trainings.learned(state)
    except AigymError as problem:
        return [Paragraph(f"Whether the cells trained anything is not known here: {problem}.")]
    if not found:
        return []
    evaluated = metric == trainings.EVALUATED
    what = "the evaluations on the way" if evaluated else "the last 100 episodes of the training itself"
    methods = [standing.method for standing in board.standings]
    shares = (0.25, 0.5, 0.75, 1.0)
    rows: list[list[Line]] = []
    for task, row in found.items():
        for method in (m for m in methods if m in row):
            band = row[method]
            end = float(band.x[np.isfinite(band.value)][-1])
            rows.append([method, task, f"{end:,.0f}", *(_at(band, share * end) for share in shares)])
    drawn = figures.curves_figure(
        found, title="Mean return while training", x="environment steps", methods=methods
    )
    return [
        Paragraph(
            [
                f"How the return grew while the cells trained: the mean over seeds of {what} (",
                Code(metric),
                "), with its 95 % interval. It need not be the metric that ranks.",
            ]
        ),
        figure("Learning curves", drawn),
        _lean(
            board,
            Table(
                caption="Return while training, mean over seeds [95 % interval]",
                headings=["method", "task", "steps", *(f"after {share:.0%}" for share in shares)],
                rows=rows,
                numbers=frozenset({2}),
            ),
        ),
    ]


def _at(band: Band, step: float) -> str:
    i = int(np.abs(band.x - step).argmin())
    if not np.isfinite(band.value[i]):
        return "–"
    low, high = float(band.low[i]), float(band.high[i])
    sure = np.isfinite([low, high]).all()
    return shown(Estimate(value=float(band.value[i]), low=low if sure else None, high=high if sure else None))
