"""Behaviour cloning: a policy that does what recorded trajectories did (Pomerleau 1989, "ALVINN"), by
maximum likelihood of their actions.

    trajectories = aigym.load(run_id=run.id, limit=200)
    for update in clone(trajectories, CloneConfig(n_epochs=10)):
        print(update.metrics["validation_loss"])
    for update in ppo("CartPole-v1", policy=update.policy): ...        from there on by reinforcement

A generator like `ppo`: ``break`` ends it, nothing is stored here, and on the CPU the same trajectories and
configuration give the same metrics to the last bit (``steps_per_second`` aside). It imitates and
looks at no rewards: leave out what shall not be imitated.
"""

from __future__ import annotations

import copy
import json
import time
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from aigym_kernel import settings
from aigym_kernel.batches import Update
from aigym_kernel.envs.vector import make_one
from aigym_kernel.errors import TrainingError
from aigym_kernel.train import actions as acting
from aigym_kernel.train import checkpoints, configs
from aigym_kernel.train.networks import Policy, one_thread
from aigym_kernel.train.parts import check_policy, check_present, check_sound, restore, state_of
from aigym_kernel.train.schedules import Decay, Schedule, heed
from aigym_kernel.trajectories import Trajectory

Space = gymnasium.Space[Any]


@dataclass(frozen=True, kw_only=True)
class CloneConfig:
    """How behaviour cloning trains.

    ``n_epochs`` passes over the steps in batches of about ``batch_size``; with a recurrent network over whole
    trajectories, so many that their steps make a batch. ``learning_rate`` falls to 0 where
    ``learning_rate_schedule`` is ``linear``. The share ``validation_fraction`` of the trajectories is held
    out (at least one, if there are two; never all; 0: none). Gradients are cut at norm ``max_grad_norm``.
    ``normalize_observations`` by the mean and variance of what is learnt from. ``network``: see `Policy`;
    ``device``: see `settings.device`.

    Raises:
        TrainingError: a value that cannot be.
    """

    n_epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    learning_rate_schedule: Schedule = "linear"
    validation_fraction: float = 0.1
    max_grad_norm: float = 1.0
    normalize_observations: bool = False
    network: tuple[int, ...] | dict[str, Any] = (64, 64)
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        configs.check(
            self,
            whole=("n_epochs", "batch_size", "seed"),
            unit=("validation_fraction",),
            positive=("learning_rate", "max_grad_norm"),
            flags=("normalize_observations",),
        )
        if self.validation_fraction == 1:
            raise configs.wrong(self, "validation_fraction", "leaves nothing to learn from")


def clone(
    trajectories: Iterable[Trajectory],
    config: CloneConfig | None = None,
    *,
    policy: Policy | None = None,
    resume: str | Path | None = None,
) -> Generator[Update, Mapping[str, Any] | None, None]:
    """Train a policy to act as ``trajectories`` did; yields an Update with no metrics at step 0, then one
    after each epoch. ``step`` counts the steps learnt from, each as often as it was. The policy's critic, if
    PPO shall go on with it, is untouched.

    Args:
        trajectories: of one environment or of several with the same spaces, which are built from their
            ``env_id`` and ``env_kwargs``; a list, a `Batch`, any iterable.
        policy: one to start from, a copy of it; its network and spaces are taken.
        resume: a file that ``update.checkpoint`` wrote in a training on the same trajectories: the first
            Update is that one, and the rest is what would have come.

    ``updates.send({"learning_rate": x})``: see `ppo`.

    Metrics: ``loss`` (nats per action) and, of discrete actions, ``accuracy`` (share of steps in which the
    most likely action is the recorded one), of continuous ones ``action_error`` (mean distance per
    dimension); the same of what was held out as ``validation_...``; ``learning_rate``, ``steps_per_second``.

    Raises (at the first step of the loop):
        UnknownName: no environment has a trajectory's id; ``policy`` says the spaces then.
        TrainingError: no steps, trajectories of different spaces, observations or actions that do not fit
            them, a checkpoint of another training.
    """
    given = list(trajectories) if isinstance(trajectories, Iterable) else [trajectories]
    if odd := [one for one in given if not isinstance(one, Trajectory)]:
        raise TrainingError(
            f"clone: {odd[0]!r:.100} is no Trajectory; aigym.load(run_id=...) gives recorded ones"
        )
    given = [one for one in given if len(one)]
    checkpoint = None if resume is None else checkpoints.load(resume, "clone")
    if checkpoint is not None:
        config = checkpoint.config_for(CloneConfig, config)
    config = CloneConfig() if config is None else config
    if not isinstance(config, CloneConfig):
        raise TrainingError(f"clone: config={config!r} is no CloneConfig")
    if not given:
        raise TrainingError("clone: there is no trajectory with a step in it to learn from")
    if policy is not None:
        check_policy(policy, "clone")
    device = settings.device(config.device)
    seen, act = (policy.observation_space, policy.action_space) if policy else _spaces(given)
    if checkpoint is not None:
        checkpoint.check("clone", given[0].env_id, given[0].env_kwargs, seen, act)
    policy = _policy(policy, checkpoint, config, seen, act).to(device)
    own, held = _split([_columns(one, policy) for one in given], config)
    mark = zlib.crc32(b"".join(column.tobytes() for pair in [*own, *held] for column in pair))
    if checkpoint is not None and checkpoint.state["data"] != mark:
        raise TrainingError(f"clone: {resume} was learnt from other trajectories; pass the same ones")
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate, fused=device.type != "mps")
    generator = torch.Generator().manual_seed(config.seed)
    rate = Decay(config.learning_rate, config.learning_rate_schedule, over=config.n_epochs)
    size = sum(len(taken) for _, taken in own)
    parts: dict[str, Any] = {"rate": rate, "generator": generator, "optimizer": optimizer}
    epoch, metrics = 0, dict[str, float]()
    if checkpoint is not None:
        epoch, metrics = checkpoint.step // size, dict(checkpoint.state["metrics"])
        restore(parts, checkpoint.state)
    else:
        policy.update_normalization(np.concatenate([observed for observed, _ in own]))

    def write(path: str | Path, at: int) -> Path:
        check_present(at, epoch)
        return checkpoints.save(
            path,
            algo="clone",
            config=config,
            env_id=given[0].env_id,
            env_kwargs=given[0].env_kwargs,
            step=epoch * size,
            policy=policy,
            state=state_of(parts) | {"data": mark, "metrics": metrics},
        )

    while True:
        message = yield Update(
            step=epoch * size,
            total_steps=config.n_epochs * size,
            metrics=metrics,
            policy=policy,
            checkpoint=lambda path, at=epoch: write(path, at),  # type: ignore[misc]
        )
        if epoch == config.n_epochs:
            return
        heed(message, rate, at=epoch)
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate.at(epoch)
        with one_thread(policy):
            metrics = learn(policy, optimizer, own, config, generator)
            metrics |= {f"validation_{name}": value for name, value in judged(policy, held, config).items()}
        metrics["learning_rate"] = rate.at(epoch)
        metrics["steps_per_second"] = size / (time.perf_counter() - started)
        epoch += 1
        check_sound(policy, "clone", epoch * size, rate.at(epoch - 1))


Columns = tuple[NDArray[Any], NDArray[Any]]
"""A trajectory's observations (T, *shape) and actions (T, ...), these as `Policy.sample` gives them."""


def learn(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    data: list[Columns],
    config: CloneConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """One epoch over all of ``data`` in shuffled batches; the metrics, averaged over its steps."""
    policy.train()
    totals = torch.zeros(3)
    for batch in _batches(policy, data, config.batch_size, generator):
        loss, sums = _look(policy, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
        optimizer.step()
        totals += sums
    policy.eval()
    return _metrics(policy, totals)


@torch.no_grad()
def judged(policy: Policy, data: list[Columns], config: CloneConfig) -> dict[str, float]:
    """The same metrics of ``data``, without learning from it; none where there is none."""
    totals = torch.zeros(3)
    for batch in _batches(policy, data, config.batch_size, None):
        totals += _look(policy, batch)[1]
    return _metrics(policy, totals) if data else {}


def _batches(
    policy: Policy, data: list[Columns], size: int, generator: torch.Generator | None
) -> Iterator[list[Columns]]:
    """Batches of single steps, or for a recurrent policy of whole trajectories; shuffled by ``generator``."""
    if policy.recurrent:
        some: list[Columns] = []
        for i in _order(len(data), generator):
            some.append(data[i])
            if sum(len(taken) for _, taken in some) >= size:
                yield some
                some = []
        if some:
            yield some
    elif data:
        observations, actions = (np.concatenate(columns) for columns in zip(*data, strict=True))
        order = _order(len(actions), generator)
        for first in range(0, len(order), size):
            index = order[first : first + size]
            yield [(observations[index], actions[index])]


def _order(count: int, generator: torch.Generator | None) -> NDArray[np.int64]:
    if generator is None:
        return np.arange(count)
    return torch.randperm(count, generator=generator).numpy()


def _look(policy: Policy, batch: list[Columns]) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean loss of a batch, and the sums (3,) of its steps, losses, and hits or distances."""
    observations, taken = (np.concatenate(columns) for columns in zip(*batch, strict=True))
    inputs, actions = policy.encode(observations), torch.from_numpy(taken).to(policy.device)
    if policy.recurrent:
        lengths = [len(one) for _, one in batch]
        padded = nn.utils.rnn.pad_sequence(list(inputs.split(lengths)))  # type: ignore[no-untyped-call]
        inside = torch.arange(len(padded)) < torch.tensor(lengths)[:, None]
        starts = torch.zeros(padded.shape[:2], dtype=torch.bool, device=policy.device)
        outputs, _ = policy.forward_sequence(padded, policy.initial_state(len(batch)), starts)
        outputs = outputs.transpose(0, 1)[inside.to(policy.device)]
    else:
        outputs = policy.outputs(inputs)
    log_prob, _ = policy.log_prob_entropy_of(outputs, actions)
    with torch.no_grad():
        best = acting.best(policy.action_space, outputs).reshape(len(actions), -1)
        apart = (best - actions.reshape(len(actions), -1)).abs()
        box = isinstance(policy.action_space, spaces.Box)
        hits = apart.mean(-1) if box else (apart == 0).all(-1).float()
        sums = torch.stack([torch.tensor(float(len(actions))), -log_prob.sum().cpu(), hits.sum().cpu()])
    return -log_prob.mean(), sums


def _metrics(policy: Policy, totals: torch.Tensor) -> dict[str, float]:
    count, loss, hits = totals.tolist()
    name = "action_error" if isinstance(policy.action_space, spaces.Box) else "accuracy"
    return {"loss": loss / count, name: hits / count}


def _spaces(trajectories: list[Trajectory]) -> tuple[Space, Space]:
    """The spaces that all the trajectories' environments share."""
    found: dict[str, tuple[Space, Space]] = {}
    for one in trajectories:
        kwargs = json.dumps(dict(one.env_kwargs), sort_keys=True, default=repr)
        if (name := f"{one.env_id} {kwargs}") not in found:
            env = make_one(one.env_id, one.env_kwargs)
            found[name] = env.observation_space, env.action_space
            env.close()
    (first, pair), *others = found.items()
    for name, other in others:
        for kind, ours, theirs in zip(("observation_space", "action_space"), pair, other, strict=True):
            if ours != theirs:
                raise TrainingError(
                    f"clone: trajectories of {first} have {kind} {ours}, those of {name} {theirs}; one "
                    "policy can imitate only those that share their spaces: choose by env_id and env_kwargs"
                )
    return pair


def _policy(
    policy: Policy | None,
    checkpoint: checkpoints.Checkpoint | None,
    config: CloneConfig,
    seen: Space,
    act: Space,
) -> Policy:
    if policy is not None and policy.head != "actor-critic":
        raise TrainingError(f"clone: policy has the head {policy.head!r}, actor-critic is needed")
    if policy is not None:
        policy = copy.deepcopy(policy)
        return policy if checkpoint is None else checkpoint.policy(policy)
    if checkpoint is not None:
        return checkpoint.policy()
    generator = torch.Generator().manual_seed(config.seed)
    return Policy(seen, act, config.network, generator, normalize=config.normalize_observations)


def _split(data: list[Columns], config: CloneConfig) -> tuple[list[Columns], list[Columns]]:
    """What is learnt from and what is held out: whole trajectories, since their steps are alike."""
    share = config.validation_fraction
    held = min(max(1, round(share * len(data))), len(data) - 1) if share else 0
    order = np.random.default_rng(config.seed).permutation(len(data))
    return [data[i] for i in sorted(order[held:])], [data[i] for i in sorted(order[:held])]


def _columns(one: Trajectory, policy: Policy) -> Columns:
    """A trajectory's columns, checked against the policy's spaces."""
    space, act = policy.observation_space, policy.action_space
    observations = np.asarray(one.observations)[:-1]
    if observations.shape[1:] != (space.shape or ()) or observations.dtype.kind not in "fiub":
        raise _misfit(one, f"observations of shape {observations.shape[1:]}", "observation_space", space)
    taken = np.asarray(one.actions)
    low: Any = getattr(act, "start", 0)
    if isinstance(act, spaces.Box):
        fits = taken.dtype.kind in "fiu" and taken.shape[1:] == act.shape and bool(np.isfinite(taken).all())
        actions = taken.reshape(len(taken), -1).astype(np.float32)
    else:
        fits = taken.dtype.kind in "iub" and taken.shape[1:] == (act.shape or ())
        actions = (taken.astype(np.int64) - low).reshape(len(taken), *((-1,) if act.shape else ()))
        most = act.n if isinstance(act, spaces.Discrete) else getattr(act, "nvec", np.array(2)).ravel()
        fits = fits and bool(((actions >= 0) & (actions < most)).all())
    if not fits:
        raise _misfit(one, "actions", "action_space", act)
    return observations, actions


def _misfit(one: Trajectory, what: str, kind: str, space: Space) -> TrainingError:
    return TrainingError(
        f"clone: trajectory {one.id} of {one.env_id} has {what} that do not fit the {kind} {space}; "
        "leave it out"
    )
