"""Environments that are stepped one after another, with a seed of its own for every episode.

    seeds = Seeds(run_seed, n)                 seeds.draw(k): of environment k's next episode
    group = Group(build, range(4), seed=0, name="CartPole-v1")
    heard = group.step(actions)                what the four said; those that ended have been reset

`envs.vector` makes one vector environment of groups, whether they run here, in threads or in processes.
What an environment raises becomes an `EnvError` that names the environment, its step and its seed.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array

from aigym_kernel.errors import AigymError, EnvError
from aigym_kernel.rollouts import describe

AnyEnv = gymnasium.Env[Any, Any]
Doing = list[int] | memoryview
_LOOK_AHEAD = (1_000, 10_000_000)
"""`Seeds.follow` looks for a seed among so many episodes, then among so many."""


class Seeds:
    """The seeds of every episode of ``n`` environments, the first of which has the index ``first``.

    Those of environment k are the numbers that ``default_rng([seed, k])`` draws below 2**31, in order:
    whatever steps the environments, their episodes are the same.
    """

    def __init__(self, seed: int, n: int, first: int = 0) -> None:
        self._run, self._first = seed, first
        self._sources = [np.random.default_rng([seed, first + i]) for i in range(n)]

    def draw(self, i: int) -> int:
        """The seed of the next episode of the i-th environment."""
        return int(self._sources[i].integers(2**31))

    def follow(self, i: int, episode_seed: int) -> np.random.Generator:
        """The next seed of the i-th environment will be the one that comes after ``episode_seed``; what it
        will be drawn from.

        Raises:
            AigymError: no episode of this environment has that seed.
        """
        for episodes in _LOOK_AHEAD:
            drawn = np.random.default_rng([self._run, self._first + i]).integers(2**31, size=episodes)
            if len(at := np.flatnonzero(drawn == episode_seed)):
                self._sources[i] = np.random.default_rng([self._run, self._first + i])
                self._sources[i].integers(2**31, size=at[0] + 1)
                return self._sources[i]
        raise AigymError(
            f"no episode of environment {self._first + i} in a run with seed {self._run} has the seed "
            f"{episode_seed}; restore it with the seed of the run that it was taken from"
        )


@dataclass(kw_only=True, eq=False)
class Heard:
    """What k environments said, in their order. ``final``: by place among the k, the last observation and
    info of each episode that ended; ``observations`` then holds the first one of the next episode."""

    observations: list[Any]
    rewards: list[float]
    terminated: list[bool]
    truncated: list[bool]
    episode_seeds: list[int]
    final: dict[int, tuple[Any, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Sort:
    """What environments that are stepped together have in common. ``described``: see `rollouts.describe`."""

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    metadata: Mapping[str, Any]
    described: tuple[str, dict[str, Any]]


class Group:
    """Environments with the indices ``indices`` of a vector environment, stepped one after another.

    ``doing`` is kept up to date for whoever watches from outside: [index of the environment that is at work
    or -1, how often one has been set to work].
    """

    def __init__(
        self,
        build: Callable[[], AnyEnv],
        indices: range,
        *,
        seed: int,
        name: str,
        doing: Doing,
    ) -> None:
        self._indices, self._name, self._doing = indices, name, doing
        self.envs: list[AnyEnv] = []
        self._seeds = Seeds(seed, len(indices), indices.start)
        self._heard = Heard(
            observations=[None] * len(indices),
            rewards=[0.0] * len(indices),
            terminated=[False] * len(indices),
            truncated=[False] * len(indices),
            episode_seeds=[-1] * len(indices),
            final={},
        )
        self._steps = [0] * len(indices)
        try:
            for index in indices:
                self._works(index)
                try:
                    self.envs.append(build())
                except Exception as problem:
                    self._fail(index, problem, "while it was built")
                self._check_spaces(index)
        except BaseException:
            self.close()
            raise
        self._works(-1)

    def _check_spaces(self, index: int) -> None:
        for kind in ("observation_space", "action_space"):
            first, own = getattr(self.envs[0], kind), getattr(self.envs[-1], kind)
            if first != own:
                raise EnvError(
                    f"{self._name}: environment {index} has the {kind} {own}, environment "
                    f"{self._indices.start} {first}; all that are stepped together need the same"
                )

    def sort(self) -> Sort:
        """What they have in common."""
        first = self.envs[0]
        return Sort(
            observation_space=first.observation_space,
            action_space=first.action_space,
            metadata=first.metadata,
            described=describe(first),
        )

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None = None) -> Heard:
        """Begin an episode in each: with the seed given, or with the next of its own."""
        self._heard.final = {}
        for i, seed in enumerate(seeds):
            self._begin(i, self._seeds.draw(i) if seed is None else seed, options)
        self._works(-1)
        return self._heard

    def step(self, actions: Sequence[Any]) -> Heard:
        """One step in each; where an episode ended the next one has begun."""
        heard = self._heard
        heard.final = {}
        for i, action in enumerate(actions):
            info = self._take(i, action)
            if heard.terminated[i] or heard.truncated[i]:
                # A copy: an environment may write its next observation into the same array.
                heard.final[i] = copy.deepcopy(heard.observations[i]), info
                self._begin(i, self._seeds.draw(i))
        self._works(-1)
        return heard

    def restore(self, seeds: Sequence[int], actions: Sequence[Sequence[Any]]) -> Heard:
        """Bring each into the middle of an episode: reset it with that seed and take these actions. The
        next episode has the seed that follows. One that ends on the way is begun anew."""
        self._heard.final = {}
        for i, (seed, taken) in enumerate(zip(seeds, actions, strict=True)):
            self._seeds.follow(i, seed)
            self._begin(i, seed)
            for action in taken:
                self._take(i, action)
                if self._heard.terminated[i] or self._heard.truncated[i]:
                    self._begin(i, seed)
                    break
            self._heard.terminated[i] = self._heard.truncated[i] = False
        self._works(-1)
        return self._heard

    def get(self, name: str) -> list[Any]:
        """An attribute of each environment, looked for through its wrappers."""
        return [env.get_wrapper_attr(name) for env in self.envs]

    def close(self) -> None:
        """Close them all."""
        for env in self.envs:
            env.close()
        self.envs = []

    def _begin(self, i: int, seed: int, options: dict[str, Any] | None = None) -> None:
        self._works(self._indices[i])
        self._steps[i], self._heard.episode_seeds[i] = 0, seed
        try:
            self._heard.observations[i] = begin(self.envs[i], seed, options)
        except Exception as problem:
            self._fail(self._indices[i], problem, f"in reset(seed={seed})")

    def _take(self, i: int, action: Any) -> dict[str, Any]:
        self._works(self._indices[i])
        self._steps[i] += 1
        heard = self._heard
        try:
            said = take(self.envs[i], action)
            heard.observations[i], heard.rewards[i], heard.terminated[i], heard.truncated[i], info = said
        except Exception as problem:
            where = f"in step {self._steps[i]:,} of the episode with seed {heard.episode_seeds[i]}"
            self._fail(self._indices[i], problem, where)
        return info

    def _works(self, index: int) -> None:
        self._doing[0] = index
        self._doing[1] += 1

    def _fail(self, index: int, problem: Exception, where: str) -> NoReturn:
        raise failure(f"{self._name}: environment {index}", problem, where) from problem


def begin(env: AnyEnv, seed: int, options: dict[str, Any] | None = None) -> Any:
    """The first observation of an episode. Raises what the environment raises, and a TypeError where it
    returns anything else than an observation and a dict."""
    said: Any = env.reset(seed=seed, options=options)
    if not (isinstance(said, (tuple, list)) and len(said) == 2 and isinstance(said[1], dict)):
        raise TypeError(f"reset has to return an observation and a dict, not {said!r:.200}")
    return said[0]


def take(env: AnyEnv, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """A step. Raises what the environment raises, and a TypeError where a value is of another kind."""
    said: Any = env.step(action)
    if not (isinstance(said, (tuple, list)) and len(said) == 5 and isinstance(said[4], dict)):
        raise TypeError(f"step has to return five values, the last of them a dict, not {said!r:.200}")
    observation, reward, terminated, truncated, info = said
    try:
        return observation, float(reward), bool(terminated), bool(truncated), info
    except (TypeError, ValueError):
        raise TypeError(
            "step has to return a number as reward, then True or False for terminated and truncated, not "
            f"{reward!r:.100}, {terminated!r:.100}, {truncated!r:.100}"
        ) from None


def failure(who: str, problem: Exception, where: str) -> AigymError:
    """What to raise for what an environment raised: it has the last places in the environment's own code. Our
    own errors stay as they are."""
    if isinstance(problem, AigymError):
        return problem
    places = traceback.extract_tb(problem.__traceback__)
    ours = max((i for i, place in enumerate(places) if place.filename == __file__), default=-1)
    lines = "".join(["\n", *traceback.format_list(places[ours + 1 :][-3:])]).rstrip()
    return EnvError(
        f"{who} raised {type(problem).__name__}: {problem}, {where} "
        f"(aigym.check_env looks for what is wrong with an environment){lines}"
    )


def batch(space: gymnasium.Space[Any], observations: Sequence[Any], name: str, first: int = 0) -> Any:
    """Observations of one space as one batch; ``first`` is the index of the environment of the first.

    Raises:
        EnvError: one does not fit the space.
    """
    try:
        empty: Any = create_empty_array(space, len(observations), fn=np.empty)
        return concatenate(space, observations, empty)
    except Exception as problem:
        for index, observation in enumerate(observations, first):
            if not space.contains(observation):
                given = getattr(observation, "shape", None)
                what = f"of shape {given} ({observation.dtype})" if given is not None else repr(observation)
                raise EnvError(
                    f"{name}: environment {index} gave an observation {what[:200]} that does not fit its "
                    f"observation_space {space}; an environment's observations keep one shape and type"
                ) from None
        raise EnvError(f"{name}: observations cannot be laid side by side: {problem}") from problem
