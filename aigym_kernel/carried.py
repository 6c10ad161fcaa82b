"""What of this process a training's own one needs: its environment and the policy it begins with, in the
run's folder.

    pickled(make_env, "env")                             before there is a run: can it be sent at all?
    send(folder, env=data, policy=policy, network=data)  what `runs.train` was given
    environment(folder, record), policy(folder)          what the run's process makes of it
    network(folder)                                      the user's module, for an agent of what was learnt

    artifacts/make_env.pkl        the environment's specification, or the function that builds it
    artifacts/start.safetensors   the policy to begin with, where one was given
    artifacts/network.pkl         its network, where that is a module or function of the user's

Reading a pickle runs code. Runs that come from elsewhere (`import_run`, `Store.merge`) arrive without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from aigym_kernel.envs import EnvSource
from aigym_kernel.errors import RunError, TrainingError
from aigym_kernel.store import RunRecord

if TYPE_CHECKING:
    from aigym_kernel.train import Policy

ENV, POLICY, NETWORK = (f"artifacts/{name}" for name in ("make_env.pkl", "start.safetensors", "network.pkl"))


def pickled(thing: object, what: str) -> bytes:
    """A thing by value, so that another process can have it.

    Raises:
        TrainingError: it cannot be sent; ``what`` it is called in the message.
    """
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(thing)
    except Exception as problem:
        shown, reason = (" ".join(text.split()) for text in (f"{thing!r:.100}", str(problem)))
        ways = {
            "env": "build what it needs inside of the environment or function, or train here: for update in "
            "aigym.ppo(env)",
            "policy": "give a function that builds the module for an observation space, or train here: for "
            "update in aigym.ppo(env, policy=module)",
        }
        raise TrainingError(
            f"{what}={shown} cannot be sent to the run's own process: {reason}; {ways[what]}"
        ) from None
    return data


def own_network(policy: Policy | None) -> bytes | None:
    """The network of a policy, pickled, where it is a module or function of the user's; None where not.

    Raises:
        TrainingError: it cannot be sent.
    """
    if policy is None or not callable(policy.network):
        return None
    return pickled(policy.network, "policy")


def send(folder: Path, *, env: bytes, policy: Policy | None, network: bytes | None) -> None:
    """Write it into the run's folder."""
    (folder / ENV).parent.mkdir(exist_ok=True)
    (folder / ENV).write_bytes(env)
    if policy is not None:
        policy.save(folder / POLICY)
    if network is not None:
        (folder / NETWORK).write_bytes(network)


def environment(folder: Path, record: RunRecord) -> EnvSource:
    """The environment's id, which is registered here as it was there, or the function that `runs.train` was
    given."""
    if not (folder / ENV).is_file():
        return str(record.config["env"])
    builds = _read(folder / ENV, "the environment")
    if isinstance(builds, EnvSpec):
        gymnasium.registry[builds.id] = builds
        return builds.id
    make_env: EnvSource = builds
    return make_env


def policy(folder: Path) -> Policy | None:
    """The policy that the training was given to begin with.

    Raises:
        TrainingError: its network cannot be read here.
    """
    from aigym_kernel.train import Policy

    if not (folder / POLICY).is_file():
        return None
    return Policy.load(folder / POLICY, network=network(folder))


def network(folder: Path) -> Any:
    """The module or function that the policies of this run have for a network; None if that is plain data, or
    the run came from elsewhere.

    Raises:
        TrainingError: it cannot be read here.
    """
    return _read(folder / NETWORK, "the network") if (folder / NETWORK).is_file() else None


def check_here(folder: Path, record: RunRecord) -> None:
    """Raise a RunError where the run's network is the user's own and was left elsewhere."""
    own = record.config.get("policy")
    name = own.get("module") if isinstance(own, dict) else None
    if name and not (folder / NETWORK).is_file():
        raise RunError(
            f"run {record.run_id} cannot be resumed here: its network is {name}, a module of somebody's own, "
            "and a run that was imported or merged brings no code; start another one from what it learnt: "
            f"train(..., policy=load_agent({record.run_id!r}, which='latest', network={name}(...)).policy)"
        )


def _read(path: Path, what: str) -> Any:
    import cloudpickle

    try:
        return cloudpickle.loads(path.read_bytes())
    except Exception as problem:  # whatever the user's classes may raise
        raise TrainingError(
            f"{what} of this run cannot be read from {path}: {type(problem).__name__}: {problem}; the "
            "modules that it was made with must be importable here (sys.path, packages)"
        ) from problem
