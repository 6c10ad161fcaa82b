"""Environments by name, of packages that register none by themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import gymnasium
import pytest
from conftest import missing
from gymnasium import spaces

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.rollouts import collect, play


def test_a_module_that_registers_environments_is_named_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = "gymnasium.envs.classic_control:CartPoleEnv"
    line = f"import gymnasium; gymnasium.register('Own/Cart-v0', entry_point='{entry}', max_episode_steps=3)"
    (tmp_path / "carts_of_ours.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    env = make("carts_of_ours:Own/Cart-v0")
    played = collect(play(random_agent(env.action_space, seed=0), env, seed=3))
    assert (played.env_id, len(played)) == ("Own/Cart-v0", 3)
    with pytest.raises(UnknownName, match=r"'Own/Card-v0'.* mean 'Own/Cart-v0'.* name its module too"):
        make("carts_of_ours:Own/Card-v0")
    with pytest.raises(AigymError, match="'carts_of_nobody:Own/Cart-v0': No module named 'carts_of_nobody'"):
        make("carts_of_nobody:Own/Cart-v0")
    gymnasium.register("Own/Many-v0", vector_entry_point=entry)
    with pytest.raises(AigymError, match=r"'Own/Many-v0' cannot be built: .* entry_point is not specified"):
        make("Own/Many-v0")


def test_what_is_no_id_is_told() -> None:
    for wrong in (None, int):
        with pytest.raises(AigymError, match="named by an id such as 'CartPole-v1', not by"):
            make(wrong)  # type: ignore[arg-type]


def test_the_games_of_minatar_are_known_where_it_is_installed() -> None:
    if importlib.util.find_spec("minatar") is None:
        missing("the package minatar")
    env = make("MinAtar/Breakout-v1")
    assert env.action_space == spaces.Discrete(3)
    played = collect(play(random_agent(env.action_space, seed=0), env, seed=3))
    assert played.error is None
    assert resimulate(played).diverged_at is None
