"""The explorer's counts, filters and permalinks: against plain NumPy, and against the store's own SQL."""

from __future__ import annotations

import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory
from aigym_kernel.widgets import crossfilter, explore
from aigym_kernel.widgets.answers import answer
from aigym_kernel.widgets.columns import COLUMNS, Names, Numbers, Spread, Tags
from aigym_kernel.widgets.filters import checked, condition, packed, unpacked

HOSTILE = ["a'b", "''; DROP TABLE runs; --", "x\\'", "<b>", "nul\0nul", "ünï", "", "\udcff", '"', "none"]


def numbers(*values: float | None) -> Numbers:
    known = [math.nan if v is None else v for v in values]
    return Numbers(
        values=np.array(known, dtype=float), missing=np.array([v is None for v in values], dtype=bool)
    )


def trajectory(i: int, rewards: list[float], name: str, **changes: Any) -> Trajectory:
    values: dict[str, Any] = {
        "id": f"t{i:03}",
        "env_id": name,
        "agent": name[::-1],
        "observations": np.zeros(len(rewards) + 1),
        "actions": np.zeros(len(rewards)),
        "rewards": np.array(rewards, dtype=float),
        "terminated": True,
        "truncated": False,
        "started_at": 1.7e9 + i + i / 7,
        "tags": tuple(HOSTILE[i : i + 2]) if i % 3 == 0 and "" not in HOSTILE[i : i + 2] else (),
    }
    return Trajectory(**{**values, **changes})


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of odd returns, names, tags and scores."""
    store = Store(tmp_path_factory.mktemp("odd"))
    store.add_run(RunRecord(run_id="odd", kind="rollout", name="odd"))
    returns = [0.0, 1.0, 0.125, -3.5, math.nan, math.inf, -math.inf, 1e300, 1e-300, 0.1 + 0.2]
    with store.writer("odd") as writer:
        for i, (value, name) in enumerate(zip(returns, HOSTILE, strict=True)):
            writer.trajectory(trajectory(i, [value, 0.0, 0.0][: i % 3 + 1], name))
        mark = Mark(name="m", value=0.25)
        score = Score(task_id="sums", total=0.25, passed=False, marks=(mark,))
        writer.trajectory(trajectory(10, [1.0, 2.0], "scored", score=score))
    return store


# Bins


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.none() | st.floats() | st.integers(-50, 50).map(float) | st.sampled_from([0.25, 0.5, 1e9]))
)
def test_bins_hold_every_value_and_a_range_of_edges_lets_exactly_them_through(values: list[Any]) -> None:
    column = numbers(*values)
    held = crossfilter.bins(column)
    n = len(held.edges) - 1
    assert 1 <= n <= crossfilter.MOST_BINS
    assert np.isfinite(held.edges).all()
    assert (np.diff(held.edges) > 0).all() or n == 1
    finite = np.isfinite(column.values)
    assert ((held.codes < n) == finite).all()
    for first, last in {(0, 0), (0, n - 1), (n // 2, n - 1), (n // 3, n // 2)}:
        wanted = {"range": [float(held.edges[first]), float(held.edges[last + 1])]}
        through = crossfilter.passes(column, wanted)
        assert (through == (finite & (held.codes >= first) & (held.codes <= last))).all()


def test_bins_are_round_and_halfway_between_whole_numbers() -> None:
    assert crossfilter.bins(numbers(*range(10))).edges.tolist() == [i - 0.5 for i in range(11)]
    quarters = crossfilter.bins(numbers(0.0, 0.25, 0.5, 1.0))
    assert np.diff(quarters.edges) == pytest.approx(0.05)
    assert len(set(quarters.codes)) == 4
    assert crossfilter.bins(numbers(3.0, 3.0)).edges.tolist() == [2.5, 3.5]
    assert crossfilter.bins(numbers()).edges.tolist() == [0.0, 1.0]
    wide = crossfilter.bins(numbers(*np.geomspace(1, 1e6, 200)))
    assert wide.log
    assert np.diff(np.log10(wide.edges)) == pytest.approx(0.2)


def test_nan_infinities_and_nothing_are_counted_apart() -> None:
    column = numbers(1.0, math.nan, math.inf, -math.inf, None, None)
    held = {"return": crossfilter.bins(column)}
    keep = np.array([True, True, False, True, False, True])
    (chart,) = crossfilter.charts(COLUMNS, {"return": column}, held, {"": keep}, 6)
    assert chart["apart"] == [["NaN", 1, 1], ["-Infinity", 1, 1], ["Infinity", 1, 0], [None, 2, 1]]
    assert (chart["all"], chart["kept"]) == ([1], [1])


# Charts


def test_a_chart_shows_what_passes_all_filters_but_its_own() -> None:
    columns: dict[str, Any] = {
        "return": numbers(0, 0, 1, 1, 2),
        "agent": Names(names=("a", "b"), codes=np.array([0, 1, 0, 1, 2], dtype=np.int32)),
        "tags": Tags(names=("x", "y"), rows=np.array([0, 0, 3]), codes=np.array([0, 1, 0]), size=5),
        "reward": Spread(
            edges=np.array([-0.5, 0.5, 1.5]),
            counts=np.array([[2, 0, 0, 0, 0]] * 5) * 1.0,
            totals=np.array([10.0, 0, 0, 0, 0]),
        ),
    }
    binned = {"return": crossfilter.bins(columns["return"])}
    masks = {
        "return": crossfilter.passes(columns["return"], {"range": [0.5, 2.5]}),
        "agent": crossfilter.passes(columns["agent"], {"values": ["b", None]}),
    }
    returns, agents, tags, rewards = crossfilter.charts(COLUMNS, columns, binned, masks, 5)
    assert (returns["all"], returns["kept"]) == ([2, 2, 1], [1, 1, 1])
    assert agents["bars"] == [["a", 2, 1], ["b", 2, 1], [None, 1, 1]]
    assert tags["bars"] == [[None, 3, 1], ["x", 2, 1], ["y", 1, 0]]
    assert (rewards["all"], rewards["kept"]) == ([10, 0], [4, 0])


def test_the_rarest_names_are_summed_up_unless_chosen() -> None:
    many = crossfilter.MOST_BARS + 20
    codes = np.concatenate([np.arange(many), np.zeros(5)]).astype(np.int32)
    column = Names(names=tuple(f"n{i:03}" for i in range(many)), codes=codes)
    (chart,) = crossfilter.charts(COLUMNS, {"agent": column}, {}, {}, len(codes))
    assert chart["bars"][0] == ["n000", 6, 6]
    assert (len(chart["bars"]), chart["others"]) == (crossfilter.MOST_BARS, [20, 20, 20])
    own = crossfilter.passes(column, {"values": [f"n{many - 1:03}"]})
    (chart,) = crossfilter.charts(COLUMNS, {"agent": column}, {}, {"agent": own}, len(codes))
    assert chart["bars"][-1] == [f"n{many - 1:03}", 1, 1]


# Filters, against SQL

FILTERS: list[dict[str, Any]] = [
    *(
        {"return": ends}
        for ends in [(0, 1), (0.125, None), (None, 0), (None, None), (1e299, None), (0.3, 0.3)]
    ),
    *({"return": [value]} for value in (1, math.nan, math.inf, "-Infinity", 0.30000000000000004)),
    {"score": None},
    {"score": [None, 0.25]},
    {"score": (0, 1)},
    {"task_id": None},
    {"env_id": []},
    *({"env_id": name} for name in HOSTILE),
    {"agent": [*HOSTILE, None]},
    {"tags": HOSTILE[:3]},
    {"tags": [None, "x\\'"]},
    {"reward": (0.5, 1.5)},
    {"reward": [math.nan]},
    {"reward": [2.0]},
    {"reward": (None, None)},
    {"started_at": (1.7e9 + 2, 1.7e9 + 5.5)},
    {"started_at": (datetime.fromtimestamp(1.7e9 + 5, UTC), None)},
    {"started_at": (1.7e9 + 3 + 3 / 7, 1.7e9 + 3 + 3 / 7)},
    {"length": (2, 3), "return": (0, None), "outcome": "terminated"},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_what_is_listed_is_what_the_sql_gives(odd: Store, filters: dict[str, Any]) -> None:
    explorer = explore(odd, filters=filters, selected="t000")
    assert explorer.error == ""
    found = odd.sql(explorer.sql)["trajectory_id"].tolist()
    assert explorer.selection == found
    assert explorer.to_df()["trajectory_id"].tolist() == found
    assert explorer.total == len(found)


@pytest.mark.parametrize("text", [*HOSTILE, "T00", "DROP", "'"])
def test_a_search_finds_what_its_sql_finds(odd: Store, text: str) -> None:
    explorer = explore(odd, selected="t000")
    explorer.search = text
    assert explorer.selection == odd.sql(explorer.sql)["trajectory_id"].tolist()


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "reward"])
@pytest.mark.parametrize("descending", [True, False])
def test_the_list_has_the_order_of_its_sql(odd: Store, column: str, descending: bool) -> None:
    explorer = explore(odd, selected="t000")
    explorer.order_by, explorer.descending = column, descending
    known = [row["trajectory_id"] for row in explorer.rows if row[column] not in (None, "NaN", [])]
    sql = odd.sql(explorer.sql)
    listed = sql["trajectory_id"].tolist()
    assert [i for i in listed if i in known] == known
    assert len(explorer.rows) == len(listed) == 11


def test_a_brush_on_rewards_counts_steps_of_trajectories_that_have_such_a_step(odd: Store) -> None:
    explorer = explore(odd)
    (chart,) = (c for c in explorer.charts if c["column"] == "reward")
    steps = odd.sql("SELECT reward FROM steps")["reward"]
    assert sum(chart["all"]) == int(np.isfinite(steps).sum())
    assert chart["apart"] == [["NaN", 1, 1], ["-Infinity", 1, 1], ["Infinity", 1, 1]]
    explorer.filters = {"reward": {"range": [chart["edges"][0], chart["edges"][1]]}}
    assert explorer.selection == odd.sql(explorer.sql)["trajectory_id"].tolist()


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"lenght": 1}, "Did you mean 'length'"),
        ({"return": (1, 0)}, "ends before it begins"),
        ({"return": (1, 2, 3)}, "is none"),
        ({"return": (math.nan, 1)}, "is none"),
        ({"return": "high"}, "is none"),
        ({"agent": ("a", "b")}, "is none"),
        ({"agent": 3}, "is none"),
        ({"return": {"range": [0, 1], "values": []}}, "is none"),
        ({"return": {"range": 3}}, "is none"),
        ([], "must map columns"),
    ],
)
def test_a_filter_that_is_none_is_told(filters: Any, message: str) -> None:
    with pytest.raises(AigymError, match=message):
        checked(filters, COLUMNS)


def test_filters_are_kept_in_one_form() -> None:
    given_ = {"return": (0, None), "agent": "a", "score": [None, math.nan], "tags": {"x"}}
    assert (once := checked(given_, COLUMNS)) == {
        "return": {"range": [0, None]},
        "agent": {"values": ["a"]},
        "score": {"values": [None, "NaN"]},
        "tags": {"values": ["x"]},
    }
    assert checked(once, COLUMNS) == once
    assert condition([{}], COLUMNS) == "true"


# Permalinks


def test_a_permalink_restores_what_it_was_made_of(odd: Store) -> None:
    first = explore(odd, where={"length": (1, 3)}, filters={"env_id": HOSTILE[:4]}, selected="t002")
    first.search, first.order_by, first.descending, first.step = "a", "return", False, 1
    first.chosen, first.columns = ["t001", "t002"], ["return", "reward"]
    link = first.permalink
    assert link.isascii()
    assert all(c.isalnum() or c in "-_" for c in link)
    again = explore(odd, permalink=link)
    for name in (
        "where",
        "filters",
        "search",
        "order_by",
        "descending",
        "selected",
        "step",
        "chosen",
        "columns",
    ):
        assert getattr(again, name) == getattr(first, name), name
    assert again.permalink == link
    assert again.selection == first.selection == ["t001", "t002"]
    assert explore(odd, permalink=link, selected="t003").selected == "t003"
    assert len(explore(odd, selected="").permalink) < 60


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("", "is no permalink"),
        ("hello", "version"),
        ("2" + packed({})[1:], "version"),
        (packed({"search": "x"})[:-3], "not whole"),
        ("1" + "é", "not whole"),
        (packed({"filter": {}}), "unknown part of a permalink"),
        (packed({"step": "many"}), "cannot be opened like this: .*'step' trait"),
        (packed({"step": -4}), "cannot be opened like this: .*'step' trait"),
        (packed({"view": "x"}), "unknown view 'x'"),
        (packed({"filters": {"x": 1}}), "unknown column"),
        (packed({"search": "x" * 2_000_000}), "not whole"),
    ],
)
def test_a_broken_permalink_is_one_clear_error(odd: Store, link: str, message: str) -> None:
    with pytest.raises(AigymError, match=message):
        explore(odd, permalink=link)


def test_permalinks_keep_any_text() -> None:
    state = {"search": "\udcff ünï \0 '"}
    assert unpacked(packed(state)) == state


# Odd stores


def test_no_trajectory_and_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    explorer = explore(store)
    assert (explorer.error, explorer.total, explorer.rows, explorer.charts) == ("", 0, [], [])
    assert explorer.to_df().empty
    store.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    with store.writer("r") as writer:
        writer.trajectory(trajectory(0, [], "alone"))
    explorer.refresh()
    assert (explorer.error, explorer.total, explorer.selected) == ("", 1, "t000")
    explorer.columns = list(COLUMNS)
    assert [chart["column"] for chart in explorer.charts] == list(COLUMNS)
    explorer.filters = {"reward": (0, 1)}
    assert (explorer.error, explorer.total) == ("", 0)


def test_an_unknown_column_cannot_be_charted_or_sorted_by(odd: Store) -> None:
    explorer = explore(odd)
    with pytest.raises(UnknownName, match=r"'retrun'.*Did you mean 'return'"):
        explorer.columns = ["retrun"]
    with pytest.raises(UnknownName, match="unknown column"):
        explorer.order_by = "reward; --"


def test_keys_of_final_infos_are_charted_filtered_and_sorted_by(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_run(RunRecord(run_id="r", kind="rollout", name="r"))
    with store.writer("r") as writer:
        for i in range(6):
            info = {"it's food": float(i) if i else math.nan, "cause": HOSTILE[i]} if i < 5 else {}
            writer.trajectory(trajectory(i, [1.0], "x", final_info=info))
    explorer = explore(store, filters={"info.it's food": (2, None)})
    assert ["info.cause", "cause", "text"] in explorer.offered
    assert (
        set(explorer.selection) == {"t002", "t003", "t004"} == set(store.sql(explorer.sql)["trajectory_id"])
    )
    explorer.columns = ["info.it's food", "info.cause"]
    food, cause = explorer.charts
    assert (sum(food["all"]), food["apart"]) == (4, [["NaN", 1, 1], [None, 1, 1]])
    assert {name for name, _, kept in cause["bars"] if kept} == set(HOSTILE[2:5])
    explorer.order_by, explorer.descending = "info.it's food", False
    assert explorer.selection == store.sql(explorer.sql)["trajectory_id"].tolist() == ["t002", "t003", "t004"]
    explorer.filters = {"info.cause": [HOSTILE[1], None]}
    assert set(explorer.selection) == {"t001", "t005"} == set(store.sql(explorer.sql)["trajectory_id"])


def test_a_run_or_store_that_is_gone_is_one_clear_error_and_the_rest_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    for run in "ab":
        store.add_run(RunRecord(run_id=run, kind="rollout", name=run))
        with store.writer(run) as writer:
            for i in range(3):
                writer.trajectory(trajectory(i, [1.0, 2.0], "x", id=f"{run}{i}"))
    explorer = explore(store, selected="a1")
    store.delete("b", ask=False)
    ask = {"ask": "1", "what": "sparks", "ids": ["b0", "a0"]}
    assert answer(explorer, ask)["value"] == {"b0": [], "a0": [1.0, 2.0]}
    explorer.selected = "b0"
    assert "unknown trajectory 'b0'" in explorer.error
    explorer.refresh()
    explorer.selected = "a0"
    assert (explorer.error, explorer.total) == ("", 3)
    shutil.rmtree(store.folder)
    explorer.refresh()
    assert "there is no store" in explorer.error
    explorer.filters = {"length": (0, 9)}
    assert explorer.total == 3
