"""The solution's side: imports its modules, keeps its objects, and does with them what the tests ask.

It runs in a process of its own, forked before a single test was read. All that it can tell the tests is
plain values and handles; whatever the solution does to this process it does to itself.
"""

from __future__ import annotations

import builtins
import importlib
import io
import operator
import os
import sys

from aigym_kernel.judge.testing import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOME = "/work"
PRINTED = 65_536
# What a test may ask of an object by syntax; `proxies` says which of these it may.
ASKED = {
    "iter": iter, "next": next, "len": len, "str": str, "repr": repr, "bool": bool, "int": int,
    "float": float, "format": format, "abs": abs, "neg": operator.neg, "pos": operator.pos,
    "invert": operator.invert, "getitem": operator.getitem, "setitem": operator.setitem,
    "delitem": operator.delitem, "isinstance": isinstance, "issubclass": issubclass, "dir": dir,
    "getattr": getattr, "setattr": setattr, "delattr": delattr, "index": operator.index,
    **{name: getattr(operator, name) for name in
       ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor")},
}  # fmt: skip


class Theirs:
    """An object of the tests: a callable or an iterator. Calling it asks the tests."""

    def __init__(self, server: Server, handle: int) -> None:
        self._server, self._handle = server, handle

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._server.ask({"callback": self._handle, "args": args, "kwargs": kwargs})

    def __iter__(self) -> Theirs:
        return self

    def __next__(self) -> Any:
        return self._server.ask({"callback": self._handle, "args": (), "kwargs": {}, "next": True})


class Server:
    """Answers requests until the tests hang up."""

    def __init__(self, descriptor: int) -> None:
        self.line = wire.Line(descriptor)
        self.objects: dict[int, Any] = {}
        self.handles: dict[int, int] = {}
        self.theirs: dict[int, Theirs] = {}

    def encode(self, value: Any) -> Any:
        return wire.encode(value, self._handle)

    def _handle(self, value: Any, plain: Any) -> Any:
        if isinstance(value, Theirs):
            return {"k": "yours", "v": value._handle}
        handle = self.handles.setdefault(id(value), len(self.handles))
        self.objects[handle] = value
        kind = "object"
        if isinstance(value, type):
            kind = "exception" if issubclass(value, BaseException) else "class"
        elif isinstance(value, BaseException):
            return self.described(value)
        told: dict[str, Any] = {"k": "handle", "v": handle, "kind": kind, "name": type(value).__name__}
        if kind == "exception":
            told["classes"] = self._classes(value)
        return told if plain is None else {**told, "plain": plain}

    def _classes(self, kind: type) -> list[Any]:
        """Handle and name of each class down to the first of Python's own, which goes by name."""
        told: list[Any] = []
        for base in kind.__mro__:
            if getattr(builtins, base.__name__, None) is base:
                return [*told, base.__name__]
            if isinstance(base, type) and issubclass(base, BaseException):
                handle = self.handles.setdefault(id(base), len(self.handles))
                self.objects[handle] = base
                told.append([handle, base.__name__])
        return [*told, "Exception"]

    def described(self, error: BaseException) -> Any:
        """An exception as data, with the innermost place of the solution that it went through."""
        if (yours := getattr(error, "_of_the_tests", None)) is not None:
            return {"k": "raised", "v": yours}
        file, line, trace = "", 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(HOME):
                file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
            trace = trace.tb_next
        if isinstance(error, SyntaxError) and str(error.filename).startswith(HOME):
            file, line = str(error.filename), error.lineno or 0
        try:
            message = str.__str__(str(error))[:2000]
            args = [wire.encode(a, self._unsendable) for a in error.args]
        except BaseException:
            message, args = "", []
        handle = self.handles.setdefault(id(error), len(self.handles))
        self.objects[handle] = error
        told = {"k": "error", "v": handle, "classes": self._classes(type(error)), "message": message}
        return {**told, "args": args, "file": file.removeprefix(HOME + "/"), "line": line}

    @staticmethod
    def _unsendable(value: Any, plain: Any) -> Any:
        if plain is not None:
            return plain
        raise wire.Unsendable(type(value).__name__)

    def decode(self, data: Any) -> Any:
        return wire.decode(data, self._found)

    def _found(self, data: dict[str, Any]) -> Any:
        if data["k"] == "mine":
            return self.objects[data["v"]]
        if data["k"] == "error":  # one of the tests' own, on its way through the solution
            kind = getattr(builtins, data["class"])
            error = kind(*self.decode(data["args"]))
            error._of_the_tests = data["v"]
            return error
        return self.theirs.setdefault(data["v"], Theirs(self, data["v"]))

    def ask(self, request: dict[str, Any]) -> Any:
        """Have the tests call one of their own objects."""
        args = [self.encode(a) for a in request["args"]]
        kwargs = {k: self.encode(v) for k, v in request["kwargs"].items()}
        self.line.send({**request, "args": args, "kwargs": kwargs, **self.printed()})
        answer = self.serve()
        if "error" in answer:
            raise self.decode(answer["error"])
        return self.decode(answer["value"])

    def printed(self) -> dict[str, str]:
        """What was printed since the last time."""
        told = {}
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name, None)
            if isinstance(stream, io.StringIO) and stream.tell():
                told[name] = str.__str__(stream.getvalue())[:PRINTED]
                stream.seek(0)
                stream.truncate()
        return told

    def serve(self) -> dict[str, Any]:
        """Answer requests, until one is the answer to a question asked from here."""
        while True:
            request = self.line.receive()
            if "do" not in request:
                return request
            try:
                answer = self.carry_out(request)
            except BaseException as error:
                answer = {"error": self.described(error)}
            self.line.send({**answer, **self.printed()})

    def carry_out(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request["do"]
        if do == "import":
            return {"value": self.encode(importlib.import_module(request["name"]))}
        args = [self.decode(a) for a in request["args"]]
        kwargs = {k: self.decode(v) for k, v in request.get("kwargs", {}).items()}
        before = [changeable(a) and self.encode(a) for a in args]
        value = self.objects[request["of"]](*args, **kwargs) if do == "call" else ASKED[do](*args)
        answer = {"value": self.encode(value)}
        if changed := {i: self.encode(a) for i, a in enumerate(args) if changeable(a)}:
            answer["changed"] = {i: data for i, data in changed.items() if data != before[i]}
        return answer


def changeable(value: Any) -> bool:
    """Whether a call may change it in place, as the caller would see."""
    return type(value) in (list, dict, set, bytearray)


def main(descriptor: int) -> None:
    """Never returns."""
    import ctypes

    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: a program may look at itself
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 4096)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    sys.path.insert(0, HOME)
    sys.argv = [""]
    try:
        Server(descriptor).serve()
    finally:
        os._exit(0)
