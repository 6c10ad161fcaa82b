"""Which trajectories are meant, as SQL: tests of columns with plain values, and an order.

    tests, values = conditions({"env_id": "aigym/Snake-v0", "return": (1, None), "info.food": 3}, "wall")
    f"FROM {source([...])} WHERE {' AND '.join(tests)}"

A column is one of ``trajectories``, ``kind`` of the run, or ``info.<key>`` for a key of the final info.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from aigym_kernel.errors import AigymError, UnknownName
from aigym_kernel.store import schema
from aigym_kernel.store.segments import quote

SEARCHED = ("trajectory_id", "env_id", "agent", "outcome")
COLUMNS = [*schema.TABLES["trajectories"].names, "tags"]
_OF_RUNS = ("kind",)
_INFO = "info."
# What a table of trajectories leaves out: for programs, not for people.
HIDDEN = ("final_observation_bytes", "info_numbers", "info_texts")


def column(name: str, *, text: bool = False) -> str:
    """A column, ready for SQL. ``text``: that of the texts, for a key of the info.

    Raises:
        UnknownName: trajectories have no such column.
    """
    if name in _OF_RUNS:
        return f'r."{name}"'
    if name in COLUMNS:
        return f't."{name}"'
    if isinstance(name, str) and name.startswith(_INFO):
        return f"t.info_{'texts' if text else 'numbers'}[{quote(schema.clean(name[len(_INFO) :]))}]"
    raise UnknownName("column of trajectories", name, [*COLUMNS, *_OF_RUNS, f"{_INFO}<key>"])


def source(columns: Sequence[str], *, table: str = "trajectories") -> str:
    """What stands after FROM where these columns are used."""
    join = " LEFT JOIN runs r USING (run_id)" if set(columns) & set(_OF_RUNS) else ""
    return f"{table} t{join}"


def order(name: str, *, descending: bool) -> str:
    """What stands after ORDER BY; rows without a value come last."""
    columns = [column(name), *([column(name, text=True)] if name.startswith(_INFO) else [])]
    parts = [f"{c} {'DESC' if descending else 'ASC'} NULLS LAST" for c in columns]
    return ", ".join([*parts, "t.trajectory_id"])


def selection(where: Mapping[str, Any], search: str = "") -> tuple[str, list[Any]]:
    """What stands after FROM to have the trajectories (``t``) that `conditions` describe, and the parameters.
    The snapshot has to know of ``runs`` if ``kind`` is named."""
    tests, values = conditions(where, search)
    return source(list(where)) + (f" WHERE {' AND '.join(tests)}" if tests else ""), values


def conditions(where: Mapping[str, Any], search: str) -> tuple[list[str], list[Any]]:
    """Tests, each of which must hold, and the values of their question marks.

    Args:
        where: column to the value that it must have (None: NULL), to a list of such values, or to a range
            ``(low, high)`` that includes both ends and is open where one is None. Of ``tags``, one of
            those that a trajectory has.

    Raises:
        UnknownName: a column that trajectories do not have.
        AigymError: a tuple that is no range.
    """
    tests: list[str] = []
    values: list[Any] = []
    for name, wanted in where.items():
        test, more = _range(name, wanted) if isinstance(wanted, tuple) else _any_of(name, wanted)
        tests.append(test)
        values += more
    if search:
        tests.append(f"({' OR '.join(f'contains(lower({column(n)}), lower(?))' for n in SEARCHED)})")
        values += [schema.clean(search)] * len(SEARCHED)
    return tests, values


def _range(name: str, wanted: tuple[Any, ...]) -> tuple[str, list[Any]]:
    if len(wanted) != 2:
        raise AigymError(
            f"{name}={wanted!r}: a range is (low, high), None for an open end; a list, any of these"
        )
    low, high = (None if end is None else _value(name, end) for end in wanted)
    if high is None and isinstance(low, int | float):
        high = math.inf  # DuckDB has NaN above all other numbers
    left = column(name, text=isinstance(low, str) or isinstance(high, str))
    ends = [(sign, end) for sign, end in ((">=", low), ("<=", high)) if end is not None]
    tests = " AND ".join(f"{left} {sign} ?" for sign, _ in ends)
    return tests or f"{left} IS NOT NULL", [end for _, end in ends]


def _any_of(name: str, wanted: Any) -> tuple[str, list[Any]]:
    if not isinstance(wanted, list | set | frozenset):
        wanted = [wanted]
    some = [_value(name, value) for value in wanted if value is not None]
    left = column(name, text=any(isinstance(value, str) for value in some))
    if name == "tags":
        either = [f"list_contains({left}, ?)"] * len(some)
        missing = f"{left} = []"
    else:
        either = [f"{left} IN ({', '.join('?' * len(some))})"] if some else []
        missing = f"{left} IS NULL"
    if len(some) < len(wanted):
        either.append(missing)
    return f"({' OR '.join(either) or 'false'})", some


def _value(name: str, value: Any) -> Any:
    """The value as the column has it: times are in UTC, a number is in seconds since 1970."""
    if name == "started_at":
        if isinstance(value, int | float):
            value = datetime.datetime.fromtimestamp(value, datetime.UTC)
        if isinstance(value, datetime.datetime) and value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return value.item() if hasattr(value, "dtype") else value
