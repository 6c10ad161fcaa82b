"""The networks that are trained: an actor and a critic side by side (PPO), or action values (DQN).

    policy = Policy(env.observation_space, env.action_space, hidden=(64, 64))
    action = policy.act(observation)                  # one observation in, one action out, both NumPy
    policy.save("policy.safetensors")
    policy = Policy.load("policy.safetensors")

Each part is a multi-layer perceptron. A file holds the weights and, as JSON in its header, the spaces and
layer sizes: loading one runs no code from it. No convolutions and no recurrence: observations are flattened.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from aigym_kernel.errors import TrainingError

FORMAT = "aigym-policy-1"
Head = Literal["actor-critic", "q", "dueling"]
SMALL_NETWORK = 300_000
"""Up to so many weights one CPU thread is faster than several, by far when other processes compute too."""
_SQRT2 = 2.0**0.5
_MAX_FLAT = 1_000_000


def check_spaces(
    observation: gymnasium.Space[Any], action: gymnasium.Space[Any], name: str, *, continuous: bool = True
) -> None:
    """Whether a Policy can be built for these spaces of the environment called ``name``; not ``continuous``:
    one that acts by action values.

    Raises:
        TrainingError: it cannot; the message names the space and those that work.
    """
    usable = isinstance(observation, spaces.Discrete) or (
        isinstance(observation, spaces.Box) and observation.dtype.kind in "fiub"
    )
    if not usable:
        raise TrainingError(
            f"{name}: observation_space {observation} cannot feed this network; Box and Discrete work "
            "(gymnasium.wrappers.FlattenObservation turns Dict and Tuple into Box)"
        )
    width = _width(observation)
    if not 0 < width <= _MAX_FLAT:
        raise TrainingError(
            f"{name}: observation_space {observation} has {width:,} numbers, not 1 to {_MAX_FLAT:,}"
        )
    if isinstance(action, spaces.Discrete):
        return
    box = isinstance(action, spaces.Box) and action.dtype.kind == "f" and int(np.prod(action.shape)) > 0
    if continuous and box:
        return
    working = "Discrete and Box of floats work" if continuous else "action values need Discrete"
    raise TrainingError(f"{name}: action_space {action} cannot be acted in; {working}")


class Policy(nn.Module):
    """What chooses actions for one pair of spaces.

    ``head`` says what the network gives. ``actor-critic``: a distribution over actions, and a critic. ``q``:
    the value of each choice, of which the highest is taken. ``dueling``: the same as the sum of the state's
    value and each choice's advantage over the mean one (Wang et al. 2016, arXiv 1511.06581, equation 9).

    Observations: Box (flattened; uint8 divided by 255) or Discrete (one-hot). Actions: Discrete, as a
    softmax over the choices, or Box, as a Gaussian with its own spread per dimension whatever the
    observation; what leaves the box is clipped to it. Weights are orthogonal, scaled sqrt(2) in hidden
    layers, 0.01 for the actor's output and 1 for the critic's (Huang et al. 2022, details 2 and 3 of
    core and continuous), drawn from ``generator`` alone. Hidden units are tanh, with action values ReLU.

    Raises:
        TrainingError: a space that it cannot handle.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        hidden: Sequence[int] = (64, 64),
        generator: torch.Generator | None = None,
        *,
        head: Head = "actor-critic",
    ) -> None:
        super().__init__()
        check_spaces(observation_space, action_space, "policy", continuous=head == "actor-critic")
        self.observation_space = observation_space
        self.action_space = action_space
        self.hidden = tuple(hidden)
        self.head = head
        self.epsilon = 0.0  # the share of sampled actions that are drawn evenly, where there are values
        self.discrete = isinstance(action_space, spaces.Discrete)
        outputs = int(action_space.n) if isinstance(action_space, spaces.Discrete) else _width(action_space)
        inputs = _width(observation_space)
        self.actor: nn.Module
        if head != "actor-critic":
            self.actor = _Values(inputs, self.hidden, outputs, generator, dueling=head == "dueling")
            return
        self.actor = _mlp(inputs, self.hidden, outputs, 0.01, generator)
        self.critic = _mlp(inputs, self.hidden, 1, 1.0, generator)
        if not self.discrete:
            self.log_std = nn.Parameter(torch.zeros(outputs))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def encode(self, observations: NDArray[Any]) -> torch.Tensor:
        """A batch of observations (B, *shape) as the network's input (B, inputs), float32, on its device."""
        if isinstance(self.observation_space, spaces.Discrete):
            at = torch.as_tensor(np.asarray(observations) - int(self.observation_space.start))
            flat = nn.functional.one_hot(at.reshape(-1).long(), int(self.observation_space.n)).float()
        else:
            batch = np.asarray(observations)
            flat = torch.from_numpy(np.ascontiguousarray(batch.reshape(len(batch), -1), dtype=np.float32))
            if self.observation_space.dtype == np.uint8:
                flat = flat / 255.0
        return flat.to(self.device)

    def values(self, inputs: torch.Tensor) -> torch.Tensor:
        """The critic's estimate of the discounted return: (B, inputs) to (B,)."""
        value: torch.Tensor = self.critic(inputs)
        return value.squeeze(-1)

    def sample(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """One action per row: (B,) choices from 0, or (B, dimensions). Drawn from the distribution, or, by
        action values, the best, and a choice drawn evenly with probability ``epsilon``."""
        output: torch.Tensor = self.actor(inputs)
        if self.head != "actor-critic":
            batch, choices = output.shape
            drawn = torch.rand(batch, generator=generator, device=output.device) < self.epsilon
            even = torch.randint(choices, (batch,), generator=generator, device=output.device)
            return torch.where(drawn, even, output.argmax(-1))
        if self.discrete:
            return torch.multinomial(output.softmax(-1), 1, generator=generator).squeeze(-1)
        noise = torch.randn(output.shape, generator=generator, device=output.device)
        return output + noise * self.log_std.exp()

    def log_prob_entropy(
        self, inputs: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each row's action, as `sample` gave it, and the entropy: (B,) each, in nats."""
        output: torch.Tensor = self.actor(inputs)
        if self.discrete:
            logs = output.log_softmax(-1)
            chosen = logs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
            return chosen, -(logs.exp() * logs).sum(-1)
        half_log_2pi = 0.9189385332046727
        z = (actions - output) * (-self.log_std).exp()
        log_prob = (-0.5 * z * z - self.log_std - half_log_2pi).sum(-1)
        return log_prob, (self.log_std + half_log_2pi + 0.5).sum().expand(len(output))

    def to_env(self, actions: torch.Tensor) -> NDArray[Any]:
        """What the environments get for a batch of `sample`'s actions: shifted by ``start``, or clipped."""
        array: NDArray[Any] = actions.cpu().numpy()
        if isinstance(self.action_space, spaces.Discrete):
            return array + int(self.action_space.start)
        assert isinstance(self.action_space, spaces.Box)
        shaped = array.reshape(len(array), *self.action_space.shape)
        clipped: NDArray[Any] = np.clip(shaped, self.action_space.low, self.action_space.high)
        return clipped.astype(self.action_space.dtype)

    @torch.no_grad()
    def act_batch(self, observations: NDArray[Any], *, greedy: bool = True) -> NDArray[Any]:
        """Actions for a batch of observations (B, *shape), ready for the environments: (B, *action shape)."""
        inputs = self.encode(observations)
        if not greedy:
            return self.to_env(self.sample(inputs))
        output = self.actor(inputs)
        return self.to_env(output.argmax(-1) if self.discrete else output)

    def act(self, observation: Any, *, greedy: bool = True) -> Any:
        """The action for one observation: an int for Discrete, an array for Box.

        Args:
            observation: one element of the observation space, not a batch.
            greedy: the most likely action (the mean, for Box); otherwise a sample, from torch's global
                generator.

        Raises:
            TrainingError: the observation has another shape than the policy was trained on.
        """
        array = np.asarray(observation)
        if array.shape != (self.observation_space.shape or ()):
            raise TrainingError(
                f"observation of shape {array.shape} does not fit this policy's observation_space "
                f"{self.observation_space}"
            )
        action = self.act_batch(array[None], greedy=greedy)[0]
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

    def header(self) -> dict[str, str]:
        """What a file says of a policy beside its weights: the format, spaces and sizes, as JSON."""
        return {
            "format": FORMAT,
            "observation_space": json.dumps(_space_to_dict(self.observation_space)),
            "action_space": json.dumps(_space_to_dict(self.action_space)),
            "hidden": json.dumps(self.hidden),
            "head": self.head,
        }

    @classmethod
    def from_parts(cls, header: Mapping[str, str], weights: Mapping[str, torch.Tensor] | None) -> Policy:
        """A policy from its `header` and its weights (its ``state_dict``; None: new ones), on the CPU."""
        policy = cls(
            _space_from_dict(json.loads(header["observation_space"])),
            _space_from_dict(json.loads(header["action_space"])),
            json.loads(header["hidden"]),
            torch.Generator(),  # so that torch's global one is left alone; the weights are replaced below
            head=next((h for h in get_args(Head) if h == header.get("head")), "actor-critic"),
        )
        if weights is not None:
            policy.load_state_dict(weights)
        return policy

    def save(self, path: str | Path) -> Path:
        """Write weights, spaces and sizes to one safetensors file; a file that is there is replaced.

        Returns:
            The path.
        """
        from safetensors.torch import save_file

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        partial = target.with_name(target.name + ".tmp")
        save_file(weights, partial, metadata=self.header())
        partial.replace(target)
        return target

    @classmethod
    def load(cls, path: str | Path, env: gymnasium.Env[Any, Any] | None = None) -> Policy:
        """A policy that `save` wrote, on the CPU.

        Args:
            env: when given, its spaces must be those the policy was trained for.

        Raises:
            TrainingError: no such file, not a policy's file, or trained for other spaces than ``env``'s.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise TrainingError(f"no policy at {str(path)!r}: the file does not exist") from None
        except (SafetensorError, OSError) as problem:
            raise TrainingError(f"{str(path)!r} is no readable safetensors file: {problem}") from None
        if header.get("format") != FORMAT:
            raise TrainingError(f"{str(path)!r} holds tensors but no policy that Policy.save wrote")
        policy = cls.from_parts(header, weights)
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


class _Values(nn.Module):
    """Action values: (B, inputs) to (B, choices)."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        choices: int,
        generator: torch.Generator | None,
        *,
        dueling: bool,
    ) -> None:
        super().__init__()
        *first, last = hidden
        self.body = _mlp(inputs, first, last, _SQRT2, generator, nn.ReLU)
        self.advantage = _mlp(last, (), choices, 1.0, generator)
        self.value = _mlp(last, (), 1, 1.0, generator) if dueling else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.body(inputs).relu()
        advantage: torch.Tensor = self.advantage(features)
        if self.value is None:
            return advantage
        value: torch.Tensor = self.value(features)
        return value + advantage - advantage.mean(-1, keepdim=True)


def _mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    gain: float,
    generator: torch.Generator | None,
    activation: type[nn.Module] = nn.Tanh,
) -> nn.Sequential:
    sizes = [inputs, *hidden, outputs]
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        # skip_init: nn.Linear's own initialisation would draw from torch's global generator.
        linear: nn.Linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
        nn.init.orthogonal_(linear.weight, gain if last else _SQRT2, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, activation()]
    return nn.Sequential(*layers)


def _width(space: gymnasium.Space[Any]) -> int:
    """Numbers in one flattened element."""
    return int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape or ()))


def _space_to_dict(space: gymnasium.Space[Any]) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    assert isinstance(space, spaces.Box)
    return {
        "type": "Box",
        "shape": space.shape,
        "dtype": str(space.dtype),
        "low": _bound(space.low),
        "high": _bound(space.high),
    }


def _bound(bound: NDArray[Any]) -> Any:
    """A Box's low or high: one number where all are the same (images), else the nested list."""
    return bound.flat[0].item() if bound.size and (bound == bound.flat[0]).all() else bound.tolist()


def _space_from_dict(data: dict[str, Any]) -> gymnasium.Space[Any]:
    if data["type"] == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"], dtype=np.dtype(data["dtype"]).type)
    dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
    low, high = (np.broadcast_to(np.array(data[key], dtype=dtype), shape) for key in ("low", "high"))
    return spaces.Box(low, high, shape, dtype.type)
