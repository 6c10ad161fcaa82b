"""Agents: each is called with an observation and the steps so far, and has a name for the record."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from aigym_kernel.agents import policy_agent, random_agent, replay, scripted
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError
from aigym_kernel.rollouts import agent_name, collect, play
from aigym_kernel.train import Policy, evaluate


def test_random_agents_with_one_seed_choose_alike_and_leave_the_env_alone() -> None:
    space = gymnasium.spaces.Discrete(1000, start=5, seed=1)
    untouched = gymnasium.spaces.Discrete(1000, start=5, seed=1)

    def choices(seed: int) -> list[Any]:
        agent = random_agent(space, seed=seed)
        return [agent(None, ()) for _ in range(20)]

    assert choices(0) == choices(0)
    assert choices(0) != choices(1)
    assert all(space.contains(choice) for choice in choices(2))
    assert space.sample() == untouched.sample()
    assert random_agent(space).name == "random"


def test_a_script_is_played_again_in_every_episode_and_says_when_it_runs_out() -> None:
    agent = scripted([0, 2, 1], name="three moves")
    env = make("aigym/Snake-v0", size=8)
    for _ in range(2):
        trajectory = collect(play(agent, env, seed=3))
        assert list(trajectory.actions[:3]) == [0, 2, 1]
        assert trajectory.error is not None
        assert "'three moves' has 3 actions and was asked for action 4" in trajectory.error
        assert trajectory.agent == "three moves"
    with pytest.raises(AigymError, match="has 0 actions"):
        scripted([])(None, ())
    for wrong in (5, "submit"):
        with pytest.raises(AigymError, match="expected a list of actions"):
            scripted(wrong)  # type: ignore[arg-type]


def test_a_replay_repeats_the_trajectory() -> None:
    env = make("aigym/Snake-v0", size=6)
    first = collect(play(random_agent(env.action_space, seed=4), env, seed=11))
    again = collect(play(replay(first), env, seed=11))
    assert np.array_equal(again.observations, first.observations)
    assert np.array_equal(again.rewards, first.rewards)
    assert again.outcome == first.outcome
    assert first.id in again.agent


def test_a_policy_agent_is_greedy_or_samples() -> None:
    env = make("CartPole-v1")
    policy = Policy(env.observation_space, env.action_space, generator=torch.Generator().manual_seed(0))
    observation, _ = env.reset(seed=0)
    greedy, sampling = policy_agent(policy), policy_agent(policy, greedy=False, name="noisy")
    assert len({greedy(observation, ()) for _ in range(30)}) == 1
    assert {sampling(observation, ()) for _ in range(60)} == {0, 1}
    assert (agent_name(greedy), agent_name(sampling)) == ("policy", "noisy")
    trajectory = collect(play(greedy, env, seed=0))
    assert trajectory.error is None
    assert len(trajectory) > 5


def test_a_recurrent_policy_is_asked_with_the_memory_of_its_own_episode() -> None:
    """Two episodes side by side through one agent, and each alone, are the same."""
    env = make("CartPole-v1")
    spec = {"layers": [{"type": "gru", "units": 8}]}
    policy = Policy(env.observation_space, env.action_space, spec, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weights in policy.parameters():
            weights.mul_(3)
    shared = policy_agent(policy)
    players = [play(shared, make("CartPole-v1"), seed=seed) for seed in (0, 1)]
    for _ in range(5):
        for player in players:
            next(player)
    together = [collect(player) for player in players]
    played = evaluate(policy, "CartPole-v1", episodes=2, seed=0)
    for seed in (0, 1):
        alone = collect(play(policy_agent(policy), make("CartPole-v1"), seed=seed))
        assert together[seed].actions.tolist() == alone.actions.tolist()
        assert played[seed].actions.tolist() == alone.actions.tolist()
    forgetful = [policy.act(o) for o in alone.observations[:-1]]
    assert forgetful != alone.actions.tolist(), "memory makes a difference here"
