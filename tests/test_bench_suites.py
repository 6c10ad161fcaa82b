"""Suites: what their files say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_bench_plan import asked, notebook

from aigym_kernel.bench import suites
from aigym_kernel.bench.plan import make_plan, values
from aigym_kernel.bench.records import Budget, Metric
from aigym_kernel.errors import BenchError, UnknownName

pytestmark = pytest.mark.usefixtures("store_dir")

SUITE = """
notebooks:
  - notebook: n.ipynb
    parameters: {steps: 50_000, layers: [8, 8]}
    grid: {lr: [1e-3, 0.1], env_id: CartPole-v1}
    seeds: 0..1
  - {notebook: m.ipynb, grid: {task: [a, b], seed: [7]}}
metrics:
  - {name: score, tolerance: 0.01}
  - {name: seconds, direction: lower, measured: true}
baselines:
  CartPole-v1: {low: 22, high: 500}
budget: {timeout_s: 60, retries: 1}
data: {in.csv: in.csv}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    notebook(tmp_path / "n.ipynb", "1")
    notebook(tmp_path / "m.ipynb", "2", parameters="task = 'a'\nseed = 0")
    (tmp_path / "in.csv").write_text("1")
    (tmp_path / "control.yaml").write_text(SUITE)
    return tmp_path / "control.yaml"


def test_a_suite_becomes_a_plan(file: Path) -> None:
    folder, plan = make_plan(suites.load(file))
    fixed = {"steps": 50_000, "layers": [8, 8]}
    first = [{**fixed, "lr": lr, "env_id": "CartPole-v1", "seed": s} for lr in (0.001, 0.1) for s in (0, 1)]
    assert asked(plan) == [*first, {"task": "a", "seed": 7}, {"task": "b", "seed": 7}]
    assert folder.name == plan.name == "control"
    assert plan.metrics[1] == Metric(name="seconds", direction="lower", measured=True)
    assert plan.budget == Budget(timeout_s=60, retries=1)
    assert plan.baselines == {"CartPole-v1": {"low": 22.0, "high": 500.0}}
    assert plan.data == {"in.csv": str(file.parent / "in.csv")}
    assert [plan.cells[0].label, plan.cells[-1].label] == ["n: lr=0.001, seed=0", "m: task=b"]


def test_what_is_given_beside_a_suite_counts(file: Path) -> None:
    file.write_text("notebooks: [{notebook: n.ipynb, grid: {lr: [0.1, 1]}, seeds: [0, 1]}]")
    _, plan = make_plan(suites.load(file), grid={"lr": values(["1e-2"])}, seeds=[5], metrics=["score"])
    assert asked(plan) == [{"lr": 0.01, "seed": 5}]
    assert plan.metrics == (Metric(name="score"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "expected keys such as notebooks"),
        ("metrics: []", "notebooks: is missing"),
        ("notebooks: []", "notebooks: is empty"),
        ("notebooks: [{notebok: n.ipynb}]", r"notebooks\[0\].notebok: no such key; Did you mean 'notebook'"),
        ("notebooks: [{notebook: n.ipynb}]\nbudgets: {}", "budgets: no such key; Did you mean 'budget'"),
        (
            "notebooks: [{notebook: n.ipynb}]\nmetrics: [{name: a, direction: lowr}]",
            r"metrics\[0\].direction: 'lowr' is not allowed; Did you mean 'lower'",
        ),
        ("notebooks: [{notebook: n.ipynb}]\nbudget: {retry: 1}", "budget.retry: no such key; Did you mean"),
        ("notebooks: [{notebook: n.ipynb}]\nbudget: {retries: many}", "budget.retries: 'many': it should"),
        (
            "notebooks: [{notebook: n.ipynb, seeds: 5}]",
            r"notebooks\[0\].seeds: 5 must be a range such as 0..4",
        ),
        ("notebooks: [{notebook: n.ipynb, seeds: 5..1}]", "is a range of 0 values"),
        (
            "notebooks: [{notebook: n.ipynb, parameters: {lr: 1}, grid: {lr: [1]}}]",
            "lr is in parameters and in grid",
        ),
        ("a: 1\na: 2", "the key 'a' is given twice"),
    ],
)
def test_a_mistake_in_a_suite_names_file_key_and_value(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(BenchError, match=told) as problem:
        suites.load(file)
    assert "control.yaml" in str(problem.value)


def test_a_suite_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="unknown suite 'smokee'"):
        suites.load("smokee")
    with pytest.raises(BenchError, match=r"absent\.yaml: cannot be read"):
        suites.load(tmp_path / "absent.yaml")
