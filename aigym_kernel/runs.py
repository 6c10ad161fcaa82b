"""Named activities: start a training in the background, stop it, wait for it; play and record.

    run = train("CartPole-v1", algo="ppo", total_timesteps=100_000, seed=0)     returns at once
    run.pause(); run.resume(); run.stop(); run.wait(); run.agent()          see `handles`
    rollout(agent, env, n=5)               plays, records, returns the trajectories
    load_run(run_id)                       a handle on any run, from any process

A training is a process of its own (`work`), so it goes on while cells run and outlives the kernel.
It is steered by files in its folder: ``run.json`` says what to do, ``status.json`` how far it is,
``control.json`` what it was asked meanwhile, and a file named ``stop`` asks it to end after the current
update. What it recorded up to then stays.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium

from aigym_kernel import settings
from aigym_kernel.envs import EnvSource, env_id, make
from aigym_kernel.errors import AigymError, TrainingError, UnknownName, check_whole
from aigym_kernel.handles import Run, load_run
from aigym_kernel.recording import FINAL, as_store, new_run, recording
from aigym_kernel.rollouts import Agent, agent_name, describe, play
from aigym_kernel.store import RunStatus, Store, Writer
from aigym_kernel.trajectories import Trajectory

__all__ = ["FINAL", "Run", "load_run", "rollout", "train"]


def train(
    env: EnvSource,
    algo: str = "ppo",
    *,
    seed: int = 0,
    total_timesteps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    store: Store | None = None,
    **changes: Any,
) -> Run:
    """Train an agent in a process of its own and return at once.

    Args:
        env: a gymnasium id, or a function without arguments that makes the environment.
        algo: ``ppo`` or ``dqn``.
        seed: of the environments, the initial weights and the sampling.
        total_timesteps: environment steps in all; default: the preset of the environment.
        env_kwargs: keyword arguments for ``gymnasium.make``; only with an id.
        changes: fields of the algorithm's configuration that replace the preset's.

    Raises:
        UnknownName: the environment, algorithm or a field does not exist.
        TrainingError: the algorithm cannot train on it, or it cannot be sent to another process.
        AigymError: this machine has no such device.
    """
    from aigym_kernel.train import ALGORITHMS

    if algo not in ALGORITHMS:
        raise UnknownName("algorithm", algo, ALGORITHMS)
    algorithm = ALGORITHMS[algo]
    name = env_id(env) if isinstance(env, str) else agent_name(env)
    if total_timesteps is not None:
        changes["total_timesteps"] = total_timesteps
    config = algorithm.config.preset(name, seed=seed, **changes)
    algorithm.check(name if isinstance(env, str) else env, env_kwargs)
    settings.device(config.device)
    store = as_store(store)
    pickled = None if isinstance(env, str) else _pickled(env)
    record = new_run(
        store,
        kind="train",
        name=f"{algo} {name}",
        config={
            "env": name,
            "env_kwargs": dict(env_kwargs or {}),
            "algo": algo,
            algo: asdict(config),
        },
    )
    folder = store.run_folder(record.run_id)
    if pickled is not None:
        (folder / "artifacts").mkdir(exist_ok=True)
        (folder / "artifacts" / "make_env.pkl").write_bytes(pickled)
    process = _spawn(folder)
    status = RunStatus(state="queued", pid=process.pid, total_steps=config.total_timesteps)
    store.write_status(record.run_id, status)
    assert process.stdin is not None
    process.stdin.close()
    return Run(record.run_id, store)


def _pickled(env: Callable[..., gymnasium.Env[Any, Any]]) -> bytes:
    """A function that builds an environment, by value."""
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(env)
    except Exception as problem:
        raise TrainingError(
            f"env={env!r} cannot be sent to the run's own process: {problem}; build what it needs inside "
            "the function, or train here: for update in aigym.ppo(env)"
        ) from None
    return data


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    """Start `worker.work` in a session of its own, so that Ctrl-C here does not end it. It begins when
    its standard input is closed."""
    # What can be imported here can be imported there: a pickled function may need it.
    paths = os.pathsep.join(path for path in sys.path if path)
    code = "import sys; from aigym_kernel.worker import work; work(sys.argv[1])"
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )
    threading.Thread(target=process.wait, name=f"reaps {folder.name}", daemon=True).start()
    return process


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
