"""What a network looks like: its layers with shapes and parameters, as a diagram and as text.

    network({"layers": [...]}, "CartPole-v1")     shapes, parameters, a diagram in a notebook
    network((64, 64)).parameters                  None: how many depends on the environment
    outline_of(policy)                            what a Policy shows of itself

Weights are not made for it, and nothing is run but a module of the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium import spaces
from torch import nn

from aigym_kernel import rendering
from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import make_one
from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.train.actions import output_width
from aigym_kernel.train.layers import RECURRENT, Layer, Placed, check_memory, parse, place, told
from aigym_kernel.train.spaces import check_spaces, width

if TYPE_CHECKING:
    from aigym_kernel.train.networks import Policy

_HEADS = {"ppo": "actor-critic", "dqn": "dueling"}
_COLOURS = {"dense": "#1565c0", "conv": "#6a1b9a", "lstm": "#2e7d32", "gru": "#2e7d32", "head": "#a33a00"}
_OTHER = "#546e7a"
_BOX, _ROW, _NOTE, _GAP = 200, 44, 200, 24
"""In the diagram, in pixels: a layer's box, from one to the next, what is written beside it, below all."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer: what it is, what comes out (``?`` where that is not known yet), its parameters."""

    kind: str
    label: str
    outputs: str
    parameters: int | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Outline:
    """A network's layers: what goes in, the layers that all share, and then side by side what each of
    actor and critic (or advantage and value) has for itself."""

    inputs: str
    shared: tuple[Row, ...]
    branches: tuple[tuple[Row, ...], ...]

    @property
    def parameters(self) -> int | None:
        """How many numbers are trained; None as long as the environment is not known."""
        counts = [row.parameters for row in self._rows()]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def _rows(self) -> list[Row]:
        return [*self.shared, *(row for branch in self.branches for row in branch)]

    def _total(self) -> str:
        if (total := self.parameters) is None:
            return "parameters: give an environment"
        return f"{total:,} parameters"

    def __repr__(self) -> str:
        table = [("input", self.inputs, "")]
        for branch in [self.shared, *self.branches]:
            table += [(row.label, row.outputs, _count(row)) for row in branch]
        wide = [max(len(line[column]) for line in table) for column in range(3)]
        lines = [f"{a:{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}".rstrip() for a, b, c in table]
        return "\n".join([*lines, self._total()])

    def _repr_html_(self) -> str:
        return self.picture()

    def picture(self) -> rendering.Markup:
        """The diagram, as a picture that needs nothing else."""
        svg, view = self._diagram()
        return rendering.picture(svg, view=view, width=view[0], alt=self.alt())

    def picture_source(self) -> str:
        """The same as an image's ``src``."""
        svg, view = self._diagram()
        return rendering.picture_source(svg, view=view, width=view[0])

    def alt(self) -> str:
        """The diagram in words."""
        rows = "; ".join(f"{row.label}: {row.outputs}" for row in self._rows())
        return f"network, input {self.inputs}; {rows}; {self._total()}"

    def _diagram(self) -> tuple[str, tuple[int, int]]:
        """SVG elements, and the box that they lie in."""
        column = _BOX + _NOTE
        parts = [_box(0, 0, f"input {self.inputs}", _OTHER)]
        y = _ROW
        for row in self.shared:
            parts.append(_line(_BOX / 2, y - _ROW + 26, _BOX / 2, y) + _drawn(row, 0, y))
            y += _ROW
        for number, branch in enumerate(self.branches):
            x, below = number * column, y
            parts.append(_line(_BOX / 2, y - _ROW + 26, x + _BOX / 2, y))
            for row in branch:
                if below > y:
                    parts.append(_line(x + _BOX / 2, below - _ROW + 26, x + _BOX / 2, below))
                parts.append(_drawn(row, x, below))
                below += _ROW
        deepest = y + _ROW * max((len(branch) for branch in self.branches), default=0)
        parts.append(_text(0, deepest + 4, self._total(), rendering.DULL))
        return "".join(parts), (max(1, len(self.branches)) * column, deepest + _GAP)


def network(
    spec: object,
    env: EnvSource | gymnasium.Env[Any, Any] | None = None,
    *,
    algo: str = "ppo",
    env_kwargs: Mapping[str, Any] | None = None,
) -> Outline:
    """Look at a network before anything is trained.

    Args:
        spec: units per layer, such as (64, 64), or ``{"layers": [...]}`` (see `train.layers`).
        env: an environment, its id, or a function that builds one; without it only what does not depend
            on one is known and checked.
        algo: ``ppo`` or ``dqn``: what follows the layers.

    Raises:
        UnknownName: no such type of layer, key, activation, algorithm or environment.
        TrainingError: layers that cannot be, that do not fit the observations, or a space that no network
            can handle.
    """
    if algo not in _HEADS:
        raise UnknownName("algorithm", algo, _HEADS)
    if env is None:
        return Outline(inputs="?", shared=tuple(_unplaced(parse(spec))), branches=())
    one = env if isinstance(env, gymnasium.Env) else make_one(env, env_kwargs)
    try:
        name = env if isinstance(env, str) else one.spec.id if one.spec else type(one.unwrapped).__name__
        return outline(spec, one.observation_space, one.action_space, name=name, algo=algo)
    finally:
        if one is not env:
            one.close()


def outline(
    spec: object,
    observation: gymnasium.Space[Any],
    action: gymnasium.Space[Any],
    *,
    name: str,
    algo: str,
) -> Outline:
    """The same for the spaces of an environment called ``name``."""
    layers = parse(spec)
    check_spaces(observation, action, name, continuous=algo == "ppo")
    check_memory(layers, _HEADS[algo])
    return _outline(layers, isinstance(spec, Mapping), observation, action, _HEADS[algo])


def outline_of(policy: Policy) -> Outline:
    """The layers of a Policy."""
    known, own = policy.network, isinstance(policy.network, Mapping)
    if isinstance(known, (tuple, Mapping)):
        return _outline(parse(known), own, policy.observation_space, policy.action_space, policy.head)
    module = policy.body if policy.body is not None else policy.actor.body
    assert isinstance(module, nn.Module)
    head = policy.critic if policy.head == "actor-critic" else policy.actor.advantage
    features = next(head.parameters()).shape[-1]  # type: ignore[union-attr]
    parts = list(module.named_children()) or [("", module)]
    rows = [
        Row(kind="", label=f"{name} {type(part).__name__}".strip(), outputs="", parameters=_size(part))
        for name, part in parts
    ]
    missed = _size(module) - sum(_size(part) for _, part in parts)
    last = Row(kind="", label=type(module).__name__, outputs=str(features), parameters=missed)
    heads = _heads(features, policy.action_space, policy.head)
    return Outline(inputs=_shown(policy.observation_space), shared=(*rows, last), branches=heads)


def _outline(
    layers: Sequence[Layer],
    own: bool,
    observation: gymnasium.Space[Any],
    action: gymnasium.Space[Any],
    head: str,
) -> Outline:
    """``own``: the layers were given as such, so that actor and critic share them."""
    shape = observation.shape if isinstance(observation, spaces.Box) else (width(observation),)
    placed = place(layers, shape)
    relu = not own and head != "actor-critic"  # a Policy's units have ReLU where they give action values
    rows = tuple(_row(one, described(one.layer, "relu" if relu else None)) for one in placed)
    heads = _heads(placed[-1].outputs[0], action, head)
    shown = _shown(observation)
    if own or head != "actor-critic":
        return Outline(inputs=shown, shared=rows, branches=heads)
    return Outline(inputs=shown, shared=(), branches=tuple((*rows, *one) for one in heads))


def described(layer: Layer, activation: str | None = None) -> str:
    """A layer in a few words: ``dense 128 relu``, ``conv 16 of 3x3, stride 2, relu``."""
    keys = {**layer.settings}
    last = activation or keys.pop("activation", "")
    match layer.type:
        case "conv":
            side = keys["kernel_size"]
            extra = [f", {k} {keys[k]}" for k, usual in (("stride", 1), ("padding", 0)) if keys[k] != usual]
            return f"conv {keys['filters']} of {side}x{side}{''.join(extra)}, {last}"
        case "dense":
            return f"dense {keys['units']} {last}"
        case "dropout":
            return f"dropout {keys['rate']:g}"
        case kind if kind in RECURRENT:
            return f"{kind} {keys['units']}"
    return layer.type.replace("_", " ")


def _heads(features: int, action: gymnasium.Space[Any], head: str) -> tuple[tuple[Row, ...], ...]:
    outputs = output_width(action)
    if head == "actor-critic":
        spread = outputs if isinstance(action, spaces.Box) else 0
        names = [("actor", outputs, spread), ("critic", 1, 0)]
    elif head == "dueling":
        names = [("advantage", outputs, 0), ("value", 1, 0)]
    else:
        names = [("action values", outputs, 0)]
    return tuple(
        (Row(kind="head", label=name, outputs=str(out), parameters=(features + 1) * out + extra),)
        for name, out, extra in names
    )


def _unplaced(layers: Sequence[Layer]) -> list[Row]:
    """Rows as far as they are known without an environment: from the first layer with units on."""
    rows: list[Row] = []
    for number, layer in enumerate(layers, 1):
        units = layer.settings.get("units")
        flows = rows[-1].outputs if rows else "?"
        if flows.isdigit():
            if layer.type == "conv":
                raise TrainingError(
                    f"network: layer {number} (conv) needs a picture, layer {number - 1} "
                    f"({layers[number - 2].type}) gives a vector of {flows}; put conv layers before it"
                )
            (one,) = place([layer], (int(flows),))
            rows.append(_row(one, described(layer)))
            continue
        known = str(units) if units else "?"
        free = 0 if layer.type in ("flatten", "dropout") else None
        rows.append(Row(kind=layer.type, label=described(layer), outputs=known, parameters=free))
    return rows


def _row(one: Placed, label: str) -> Row:
    return Row(kind=one.layer.type, label=label, outputs=told(one.outputs), parameters=one.parameters)


def _shown(space: gymnasium.Space[Any]) -> str:
    return f"one of {space.n}" if isinstance(space, spaces.Discrete) else told(space.shape or ())


def _size(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def _count(row: Row) -> str:
    return "?" if row.parameters is None else f"{row.parameters:,}"


def _drawn(row: Row, x: float, y: float) -> str:
    """A row's box with what comes out and its parameters beside it."""
    words = [f"{row.outputs} out"] if row.outputs else []
    words += [f"{_count(row)} parameters"] if row.parameters != 0 else []
    box = _box(x, y, row.label, _COLOURS.get(row.kind, _OTHER))
    return box + _text(x + _BOX + 8, y + 17, " · ".join(words), rendering.DULL)


def _box(x: float, y: float, label: str, colour: str) -> str:
    shape = f'<rect x="{x}" y="{y}" width="{_BOX}" height="26" rx="4" fill="{colour}"/>'
    return shape + _text(x + 8, y + 17, rendering.short(label, 32), "#fff")


def _text(x: float, y: float, text: str, colour: str) -> str:
    words = rendering.escape(text)
    return f'<text x="{x}" y="{y}" font-size="12" font-family="sans-serif" fill="{colour}">{words}</text>'


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0} {y0}L{x1} {y1}" stroke="{rendering.DULL}" fill="none"/>'
