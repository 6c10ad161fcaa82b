"""Notebooks as runs: parameters checked first, failures kept, a page that opens offline."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from aigym_kernel.errors import NotebookError, RunError, UnknownName
from aigym_kernel.notebooks import check_parameters, run_notebook
from aigym_kernel.pages import write_html
from aigym_kernel.store import Store, sql

pytestmark = pytest.mark.usefixtures("store_dir")


def notebook(path: Path, *cells: str, parameters: str | None = None) -> Path:
    nb = nbformat.v4.new_notebook()
    nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb.cells = [nbformat.v4.new_code_cell(text) for text in cells]
    if parameters is not None:
        cell = nbformat.v4.new_code_cell(parameters)
        cell.metadata["tags"] = ["parameters"]
        nb.cells.insert(0, cell)
    nbformat.write(nb, path)
    return path


PARAMETERS = "steps: int = 10\nrate = 0.5\nname = 'x'\nflag = False\nanything = None\n"


def test_parameters_are_checked_against_the_notebook(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", parameters=PARAMETERS)
    given = {"steps": 3, "rate": 1, "name": "y", "flag": True, "anything": [1]}
    assert check_parameters(path, given) == {**given, "rate": 1.0}
    assert type(check_parameters(path, given)["rate"]) is float


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"step": 3}, UnknownName, r"unknown parameter of n.ipynb 'step'. Did you mean 'steps'"),
        ({"steps": "3"}, NotebookError, r"parameter steps is int \(default 10\), got str '3'"),
        ({"steps": True}, NotebookError, r"got bool True"),
        ({"rate": "fast"}, NotebookError, r"parameter rate is float"),
        ({"flag": 1}, NotebookError, r"parameter flag is bool"),
    ],
)
def test_a_wrong_parameter_is_told_before_a_kernel_starts(
    given: dict[str, object], error: type[Exception], message: str, tmp_path: Path, store_dir: Path
) -> None:
    path = notebook(tmp_path / "n.ipynb", parameters=PARAMETERS)
    with pytest.raises(error, match=message):
        run_notebook(path, given)
    assert not store_dir.exists()


def test_what_is_no_notebook_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="no notebook at"):
        run_notebook(tmp_path / "absent.ipynb")
    (tmp_path / "text.ipynb").write_text("not json", encoding="utf-8")
    with pytest.raises(NotebookError, match=r"text\.ipynb is not a readable notebook"):
        run_notebook(tmp_path / "text.ipynb")
    plain = notebook(tmp_path / "plain.ipynb", "1")
    with pytest.raises(NotebookError, match="takes no parameters"):
        run_notebook(plain, {"a": 1})


def test_a_notebook_is_a_recorded_run_and_parent_of_what_it_starts(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "n.ipynb",
        "import aigym_kernel as aigym\naigym.rollout(aigym.scripted([0] * 600), 'CartPole-v1', n=n)",
        "import plotly.express as px\npx.line(x=[0, 1], y=[1, 2])",
        "aigym.explore()",
        parameters="n: int = 1",
    )
    run = run_notebook(path, {"n": 2}, progress=False)
    assert run.status().state == "done"
    assert run.record.config == {"notebook": "n.ipynb", "parameters": {"n": 2}}
    assert sql("select parent from runs where kind = 'rollout'")["parent"].tolist() == [run.id]
    assert sql("select count(*) as n from trajectories")["n"][0] == 2
    page = (run.folder / "artifacts" / "n.html").read_text(encoding="utf-8")
    assert "CartPole-v1" in page
    assert "Plotly.newPlot" in page
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?https?:", page)
    assert "widget-view+json" not in page
    assert page.count("plotly.js v") == 1


def test_a_failing_cell_is_named_and_everything_up_to_it_is_kept(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", "print('before')", "1 / 0", "print('after')")
    with pytest.raises(RunError, match=r"n\.ipynb, code cell 2: ZeroDivisionError: division by zero"):
        run_notebook(path, progress=False)
    [run_id] = Store().run_ids()
    status = Store().status(run_id)
    assert status.state == "failed"
    assert "ZeroDivisionError" in (status.error or "")
    page = (Store().run_folder(run_id) / "artifacts" / "n.html").read_text(encoding="utf-8")
    assert "before" in page


def test_a_users_mistake_shows_no_internals_in_a_notebook(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", "import aigym_kernel as aigym\naigym.make('two-summ')")
    with pytest.raises(RunError, match="UnknownName"):
        run_notebook(path, progress=False)
    [run_id] = Store().run_ids()
    nb = nbformat.read(Store().run_folder(run_id) / "artifacts" / "n.ipynb", as_version=4)
    [error] = [o for c in nb.cells for o in c.get("outputs", []) if o.output_type == "error"]
    shown = "\n".join(error.traceback)
    assert "Did you mean 'two-sum'" in shown
    assert "File " not in shown
    assert "gymnasium.make" not in shown


def test_an_interrupted_notebook_is_stopped_not_failed(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", "print('before')", "import time\ntime.sleep(120)")
    process = subprocess.Popen(
        [sys.executable, "-m", "aigym_kernel", "run", path], stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr is not None
    told = b""
    while b"1/2" not in told:  # the first cell is done
        told += process.stderr.read1()
        assert process.poll() is None, told
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
    told += process.communicate(timeout=180)[1]
    assert b"Traceback" not in told, told.decode()
    [run_id] = Store().run_ids()
    status = Store().status(run_id)
    assert (status.state, status.error) == ("stopped", "interrupted by Ctrl-C")
    page = (Store().run_folder(run_id) / "artifacts" / "n.html").read_text(encoding="utf-8")
    assert "before" in page


def test_an_executed_notebook_is_trusted(tmp_path: Path) -> None:
    run = run_notebook(notebook(tmp_path / "n.ipynb", "1 + 1"), progress=False)
    executed = nbformat.read(run.folder / "artifacts" / "n.ipynb", as_version=4)
    assert NotebookNotary().check_signature(executed)


def test_a_widget_becomes_its_static_html(tmp_path: Path) -> None:
    output = nbformat.v4.new_output(
        "display_data",
        data={
            "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
            "text/html": "<b>static</b>",
        },
    )
    path = notebook(tmp_path / "n.ipynb", "x")
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].outputs = [output]
    nb.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(nb, path)
    write_html(path, tmp_path / "n.html")
    page = (tmp_path / "n.html").read_text(encoding="utf-8")
    assert "<b>static</b>" in page
    assert "unpkg" not in page
    assert "cdnjs" not in page


@pytest.mark.usefixtures("sandbox")
def test_the_tour_of_sandboxes_runs() -> None:
    tour = Path(__file__).parent.parent / "notebooks" / "sandboxes.ipynb"
    run = run_notebook(tour, {"problems": 3}, progress=False)
    page = (run.folder / "artifacts" / "sandboxes.html").read_text(encoding="utf-8")
    assert "canonical: 3 of 3 pass, empty bodies: 0" in page
    assert "memory_limit" in page
    assert sql("select outcome from trajectories")["outcome"].tolist() == ["passed"]


def test_watching_snake_learn_runs() -> None:
    path = Path(__file__).parent.parent / "notebooks" / "train_snake.ipynb"
    run = run_notebook(path, {"steps": 4_096, "games": 2}, progress=False)
    page = (run.folder / "artifacts" / "train_snake.html").read_text(encoding="utf-8")
    assert "apples after training:" in page
    assert "episodes ended" in page
    outcomes = sql("select outcome from runs join trajectories using (run_id) where kind = 'train'")[
        "outcome"
    ]
    assert set(outcomes) <= {"wall", "self", "starvation"}
