"""Roll-outs: trajectories cut out of whole arrays, the figures of the latest ones."""

from __future__ import annotations

import numpy as np
import torch
from test_batches import batch

from aigym_kernel.batches import join
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.envs.vector import make_vec
from aigym_kernel.train.collect import RECENT, Collector, Finished
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
