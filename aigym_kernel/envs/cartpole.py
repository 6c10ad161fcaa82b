"""CartPole-v1, many at once: what `make_vec("CartPole-v1", n, seed)` steps instead of n environments.

    envs = cartpole(64, seed=0)
    observations, infos = envs.reset()
    observations, rewards, terminated, truncated, infos = envs.step(actions)

Equal to gymnasium's, with its time limit of 500 steps, to the last bit and step for step: the constants are
read from its class, the arithmetic is its `step` over arrays. No rendering, no keyword arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from aigym_kernel.envs.episodes import Seeds
from aigym_kernel.envs.vector import NotNative
from aigym_kernel.errors import AigymError

MAX_STEPS = 500
START = 0.05
"""Every number of the first state lies this near to 0."""

States = NDArray[np.float64]
Flags = NDArray[np.bool_]


def cartpole(n: int, seed: int, **env_kwargs: Any) -> CartPoles:
    """``n`` of them; see `envs.vector`.

    Raises:
        NotNative: keyword arguments were given.
    """
    if env_kwargs:
        raise NotNative(f"it takes no keyword arguments, {', '.join(env_kwargs)} was given")
    return CartPoles(n, seed)


class CartPoles(VectorEnv[Any, Any, Any]):
    """A vector environment as `envs.vector` promises."""

    def __init__(self, n: int, seed: int) -> None:
        self._one = CartPoleEnv()
        self.num_envs = n
        self.single_observation_space = self._one.observation_space
        self.single_action_space = self._one.action_space
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self._seeds = Seeds(seed, n)
        self._states = np.zeros((4, n))  # cart's position and speed, pole's angle and speed: a row each
        self._steps, self._rewards = np.zeros(n, np.int64), np.ones(n)
        self._limits = np.array([[self._one.x_threshold], [self._one.theta_threshold_radians]])
        self._episode_seeds = np.full(n, -1, np.int64)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode everywhere, with each one's next seed or with those given. No options."""
        if options:
            raise AigymError(f"CartPole-v1: reset has no options here, {options!r} was given")
        if isinstance(seed, int):
            seed = range(seed, seed + self.num_envs)
        if seed is not None and len(seed) != self.num_envs:
            raise AigymError(f"CartPole-v1: reset got {len(seed)} seeds for {self.num_envs} environments")
        for i in range(self.num_envs):
            self._begin(i, self._seeds.draw(i) if seed is None else seed[i])
        return self._observations(), self._infos()

    def step(
        self, actions: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """One step of each; those that ended stand in their next episode."""
        taken = np.asarray(actions)
        if taken.shape != (self.num_envs,):
            raise AigymError(f"CartPole-v1: step got {taken.size} actions for {self.num_envs} environments")
        right = taken == 1
        if not (right | (taken == 0)).all():
            raise AigymError(f"CartPole-v1: actions {taken} are not all 0 or 1")
        self._states = self._moved(self._states, right)
        self._steps += 1
        terminated, truncated = self._fallen(self._states), self._steps >= MAX_STEPS
        observations, final = self._observations(), {}
        if (over := terminated | truncated).any():
            ended = np.flatnonzero(over).tolist()
            final = {"final_obs": observations, "final_infos": {i: {} for i in ended}}
            for i in ended:
                self._begin(i, self._seeds.draw(i))
            observations = self._observations()
        return observations, self._rewards.copy(), terminated, truncated, self._infos() | final

    def restore_episodes(
        self, seeds: Sequence[int], actions: Sequence[Sequence[Any]]
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Bring each into the middle of an episode of this run, as `envs.vector.Together` does."""
        for i, (seed, taken) in enumerate(zip(seeds, actions, strict=True)):
            self._seeds.follow(i, seed)
            self._begin(i, seed)
            state, ended = self._states[:, i : i + 1], len(taken) >= MAX_STEPS
            for action in taken:
                state = self._moved(state, np.asarray([action == 1]))
                ended = ended or bool(self._fallen(state)[0])
            if not ended:
                self._states[:, i], self._steps[i] = state[:, 0], len(taken)
        return self._observations(), self._infos()

    def _begin(self, i: int, seed: int) -> None:
        self._episode_seeds[i], self._steps[i] = seed, 0
        # As gymnasium.utils.seeding.np_random makes its generator.
        self._states[:, i] = np.random.Generator(np.random.PCG64(seed)).uniform(-START, START, 4)

    def _moved(self, states: States, right: Flags) -> States:
        """The states (4, n) after one step, in the order of operations of `CartPoleEnv.step`."""
        one = self._one
        _, _, theta, theta_dot = states
        force = right * (2 * one.force_mag) - one.force_mag
        cos, sin = np.cos(theta), np.sin(theta)
        temp = (force + one.polemass_length * np.square(theta_dot) * sin) / one.total_mass
        theta_acc = (one.gravity * sin - cos * temp) / (
            one.length * (4.0 / 3.0 - one.masspole * np.square(cos) / one.total_mass)
        )
        moved = np.empty_like(states)
        moved[::2] = states[1::2]  # first the rates at which all four change
        moved[1] = temp - one.polemass_length * theta_acc * cos / one.total_mass
        moved[3] = theta_acc
        moved *= one.tau
        moved += states
        return moved

    def _fallen(self, states: States) -> Flags:
        beyond = np.abs(states[::2]) > self._limits
        fallen: Flags = beyond[0] | beyond[1]
        return fallen

    def _observations(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self._states.T, dtype=np.float32)

    def _infos(self) -> dict[str, Any]:
        return {"episode_seed": self._episode_seeds.copy()}
