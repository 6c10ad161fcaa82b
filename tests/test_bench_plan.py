"""What a bench is to do: grids checked against the notebook, ids that say what a result depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from aigym_kernel import settings
from aigym_kernel.bench import identity
from aigym_kernel.bench.plan import make_plan, values
from aigym_kernel.bench.records import Metric, Plan
from aigym_kernel.errors import AigymError, BenchError, NotebookError, UnknownName

pytestmark = pytest.mark.usefixtures("store_dir")

PARAMETERS = """
from typing import Literal
env_id: str = "CartPole-v1"  # an environment's id
algo: Literal["ppo", "dqn"] = "ppo"
lr: float = 1e-3
steps: int | None = None
layers: list = [64, 64]
flag = True
seed: int = 0
%env A=1
"""


def notebook(path: Path, *cells: str, parameters: str | None = PARAMETERS, kernel: str = "python3") -> Path:
    nb = nbformat.v4.new_notebook()
    nb.metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    nb.cells = [nbformat.v4.new_code_cell(text) for text in cells]
    if parameters is not None:
        cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        nb.cells.insert(0, cell)
    nbformat.write(nb, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return notebook(tmp_path / "n.ipynb", "score = seed")


def asked(plan: Plan) -> list[dict[str, Any]]:
    return [cell.parameters for cell in plan.cells]


def test_a_grid_and_seeds_become_cells(path: Path, store_dir: Path) -> None:
    folder, plan = make_plan(path, grid={"algo": ["ppo", "dqn"], "env_id": "a"}, seeds=range(2))
    assert folder == store_dir / "benches" / "n"
    assert asked(plan) == [{"algo": a, "env_id": "a", "seed": s} for a in ("ppo", "dqn") for s in range(2)]
    assert [cell.label for cell in plan.cells][1:3] == ["algo=ppo, seed=1", "algo=dqn, seed=0"]
    assert (plan.task, plan.seed) == ("env_id", "seed")
    assert len({cell.id for cell in plan.cells}) == 4
    assert {len(cell.id) for cell in plan.cells} == {16}
    hashed = {"notebook", "parameters", "tasks", "data", "code", "lock", "threads", "gpus"}
    assert set(plan.cells[0].parts) == hashed
    path.unlink()
    frozen = nbformat.read(folder / plan.cells[0].source, as_version=4)
    assert frozen.cells[1].source == "score = seed"
    assert not (folder / "bench.json").exists()


def test_what_was_typed_gets_its_type_from_the_notebook(path: Path) -> None:
    typed = {"seed": ["0..2"], "lr": ["1e-3"], "env_id": ["5"], "layers": ["[64, 64]"], "flag": ["false"]}
    typed |= {"steps": ["1e6", "null"], "algo": ["dqn"]}
    _, plan = make_plan(path, grid={name: values(texts) for name, texts in typed.items()})
    fixed = {"lr": 0.001, "env_id": "5", "layers": [64, 64], "flag": False, "algo": "dqn"}
    assert asked(plan) == [{**fixed, "steps": n, "seed": s} for n in (1_000_000, None) for s in range(3)]
    assert type(asked(plan)[0]["steps"]) is int


def test_numbers_of_numpy_and_tuples_are_plain_values(path: Path) -> None:
    grid = {"lr": np.logspace(-3, -2, 2), "layers": [(1, 2)], "seed": np.int64(3)}
    _, plan = make_plan(path, grid=grid)
    assert asked(plan) == [{"lr": lr, "layers": [1, 2], "seed": 3} for lr in (0.001, 0.01)]


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"grid": {"alg": ["ppo"]}}, UnknownName, "unknown parameter of n.ipynb 'alg'. Did you mean 'algo'"),
        ({"grid": {"algo": ["ppo", "pqn"]}}, NotebookError, "got str 'pqn'. Did you mean 'dqn'"),
        ({"grid": {"lr": values(["fast"])}}, NotebookError, r"lr is float \(default 0.001\), got 'fast'"),
        ({"grid": {"seed": values(["1.5"])}}, NotebookError, r"seed is int \(default 0\), got '1.5'"),
        ({"grid": {"layers": [64, 64]}}, NotebookError, r"got int 64; each value of layers is a list of its"),
        ({"grid": {"layers": values(["64"])}}, NotebookError, r'-p layers "\[...\]"'),
        ({"grid": {"lr": [1, 1.0]}}, BenchError, "lr has the value 1.0 twice"),
        ({"grid": {"lr": []}}, BenchError, "lr has no values"),
        ({"grid": {"layers": [[{1, 2}]]}}, BenchError, "layers=.* cannot be written to a file"),
        ({"grid": {"lr": [float("nan")]}}, BenchError, "finite numbers"),
        ({"grid": {"seed": range(400), "lr": range(400)}}, BenchError, "160,000 cells .400 lr x 400 seed."),
        ({"grid": {"seed": iter(int, 1)}}, BenchError, "seed has more than 100,000 values"),
        ({"grid": {"seed": [1]}, "seeds": [2]}, BenchError, "seed is given twice"),
        ({"grid": "seed"}, BenchError, "must be a mapping"),
        ({"seed": "sed", "seeds": [1]}, UnknownName, "Did you mean 'seed'"),
        ({"task": "algo"}, UnknownName, "parameter to be the task 'algo'"),
        ({"name": "a/b"}, BenchError, "name='a/b' cannot be a folder's name"),
        ({"name": "a", "out": "b"}, BenchError, "differ; give one of them"),
        ({"data": ["absent.csv"]}, BenchError, "there is no .*absent.csv"),
        ({"data": {"../x": "."}}, BenchError, r"'../x' must be a name below"),
        ({"data": {"a": ".", "a/b": "."}}, BenchError, "a/b lies inside a"),
        ({"budget": {"timeout": 1}}, UnknownName, "part of a budget 'timeout'. Did you mean 'timeout_s'"),
        ({"budget": {"timeout_s": 0}}, BenchError, "timeout_s=0 must be a number of seconds above 0"),
        (
            {"budget": {"memory_mb": "4GB"}},
            BenchError,
            "memory_mb=.4GB. must be a number of megabytes above 0",
        ),
        ({"budget": {"memory_mb": 4}}, BenchError, "for 4 GB write --memory 4G, or memory_mb=4096"),
        ({"budget": {"retries": 0.5}}, BenchError, "retries=0.5 must be a whole number from 0 on"),
        ({"metrics": ["a", "a"]}, BenchError, "a is named twice"),
        ({"metrics": [3]}, BenchError, "3 must be the name"),
        ({"metrics": [Metric(name="a", direction="up")]}, BenchError, "direction is"),  # type: ignore[arg-type]
        ({"baselines": {"a": {"low": 1}}}, BenchError, "baselines: a: .* must be"),
        ({"baselines": {"a": {"low": 1, "high": 1}}}, BenchError, "low and high are both 1"),
        ({"baselines": {"a": {"low": 1, "high": "x"}}}, BenchError, "high='x' must be a number"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(
    path: Path, store_dir: Path, given: Mapping[str, Any], error: type[AigymError], told: str
) -> None:
    with pytest.raises(error, match=told):
        make_plan(path, **given)
    assert not store_dir.exists()


@pytest.mark.parametrize("text", ["4..0", "0..100000"])
def test_a_range_that_cannot_be_is_told(text: str) -> None:
    with pytest.raises(NotebookError, match=r"is a range of .* values; write the least"):
        values([text])


def test_notebooks_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for folder, source in (("one", "1"), ("two", "2")):
        (tmp_path / folder).mkdir()
        paths.append(notebook(tmp_path / folder / "n.ipynb", source))
    _, plan = make_plan(paths, seeds=[0, 1])
    told = ["one/n: seed=0", "one/n: seed=1", "two/n: seed=0", "two/n: seed=1"]
    assert [cell.label for cell in plan.cells] == told


@pytest.mark.parametrize(
    ("name", "folder"), [("Größe (1)", "Größe-1"), ("数据", "数据"), ("☃", "bench"), ("_n", "n")]
)
def test_a_bench_is_named_after_its_notebook(tmp_path: Path, store_dir: Path, name: str, folder: str) -> None:
    assert make_plan(notebook(tmp_path / f"{name}.ipynb"))[0] == store_dir / "benches" / folder


def test_notebooks_that_cannot_be_are_told(tmp_path: Path, path: Path) -> None:
    with pytest.raises(NotebookError, match=r"is a folder; give the notebook in it"):
        make_plan(tmp_path)
    with pytest.raises(NotebookError, match="no notebook at"):
        make_plan(tmp_path / "absent.ipynb")
    plain = notebook(tmp_path / "plain.ipynb", "1", parameters=None)
    with pytest.raises(NotebookError, match=r"takes no parameters, got .'seed'.; tag one of its cells"):
        make_plan(plain, seeds=[1])
    assert [cell.label for cell in make_plan(plain)[1].cells] == ["plain"]
    with pytest.raises(UnknownName, match=r"kernel of r.ipynb 'python33'. Did you mean 'python3'"):
        make_plan(notebook(tmp_path / "r.ipynb", kernel="python33"))
    with pytest.raises(NotebookError, match=r"bad\.ipynb: the cell tagged 'parameters' is not Python"):
        make_plan(notebook(tmp_path / "bad.ipynb", parameters="a ="))
    copy = notebook(tmp_path / "copy.ipynb", "score = seed")
    with pytest.raises(BenchError, match="two cells are the same: n and copy"):
        make_plan([path, copy])
    for wrong in (3, [], [3]):
        with pytest.raises(BenchError, match="expected the path of a notebook"):
            make_plan(wrong)  # type: ignore[arg-type]


def test_a_folder_of_other_files_is_no_bench(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="holds other files and no bench"):
        make_plan(path, out=tmp_path)
    with pytest.raises(BenchError, match="is a file"):
        make_plan(path, out=path)
    for _ in range(2):
        folder, plan = make_plan(path, out=tmp_path / "out")
    assert (folder, plan.name) == (tmp_path / "out", "out")


def ids(path: Path, **given: Any) -> list[str]:
    return [cell.id for cell in make_plan(path, **given)[1].cells]


def test_a_default_that_is_given_makes_no_other_cell(path: Path) -> None:
    assert ids(path) == ids(path, seeds=[0]) == ids(path, grid={"lr": 0.001})
    assert ids(path) != ids(path, seeds=[1])


def test_what_a_cell_computes_on_counts_and_what_only_ends_it_does_not(path: Path) -> None:
    found = [ids(path, budget=budget)[0] for budget in ({}, {"threads": 2}, {"gpus": 0}, {"gpus": 1})]
    assert len(set(found)) == 4
    limits = {"timeout_s": 5, "memory_mb": 500, "disk_mb": 9, "output_mb": 1, "retries": 3, "threads": 1.0}
    assert ids(path, budget=limits) == found[:1]


def test_what_a_notebook_computes_counts_and_how_it_looks_does_not(tmp_path: Path, path: Path) -> None:
    before = ids(path)
    nb = nbformat.read(path, as_version=4)
    nb.cells.insert(0, nbformat.v4.new_markdown_cell("# A title"))
    nb.cells[2].outputs = [nbformat.v4.new_output("stream", text="0")]
    nb.cells[2].execution_count = 7
    nb.metadata["title"] = "x"
    nbformat.write(nb, path)
    assert ids(path) == before
    assert path.rename(tmp_path / "m.ipynb")
    path = tmp_path / "m.ipynb"
    assert ids(path) == before
    nb.cells[2].source = "score = seed + 1"
    nbformat.write(nb, path)
    assert ids(path) != before


def test_a_module_beside_the_notebook_counts_when_it_is_imported(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", "%matplotlib inline\nimport first")
    (tmp_path / "first.py").write_text("from second import part\n")
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "__init__.py").write_text("part = 1\n")
    (tmp_path / "third.py").write_text("")
    before = ids(path)
    (tmp_path / "third.py").write_text("x = 1")
    assert ids(path) == before
    (tmp_path / "second" / "__init__.py").write_text("part = 2\n")
    assert ids(path) != before


def test_data_counts_by_content(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prices"
    folder.mkdir()
    (folder / "a.csv").write_text("1")
    given = {"data": {"in/prices": folder}}
    before = ids(path, **given)
    assert make_plan(path, **given)[1].data == {"in/prices": str(folder)}  # type: ignore[arg-type]
    assert before != ids(path)
    moved = folder.rename(tmp_path / "elsewhere")
    assert ids(path, data={"in/prices": moved}) == before
    (moved / "a.csv").write_text("2")
    assert ids(path, data={"in/prices": moved}) != before


def test_only_cells_that_name_a_task_depend_on_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tmp_path / "tasks"
    for name in ("one", "two"):
        (tasks / name).mkdir(parents=True)
        (tasks / name / "task.yaml").write_text("")
    monkeypatch.setenv("AIGYM_TASKS", str(tasks))
    assert settings.tasks_dir() == tasks
    grid = {"env_id": ["one", "aigym/one-v0", "two", "CartPole-v1"], "layers": [["two"], []]}
    before = ids(path, grid=grid)
    (tasks / "one" / "task.yaml").write_text("changed")
    after = ids(path, grid=grid)
    assert [a == b for a, b in zip(before, after)] == [False] * 4 + [True] * 4
    (tasks / "two" / "task.yaml").write_text("changed")
    last = ids(path, grid=grid)
    assert [a == b for a, b in zip(after, last)] == [False, True, False, True, False, False, False, True]


def test_a_frozen_notebook_stays_what_it_was(path: Path) -> None:
    folder, plan = make_plan(path, seeds=[0])
    frozen = folder / plan.cells[0].source
    before = frozen.read_bytes()
    notebook(path, "score = 2")
    _, other = make_plan(path, seeds=[0])
    assert frozen.read_bytes() == before
    assert other.cells[0].source != plan.cells[0].source
    assert (folder / other.cells[0].source).is_file()


def test_the_code_that_makes_results_has_a_version_and_so_have_its_packages() -> None:
    assert identity.code_version() == identity.code_version() != identity.lock_version()
    assert identity.of_values({"a": 1, "b": 2}) == identity.of_values({"b": 2, "a": 1})


def test_a_plan_is_written_and_read_as_it_is(path: Path, tmp_path: Path) -> None:
    from aigym_kernel.bench import records

    _, plan = make_plan(
        path, seeds=[0], metrics=["score"], budget={"retries": 1}, baselines={"a": {"low": 0, "high": 1}}
    )
    records.replace(tmp_path / "bench.json", plan)
    assert records.load(Plan, tmp_path / "bench.json") == plan
    assert plan.metrics == (Metric(name="score"),)
    assert dataclasses.asdict(plan.budget)["retries"] == 1
