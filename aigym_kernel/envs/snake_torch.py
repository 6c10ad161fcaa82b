"""Thousands of boards of Snake on one device, in torch: what `SnakeVectorEnv` is in NumPy, step for step.

    envs = SnakeTorchEnv(4096, seed=0, size=10, observation="grid").to("cuda")
    observations, infos = envs.reset()                 # tensors on the device, as all that follows
    observations, rewards, terminated, truncated, infos = envs.step(actions)
    envs.boards()

Boards, random numbers and seeds stay on the device, and no step waits for it: every line is done for all
boards, and what concerns some of them is chosen by `torch.where`. So an apple lies where `Snake` puts it:
each episode has NumPy's own stream of its seed (`envs.streams`); episodes are begun in advance, for
`STEPS_AHEAD` steps at once. Only obstacles are drawn on the host, as many games of them in advance as
`STEPS_WITH_OBSTACLES` steps may need: between these steps nothing waits, at them the host reads the seeds
and draws, some 0.1 ms for each game that has begun since (at the reset for all in advance).

The observation ``features`` floods the boards. On the CPU a flood ends when nothing is left of it; elsewhere
it takes as many steps as the longest way has, 75 on a board of size 10, 3,072 of size 64: there features cost
many times what the other observations do.

What differs from the other vectorised environments: everything is a tensor; ``infos`` hold ``episode_seed``
and, after a step, what the last step of each game that ended was like, as ``final`` (see `step`). A formula's
result is not looked at: whoever collects the rewards has to.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from aigym_kernel.envs import SNAKE, streams
from aigym_kernel.envs import snake_rules as r
from aigym_kernel.envs.snake_sight import SOLID, Sight, see
from aigym_kernel.envs.snake_vector import SnakeVectorEnv
from aigym_kernel.envs.vector import NotNative
from aigym_kernel.errors import AigymError, check_whole

Tensor = torch.Tensor
STEPS_AHEAD = 64
"""For how many steps episodes are begun in advance."""
STEPS_WITH_OBSTACLES = 8
"""The same with obstacles, where a game may end in its first step."""


class SnakeTorchEnv(VectorEnv[Any, Any, Any]):
    """``n`` boards of Snake, on the CPU until `to` moves them. ``arguments``: those of `Snake`,
    ``render_mode`` aside.

    Raises:
        AigymError, UnknownName: as `Snake`.
    """

    def __init__(self, n: int, seed: int = 0, **arguments: Any) -> None:
        check_whole("Snake: n", n, 1)
        check_whole("seed", seed, 0, 2**32 - 1)
        self.rules = rules = r.snake_rules(**arguments)
        self.num_envs, self._seed = n, seed
        self.described = (SNAKE, dict(arguments))
        self.single_observation_space = rules.space
        self.single_action_space = gymnasium.spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        row, column = rules.start
        # No game is shorter: to an obstacle, to the nearest wall, into a body of five, or to starvation.
        nearest = 1 if rules.obstacles else min(rules.size - column, row + 1, rules.size - row)
        self.shortest = min(3, nearest, rules.starvation)
        self.device, self._real, self._near = torch.device("cpu"), torch.float64, True
        self._room = rules.size**2 - rules.obstacles
        self._tables()
        n, cells = self.num_envs, (self.rules.size + 2) ** 2
        self._everyone = self._whole(range(n))
        self._entered = torch.zeros((n, cells), device=self.device)
        zero = self._everyone * 0
        # Streams as `dice.Words` has them, a column for each board. Lanes, from which the boards' seeds are
        # drawn: as they are after none, one ... of the episodes begun in advance, of which some are used.
        lanes = torch.stack([*streams.seeded([zero + self._seed, self._everyone]), zero, zero])
        self._streams, self._lanes, self._used = lanes, lanes[None], zero
        self._left = 0
        self._drawn_for: dict[int, NDArray[np.int64]] = {}
        self._playing = False

    def to(self, device: torch.device | str) -> Self:
        """The boards, as they stand, on a device."""
        there = torch.device(device)
        if there != self.device:
            self.device, self._near = there, there.type == "cpu"
            self._real = torch.float32 if there.type == "mps" else torch.float64
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    real = self._real if value.dtype == torch.float64 else value.dtype
                    setattr(self, name, value.to(there, real))
        return self

    def observe(self) -> Tensor:
        """The observations of the games as they stand."""
        return self._see()

    def seeds(self) -> list[int]:
        """The seeds of the games as they stand, on the host."""
        return list(self._seeds.tolist())

    def restore_episodes(
        self, seeds: Sequence[int], actions: Sequence[Sequence[int]]
    ) -> tuple[Any, dict[str, Any]]:
        """As `SnakeVectorEnv.restore_episodes`, which does it; observations and infos are NumPy's."""
        other = SnakeVectorEnv(self.num_envs, self._seed, **self.described[1])
        result = other.restore_episodes(seeds, actions)
        for name, value in other.standing().items():
            setattr(self, f"_{name}", torch.from_numpy(value).to(self.device))
        self._used, self._left, self._playing = self._everyone * 0, 0, True
        return result

    def _tables(self) -> None:
        width = self.rules.size + 2
        inside = torch.arange(width * width).reshape(width, width)[1:-1, 1:-1]
        turned = torch.stack([torch.rot90(inside, direction) for direction in range(4)])
        self._turned = turned.reshape(4, -1).to(self.device)
        self._inside = turned[0].flatten().to(self.device)
        cells = torch.arange(width * width, device=self.device)
        self._points = torch.stack([cells // width, cells % width], 1)
        self._moves, self._turns = self._whole([-width, 1, width, -1]), self._whole(r.TURNS)
        self._worth = torch.tensor(self.rules.worth, dtype=self._real, device=self.device)
        self._lines = torch.from_numpy(r.LINES).to(self.device)
        # Where a cell is on a board that is turned for a head that looks up, right, down, left.
        self._place = torch.full((4, width * width), -1, device=self.device)
        self._place.scatter_(1, self._turned, torch.arange(self.rules.size**2).expand(4, -1))
        row, column = self.rules.start
        self._start = (row + 1) * width + column + 1
        first = torch.full((width * width,), SOLID)
        first[self._inside.cpu()] = 0.0
        for i in range(self.rules.length):
            first[self._start - i] = self.rules.length - i
        self._first = first.to(self.device)
        self._first_numbers = self._whole([self._start, r.RIGHT, self.rules.length, 0, 0])[:, None]

    def _whole(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.int64, device=self.device)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """New games on all boards, with each board's next seed.

        Raises:
            AigymError: a ``seed`` or ``options`` are given.
        """
        if seed is not None or options:
            raise AigymError("Snake on the device: reset takes neither a seed nor options")
        zero = self._everyone * 0
        self._heads, self._directions, self._apples, self._distances = zero, zero, zero, zero
        self._lengths, self._hungers, self._eaten, self._seeds = zero, zero, zero, zero
        self._gone = zero.float()
        self._playing = True
        self._prepare()
        everyone = zero == 0
        self._begin(everyone)
        self._put_apples(everyone)
        return self._see(), {"episode_seed": self._seeds}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """One step on every board: ``actions`` (n,) of 0, 1 and 2, taken as they are.

        ``infos["final"]`` holds, for the games that ended in this step (of the others it means nothing):
        ``observation``, ``seed``, ``apples``, ``length`` and ``end``, a place in `snake_rules.ENDS`.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        if not self._playing:
            raise gymnasium.error.ResetNeeded("Snake: there are no games yet; call reset() first")
        if not self._left:
            self._prepare()
        self._left -= 1
        moves, ends = self._move(actions)
        over = ends != r.NO_END
        ate = moves == r.ATE
        # The apple that was eaten is gone; where the game ends with it, there is no other.
        self._apples = torch.where(ate, 0, self._apples)
        # Where nothing may wait, the last observations are looked at on all boards.
        ended = over.nonzero()[:, 0] if self._near else self._everyone
        before = self._sight(ended)
        final = {
            "seed": self._seeds,
            "apples": self._eaten,
            "length": self._lengths,
            "end": ends,
        }
        quantities = {
            "length": self._lengths,
            "apples": self._eaten,
            "hunger": self._hungers,
            "distance": self._distances,
        }
        self._begin(over)
        self._put_apples(ate | over)
        quantities["distance"] = torch.where(over, quantities["distance"], self._distances)
        rewards = self._rewards(moves, ends, quantities)
        # Both at once, in half as many operations.
        seen: Tensor = see(self.rules, before.joined(self._sight(self._everyone)))
        last, now = seen[: len(ended)], seen[len(ended) :]
        final["observation"] = torch.empty_like(now).index_copy_(0, ended, last)
        infos = {"episode_seed": self._seeds, "final": final}
        return now, rewards, over, torch.zeros_like(over), infos

    def boards(self) -> Tensor:
        """All boards: (n, size, size) int8 with the codes of `Snake.board`."""
        ages = self._entered - self._gone[:, None]
        codes = torch.where(ages > SOLID / 2, 4, ages > 0).to(torch.int8)
        codes[self._everyone, self._heads] = 2
        codes[self._everyone, self._apples] = 3  # 0, where there is none, is in the wall
        return codes[:, self._inside].reshape(-1, self.rules.size, self.rules.size)

    def _move(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Move every snake; what each move and each end was. See `SnakeVectorEnv`, whose lines these are."""
        self._directions = (self._directions + self._turns[actions]) & 3
        to = self._heads + self._moves[self._directions]
        entered = self._entered.gather(1, to[:, None])[:, 0]
        blocked = entered - self._gone > 1
        ate = to == self._apples
        self._heads = torch.where(blocked, self._heads, to)
        self._gone = self._gone + (~blocked ^ ate)
        self._lengths = self._lengths + ate
        self._eaten = self._eaten + ate
        self._entered.scatter_(1, self._heads[:, None], (self._gone + self._lengths)[:, None])
        self._hungers = torch.where(ate, 0, self._hungers + 1)
        distances = self._apple_distances()
        moves = torch.where(distances < self._distances, r.MOVED_CLOSER, r.MOVED_FARTHER)
        moves = torch.where(blocked, r.DIED, torch.where(ate, r.ATE, moves))
        self._distances = distances
        full = ate & (self._lengths == self._room)
        dead = torch.where(entered > SOLID / 2, r.WALL, r.SELF)
        late = torch.where(~ate & (self._hungers >= self.rules.starvation), r.STARVATION, r.NO_END)
        return moves, torch.where(blocked, dead, torch.where(full, r.FULL, late))

    def _rewards(self, moves: Tensor, ends: Tensor, quantities: dict[str, Tensor]) -> Tensor:
        formula = self.rules.formula
        if formula is None:
            return self._worth[moves, ends]
        ate = moves == r.ATE
        values = {
            "step": torch.ones_like(moves),
            "apple": ate,
            "closer": ate | (moves == r.MOVED_CLOSER),
            "farther": moves == r.MOVED_FARTHER,
            "death": (ends != r.NO_END) & (ends != r.FULL),
            **{name: ends == code for code, name in enumerate(r.ENDS) if name},
            **quantities,
            "size": torch.full_like(moves, self.rules.size),
        }
        values = {name: values[name].to(self._real) for name in formula.names}
        rewards: Tensor = formula(values, self._where)
        return rewards

    def _where(self, condition: Tensor, a: Any, b: Any) -> Tensor:
        """`torch.where` whose numbers have as many digits as its tensors."""
        one, other = (
            side if isinstance(side, Tensor) else torch.full((), side, dtype=self._real, device=self.device)
            for side in (a, b)
        )
        return torch.where(condition, one, other)

    def _begin(self, which: Tensor) -> None:
        """New games where ``which`` is true, without their apples."""
        place = self._used[None, None]
        begun = self._begun.gather(1, place.expand(len(self._begun), 1, -1))[:, 0]
        self._streams = torch.where(which, begun[:6], self._streams)
        self._seeds = torch.where(which, self._coming.gather(0, place[0])[0], self._seeds)
        self._used = self._used + which
        first = self._first.expand(self.num_envs, -1)
        if self.rules.obstacles:
            first = first.scatter(1, begun[6:].T, SOLID)
        self._entered = torch.where(which[:, None], first, self._entered)
        numbers = [self._heads, self._directions, self._lengths, self._hungers, self._eaten]
        numbers = [*torch.where(which, self._first_numbers, torch.stack(numbers))]
        self._heads, self._directions, self._lengths, self._hungers, self._eaten = numbers
        self._gone = torch.where(which, 0.0, self._gone)

    def _put_apples(self, which: Tensor) -> None:
        """An apple on a free cell where ``which`` is true. No board is full here: its game has begun anew."""
        counts = self._room - self._lengths
        draw = which & (counts > 1)
        self._streams, words = _draw(self._streams, draw, counts)
        numbers = torch.where(draw, streams.below(words, counts), 0)
        free = self._entered <= self._gone[:, None]
        places = (free.cumsum(1, dtype=torch.int32) <= numbers[:, None]).sum(1)
        self._apples = torch.where(which, places, self._apples)
        self._distances = torch.where(which, self._apple_distances(), self._distances)

    def _apple_distances(self) -> Tensor:
        away = self._points[self._heads] - self._points[self._apples]
        return away.abs().sum(1) * (self._apples > 0)

    def _prepare(self) -> None:
        """Begin as many episodes in advance as the steps can end until this is done again."""
        self._left = STEPS_WITH_OBSTACLES if self.rules.obstacles else STEPS_AHEAD
        ahead = self._left // self.shortest + 2
        lanes = self._lanes.gather(0, self._used.expand(1, 6, -1))[0]
        after, coming = [lanes], []
        for _ in range(ahead):
            lanes, words = _draw(lanes, self._used >= 0, 2**31)
            after.append(lanes)
            coming.append(streams.below(words, 2**31))
        self._lanes = torch.stack(after)
        self._coming = torch.stack(coming)
        if self.rules.obstacles:
            self._begun = self._begun_on_host()
        else:
            nothing = torch.zeros_like(self._coming)
            self._begun = torch.stack([*streams.seeded([self._coming]), nothing, nothing])
        self._used = torch.zeros_like(self._used)

    def _begun_on_host(self) -> Tensor:
        """The coming episodes as they are once their obstacles are drawn: their streams, the words that these
        keep, whether they keep one, and the obstacles' cells (6 + obstacles, ahead, n)."""
        known, seeds = self._drawn_for, self._coming.flatten().tolist()
        inside = self._inside.cpu().numpy()

        def drawn(seed: int) -> NDArray[np.int64]:
            generator = np.random.default_rng(seed)
            cells = inside[r.draw_obstacles(self.rules, generator)]
            numbers, kept, keeps = streams.of_generator(generator)
            return np.array([*numbers, kept, keeps, *cells.tolist()])

        self._drawn_for = {seed: known[seed] if seed in known else drawn(seed) for seed in seeds}
        rows = np.stack([self._drawn_for[seed] for seed in seeds], axis=1)
        return torch.from_numpy(rows).to(self.device).reshape(-1, *self._coming.shape)

    def _see(self) -> Tensor:
        seen: Tensor = see(self.rules, self._sight(self._everyone))
        return seen

    def _sight(self, who: Tensor) -> Sight:
        directions, apples = self._directions[who], self._apples[who]
        return Sight(
            xp=torch,
            near=self._near,
            real=self._real,
            lines=self._lines,
            ages=self._entered[who].gather(1, self._turned[directions]) - self._gone[who, None],
            heads=self._place[directions, self._heads[who]],
            apples=self._place[directions, apples],
            lengths=self._lengths[who],
            hungers=self._hungers[who],
        )


def _draw(rows: Tensor, which: Tensor, counts: Any) -> tuple[Tensor, Tensor]:
    """The streams after a word of 32 bits for a number below ``counts`` was drawn where ``which`` is true,
    and these words. Once in 40 million NumPy rejects a word and takes the next; twice in a row has never been
    seen."""
    after, (low, high) = streams.advance(rows[:4].unbind(0))
    keeps = rows[5] > 0
    words = torch.where(keeps, rows[4], low)
    again = which & streams.rejected(words, counts)
    words = torch.where(again, torch.where(keeps, low, high), words)
    moved = torch.where(which & (again | ~keeps), torch.stack([*after, high]), rows[:5])
    return torch.cat([moved, (which ^ again ^ keeps)[None]]), words


def on_device(n: int, seed: int, **arguments: Any) -> SnakeTorchEnv:
    """What `envs.vector.TORCH` names for Snake.

    Raises:
        NotNative: an argument of `Snake` alone, such as ``render_mode``, or of none.
    """
    if wrong := arguments.keys() - inspect.signature(r.snake_rules).parameters.keys():
        raise NotNative(f"SnakeTorchEnv has no {' or '.join(sorted(wrong))}")
    return SnakeTorchEnv(n, seed, **arguments)
