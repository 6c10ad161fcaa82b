"""What networks look like before and after they are built: shapes, parameters, text and picture."""

from __future__ import annotations

import base64
import re
from typing import Any, get_args

import numpy as np
import pytest
from gymnasium import spaces
from torch import nn

import aigym_kernel as aigym
from aigym_kernel.envs import make
from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.train import Policy
from aigym_kernel.train.networks import Head
from aigym_kernel.train.outlines import network, outline_of

PICTURE = spaces.Box(0, 255, (10, 12, 3), np.uint8)
SPEC = {
    "layers": [
        {"type": "conv", "filters": 4, "kernel_size": 3, "stride": 2, "activation": "tanh"},
        {"type": "flatten"},
        {"type": "dense", "units": 16},
        {"type": "layer_norm"},
    ]
}


@pytest.mark.parametrize("action", [spaces.Discrete(3), spaces.Box(-1, 1, (2,)), spaces.MultiBinary(4)])
@pytest.mark.parametrize("head", get_args(Head))
def test_parameters_are_those_of_the_policy(action: Any, head: Head) -> None:
    if head != "actor-critic" and not isinstance(action, spaces.Discrete):
        action = spaces.Discrete(5)
    own = nn.Sequential(nn.Flatten(), nn.Linear(360, 6))
    own.register_parameter("scale", nn.Parameter(own[1].weight.detach()[0].clone()))
    for given in ((8, 4), SPEC, own):
        policy = Policy(PICTURE, action, given, head=head)
        assert outline_of(policy).parameters == sum(p.numel() for p in policy.parameters())


def test_a_policy_shows_its_layers_as_text_and_as_a_picture_of_its_own() -> None:
    policy = Policy(PICTURE, spaces.Discrete(3), SPEC)
    lines = [line.split() for line in repr(policy).splitlines()]
    assert lines[1:] == [
        ["input", "10x12x3"],
        ["conv", "4", "of", "3x3,", "stride", "2,", "tanh", "4x4x5", "112"],
        ["flatten", "80", "0"],
        ["dense", "16", "relu", "16", "1,296"],
        ["layer", "norm", "16", "32"],
        ["actor", "3", "51"],
        ["critic", "1", "17"],
        ["1,508", "parameters"],
    ]
    html = policy._repr_html_()
    data = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert data is not None
    svg = base64.b64decode(data[1]).decode()
    assert "dense 16 relu" in svg
    assert "1,508 parameters" in svg
    assert svg.count("http") == 1, "the name space only"


def test_a_network_is_looked_at_before_it_is_trained() -> None:
    units = network((64, 64), "CartPole-v1")
    assert units.parameters == 9_155
    assert [len(branch) for branch in units.branches] == [3, 3]
    assert network((64, 64), make("CartPole-v1"), algo="dqn").parameters == 4_675
    assert aigym.network is network
    unknown = network({"layers": [*SPEC["layers"], {"type": "gru", "units": 8}]})
    assert unknown.parameters is None
    assert [(row.outputs, row.parameters) for row in unknown.shared] == [
        ("?", None),
        ("?", 0),
        ("16", None),
        ("16", 32),
        ("8", 624),
    ]
    assert "give an environment" in repr(unknown)


def test_what_cannot_be_looked_at() -> None:
    with pytest.raises(TrainingError, match=r"layer 1 \(conv\) needs a picture.*shape \(4,\)"):
        network(SPEC, "CartPole-v1")
    with pytest.raises(TrainingError, match=r"layer 2 \(conv\) needs a picture, layer 1 \(dense\) gives"):
        network({"layers": [SPEC["layers"][2], SPEC["layers"][0]]})
    with pytest.raises(UnknownName, match="Did you mean 'CartPole-v1'"):
        network((8,), "CartPol-v1")
    with pytest.raises(UnknownName, match="Known: dqn, ppo"):
        network((8,), "CartPole-v1", algo="sac")
    with pytest.raises(TrainingError, match="lstm and gru layers cannot learn action values"):
        network({"layers": [{"type": "gru", "units": 8}]}, "CartPole-v1", algo="dqn")
    with pytest.raises(TrainingError, match="action values need Discrete"):
        network((8,), "Pendulum-v1", algo="dqn")
