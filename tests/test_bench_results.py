"""The cells of a bench as tables: what is the method, what the task, and which values count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import benches
import numpy as np
import pytest

from aigym_kernel.bench import results
from aigym_kernel.bench.records import Metric, State, notebook_names
from aigym_kernel.errors import UnknownName

FAILED = {("dqn", "CartPole-v1", 1): ("timeout", "took longer than 60 s")}


def _with(state: State, /, **parameters: dict[str, object]) -> State:
    """The same bench with more parameters: for each name its value by method."""
    cells = []
    for cell in state.plan.cells:
        own = {name: by[cell.parameters["algo"]] for name, by in parameters.items()}
        cells.append(replace(cell, parameters=cell.parameters | own))
    return replace(state, plan=replace(state.plan, cells=tuple(cells)))


def test_a_row_says_what_became_of_a_cell(tmp_path: Path) -> None:
    retried = [("ppo", "CartPole-v1", 2)]
    state = benches.write(tmp_path, failed=FAILED, queued=[("dqn", "CartPole-v1", 2)], retried=retried)
    frame = results.frame(state)
    assert list(frame.columns) == [
        *("cell", "label", "notebook", "algo", "env_id", "seed", "state", "attempts", "reason", "error"),
        *("seconds", "return_mean", "steps_to_solve"),
    ]
    assert list(frame["state"]) == ["done", "done", "done", "done", "failed", "queued"]
    assert list(frame["attempts"]) == [1, 1, 2, 1, 1, 0]
    assert frame.loc[4, "reason"] == "timeout"
    assert frame.loc[4, "error"] == "took longer than 60 s"
    assert frame["reason"].isna()[[0, 1, 2, 3, 5]].all()
    assert list(frame["seconds"][:5]) == [20.0, 21.0, 22.0, 20.0, 12.0]
    assert list(frame["return_mean"][:4]) == [100.0, 101.0, 102.0, 110.0]
    assert frame["return_mean"][4:].isna().all()
    assert frame["seconds"][5:].isna().all()


def test_a_name_that_is_taken_says_whose_it_is(tmp_path: Path) -> None:
    state = benches.write(tmp_path, seeds=1, reported=lambda m, t, s: {"seconds": 1.0, "algo": 2.0})
    columns = results.frame(_with(state, state={"ppo": 1, "dqn": 2})).columns
    assert {"state", "parameter.state", "seconds", "metric.seconds", "algo", "metric.algo"} <= set(columns)


def test_groups_hold_the_values_over_seeds_and_count_what_is_missing(tmp_path: Path) -> None:
    state = benches.write(tmp_path, failed=FAILED, queued=[("dqn", "CartPole-v1", 2)])
    groups = results.groups(state)
    ppo, dqn = groups["ppo"]["CartPole-v1"], groups["dqn"]["CartPole-v1"]
    assert (ppo.seeds, ppo.values, ppo.failed, ppo.unfinished) == ((0, 1, 2), (100.0, 101.0, 102.0), 0, 0)
    assert (dqn.seeds, dqn.values, dqn.failed, dqn.unfinished) == ((0,), (110.0,), 1, 1)
    assert len(dqn.cells) == 3
    assert ppo.metric == benches.RETURN
    steps = results.groups(state, "steps_to_solve")["dqn"]["CartPole-v1"]
    assert steps.metric == benches.STEPS
    assert steps.values == (890.0,)


def test_matrices_have_a_row_per_seed_and_nan_where_nothing_is(tmp_path: Path) -> None:
    state = benches.write(tmp_path, tasks=["CartPole-v1", "Snake"], failed=FAILED)
    arrays, tasks = results.matrices(state)
    assert tasks == ["CartPole-v1", "Snake"]
    np.testing.assert_array_equal(arrays["ppo"], [[100, 200], [101, 201], [102, 202]])
    np.testing.assert_array_equal(arrays["dqn"], [[110, 210], [np.nan, 211], [112, 212]])


def test_the_plan_has_the_last_word_on_the_main_metric(tmp_path: Path) -> None:
    asked = (Metric(name="steps_to_solve", direction="higher"),)
    state = benches.write(tmp_path, plan={"metrics": asked})
    assert next(iter(results.metrics(state).items())) == ("steps_to_solve", asked[0])
    assert results.groups(state)["ppo"]["CartPole-v1"].values[0] == 900.0


def test_an_unknown_metric_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"'return_maen'\. Did you mean 'return_mean'"):
        results.groups(benches.write(tmp_path), "return_maen")


def test_what_goes_with_the_task_alone_is_no_method(tmp_path: Path) -> None:
    state = benches.write(tmp_path, tasks=["CartPole-v1", "Snake"])
    longer = tuple(
        replace(c, parameters=c.parameters | {"total_steps": len(c.parameters["env_id"])})
        for c in state.plan.cells
    )
    state = replace(state, plan=replace(state.plan, cells=longer))
    assert results.method_parameters(state) == ("algo",)
    assert list(results.groups(state)) == ["ppo", "dqn"]


def test_several_parameters_are_named_with_their_values(tmp_path: Path) -> None:
    state = _with(benches.write(tmp_path), lr={"ppo": 0.1, "dqn": 0.2})
    assert list(results.groups(state)) == ["algo=ppo, lr=0.1", "algo=dqn, lr=0.2"]


def test_one_cell_is_called_after_its_notebook(tmp_path: Path) -> None:
    state = benches.write(tmp_path, ["ppo"], seeds=1, plan={"task": None, "seed": None})
    groups = results.groups(state)
    assert list(groups) == ["bench_rl"]
    assert groups["bench_rl"]["bench_rl"].seeds == (None,)


def test_several_notebooks_are_several_tasks_each_with_its_main_metric(tmp_path: Path) -> None:
    state = benches.write(tmp_path, ["ppo"], ["CartPole-v1", "Snake"], seeds=2)
    first, *rest = state.plan.cells
    name = "bench_code.ipynb"
    other = replace(first, source=f"notebooks/def/{name}", notebook=name, parameters={})
    latency = Metric(name="latency", direction="lower")
    result = replace(state.results[first.id], metrics={"latency": 0.5}, declared=(latency,))
    state = replace(
        state,
        plan=replace(state.plan, cells=(other, *rest)),
        results={**state.results, first.id: result},
    )
    tasks = {task: group for row in results.groups(state).values() for task, group in row.items()}
    assert list(tasks) == ["bench_code", "bench_rl: CartPole-v1", "bench_rl: Snake"]
    assert tasks["bench_code"].metric == latency
    assert tasks["bench_rl: Snake"].metric == benches.RETURN
    twins = tuple(replace(cell, notebook="n.ipynb") for cell in state.plan.cells)
    twins = (replace(twins[0], folder="elsewhere"), *twins[1:])
    named = notebook_names(twins)
    assert list(named.values()) == ["elsewhere/n", "notebooks/n"]


def test_a_bench_that_has_not_begun_has_groups_without_values(tmp_path: Path) -> None:
    keys = [("ppo", "CartPole-v1", seed) for seed in range(2)]
    state = benches.write(tmp_path, ["ppo"], seeds=2, queued=keys)
    group = results.groups(state)["bench_rl"]["CartPole-v1"]
    assert (group.metric, group.values, group.unfinished) == (None, (), 2)
    assert len(results.frame(state)) == 2
