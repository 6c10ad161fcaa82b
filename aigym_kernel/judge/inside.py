"""The part of the judge that runs in the box: calls a function of the solution for one case.

Started as ``python3 -I -c <this file>`` with a job on stdin, a dict in hexadecimal of `marshal`: file,
function, limit, args (None: only load the file), calls. Answers with one JSON line:

    {"value": ...}                                          what the call returned, encoded
    {"error": name, "names": [...], "message", "file", "line", "loading"}    what it raised, and when
    {"unsendable": reason}                                  it returned something that is not plain data

A solution may write that line itself, to no more effect than returning the value: this process knows one
case's input and nothing of what is expected. Its standard streams are /dev/null while the solution runs.
Imports nothing that takes time, since it is started for every case, and nothing of the solution.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False  # the name is what type checkers look for; importing typing takes 4 ms per case
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Further = Callable[[Any, int], str]

HOME = "/work/"
DEPTH = 64
INT_BITS = 10_000


class Unsendable(Exception):
    """The value is not plain data, or too large."""


class LoadFailed(Exception):
    """The solution's file lacks the function."""


def encode(value: Any, depth: int = 0, further: Further | None = None) -> str:
    """``value`` as JSON: a tuple as a list, a dict as ``{"dict": [[key, value], ...]}``. What is neither a
    number nor text is first shown to ``further``, whose text counts unless it is empty.

    Subclasses are read through their base type's own methods, so that a value cannot lie about itself.
    """
    kind = type(value)
    if depth > DEPTH:
        raise Unsendable(f"it is nested more than {DEPTH} deep, or refers to itself")
    if value is None or kind is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if issubclass(kind, int):
        number = int.__int__(value)
        if number.bit_length() > INT_BITS:
            raise Unsendable(f"it holds an int of {number.bit_length()} bits")
        return int.__repr__(number)
    if issubclass(kind, float):
        text = float.__repr__(value)
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(text, text)
    if issubclass(kind, str):
        text = str.__str__(value)
        plain = text.isprintable() and '"' not in text and "\\" not in text
        return f'"{text}"' if plain else '"' + "".join(map(_character, text)) + '"'
    if further is not None and (text := further(value, depth)):
        return text
    if issubclass(kind, list):
        return array(list.__iter__(value), depth, further)
    if issubclass(kind, tuple):
        return array(tuple.__iter__(value), depth, further)
    if issubclass(kind, dict):
        pairs = [array(pair, depth, further) for pair in dict.items(value)]
        return '{"dict":[' + ",".join(pairs) + "]}"
    raise Unsendable(f"{kind.__name__!r} is not plain data (None, bool, int, float, str, list, tuple, dict)")


def array(items: Any, depth: int, further: Further | None) -> str:
    """The items of a value at ``depth``, encoded."""
    return "[" + ",".join([encode(v, depth + 1, further) for v in items]) + "]"


def _character(c: str) -> str:
    plain = c.isprintable() and c not in '"\\'
    return c if plain or c > "\uffff" else f"\\u{ord(c):04x}"


def load(path: str, name: str) -> Any:
    """The object ``name`` of the solution's file, loaded as a module that is not ``__main__``."""
    sys.path.insert(0, HOME)
    module = type(sys)(path.rpartition("/")[2].removesuffix(".py"))
    module.__file__ = HOME + path
    sys.modules[module.__name__] = module
    with open(module.__file__, "rb") as file:  # noqa: PTH123  (pathlib takes long to import)
        source = file.read()
    exec(compile(source, module.__file__, "exec", dont_inherit=True), module.__dict__)
    found = module.__dict__.get(name)
    if not callable(found):
        raise LoadFailed(f"it defines no function or class {name!r}")
    return found


def answer(job: dict[str, Any]) -> str:
    """Load the solution and make the case's call or calls."""
    loading = True
    try:
        function = load(job["file"], job["function"])
        loading = False
        if job["args"] is None:
            return encode_object({"value": None})
        result = function(*job["args"])
        if job["calls"] is not None:
            result = [getattr(result, name)(*args) for name, *args in job["calls"]]
    except BaseException as error:
        return encode_object({**described(error), "loading": loading})
    try:
        line = encode_object({"value": result})
    except Unsendable as error:
        return encode_object({"unsendable": str(error)})
    except BaseException as error:
        return encode_object({"unsendable": f"reading it raised {type(error).__name__}"})
    if len(line) > job["limit"]:
        return encode_object({"unsendable": f"it takes {len(line):,} bytes, more than {job['limit']:,}"})
    return line


def encode_object(fields: dict[str, Any]) -> str:
    """One JSON object with encoded values."""
    return "{" + ",".join(f'"{name}":{encode(value)}' for name, value in fields.items()) + "}"


def described(error: BaseException) -> dict[str, Any]:
    """An exception as data, with the innermost place below /work that it went through."""
    try:
        message = str.__str__(str(error))[:300]
    except BaseException:
        message = ""
    file, line, trace = "", 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(HOME):
            file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and str(error.filename).startswith(HOME):
        message, file, line = str(error.msg)[:300], str(error.filename), error.lineno or 0
    names = [c.__name__ for c in type(error).__mro__]
    return {"error": names[0], "names": names, "message": message, "file": file[len(HOME) :], "line": line}


def main() -> None:
    job = marshal.loads(bytes.fromhex(sys.stdin.read()))
    write, leave, out = os.write, os._exit, os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    try:
        line = answer(job).encode() + b"\n"
        while line:
            line = line[write(out, line) :]
    finally:
        leave(0)


if __name__ == "__main__":
    main()
