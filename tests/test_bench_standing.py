"""How a bench stands: words for its cells, how far they are, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import benches
import pytest

from aigym_kernel.bench import holding, records, standing
from aigym_kernel.bench.records import Cell, CellStatus, State, cell_folder

ALGOS, SEEDS = ["ppo", "dqn"], 2


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """ppo is done in 20 and 21 s, a cell of dqn failed and the other one is queued."""
    monkeypatch.chdir(tmp_path)  # where no such notebook is
    failed = {("dqn", "CartPole-v1", 0): ("timeout", "took longer than 5 s")}
    queued = [("dqn", "CartPole-v1", 1)]
    return benches.write(tmp_path / "b", ALGOS, seeds=SEEDS, failed=failed, queued=queued)  # type: ignore[arg-type]


def goes_on(state: State, cell: Cell, **known: object) -> State:
    path = cell_folder(state.folder, cell.id) / "status.json"
    records.replace(path, CellStatus(state="running", attempt=1, **known))  # type: ignore[arg-type]
    return records.read(state.folder)


def test_words_count_who_works_on_it_and_since_when(bench: State) -> None:
    def words() -> list[str]:
        return list(standing.words(records.read(bench.folder)).values())

    assert words() == ["done", "done", "failed", "queued"]
    assert standing.overall(bench) == "interrupted"
    hold = holding.take(bench.folder)
    assert words() == ["skipped", "skipped", "failed", "queued"]
    goes_on(bench, bench.plan.cells[3])
    assert words()[3] == "running"
    assert standing.overall(bench) == "running"
    hold.release()
    assert words()[3] == "interrupted", "nobody works on it"
    assert standing.counted(standing.words(records.read(bench.folder)).values()) == (
        "2 skipped, 1 interrupted, 1 failed"
    )


def left(state: State, workers: int, expected: Callable[[float], float]) -> None:
    """The time left is what is expected where the last cell has run for so many seconds. It goes on."""
    since = state.statuses[state.plan.cells[3].id].started_at
    before = time.time()
    found = standing.time_left(state, workers)
    passed = time.time() - before
    assert found == pytest.approx(expected(before - since), abs=5 * passed + 1e-6)


def test_the_time_left_is_from_medians_and_from_what_runs(bench: State) -> None:
    last = bench.plan.cells[3]
    assert standing.time_left(bench, 1) == 20.5
    left(goes_on(bench, last, started_at=time.time() - 8), 1, lambda ran: 20.5 - ran)
    late = goes_on(bench, last, started_at=time.time() - 30, done=3, total=4)
    left(late, 1, lambda ran: ran / 3)  # as long as its own pace says
    for cell in bench.plan.cells[:2]:
        (cell_folder(bench.folder, cell.id) / "result.json").unlink()
    inner = {"label": "ppo CartPole-v1", "step": 500, "total": 1000}
    first = goes_on(bench, last, started_at=time.time() - 50, done=0, total=1, inner=inner)
    assert standing.share(first.statuses[last.id]) == 0.5
    assert standing.progress(first.statuses[last.id]) == "0 of 1, ppo CartPole-v1 50%"
    left(first, 1, lambda ran: 5 * ran)  # two of 100 s and half of one
    left(first, 2, lambda ran: 2.5 * ran)
    nobody = goes_on(bench, last, started_at=time.time())
    assert standing.time_left(nobody, 1) is None


def test_tables_say_why(bench: State) -> None:
    text = standing.text(bench)
    assert text.splitlines()[0] == "b: interrupted, 2 of 4 cells done (2 done, 1 queued, 1 failed)"
    assert "timeout: took longer than 5 s" in text
    assert "timeout: took longer than 5 s" in standing.html(bench)
    assert "is gone or unreadable since; all cells run the copy in notebooks/abc/bench_rl.ipynb" in text
    found = standing.summary(bench)
    assert found["counts"] == {"done": 2, "failed": 1, "queued": 1}
    assert [cell["metrics"].get("return_mean") for cell in found["cells"]] == [100.0, 101.0, None, None]
    spans = [standing.duration(seconds) for seconds in (0.44, 59, 90, 3900)]
    assert spans == ["0.4 s", "59 s", "2 min", "1 h 5 min"]
