"""Recorded trajectories played again from seed and actions, and checked against the record.

    resimulate(trajectory_id).diverged_at             None: it went the same way
    verify_replays(run_id)                            a DataFrame, one row per trajectory
    frame = verify_replays(run_id); frame[frame.result == "diverged"]

Needs environments that this process can make by their id (import the module that registers yours first).
Nothing is written. An environment that reads a clock, or draws from a generator that its seed does not set,
diverges: `check_env` says whether it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigym_kernel.envs import replay
from aigym_kernel.envs.replay import Resimulation
from aigym_kernel.errors import AigymError, check_whole
from aigym_kernel.handles import Run
from aigym_kernel.recording import as_store
from aigym_kernel.store import Store
from aigym_kernel.trajectories import Trajectory

if TYPE_CHECKING:
    import pandas


def resimulate(trajectory: Trajectory | str, store: Store | None = None) -> Resimulation:
    """Reset a fresh environment with a trajectory's seed and take its actions.

    Args:
        trajectory: one, or the id of one in the store.

    Raises:
        AigymError: it was recorded without a seed, or its environment cannot be built again.
        UnknownName: no trajectory has this id, or its environment is not registered here.
    """
    if isinstance(trajectory, str):
        trajectory = as_store(store).load(trajectory)
    return replay.resimulate(trajectory)


def verify_replays(
    run: Run | str, *, limit: int | None = None, store: Store | None = None
) -> pandas.DataFrame:
    """Play the trajectories of a run again and compare rewards, observations and ends with the record.

    Args:
        limit: at most so many, the newest; None: all.

    Returns:
        A row per trajectory, the newest first: ``trajectory_id``, ``env_id``, ``steps``; ``result``:
        ``same``, ``diverged``, or ``impossible``; ``diverged_at``: the first step that differs, NA where none
        does; ``problem``: why it could not be played again.

    Raises:
        UnknownName: the store has no such run.
    """
    import pandas

    if limit is not None:
        check_whole("verify_replays: limit", limit, 1)
    store = run.store if isinstance(run, Run) else as_store(store)
    run_id = store.run(run.id if isinstance(run, Run) else run).run_id
    rows = []
    for trajectory_id in store.trajectories(run_id=run_id, limit=limit)["trajectory_id"]:
        trajectory = store.load(trajectory_id)
        result, at, problem = "same", None, ""
        try:
            at = replay.resimulate(trajectory).diverged_at
            result = "same" if at is None else "diverged"
        except AigymError as error:
            result, problem = "impossible", str(error)
        except Exception as error:  # what the environment raises when it goes another way
            result, problem = "impossible", f"{type(error).__name__}: {error}"
        rows.append((trajectory_id, trajectory.env_id, len(trajectory), result, at, problem))
    columns = ["trajectory_id", "env_id", "steps", "result", "diverged_at", "problem"]
    frame = pandas.DataFrame(rows, columns=columns)
    return frame.astype({"steps": "int64", "diverged_at": "Int64"})
