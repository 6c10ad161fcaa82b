"""Benches carried out: killed and resumed, two at once, interrupted, retried, changed, in the background."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from bench_commands import aigym, lines_until, notebook

from aigym_kernel.bench import canonical, holding, records, standing
from aigym_kernel.bench.handle import benchmark, load_bench
from aigym_kernel.bench.members import MARK
from aigym_kernel.bench.records import CellStatus, Metric
from aigym_kernel.bench.scheduling import carry_out
from aigym_kernel.bench.telling import Event
from aigym_kernel.errors import BenchError, StoreError, UnknownName
from aigym_kernel.recording import new_run
from aigym_kernel.store import Store

pytestmark = pytest.mark.usefixtures("store_dir")

PLAYS = (
    'env_id: str = "CartPole-v1"\nagent: str = "left"\nseed: int = 0\nfree: str = ""',
    (
        "import pathlib, time\nimport aigym_kernel as aigym\n"
        'place = 6 * (env_id != "CartPole-v1") + 3 * (agent == "turns") + seed\n'
        "while place >= int(pathlib.Path(free).read_text()):\n    time.sleep(0.05)\n"
        'agents = {"left": lambda seen, steps: 0, "turns": lambda seen, steps: len(steps) % 2}\n'
        "plays = aigym.rollout(agents[agent], env_id, n=2, seed=seed)\n"
        "aigym.report(return_mean=sum(play.total_reward for play in plays) / 2)"
    ),
)
"""Waits until more cells may end than come before it in GRID: nobody is too late to kill a bench of it."""
GRID = {"env_id": ["CartPole-v1", "aigym/Snake-v0"], "agent": ["left", "turns"]}
WAITS = (
    'seed: int = 0\ngo: str = ""',
    "import pathlib, time\nwhile seed and not pathlib.Path(go).exists():\n    time.sleep(0.05)",
    "import aigym_kernel as aigym\naigym.report(score=seed)",
)
DEAF = (
    "seed: int = 0",
    (
        "import pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "pathlib.Path('deaf').touch()\nwhile True:\n    time.sleep(1)"
    ),
)
TEMPERS = (
    'temper: str = "good"',
    (
        "import pathlib\nimport aigym_kernel as aigym\n"
        'first = pathlib.Path.cwd().parent.name == "attempt-1"\n'
        'assert temper == "good" or (temper == "moody" and not first), temper\n'
        "aigym.report(score=1)"
    ),
)


def undisturbed(parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Metrics and hashes of what a cell of PLAYS comes to, played here: no bench, no kernel, no kill."""
    record = new_run(store := Store(), kind="notebook", name="here", config={})
    monkeypatch.setenv("AIGYM_PARENT_RUN", record.run_id)
    scope = dict(parameters)
    exec(PLAYS[1].rpartition("\n")[0], scope)
    monkeypatch.delenv("AIGYM_PARENT_RUN")
    metrics = {"return_mean": sum(play.total_reward for play in scope["plays"]) / 2}
    return metrics, canonical.hashes(store, record.run_id, metrics, [Metric(name="return_mean")])


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that says it belongs to a cell of this bench."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(f"{folder}/"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def attempts(folder: Path) -> dict[str, list[tuple[str, str | None]]]:
    """State and reason of every attempt, by the cell's label."""
    state = records.read(folder)
    return {
        cell.label: [(one.state, one.reason) for one in state.statuses[cell.id].attempts]
        for cell in state.plan.cells
    }


def test_killed_twice_and_resumed_equals_the_undisturbed_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = notebook(tmp_path / "plays.ipynb", *PLAYS)
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"killed at moments drawn with seed {seed}")
    drawn = random.Random(seed)
    (free := tmp_path / "free").write_text("12")
    broken = benchmark(path, grid={**GRID, "free": str(free)}, seeds=range(3), name="broken")
    expected = {cell.id: undisturbed(cell.parameters, monkeypatch) for cell in broken.state().plan.cells}
    for most in (4, 8):
        free.write_text(str(most))
        process = aigym("resume", "broken", "--workers", 2)
        for _ in range(drawn.randrange(3, 7)):  # two begin at once, so that one at least is done
            lines_until(process, "started")
        time.sleep(drawn.random())
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    results = records.read(broken.folder).results
    assert 2 <= len(results) <= 8
    free.write_text("12")
    # As a third kill leaves it that comes when a cell's run has ended and its result is not yet written.
    struck = results.pop(min(results))
    place = records.cell_folder(broken.folder, struck.cell)
    records.replace(place / "status.json", CellStatus(state="running", attempt=struck.attempt))
    (place / "result.json").unlink()
    done = set(results)
    state = carry_out(broken.folder, workers=2)
    assert {key: (result.metrics, result.hashes) for key, result in state.results.items()} == expected
    words = standing.words(state)
    assert {cell_id for cell_id, word in words.items() if word == "skipped"} == done
    assert Counter(words.values()) == {"skipped": len(done), "done": 12 - len(done)}
    # No cell lost or doubled: one finished run each, and its plays once.
    runs = Store().sql(
        "select json_extract_string(config, '$.cell') as cell, count(*) as n from runs where state = 'done' "
        "and kind = 'notebook' and json_extract_string(config, '$.bench') = 'broken' group by 1"
    )
    assert dict(zip(runs["cell"], runs["n"], strict=True)) == dict.fromkeys(expected, 1)
    for result in state.results.values():
        plays = Store().sql(
            "select count(*) as n from trajectories t join runs r using (run_id) where r.parent = ?",
            [result.run_id],
        )
        assert plays["n"].tolist() == [2]
    # Those of the cells and the undisturbed ones; what was killed has left nothing to count.
    assert Store().sql("select count(*) as n from trajectories")["n"].tolist() == [2 * 24]
    own = Store().status(str(state.plan.run_id))
    assert (own.state, own.step, own.total_steps) == ("done", 12, 12)
    assert not processes_of(broken.folder)


def test_ctrl_c_keeps_what_is_done_and_nobody_else_may_work_on_the_folder(tmp_path: Path) -> None:
    path, go = notebook(tmp_path / "waits.ipynb", *WAITS), tmp_path / "go"
    bench = benchmark(path, grid={"go": str(go)}, seeds=range(4), retries=2)
    process = aigym("resume", "waits", "--workers", 2)
    lines_until(process, "seed=2: started")
    refused = rf"bench waits is being worked on by process {process.pid} on .* since 20.*; .*bench stop waits"
    with pytest.raises(BenchError, match=refused):
        carry_out(bench.folder)
    with pytest.raises(BenchError, match=refused):
        benchmark(path, grid={"go": str(go)}, seeds=range(5))
    assert benchmark(path, grid={"go": str(go)}, seeds=range(4), retries=2) == bench  # the same plan again
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    stopped = [("interrupted", "stopped")]
    asked = {"seed=0": [("done", None)], "seed=1": stopped, "seed=2": stopped, "seed=3": []}
    assert attempts(bench.folder) == asked
    assert not processes_of(bench.folder)
    assert Store().status(str(bench.state().plan.run_id)).state == "stopped"
    go.touch()
    words = standing.words(carry_out(bench.folder, workers=2))
    assert list(words.values()) == ["skipped", "done", "done", "done"]
    assert attempts(bench.folder)["seed=1"] == [*stopped, ("done", None)]


def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    bench = benchmark(notebook(tmp_path / "deaf.ipynb", *DEAF))
    process = aigym("resume", "deaf")
    while not list(bench.folder.glob("cells/*/attempt-1/work/deaf")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    lines_until(process, "Ctrl-C again kills them")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    [only] = next(iter(bench.state().statuses.values())).attempts
    assert (only.state, only.reason, only.error) == ("interrupted", "stopped", "killed")
    assert not processes_of(bench.folder)


def test_a_failed_cell_is_retried_and_stops_no_other(tmp_path: Path) -> None:
    path = notebook(tmp_path / "tempers.ipynb", *TEMPERS)
    bench = benchmark(path, grid={"temper": ["bad", "moody", "good"]}, retries=1)
    told: list[str] = []
    state = carry_out(bench.folder, workers=2, tell=lambda event: told.append(event.text))
    bad, again = ("failed", "error"), ("done", None)
    assert attempts(bench.folder) == {
        "temper=bad": [bad, bad],
        "temper=moody": [bad, again],
        "temper=good": [again],
    }
    assert any("temper=moody: failed" in text and "AssertionError: moody" in text for text in told)
    assert told[-1] == "bench tempers: 2 done, 1 failed"
    assert Store().status(str(state.plan.run_id)).error == "1 cells failed"
    assert "AssertionError: bad" in repr(bench)
    assert "AssertionError: bad" in bench._repr_html_()
    own = Store().run_folder(str(state.plan.run_id)) / "status.json"

    def fill(event: Event) -> None:
        """While the cell runs, the bench's own status cannot be written, as on a disk that it has filled."""
        if event.what == "starts":
            own.unlink()
            (own / "full").mkdir(parents=True)
        elif own.is_dir() and event.cell is not None:
            shutil.rmtree(own)

    carry_out(bench.folder, tell=fill)
    assert attempts(bench.folder)["temper=bad"] == [bad] * 4, "a new start tries it again"
    assert attempts(bench.folder)["temper=good"] == [again]


def test_in_the_background_with_a_notebook_that_changes_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, go = notebook(tmp_path / "waits.ipynb", *WAITS), tmp_path / "go"
    bench = benchmark(path, grid={"go": str(go)}, seeds=[1], name="behind", workers=1)
    with pytest.raises(BenchError, match=r"was not started yet; bench.run\(\) starts it"):
        bench.wait()
    bench.run()
    assert bench.running
    assert bench.resume() == bench
    with pytest.raises(BenchError, match="bench behind is being worked on by process"):
        bench.run()
    with pytest.raises(BenchError, match=r"still runs after 0.1 s"):
        bench.wait(0.1)
    bench.stop().wait()
    assert standing.overall(bench.state()) in ("queued", "interrupted")
    load_bench().run()
    notebook(path, WAITS[0], WAITS[1], "import aigym_kernel as aigym\naigym.report(score=100)")
    go.touch()
    bench.wait(progress=True)
    assert "behind: 100% (1 of 1 cells) done" in "".join(capsys.readouterr())
    [result] = bench.state().results.values()
    assert result.metrics == {"score": 1.0}
    note = "note: waits.ipynb changed since the bench was planned; its cells run the copy of then"
    assert note in repr(bench)
    assert note in (bench.folder / "log.txt").read_text(encoding="utf-8")
    changed = benchmark(path, grid={"go": str(go)}, seeds=[1], name="behind")
    assert note not in repr(changed)
    assert list(standing.words(changed.state()).values()) == ["queued"]


def test_a_module_that_changes_meanwhile_fills_no_result(tmp_path: Path) -> None:
    """One changes while a cell runs, which is noted; the cell after it does not begin."""
    report = "import beside\nbeside.path.write_text(beside.text)\n"
    path = notebook(
        tmp_path / "n.ipynb", "seed: int = 0", report + "import aigym_kernel as aigym\naigym.report(score=1)"
    )
    beside = tmp_path / "beside.py"
    beside.write_text("import pathlib\npath = pathlib.Path(__file__)\ntext = 'path = text = None'\n")
    was = beside.read_text()
    bench = benchmark(path, seeds=range(2))
    state = carry_out(bench.folder, workers=1)
    assert attempts(bench.folder) == {"seed=0": [("done", None)], "seed=1": [("failed", "changed")]}
    [result] = state.results.values()
    assert result.notes == (
        "a module beside the notebook was changed while it ran; it may have imported either",
    )
    text = standing.text(state)
    assert "(beside.py) changed since the bench was planned; plan it anew with aigym bench run, or" in text
    assert "note: a module beside n.ipynb changed since the bench was planned; no cell begins with it" in text
    assert not set(benchmark(path, seeds=range(2), name="anew").state().statuses) & set(state.statuses)
    beside.write_text(was)
    assert "note: a module" not in standing.text(bench.state())


def test_a_background_process_that_is_killed_is_told_of(tmp_path: Path) -> None:
    bench = benchmark(notebook(tmp_path / "deaf.ipynb", *DEAF), workers=1).run()
    while not any(status.state == "running" for status in bench.state().statuses.values()):
        time.sleep(0.1)
    held = holding.holder(bench.folder)
    assert held is not None
    os.kill(held.pid, signal.SIGKILL)
    with pytest.raises(BenchError, match=f"process {held.pid} ended with 1 cells left; bench.resume"):
        bench.wait()
    assert standing.overall(bench.state()) == "interrupted"


def test_what_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", "seed: int = 0")
    with pytest.raises(
        UnknownName, match=r"unknown argument of benchmark 'timeout'. Did you mean 'timeout_s'"
    ):
        benchmark(path, timeout=3)
    with pytest.raises(BenchError, match="give a notebook, or suite="):
        benchmark()
    with pytest.raises(BenchError, match="holds no bench; start one with aigym bench run"):
        load_bench()
    bench = benchmark(path, gpus=1000)
    with pytest.raises(BenchError, match=r"each cell asks for 1000 GPUs .*this machine has"):
        carry_out(bench.folder)
    with pytest.raises(UnknownName, match=r"unknown bench 'm'. Did you mean 'n'|Known: n"):
        load_bench("m")
    with pytest.raises(BenchError, match=r"is no bench: it has no bench.json"):
        load_bench(tmp_path)
    plan = bench.state().plan
    cells = tuple(dataclasses.replace(cell, parts={**cell.parts, "code": "other"}) for cell in plan.cells)
    records.replace(bench.folder / "bench.json", dataclasses.replace(plan, cells=cells))
    with pytest.raises(BenchError, match=r"this package has changed since it was planned.*aigym bench run"):
        carry_out(bench.folder)
    records.replace(bench.folder / "bench.json", dataclasses.replace(plan, budget=records.Budget()))
    (bench.folder / "cells").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*/n.*; move away what has this name"):
        carry_out(bench.folder)
    own = Store().status(str(bench.state().plan.run_id))
    assert own.state == "failed"
