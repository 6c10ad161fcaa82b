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
import functools
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import gymnasium
import torch
from torch import nn

from aigym_kernel import settings
from aigym_kernel.batches import Batch as Trajectories
from aigym_kernel.batches import Update, empty, join
from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import TrainingError
from aigym_kernel.train import acceleration, checkpoints, configs, fast, presets
from aigym_kernel.train.collect import Collector, check_trainable
from aigym_kernel.train.finished import Finished, kept
from aigym_kernel.train.networks import Policy, one_thread
from aigym_kernel.train.parts import check_present, check_sound, copy_of, restore, state_of
from aigym_kernel.train.replay import Batch, Replay
from aigym_kernel.train.schedules import Decay, Schedule, heed

Space = gymnasium.Space[Any]

UPDATE_STEPS = 1_000
"""An Update comes after at least so many environment steps."""


@dataclass(frozen=True, kw_only=True)
class DQNConfig:
    """How DQN trains.

    ``total_timesteps`` environment steps, in rounds of ``n_envs`` x ``train_freq``, each followed by
    ``gradient_steps`` batches of ``batch_size`` transitions out of the last ``buffer_size``, once
    ``learning_starts`` steps are there. ``learning_rate`` falls to 0 if its schedule is ``linear``. ``gamma``
    discounts per step, returns run over ``n_step`` steps. The target network moves by the share ``tau`` every
    ``target_update_interval`` batches (``tau`` 1 copies it). The share of random actions falls linearly from
    ``exploration_initial_eps`` to ``exploration_final_eps`` over ``exploration_fraction`` of the training.
    ``double``: the online network chooses the next action, the target network values it. ``dueling``: see
    `Policy`. ``priority_exponent`` 0 replays evenly; the correction's exponent rises from
    ``priority_correction`` to 1. Gradients are cut at norm ``max_grad_norm``; ``network``: units per
    layer, or layers as data (see `Policy`). ``vectorize``: one of `envs.vector.BACKENDS`. ``precision``
    (``float32`` or ``bfloat16``, of matrix products) and ``compile``: see `acceleration`.

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
    learning_rate_schedule: Schedule = "linear"
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
    precision: acceleration.Precision = "float32"
    compile: bool = False

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
            flags=("double", "dueling"),
        )
        acceleration.check(self)
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
        return configs.preset(cls, presets.DQN, env_id, changes)


def check(
    env: EnvSource, env_kwargs: Mapping[str, Any] | None = None, network: object = None
) -> tuple[Space, Space]:
    """Whether DQN can train on an environment: builds one, looks at its spaces, and whether the
    layers of ``network`` fit them, closes it. Returns its spaces, of observations and actions.

    Raises:
        UnknownName: no environment has this id.
        TrainingError: a space that the network cannot handle; actions that are not Discrete.
        AigymError: the environment refuses ``env_kwargs`` or needs a package that is not here.
    """
    return check_trainable(env, env_kwargs, network, continuous=False)


def dqn(
    env: EnvSource,
    config: DQNConfig | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    policy: Policy | nn.Module | None = None,
    resume: str | Path | None = None,
) -> Generator[Update, Mapping[str, Any] | None, None]:
    """Train a policy; yields an Update with no metrics at step 0, then one after each 1,000 steps or more.

    ``updates.send({"learning_rate": x})`` gives the next update: the rate is x from there on; a linear one
    falls from x to 0. ``update.checkpoint(path)`` writes all that the training needs to go on from there, the
    replay buffer included: with a full one of 100,000 transitions about as many times 2 observations.

    Args:
        env: an environment's id, or a function that builds one.
        config: default: the preset for this id, or the checkpoint's.
        env_kwargs: passed to each environment.
        policy: one to start from; a copy of it is trained, with its own network. A module, or a function
            that builds one: see `Policy`.
        resume: a checkpoint of a training on this environment. The first Update is the one at which it was
            written, with its metrics and without its trajectories; the rest is what would have come, on the
            CPU to the last bit.

    Metrics: ``return_mean``, ``return_q10``, ``return_q90`` and ``length_mean`` of the last 100 finished
    training episodes (absent until one has finished); ``td_loss`` (half the mean squared TD error) and
    ``q_mean`` once learning has started; ``epsilon``, ``learning_rate``, ``steps_per_second``. In the first
    Update after ``resume``, ``episodes_not_restored`` if some unfinished episodes had to begin anew, since
    their environment went another way.

    Raises (at the first step of the loop, before anything is trained):
        UnknownName, TrainingError, AigymError: see `check`, `begin`, `checkpoints.load`.
    Raises (later; the trajectories that have finished since the last Update are its ``trajectories``):
        TrainingError: the environment gave a NaN or infinite observation or reward, or the network broke.
        EnvError: the environment raised, hung, or ended its process.
        UnknownName, TrainingError: see `schedules.heed`, for what was sent.
    """
    checkpoint = None if resume is None else checkpoints.load(resume, "dqn")
    if checkpoint is not None:
        config = checkpoint.config_for(DQNConfig, config)
    config = DQNConfig.preset(env if isinstance(env, str) else "") if config is None else config
    if not isinstance(config, DQNConfig):
        raise TrainingError(f"dqn: config={config!r} is no DQNConfig; see DQNConfig.preset")
    check(env, env_kwargs)
    device = settings.device(config.device)
    generator = torch.Generator(device).manual_seed(config.seed)
    envs = make_vec(env, config.n_envs, config.seed, env_kwargs, backend=config.vectorize)
    try:
        collector = Collector(envs, env, env_kwargs, agent="dqn")
        seen, act = envs.single_observation_space, envs.single_action_space
        where: dict[str, Any] = {"env_id": collector.env_id, "env_kwargs": env_kwargs or {}}
        if checkpoint is None:
            learned = begin(policy, seen, act, config)
        else:
            checkpoint.check("dqn", **where, observation_space=seen, action_space=act)
            learned = checkpoint.policy(None if policy is None else begin(policy, seen, act, config))
        batch = config.n_envs * config.train_freq
        rounds = math.ceil(config.total_timesteps / batch)
        learner, finished = Learner(learned.to(device), config, rounds), Finished()
        parts: dict[str, Any] = {"collector": collector, "finished": finished, "learner": learner}
        parts["generator"] = generator
        done, metrics = 0, dict[str, float]()
        if checkpoint is not None:
            done, metrics = checkpoint.step // batch, dict(checkpoint.state["metrics"])
            restore(parts, checkpoint.state)
            learner.replay.cut(collector.not_restored)
            if collector.not_restored:
                metrics["episodes_not_restored"] = float(len(collector.not_restored))

        def write(path: str | Path, at: int) -> Path:
            check_present(at, done)
            state = state_of(parts) | {"metrics": metrics}
            step = done * batch
            return checkpoints.save(
                path, algo="dqn", config=config, step=step, policy=learned, state=state, **where
            )

        trajectories = empty(collector.env_id, "dqn")
        while True:
            message = yield Update(
                step=done * batch,
                total_steps=rounds * batch,
                metrics=metrics,
                trajectories=trajectories,
                policy=learned,
                checkpoint=functools.partial(write, at=done),
            )
            heed(message, learner.rate, at=done)
            if done >= rounds:
                return
            started, before, played = time.perf_counter(), done, list[Trajectories]()
            with kept(played), one_thread(learned):
                while done < rounds and (done - before) * batch < UPDATE_STEPS:
                    learns = done * batch >= config.learning_starts
                    learned.epsilon = epsilon(config, done / rounds) if learns else 1.0
                    rollout = collector.collect(learned, config.train_freq, generator)
                    played.append(rollout.trajectories)
                    learner.replay.add(rollout)
                    done += 1
                    if done * batch >= config.learning_starts:
                        learner.learn(done)
                check_sound(learned, "dqn", done * batch, learner.rate.at(done - 1))
            finished.add(trajectories := join(played))
            metrics = learner.metrics() | finished.metrics() | {"epsilon": learned.epsilon}
            metrics["steps_per_second"] = (done - before) * batch / (time.perf_counter() - started)
    finally:
        envs.close()


def begin(policy: Policy | nn.Module | None, seen: Space, act: Space, config: DQNConfig) -> Policy:
    """The policy that a training starts with: a new one, or a copy of the one that was given.

    Raises:
        TrainingError: it is for other spaces, gives no action values, is recurrent, has NaN weights, or
            cannot be copied or compiled.
    """
    given: Any = config.network if policy is None else copy_of(policy, seen, act, algo="dqn")
    if not isinstance(policy, Policy):
        random = torch.Generator().manual_seed(config.seed)
        given = Policy(seen, act, given, random, head="dueling" if config.dueling else "q")
    elif policy.head == "actor-critic":
        raise TrainingError(
            "dqn: policy has the head 'actor-critic', which gives no action values; start from one that dqn "
            'trained, or from Policy(..., head="dueling")'
        )
    acceleration.check_layers(config, given)
    checkpoints.check_finite(dict(given.named_parameters()), "dqn: policy cannot be used: ")
    chosen: Policy = given
    return chosen


def epsilon(config: DQNConfig, progress: float) -> float:
    """The share of random actions at ``progress`` in [0, 1] of the training."""
    first, last = config.exploration_initial_eps, config.exploration_final_eps
    share = min(1.0, progress / config.exploration_fraction) if config.exploration_fraction else 1.0
    return first + share * (last - first)


class Learner:
    """The online and the target network, the replay buffer, and how they learn."""

    def __init__(self, policy: Policy, config: DQNConfig, rounds: int) -> None:
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
        self._parameters: list[torch.Tensor] = list(policy.actor.parameters())
        self._targets: list[torch.Tensor] = list(self._target.parameters())
        self._quick: fast.DQNStep | None = None
        fused = policy.device.type != "mps"
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate, eps=1e-5, fused=fused)
        self._rounds, self._batches = rounds, 0
        self._records: list[torch.Tensor] = []
        self.rate = Decay(config.learning_rate, config.learning_rate_schedule, over=rounds)
        self._rate = config.learning_rate  # the one last used

    def learn(self, done: int) -> None:
        """``gradient_steps`` batches; ``done`` of all rounds set learning rate and beta."""
        config = self._config
        if not len(self.replay):
            return
        self._rate = self.rate.at(done - 1)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
        beta = config.priority_correction + done / self._rounds * (1 - config.priority_correction)
        if acceleration.plain(config):
            self._quick = fast.dqn_step(self._policy, self._target, self._optimizer, config, self._quick)
        step = self._quick or self._step
        if self._quick is None:
            self._policy.train()
        last = self._batches + config.gradient_steps
        while self._batches < last:
            count = 1 if self._quick is None else min(self._quick.ahead(self._batches), last - self._batches)
            batch = self.replay.sample(config.batch_size, beta, count)
            errors, record = step(batch)
            self._records.append(record.reshape(count, 2))
            if config.priority_exponent:
                self.replay.set_priorities(batch, errors.cpu().numpy())
            self._batches += count
            if self._batches % config.target_update_interval == 0:
                with torch.no_grad():
                    torch._foreach_lerp_(self._targets, self._parameters, config.tau)
                    for stale, fresh in zip(self._target.buffers(), self._policy.actor.buffers()):
                        stale.copy_(fresh)  # of batch normalisation in a module of the user's
        if self._quick is None:
            self._policy.eval()

    def _step(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """One gradient step; the TD errors (B,), and the loss with the mean value."""
        policy, config = self._policy, self._config
        columns = (batch.actions, batch.rewards, batch.discounts, batch.weights)
        given = [torch.from_numpy(x).to(policy.device) for x in columns]
        loss_of = acceleration.compiled(objective, policy.device) if config.compile else objective
        with acceleration.mixed(config.precision, policy.device):
            seen, after = policy.encode(batch.observations), policy.encode(batch.next_observations)
            loss, errors, record = loss_of(
                policy.actor, self._target, seen, after, *given, double=config.double
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, config.max_grad_norm)
        self._optimizer.step()
        return (errors.clone(), record.clone()) if config.compile else (errors, record)

    def metrics(self) -> dict[str, float]:
        """Means over the batches since the last call."""
        metrics: dict[str, float] = {"learning_rate": self._rate}
        if self._records:
            means = torch.cat(self._records).detach().mean(dim=0).tolist()
            metrics |= dict(zip(("td_loss", "q_mean"), means))
        self._records = []
        return metrics

    def state(self) -> dict[str, Any]:
        """What `restore` needs beside the policy: arrays of the replay buffer itself, not copies."""
        return {
            "target": dict(self._target.state_dict()),
            "optimizer": checkpoints.optimizer_state(self._optimizer),
            "replay": self.replay.state(),
            "rate": self.rate.state(),
            "last_rate": self._rate,
            "batches": self._batches,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; the policy is restored by its owner, before."""
        self._target.load_state_dict(state["target"])
        checkpoints.restore_optimizer(self._optimizer, state["optimizer"])
        self.replay.restore(state["replay"])
        self.rate.restore(state["rate"])
        self._rate, self._batches = float(state["last_rate"]), int(state["batches"])


def objective(
    online: nn.Module,
    target: nn.Module,
    inputs: torch.Tensor,
    after: torch.Tensor,
    *columns: torch.Tensor,
    double: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss of a batch (``columns``: actions, rewards, discounts, weights), its TD errors (B,), and of it
    loss and mean value, without gradients."""
    actions, rewards, discounts, weights = columns
    goals = targets(online, target, after, rewards, discounts, double=double)
    values = online(inputs).float().gather(-1, actions[:, None]).squeeze(-1)
    # Squared and not Huber: with gradients of at most 1 the few transitions that end an episode do not
    # hold down what the many others raise, and values on CartPole grew without end.
    loss = (weights * 0.5 * (values - goals).square()).mean()
    with torch.no_grad():
        return loss, goals - values, torch.stack([loss, values.mean()])


@torch.no_grad()
def targets(
    online: nn.Module,
    target: nn.Module,
    after: torch.Tensor,
    rewards: torch.Tensor,
    discounts: torch.Tensor,
    *,
    double: bool,
) -> torch.Tensor:
    """What the values of the taken actions should be (B,): the n-step return, and from there on the target
    network's value of the best action, best for the online network where ``double`` (van Hasselt et al.
    2016, arXiv 1509.06461)."""
    values: torch.Tensor = target(after).float()
    best = (online(after).float() if double else values).argmax(-1, keepdim=True)
    return rewards + discounts * values.gather(-1, best).squeeze(-1)
