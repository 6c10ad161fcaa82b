"""AIGym Workbench: sandboxed tasks, a rubric judge, agents that learn, every step in DuckDB.

    import aigym_kernel as aigym

    aigym.doctor()                                      what works on this machine
    aigym.tasks()                                       a table of the tasks
    aigym.judge("two-sum", solution)                    a Score with marks and feedback
    aigym.formats.human_eval(path)                      problems of others as tasks
    env = aigym.make("aigym/Snake-v0")                  any task or gymnasium environment
    aigym.rollout(agent, env, n=10)                     play and record
    run = aigym.train("CartPole-v1", algo="ppo")        in the background; shown as a live board
    aigym.sql("select * from trajectories")             a pandas DataFrame
    aigym.trajectories(env_id="aigym/Snake-v0")         those that fit, as a DataFrame
    aigym.clone(aigym.load(return_=(450, None)))        a policy that imitates recorded plays
    aigym.similar("an agent that walls itself in")      past plays like this, or about this
    aigym.explore()                                     every recorded step, in a widget
    aigym.runs(), aigym.leaderboard()                   what was done, and who is best at what
    aigym.benchmark("bench_rl.ipynb", seeds=range(5))   a notebook many times: resumed, verified, ranked
    %load_ext aigym_kernel                              %%solution TASK and %aigym SQL

Importing this costs a few milliseconds: a name is loaded when it is first used.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aigym_kernel import formats
    from aigym_kernel.agents import policy_agent, random_agent, replay, scripted
    from aigym_kernel.batches import Update
    from aigym_kernel.bench.handle import Bench, benchmark, load_bench
    from aigym_kernel.comparison import compare
    from aigym_kernel.devices import devices
    from aigym_kernel.differences import diff
    from aigym_kernel.doctor import doctor
    from aigym_kernel.envs import make
    from aigym_kernel.errors import AigymError
    from aigym_kernel.executors import Ray
    from aigym_kernel.handles import import_run
    from aigym_kernel.judge import judge, judging, validate
    from aigym_kernel.judge.batch import judge_many, pass_at_k
    from aigym_kernel.notebooks import run_notebook
    from aigym_kernel.overview import leaderboard, newest_training, runs
    from aigym_kernel.replays import resimulate, verify_replays
    from aigym_kernel.reported import report
    from aigym_kernel.runs import Run, Runs, load_run, rollout, train
    from aigym_kernel.sandboxes import Limits, Program, execute, open_sandbox, open_snapshot
    from aigym_kernel.sandboxes.pool import Pool
    from aigym_kernel.search import similar
    from aigym_kernel.store import Store, load, sql, trajectories
    from aigym_kernel.tasks import load_task
    from aigym_kernel.tasks import tasks_table as tasks
    from aigym_kernel.train import evaluate
    from aigym_kernel.train.checking import check_env
    from aigym_kernel.train.clone import CloneConfig, clone
    from aigym_kernel.train.dqn import DQNConfig, dqn
    from aigym_kernel.train.outlines import network
    from aigym_kernel.train.ppo import PPOConfig, ppo
    from aigym_kernel.trained import load_agent
    from aigym_kernel.trajectories import Mark, Score, Step, Trajectory
    from aigym_kernel.widgets.bench import bench_board
    from aigym_kernel.widgets.board import board
    from aigym_kernel.widgets.builder import network_builder
    from aigym_kernel.widgets.explorer import explore
    from aigym_kernel.widgets.launcher import launch
    from aigym_kernel.widgets.review import review
    from aigym_kernel.widgets.rewards import reward_designer

__version__ = "0.1.0"

_HOME = {
    "AigymError": "errors",
    "Bench": "bench.handle",
    "CloneConfig": "train",
    "DQNConfig": "train",
    "Limits": "sandboxes",
    "Mark": "trajectories",
    "PPOConfig": "train",
    "Pool": "sandboxes.pool",
    "Program": "sandboxes",
    "Ray": "executors",
    "Run": "runs",
    "Runs": "runs",
    "Score": "trajectories",
    "Step": "trajectories",
    "Store": "store",
    "Trajectory": "trajectories",
    "Update": "batches",
    "bench_board": "widgets.bench",
    "benchmark": "bench.handle",
    "board": "widgets",
    "check_env": "train.checking",
    "clone": "train",
    "compare": "comparison",
    "devices": "devices",
    "diff": "differences",
    "doctor": "doctor",
    "dqn": "train",
    "evaluate": "train",
    "execute": "sandboxes",
    "explore": "widgets",
    "formats": "formats:",  # the module itself
    "import_run": "handles",
    "judge": "judge",
    "judge_many": "judge.batch",
    "judging": "judge",
    "launch": "widgets",
    "leaderboard": "overview",
    "load": "store",
    "load_agent": "trained",
    "load_bench": "bench.handle",
    "load_run": "runs",
    "load_task": "tasks",
    "make": "envs",
    "network": "train.outlines",
    "network_builder": "widgets",
    "newest_training": "overview",
    "open_sandbox": "sandboxes",
    "open_snapshot": "sandboxes",
    "pass_at_k": "judge.batch",
    "policy_agent": "agents",
    "ppo": "train",
    "random_agent": "agents",
    "replay": "agents",
    "report": "reported",
    "resimulate": "replays",
    "review": "widgets",
    "reward_designer": "widgets",
    "rollout": "runs",
    "run_notebook": "notebooks",
    "runs": "overview",
    "scripted": "agents",
    "similar": "search",
    "sql": "store",
    "tasks": "tasks:tasks_table",
    "train": "runs",
    "trajectories": "store",
    "validate": "judge",
    "verify_replays": "replays",
}

__all__ = [
    "AigymError",
    "Bench",
    "CloneConfig",
    "DQNConfig",
    "Limits",
    "Mark",
    "PPOConfig",
    "Pool",
    "Program",
    "Ray",
    "Run",
    "Runs",
    "Score",
    "Step",
    "Store",
    "Trajectory",
    "Update",
    "__version__",
    "bench_board",
    "benchmark",
    "board",
    "check_env",
    "clone",
    "compare",
    "devices",
    "diff",
    "doctor",
    "dqn",
    "evaluate",
    "execute",
    "explore",
    "formats",
    "import_run",
    "judge",
    "judge_many",
    "judging",
    "launch",
    "leaderboard",
    "load",
    "load_agent",
    "load_bench",
    "load_run",
    "load_task",
    "make",
    "network",
    "network_builder",
    "newest_training",
    "open_sandbox",
    "open_snapshot",
    "pass_at_k",
    "policy_agent",
    "ppo",
    "random_agent",
    "replay",
    "report",
    "resimulate",
    "review",
    "reward_designer",
    "rollout",
    "run_notebook",
    "runs",
    "scripted",
    "similar",
    "sql",
    "tasks",
    "train",
    "trajectories",
    "validate",
    "verify_replays",
]


class _Package(type(sys)):  # type: ignore[misc]
    """This package, whose functions win over its modules of the same name: ``aigym.train(...)`` is
    `runs.train` although there is a folder ``train/``. Inside, import from the module's full name."""

    def __setattr__(self, name, value):  # type: ignore[no-untyped-def]
        if not (name in _HOME and isinstance(value, type(sys))):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> "Any":
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, colon, attribute = _HOME[name].partition(":")
    value = importlib.import_module(f"aigym_kernel.{module}")
    if attribute or not colon:
        value = getattr(value, attribute or name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return [*__all__, "load_ipython_extension"]


def load_ipython_extension(shell: "Any") -> None:
    """What ``%load_ext aigym_kernel`` calls: brings ``%%solution TASK`` and ``%aigym SQL``."""
    from aigym_kernel import magics

    magics.register(shell)


def _meet_ipython() -> None:
    """In a notebook or IPython: show runs as boards. Elsewhere nothing, and IPython is not imported."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython and hasattr(ipython, "get_ipython") else None
    if shell is not None:
        from aigym_kernel.magics import show_runs_as_boards

        show_runs_as_boards(shell)


_meet_ipython()
