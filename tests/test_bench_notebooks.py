"""The benchmark notebooks: each runs small and reports what it says; what they share; `aigym bench new`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import nbformat
import pytest
from click.testing import CliRunner

from aigym_kernel import reported
from aigym_kernel.bench import coding, learning, records, results, suites, template, timing
from aigym_kernel.bench.plan import make_plan
from aigym_kernel.cli.bench_new import new
from aigym_kernel.errors import AigymError, BenchError, RunError, UnknownName
from aigym_kernel.notebooks import check_parameters, run_notebook
from aigym_kernel.reported import Metric
from aigym_kernel.store import sql
from aigym_kernel.tasks import load_task

pytestmark = pytest.mark.usefixtures("store_dir")
ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
HUMAN_EVAL = str(ROOT / "tests" / "data" / "HumanEval_even.jsonl.gz")


def said(path: Path, **parameters: object) -> tuple[dict[str, float], dict[str, Metric]]:
    """What a notebook reports with these parameters, and what it declares of each name."""
    run = run_notebook(path, parameters, progress=False)
    executed = nbformat.read(run.folder / "artifacts" / path.name, as_version=4)
    metrics, declared = reported.of(executed)
    return metrics, {metric.name: metric for metric in declared}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_committed_in_the_houses_form(path: Path) -> None:
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    assert first.metadata.get("tags") == ["parameters"]
    for line in first.source.splitlines():
        assert ": " in line.partition("=")[0], f"no annotation: {line}"
        assert "  # " in line or not path.stem.startswith(("bench_", "template")), f"no comment: {line}"
    for cell in nb.cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
    assert check_parameters(path, {}) == {}


def test_learning_is_measured() -> None:
    found, declared = said(
        NOTEBOOKS / "bench_rl.ipynb",
        steps=4_096,
        evaluations=4,
        episodes=3,
        threshold=15.0,
        settings={"n_envs": 8, "n_steps": 64},
    )
    assert next(iter(found)) == "return_mean"
    assert set(found) == {
        "return_mean",
        "return_area",
        "reached",
        "steps_to_threshold",
        "steps_per_second",
        "train_s",
    }
    assert {name for name, metric in declared.items() if metric.direction == "lower"} == {
        "steps_to_threshold",
        "train_s",
    }
    assert {name for name, metric in declared.items() if metric.measured} == {"steps_per_second", "train_s"}
    played = sql("""select "return" from trajectories join runs using (run_id) where kind = 'rollout'""")
    assert found["return_mean"] == pytest.approx(played["return"].mean())
    points = sql("select step, value from metrics where name = 'eval_return_mean' order by step")
    points = list(zip(points["step"], points["value"]))
    assert points[0][0] == 0
    assert len(points) >= 4
    assert found["return_area"] == pytest.approx(learning.area(points))
    assert found["reached"] == 1
    assert found["steps_to_threshold"] == learning.steps_to(points, 15.0)


@pytest.mark.usefixtures("sandbox")
def test_coding_is_measured() -> None:
    found, declared = said(
        NOTEBOOKS / "bench_code.ipynb", task=HUMAN_EVAL, first=3, samples=3, k=2, agent="mutated"
    )
    assert list(found) == ["pass_at_1", "pass_at_2", "score", "unjudged", "seconds_per_answer"]
    assert found["unjudged"] == 0
    assert found["pass_at_1"] <= found["pass_at_2"] <= 1
    assert declared["seconds_per_answer"].measured
    assert not declared["pass_at_1"].measured
    rows = sql("select env_id, outcome, seed from trajectories order by env_id, seed")
    assert rows["env_id"].nunique() == 3
    assert rows["seed"].tolist() == [0, 1, 2] * 3
    share = (rows["outcome"] == "passed").groupby(rows["env_id"]).mean()
    assert found["pass_at_1"] == pytest.approx(share.mean())


@pytest.mark.usefixtures("sandbox")
def test_a_sandbox_is_measured() -> None:
    found, declared = said(NOTEBOOKS / "bench_sandbox.ipynb", programs=4, workers=2)
    assert list(found) == ["p50_ms", "p95_ms", "first_ms", "programs_per_second", "right"]
    assert found["right"] == 1
    assert {name for name, metric in declared.items() if metric.measured} == set(found) - {"right"}
    assert declared["programs_per_second"].direction == "higher"
    assert declared["p50_ms"].direction == "lower"


def test_a_sandbox_that_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(RunError, match=r"SandboxError: no Docker daemon answers .* Start it"):
        run_notebook(NOTEBOOKS / "bench_sandbox.ipynb", {"sandbox": "docker"}, progress=False)
    with pytest.raises(UnknownName, match="Did you mean 'bwrap'"):
        timing.run_programs("bwarp")


def test_the_store_is_measured() -> None:
    found, declared = said(NOTEBOOKS / "bench_store.ipynb", steps=1_001)
    assert found["steps_written"] == 1_100  # whole trajectories
    assert {name for name, metric in declared.items() if metric.direction == "higher"} == {
        "krows_per_second",
        "steps_written",
    }
    assert {"page_ms", "trajectory_ms", "curve_ms", "all_steps_ms", "index_s", "bytes_per_step"} < set(found)
    assert all(value > 0 for value in found.values())


def test_the_area_under_a_learning_curve_is_a_return() -> None:
    assert learning.area([(0, 10.0), (100, 10.0), (400, 10.0)]) == 10
    assert learning.area([(0, 0.0), (100, 100.0), (200, 100.0)]) == 75
    assert learning.area([(0, 0.0), (1000, 1000.0), (2000, 1000.0)]) == 750
    for points in ([], [(0, 1.0)], [(5, 1.0), (5, 2.0)]):
        with pytest.raises(BenchError, match="evaluations at two steps or more"):
            learning.area(points)


def test_the_first_evaluation_at_the_threshold_counts() -> None:
    points = [(0, 1.0), (10, 5.0), (20, 4.0), (30, 6.0)]
    assert learning.steps_to(points, 5) == 10
    assert learning.steps_to(points, 5.5) == 30
    assert learning.steps_to(points, 7) is None


def test_a_mutation_changes_one_spot_and_follows_its_seed() -> None:
    text = "if a <= 10 and b -> x2:\n    return a[-1] + 3.5\n"
    found = {coding.mutated(text, Random(seed)) for seed in range(60)}
    assert found == {
        text.replace("<=", "<"),
        text.replace("10", "11"),
        text.replace("and", "or"),
        text.replace("[-1]", "[+1]"),
        text.replace("-1", "-2"),
        text.replace("] +", "] -"),
    }
    assert coding.mutated(text, Random(7)) == coding.mutated(text, Random(7))
    assert coding.mutated("pass", Random(0)) == "pass"


@pytest.mark.usefixtures("sandbox")
def test_agents_of_every_kind_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_agents.py").write_text(
        "def sometimes(seed):\n"
        "    from aigym_kernel.tasks import load_task\n"
        "    right = load_task('two-sum').reference[0]\n"
        "    def act(observation, steps):\n"
        "        assert 'two_sum' in observation\n"
        "        if seed % 4 == 3:\n"
        "            raise RuntimeError('no idea')\n"
        "        return right if seed % 2 else ''\n"
        "    return act\n"
        "def nothing(seed):\n"
        "    return None\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    two_sum = load_task("two-sum")
    task = replace(two_sum, limits=replace(two_sum.limits, wall_s=60))  # a second may be too short here
    played = coding.play([task], "my_agents:sometimes", samples=4, seed=1, sandbox="pool")
    [row] = coding.table(played, 2).to_dict("records")
    assert (row["samples"], row["passed"], row["errors"], row["unjudged"]) == (4, 1, 1, 0)
    assert row["pass@1"] == 1 / 4
    assert row["pass@2"] == pytest.approx(1 / 2)
    assert row["score"] == pytest.approx(1 / 4)
    assert {t.seed for t in played["two-sum"]} == {4, 5, 6, 7}
    with pytest.raises(BenchError, match=r"nothing\(0\) returned None; it must return the agent"):
        coding.play([task], "my_agents:nothing")

    program = tmp_path / "program.py"
    program.write_text(
        f"import sys\nassert 'two_sum' in sys.stdin.read()\nprint({task.reference[0]!r})\n", encoding="utf-8"
    )
    played = coding.play([task], f"command: {sys.executable} {program}", sandbox="pool")
    assert coding.table(played)["passed"].tolist() == [1]
    played = coding.play([task], f"command: {sys.executable} -c 'exit(3)'", sandbox="pool")
    assert "ended with code 3: it printed no error" in str(played["two-sum"][0].error)
    played = coding.play([load_task("mend-ledger")], "empty", sandbox="pool")
    assert coding.table(played)["errors"].tolist() == [0]
    assert sql("select distinct agent from trajectories").size == 4


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (lambda: coding.play([load_task("two-sum")], "mutatd"), UnknownName, "Did you mean 'mutated'"),
        (lambda: coding.play([load_task("two-sum")], "no_such:f"), BenchError, "No module named 'no_such'"),
        (lambda: coding.play([load_task("two-sum")], "json:dump_"), UnknownName, "Did you mean 'dump'"),
        (lambda: coding.play([], "empty"), BenchError, "there is no task to play"),
        (lambda: coding.choose("two-sumo"), UnknownName, "Did you mean 'two-sum'"),
        (lambda: coding.choose("absent.jsonl"), AigymError, "absent.jsonl"),
    ],
)
def test_a_mistake_is_told(asked: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        asked()  # type: ignore[operator]


def test_tasks_are_chosen_by_name() -> None:
    assert [task.id for task in coding.choose(["two-sum", "lru-cache"])] == ["two-sum", "lru-cache"]
    assert [task.id for task in coding.choose("two-sum")] == ["two-sum"]
    assert [task.title for task in coding.choose(HUMAN_EVAL, 2)] == ["HumanEval/0", "HumanEval/2"]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks" / "suites").glob("*.yaml")), ids=lambda p: p.stem
)
def test_a_suite_fits_its_notebooks(path: Path, tmp_path: Path) -> None:
    folder, plan = make_plan(suites.load(path.stem), store=tmp_path / "data")
    assert plan.name == path.stem
    assert (plan.task, plan.seed) == ("task" if path.stem == "code" else "env_id", "seed")
    state = records.State(
        folder=folder,
        plan=plan,
        statuses={cell.id: records.CellStatus(state="queued") for cell in plan.cells},
        results={},
    )
    methods = results.method_names(state)
    found = {methods[cell.id] for cell in plan.cells if cell.notebook == "bench_rl.ipynb"}
    assert found == ({"ppo", "dqn"} if path.stem != "code" else set())
    assert set(plan.baselines) <= {cell.parameters.get("env_id") for cell in plan.cells}


def test_a_new_benchmark_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(new, ["sub/reaction-times"])
    assert told.exit_code == 0, told.output
    path = tmp_path / "sub" / "reaction-times.ipynb"
    assert told.output.startswith("sub/reaction-times.ipynb: open it in JupyterLab")
    assert "# Benchmark: reaction times" in nbformat.read(path, as_version=4).cells[0].source
    assert "template" not in path.read_text(encoding="utf-8")
    found, declared = said(path, episodes=2)
    assert list(found) == ["return_mean", "return_worst", "seconds"]
    assert declared["seconds"].measured
    made = CliRunner().invoke(new, ["another.ipynb", "--json"])
    assert json.loads(made.output) == {"notebook": "another.ipynb"}
    again = CliRunner().invoke(new, ["another"])
    assert isinstance(again.exception, BenchError)
    assert "another.ipynb exists already" in str(again.exception)


@pytest.mark.parametrize("name", ["", "folder/", "..", ".ipynb", "a\0b", "what?"])
def test_a_name_that_is_none_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match="cannot name a notebook"):
        template.write(name)
    assert list(tmp_path.iterdir()) == []


def test_an_installed_package_brings_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "PLACES", (tmp_path / "notebooks", tmp_path / "package"))
    with pytest.raises(BenchError, match=r"brings no template.ipynb\. Take notebooks/template.ipynb"):
        template.write(str(tmp_path / "new"))
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "template.ipynb").write_bytes((NOTEBOOKS / "template.ipynb").read_bytes())
    assert template.write(str(tmp_path / "new")).is_file()
