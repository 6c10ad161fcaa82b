"""Proximal policy optimisation: Schulman et al. 2017 (arXiv 1707.06347), advantages by GAE (Schulman et
al. 2016, arXiv 1506.02438), with the details of Huang et al. 2022 ("The 37 implementation details of PPO").

    for update in ppo("CartPole-v1"):
        print(update.step, update.metrics.get("return_mean"))
    update.policy.act(observation)

    config = PPOConfig.preset("CartPole-v1", seed=3, total_timesteps=50_000)
    for update in ppo("CartPole-v1", config): ...

The caller owns the loop: `ppo` is a generator, ``break`` ends the training and closes its environments
(a generator kept in a variable is closed by ``.close()`` or when the variable goes). Nothing is stored
here: every finished trajectory is in ``update.trajectories`` and can be played again from its seed.

On the CPU the same configuration gives the same metrics to the last bit (``steps_per_second`` aside),
whatever else used torch before: all randomness comes from generators of its own, and torch's and NumPy's
global ones are neither read nor changed. Small networks are trained on one torch thread, since more only
wait for each other; the caller's setting is put back before every ``yield``, so code between updates runs
as always (the setting is one per process: torch code in other threads shares it meanwhile).
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import gymnasium
import torch
from torch import nn

from aigym_kernel import settings
from aigym_kernel.batches import Batch, Update, empty
from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.errors import TrainingError
from aigym_kernel.train import acceleration, checkpoints, configs, fast
from aigym_kernel.train.collect import Collector, Rollout, check_trainable
from aigym_kernel.train.finished import Finished, kept
from aigym_kernel.train.networks import Policy, one_thread
from aigym_kernel.train.normalization import RewardScale
from aigym_kernel.train.parts import check_present, check_sound, copy_of, restore, state_of
from aigym_kernel.train.presets import PPO
from aigym_kernel.train.samples import Samples, samples
from aigym_kernel.train.schedules import Decay, Schedule, heed

Space = gymnasium.Space[Any]


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How PPO trains. Defaults suit small continuing problems; `preset` knows some environments better.

    ``total_timesteps`` environment steps, rounded up to whole roll-outs of ``n_envs`` x ``n_steps``;
    after each, ``n_epochs`` passes over it in ``n_minibatches`` parts, fewer once a pass has moved the policy
    by a KL divergence of more than ``target_kl`` (nats; None: never). ``learning_rate`` and ``clip_range``,
    which bounds the probability ratio, fall to 0 where their schedule is ``linear``. ``clip_range_vf`` bounds
    how far the critic's estimates may move per roll-out (None: not at all bounded). ``gamma`` discounts per
    step, ``gae_lambda`` weighs GAE's horizon; ``ent_coef`` and ``vf_coef`` weigh entropy and value loss;
    gradients are cut at norm ``max_grad_norm``. ``normalize_observations``: the policy keeps their mean and
    variance and scales what it sees. ``normalize_rewards``: learn from rewards scaled by a `RewardScale`;
    metrics and trajectories keep the environment's. ``network``: units per layer of actor and critic, or
    layers as data (see `Policy`). ``vectorize``: one of `envs.vector.BACKENDS`. ``device``: see
    `settings.device`. ``precision`` (``float32`` or ``bfloat16``, of matrix products) and ``compile``:
    see `acceleration`.

    Raises:
        TrainingError: a value that cannot be.
    """

    total_timesteps: int = 500_000
    n_envs: int = 16
    n_steps: int = 128
    n_epochs: int = 6
    n_minibatches: int = 8
    learning_rate: float = 7e-4
    learning_rate_schedule: Schedule = "linear"
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    clip_range_schedule: Schedule = "constant"
    clip_range_vf: float | None = None
    target_kl: float | None = None
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    normalize_observations: bool = False
    normalize_rewards: bool = False
    network: tuple[int, ...] | dict[str, Any] = (64, 64)
    vectorize: str = "auto"
    seed: int = 0
    device: str | None = None
    precision: acceleration.Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        configs.check(
            self,
            whole=("total_timesteps", "n_envs", "n_steps", "n_epochs", "n_minibatches", "seed"),
            unit=("gamma", "gae_lambda"),
            positive=(
                *("learning_rate", "clip_range", "max_grad_norm"),
                *(name for name in ("clip_range_vf", "target_kl") if getattr(self, name) is not None),
            ),
            not_negative=("ent_coef", "vf_coef"),
            flags=("normalize_observations", "normalize_rewards"),
        )
        acceleration.check(self)
        batch = self.n_envs * self.n_steps
        if batch % self.n_minibatches:
            near = [d for d in range(1, batch + 1) if batch % d == 0]
            nearest = min(near, key=lambda d: abs(d - self.n_minibatches))
            raise TrainingError(
                f"PPOConfig: n_minibatches={self.n_minibatches} does not divide the roll-out of "
                f"n_envs * n_steps = {self.n_envs} * {self.n_steps} = {batch} steps; {nearest} does"
            )

    @classmethod
    def preset(cls, env_id: str, **changes: Any) -> Self:
        """What was found to work for an environment, with ``changes``; the defaults where nothing was tried.

        Raises:
            UnknownName: a change to a field that does not exist.
            TrainingError: a value that cannot be.
        """
        return configs.preset(cls, PPO, env_id, changes)


def check(
    env: EnvSource, env_kwargs: Mapping[str, Any] | None = None, network: object = None
) -> tuple[Space, Space]:
    """Whether PPO can train on an environment: builds one, looks at its spaces, and whether the
    layers of ``network`` fit them, closes it. Returns its spaces, of observations and actions.

    Raises:
        UnknownName: no environment has this id.
        TrainingError: a space that the network cannot handle.
        AigymError: the environment refuses ``env_kwargs`` or needs a package that is not here.
    """
    return check_trainable(env, env_kwargs, network)


def ppo(
    env: EnvSource,
    config: PPOConfig | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    policy: Policy | nn.Module | None = None,
    resume: str | Path | None = None,
) -> Generator[Update, Mapping[str, Any] | None, None]:
    """Train a policy; yields an Update with no metrics at step 0, then one after each roll-out.

    ``updates.send({"learning_rate": x})`` gives the next update: the rate is x from there on, a linear one
    falls from x to 0. ``update.checkpoint(path)`` writes all that the training needs to go on from there.

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
    training episodes (absent until one has finished), ``policy_loss``, ``value_loss``, ``entropy`` (nats),
    ``approx_kl``, ``clip_fraction``, ``explained_variance``, ``learning_rate``, ``steps_per_second``.

    Raises (at the first step of the loop, before anything is trained):
        UnknownName, TrainingError, AigymError: see `check`, `begin`, `checkpoints.load`.
    Raises (later; the trajectories that have finished since the last Update are its ``trajectories``):
        TrainingError: the environment gave a NaN or infinite observation or reward, or the network broke.
        EnvError: the environment raised, hung, or ended its process.
        UnknownName, TrainingError: see `schedules.heed`, for what was sent.
    """
    checkpoint = None if resume is None else checkpoints.load(resume, "ppo")
    if checkpoint is not None:
        config = checkpoint.config_for(PPOConfig, config)
    config = PPOConfig.preset(env if isinstance(env, str) else "") if config is None else config
    if not isinstance(config, PPOConfig):
        raise TrainingError(f"ppo: config={config!r} is no PPOConfig; see PPOConfig.preset")
    check(env, env_kwargs)
    device = settings.device(config.device)
    generator = torch.Generator(device).manual_seed(config.seed)
    envs = make_vec(env, config.n_envs, config.seed, env_kwargs, backend=config.vectorize)
    try:
        collector = Collector(envs, env, env_kwargs, agent="ppo")
        seen, act = envs.single_observation_space, envs.single_action_space
        if checkpoint is not None:
            checkpoint.check("ppo", collector.env_id, env_kwargs, seen, act)
            learner = checkpoint.policy(None if policy is None else begin(policy, seen, act, config))
        else:
            learner = begin(policy, seen, act, config)
        learner.to(device)
        # Fused: one call per step instead of a dozen per weight matrix.
        optimizer = torch.optim.Adam(
            learner.parameters(), lr=config.learning_rate, eps=1e-5, fused=device.type != "mps"
        )
        batch = config.n_envs * config.n_steps
        updates = math.ceil(config.total_timesteps / batch)
        rate = Decay(config.learning_rate, config.learning_rate_schedule, over=updates)
        clip_range = Decay(config.clip_range, config.clip_range_schedule, over=updates)
        scale, finished = RewardScale(config.n_envs, config.gamma), Finished()
        parts: dict[str, Any] = {"collector": collector, "finished": finished, "rate": rate, "scale": scale}
        parts |= {"generator": generator, "optimizer": optimizer}
        done, metrics, rollout = 0, dict[str, float](), None
        if checkpoint is not None:
            done, metrics = checkpoint.step // batch, dict(checkpoint.state["metrics"])
            restore(parts, checkpoint.state)
            if collector.not_restored:
                metrics["episodes_not_restored"] = float(len(collector.not_restored))

        def write(path: str | Path, at: int) -> Path:
            check_present(at, done)
            return checkpoints.save(
                path,
                algo="ppo",
                config=config,
                env_id=collector.env_id,
                env_kwargs=env_kwargs or {},
                step=done * batch,
                policy=learner,
                state=state_of(parts) | {"metrics": metrics},
            )

        while True:
            message = yield Update(
                step=done * batch,
                total_steps=updates * batch,
                metrics=metrics,
                trajectories=rollout.trajectories if rollout else empty(collector.env_id, "ppo"),
                policy=learner,
                checkpoint=functools.partial(write, at=done),
            )
            heed(message, rate, at=done)
            if done >= updates:
                return
            started = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = rate.at(done)
            fresh: list[Batch] = []
            with kept(fresh), one_thread(learner):
                rollout = collector.collect(learner, config.n_steps, generator)
                fresh.append(rollout.trajectories)
                if config.normalize_observations:
                    seen_now = rollout.observations[:-1]
                    learner.update_normalization(seen_now.reshape(-1, *seen_now.shape[2:]))
                if config.normalize_rewards:
                    rollout = replace(rollout, rewards=scale(rollout.rewards, rollout.dones))
                now = replace(config, clip_range=clip_range.at(done))
                metrics = learn(learner, optimizer, rollout, now, generator)
                check_sound(learner, "ppo", (done + 1) * batch, rate.at(done))
            finished.add(rollout.trajectories)
            metrics |= finished.metrics()
            metrics["learning_rate"] = rate.at(done)
            metrics["steps_per_second"] = batch / (time.perf_counter() - started)
            done += 1
    finally:
        envs.close()


def begin(policy: Policy | nn.Module | None, seen: Space, act: Space, config: PPOConfig) -> Policy:
    """The policy that a training starts with: a new one, or a copy of the one that was given.

    Raises:
        TrainingError: it is for other spaces, has no critic or NaN weights, cannot be copied, normalised, cut
            into minibatches or compiled.
    """
    given: Any = config.network if policy is None else copy_of(policy, seen, act, algo="ppo")
    chosen: Policy
    if isinstance(policy, Policy):
        if policy.head != "actor-critic":
            raise TrainingError(f"ppo: policy has the head {policy.head!r}, actor-critic is needed")
        if config.normalize_observations and not policy.normalize:
            raise TrainingError(
                "ppo: normalize_observations=True, but policy was made without: Policy(..., normalize=True)"
            )
        chosen = given
    else:
        random = torch.Generator().manual_seed(config.seed)
        chosen = Policy(seen, act, given, random, normalize=config.normalize_observations)
    acceleration.check_layers(config, chosen)
    checkpoints.check_finite(dict(chosen.named_parameters()), "ppo: policy cannot be used: ")
    if chosen.recurrent and config.n_envs % config.n_minibatches:
        raise TrainingError(
            f"PPOConfig: n_minibatches={config.n_minibatches} does not divide n_envs={config.n_envs}: a "
            "recurrent policy learns from whole sequences, each minibatch is some of the environments"
        )
    return chosen


def learn(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    config: PPOConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """Improve ``policy`` on one roll-out: epochs of shuffled minibatches on the clipped objective, of steps
    or, where the policy is recurrent, of environments.

    ``config.clip_range`` is taken as it is: whoever calls it applies the schedule.

    Returns:
        The metrics of the optimisation, averaged over all minibatches.
    """
    with acceleration.mixed(config.precision, policy.device):
        batch = samples(policy, rollout, config.gamma, config.gae_lambda)
    parameters = list(policy.parameters())
    size, device = len(batch) // config.n_minibatches, batch.inputs.device
    records: list[torch.Tensor] = []
    names = ("inputs", "actions", "log_prob", "value", "advantage", "target")
    quick, loss_of = None, objective
    if acceleration.plain(config):
        quick = fast.ppo_step(policy, optimizer, config, **{name: getattr(batch, name) for name in names})
    clip_range: float | torch.Tensor = config.clip_range
    if config.compile:
        loss_of = acceleration.compiled(objective, device)
        clip_range = torch.tensor(clip_range, device=device)  # a new float would be compiled anew
    policy.train()
    for epoch in range(config.n_epochs):
        order = torch.randperm(len(batch), generator=generator, device=device)
        if quick is not None:
            quick(order)
        for index in () if quick is not None else order.split(size):  # type: ignore[no-untyped-call]
            with acceleration.mixed(config.precision, device):
                loss, record = loss_of(policy, batch.part(index), config, clip_range)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
            records.append(record.clone() if config.compile else record)  # a CUDA graph writes over it
        if config.target_kl is not None:
            last = torch.stack(records[-config.n_minibatches :]) if quick is None else quick.records(epoch)
            if float(last[:, 3].mean()) > config.target_kl:
                break
    policy.eval()
    means = (torch.stack(records).detach() if quick is None else quick.records()).mean(dim=0).tolist()
    metrics = dict(zip(("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"), means))
    variance = float(batch.target.var(correction=0))
    unexplained = float(batch.advantage.var(correction=0))
    metrics["explained_variance"] = 1 - unexplained / variance if variance else 0.0
    return metrics


def objective(
    policy: Policy, part: Samples, config: PPOConfig, clip_range: float | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a minibatch (Schulman et al. 2017, equation 9), and of it policy loss, value loss, entropy,
    KL divergence and the share of ratios outside the clipping range, without gradients."""
    outputs, values = part.seen_by(policy)
    log_prob, entropies = policy.log_prob_entropy_of(outputs, part.actions)
    log_ratio = log_prob - part.log_prob
    ratio = log_ratio.exp()
    gain = part.advantage
    if gain.numel() > 1:
        gain = (gain - gain.mean()) / (gain.std() + 1e-8)
    clipped = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)  # type: ignore[arg-type]  # both, or neither
    policy_loss = -torch.min(gain * ratio, gain * clipped).mean()
    squared = (values - part.target).square()
    if config.clip_range_vf is not None:
        moved = (values - part.value).clamp(-config.clip_range_vf, config.clip_range_vf)
        squared = torch.max(squared, (part.value + moved - part.target).square())
    value_loss = 0.5 * squared.mean()
    entropy = entropies.mean()
    loss = policy_loss - config.ent_coef * entropy + config.vf_coef * value_loss
    with torch.no_grad():
        kl = (ratio - 1 - log_ratio).mean()  # low variance: joschu.net/blog/kl-approx.html
        outside = ((ratio - 1).abs() > clip_range).float().mean()
        record = torch.stack([policy_loss, value_loss, entropy, kl, outside])
    return loss, record
