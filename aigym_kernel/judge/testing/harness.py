"""Runs hidden tests against a solution that lives in another process; the process that reports.

It makes itself undumpable, forks the solution's process (`server`), and only then reads the tests from
stdin: a JSON object with ``tests`` (source by file name), ``answer`` and ``modules`` (names of the solution's
modules), ``skip`` (names of tests that have run). On its standard output, which no other process holds, it
prints one JSON line each for

    {"collected": [name, ...]}                    once, first
    {"broken": message}                           the test files cannot be used: not the solution's fault
    {"unloaded": error}                           importing the solution, or using it while loading, failed
    {"started": name}, {"ended": name, "outcome": passed, failed or skipped, "error": error}

An error: name, names (of its classes), message, test (line in the test file), file and line (of the
solution), theirs (the solution raised it). Runs in the box.
"""

from __future__ import annotations

import ast
import importlib.machinery
import io
import json
import linecache
import os
import socket
import sys
import types

from aigym_kernel.judge.testing import proxies, server, subset, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

MESSAGE = 1500
_SIGNS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
          ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not"}  # fmt: skip


class Telling(ast.NodeTransformer):
    """Makes plain asserts tell what they compared."""

    def visit_Assert(self, node: ast.Assert) -> Any:
        self.generic_visit(node)
        if node.msg is not None:
            return node
        test, before = node.test, []
        message: ast.expr = ast.Constant(f"assert {ast.unparse(test)[:300]}")
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            for name, value in (("@left", test.left), ("@right", test.comparators[0])):
                before.append(ast.Assign([ast.Name(name, ast.Store())], value))
            left, right = ast.Name("@left", ast.Load()), ast.Name("@right", ast.Load())
            sign = ast.Constant(_SIGNS[type(test.ops[0])])
            message = ast.Call(ast.Name("@compared", ast.Load()), [left, sign, right], [])
            test = ast.Compare(left, test.ops, [right])
        made = [*before, ast.Assert(test, message)]
        return [ast.fix_missing_locations(ast.copy_location(n, node)) for n in made]


def compared(left: Any, sign: str, right: Any) -> str:
    return f"assert {left!r} {sign} {right!r}"


class Sources:
    """Imports the test files from memory, before anything else of their names."""

    def __init__(self, tests: dict[str, str]) -> None:
        self.tests = {name.removesuffix(".py"): source for name, source in tests.items()}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        if name not in self.tests:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=f"{name}.py")  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:  # noqa: ARG002
        return None

    def exec_module(self, module: Any) -> None:
        source, file = self.tests[module.__name__], f"{module.__name__}.py"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        tree = Telling().visit(ast.parse(source, file))
        module.__dict__.update({"@compared": compared, "__file__": file})
        exec(compile(tree, file, "exec", dont_inherit=True), module.__dict__)


def described(link: proxies.Link, error: BaseException, tests: Sources) -> dict[str, Any]:
    """An exception as data."""
    names = [base.__name__ for base in type(error).__mro__]
    try:
        message = str(error.__dict__.get("_said") or error)[:MESSAGE]
    except BaseException:
        message = ""
    line, trace, ours = 0, error.__traceback__, {f"{name}.py" for name in tests.tests}
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ours:
            line = trace.tb_lineno
        trace = trace.tb_next
    file, at = link.places.get(id(error), ("", 0))
    if isinstance(error, wire.Ended):
        names, message = ["Ended"], str(error)
    told = {"name": names[0], "names": names, "message": message, "test": line, "file": file, "line": at}
    return {**told, "theirs": id(error) in link.places}


def collect(modules: list[types.ModuleType]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every test by name, with what runs it."""
    shared = {f.name: f for m in modules if m.__name__ == "conftest" for f in _fixtures(vars(m))}
    named = [m for m in modules if m.__name__.startswith("test_") or m.__name__.endswith("_test")]
    for module in named or modules:
        fixtures = shared | {f.name: f for f in _fixtures(vars(module))}
        for name, found in list(vars(module).items()):
            where = f"{module.__name__}.py::{name}"
            if getattr(found, "__module__", module.__name__) != module.__name__ and not isinstance(
                found, type
            ):
                continue
            if isinstance(found, types.FunctionType) and name.startswith("test"):
                yield from _functions(where, found, None, fixtures)
            elif isinstance(found, type) and _is_case(found):
                yield from _cases(where, found)
            elif isinstance(found, type) and name.startswith("Test"):
                own = fixtures | {f.name: f for base in found.__mro__[::-1] for f in _fixtures(vars(base))}
                for method in dir(found):
                    function = getattr(found, method, None)
                    if method.startswith("test") and isinstance(function, types.FunctionType):
                        yield from _functions(f"{where}::{method}", function, found, own)


def _fixtures(names: Any) -> list[subset.Fixture]:
    return [value for value in names.values() if isinstance(value, subset.Fixture)]


def _is_case(found: type) -> bool:
    unittest = sys.modules.get("unittest")
    return (
        unittest is not None and issubclass(found, unittest.TestCase) and found.__module__ != "unittest.case"
    )


def _cases(where: str, found: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    import unittest

    for name in unittest.TestLoader().getTestCaseNames(found):
        yield f"{where}::{name}", lambda name=name: _run_case(found(name))  # type: ignore[misc]


def _run_case(case: Any) -> None:
    import unittest

    result: Any = unittest.TestResult()
    wrong: list[BaseException] = []
    skipped: list[str] = []

    def failed(_: Any, error: Any) -> None:
        wrong.append(error[1])

    def sub_failed(_: Any, sub: Any, error: Any) -> None:
        if error is not None:
            told = sub._subDescription()
            error[1].args = (f"{told}: {error[1]}",) if error[1].args else (told,)
            wrong.append(error[1])

    result.addError = result.addFailure = failed
    result.addSubTest = sub_failed
    result.addSkip = lambda _, reason: skipped.append(reason)
    result.addUnexpectedSuccess = lambda _: wrong.append(AssertionError("it was expected to fail"))
    unittest.TestSuite([case]).run(result)
    if wrong:
        raise wrong[0]
    if skipped:
        raise subset.Skipped(skipped[0])


def _functions(
    where: str, function: Any, owner: Any, fixtures: dict[str, subset.Fixture]
) -> Iterator[tuple[str, Callable[[], None]]]:
    for label, given, more in subset.variants(function, owner):
        marks = [*subset.marks_of(function, owner), *more]
        yield (
            f"{where}[{label}]" if label else where,
            lambda given=given, marks=marks: _run_function(function, owner, given, marks, fixtures),  # type: ignore[misc]
        )


def _run_function(
    function: Any, owner: Any, given: Any, marks: list[subset.Mark], fixtures: dict[str, subset.Fixture]
) -> None:
    for mark in marks:
        if mark.name == "skip" or (mark.name == "skipif" and mark.args and mark.args[0]):
            raise subset.Skipped(str(mark.kwargs.get("reason", "")))
    expected = any(m.name == "xfail" and (not m.args or m.args[0]) for m in marks)
    instance = owner() if owner else None
    arguments = subset.Arguments(fixtures, given, instance)
    try:
        for fixture in fixtures.values():
            if fixture.autouse:
                arguments.get(fixture.name)
        called = getattr(instance, function.__name__) if owner else function
        if setup := getattr(instance, "setup_method", None):
            setup()
        called(**arguments.of(called))
    except (Exception, subset.Skipped) as error:
        if expected and not isinstance(error, subset.Skipped | wire.Ended):
            return
        raise
    finally:
        if teardown := getattr(instance, "teardown_method", None):
            teardown()
        arguments.close()


def main() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: out of reach of what runs below
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        server.main(theirs.detach())
    theirs.close()
    job = json.loads(sys.stdin.read())
    out, err = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)

    def tell(**message: Any) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(out, data) :]

    try:
        run(job, proxies.Link(ours.detach()), tell)
    except (MemoryError, OSError):  # the solution may take these away: it is asked no more
        pass
    except BaseException as error:  # a mistake of this module
        os.write(err, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:2000])
    finally:
        os._exit(0)


def run(job: dict[str, Any], link: proxies.Link, tell: Callable[..., None]) -> None:
    """Collect and run the tests that are not to be skipped, until the solution's process ends."""
    sys.modules["pytest"] = subset.module()
    tests = Sources(job["tests"])
    # But for the answer, what Python and its packages have comes before the solution's files.
    answer, others = (proxies.Finder(link, job[key]) for key in ("answer", "modules"))
    sys.meta_path[:] = [tests, answer, *sys.meta_path, others]
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        modules = [importlib.import_module(name) for name in sorted(tests.tests)]
        found = list(collect(modules))
    except subset.Unsupported as error:
        return tell(broken=str(error))
    except BaseException as error:
        told = described(link, error, tests)
        missing = isinstance(error, ModuleNotFoundError) and error.name not in sys.stdlib_module_names
        if link.asked or missing:
            return tell(unloaded=told)
        return tell(broken=f"line {told['test']}: {told['name']}: {told['message']}")
    tell(collected=[name for name, _ in found])
    for name, test in found:
        if name in job["skip"]:
            continue
        tell(started=name)
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        try:
            test()
            if link.ended:  # whatever the test made of that
                raise wire.Ended(link.ended)
            tell(ended=name, outcome="passed")
        except subset.Unsupported as error:
            return tell(broken=f"{name}: {error}")
        except subset.Skipped:
            tell(ended=name, outcome="skipped")
        except BaseException as error:
            tell(ended=name, outcome="failed", error=described(link, error, tests))
        if link.ended:
            break
    return None
