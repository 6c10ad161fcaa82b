"""Networks as data: a list of layers, checked, with the shapes and parameters that follow from it.

    {"layers": [{"type": "conv", "filters": 16, "kernel_size": 3, "activation": "relu"},
                {"type": "flatten"},
                {"type": "dense", "units": 128, "activation": "relu"}]}

    layers = parse(spec)                    every key and value checked, defaults filled in
    placed = place(layers, (84, 84, 3))     what goes into and comes out of each for such observations

Types and their keys are the table `TYPES`. A picture is (channels, height, width) here: of an observation of
three dimensions the smaller of the first and the last is taken as the channels, one of two dimensions has one
channel. After `flatten` it is a vector; dense, lstm and gru need one, and a network has to end with one.
Nothing is computed here: `train.bodies` builds the modules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aigym_kernel.errors import TrainingError, UnknownName

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "linear")
RECURRENT = ("lstm", "gru")
MAX_PARAMETERS = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A key of a layer: its usual value, which it has unless ``required``, and its bounds if it is a number
    (``whole`` or not)."""

    usual: Any
    required: bool = False
    least: float = 0
    most: float = 0
    whole: bool = True


_UNITS = Setting(usual=64, required=True, least=1, most=65_536)
_ACTIVATION = Setting(usual="relu")
TYPES: dict[str, dict[str, Setting]] = {
    "dense": {"units": _UNITS, "activation": _ACTIVATION},
    "conv": {
        "filters": Setting(usual=16, required=True, least=1, most=4_096),
        "kernel_size": Setting(usual=3, required=True, least=1, most=1_024),
        "stride": Setting(usual=1, least=1, most=1_024),
        "padding": Setting(usual=0, least=0, most=1_024),
        "activation": _ACTIVATION,
    },
    "flatten": {},
    "lstm": {"units": _UNITS},
    "gru": {"units": _UNITS},
    "layer_norm": {},
    "dropout": {"rate": Setting(usual=0.1, required=True, least=0, most=0.99, whole=False)},
}
"""Every type of layer with its keys."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: its type and the value of each of its keys."""

    type: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A layer in its place: what goes in, what comes out (each (n,) or (channels, height, width)), and how
    many parameters it has."""

    layer: Layer
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: int


def parse(spec: object) -> tuple[Layer, ...]:
    """The layers of ``{"layers": [...]}``, or of a sequence of units: dense layers with tanh.

    Raises:
        UnknownName: a type, key or activation that does not exist.
        TrainingError: anything else that is wrong; the message names the layer's number, its key and value.
    """
    if isinstance(spec, (tuple, list)):
        units = [_whole(u, 1, _UNITS.most) for u in spec]
        if not units or None in units:
            raise TrainingError(
                f"network={spec!r}: units must be whole numbers from 1 to {_UNITS.most:g}, such as (64, 64); "
                'layers of other types are written as {"layers": [...]}'
            )
        return tuple(Layer(type="dense", settings={"units": u, "activation": "tanh"}) for u in units)
    if not isinstance(spec, Mapping):
        raise TrainingError(
            f"network={spec!r} is neither units per layer, such as (64, 64), nor "
            '{"layers": [{"type": "dense", "units": 64, "activation": "relu"}, ...]}; '
            "a module of your own is trained with policy=module"
        )
    for key in spec:
        if key != "layers":
            raise UnknownName("key of a network", key, ["layers"])
    given = spec.get("layers")
    if not isinstance(given, (list, tuple)) or not given:
        raise TrainingError(f'network: "layers" must be a list with at least one layer, not {given!r}')
    return tuple(_layer(number, one) for number, one in enumerate(given, 1))


def place(layers: Sequence[Layer], shape: Sequence[int]) -> tuple[Placed, ...]:
    """Follow the shapes of ``layers`` from an observation of ``shape`` on.

    Raises:
        TrainingError: a layer cannot take what comes into it, the network does not end with a vector, or it
            has more than `MAX_PARAMETERS`.
    """
    flows = picture(shape)[0] if wants_picture(layers) else (math.prod(shape),)
    placed: list[Placed] = []
    for number, layer in enumerate(layers, 1):
        outputs, parameters = _through(number, layer, flows, shape, placed)
        placed.append(Placed(layer=layer, inputs=flows, outputs=outputs, parameters=parameters))
        flows = outputs
    if len(flows) > 1:
        raise TrainingError(
            f"network: it ends with a picture of {told(flows)} after layer {len(layers)} "
            f'({layers[-1].type}); add {{"type": "flatten"}}'
        )
    total = sum(one.parameters for one in placed)
    if total > MAX_PARAMETERS:
        widest = max(placed, key=lambda one: one.parameters)
        raise TrainingError(
            f"network: {total:,} parameters, at most {MAX_PARAMETERS:,} can be trained; layer "
            f"{placed.index(widest) + 1} ({widest.layer.type}, {told(widest.inputs)} to "
            f"{told(widest.outputs)}) has {widest.parameters:,} of them"
        )
    return tuple(placed)


def check_memory(layers: Sequence[Layer], head: str) -> None:
    """Raise a TrainingError if layers that remember something are to give action values."""
    if head != "actor-critic" and any(layer.type in RECURRENT for layer in layers):
        raise TrainingError(
            "network: lstm and gru layers cannot learn action values (DQN replays single steps); "
            'train with algo="ppo", or use dense layers'
        )


def wants_picture(layers: Sequence[Layer]) -> bool:
    """Whether observations keep their shape for these layers: one of them is conv."""
    return any(layer.type == "conv" for layer in layers)


def picture(shape: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """An observation's shape as (channels, height, width), and how its dimensions lie: ``chw``, ``hwc`` or
    ``hw``. What is no picture comes back as it is, with ``""``."""
    if len(shape) == 2:
        return (1, *shape), "hw"
    if len(shape) != 3:
        return tuple(shape), ""
    first, middle, last = shape
    return ((first, middle, last), "chw") if first < last else ((last, first, middle), "hwc")


def told(shape: Sequence[int]) -> str:
    """A shape for people: ``128``, or ``32x7x7`` (channels, height, width)."""
    return "x".join(map(str, shape))


def _layer(number: int, given: object) -> Layer:
    if not isinstance(given, Mapping) or "type" not in given:
        raise TrainingError(
            f'network: layer {number} is {given!r}; write it as {{"type": "dense", "units": 64}}'
        )
    kind = given["type"]
    if not isinstance(kind, str) or kind not in TYPES:
        raise UnknownName(f"type of layer {number}:", kind, TYPES)
    known = TYPES[kind]
    for key in given:
        if key != "type" and key not in known:
            hint = f"{kind} has {', '.join(known) or 'no keys'}."
            raise UnknownName(f"key of layer {number} ({kind}):", key, known, hint)
    settings = {}
    for key, setting in known.items():
        where = f"network: layer {number} ({kind}): {key}"
        if setting.required and key not in given:
            raise TrainingError(f"{where} is missing; {setting.usual} is usual")
        value = given.get(key, setting.usual)
        if setting is _ACTIVATION:
            if value not in ACTIVATIONS:
                raise UnknownName(f"activation of layer {number} ({kind}):", value, ACTIVATIONS)
        elif setting.whole:
            if (value := _whole(value, setting.least, setting.most)) is None:
                limits = f"from {setting.least:g} to {setting.most:g}"
                raise TrainingError(f"{where}={given[key]!r} must be a whole number {limits}")
        elif not (_is_number(value) and setting.least <= value <= setting.most):
            raise TrainingError(f"{where}={value!r} must be a number from {setting.least} to {setting.most}")
        settings[key] = value
    return Layer(type=kind, settings=settings)


def _through(
    number: int, layer: Layer, flows: tuple[int, ...], shape: Sequence[int], before: Sequence[Placed]
) -> tuple[tuple[int, ...], int]:
    """What comes out of one layer, and its parameters."""
    keys, size = layer.settings, math.prod(flows)
    where = f"network: layer {number} ({layer.type})"
    match layer.type:
        case "conv":
            return _conv(where, keys, flows, shape, before)
        case "flatten":
            return (size,), 0
        case "layer_norm":
            return flows, 2 * size
        case "dropout":
            return flows, 0
    if len(flows) > 1:
        raise TrainingError(
            f"{where} needs a vector and gets a picture of {told(flows)} (channels x height x width); "
            f'put {{"type": "flatten"}} before it'
        )
    units = keys["units"]
    if layer.type == "dense":
        return (units,), (size + 1) * units
    gates = 4 if layer.type == "lstm" else 3
    return (units,), gates * units * (size + units + 2)


def _conv(
    where: str,
    keys: Mapping[str, Any],
    flows: tuple[int, ...],
    shape: Sequence[int],
    before: Sequence[Placed],
) -> tuple[tuple[int, ...], int]:
    if len(flows) != 3:
        made = [f"layer {n} ({one.layer.type})" for n, one in enumerate(before, 1) if len(one.inputs) == 3]
        why = (
            f"{made[-1]} has made a vector of {flows[0]:,} of it; put conv layers before it"
            if made
            else f"observations have the shape {tuple(shape)}; use dense layers"
        )
        raise TrainingError(
            f"{where} needs a picture: (height, width), (height, width, channels) or "
            f"(channels, height, width); {why}"
        )
    channels, *sides = flows
    kernel, stride, padding = keys["kernel_size"], keys["stride"], keys["padding"]
    if kernel > min(sides) + 2 * padding:
        padded = f" with padding {padding} on each side" if padding else ""
        raise TrainingError(
            f"{where}: kernel_size={kernel} is larger than its picture of {told(sides)}{padded}; at most "
            f"{min(sides) + 2 * padding} fits here: make it smaller, or leave a conv layer or stride away"
        )
    filters = keys["filters"]
    after = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
    return (filters, *after), filters * (channels * kernel * kernel + 1)


def _whole(value: object, least: float, most: float) -> int | None:
    """``value`` as an int if it is a whole number between the bounds."""
    fits = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and least <= value <= most
    return int(value) if fits else None  # type: ignore[call-overload]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
