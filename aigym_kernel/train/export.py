"""A trained policy as a file for other programs: ONNX, TorchScript, or torch's exported program.

    policy.export("snake.onnx")      for onnxruntime and others; needs the extra ``onnx``
    policy.export("snake.pt")        TorchScript: torch.jit.load, libtorch in C++, older torch
    policy.export("snake.pt2")       torch.export.load, the way that torch itself now recommends

In: ``observation`` (B, *shape), raw as the environment gives it, of its dtype (float64 as float32), and of a
recurrent policy ``state`` (B, state_size), zeros at the beginning of an episode. Out: ``action`` (B, *shape),
the most likely one, as the environment takes it; ``outputs`` (B, n), what the actor gave, or the value of
each choice (see `train.actions`); of a recurrent policy ``state_after``. ONNX knows them by these names. B is
free. Normalisation is inside; the critic is not. Torch calls TorchScript deprecated; it is still written, for
programs that load nothing else. New ones should take .pt2.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.train import actions as acting

if TYPE_CHECKING:
    from aigym_kernel.train.networks import Policy


def export(policy: Policy, path: str | Path) -> Path:
    """Write ``policy`` to ``path``, whose ending names the format: .onnx, .pt or .ts, .pt2.

    Raises:
        UnknownName: another ending.
        TrainingError: a package is missing, the file cannot be written, or a module of the user's cannot be
            exported.
    """
    target = Path(path)
    if target.suffix not in _FORMATS:
        raise UnknownName("ending of an exported policy:", target.suffix or target.name, _FORMATS)
    if target.suffix == ".onnx" and (missing := [n for n in ("onnx", "onnxscript") if not _is_here(n)]):
        raise TrainingError(
            f"{str(path)!r}: ONNX needs {' and '.join(missing)}: pip install 'aigym-kernel[onnx]'"
        )
    player = _Player(copy.deepcopy(policy).cpu()).eval().requires_grad_(False)
    partial = target.with_name(f"partial-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as problem:
        raise TrainingError(f"{target} cannot be written: {problem.strerror}") from None
    try:
        with torch.no_grad(), _quiet():
            _FORMATS[target.suffix](player, _example(policy), partial)
    except Exception as problem:
        partial.unlink(missing_ok=True)
        first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise TrainingError(
            f"this policy cannot be written as {target.suffix}: {first}; layers as data can, in a module of "
            "your own use what torch.export can follow (no branches on values)"
        ) from problem
    return partial.replace(target)


class _Player(nn.Module):
    """Observation to action; the names of its arguments are those in the file."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        space = policy.action_space
        self.shape = tuple(space.shape or ())
        for name, value in _limits(space).items():
            self.register_buffer(name, torch.as_tensor(value))
        self.start: torch.Tensor
        self.low: torch.Tensor
        self.high: torch.Tensor

    def forward(
        self, observation: torch.Tensor, state: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        inputs = self.policy.encode(observation)
        if state is None:
            outputs = self.policy.outputs(inputs)
            return self._action(outputs), outputs
        outputs, after = self.policy.step(inputs, state)
        return self._action(outputs), outputs, after

    def _action(self, outputs: torch.Tensor) -> torch.Tensor:
        chosen = acting.best(self.policy.action_space, outputs)
        chosen = chosen.reshape(-1, *self.shape)
        if hasattr(self, "start"):
            return chosen + self.start
        return chosen.clamp(self.low, self.high) if hasattr(self, "low") else chosen


def _limits(space: gymnasium.Space[Any]) -> dict[str, Any]:
    """What `actions.to_env` does to an action, as tensors' values."""
    if isinstance(space, spaces.Discrete):
        return {"start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"start": np.asarray(space.start, np.int64)}
    if isinstance(space, spaces.Box):
        return {"low": space.low.astype(np.float32), "high": space.high.astype(np.float32)}
    return {}


def _example(policy: Policy) -> tuple[torch.Tensor, ...]:
    """A batch of three to follow through the network: sizes of 1 would be taken for fixed."""
    space = policy.observation_space
    if isinstance(space, spaces.Discrete):
        observation = torch.full((3,), int(space.start))
    else:
        observation = torch.from_numpy(np.zeros((3, *(space.shape or ())), space.dtype))
    if observation.dtype == torch.float64:
        observation = observation.float()
    return (observation, policy.initial_state(3).cpu()) if policy.recurrent else (observation,)


def _onnx(player: nn.Module, example: tuple[torch.Tensor, ...], path: Path) -> None:
    recurrent = len(example) == 2
    torch.onnx.export(
        player,
        example,
        path,
        dynamo=True,
        verbose=False,
        external_data=False,
        input_names=["observation", "state"][: len(example)],
        output_names=["action", "outputs", "state_after"][: 3 if recurrent else 2],
        dynamic_shapes=_free(example),
    )


def _script(player: nn.Module, example: tuple[torch.Tensor, ...], path: Path) -> None:
    torch.jit.trace(player, example, check_trace=False).save(str(path))  # type: ignore[no-untyped-call]


def _program(player: nn.Module, example: tuple[torch.Tensor, ...], path: Path) -> None:
    with path.open("wb") as file:  # by its name alone, torch insists on the ending .pt2
        torch.export.save(torch.export.export(player, example, dynamic_shapes=_free(example)), file)


_FORMATS: dict[str, Callable[[nn.Module, tuple[torch.Tensor, ...], Path], None]] = {
    ".onnx": _onnx,
    ".pt": _script,
    ".pt2": _program,
    ".ts": _script,
}


def _free(example: tuple[torch.Tensor, ...]) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in example)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on itself: that torch.jit is deprecated, that torchvision is not installed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _is_here(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
