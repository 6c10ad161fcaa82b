"""A task as a plain gymnasium environment: observations and actions are text.

    env = gymnasium.make("aigym/two-sum-v0")
    prompt, info = env.reset()
    feedback, reward, terminated, truncated, info = env.step(answer)

A task without tools takes one step: the action is the answer, the reward its score. A task with tools takes
one call per step (`aigym_kernel.tools`) in one shell of a sandbox that the first call opens; the reward, 0
until then, comes with ``submit``, or with the last of ``max_steps``, when the files are judged as they are.

After the last step ``info["outcome"]`` is passed, failed or unjudged, ``info["score"]`` the verdict as plain
data without its wall time and evidence (the same answer gives the same info) and ``env.unwrapped.score``
the `Score`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

from aigym_kernel import tools
from aigym_kernel.envs.spaces import UnicodeText
from aigym_kernel.errors import SandboxError, SolutionError
from aigym_kernel.judge import judging, unjudged, validate
from aigym_kernel.sandboxes import Box, Session, open_sandbox
from aigym_kernel.tasks import Task, load_task, names_file
from aigym_kernel.trajectories import Mark, Score

OBSERVATION_LENGTH = 16_384
ACTION_LENGTH = 262_144
_CUT = "\n[... {} characters left out ...]\n"


class TaskEnv(gymnasium.Env[str, str]):
    """One task to be solved, over and over.

    Observation: text of up to 16,384 characters. Action: text of up to 262,144 characters.
    Nothing is drawn at random: a seed changes nothing. ``task_id`` is an id, or a Task that no folder holds,
    such as one of `formats.human_eval`. ``on_mark``, where it is set, hears of each mark as it is decided.

    Raises:
        UnknownName: no such task or sandbox.
        TaskError: the task's files are wrong.
    """

    metadata = {  # noqa: RUF012  (gymnasium declares it an instance variable)
        "render_modes": ["ansi"],
        "render_fps": 1,
    }

    def __init__(
        self, task_id: str | Task, sandbox: str | None = None, render_mode: str | None = None
    ) -> None:
        self.task = task_id if isinstance(task_id, Task) else load_task(task_id)
        self.render_mode = render_mode
        self.observation_space = UnicodeText(OBSERVATION_LENGTH)
        self.action_space = UnicodeText(ACTION_LENGTH)
        self._sandbox = open_sandbox(sandbox)
        self._box: Box | None = None
        self._shell: Session | None = None
        self._score: Score | None = None
        self.on_mark: Callable[[Mark], None] | None = None
        self._steps = -1
        self._validations = 0
        self._exchange = ("", "")

    @property
    def score(self) -> Score | None:
        """The verdict on the episode; None until it has ended."""
        return self._score

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[str, dict[str, Any]]:
        """Start anew: the observation is the prompt, with the tools where there are any."""
        super().reset(seed=seed)
        self._close_box()
        self._score, self._steps, self._validations = None, 0, 0
        prompt = self.task.prompt
        if self.task.tools:
            prompt += f"\n{tools.manual(self.task.tools)}\n"
        if self.task.validations:
            prompt += f"validate can be called {self.task.validations} times.\n"
        self._exchange = ("", cut(prompt))
        return self._exchange[1], {"task_id": self.task.id}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take the answer, or one tool call.

        Raises:
            ResetNeeded: before `reset`, or after the episode's end.
            SolutionError: the action is not text, or too long.
        """
        if self._steps < 0 or self._score is not None:
            state = "has not begun" if self._steps < 0 else "has ended"
            raise gymnasium.error.ResetNeeded(f"{self.task.id}: the episode {state}; call reset() first")
        if action not in self.action_space:
            wrong = type(action).__name__
            if isinstance(action, str):
                long = len(action) > ACTION_LENGTH
                wrong = f"{len(action):,} characters" if long else "text with lone surrogates"
            raise SolutionError(
                f"{self.task.id}: an action is UTF-8 text of up to {ACTION_LENGTH:,} characters, not {wrong}"
            )
        self._steps += 1
        truncated = False
        try:
            if self.task.tools:
                observation, truncated = self._use(action)
            else:
                # As a file, never as what might be the path of one here.
                observation = self._end(self._judged({self.task.answer: action}))
        except SandboxError as error:
            observation = self._end(unjudged(self.task, f"the sandbox broke: {error}"))
        self._exchange = (action, cut(observation))
        info: dict[str, Any] = {"task_id": self.task.id}
        reward, score = 0.0, self.score
        if score is not None:
            verdict = score.to_dict()
            del verdict["wall_s"]
            for mark in verdict["marks"]:
                mark.pop("evidence", None)
            outcome = "unjudged" if score.total is None else "passed" if score.passed else "failed"
            info |= {"outcome": outcome, "score": verdict}
            reward = score.total or 0.0
        return self._exchange[1], reward, score is not None and not truncated, truncated, info

    def _use(self, action: str) -> tuple[str, bool]:
        """Carry out one call: what is seen of it, and whether it was the last one allowed."""
        refused = tools.refusal(action, self.task.tools)
        name = tools.split(action)[0]
        submitted = not refused and name == "submit"
        observation = refused
        if not refused and name == "validate":
            observation = self._validate()
        elif not refused and not submitted:
            observation = tools.call(self._open_shell(), action, self.task.tools)
        last = not submitted and self._steps >= self.task.max_steps
        if not submitted and not last:
            return observation, False
        if self._shell is not None:
            self._shell.close()  # with all that still runs: nothing changes a file any more
        files = self._exported()
        self._close_box()
        verdict = self._end(self._judged(files))
        if last:
            observation = f"{cut(observation, OBSERVATION_LENGTH // 2)}\n[that was the last step]\n{verdict}"
        return (observation if last else verdict), last

    def _validate(self) -> str:
        """The verdict on the public split, as an agent reads it; or that it was seen often enough."""
        most = self.task.validations
        if self._validations >= most:
            return f"validate: all {most} validations are used"
        self._validations += 1
        score = validate(self.task, self._exported(), sandbox=self._sandbox)
        return f"{_told(score)}\n[public part only; {most - self._validations} of {most} validations left]"

    def _exported(self) -> dict[str, bytes]:
        """The box's files. What has a name that no solution may have cannot count, nor stop the judge."""
        if self._box is None:
            return dict(self.task.files)
        return {name: content for name, content in self._box.export().items() if names_file(name)}

    def _judged(self, files: Mapping[str, str | bytes]) -> Score:
        for known in judging(self.task, files, sandbox=self._sandbox):
            if isinstance(known, Score):
                return known
            if self.on_mark is not None:
                self.on_mark(known)
        raise AssertionError("judging ends with a Score")

    def _end(self, score: Score) -> str:
        """Keep the score; the verdict as an agent reads it."""
        self._score = score
        return _told(score)

    def _open_shell(self) -> Session:
        if self._box is None:
            self._box = self._sandbox.open(self.task.limits, self.task.files)
        if self._shell is None:
            self._shell = self._box.session()
        return self._shell

    def _close_box(self) -> None:
        box, self._box, self._shell = self._box, None, None
        if box is not None:
            box.close()

    def render(self) -> str | None:
        """With ``render_mode="ansi"``: the last action and what came of it."""
        if self.render_mode != "ansi":
            return None
        action, observation = self._exchange
        return f"> {action}\n{observation}" if action else observation

    def close(self) -> None:
        """Close the sandbox. Twice is fine."""
        self._close_box()


def _told(score: Score) -> str:
    verdict = "unjudged" if score.total is None else f"score {score.total:.2f}"
    lines = [f"{verdict}, {'passed' if score.passed else 'not passed'}"]
    for m in score.marks:
        lines.append(f"{m.name}: {m.status}")
        lines.extend(f"  {line}" for line in m.feedback.splitlines())
    return "\n".join(lines)


def cut(text: str, length: int = OBSERVATION_LENGTH) -> str:
    """``text`` within ``length`` characters, its middle left out, and nothing UTF-8 cannot hold."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= length:
        return text
    half = (length - 60) // 2
    return text[:half] + _CUT.format(len(text) - 2 * half) + text[-half:]
