"""The board of a bench without a browser: how cells are laid out, what is read, what it answers and keeps."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import benches
import nbformat
import pytest

from aigym_kernel.agents import random_agent
from aigym_kernel.bench import holding, records
from aigym_kernel.bench.records import Attempt, Cell, CellStatus, Metric, Plan
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError, BenchError
from aigym_kernel.recording import new_run
from aigym_kernel.runs import rollout
from aigym_kernel.store import Store
from aigym_kernel.widgets.bench import BenchBoard, bench_board
from aigym_kernel.widgets.cells import Cells, layout

EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"
LOST = {
    ("ppo", "CartPole-v1", 1): ("timeout", "ran for more than 60 s"),
    ("dqn", "Acrobot-v1", 0): ("error", EVIL),
}
QUEUED = (("dqn", "Acrobot-v1", 1), ("dqn", "Acrobot-v1", 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two methods on two tasks with three seeds; two cells failed, two were not begun."""
    folder = tmp_path / "rl"
    benches.write(folder, tasks=("CartPole-v1", "Acrobot-v1"), failed=LOST, queued=QUEUED)  # type: ignore[arg-type]
    return folder


def running(folder: Path, cell_id: str) -> float:
    """Write that a cell runs, for ten seconds, with a training half done in its second code cell of four.
    Returns since when."""
    status = CellStatus(
        state="running",
        attempt=1,
        started_at=time.time() - 10,
        done=1,
        total=4,
        inner={"label": "dqn Acrobot-v1", "step": 500, "total": 1000},
        memory_mb=210.5,
    )
    records.replace(records.cell_folder(folder, cell_id) / "status.json", status)
    return status.started_at


def asked(board: BenchBoard, what: str, **arguments: Any) -> Any:
    answer = board._answer({"ask": "x-1", "what": what, **arguments})
    return answer.get("error", answer.get("value"))


def plan_of(*parameters: dict[str, Any], **changes: Any) -> Plan:
    cells = tuple(
        Cell(id=f"{i:016x}", notebook="n.ipynb", source="s", folder="f", parameters=one)
        for i, one in enumerate(parameters)
    )
    return Plan(name="n", store="data", cells=cells, **changes)


# How cells are laid out


def test_seeds_are_columns_else_tasks_else_the_last_parameter(folder: Path) -> None:
    found = layout(records.read(folder).plan)
    assert (found.names, found.columns, found.task) == (("algo", "env_id", "seed"), "seed", "env_id")
    assert found.values[0] == ("ppo", "CartPole-v1", "0")
    grid = [{"algo": a, "env": e, "lr": 1e-3} for a in "xy" for e in "zw"]
    assert layout(plan_of(*grid, task="env")).columns == "env"
    assert layout(plan_of(*grid)).columns == "env"
    assert layout(plan_of(*grid)).names == ("algo", "env")


@pytest.mark.parametrize(
    "parameters",
    [
        [{}],
        [{"lr": 0.1}, {"lr": 0.2}],
        [{"a": 1, "s": i} for i in range(101)],
        [{"a": [1] * 99, "s": 1}, {"a": [1] * 98, "s": 1}, {"a": 2, "s": 2}],
    ],
)
def test_what_makes_no_matrix_is_a_list(parameters: list[dict[str, Any]]) -> None:
    assert layout(plan_of(*parameters, seed="s")).columns == ""


def test_the_columns_can_be_chosen(folder: Path) -> None:
    board = bench_board(folder)
    assert (board.columns, board.possible) == ("seed", ["algo", "env_id", "seed"])
    assert "<th" in board.static_html()
    board.columns = ""
    assert "<td" in board.static_html()
    with pytest.raises(AigymError, match=r"'sed'.*Did you mean 'seed'"):
        board.columns = "sed"


# What is read


def test_states_values_reasons_and_shades(folder: Path) -> None:
    board = bench_board(folder)
    told = {tuple(cell["values"]): one for cell, one in zip(board.cells, board.standing)}
    assert told["ppo", "CartPole-v1", "1"] == ["failed", None, "timeout", None]
    assert told["dqn", "Acrobot-v1", "2"] == ["queued", None, "", None]
    # Within a task the best is 1 and the worst 0, whatever other tasks reach.
    assert told["ppo", "CartPole-v1", "0"] == ["done", 100.0, "", 0.0]
    assert told["dqn", "CartPole-v1", "2"] == ["done", 112.0, "", 1.0]
    assert told["ppo", "Acrobot-v1", "0"][3] == 0.0
    assert board.view["counts"] == [["done", 8], ["queued", 2], ["failed", 2]]
    assert (board.view["metric"], board.view["lower"], board.view["running"]) == ("return_mean", False, False)
    json.dumps(board.get_state(["cells", "standing", "view", "going"]), allow_nan=False)


def test_where_less_is_better_the_least_is_darkest(tmp_path: Path) -> None:
    least = Metric(name="steps_to_solve", direction="lower")
    benches.write(tmp_path / "b", plan={"metrics": (least,)})
    board = bench_board(tmp_path / "b")
    shades = [one[3] for one in board.standing]
    assert board.standing[shades.index(1.0)][1] == min(one[1] for one in board.standing)
    assert board.view["lower"]


def test_a_running_cell_has_progress_and_an_estimate(folder: Path) -> None:
    hold = holding.take(folder, workers=2)
    place = 10
    since = running(folder, records.read(folder).plan.cells[place].id)
    most = 21 - (time.time() - since)
    board = bench_board(folder)
    assert board.standing[place][0] == "running"
    going = board.going[str(place)]
    assert (going["share"], going["inner"]) == (0.375, "dqn Acrobot-v1, 500 of 1,000")
    # The median of the others of the notebook is 21 seconds, this one has had ten and what passes here.
    assert 21 - (time.time() - since) - 0.1 <= going["left"] <= most + 0.1
    # The rest of this one and the one after it; two workers share them.
    assert board.view["counts"] == [["skipped", 8], ["running", 1], ["queued", 1], ["failed", 2]]
    assert 10 < board.view["seconds_left"] < 30
    assert (board.view["workers"], board.view["running"]) == (2, True)
    hold.release()
    board.update()
    assert board.standing[place][0] == "interrupted"
    assert board.going == {}


def test_only_replaced_files_are_opened_again(folder: Path) -> None:
    cells = Cells(folder)
    hold = holding.take(folder)
    assert cells.read()
    hold.name(workers=1)
    for place in (folder / "cells").iterdir():
        if (place / "result.json").is_file():
            # Whoever opened a result again would fail at this.
            (place / "result.json").write_text("{")
    running(folder, cells.plan.cells[10].id)
    assert cells.read()
    assert [cells.words[cell.id] for cell in cells.plan.cells].count("running") == 1
    assert not cells.read()
    hold.release()


def test_another_grid_under_the_same_name_is_shown(folder: Path) -> None:
    board = bench_board(folder)
    plan = records.read(folder).plan
    records.replace(folder / "bench.json", replace(plan, cells=plan.cells[:3]))
    board.update()
    assert (len(board.cells), board.names, len(board.standing)) == (3, ["seed"], 3)
    (folder / "bench.json").write_text("{")
    board.update()
    assert "bench.json cannot be read" in board.error
    records.replace(folder / "bench.json", plan)
    board.update()
    assert (board.error, len(board.cells)) == ("", 12)


def test_a_folder_without_a_bench_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="it has no bench"):
        bench_board(tmp_path)
    with pytest.raises(BenchError, match="expected a bench"):
        bench_board(3)


def test_a_thousand_cells_stay_small(tmp_path: Path) -> None:
    methods = [f"m{i}" for i in range(20)]
    queued = [(method, task, seed) for method in methods for task in "ab" for seed in range(1, 25)]
    benches.write(tmp_path / "b", methods, ("a", "b"), 25, queued=queued)
    board = bench_board(tmp_path / "b")
    assert len(board.cells) == 1000
    assert board.view["counts"] == [["done", 40], ["queued", 960]]
    assert len(json.dumps(board.standing)) < 60_000
    assert 40_000 < len(board.static_html()) < 300_000


def test_the_other_widgets_do_not_wait_for_what_reads_notebooks() -> None:
    code = "import sys, aigym_kernel.widgets; print('nbformat' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


# What it answers


def test_the_facts_of_a_cell(folder: Path) -> None:
    board = bench_board(folder)
    failed = asked(board, "cell", id=board.cells[1]["id"])
    assert failed["state"] == "failed"
    assert failed["parameters"] == [["algo", "ppo"], ["env_id", "CartPole-v1"], ["seed", "1"]]
    [attempt] = failed["attempts"]
    assert (attempt["reason"], attempt["error"], attempt["seconds"]) == (
        "timeout",
        "ran for more than 60 s",
        12.0,
    )
    done = asked(board, "cell", id=board.cells[0]["id"])
    assert done["metrics"] == [
        ["return_mean", 100.0, "higher", False],
        ["steps_to_solve", 900.0, "lower", False],
    ]
    assert "unknown cell of the bench" in asked(board, "cell", id="../../etc")
    assert "unknown request" in asked(board, "cel", id="x")


def test_a_log_is_followed_from_where_it_was(folder: Path) -> None:
    board = bench_board(folder)
    request = {"id": board.cells[1]["id"], "attempt": 1}
    path = records.cell_folder(folder, request["id"]) / "attempt-1" / "log.txt"
    path.write_bytes(b"x" * 100_000 + "\nein B\xe4r".encode()[:-2])
    first = asked(board, "log", **request)
    assert (first["from"], first["size"]) == (path.stat().st_size - 64_000, path.stat().st_size)
    assert first["text"].endswith("ein B")
    with path.open("ab") as file:
        file.write("är, zwei".encode()[1:])
    assert asked(board, "log", **request, **{"from": first["next"]})["text"] == "är, zwei"
    path.write_text("anew")
    assert asked(board, "log", **request, **{"from": 90_000})["text"] == "anew"
    assert asked(board, "log", id=board.cells[0]["id"], attempt=1)["text"] == ""
    for wrong in (0, "../1", True, None):
        assert "whole number from 1 on" in asked(board, "log", id=request["id"], attempt=wrong)


def test_the_page_of_a_notebook_may_request_nothing(folder: Path) -> None:
    board = bench_board(folder)
    cell = board.cells[1]["id"]
    place = records.cell_folder(folder, cell) / "attempt-1"
    assert "nothing of it was executed" in asked(board, "page", id=cell, attempt=1)
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('half way')")])
    nbformat.write(node, place / "bench_rl.ipynb")
    page = asked(board, "page", id=cell, attempt=1)["html"]
    assert "half way" in page
    assert page.index("default-src 'none'") < page.index("<title>")
    (place / "bench_rl.html").write_text("the page that the cell wrote")
    assert asked(board, "page", id=cell, attempt=1)["html"].endswith("the page that the cell wrote")
    facts = asked(board, "cell", id=cell)
    assert facts["attempts"][0]["page"]
    assert {"log, attempt 1", "page, attempt 1", "executed notebook, attempt 1"} <= {
        what for what, _ in facts["files"]
    }


def test_the_trajectories_below_an_attempts_run(
    folder: Path, store_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    plan = replace(records.read(folder).plan, store=str(store_dir), run_id="bench-1")
    records.replace(folder / "bench.json", plan)
    failed, other = plan.cells[1], plan.cells[2]
    config = {"cell": failed.id, "attempt": 1, "bench": "rl"}
    monkeypatch.setenv("AIGYM_PARENT_RUN", "bench-1")
    attempt = new_run(store, kind="notebook", name="bench_rl", config=config)
    monkeypatch.setenv("AIGYM_PARENT_RUN", attempt.run_id)
    played = rollout(random_agent(make("CartPole-v1").action_space), "CartPole-v1", n=3)
    board = bench_board(folder)
    # As long as the attempt goes on only its run says whose it is; afterwards its record does.
    for known in (None, attempt.run_id):
        lost = Attempt(n=1, state="failed", reason="error", run_id=known)
        status = CellStatus(state="failed", attempt=1, attempts=(lost,))
        records.replace(records.cell_folder(folder, failed.id) / "status.json", status)
        board.update()
        found = asked(board, "trajectories", id=failed.id, attempt=1)
        assert (found["total"], found["runs"]) == (3, [attempt.run_id])
        assert {row["trajectory_id"] for row in found["rows"]} == {one.id for one in played}
        assert found["code"] == f"aigym.explore(where={{'run_id': ['{played[0].run_id}']}})"
        json.dumps(found, allow_nan=False)
    assert asked(board, "trajectories", id=other.id, attempt=2)["total"] == 0


def test_stop_is_asked_for_where_somebody_works_on_it(folder: Path) -> None:
    board = bench_board(folder)
    assert asked(board, "stop") == "Nobody works on it."
    hold = holding.take(folder)
    assert "ends the running ones" in asked(board, "stop")
    assert holding.stop_asked(folder)
    assert board.view["stopping"]
    hold.release()


# What a notebook keeps


def test_the_bundle_has_a_widget_and_a_page_without_script(folder: Path) -> None:
    board = bench_board(folder)
    data, _ = board._repr_mimebundle_()
    page = data["text/html"]
    assert "<script" not in page
    assert "<img" not in page
    assert "8 done, 2 queued, 2 failed" in page
    assert "✕ timeout" in page
    assert "ran for more than 60 s" in page
    assert "&lt;script&gt;" in page
    assert page.count("attempt-1/bench_rl.html") == 8
    assert repr(board) == data["text/plain"] == "BenchBoard(rl: 8 done, 2 queued, 2 failed)"
