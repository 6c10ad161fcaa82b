"""What an explorer lets through, as plain data: checked, as SQL, and as a short text that restores it.

    checked({"return": (0, 10), "agent": ["ppo", "dqn"], "score": None}, columns)
        {"return": {"range": [0, 10]}, "agent": {"values": ["ppo", "dqn"]}, "score": {"values": [None]}}
    condition([filters], columns)          an SQL expression on ``trajectories``
    packed({...}), unpacked(text)          a permalink: compact, URL-safe, with a version

A range includes both ends; None is an open end. Times are seconds since 1970. Among the values of numbers,
None is NULL, and ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` are what JSON has no numbers for.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store.schema import clean
from aigym_kernel.widgets.columns import SEARCHED, Source

VERSION = "1"
MAX_PERMALINK = 100_000
UNUSUAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

Filter = dict[str, list[Any]]


def checked(filters: object, columns: Mapping[str, Source]) -> dict[str, Filter]:
    """Filters in their one form. A pair in a tuple stands for a range, a list or a lone value for values.

    Raises:
        UnknownName: a column that there is not.
        AigymError: a filter that is none, or does not fit its column.
    """
    if not isinstance(filters, Mapping):
        raise AigymError(
            f"filters={filters!r:.80} must map columns to filters, such as {{'return': (0, 10)}}"
        )
    found = {}
    for name, given in filters.items():
        if name not in columns:
            raise UnknownName("column of the explorer", name, columns)
        found[str(name)] = _checked(columns[name], given)
    return found


def _checked(column: Source, given: object) -> Filter:
    wrong = AigymError(
        f"filter {column.name}={given!r:.120} is none: pass a value, a list of values, a tuple (low, high), "
        'or {"range": [low, high]} or {"values": [...]}'
    )
    if isinstance(given, Mapping):
        if len(given) != 1 or next(iter(given)) not in ("range", "values"):
            raise wrong
        kind, parts = next(iter(given.items()))
        if not isinstance(parts, list | tuple):
            raise wrong
    else:
        kind = "range" if isinstance(given, tuple) else "values"
        parts = list(given) if isinstance(given, list | tuple | set | frozenset) else [given]
    if kind == "range":
        if len(parts) != 2 or column.kind in ("text", "tags"):
            raise wrong
        low, high = (None if end is None else _number(column, end, wrong) for end in parts)
        if low is not None and high is not None and low > high:
            raise AigymError(f"filter {column.name}={given!r:.120} ends before it begins; swap its two ends")
        return {"range": [low, high]}
    return {"values": [_value(column, value, wrong) for value in parts]}


def _number(column: Source, value: object, wrong: AigymError) -> float:
    if column.kind == "time" and isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong
    return value


def _value(column: Source, value: object, wrong: AigymError) -> Any:
    if value is None:
        return None
    if column.kind in ("text", "tags"):
        if not isinstance(value, str):
            raise wrong
        return clean(value)  # as recorded text was
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, str) and value in UNUSUAL else _number(column, value, wrong)


# SQL


def condition(
    filters: Iterable[Mapping[str, Filter]], columns: Mapping[str, Source], search: str = ""
) -> str:
    """An SQL expression on ``trajectories`` for those that pass all filters and hold the searched text."""
    tests = [_test(columns[name], wanted) for some in filters for name, wanted in some.items()]
    if search:
        text = _text(clean(search).lower())
        tests.append(f"({' OR '.join(f'contains(lower({name}), {text})' for name in SEARCHED)})")
    return " AND ".join(tests) or "true"


def _test(column: Source, wanted: Filter) -> str:
    if column.kind == "tags":
        some = [value for value in wanted["values"] if value is not None]
        either = [f"list_has_any(tags, [{', '.join(map(_text, some))}])"] if some else []
        either += ["len(tags) = 0"] if None in wanted["values"] else []
        return f"({' OR '.join(either)})" if either else "false"
    test = _range(column, *wanted["range"]) if "range" in wanted else _values(column, wanted["values"])
    if column.kind == "rewards":
        return f"trajectory_id IN (SELECT trajectory_id FROM steps WHERE {test})"
    return test


def _range(column: Source, low: float | None, high: float | None) -> str:
    ends = [
        _moment(end, up) if column.kind == "time" and end is not None else end
        for end, up in ((low, True), (high, False))
    ]
    if ends[0] is not None and ends[1] is not None:
        return f"{column.sql} BETWEEN {_literal(ends[0])} AND {_literal(ends[1])}"
    if ends[1] is not None:
        return f"{column.sql} <= {_literal(ends[1])}"
    # For DuckDB NaN is larger than any number.
    known = f"{column.sql} IS NOT NULL" if column.kind == "time" else f"NOT isnan({column.sql})"
    return known if ends[0] is None else f"({column.sql} >= {_literal(ends[0])} AND {known})"


def _values(column: Source, values: list[Any]) -> str:
    some = [v for v in values if v is not None]
    either = []
    if some:
        shown = [UNUSUAL.get(v, v) if column.kind != "text" else v for v in some]
        if column.kind == "time":
            shown = [_moment(v, True) for v in shown]
        either.append(f"{column.sql} IN ({', '.join(map(_literal, shown))})")
    if len(some) < len(values):
        either.append(f"{column.sql} IS NULL")
    return f"({' OR '.join(either)})" if either else "false"


def _moment(seconds: float, up: bool) -> datetime | float:
    """A time in the store's microseconds, none of which lies between it and the exact one."""
    whole = math.ceil(seconds * 1e6) if up else math.floor(seconds * 1e6)
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=whole)
    except OverflowError:
        return math.inf if seconds > 0 else -math.inf


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S.%f}'"
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{'nan' if math.isnan(value) else 'infinity' if value > 0 else '-infinity'}'"
    return repr(value)


def _text(text: str) -> str:
    # A NUL would end the statement.
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else f"({' || chr(0) || '.join(parts)})"


# Permalinks


def packed(state: Mapping[str, Any]) -> str:
    """The state as text of letters, digits, ``-`` and ``_`` behind the version."""
    plain = json.dumps(state, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    raw = zlib.compress(plain.encode("utf-8", "surrogatepass"), 9)
    return VERSION + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unpacked(permalink: str) -> dict[str, Any]:
    """The state that `packed` was given.

    Raises:
        AigymError: the text is no permalink, is not whole, or is of another version.
    """
    wrong = f"permalink={permalink!r:.60} "
    if not isinstance(permalink, str) or not permalink:
        raise AigymError(wrong + "is no permalink; take the text of an explorer's .permalink")
    if permalink[0] != VERSION:
        raise AigymError(wrong + f"does not begin with the version {VERSION} that this aigym_kernel reads")
    try:
        raw = base64.b64decode(permalink[1:] + "=" * (-(len(permalink) - 1) % 4), b"-_", validate=True)
        unpacking = zlib.decompressobj()
        plain = unpacking.decompress(raw, MAX_PERMALINK)
        if not unpacking.eof:
            raise ValueError
        state = json.loads(plain.decode("utf-8", "surrogatepass"))
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise AigymError(wrong + "is not whole; copy all of an explorer's .permalink") from None
    if not isinstance(state, dict):
        raise AigymError(wrong + "is no permalink; take the text of an explorer's .permalink")
    return state
