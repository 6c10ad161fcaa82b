"""Policies: every action space, memory, normalisation, files; networks from data: shapes, weights, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from aigym_kernel.errors import AigymError, TrainingError, UnknownName
from aigym_kernel.train import DQNConfig, Policy, PPOConfig, dqn, ppo
from aigym_kernel.train.bodies import features_of
from aigym_kernel.train.layers import parse, place

VECTOR = spaces.Box(-1, 1, (4,), np.float32)
PICTURE = spaces.Box(0, 255, (10, 12, 3), np.uint8)
CONV = {"type": "conv", "filters": 4, "kernel_size": 3}
FLAT = {"type": "flatten"}
MIXED = {
    "layers": [
        {"type": "dense", "units": 8, "activation": "leaky_relu"},
        {"type": "lstm", "units": 5},
        {"type": "layer_norm"},
        {"type": "gru", "units": 6},
        {"type": "dropout", "rate": 0.5},
    ]
}
ACTIONS = [
    spaces.Discrete(3, start=2),
    spaces.MultiDiscrete([2, 3], start=[1, 2]),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
    spaces.MultiBinary(3),
    spaces.MultiBinary([2, 2]),
    spaces.Box(-1, 1, (2, 2), np.float32),
]


def dense(units: int = 4, **more: Any) -> dict[str, Any]:
    return {"type": "dense", "units": units, **more}


def drawn(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("space", ACTIONS, ids=str)
@pytest.mark.parametrize("network", [(8,), MIXED], ids=["units", "recurrent"])
def test_every_action_space_is_acted_in_and_comes_back_from_a_file(
    space: gymnasium.Space[Any], network: Any, tmp_path: Path
) -> None:
    before = torch.random.get_rng_state()
    policy = Policy(VECTOR, space, network, drawn(), normalize=True)
    seen = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    policy.update_normalization(seen)
    inputs, state = policy.encode(seen), policy.initial_state(7)
    actions = (
        policy.sample_recurrent(inputs, state, drawn())[0]
        if policy.recurrent
        else policy.sample(inputs, drawn())
    )
    log_prob, entropy = policy.log_prob_entropy(inputs, actions)
    assert log_prob.shape == entropy.shape == (7,)
    assert bool((entropy > 0).all())
    assert all(space.contains(action) for action in policy.to_env(actions))
    assert torch.equal(before, torch.random.get_rng_state()), "drawn from the generators given, alone"
    assert space.contains(policy.act(seen[0]))
    again = Policy.load(policy.save(tmp_path / "policy.safetensors"))
    assert (again.action_space, again.network, again.normalize) == (space, policy.network, True)
    assert np.array_equal(again.act_batch(seen), policy.act_batch(seen))


@pytest.mark.parametrize("space", [s for s in ACTIONS if not isinstance(s, spaces.Box)], ids=str)
def test_probabilities_are_those_of_the_samples(space: gymnasium.Space[Any]) -> None:
    """Each action is sampled about as often as its log-probability says, and they sum up to 1."""
    policy = Policy(VECTOR, space, (8,), drawn())
    last = list(policy.actor.parameters())[-1]
    with torch.no_grad():
        last.copy_(torch.linspace(-1, 1, len(last)))
    inputs = torch.zeros(4_000, 4)
    actions = policy.sample(inputs, drawn())
    with torch.no_grad():
        log_prob, entropy = policy.log_prob_entropy(inputs, actions)
    kinds, counts = torch.unique(actions.reshape(4_000, -1), dim=0, return_counts=True)
    shares = {tuple(kind.tolist()): float(count) / 4_000 for kind, count in zip(kinds, counts)}
    likely = {tuple(a.tolist()): float(p.exp()) for a, p in zip(actions.reshape(4_000, -1), log_prob)}
    assert shares == pytest.approx(likely, abs=0.04)
    assert sum(likely.values()) == pytest.approx(1, abs=0.03)
    assert -float(log_prob.mean()) == pytest.approx(float(entropy[0]), rel=0.05)


def test_a_sequence_is_its_steps_and_forgets_at_each_start() -> None:
    policy = Policy(VECTOR, spaces.Discrete(3), MIXED, drawn())
    inputs = torch.randn(9, 7, 4, generator=drawn())
    starts = torch.rand(9, 7, generator=drawn()) < 0.2
    state = torch.randn(7, policy.state_size, generator=drawn())
    outputs, values = policy.forward_sequence(inputs, state, starts)
    for t in range(9):
        state = state * ~starts[t, :, None]
        here, value = policy.forward_sequence(inputs[t : t + 1], state, starts[t : t + 1])
        _, state = policy.sample_recurrent(inputs[t], state, drawn())
        assert torch.allclose(here[0], outputs[t], atol=1e-6)
        assert torch.allclose(value[0], values[t], atol=1e-6)
    alone = policy.act_batch(inputs[0].numpy())
    first = policy.forward_sequence(inputs[:1], policy.initial_state(7), torch.ones(1, 7).bool())[0]
    assert np.array_equal(alone, first[0].argmax(-1).numpy())


def test_a_state_is_brought_up_to_date_in_place() -> None:
    policy = Policy(VECTOR, spaces.Discrete(3), {"layers": [{"type": "gru", "units": 5}]}, drawn())
    state = policy.initial_state(1)
    policy.act(np.ones(4, np.float32), state=state)
    once = state.clone()
    policy.act(np.ones(4, np.float32), state=state)
    assert bool(once.any())
    assert not torch.equal(once, state)


def test_normalisation_is_the_mean_and_variance_of_all_that_was_seen() -> None:
    policy = Policy(VECTOR, spaces.Discrete(2), normalize=True)
    random = np.random.default_rng(0)
    parts = [random.normal(3, 5, size=(n, 4)).astype(np.float32) for n in (1, 40, 7)]
    for part in parts:
        policy.update_normalization(part)
    whole = np.concatenate(parts)
    assert policy.obs_mean.numpy() == pytest.approx(whole.mean(0), rel=1e-5)
    assert policy.obs_var.numpy() == pytest.approx(whole.var(0), rel=1e-4)
    assert int(policy.obs_count) == 48
    found = policy.encode(whole)
    assert found.mean(0).numpy() == pytest.approx(np.zeros(4), abs=1e-5)
    assert float(policy.encode(np.full((1, 4), 1e9, np.float32)).max()) == 10
    with pytest.raises(TrainingError, match="cannot be normalised"):
        Policy(PICTURE, spaces.Discrete(2), normalize=True)


@pytest.mark.parametrize("shape", [(10, 12, 3), (3, 10, 12), (10, 12)])
def test_pictures_reach_conv_layers_channels_first(shape: tuple[int, ...]) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    policy = Policy(space, spaces.Discrete(2), {"layers": [CONV, FLAT, dense()]}, drawn())
    seen = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    if shape == (10, 12, 3):
        planes = seen.transpose(0, 3, 1, 2)
    else:
        planes = seen if len(shape) == 3 else seen[:, None]
    body = policy.body
    assert isinstance(body, nn.Module)
    first = body.layers[0]  # type: ignore[index, union-attr]
    wanted = first(torch.from_numpy(planes.astype(np.float32) / 255))
    found: list[torch.Tensor] = []
    first.register_forward_hook(lambda module, given, made: found.append(made))
    policy.act_batch(seen)
    assert torch.equal(found[0], wanted)
    assert policy.encode(seen).shape == seen.shape


def test_parameters_are_counted_as_the_modules_have_them() -> None:
    spec = {"layers": [CONV, {"type": "conv", "filters": 5, "kernel_size": 2, "stride": 2, "padding": 1}]}
    spec["layers"] += [{"type": "layer_norm"}, FLAT, dense(7), {"type": "lstm", "units": 3}]
    spec["layers"] += [{"type": "gru", "units": 4}]
    policy = Policy(PICTURE, spaces.Discrete(2), spec, drawn())
    placed = place(parse(spec), PICTURE.shape)
    assert [one.outputs for one in placed] == [(4, 8, 10), (5, 5, 6), (5, 5, 6), (150,), (7,), (3,), (4,)]
    assert policy.body is not None
    for one, module in zip(placed, policy.body.layers):  # type: ignore[arg-type]
        assert one.parameters == sum(p.numel() for p in module.parameters()), one.layer.type


def test_dropout_is_for_learning_only_and_resumes_where_it_was(tmp_path: Path) -> None:
    spec = {"layers": [dense(64), {"type": "dropout", "rate": 0.5}]}
    policy = Policy(VECTOR, spaces.Discrete(2), spec, drawn())
    inputs = torch.ones(3, 4)
    assert torch.equal(policy.outputs(inputs), policy.outputs(inputs))
    policy.train()
    first = policy.outputs(inputs)
    assert np.array_equal(policy.act_batch(inputs.numpy()), policy.act_batch(inputs.numpy()))
    assert policy.training
    again = Policy.load(policy.save(tmp_path / "policy.safetensors"))
    second = policy.outputs(inputs)
    assert not torch.equal(first, second)
    assert torch.equal(again.train().outputs(inputs), second)


def test_a_module_of_ones_own_is_the_body(tmp_path: Path) -> None:
    own = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    policy = Policy(VECTOR, spaces.Discrete(3), own, drawn())
    assert policy.body is own
    path = policy.save(tmp_path / "policy.safetensors")
    with pytest.raises(TrainingError, match=r"a network of your own, Sequential, .*network=Seq"):
        Policy.load(path)
    with pytest.raises(TrainingError, match="weights do not fit Sequential"):
        Policy.load(path, network=nn.Sequential(nn.Linear(4, 5), nn.Tanh()))
    again = Policy.load(path, network=lambda space: nn.Sequential(nn.Linear(4, 6), nn.Tanh()))
    seen = np.eye(4, dtype=np.float32)
    assert torch.equal(again.outputs(again.encode(seen)), policy.outputs(policy.encode(seen)))
    assert Policy(PICTURE, spaces.Discrete(2), nn.Flatten()).encode(PICTURE.sample()[None]).ndim == 4


def test_a_file_of_the_first_version_can_be_read() -> None:
    policy = Policy.load(Path(__file__).parent / "data" / "policy-1.safetensors")
    assert policy.network == (4,)
    assert policy.action_space == spaces.Discrete(3, start=1)
    fresh = Policy(policy.observation_space, policy.action_space, (4,), drawn(0))
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), fresh.parameters()))


@pytest.mark.parametrize(
    ("layers", "error", "says"),
    [
        ([FLAT, CONV], TrainingError, r"layer 2 \(conv\) needs a picture.*layer 1 \(flatten\) .* of 360"),
        ([CONV | {"kernel_size": 13}], TrainingError, r"kernel_size=13 .*picture of 10x12; at most 10 fits"),
        ([CONV, dense()], TrainingError, r"layer 2 \(dense\) needs a vector and .*4x8x10.*\"flatten\""),
        ([CONV, {"type": "lstm", "units": 3}], TrainingError, r"layer 2 \(lstm\) needs a vector"),
        ([CONV], TrainingError, r"ends with a picture of 4x8x10 after layer 1 \(conv\); add"),
        ([dense(65_536), dense(65_536)], TrainingError, r"4,\d+,\d+,\d+ parameters, at most 200,000,000 .*"),
        ([{"type": "dens"}], UnknownName, "type of layer 1: 'dens'. Did you mean 'dense'"),
        ([dense(unit=3)], UnknownName, r"key of layer 1 \(dense\): 'unit'. Did you mean 'units'"),
        ([FLAT, {"type": "dense"}], TrainingError, r"layer 2 \(dense\): units is missing"),
        ([dense(0)], TrainingError, r"units=0 must be a whole number from 1 to 65536"),
        ([dense(activation="rel")], UnknownName, "'rel'. Did you mean 'relu'"),
        ([{"type": "dropout", "rate": 1}], TrainingError, r"rate=1 must be a number from 0 to 0\.99"),
        ([3], TrainingError, "layer 1 is 3; write it as"),
        ([], TrainingError, "at least one layer"),
    ],
)
def test_layers_that_cannot_be(layers: list[Any], error: type[AigymError], says: str) -> None:
    with pytest.raises(error, match=says):
        Policy(PICTURE, spaces.Discrete(2), {"layers": layers})


def test_networks_that_cannot_be() -> None:
    with pytest.raises(TrainingError, match=r"shape \(4,\); use dense layers"):
        Policy(VECTOR, spaces.Discrete(2), {"layers": [CONV]})
    with pytest.raises(UnknownName, match=r"'layer'\. Did you mean 'layers'"):
        PPOConfig(network={"layer": []})
    with pytest.raises(
        TrainingError, match=r"network=\(100000,\): units must be whole numbers from 1 to 65536"
    ):
        PPOConfig(network=(100_000,))
    with pytest.raises(TrainingError, match=r"network=\(\): units must be whole numbers"):
        DQNConfig(network=())
    with pytest.raises(TrainingError, match=r"network='big' is neither units per layer"):
        PPOConfig(network="big")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="lstm and gru layers cannot learn action values"):
        Policy(VECTOR, spaces.Discrete(2), MIXED, head="dueling")
    with pytest.raises(TrainingError, match=r"Identity makes \(2, 10, 12, 3\) of a batch of 2"):
        Policy(PICTURE, spaces.Discrete(2), nn.Identity())
    with pytest.raises(TrainingError, match=r"Linear cannot take .*\(2, 10, 12, 3\): RuntimeError"):
        Policy(PICTURE, spaces.Discrete(2), nn.Linear(5, 2))
    with pytest.raises(TrainingError, match="is no network"):
        Policy(VECTOR, spaces.Discrete(2), lambda space: 3)  # type: ignore[arg-type, return-value]

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()

    with pytest.raises(TrainingError, match=r"Own\(observation_space\) raised TypeError.* that is built"):
        Policy(VECTOR, spaces.Discrete(2), Own)


def test_networks_from_data_learn_with_both_algorithms() -> None:
    """Each optimiser reaches every weight, and what is trained is what the configuration says."""
    spec = {"layers": [dense(16), {"type": "dropout", "rate": 0.1}, dense(8, activation="tanh")]}
    small = {"total_timesteps": 256, "n_envs": 4, "device": "cpu", "network": spec}
    configs: Any = [
        (ppo, PPOConfig(n_steps=32, n_minibatches=2, **small)),
        (dqn, DQNConfig(learning_starts=64, **small)),
    ]
    for train, config in configs:
        updates = train("CartPole-v1", config)
        first = {name: p.clone() for name, p in next(updates).policy.named_parameters()}
        policy = list(updates)[-1].policy
        assert policy.network == spec
        assert all(not torch.equal(first[name], p) for name, p in policy.named_parameters())
        assert not policy.training


def test_actions_are_those_that_torch_draws() -> None:
    policy = Policy(spaces.Box(-1, 1, (3,)), spaces.Discrete(5), (8,), torch.Generator().manual_seed(0))
    inputs = torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    drawn = policy.sample(inputs, torch.Generator().manual_seed(2))
    chances = policy.outputs(inputs).softmax(-1)
    theirs = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(2))
    assert torch.equal(drawn, theirs[:, 0])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_what_remembers_stays_in_float32(kind: str) -> None:
    layers = {"layers": [{"type": kind, "units": 8}]}
    policy = Policy(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), layers, torch.Generator().manual_seed(0))
    inputs, starts = torch.rand(4, 5, 3), torch.zeros(4, 5, dtype=torch.bool)
    plain, _ = policy.body.sequence(inputs, policy.initial_state(5), starts)  # type: ignore[union-attr, operator]
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = policy.body.sequence(inputs, policy.initial_state(5), starts)  # type: ignore[union-attr, operator]
    assert torch.equal(plain, mixed)


def test_a_module_that_is_on_a_device_is_tried_there() -> None:
    assert features_of(nn.Linear(3, 5, device="meta"), (3,)) == 5
