"""The modules that turn an encoded batch of observations into features, from layers as data.

    body = Body(parse(spec), observation_space.shape, generator)
    features = body(inputs)                                        (B, ...) to (B, body.features)
    features, state = body.sequence(inputs, state, starts)         (T, N, ...) to (T, N, body.features)

Weights of dense and conv layers are orthogonal, scaled sqrt(2), those of lstm and gru orthogonal per gate,
biases 0, all drawn from ``generator`` alone. Actor, critic and values on top of it are in `train.networks`.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import torch
from torch import nn

from aigym_kernel.errors import TrainingError
from aigym_kernel.train.layers import RECURRENT, Layer, Placed, parse, picture, place, wants_picture

SQRT2 = math.sqrt(2)
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "linear": nn.Identity,
}


class Body(nn.Module):
    """Layers one after the other.

    ``features``: numbers that come out; ``state_size``: numbers that it remembers from one step to the next,
    0 unless a layer is lstm or gru; ``placed``: the layers with their shapes.

    Raises:
        TrainingError: a shape does not fit, see `layers.place`.
    """

    def __init__(
        self, layers: Sequence[Layer], shape: Sequence[int], generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.placed = place(layers, shape)
        self.features = self.placed[-1].outputs[0]
        self._order = picture(shape)[1] if wants_picture(layers) else ""
        self.layers = nn.ModuleList(_module(one, generator) for one in self.placed)
        self._memories = [m for m in self.layers if isinstance(m, Memory)]
        self.state_size = sum(memory.state_size for memory in self._memories)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features (B, features) of a batch; what is recurrent begins an episode with each."""
        if self.state_size:
            state = inputs.new_zeros(len(inputs), self.state_size)
            return self.sequence(inputs[None], state)[0][0]
        flows = self._picture(inputs)
        for layer in self.layers:
            flows = layer(flows)
        return flows

    def sequence(
        self, inputs: torch.Tensor, state: torch.Tensor, starts: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (T, N, features) of T steps of N episodes side by side, and the state after them.

        Args:
            inputs: (T, N, ...).
            state: (N, state_size), before the first step.
            starts: (T, N), true where a step begins an episode: its state is zeroed before it.
        """
        steps, rows = inputs.shape[:2]
        flows = self._picture(inputs.flatten(0, 1))
        states = state.split([memory.state_size for memory in self._memories], -1)  # type: ignore[no-untyped-call]
        after: list[torch.Tensor] = []
        for layer in self.layers:
            if isinstance(layer, Memory):
                flows, left = layer(flows.reshape(steps, rows, -1), states[len(after)], starts)
                flows = flows.flatten(0, 1)
                after.append(left)
            else:
                flows = layer(flows)
        return flows.reshape(steps, rows, -1), torch.cat(after, -1)

    def _picture(self, inputs: torch.Tensor) -> torch.Tensor:
        """Channels first, where the layers need it."""
        if self._order == "hwc":
            return inputs.permute(0, 3, 1, 2)
        return inputs.unsqueeze(1) if self._order == "hw" else inputs


class Memory(nn.Module):
    """An LSTM or GRU layer whose state is one row of numbers per episode: (N, state_size)."""

    def __init__(self, kind: str, inputs: int, units: int, generator: torch.Generator | None) -> None:
        super().__init__()
        make = nn.LSTM if kind == "lstm" else nn.GRU
        # Made without memory first: its own initialisation would draw from torch's global generator.
        self.cell = make(inputs, units, device="meta").to_empty(device="cpu")
        for name, weight in self.cell.named_parameters():
            if "bias" in name:
                nn.init.zeros_(weight)
                continue
            for gate in weight.data.split(units):  # type: ignore[no-untyped-call]
                _orthogonal(gate, 1.0, generator)
        self.state_size = 2 * units if kind == "lstm" else units

    def forward(
        self, inputs: torch.Tensor, state: torch.Tensor, starts: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(T, N, inputs) and (N, state_size) to (T, N, units) and the state after the last step."""
        begins = [] if starts is None else torch.nonzero(starts.any(1)).flatten().tolist()
        outputs = []
        # Between two steps at which some episode begins, the cell's own loop over the steps is used.
        for first, last in itertools.pairwise(sorted({0, len(inputs), *begins})):
            if first in begins:
                assert starts is not None
                state = state * ~starts[first].unsqueeze(-1)
            out, state = self._run(inputs[first:last], state)
            outputs.append(out)
        return torch.cat(outputs), state

    def _run(self, inputs: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if torch.is_autocast_enabled(inputs.device.type):
            # In float32: on CUDA these cells know float16 alone, whatever lower precision is asked for, and
            # small gradients would vanish in it.
            with torch.autocast(inputs.device.type, enabled=False):
                return self._run(inputs.float(), state.float())
        if isinstance(self.cell, nn.GRU):
            out, hidden = self.cell(inputs, state.unsqueeze(0).contiguous())
            return out, hidden[0]
        parts = [part.unsqueeze(0).contiguous() for part in state.chunk(2, -1)]
        out, (hidden, cell) = self.cell(inputs, tuple(parts))
        return out, torch.cat([hidden[0], cell[0]], -1)


class Dropout(nn.Module):
    """Zeroes a share of its inputs in training mode (Srivastava et al. 2014), each draw from a generator of
    its own: its seed and how often it drew are its state, so that a resumed training draws the same."""

    def __init__(self, rate: float, generator: torch.Generator | None) -> None:
        super().__init__()
        self.rate = rate
        self._seed, self._draws = int(torch.randint(2**31, (), generator=generator)), 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.rate:
            return inputs
        self._draws += 1
        generator = torch.Generator(inputs.device).manual_seed(self._seed + self._draws)
        kept = torch.rand(inputs.shape, generator=generator, device=inputs.device) >= self.rate
        return inputs * kept / (1 - self.rate)

    def get_extra_state(self) -> torch.Tensor:
        """What `state_dict` keeps of it."""
        return torch.tensor([self._seed, self._draws])

    def set_extra_state(self, state: torch.Tensor) -> None:
        """The reverse."""
        self._seed, self._draws = state.tolist()


class Values(nn.Module):
    """A body and the action values that follow from its features: (B, inputs) to (B, choices)."""

    def __init__(
        self,
        body: nn.Module,
        features: int,
        choices: int,
        generator: torch.Generator | None,
        *,
        dueling: bool,
    ) -> None:
        super().__init__()
        self.body = body
        self.advantage = mlp(features, (), choices, 1.0, generator)
        self.value = mlp(features, (), 1, 1.0, generator) if dueling else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.body(inputs)
        advantage: torch.Tensor = self.advantage(features)
        if self.value is None:
            return advantage
        value: torch.Tensor = self.value(features)
        return value + advantage - advantage.mean(-1, keepdim=True)


def kept(network: Any) -> Any:
    """What a Policy keeps of the network it is given: units as a tuple, layers as a copy of its own."""
    if isinstance(network, nn.Module) or callable(network):
        return network
    if isinstance(network, Mapping):
        return copy.deepcopy(dict(network))
    return tuple(layer.settings["units"] for layer in parse(network))


def module_of(network: Any, space: gymnasium.Space[Any]) -> Any:
    """A module of the user's, or what a function (or class) of theirs builds for an observation space."""
    if isinstance(network, nn.Module):
        return network
    try:
        return network(space)
    except Exception as problem:
        name = getattr(network, "__name__", type(network).__name__)
        raise TrainingError(
            f"network: {name}(observation_space) raised {type(problem).__name__}: {problem}; give a module "
            "that is built, or a function from an observation space to one"
        ) from problem


def features_of(module: object, shape: tuple[int, ...]) -> int:
    """How many features a module of the user's gives for observations of ``shape``, found by trying."""
    if not isinstance(module, nn.Module):
        raise TrainingError(
            f"network: {module!r} is no network; give units such as (64, 64), layers as data, an nn.Module, "
            "or a function from an observation space to an nn.Module"
        )
    name, was = type(module).__name__, module.training
    where = next(module.parameters(), torch.zeros(())).device
    try:
        with torch.no_grad():
            found = module.eval()(torch.zeros(2, *shape, device=where))
    except Exception as problem:
        raise TrainingError(
            f"network: {name} cannot take a batch of observations of shape (2, {', '.join(map(str, shape))})"
            f": {type(problem).__name__}: {problem}"
        ) from problem
    finally:
        module.train(was)
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != 2 or not found.shape[1]:
        shown = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise TrainingError(
            f"network: {name} makes {shown} of a batch of 2 observations; it must give features of shape "
            "(2, n), such as an nn.Flatten at its end would"
        )
    return int(found.shape[1])


def _orthogonal(weight: torch.Tensor, gain: float, generator: torch.Generator | None) -> None:
    """Fill a weight in place, on one thread: with several, the last bits depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        nn.init.orthogonal_(weight, gain, generator=generator)
    finally:
        torch.set_num_threads(threads)


def linear(inputs: int, outputs: int, gain: float, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with orthogonal weights, scaled ``gain``, and no bias at first."""
    # Its own initialisation draws from torch's global generator, which is put back; to build it without one
    # (skip_init) would import a third of a second of torch's compiler.
    with torch.random.fork_rng(devices=[]):
        made = nn.Linear(inputs, outputs)
    _orthogonal(made.weight, gain, generator)
    nn.init.zeros_(made.bias)
    return made


def mlp(
    inputs: int,
    units: Sequence[int],
    outputs: int,
    gain: float,
    generator: torch.Generator | None,
    activation: type[nn.Module] = nn.Tanh,
) -> nn.Sequential:
    """Dense layers of ``units``, each with an ``activation``, and a linear one, scaled ``gain``."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise([inputs, *units]):
        layers += [linear(fan_in, fan_out, SQRT2, generator), activation()]
    return nn.Sequential(*layers, linear([inputs, *units][-1], outputs, gain, generator))


def _module(placed: Placed, generator: torch.Generator | None) -> nn.Module:
    kind, keys = placed.layer.type, placed.layer.settings
    if kind in RECURRENT:
        return Memory(kind, placed.inputs[0], keys["units"], generator)
    if kind == "flatten":
        return nn.Flatten()
    if kind == "layer_norm":
        return nn.LayerNorm(list(placed.inputs))
    if kind == "dropout":
        return Dropout(keys["rate"], generator)
    activation = _ACTIVATIONS[keys["activation"]]()
    if kind == "dense":
        return nn.Sequential(linear(placed.inputs[0], keys["units"], SQRT2, generator), activation)
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, placed.inputs[0], keys["filters"], keys["kernel_size"], keys["stride"], keys["padding"]
    )
    _orthogonal(conv.weight, SQRT2, generator)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, activation)
