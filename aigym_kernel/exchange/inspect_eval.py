"""Logs of Inspect (inspect_ai): read, through its own reader; needs the extra ``inspect``.

    read(path)          a trajectory per sample and epoch, one in memory at a time

The messages are the sample's, tokens, costs, log-probabilities and times those of the model calls that made
them. The epochs of one sample share their ``group``. Each score is a mark: C, P, I and N are 1, 0.5, 0 and
0, a number from 0 to 1 is itself, anything else leaves the mark unjudged with the value in its evidence; of
a score with several values each is a mark. The score's total is the reward of the last step. A sample that
ran into a limit is truncated. Usage, limit, target, metadata and the log's status are in ``final_info``.
Of a log that is unfinished or failed, the samples that it has are read. A log in JSON is read whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigym_kernel import rendering
from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import chat, files
from aigym_kernel.trajectories import (
    Image,
    Mark,
    Message,
    Score,
    ToolCall,
    Trajectory,
    conversation,
    new_id,
    tally,
)

if TYPE_CHECKING:
    from inspect_ai.event import ModelEvent
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import ChatMessage

_WORDS = {"c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


def read(path: Path) -> Iterator[Trajectory]:
    """The samples of a log in their order.

    Raises:
        ExchangeError: inspect_ai is missing, the file is no log, is damaged, or has no samples.
    """
    try:
        from inspect_ai.log import read_eval_log, read_eval_log_samples
    except ImportError as e:
        raise ExchangeError(
            f"{path}: reading a log of Inspect needs inspect_ai ({e}); pip install 'aigym-kernel[inspect]'"
        ) from None
    with files.reading(path) as file:
        form: Any = "eval" if file.read(2) == b"PK" else "json"
    if form == "json" and "eval" not in _keys(files.document(path)):
        raise ExchangeError(f"{path}: is JSON, but no log of Inspect")

    def opened() -> tuple[EvalLog, Iterator[EvalSample]]:
        log = read_eval_log(path, header_only=form == "eval", resolve_attachments="core", format=form)
        if form == "eval" and log.eval.dataset.sample_ids is None:  # of a version that did not list them
            log = read_eval_log(path, resolve_attachments="core", format=form)
        if log.samples is not None:
            return log, iter(log.samples)
        return log, read_eval_log_samples(
            path, all_samples_required=False, resolve_attachments="core", format=form
        )

    count = 0
    # The reader runs an event loop of its own, which a thread that runs one already (a notebook's) cannot.
    with ThreadPoolExecutor(max_workers=1) as aside:
        with _told(path):
            log, samples = aside.submit(opened).result()
        while True:
            with _told(path):
                sample = aside.submit(next, samples, None).result()
            if sample is None:
                break
            count += 1
            yield _trajectory(log, sample)
    if not count:
        raise ExchangeError(
            f"{path}: this log of {log.eval.task!r} (status {log.status!r}) holds no samples; was it made "
            "with --no-log-samples?"
        )


def _keys(data: Any) -> set[str]:
    return set(data) if isinstance(data, dict) else set()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever inspect_ai cannot read is one error; it raises what zip files, JSON and pydantic raise."""
    try:
        yield
    except ExchangeError:
        raise
    except Exception as e:
        told = rendering.short(f"{type(e).__name__}: {e}", 200)
        raise ExchangeError(f"{path}: is no log that inspect_ai can read, or a damaged one: {told}") from None


def _trajectory(log: EvalLog, sample: EvalSample) -> Trajectory:
    calls: dict[str | None, ModelEvent] = {
        event.output.choices[0].message.id: event
        for event in sample.events
        if event.event == "model" and event.output.choices
    }
    messages = [_message(m, calls.get(m.id)) for m in sample.messages]
    turns = sum(m.role == "assistant" for m in messages)
    score = _score(sample, f"{log.eval.task}/{sample.id}")
    reward = score.total if score is not None and score.total is not None else 0.0
    info: dict[str, Any] = {
        "usage": {name: usage.model_dump(exclude_none=True) for name, usage in sample.model_usage.items()},
        "target": sample.target,
        "log_status": log.status,
        "working_time": sample.working_time,
        "metadata": sample.metadata,
    }
    if sample.limit is not None:
        info["limit"] = sample.limit.model_dump(exclude_none=True)
    return conversation(
        messages,
        rewards=[0.0] * (turns - 1) + [reward] * min(turns, 1),
        env_id=f"inspect/{log.eval.task}",
        env_kwargs={"sample": sample.id, "epoch": sample.epoch},
        agent=log.eval.model,
        group=f"{log.eval.task}/{sample.id}",
        id=sample.uuid or new_id(),
        terminated=sample.limit is None and sample.error is None,
        truncated=sample.limit is not None,
        error=None if sample.error is None else sample.error.message,
        score=score,
        started_at=_time(sample.started_at) or _time(log.eval.created) or 0.0,
        wall_s=sample.total_time or 0.0,
        final_info={name: value for name, value in info.items() if value not in (None, {}, [])},
    )


def _time(stamp: str | None) -> float | None:
    return None if stamp is None else datetime.fromisoformat(stamp).timestamp()


def _message(message: ChatMessage, call: ModelEvent | None) -> Message:
    reasoning, content = "", list[str | Image]()
    for part in [] if isinstance(message.content, str) else message.content:
        if part.type == "reasoning":
            reasoning += ("\n" if reasoning else "") + (part.reasoning or part.summary or "")
        elif part.type == "text":
            content.append(part.text)
        elif part.type == "image":
            content.append(chat.image(part.image))
        else:
            content.append(f"[{part.type}]")
    fields: dict[str, Any] = {"extra": {"metadata": message.metadata} if message.metadata else {}}
    if message.role == "assistant":
        fields["model"] = message.model
        fields["tool_calls"] = tuple(
            ToolCall(id=c.id, name=c.function, arguments=c.arguments) for c in message.tool_calls or ()
        )
        if call is not None:
            fields |= _measured(call)
    elif message.role == "tool":
        fields["tool_call_id"], fields["name"] = message.tool_call_id, message.function
        fields["error"] = None if message.error is None else message.error.message
    return Message(
        role=message.role,
        content=message.content if isinstance(message.content, str) else tuple(content),
        reasoning=reasoning,
        **fields,
    )


def _measured(call: ModelEvent) -> dict[str, Any]:
    """What the call of the model took."""
    found: dict[str, Any] = {"at": call.timestamp.timestamp()}
    if (usage := call.output.usage) is not None:
        cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
        found["input_tokens"] = usage.input_tokens + cached
        found["output_tokens"] = usage.output_tokens
        found["cost"] = usage.total_cost
    if (logprobs := call.output.choices[0].logprobs) is not None:
        found["logprobs"] = tuple(token.logprob for token in logprobs.content)
    return found


def _score(sample: EvalSample, task_id: str) -> Score | None:
    marks = list[Mark]()
    for name, score in (sample.scores or {}).items():
        kept = {"answer": score.answer, "metadata": score.metadata, "reason": score.reason}
        for label, value in _values(name, score.value):
            judged = _judged(value)
            evidence = {"value": value} if judged is None or isinstance(value, str) else {}
            evidence |= {k: v for k, v in kept.items() if v}
            feedback = score.explanation or ""
            marks.append(Mark(name=label, value=judged, feedback=feedback, evidence=evidence))
    if not marks:
        return None
    total, passed = tally(marks, 1.0)
    return Score(task_id=task_id, total=total, passed=passed, marks=tuple(marks))


def _values(name: str, value: Any) -> list[tuple[str, Any]]:
    """The single values of a score, each with the name of its mark."""
    if isinstance(value, Mapping):
        return [(f"{name}/{key}", v) for key, v in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{name}/{i}", v) for i, v in enumerate(value)]
    return [(name, value)]


def _judged(value: Any) -> float | None:
    """A value as a mark has it, from 0 to 1; None where it is no such thing."""
    if isinstance(value, str):
        return _WORDS.get(value.lower())
    if value is None or not math.isfinite(value) or not 0 <= value <= 1:
        return None
    return float(value)
