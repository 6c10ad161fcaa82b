"""Deep Q-learning: Mnih et al. 2015 (doi 10.1038/nature14236), with double Q-learning (van Hasselt et al.
2016, arXiv 1509.06461), duelling networks (Wang et al. 2016, arXiv 1511.06581), n-step returns and
prioritised replay (Schaul et al. 2016, arXiv 1511.05952), each of which can be switched off.

    for update in dqn("CartPole-v1"):
        print(update.step, update.metrics.get("return_mean"))

    config = DQNConfig.preset("CartPole-v1", seed=3, n_step=3)
    for update in dqn("CartPole-v1", config): ...

A generator like `ppo`: ``break`` ends it, nothing is stored here, every finished trajectory is in
``update.trajectories``, and on the CPU the same configuration gives the same metrics to the last bit
(``steps_per_second`` aside). Discrete actions only.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from aigym_kernel import settings
from aigym_kernel.batches import Batch as Trajectories
from aigym_kernel.batches import Update, join
from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import TrainingError
from aigym_kernel.train import configs, fast
from aigym_kernel.train.collect import Collector, Finished, check_trainable
from aigym_kernel.train.networks import Policy, one_thread
from aigym_kernel.train.replay import Batch, Replay

UPDATE_STEPS = 1_000
"""An Update comes after at least so many environment steps."""

PRESETS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "total_timesteps": 100_000,
        "learning_rate": 2e-3,
        "n_step": 5,
        "exploration_fraction": 0.5,
        "exploration_final_eps": 0.02,
        "network": (64, 64),
    },
}
"""What differs from the defaults of `DQNConfig`, by environment."""


@dataclass(frozen=True, kw_only=True)
class DQNConfig:
    """How DQN trains.

    ``total_timesteps`` environment steps, in rounds of ``n_envs`` x ``train_freq``, each followed by
    ``gradient_steps`` batches of ``batch_size`` transitions out of the last ``buffer_size``, once
    ``learning_starts`` steps are there. ``learning_rate`` falls linearly to 0. ``gamma`` discounts per step,
    returns run over ``n_step`` steps. The target network moves by the share ``tau`` every
    ``target_update_interval`` batches (``tau`` 1 copies it). The share of random actions falls linearly from
    ``exploration_initial_eps`` to ``exploration_final_eps`` over ``exploration_fraction`` of the training.
    ``double``: the online network chooses the next action, the target network values it. ``dueling``: see
    `Policy`. ``priority_exponent`` 0 replays evenly; the correction's exponent rises from
    ``priority_correction`` to 1. Gradients are cut at norm ``max_grad_norm``; ``network``: units per
    layer, or layers as data (see `Policy`). ``vectorize``: one of `envs.vector.BACKENDS`.

    Raises:
        TrainingError: a value that cannot be.
    """

    total_timesteps: int = 500_000
    n_envs: int = 16
    train_freq: int = 8
    gradient_steps: int = 16
    batch_size: int = 128
    buffer_size: int = 100_000
    learning_starts: int = 2_000
    learning_rate: float = 1e-3
    gamma: float = 0.99
    n_step: int = 3
    tau: float = 0.01
    target_update_interval: int = 1
    exploration_fraction: float = 0.3
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 0.05
    double: bool = True
    dueling: bool = True
    priority_exponent: float = 0.6
    priority_correction: float = 0.4
    max_grad_norm: float = 10.0
    network: tuple[int, ...] | dict[str, Any] = (128, 128)
    vectorize: str = "auto"
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        configs.check(
            self,
            whole=(
                *("total_timesteps", "n_envs", "train_freq", "gradient_steps", "batch_size", "buffer_size"),
                *("learning_starts", "n_step", "target_update_interval", "seed"),
            ),
            unit=(
                *("gamma", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps"),
                *("priority_exponent", "priority_correction"),
            ),
            positive=("learning_rate", "max_grad_norm", "tau"),
        )
        for name in ("double", "dueling"):
            if not isinstance(getattr(self, name), bool):
                raise configs.wrong(self, name, "must be True or False")
        if self.tau > 1:
            raise configs.wrong(self, "tau", "must be a share of at most 1")
        if self.learning_starts > self.buffer_size:
            raise configs.wrong(
                self, "learning_starts", f"exceeds buffer_size={self.buffer_size}: learning would never start"
            )

    @classmethod
    def preset(cls, env_id: str, **changes: Any) -> Self:
        """What was found to work for an environment, with ``changes``; the defaults where nothing was tried.

        Raises:
            UnknownName: a change to a field that does not exist.
            TrainingError: a value that cannot be.
        """
        return configs.preset(cls, PRESETS, env_id, changes)


def check(env: EnvSource, env_kwargs: Mapping[str, Any] | None = None) -> None:
    """Whether DQN can train on an environment: builds one, looks at its spaces, closes it.

    Raises:
        UnknownName: no environment has this id.
        TrainingError: a space that the network cannot handle; actions that are not Discrete.
        AigymError: the environment refuses ``env_kwargs`` or needs a package that is not here.
    """
    check_trainable(env, env_kwargs, continuous=False)


def dqn(
    env: EnvSource,
    config: DQNConfig | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Iterator[Update]:
    """Train a policy; yields an Update with no metrics at step 0, then one after each 1,000 steps or more.

    Args:
        env: an environment's id, or a function that builds one.
        config: default: the preset for this id.
        env_kwargs: passed to each environment.

    Metrics: ``return_mean``, ``return_q10``, ``return_q90`` and ``length_mean`` of the last 100 finished
    training episodes (absent until one has finished); ``td_loss`` (half the mean squared TD error) and
    ``q_mean`` once learning has started; ``epsilon``, ``learning_rate``, ``steps_per_second``.

    Raises (at the first step of the loop, before anything is trained):
        UnknownName, TrainingError, AigymError: see `check`.
    Raises (later):
        TrainingError: the environment gave a NaN or infinite observation or reward.
    """
    config = DQNConfig.preset(env if isinstance(env, str) else "") if config is None else config
    if not isinstance(config, DQNConfig):
        raise TrainingError(f"dqn: config={config!r} is no DQNConfig; see DQNConfig.preset")
    check(env, env_kwargs)
    device = settings.device(config.device)
    generator = torch.Generator(device).manual_seed(config.seed)
    envs = make_vec(env, config.n_envs, config.seed, env_kwargs, backend=config.vectorize)
    try:
        policy = Policy(
            envs.single_observation_space,
            envs.single_action_space,
            config.network,
            torch.Generator().manual_seed(config.seed),
            head="dueling" if config.dueling else "q",
        ).to(device)
        learner = Learner(policy, config)
        collector = Collector(envs, env, env_kwargs, agent="dqn")
        finished = Finished()
        batch = config.n_envs * config.train_freq
        rounds = math.ceil(config.total_timesteps / batch)
        total, step, told = rounds * batch, 0, 0
        parts: list[Trajectories] = []
        yield Update(step=0, total_steps=total, metrics={}, policy=policy)
        started = time.perf_counter()
        while step < total:
            policy.epsilon = epsilon(config, step / total) if step >= config.learning_starts else 1.0
            with one_thread(policy):
                rollout = collector.collect(policy, config.train_freq, generator)
                learner.replay.add(rollout)
                step += batch
                if step >= config.learning_starts:
                    learner.learn(step / total)
            parts.append(rollout.trajectories)
            if step - told < UPDATE_STEPS and step < total:
                continue
            trajectories = join(parts)
            finished.add(trajectories)
            metrics = learner.metrics() | finished.metrics()
            metrics["epsilon"] = policy.epsilon
            metrics["steps_per_second"] = (step - told) / (time.perf_counter() - started)
            yield Update(
                step=step,
                total_steps=total,
                metrics=metrics,
                trajectories=trajectories,
                policy=policy,
            )
            told, parts, started = step, [], time.perf_counter()
    finally:
        envs.close()


def epsilon(config: DQNConfig, progress: float) -> float:
    """The share of random actions at ``progress`` in [0, 1] of the training."""
    first, last = config.exploration_initial_eps, config.exploration_final_eps
    share = min(1.0, progress / config.exploration_fraction) if config.exploration_fraction else 1.0
    return first + share * (last - first)


class Learner:
    """The online and the target network, the replay buffer, and how they learn."""

    def __init__(self, policy: Policy, config: DQNConfig) -> None:
        self.replay = Replay(
            config.buffer_size,
            n_envs=config.n_envs,
            n_step=config.n_step,
            gamma=config.gamma,
            alpha=config.priority_exponent,
            seed=config.seed,
        )
        self._policy, self._config = policy, config
        self._target = copy.deepcopy(policy.actor).requires_grad_(False)
        self._parameters = list(policy.actor.parameters())
        fused = policy.device.type != "mps"
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate, eps=1e-5, fused=fused)
        self._batches = 0
        self._records: list[torch.Tensor] = []
        self._rate = config.learning_rate

    def learn(self, progress: float) -> None:
        """``gradient_steps`` batches; ``progress`` in [0, 1] of the training sets learning rate and beta."""
        config = self._config
        if not len(self.replay):
            return
        self._rate = config.learning_rate * max(1 - progress, 1e-3)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
        beta = config.priority_correction + progress * (1 - config.priority_correction)
        step = fast.dqn_step(self._policy, self._target, self._optimizer, config) or self._step
        self._policy.train()
        for _ in range(config.gradient_steps):
            batch = self.replay.sample(config.batch_size, beta)
            errors, record = step(batch)
            self._records.append(record)
            if config.priority_exponent:
                self.replay.set_priorities(batch, errors.cpu().numpy())
            self._batches += 1
            if self._batches % config.target_update_interval == 0:
                with torch.no_grad():
                    for theirs, ours in zip(self._target.parameters(), self._parameters):
                        theirs.lerp_(ours, config.tau)
        self._policy.eval()

    def _step(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """One gradient step; the TD errors (B,), and the loss with the mean value."""
        policy = self._policy
        goals = targets(policy.actor, self._target, policy, batch, double=self._config.double)
        actions = torch.from_numpy(batch.actions).to(policy.device)
        weights = torch.from_numpy(batch.weights).to(policy.device)
        values = policy.actor(policy.encode(batch.observations)).gather(-1, actions[:, None]).squeeze(-1)
        # Squared and not Huber: with gradients of at most 1 the few transitions that end an episode do not
        # hold down what the many others raise, and values on CartPole grew without end.
        loss = (weights * 0.5 * (values - goals).square()).mean()
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, self._config.max_grad_norm)
        self._optimizer.step()
        with torch.no_grad():
            return goals - values, torch.stack([loss, values.mean()])

    def metrics(self) -> dict[str, float]:
        """Means over the batches since the last call."""
        metrics: dict[str, float] = {"learning_rate": self._rate}
        if self._records:
            means = torch.stack(self._records).detach().mean(dim=0).tolist()
            metrics |= dict(zip(("td_loss", "q_mean"), means))
        self._records = []
        return metrics


@torch.no_grad()
def targets(
    online: nn.Module, target: nn.Module, policy: Policy, batch: Batch, *, double: bool
) -> torch.Tensor:
    """What the values of the taken actions should be (B,): the n-step return, and from there on the target
    network's value of the best action, best for the online network where ``double``."""
    rewards = torch.from_numpy(batch.rewards).to(policy.device)
    discounts = torch.from_numpy(batch.discounts).to(policy.device)
    after = policy.encode(batch.next_observations)
    values: torch.Tensor = target(after)
    best: torch.Tensor = (online(after) if double else values).argmax(-1, keepdim=True)
    return rewards + discounts * values.gather(-1, best).squeeze(-1)
