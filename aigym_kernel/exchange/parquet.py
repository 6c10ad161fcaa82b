"""Parquet of our own: one trajectory a row, nothing lost, readable by pandas, DuckDB and Spark as it is.

    write(path, trajectories)      returns how many; takes them one by one
    read(path)                     yields them one by one

    trajectory_id env_id agent seed group parent tags error started_at wall_s terminated truncated
    length return outcome score             what a query wants; the last four are worked out, not read back
    rewards                                 list<double>
    observations, actions                   list<double>, in C order, where they are numbers that fit one
    observations_bytes, actions_bytes       the same as bytes in C order, where a double would be wasteful
                                            (uint8) or too short (64-bit integers beyond 2**53)
    *_dtype, *_shape                        of the whole column: (T + 1, ...) and (T, ...)
    record                                  JSON of everything else, as `plain` writes it

``started_at`` is in seconds since 1970. Files of other Parquet schemas are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aigym_kernel import rendering
from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import files, plain
from aigym_kernel.trajectories import Trajectory

# A row group is what a reader holds at once, and a writer too.
_GROUP_BYTES = 32 * 2**20
_GROUP_ROWS = 1000

_LARGE = ("observations", "actions", "rewards", "observations_bytes", "actions_bytes", "record")

_FIELDS = {
    "id": ("trajectory_id", pa.string()),
    "env_id": ("env_id", pa.string()),
    "agent": ("agent", pa.string()),
    "seed": ("seed", pa.int64()),
    "group": ("group", pa.string()),
    "parent": ("parent", pa.string()),
    "error": ("error", pa.string()),
    "started_at": ("started_at", pa.float64()),
    "wall_s": ("wall_s", pa.float64()),
    "terminated": ("terminated", pa.bool_()),
    "truncated": ("truncated", pa.bool_()),
}

_SCHEMA = pa.schema(
    [
        *_FIELDS.values(),
        ("tags", pa.list_(pa.string())),
        ("length", pa.int64()),
        ("return", pa.float64()),
        ("outcome", pa.string()),
        ("score", pa.float64()),
        ("rewards", pa.list_(pa.float64())),
    ]
    + [
        (f"{name}{suffix}", kind)
        for name in ("observations", "actions")
        for suffix, kind in (
            ("", pa.large_list(pa.float64())),
            ("_bytes", pa.large_binary()),
            ("_dtype", pa.string()),
            ("_shape", pa.list_(pa.int64())),
        )
    ]
    + [("record", pa.large_string())],
    metadata={plain.MARKER: str(plain.VERSION)},
)


def write(path: Path, trajectories: Iterable[Trajectory]) -> int:
    """One row per trajectory, in row groups of about 32 MiB.

    Raises:
        ExchangeError: the file exists or cannot be written, or a trajectory holds what JSON cannot.
    """
    count, waiting, size = 0, list[dict[str, Any]](), 0
    with files.new_file(path) as file, pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        for trajectory in trajectories:
            row = _row(trajectory)
            waiting.append(row)
            size += _size(row)
            count += 1
            if size >= _GROUP_BYTES or len(waiting) >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(waiting, schema=_SCHEMA))
                waiting, size = [], 0
        writer.write_table(pa.Table.from_pylist(waiting, schema=_SCHEMA))
    return count


def _size(row: Mapping[str, Any]) -> int:
    cells = [row[name] for name in _LARGE if name in row]
    return sum(cell.nbytes if isinstance(cell, np.ndarray) else len(cell) for cell in cells)


def _row(trajectory: Trajectory) -> dict[str, Any]:
    try:
        record = plain.facts(trajectory)
        row: dict[str, Any] = {
            "length": len(trajectory),
            "return": trajectory.total_reward,
            "outcome": _clean(trajectory.outcome),
            "score": None if trajectory.score is None else trajectory.score.total,
            "tags": [_clean(tag) for tag in trajectory.tags],
            "rewards": np.asarray(trajectory.rewards, dtype=np.float64),
        }
        # What a column holds exactly needs no second place.
        for name, (column, _) in _FIELDS.items():
            value = getattr(trajectory, name)
            row[column] = _fitted(value)
            if row[column] == value:
                record.pop(name, None)
        if row["tags"] == list(trajectory.tags):
            record.pop("tags", None)
        for name in ("observations", "actions"):
            values = getattr(trajectory, name)
            cells = _cells(values)
            row |= {name + suffix: cell for suffix, cell in cells.items()}
            if not cells:
                record[name] = plain.column(values)
    except RecursionError:
        raise plain.too_deep(trajectory.id) from None
    row["record"] = plain.dumps(record, trajectory.id)
    return row


def _fitted(value: Any) -> Any:
    """The value as a column can hold it: text without lone surrogates, whole numbers of 64 bits."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value) if -(2**63) <= int(value) < 2**63 else None
    return value


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cells(values: Any) -> dict[str, Any]:
    """The cells of a column of numbers by their suffixes; empty where it is none."""
    if isinstance(values, list | tuple) or not hasattr(values, "__array__"):
        return {}
    array = np.asarray(values)
    if not array.ndim or array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return {}
    name = array.dtype.name if array.dtype.isnative else array.dtype.str
    cells: dict[str, Any] = {"_dtype": name, "_shape": list(array.shape)}
    if array.dtype == np.uint8 or not _fits_double(array):
        return cells | {"_bytes": np.ascontiguousarray(array).tobytes()}
    return cells | {"": array.reshape(-1).astype(np.float64)}


def _fits_double(array: NDArray[Any]) -> bool:
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or not array.size:
        return True
    return int(array.min()) >= -(2**53) and int(array.max()) <= 2**53


def read(path: Path) -> Iterator[Trajectory]:
    """The trajectories in their order, a few in memory at a time.

    Raises:
        ExchangeError: the file is no Parquet, is damaged or cut short, or of another schema.
    """
    with files.reading(path) as file:
        row = 0
        try:
            source = pq.ParquetFile(file)
            if plain.MARKER.encode() not in (source.schema_arrow.metadata or {}):
                raise ExchangeError(
                    f"{path}: is Parquet, but not of trajectories: it has the columns "
                    f"{rendering.short(', '.join(source.schema_arrow.names), 200)}"
                )
            for batch in source.iter_batches(batch_size=16):
                for i in range(len(batch)):
                    row += 1
                    yield _trajectory({name: batch[name][i] for name in batch.schema.names})
        except (pa.ArrowException, OSError, KeyError) as e:
            if isinstance(e, ExchangeError):
                raise
            told = rendering.short(str(e), 200)
            raise ExchangeError(f"{path}: is no Parquet file, or a damaged one: {told}") from None
        except (ValueError, OverflowError, RecursionError) as e:
            if isinstance(e, ExchangeError):
                raise
            raise ExchangeError(f"{path}: row {row}: {e}") from None


def _trajectory(row: Mapping[str, Any]) -> Trajectory:
    """The trajectory of a row of Arrow scalars. Raises ValueError: a cell is wrong."""
    record = json.loads(row["record"].as_py() or "{}")
    for name, (column, _) in _FIELDS.items():
        record.setdefault(name, plain.pack(row[column].as_py()))
    record.setdefault("tags", row["tags"].as_py() or [])
    built = {name: _array(row, name) for name in ("observations", "actions") if name not in record}
    rewards = row["rewards"].values
    built["rewards"] = np.zeros(0) if rewards is None else rewards.to_numpy(zero_copy_only=False).copy()
    return plain.to_trajectory(record, **built)


def _array(row: Mapping[str, Any], name: str) -> NDArray[Any]:
    dtype, shape = row[f"{name}_dtype"].as_py(), row[f"{name}_shape"].as_py()
    if dtype is None or shape is None:
        raise ValueError(f"{name}: is missing")
    data = row[f"{name}_bytes"].as_py()
    if data is not None:
        return np.frombuffer(data, dtype=dtype).copy().reshape(shape)
    values = row[name].values
    flat = np.zeros(0) if values is None else values.to_numpy(zero_copy_only=False)
    return flat.astype(dtype).reshape(shape)
