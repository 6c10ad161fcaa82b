"""What goes wrong in a training: each rule on series made for it, and none on a training that learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigym_kernel.alerts import Series, alerts, html, of_run
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.train.dqn import DQNConfig
from aigym_kernel.train.ppo import PPOConfig, ppo

TOTAL = 100_000
CONFIG = vars(PPOConfig())


def made(until: float = 1.0, **metrics: Any) -> dict[str, tuple[Any, Any]]:
    """Series of 100 points over the whole run, cut at a share of it; functions of the share."""
    shares = np.arange(1, 101) / 100
    shares = shares[shares <= until + 1e-9]
    return {name: (shares * TOTAL, np.array([f(s) for s in shares], float)) for name, f in metrics.items()}


def found(series: Series, **more: Any) -> list[str]:
    step = int(max(x[-1] for x, _ in series.values()))
    return [a.name for a in alerts(series, **{"step": step, "total_steps": TOTAL, "config": CONFIG, **more})]


def learns(share: float) -> float:
    return 20 + 400 * min(1.0, share / 0.5)


FLAT = {
    "return_mean": lambda s: 21.0 + np.sin(50 * s),
    "return_q10": lambda s: 12.0,
    "return_q90": lambda s: 40.0,
}
BAND = {"return_q10": lambda s: learns(s) - 10, "return_q90": lambda s: learns(s) + 15}


def test_a_training_that_learns_has_none() -> None:
    series = made(
        return_mean=learns,
        **BAND,
        entropy=lambda s: 0.7 * (1 - 0.8 * s),
        approx_kl=lambda s: 0.01,
        explained_variance=lambda s: s - 0.05,
        policy_loss=lambda s: -0.01,
        steps_per_second=lambda s: 20_000 + 4_000 * np.sin(40 * s),
    )
    assert found(series, free={"memory": 0.4}, summary={"eval_return_mean_before": 18.0}) == []
    assert found({"return_mean": (np.array([1.0]), np.array([1.0]))}) == []
    assert alerts({}, step=0, total_steps=0, config={}) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stays_told(value: float) -> None:
    series = made(policy_loss=lambda s: value if 0.4 < s < 0.42 else 0.1, return_mean=learns)
    [alert] = alerts(series, step=TOTAL, total_steps=TOTAL, config=CONFIG)
    assert alert.text == f"policy_loss is {value:g} since step 41,000."
    assert "learning_rate (now 0.0007)" in alert.advice
    assert alert.level == "bad"


def test_what_follows_from_weights_that_are_no_numbers_is_not_told_beside_it() -> None:
    falls = made(return_mean=lambda s: 400 if s < 0.5 else 10, value_loss=lambda s: 1 if s < 0.5 else np.nan)
    assert found(falls) == ["not finite"]


def test_a_collapse_is_told_once_it_lasts() -> None:
    def falls(share: float) -> float:
        return learns(share) if share < 0.6 else 60.0

    assert found(made(0.62, return_mean=falls, **BAND)) == []
    [alert] = alerts(made(0.8, return_mean=falls), step=80_000, total_steps=TOTAL, config=CONFIG)
    assert alert.name == "collapse"
    assert "60 after 420 at step 50,000" in alert.text
    assert "clip_range (now 0.2)" in alert.advice
    # Noise about a level is no collapse, and neither is a short dip.
    noise = np.random.default_rng(0)
    assert found(made(return_mean=lambda s: 200 + noise.normal(0, 20), **BAND), summary={}) != ["collapse"]
    assert found(made(return_mean=lambda s: 60.0 if 0.7 < s < 0.75 else learns(s), **BAND)) == []


def test_no_learning_is_told_after_a_good_share() -> None:
    assert found(made(0.2, **FLAT), summary={"eval_return_mean_before": 20.0}) == []
    flat = made(0.5, **FLAT)
    [alert] = alerts(
        flat,
        step=50_000,
        total_steps=TOTAL,
        config=vars(DQNConfig()),
        summary={"eval_return_mean_before": 20.0},
    )
    assert alert.name == "no learning"
    assert "21.21 at first" in alert.text
    assert "exploration_fraction (now 0.3)" in alert.advice
    mountain = made(
        0.5, return_mean=lambda s: -200.0, return_q10=lambda s: -200.0, return_q90=lambda s: -200.0
    )
    assert found(mountain) == ["no learning"]
    # A lucky evaluation of the untrained policy hides no learning; a later one that is better shows it.
    assert found(made(return_mean=learns, **BAND), summary={"eval_return_mean_before": 600.0}) == []
    assert found(flat, summary={"eval_return_mean_before": 20.0, "eval_return_mean": 90.0}) == []


def test_entropy_is_told_early_only_and_not_of_continuous_policies() -> None:
    gone = {"entropy": lambda s: 1.1 * np.exp(-60 * s)}
    assert found(made(0.3, **gone)) == ["entropy gone"]
    assert found(made(0.8, **gone)) == []
    assert found(made(0.3, entropy=lambda s: 1.0 - 5 * s)) == []


def test_kl_value_fit_speed_and_memory() -> None:
    assert found(made(approx_kl=lambda s: 0.4)) == ["KL high"]
    assert found(made(approx_kl=lambda s: 0.4 if s < 0.1 else 0.01)) == []
    assert found(made(0.5, explained_variance=lambda s: -0.2)) == ["value fit"]
    assert found(made(0.1, explained_variance=lambda s: -0.2)) == []
    assert found(made(steps_per_second=lambda s: 9_000 if s < 0.7 else 3_000)) == ["slower"]
    assert found(made(steps_per_second=lambda s: 9_000 if s < 0.7 else 6_000)) == []
    assert found(made(return_mean=learns, **BAND), free={"memory": 0.03, "GPU memory": 0.5}) == ["memory"]


NOISE: dict[str, Any] = {"explained_variance": lambda s: -2.0}


def test_a_critic_is_blamed_where_something_is_left_to_learn() -> None:
    assert found(made(0.5, **FLAT, **NOISE)) == ["no learning", "value fit"]
    assert found(made(0.45, return_mean=learns, **BAND, **NOISE)) == [], "the return rises"
    learnt = made(return_mean=learns, **BAND, **NOISE)  # to 420, episodes from 410 to 435
    assert found(learnt) == found(learnt, goal=475.0) == ["value fit"]
    assert found(learnt, goal=400.0) == []
    assert found(learnt, goal=475.0, summary={"eval_return_mean": 500.0}) == []
    same = dict.fromkeys(("return_mean", "return_q10", "return_q90"), lambda s: -200.0)
    assert found(made(**same, **NOISE)) == ["no learning"], "no variance is there to be explained"


@pytest.mark.parametrize(
    ("env", "env_kwargs", "told"),
    [
        ("CartPole-v1", {}, []),
        ("CartPole-v1", {"wrappers": [["ClipReward", {"max_reward": 9}]]}, ["value fit"]),
        ("somebody's", {}, ["value fit"]),
    ],
)
def test_a_run_has_its_goal_from_its_environment(
    env: str, env_kwargs: dict[str, Any], told: list[str], tmp_path: Path
) -> None:
    store = Store(tmp_path)
    record = RunRecord(run_id="r", kind="train", name="x", config={"env": env, "env_kwargs": env_kwargs})
    status = RunStatus(state="done", step=TOTAL, total_steps=TOTAL, summary={"eval_return_mean": 480.0})
    store.add_run(record, status)
    with store.writer("r") as writer:
        for step in range(10_000, TOTAL + 1, 5_000):
            writer.metrics(step, {"explained_variance": -2.0})
    assert [alert.name for alert in of_run(store, record, status)] == told


def test_what_the_run_says_itself_is_told_and_the_worst_comes_first() -> None:
    series = made(approx_kl=lambda s: 0.4, value_loss=lambda s: np.nan)
    warnings = ["The environment is not deterministic."]
    assert found(series, summary={"warnings": warnings}) == ["not finite", "KL high", "warning"]
    page = html(alerts(series, step=TOTAL, total_steps=TOTAL, config=CONFIG, summary={"warnings": ["<b>"]}))
    assert page.count("<p") == 3
    assert "&lt;b&gt;" in page


def trained(**changes: Any) -> tuple[dict[str, tuple[Any, Any]], PPOConfig]:
    config = PPOConfig.preset("CartPole-v1", total_timesteps=16_384, **changes)
    points: dict[str, list[tuple[int, float]]] = {}
    for update in ppo("CartPole-v1", config):
        for name, value in update.metrics.items():
            points.setdefault(name, []).append((update.step, value))
    return {name: tuple(np.array(list(zip(*p)), float)) for name, p in points.items()}, config  # type: ignore[misc]


def test_a_real_training_that_learns_and_one_that_cannot() -> None:
    series, config = trained()
    del series["steps_per_second"]  # what else this machine does is not the training's fault
    assert found(series, total_steps=16_384, config=vars(config)) == []
    series, config = trained(learning_rate=1e-9)
    assert "no learning" in found(series, total_steps=16_384, config=vars(config))
