"""Benches on a real Ray cluster: a node is lost, folders are not shared, somebody stops it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clusters import TwoNodes, two_nodes
from test_bench_plan import notebook

from aigym_kernel import settings
from aigym_kernel.bench import holding, records, remote
from aigym_kernel.bench.plan import make_plan
from aigym_kernel.bench.records import State
from aigym_kernel.bench.scheduling import carry_out
from aigym_kernel.bench.telling import Event
from aigym_kernel.cli import main
from aigym_kernel.errors import RunError
from aigym_kernel.executors import Ray
from aigym_kernel.store import Store

pytestmark = pytest.mark.usefixtures("store_dir")

PARAMETERS = '''seed: int = 0\ntask: str = "own"\ngo: str = ""'''
CELL = """
import pathlib, time
import beside
import aigym_kernel as aigym
while go and not pathlib.Path(go).exists():
    time.sleep(0.05)
aigym.rollout(aigym.scripted([0] * 9), "CartPole-v1", seed=seed)
title = aigym.load_task(task).title
aigym.report(score=beside.twice(seed) + len(title) + int(pathlib.Path("in/number").read_text()))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as cluster:
        yield cluster


def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int, **grid: Any) -> Path:
    home, task = tmp_path / "home", tmp_path / "tasks" / "own"
    home.mkdir()
    (home / "beside.py").write_text("def twice(n): return 2 * n\n")
    (home / "number").write_text("40")
    shutil.copytree(settings.tasks_dir() / "two-sum", task)
    (task / "task.yaml").write_text(
        (task / "task.yaml")
        .read_text()
        .replace("id: two-sum", "id: own")
        .replace("title: Two numbers that add up", "title: Own")
    )
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path / "tasks"))
    path = notebook(home / "n.ipynb", CELL, parameters=PARAMETERS)
    data = {"in/number": home / "number"}
    folder, plan = make_plan(path, seeds=range(seeds), grid=grid, data=data, budget={"timeout_s": 1000})
    records.replace(folder / "bench.json", plan)
    return folder


def scores(state: State) -> dict[int, float]:
    failed = [status.attempts for status in state.statuses.values() if status.state != "done"]
    assert not failed
    return {c.parameters["seed"]: state.results[c.id].metrics["score"] for c in state.plan.cells}


def played(state: State) -> dict[str, str]:
    """By run of a done cell, the trajectory's id of each roll-out that it began."""
    done = [result.run_id for result in state.results.values()]
    frame = Store().sql(
        "select r.parent, t.trajectory_id as id from trajectories t join runs r using (run_id) "
        "where r.kind = 'rollout' and r.state = 'done'"
    )
    return {p: t for p, t in zip(frame["parent"], frame["id"], strict=True) if p in done}


def test_a_lost_node_loses_and_doubles_no_cell(
    cluster: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    folder = bench(tmp_path, monkeypatch, 4, go=str(go))
    events = []

    def tell(event: Event) -> None:
        events.append(event.what)
        running = [s for s in records.read(folder).statuses.values() if s.state == "running" and s.done]
        if event.what == "progress" and len(running) == 2 and not go.exists():
            cluster.kill_second()
            go.touch()

    state = carry_out(folder, executor=Ray(address=cluster.address), tell=tell)
    assert scores(state) == {seed: 2 * seed + 43 for seed in range(4)}
    attempts = [[(a.state, a.reason) for a in status.attempts] for status in state.statuses.values()]
    assert sorted(attempts, key=len) == [[("done", None)]] * 3 + [
        [("interrupted", "machine"), ("done", None)]
    ]
    [lost] = [status.attempts[0] for status in state.statuses.values() if len(status.attempts) == 2]
    assert "was lost" in (lost.error or "")
    assert lost.host
    assert events.count("again") == 1
    assert len(played(state)) == 4


def test_a_node_that_sees_no_folder_sends_back_what_it_made(
    cluster: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bench(tmp_path, monkeypatch, 2)

    def tell(event: Event) -> None:
        if event.what == "begins":  # it is what nodes know the folder by
            (folder / remote.TOKEN).unlink()

    state = carry_out(folder, executor=Ray(), tell=tell)
    assert scores(state) == {0: 43, 1: 45}
    assert len(played(state)) == 2
    for cell in state.plan.cells:
        result, place = state.results[cell.id], records.cell_folder(folder, cell.id)
        assert (place / result.notebook).is_file()
        assert (place / str(result.page)).is_file()
        assert {p.name for p in place.iterdir()} == {"status.json", "result.json", "attempt-1"}
        assert Store().run(result.run_id).parent == state.plan.run_id
        assert result.hashes["trajectories"]
    where = ("--executor", "ray", "--ray-address", cluster.address)
    outcome = CliRunner().invoke(main, ["bench", "verify", str(folder), "--cells", "1", *where])
    assert outcome.exit_code == 0, outcome.output
    assert "verified: 1 identical" in outcome.stdout


def test_stopping_reaches_nodes_that_see_no_folder(
    cluster: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    folder = bench(tmp_path, monkeypatch, 2, go=str(go))

    def tell(event: Event) -> None:
        if event.what == "begins":
            (folder / remote.TOKEN).unlink()
        if event.what == "progress":
            holding.ask_to_stop(folder)

    state = carry_out(folder, executor=Ray(), tell=tell)
    assert not state.results
    assert {status.state for status in state.statuses.values()} <= {"queued", "interrupted"}
    go.touch()
    assert scores(carry_out(folder, executor=Ray())) == {0: 43, 1: 45}


def test_another_version_on_a_node_is_told(
    cluster: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bench(tmp_path, monkeypatch, 1)
    plan = records.read(folder).plan
    order = remote.Order(folder=folder, cell=plan.cells[0], attempt=1, store=plan.store)
    order.cell.parts["code"] = "0" * 16
    crew = remote.RemoteCrew(Ray(), folder, plan)
    crew.give(7, order)
    number, attempt = crew.take(wait=True) or (0, None)
    crew.stop()
    assert isinstance(attempt, records.Attempt)
    assert (number, attempt.state, attempt.reason) == (7, "failed", "machine")
    assert "has another version of aigym-kernel" in (attempt.error or "")


def test_a_cluster_without_room_for_a_cell_is_told(cluster: TwoNodes) -> None:
    with pytest.raises(RunError, match=r"1 GPUs are asked for at a time, and no node .* more than 0"):
        Ray().crew(print, gpus=1)
    with pytest.raises(RunError, match="64 CPUs are asked for"):
        Ray().crew(print, cpus=64)
