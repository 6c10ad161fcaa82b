"""Trajectories as JSON without loss: the values that `jsonl` and `parquet` write.

    record = from_trajectory(trajectory)      a dict that json.dumps takes, with no NaN and no lone surrogate
    to_trajectory(record)                     the same trajectory
    pack(value), unpack(value)                one value

What JSON has is written as it is. What it lacks is an object whose first key starts with ``$``:

    {"$array": "float32", "shape": [2, 3], "values": [...]}      numbers in C order; "NaN", "Infinity" and
                                                                 "-Infinity" stand for themselves
    {"$array": "uint8", "shape": [84, 84], "base64": "..."}      bytes and what is no number, in C order
    {"$scalar": "int8", "value": 3}                              a NumPy scalar
    {"$float": "NaN"}    {"$bytes": "base64"}    {"$tuple": [...]}    {"$dict": [[key, value], ...]}
    {"$text": "base64"}                                          text with lone surrogates, as UTF-8 has none
    {"$graph": [nodes, edges, edge_links]}                       gymnasium's GraphInstance

Any other object becomes its str(). Not here: files, and what other formats look like.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import json
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from aigym_kernel import rendering
from aigym_kernel.errors import ExchangeError
from aigym_kernel.trajectories import Trajectory

VERSION = 1
MARKER = "aigym_trajectory"

_COLUMNS = ("observations", "actions", "rewards")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


# Trajectories


def from_trajectory(trajectory: Trajectory) -> dict[str, Any]:
    """The record of a trajectory; what has its default value is left out."""
    rewards = np.asarray(trajectory.rewards, dtype=np.float64)
    return facts(trajectory) | {
        "observations": column(trajectory.observations),
        "actions": column(trajectory.actions),
        "rewards": rewards.tolist() if np.isfinite(rewards).all() else pack(rewards.tolist()),
    }


def facts(trajectory: Trajectory) -> dict[str, Any]:
    """The record without observations, actions and rewards."""
    return {MARKER: VERSION, "id": pack(trajectory.id)} | _fields(trajectory)


def dumps(record: Mapping[str, Any], trajectory_id: str) -> str:
    """The JSON of a record, on one line.

    Raises:
        ExchangeError: it holds values nested too deep, or a whole number of thousands of digits.
    """
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise too_deep(trajectory_id) from None
    except ValueError as e:
        raise ExchangeError(f"trajectory {trajectory_id!r}: {str(e).partition(';')[0]}") from None


def too_deep(trajectory_id: str) -> ExchangeError:
    """The error for values that JSON would not bring back."""
    return ExchangeError(f"trajectory {trajectory_id!r} holds values nested too deep for JSON")


def to_trajectory(record: Any, **columns: Any) -> Trajectory:
    """The trajectory of a record; ``columns`` are fields that are no plain values any more.

    Raises:
        ValueError: it is none; says which field is wrong, and how.
    """
    if not isinstance(record, dict) or record.get(MARKER) is None:
        raise ValueError(f"is no trajectory: an object with the key {MARKER!r} is needed")
    if record[MARKER] != VERSION:
        raise ValueError(f"{MARKER}: {record[MARKER]!r} is not {VERSION}; a newer version wrote it")
    values = {name: unpack(value) for name, value in record.items() if name != MARKER} | columns
    if "rewards" in values:
        try:
            values["rewards"] = np.asarray(values["rewards"], dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            raise ValueError("rewards: is no list of numbers") from None
    for name in ("observations", "actions"):
        if not isinstance(values.get(name, []), list | np.ndarray):
            raise ValueError(f"{name}: is no list, but {_shown(values[name])}")
    built = build(Trajectory, values, "")
    assert isinstance(built, Trajectory)
    return built


def column(values: Any) -> Any:
    """Observations or actions, packed."""
    if not isinstance(values, list | tuple) and hasattr(values, "__array__"):
        return pack(np.asarray(values))
    return [pack(value) for value in values]


def _fields(data: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, packed."""
    found = {}
    for field in dataclasses.fields(data):
        value = getattr(data, field.name)
        if field.name in _COLUMNS and isinstance(data, Trajectory):
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING and field.default_factory is dict:
            default = {}
        if default is dataclasses.MISSING or type(value) is not type(default) or value != default:
            found[field.name] = [pack(v) for v in value] if isinstance(value, tuple) else pack(value)
    return found


# Values


def pack(value: Any) -> Any:
    """The value as strict JSON has it; see the module's table."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _pack_text(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": _name(value)}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return _pack_mapping(value)
    if isinstance(value, np.ndarray | np.generic):
        return _pack_array(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": _base64(bytes(value))}
    if isinstance(value, tuple):
        return _pack_tuple(value)
    if isinstance(value, Sequence | set | frozenset):
        return [pack(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    return _pack_text(str(value))


def _pack_tuple(value: tuple[Any, ...]) -> Any:
    if type(value).__name__ == "GraphInstance":
        return {"$graph": [pack(v) for v in value]}
    return {"$tuple": [pack(v) for v in value]}


def _pack_text(text: str) -> Any:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return {"$text": _base64(text.encode("utf-8", "surrogatepass"))}
    return str(text)


def _pack_mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    keys = [_pack_text(k) if isinstance(k, str) else None for k in value]
    if all(isinstance(k, str) and not k.startswith("$") for k in keys):
        return {str(k): pack(v) for k, v in value.items()}
    return {"$dict": [[pack(k), pack(v)] for k, v in value.items()]}


def _pack_array(value: NDArray[Any] | np.generic) -> Any:
    kind = value.dtype.kind
    if kind == "O":
        return [pack(v) for v in np.asarray(value).tolist()] if value.ndim else pack(value.item())
    if kind == "V":
        return _pack_text(str(value))
    name = value.dtype.name if value.dtype.isnative and kind in "biufc" else value.dtype.str
    if isinstance(value, np.generic) and kind in "biuf" and value.dtype.itemsize <= 8:
        return {"$scalar": name, "value": pack(value.item())}
    record: dict[str, Any] = {"$array": name, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        record["scalar"] = True
    if kind not in "biuf" or value.dtype.itemsize > 8 or value.dtype == np.uint8:
        return record | {"base64": _base64(np.ascontiguousarray(value).tobytes())}
    flat = np.asarray(value).reshape(-1)
    values = flat.tolist()
    if kind == "f" and not np.isfinite(flat).all():
        values = [v if math.isfinite(v) else _name(v) for v in values]
    return record | {"values": values}


def _name(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def unpack(value: Any) -> Any:
    """What `pack` was given.

    Raises:
        ValueError: it holds a ``$`` object that `pack` does not write.
    """
    if isinstance(value, list):
        return [unpack(v) for v in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith("$"):
        return {k: unpack(v) for k, v in value.items()}
    try:
        return _unpack_tagged(tag, value)
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError, binascii.Error) as e:
        raise ValueError(f"{_shown(value)}: is no value of this format ({e})") from None


def _unpack_tagged(tag: str, value: dict[str, Any]) -> Any:
    inner = value[tag]
    if tag == "$array":
        return _unpack_array(value)
    if tag == "$scalar":
        return _number_type(inner).type(unpack(value["value"]))
    if tag == "$float":
        return _NOT_FINITE[inner]
    if tag == "$bytes":
        return base64.b64decode(inner, validate=True)
    if tag == "$text":
        return base64.b64decode(inner, validate=True).decode("utf-8", "surrogatepass")
    if tag == "$tuple":
        return tuple(unpack(v) for v in inner)
    if tag == "$dict":
        return {unpack(k): unpack(v) for k, v in inner}
    if tag == "$graph":
        from gymnasium.spaces import GraphInstance

        return GraphInstance(*(unpack(v) for v in inner))
    raise ValueError(f"{tag!r} has no meaning")


def _unpack_array(value: dict[str, Any]) -> Any:
    dtype = _number_type(value["$array"])
    if "base64" in value:
        array = np.frombuffer(base64.b64decode(value["base64"], validate=True), dtype=dtype).copy()
    else:
        array = np.array([_NOT_FINITE[v] if isinstance(v, str) else v for v in value["values"]], dtype=dtype)
    array = array.reshape(value["shape"])
    return array[()] if value.get("scalar") else array


def _number_type(name: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(name)
    if not isinstance(name, str) or dtype.hasobject or dtype.kind == "V":
        raise ValueError(f"dtype {name!r} holds no plain values")
    return dtype


# Dataclasses from plain values. pydantic would refuse text with lone surrogates.


def build(cls: type, values: Any, place: str) -> Any:
    """The dataclass ``cls`` of named values.

    Raises:
        ValueError: a name is missing or unknown, or a value has another type; ``place`` says where.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{place or cls.__name__}: is no object, but {_shown(values)}")
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := [str(name) for name in values if name not in fields]:
        raise ValueError(f"{_at(place, unknown[0])}: no such field; there are {', '.join(fields)}")
    for name, field in fields.items():
        absent = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if absent and name not in values:
            raise ValueError(f"{_at(place, name)}: is missing")
    return cls(**{name: _fit(value, hints[name], _at(place, name)) for name, value in values.items()})


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _fit(value: Any, hint: Any, place: str) -> Any:
    """The value as the type that a field has; whatever holds arrays is taken as it is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _fit_one_of(value, arguments, place)
    if origin is Literal:
        if value in arguments and isinstance(value, str):
            return value
        raise ValueError(f"{place}: {_shown(value)} is none of {', '.join(map(str, arguments))}")
    if origin is tuple or (origin is Sequence and dataclasses.is_dataclass(arguments[0])):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{place}: is no list, but {_shown(value)}")
        return tuple(_fit(v, arguments[0], f"{place}[{i}]") for i, v in enumerate(value))
    if origin is Sequence and get_origin(arguments[0]) is Mapping:
        if not isinstance(value, list | tuple) or not all(isinstance(v, Mapping) for v in value):
            raise ValueError(f"{place}: is no list of objects")
        return tuple(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, place)
    if isinstance(value, np.generic) and hint in (int, float, bool):
        value = value.item()
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    wanted = Mapping if origin is Mapping else hint
    if hint is Any or origin is np.ndarray or (origin is Sequence and isinstance(value, list)):
        return value
    truth = hint is int and isinstance(value, bool)
    if truth or not isinstance(wanted, type) or not isinstance(value, wanted):
        told = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise ValueError(f"{place}: {_shown(value)} is not {told.get(hint, 'what belongs here')}")
    return value


def _fit_one_of(value: Any, hints: tuple[Any, ...], place: str) -> Any:
    problems = []
    for hint in hints:
        if hint is type(None):
            if value is None:
                return None
            continue
        try:
            return _fit(value, hint, place)
        except ValueError as e:
            problems.append(str(e))
    raise ValueError(problems[-1])


def _shown(value: object) -> str:
    return rendering.short(repr(value), 60)
