"""Thousands of boards of Snake on one device, in torch: what `SnakeVectorEnv` is in NumPy, step for step.

    envs = SnakeTorchEnv(4096, seed=0, size=10, observation="grid").to("cuda")
    observations, infos = envs.reset()                 # tensors on the device, as all that follows
    observations, rewards, terminated, truncated, infos = envs.step(actions)
    envs.boards()

Boards, random numbers and seeds stay on the device, and no step waits for it: every line is done for all
boards, and what concerns some of them is chosen by `torch.where`. So an apple lies where `Snake` puts it:
each episode has NumPy's own stream of its seed (`envs.streams`); episodes are begun in advance, for
`STEPS_AHEAD` steps at once.

What differs from the other vectorised environments: everything is a tensor; ``infos`` hold ``episode_seed``
and, after a step, what the last step of each game that ended was like, as ``final`` (see `step`). The
observation ``features`` (its floods have no fixed number of steps) and obstacles are not covered; a formula's
result is not looked at: whoever collects the rewards has to.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Self

import gymnasium
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from aigym_kernel.envs import SNAKE, streams
from aigym_kernel.envs import snake_rules as r
from aigym_kernel.envs.snake_vector import SnakeVectorEnv
from aigym_kernel.envs.vector import NotNative
from aigym_kernel.errors import AigymError, check_whole

Tensor = torch.Tensor
STEPS_AHEAD = 64
"""For how many steps episodes are begun in advance."""
_WALL = 2.0**30


class SnakeTorchEnv(VectorEnv[Any, Any, Any]):
    """``n`` boards of Snake, on the CPU until `to` moves them. ``arguments``: those of `Snake`, but
    ``obstacles``, ``render_mode`` and the observation ``features``.

    Raises:
        NotNative: an argument that is not covered.
        AigymError, UnknownName: as `Snake`.
    """

    def __init__(self, n: int, seed: int = 0, **arguments: Any) -> None:
        check_whole("Snake: n", n, 1)
        check_whole("seed", seed, 0, 2**32 - 1)
        self.rules = rules = r.snake_rules(**arguments)
        if rules.obstacles:
            raise NotNative("on the device Snake has no obstacles")
        if rules.observation == "features":
            raise NotNative("on the device Snake gives observation='grid' or 'image', not 'features'")
        self.num_envs, self._seed = n, seed
        self.described = (SNAKE, dict(arguments))
        self.single_observation_space = rules.space
        self.single_action_space = gymnasium.spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        row, column = rules.start
        # No game is shorter: to the nearest wall, into a body of five, or to starvation.
        self.shortest = min(3, rules.size - column, row + 1, rules.size - row, rules.starvation)
        self.device, self._real = torch.device("cpu"), torch.float64
        self._tables()
        n, cells = self.num_envs, (self.rules.size + 2) ** 2
        self._everyone = self._whole(range(n))
        self._entered = torch.zeros((n, cells), device=self.device)
        self._lanes = torch.stack(streams.seeded([self._everyone * 0 + self._seed, self._everyone]))
        self._lane_kept, self._lane_keeps = self._everyone * 0, self._everyone < 0
        self._used = self._everyone * 0
        self._left = 0
        self._playing = False

    def to(self, device: torch.device | str) -> Self:
        """The boards, as they stand, on a device."""
        there = torch.device(device)
        if there != self.device:
            self.device = there
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
        self._row = torch.arange(width * width, device=self.device) // width
        self._column = torch.arange(width * width, device=self.device) % width
        self._moves, self._turns = self._whole([-width, 1, width, -1]), self._whole(r.TURNS)
        self._worth = torch.tensor(self.rules.worth, dtype=self._real, device=self.device)
        self._palette = torch.from_numpy(r.PALETTE).to(self.device)
        row, column = self.rules.start
        self._start = (row + 1) * width + column + 1
        first = torch.full((width * width,), _WALL)
        first[self._inside.cpu()] = 0.0
        for i in range(self.rules.length):
            first[self._start - i] = self.rules.length - i
        self._first = first.to(self.device)

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
        self._streams, self._kept, self._keeps = self._lanes.clone(), zero, zero > 0
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
        final = {
            "observation": self._see(),
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
        infos = {"episode_seed": self._seeds, "final": final}
        return self._see(), rewards, over, torch.zeros_like(over), infos

    def boards(self) -> Tensor:
        """All boards: (n, size, size) int8 with the codes of `Snake.board`."""
        codes = (self._entered > self._gone[:, None]).to(torch.int8)
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
        full = ate & (self._lengths == self.rules.size**2)
        dead = torch.where(entered > _WALL / 2, r.WALL, r.SELF)
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
        begun = self._begun.gather(1, place.expand(8, 1, -1))[:, 0]
        self._streams = torch.where(which, begun, self._streams)
        self._seeds = torch.where(which, self._coming.gather(0, place[0])[0], self._seeds)
        self._keeps = self._keeps & ~which
        self._used = self._used + which
        self._entered = torch.where(which[:, None], self._first, self._entered)
        self._heads = torch.where(which, self._start, self._heads)
        self._directions = torch.where(which, r.RIGHT, self._directions)
        self._lengths = torch.where(which, self.rules.length, self._lengths)
        self._hungers = torch.where(which, 0, self._hungers)
        self._eaten = torch.where(which, 0, self._eaten)
        self._gone = torch.where(which, 0.0, self._gone)

    def _put_apples(self, which: Tensor) -> None:
        """An apple on a free cell where ``which`` is true. No board is full here: its game has begun anew."""
        counts = self.rules.size**2 - self._lengths
        draw = which & (counts > 1)
        words = self._drawn(draw)
        # Once in 40 million words NumPy draws again; twice in a row has never been seen.
        again = draw & streams.rejected(words, counts)
        words = torch.where(again, self._drawn(again), words)
        numbers = torch.where(draw, streams.below(words, counts), 0)
        free = self._entered <= self._gone[:, None]
        places = (free.cumsum(1, dtype=torch.int32) <= numbers[:, None]).sum(1)
        self._apples = torch.where(which, places, self._apples)
        self._distances = torch.where(which, self._apple_distances(), self._distances)

    def _apple_distances(self) -> Tensor:
        rows = (self._row[self._heads] - self._row[self._apples]).abs()
        columns = (self._column[self._heads] - self._column[self._apples]).abs()
        return (rows + columns) * (self._apples > 0)

    def _drawn(self, which: Tensor) -> Tensor:
        """The next word of each board's stream where ``which`` is true."""
        word = (self._kept, self._keeps)
        self._streams, (self._kept, self._keeps), words = _draw(self._streams, word, which)
        return words

    def _prepare(self) -> None:
        """Begin as many episodes in advance as `STEPS_AHEAD` steps can end."""
        ahead = STEPS_AHEAD // self.shortest + 2
        for i in range(ahead):  # what was used since the last time
            lanes = _draw(self._lanes, (self._lane_kept, self._lane_keeps), self._used > i)
            self._lanes, (self._lane_kept, self._lane_keeps), _ = lanes
        coming: list[Tensor] = []
        drawn = self._lanes, (self._lane_kept, self._lane_keeps), self._used
        for _ in range(ahead):
            drawn = _draw(drawn[0], drawn[1], self._used >= 0)
            coming.append(drawn[2] >> 1)
        self._coming = torch.stack(coming)
        self._begun = torch.stack(streams.seeded([self._coming]))
        self._used = torch.zeros_like(self._used)
        self._left = STEPS_AHEAD

    def _see(self) -> Tensor:
        size, many = self.rules.size, self.num_envs
        cells = self._turned[self._directions]
        ages = (self._entered.gather(1, cells) - self._gone[:, None]).clamp(min=0)
        heads, apples = cells == self._heads[:, None], cells == self._apples[:, None]
        if self.rules.observation == "grid":
            hunger = (self._hungers.to(self._real) / self.rules.starvation).float()
            planes = (heads, ages / self._lengths[:, None], apples, hunger[:, None].expand_as(ages))
            return torch.stack([plane.float() for plane in planes], 1).reshape(many, 4, size, size)
        brightest, starvation = r.SHADES - 1, self.rules.starvation
        shades = r.APPLE_SHADE + brightest * (starvation - self._hungers) // starvation
        body = r.BODY_SHADE + brightest * ages.long() // self._lengths[:, None]
        codes = torch.where(apples, shades[:, None], torch.where(ages > 0, body, 0))
        pixels = self._palette[torch.where(heads, 1, codes)].reshape(many, size, 1, size, 1, 3)
        side = r.IMAGE_PIXELS
        return pixels.expand(-1, -1, side, -1, side, -1).reshape(many, size * side, size * side, 3)


def _draw(
    lanes: Tensor, word: tuple[Tensor, Tensor], which: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """The next word of 32 bits of each stream where ``which`` is true. Returns the streams, the words that
    they keep, and the words."""
    kept, keeps = word
    after, (low, high) = streams.advance(lanes.unbind(0))
    need = which & ~keeps
    words = torch.where(keeps, kept, low)
    return (
        torch.where(need, torch.stack(after), lanes),
        (torch.where(need, high, kept), torch.where(which, need, keeps)),
        words,
    )


def on_device(n: int, seed: int, **arguments: Any) -> SnakeTorchEnv:
    """What `envs.vector.TORCH` names for Snake.

    Raises:
        NotNative: see `SnakeTorchEnv`; also an argument of `Snake` alone, or of none.
    """
    if wrong := arguments.keys() - inspect.signature(r.snake_rules).parameters.keys():
        raise NotNative(f"SnakeTorchEnv has no {' or '.join(sorted(wrong))}")
    return SnakeTorchEnv(n, seed, **arguments)
