"""Named activities: start a training in the background, stop it, wait for it; play and record.

    run = train("CartPole-v1", algo="ppo", total_timesteps=100_000, seed=0)     returns at once
    runs = train("CartPole-v1", seeds=range(5))                                 five of them
    run.pause(); run.resume(); run.stop(); run.wait(); run.agent()          see `handles`
    rollout(agent, env, n=5)               plays, records, returns the trajectories
    load_run(run_id)                       a handle on any run, from any process

A training is a process of its own (`work`), so it goes on while cells run and outlives the kernel.
It is steered by files in its folder: ``run.json`` says what to do, ``status.json`` how far it is,
``control.json`` what it was asked meanwhile, and a file named ``stop`` asks it to end after the current
update. What it recorded up to then stays.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, overload

import gymnasium

from aigym_kernel import carried, settings
from aigym_kernel.envs import EnvSource, env_id, make
from aigym_kernel.errors import AigymError, TrainingError, UnknownName, check_whole
from aigym_kernel.handles import Run, Runs, load_run
from aigym_kernel.keeping import Record
from aigym_kernel.options import Options
from aigym_kernel.recording import FINAL, as_store, new_run, recording
from aigym_kernel.rollouts import Agent, agent_name, describe, play
from aigym_kernel.starting import start
from aigym_kernel.store import Store, Writer
from aigym_kernel.trajectories import Trajectory

if TYPE_CHECKING:
    from aigym_kernel.train import Policy
    from aigym_kernel.train.networks import Network

__all__ = ["FINAL", "Run", "Runs", "load_run", "rollout", "train"]


@overload
def train(
    env: EnvSource,
    algo: str = "ppo",
    *,
    seed: int | None = None,
    seeds: None = None,
    total_timesteps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    policy: Policy | Network | None = None,
    store: Store | None = None,
    record: Record = "all",
    evaluate_every: int | None = None,
    save_every_s: float = 30.0,
    at_once: int | None = None,
    hang_after_s: float = 300.0,
    **changes: Any,
) -> Run: ...


@overload
def train(
    env: EnvSource,
    algo: str = "ppo",
    *,
    seed: None = None,
    seeds: Iterable[int],
    total_timesteps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    policy: Policy | Network | None = None,
    store: Store | None = None,
    record: Record = "all",
    evaluate_every: int | None = None,
    save_every_s: float = 30.0,
    at_once: int | None = None,
    hang_after_s: float = 300.0,
    **changes: Any,
) -> Runs: ...


def train(
    env: EnvSource,
    algo: str = "ppo",
    *,
    seed: int | None = None,
    seeds: Iterable[int] | None = None,
    total_timesteps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    policy: Policy | Network | None = None,
    store: Store | None = None,
    record: Record = "all",
    evaluate_every: int | None = None,
    save_every_s: float = 30.0,
    at_once: int | None = None,
    hang_after_s: float = 300.0,
    **changes: Any,
) -> Run | Runs:
    """Train an agent in a process of its own and return at once; several with ``seeds``.

        run = train("CartPole-v1")                                  PPO with its preset
        run = train("aigym/Snake-v0", "dqn", total_timesteps=200_000, env_kwargs={"size": 8}, n_step=5)
        runs = train("CartPole-v1", seeds=range(5)).wait()          five runs, as many at once as fit

    The run goes on while cells run and outlives the kernel. `Run` says how to watch, pause, change, stop and
    resume it. It is evaluated before and after on 20 episodes with seeds of their own.

    Args:
        env: a gymnasium id, or a function without arguments that makes the environment.
        algo: a name of `ALGORITHMS`: ``ppo`` or ``dqn``.
        seed: of the environments, the initial weights and the sampling; default 0.
        seeds: one run for each of these seeds instead.
        total_timesteps: environment steps in all; default: the preset of the environment.
        env_kwargs: keyword arguments for ``gymnasium.make``; only with an id.
        policy: one to start from, with its own network: such as ``run.agent().policy``; or an ``nn.Module``
            that makes features of observations, or a function that builds one for an observation space (see
            `Policy`). It is sent to the run's process by value, as is a class that was defined in a
            notebook; a class of a file is imported there.
        store: where it is recorded; default: the one that AIGYM_DATA names.
        record: which finished trajectories are recorded: ``all``; ``none``; ``best-and-worst`` of each
            update; or n, every n-th. Metrics are complete in any case.
        evaluate_every: after so many environment steps each, play 20 episodes with seeds of their own and the
            most likely actions; recorded as metrics ``eval_return_mean``, ``eval_return_q10`` and
            ``eval_return_q90``, with trajectories of the group ``evaluation``. The best one's checkpoint is
            kept. Returns of the training never hold any of it.
        save_every_s: seconds between checkpoints: what a killed process loses at most.
        at_once: start only when fewer than so many trainings run in this store on this kind of device; until
            then the run is ``queued``. Default: one per core, or one per GPU. Each gets its share of the
            cores, and of several GPUs the one with the fewest runs.
        hang_after_s: the run fails when one step of an environment takes longer than so many seconds.
        changes: fields of the algorithm's configuration that replace the preset's, see `PPOConfig`,
            `DQNConfig`: ``learning_rate``, ``n_envs``, ``network``, ``device`` ...

    Returns:
        A `Run`, or with ``seeds`` the `Runs` in their order.

    Raises:
        UnknownName: the environment, algorithm or a field does not exist.
        TrainingError: the algorithm cannot train on it, a value cannot be, ``policy`` does not fit, or it
            or the environment's function cannot be sent to another process.
        AigymError: this machine has no such device.
    """
    from aigym_kernel.train import ALGORITHMS

    if algo not in ALGORITHMS:
        raise UnknownName("algorithm", algo, ALGORITHMS)
    algorithm = ALGORITHMS[algo]
    options = Options(
        record=record,
        evaluate_every=evaluate_every,
        save_every_s=save_every_s,
        at_once=at_once,
        hang_after_s=hang_after_s,
    )
    name = env_id(env) if isinstance(env, str) else agent_name(env)
    if total_timesteps is not None:
        changes["total_timesteps"] = total_timesteps
    configs = [algorithm.config.preset(name, seed=one, **changes) for one in _seeds(seed, seeds)]
    if policy is not None and "network" in changes:
        raise TrainingError("train: both policy and network are given; a policy has its own: leave one out")
    source: EnvSource = name if isinstance(env, str) else env
    spaces = algorithm.check(source, env_kwargs, configs[0].network if policy is None else None)
    settings.device(configs[0].device)
    begun = [None if policy is None else algorithm.begin(policy, *spaces, one).cpu() for one in configs]
    data = carried.pickled(gymnasium.registry[name] if isinstance(env, str) else env, "env")
    networks = [carried.own_network(one) for one in begun]
    store = as_store(store)
    started = []
    for config, first, network in zip(configs, begun, networks):
        asked = {"env": name, "env_kwargs": dict(env_kwargs or {}), "algo": algo, algo: asdict(config)}
        asked["run"] = asdict(options)
        if first is not None:
            asked["policy"] = json.loads(first.header()["network"])
        made = new_run(store, kind="train", name=f"{algo} {name}", config=asked)
        carried.send(store.run_folder(made.run_id), env=data, policy=first, network=network)
        start(store, made, options, together=len(configs))
        started.append(Run(made.run_id, store))
    return started[0] if seeds is None else Runs(tuple(started))


def _seeds(seed: int | None, seeds: Iterable[int] | None) -> list[int]:
    if seeds is None:
        return [0 if seed is None else seed]
    if seed is not None:
        raise TrainingError(f"train: both seed={seed!r} and seeds={seeds!r} are given; leave one out")
    if not isinstance(seeds, Iterable):
        raise TrainingError(f"train: seeds={seeds!r} must be whole numbers, such as range(5)")
    several = list(seeds)
    if not several or any(one in several[:i] for i, one in enumerate(several)):
        raise TrainingError(f"train: seeds={several} must be different whole numbers, such as range(5)")
    return several


def rollout(
    agent: Agent,
    env: str | gymnasium.Env[Any, Any],
    n: int = 1,
    *,
    seed: int = 0,
    store: Store | None = None,
) -> list[Trajectory]:
    """Let ``agent`` play ``env`` ``n`` times and record every step; one run in the store.

    Trajectory ``i`` starts from ``reset(seed=seed + i)``. An exception in agent or environment is kept
    in that trajectory's ``error`` and the next one is played.

    Raises:
        UnknownName: no such environment.
        AigymError: ``n``, ``seed``, ``env`` or ``agent`` cannot be.
    """
    check_whole("rollout: n", n, 1)
    check_whole("rollout: seed", seed, 0)
    made = make(env) if isinstance(env, str) else env
    if not isinstance(made, gymnasium.Env):
        raise AigymError(f"rollout: env={env!r} is neither an environment nor the id of one; see aigym.make")
    if not callable(agent):
        raise AigymError(
            f"rollout: agent={agent!r} is not callable; an agent is (observation, steps) -> action"
        )
    store = as_store(store)
    name, env_kwargs = describe(made)
    config = {"env": name, "env_kwargs": env_kwargs, "agent": agent_name(agent), "n": n, "seed": seed}
    record = new_run(store, kind="rollout", name=f"{agent_name(agent)} {name}", config=config)
    trajectories: list[Trajectory] = []
    try:
        with recording(store, record.run_id, total_steps=n) as (writer, report):
            for i in range(n):
                trajectories.append(_record(agent, made, seed + i, writer, record.run_id))
                report(i + 1)
            returns = [t.total_reward for t in trajectories]
            report(
                n, {"return_mean": sum(returns) / n, "failed": sum(t.error is not None for t in trajectories)}
            )
    finally:
        if isinstance(env, str):
            made.close()
    return trajectories


def _record(agent: Agent, env: gymnasium.Env[Any, Any], seed: int, writer: Writer, run_id: str) -> Trajectory:
    """Play once; each step reaches the writer as it happens, so that a kill loses little."""
    trajectory_id = secrets.token_hex(8)
    player = play(agent, env, seed=seed, trajectory_id=trajectory_id, run_id=run_id)
    while True:
        try:
            writer.step(trajectory_id, next(player))
        except StopIteration as end:
            trajectory: Trajectory = end.value
            writer.trajectory(trajectory)
            return trajectory
