"""The same environments stepped in one thread, in threads and in processes; environments that break."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from aigym_kernel.envs import make
from aigym_kernel.envs.vector import Seeds, make_one, make_vec
from aigym_kernel.errors import AigymError, EnvError, UnknownName
from aigym_kernel.train import PPOConfig, ppo

# What is defined here is sent to processes as code, as from a notebook: they need not import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Odd(gymnasium.Env[Any, Any]):
    """Ends after 5 steps; ``does`` something wrong in the third step of its second episode."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, does: str = "", where: str = "") -> None:
        self.does, self.where, self.episode = does, where, 0
        if does == "refuse":
            raise ValueError("no licence")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        if self.does == "no tuple":
            return np.zeros(2)  # type: ignore[return-value]
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.t += 1
        shape, reward = 2, 0.0
        if (self.episode, self.t) == (2, 3):
            if self.where:
                Path(self.where).write_text(str(os.getpid()))
            if self.does == "raise":
                raise ZeroDivisionError("division by zero")
            if self.does == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            while self.does == "hang":
                time.sleep(0.01)
            shape = 3 if self.does == "grow" else 2
            reward = {"nothing": None, "array": np.zeros(1)}.get(self.does, 0.0)  # type: ignore[assignment]
            if self.does == "no info":
                return np.zeros(2, np.float32), 0.0, False, False, None  # type: ignore[return-value]
        if self.does == "grow at the end" and self.t == 5:
            shape = 3
        info = {"lock": (n for n in ())} if self.does == "odd info" else {"t": self.t}
        return self.np_random.uniform(-1, 1, shape).astype(np.float32), reward, self.t == 5, False, info


def played(backend: str, env: Any = Odd, n: int = 3, steps: int = 12, **kwargs: Any) -> list[Any]:
    envs = make_vec(env, n, 7, kwargs, backend=backend)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    try:
        rng = np.random.default_rng(0)
        said: list[Any] = [envs.reset()]
        said += [envs.step(rng.integers(0, 2, n)) for _ in range(steps)]
        return said
    finally:
        envs.close()


@pytest.mark.parametrize("backend", ["threads", "processes"])
@pytest.mark.parametrize("env", [Odd, "aigym/Snake-v0"])
def test_every_backend_gives_the_same(backend: str, env: Any) -> None:
    for ours, theirs in zip(played("sync", env, steps=40), played(backend, env, steps=40), strict=True):
        for left, right in zip(ours[:-1], theirs[:-1], strict=True):
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)
        (left, right) = (ours[-1], theirs[-1])
        assert left.keys() == right.keys()
        assert np.array_equal(left["episode_seed"], right["episode_seed"])
        assert left.get("final_infos") == right.get("final_infos")
        for i in left.get("final_infos", ()):
            assert np.array_equal(left["final_obs"][i], right["final_obs"][i])


def test_dictionaries_are_batched_by_key() -> None:
    space = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(0, 1, (2,))})

    class Keyed(Odd):
        observation_space = space  # type: ignore[assignment]

        def reset(self, **given: Any) -> Any:
            return {"a": 1, "b": super().reset(**given)[0]}, {}

        def step(self, action: Any) -> Any:
            observation, *rest = super().step(action)
            return {"a": 2, "b": observation}, *rest

    for backend in ("sync", "processes"):
        said = played(backend, Keyed, steps=2, n=2)
        assert said[1][0]["a"].tolist() == [2, 2]
        assert said[1][0]["b"].shape == (2, 2)


def test_what_cannot_be_sent_between_processes_arrives_as_text() -> None:
    infos = played("processes", does="odd info", steps=5, n=1)[-1][-1]
    assert "generator" in infos["final_infos"][0]["lock"]


@pytest.mark.parametrize("backend", ["sync", "threads", "processes"])
def test_what_an_environment_raises_names_it_and_its_line(backend: str) -> None:
    with pytest.raises(EnvError) as caught:
        played(backend, does="raise", n=2)
    says = str(caught.value)
    assert "environment 0 raised ZeroDivisionError: division by zero, in step 3 of the episode" in says
    assert f"seed {int(np.random.default_rng([7, 0]).integers(2**31, size=2)[1])}" in says
    assert 'raise ZeroDivisionError("division by zero")' in says
    assert says.count("File") == says.count(__file__) == 1


@pytest.mark.parametrize(
    ("backend", "does", "says"),
    [
        ("sync", "grow", r"environment 0 gave an observation of shape \(3,\) \(float32\) that does not fit"),
        ("processes", "grow", r"environment 0 gave an observation of shape \(3,\) \(float32\) that does not"),
        ("sync", "grow at the end", r"environment 0 gave an observation of shape \(3,\)"),
        ("processes", "grow at the end", r"environment 0 gave an observation of shape \(3,\)"),
        ("sync", "no info", "has to return five values, the last of them a dict, not .*None.*, in step 3"),
        ("sync", "nothing", r"a number as reward, .* not None, False, False, in step 3[^\n]*$"),
        ("sync", "array", r"a number as reward, .* not array\(\[0.\]\), False, False, in step 3"),
        (
            "sync",
            "no tuple",
            r"reset has to return an observation and a dict, not array.*, in reset\(seed=\d+\)",
        ),
        ("sync", "refuse", "environment 0 raised ValueError: no licence, while it was built"),
        ("processes", "refuse", "environment 0 raised ValueError: no licence, while it was built"),
    ],
)
def test_what_an_environment_does_wrong(backend: str, does: str, says: str) -> None:
    with pytest.raises(EnvError, match=says):
        played(backend, does=does, n=1)


def test_a_process_that_dies_is_named_and_none_is_left() -> None:
    before = psutil.Process().children(recursive=True)
    with pytest.raises(EnvError, match="the process of environment 0 was ended by SIGKILL"):
        played("processes", does="die", n=1)
    assert not set(psutil.Process().children(recursive=True)) - set(before)


def test_an_environment_that_hangs_is_named_and_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGYM_STEP_LIMIT_S", "2")
    with pytest.raises(EnvError, match=r"environment \d+ has taken longer than 2 s for one call") as caught:
        played("processes", does="hang", n=1, where=str(tmp_path / "pid"))
    assert f'File "{__file__}"' in str(caught.value)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_after_an_error_the_environments_are_closed() -> None:
    envs = make_vec(Odd, 2, 0, {"does": "raise"})
    envs.reset()
    for _ in range(7):
        envs.step([0, 0])
    with pytest.raises(EnvError):
        envs.step([0, 0])
    with pytest.raises(AigymError, match="are closed; make_vec builds new ones"):
        envs.step([0, 0])


@pytest.mark.parametrize("backend", ["sync", "processes"])
def test_an_unfinished_episode_can_be_restored(backend: str) -> None:
    envs = make_vec("aigym/Snake-v0", 3, 3, {"size": 5}, backend=backend)
    _, infos = envs.reset()
    rng, taken = np.random.default_rng(1), [[], [], []]  # type: ignore[var-annotated]
    for _ in range(30):
        actions = rng.integers(0, 3, 3)
        observations, *_, infos = envs.step(actions)
        for i in range(3):
            taken[i] = [] if i in infos.get("final_infos", ()) else [*taken[i], actions[i]]
    again = make_vec("aigym/Snake-v0", 3, 3, {"size": 5}, backend=backend)
    restored, restored_infos = again.restore_episodes(infos["episode_seed"].tolist(), taken)  # type: ignore[attr-defined]
    assert np.array_equal(restored, observations)
    assert np.array_equal(restored_infos["episode_seed"], infos["episode_seed"])
    for _ in range(30):  # and it goes on in the same way, over the ends of episodes
        actions = rng.integers(0, 3, 3)
        (one, *_, infos), (other, *_, other_infos) = envs.step(actions), again.step(actions)
        assert np.array_equal(one, other)
        assert np.array_equal(infos["episode_seed"], other_infos["episode_seed"])
    with pytest.raises(AigymError, match="no episode of environment 0 in a run with seed 3 has the seed -1"):
        Seeds(3, 1).follow(0, -1)
    envs.close()
    again.close()


def test_an_environment_that_only_this_process_knows_runs_in_processes() -> None:
    gymnasium.register("Odd-v0", entry_point=Odd, max_episode_steps=4)
    try:
        assert [len(said[-1].get("final_infos", ())) for said in played("processes", "Odd-v0", steps=4)][
            4
        ] == 3
    finally:
        del gymnasium.registry["Odd-v0"]


def test_training_in_processes_gives_what_training_in_one_thread_gives() -> None:
    def losses(vectorize: str) -> list[float]:
        config = PPOConfig(n_envs=3, n_steps=16, n_minibatches=2, total_timesteps=96, vectorize=vectorize)
        return [u.metrics["policy_loss"] for u in ppo("CartPole-v1", config) if u.step]

    assert losses("processes") == losses("sync")


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda: make_vec(Odd, 1, 0, backend="proceses"), UnknownName, "Did you mean 'processes'"),
        (lambda: make_vec(Odd, 1, 0, backend="native"), AigymError, "use backend='auto'"),
        (lambda: make_vec(Odd, 1, 0, backend="torch"), AigymError, "use backend='auto'"),
        (lambda: PPOConfig(vectorize="sink"), UnknownName, "Did you mean 'sync'"),
        (lambda: make_vec(lambda: make_one(3), 1, 0), AigymError, "3 is no environment's id"),  # type: ignore[arg-type]
        (lambda: make_vec("CartPole-v1", 2, 0).step([0]), AigymError, "1 actions for 2 environments"),
        (lambda: make_vec("CartPole-v1", 2, 0).reset(seed=[0]), AigymError, "1 seeds for 2"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(build: Callable[[], Any], error: type[AigymError], says: str) -> None:
    with pytest.raises(error, match=says):
        build()


def test_environments_of_different_spaces_are_not_stepped_together() -> None:
    names = iter(["CartPole-v1", "Acrobot-v1"])
    with pytest.raises(EnvError, match="environment 1 has the observation_space"):
        make_vec(lambda: make(next(names)), 2, 0)
