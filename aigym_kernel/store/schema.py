"""The columns of the recorded tables, and the text in them.

    TABLES["steps"]                     the Arrow schema; `columns_sql` gives the same for DuckDB
    json_text(value)                    JSON for any value
    clean(text)                         text that UTF-8 can hold

JSON keeps NaN and infinities (as Python and DuckDB write them) and lone surrogates (as escapes). What
JSON has no word for is written as what it is nearest to: arrays as lists, bytes as text, others by str().
In other text (names, errors, feedback) lone surrogates become backslash escapes: UTF-8 has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

_NUMBERS = pa.list_(pa.float64())
TIME = pa.timestamp("us")

_SQL = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    TIME: "TIMESTAMP",
    _NUMBERS: "DOUBLE[]",
    pa.list_(pa.int64()): "BIGINT[]",
    pa.binary(): "BLOB",
    pa.list_(pa.binary()): "BLOB[]",
    pa.map_(pa.string(), pa.float64()): "MAP(VARCHAR, DOUBLE)",
    pa.map_(pa.string(), pa.string()): "MAP(VARCHAR, VARCHAR)",
}


def _schema(columns: str, **types: pa.DataType) -> pa.Schema:
    return pa.schema([(name, types.get(name, pa.string())) for name in columns.split()])


RUNS = _schema(
    "run_id kind name state parent created_at heartbeat step total_steps error config summary provenance",
    created_at=TIME,
    heartbeat=TIME,
    step=pa.int64(),
    total_steps=pa.int64(),
)

# In the order in which a writer publishes them: a trajectory's row comes last and says it is complete.
TABLES: dict[str, pa.Schema] = {
    "steps": _schema(
        "run_id trajectory_id t observation observation_text action action_text reward terminated "
        "truncated info observation_bytes action_bytes",
        t=pa.int64(),
        observation=_NUMBERS,
        action=_NUMBERS,
        reward=pa.float64(),
        terminated=pa.bool_(),
        truncated=pa.bool_(),
        observation_bytes=pa.binary(),
        action_bytes=pa.binary(),
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
        time=TIME,
    ),
    "marks": _schema(
        "run_id trajectory_id name value weight required status feedback evidence",
        value=pa.float64(),
        weight=pa.float64(),
        required=pa.bool_(),
    ),
    "reviews": _schema("run_id trajectory_id name value note reviewer time", value=pa.float64(), time=TIME),
    "notes": _schema("run_id trajectory_id kind text author time", time=TIME),
    "metrics": _schema("run_id step time name value", step=pa.int64(), time=TIME, value=pa.float64()),
    "trajectories": _schema(
        "trajectory_id run_id env_id env_kwargs agent seed group length return outcome score passed "
        "terminated truncated error started_at wall_s final_observation final_observation_text info "
        "observation_dtype observation_shape action_dtype action_shape task_id judge_s pass_mark "
        "parent reward_mean reward_min reward_max final_observation_bytes info_numbers info_texts",
        seed=pa.int64(),
        length=pa.int64(),
        score=pa.float64(),
        passed=pa.bool_(),
        terminated=pa.bool_(),
        truncated=pa.bool_(),
        started_at=TIME,
        wall_s=pa.float64(),
        final_observation=_NUMBERS,
        observation_shape=pa.list_(pa.int64()),
        action_shape=pa.list_(pa.int64()),
        judge_s=pa.float64(),
        pass_mark=pa.float64(),
        reward_mean=pa.float64(),
        reward_min=pa.float64(),
        reward_max=pa.float64(),
        final_observation_bytes=pa.binary(),
        info_numbers=pa.map_(pa.string(), pa.float64()),
        info_texts=pa.map_(pa.string(), pa.string()),
        **{"return": pa.float64()},
    ),
}

# Tables whose rows stay in their segments; the index tells where those of a trajectory lie.
BULK = ("steps", "messages")

# Columns that segments of earlier versions lack; they read as NULL.
ADDED: Mapping[str, tuple[str, ...]] = {
    "steps": ("observation_bytes", "action_bytes"),
    "marks": ("evidence",),
    "trajectories": (
        *("pass_mark", "parent", "reward_mean", "reward_min", "reward_max"),
        *("final_observation_bytes", "info_numbers", "info_texts"),
    ),
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
    if encodable(text):
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


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold the text: it has no lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# Tables


def rows_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of any other table, given as mappings."""
    return pa.Table.from_pylist(list(rows), schema=RUNS if table == "runs" else TABLES[table])
