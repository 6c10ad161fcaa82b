"""The part of the ``asserts`` check that runs in the box: hidden tests in one process, the solution in
another.

On stdin comes a job, a dict of `marshal`: file, function, limit, prelude, tests. `main` forks before it
reads a byte of that, and lets nobody look into it afterwards (``PR_SET_DUMPABLE``). The fork becomes the
solution's process: it loads the file and answers calls over two pipes, its only descriptors. What remains
runs the tests, to which the solution is a function like any other, `Solution`. It prints one JSON line, and
the solution has no way to its output:

    {"passed": true, "calls": n}
    {"wrong": true, "calls": n}                     a test failed after that many calls
    {"error": name, "names": [...], ..., "calls"}   the solution raised it, and no test caught it
    {"error": ..., "loading": true}, {"ended": true, "calls"}, {"unsendable": reason, "calls"}
    {"tests": reason}                               the tests themselves are broken

Arguments and results are plain data: None, bool, int, float, complex, str, bytes, list, tuple, dict, set, and
built-in iterators as results. A list, dict or set that the solution changes in place, or returns, is changed,
or is the same object, for the tests too. Exceptions arrive by name.
"""

from __future__ import annotations

import builtins
import ctypes
import json
import marshal
import os
import signal
import sys

from aigym_kernel.judge.inside import DEPTH, Unsendable, array, described, encode, encode_object, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, NoReturn

MOST_ITERATED = 100_000
_HEAD = 8  # hexadecimal digits of a frame's length
# Raised in a test, these would end a loop as if it had run to its end.
_ENDINGS = ("StopIteration", "StopAsyncIteration", "GeneratorExit")
_PLAIN = {type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset}


def send(to: int, data: bytes) -> None:
    """One frame."""
    data = b"%08x" % len(data) + data
    while data:
        data = data[os.write(to, data) :]


def receive(source: int, most: int) -> bytes:
    """The next frame. Raises EOFError when the other side is gone, ValueError on what is no frame."""
    size = int(_exactly(source, _HEAD), 16)
    if not 0 <= size <= most:
        raise ValueError(f"a frame of {size} bytes")
    return _exactly(source, size)


def _exactly(source: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.read(source, size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def shared(values: Iterable[Any]) -> list[Any]:
    """The lists, dicts and sets in ``values``, in an order that is the same on both sides. Raises TypeError
    where one is no plain data, which `marshal` would alter or refuse."""
    found: dict[int, Any] = {}

    def look(value: Any, depth: int) -> None:
        kind = type(value)
        if kind not in _PLAIN:
            raise TypeError(f"an argument of type {kind.__name__!r} cannot be passed; use plain data")
        if kind in (list, dict, set):
            if id(value) in found:
                return
            found[id(value)] = value
        if depth < DEPTH and kind in (list, tuple, dict):
            for inner in value.values() if kind is dict else value:
                look(inner, depth + 1)

    for value in values:
        look(value, 0)
    return list(found.values())


# The solution's side


def serve(calls: int, replies: int) -> NoReturn:
    """Load the solution and answer calls until the other side is gone. Holds these two descriptors only."""
    leave = os._exit
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        low, high = sorted((calls, replies))
        for first, behind in ((3, low), (low + 1, high), (high + 1, 65536)):
            os.closerange(first, behind)
        job = marshal.loads(receive(calls, 1 << 30))
        try:
            function = load(job["file"], job["function"])
        except BaseException as error:
            send(replies, encode_object({**described(error), "loading": True}).encode())
            leave(0)
        send(replies, b"{}")
        while True:
            args, named = marshal.loads(receive(calls, 1 << 30))
            answer = reply(function, args, named).encode()
            if len(answer) > job["limit"]:
                told = f"it takes {len(answer):,} bytes, more than {job['limit']:,}"
                answer = encode_object({"unsendable": told}).encode()
            send(replies, answer)
    finally:
        leave(0)


def reply(function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> str:
    """Make the call: what it returned or raised, and which of the arguments it has changed."""
    objects = shared([*args, *named.values()])
    before = [_members(o) for o in objects]
    known = {id(o): number for number, o in enumerate(objects)}

    def further(value: Any, depth: int) -> str:
        if id(value) in known:
            return f'{{"ref":{known[id(value)]}}}'
        return _further(value, depth, further)

    try:
        answer = '"value":' + encode(function(*args, **named), 0, further)
    except Unsendable as error:
        return encode_object({"unsendable": str(error)})
    except BaseException as error:
        answer = encode_object(described(error))[1:-1] + ',"args":' + _arguments(error)
    try:
        changed = [
            f"[{number},{array(_members(o), 0, further)}]"
            for number, (o, was) in enumerate(zip(objects, before))
            if len(now := _members(o)) != len(was) or any(a is not b for a, b in zip(now, was))
        ]
    except Unsendable as error:
        return encode_object({"unsendable": f"in an argument, {error}"})
    return f'{{{answer},"changed":[{",".join(changed)}]}}'


def _members(value: Any) -> list[Any]:
    """What a list, set or dict holds; of a dict keys and values in turn."""
    return [part for pair in value.items() for part in pair] if isinstance(value, dict) else list(value)


def _further(value: Any, depth: int, further: Any) -> str:
    """A value of a kind that JSON's own cannot be told from; nothing for the others."""
    kind = type(value)
    for base in (tuple, set, frozenset):
        if issubclass(kind, base):
            return f'{{"{base.__name__}":{array(base.__iter__(value), depth, further)}}}'
    for raw in (bytes, bytearray):
        if issubclass(kind, raw):
            return f'{{"{raw.__name__}":"{raw.hex(value)}"}}'
    if issubclass(kind, complex):
        return f'{{"complex":{array((value.real, value.imag), depth, further)}}}'
    if kind.__module__ == "builtins" and hasattr(kind, "__next__"):
        items = [item for _, item in zip(range(MOST_ITERATED + 1), value)]
        if len(items) > MOST_ITERATED:
            raise Unsendable(f"it is an iterator of more than {MOST_ITERATED:,} values")
        return f'{{"iterator":{array(items, depth, further)}}}'
    return ""


def _arguments(error: BaseException) -> str:
    try:
        return encode(list(error.args))
    except BaseException:
        return "[]"


# The tests' side


class Solution:
    """The function in the other process, called like one in this. ``calls`` counts, ``raised`` is the last
    exception that came back, ``reply`` the last answer. A process that ends, or whose answer is none, ends
    the tests here and now: no test can take that for an exception."""

    def __init__(self, calls: int, replies: int, limit: int, report: Any) -> None:
        self.calls = 0
        self.names: Mapping[str, Any] = {}  # where exceptions of the tests' own making are found
        self.raised: BaseException | None = None
        self.reply: dict[str, Any] = {}
        self._pipes, self._limit, self._report = (calls, replies), limit, report

    def load(self, job: dict[str, Any]) -> None:
        """Have the solution loaded, or report why it cannot be."""
        self._ask({name: job[name] for name in ("file", "function", "limit")})
        if "error" in self.reply:
            self._report({**self.told(), "loading": True})

    def told(self) -> dict[str, Any]:
        """Of the last answer, which may hold anything, what says where an exception was raised."""
        empty: dict[str, Any] = {"error": "", "message": "", "file": "", "line": 0, "names": []}
        given = {key: self.reply.get(key) for key in empty}
        return {key: value if type(value) is type(empty[key]) else empty[key] for key, value in given.items()}

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        try:
            objects = shared([*args, *named.values()])
            self._ask((args, named))
        except (TypeError, ValueError) as error:  # not plain, or nested too deep for marshal
            self._report({"tests": str(error)})
        try:
            for number, members in self.reply.get("changed", ()):
                _change(objects[number], [decode(m, objects) for m in members])
            if "value" in self.reply:
                return decode(self.reply["value"], objects)
            if "error" in self.reply:
                self.raised = self._exception()
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            self._report({"ended": True})
        if self.raised is not None:
            raise self.raised
        return self._report({"unsendable": str(self.reply.get("unsendable"))})

    def _ask(self, message: Any) -> None:
        self.raised, data = None, marshal.dumps(message)
        try:
            send(self._pipes[0], data)
            found = json.loads(receive(self._pipes[1], self._limit))
            self.reply = found if isinstance(found, dict) else {}
        except (EOFError, OSError, ValueError, RecursionError):
            self._report({"ended": True})

    def _exception(self) -> BaseException:
        """What came back by name: of the tests' own classes or Python's, the nearest in the hierarchy."""
        names = [n for n in self.reply["names"] if isinstance(n, str)]
        args = [decode(a, []) for a in self.reply["args"]]
        for name in names:
            kind = self.names.get(name, getattr(builtins, name, None))
            if not isinstance(kind, type) or not issubclass(kind, BaseException) or name in _ENDINGS:
                continue
            try:
                return kind(*args)
            except BaseException:
                return kind.__new__(kind)
        return RuntimeError(*args)


def decode(data: Any, objects: list[Any]) -> Any:
    """The value that was encoded. Raises ValueError, TypeError or LookupError where it is none."""
    if isinstance(data, list):
        return [decode(v, objects) for v in data]
    if not isinstance(data, dict):
        return data
    [(kind, content)] = data.items()
    if kind == "ref":
        return objects[content]
    if kind == "dict":
        return {decode(k, objects): decode(v, objects) for k, v in content}
    if kind in ("bytes", "bytearray"):
        return (bytes if kind == "bytes" else bytearray).fromhex(content)
    if kind == "complex":
        return complex(*content)
    making: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "iterator": iter}
    return making[kind]([decode(v, objects) for v in content])


def _change(value: Any, members: list[Any]) -> None:
    """Give a list, dict or set other members."""
    if isinstance(value, list):
        value[:] = members
        return
    value.clear()
    value.update(zip(members[::2], members[1::2]) if isinstance(value, dict) else members)


def run_tests(job: dict[str, Any], solution: Solution) -> dict[str, Any]:
    """Run the tests in a namespace of their own, over the prelude's definitions: the report."""
    space: dict[str, Any] = {"__name__": "tests"}
    solution.names = space
    try:
        for name in ("prelude", "tests"):
            exec(compile(job[name], name, "exec", dont_inherit=True), space)
            if name == "prelude":
                space[job["function"]] = solution
        if callable(check := space.get("check")) and check is not solution:
            check(solution)
    except BaseException as error:
        if error is solution.raised:
            return solution.told()
        if not solution.calls:
            return {"tests": f"{type(error).__name__}: {error}"[:300]}
        return {"wrong": True}
    return {"passed": True} if solution.calls else {"tests": f"they never call {job['function']}"}


def main() -> NoReturn:
    """Become the two processes."""
    calls, replies = os.pipe(), os.pipe()
    if os.fork() == 0:
        serve(calls[0], replies[1])
    os.close(calls[0])
    os.close(replies[1])
    if ctypes.CDLL(None).prctl(4, 0, 0, 0, 0):
        raise OSError("this process cannot be hidden from the solution's")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which Python would raise amid the tests
    job = marshal.loads(sys.stdin.buffer.read())
    out, null = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)

    def report(fields: dict[str, Any]) -> NoReturn:
        line = json.dumps({**fields, "calls": solution.calls}).encode() + b"\n"
        while line:
            line = line[os.write(out, line) :]
        os._exit(0)

    solution = Solution(calls[1], replies[0], job["limit"], report)
    solution.load(job)
    report(run_tests(job, solution))
