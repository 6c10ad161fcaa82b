"""The columns of the recorded tables, and how observations, actions and infos become cells of them.

    TABLES["steps"]                     the Arrow schema; `columns_sql` gives the same for DuckDB
    column = encode(observations)       whole arrays at once, no loop over steps for numbers
    decode(column.dtype, ...)           back again, exactly

How a column of observations (or actions) is stored; ``*_dtype`` of the trajectory says which:

    numpy dtype   numbers of one shape: flattened into DOUBLE[], ``*_shape`` is the shape of one step.
                  Integers beyond 2**53 do not fit a DOUBLE: they are kept as JSON in ``*_text``.
                  A list of numbers comes back as the array that it stands for.
    ``text``      every value is a str: ``*_text`` is that text, unchanged.
    ``json``      anything else (dicts, ragged lists, None, text with lone surrogates): JSON in
                  ``*_text``. Comes back as plain lists and dicts.

JSON keeps NaN and infinities (as Python and DuckDB write them) and lone surrogates (as escapes). What
JSON has no word for is written as what it is nearest to: arrays as lists, bytes as text, others by str().
In other text (names, errors, feedback) lone surrogates become backslash escapes: UTF-8 has none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_NUMBERS = pa.list_(pa.float64())
_TIME = pa.timestamp("us")

_SQL = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    _TIME: "TIMESTAMP",
    _NUMBERS: "DOUBLE[]",
    pa.list_(pa.int64()): "BIGINT[]",
    pa.list_(pa.binary()): "BLOB[]",
}


def _schema(columns: str, **types: pa.DataType) -> pa.Schema:
    return pa.schema([(name, types.get(name, pa.string())) for name in columns.split()])


RUNS = _schema(
    "run_id kind name state parent created_at heartbeat step total_steps error config summary provenance",
    created_at=_TIME,
    heartbeat=_TIME,
    step=pa.int64(),
    total_steps=pa.int64(),
)

# In the order in which a writer publishes them: a trajectory's row comes last and says it is complete.
TABLES: dict[str, pa.Schema] = {
    "steps": _schema(
        "run_id trajectory_id t observation observation_text action action_text reward terminated "
        "truncated info",
        t=pa.int64(),
        observation=_NUMBERS,
        action=_NUMBERS,
        reward=pa.float64(),
        terminated=pa.bool_(),
        truncated=pa.bool_(),
    ),
    "messages": _schema(
        "run_id trajectory_id i role content parts images tool_calls tool_call_id name reasoning error "
        "model input_tokens output_tokens cost token_ids logprobs step time extra raw",
        i=pa.int64(),
        images=pa.list_(pa.binary()),
        input_tokens=pa.int64(),
        output_tokens=pa.int64(),
        cost=pa.float64(),
        token_ids=pa.list_(pa.int64()),
        logprobs=_NUMBERS,
        step=pa.int64(),
        time=_TIME,
    ),
    "marks": _schema(
        "run_id trajectory_id name value weight required status feedback evidence",
        value=pa.float64(),
        weight=pa.float64(),
        required=pa.bool_(),
    ),
    "reviews": _schema("run_id trajectory_id name value note reviewer time", value=pa.float64(), time=_TIME),
    "notes": _schema("run_id trajectory_id kind text author time", time=_TIME),
    "metrics": _schema("run_id step time name value", step=pa.int64(), time=_TIME, value=pa.float64()),
    "trajectories": _schema(
        "trajectory_id run_id env_id env_kwargs agent seed group length return outcome score passed "
        "terminated truncated error started_at wall_s final_observation final_observation_text info "
        "observation_dtype observation_shape action_dtype action_shape task_id judge_s pass_mark "
        "parent reward_mean reward_min reward_max",
        seed=pa.int64(),
        length=pa.int64(),
        score=pa.float64(),
        passed=pa.bool_(),
        terminated=pa.bool_(),
        truncated=pa.bool_(),
        started_at=_TIME,
        wall_s=pa.float64(),
        final_observation=_NUMBERS,
        observation_shape=pa.list_(pa.int64()),
        action_shape=pa.list_(pa.int64()),
        judge_s=pa.float64(),
        pass_mark=pa.float64(),
        reward_mean=pa.float64(),
        reward_min=pa.float64(),
        reward_max=pa.float64(),
        **{"return": pa.float64()},
    ),
}

# Tables whose rows stay in their segments; the index tells where those of a trajectory lie.
BULK = ("steps", "messages")

# Columns that segments of earlier versions lack; they read as NULL.
ADDED: Mapping[str, tuple[str, ...]] = {
    "marks": ("evidence",),
    "trajectories": ("pass_mark", "parent", "reward_mean", "reward_min", "reward_max"),
}


def columns_sql(schema: pa.Schema) -> str:
    """The columns as DuckDB's CREATE TABLE wants them."""
    return ", ".join(f'"{field.name}" {_SQL[field.type]}' for field in schema)


def names_sql(schema: pa.Schema, missing: Sequence[str] = ()) -> str:
    """The column names, quoted; NULL for those that are missing."""
    return ", ".join(
        f'NULL::{_SQL[field.type]} AS "{field.name}"' if field.name in missing else f'"{field.name}"'
        for field in schema
    )


def microseconds(seconds: float) -> int | None:
    """A time as the TIMESTAMP columns hold it (UTC); None for what is no time."""
    try:
        value = round(float(seconds) * 1e6)
    except (OverflowError, ValueError):
        return None
    return value if abs(value) < 2**62 else None


def seconds(time: datetime | None) -> float | None:
    """The same the other way round: a TIMESTAMP (UTC) in seconds since 1970."""
    return None if time is None else time.replace(tzinfo=UTC).timestamp()


# Text and JSON


def clean(text: str) -> str:
    """The text with lone surrogates as backslash escapes, since UTF-8 cannot hold them."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: Any) -> Any:
    """What JSON shall write for a value that it has no word for."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist() if value.dtype.kind in "biufUSO" else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    return str(value)


_encode_json = json.JSONEncoder(ensure_ascii=False, default=_plain).encode
_encode_ascii = json.JSONEncoder(ensure_ascii=True, default=_plain).encode


def json_text(value: Any) -> str:
    """JSON for any value; never fails. Keys become text."""
    try:
        text = _encode_json(value)
    except (TypeError, ValueError, RecursionError):
        try:
            value = _with_text_keys(value, 0)
            text = _encode_json(value)
        except (TypeError, ValueError, RecursionError):
            value = str(type(value))
            text = _encode_json(value)
    if _encodable(text):
        return text
    return _encode_ascii(value)


def _with_text_keys(value: Any, depth: int) -> Any:
    if depth > 50:
        return f"... ({type(value).__name__} nested deeper than 50 levels)"
    if isinstance(value, Mapping):
        return {_key(k): _with_text_keys(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_with_text_keys(v, depth + 1) for v in value]
    if value is None or isinstance(value, str | int | float):
        return value
    plain = _plain(value)
    return plain if isinstance(plain, str) else _with_text_keys(plain, depth + 1)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# Observations and actions


@dataclass(frozen=True, kw_only=True)
class Column:
    """Observations or actions of consecutive steps, ready to be stored.

    Exactly one of ``numbers`` (rows, elements) float64 and ``texts`` (rows) is there.
    """

    dtype: str
    shape: tuple[int, ...]
    numbers: NDArray[np.float64] | None
    texts: list[str] | None

    def __len__(self) -> int:
        return len(self.numbers) if self.numbers is not None else len(self.texts or ())

    def rows(self, start: int, stop: int) -> Column:
        """Some of the rows."""
        return Column(
            dtype=self.dtype,
            shape=self.shape,
            numbers=None if self.numbers is None else self.numbers[start:stop],
            texts=None if self.texts is None else self.texts[start:stop],
        )


def encode(values: Any) -> Column:
    """A whole column of observations or actions (one per row), copied."""
    array = _numeric(values)
    if array is None:
        return _encode_texts(list(values))
    shape = array.shape[1:]
    dtype = array.dtype.name if array.dtype.isnative else array.dtype.str
    if _fits_double(array):
        flat = array.reshape(len(array), math.prod(shape)).astype(np.float64)
        return Column(dtype=dtype, shape=shape, numbers=flat, texts=None)
    return Column(dtype=dtype, shape=shape, numbers=None, texts=[json.dumps(row.tolist()) for row in array])


def _encode_texts(values: list[Any]) -> Column:
    if values and all(isinstance(v, str) and _encodable(v) for v in values):
        return Column(dtype="text", shape=(), numbers=None, texts=[str(v) for v in values])
    return Column(dtype="json", shape=(), numbers=None, texts=[json_text(v) for v in values])


def _numeric(values: Any) -> NDArray[Any] | None:
    """The values as one array of numbers, or None where they are no such thing."""
    if not isinstance(values, list | tuple) and hasattr(values, "__array__"):
        values = np.asarray(values)
    if isinstance(values, np.ndarray):
        return values if values.ndim and _is_number(values.dtype) else None
    types = set(map(type, values))
    if types and types <= {int, float}:
        if int in types and not all(-(2**63) <= v < 2**63 for v in values if type(v) is int):
            return None
        array = np.asarray(values, dtype=np.int64 if types == {int} else np.float64)
        exact = types != {int, float} or all(type(v) is float or abs(v) <= 2**53 for v in values)
        return array if exact else None
    if types == {bool}:
        return np.asarray(values, dtype=np.bool_)
    if types and all(issubclass(kind, np.ndarray | np.generic) for kind in types):
        first = values[0]
        if _is_number(first.dtype) and all(v.dtype == first.dtype and v.shape == first.shape for v in values):
            return np.stack(values).astype(first.dtype, copy=False)
    return None


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def _fits_double(array: NDArray[Any]) -> bool:
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or not array.size:
        return True
    return int(array.min()) >= -(2**53) and int(array.max()) <= 2**53


def decode(dtype: str, shape: Sequence[int], numbers: pa.Array, texts: pa.Array) -> NDArray[Any] | list[Any]:
    """What `encode` was given, from the cells of its rows in order.

    Args:
        numbers: (rows) DOUBLE[]; texts: (rows) text, as the columns hold them.
        shape: of one row; for ``json``, the rows whose text was recorded as it is (steps that were
            written one by one, before it was known that the column is not text throughout).
    """
    if dtype == "text":
        return list(texts.to_pylist())
    if dtype == "json":
        return [
            _plain_row(i in shape, n, text)
            for i, (n, text) in enumerate(zip(numbers.to_pylist(), texts.to_pylist(), strict=True))
        ]
    kind = np.dtype(dtype)
    rows = (len(numbers), *shape)
    if not numbers.null_count:
        return np.asarray(numbers.flatten().to_numpy(zero_copy_only=False)).astype(kind).reshape(rows)
    result = np.empty(rows, dtype=kind)
    for i, (n, text) in enumerate(zip(numbers.to_pylist(), texts.to_pylist(), strict=True)):
        result[i] = np.asarray(json.loads(text) if n is None else n, dtype=kind).reshape(tuple(shape))
    return result


def _plain_row(as_it_is: bool, numbers: list[float] | None, text: str | None) -> Any:
    if numbers is not None:
        return numbers
    return text if as_it_is or text is None else json.loads(text)


# Tables


@dataclass(frozen=True, kw_only=True)
class Block:
    """Consecutive steps of one trajectory, ready to be stored. The flags are those of its last step."""

    trajectory_id: str
    start: int
    observations: Column
    actions: Column
    rewards: NDArray[np.float64]
    terminated: bool
    truncated: bool
    infos: list[str] | None

    def __len__(self) -> int:
        return len(self.rewards)


def steps_table(run_id: str, blocks: Sequence[Block]) -> pa.Table:
    """The rows of ``steps`` for these blocks."""
    lengths = np.array([len(b) for b in blocks])
    total = int(lengths.sum())
    ends = lengths.cumsum() - 1
    flags = {}
    for name in ("terminated", "truncated"):
        flags[name] = np.zeros(total, dtype=np.bool_)
        flags[name][ends] = [getattr(b, name) for b in blocks]
    # Within a block t counts up from its start: the row number less the block's first row.
    t = np.arange(total) - np.repeat(ends + 1 - lengths - [b.start for b in blocks], lengths)
    ids = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(np.arange(len(blocks), dtype=np.int32), lengths)),
        pa.array([b.trajectory_id for b in blocks], pa.string()),
    )
    observation, observation_text = _cells([b.observations for b in blocks])
    action, action_text = _cells([b.actions for b in blocks])
    columns = {
        "run_id": pa.repeat(pa.scalar(run_id, pa.string()), total),
        "trajectory_id": ids.dictionary_decode(),
        "t": pa.array(t, pa.int64()),
        "observation": observation,
        "observation_text": observation_text,
        "action": action,
        "action_text": action_text,
        "reward": pa.array(np.concatenate([b.rewards for b in blocks]), pa.float64(), from_pandas=False),
        "terminated": pa.array(flags["terminated"]),
        "truncated": pa.array(flags["truncated"]),
        "info": _texts([(b.infos, len(b)) for b in blocks]),
    }
    return pa.table(columns, schema=TABLES["steps"])


def _cells(columns: Sequence[Column]) -> tuple[pa.Array, pa.Array]:
    """The numbers and the texts of columns laid end to end."""
    texts = _texts([(c.texts, len(c)) for c in columns])
    numeric = [c.numbers for c in columns if c.numbers is not None]
    if not numeric:
        return pa.nulls(len(texts), _NUMBERS), texts
    rows = np.array([len(c) for c in columns])
    widths = np.repeat([0 if c.numbers is None else c.numbers.shape[1] for c in columns], rows)
    offsets = np.zeros(len(widths) + 1, dtype=np.int64)
    np.cumsum(widths, out=offsets[1:])
    values = numeric[0].reshape(-1) if len(numeric) == 1 else np.concatenate([n.reshape(-1) for n in numeric])
    mask = None
    if len(numeric) < len(columns):
        mask = pa.array(np.repeat([c.numbers is None for c in columns], rows))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values), mask=mask), texts


def _texts(columns: Iterable[tuple[list[str] | None, int]]) -> pa.Array:
    cells: list[str | None] = []
    some = False
    for texts, rows in columns:
        some = some or texts is not None
        cells.extend(texts if texts is not None else [None] * rows)
    return pa.array(cells, pa.string()) if some else pa.nulls(len(cells), pa.string())


def rows_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of any other table, given as mappings."""
    return pa.Table.from_pylist(list(rows), schema=RUNS if table == "runs" else TABLES[table])
