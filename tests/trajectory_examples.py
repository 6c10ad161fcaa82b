"""Trajectories for property tests, and when two are the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from aigym_kernel.trajectories import Image, Mark, Message, Note, Review, Score, ToolCall, Trajectory

# Any text, lone surrogates too.
texts = st.text(st.characters(), max_size=12)
plain_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times = st.integers(0, 2_000_000_000).map(float)
floats = st.floats(width=64)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
infos = st.dictionaries(texts, json_values, max_size=3)
dtypes = st.sampled_from(["float32", "float64", "int64", "int8", "uint8", "bool", "uint64", "float16", ">f4"])


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """A message with anything in it."""
    image = st.builds(Image, data=st.binary(max_size=8), media_type=st.sampled_from(["image/png", "image/x"]))
    call = st.builds(ToolCall, id=texts, name=texts, arguments=infos | texts)
    number = st.none() | st.integers(0, 2**40)
    return Message(
        role=draw(st.sampled_from(["system", "user", "assistant", "tool"])),
        content=draw(texts | st.lists(texts | image, max_size=3).map(tuple)),
        tool_calls=draw(st.lists(call, max_size=2).map(tuple)),
        tool_call_id=draw(st.none() | texts),
        name=draw(st.none() | texts),
        reasoning=draw(texts),
        error=draw(st.none() | texts),
        model=draw(st.none() | texts),
        input_tokens=draw(number),
        output_tokens=draw(number),
        cost=draw(st.none() | floats),
        token_ids=draw(st.lists(st.integers(0, 2**31), max_size=3).map(tuple)),
        logprobs=draw(st.lists(floats, max_size=3).map(tuple)),
        step=draw(number),
        at=draw(st.none() | times),
        extra=draw(infos),
    )


def scores() -> st.SearchStrategy[Score]:
    """A verdict with marks, reviewed or not."""
    value = st.none() | st.floats(0, 1)
    review = st.builds(Review, judged=value, note=texts, by=texts, at=times)
    mark = st.builds(
        Mark, name=texts, value=value, weight=st.floats(0, 9), required=st.booleans(), feedback=texts,
        review=st.none() | review, evidence=infos,
    )  # fmt: skip
    return st.builds(
        Score, task_id=texts, total=value, passed=st.booleans(), marks=st.lists(mark, max_size=2).map(tuple)
    )


@st.composite
def columns(draw: st.DrawFn, length: int) -> Any:
    """Observations or actions: numbers, texts, or anything that a space may hold."""
    kind = draw(st.sampled_from(["numbers", "texts", "dicts", "tuples", "plain"]))
    if kind == "numbers":
        shape = (length, *draw(st.lists(st.integers(0, 3), max_size=2)))
        return draw(npst.arrays(np.dtype(draw(dtypes)), shape))
    if kind == "texts":
        return draw(st.lists(texts, min_size=length, max_size=length))
    array = npst.arrays(np.dtype(draw(dtypes)), tuple(draw(st.lists(st.integers(0, 2), max_size=2))))
    one: st.SearchStrategy[Any] = {
        "dicts": st.dictionaries(texts, array | texts | st.integers(), max_size=2),
        "tuples": st.tuples(st.integers(0, 5), array),
        "plain": json_values | st.binary(max_size=4) | st.integers(0, 9).map(np.int8),
    }[kind]
    return draw(st.lists(one, min_size=length, max_size=length))


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    """A whole trajectory with anything in it."""
    length = draw(st.integers(0, 4))
    note = st.builds(Note, text=texts, by=texts, at=times)
    return Trajectory(
        env_id=draw(texts),
        agent=draw(texts),
        observations=draw(columns(length + 1)),
        actions=draw(columns(length)),
        rewards=np.array(draw(st.lists(floats, min_size=length, max_size=length)), dtype=np.float64),
        terminated=draw(st.booleans()),
        truncated=draw(st.booleans()),
        seed=draw(st.none() | st.integers(-(2**70), 2**70)),
        env_kwargs=draw(infos),
        infos=draw(st.just(()) | st.lists(infos, min_size=length, max_size=length).map(tuple)),
        final_info=draw(infos),
        score=draw(st.none() | scores()),
        error=draw(st.none() | texts),
        messages=draw(st.lists(messages(), max_size=2).map(tuple)),
        group=draw(st.none() | texts),
        parent=draw(st.none() | texts),
        tags=draw(st.lists(texts, max_size=2).map(tuple)),
        notes=draw(st.lists(note, max_size=2).map(tuple)),
        started_at=draw(times),
        wall_s=draw(floats),
    )


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit that a researcher sees: dtypes, shapes, NaNs too."""
    if isinstance(a, np.ndarray | np.generic) or isinstance(b, np.ndarray | np.generic):
        if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
        )
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, Sequence) and not isinstance(a, str | bytes):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b
