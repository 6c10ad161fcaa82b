"""What the fields of a task's classes may hold, by name."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import ConfigDict, Field

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
Text = Annotated[str, Field(min_length=1)]
WorkFile = Annotated[str, Field(min_length=1), "a file below the working folder"]
HiddenFile = Annotated[str, Field(min_length=1), "a file in hidden/"]
"""A field of this type, alone, optional or in a tuple, is checked to name a file that is there."""
FORBID = ConfigDict(extra="forbid")


def named(data: Any, kind: Any) -> Iterator[tuple[str, str]]:
    """Key and value of every field of a dataclass that is a ``kind`` (`HiddenFile`, `WorkFile`)."""
    marks = kind.__metadata__
    for key, hint in _hints(type(data)).items():
        value = getattr(data, key)
        if value and _holds(hint, marks):
            for name in (value,) if isinstance(value, str) else value:
                yield key, name


@lru_cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _holds(hint: Any, marks: tuple[Any, ...]) -> bool:
    if getattr(hint, "__metadata__", None) == marks:
        return True
    return any(_holds(inner, marks) for inner in get_args(hint))
