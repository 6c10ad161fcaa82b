"""Launch a task from the notebook: choose it, a sandbox, and who answers; watch the calls and the marks.

    launch()                                       every task; paste an answer, or play the reference
    launch(agents={"mine": my_agent})              agents of one's own: (observation, steps) -> action
    launcher.start("two-sum", "def two_sum(...)")  the same from Python; launcher.wait().trajectory

What was played is recorded in the store as a rollout, so `explore` and `sql` show it afterwards. A task with
tools takes one call after the other: pasted calls are separated by lines that hold only ``---``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import traitlets

from aigym_kernel import settings
from aigym_kernel.agents import scripted
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.rollouts import Agent
from aigym_kernel.runs import rollout
from aigym_kernel.tasks import Task, load_task, tasks_table
from aigym_kernel.trajectories import Mark, Step, Trajectory
from aigym_kernel.widgets import placing, source, stills
from aigym_kernel.widgets.plain import cut
from aigym_kernel.widgets.replies import stay_where_sent

PASTED, REFERENCE = "your answer", "reference solution"
MOST_TURNS = 200


class Launcher(anywidget.AnyWidget):
    """Tasks to choose from, and the play that goes on or was last.

    ``tasks``, ``sandboxes`` and ``agents`` are what there is to choose from; ``task``, ``sandbox``,
    ``agent`` and ``text`` what is chosen; ``view`` what is shown of the play (see `Play` in launcher.js).
    """

    _esm = source.module("drawing", "launcher")
    _css = source.style()

    tasks: Any = traitlets.List().tag(sync=True)
    sandboxes: Any = traitlets.List().tag(sync=True)
    agents: Any = traitlets.List().tag(sync=True)
    task = traitlets.Unicode().tag(sync=True)
    sandbox = traitlets.Unicode().tag(sync=True)
    agent = traitlets.Unicode(PASTED).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)

    def __init__(self, tasks: Sequence[Task], agents: Mapping[str, Agent]) -> None:
        self._tasks = {task.id: task for task in tasks}
        self._own = dict(agents)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self.trajectory: Trajectory | None = None
        super().__init__(
            tasks=[_described(task) for task in tasks],
            sandboxes=list(settings.SANDBOXES),
            agents=[PASTED, REFERENCE, *agents],
            task=tasks[0].id,
            sandbox=settings.sandbox_name(),
            view=_view("idle"),
        )
        stay_where_sent(self.comm)
        self.on_msg(self._on_message)

    def _send(self, msg: Any, buffers: Any = None) -> None:
        super()._send(msg, buffers)
        stay_where_sent(self.comm)

    def start(
        self, task: str, text: str | None = None, *, agent: str | None = None, sandbox: str | None = None
    ) -> None:
        """Play ``task`` in the background: ``text`` is the answer, or the calls; without it, ``agent`` plays
        (one of `agents`; default: the reference solution).

        Raises:
            UnknownName: no such task, agent or sandbox.
            AigymError: a play is going on, or the task has no reference solution.
        """
        if task not in self._tasks:
            raise UnknownName("task", task, self._tasks)
        if agent is None:
            agent = REFERENCE if text is None else PASTED
        if agent not in self.agents:
            raise UnknownName("agent", agent, self.agents)
        chosen = settings.sandbox_name(sandbox or self.sandbox)
        player = self._player(self._tasks[task], agent, text or "")
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                raise AigymError(f"{self.task} is being played; wait for it, or press Stop")
            self.task, self.agent, self.sandbox = task, agent, chosen
            self.text = text if text is not None else self.text
            self._stop.clear()
            self.trajectory = None
            self.view = _view("running", task=task, agent=agent)
            self._thread = threading.Thread(target=self._play, args=(task, player, chosen), daemon=True)
            self._thread.start()

    def wait(self, timeout: float | None = None) -> Launcher:
        """Wait for the play that goes on, at most ``timeout`` seconds, and return this launcher."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self

    def stop(self) -> None:
        """Ask the play to end before its next call. A judgement that has begun runs to its end."""
        self._stop.set()

    def static_html(self) -> str:
        """The chosen task and the last play, as HTML without script."""
        task = next(t for t in self.tasks if t["id"] == self.task)
        return stills.launcher(task, self.view)

    def _player(self, task: Task, agent: str, text: str) -> Agent:
        if agent == PASTED:
            return scripted(_calls(text) if task.tools else [text], name="pasted")
        if agent != REFERENCE:
            return self._own[agent]
        if not task.reference:
            raise AigymError(f"task {task.id} has no reference solution; paste an answer")
        return scripted(list(task.reference), name="reference")

    def _play(self, task: str, player: Agent, sandbox: str) -> None:
        def watched(observation: Any, steps: Sequence[Step]) -> Any:
            self._say("observation", observation)
            if self._stop.is_set():
                raise AigymError("stopped from the launcher")
            action = player(observation, steps)
            self._say("action", action)
            return action

        watched.name = getattr(player, "name", self.agent)  # type: ignore[attr-defined]
        try:
            env: Any = make(task, sandbox=sandbox)
            env.unwrapped.on_mark = self._mark
            try:
                [trajectory] = rollout(watched, env)
            finally:
                env.close()
        except Exception as problem:  # shown, not lost with the thread
            self.view = {**self.view, "state": "error", "error": f"{type(problem).__name__}: {problem}"}
            placing.renew(self)
            return
        self.trajectory = trajectory
        score = trajectory.score
        self.view = {
            **self.view,
            "state": trajectory.outcome if score is not None else "error",
            "error": trajectory.error or "",
            "marks": [] if score is None else [_mark(m) for m in score.marks],
            "total": None if score is None else score.total,
            "trajectory_id": trajectory.id,
            "wall_s": trajectory.wall_s,
        }
        placing.renew(self)

    def _say(self, who: str, text: Any) -> None:
        turn = [who, cut(text if isinstance(text, str) else repr(text))]
        self.view = {**self.view, "turns": [*self.view["turns"], turn][-MOST_TURNS:]}

    def _mark(self, mark: Mark) -> None:
        self.view = {**self.view, "marks": [*self.view["marks"], _mark(mark)]}

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        if content.get("stop"):
            self.stop()
        elif content.get("start"):
            try:
                self.start(self.task, self.text, agent=self.agent, sandbox=self.sandbox)
            except AigymError as problem:
                self.view = {**self.view, "state": "error", "error": str(problem)}

    def __repr__(self) -> str:
        return f"Launcher({self.task}: {self.view['state']})"

    def _ipython_display_(self) -> None:
        placing.place(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata


def launch(tasks: Sequence[str] | None = None, agents: Mapping[str, Agent] | None = None) -> Launcher:
    """A launcher for ``tasks`` (ids; default: all), with ``agents`` by name.

    Raises:
        UnknownName: no task has that id.
        TaskError: a task's files are wrong.
        AigymError: there is no task, or what is given as an agent cannot be called.
    """
    chosen = tasks_table()["id"].tolist() if tasks is None else tasks
    found = [load_task(task) for task in chosen]
    if not found:
        raise AigymError(f"launch: there is no task in {settings.tasks_dir()} (AIGYM_TASKS)")
    for name, agent in (agents or {}).items():
        if not callable(agent) or name in (PASTED, REFERENCE):
            raise AigymError(f"launch: agents[{name!r}]={agent!r} must be callable, under a name of its own")
    return Launcher(found, agents or {})


def _described(task: Task) -> dict[str, Any]:
    known = task.to_dict()
    names = ("id", "title", "kind", "difficulty", "language", "prompt", "answer", "tools")
    return {**{name: known[name] for name in names}, "reference": bool(task.reference)}


def _view(state: str, *, task: str = "", agent: str = "") -> dict[str, Any]:
    return {
        "state": state,
        "task": task,
        "agent": agent,
        "turns": [],
        "marks": [],
        "total": None,
        "error": "",
        "trajectory_id": "",
        "wall_s": None,
    }


def _mark(mark: Mark) -> dict[str, Any]:
    return {
        "name": mark.name,
        "value": mark.value,
        "weight": mark.weight,
        "required": mark.required,
        "status": mark.status,
        "feedback": cut(mark.feedback),
    }


def _calls(text: str) -> list[str]:
    calls: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if line.strip() == "---":
            calls.append([])
        else:
            calls[-1].append(line)
    return [call for call in ("".join(lines).strip("\n") for lines in calls) if call.strip()]
