"""Design the rewards of Snake in the notebook: see what they would have made of games that were played.

    designer = reward_designer(run)                 the newest games of a run
    designer = reward_designer("aigym/Snake-v0")    games played for this by a simple player
    designer.rewards                                what was designed: a mapping by event, or a formula
    print(designer.config)                          code that trains with it

Every game is played again from its seed and actions, so that all that a reward may depend on is known of each
step; nothing is trained. ``view`` is found by the kernel after every change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from aigym_kernel import rendering
from aigym_kernel.envs import SNAKE, env_id, make
from aigym_kernel.envs import snake_rules as r
from aigym_kernel.envs.formula import parse, terms
from aigym_kernel.envs.snake import Snake
from aigym_kernel.errors import AigymError, check_whole
from aigym_kernel.handles import Run
from aigym_kernel.trajectories import Trajectory
from aigym_kernel.widgets import placing, source
from aigym_kernel.widgets.replies import stay_where_sent

EXAMPLE = "10*apple - 0.01*step - 5*(wall or self) + 0.1*closer"
NAMES = (*r.EVENTS, *r.QUANTITIES)
SHOWN = 3
"""How many of the games can be watched."""
MOST_STEPS = 400
"""How much of a game can be watched."""
_STEPS = {
    "a step towards the apple": (r.MOVED_CLOSER, r.NO_END),
    "a step away from it": (r.MOVED_FARTHER, r.NO_END),
    "onto the apple": (r.ATE, r.NO_END),
    "into a wall": (r.DIED, r.WALL),
    "into its own body": (r.DIED, r.SELF),
    "starving, away from the apple": (r.MOVED_FARTHER, r.STARVATION),
    "the last apple, the board full": (r.ATE, r.FULL),
}


class Game:
    """One game, as rewards see it: ``values`` (steps, names), ``actions``, boards for the browser."""

    def __init__(self, arguments: Mapping[str, Any], seed: int, actions: Sequence[Any]) -> None:
        env = Snake(**{**arguments, "render_mode": None, "rewards": None, "observation": "grid"})
        env.reset(seed=seed)
        self.actions = list(actions)
        self.size, frames, values = env.size, [env.board().ravel()], []
        for action in actions:
            env.step(int(action))
            values.append([env.happened()[name] for name in NAMES])
            frames.append(env.board().ravel())
        self.values: NDArray[np.float64] = np.array(values, np.float64).reshape(-1, len(NAMES))
        self._frames = frames[: MOST_STEPS + 1]

    def boards(self) -> dict[str, Any]:
        """The first board, and which cells change in each step."""
        changes = []
        for one, other in zip(self._frames, self._frames[1:]):
            cells = np.flatnonzero(one != other)
            changes.append(np.stack([cells, other[cells]], axis=1).ravel().tolist())
        return {
            "width": self.size,
            "height": self.size,
            "first": self._frames[0].tolist(),
            "changes": changes,
        }


class RewardDesigner(anywidget.AnyWidget):
    """Rewards that are being designed, by event (``weights``) or as a ``formula``; ``by`` says which counts.
    ``view`` is what follows for the games (see `View` in rewards.js)."""

    _esm = source.module(*source.REWARDS)
    _css = source.style()

    by = traitlets.Unicode("event").tag(sync=True)
    weights: Any = traitlets.Dict().tag(sync=True)
    formula = traitlets.Unicode().tag(sync=True)
    quantities: Any = traitlets.List(list(r.QUANTITIES)).tag(sync=True)
    games: Any = traitlets.List().tag(sync=True)
    origin = traitlets.Unicode().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)

    def __init__(self, games: Sequence[Game], origin: str, arguments: Mapping[str, Any]) -> None:
        self._games = list(games)
        self._arguments = {name: value for name, value in arguments.items() if name != "rewards"}
        given = arguments.get("rewards")
        worth = {**r.REWARDS, "full": 0.0, **(given if isinstance(given, Mapping) else {})}
        super().__init__(
            by="formula" if isinstance(given, str) else "event",
            weights={event: float(worth[event]) for event in r.EVENTS if event in worth},
            formula=given if isinstance(given, str) else EXAMPLE,
            games=[game.boards() for game in self._games[:SHOWN]],
            origin=origin,
        )
        stay_where_sent(self.comm)
        self._look()
        self.observe(lambda _change: self._look(), ["by", "weights", "formula"])

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    @property
    def rewards(self) -> dict[str, float] | str:
        """What was designed, for ``train(..., env_kwargs={"rewards": ...})`` or `make`.

        Raises:
            UnknownName, AigymError: it cannot be a reward; see `Snake`.
        """
        chosen: dict[str, float] | str = self.formula if self.by == "formula" else dict(self.weights)
        r.snake_rules(rewards=chosen)
        return chosen

    @property
    def config(self) -> str:
        """Code that trains with these rewards, to copy."""
        chosen = self.formula if self.by == "formula" else dict(self.weights)
        kwargs = {**self._arguments, "rewards": chosen}
        lines = "".join(f"    {name!r}: {value!r},\n" for name, value in kwargs.items()).replace("'", '"')
        return f'env_kwargs = {{\n{lines}}}\nrun = aigym.train("{SNAKE}", env_kwargs=env_kwargs)'

    def set(self, rewards: Mapping[str, float] | str) -> RewardDesigner:
        """Take rewards by event (the others as they are by default), or a formula.

        Raises:
            UnknownName, AigymError: they cannot be; see `Snake`.
        """
        r.snake_rules(rewards=rewards)
        if isinstance(rewards, str):
            self.formula, self.by = rewards, "formula"
        else:
            self.weights = {**r.REWARDS, "full": 0.0, **{k: float(v) for k, v in rewards.items()}}
            self.by = "event"
        return self

    def static_html(self) -> str:
        """Contributions, what each step gives, and the code, as HTML without script."""
        view = self.view
        if view["error"]:
            told = f"<p>{rendering.escape(view['error'])}</p>"
        else:
            parts = [[term, f"{mean:.3f}"] for term, mean in view["terms"]]
            steps = [[step, f"{reward:.3f}"] for step, reward in view["steps"]]
            told = rendering.table(["per game", "mean"], parts) + rendering.table(["a step", "reward"], steps)
            told = f"<p>mean return {view['mean']:.3f}</p>{told}"
        where = rendering.escape(f"Rewards of Snake, on {self.origin}")
        return f"<div><p>{where}</p>{told}{rendering.pre(self.config)}</div>"

    def _look(self) -> None:
        view: dict[str, Any] = {"of": [self.by, self.weights, self.formula], "config": self.config}
        view |= {"error": "", "terms": [], "steps": [], "returns": [], "mean": 0.0, "played": []}
        try:
            view |= self._found()
        except AigymError as problem:
            view["error"] = str(problem)
        self.view = view
        placing.renew(self)

    def _found(self) -> dict[str, Any]:
        """What the rewards make of the games. A formula that gives no number in one of them is refused."""
        rules = r.snake_rules(rewards=self.rewards)
        whole = parse(rules.text, NAMES)
        parts = terms(rules.text)
        steps = np.concatenate([game.values for game in self._games])
        columns = dict(zip(NAMES, steps.T))
        rewards = self._each(whole, columns)
        if not np.isfinite(rewards).all():
            bad = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise AigymError(r.not_finite(whole, {name: float(columns[name][bad]) for name in NAMES}))
        ends = np.cumsum([len(game.values) for game in self._games])
        by_game = np.split(rewards, ends[:-1])
        found = [(part, float(self._each(parse(part, NAMES), columns).sum())) for part in parts]
        typical = dict(zip(NAMES, np.median(steps, axis=0).tolist()))
        return {
            "terms": [
                (part, total / len(self._games)) for part, total in found if total or self.by != "event"
            ],
            "steps": [(text, float(whole({**typical, **r.events(*step)}))) for text, step in _STEPS.items()],
            "returns": [float(own.sum()) for own in by_game],
            "mean": float(rewards.sum() / len(self._games)),
            "played": [np.cumsum(own[:MOST_STEPS]).tolist() for own in by_game[:SHOWN]],
        }

    @staticmethod
    def _each(formula: Any, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        many = len(columns["step"])
        with np.errstate(over="ignore", invalid="ignore"):
            return np.broadcast_to(np.asarray(formula(columns, np.where), np.float64), many)

    def __repr__(self) -> str:
        problem = self.view["error"]
        told = problem or f"mean return {self.view['mean']:.3f}"
        return f"RewardDesigner on {self.origin}: {told}"

    def _ipython_display_(self) -> None:
        placing.place(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata


def reward_designer(
    what: Run | str = SNAKE, *, games: int = 20, env_kwargs: Mapping[str, Any] | None = None
) -> RewardDesigner:
    """A reward designer on the newest games of a run, or on games that a simple player plays now.

    Args:
        what: a run of Snake, or Snake's id.
        games: how many.
        env_kwargs: arguments of Snake for games played now; of a run they are its own.

    Raises:
        UnknownName: no such environment.
        AigymError: it is not Snake, or the run has no finished games of it; an argument that cannot be.
    """
    check_whole("reward_designer: games", games, 1, 1000)
    if isinstance(what, Run):
        recorded = _newest(what, games)
        arguments = dict(recorded[0].env_kwargs)
        found = [Game(t.env_kwargs, t.seed or 0, np.asarray(t.actions).tolist()) for t in recorded]
        return RewardDesigner(found, f"the last {len(found)} games of {what.id}", arguments)
    if env_id(what) != SNAKE:
        raise AigymError(f"reward_designer: {what!r} has no rewards by event; {SNAKE!r} does")
    arguments = dict(env_kwargs or {})
    played = [_played(arguments, seed) for seed in range(games)]
    return RewardDesigner(played, f"{games} games of a simple player", arguments)


def _newest(run: Run, games: int) -> list[Trajectory]:
    rows = run.store.page(where={"run_id": run.id, "env_id": SNAKE}, limit=games).rows
    found = [run.store.load(row["trajectory_id"]) for row in rows]
    found = [t for t in found if t.seed is not None and len(t)]
    if not found:
        raise AigymError(f"reward_designer: run {run.id!r} has no finished games of {SNAKE} yet")
    return found


def _played(arguments: Mapping[str, Any], seed: int) -> Game:
    """A game of somebody who takes a shortest way to the apple, or the way with most room; and is at times
    careless."""
    seen = {**arguments, "rewards": None, "observation": "features", "render_mode": None}
    env, rng = make(SNAKE, **seen), np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    actions: list[int] = []
    over = False
    while not over and len(actions) < MOST_STEPS:
        moves = observation[:21].reshape(3, 7)
        action = int((moves[:, 0] + moves[:, 6] + moves[:, 3]).argmax())
        actions.append(action if rng.random() < 0.97 else int(rng.integers(3)))
        observation, _, over, _, _ = env.step(actions[-1])
    return Game(arguments, seed, actions)
