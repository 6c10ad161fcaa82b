"""The tests' side: what stands for the solution's modules, classes, functions and objects in a test.

A plain value that the solution gives is a plain value here. Anything else is an `Object`, which asks the
solution for attributes, calls, items, iteration and texts, but never lets it see what a test compares it
with: ``==`` with a plain value is False without asking, ``==`` with another object holds only for the very
same one, and every other comparison, ``in`` and arithmetic with a plain value is `Refused`. Where such an
operator is itself what is tested, a test calls it by name: ``v.__mul__(3)``, ``a.__eq__(b)``.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import sys
import types

from aigym_kernel.judge.testing import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

PLAIN = (int, float, str, bytes, tuple, list, dict, set, frozenset)
# Looked up here, never at the solution.
HERE = {"__class__", "__dict__", "__reduce__", "__reduce_ex__", "__getstate__", "__deepcopy__", "__copy__"}
HERE |= {"__wrapped__", "__await__", "__array__", "__array_interface__", "__array_struct__", "_told"}
ENDINGS = (StopIteration, StopAsyncIteration, GeneratorExit)


class Refused(BaseException):
    """A test compared an object of the solution in a way that the solution would decide itself."""


class Link:
    """The line to the solution's process, and the objects of both sides that the other knows."""

    def __init__(self, descriptor: int) -> None:
        self.line = wire.Line(descriptor)
        self.asked = False  # whether the solution had a hand in anything so far
        self.ended = ""
        self.known: dict[int, Any] = {}
        self.lent: list[Any] = []
        self.raised: list[BaseException] = []
        self.places: dict[int, tuple[str, int]] = {}  # of the exceptions that came from the solution

    def encode(self, value: Any) -> Any:
        return wire.encode(value, self._lend)

    def _lend(self, value: Any, plain: Any) -> Any:
        told = value.__dict__.get("_told") if hasattr(value, "__dict__") else None
        if told is not None and "v" in told:
            return {"k": "mine", "v": told["v"]}
        if plain is not None:
            return plain
        if isinstance(value, BaseException):
            return self._error(value)
        if isinstance(value, type) and issubclass(value, BaseException):
            return {"k": "type", "v": _builtin(value)}
        if callable(value) or hasattr(value, "__next__"):
            self.lent.append(value)
            return {"k": "yours", "v": len(self.lent) - 1}
        raise TypeError(f"a {type(value).__name__} of the tests cannot be handed to the solution")

    def _error(self, error: BaseException) -> Any:
        self.raised.append(error)
        args: Any = []
        try:
            args = [wire.encode(a, _only_plain) for a in error.args]
        except wire.Unsendable:
            args = [str(error)]
        return {
            "k": "error",
            "v": len(self.raised) - 1,
            "class": _builtin(type(error)),
            "args": {"k": "l", "v": args},
        }

    def decode(self, data: Any) -> Any:
        return wire.decode(data, self._received)

    def _received(self, data: dict[str, Any]) -> Any:
        kind, number = data["k"], int(data["v"])
        if kind == "yours":
            return self.lent[number]
        if kind == "raised":
            return self.raised[number]
        if kind == "error":
            return self._exception(data)
        if kind != "handle":
            raise ValueError(kind)
        if "plain" in data:
            value = self.decode(data["plain"])
            made = _NAMED[type(value)](value)
            made.__dict__.update(_told={"v": number}, _link=self)
            return made
        if number not in self.known:
            if data["kind"] == "exception":
                self.known[number] = self._classes(data["classes"])
            else:
                self.known[number] = Object(self, {"v": number, "name": str(data["name"])[:80]})
        return self.known[number]

    def _classes(self, told: Sequence[Any]) -> type[BaseException]:
        """An exception class here for each of the solution's, below the first of Python's own."""
        made: Any = getattr(builtins, str(told[-1]))
        if not (isinstance(made, type) and issubclass(made, BaseException)):
            raise ValueError(told)
        for number, name in reversed(told[:-1]):
            if number not in self.known:
                body: dict[str, Any] = {
                    "__str__": _message,
                    "__getattr__": _of_error,
                    "_told": {"v": int(number)},
                }
                self.known[number] = type(str(name)[:80].replace("\0", "?"), (made,), body)
            made = self.known[number]
        kind: type[BaseException] = made
        return kind

    def _exception(self, data: dict[str, Any]) -> BaseException:
        kind = self._classes(data["classes"])
        args = [self.decode(a) for a in data["args"]]
        try:
            error = kind(*args)
        except Exception:
            error = RuntimeError(str(data["message"]))
        error.__dict__.update(_link=self, _told={"v": int(data["v"])}, _said=str(data["message"]))
        self.places[id(error)] = (str(data["file"])[:200], int(data["line"]))
        self.raised.append(error)
        return error

    def request(self, message: dict[str, Any]) -> Any:
        """Have the solution do something; its value, or the exception that it raised. What would end a loop
        of the test as if it had run to its end, ``all(map(f, cases))``, is another error but for ``next``."""
        if self.ended:
            raise wire.Ended(self.ended)
        self.asked = True
        try:
            self.line.send(message)
            while "callback" in (answer := self.line.receive()):
                self._print(answer)
                self.line.send(self._call_back(answer))
            self._print(answer)
            for number, data in dict(answer.get("changed", {})).items():
                _change(message["_args"][int(number)], self.decode(data))
            if "error" in answer:
                raised = self.decode(answer["error"])
                if not isinstance(raised, BaseException):
                    raise wire.Ended("it sent what cannot be read")
            else:
                return self.decode(answer["value"])
        except wire.Ended as end:
            self.ended = str(end)
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            self.ended = f"it sent what cannot be read ({type(error).__name__})"
            raise wire.Ended(self.ended) from None
        if isinstance(raised, ENDINGS) and message["do"] != "next":
            place = self.places.get(id(raised), ("", 0))
            raised = RuntimeError(f"the solution raised {type(raised).__name__}")
            self.places[id(raised)] = place
        raise raised

    def _print(self, answer: dict[str, Any]) -> None:
        sys.stdout.write(str(answer.get("stdout", "")))
        sys.stderr.write(str(answer.get("stderr", "")))

    def _call_back(self, asked: dict[str, Any]) -> dict[str, Any]:
        lent = self.lent[int(asked["callback"])]
        args = [self.decode(a) for a in asked["args"]]
        kwargs = {str(k): self.decode(v) for k, v in asked["kwargs"].items()}
        try:
            value = next(lent) if asked.get("next") else lent(*args, **kwargs)
            return {"value": self.encode(value)}
        except wire.Ended:
            raise
        except BaseException as error:
            return {"error": self._error(error)}

    def ask(self, what: str, *args: Any) -> Any:
        """Do one of `server.ASKED`."""
        return self.request({"do": what, "args": [self.encode(a) for a in args]})

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        message = {
            "do": "call",
            "of": number,
            "args": [self.encode(a) for a in args],
            "kwargs": {k: self.encode(v) for k, v in kwargs.items()},
        }
        return self.request(_Call(message, args))


class _Call(dict):  # type: ignore[type-arg]
    """A request that remembers the arguments themselves, for what the call changes in them."""

    def __init__(self, message: dict[str, Any], args: tuple[Any, ...]) -> None:
        super().__init__(message)
        self._args = args

    def __missing__(self, key: str) -> Any:
        return self._args if key == "_args" else None


def _only_plain(value: Any, plain: Any) -> Any:
    if plain is not None:
        return plain
    raise wire.Unsendable(type(value).__name__)


def _builtin(kind: type) -> str:
    names = [str(base.__name__) for base in kind.__mro__ if getattr(builtins, base.__name__, None) is base]
    return names[0]


def _change(ours: Any, theirs: Any) -> None:
    """Make a list, dict, set or bytearray of a test what the call made of it."""
    if isinstance(ours, list | bytearray):
        ours[:] = theirs
    elif isinstance(ours, dict | set):
        ours.clear()
        ours.update(theirs)


def _message(self: Any) -> str:
    return str(self.__dict__.get("_said") or BaseException.__str__(self))


def _of_error(self: Any, name: str) -> Any:
    told = self.__dict__.get("_told")
    if told is None or (name.startswith("__") and name.endswith("__")):
        raise AttributeError(name)
    link = self.__dict__["_link"]
    return link.request({"do": "getattr", "args": [{"k": "mine", "v": told["v"]}, name]})


_NAMED = {base: type(f"Named{base.__name__}", (base,), {"__getattr__": _of_error}) for base in PLAIN}


class Object:
    """Something of the solution's that is not plain data."""

    def __init__(self, link: Link, told: dict[str, Any]) -> None:
        object.__getattribute__(self, "__dict__").update(_link=link, _told=told)

    def __getattribute__(self, name: str) -> Any:
        if name in HERE:
            return object.__getattribute__(self, name)
        return _ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        _ask("delattr", self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        held = object.__getattribute__(self, "__dict__")
        return held["_link"].call(held["_told"]["v"], args, kwargs)

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if type(other) is Object:
            raise Refused("== of two objects of the solution; compare plain values, or call a.__eq__(b)")
        return False

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "_told")["v"])

    def __instancecheck__(self, value: object) -> bool:
        return type(value) is not type and _is_ours(value) and _ask("isinstance", value, self) is True

    def __subclasscheck__(self, value: object) -> bool:
        return _is_ours(value) and _ask("issubclass", value, self) is True

    def __dir__(self) -> Any:
        return _ask("dir", self)

    def __enter__(self) -> Any:
        return _ask("getattr", self, "__enter__")()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return _ask("getattr", self, "__exit__")(kind, error, None)


def _is_ours(value: Any) -> bool:
    return type(value) is Object or hasattr(type(value), "_told") or type(value) in _NAMED.values()


def _ask(what: str, self: Any, *args: Any) -> Any:
    return object.__getattribute__(self, "__dict__")["_link"].ask(what, self, *args)


def _asking(what: str, kind: type | None = None) -> Callable[..., Any]:
    def asked(self: Any, *args: Any) -> Any:
        value = _ask(what, self, *args)
        if kind is not None and not isinstance(value, kind):
            raise TypeError(f"{what} of an object of the solution gave {type(value).__name__}")
        return value

    return asked


def _refusing(sign: str, name: str) -> Callable[..., Any]:
    def refused(self: Any, other: Any) -> Any:  # noqa: ARG001
        raise Refused(
            f"{sign} with an object of the solution would let it see the other side; "
            f"compare plain values, or call it by name: a.{name}(b)"
        )

    return refused


def _between(what: str, sign: str, name: str) -> Callable[..., Any]:
    refused = _refusing(sign, name)

    def operate(self: Any, other: Any) -> Any:
        return _ask(what, self, other) if type(other) is Object else refused(self, other)

    return operate


for _what in ["iter", "next", "len", "getitem", "setitem", "delitem", "abs", "neg", "pos", "invert"]:
    setattr(Object, f"__{_what}__", _asking(_what))
for _kind in (str, bool, int, float):
    setattr(Object, f"__{_kind.__name__}__", _asking(_kind.__name__, _kind))
for _what, _kind in (("repr", str), ("format", str), ("index", int)):
    setattr(Object, f"__{_what}__", _asking(_what, _kind))
for _name, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("contains", "in")):
    setattr(Object, f"__{_name}__", _refusing(_sign, f"__{_name}__"))
_ARITHMETIC = (
    *(("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("floordiv", "//"), ("mod", "%")),
    *(("pow", "**"), ("matmul", "@"), ("and", "&"), ("or", "|"), ("xor", "^")),
)
for _name, _sign in _ARITHMETIC:
    _what = f"{_name}_" if _name in ("and", "or") else _name
    setattr(Object, f"__{_name}__", _between(_what, _sign, f"__{_name}__"))
    setattr(Object, f"__r{_name}__", _refusing(_sign, f"__r{_name}__"))


class Module(types.ModuleType):
    """A module of the solution."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)
        if name == "__all__" and name not in dir(self):  # for ``from it import *``
            return [public for public in dir(self) if not public.startswith("_")]
        return _ask("getattr", self.__dict__["_of"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or "_of" not in self.__dict__:
            super().__setattr__(name, value)
        elif not isinstance(value, Module):  # the import system puts sub-modules here too
            _ask("setattr", self.__dict__["_of"], name, value)

    def __delattr__(self, name: str) -> None:
        _ask("delattr", self.__dict__["_of"], name)

    def __dir__(self) -> Any:
        return _ask("dir", self.__dict__["_of"])


class Finder:
    """Finds the solution's modules, by the names of its files."""

    def __init__(self, link: Link, names: Sequence[str]) -> None:
        self.link, self.names = link, frozenset(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        if name.partition(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> Module:
        module = Module(spec.name)
        found = self.link.request({"do": "import", "name": spec.name})
        if type(found) is not Object:
            raise wire.Ended("it sent what cannot be read")
        module.__dict__["_of"] = found
        return module

    def exec_module(self, module: Any) -> None:
        if "__path__" not in dir(module.__dict__["_of"]):
            del module.__dict__["__path__"]  # or ``from it import a_name`` would look for a sub-module
