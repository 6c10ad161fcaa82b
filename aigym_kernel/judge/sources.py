"""The ``static`` check: what the solution's Python source says, without running any of it.

Looked at are the answer and every other .py file of the solution that is not the task's own. Imports and
calls are told by `judge.names`, which runs in a box of its own and says what it can and cannot see through;
where something is forbidden, what hides names (exec, computed imports, compiled files) is counted as
breaking it. Rules are ruff's (extra ``judge``), run on the host on text alone: ``--isolated``, no cache, a
limit of `RUFF_S`, and no ``# noqa`` or configuration of the solution's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from aigym_kernel.judge import names
from aigym_kernel.judge.verdict import SHOWN, Undecided, Verdict, run, stopped
from aigym_kernel.sandboxes.protocol import Sandbox
from aigym_kernel.tasks import Limits, StaticCheck, Task

RUFF_S = 60.0
MOST_BYTES = 1 << 20
_SOURCE = Path(names.__file__).read_text(encoding="utf-8")
_OPAQUE = (".pyc", ".pyo", ".so", ".pyd", ".zip", ".egg", ".pth")
_LIMITS = Limits(wall_s=RUFF_S, memory_mb=512, output_kb=16_384)


def check_static(task: Task, check: StaticCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """The share of demands that are met.

    Raises:
        SandboxError: the sandbox broke.
        Undecided: ruff is missing or does not know a rule.
    """
    if task.answer and task.answer not in files:
        return Verdict(value=0.0, feedback=f"there is no file {task.answer}")
    sources = {}
    for name in sorted(files):
        own = task.files.get(name) == files[name]
        if name == task.answer or (name.endswith(".py") and not own):
            try:
                sources[name] = files[name].decode("utf-8-sig")
            except UnicodeDecodeError as error:
                return Verdict(value=0.0, feedback=f"{name}: is not UTF-8 text (byte {error.start})")
    if not "".join(sources.values()).strip():
        return Verdict(value=0.0, feedback="there is no source to look at")
    if sum(map(len, sources.values())) > MOST_BYTES:
        return Verdict(value=0.0, feedback=f"more than {MOST_BYTES >> 20} MiB of source; it is not looked at")
    found = _names(sources, sandbox)
    for name, told in found.items():
        if "error" in told:
            place = f", line {told['line']}" if told["line"] else ""
            return Verdict(value=0.0, feedback=f"{name}{place}: {told['error']}")
    hiding = [n for n in files if n.endswith(_OPAQUE) and task.files.get(n) != files[n]]
    demands = [*_demands(check, found, hiding), *_rules(check, sources)]
    broken = [told for told in demands if told]
    met = len(demands) - len(broken)
    lines = [f"{met} of {len(demands)} demands met", *broken[:SHOWN]]
    if len(broken) > SHOWN:
        lines.append(f"and {len(broken) - SHOWN} more")
    return Verdict(value=met / len(demands), feedback="\n".join(lines))


def _names(sources: Mapping[str, str], sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    with sandbox.open(_LIMITS) as box:
        job = json.dumps({"sources": sources})
        execution = run(box, ["python3", "-I", "-c", _SOURCE], stdin=job)
    if stopped(execution, _LIMITS):  # the parser gave up: a source that nobody can have meant
        return {"the source": {"error": "it is too large or nested too deep to be read", "line": 0}}
    found: dict[str, dict[str, Any]] = json.loads(execution.stdout)
    return found


def _demands(
    check: StaticCheck, found: Mapping[str, Mapping[str, Any]], hiding: Sequence[str]
) -> Iterator[str]:
    """For each demand on imports and calls: how it is broken, or nothing."""

    def all_of(*kinds: str) -> list[tuple[str, str]]:
        return [
            (name, f"{file}, line {line}" if len(found) > 1 else f"line {line}")
            for file, told in found.items()
            for kind in kinds
            for name, line in told[kind]
        ]

    unclear = [f"{place}: {name}" for name, place in all_of("unclear")]
    unclear += [f"{name} cannot be looked into" for name in hiding]
    for wanted in check.forbid_imports:
        places = [place for name, place in all_of("imports", "uses") if _within(name, wanted)]
        yield _broken(f"import of {wanted} is forbidden", places, unclear)
    for wanted in check.forbid_calls:
        places = [place for name, place in all_of("uses", "calls") if _within(name, wanted)]
        yield _broken(f"use of {wanted} is forbidden", places, unclear)
    for wanted in check.require_imports:
        met = any(_within(name, wanted) for name, _ in all_of("imports"))
        yield "" if met else f"import of {wanted} is missing"
    for wanted in check.require_calls:
        met = any(_within(name, wanted) for name, _ in all_of("calls"))
        yield "" if met else f"a call of {wanted} is missing"


def _broken(told: str, places: Sequence[str], unclear: Sequence[str]) -> str:
    if places:
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        return f"{told}: {'; '.join(dict.fromkeys(places[:3]))}{more}"
    return f"{told}, and this could hide one: {'; '.join(unclear[:3])}" if unclear else ""


def _within(name: str, wanted: str) -> bool:
    """Whether it is what is wanted or lies in it, also where another module leads there (shutil.os.x)."""
    if f"{name}.".startswith(f"{wanted}."):
        return True
    return not name.startswith(".") and f".{wanted}." in f"{name}."


def _rules(check: StaticCheck, sources: Mapping[str, str]) -> Iterator[str]:
    """For each rule of ruff: where it is broken, or nothing."""
    wanted = [*check.select, *(["C901"] if check.max_complexity else [])]
    if not wanted:
        return
    broken: dict[str, list[str]] = {rule: [] for rule in wanted}
    for name, text in sources.items():
        for finding in _ruff(wanted, check.max_complexity, name, text):
            code = str(finding["code"] or "syntax")
            rule = max((r for r in wanted if code.startswith(r)), key=len, default=wanted[0])
            place = f"line {finding['location']['row']}"
            place = f"{name}, {place}" if len(sources) > 1 else place
            broken[rule].append(f"{place}: {code} {finding['message']}")
    for rule, places in broken.items():
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        yield f"ruff {rule}: {'; '.join(places[:3])}{more}" if places else ""


def _ruff(rules: Sequence[str], complexity: int | None, name: str, text: str) -> list[dict[str, Any]]:
    binary = Path(sys.executable).with_name("ruff")
    found = str(binary) if binary.is_file() else shutil.which("ruff")
    if found is None:
        raise Undecided("it needs the package ruff: pip install 'aigym-kernel[judge]'")
    command = [found, "check", "--isolated", "--no-cache", "--ignore-noqa", "--output-format", "json"]
    # Rules look at few names; a name made by the solution could be anything, such as an option.
    called = "__init__.py" if PurePosixPath(name).name == "__init__.py" else "solution.py"
    command += ["--select", ",".join(rules), "--stdin-filename", called, "-"]
    if complexity:
        command += ["--config", f"lint.mccabe.max-complexity={complexity}"]
    try:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, timeout=RUFF_S, env={}, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return [_unread(f"ruff did not end within {RUFF_S:g} s")]
    if done.returncode == 2:
        told = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise Undecided(f"{told[:300]}; see the rules at docs.astral.sh/ruff/rules")
    if done.returncode not in (0, 1):
        return [_unread("ruff could not read it")]
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


def _unread(told: str) -> dict[str, Any]:
    return {"code": None, "message": told, "location": {"row": 1}}
