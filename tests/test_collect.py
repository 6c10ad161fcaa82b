"""Roll-outs: trajectories cut out of whole arrays, the figures of the latest ones."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from test_batches import batch

from aigym_kernel.batches import join
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.train.collect import Collector, Rollout
from aigym_kernel.train.finished import RECENT, Finished
from aigym_kernel.train.networks import Policy


def test_trajectories_are_cut_whole_out_of_short_and_long_rollouts() -> None:
    """One environment's episode may begin earlier, several may begin and end in one roll-out."""
    envs = make_vec("aigym/Snake-v0", 5, 3, {"size": 4})
    policy = Policy(envs.single_observation_space, envs.single_action_space, (8,), torch.Generator())
    collector = Collector(envs, "aigym/Snake-v0", {"size": 4}, agent="any")
    generator = torch.Generator().manual_seed(0)
    rollouts = [collector.collect(policy, n_steps, generator) for n_steps in (1, 2, 40, 1, 3, 25)]
    envs.close()
    ends = sum(int(rollout.dones.sum()) for rollout in rollouts)
    joined = join([rollout.trajectories for rollout in rollouts])
    assert len(joined) == ends > 20
    assert max(len(r.trajectories) / 5 for r in rollouts) > 2
    assert all(resimulate(trajectory).diverged_at is None for trajectory in joined)
    seconds = np.asarray(joined.wall_s)
    assert (seconds >= 0).all()


def test_the_latest_episodes_as_figures() -> None:
    finished = Finished()
    assert finished.metrics() == {}
    finished.add(batch(*range(1, RECENT + 51)))
    lengths = np.arange(51, RECENT + 51)
    assert finished.metrics()["length_mean"] == lengths.mean()
    returns = batch(*range(1, RECENT + 51)).returns[-RECENT:]
    assert finished.metrics()["return_mean"] == returns.mean()
    assert finished.metrics()["return_q10"] < returns.mean() < finished.metrics()["return_q90"]
    other = Finished()
    other.restore(finished.state())
    assert other.metrics() == finished.metrics()


def collected(rollouts: list[Rollout]) -> list[list[Any]]:
    joined = join([rollout.trajectories for rollout in rollouts])
    numbers = [[r.observations.tolist(), r.actions.tolist(), r.rewards.tolist()] for r in rollouts]
    return [*numbers, [(t.seed, t.observations.tolist(), t.actions.tolist(), t.total_reward) for t in joined]]


def snakes() -> tuple[Collector, Policy]:
    envs = make_vec("aigym/Snake-v0", 3, 3, {"size": 6})
    policy = Policy(envs.single_observation_space, envs.single_action_space, (8,), torch.Generator())
    return Collector(envs, "aigym/Snake-v0", {"size": 6}, agent="any"), policy


def test_a_restored_collector_goes_on_in_the_middle_of_its_episodes() -> None:
    collector, policy = snakes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        collector.collect(policy, 9, generator)
    state, random = collector.state(), generator.get_state()
    rest = [collector.collect(policy, 7, generator) for _ in range(4)]
    again, _ = snakes()
    again.restore(state)
    generator.set_state(random)
    assert collected([again.collect(policy, 7, generator) for _ in range(4)]) == collected(rest)
    assert again.not_restored == []
    assert len(join([r.trajectories for r in rest])) > 3


class Drifting(gymnasium.Env[Any, Any]):
    """Goes another way each time."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    drawn = 0

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Drifting.drawn += 1
        return np.array([Drifting.drawn], np.float32), 0.0, False, False, {}


def test_what_does_not_go_the_same_way_again_is_begun_anew_and_counted() -> None:
    envs = make_vec(Drifting, 2, 0)
    policy = Policy(envs.single_observation_space, envs.single_action_space, (8,), torch.Generator())
    collector = Collector(envs, Drifting, None, agent="any")
    generator = torch.Generator().manual_seed(0)
    collector.collect(policy, 4, generator)
    collector.restore(collector.state())
    assert collector.not_restored == [0, 1]
    assert (collector.collect(policy, 1, generator).observations[0] == 0).all()
