"""Environments by name, of packages that register none by themselves."""

from __future__ import annotations

import importlib.util

from conftest import missing
from gymnasium import spaces

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.rollouts import collect, play


def test_the_games_of_minatar_are_known_where_it_is_installed() -> None:
    if importlib.util.find_spec("minatar") is None:
        missing("the package minatar")
    env = make("MinAtar/Breakout-v1")
    assert env.action_space == spaces.Discrete(3)
    played = collect(play(random_agent(env.action_space, seed=0), env, seed=3))
    assert played.error is None
    assert resimulate(played).diverged_at is None
