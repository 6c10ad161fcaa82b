"""Following runs that go on, without a browser: what is noticed, what it costs when nothing has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.trajectories import Trajectory
from aigym_kernel.widgets import Explorer, explore
from aigym_kernel.widgets.answers import answer
from aigym_kernel.widgets.following import look

pytestmark = pytest.mark.usefixtures("store_dir")


def begin(run_id: str, state: Any = "running") -> None:
    Store().add_run(
        RunRecord(run_id=run_id, kind="rollout", name=run_id), RunStatus(state=state, pid=os.getpid())
    )


def played(run_id: str, name: str) -> Trajectory:
    return Trajectory(
        id=name,
        run_id=run_id,
        env_id="x-v0",
        agent="somebody",
        observations=np.zeros((3, 1)),
        actions=np.zeros(2, dtype=int),
        rewards=np.ones(2),
        terminated=True,
        truncated=False,
    )


def record(run_id: str, *names: str) -> None:
    with Store().writer(run_id) as writer:
        for name in names:
            writer.trajectory(played(run_id, name))


def ask(explorer: Explorer, *ids: str) -> Any:
    reply = answer(explorer, {"ask": "1", "what": "follow", "ids": list(ids)})
    assert "error" not in reply, reply
    return reply["value"]


def test_what_a_run_records_is_noticed_and_the_rest_stays_as_it_was() -> None:
    begin("going")
    record("going", "a", "b", "c")
    explorer = explore(selected="b", filters={"length": (2, 2)})
    explorer.chosen, explorer.step = ["c"], 1
    assert (explorer.running, explorer.total) == (1, 3)
    before = explorer.stamp
    assert ask(explorer, "b") == {"places": [_place(explorer, "b")], "stamp": before}
    record("going", "d", "e")
    reply = ask(explorer, "b", "nothing")
    assert (explorer.total, explorer.stamp) == (5, reply["stamp"])
    assert reply["stamp"] > before
    assert reply["places"] == [_place(explorer, "b"), -1]
    assert (explorer.selected, explorer.step, explorer.chosen) == ("b", 1, ["c"])
    assert explorer.filters
    assert ask(explorer)["stamp"] == reply["stamp"]


def _place(explorer: Explorer, trajectory_id: str) -> int:
    ids = explorer.held.table.ids[explorer.held.places].tolist()
    return int(ids.index(trajectory_id))


def test_another_process_is_followed_to_its_end_and_runs_that_begin_too() -> None:
    begin("other")
    record("other", "a")
    explorer = explore()
    code = (
        "from test_following import begin, record; from aigym_kernel.store import Store, RunStatus;"
        "record('other', 'b'); Store().write_status('other', RunStatus(state='done')); begin('next', 'done');"
        "record('next', 'c')"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])  # noqa: PTH120
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
    ask(explorer)
    assert (explorer.total, explorer.running) == (3, 0)


def test_a_glance_reads_no_status_of_runs_that_have_ended() -> None:
    begin("going")
    begin("ended", "done")
    store = Store()
    first = look(store)
    assert (set(first.going), first.ended) == ({"going"}, {"ended"})
    (store.run_folder("ended") / "status.json").write_text("broken", encoding="utf-8")
    assert look(store, first) == first
    record("going", "a")
    assert look(store, first) != first


def test_notes_of_a_running_run_are_noticed() -> None:
    begin("going")
    record("going", "a")
    first = look(Store())
    Store().tag("a", "good")
    assert look(Store(), first) != first
