"""Small perceptrons on the CPU without torch's overhead: acting, and the gradient steps of PPO and DQN.

    act = actor(policy, n) or ...                              observations (n, ...) to n actions
    step = ppo_step(policy, optimizer, config, data) or ...    what `ppo` does in an epoch
    step = dqn_step(policy, target, optimizer, config) or ...  what `dqn` does while its target stands still

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
from aigym_kernel.train.perceptrons import Backward, Descent, Flat, Forward, Head, Values, linears

if TYPE_CHECKING:
    from aigym_kernel.train.dqn import DQNConfig
    from aigym_kernel.train.ppo import PPOConfig
    from aigym_kernel.train.replay import Batch

Act = Callable[[NDArray[Any], torch.Generator], torch.Tensor]

AT_ONCE = 8_192
"""At most so many transitions are drawn at once, where no batch depends on the one before."""
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
        return _greedy(policy, Values(policy.actor), observe, n)
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
    choices = values.heads[0].out_features

    def act(observations: NDArray[Any], generator: torch.Generator) -> torch.Tensor:
        evenly = torch.rand(n, generator=generator) < policy.epsilon
        even = torch.randint(choices, (n,), generator=generator)
        return torch.where(evenly, even, values(observe(observations)).argmax(1))

    return act


def ppo_step(
    policy: Policy, optimizer: torch.optim.Optimizer, config: PPOConfig, **data: torch.Tensor
) -> PPOStep | None:
    """An object whose call makes the gradient steps of an epoch, and which keeps what `ppo` records of them.
    ``data``: ``inputs, actions, log_prob, value, advantage, target`` of all rows."""
    usual = isinstance(policy.action_space, (spaces.Discrete, spaces.Box)) and policy.head == "actor-critic"
    return PPOStep(policy, optimizer, config, **data) if usual and _small(policy, learns=True) else None


def dqn_step(
    policy: Policy,
    target: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: DQNConfig,
    last: DQNStep | None = None,
) -> DQNStep | None:
    """An object whose call makes the gradient steps for a Batch and returns its TD errors and what `dqn`
    records of them: the ``last`` one, while nothing was put in the place of weights and moments."""
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


class PPOStep:
    """The gradient steps of `ppo` for an actor and a critic of the same hidden layers. Hidden units of both
    lie in one array, (2, rows, units); what a head gives lies with one row per output, (outputs, rows)."""

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
        self._config, self._all_inputs, self._all_actions = config, inputs, actions
        self._flat = Flat(list(policy.parameters()), optimizer)
        self._log_std = None if policy.log_std is None else policy.log_std.detach().numpy()[:, None]
        if policy.log_std is not None:
            self._log_std_gradient = self._flat.gradients[id(policy.log_std)].numpy()
        sides = linears(policy.actor), linears(policy.critic)
        parts = self._parts = config.n_minibatches
        rows = self._rows = len(inputs) // parts
        both = [torch.empty(2, rows, layer.out_features) for layer in sides[0][:-1]]
        back = [torch.empty_like(units) for units in both]
        self._tanh = list(zip(both, back))
        self._units, self._back = ([tuple(one) for one in units] for units in (both, back))
        self._heads = [Head(layers[-1], self._flat, rows) for layers in sides]
        # The hyperbolic tangent is taken below, of both at once.
        hidden = [layers[:-1] for layers in sides]
        self._forwards = [
            Forward(own, rows, np.tanh, [units[i] for units in self._units]) for i, own in enumerate(hidden)
        ]
        self._gradients = [
            Backward(own, self._flat, [units[i] for units in self._back]) for i, own in enumerate(hidden)
        ]
        self._table = torch.stack([columns[name] for name in ("log_prob", "advantage", "target", "value")])
        # What is recorded of each row, as it comes; `records` makes of it what `ppo` records.
        shape = config.n_epochs, parts, rows
        self._losses, self._squares, self._log_ratios = np.empty((3, *shape), np.float32)
        self._entropies = np.empty(shape[:2])
        self._epochs = 0

    def __call__(self, order: torch.Tensor) -> None:
        """One epoch: a gradient step for each minibatch of the shuffled rows ``order``."""
        # One minibatch of all rows needs no shuffling: their order is that of its sums only.
        if self._parts > 1 or not self._epochs:
            self._lay_out(order)
        for part in range(self._parts):
            self._step(part)
        self._epochs += 1

    def _lay_out(self, order: torch.Tensor) -> None:
        """Bring what all minibatches of an epoch need into their order."""
        if self._parts == 1:
            order = torch.arange(len(order))
        shape = self._parts, self._rows
        self._inputs = self._all_inputs.index_select(0, order).view(*shape, -1).unbind()
        actions = self._all_actions.index_select(0, order).view(*shape, -1).transpose(1, 2).numpy()
        if self._log_std is None:  # which one was taken, as ones and zeros
            choices = len(self._heads[0].given)
            actions = (actions == np.arange(choices)[:, None]).astype(np.float32)
        self._actions = actions
        old, gain, self._targets, self._values = self._table.index_select(1, order).view(-1, *shape).numpy()
        if self._rows > 1:
            spread, mean = torch.std_mean(torch.from_numpy(gain), 1, keepdim=True)
            gain = (gain - mean.numpy()) / (spread.numpy() + np.float32(1e-8))
        # The loss of a row is the larger of cost * ratio and of what clipping leaves of it.
        self._old, self._costs = old, gain * np.float32(-1 / self._rows)
        self._bounds = self._costs - np.float32(self._config.clip_range) * np.abs(self._costs)

    def _step(self, part: int) -> None:
        inputs, last = self._inputs[part], len(self._units) - 1
        for i, (units, _) in enumerate(self._tanh):
            for side, forward in enumerate(self._forwards):
                forward.layer(i, self._units[i - 1][side] if i else inputs)
            np.tanh(units.numpy(), out=units.numpy())
        for head, features in zip(self._heads, self._units[-1]):
            head.forward(features)
        self._of_actor(part)
        self._of_critic(part)
        for head, features, back in zip(self._heads, self._units[-1], self._back[-1]):
            torch.mm(head.backward(features), head.weight, out=back)
        for i in range(last, -1, -1):
            units, back = self._tanh[i]
            torch.ops.aten.tanh_backward.grad_input(back, units, grad_input=back)
            for side, backward in enumerate(self._gradients):
                backward(i, self._back[i][side], self._units[i - 1][side] if i else inputs)
        self._flat.descend(self._config.max_grad_norm)

    def _of_actor(self, part: int) -> None:
        """The slope of the loss along the actor's outputs."""
        epoch, rows, ent_coef = self._epochs, self._rows, np.float32(self._config.ent_coef)
        taken, head = self._actions[part], self._heads[0]
        if self._log_std is None:
            logs = torch.log_softmax(head.given, 0).numpy()
            probs = np.exp(logs)
            log_prob = np.einsum("ij,ij->j", logs, taken)
            self._entropies[epoch, part] = -np.vdot(probs, logs) / rows
        else:
            narrow = np.exp(-self._log_std)
            away = (taken - head.given.numpy()) * narrow
            log_prob = (-0.5 * away * away - self._log_std - _HALF_LOG_2PI).sum(0)
            self._entropies[epoch, part] = (self._log_std + _HALF_LOG_2PI + 0.5).sum()
        log_ratio = np.subtract(log_prob, self._old[part], out=self._log_ratios[epoch, part])
        along, bound = self._costs[part] * np.exp(log_ratio), self._bounds[part]
        np.maximum(along, bound, out=self._losses[epoch, part])
        along *= along >= bound  # the slope along log_prob
        if self._log_std is None:
            np.multiply(along, taken - probs, out=head.slopes)
            if ent_coef:
                entropy = -np.einsum("ij,ij->j", probs, logs)
                head.slopes += ent_coef / rows * probs * (logs + entropy)
        else:
            np.multiply(along, away * narrow, out=head.slopes)
            np.sum(along * (away * away - 1), 1, out=self._log_std_gradient)
            self._log_std_gradient -= ent_coef

    def _of_critic(self, part: int) -> None:
        """The slope of the loss along the critic's output."""
        values, target = self._heads[1].given.numpy()[0], self._targets[part]
        off = values - target
        squared = np.multiply(off, off, out=self._squares[self._epochs, part])
        if (most := self._config.clip_range_vf) is not None:
            old = self._values[part]
            moved = values - old
            held = old + np.clip(moved, -most, most) - target
            beyond = (np.abs(moved) > most) & (held * held > squared)  # there the loss does not move
            off = np.where(beyond, 0.0, off)
            np.copyto(squared, held * held, where=beyond)
        np.multiply(off, np.float32(self._config.vf_coef / self._rows), out=self._heads[1].slopes[0])

    def records(self, first: int = 0) -> torch.Tensor:
        """What `ppo` records of each minibatch (B, 5), from epoch ``first`` on."""
        since = np.s_[first : self._epochs]
        log_ratios = self._log_ratios[since]
        ratios = np.exp(log_ratios)
        columns = (
            self._losses[since].sum(-1),
            0.5 * self._squares[since].mean(-1),
            self._entropies[since],
            (ratios - 1 - log_ratios).mean(-1),
            (np.abs(ratios - 1) > self._config.clip_range).mean(-1),
        )
        return torch.from_numpy(np.stack(columns, -1, dtype=np.float32).reshape(-1, len(columns)))


class DQNStep:
    """The gradient steps of `dqn` for batches between which the target stands still."""

    def __init__(
        self, policy: Policy, target: Any, optimizer: torch.optim.Optimizer, config: DQNConfig
    ) -> None:
        self._policy, self._config = policy, config
        actor: Any = policy.actor
        self._flat = Flat(list(actor.parameters()), optimizer)
        self._online, self._aim = Values(actor), Values(target)
        self._descent = Descent(self._online, self._flat, config.batch_size)

    def holds(self) -> bool:
        """Whether the arrays are still those of policy and optimiser."""
        return self._flat.holds()

    def ahead(self, done: int) -> int:
        """How many batches can be drawn at once after ``done``: they are even draws and the target stands."""
        if self._config.priority_exponent:
            return 1
        interval = self._config.target_update_interval
        return min(interval - done % interval, max(1, AT_ONCE // self._config.batch_size))

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The TD errors (B,) of one or several batches end to end, and of each of these K the loss and the
        mean value as `dqn` records them (K, 2)."""
        rows = self._config.batch_size
        # Copies, so that they begin where a cache line does and no last bit depends on the memory.
        before, after = (
            self._policy.encode(x).clone() for x in (batch.observations, batch.next_observations)
        )
        values = self._aim(after).numpy()
        choices = np.arange(values.shape[1])
        best = values.max(1)
        taken = (batch.actions.reshape(-1, 1, rows) == choices[:, None]).astype(np.float32)
        errors, weighed, chosen = np.empty((3, len(best)), np.float32)
        for part, taken_now in enumerate(taken):
            own = slice(part * rows, (part + 1) * rows)
            if self._config.double:
                best[own] = values[own][np.arange(rows), self._online(after[own]).argmax(1).numpy()]
            goals = batch.rewards[own] + batch.discounts[own] * best[own]
            chosen[own] = self._descent.chosen(before[own], taken_now)
            np.subtract(goals, chosen[own], out=errors[own])
            np.multiply(batch.weights[own], errors[own], out=weighed[own])
            self._descent(weighed[own] * np.float32(-1 / rows))
            self._flat.descend(self._config.max_grad_norm)
        columns = 0.5 * weighed * errors, chosen
        record = np.stack([column.reshape(-1, rows).mean(1) for column in columns], 1)
        return torch.from_numpy(errors), torch.from_numpy(record)
