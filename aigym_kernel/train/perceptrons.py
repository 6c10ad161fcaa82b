"""Perceptrons without torch's overhead: forward, backward and Adam's step in arrays that are made once.

    forward = Forward(linears(policy.actor), rows=64, activation=np.tanh)
    logits = forward(inputs)                                      (64, inputs) to (64, outputs)
    flat = Flat(policy.parameters(), optimizer)                   weights and gradients in one array each
    backward = Backward(linears(policy.actor), flat, back)        writes the gradients of a layer
    flat.descend(max_norm=0.5)

The matrix products are torch's, the rest is NumPy on the same memory. What is written is overwritten by the
next call: copy what has to stay. `train.fast` makes acting and learning of it; nothing else uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.float32]
Layers = list[nn.Linear]
# What torch.compile calls for a linear layer on a CPU. torch's own product is MKL's, which leaves half of an
# AMD processor's vector unit idle: this takes two thirds of the time, but each call costs 10 us more.
_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_MANY = 2_000_000
"""Multiplications from which on that pays."""
_FEW = 32
"""A product with fewer columns is up to five times as fast the other way round."""


def linears(module: Any) -> Layers:
    """The linear layers of a perceptron that `bodies.mlp` built."""
    return [part for part in module if isinstance(part, nn.Linear)]


class Forward:
    """The layers of one perceptron over ``rows`` rows. ``outputs``: what each of them gave last, after its
    activation where it has one."""

    def __init__(
        self,
        layers: Layers,
        rows: int,
        activation: Callable[..., Any],
        outputs: Sequence[torch.Tensor] | None = None,
    ) -> None:
        self.weights = [layer.weight.detach() for layer in layers]
        self._biases = [layer.bias.detach() for layer in layers]
        self._turned = [weight.t() for weight in self.weights]
        self.outputs = list(outputs or (torch.empty(rows, layer.out_features) for layer in layers))
        self._hidden = [output.numpy() for output in self.outputs[: len(layers) - 1]]
        self._activation = activation

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        for i, output in enumerate(self.outputs):
            self.layer(i, inputs)
            if i < len(self._hidden):
                self._activation(self._hidden[i], out=self._hidden[i])
            inputs = output
        return inputs

    def layer(self, i: int, inputs: torch.Tensor) -> None:
        """One of them without its activation."""
        torch.addmm(self._biases[i], inputs, self._turned[i], out=self.outputs[i])


def product(
    left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None, *, relu: bool = False
) -> torch.Tensor:
    """``left @ right``, with a ``bias`` per column added, and with ``relu`` what is below 0 cut to it."""
    if _onednn is not None and len(left) * right.numel() >= _MANY:
        made: torch.Tensor = _onednn(left, right.t(), bias, "relu" if relu else "none", [], "")
        return made
    out = torch.mm(left, right) if bias is None else torch.addmm(bias, left, right)
    return out.relu_() if relu else out


class Flat:
    """All weights of an optimiser in one array, their gradients in another, Adam's moments in two more; the
    parameters and the optimiser's state are views of them."""

    def __init__(self, parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        (group,) = optimizer.param_groups
        self._group, self._optimizer, self._parameters = group, optimizer, list(parameters)
        for parameter in self._parameters:
            state = optimizer.state[parameter]
            if not state:  # as Adam itself begins
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        # Each begins where a cache line does: a product's last bits depend on it, and a loaded copy is to act
        # as the original does.
        self._places = [0]
        for parameter in self._parameters:
            self._places.append(self._places[-1] + -(-parameter.numel() // 16) * 16)
        self._weights = self._join([p.detach() for p in self._parameters], self._point)
        states = [optimizer.state[p] for p in self._parameters]
        self._first, self._second = (
            self._join([state[name] for state in states], partial(self._put, name))
            for name in ("exp_avg", "exp_avg_sq")
        )
        self._steps = self._counted([state["step"] for state in states])
        self._gradient = torch.zeros_like(self._weights)
        self.gradients = {id(p): self._part(self._gradient, i) for i, p in enumerate(self._parameters)}

    def _point(self, i: int, view: torch.Tensor) -> None:
        self._parameters[i].data = view

    def _put(self, name: str, i: int, view: torch.Tensor) -> None:
        self._optimizer.state[self._parameters[i]][name] = view

    def _counted(self, steps: Sequence[torch.Tensor]) -> torch.Tensor:
        """The optimiser's counts of steps in one array, for one addition instead of one each."""
        first = steps[0]
        together = first.untyped_storage().nbytes() == 4 * len(steps) and first.storage_offset() == 0
        if together and all(s.data_ptr() == first.data_ptr() + 4 * i for i, s in enumerate(steps)):
            return first.as_strided((len(steps),), (1,))
        counts = torch.stack(list(steps)).float()
        for i, parameter in enumerate(self._parameters):
            self._optimizer.state[parameter]["step"] = counts[i]
        return counts

    def _part(self, flat: torch.Tensor, i: int) -> torch.Tensor:
        parameter = self._parameters[i]
        return flat[self._places[i] : self._places[i] + parameter.numel()].view(parameter.shape)

    def _join(self, tensors: Sequence[torch.Tensor], put: Callable[[int, torch.Tensor], Any]) -> torch.Tensor:
        """One array of all; it is found again where they are its views already."""
        first, total = tensors[0], self._places[-1]
        start, places = first.data_ptr(), self._places
        together = first.untyped_storage().nbytes() == 4 * total and first.storage_offset() == 0
        for place, tensor in zip(places, tensors):
            together = together and tensor.data_ptr() == start + 4 * place and tensor.is_contiguous()
        if together:
            return first.as_strided((total,), (1,))
        flat = torch.zeros(total)
        for i, tensor in enumerate(tensors):
            part = self._part(flat, i)
            part.copy_(tensor)
            put(i, part)
        return flat

    def holds(self) -> bool:
        """Whether the parameters and the optimiser's state are still views of these arrays."""
        starts = [flat.data_ptr() for flat in (self._weights, self._first, self._second)]
        for place, parameter in zip(self._places, self._parameters):
            state = self._optimizer.state[parameter]
            now = parameter.data_ptr(), state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr()
            if any(at != start + 4 * place for at, start in zip(now, starts)):
                return False
        step: torch.Tensor = self._optimizer.state[self._parameters[0]]["step"]
        return step.data_ptr() == self._steps.data_ptr()

    def descend(self, max_norm: float) -> None:
        """Cut the gradient at ``max_norm`` and make Adam's step."""
        share = max_norm / (float(torch.linalg.vector_norm(self._gradient)) + 1e-6)
        if not share >= 1:  # NaN too: it must not go unseen
            self._gradient.mul_(share)
        group = self._group
        self._steps.add_(1)
        torch._fused_adam_(  # what torch.optim.Adam(fused=True) calls
            [self._weights],
            [self._gradient],
            [self._first],
            [self._second],
            [],
            [self._steps[0]],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class Backward:
    """The gradient of one perceptron, layer by layer, written to where `Flat` keeps it."""

    def __init__(self, layers: Layers, flat: Flat, back: Sequence[torch.Tensor]) -> None:
        self._weights = [layer.weight.detach() for layer in layers]
        self._of_weights = [flat.gradients[id(layer.weight)] for layer in layers]
        self._of_biases = [flat.gradients[id(layer.bias)] for layer in layers]
        first = layers[0]
        few = first.in_features < min(first.out_features, _FEW)
        self._turned = torch.empty(first.in_features, first.out_features) if few else None
        self.back = list(back)

    def __call__(self, i: int, slope: torch.Tensor, inputs: torch.Tensor) -> None:
        """Of layer ``i``, from the ``slope`` along its outputs; ``back[i - 1]`` becomes that along its
        inputs."""
        torch.sum(slope, 0, out=self._of_biases[i])
        if i or self._turned is None:
            torch.mm(slope.t(), inputs, out=self._of_weights[i])
        else:
            self._of_weights[0].copy_(torch.mm(inputs.t(), slope, out=self._turned).t())
        if i:
            torch.mm(slope, self._weights[i], out=self.back[i - 1])


class Head:
    """A linear layer whose outputs lie with one row each: ``given`` (outputs, rows), and ``slopes`` of the
    same shape, to be written before `backward`."""

    def __init__(self, layer: nn.Linear, flat: Flat, rows: int) -> None:
        self.weight, self._bias = layer.weight.detach(), layer.bias.detach()[:, None]
        self._of_weight, self._of_bias = (flat.gradients[id(p)] for p in (layer.weight, layer.bias))
        self.given, self._slopes = torch.empty(2, layer.out_features, rows)
        self.slopes = self._slopes.numpy()

    def forward(self, features: torch.Tensor) -> NDArray[Any]:
        """Fill ``given`` from (rows, units)."""
        torch.addmm(self._bias, self.weight, features.t(), out=self.given)
        given: Floats = self.given.numpy()
        return given

    def backward(self, features: torch.Tensor) -> torch.Tensor:
        """From ``slopes`` the gradient; the slopes, with a row for each of ``features``, are returned."""
        torch.mm(self._slopes, features, out=self._of_weight)
        torch.sum(self._slopes, 1, out=self._of_bias)
        return torch.t(self._slopes)


class Values:
    """Action values of a network with ReLU: hidden layers, advantages and, duelling, the state's value."""

    def __init__(self, module: Any) -> None:
        """``module``: a `bodies.Values` on top of a perceptron."""
        self.layers = linears(module.body)
        self.heads = [linears(head)[0] for head in (module.advantage, module.value) if head is not None]
        self._hidden, self._last = (
            [(layer.weight.detach().t(), layer.bias.detach()) for layer in layers]
            for layers in (self.layers, self.heads)
        )

    def features(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """What each hidden layer gives, in their order."""
        given = [inputs]
        for weight, bias in self._hidden:
            given.append(product(given[-1], weight, bias, relu=True))
        return given[1:]

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """The values (B, choices) of encoded observations."""
        features = self.features(inputs)[-1]
        outputs: list[torch.Tensor] = [torch.addmm(bias, features, weight) for weight, bias in self._last]
        advantages = outputs[0]
        return advantages if len(outputs) < 2 else outputs[1] + advantages - advantages.mean(1, True)


class Descent:
    """The gradient of a network of `Values`, written to where `Flat` keeps it."""

    def __init__(self, values: Values, flat: Flat, rows: int) -> None:
        self._values = values
        self._heads = [Head(head, flat, rows) for head in values.heads]
        self._weights = [layer.weight.detach() for layer in values.layers]
        self._gradients = [(flat.gradients[id(p.weight)], flat.gradients[id(p.bias)]) for p in values.layers]

    def chosen(self, inputs: torch.Tensor, taken: Floats) -> Floats:
        """The value (B,) of each row's choice; ``taken`` (choices, B) is 1 there and 0 elsewhere."""
        self._inputs, self._taken = inputs, taken
        self._units = self._values.features(inputs)
        advantages, *value = (head.forward(self._units[-1]) for head in self._heads)
        found: Floats = np.einsum("ij,ij->j", advantages, taken)
        return value[0][0] + found - advantages.mean(0) if value else found

    def __call__(self, along: Floats) -> None:
        """From the slope ``along`` what `chosen` gave last."""
        np.multiply(self._taken, along, out=self._heads[0].slopes)
        if len(self._heads) > 1:
            self._heads[0].slopes -= along / np.float32(len(self._taken))
            self._heads[1].slopes[0] = along
        first, *others = [head.backward(self._units[-1]) for head in self._heads]
        back = torch.mm(first, self._heads[0].weight)
        for slopes in others:
            back.addmm_(slopes, self._heads[1].weight)
        for i in range(len(self._weights) - 1, -1, -1):
            torch.ops.aten.threshold_backward.grad_input(back, self._units[i], 0, grad_input=back)
            before, (of_weight, of_bias) = self._units[i - 1] if i else self._inputs, self._gradients[i]
            torch.sum(back, 0, out=of_bias)
            # With few inputs it is up to five times as fast the other way round.
            turned = before.shape[1] < _FEW
            of_weight.copy_(product(before.t(), back).t() if turned else product(back.t(), before))
            if i:
                back = product(back, self._weights[i])
