"""What a report says in numbers: tables with intervals, and the figures that show the same.

    ranking(state, board)       the leaderboard; verdict(board): the outcome in one sentence
    compared(state, board)      probability of improvement, performance profiles, AUP

Each gives blocks, or none where a bench has nothing of the kind. All statistics are those of `scores`. What
does not rank is in `beside`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.io

from aigym_kernel import contrasts as words
from aigym_kernel.bench import figures, results
from aigym_kernel.bench.blocks import (
    Block,
    Code,
    Figure,
    Folded,
    Inline,
    Items,
    Paragraph,
    Strong,
    Table,
)
from aigym_kernel.bench.leaderboard import Leaderboard, shown
from aigym_kernel.bench.records import Metric, State
from aigym_kernel.errors import AigymError
from aigym_kernel.intervals import Estimate, Values
from aigym_kernel.scores import (
    Band,
    Direction,
    aggregate,
    aup,
    improvements,
    normalised,
    performance_profile,
    ratio_profile,
)

ALL_PAIRS = 6  # methods; of more, the best is held against each
FEW_TASKS = 6  # of more, the tables are folded and none is drawn
FACTORS = (1.0, 1.25, 2.0, 5.0, 10.0, 100.0)


def ranking(state: State, board: Leaderboard) -> list[Block]:
    """The leaderboard with what must be known to believe it, and its intervals drawn."""
    several = len(board.standings) > 1
    tables = [
        Table(caption=caption, headings=headings, rows=rows, named=headings.index("method") if several else 0)
        for caption, headings, rows in board.tables()
    ]
    notes = [Items(board.notes)] if board.notes else []
    if not several:
        return [*tables, *notes]
    overall, tasks = tables[: -len(board.tasks)], tables[-len(board.tasks) :]
    if len(tasks) > FEW_TASKS:
        one_by_one: list[Block] = [Folded(f"The {len(tasks)} tasks one by one", tasks)]
    else:
        drawn = _drawn(state, board) if board.by != "normalised score" else [[]] * len(tasks)
        one_by_one = [block for table, figures_ in zip(tasks, drawn) for block in (table, *figures_)]
    return [*overall, *notes, *_normalised(state, board), *one_by_one]


def _normalised(state: State, board: Leaderboard) -> list[Block]:
    """All that can be said of scores on one scale."""
    methods = [standing.method for standing in board.standings]
    if board.by != "normalised score" or not state.results:
        return []
    found = aggregate(_ordered(_scaled(state)[0], methods))
    rows = [[m, *(shown(getattr(found[m], name)) for name in figures.METRICS)] for m in methods]
    names = [*figures.METRICS.values()]
    return [
        Table(caption="Normalised scores over all tasks", headings=["method", *names], rows=rows),
        Paragraph(
            "Interquartile mean: the mean without the best and the worst quarter of all runs. Optimality "
            "gap: how far scores are below 1 on average, so less is better."
        ),
        figure("Normalised scores of each method", figures.intervals_figure(found, methods=methods)),
    ]


def _drawn(state: State, board: Leaderboard) -> list[list[Block]]:
    """The intervals of each task, if there are any."""
    methods = [standing.method for standing in board.standings]
    arrays, tasks = results.matrices(state)
    drawn: list[list[Block]] = []
    for i, task in enumerate(tasks):
        columns = {method: array[:, i : i + 1] for method, array in _ordered(arrays, methods).items()}
        there = {method: column for method, column in columns.items() if np.isfinite(column).any()}
        if not there:
            drawn.append([])
            continue
        title = f"{task}: mean with 95 % interval"
        picture = figures.intervals_figure(aggregate(there), ("mean",), title=title, methods=methods)
        drawn.append([figure(title, picture)])
    return drawn


def verdict(board: Leaderboard) -> list[Inline]:
    """The outcome in one sentence; nothing as long as there is none."""
    ahead = [standing for standing in board.standings if standing.tasks]
    if not ahead:
        return []
    first = ahead[0]
    if len(board.standings) == 1:
        entry = next(entry for entry in first.entries if entry.estimate)
        many = len(first.entries) > 1
        return [] if many else [Code(entry.metric or ""), " is ", Strong(shown(entry.estimate)), "."]
    if board.by == "task":
        return _bests(board)
    tied = [standing.method for standing in ahead if standing.place == 1]
    if len(tied) > 1:
        return [Strong(", ".join(tied)), " share the first place."]
    if len(board.tasks) > 1:
        best = sum(entry.rank == 1 for entry in first.entries)
        of = f"{best} of {len(board.tasks)} tasks"
        return [Strong(first.method), f" comes first; it has the best mean on {of}."]
    mine = first.entries[0]
    line: list[Inline] = [Strong(first.method), " has the best mean, ", shown(mine.estimate)]
    if len(ahead) == 1:
        return [*line, "; no other method has a result."]
    other = ahead[1].entries[0]
    line += [". Next is ", Strong(ahead[1].method), f" with {shown(other.estimate)}"]
    apart = _apart(mine.estimate, other.estimate)
    if apart is not None:
        line += ["; their intervals do not overlap" if apart else "; their intervals overlap"]
    return [*line, "."]


def _bests(board: Leaderboard) -> list[Inline]:
    """The best on each of a few tasks that several methods were run on."""
    line: list[Inline] = []
    for task in board.tasks[:FEW_TASKS]:
        found = [entry for s in board.standings for entry in s.entries if entry.task == task]
        first = [entry for entry in found if entry.rank == 1 and entry.estimate]
        if len(found) > 1 and first:
            line += [f"Best on {task}: ", Strong(first[0].method), ". "]
    return line


def _apart(one: Estimate | None, other: Estimate | None) -> bool | None:
    """Whether two intervals have nothing in common; None where there are none."""
    if one is None or other is None or one.low is None or other.low is None:
        return None
    return (one.high or one.low) < other.low or (other.high or other.low) < one.low


def compared(state: State, board: Leaderboard) -> list[Block]:
    """What is to be said of methods against each other; nothing of one method, or of one run of each."""
    methods = [standing.method for standing in board.standings if standing.tasks]
    runs = [sum(len(group.values) for group in row.values()) for row in results.groups(state).values()]
    if len(methods) < 2 or max(runs) < 2:
        return []
    if board.by == "task":
        return _improvement(state, methods)
    return [*_improvement(state, methods), *_profile(state, methods), *_ratios(state, methods)]


def _improvement(state: State, methods: Sequence[str]) -> list[Block]:
    arrays, best = _upward(state), methods[0]
    if len(methods) <= ALL_PAIRS:
        found = improvements(_ordered(arrays, methods))
    else:
        pairs = [improvements(_ordered(arrays, (best, other))) for other in methods[1:]]
        found = {pair: estimate for one in pairs for pair, estimate in one.items()}
    rows = [[f"{one} over {other}", shown(p)] for (one, other), p in found.items() if p is not None]
    if not rows:
        return []
    return [
        Paragraph(
            "Probability of improvement: how probably a run of the first method beats one of the second on "
            "the same task (ties count half). 0.5 says that neither is better; an interval that does not "
            "reach 0.5 speaks for a real difference."
        ),
        Table(
            caption="Probability of improvement [95 % interval]",
            headings=["methods", "probability"],
            rows=rows,
        ),
        figure("Probability of improvement", figures.improvement_figure(found)),
    ]


def _profile(state: State, methods: Sequence[str]) -> list[Block]:
    """Of scores that are on one scale: those of one task, or normalised ones."""
    arrays, tasks = _scaled(state)
    direction: Direction = "higher"
    metric = "normalised score"
    if not arrays and len(results.matrices(state)[1]) == 1:
        arrays, tasks = results.matrices(state)
        main = _main(state)[tasks[0]]
        direction, metric = main.direction, main.name
    if not arrays:
        return []
    found = performance_profile(_ordered(arrays, methods), direction=direction)
    tau = next(iter(found.values())).x
    points = [int(i) for i in np.linspace(0, len(tau) - 1, 7)[1:-1]]
    side = "above" if direction == "higher" else "below"
    rows = [[m, *(f"{band.value[i]:.0%}" for i in points)] for m, band in found.items()]
    drawn = figures.profile_figure(
        found,
        x=f"{metric} τ",
        y=f"share of runs {side} τ",
        methods=methods,
    )
    return [
        Paragraph(
            f"Performance profile: the share of runs whose {metric} is {side} each value. A method whose "
            "line is higher everywhere is better, whatever value one asks for."
        ),
        Table(
            caption=f"Share of runs whose {metric} is {side} a value",
            headings=["method", *(f"{side} {words.number(tau[i])}" for i in points)],
            rows=rows,
            numbers=frozenset(range(1, 1 + len(points))),
        ),
        figure("Performance profile", drawn),
    ]


def _ratios(state: State, methods: Sequence[str]) -> list[Block]:
    """MLGym's profile of ratios and the area under it, of several tasks."""
    found = results.groups(state)
    tasks = list(dict.fromkeys(group.task for row in found.values() for group in row.values()))
    if len(tasks) < 2:
        return []
    means = {
        method: {t: float(np.mean(g.values)) if g.values else None for t, g in found[method].items()}
        for method in methods
    }
    directions = {task: metric.direction for task, metric in _main(state).items()}
    try:
        areas, profiles = aup(means, directions), ratio_profile(means, directions)
    except AigymError as problem:
        return [Paragraph(f"AUP score: cannot be computed here, since {problem}.")]
    lost = [t for t in tasks if not any((row.get(t) or 0) > 0 for row in means.values())]
    end = 10 ** next(iter(profiles.values())).x[-1]
    factors = [factor for factor in FACTORS if factor <= end]
    rows = [
        [method, f"{areas[method]:.3f}", *(_share(profiles[method], factor) for factor in factors)]
        for method in sorted(methods, key=lambda method: -areas[method])
    ]
    titles = ["the best" if factor == 1 else f"within {factor:g} x" for factor in factors]
    drawn = figures.profile_figure(
        profiles,
        title="Performance profile over ratios",
        x="log10 of the factor to the best method",
        y="share of tasks",
        methods=methods,
    )
    return [
        Paragraph(
            "AUP score (area under the profile), as the benchmark MLGym computes it: on each task, by which "
            "factor is a method's mean worse than the best one's? The profile is the share of tasks on which "
            "that factor is at most so large; AUP is the area under it over log10 of the factor, so more is "
            "better. It compares the methods of this table with each other only."
            + (f" Not counted, since no score there is above zero: {', '.join(lost)}." if lost else "")
        ),
        Table(
            caption="AUP score, and the share of tasks within a factor of the best method",
            headings=["method", "AUP", *titles],
            rows=rows,
            numbers=frozenset(range(1, 2 + len(titles))),
        ),
        figure("Performance profile over ratios", drawn),
    ]


def _share(profile: Band, factor: float) -> str:
    i = int(np.searchsorted(profile.x, np.log10(factor) + 1e-9, side="right")) - 1
    return f"{profile.value[i]:.0%}"


def _main(state: State) -> dict[str, Metric]:
    """What ranks on each task."""
    each = [group for row in results.groups(state).values() for group in row.values()]
    return {group.task: group.metric or Metric(name="score") for group in each}


def _upward(state: State) -> dict[str, Values]:
    """The matrices with signs such that more is better on every task."""
    arrays, tasks = results.matrices(state)
    main = _main(state)
    signs = np.array([1.0 if main[task].direction == "higher" else -1.0 for task in tasks])
    return {method: array * signs for method, array in arrays.items()}


def _scaled(state: State) -> tuple[dict[str, Values], list[str]]:
    """Normalised matrices, if there are several tasks and a baseline for each."""
    arrays, tasks = results.matrices(state)
    ends = results.baselines(state)
    if len(tasks) < 2 or any(task not in ends for task in tasks):
        return {}, []
    return normalised(arrays, tasks, ends), tasks


def _ordered(arrays: Mapping[str, Values], methods: Sequence[str]) -> dict[str, Values]:
    return {method: arrays[method] for method in methods}


def figure(label: str, drawn: object) -> Figure:
    """A figure that a page shows; it says so where scripts are off."""
    name = f"figure-{hashlib.sha256(label.encode('utf-8', 'backslashreplace')).hexdigest()[:12]}"
    options = {"displayModeBar": False, "responsive": True}
    html = plotly.io.to_html(drawn, include_plotlyjs=False, full_html=False, config=options, div_id=name)
    return Figure(label, html + "<noscript>This figure needs scripts; the tables say the same.</noscript>")
