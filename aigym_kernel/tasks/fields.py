"""What the fields of a task's classes may hold, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _path_of_a_file(value: object) -> object:
    """Refuses what stands where a file is to be named, such as the cases themselves."""
    if isinstance(value, dict | list):
        raise PydanticCustomError("file", "it should be the path of a file, such as hidden/cases.yaml")
    return value


def _identifier(value: str) -> str:
    if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", value):
        raise PydanticCustomError("id", "it should be of letters a to z, digits and single hyphens: two-sum")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
Tolerance = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
LanguageName = Literal["python", "bash", "javascript", "c", "cpp", "java", "go", "rust", "r"]
WorkFile = Annotated[str, Field(min_length=1), "a file below the working folder"]
HiddenFile = Annotated[str, BeforeValidator(_path_of_a_file), Field(min_length=1), "a file in hidden/"]
"""A field of this type (or optional, in a tuple, in a mapping) is checked to name a file that is there."""
FORBID = ConfigDict(extra="forbid")


def named(data: Any, kind: Any) -> Iterator[tuple[str, str]]:
    """Key and value of every field of a dataclass that is a ``kind`` (`HiddenFile`, `WorkFile`)."""
    for key, hint in _hints(data.__class__).items():
        for name in _found(getattr(data, key), hint, kind.__metadata__):
            yield key, name


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _found(value: Any, hint: Any, marks: tuple[Any, ...]) -> list[str]:
    """The names in ``value`` that its type ``hint`` marks."""
    if getattr(hint, "__metadata__", None) == marks:
        return [value] if isinstance(value, str) else []
    inner = get_args(hint)
    if isinstance(value, Mapping) and len(inner) == 2:
        pairs = [(k, inner[0]) for k in value] + [(v, inner[1]) for v in value.values()]
    elif isinstance(value, tuple):
        pairs = [(v, h) for v in value for h in inner]
    else:
        pairs = [(value, h) for h in inner]
    return [name for v, h in pairs for name in _found(v, h, marks)]
