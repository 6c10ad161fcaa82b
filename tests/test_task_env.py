"""TaskEnv and its tools: gymnasium's contract, one-step and many-step tasks, what an agent cannot see."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import yaml
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from samples import hurried

import aigym_kernel.envs  # noqa: F401  (registers the tasks)
from aigym_kernel import tools
from aigym_kernel.envs.spaces import UnicodeText
from aigym_kernel.envs.task_env import OBSERVATION_LENGTH, TaskEnv, cut
from aigym_kernel.errors import SandboxError, SolutionError, UnknownName
from aigym_kernel.sandboxes import Box, Limits, open_sandbox
from aigym_kernel.tasks import load_task, task_ids
from aigym_kernel.trajectories import Score


@pytest.fixture
def tool_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: None) -> str:
    """A task with tools: write the word of hint.txt to answer.txt. Its hidden script holds a canary."""
    del sandbox
    folder = tmp_path / "say-word"
    for name in ("files", "hidden"):
        (folder / name).mkdir(parents=True)
    (folder / "files/hint.txt").write_text("pear\n")
    (folder / "hidden/check.py").write_text(
        "import json\nfrom pathlib import Path\n"
        "word = 'pear'  # canary-4711\n"
        "answer = Path('answer.txt')\n"
        "right = answer.is_file() and answer.read_text().strip() == word\n"
        "told = 'as it should be' if right else 'wrong word'\n"
        "print(json.dumps({'value': float(right), 'feedback': told}))\n"
    )
    task = {
        "id": "say-word",
        "title": "Say the word",
        "kind": "interactive",
        "prompt": "Write the word of hint.txt to answer.txt.",
        "tools": ["bash", "read", "write", "submit"],
        "max_steps": 4,
        "limits": {"wall_s": 60.0},
        "rubric": {"criteria": [{"name": "word", "check": {"type": "program"}}]},
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path))
    return "say-word"


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("task_id", "render_mode"),
    [*((name, "ansi") for name in task_ids()), ("two-sum", None), ("mend-ledger", None)],
)
def test_gymnasium_has_nothing_to_complain_about(task_id: str, render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(f"aigym/{task_id}-v0", render_mode=render_mode)
        assert isinstance(env, TaskEnv), "made without wrappers"
        check_env(env)
        env.close()


def verdict(env: TaskEnv) -> Score | None:
    return env.score


@pytest.mark.usefixtures("sandbox")
def test_one_answer_ends_a_task_without_tools() -> None:
    env = TaskEnv("two-sum", render_mode="ansi")
    observation, info = env.reset(seed=3)
    assert observation == load_task("two-sum").prompt == env.render()
    assert info == {"task_id": "two-sum"}
    assert env.score is None
    reference = env.task.reference[0]
    observation, reward, terminated, truncated, info = env.step(reference)
    assert (reward, terminated, truncated, info["outcome"]) == (1.0, True, False, "passed")
    assert "12 of 12 cases right" in observation
    assert json.loads(json.dumps(info["score"])) == info["score"]
    score = verdict(env)
    assert score is not None
    assert score.passed
    assert info["score"] == {k: v for k, v in score.to_dict().items() if k != "wall_s"}
    assert env.render() == f"> {reference}\n{observation}"
    with pytest.raises(gymnasium.error.ResetNeeded, match="has ended"):
        env.step(reference)
    env.reset()
    assert env.score is None
    _, reward, terminated, _, info = env.step("def two_sum(numbers, target): return []")
    assert (reward, terminated, info["outcome"]) == (info["score"]["total"], True, "failed")
    assert 0 < reward < 1


def test_order_of_calls_and_kind_of_action() -> None:
    env = TaskEnv("two-sum")
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"two-sum: the episode has not begun; call reset"):
        env.step("")
    env.reset()
    for action, told in (
        (3, "int"),
        (None, "NoneType"),
        (b"x", "bytes"),
        ("x" * 300_000, "300,000"),
        ("\ud800", "not text with lone surrogates"),
    ):
        with pytest.raises(SolutionError, match=told):
            env.step(action)  # type: ignore[arg-type]
    env.close()
    env.close()


@pytest.mark.usefixtures("sandbox")
def test_an_answer_is_never_taken_for_a_path() -> None:
    env = TaskEnv("two-sum")
    env.reset()
    observation, reward, *_ = env.step(str(env.task.folder / "reference/solution.py"))
    assert reward == 0.0
    assert "solution.py cannot be used: SyntaxError" in observation


def test_no_sandbox_leaves_an_answer_unjudged() -> None:
    env = TaskEnv("two-sum")
    env._sandbox = Breaking(0)
    env.reset()
    observation, _, terminated, _, info = env.step("")
    assert (terminated, info["outcome"]) == (True, "unjudged")
    assert "no namespaces left" in observation


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match="two-sum"):
        TaskEnv("two-sun")
    with pytest.raises(UnknownName, match="bwrap"):
        TaskEnv("two-sum", sandbox="bwarp")


def test_tools_then_submit(tool_task: str) -> None:
    env = TaskEnv(tool_task, render_mode="ansi")
    observation, _ = env.reset()
    assert "Write the word" in observation
    assert "write <path>" in observation
    assert env.step("read hint.txt")[0] == "pear"
    observation, reward, terminated, truncated, info = env.step("write answer.txt\npear")
    assert (observation, reward, terminated, truncated) == (
        "wrote 4 characters to answer.txt",
        0.0,
        False,
        False,
    )
    assert info == {"task_id": tool_task}
    assert env.score is None
    observation, reward, terminated, truncated, info = env.step("submit")
    assert (reward, terminated, truncated, info["outcome"]) == (1.0, True, False, "passed")
    assert observation == "score 1.00, passed\nword: passed\n  as it should be"
    env.reset()
    assert env.step("bash ls")[0] == "hint.txt", "the box of the episode before is gone"
    env.close()


def test_last_step_is_judged_as_it_is(tool_task: str) -> None:
    env = TaskEnv(tool_task)
    env.reset()
    env.step("bash cp hint.txt answer.txt")
    for _ in range(2):
        assert env.step("wait")[1:4] == (0.0, False, False)
    observation, reward, terminated, truncated, info = env.step("bash echo still here")
    assert (reward, terminated, truncated, info["outcome"]) == (1.0, False, True, "passed")
    assert observation.startswith("still here\n[that was the last step]\nscore 1.00")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("submit")


def test_submit_in_the_last_step_terminates(tool_task: str) -> None:
    env = TaskEnv(tool_task)
    env.reset()
    for _ in range(3):
        env.step("nothing")
    assert env.step("submit")[1:4] == (0.0, True, False)


def test_agent_finds_nothing_hidden(tool_task: str) -> None:
    env = TaskEnv(tool_task)
    env.reset()
    search = "bash grep -rlsI -D skip --exclude-dir=proc --exclude-dir=usr 'canary-471[1]' / | head; "
    search += (
        "cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep 'canary-471[1]'; echo done"
    )
    assert env.step(search)[0] == "done"
    env.step("write note.txt\ncanary-4711")
    assert "/work/note.txt" in env.step(search)[0], "the search itself works"
    env.close()


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("", "there is no tool ''. Write one call at a time"),
        ("sing a song", "there is no tool 'sing'"),
        ("bash", "bash: its argument is missing. Write: bash <command>"),
        ("write   ", "write: its argument is missing"),
        ("read \0", "NUL"),
        ("bash " + "x" * 120_000, "more than 100,000 bytes"),
        ("read nothing.txt", "No such file"),
        ("read /etc", "[exit code 1]"),
        ("write /etc/passwd\nme", "[exit code 1]"),
        ("write a/b c.txt\n ä \n", "wrote 4 characters to a/b c.txt"),
        ("bash exit 7", "[exit code 7]"),
        ("bash true", "[no output]"),
        ("bash\necho one\necho two >&2", "one\ntwo"),
        ("bash kill -9 $$", "[killed by signal SIGKILL]"),
        ("bash sleep 99", "[stopped: it took too long]"),
        ("bash yes", "[stopped: it printed too much]"),
    ],
)
def test_every_call_gets_an_observation(tool_task: str, action: str, told: str) -> None:
    env = TaskEnv(tool_task)
    if "sleep" in action:
        env.task = hurried(env.task, 3.0)
    env.reset()
    observation, reward, terminated, truncated, _ = env.step(action)
    assert told in observation
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert observation in env.observation_space
    assert env.step("bash echo fine")[0] == "fine", "the box is still usable"
    env.close()


def test_one_shell_for_the_whole_episode(tool_task: str) -> None:
    env = TaskEnv(tool_task)
    env.task = replace(env.task, max_steps=30)
    env.reset()
    env.step("bash mkdir -p deep/er && cd deep/er && word=fig; (sleep 300; echo over) & server=$!")
    env.step("write note.txt\nhere")
    assert env.step("bash pwd; echo $word; cat /work/deep/er/note.txt; kill -0 $server && echo; true")[0] == (
        "/work/deep/er\nfig\nhere"
    )
    assert env.step("read note.txt")[0] == "here"
    env.step("bash cat() { echo no; }; printf() { echo no; }; alias mkdir='echo no'; set -o noclobber")
    env.step("write sub/note.txt\nagain")
    env.step("write sub/note.txt\nand again")
    assert env.step("read sub/note.txt")[0] == "and again"
    observation = env.step("bash set -e; false")[0]
    assert observation == ("[exit code 1]\n[the shell has ended; the next call begins a new one in /work]")
    assert env.step("bash pwd; echo [$word]")[0] == "/work\n[]"
    assert env.step("bash tail /dev/zero")[0].startswith("[stopped: it used too much memory]")
    assert env.step("read deep/er/note.txt")[0] == "here"
    env.reset()
    assert env.step("bash pwd; echo [$word]; ls")[0] == "/work\n[]\nhint.txt"
    env.close()


def test_written_content_is_exact(tool_task: str) -> None:
    env = TaskEnv(tool_task)
    env.reset()
    env.step("write x.txt\n  two spaces\n\n$HOME `ls` 'q'\n")
    assert env.step("bash od -An -c x.txt | tr -d ' \\n'; echo")[0] == r"twospaces\n\n$HOME`ls`'q'\n"
    assert env.step("read x.txt")[0] == "  two spaces\n\n$HOME `ls` 'q'"
    env.close()


class Breaking:
    """A sandbox whose box breaks after ``works`` commands."""

    name = "breaking"

    def __init__(self, works: int) -> None:
        self.works = works

    def open(self, limits: Limits, files: Mapping[str, str | bytes] | None = None) -> Box:
        if self.works == 0:
            raise SandboxError("no namespaces left")
        self.works -= 1
        return open_sandbox().open(limits, files)


@pytest.mark.parametrize("works", [0, 1])
def test_broken_sandbox_ends_unjudged(tool_task: str, works: int) -> None:
    env = TaskEnv(tool_task)
    env._sandbox = Breaking(works)
    env.reset()
    if works:
        env.step("bash true")
    action = "submit" if works else "bash true"
    observation, reward, terminated, _, info = env.step(action)
    assert (reward, terminated, info["outcome"]) == (0.0, True, "unjudged")
    assert info["score"]["total"] is None
    assert "no namespaces left" in observation


def test_same_actions_same_answers(tool_task: str) -> None:
    def play() -> list[Any]:
        env = TaskEnv(tool_task)
        env.reset(seed=1)
        return [
            env.step(a)
            for a in ("bash ls -a; python3 -c 'print(hash(1))'", "write answer.txt\nfig", "submit")
        ]

    assert play() == play()


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_several_at_once(mode: str) -> None:
    options = {"shared_memory": False} if mode == "async" else {}
    envs = gymnasium.make_vec("aigym/two-sum-v0", num_envs=2, vectorization_mode=mode, vector_kwargs=options)
    prompts, _ = envs.reset(seed=1)
    assert prompts == (load_task("two-sum").prompt,) * 2
    _, rewards, terminated, _, infos = envs.step(("", load_task("two-sum").reference[0]))
    assert (list(rewards), list(terminated), list(infos["outcome"])) == (
        [0, 1],
        [True, True],
        ["failed", "passed"],
    )
    envs.close()


@given(st.text(max_size=300), st.integers(100, 200))
def test_cut_stays_within(text: str, length: int) -> None:
    assert len(cut(text, length)) <= length
    assert cut(text, length) in UnicodeText(length)


def test_cut_says_how_much_is_missing() -> None:
    text = "a" * OBSERVATION_LENGTH + "b" * OBSERVATION_LENGTH
    short = cut(text)
    assert short.startswith("aaa")
    assert short.endswith("bbb")
    kept = short.count("a") - "characters left out".count("a") + short.count("b")
    assert f"[... {len(text) - kept} characters left out ...]" in short


@given(st.text())
def test_split_keeps_the_argument(argument: str) -> None:
    assert tools.split(f"bash {argument}")[0] == "bash"
    assert tools.split(f"write x\n{argument}") == ("write", f"x\n{argument}")


def test_text_space() -> None:
    space = UnicodeText(10, min_length=1)
    for text in ("a", "ä→😀", "\0\n\t", "x" * 10):
        assert text in space
    for wrong in ("", "x" * 11, "\ud800", 3, b"x", None):
        assert wrong not in space
    assert space == UnicodeText(10, min_length=1) == copy.deepcopy(space) == pickle.loads(pickle.dumps(space))
    assert space != UnicodeText(11, min_length=1)
    assert repr(space) == "UnicodeText(10, min_length=1)"
    large = UnicodeText(1_000_000)
    large.seed(5)
    first = [large.sample() for _ in range(20)]
    large.seed(5)
    assert first == [large.sample() for _ in range(20)]
    assert all(s in large and len(s) <= 80 and s.isprintable() for s in first)
    assert len(set(first)) > 10
    assert large.from_jsonable(large.to_jsonable(first)) == first
