"""Logs of Inspect: made here by inspect_ai itself with a model that says what it is told."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import missing

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import inspect_eval, tell
from aigym_kernel.store import Store
from aigym_kernel.trajectories import Image, Trajectory

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect_ai")

try:
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.log import read_eval_log, write_eval_log
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageUser,
        ContentImage,
        ContentReasoning,
        ContentText,
        ModelOutput,
        ModelUsage,
        get_model,
    )
    from inspect_ai.scorer import Score, mean, scorer
    from inspect_ai.solver import generate, use_tools
    from inspect_ai.tool import tool
except ImportError:
    inspect_ai = None

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def aside(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Inspect runs an event loop, and so do browser tests that ran before in this thread."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function, *arguments, **keywords).result()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two samples in two epochs: one calls a tool, one ends in an error."""
    if inspect_ai is None:
        missing("inspect_ai: pip install 'aigym-kernel[inspect]'")

    @tool
    def add() -> Any:
        async def execute(x: int, y: int) -> str:
            """Add two numbers.

            Args:
                x: one of them.
                y: the other.
            """
            return str(x + y)

        return execute

    @scorer(metrics={"*": [mean()]})
    def judge() -> Any:
        async def score(state: Any, target: Any) -> Score:
            right = "C" if target.text in state.output.completion else "I"
            return Score(value={"right": right, "style": 0.5, "speed": 7.0}, explanation="because")

        return score

    def answers() -> Any:
        for _ in range(9):
            call = ModelOutput.for_tool_call("mockllm/model", "add", {"x": 1, "y": 2})
            words = [ContentReasoning(reasoning="One and two."), ContentText(text="It is 3.")]
            said = ModelOutput.from_message(ChatMessageAssistant(content=words))
            for output in (call, said):
                # With a usage, nothing is counted, and no tokenizer fetched.
                output.usage = ModelUsage(
                    input_tokens=10, output_tokens=4, total_tokens=14, input_tokens_cache_read=2
                )
                yield output

    question = [ChatMessageUser(content=[ContentText(text="1+2?"), ContentImage(image=PICTURE)])]
    folder = tmp_path_factory.mktemp("logs")
    (made,) = aside(
        inspect_ai.eval,
        inspect_ai.Task(
            dataset=[
                Sample(input=question, target="3", id="sum", metadata={"level": 2}),
                Sample(input="4+4?", target="8", id="other"),
            ],
            solver=[use_tools(add()), generate()],
            scorer=judge(),
            epochs=2,
            name="sums",
        ),
        model=get_model("mockllm/model", custom_outputs=answers()),
        log_dir=str(folder),
        display="none",
        max_samples=1,
    )
    assert made.status == "success", made.error
    return Path(made.location)


def changed(log: Path, path: Path, change: Any) -> Path:
    """A copy of the log in which something else happened."""
    data = aside(read_eval_log, log)
    change(data)
    aside(write_eval_log, data, path)
    return path


def test_samples_become_conversations_with_marks_and_usage(log: Path) -> None:
    found = list(inspect_eval.read(log))
    assert [(t.group, t.env_kwargs["epoch"]) for t in found] == [
        ("sums/sum", 1),
        ("sums/sum", 2),
        ("sums/other", 1),
        ("sums/other", 2),
    ]
    first = found[0]
    assert (first.env_id, first.agent, first.outcome) == ("inspect/sums", "mockllm/model", "unjudged")
    user, call, result, last = first.messages
    assert user.content == ("1+2?", Image(data=b"\x89PNG\r\n\x1a\n"))
    assert [(c.name, c.arguments) for c in call.tool_calls] == [("add", {"x": 1, "y": 2})]
    assert (result.role, result.text, result.name, result.error) == ("tool", "3", "add", None)
    assert result.tool_call_id == call.tool_calls[0].id
    assert (last.content, last.reasoning) == (("It is 3.",), "One and two.")
    assert (last.input_tokens, last.output_tokens) == (12, 4)
    assert last.at is not None
    assert first.started_at <= last.at
    assert first.score is not None
    assert [(m.name, m.value, m.feedback) for m in first.score.marks] == [
        ("judge/right", 1.0, "because"),
        ("judge/style", 0.5, "because"),
        ("judge/speed", None, "because"),
    ]
    assert first.score.marks[2].evidence == {"value": 7.0}
    assert first.score.task_id == "sums/sum"
    info = first.final_info
    assert info["usage"]["mockllm/model"]["output_tokens"] == 8
    assert (info["target"], info["metadata"], info["log_status"]) == ("3", {"level": 2}, "success")
    assert found[2].score is not None
    assert found[2].score.marks[0].value == 0.0


def test_a_log_becomes_a_run(log: Path, store_dir: Path) -> None:
    assert tell(log).name == "inspect"
    run_id = Store().import_(log)
    rows = Store().sql('SELECT "group", count(*) AS n FROM trajectories GROUP BY ALL ORDER BY 1')
    assert rows.to_numpy().tolist() == [["sums/other", 2], ["sums/sum", 2]]
    assert Store().status(run_id).summary["steps"] == 8
    said = Store().sql("SELECT role, count(*) AS n FROM messages GROUP BY ALL ORDER BY 1")
    assert said.to_numpy().tolist() == [["assistant", 8], ["tool", 4], ["user", 4]]


def test_errors_limits_and_scores_of_one_value(log: Path, tmp_path: Path) -> None:
    def change(data: Any) -> None:
        from inspect_ai._util.error import EvalError
        from inspect_ai.log import EvalSampleLimit

        one, two, three, four = sorted(data.samples, key=lambda s: (s.id != "sum", s.epoch))
        one.error = EvalError(message="the sandbox broke", traceback="", traceback_ansi="")
        one.scores = None
        two.limit = EvalSampleLimit(type="message", limit=3)
        two.scores = {"match": Score(value="P")}
        three.scores = {"a": Score(value=True), "b": Score(value=[0.5, 1])}
        four.messages, four.scores = [], {"a": Score(value="I")}

    one, two, three, four = inspect_eval.read(changed(log, tmp_path / "x.eval", change))
    assert (one.outcome, one.error, one.score) == ("error", "the sandbox broke", None)
    assert (two.truncated, two.final_info["limit"]) == (True, {"type": "message", "limit": 3.0})
    assert (two.total_reward, two.score and two.score.marks[0].evidence) == (0.5, {"value": "P"})
    assert three.score is not None
    assert [(m.name, m.value) for m in three.score.marks] == [("a", 1.0), ("b/0", 0.5), ("b/1", 1.0)]
    assert (len(four), four.outcome) == (0, "failed")


def test_logs_in_json_unfinished_or_without_samples(log: Path, tmp_path: Path) -> None:
    whole = list(inspect_eval.read(log))

    def ids(found: Iterable[Trajectory]) -> list[str]:
        return sorted(t.id for t in found)

    same = changed(log, tmp_path / "x.json", lambda data: None)
    assert tell(same).name == "inspect"
    assert ids(inspect_eval.read(same)) == ids(whole)

    def unfinish(data: Any) -> None:
        data.status = "started"
        data.samples = [s for s in data.samples if (s.id, s.epoch) == ("sum", 1)]

    partly = list(inspect_eval.read(changed(log, tmp_path / "partly.eval", unfinish)))
    assert ids(partly) == ids(whole[:1])
    assert partly[0].final_info["log_status"] == "started"

    def empty(data: Any) -> None:
        data.samples = []

    for name in ("empty.eval", "empty.json"):
        with pytest.raises(
            ExchangeError, match=r"status 'success'\) holds no samples; was it made with --no-"
        ):
            list(inspect_eval.read(changed(log, tmp_path / name, empty)))


def test_samples_are_read_one_by_one(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.eval"
    with zipfile.ZipFile(log) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, b"{" if name == "samples/other_epoch_1.json" else data)
    reading = inspect_eval.read(path)
    assert [next(reading).group, next(reading).group] == ["sums/sum", "sums/sum"]
    with pytest.raises(ExchangeError, match="is no log that inspect_ai can read, or a damaged one"):
        next(reading)


def test_what_is_no_log_is_named(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.eval"
    path.write_bytes(log.read_bytes()[:5000])
    with pytest.raises(ExchangeError, match="is a damaged zip file"):
        tell(path)
    with pytest.raises(ExchangeError, match="is no log that inspect_ai can read"):
        list(inspect_eval.read(path))
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("hello.txt", "hello")
    with pytest.raises(ExchangeError, match="is a zip file, but no log of Inspect"):
        tell(path)
    with pytest.raises(ExchangeError, match="is no log that inspect_ai can read"):
        list(inspect_eval.read(path))
    path.write_text(json.dumps({"eval": 3, "status": "success"}))
    with pytest.raises(ExchangeError, match="is no log that inspect_ai can read"):
        list(inspect_eval.read(path))
    path.write_text("[]")
    with pytest.raises(ExchangeError, match="is JSON, but no log of Inspect"):
        list(inspect_eval.read(path))


def test_without_inspect_ai_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    (tmp_path / "x.eval").write_bytes(b"PK")
    with pytest.raises(ExchangeError, match=r"pip install 'aigym-kernel\[inspect\]'"):
        list(inspect_eval.read(tmp_path / "x.eval"))
