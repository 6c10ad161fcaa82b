"""What a notebook reports: kept in its outputs and in the store; what is no metric is told at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from aigym_kernel import reported
from aigym_kernel.errors import NotebookError, RunError, UnknownName
from aigym_kernel.notebooks import run_notebook
from aigym_kernel.reported import MIME, Metric, of
from aigym_kernel.store import sql


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reported, "_SEEN", {})


def notebook(path: Path, *cells: str) -> Path:
    nb = nbformat.v4.new_notebook()
    nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb.cells = [nbformat.v4.new_code_cell(text) for text in cells]
    nbformat.write(nb, path)
    return path


def executed(*said: dict[str, Any]) -> Any:
    outputs = [nbformat.v4.new_output("display_data", data={MIME: each}) for each in said]
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_code_cell("report()", outputs=outputs)]
    return nb


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ({}, NotebookError, r"report\(\) without a metric"),
        ({"a": math.nan}, NotebookError, r"metric 'a' is nan: report a finite number"),
        ({"a": np.float32("inf")}, NotebookError, r"metric 'a' is inf"),
        ({"a": "12"}, NotebookError, r"metric 'a' is str '12': report one number"),
        ({"a": True}, NotebookError, r"metric 'a' is bool True"),
        ({"a": np.zeros(3)}, NotebookError, r"metric 'a' is ndarray"),
        ({"a": 10**400}, NotebookError, r"metric 'a' is int 1000"),
        ({"a": 1, "lower": "b"}, UnknownName, r"unknown metric in lower= 'b'. Known: a"),
        ({"loss": 1, "measured": ["los"]}, UnknownName, r"metric in measured= 'los'. Did you mean 'loss'"),
    ],
)
def test_what_is_no_metric_is_told_at_once(
    metrics: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reported.report(**metrics)
    reported.report(a=1)  # nothing of the refused call counts


def test_numbers_of_any_kind_are_printed_outside_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    reported.report(a=np.int64(2), b=torch.tensor([0.5]), lower="b")
    assert capsys.readouterr().out == "a = 2\nb = 0.5\n"
    with pytest.raises(NotebookError, match="metric 'b' is reported twice; report it once"):
        reported.report(c=1, b=2)


def test_a_cell_that_is_run_again_in_an_open_notebook_replaces_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shell = InteractiveShell.instance()
    try:
        first: dict[str, Any] = {"metadata": {"cellId": "one"}}
        monkeypatch.setattr(shell, "get_parent", lambda: first, raising=False)
        code = "from aigym_kernel.reported import report\nreport(a=1)"
        assert shell.run_cell(code, store_history=True).success
        assert shell.run_cell(code, store_history=True).success
        twice = shell.run_cell("report(b=1); report(b=2)", store_history=True)
        assert isinstance(twice.error_in_exec, NotebookError)
        first["metadata"]["cellId"] = "another"
        other = shell.run_cell("report(a=1)", store_history=True)
        assert isinstance(other.error_in_exec, NotebookError)
    finally:
        InteractiveShell.clear_instance()


def test_outputs_are_read_in_the_order_of_reporting() -> None:
    declared = [{"name": "z", "direction": "lower", "measured": True}, {"name": "a", "direction": "higher"}]
    nb = executed(
        {"metrics": {"a": 1, "z": 2}, "declared": declared},
        {"metrics": {"b": 3}, "declared": [{"name": "b"}]},
    )
    metrics, found = of(nb)
    assert list(metrics.items()) == [("z", 2.0), ("a", 1.0), ("b", 3.0)]
    assert found[0] == Metric(name="z", direction="lower", measured=True)
    assert of(nbformat.v4.new_notebook()) == ({}, ())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"metrics": {"a": 1}}, "is damaged"),
        ({"metrics": {}, "declared": [{"name": "a"}]}, "is damaged"),
        ({"metrics": {"a": math.nan}, "declared": [{"name": "a"}]}, "metric 'a' is nan"),
        ({"metrics": {"a": 1}, "declared": [{"name": "a"}, {"name": "a"}]}, "metric 'a' is reported twice"),
    ],
)
def test_outputs_that_report_wrongly_are_told(said: dict[str, Any], message: str) -> None:
    with pytest.raises(NotebookError, match=message):
        of(executed(said))


def test_a_run_of_a_notebook_has_what_it_reported(store_dir: Path, tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "n.ipynb",
        "import aigym_kernel as aigym\naigym.report(z=1.5, a=2)",
        "aigym.report(loss=0.25, lower='loss')",
    )
    run = run_notebook(path, progress=False)
    assert run.status().summary == {"z": 1.5, "a": 2.0, "loss": 0.25}
    assert run.metrics("loss") == [(0, 0.25)]
    metrics, declared = of(nbformat.read(run.folder / "artifacts" / "n.ipynb", as_version=4))
    assert list(metrics) == ["z", "a", "loss"]
    assert [each.direction for each in declared] == ["higher", "higher", "lower"]
    assert "less is better" in (run.folder / "artifacts" / "n.html").read_text(encoding="utf-8")


def test_a_metric_that_is_none_fails_the_notebooks_cell(store_dir: Path, tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", "import aigym_kernel as aigym", "aigym.report(a=float('nan'))")
    with pytest.raises(RunError, match="cell 2: NotebookError: metric 'a' is nan: report a finite number"):
        run_notebook(path, progress=False)
    assert sql("select * from metrics").empty
