"""The part of the judge that runs in the box: calls a function of the solution, once per case.

Started as ``python3 -I -c <this file>`` with a job on stdin (JSON: file, function, seconds, limit,
cases) and answers with one JSON line per case on its standard output, in order:

    {"value": ...}                                        what the call returned, encoded
    {"error": name, "names": [...], "message", "where"}   what it raised
    {"unsendable": reason}                                it returned something that is not plain data
    {"ended": reason}                                     its process ended without an answer
    {"timeout": true}                                     no answer in time; no further case is run
    {"load": reason, "where": ...}                        the file cannot be loaded; no further case is run

Each case runs in a process of its own, forked from this one, whose standard streams are /dev/null and
whose answer comes through a pipe: nothing that a solution prints, patches or exits can be taken for
another case's answer. Neither this process nor the job ever holds an expected value, so there is
nothing to forge an answer from. Standard library only; imports nothing of the solution itself.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

HOME = Path("/work")
DEPTH = 64
INT_BITS = 10_000


class Unsendable(Exception):
    """The value is not plain data, or too large."""


class LoadFailed(Exception):
    """The solution's file does not load, or lacks the function."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.where = where


def encode(value: Any, depth: int = 0) -> object:
    """``value`` as JSON data: tuples become lists, a dict ``{"dict": [[key, value], ...]}``.

    Subclasses are read through their base type's own methods, so that a value cannot lie about itself.
    """
    kind = type(value)
    if depth > DEPTH:
        raise Unsendable(f"it is nested more than {DEPTH} deep, or refers to itself")
    if value is None or kind is bool or kind is float or kind is str:
        return value
    if issubclass(kind, int):
        number = int.__int__(value)
        if number.bit_length() > INT_BITS:
            raise Unsendable(f"it holds an int of {number.bit_length()} bits")
        return number
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, list):
        return [encode(v, depth + 1) for v in list.__iter__(value)]
    if issubclass(kind, tuple):
        return [encode(v, depth + 1) for v in tuple.__iter__(value)]
    if issubclass(kind, dict):
        return {"dict": [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in dict.items(value)]}
    raise Unsendable(f"{kind.__name__!r} is not plain data (None, bool, int, float, str, list, tuple, dict)")


def decode(data: Any) -> Any:
    """The value that `encode` was given, tuples as lists (as tuples where they are keys)."""
    if isinstance(data, list):
        return [decode(v) for v in data]
    if isinstance(data, dict):
        return {_key(decode(k)): decode(v) for k, v in data["dict"]}
    return data


def _key(value: object) -> object:
    return tuple(map(_key, value)) if isinstance(value, list) else value


def load(path: str, name: str) -> Any:
    """The object ``name`` of the solution's file, loaded as a module that is not ``__main__``."""
    sys.path.insert(0, str(HOME))
    module = types.ModuleType(Path(path).stem)
    module.__file__ = str(HOME / path)
    sys.modules[module.__name__] = module
    try:
        exec(compile((HOME / path).read_bytes(), module.__file__, "exec"), module.__dict__)
    except BaseException as error:
        if isinstance(error, SyntaxError) and error.filename == module.__file__:
            where = f"line {error.lineno}: {(error.text or '').strip()}"
            raise LoadFailed(f"SyntaxError: {error.msg}", where) from None
        told = described(error)
        raise LoadFailed(f"{told['error']}: {told['message']}", str(told["where"])) from None
    found = module.__dict__.get(name)
    if not callable(found):
        raise LoadFailed(f"it defines no function or class {name!r}")
    return found


def answer(job: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Load the solution and make one case's call or calls."""
    try:
        function = load(job["file"], job["function"])
        result = function(*decode(case["args"]))
        if case["calls"] is not None:
            result = [getattr(result, name)(*args) for name, *args in decode(case["calls"])]
    except LoadFailed as error:
        return {"load": str(error), "where": error.where}
    except BaseException as error:
        return described(error)
    try:
        return {"value": encode(result)}
    except Unsendable as error:
        return {"unsendable": str(error)}
    except BaseException as error:
        return {"unsendable": f"reading it raised {type(error).__name__}"}


def described(error: BaseException) -> dict[str, Any]:
    """An exception as data, with the innermost line of the solution's own code."""
    try:
        message = str.__str__(str(error))[:300]
    except BaseException:
        message = ""
    names = [c.__name__ for c in type(error).__mro__]
    return {"error": names[0], "names": names, "message": message, "where": place(error)}


def place(error: BaseException) -> str:
    """The innermost line of code below /work that ``error`` went through, or nothing."""
    trace, last = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(f"{HOME}/"):
            last = trace
        trace = trace.tb_next
    if last is None:
        return ""
    where = f"line {last.tb_lineno}"
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path(last.tb_frame.f_code.co_filename).read_text(encoding="utf-8").splitlines()
        where += f": {lines[last.tb_lineno - 1].strip()[:120]}"
    return where


def in_child(job: dict[str, Any], case: dict[str, Any], pipe: int) -> None:
    """One case, in the forked process. Does not return."""
    dumps, write, leave = json.dumps, os.write, os._exit
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        told = answer(job, case)
        try:
            line = dumps(told).encode("ascii")
        except BaseException as error:
            line = dumps({"unsendable": f"reading it raised {type(error).__name__}"}).encode("ascii")
        if len(line) > job["limit"]:
            line = dumps({"unsendable": f"it takes {len(line):,} bytes, more than {job['limit']:,}"}).encode()
        line += b"\n"
        while line:
            line = line[write(pipe, line) :]
    finally:
        leave(0)


def run_case(job: dict[str, Any], case: dict[str, Any]) -> bytes:
    """Fork, wait for the answer until the time is up, end the process and all of its group."""
    reading, writing = os.pipe()
    deadline = time.monotonic() + job["seconds"]
    child = os.fork()
    if child == 0:
        os.close(reading)
        in_child(job, case, writing)
    os.close(writing)
    got, late = b"", False
    while b"\n" not in got and len(got) <= job["limit"]:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            late = True
            break
        part = os.read(reading, 65536)
        if not part:
            break
        got += part
    os.close(reading)
    status = end(child, wait=bool(got) or late)
    if b"\n" in got:
        return got[: got.index(b"\n") + 1]
    if late:
        return b'{"timeout": true}\n'
    if got:
        return b'{"ended": "wrote to the judge\'s pipe"}\n'
    code = os.waitstatus_to_exitcode(status)
    reason = f"exit code {code}" if code >= 0 else f"signal {-code}"
    return json.dumps({"ended": reason}).encode() + b"\n"


def end(child: int, wait: bool) -> int:
    """Kill the child's group unless it ends by itself; its wait status."""
    deadline = time.monotonic() + 0.5
    while not wait:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        wait = time.monotonic() > deadline
        time.sleep(0.002)
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main() -> None:
    job = json.load(sys.stdin)
    for case in job["cases"]:
        line = run_case(job, case)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        if line.startswith((b'{"timeout"', b'{"load"')):
            break


if __name__ == "__main__":
    main()
