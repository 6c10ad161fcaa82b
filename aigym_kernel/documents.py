"""YAML and JSON written by people, checked against dataclasses, with errors that a person can act on.

    data = read(path)
    checked = Schema(tags={"function": FunctionCheck}).validate(Task, data, path)

Every mistake becomes a TaskError that names file, key, value and what is allowed; all the mistakes of a
file come in one. Knows nothing of what tasks mean.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from aigym_kernel import rendering
from aigym_kernel.errors import TaskError

MOST_ALIASED = 1_000_000
#: What PyYAML says of slips that everybody makes, and what to do about them.
_WAYS_OUT = {
    "mapping values are not allowed here": "; a text that holds ': ' has to stand in quotes",
    "found character '\\t' that cannot start any token": "; indent with spaces, YAML takes no tabs",
}


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the standard loader keeps the last silently, and says
    where a value is that looks like a date or a number and is none. A few lines of aliases can stand for
    more values than any memory holds; too many are refused."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._size = 0  # values and characters so far, aliases written out
        self._sizes: dict[int, int] = {}  # of each finished node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        alias, before = isinstance(event, yaml.AliasEvent), self._size
        node = super().compose_node(parent, index)
        if alias:
            if id(node) not in self._sizes:
                raise yaml.MarkedYAMLError(None, None, f"*{event.anchor} refers to itself", event.start_mark)
            self._size += self._sizes[id(node)]
            if self._size > MOST_ALIASED:
                told = f"*{event.anchor}: the aliases stand for more than {MOST_ALIASED:,} values"
                raise yaml.MarkedYAMLError(None, None, told, event.start_mark)
        else:
            self._size += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
            self._sizes[id(node)] = self._size - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as e:
            raise yaml.MarkedYAMLError(None, None, str(e), node.start_mark) from None
        except (LookupError, AttributeError, TypeError):  # a tag such as !!int before what is no int
            told = f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(None, None, told, node.start_mark) from None


def read(source: Path) -> Any:
    """The plain values in a YAML or JSON file.

    Raises:
        TaskError: it cannot be read, is not UTF-8, or not YAML or JSON; names line and column.
    """
    text = read_text(source)
    try:
        return json.loads(text) if source.suffix == ".json" else yaml.load(text, _Loader)
    except json.JSONDecodeError as e:
        raise TaskError(f"{source}: line {e.lineno}, column {e.colno}: {e.msg}") from None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = e.problem or e.context or ""
        raise TaskError(f"{source}: {place}{problem}{_WAYS_OUT.get(problem, '')}") from None
    except yaml.YAMLError as e:
        raise TaskError(f"{source}: {e}") from None
    except RecursionError:
        raise TaskError(f"{source}: its lists or mappings are nested too deep") from None
    except ValueError as e:  # of a number with thousands of digits
        raise TaskError(f"{source}: {str(e).partition(';')[0]}") from None


def read_text(source: Path) -> str:
    """A UTF-8 file. Raises TaskError: it is none, or cannot be read."""
    try:
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise TaskError(f"{source}: is not UTF-8 text (byte {e.start})") from None
    except OSError as e:
        raise TaskError(f"{source}: cannot be read: {e.strerror}") from None


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What the dataclasses themselves cannot say.

    ``tags``: the classes of a union, by the value of their ``type``. ``keyed``: the class that stands
    under a key. ``computed``: fields of a class that no file may give.
    """

    tags: Mapping[str, type]
    keyed: Mapping[str, type] = field(default_factory=dict)
    computed: Mapping[type, tuple[str, ...]] = field(default_factory=dict)

    def validate(self, wanted: Any, data: Any, source: Path, problems: list[str] | None = None) -> Any:
        """``data`` as ``wanted``, a dataclass or a tuple of one.

        Raises:
            TaskError: every problem found, after the ``problems`` known before.
        """
        problems = list(problems or ())
        root = get_args(wanted)[0] if get_args(wanted) else wanted
        try:
            checked = TypeAdapter(wanted).validate_python(data)
        except ValidationError as e:
            errors = e.errors()
            # What is wrong in a list's member also makes the list look too short.
            wrong = [x for x in errors if x["type"] != "too_short" or not _lies_in(x["loc"], errors)]
            problems += [self._problem(dict(error), root) for error in wrong]
        if problems:
            raise TaskError(message(source, problems))
        return checked

    def keys(self, wanted: type) -> list[str]:
        """The keys that a file may give for a dataclass."""
        return [f.name for f in dataclasses.fields(wanted) if f.name not in self.computed.get(wanted, ())]

    def _problem(self, error: dict[str, Any], root: type) -> str:
        """One line for one of pydantic's errors in ``root``: key, value, what is allowed."""
        loc, kind, ctx = error["loc"], error["type"], error.get("ctx", {})
        path = ""
        for i, part in enumerate(loc):
            if i and loc[i - 1] == "check" and part in self.tags:
                continue
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        value = shown(error["input"])
        if kind == "unexpected_keyword_argument":
            named = [p for p in loc[:-1] if isinstance(p, str)]
            wanted = ({**self.keyed, **self.tags})[named[-1]] if named else root
            return unknown_key(path, loc[-1], self.keys(wanted))
        if kind in ("missing", "union_tag_not_found"):
            tail = "" if kind == "missing" else f".type: is missing; use one of {', '.join(self.tags)}"
            return f"{path}{tail}" if tail else f"{path}: is missing"
        if kind == "union_tag_invalid":
            return f"{path}.type: {ctx['tag']!r} is not allowed; {suggest(ctx['tag'], list(self.tags))}"
        if kind == "literal_error":
            allowed = [a.strip("'") for a in ctx["expected"].replace(" or ", ", ").split(", ")]
            return f"{path}: {value} is not allowed; {suggest(str(error['input']), allowed)}"
        return f"{path}: is empty" if error["input"] is None else f"{path}: {told(error)}"


def _lies_in(place: tuple[int | str, ...], errors: list[ErrorDetails]) -> bool:
    """Whether one of the errors is about something below ``place``."""
    return any(len(e["loc"]) > len(place) and e["loc"][: len(place)] == place for e in errors)


def told(error: Mapping[str, Any]) -> str:
    """The value that one of pydantic's errors is about, and what it should be."""
    value, kind = error["input"], error["type"]
    wanted = error["msg"].replace("Input should", "it should").replace("a valid tuple", "a list")
    if kind == "too_short":
        wanted = "it should not be empty"
    elif kind == "string_type":
        wanted = "it should be text" + ("" if isinstance(value, dict | list) else "; put it in quotes")
    return f"{shown(value)}: {wanted}"


def message(source: Path, problems: list[str]) -> str:
    """All problems of a file as one text."""
    if len(problems) == 1:
        return f"{source}: {problems[0]}"
    return "\n  ".join([f"{source}: {len(problems)} problems", *problems])


def unknown_key(path: str, key: object, known: list[str]) -> str:
    """One line for a key that nothing reads."""
    return f"{path or key}: no such key; {suggest(str(key), known)}"


def suggest(name: str, known: list[str]) -> str:
    """What was probably meant, and what is allowed."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    listed = f"use one of {', '.join(known)}" if known else "there are none"
    return (f"Did you mean {' or '.join(map(repr, near))}? " if near else "") + listed


def shown(value: object) -> str:
    """A value, short enough for a message."""
    return rendering.short(repr(value), 60)
