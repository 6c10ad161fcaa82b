"""`check_env`: every mistake is found by its name, and right environments have none."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.train.checking import Checkup, check_env


class Plain(gymnasium.Env[Any, Any]):
    """A right environment; subclasses make one mistake each."""

    observation_space: Any = spaces.Box(-1, 1, (2,), np.float32)
    action_space: Any = spaces.Discrete(2)
    last = 10

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def observe(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.observe(), 1.0, self.t == self.last, False, {}


def made(**changes: Any) -> Checkup:
    """What is found where methods or attributes are replaced."""
    return check_env(type("Changed", (Plain,), changes), steps=100)


def said(checkup: Checkup) -> list[tuple[str, str]]:
    return [(f.weight, f.seen) for f in checkup.findings]


def stepping(*answer: Any) -> Any:
    """A step that gives these five, None for the right one."""

    def step(self: Plain, action: Any) -> Any:
        right = Plain.step(self, action)
        return tuple(mine if mine is not None else its for mine, its in zip(answer, right, strict=True))

    return step


def test_right_environments_have_no_errors() -> None:
    for env in (Plain, Plain(), "CartPole-v1", "aigym/Snake-v0"):
        checkup = check_env(env, steps=200)
        assert checkup.ok
        assert {f.weight for f in checkup.findings} <= {"hint"}
        assert checkup.trains == {"ppo": "yes", "dqn": "yes"}
        assert checkup.figures["us_per_step"] > 0


def test_what_can_train_is_said_by_algorithm() -> None:
    checkup = check_env("Pendulum-v1", steps=250)
    assert checkup.trains["ppo"] == "yes"
    assert "action values need Discrete" in checkup.trains["dqn"]
    assert said(checkup) == [("hint", "actions range from -2 to 2")]


GLOBAL = {"observe": lambda self: np.float32([random.random(), np.random.rand()])}
MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"step": stepping(np.float32([np.nan, 0]), None, None, None, None)}, "error", "step 1 gave a NaN"),
    (
        {"step": stepping(np.zeros(3, np.float32), None, None, None, None)},
        "error",
        r"shape \(3,\)",
    ),
    ({"step": stepping(np.zeros(2), None, None, None, None)}, "error", "float64 observations"),
    ({"step": stepping(np.float32([7, 0]), None, None, None, None)}, "error", r"\[7\.\] outside the bounds"),
    ({"observation_space": spaces.Discrete(3)}, "error", "which is not in observation_space Discrete"),
    ({"step": stepping(None, "much", None, None, None)}, "error", "the reward 'much'"),
    ({"step": stepping(None, np.ones(2), None, None, None)}, "error", r"the reward array\(\[1\., 1\.\]\)"),
    ({"step": stepping(None, np.inf, None, None, None)}, "error", "the reward inf"),
    ({"step": stepping(None, np.ones(1), None, None, None)}, "error", r"the reward array\(\[1\.\]\)"),
    ({"step": stepping(None, np.array(1.0), None, None, None)}, "warning", r"the reward array\(1\.\)"),
    ({"step": stepping(None, None, 1, None, None)}, "error", "terminated is 1, not a bool"),
    ({"step": stepping(None, None, None, None, [])}, "error", r"step gave the info \[\]"),
    ({"step": lambda self, action: (0, 1, True, {})}, "error", "step returned 4 values, not five"),
    ({"step": lambda self, action: 1 / 0}, "error", "step raised ZeroDivisionError"),
    ({"reset": lambda self, **_: np.zeros(2)}, "error", "reset returned ndarray, not two values"),
    ({"__init__": lambda self: 1 / 0}, "error", "building it raised ZeroDivisionError"),
    ({"observation_space": None}, "error", "observation_space is None"),
    (GLOBAL, "error", "two resets with seed 0 give different observations"),
    (GLOBAL, "error", "draws from a global random generator"),
    ({"last": 10**9}, "warning", "no episode ended in 100 random steps"),
    ({"step": stepping(None, 0.0, None, None, None)}, "warning", "every reward was 0"),
    ({"observe": lambda self: np.zeros(2, np.float32)}, "warning", "no observation ever differed"),
    ({"action_space": spaces.Box(-np.inf, np.inf, (1,))}, "warning", "has no bounds"),
    ({}, "hint", "no time limit is known"),
]


@pytest.mark.parametrize(("changes", "weight", "says"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_a_mistake_is_found(changes: dict[str, Any], weight: str, says: str) -> None:
    import re

    checkup = made(**changes)
    assert any(w == weight and re.search(says, seen) for w, seen in said(checkup)), str(checkup)
    assert checkup.ok == (weight != "error")
    assert says.split()[0] in str(checkup) or "\\" in says
    assert weight in checkup._repr_html_()


def test_an_array_that_is_written_into_again_is_found() -> None:
    class Reusing(Plain):
        array = np.zeros(2, np.float32)

        def observe(self) -> Any:
            self.array[:] = self.np_random.uniform(-1, 1, 2)
            return self.array

    assert ("warning", "step returns the same array each time and writes into it") in said(check_env(Reusing))


def test_a_picture_of_another_form_is_found() -> None:
    class Painted(Plain):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as gymnasium has it
        render_mode = "rgb_array"

        def render(self) -> Any:
            return np.zeros((4, 4))

    assert ("error", "render gave float64 (4, 4)") in said(check_env(Painted, steps=50))


def test_bad_input() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'CartPole-v1'"):
        check_env("CartPol-v1")
    with pytest.raises(AigymError, match="built already"):
        check_env(Plain(), {"size": 3})
    with pytest.raises(AigymError, match="steps=0"):
        check_env(Plain, steps=0)


def test_an_environment_that_was_given_stays_open() -> None:
    class Closing(Plain):
        closed = False

        def close(self) -> None:
            self.closed = True

    env = Closing()
    check_env(env, steps=20)
    assert not env.closed
