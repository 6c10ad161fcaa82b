"""Small perceptrons on the CPU without torch's overhead: acting, and the gradient steps of PPO and DQN.

    act = actor(policy, n) or ...                              observations (n, ...) to n actions
    step = ppo_step(policy, optimizer, config, data) or ...    what `ppo` does with a minibatch
    step = dqn_step(policy, target, optimizer, config) or ...  what `dqn` does with a batch

With two layers of 64 units almost all of a torch step is the price of its calls. Here the gradient is written
out by hand, every array is made once and written again and again, and all weights lie in one array, as do
their gradients and Adam's moments: clipping and Adam are one call each. The matrix products are torch's, the
rest is NumPy on the same memory.

Torch stays the definition: these functions draw the same random numbers and give the same result up to
rounding (`tests/test_fast.py`), the weights stay the policy's own tensors and the moments the optimiser's.
Each returns None where it does not fit, and the caller goes through torch: on other devices, for more than
`SMALL_NETWORK` weights, for layers as data and modules, for actions that are neither Discrete nor Box.
``with off():`` makes that the only way. Nothing here is public.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from aigym_kernel.train.networks import SMALL_NETWORK, Policy
from aigym_kernel.train.perceptrons import Backward, Flat, Forward, Values, linears

if TYPE_CHECKING:
    from aigym_kernel.train.dqn import DQNConfig
    from aigym_kernel.train.ppo import PPOConfig
    from aigym_kernel.train.replay import Batch

Act = Callable[[NDArray[Any], torch.Generator], torch.Tensor]

_HALF_LOG_2PI = 0.9189385332046727
_off = 0

# To keep this method from being compiled, torch imports its compiler when the first optimiser is built: most
# of a second of every fresh process. Nothing here is compiled.
_method: Any = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
if _method is not None and not hasattr(_method, "__dynamo_disable"):
    setattr(_method, "__dynamo_disable", _method)


@contextmanager
def off() -> Iterator[None]:
    """Inside the ``with`` everything goes through torch."""
    global _off
    _off += 1
    try:
        yield
    finally:
        _off -= 1


def actor(policy: Policy, n: int) -> Act | None:
    """A function that does what `Policy.sample` does, for ``n`` raw observations; it holds for the weights'
    present memory, so make one for each roll-out."""
    if not _small(policy, learns=False):
        return None
    observe = _inputs(policy, n)
    if policy.head != "actor-critic":
        return _greedy(policy, Values(policy.actor, n), observe, n)
    if not isinstance(policy.action_space, (spaces.Discrete, spaces.Box)):
        return None
    layers = linears(policy.actor)
    forward = Forward(layers, n, np.tanh)
    output, drawn = forward.outputs[-1], torch.empty(n, layers[-1].out_features)
    logits, noise = output.numpy(), drawn.numpy()
    if isinstance(policy.action_space, spaces.Discrete):

        def choose(observations: NDArray[Any], generator: torch.Generator) -> torch.Tensor:
            forward(observe(observations))
            # What torch.multinomial does: the first of independent exponential clocks of rate p.
            drawn.exponential_(1, generator=generator)
            np.subtract(logits, logits.max(1, keepdims=True), out=logits)
            np.divide(np.exp(logits, out=logits), noise, out=noise)
            return drawn.argmax(1)

        return choose
    assert policy.log_std is not None
    spread = policy.log_std.detach().exp()

    def around(observations: NDArray[Any], generator: torch.Generator) -> torch.Tensor:
        forward(observe(observations))
        return output + drawn.normal_(generator=generator) * spread

    return around


def _greedy(policy: Policy, values: Values, observe: Callable[[NDArray[Any]], torch.Tensor], n: int) -> Act:
    choices = values.choices

    def act(observations: NDArray[Any], generator: torch.Generator) -> torch.Tensor:
        evenly = torch.rand(n, generator=generator) < policy.epsilon
        even = torch.randint(choices, (n,), generator=generator)
        return torch.where(evenly, even, values(observe(observations)).argmax(1))

    return act


def ppo_step(
    policy: Policy, optimizer: torch.optim.Optimizer, config: PPOConfig, **data: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """A function that takes the rows of one minibatch, makes the gradient step and returns what `ppo` records
    of it. ``data``: ``inputs, actions, log_prob, value, advantage, target`` of all rows."""
    usual = isinstance(policy.action_space, (spaces.Discrete, spaces.Box)) and policy.head == "actor-critic"
    return _PPO(policy, optimizer, config, **data) if usual and _small(policy, learns=True) else None


def dqn_step(
    policy: Policy,
    target: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: DQNConfig,
    last: DQNStep | None = None,
) -> DQNStep | None:
    """An object whose call makes the gradient step for a Batch and returns its TD errors and what `dqn`
    records of it: the ``last`` one, while nothing was put in the place of weights and moments."""
    if last is not None and last.holds() and not _off:
        return last
    return DQNStep(policy, target, optimizer, config) if _small(policy, learns=True) else None


def _small(policy: Policy, *, learns: bool) -> bool:
    """Whether it is made of perceptrons on the CPU, so small that calls cost more than arithmetic."""
    if _off or not isinstance(policy.network, tuple):
        return False
    head: Any = policy.actor
    bodies = [head] if policy.head == "actor-critic" else [head.body, head.advantage, head.value or ()]
    weights = [layer.weight for body in (*bodies, getattr(policy, "critic", ())) for layer in linears(body)]
    if learns and not all(parameter.requires_grad for parameter in policy.parameters()):
        return False
    first = weights[0]
    plain = first.device.type == "cpu" and first.dtype == torch.float32
    return plain and sum(weight.numel() for weight in weights) <= SMALL_NETWORK


def _inputs(policy: Policy, rows: int) -> Callable[[NDArray[Any]], torch.Tensor]:
    """`Policy.encode` of so many ``rows``, without its calls where it only flattens. The result is written
    over by the next call; it begins where a cache line does, so that no last bit depends on the memory."""
    space = policy.observation_space
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or policy.normalize:
        return policy.encode
    inputs = torch.empty(rows, int(np.prod(space.shape)))
    array = inputs.numpy()

    def observe(batch: NDArray[Any]) -> torch.Tensor:
        np.copyto(array, batch.reshape(array.shape), casting="unsafe")
        return inputs

    return observe


class _PPO:
    """The gradient step of `ppo` for an actor and a critic of the same hidden layers, which are computed in
    arrays that hold both: (2, rows, units)."""

    def __init__(
        self,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        config: PPOConfig,
        *,
        inputs: torch.Tensor,
        actions: torch.Tensor,
        **columns: torch.Tensor,
    ) -> None:
        self._config, self._all_inputs, self._actions = config, inputs, actions
        self._flat = Flat(list(policy.parameters()), optimizer)
        self._log_std = None if policy.log_std is None else policy.log_std.detach().numpy()
        if policy.log_std is not None:
            self._log_std_gradient = self._flat.gradients[id(policy.log_std)].numpy()
        sides = linears(policy.actor), linears(policy.critic)
        rows = self._rows = len(inputs) // config.n_minibatches
        hidden = [layer.out_features for layer in sides[0][:-1]]
        self._both = [torch.empty(2, rows, units) for units in hidden]
        self._both_back = [torch.empty(2, rows, units) for units in hidden]
        self._slopes = [np.empty((2, rows, units), np.float32) for units in hidden]
        self._inputs = torch.empty(rows, inputs.shape[1])
        self._forwards, self._gradients = [], []
        for i, layers in enumerate(sides):
            output = torch.empty(rows, layers[-1].out_features)
            # The hyperbolic tangent is taken below, of both at once.
            self._forwards.append(Forward(layers, rows, np.tanh, [*(b[i] for b in self._both), output]))
            self._gradients.append(Backward(layers, self._flat, [b[i] for b in self._both_back]))
        # What the head needs of each row, side by side: one gather brings all of it.
        self._table = torch.stack([columns[name] for name in ("log_prob", "advantage", "target", "value")], 1)
        self._wanted = torch.empty(rows, 4)
        self._noted = torch.empty(5, rows)
        self._records = self._noted.numpy()
        self._numbers = np.arange(rows)
        self._units = [both.numpy() for both in self._both]
        self._back = [both.numpy() for both in self._both_back]

    def __call__(self, index: torch.Tensor) -> torch.Tensor:
        torch.index_select(self._all_inputs, 0, index, out=self._inputs)
        torch.index_select(self._table, 0, index, out=self._wanted)
        for i, units in enumerate(self._units):
            for side, forward in enumerate(self._forwards):
                forward.layer(i, self._inputs if i == 0 else self._both[i - 1][side])
            np.tanh(units, out=units)
        last = len(self._both)
        for side, forward in enumerate(self._forwards):
            forward.layer(last, self._both[-1][side])
        slopes = (self._of_actor(self._actions[index]), self._of_critic())
        for i in range(last, -1, -1):
            for side, backward in enumerate(self._gradients):
                before = self._inputs if i == 0 else self._both[i - 1][side]
                slope = slopes[side] if i == last else self._both_back[i][side]
                backward(i, slope, before)
            if i:  # through the hyperbolic tangent: 1 - tanh**2
                units, back, slope_of = self._units[i - 1], self._back[i - 1], self._slopes[i - 1]
                np.subtract(1.0, np.multiply(units, units, out=slope_of), out=slope_of)
                np.multiply(back, slope_of, out=back)
        self._flat.descend(self._config.max_grad_norm)
        return self._noted.mean(1)

    def _of_actor(self, actions: torch.Tensor) -> torch.Tensor:
        """The slope of the loss along the actor's outputs; notes what is recorded."""
        config, rows, outputs = self._config, self._rows, self._forwards[0].outputs[-1]
        old, gain = self._wanted[:, 0].numpy(), self._wanted[:, 1]
        if rows > 1:
            spread, mean = torch.std_mean(gain)
            gain = (gain - mean) / (spread + 1e-8)
        if self._log_std is None:
            logs = torch.log_softmax(outputs, 1)
            log_prob = logs.gather(1, actions[:, None])[:, 0].numpy()
            chances = logs.numpy()
            probs = np.exp(chances)
            entropy = -np.einsum("ij,ij->i", probs, chances)
        else:
            away = (actions - outputs).numpy() * np.exp(-self._log_std)
            log_prob = (-0.5 * away * away - self._log_std - _HALF_LOG_2PI).sum(1)
            entropy = np.full(rows, (self._log_std + _HALF_LOG_2PI + 0.5).sum(), np.float32)
        log_ratio = log_prob - old
        ratio = np.exp(log_ratio)
        gained = gain.numpy() * ratio
        clipped = gain.numpy() * np.clip(ratio, 1 - config.clip_range, 1 + config.clip_range)
        self._records[0] = -np.minimum(gained, clipped)
        self._records[2] = entropy
        self._records[3] = ratio - 1 - log_ratio
        self._records[4] = np.abs(ratio - 1) > config.clip_range
        along = gained * (gained <= clipped) * np.float32(-1 / rows)  # the slope along log_prob
        if self._log_std is None:
            slope = -along[:, None] * probs
            slope[self._numbers, actions.numpy()] += along
            if config.ent_coef:
                slope += np.float32(config.ent_coef / rows) * probs * (chances + entropy[:, None])
            return torch.from_numpy(slope)
        np.sum(along[:, None] * (away * away - 1), 0, out=self._log_std_gradient)
        self._log_std_gradient -= np.float32(config.ent_coef)
        return torch.from_numpy(along[:, None] * away * np.exp(-self._log_std))

    def _of_critic(self) -> torch.Tensor:
        """The slope of the loss along the critic's output; notes what is recorded."""
        values, target = self._forwards[1].outputs[-1].numpy()[:, 0], self._wanted[:, 2].numpy()
        off = values - target
        squared = off * off
        if (most := self._config.clip_range_vf) is not None:
            old = self._wanted[:, 3].numpy()
            moved = values - old
            held = old + np.clip(moved, -most, most) - target
            beyond = (np.abs(moved) > most) & (held * held > squared)  # there the loss does not move
            off, squared = np.where(beyond, 0.0, off), np.where(beyond, held * held, squared)
        self._records[1] = 0.5 * squared
        return torch.from_numpy(off[:, None] * np.float32(self._config.vf_coef / self._rows))


class DQNStep:
    """The gradient step of `dqn`."""

    def __init__(
        self, policy: Policy, target: Any, optimizer: torch.optim.Optimizer, config: DQNConfig
    ) -> None:
        rows, self._config = config.batch_size, config
        self._before, self._after = _inputs(policy, rows), _inputs(policy, rows)
        actor: Any = policy.actor
        self._flat = Flat(list(actor.parameters()), optimizer)
        self._online, self._following, self._aim = (Values(m, rows) for m in (actor, actor, target))
        layers, heads = self._online.layers, self._online.heads
        self._back = [torch.empty(rows, layer.out_features) for layer in layers]
        self._hidden = Backward(layers, self._flat, self._back[:-1])
        self._heads = [Backward([head], self._flat, []) for head in heads]
        self._weights = [head.weight.detach() for head in heads]

    def holds(self) -> bool:
        """Whether the arrays are still those of policy and optimiser."""
        return self._flat.holds()

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The TD errors (B,), and loss and mean value as `dqn` records them."""
        after = self._after(batch.next_observations)
        values = self._aim(after).numpy()
        best = (self._following(after).numpy() if self._config.double else values).argmax(1)
        rows = np.arange(len(best))
        goals = batch.rewards + batch.discounts * values[rows, best]
        inputs = self._before(batch.observations)
        chosen = self._online(inputs).numpy()[rows, batch.actions]
        errors = goals - chosen
        weighed = batch.weights * errors
        along = weighed * np.float32(-1 / len(rows))  # the slope of the loss along the chosen values
        slope = np.zeros((len(rows), self._online.choices), np.float32)
        slope[rows, batch.actions] = along
        features = self._online.body.outputs[-1]
        slopes = [torch.from_numpy(slope)]
        if len(self._heads) > 1:
            slope -= along[:, None] / np.float32(slope.shape[1])
            slopes.append(torch.from_numpy(along[:, None]))
        back = self._back[-1]
        for i, (backward, head) in enumerate(zip(self._heads, slopes)):
            backward(0, head, features)
            if i:
                back.addmm_(head, self._weights[i])
            else:
                torch.mm(head, self._weights[i], out=back)
        for i in range(len(self._online.layers) - 1, -1, -1):
            units = self._online.body.outputs
            np.multiply(self._back[i].numpy(), units[i].numpy() > 0, out=self._back[i].numpy())
            self._hidden(i, self._back[i], units[i - 1] if i else inputs)
        self._flat.descend(self._config.max_grad_norm)
        record = np.array([0.5 * np.mean(weighed * errors), chosen.mean()], np.float32)
        return torch.from_numpy(errors), torch.from_numpy(record)
