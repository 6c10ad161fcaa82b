"""Agents without a language model over coding tasks, several samples of each, and pass@k of what they did.

    tasks = choose(["two-sum", "lru-cache"])        ids, or the path of a file in HumanEval's format
    played = play(tasks, "mutated", samples=5)      by task: its recorded Trajectories, one per sample
    table(played, k=5)                              a row per task: passed, pass@1, pass@k, mean score

An agent is named by a text:

    reference                 the task's own solution: what is possible
    empty                     an empty answer, or submitting at once: what nothing is worth
    mutated                   the reference; in about half of the samples with one operator, word or number
                              changed, which hidden tests should find
    module:function           function(seed) returns the Agent of one sample, (observation, steps) -> action
    command: PROGRAM ...      started for each action: reads the observation and prints the action; its
                              environment has AIGYM_SEED, of the sample, and AIGYM_STEP, from 0

The last two see what an agent sees, never a hidden case or the reference. They run here as you, not in the
sandbox; what they answer runs in it. Not here: judging (`judge`) and language models.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import EnvSpec

from aigym_kernel.agents import scripted
from aigym_kernel.envs.task_env import TaskEnv
from aigym_kernel.errors import BenchError, SandboxError, UnknownName, check_whole
from aigym_kernel.formats import human_eval
from aigym_kernel.judge.batch import pass_at_k
from aigym_kernel.rollouts import Agent
from aigym_kernel.runs import rollout
from aigym_kernel.sandboxes import check
from aigym_kernel.settings import sandbox_name
from aigym_kernel.tasks import Task, load_task
from aigym_kernel.trajectories import Step, Trajectory

if TYPE_CHECKING:
    import pandas

ANSWER_S = 120.0
"""Seconds that a command may take for one action."""

_PAIRS = ("< <=", "> >=", "== !=", "+ -", "and or", "True False", "min max")
SWAPS = {a: b for pair in _PAIRS for a, b in (pair.split(), reversed(pair.split()))}
"""What `mutated` puts in the place of what, in any language. A whole number becomes the next one."""

_SPOT = re.compile(
    r"(?<![\w.])\d+(?![\w.])|\b(?:and|or|True|False|min|max)\b|<=|>=|==|!="
    r"|(?<![<>=-])[<>](?![<>=])|[+-](?![>=+-])"
)
_BETWEEN = "\0"  # actions of a reference that is mutated as one text

Maker = Callable[[Task, int], Agent]
"""What makes the agent of one sample, from the task and the sample's seed."""


def choose(names: str | Sequence[str], first: int = 0) -> list[Task]:
    """The tasks of these names: ids, or paths of files in HumanEval's format (``.jsonl``, ``.jsonl.gz``).

    Args:
        first: only so many of them, the first; 0: all.

    Raises:
        UnknownName: no task has that id.
        TaskError: a file cannot be read or is wrong.
    """
    check_whole("first", first, 0)
    found: list[Task] = []
    for name in [names] if isinstance(names, str) else names:
        found += human_eval(name) if name.endswith((".jsonl", ".jsonl.gz")) else [load_task(name)]
    return found[: first or None]


def play(
    tasks: Sequence[Task], agent: str, *, samples: int = 1, seed: int = 0, sandbox: str | None = None
) -> dict[str, list[Trajectory]]:
    """Let the agent answer each task ``samples`` times; recorded, one run per task.

    Sample i of a task has the seed ``seed * samples + i``, so that other seeds bring other samples. An
    exception of the agent is kept in its trajectory's ``error``.

    Raises:
        UnknownName: there is no such agent or sandbox.
        BenchError: a task has no reference, which ``reference`` and ``mutated`` need; or there is no task.
        SandboxError: the sandbox does not work here.
    """
    check_whole("samples", samples, 1)
    check_whole("seed", seed, 0)
    if not tasks:
        raise BenchError("there is no task to play; name one, such as 'two-sum' (aigym.tasks() has them all)")
    make = _maker(agent)
    # Without this each sample would be unjudged, and say so one by one.
    if problem := check(sandbox_name(sandbox)):
        raise SandboxError(problem)
    seeds = range(seed * samples, (seed + 1) * samples)
    played = {}
    for task in tasks:
        env = TaskEnv(task, sandbox)
        env.spec = EnvSpec(id=f"aigym/{task.id}-v0")
        agents = _InTurn(waiting=iter([make(task, one) for one in seeds]), name=agent)
        try:
            played[task.id] = rollout(agents, env, n=samples, seed=seeds[0])
        finally:
            env.close()
    return played


def table(played: Mapping[str, Sequence[Trajectory]], k: int = 1) -> pandas.DataFrame:
    """A row per task: ``samples``, how many ``passed``, ``pass@1``, ``pass@k`` (unbiased, see
    `judge.batch.pass_at_k`), the mean ``score``, ``errors`` of the agent, and samples left ``unjudged``.

    A sample whose agent raised has failed, with score 0. What could not be judged counts in no number.

    Raises:
        AigymError: ``k`` is more than the samples that were judged of some task.
    """
    import pandas

    rows = []
    for task_id, trajectories in played.items():
        errors = [t for t in trajectories if t.error is not None]
        scores = [t.score for t in trajectories if t.error is None and t.score is not None]
        totals = [score.total for score in scores if score.total is not None]
        n, passed = len(totals) + len(errors), sum(score.passed for score in scores)
        rows.append(
            {
                "task": task_id,
                "samples": len(trajectories),
                "passed": passed,
                "pass@1": pass_at_k(n, passed, 1),
                f"pass@{k}": pass_at_k(n, passed, k),
                "score": sum(totals) / n,
                "errors": len(errors),
                "unjudged": len(trajectories) - n,
            }
        )
    return pandas.DataFrame(rows)


@dataclass(eq=False, kw_only=True)
class _InTurn:
    """One agent after the other: the next one each time that an episode begins."""

    waiting: Iterator[Agent]
    name: str
    playing: Agent | None = None

    @property
    def messages(self) -> Any:
        """The conversation of the one that plays, see `rollouts.play`."""
        return getattr(self.playing, "messages", ())

    def __call__(self, observation: Any, steps: Sequence[Step]) -> Any:
        if not steps:
            self.playing = next(self.waiting)
        assert self.playing is not None
        return self.playing(observation, steps)


def _maker(name: str) -> Maker:
    if name in MAKERS:
        return MAKERS[name]
    kind, colon, rest = name.partition(":")
    if kind == "command" and rest.strip():
        return lambda _task, seed: _command(shlex.split(rest), seed)
    if not colon:
        hint = "One of yours is named as 'module:function' or 'command: PROGRAM'."
        raise UnknownName("agent", name, MAKERS, hint)
    try:
        function = getattr(import_module(kind), rest)
    except ImportError as problem:
        raise BenchError(f"agent {name!r}: {problem}; put the module beside the notebook") from None
    except AttributeError:
        raise UnknownName(f"function in module {kind}", rest, vars(import_module(kind))) from None
    return lambda _task, seed: _made(name, function, seed)


def _made(name: str, function: Any, seed: int) -> Agent:
    agent = function(seed)
    if not callable(agent):
        raise BenchError(
            f"agent {name!r}: {name.partition(':')[2]}({seed}) returned {agent!r}; it must return the agent "
            "of one sample, a function (observation, steps) -> action"
        )
    made: Agent = agent
    return made


def _reference(task: Task) -> tuple[str, ...]:
    if not task.reference:
        raise BenchError(f"task {task.id!r} has no reference solution; take another agent, or another task")
    return task.reference


def _empty(task: Task, _seed: int) -> Agent:
    return scripted(["submit" if task.tools else ""], name="empty")


def _changed(task: Task, seed: int) -> Agent:
    draws = random.Random(f"{task.id} {seed}")
    text = _BETWEEN.join(_reference(task))
    text = mutated(text, draws) if draws.random() < 0.5 else text
    return scripted(text.split(_BETWEEN), name="mutated")


MAKERS: dict[str, Maker] = {
    "reference": lambda task, _seed: scripted(_reference(task), name="reference"),
    "empty": _empty,
    "mutated": _changed,
}


def mutated(text: str, draws: random.Random) -> str:
    """``text`` with one spot changed: an operator, a word of `SWAPS`, or a whole number, which becomes the
    next one. Unchanged where there is no such spot."""
    spots = list(_SPOT.finditer(text))
    if not spots:
        return text
    spot = draws.choice(spots)
    old = spot.group()
    return text[: spot.start()] + (SWAPS.get(old) or str(int(old) + 1)) + text[spot.end() :]


def _command(arguments: list[str], seed: int) -> Agent:
    def act(observation: Any, steps: Sequence[Step]) -> str:
        told = {"AIGYM_SEED": str(seed), "AIGYM_STEP": str(len(steps))}
        try:
            ended = subprocess.run(
                arguments,
                input=str(observation),
                capture_output=True,
                text=True,
                timeout=ANSWER_S,
                env={**os.environ, **told},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise BenchError(f"the agent's command {shlex.join(arguments)!r}: {problem}") from None
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["it printed no error"])[-1]
            raise BenchError(
                f"the agent's command {shlex.join(arguments)!r} ended with code {ended.returncode}: {last}"
            )
        return ended.stdout

    return act
