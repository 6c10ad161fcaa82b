"""IPython: two magics, runs shown as boards, mistakes without our internals; in a real shell."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("store_dir")


def ipython(*lines: str) -> str:
    """What a new IPython prints for these cells, separated by blank lines."""
    code = "\n".join(
        [
            "from IPython.testing.globalipapp import start_ipython",
            "shell = start_ipython()",
            *(f"shell.run_cell({line!r})" for line in lines),
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout + done.stderr


SOLUTION = "%%solution two-sum\ndef two_sum(numbers, target):\n    return []"


@pytest.mark.usefixtures("sandbox")
def test_the_magics_wrap_judge_and_sql() -> None:
    printed = ipython(
        "%load_ext aigym_kernel",
        SOLUTION,
        "import aigym_kernel as aigym",
        "played = aigym.rollout(aigym.scripted([0] * 600), 'CartPole-v1', n=2)",
        "%aigym select count(*) + 40 as n from trajectories",
        "%%aigym\nselect count(*) + 50 as n\nfrom trajectories",
    )
    assert "hidden case" in printed
    assert "42" in printed
    assert "52" in printed


def test_a_mistake_is_one_line() -> None:
    printed = ipython("%load_ext aigym_kernel", "%%solution two-summ\nx = 1", "%aigym", "%%solution\nx = 1")
    assert "UnknownName: unknown task 'two-summ'. Did you mean 'two-sum'" in printed
    assert "%aigym needs SQL" in printed
    assert "%%solution needs a task" in printed
    assert "Traceback" not in printed


@pytest.mark.timeout(900)
def test_a_run_is_shown_as_a_board() -> None:
    printed = ipython(
        "import aigym_kernel as aigym",
        "run = aigym.train('CartPole-v1', total_timesteps=2048)",
        "run",
        "_ = run.wait(600)",
        "from IPython.display import display\ndisplay(run)",
    )
    assert "Board(" in printed
    assert "done, step 2,048" in printed
