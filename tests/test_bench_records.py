"""What a bench's folder says: written, read again, and refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from aigym_kernel.bench import records
from aigym_kernel.bench.records import Attempt, Budget, Cell, CellStatus, Metric, Plan, Result
from aigym_kernel.errors import BenchError

CELL = Cell(id="a" * 16, notebook="n.ipynb", source="notebooks/x/n.ipynb", folder="notebooks")
PLAN = Plan(name="n", store="data", cells=(CELL,), metrics=(Metric(name="score"),), budget=Budget(retries=1))


def _result() -> Result:
    return Result(
        cell=CELL.id,
        attempt=2,
        run_id="r",
        metrics={"score": 1.5},
        declared=(Metric(name="score", direction="lower"),),
        hashes={},
        started_at=1.0,
        ended_at=3.0,
        seconds=2.0,
        peak_mb=None,
        notebook="attempt-2/n.ipynb",
        page=None,
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    status = CellStatus(
        state="running", attempt=2, attempts=(Attempt(n=1, state="failed", reason="timeout"),)
    )
    for name, record in (("bench.json", PLAN), ("s.json", status), ("r.json", _result())):
        records.replace(tmp_path / name, record)
        assert records.load(type(record), tmp_path / name) == record


def test_only_a_result_makes_a_cell_done(tmp_path: Path) -> None:
    records.replace(tmp_path / "bench.json", PLAN)
    assert records.read(tmp_path).statuses[CELL.id].state == "queued"
    place = records.cell_folder(tmp_path, CELL.id)
    records.replace(place / "status.json", CellStatus(state="done", attempt=1))
    assert records.read(tmp_path).statuses[CELL.id].state == "interrupted"
    records.replace(place / "result.json", _result())
    state = records.read(tmp_path)
    assert state.statuses[CELL.id].state == "done"
    assert state.results[CELL.id].metrics == {"score": 1.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is that the folder of a bench"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"version": 2}', "later version"),
        ('{"name": "n"}', "cannot be read"),
    ],
)
def test_a_damaged_bench_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "bench.json").write_text(text)
    with pytest.raises(BenchError, match=said) as told:
        records.read(tmp_path)
    assert str(tmp_path) in str(told.value)
