"""Cells run again: PPO, DQN and judging are identical whatever the workers, and what differs is named."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bench_commands import notebook
from click.testing import CliRunner

from aigym_kernel.bench import records
from aigym_kernel.bench.plan import make_plan
from aigym_kernel.bench.records import Attempt, CellStatus, Metric, Plan, State
from aigym_kernel.bench.scheduling import carry_out
from aigym_kernel.bench.verify import Verdict, Verification, compared, verdict, verify
from aigym_kernel.cli import main
from aigym_kernel.differences import diff
from aigym_kernel.errors import BenchError, UnknownName
from aigym_kernel.store import RunRecord, Store

pytestmark = pytest.mark.usefixtures("sandbox")

BESIDE = '''
import os
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np

import aigym_kernel as aigym
from aigym_kernel.agents import random_agent, scripted
from aigym_kernel.envs.task_env import TaskEnv

COUNTER = Path(__file__).with_name("counter")


class Planted(gymnasium.Env):
    """Its third number at step 37 is nobody's to foresee."""

    observation_space = gymnasium.spaces.Box(-10, 10, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def _seen(self):
        seen = self.np_random.normal(size=4).astype(np.float32)
        if self.t == 37:
            seen[2] = os.urandom(2)[0] / 64 + os.getpid() % 1000 / 1e6
        return seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {}

    def step(self, action):
        self.t += 1
        return self._seen(), 1.0, self.t == 50, False, {"t": self.t}


def measure(what):
    if what == "learning":
        started = {
            algo: aigym.train("CartPole-v1", algo, total_timesteps=700, seed=1, evaluate_every=600)
            for algo in ("ppo", "dqn")
        }
        found = {algo: run.wait().status().summary["eval_return_mean"] for algo, run in started.items()}
        # An agent is named after its run, whose id is another one each time.
        (played,) = aigym.rollout(started["ppo"].agent(), "CartPole-v1", seed=20_000)
        return {**found, "played": played.total_reward}
    if what == "judging":
        two_sum = aigym.load_task("two-sum")
        task = TaskEnv(replace(two_sum, limits=replace(two_sum.limits, wall_s=60)))  # no clock decides it
        plays = aigym.rollout(scripted(["def two_sum(n, t): return [0, 1]"]), task, 2)
        return {"value": sum(played.score.total for played in plays)}
    env = Planted()
    aigym.rollout(random_agent(env.action_space, seed=0), env, 2, seed=5)
    return {"value": 100 + (len(COUNTER.read_text()) if COUNTER.exists() else 0)}
'''

CASES = ["learning", "judging", "planted"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> State:
    """A bench of all cases, carried out by one worker, and a cell that was never run."""
    place = tmp_path_factory.mktemp("verify")
    (place / "beside.py").write_text(BESIDE)
    path = notebook(
        place / "cases.ipynb",
        'what: str = "learning"',
        "import beside\n\nimport aigym_kernel as aigym\n\naigym.report(**beside.measure(what))",
    )
    folder, plan = make_plan(path, grid={"what": CASES}, store=place / "data")
    records.replace(folder / "bench.json", plan)
    carry_out(folder, workers=1)
    _, wider = make_plan(path, grid={"what": [*CASES, "never"]}, store=place / "data")
    records.replace(
        folder / "bench.json", replace(wider, run_id=records.load(Plan, folder / "bench.json").run_id)
    )
    return records.read(folder)


@pytest.fixture(scope="module")
def again(bench: State) -> Verification:
    """The same verified by two, after a change that changes nothing, and one outside."""
    beside = Path(bench.plan.cells[0].folder) / "beside.py"
    beside.write_text(BESIDE + "\n# A comment.\n")
    beside.with_name("counter").write_text("x")
    return verify(bench.folder, workers=2)


def of(found: Verification, bench: State, what: str) -> Verdict:
    ids = {cell.parameters["what"]: cell.id for cell in bench.plan.cells}
    return next(one for one in found.cells if one.cell == ids[what])


@pytest.mark.parametrize("what", ["learning", "judging"])
def test_ppo_dqn_and_judging_are_identical(again: Verification, bench: State, what: str) -> None:
    found = of(again, bench, what)
    assert (found.word, found.why) == ("identical", "")
    assert found.metrics
    assert all(one == other for one, other in found.metrics.values())


def test_what_counts_is_asked_of_the_store_where_a_kept_hash_is_another(
    again: Verification, bench: State
) -> None:
    cell = bench.plan.cells[0]
    was = replace(bench.results[cell.id], hashes={"trajectories": "of an earlier version"})
    first, second = replace(bench, results={cell.id: was}), records.read(again.folder)
    assert verdict(first, second, cell).word == "identical"
    first = replace(bench, results={cell.id: replace(was, run_id="deleted")})
    lost = verdict(first, second, cell)
    assert lost.word == "diverged"
    assert "no step can be named: unknown run 'deleted'" in lost.why


def test_planted_differences_are_named(again: Verification, bench: State) -> None:
    """An environment that asks the system for chance, and a file outside that the notebook reads."""
    found = of(again, bench, "planted")
    assert found.word == "diverged"
    (parted,) = found.divergences
    assert (parted.number, parted.seed, parted.step) == (0, 5, 37)
    assert (parted.run, parted.field) == ("rollout random Planted", "observation[2]")
    assert found.why == f"{parted}; value was 100.0, then 101.0 (0.01 of it)"
    assert parted.trajectories is not None
    assert diff(*parted.trajectories, store=Store(bench.plan.store)).first == (37, 37)


def test_what_did_not_get_done_is_told(again: Verification, bench: State) -> None:
    assert of(again, bench, "never").word == "skipped"
    assert of(again, bench, "never").why == "the original is queued"
    cell = bench.plan.cells[0]
    tried = Attempt(n=1, state="failed", reason="error", error="code cell 2: RuntimeError: no")
    lost = replace(bench, results={}, statuses={cell.id: CellStatus(state="failed", attempts=(tried,))})
    failed = verdict(bench, lost, cell)
    assert (failed.word, failed.why) == ("failed", "error: code cell 2: RuntimeError: no")
    assert not replace(again, cells=(failed,)).ok


def test_the_answer_is_kept_and_says_what_has_changed(again: Verification, bench: State) -> None:
    assert not again.ok
    assert again.changed == ("notebook",)
    text = str(again)
    assert "2 identical, 1 diverged, 1 skipped" in text
    assert "changed since the originals ran: notebook" in text
    assert "observation[2] was" in again._repr_html_()
    kept = json.loads((again.folder / "verdict.json").read_text())
    assert kept["headline"] == again.headline()
    assert again.folder.parent == bench.folder / "verify"
    assert records.read(bench.folder).results == bench.results  # the originals stay as they were


def test_a_tolerance_a_choice_of_cells_and_the_command(again: Verification, bench: State) -> None:
    planted = of(again, bench, "planted").cell
    command = ["bench", "verify", str(bench.folder), "--cells", planted[:6], "--tolerance", "0.02", "--json"]
    ended = CliRunner().invoke(main, command)
    assert ended.exit_code == 0, ended.output
    (cell,) = json.loads(ended.stdout)["cells"]
    assert (cell["word"], cell["metrics"]) == ("within tolerance", {"value": [100.0, 101.0]})
    assert cell["divergences"][0]["step"] == 37


def test_ctrl_c_keeps_the_verdicts_that_were_reached(tmp_path: Path) -> None:
    go = tmp_path / "go"
    wait = "import pathlib, time\nwhile seed and not pathlib.Path(go).exists():\n    time.sleep(0.05)"
    report = "import aigym_kernel as aigym\naigym.report(score=seed)"
    path = notebook(tmp_path / "waits.ipynb", 'seed: int = 0\ngo: str = ""', wait, report)
    folder, plan = make_plan(path, grid={"go": str(go)}, seeds=range(3), store=tmp_path / "data")
    records.replace(folder / "bench.json", plan)
    go.touch()
    carry_out(folder, workers=3)
    go.unlink()
    zero, one, two = (cell.id for cell in plan.cells)

    def interrupt() -> None:
        while not list(folder.glob(f"verify/*/cells/{one}/status.json")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    outcome = CliRunner().invoke(main, ["bench", "verify", str(folder), "--workers", "1", "--json"])
    assert outcome.exit_code == 130
    assert "bench resume" not in outcome.output
    told = json.loads(outcome.stdout)
    assert not told["ok"]
    assert told["headline"] == "bench waits verified: 1 identical, 2 not verified"
    words = [(found["cell"], found["word"], found["why"]) for found in told["cells"]]
    assert words[0] == (zero, "identical", "")
    assert words[1][:2] == (one, "not verified")
    assert words[1][2].startswith("stopped: stopped")
    assert words[2] == (two, "not verified", "it never began")
    kept = json.loads((Path(told["folder"]) / "verdict.json").read_text())
    assert kept["cells"] == told["cells"]
    left = tuple(Verdict(cell=cell, label="", word="not verified", why="") for cell in told["left"])
    found = Verification(bench="waits", folder=Path(told["folder"]), cells=left, started_at=0, seconds=0)
    assert f"is verified by: aigym bench verify waits --cells {one} {two}" in str(found)


def test_what_a_clock_decides_need_not_come_again(bench: State) -> None:
    """The rules alone, on results as they are written."""
    was = next(iter(bench.results.values()))
    clock, close = Metric(name="s", measured=True), Metric(name="v", tolerance=0.1)
    was = replace(was, metrics={"s": 1.0, "v": 1.0}, declared=(clock,), hashes={"trajectories": "a"})
    later = replace(was, metrics={"s": 2.0, "v": 1.0})
    plan = replace(bench.plan, metrics=())
    assert compared(plan, was, later, None) == ("identical", "")
    # What else was recorded may only differ where a metric may.
    other = replace(later, hashes={"trajectories": "b"})
    assert compared(plan, was, other, None) == ("diverged", "")
    assert compared(replace(plan, metrics=(close,)), was, other, None)[0] == "within tolerance"
    assert compared(plan, was, other, 0.1)[0] == "within tolerance"
    less = replace(was, metrics={"s": 1.0})
    assert compared(plan, was, less, 0.1) == ("diverged", "v was 1.0, then not reported")
    Store(bench.plan.store).add_run(RunRecord(run_id="nothing", kind="notebook", name="recorded"))
    only = replace(was, metrics={"s": 1.0}, run_id="nothing")
    assert compared(plan, only, only, None)[0] == "within tolerance"


def test_mistakes_are_told_before_anything_runs(bench: State) -> None:
    before = len(list((bench.folder / "verify").iterdir()))
    with pytest.raises(UnknownName, match="cell of bench cases"):
        verify(bench.folder, cells=["zz"])
    with pytest.raises(BenchError, match="number from 0 on"):
        verify(bench.folder, tolerance=-1.0)
    with pytest.raises(BenchError, match="cells=0"):
        verify(bench.folder, cells=0)
    never = next(cell.id for cell in bench.plan.cells if cell.parameters["what"] == "never")
    with pytest.raises(BenchError, match="no cell is done that could be verified"):
        verify(bench.folder, cells=[never])
    assert len(list((bench.folder / "verify").iterdir())) == before
