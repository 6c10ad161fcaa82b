"""The widgets without a browser: what they compute, what they send, what a notebook keeps of them."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.runs import FINAL, Run, rollout, train
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory
from aigym_kernel.widgets import Board, Explorer, board, explore, stills
from aigym_kernel.widgets.answers import answer

WIDGET = "application/vnd.jupyter.widget-view+json"
EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"


def text_trajectory(**changes: Any) -> Trajectory:
    marks = (
        Mark(name="tests", value=1.0, required=True, feedback="all passed"),
        Mark(name=EVIL, value=0.5, feedback=EVIL),
    )
    values: dict[str, Any] = {
        "env_id": "aigym/two-sum-v0",
        "agent": "writer",
        "observations": ["the prompt " + EVIL, "judged"],
        "actions": ["def f(): return " + EVIL],
        "rewards": np.array([0.75]),
        "terminated": True,
        "truncated": False,
        "score": Score(task_id="two-sum", total=0.75, passed=False, marks=marks),
    }
    return Trajectory(**{**values, **changes})


def record(*trajectories: Trajectory) -> None:
    store = Store()
    run = RunRecord(run_id=f"recorded-{secrets.token_hex(4)}", kind="rollout", name="recorded")
    store.add_run(run)
    with store.writer(run.run_id) as writer:
        for trajectory in trajectories:
            writer.trajectory(replace(trajectory, run_id=run.run_id))


@pytest.fixture
def snakes(store_dir: Path) -> list[Trajectory]:
    return rollout(random_agent(make("aigym/Snake-v0").action_space, seed=0), "aigym/Snake-v0", n=25)


@pytest.fixture
def training(store_dir: Path) -> Iterator[Run]:
    """A training that would go on for an hour; stopped at the end."""
    run = train("CartPole-v1", algo="ppo", total_timesteps=50_000_000)
    yield run
    run.stop()
    run.wait()


# The explorer


def test_it_opens_at_the_newest_with_charts_of_all(snakes: list[Trajectory]) -> None:
    record(text_trajectory())
    explorer = explore()
    assert (explorer.total, explorer.among, len(explorer.rows), explorer.error) == (26, 26, 26, "")
    assert explorer.selected == explorer.rows[0]["trajectory_id"] == explorer.trajectory["id"]
    assert explorer.rows[0]["env_id"] == "aigym/two-sum-v0"
    charts = {chart["column"]: chart for chart in explorer.charts}
    assert charts["env_id"]["bars"] == [["aigym/Snake-v0", 25, 25], ["aigym/two-sum-v0", 1, 1]]
    outcomes = {name for name, _, _ in charts["outcome"]["bars"]}
    assert outcomes == {t.outcome for t in snakes} | {"failed"}
    assert sum(charts["return"]["all"]) == sum(charts["return"]["kept"]) == 26


def test_filters_search_and_order_change_the_list(snakes: list[Trajectory]) -> None:
    record(text_trajectory())
    explorer = explore(where={"env_id": ["aigym/Snake-v0"]})
    assert explorer.total == explorer.among == 25
    explorer.search = snakes[3].id[:12].upper()
    assert [row["trajectory_id"] for row in explorer.rows] == [snakes[3].id]
    explorer.search = ""
    explorer.order_by, explorer.descending = "length", False
    assert [row["length"] for row in explorer.rows] == sorted(t.length for t in snakes)
    longest = max(t.length for t in snakes)
    explorer.filters = {"length": (longest, None)}
    assert {row["length"] for row in explorer.rows} == {longest}
    explorer.where, explorer.filters = {"env_id": "aigym/two-sum-v0"}, {}
    assert [row["score"] for row in explorer.rows] == [0.75]


def test_selecting_loads_the_trajectory_and_goes_to_its_start(snakes: list[Trajectory]) -> None:
    explorer = explore(selected=snakes[2].id)
    explorer.step = 3
    explorer.selected = snakes[5].id
    assert (explorer.trajectory["id"], explorer.step) == (snakes[5].id, 0)


def test_a_filter_that_is_none_is_an_error_at_once(snakes: list[Trajectory]) -> None:
    explorer = explore()
    with pytest.raises(UnknownName, match=r"unknown column of the explorer 'enviroment'"):
        explorer.where = {"enviroment": "x"}
    with pytest.raises(AigymError, match="filter length='many' is none"):
        explorer.filters = {"length": "many"}
    with pytest.raises(UnknownName, match=r"'lenght'.*Did you mean 'length'"):
        explore(filters={"lenght": 3})
    assert (explorer.where, explorer.filters, explorer.error, explorer.total) == ({}, {}, "", 25)
    explorer.selected = "nothing"
    assert "unknown trajectory 'nothing'" in explorer.error
    assert explorer.trajectory == {}
    explorer.selected = snakes[0].id
    assert explorer.error == ""


def test_without_a_store_it_says_so(store_dir: Path) -> None:
    explorer = explore()
    assert str(store_dir) in explorer.error
    assert str(store_dir) in explorer.static_html()
    rollout(random_agent(make("CartPole-v1").action_space), "CartPole-v1")
    explorer.refresh()
    assert (explorer.error, explorer.total) == ("", 1)


def asked(explorer: Explorer, what: str, **arguments: Any) -> dict[str, Any]:
    """What the explorer answers to a request of the browser."""
    return answer(explorer, {"ask": "x-1", "what": what, **arguments})


def test_it_answers_requests(snakes: list[Trajectory]) -> None:
    explorer = explore()
    assert asked(explorer, "change", search=snakes[0].id) == {"answer": "x-1", "value": None}
    assert explorer.total == 1
    asked(explorer, "change", search="", order_by="length", descending=False)
    rows = asked(explorer, "rows", **{"from": 10, "to": 20})["value"]
    assert rows["stamp"] == explorer.stamp
    assert [row["length"] for row in rows["rows"]] == sorted(t.length for t in snakes)[10:20]
    record(text_trajectory())
    asked(explorer, "refresh")
    assert explorer.total == 26
    assert "at most" in asked(explorer, "rows", **{"from": 0, "to": 100_000})["error"]
    assert "unknown request 'row'" in asked(explorer, "row")["error"]
    assert "unknown column" in asked(explorer, "change", order_by="x; DROP")["error"]


def test_every_state_is_json(snakes: list[Trajectory]) -> None:
    odd = text_trajectory(
        observations=np.array([[np.nan, 1.0], [np.inf, 2.0]]), rewards=np.array([np.nan]), score=None
    )
    record(odd)
    for selected in (odd.id, snakes[0].id):
        explorer = explore(selected=selected)
        assert explorer.trajectory["id"] == selected
        json.dumps(explorer.get_state(["rows", "charts", "offered", "trajectory"]), allow_nan=False)


# Static HTML


def test_the_bundle_has_a_widget_and_a_page_without_script(snakes: list[Trajectory]) -> None:
    record(text_trajectory(agent=EVIL))
    explorer = explore()
    data, _ = explorer._repr_mimebundle_()
    assert set(data) >= {WIDGET, "text/html", "text/plain"}
    page = data["text/html"]
    still = explorer.static_html()
    assert still in page
    assert "<script" not in still
    assert "<img" not in still
    assert "&lt;script&gt;" in page
    assert "<details" in page
    explorer.selected = max(snakes, key=len).id
    assert explorer.static_html().count("<figcaption>") == 8
    assert f"<figcaption>{max(map(len, snakes))}</figcaption>" in explorer.static_html()


def test_a_page_stays_small_whatever_was_recorded(store_dir: Path) -> None:
    marks = tuple(Mark(name=f"m{i}", value=0.0, feedback="<&>" * 5_000) for i in range(60))
    score = Score(task_id="t", total=0.0, passed=False, marks=marks)
    record(
        text_trajectory(
            observations=["<&>" * 9_000] * 301,
            actions=["<&>" * 9_000] * 300,
            rewards=np.ones(300),
            score=score,
        )
    )
    assert 50_000 < len(explore().static_html().encode()) < 300_000


def test_thinning_keeps_ends_peaks_and_order() -> None:
    points = [(float(x), float(np.sin(x / 50))) for x in range(10_000)]
    points[4321] = (4321.0, 99.0)
    kept = stills.thin(points, 500)
    assert len(kept) <= 500
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert (4321.0, 99.0) in kept
    assert kept == sorted(kept)
    assert stills.thin(points[:3], 500) == points[:3]


# The board


def test_a_board_follows_a_training_and_stops_it(training: Run) -> None:
    watched = board(training)
    seen = threading.Event()
    watched.observe(lambda change: len(change["new"][0]["lines"][0]["x"]) > 3 and seen.set(), "plots")
    assert seen.wait(240)
    while (run := watched.view["runs"][0])["seconds_left"] is None:
        time.sleep(0.05)
    assert run["state"] == "running"
    assert 0 < run["step"] < 50_000_000 <= run["total_steps"]
    assert run["seconds_left"] > 0
    ended = threading.Event()
    watched.observe(lambda change: change["new"]["runs"][0]["state"] in FINAL and ended.set(), "view")
    watched._handle_custom_msg({"do": "stop"}, [])
    assert watched.stopping == [0]
    training.wait()
    assert ended.wait(240)
    assert watched.view["runs"][0]["state"] == "stopped"
    plotted = [plot["title"] for plot in watched.plots]
    assert plotted[0] == "return"
    assert {"episode length", "value loss", "entropy", "steps per second"} <= set(plotted)
    assert sum(n for _, n in watched.outcomes[0]["counts"]) > 10
    json.dumps(watched.get_state(["view", "plots", "outcomes", "alerts", "live"]), allow_nan=False)
    assert not any(t.name == f"board of {training.id}" and t.is_alive() for t in _settled(training))


def _settled(run: Run) -> list[threading.Thread]:
    followers = [t for t in threading.enumerate() if t.name == f"board of {run.id}"]
    for thread in followers:
        thread.join(240)
    return followers


def test_the_static_board_shows_progress_curve_and_error(store_dir: Path) -> None:
    run = train("CartPole-v1", algo="ppo", total_timesteps=4_096).wait()
    page = Board(run).static_html()
    assert ">done</span>" in page
    pictures = [base64.b64decode(found).decode() for found in re.findall(r"svg\+xml;base64,([^\"']+)", page)]
    assert sum("polyline" in picture for picture in pictures) >= 8
    assert "terminated" in page
    assert "<script" not in page
    assert len(page) < 150_000
    view = Board(run).view
    told = {**view, "runs": [{**view["runs"][0], "state": "failed", "error": EVIL}]}
    failed = stills.board(told, [], [], [{"run": 0, "level": "bad", "text": EVIL, "advice": EVIL}], {})
    assert ">failed</span>" in failed
    assert "&lt;script&gt;" in failed
    assert "word-break:normal" in failed  # in JupyterLab lines else break inside of words


def test_several_runs_are_overlaid_by_configuration_and_steered_apart(store_dir: Path) -> None:
    store = Store()
    for name, seed, rate in (("a", 0, 0.1), ("b", 1, 0.1), ("c", 0, 0.2)):
        config = {"env": "x-v0", "algo": "ppo", "ppo": {"seed": seed, "learning_rate": rate}}
        record = RunRecord(run_id=name, kind="train", name="ppo x-v0", config=config)
        evaluated = {"eval_return_mean_before": 1.0, "eval_return_mean": 2.0}
        status = RunStatus(state="running", pid=os.getpid(), step=40, total_steps=100, summary=evaluated)
        store.add_run(record, status)
        with store.writer(name) as writer:
            for step in range(10, 50, 10):
                writer.metrics(step, {"return_mean": step + seed, "value_loss": rate})
    runs = [Run(name, store) for name in "abc"]
    both = board(runs[:2], runs[2])
    assert [group["runs"] for group in both.view["groups"]] == [[0, 1], [2]]
    # They go on: no evaluation so far is one after the training.
    assert both.view["runs"][0]["numbers"] == [["evaluated before", 1], ["evaluated last", 2]]
    assert [run["label"] for run in both.view["runs"]][:2] == [
        "learning_rate=0.1, seed 0",
        "learning_rate=0.1, seed 1",
    ]
    first, second = both.plots[0]["lines"]
    assert (first["low"][0], first["y"][0], first["high"][0]) == (10, 10.5, 11)
    assert second["y"] == [10, 20, 30, 40]
    both._handle_custom_msg({"do": "pause", "run": 1}, [])
    both._handle_custom_msg({"do": "learning_rate", "value": 0.05, "run": 2}, [])
    both._handle_custom_msg({"do": "save"}, [])
    asked = [json.loads((run.folder / "control.json").read_text(encoding="utf-8")) for run in runs]
    assert [a["paused"] for a in asked] == [False, True, False]
    assert [a["learning_rate"] for a in asked] == [None, None, 0.05]
    assert [a["save"] for a in asked] == [1, 1, 1]
    both._handle_custom_msg({"do": "learning_rate", "value": "fast", "run": 0}, [])
    assert both.told["bad"]
    assert "learning_rate='fast' must be a number above 0" in both.told["text"]
    both._handle_custom_msg({"do": "stop", "run": 0}, [])
    assert both.stopping == [0]
    assert [(run.folder / "stop").exists() for run in runs] == [True, False, False]
    for run in runs:
        store.write_status(run.id, RunStatus(state="done"))
    with pytest.raises(AigymError, match="a run is given twice"):
        board(runs[0], runs[0])
    with pytest.raises(AigymError, match="'a' is no Run"):
        board("a")  # type: ignore[arg-type]
    with pytest.raises(AigymError, match="None is no Run"):
        board()


def test_the_game_is_handed_on_while_somebody_looks(training: Run) -> None:
    watched = board(training)
    seen = threading.Event()
    watched.observe(lambda change: change["new"].get("frames") and seen.set(), "live")
    watched._handle_custom_msg({"looking": True}, [])
    while not seen.wait(3):  # as the browser does
        watched._handle_custom_msg({"looking": True}, [])
    assert (training.folder / "watched").exists()
    frame = watched.live["frames"][-1]
    assert frame["image"].startswith("data:image/png;base64,")
    assert watched.live["run_id"] == training.id
    watched._handle_custom_msg({"looking": False}, [])


def test_a_board_does_not_hold_its_process_open(training: Run) -> None:
    code = "import sys; from aigym_kernel.runs import load_run; from aigym_kernel.widgets import board\n"
    code += "print(board(load_run(sys.argv[1])).view['runs'][0]['state'])"
    answer = subprocess.run(
        [sys.executable, "-c", code, training.id],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() in ("queued", "running")


BARS = """
from aigym_kernel.store import index
print(index.connect().sql("select current_setting('enable_progress_bar')").fetchone())
"""


def test_an_executed_notebook_keeps_the_final_board_and_a_playable_explorer(
    snakes: list[Trajectory], tmp_path: Path
) -> None:
    cells = [
        "from aigym_kernel.runs import train\nfrom aigym_kernel.widgets import board, explore, refresh",
        "run = train('CartPole-v1', algo='ppo', total_timesteps=8_192)\nboard(run)",
        "run.wait()\nrefresh(run)",
        f"explore(selected={snakes[0].id!r})",
        BARS,
        "from aigym_kernel.widgets import network_builder\nbuilder = network_builder('CartPole-v1')\nbuilder",
        "_ = builder.set((17,))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    # Sockets of a name of their own: ports are chosen before the kernel binds them.
    sockets = {"transport": "ipc", "ip": f"@aigym-test-{secrets.token_hex(8)}"}
    NotebookClient(
        notebook,
        timeout=240,
        startup_timeout=240,
        iopub_timeout=240,
        config=Config({"KernelManager": sockets}),
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    (output, still) = notebook.cells[1].outputs
    assert ">done</span>" in still.data["text/html"]
    assert output.data["text/html"] == ""
    models = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    view = models[output.data[WIDGET]["model_id"]]["state"]["view"]
    assert (view["runs"][0]["state"], view["runs"][0]["step"]) == ("done", 8_192)
    assert notebook.cells[4].outputs[0].text == "(False,)\n"  # else DuckDB draws a bar into the user's cell
    (output, still) = notebook.cells[3].outputs
    assert "<figcaption>" in still.data["text/html"]
    state = models[output.data[WIDGET]["model_id"]]["state"]
    assert state["trajectory"]["id"] == snakes[0].id
    assert len(state["trajectory"]["boards"]["changes"]) == len(snakes[0])
    assert isinstance(Explorer(selected=snakes[0].id).trajectory["boards"], dict)
    assert "units&quot;: 17" in notebook.cells[5].outputs[1].data["text/html"]
