"""How observations and actions become cells of the table ``steps``, and come back exactly.

    column = encode(observations)                       whole arrays at once, no loop over steps for numbers
    decode(column.dtype, column.shape, numbers, texts, blobs)
    steps_table(run_id, blocks)                         the rows of ``steps``

Three columns hold a value (of observations; likewise of actions): ``observation`` DOUBLE[],
``observation_text`` and ``observation_bytes``. The trajectory's ``observation_dtype`` says how:

    numpy dtype   arrays or numbers of one shape and dtype: flattened into DOUBLE[], ``*_shape`` is the shape
                  of one step. Integers beyond 2**53 do not fit a DOUBLE: JSON in ``*_text``. Long ones
                  (`packing.is_long`: images) and complex ones: their bytes in ``*_bytes``.
                  A list of numbers comes back as the array that it stands for.
    ``text``      every value is a str: ``*_text`` is that text, unchanged.
    ``json``      anything else: JSON in ``*_text``. Where that alone would not give the same value back
                  (arrays in dicts, tuples, graphs, lone surrogates) also `packing.pack` in ``*_bytes``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aigym_kernel.errors import StoreError
from aigym_kernel.store import packing, schema

_NUMBERS = pa.list_(pa.float64())

# Arrow's lists and binaries count to 2**31: what is larger is written as several tables.
TABLE_BYTES = 2**30

Blobs = NDArray[np.uint8] | Sequence[bytes | None]


@dataclass(frozen=True, kw_only=True)
class Column:
    """Observations or actions of consecutive steps, ready to be stored.

    ``numbers`` (rows, elements) float64; ``texts`` (rows); ``blobs`` (rows, bytes) uint8, or a list. One is
    there, or texts and blobs.
    """

    dtype: str
    shape: tuple[int, ...]
    numbers: NDArray[np.float64] | None = None
    texts: list[str] | None = None
    blobs: Blobs | None = None

    def __len__(self) -> int:
        return next(len(part) for part in (self.numbers, self.texts, self.blobs) if part is not None)

    @property
    def nbytes(self) -> int:
        """How much memory the cells take, about."""
        numbers = 0 if self.numbers is None else self.numbers.nbytes
        if isinstance(self.blobs, np.ndarray):
            return numbers + self.blobs.nbytes
        return numbers + sum(map(len, self.texts or ())) + sum(len(b) for b in self.blobs or () if b)

    def rows(self, start: int, stop: int) -> Column:
        """Some of the rows."""
        return Column(
            dtype=self.dtype,
            shape=self.shape,
            numbers=None if self.numbers is None else self.numbers[start:stop],
            texts=None if self.texts is None else self.texts[start:stop],
            blobs=None if self.blobs is None else self.blobs[start:stop],
        )


def encode(values: Any, *, alone: bool = False) -> Column:
    """A whole column of observations or actions (one per row), copied.

    ``alone``: these are not all rows of the column, and the others may be of another kind. What could not be
    told from the cells then is packed beside them.
    """
    array = _numeric(values)
    if array is None:
        return _encode_texts(list(values))
    shape = array.shape[1:]
    dtype = array.dtype.name if array.dtype.isnative else array.dtype.str
    packed = [packing.pack(value) for value in values] if alone else None
    if array.dtype.kind == "c" or array.dtype.itemsize > 8 or packing.is_long(shape, array.dtype):
        if packed is not None:
            return Column(dtype=dtype, shape=shape, blobs=packed)
        flat = np.array(array, order="C").reshape(-1).view(np.uint8)
        return Column(
            dtype=dtype, shape=shape, blobs=flat.reshape(len(array), array.itemsize * math.prod(shape))
        )
    if _fits_double(array):
        numbers = array.reshape(len(array), math.prod(shape)).astype(np.float64)
        return Column(dtype=dtype, shape=shape, numbers=numbers, blobs=packed)
    texts = [json.dumps(row.tolist()) for row in array]
    return Column(dtype=dtype, shape=shape, texts=texts, blobs=packed)


def _encode_texts(values: list[Any]) -> Column:
    if values and all(isinstance(v, str) and schema.encodable(v) for v in values):
        return Column(dtype="text", shape=(), texts=[str(v) for v in values])
    cells = [_encode_value(v) for v in values]
    blobs = [blob for _, blob in cells]
    some = any(blob is not None for blob in blobs)
    return Column(dtype="json", shape=(), texts=[text for text, _ in cells], blobs=blobs if some else None)


def _encode_value(value: Any) -> tuple[str, bytes | None]:
    try:
        if packing.is_plain(value):
            return schema.json_text(value), None
        return schema.json_text(packing.shown(value)), packing.pack(value)
    except (RecursionError, ValueError, TypeError):
        return schema.json_text(value), None


def _numeric(values: Any) -> NDArray[Any] | None:
    """The values as one array of numbers, or None where they are no such thing."""
    if not isinstance(values, list | tuple) and hasattr(values, "__array__"):
        values = np.asarray(values)
    if isinstance(values, np.ndarray):
        return values if values.ndim and values.dtype.kind in "biufc" else None
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
        if first.dtype.kind in "biufc" and all(
            v.dtype == first.dtype and v.shape == first.shape for v in values
        ):
            return np.stack(values).astype(first.dtype, copy=False)
    return None


def _fits_double(array: NDArray[Any]) -> bool:
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or not array.size:
        return True
    return int(array.min()) >= -(2**53) and int(array.max()) <= 2**53


def decode(
    dtype: str, shape: Sequence[int], numbers: pa.Array, texts: pa.Array, blobs: pa.Array, first: int = 0
) -> NDArray[Any] | list[Any]:
    """What `encode` was given, from the cells of its rows in order. An array may be a view that is read-only.

    Args:
        numbers: (rows) DOUBLE[]; texts: (rows) text; blobs: (rows) bytes, as the columns hold them.
        first: the number of the first of these rows.
        shape: of one row; for ``json``, the rows whose text was recorded as it is (steps that were
            written one by one, before it was known that the column is not text throughout).
    """
    if dtype == "text":
        return list(texts.to_pylist())
    cells = zip(numbers.to_pylist(), texts.to_pylist(), blobs.to_pylist(), strict=True)
    if dtype == "json":
        return [_value(i in shape, *cell) for i, cell in enumerate(cells, first)]
    kind = np.dtype(dtype)
    rows = (len(numbers), *shape)
    if not numbers.null_count:
        return np.asarray(numbers.flatten().to_numpy(zero_copy_only=False)).astype(kind).reshape(rows)
    size = math.prod(shape) * kind.itemsize
    if numbers.null_count == texts.null_count == len(blobs) and (whole := _laid_out(blobs, size)) is not None:
        return np.frombuffer(whole, kind).reshape(rows)
    result = np.empty(rows, dtype=kind)
    for i, (number, text, blob) in enumerate(cells):
        if number is None and text is None:
            # A row that was written alone is packed, and longer by its outline.
            raw = len(blob) == size
            value = np.frombuffer(blob, kind) if raw and size else [] if raw else packing.unpack(blob)
        else:
            value = json.loads(text) if number is None else number
        result[i] = np.asarray(value, dtype=kind).reshape(tuple(shape))
    return result


def _laid_out(blobs: pa.Array, size: int) -> memoryview | None:
    """The bytes of all rows at once, where each has ``size`` of them."""
    if blobs.null_count or not size:
        return None
    lengths = np.frombuffer(blobs.buffers()[1], np.int32)[blobs.offset :][: len(blobs) + 1]
    if np.any(np.diff(lengths) != size):
        return None
    return memoryview(blobs.buffers()[2])[lengths[0] : lengths[-1]]


def _value(as_it_is: bool, numbers: list[float] | None, text: str | None, blob: bytes | None) -> Any:
    if blob is not None:
        return packing.unpack(blob)
    if numbers is not None:
        return numbers
    return text if as_it_is or text is None else json.loads(text)


# The table


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

    @property
    def nbytes(self) -> int:
        """How much memory it takes, about."""
        return self.observations.nbytes + self.actions.nbytes + sum(map(len, self.infos or ()))

    def pieces(self) -> Iterator[Block]:
        """The block in pieces of up to `TABLE_BYTES`."""
        rows = max(1, len(self) * TABLE_BYTES // max(self.nbytes, 1))
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            last = stop == len(self)
            yield replace(
                self,
                start=self.start + start,
                observations=self.observations.rows(start, stop),
                actions=self.actions.rows(start, stop),
                rewards=self.rewards[start:stop],
                terminated=last and self.terminated,
                truncated=last and self.truncated,
                infos=None if self.infos is None else self.infos[start:stop],
            )


def check_size(trajectory_id: str, *columns: Column) -> None:
    """Refuses single observations and actions that no cell can hold.

    Raises:
        StoreError: one is larger than a GiB.
    """
    for column in columns:
        if len(column) and column.nbytes > TABLE_BYTES:
            size = max(column.rows(i, i + 1).nbytes for i in range(len(column)))
            if size > TABLE_BYTES:
                raise StoreError(
                    f"trajectory {trajectory_id!r} has an observation or action of {size:,} bytes, and a "
                    f"cell holds {TABLE_BYTES:,}; record a smaller one, or a file's name"
                )


def steps_table(run_id: str, blocks: Sequence[Block]) -> pa.Table:
    """The rows of ``steps`` for these blocks."""
    groups: list[list[Block]] = [[]]
    size = 0
    for piece in (piece for block in blocks for piece in block.pieces()):
        if groups[-1] and size + piece.nbytes > TABLE_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(piece)
        size += piece.nbytes
    return pa.concat_tables(_table(run_id, group) for group in groups)


def _table(run_id: str, blocks: Sequence[Block]) -> pa.Table:
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
    columns = {
        "run_id": pa.repeat(pa.scalar(run_id, pa.string()), total),
        "trajectory_id": ids.dictionary_decode(),
        "t": pa.array(t, pa.int64()),
        **_cells("observation", [b.observations for b in blocks]),
        **_cells("action", [b.actions for b in blocks]),
        "reward": pa.array(np.concatenate([b.rewards for b in blocks]), pa.float64(), from_pandas=False),
        "terminated": pa.array(flags["terminated"]),
        "truncated": pa.array(flags["truncated"]),
        "info": _listed([(b.infos, len(b)) for b in blocks], pa.string()),
    }
    return pa.table({name: columns[name] for name in schema.TABLES["steps"].names}, schema.TABLES["steps"])


def _cells(name: str, columns: Sequence[Column]) -> dict[str, pa.Array]:
    """The numbers, the texts and the bytes of columns laid end to end."""
    return {
        name: _flat([c.numbers for c in columns], [len(c) for c in columns], _NUMBERS),
        f"{name}_text": _listed([(c.texts, len(c)) for c in columns], pa.string()),
        f"{name}_bytes": _bytes(columns),
    }


def _bytes(columns: Sequence[Column]) -> pa.Array:
    if any(isinstance(c.blobs, list | tuple) for c in columns):
        return _listed(
            [
                (list(map(bytes, c.blobs)) if isinstance(c.blobs, np.ndarray) else c.blobs, len(c))
                for c in columns
            ],
            pa.binary(),
        )
    arrays = [c.blobs if isinstance(c.blobs, np.ndarray) else None for c in columns]
    return _flat(arrays, [len(c) for c in columns], pa.binary())


def _flat(arrays: Sequence[NDArray[Any] | None], lengths: Sequence[int], kind: pa.DataType) -> pa.Array:
    """Lists of numbers, or bytes, of one length per array; NULL for the rows that have no array."""
    there = [array for array in arrays if array is not None]
    if not there:
        return pa.nulls(sum(lengths), kind)
    widths = np.repeat([0 if array is None else array.shape[1] for array in arrays], lengths)
    offsets = np.zeros(len(widths) + 1, dtype=np.int32)
    np.cumsum(widths, out=offsets[1:])
    values = there[0].reshape(-1) if len(there) == 1 else np.concatenate([a.reshape(-1) for a in there])
    mask = None
    if len(there) < len(arrays):
        mask = pa.array(np.repeat([array is None for array in arrays], lengths))
    if kind == _NUMBERS:
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=mask)
    valid = None if mask is None else pc.invert(mask).buffers()[1]
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(kind, len(widths), buffers)


def _listed(columns: Sequence[tuple[Sequence[Any] | None, int]], kind: pa.DataType) -> pa.Array:
    """Texts (or bytes), NULL for the rows that have none."""
    cells: list[Any] = []
    some = False
    for values, rows in columns:
        some = some or values is not None
        cells.extend(values if values is not None else [None] * rows)
    return pa.array(cells, kind) if some else pa.nulls(len(cells), kind)
