"""The part of pytest that hidden tests may use, under its name: ``import pytest`` in a test finds this.

raises, approx, fail, skip, fixture (yield, autouse, fixtures that need others), param, mark.parametrize,
mark.skip, mark.skipif, mark.xfail; the fixtures tmp_path and capsys; plain asserts. pytest itself promises
more than can hold here, where the solution lives in another process (monkeypatch, caplog, plug-ins).
Using anything else is `Unsupported`: the test file's mistake, never the solution's.
"""

from __future__ import annotations

import inspect
import io
import itertools
import math
import os
import pathlib
import re
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any


class Unsupported(BaseException):
    """A test uses what this subset lacks, or uses it wrongly."""


class Skipped(BaseException):
    """A test said that it cannot be run."""


class Raises:
    """``with raises(ValueError, match="...") as caught``; ``caught.value`` and ``caught.type`` afterwards."""

    def __init__(self, expected: Any, match: str | None = None) -> None:
        self.expected, self.match_ = expected, match
        self.type: Any = None
        self.value: Any = None

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if kind is None:
            names = self.expected if isinstance(self.expected, tuple) else (self.expected,)
            raise AssertionError(f"DID NOT RAISE {' or '.join(n.__name__ for n in names)}")
        if not issubclass(kind, self.expected):
            return False
        self.type, self.value = kind, error
        if self.match_ is not None:
            self.match(self.match_)
        return True

    def match(self, pattern: str) -> bool:
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"the message {str(self.value)!r} does not match {pattern!r}")
        return True


def raises(expected: Any, *args: Any, match: str | None = None, **kwargs: Any) -> Any:
    if not args:
        return Raises(expected, match)
    with Raises(expected) as caught:
        args[0](*args[1:], **kwargs)
    return caught


class Approx:
    """Equal to numbers within 1e-6 of it relatively or 1e-12 absolutely, in lists and dicts too."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:
        self.expected = expected
        self.rel = 1e-6 if rel is None and abs is None else rel or 0.0
        self.abs = 1e-12 if abs is None else abs

    def __eq__(self, got: object) -> bool:
        return self._near(got, self.expected)

    def _near(self, got: Any, expected: Any) -> bool:
        if isinstance(expected, dict):
            return isinstance(got, dict) and got.keys() == expected.keys() and all(
                self._near(got[k], expected[k]) for k in expected
            )  # fmt: skip
        if isinstance(expected, list | tuple):
            same = isinstance(got, list | tuple) and len(got) == len(expected)
            return same and all(self._near(g, e) for g, e in zip(got, expected))
        numbers = (int, float, complex)
        if not isinstance(got, numbers) or not isinstance(expected, numbers):
            return type(got) in (*numbers, str, bool, type(None)) and bool(got == expected)
        if got == expected:
            return True
        if isinstance(got, complex) or isinstance(expected, complex):
            return abs(got - expected) <= max(self.abs, self.rel * abs(expected))
        return math.isfinite(expected) and abs(got - expected) <= max(self.abs, self.rel * abs(expected))

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"


class Param:
    """One set of arguments of parametrize."""

    def __init__(self, *values: Any, id: str | None = None, marks: Any = ()) -> None:
        self.values, self.id = values, id
        self.marks = marks if isinstance(marks, list | tuple) else (marks,)


class Mark:
    """``mark.skip``, ``mark.xfail(...)``: kept with the function."""

    def __init__(
        self, name: str, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self.name, self.args, self.kwargs = name, args, dict(kwargs or {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        marked: Any = args[0] if len(args) == 1 and not kwargs else None
        if isinstance(marked, type | types.FunctionType):
            setattr(marked, "pytestmark", [*getattr(marked, "pytestmark", []), self])  # noqa: B010
            return marked
        return Mark(self.name, args, kwargs)


class Marks:
    """``pytest.mark``. A mark of an unknown name means nothing here, as in pytest, unless it is asked to."""

    def __getattr__(self, name: str) -> Mark:
        if name == "usefixtures":
            raise Unsupported("pytest.mark.usefixtures is not supported; name the fixture as an argument")
        return Mark(name)


class Fixture:
    """A function that makes an argument of tests."""

    def __init__(self, function: Callable[..., Any], autouse: bool, name: str | None) -> None:
        self.function, self.autouse, self.name = function, autouse, name or function.__name__


def fixture(function: Any = None, *, scope: str = "function", autouse: bool = False, name: str | None = None,
            **other: Any) -> Any:  # fmt: skip
    if other:
        raise Unsupported(f"pytest.fixture({', '.join(other)}=...) is not supported")
    del scope  # a value made anew for every test keeps every promise but speed
    if function is None:
        return lambda f: Fixture(f, autouse, name)
    return Fixture(function, autouse, name)


def fail(reason: str = "", **_: Any) -> None:
    raise AssertionError(reason)


def skip(reason: str = "", **_: Any) -> None:
    raise Skipped(reason)


class Capsys:
    """What was printed, here and by the solution."""

    def __init__(self) -> None:
        self.streams = io.StringIO(), io.StringIO()
        self.before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.streams

    def readouterr(self) -> Any:
        told = types.SimpleNamespace(out=self.streams[0].getvalue(), err=self.streams[1].getvalue())
        for stream in self.streams:
            stream.seek(0)
            stream.truncate()
        return told

    def close(self) -> None:
        sys.stdout, sys.stderr = self.before


def module() -> types.ModuleType:
    """What ``import pytest`` gives."""
    made = types.ModuleType("pytest")
    made.__dict__.update(
        raises=raises, approx=Approx, fail=fail, skip=skip, fixture=fixture, param=Param, mark=Marks()
    )

    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported(f"pytest.{name} is not supported; see `unit_tests` in the description of tasks")

    made.__dict__["__getattr__"] = missing
    return made


def marks_of(function: Any, owner: Any = None) -> list[Mark]:
    marks = [*getattr(owner, "pytestmark", []), *getattr(function, "pytestmark", [])]
    return [m for m in marks if isinstance(m, Mark)]


def variants(function: Any, owner: Any = None) -> Iterator[tuple[str, dict[str, Any], list[Mark]]]:
    """Every set of arguments that parametrize gives a test: its id, the arguments, their marks."""
    axes = []
    for mark in marks_of(function, owner):
        if mark.name != "parametrize":
            continue
        names, sets = mark.args[:2] if len(mark.args) > 1 else (mark.args[0], mark.kwargs["argvalues"])
        names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
        ids = mark.kwargs.get("ids")
        axis = []
        for i, given in enumerate(sets):
            param = given if isinstance(given, Param) else Param(*(given if len(names) > 1 else (given,)))
            if len(param.values) != len(names):
                raise Unsupported(f"parametrize: {len(names)} names, {len(param.values)} values at {i}")
            chosen = ids(given) if callable(ids) else ids[i] if ids else None
            label = param.id or chosen or "-".join(_label(v, n, i) for v, n in zip(param.values, names))
            axis.append((str(label), dict(zip(names, param.values)), list(param.marks)))
        axes.append(axis)
    for combined in itertools.product(*reversed(axes)):
        yield (
            "-".join(label for label, _, _ in combined),
            {k: v for _, values, _ in combined for k, v in values.items()},
            [m for _, _, marks in combined for m in marks],
        )


def _label(value: Any, name: str, at: int) -> str:
    plain = value is None or isinstance(value, bool | int | float | str)
    return str(value)[:40] if plain else f"{name}{at}"


class Arguments:
    """Makes the arguments of one test out of fixtures, and ends them."""

    def __init__(self, fixtures: Mapping[str, Fixture], given: Mapping[str, Any], instance: Any) -> None:
        self.fixtures, self.made, self.instance = fixtures, dict(given), instance
        self.open: list[Any] = []

    def of(self, function: Callable[..., Any]) -> dict[str, Any]:
        needed = inspect.signature(function).parameters.values()
        return {p.name: self.get(p.name) for p in needed if p.name != "self" and p.default is p.empty}

    def get(self, name: str) -> Any:
        if name not in self.made:
            self.made[name] = self._make(name)
        return self.made[name]

    def _make(self, name: str) -> Any:
        if name in self.fixtures:
            function = self.fixtures[name].function
            arguments = self.of(function)
            if "self" in inspect.signature(function).parameters:
                arguments = {"self": self.instance, **arguments}
            made = function(**arguments)
            if not inspect.isgenerator(made):
                return made
            self.open.append(made)
            return next(made)
        if name == "tmp_path":
            folder = pathlib.Path("/tmp") / os.urandom(8).hex()
            folder.mkdir()
            return folder
        if name == "capsys":
            self.open.append(capsys := Capsys())
            return capsys
        raise Unsupported(
            f"there is no fixture {name!r}; known: {', '.join([*self.fixtures, 'tmp_path', 'capsys'])}"
        )

    def close(self) -> None:
        while self.open:
            opened = self.open.pop()
            if isinstance(opened, Capsys):
                opened.close()
            else:
                next(opened, None)
