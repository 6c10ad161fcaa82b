"""The whole state of a training in one file, from which it goes on as if it had never stopped.

    save(path, algo="dqn", config=config, env_id=..., env_kwargs=..., step=4_096, policy=policy, state=state)
    checkpoint = load(path)
    checkpoint.check("dqn", env_id, env_kwargs, envs.single_observation_space, envs.single_action_space)
    config = checkpoint.config_for(DQNConfig, given)
    policy = checkpoint.policy()
    replay.restore(checkpoint.state["replay"])

A safetensors file: tensors under their paths in the state, all else as JSON in its header. Loading one runs
no code from it. It holds all that the algorithm's file hands over; what that is, is known there alone. A
policy by itself, to act with, is `Policy.save`'s.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from aigym_kernel.errors import TrainingError
from aigym_kernel.train.networks import Network, Policy
from aigym_kernel.train.saving import FORMATS as POLICY_FORMATS
from aigym_kernel.train.saving import spaces_of

FORMAT = "aigym-checkpoint"
VERSION = 1

State = dict[str, Any]
"""A nested dict with string keys whose leaves are torch tensors, NumPy arrays of numbers, or JSON values:
ints of any size, floats, strings, booleans, None, lists of these. What has state has ``state() -> State``
and ``restore(state)``."""

PACKAGES = ("aigym-kernel", "torch", "numpy", "gymnasium")

MAY_DIFFER = ("total_timesteps", "device", "vectorize")
"""Fields of a configuration that may change when a training goes on: how long, and where it computes."""

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What `load` found: ``state`` is what `save` was given, its tensors on the CPU; ``step`` counts
    environment steps; ``versions`` are those of the packages that wrote it."""

    path: Path
    algo: str
    config: dict[str, Any]
    env_id: str
    env_kwargs: dict[str, Any]
    step: int
    state: State
    versions: dict[str, str]
    policy_header: dict[str, str]
    weights: dict[str, torch.Tensor]

    def check(
        self,
        algo: str,
        env_id: str,
        env_kwargs: Mapping[str, Any] | None,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
    ) -> None:
        """Whether the training ``algo`` on this environment can go on from here.

        Raises:
            TrainingError: another algorithm, environment, keyword argument or space.
        """
        self._check_algo(algo)
        if env_id != self.env_id:
            raise TrainingError(
                f"{self.path} is a checkpoint of a training on {self.env_id}, not on {env_id}; name that "
                "environment, or start anew from its policy: policy=load(path).policy()"
            )
        theirs, given = _plain(dict(self.env_kwargs)), _plain(dict(env_kwargs or {}))
        if theirs != given:
            raise TrainingError(
                f"{self.path} was trained on {env_id} with env_kwargs={theirs}, given are {given}; "
                "pass the same"
            )
        kinds = ("observation_space", "action_space")
        for kind, own, space in zip(kinds, spaces_of(self.policy_header), (observation_space, action_space)):
            if own != space:
                raise TrainingError(
                    f"{self.path} was trained for {kind} {own}, {env_id} has {space}; the environment has "
                    "changed since: train anew"
                )

    def _check_algo(self, algo: str) -> None:
        if algo != self.algo:
            raise TrainingError(
                f"{self.path} is a checkpoint of {self.algo} and cannot be resumed by {algo}; "
                f"use {self.algo}(..., resume=...)"
            )

    def config_for(self, cls: type[C], given: C | None = None) -> C:
        """The configuration to go on with: the checkpoint's, or ``given``, which may differ in
        `MAY_DIFFER` alone. What the checkpoint's version did not have yet is as it is by default.

        Raises:
            TrainingError: it has fields that ``cls`` has not, or ``given`` another value.
        """
        known, there = {field.name for field in fields(cls)}, set(self.config)  # type: ignore[arg-type]
        if not there <= known:
            odd = ", ".join(sorted(there - known))
            raise TrainingError(
                f"{self.path} was written by aigym-kernel {self.versions.get('aigym-kernel', '?')}, whose "
                f"{cls.__name__} has other fields than this one ({odd}); resume it with that version, or "
                "start anew from its policy: policy=load(path).policy()"
            )
        if not isinstance(given, cls):  # None, or what its algorithm refuses
            return cls(**self.config) if given is None else given
        ours, theirs = _config(given), _plain(_config(cls(**self.config)))
        other = [name for name in sorted(known) if name not in MAY_DIFFER and ours[name] != theirs[name]]
        if other:
            words = ", ".join(f"{name}={theirs[name]!r} and not {ours[name]!r}" for name in other)
            raise TrainingError(
                f"{self.path} was trained with {words}; leave config out to go on with it (only "
                f"{', '.join(MAY_DIFFER)} may change), or start anew from its policy"
            )
        return given

    def policy(self, into: Policy | None = None) -> Policy:
        """The policy as it was, on the CPU; or its weights put ``into`` one of the same shape.

        Raises:
            TrainingError: the weights do not fit, or the network was the user's own and ``into`` is missing.
        """
        if into is None:
            return Policy.from_parts(self.policy_header, self.weights)
        try:
            into.load_state_dict(self.weights)
        except RuntimeError as problem:
            reason = " ".join(str(problem).split())[:300]
            raise TrainingError(f"the weights in {self.path} do not fit this network: {reason}") from None
        return into


def save(
    path: str | Path,
    *,
    algo: str,
    config: Any,
    env_id: str,
    env_kwargs: Mapping[str, Any],
    step: int,
    policy: Policy,
    state: State,
) -> Path:
    """Write a checkpoint: to ``*.tmp`` first, which then takes the place of what was there.

    Args:
        config: the algorithm's configuration, a dataclass of plain values.
        env_kwargs: what is not plain data is kept by the name of its type.
        state: see `State`. Tuples come back as lists. Nothing is copied but what is not contiguous.

    Returns:
        The path.

    Raises:
        TrainingError: a weight of the policy is NaN or infinite (what was there before stays), or the file
            cannot be written.
        TypeError: a value in ``state`` that cannot be kept; the message has its path.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = Path(path)
    weights = {name: value.detach() for name, value in policy.state_dict().items()}
    check_finite(weights, f"not saved to {target}: ")
    tensors = {f"policy/{name}": value for name, value in weights.items()}
    rest: State = {}
    for names, leaf in _leaves(state, ()):
        at = "/".join(_escape(name) for name in names)
        if isinstance(leaf, torch.Tensor):
            tensors[f"tensor/{at}"] = leaf.detach()
        elif isinstance(leaf, np.ndarray):
            tensors[f"array/{at}"] = _to_tensor(leaf, at)
        else:
            _check_plain(leaf, at)
            _put(rest, names, leaf)
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "algo": algo,
        "config": json.dumps(_config(config)),
        "env_id": env_id,
        "env_kwargs": json.dumps(_plain(dict(env_kwargs))),
        "step": str(int(step)),
        "policy": json.dumps(policy.header()),
        "state": json.dumps(rest),
        "versions": json.dumps({name: version(name) for name in PACKAGES}),
    }
    partial = target.with_name(target.name + ".tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(_apart(tensors), partial, metadata=header)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, SafetensorError) as problem:
        with suppress(OSError):
            partial.unlink()
        raise TrainingError(f"the checkpoint {target} cannot be written: {problem}") from None
    return target


def load(path: str | Path, algo: str | None = None) -> Checkpoint:
    """Read a checkpoint that `save` wrote, of the algorithm ``algo``, or of any.

    Raises:
        TrainingError: there is none, it is cut short or another file, another algorithm or a newer version
            of this package wrote it, or its weights are NaN.
    """
    where = Path(path)
    header, tensors = _read(where, "")
    try:
        checkpoint = Checkpoint(
            path=where,
            algo=header["algo"],
            config=dict(json.loads(header["config"])),
            env_id=header["env_id"],
            env_kwargs=dict(json.loads(header["env_kwargs"])),
            step=int(header["step"]),
            state=_state(json.loads(header["state"]), tensors),
            versions=dict(json.loads(header["versions"])),
            policy_header=dict(json.loads(header["policy"])),
            weights={n.removeprefix("policy/"): v for n, v in tensors.items() if n.startswith("policy/")},
        )
    except (KeyError, ValueError, TypeError, AttributeError) as problem:
        raise TrainingError(f"{where} is a checkpoint whose header is damaged: {problem!r}") from None
    check_finite(checkpoint.weights, f"{where} cannot be used: ")
    if algo is not None:
        checkpoint._check_algo(algo)
    return checkpoint


def load_policy(path: str | Path, network: Network | None = None) -> Policy:
    """The policy in a checkpoint, of which nothing else is read, or in a file of `Policy.save`; on the CPU.

    Args:
        network: the module, if the policy has one of your own.

    Raises:
        TrainingError: as of `load` and `Policy.load`.
    """
    where = Path(path)
    try:
        header, tensors = _read(where, "policy/")
    except _OnlyPolicy:
        return Policy.load(where, network=network)
    weights = {name.removeprefix("policy/"): value for name, value in tensors.items()}
    check_finite(weights, f"{where} cannot be used: ")
    return Policy.from_parts(json.loads(header["policy"]), weights, network)


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """An optimiser's ``state_dict`` as a `State`: its keys are numbers."""
    state = optimizer.state_dict()
    return {
        "state": {str(number): dict(values) for number, values in state["state"].items()},
        "param_groups": state["param_groups"],
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Put back what `optimizer_state` gave; the tensors go to the device of their parameters."""
    numbered = {int(number): values for number, values in state["state"].items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": state["param_groups"]})


def _state(state: State, tensors: Mapping[str, torch.Tensor]) -> State:
    """The state whose plain values are given, with its tensors and arrays in their places."""
    for name, value in tensors.items():
        kind, _, at = name.partition("/")
        if kind != "policy":
            _put(state, tuple(map(_unescape, at.split("/"))), value.numpy() if kind == "array" else value)
    return state


class _OnlyPolicy(TrainingError):
    """The file is one that `Policy.save` wrote."""


def _read(where: Path, prefix: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Header of a checkpoint, and its tensors of that prefix."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(where, framework="pt") as file:
            header = dict(file.metadata() or {})
            _check_format(header, where)
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return header, {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise TrainingError(f"no checkpoint at {str(where)!r}: the file does not exist") from None
    except (SafetensorError, OSError) as problem:
        raise TrainingError(
            f"{where} cannot be read as a checkpoint: it was cut short or is another file ({problem})"
        ) from None


def _check_format(header: Mapping[str, str], where: Path) -> None:
    if header.get("format") in POLICY_FORMATS:
        raise _OnlyPolicy(
            f"{where} holds a policy alone, no checkpoint; start from it with policy=Policy.load(path)"
        )
    if header.get("format") != FORMAT or not header.get("version", "").isdecimal():
        raise TrainingError(f"{where} is no checkpoint that a training wrote")
    if int(header["version"]) > VERSION:
        raise TrainingError(
            f"{where} is a checkpoint of format {header['version']}, written by a newer aigym-kernel; "
            f"this one reads up to {VERSION}: update the package"
        )


def check_finite(weights: Mapping[str, torch.Tensor], what: str) -> None:
    """Raise a TrainingError, which ``what`` begins, where a weight of a policy is NaN or infinite."""
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TrainingError(
                f"{what}the policy's weight {name} is NaN or infinite; the training had broken before (a "
                "learning rate that is too high?): go back to an earlier checkpoint, or lower learning_rate"
            )


def _leaves(state: State, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything in a state that is no dict with something in it."""
    for name, value in state.items():
        path = (*names, name)
        if not isinstance(name, str):
            raise TypeError(f"state{path}: a key must be a string")
        if isinstance(value, Mapping) and value:
            yield from _leaves(dict(value), path)
        else:
            yield path, value


def _put(state: State, names: tuple[str, ...], leaf: Any) -> None:
    for name in names[:-1]:
        state = state.setdefault(name, {})
    state[names[-1]] = leaf


def _escape(name: str) -> str:
    """A name inside of a path: as in RFC 6901, so that any key can stand there."""
    return name.replace("~", "~0").replace("/", "~1").encode("unicode_escape").decode()


def _unescape(name: str) -> str:
    return name.encode().decode("unicode_escape").replace("~1", "/").replace("~0", "~")


def _to_tensor(array: NDArray[Any], at: str) -> torch.Tensor:
    own = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    try:
        return torch.from_numpy(own if own.flags.writeable else own.copy())
    except TypeError:
        raise TypeError(f"state/{at}: an array of dtype {array.dtype} cannot be kept") from None


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU, whole, and no two in the same memory: a file cannot say that they share it."""
    seen: set[int] = set()
    apart = {}
    for name, value in tensors.items():
        own = value.cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        apart[name] = own.clone() if place in seen else own
        seen.add(place)
    return apart


def _check_plain(value: Any, at: str) -> None:
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_plain(item, at)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"state/{at}: a key must be a string, not {name!r}")
            _check_plain(item, at)
    elif not (value is None or isinstance(value, (bool, int, float, str))):
        raise TypeError(f"state/{at}: {type(value).__name__} cannot be kept")


def _config(config: Any) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(asdict(config) if is_dataclass(config) else config)  # type: ignore[arg-type]
    return plain


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists then."""
    return json.loads(json.dumps(value, default=lambda other: type(other).__name__))
