"""The parameters of a notebook: what its cell tagged ``parameters`` assigns, and values checked against that.

    found = of(read(path), "n.ipynb")    {"lr": Parameter(name="lr", type=float, default=0.001, ...)}
    checked("n.ipynb", found, {"lr": 1})     {"lr": 1.0}
    values(["0..4"]), values(["1e-3"])       what was typed on a command line: five ints, a Text

The type of a parameter is its annotation (``int``, ``list[int]``, ``Literal["ppo", "dqn"]``, ``str | None``),
else that of its default; one of None takes anything. Not here: executing notebooks (`notebooks`).
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import operator
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from pydantic import TypeAdapter, ValidationError

from aigym_kernel import rendering
from aigym_kernel.errors import NotebookError, UnknownName

MOST_VALUES = 100_000
UNKNOWN = object()
"""The default of a parameter that only running the notebook can tell."""

_TYPES: dict[str, Any] = {
    kind.__name__: kind for kind in (int, float, str, bool, list, dict, tuple, type(None))
} | {"Any": Any, "object": Any, "None": None, "Sequence": list, "Mapping": dict}
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


class Text(str):
    """A value as it was typed on a command line: it becomes what its parameter's type asks for."""


def values(texts: Sequence[str]) -> list[Any]:
    """What was typed for one parameter: ``0..4`` is five ints, the last included; any other text is one
    value, which `checked` reads as the parameter's type.

    Raises:
        NotebookError: a range goes down, or is longer than any grid.
    """
    found: list[Any] = []
    for text in texts:
        if match := _RANGE.fullmatch(text):
            first, last = int(match[1]), int(match[2])
            if not 0 <= last - first < MOST_VALUES:
                raise NotebookError(
                    f"{text!r} is a range of {max(0, last - first + 1):,} values; write the least and the "
                    f"greatest, such as 0..4, at most {MOST_VALUES:,} values"
                )
            found += range(first, last + 1)
        else:
            found.append(Text(text))
    return found


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One of a notebook's parameters. ``type`` is what pydantic checks, ``shown`` how to call it, ``source``
    its default as it is written."""

    name: str
    type: Any
    shown: str
    default: Any
    source: str


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook in a file.

    Raises:
        NotebookError: there is none, or it cannot be read.
    """
    try:
        there = path.is_file()
    except OSError as problem:
        raise NotebookError(f"{path} cannot be read: {problem.strerror}") from None
    if not there and path.is_dir():
        raise NotebookError(f"{path} is a folder; give the notebook in it")
    if not there:
        raise NotebookError(f"no notebook at {path}; check the path")
    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise NotebookError(f"{path} is not a readable notebook: {rendering.short(reason, 200)}") from None
    return notebook


def of(notebook: nbformat.NotebookNode, name: str) -> dict[str, Parameter]:
    """What the first cell tagged ``parameters`` of the notebook called ``name`` assigns, by name.

    Raises:
        NotebookError: that cell is not Python.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            break
    else:
        return {}
    # What only IPython understands assigns nothing.
    source = re.sub(r"^[%!].*$", "", cell.source, flags=re.MULTILINE)
    try:
        tree = ast.parse(source)
    except SyntaxError as problem:
        raise NotebookError(
            f"{name}: the cell tagged 'parameters' is not Python: {problem.msg} (line {problem.lineno})"
        ) from None
    return {found.name: found for found in _assigned(tree)}


def _assigned(tree: ast.Module) -> Iterator[Parameter]:
    for statement in tree.body:
        if isinstance(statement, ast.AnnAssign) and statement.value:
            targets: list[ast.expr] = [statement.target]
            annotation, value = statement.annotation, statement.value
        elif isinstance(statement, ast.Assign):
            targets, annotation, value = statement.targets, None, statement.value
        else:
            continue
        default = _literal(value)
        kind = _type(annotation) if annotation else type(default)
        if annotation is None and (default is UNKNOWN or default is None):
            kind = Any
        shown = ast.unparse(annotation) if annotation else getattr(kind, "__name__", "")
        for target in targets:
            if isinstance(target, ast.Name):
                source = ast.unparse(value)
                yield Parameter(name=target.id, type=kind, shown=shown, default=default, source=source)


def _literal(node: ast.AST | None) -> Any:
    try:
        return ast.literal_eval(typing.cast(ast.expr, node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def _type(node: ast.expr) -> Any:
    """The type that an annotation names; what is not known here takes anything."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            try:
                return _type(ast.parse(text, mode="eval").body)
            except SyntaxError:
                return Any
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _TYPES.get(name, Any)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_type(left), _type(right)]  # noqa: UP007  (of None and None, | fails)
        case ast.Subscript(value=(ast.Name(id=name) | ast.Attribute(attr=name)), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _subscript(name, parts)
    return Any


def _subscript(name: str, parts: list[ast.expr]) -> Any:
    if name == "Literal":
        values = tuple(map(_literal, parts))
        return Any if UNKNOWN in values else operator.getitem(typing.Literal, values)
    types = tuple(... if _literal(p) is ... else _type(p) for p in parts)
    if name in ("Optional", "Union"):
        return operator.getitem(typing.Union, (*types, None) if name == "Optional" else types)
    try:
        return operator.getitem(_TYPES.get(name, Any), types)
    except TypeError:
        return Any


def checked(
    name: str, found: Mapping[str, Parameter], values: Mapping[str, Any], hint: str = ""
) -> dict[str, Any]:
    """``values`` as the notebook called ``name`` wants them: an int becomes a float where one is asked for,
    a `Text` what its parameter is.

    Raises:
        UnknownName: the notebook has no such parameter.
        NotebookError: it has none at all, or a value has the wrong type.
    """
    if values and not found:
        raise NotebookError(
            f"{name} takes no parameters, got {sorted(values)}; tag one of its cells 'parameters'"
        )
    for given in values:
        if given not in found:
            raise UnknownName(f"parameter of {name}", given, found)
    return {given: _checked(name, found[given], value, hint) for given, value in values.items()}


def _checked(name: str, parameter: Parameter, value: Any, hint: str) -> Any:
    adapter = _adapter(parameter)
    for reading in _readings(parameter, value):
        try:
            return adapter.validate_python(reading, strict=True)
        except ValidationError:
            continue
    told = f"{name}: parameter {parameter.name} is {parameter.shown} (default {parameter.source}), got "
    kind = "" if isinstance(value, Text) else f"{type(value).__name__} "
    shown = repr(str(value)) if isinstance(value, Text) else repr(value)
    raise NotebookError(told + kind + rendering.short(shown, 60) + _near(parameter, value) + hint)


def _adapter(parameter: Parameter) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(parameter.type)
    except Exception:  # an annotation that pydantic makes nothing of, such as list[3]
        return TypeAdapter(Any)


def _readings(parameter: Parameter, value: Any) -> Iterator[Any]:
    """What a value may mean, most likely first: a typed text many things, a list of JSON also a tuple."""
    for reading in _of_text(value) if isinstance(value, Text) and parameter.type is not str else [value]:
        yield str(reading) if isinstance(reading, Text) else reading
        if isinstance(reading, list):
            yield tuple(reading)


def _of_text(text: Text) -> Iterator[Any]:
    value = _literal_text(text)
    if value is not UNKNOWN:
        yield value
        if isinstance(value, float) and value.is_integer() and "e" in text.lower():
            yield int(value)  # 1e6 where a whole number is asked for
    with contextlib.suppress(yaml.YAMLError):
        yield yaml.safe_load(text)
    yield text


def _literal_text(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def _near(parameter: Parameter, value: Any) -> str:
    """The value of a ``Literal`` that was probably meant."""
    if typing.get_origin(parameter.type) is not typing.Literal:
        return ""
    near = difflib.get_close_matches(str(value), map(str, typing.get_args(parameter.type)), n=1)
    return f". Did you mean {near[0]!r}?" if near else ""
