"""Thousands of boards of Snake at once, in NumPy: what `Snake` is to one, step for step.

    envs = SnakeVectorEnv(4096, seed=0, size=10, observation="grid")
    observations, infos = envs.reset()
    observations, rewards, terminated, truncated, infos = envs.step(actions)
    envs.boards()                                      # (4096, 10, 10), as `Snake.board`

No loop over boards. A board is a grid of times: each cell holds at which step of its snake the head entered
it, and the body is what was entered within the last ``length`` steps. So a step writes one number per board,
nothing else moves, and an apple makes the snake longer by counting one step more. Only boards where an apple
was eaten or a game ended are looked at alone. With obstacles each game begins in a loop, some 0.1 ms each.

As `envs.vector` promises: it resets in the same step, the infos hold ``episode_seed``, ``final_obs`` and
``final_infos``, and each episode is the one that ``Snake`` plays with its seed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from aigym_kernel.envs import SNAKE
from aigym_kernel.envs import snake_rules as r
from aigym_kernel.envs.dice import Dice, Whole
from aigym_kernel.envs.snake_sight import SOLID, Sight, see
from aigym_kernel.envs.vector import NotNative
from aigym_kernel.errors import AigymError, check_whole

_ALL = slice(None)


class SnakeVectorEnv(VectorEnv[Any, Any, Any]):
    """``n`` boards of Snake. ``arguments``: those of `Snake`, ``render_mode`` aside.

    Raises:
        AigymError, UnknownName: as `Snake`; also for a number of boards or a seed that cannot be.
    """

    def __init__(self, n: int, seed: int = 0, **arguments: Any) -> None:
        check_whole("Snake: n", n, 1)
        self.rules = rules = r.snake_rules(**arguments)
        self.num_envs = n
        self.described = (SNAKE, dict(arguments))
        self.single_observation_space = rules.space
        self.single_action_space = gymnasium.spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self._room = rules.size**2 - rules.obstacles
        # Where obstacles are drawn, they are drawn first.
        self._dice = Dice(n, seed, 1 if rules.obstacles else self._room - rules.length)
        self._everyone = np.arange(n)
        self._worth = np.array(rules.worth).ravel()
        self._tables()
        width = rules.size + 2
        # When the head entered a cell: with a wall around, and turned all four ways, to be read and seen.
        self._entered = np.full((n, width * width), SOLID, np.float32)
        self._turned = np.zeros((n, 4, rules.size**2), np.float32)
        self._rows = self._everyone * width * width
        self._turned_rows = self._everyone[:, None] * 4 * rules.size**2
        self._seeds, self._heads, self._directions, self._apples = np.zeros((4, n), np.int64)
        self._lengths, self._hungers, self._eaten, self._distances = np.zeros((4, n), np.int64)
        self._gone = np.zeros(n, np.float32)  # cells entered at this time or earlier are free
        self._playing = False

    def _tables(self) -> None:
        """What is known of every cell: cells are numbered row by row, with a wall around the board."""
        size, width = self.rules.size, self.rules.size + 2
        self._moves = np.array([-width, 1, width, -1])
        self._turns = np.array(r.TURNS)
        self._row, self._column = np.divmod(np.arange(width * width), width)
        self._inside = np.arange(width * width).reshape(width, width)[1:-1, 1:-1].ravel()
        # Where a cell is on a board that is turned for a head that looks up, right, down, left.
        self._place = np.full((4, width * width), -1, np.int64)
        for direction in range(4):
            turned = np.rot90(self._inside.reshape(size, size), direction).ravel()
            self._place[direction, turned] = np.arange(size * size)
        # The same by cell, counted through the four.
        self._places = np.ascontiguousarray((self._place + size * size * np.arange(4)[:, None]).T)
        row, column = self.rules.start
        self._start = (row + 1) * width + column + 1
        body = self._start - np.arange(self.rules.length)
        self._first = np.full(width * width, SOLID, np.float32)
        self._first[self._inside] = 0.0
        self._first[body] = self.rules.length - np.arange(self.rules.length)
        self._first_turned = self._all_ways(self._first)
        self._first_free = np.flatnonzero(self._first == 0)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """New games on all boards: with each board's next seed, or with ``seed``, ``seed`` + 1 and so on,
        or with those given.

        Raises:
            AigymError: ``options`` hold anything, or there are not as many seeds as boards.
        """
        if options:
            raise AigymError(f"Snake: reset(options={options!r}): a game cannot be changed here")
        seeds = None
        if seed is not None:
            seeds = np.array(seed if not isinstance(seed, int) else seed + self._everyone, np.int64)
            if seeds.shape != (self.num_envs,):
                raise AigymError(f"Snake: reset got {seeds.size} seeds for {self.num_envs} boards")
        self._begin(self._everyone, seeds)
        self._playing = True
        return self._see(_ALL), self._infos()

    def step(
        self, actions: Any
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One step on every board; where a game ended, the observation is the first of the next one.

        Raises:
            ResetNeeded: before the first `reset`.
            AigymError: actions that are not (n,) of 0, 1 and 2; a formula gave no finite number.
        """
        if not self._playing:
            raise gymnasium.error.ResetNeeded("Snake: there are no games yet; call reset() first")
        taken = np.asarray(actions)
        if (
            taken.shape != (self.num_envs,)
            or taken.dtype.kind not in "iu"
            or (taken < 0).any()
            or (taken > 2).any()
        ):
            raise AigymError(
                f"Snake: actions must be {self.num_envs} of 0 (straight on), 1 (left) and 2 (right), "
                f"not {taken.dtype} {taken.shape} with {np.unique(taken)[:5].tolist()}"
            )
        moves, ends = self._move(taken)
        rewards = self._rewards(moves, ends)
        over = ends != r.NO_END
        ended = np.flatnonzero(over)
        final: dict[str, Any] = {}
        if len(ended):
            last = np.full(self.num_envs, None, dtype=object)
            last[ended] = [*self._see(ended)]
            final = {"final_obs": last, "final_infos": self._final_infos(ended, ends[ended])}
            self._begin(ended, None)
        return (
            self._see(_ALL),
            rewards,
            over,
            np.zeros(self.num_envs, np.bool_),
            self._infos() | final,
        )

    def restore_episodes(
        self, seeds: Sequence[int], actions: Sequence[Sequence[int]]
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Bring every board into the middle of an episode of this run.

        Args:
            seeds: of each board's episode, as the infos told it.
            actions: those taken in each of these episodes, in order.

        Returns:
            The observations and infos in which they stand now.

        Raises:
            AigymError: an episode with that seed does not belong to this run.
        """
        own = np.array(seeds, np.int64)
        counts = np.array([len(one) for one in actions])
        longest = int(counts.max(initial=0))
        taken = np.zeros((longest, self.num_envs), np.int64)
        for board, one in enumerate(actions):
            taken[longest - len(one) :, board] = one
        self._dice.find(own)
        self._begin(self._everyone, own)
        for t in range(longest):
            # All arrive at the same step: who has fewer to take begins later, and until then plays anything.
            if len(late := np.flatnonzero(counts == longest - t)):
                self._begin(late, own[late])
            _, ends = self._move(taken[t])
            if len(ended := np.flatnonzero(ends)):
                self._begin(ended, own[ended])
        if len(untouched := np.flatnonzero(counts == 0)):
            self._begin(untouched, own[untouched])
        self._playing = True
        return self._see(_ALL), self._infos()

    def standing(self) -> dict[str, NDArray[Any]]:
        """Copies of all that a game's way from here depends on, as `SnakeTorchEnv` calls it."""
        boards, lanes = self._dice.standing()
        places = ("entered", "gone", "heads", "directions", "apples", "distances")
        names = (*places, "lengths", "hungers", "eaten", "seeds")
        return {
            **{name: getattr(self, f"_{name}").copy() for name in names},
            "streams": boards.T.copy(),
            "lanes": lanes.T[None].copy(),
        }

    def boards(self) -> NDArray[np.int8]:
        """All boards: (n, size, size) int8 with the codes of `Snake.board`."""
        ages = self._turned[:, 0] - self._gone[:, None]
        codes = (ages > 0).astype(np.int8)
        codes[ages > SOLID / 2] = 4
        codes[self._everyone, self._place[0, self._heads]] = 2
        eatable = np.flatnonzero(self._apples)
        codes[eatable, self._place[0, self._apples[eatable]]] = 3
        boards: NDArray[np.int8] = codes.reshape(-1, self.rules.size, self.rules.size)
        return boards

    def _move(self, actions: NDArray[Any]) -> tuple[Whole, Whole]:
        """Move every snake; what each move and each end was."""
        self._directions = (self._directions + self._turns.take(actions)) & 3
        to = self._heads + self._moves.take(self._directions)
        entered = self._entered.ravel().take(self._rows + to)
        hit = np.flatnonzero(entered - self._gone > 1)  # 1 is the tail, which leaves
        eaters = np.flatnonzero(to == self._apples)
        to[hit] = self._heads[hit]
        self._heads = to
        self._gone += 1
        self._gone[hit] -= 1
        self._gone[eaters] -= 1
        self._lengths[eaters] += 1
        now = self._gone + self._lengths
        self._entered.ravel()[self._rows + to] = now
        self._turned.ravel()[self._turned_rows + self._places.take(to, axis=0)] = now[:, None]
        self._hungers += 1
        self._hungers[eaters] = 0
        distances = self._apple_distances(_ALL)
        moves = np.where(distances < self._distances, r.MOVED_CLOSER, r.MOVED_FARTHER)
        moves[eaters] = r.ATE
        moves[hit] = r.DIED
        self._distances = distances
        ends = np.where(self._hungers >= self.rules.starvation, r.STARVATION, r.NO_END)
        ends[hit] = np.where(entered[hit] > SOLID / 2, r.WALL, r.SELF)
        if len(eaters):
            self._eaten[eaters] += 1
            self._put_apples(eaters)
            ends[eaters] = np.where(self._apples[eaters] == 0, r.FULL, r.NO_END)
        return moves, ends

    def _rewards(self, moves: Whole, ends: Whole) -> NDArray[np.float64]:
        formula = self.rules.formula
        if formula is None:
            worth: NDArray[np.float64] = self._worth[moves * len(r.ENDS) + ends]
            return worth
        values = {
            "step": np.ones(self.num_envs),
            "apple": moves == r.ATE,
            "closer": (moves == r.ATE) | (moves == r.MOVED_CLOSER),
            "farther": moves == r.MOVED_FARTHER,
            "death": (ends != r.NO_END) & (ends != r.FULL),
            **{name: ends == code for code, name in enumerate(r.ENDS) if name},
            "length": self._lengths,
            "apples": self._eaten,
            "hunger": self._hungers,
            "distance": self._distances,
            "size": np.full(self.num_envs, self.rules.size),
        }
        values = {name: values[name].astype(np.float64) for name in formula.names}
        rewards: NDArray[np.float64] = formula(values, np.where)
        if not np.isfinite(rewards).all():
            bad = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise AigymError(r.not_finite(formula, {name: float(values[name][bad]) for name in values}))
        return rewards

    def _begin(self, who: Whole, seeds: Whole | None) -> None:
        """New games on some boards, with their next seeds or with those given."""
        if seeds is None:
            seeds, numbers = self._dice.begin_next(who)
        else:
            numbers = self._dice.begin(who, seeds)
        self._seeds[who] = seeds
        self._entered[who], self._turned[who] = self._first, self._first_turned
        self._heads[who], self._directions[who] = self._start, r.RIGHT
        self._lengths[who] = self.rules.length
        self._hungers[who] = self._eaten[who] = 0
        self._gone[who] = 0.0
        if self.rules.obstacles:
            self._put_obstacles(who)
            self._put_apples(who)
        else:
            self._apples[who] = self._first_free[numbers]
            self._distances[who] = self._apple_distances(who)

    def _put_obstacles(self, who: Whole) -> None:
        for board in who.tolist():
            generator = np.random.default_rng(int(self._seeds[board]))
            self._entered[board, self._inside[r.draw_obstacles(self.rules, generator)]] = SOLID
            self._turned[board] = self._all_ways(self._entered[board])
            self._dice.take_over(board, generator)

    def _all_ways(self, entered: NDArray[np.float32]) -> NDArray[np.float32]:
        """A board turned for a head that looks up, right, down, left: (4, cells)."""
        board = entered[self._inside].reshape(self.rules.size, self.rules.size)
        return np.stack([np.rot90(board, direction).ravel() for direction in range(4)])

    def _put_apples(self, who: Whole) -> None:
        """An apple on a free cell of some boards, 0 (a corner of the wall) where there is none."""
        counts = self._room - self._lengths[who]
        numbers = self._dice.integers(who, np.maximum(counts, 1))
        free = self._entered[who] <= self._gone[who, None]
        cells = np.append(np.flatnonzero(free) % free.shape[1], 0)
        places = cells[np.cumsum(counts) - counts + numbers]
        self._apples[who] = np.where(counts > 0, places, 0)
        self._distances[who] = self._apple_distances(who)

    def _apple_distances(self, who: Whole | slice) -> Whole:
        heads, apples = self._heads[who], self._apples[who]
        rows = np.abs(self._row[heads] - self._row[apples])
        columns = np.abs(self._column[heads] - self._column[apples])
        distances: Whole = (rows + columns) * (apples > 0)
        return distances

    def _see(self, who: Whole | slice) -> NDArray[Any]:
        heads, directions, apples = self._heads[who], self._directions[who], self._apples[who]
        boards, count = self._turned.reshape(4 * self.num_envs, -1), self.rules.size**2
        first = directions * count
        ages = boards.take(4 * self._everyone[who] + directions, axis=0)
        ages -= self._gone[who][:, None]
        places = self._places.ravel()
        seen: NDArray[Any] = see(
            self.rules,
            Sight(
                lines=r.LINES,
                ages=ages,
                heads=places.take(4 * heads + directions) - first,
                apples=places.take(4 * apples + directions) - first,
                lengths=self._lengths[who],
                hungers=self._hungers[who],
            ),
        )
        return seen

    def _infos(self) -> dict[str, Any]:
        return {
            "episode_seed": self._seeds.copy(),
            "apples": self._eaten.copy(),
            "length": self._lengths.copy(),
        }

    def _final_infos(self, ended: Whole, ends: Whole) -> dict[int, dict[str, Any]]:
        """The last info of each game that ended, as `Snake` gives it."""
        columns = (ended.tolist(), self._eaten[ended].tolist(), self._lengths[ended].tolist(), ends.tolist())
        return {
            board: {
                "apples": apples,
                "length": length,
                "death": r.ENDS[end] if end != r.FULL else None,
                "outcome": r.ENDS[end],
            }
            for board, apples, length, end in zip(*columns)
        }


def native(n: int, seed: int, **arguments: Any) -> SnakeVectorEnv:
    """What `envs.vector.NATIVE` names for Snake.

    Raises:
        NotNative: an argument of `Snake` alone, such as ``render_mode``, or of none.
    """
    if wrong := arguments.keys() - inspect.signature(r.snake_rules).parameters.keys():
        raise NotNative(f"SnakeVectorEnv has no {' or '.join(sorted(wrong))}")
    return SnakeVectorEnv(n, seed, **arguments)
