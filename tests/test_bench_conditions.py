"""--fail-on: what is read, what is refused, and which groups are named."""

from __future__ import annotations

from pathlib import Path

import benches
import pytest

from aigym_kernel.bench.conditions import Condition, failures, foresee, parse
from aigym_kernel.bench.records import Metric
from aigym_kernel.errors import BenchError, UnknownName

TASKS = ["CartPole-v1", "Snake", "Acrobot-v1"]
LOST = {("dqn", "Snake", seed): ("error", "ValueError: no board") for seed in range(3)}


def test_a_condition_is_metric_operator_number() -> None:
    assert parse("return_mean<4e2") == Condition(metric="return_mean", operator="<", number=400.0)
    assert parse(" pass@1 >= 0.5 ") == Condition(metric="pass@1", operator=">=", number=0.5)
    assert parse("größe in m != -1") == Condition(metric="größe in m", operator="!=", number=-1.0)
    for wrong in (
        "",
        "return_mean",
        "return_mean < ",
        "< 4",
        "a < b",
        "a < nan",
        "a = 4",
        "a < 4 5",
        "a < 1 and b > 0",
    ):
        with pytest.raises(BenchError, match='such as "return_mean < 400"'):
            parse(wrong)


def test_every_group_that_meets_a_condition_is_named_with_its_value(tmp_path: Path) -> None:
    state = benches.write(tmp_path, tasks=TASKS, failed=LOST)
    assert failures([parse("return_mean < 150"), parse("return_mean > 400")], state) == [
        "return_mean of ppo on CartPole-v1 is 101 (mean of 3), and return_mean < 150 is a failure",
        "return_mean of dqn on CartPole-v1 is 111 (mean of 3), and return_mean < 150 is a failure",
        "return_mean of dqn on Snake is unknown: none of its 3 cells is done",
        "return_mean of dqn on Snake is unknown: none of its 3 cells is done",
    ]
    assert failures([parse("return_mean < 1")], benches.write(tmp_path / "good")) == []


def test_a_condition_on_an_unknown_metric_says_which_there_are(tmp_path: Path) -> None:
    state = benches.write(tmp_path)
    with pytest.raises(UnknownName, match=r"'retrun_mean'\. Did you mean 'return_mean'"):
        failures([parse("retrun_mean < 1")], state)
    with pytest.raises(UnknownName, match="Known: return_mean, steps_to_solve"):
        foresee(parse("x < 1"), state)
    foresee(parse("return_mean < 1"), state)


def test_before_a_cell_is_done_nobody_knows_what_it_reports(tmp_path: Path) -> None:
    keys = [("ppo", "CartPole-v1", seed) for seed in range(2)]
    plan = {"metrics": (benches.RETURN, Metric(name="pass_at_1"))}
    state = benches.write(tmp_path, ["ppo"], seeds=2, queued=keys, plan=plan)
    for accepted in ("x < 1", "return_mean < 1", "return_area < 1", "pass_at_5 < 1"):
        foresee(parse(accepted), state)
    with pytest.raises(UnknownName, match="Did you mean 'return_mean'"):
        foresee(parse("retrun_mean < 1"), state)
