"""What a training learnt, as an Agent: `load_agent`.

    agent = load_agent(run)                              a Run, or a run's id
    agent = load_agent(run, which="best")                as of its best evaluation, also while it trains
    agent = load_agent("policy.safetensors", greedy=False)
    aigym.rollout(agent, "CartPole-v1", n=5)

Files hold weights and no code, so that one from elsewhere runs nothing; a network of your own is found in the
run's folder, where it was trained (`carried`). It trains nothing and plays nothing.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

from aigym_kernel import carried
from aigym_kernel.errors import AigymError, RunError, TrainingError, UnknownName
from aigym_kernel.recording import as_store
from aigym_kernel.store import Store

if TYPE_CHECKING:
    from aigym_kernel.agents import PolicyAgent

Which = Literal["final", "best", "latest"]
FILES: dict[str, str] = {
    "final": "artifacts/policy.safetensors",
    "best": "artifacts/checkpoints/best.safetensors",
    "latest": "artifacts/checkpoints/latest.safetensors",
}
"""Where a run keeps its policies: at its end, of its best evaluation, of its last checkpoint."""


@runtime_checkable
class Recorded(Protocol):
    """A run of a store, as `handles.Run` is."""

    @property
    def id(self) -> str:
        """Its name in the store."""
        ...

    @property
    def store(self) -> Store:
        """Where it is."""
        ...


def load_agent(
    source: Recorded | str | Path,
    *,
    greedy: bool = True,
    which: Which = "final",
    store: Store | None = None,
    network: Any = None,
) -> PolicyAgent:
    """The trained policy of a run or file as an Agent, named after where it comes from.

    Args:
        source: a run, its id, or the path of a policy's or checkpoint's file.
        greedy: the most likely action; otherwise one sampled from the policy's distribution.
        which: of a run: ``final`` (saved when it ends or is stopped), ``best`` (at its best evaluation) or
            ``latest`` (its last checkpoint); the last two are there while it still trains.
        store: where the run is, if it was given by its id.
        network: the module, if the policy has one of your own and ``source`` is a file or a run that was
            imported: those hold its weights, not its code.

    Raises:
        UnknownName: there is no such run, file or ``which``.
        RunError: the run has not saved that policy.
        TrainingError: the file is of another kind, damaged, or of another network.
    """
    from aigym_kernel.agents import policy_agent
    from aigym_kernel.train.checkpoints import load_policy

    if which not in FILES:
        raise UnknownName("policy (which)", which, get_args(Which))
    if isinstance(source, Recorded):
        path, name = _of_run(source.store, source.id, which), source.id
        folder: Path | None = source.store.run_folder(source.id)
    elif isinstance(source, str | Path):
        path, name, folder = _found(source, which, store)
    else:
        raise AigymError(f"load_agent({source!r}): expected a run, the id of one, or the path of a file")
    if network is None and folder is not None:
        network = carried.network(folder)
    policy = load_policy(path, network)
    return policy_agent(policy, greedy, name=name if which == "final" else f"{name} ({which})")


def _found(source: str | Path, which: str, store: Store | None) -> tuple[Path, str, Path | None]:
    """The file that a text or path means, what its agent is called, and the folder of its run."""
    path = Path(source).expanduser()
    try:
        if path.is_file():
            return path, path.stem, None
    except OSError as problem:
        raise TrainingError(f"{path} cannot be read: {problem.strerror}") from None
    if isinstance(source, Path) or path.name != source or path.suffix == ".safetensors":
        there = path.parent.iterdir() if path.parent.is_dir() else ()
        names = [str(path.with_name(p.name)) for p in there if p.suffix == ".safetensors"]
        raise UnknownName("policy file", path, names, "Or name a run by its id.")
    store = as_store(store)
    if source not in (known := store.run_ids()):
        near = difflib.get_close_matches(source, known, n=3, cutoff=0.5)
        raise UnknownName("run or policy file", source, near or known[-5:])
    return _of_run(store, source, which), source, store.run_folder(source)


def _of_run(store: Store, run_id: str, which: str) -> Path:
    folder = store.run_folder(run_id)
    path = folder / FILES[which]
    if path.is_file():
        return path
    record, state = store.run(run_id), store.status(run_id).state
    if record.kind != "train":
        raise RunError(f"run {run_id} is of kind {record.kind} and has no policy; trainings have one")
    others = [f"which={name!r}" for name, file in FILES.items() if (folder / file).is_file()]
    ways = {
        "final": "it is saved when a training ends or is stopped: run.wait() first",
        "best": "it is saved at an evaluation: train with evaluate_every=",
        "latest": "checkpoints are saved at intervals and by run.save()",
    }
    instead = f"; there is {' and '.join(others)}" if others else ""
    what = "policy" if which == "final" else f"{which} policy"
    raise RunError(f"run {run_id} ({state}) has saved no {what}; {ways[which]}{instead}")
