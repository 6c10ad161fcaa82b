"""A policy in one safetensors file: its weights, and in the header, as JSON, what it takes to build it again
and which weights do not learn (``requires_grad``).

    save(policy, "policy.safetensors")          the same as policy.save(...)
    build(Policy, *read("policy.safetensors"), None)      the same as Policy.load(...)

No code is in the file and none is run from it: a network of the user's own class must be given again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import gymnasium
import torch
from torch import nn

from aigym_kernel.errors import TrainingError
from aigym_kernel.train.spaces import space_from_dict, space_to_dict

if TYPE_CHECKING:
    from aigym_kernel.train.networks import Network, Policy

FORMAT = "aigym-policy-2"
_UNITS_ONLY = "aigym-policy-1"  # earlier files, where units per layer are called "hidden"
FORMATS = (_UNITS_ONLY, FORMAT)


def header(policy: Policy) -> dict[str, str]:
    """What a file says of ``policy`` beside its weights."""
    network = policy.network
    data = network if isinstance(network, (tuple, Mapping)) else {"module": named(network)}
    frozen = [name for name, weight in policy.named_parameters() if not weight.requires_grad]
    return {
        "format": FORMAT,
        "observation_space": json.dumps(space_to_dict(policy.observation_space)),
        "action_space": json.dumps(space_to_dict(policy.action_space)),
        "network": json.dumps(data),
        "head": policy.head,
        "normalize": json.dumps(policy.normalize),
        **({"frozen": json.dumps(frozen)} if frozen else {}),
    }


def save(policy: Policy, path: str | Path) -> Path:
    """Write ``policy`` to ``path``; a file that is there is replaced.

    Raises:
        TrainingError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = Path(path)
    # Clones: weights that a module of the user's ties together are written twice.
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in policy.state_dict().items()
    }
    partial = target.with_name(target.name + ".tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, partial, metadata=header(policy))
        return partial.replace(target)
    except (OSError, SafetensorError) as problem:
        raise TrainingError(f"the policy {target} cannot be written: {problem}") from None


def read(path: str | Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Header and weights of a file.

    Raises:
        TrainingError: no such file, or not one that `save` wrote.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise TrainingError(f"no policy at {str(path)!r}: the file does not exist") from None
    except (SafetensorError, OSError) as problem:
        raise TrainingError(f"{str(path)!r} is no readable safetensors file: {problem}") from None
    if found.get("format") not in FORMATS:
        raise TrainingError(f"{str(path)!r} holds tensors but no policy that Policy.save wrote")
    return found, weights


def build(
    cls: type[Policy],
    header: Mapping[str, str],
    weights: Mapping[str, torch.Tensor] | None,
    network: Network | None,
) -> Policy:
    """The policy that a header describes, with ``weights`` or new ones.

    Raises:
        TrainingError: it has a network of the user's own and ``network`` is not that one.
    """
    from aigym_kernel.train.networks import Head

    kept: Any = json.loads(header["hidden" if header["format"] == _UNITS_ONLY else "network"])
    own = kept.get("module") if isinstance(kept, dict) else None
    if own and network is None:
        raise TrainingError(
            f"this policy has a network of your own, {own}, of which files keep no code; give one "
            f"of the same layers: network={own}(...), or policy={own}(...) where a training goes on"
        )
    policy = cls(
        *spaces_of(header),
        network if own else kept,
        torch.Generator(),  # so that torch's global one is left alone; the weights are replaced below
        head=next((h for h in get_args(Head) if h == header.get("head")), "actor-critic"),
        normalize=json.loads(header.get("normalize", "false")),
    )
    try:
        if weights is not None:
            policy.load_state_dict(weights)
    except RuntimeError as problem:
        raise TrainingError(
            f"the recorded weights do not fit {named(network) if own else 'their network'}: {problem}"
        ) from None
    frozen = set(json.loads(header.get("frozen", "[]")))
    for name, weight in policy.named_parameters():
        if name in frozen:
            weight.requires_grad_(False)
    return policy


def spaces_of(header: Mapping[str, str]) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    """Observation and action space that a header tells."""
    observation, action = (json.loads(header[kind]) for kind in ("observation_space", "action_space"))
    return space_from_dict(observation), space_from_dict(action)


def named(network: object) -> str:
    """What a network of the user's own is called."""
    return (
        type(network).__name__
        if isinstance(network, nn.Module)
        else getattr(network, "__name__", repr(network))
    )
