"""What interrupted attempts recorded leaves the store; what failed, and what is another's, stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import benches

from aigym_kernel.bench.discarding import discard
from aigym_kernel.bench.records import Attempt, CellStatus
from aigym_kernel.store import RunKind, RunRecord, RunStatus, Store


def test_interrupted_attempts_and_what_is_below_them_go_to_the_trash(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b", ["ppo"], seeds=2)
    store, (cell, other) = Store(state.plan.store), state.plan.cells
    store.create()

    def add(run_id: str, kind: RunKind, parent: str | None = None, **config: object) -> None:
        store.add_run(RunRecord(run_id=run_id, kind=kind, name=run_id, parent=parent, config=config))
        store.write_status(run_id, RunStatus(state="running", pid=1, host="a machine that is gone"))

    add("now", "bench", folder=str(state.folder))
    add("before", "bench", folder=str(state.folder))  # the same bench, planned otherwise then
    add("elsewhere", "bench", folder=str(tmp_path / "other" / "b"))
    add("killed", "notebook", "before", cell=cell.id, attempt=1)
    add("training", "train", "killed")
    add("play", "rollout", "training")
    add("failed", "notebook", "now", cell=cell.id, attempt=2)
    add("unseen", "notebook", "now", cell=cell.id, attempt=3)  # killed before its status was written
    add("done", "notebook", "now", cell=other.id, attempt=1)
    add("another", "notebook", "elsewhere", cell=cell.id, attempt=1)
    tried = (Attempt(n=1, state="interrupted", reason="machine"), Attempt(n=2, state="failed"))
    statuses = {**state.statuses, cell.id: CellStatus(state="interrupted", attempt=2, attempts=tried)}
    state = replace(state, statuses=statuses, plan=replace(state.plan, run_id="now"))

    assert sorted(discard(state, [cell])) == ["killed", "play", "training", "unseen"]
    assert set(store.run_ids()) == {"now", "before", "elsewhere", "failed", "done", "another"}
    assert discard(state, [cell]) == []
    store.restore("play")
    assert store.status("play").state == "killed"
