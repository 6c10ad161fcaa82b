"""What a device may be asked to do faster: mixed precision and compiled objectives, off unless asked for.

    with mixed("bfloat16", device): outputs = policy(inputs)      matrix products in bfloat16
    objective = compiled(objective, device)                       torch.compile; on CUDA as a CUDA graph

Both change results by rounding, so that no training uses them by itself and the configuration of a run says
whether it did. Mixed precision needs a device with bfloat16 arithmetic, such as a GPU. Weights, optimiser,
losses, lstm, gru and what a Policy gives stay float32. After torch's notes on automatic mixed precision and
on ``torch.compile`` (mode ``reduce-overhead`` replays CUDA graphs).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar, get_args

import torch
from torch import nn

from aigym_kernel.errors import TrainingError
from aigym_kernel.train import configs
from aigym_kernel.train.bodies import Dropout, Memory

P = ParamSpec("P")
R = TypeVar("R")

Precision = Literal["float32", "bfloat16"]


def check(config: Any) -> None:
    """Raise a TrainingError unless ``precision`` and ``compile`` of a configuration are what they can be."""
    if config.precision not in get_args(Precision):
        raise configs.wrong(config, "precision", f"must be one of {', '.join(get_args(Precision))}")
    if not isinstance(config.compile, bool):
        raise configs.wrong(config, "compile", "must be True or False")


def check_layers(config: Any, network: nn.Module) -> None:
    """Raise a TrainingError where ``compile`` is asked for and a layer of ``network`` does something else in
    every step: it would be compiled again and again, and then not at all."""
    kinds = {Dropout: "dropout", Memory: "lstm and gru"}
    found = {name for part in network.modules() for kind, name in kinds.items() if isinstance(part, kind)}
    if config.compile and found:
        raise TrainingError(
            f"compile=True: layers of the types {' and '.join(sorted(found))} cannot be compiled once for "
            "all steps; leave compile out, or these layers"
        )


def plain(config: Any) -> bool:
    """Whether a configuration asks for nothing of this module."""
    return config.precision == "float32" and not config.compile


def mixed(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which matrix products and convolutions are of this precision; float32: as ever."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision != "float32")


def compiled(function: Callable[P, R], device: torch.device) -> Callable[P, R]:
    """The function as torch.compile makes it, with its shapes fixed: give it batches of one size.

    Raises (at its first call):
        TrainingError: nothing here compiles, such as for want of a C++ compiler.
    """
    made = _made(function, "reduce-overhead" if device.type == "cuda" else "default")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        from torch._inductor.exc import InductorError

        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            result: R = made(*args, **kwargs)
        except (torch._dynamo.exc.TorchDynamoException, InductorError) as problem:
            # Its first line may say no more than which backend raised.
            why = " ".join([line.strip() for line in str(problem).splitlines() if line.strip()][:2])
            raise TrainingError(
                f"compile=True: torch.compile cannot compile here: {why}; leave it out, or install what is "
                "missing (a C++ compiler on the CPU, Triton on CUDA)"
            ) from None
        return result

    return call


@functools.cache
def _made(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """Once per process: what was compiled for a shape is kept for the next training."""
    made: Callable[..., Any] = torch.compile(function, mode=mode, dynamic=False)
    return made
