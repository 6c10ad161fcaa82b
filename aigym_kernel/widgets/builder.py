"""Build a network from layers in the notebook, see what it becomes, and train it.

    builder = network_builder("CartPole-v1")                       add, remove, move and change layers
    aigym.train("CartPole-v1", network=builder.network)            the layers as data
    print(builder.config)                                          the same as code to copy
    builder.set({"layers": [{"type": "dense", "units": 32}]})      from Python

Shapes, parameters and errors are those of `train.layers`, found by the kernel after every change. Weights are
not made and nothing is trained here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anywidget
import gymnasium
import traitlets

from aigym_kernel import rendering
from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import make_one
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.widgets import placing, source
from aigym_kernel.widgets.replies import stay_where_sent

# `train` is imported where it is used: it brings torch, and all widgets would wait for it.
if TYPE_CHECKING:
    from aigym_kernel.train.outlines import Outline

ALGORITHMS = ("ppo", "dqn")
ENVIRONMENTS = (
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1"),
    *("LunarLander-v3", "aigym/Snake-v0"),
)


def _conv(filters: int, kernel_size: int, stride: int = 1, padding: int = 0) -> dict[str, Any]:
    sizes = {"filters": filters, "kernel_size": kernel_size, "stride": stride, "padding": padding}
    return {"type": "conv", **sizes, "activation": "relu"}


def _dense(units: int, activation: str = "relu") -> dict[str, Any]:
    return {"type": "dense", "units": units, "activation": activation}


PRESETS: dict[str, list[dict[str, Any]]] = {
    "two dense layers": [_dense(64, "tanh"), _dense(64, "tanh")],
    "wide": [_dense(256), _dense(256)],
    "small pictures": [_conv(16, 3, padding=1), _conv(32, 3), {"type": "flatten"}, _dense(128)],
    "large pictures": [_conv(32, 8, 4), _conv(64, 4, 2), _conv(64, 3), {"type": "flatten"}, _dense(512)],
    "memory": [_dense(64, "tanh"), {"type": "lstm", "units": 64}],
}
"""Networks to begin with; "large pictures" is that of Mnih et al. 2015 (doi 10.1038/nature14236)."""


class NetworkBuilder(anywidget.AnyWidget):
    """The layers that are being built, for one environment and algorithm.

    ``layers`` is what the browser edits; ``env`` and ``algo`` what it is for (``env`` "": not known yet);
    ``view`` what follows from them (see `View` in builder.js).
    """

    _esm = source.module("drawing", "builder")
    _css = source.style()

    types: Any = traitlets.Dict().tag(sync=True)
    presets: Any = traitlets.Dict().tag(sync=True)
    envs: Any = traitlets.List().tag(sync=True)
    algos: Any = traitlets.List().tag(sync=True)
    layers: Any = traitlets.List().tag(sync=True)
    env = traitlets.Unicode().tag(sync=True)
    algo = traitlets.Unicode().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        layers: list[dict[str, Any]],
        name: str,
        found: Mapping[str, tuple[gymnasium.Space[Any], gymnasium.Space[Any]]],
        algo: str,
    ) -> None:
        self._spaces = dict(found)
        super().__init__(
            types=_types(),
            presets=PRESETS,
            envs=list(dict.fromkeys(["", *([name] if name else []), *ENVIRONMENTS])),
            algos=list(ALGORITHMS),
            layers=layers,
            env=name,
            algo=algo,
        )
        stay_where_sent(self.comm)
        self._look()
        self.observe(lambda _change: self._look(), ["layers", "env", "algo"])

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    @property
    def network(self) -> dict[str, Any]:
        """The layers as data, for ``train(..., network=...)``, PPOConfig, DQNConfig or Policy.

        Raises:
            UnknownName, TrainingError: the layers cannot be, or do not fit the environment.
        """
        self._outline()
        return {"layers": [dict(layer) for layer in self.layers]}

    @property
    def config(self) -> str:
        """Code that trains this network, to copy."""
        lines = ",\n".join(f"    {dict(layer)!r}" for layer in self.layers).replace("'", '"')
        env = f'"{self.env}"' if self.env in gymnasium.registry else "env"
        train = f'aigym.train({env}, algo="{self.algo}", network=network)'
        return f'network = {{"layers": [\n{lines},\n]}}\nrun = {train}'

    def set(self, spec: object) -> NetworkBuilder:
        """Take the layers of ``spec``: ``{"layers": [...]}``, or units such as (64, 64).

        Raises:
            UnknownName, TrainingError: a layer that cannot be.
        """
        self.layers = _layers(spec)
        return self

    def static_html(self) -> str:
        """The diagram and the code, as HTML without script."""
        view = self.view
        shown = f'<img alt="{rendering.escape(view["alt"])}" style="max-width:100%" src="{view["picture"]}">'
        told = f"<p>{rendering.escape(view['error'])}</p>" if view["error"] else shown
        where = rendering.escape(f"{self.env or 'no environment'}, {self.algo}")
        return f"<div><p>Network for {where}</p>{told}{rendering.pre(self.config)}</div>"

    def _outline(self) -> Outline:
        from aigym_kernel.train.outlines import network, outline

        spec = {"layers": list(self.layers)}
        if not self.env:
            return network(spec, algo=self.algo)
        if self.env not in self._spaces:
            self._spaces[self.env] = _spaces(self.env, None)
        return outline(spec, *self._spaces[self.env], name=self.env, algo=self.algo)

    def _look(self) -> None:
        view: dict[str, Any] = {"of": [self.layers, self.env, self.algo], "config": self.config}
        view |= {"rows": [], "picture": "", "alt": "", "parameters": None, "error": "", "layer": 0}
        try:
            found = self._outline()
        except AigymError as problem:
            told = str(problem)
            number = re.search(r"\blayer (\d+)", told)
            view |= {"error": told, "layer": int(number[1]) if number else 0}
        else:
            view |= {
                "rows": [[row.outputs, row.parameters] for row in found.shared],
                "picture": found.picture_source(),
                "alt": found.alt(),
                "parameters": found.parameters,
            }
        self.view = view
        placing.renew(self)

    def __repr__(self) -> str:
        try:
            return f"NetworkBuilder for {self.env or 'no environment'}, {self.algo}\n{self._outline()!r}"
        except AigymError as problem:
            return f"NetworkBuilder: {problem}"

    def _ipython_display_(self) -> None:
        placing.place(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata


def network_builder(
    env: EnvSource | gymnasium.Env[Any, Any] | None = None,
    *,
    algo: str = "ppo",
    network: object = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> NetworkBuilder:
    """A network builder for ``env``: an environment, its id, or a function that builds one.

    Args:
        algo: ``ppo`` or ``dqn``.
        network: what to begin with, as `train` takes it; default: two dense layers.
        env_kwargs: keyword arguments of the environment.

    Raises:
        UnknownName: no such environment, algorithm, type of layer, key or activation.
        TrainingError: a layer that cannot be.
    """
    if algo not in ALGORITHMS:
        raise UnknownName("algorithm", algo, ALGORITHMS)
    name, found = "", {}
    if env is not None:
        pair = _spaces(env, env_kwargs)
        name = env if isinstance(env, str) else getattr(env, "__name__", "") or type(env).__name__
        if isinstance(env, gymnasium.Env):
            name = env.spec.id if env.spec else type(env.unwrapped).__name__
        found = {name: pair}
    spec = {"layers": PRESETS["two dense layers"]} if network is None else network
    return NetworkBuilder(_layers(spec), name, found, algo)


def _layers(spec: object) -> list[dict[str, Any]]:
    """The layers of a network with the values of all their keys."""
    from aigym_kernel.train.layers import parse

    return [{"type": layer.type, **layer.settings} for layer in parse(spec)]


def _spaces(
    env: EnvSource | gymnasium.Env[Any, Any], env_kwargs: Mapping[str, Any] | None
) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    one = env if isinstance(env, gymnasium.Env) else make_one(env, env_kwargs)
    try:
        return one.observation_space, one.action_space
    finally:
        if one is not env:
            one.close()


def _types() -> dict[str, dict[str, dict[str, Any]]]:
    """The types of layers with their keys, for the browser: numbers with bounds, and activations."""
    from aigym_kernel.train.layers import ACTIVATIONS, TYPES

    return {
        kind: {
            key: {
                "usual": setting.usual,
                "choices": list(ACTIVATIONS) if setting.usual in ACTIVATIONS else [],
                "least": setting.least,
                "most": setting.most,
            }
            for key, setting in keys.items()
        }
        for kind, keys in TYPES.items()
    }
