"""The network builder without a browser: what follows from its layers, what it hands on, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import pytest

import aigym_kernel as aigym
from aigym_kernel.envs import make
from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.train import Policy, PPOConfig
from aigym_kernel.widgets import network_builder
from aigym_kernel.widgets.builder import PRESETS

SPEC = {"layers": [{"type": "dense", "units": 32, "activation": "relu"}, {"type": "gru", "units": 8}]}


def test_what_is_built_is_what_a_policy_becomes() -> None:
    builder = network_builder("CartPole-v1", network=SPEC)
    assert builder.network == SPEC
    assert PPOConfig(network=builder.network).network == SPEC
    env = make("CartPole-v1")
    policy = Policy(env.observation_space, env.action_space, builder.network)
    assert builder.view["parameters"] == sum(p.numel() for p in policy.parameters())
    assert builder.view["rows"] == [["32", 160], ["8", 1_008]]
    assert aigym.network_builder is network_builder


def test_the_code_gives_the_same_network() -> None:
    builder = network_builder("CartPole-v1", algo="dqn").set((16, 8))
    asked: list[Any] = []

    class Recorder:
        def train(self, *args: Any, **kwargs: Any) -> None:
            asked.append((args, kwargs))

    exec(builder.config, {"aigym": Recorder()})
    assert asked == [(("CartPole-v1",), {"algo": "dqn", "network": builder.network})]


def test_every_change_is_looked_at_and_errors_name_their_layer() -> None:
    builder = network_builder("CartPole-v1")
    builder.layers = [*builder.layers, {"type": "conv", "filters": 4, "kernel_size": 3}]
    assert builder.view["layer"] == 3
    assert "needs a picture" in builder.view["error"]
    assert "needs a picture" in builder.static_html()
    with pytest.raises(TrainingError, match=r"layer 3 \(conv\) needs a picture"):
        _ = builder.network
    builder.layers = [{"type": "lstm", "units": 8}]
    assert builder.view["error"] == ""
    builder.env = "Pendulum-v1"
    assert builder.view["parameters"] == 4 * 8 * (3 + 8 + 2) + (9 + 1) + 9
    builder.algo = "dqn"
    assert "action values need Discrete" in builder.view["error"]
    builder.env = "CartPol-v1"
    assert "Did you mean 'CartPole-v1'" in builder.view["error"]
    builder.env = ""
    assert builder.view["parameters"] is None
    assert builder.view["rows"] == [["8", None]]
    builder.layers = []
    assert (builder.view["layer"], "at least one layer" in builder.view["error"]) == (0, True)


def test_environments_of_ones_own_and_networks_that_cannot_be() -> None:
    def pictures() -> gymnasium.Env[Any, Any]:
        return make("aigym/Snake-v0", observation="image")

    builder = network_builder(pictures, network={"layers": PRESETS["small pictures"]})
    assert builder.env == "pictures"
    assert builder.view["error"] == ""
    assert "aigym.train(env, " in builder.config
    assert network_builder(make("CartPole-v1")).env == "CartPole-v1"
    with pytest.raises(UnknownName, match="Did you mean 'dense'"):
        network_builder("CartPole-v1", network={"layers": [{"type": "dens"}]})
    with pytest.raises(UnknownName, match="Known: dqn, ppo"):
        network_builder("CartPole-v1", algo="sac")


def test_it_shows_without_script_and_costs_other_widgets_nothing() -> None:
    data, _ = network_builder("CartPole-v1")._repr_mimebundle_()
    assert "<script" not in data["text/html"]
    assert "data:image/svg+xml" in data["text/html"]
    assert "4,675 parameters" in data["text/plain"]
    code = "import aigym_kernel.widgets, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
