"""The networks that are trained: an actor and a critic (PPO), or action values (DQN).

    policy = Policy(env.observation_space, env.action_space, network=(64, 64))
    policy = Policy(env.observation_space, env.action_space, {"layers": [{"type": "lstm", "units": 64}]})
    action = policy.act(observation)                  # one observation in, one action out, both NumPy
    policy.save("policy.safetensors")
    policy = Policy.load("policy.safetensors")

A network is units per layer, layers as data (`train.layers`), or an ``nn.Module`` of your own. A file holds
the weights and, as JSON in its header, spaces and layers: loading one runs no code from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from aigym_kernel.errors import TrainingError
from aigym_kernel.train import actions as acting
from aigym_kernel.train import saving
from aigym_kernel.train.bodies import Body, Values, features_of, kept, linear, mlp, module_of
from aigym_kernel.train.export import export
from aigym_kernel.train.layers import check_memory, parse, wants_picture
from aigym_kernel.train.outlines import outline_of
from aigym_kernel.train.spaces import check_spaces, width

Head = Literal["actor-critic", "q", "dueling"]
Network = Sequence[int] | Mapping[str, Any] | nn.Module | Callable[[gymnasium.Space[Any]], nn.Module]
SMALL_NETWORK = 300_000
"""Up to so many weights one CPU thread is faster than several, by far when other processes compute too."""
_FAR = 10.0
"""Normalised observations are cut here, in standard deviations."""


class Policy(nn.Module):
    """What chooses actions for one pair of spaces.

    ``head`` says what the network gives. ``actor-critic``: a distribution over actions, and a critic. ``q``:
    the value of each choice, of which the highest is taken. ``dueling``: the same as the sum of the state's
    value and each choice's advantage over the mean one (Wang et al. 2016, arXiv 1511.06581, equation 9).

    ``network``: units per layer give two perceptrons side by side, one for the actor, one for the critic,
    with tanh (one with ReLU, where there are action values). Layers as data or a module give one body that
    actor and critic share, each with a linear layer of its own on top. A module (or a function that builds
    one for an observation space) turns (B, *shape) into features (B, n); it keeps the weights it has. Its own
    nn.Dropout draws from torch's global generator, so that results with one differ from time to time.

    Observations: Box (uint8 divided by 255) or Discrete (one-hot), flattened unless the network has conv
    layers or is a module; ``normalize``: shifted and scaled by the running mean and variance that
    `update_normalization` keeps, and cut at 10 standard deviations. Actions: see `train.actions`; a Box's
    Gaussian has its own spread per dimension, whatever the observation. Weights are orthogonal, scaled
    sqrt(2) in hidden layers, 0.01 for the actor's output and 1 for the critic's (Huang et al. 2022,
    details 2 and 3 of core and continuous), drawn from ``generator`` alone.

    It is in evaluation mode (no dropout) unless a trainer is just learning from a batch.

    Raises:
        TrainingError: a space that it cannot handle, or a network that does not fit.
    """

    network: Network

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        network: Network | None = None,
        generator: torch.Generator | None = None,
        *,
        head: Head = "actor-critic",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        check_spaces(observation_space, action_space, "policy", continuous=head == "actor-critic")
        self.observation_space = observation_space
        self.action_space = action_space
        # Not set the usual way: a module would be registered, and it is the body already.
        object.__setattr__(self, "network", (64, 64) if network is None else kept(network))
        self.head = head
        self.epsilon = 0.0  # the share of sampled actions that are drawn evenly, where there are values
        self.discrete = isinstance(action_space, spaces.Discrete)
        self.normalize = normalize
        self.state_size = 0
        inputs, outputs = width(observation_space), acting.output_width(action_space)
        self._input_shape: tuple[int, ...] = (inputs,)
        units = tuple(self.network) if isinstance(self.network, tuple) else None
        self.body: nn.Module | None = None
        self.actor: nn.Module
        if head != "actor-critic":
            if units is None:
                body, features = self._body(generator)
            else:
                features = units[-1]
                hidden = mlp(inputs, units[:-1], features, 2**0.5, generator, nn.ReLU)
                body = nn.Sequential(*hidden, nn.ReLU())
            self.actor = Values(body, features, outputs, generator, dueling=head == "dueling")
        elif units is None:
            self.body, features = self._body(generator)
            self.actor = linear(features, outputs, 0.01, generator)
            self.critic: nn.Module = linear(features, 1, 1.0, generator)
        else:
            self.actor = mlp(inputs, units, outputs, 0.01, generator)
            self.critic = mlp(inputs, units, 1, 1.0, generator)
        self.log_std: nn.Parameter | None = None
        if head == "actor-critic" and isinstance(action_space, spaces.Box):
            self.log_std = nn.Parameter(torch.zeros(outputs))
        if normalize:
            self._begin_normalization()
        self.eval()

    def _body(self, generator: torch.Generator | None) -> tuple[nn.Module, int]:
        """The shared body, and how many features it gives."""
        shape = self.observation_space.shape or ()
        if isinstance(self.network, Mapping):
            layers = parse(self.network)
            check_memory(layers, self.head)
            self._input_shape = shape if wants_picture(layers) else self._input_shape
            body = Body(layers, self._input_shape, generator)
            self.state_size = body.state_size
            return body, body.features
        if isinstance(self.observation_space, spaces.Box):
            self._input_shape = shape
        module = module_of(self.network, self.observation_space)
        return module, features_of(module, self._input_shape)

    def _begin_normalization(self) -> None:
        space = self.observation_space
        if isinstance(space, spaces.Discrete) or space.dtype == np.uint8:
            raise TrainingError(
                f"policy: observation_space {space} cannot be normalised, its numbers are scaled already; "
                "leave normalize=False"
            )
        self.register_buffer("obs_mean", torch.zeros(self._input_shape))
        self.register_buffer("obs_var", torch.ones(self._input_shape))
        self.register_buffer("obs_count", torch.zeros((), dtype=torch.int64))
        self.obs_mean: torch.Tensor
        self.obs_var: torch.Tensor
        self.obs_count: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def recurrent(self) -> bool:
        """Whether it remembers something from one step to the next: see `initial_state`."""
        return self.state_size > 0

    def encode(self, observations: NDArray[Any] | torch.Tensor) -> torch.Tensor:
        """A batch of observations (B, *shape) as the network's input, float32, on its device: (B, inputs),
        or (B, *shape) for conv layers and modules."""
        batch = self._raw(observations)
        if not self.normalize:
            return batch
        return ((batch - self.obs_mean) * (self.obs_var + 1e-8).rsqrt()).clamp(-_FAR, _FAR)

    def _raw(self, observations: NDArray[Any] | torch.Tensor) -> torch.Tensor:
        """The same before it is normalised."""
        given = observations
        if not isinstance(given, torch.Tensor):
            given = torch.from_numpy(np.ascontiguousarray(given))
        if isinstance(self.observation_space, spaces.Discrete):
            at = given.to(self.device).reshape(-1).long() - int(self.observation_space.start)
            return nn.functional.one_hot(at, int(self.observation_space.n)).float()
        batch = given.to(self.device, torch.float32).reshape(given.shape[0], *self._input_shape)
        return batch / 255.0 if self.observation_space.dtype == np.uint8 else batch

    @torch.no_grad()
    def update_normalization(self, observations: NDArray[Any] | torch.Tensor) -> None:
        """Take a batch (B, *shape) into the running mean and variance (Chan et al. 1979, the parallel
        algorithm). Does nothing without ``normalize``."""
        if not self.normalize:
            return
        batch = self._raw(observations)
        variance, mean = torch.var_mean(batch, 0, correction=0)
        total = self.obs_count + len(batch)
        share, delta = len(batch) / total, mean - self.obs_mean
        self.obs_mean += delta * share
        self.obs_var.lerp_(variance, share).add_(delta.square() * share * (1 - share))
        self.obs_count.copy_(total)

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the actor gives for encoded observations: (B, outputs), see `train.actions`; or the value of
        each choice."""
        output: torch.Tensor = self.actor(inputs if self.body is None else self.body(inputs))
        return output.float()

    def values(self, inputs: torch.Tensor) -> torch.Tensor:
        """The critic's estimate of the discounted return: (B, inputs) to (B,)."""
        value: torch.Tensor = self.critic(inputs if self.body is None else self.body(inputs))
        return value.squeeze(-1).float()

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`outputs` and `values` at once: a body that both share is computed once."""
        features = inputs if self.body is None else self.body(inputs)
        return self.actor(features).float(), self.critic(features).squeeze(-1).float()

    def sample(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """One action per row (B, ...), in the form of `train.actions`. Drawn from the distribution, or, by
        action values, the best, and a choice drawn evenly with probability ``epsilon``."""
        output = self.outputs(inputs)
        if self.head == "actor-critic":
            return acting.sample(self.action_space, output, self.log_std, generator)
        batch, choices = output.shape
        drawn = torch.rand(batch, generator=generator, device=output.device) < self.epsilon
        even = torch.randint(choices, (batch,), generator=generator, device=output.device)
        return torch.where(drawn, even, output.argmax(-1))

    def log_prob_entropy(
        self, inputs: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each row's action, as `sample` gave it, and the entropy: (B,) each, in nats."""
        return self.log_prob_entropy_of(self.outputs(inputs), actions)

    def log_prob_entropy_of(
        self, outputs: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same from what the actor gave: (..., outputs) and actions (..., ...) to (...) each."""
        return acting.log_prob_entropy(self.action_space, outputs, self.log_std, actions)

    def initial_state(self, n: int) -> torch.Tensor:
        """What a recurrent policy remembers at the beginning of ``n`` episodes: (n, state_size) of zeros."""
        return torch.zeros(n, self.state_size, device=self.device)

    def sample_recurrent(
        self, inputs: torch.Tensor, state: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of N episodes side by side: `sample`'s actions for inputs (N, ...), and the state
        (N, state_size) after it. Zero the rows of ``state`` whose episode begins with this step."""
        output, after = self.step(inputs, state)
        return acting.sample(self.action_space, output, self.log_std, generator), after

    def forward_sequence(
        self, inputs: torch.Tensor, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """T steps of N episodes side by side, with gradients through time.

        Args:
            inputs: (T, N, ...) encoded observations.
            state: (N, state_size) before the first step.
            starts: (T, N), true where the observation begins an episode: its state is zeroed before it.

        Returns:
            The actor's outputs (T, N, outputs) and the critic's values (T, N).
        """
        assert isinstance(self.body, Body)
        features, _ = self.body.sequence(inputs, state, starts)
        return self.actor(features).float(), self.critic(features).squeeze(-1).float()

    def step(self, inputs: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of N episodes of a recurrent policy: the actor's outputs (N, outputs), the state after."""
        assert isinstance(self.body, Body)
        features, after = self.body.sequence(inputs[None], state)
        return self.actor(features[0]), after

    def to_env(self, actions: torch.Tensor) -> NDArray[Any]:
        """What the environments get for a batch of `sample`'s actions: shifted by ``start``, or clipped."""
        return acting.to_env(self.action_space, actions)

    @torch.no_grad()
    def act_batch(
        self, observations: NDArray[Any], *, greedy: bool = True, state: torch.Tensor | None = None
    ) -> NDArray[Any]:
        """Actions for a batch of observations (B, *shape), ready for the environments: (B, *action shape).

        Args:
            state: of a recurrent policy, what it remembers of each episode; it is brought up to date in
                place. None: as at the beginning of an episode.
        """
        if self.training:
            self.eval()  # without dropout
            try:
                return self.act_batch(observations, greedy=greedy, state=state)
            finally:
                self.train()
        inputs = self.encode(observations)
        if self.recurrent:
            before = self.initial_state(len(inputs)) if state is None else state
            output, after = self.step(inputs, before)
            before.copy_(after)
        elif not greedy:
            return self.to_env(self.sample(inputs))
        else:
            output = self.outputs(inputs)
        if greedy:
            return self.to_env(acting.best(self.action_space, output))
        return self.to_env(acting.sample(self.action_space, output, self.log_std, None))

    def act(self, observation: Any, *, greedy: bool = True, state: torch.Tensor | None = None) -> Any:
        """The action for one observation: an int for Discrete, an array otherwise.

        Args:
            observation: one element of the observation space, not a batch.
            greedy: the most likely action (the mean, for Box); otherwise a sample, from torch's global
                generator.
            state: as of `act_batch`: ``initial_state(1)`` at the beginning of an episode.

        Raises:
            TrainingError: the observation has another shape than the policy was trained on.
        """
        array = np.asarray(observation)
        if array.shape != (self.observation_space.shape or ()):
            raise TrainingError(
                f"observation of shape {array.shape} does not fit this policy's observation_space "
                f"{self.observation_space}"
            )
        action = self.act_batch(array[None], greedy=greedy, state=state)[0]
        return int(action) if self.discrete else action

    def check_env(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        """Whether this policy can play ``env``, called ``name`` in the message.

        Raises:
            TrainingError: one of its spaces is another than the policy's.
        """
        for kind in ("observation_space", "action_space"):
            own, theirs = getattr(self, kind), getattr(env, kind)
            if own != theirs:
                raise TrainingError(
                    f"this policy was trained for {kind} {own}, {name} has {theirs}; use the environment "
                    "and env_kwargs of the training, or train one for this environment"
                )

    def __repr__(self) -> str:
        return f"Policy ({self.head})\n{outline_of(self)!r}"

    def _repr_html_(self) -> str:
        return outline_of(self).picture()

    def header(self) -> dict[str, str]:
        """What a file says of a policy beside its weights: format, spaces and network, as JSON."""
        return saving.header(self)

    @classmethod
    def from_parts(
        cls,
        header: Mapping[str, str],
        weights: Mapping[str, torch.Tensor] | None,
        network: Network | None = None,
    ) -> Policy:
        """A policy from its `header` and its weights (its ``state_dict``; None: new ones), on the CPU.
        ``network``, and what is raised: see `load`."""
        return saving.build(cls, header, weights, network)

    def save(self, path: str | Path) -> Path:
        """Write weights, spaces and layers to one safetensors file; a file that is there is replaced.

        Returns:
            The path.
        """
        return saving.save(self, path)

    def export(self, path: str | Path) -> Path:
        """Write it for other programs, by the ending of ``path``: .onnx, .pt or .ts (TorchScript), .pt2; see
        `train.export` for what goes in and comes out, and for what is raised.

        Returns:
            The path.
        """
        return export(self, path)

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: gymnasium.Env[Any, Any] | None = None,
        *,
        network: Network | None = None,
    ) -> Policy:
        """A policy that `save` wrote, on the CPU.

        Args:
            env: when given, its spaces must be those the policy was trained for.
            network: the module, if the policy has one of your own: the file holds its weights, not its code.

        Raises:
            TrainingError: no such file, not a policy's file, trained for other spaces than ``env``'s, or with
                a module that is not ``network``.
        """
        policy = cls.from_parts(*saving.read(path), network)
        if env is not None:
            policy.check_env(env, env.spec.id if env.spec else type(env.unwrapped).__name__)
        return policy


@contextmanager
def one_thread(policy: Policy) -> Iterator[None]:
    """Compute on one torch thread inside the ``with`` if the policy is small and on the CPU; what the
    process had set before is put back."""
    before = torch.get_num_threads()
    if (
        before == 1
        or policy.device.type != "cpu"
        or sum(p.numel() for p in policy.parameters()) > SMALL_NETWORK
    ):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
