"""A program that stays between commands: bash or IPython in a box, for agents and for a person at a prompt.

    with open_sandbox().open(Limits(wall_s=20)) as box, box.session() as shell:
        shell.run("cd data; rows=3")
        shell.run("pwd; echo $rows").stdout                 # /work/data, 3
        shell.run("sleep 60", timeout_s=1).status           # timeout; the session goes on

    with sandbox.open(Limits(packages=("ipython",))) as box, box.session("ipython") as cells:
        cells.run("import math")
        cells.run("math.pi").stdout                         # Out[2]: 3.141592653589793

Each command is an `Execution` of its own: stdout, stderr, exit code, status. What it changes stays: folder,
variables, functions, names, background processes. It reads an empty stdin. The box's limits hold for all
its sessions and all that they started, together; a command that breaks one is ended, background processes
with it if need be, and the session only if it is the culprit itself.

bash is interactive, so that an interrupt abandons a command and not the shell, but has no history, job
control, start files or terminal. ``exit``, ``exec`` and ``set -e`` end it, as they do anywhere. The exit code
comes on a descriptor that commands do not have, beside a number drawn for each: a command can only lie about
itself. Not here: what happens inside the box (`inside.shells`), the IPython side (`cells`).
"""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from aigym_kernel.errors import SandboxError, SolutionError, UnknownName
from aigym_kernel.sandboxes.protocol import Execution
from aigym_kernel.tasks import Limits

Kind = Literal["bash", "ipython"]

ENDED = "the session has ended: "  # how the runner, too, says it
START_S = 120.0  # for the program to begin; IPython takes half a second, on a busy machine 20
STATUS_AT = 61  # the descriptor for exit codes: scripts use the lowest ones, bash itself the highest
_NO_TERMINAL = re.compile(
    r"^bash: \[\d+: \d+ \(\d+\)\] tcsetattr: Inappropriate ioctl for device\n", re.MULTILINE
)
_PROMPTS = "PROMPT_COMMAND PS0 PS1 PS2"


class Talk(Protocol):
    """What a session needs of its box."""

    limits: Limits

    def ask(
        self, message: Mapping[str, Any], blobs: Sequence[bytes], seconds: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """A request and its answer. A KeyboardInterrupt during one that has a ``nonce`` interrupts that
        command, and is raised when it has been answered. Raises SandboxError."""
        ...

    def carry_out(
        self, request: Mapping[str, Any], blobs: Sequence[bytes], wall_s: float, output_kb: int
    ) -> tuple[Execution, dict[str, Any]]:
        """A request that is a command: what came of it, and the answer. Raises SandboxError."""
        ...

    def interrupt(self, nonce: str) -> None:
        """Interrupt the command of that name, if it runs. From any thread."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Shell:
    """How to start a program and what to send it."""

    argv: Callable[[int], list[str]]
    """The command, by the descriptor for exit codes."""
    setup: str
    script: Callable[[bytes, str, int, int], bytes]
    """What makes it carry out a command and report: by command, nonce, the exit code before, descriptor."""
    again: Callable[[str, int], str]
    """What makes it report again, by nonce and descriptor; empty if nothing can keep it from reporting."""


def _bash(command: bytes, nonce: str, code_before: int, at: int) -> bytes:
    # Quoted words, which no alias replaces, and `builtin`, which nobody redefines by accident. The empty
    # line ends what an unbalanced quote has left in the parser.
    before = f"{{ (exit {code_before}) && \\builtin :; }} >/dev/null 2>&1\n" if code_before else ""
    quoted = b"'" + command.replace(b"'", b"'\\''") + b"'"
    after = f" </dev/null {at}>&-\n{_report(nonce, at)}"
    return b"".join([before.encode(), b"\\builtin eval ", quoted, after.encode()])


def _report(nonce: str, at: int) -> str:
    said = f"\\builtin printf '{nonce} %s\\n' \"$?\" >&{at}"
    return f"\n{{ {said}; \\builtin unset {_PROMPTS}; }} >/dev/null 2>&1\n"


def _cell(command: bytes, nonce: str, _code_before: int, _at: int) -> bytes:
    return f"{nonce} {len(command)}\n".encode() + command


@lru_cache(maxsize=1)
def _cells() -> str:
    return Path(__file__).with_name("cells.py").read_text(encoding="utf-8")


_SHELLS = {
    "bash": _Shell(
        argv=lambda _: ["bash", "--noprofile", "--norc", "--noediting", "-i"],
        setup=f"set +o history +H; unset HISTFILE MAILCHECK {_PROMPTS}; shopt -u checkwinsize",
        script=_bash,
        again=_report,
    ),
    "ipython": _Shell(
        argv=lambda at: ["python3", "-I", "-c", _cells(), str(at)],
        setup="",
        script=_cell,
        again=lambda _nonce, _at: "",
    ),
}


def _about_signals(done: Execution) -> Execution:
    """Without bash's complaint, after a program was killed, that it has no terminal, but with the signal."""
    detail, code = done.detail, done.exit_code or 0
    if code > 128 and code - 128 in list(signal.Signals):
        name = signal.Signals(code - 128).name
        detail = f"{code} stands for a program killed by {name}; {detail}".removesuffix("; ")
    return replace(done, stderr=_NO_TERMINAL.sub("", done.stderr), detail=detail)


class Session:
    """A running bash or IPython. Made by `Box.session`; usable as a context manager, from any thread, one
    command at a time."""

    def __init__(self, box: Talk, kind: Kind) -> None:
        """Start the program.

        Raises:
            UnknownName: neither bash nor ipython.
            SandboxError: it does not start; the message says why.
        """
        if kind not in _SHELLS:
            raise UnknownName("session", kind, _SHELLS)
        self.kind = kind
        self.ended = ""
        """Why it has ended; empty while it has not."""
        self._box = box
        self._shell = _SHELLS[kind]
        self._at = min(STATUS_AT, box.limits.open_files - 1)
        self._start()

    def run(self, command: str, *, timeout_s: float | None = None) -> Execution:
        """Carry out a command and wait for its end: for ``timeout_s`` seconds (at most, and by default, the
        box's ``wall_s``), after which it is interrupted as by `interrupt` and reported as ``timeout``.

        If the command ends the session, ``detail`` says so. For bash ``exit_code`` is ``$?``, so a program
        killed by a signal counts as an ``error`` with 128 and its number; for IPython 1 after an exception.
        Output of background processes appears with the command that runs when it arrives.

        Raises:
            SandboxError: the session has ended, or the sandbox broke.
            SolutionError: the command is not text, or holds a NUL character.
        """
        if not isinstance(command, str) or "\0" in command:
            wrong = "with a NUL character" if isinstance(command, str) else f"not {type(command).__name__}"
            raise SolutionError(f"a command for {self.kind} must be text, {wrong}")
        if timeout_s is not None and not timeout_s > 0:
            raise SolutionError(f"timeout_s={timeout_s!r}: give a positive number of seconds")
        if self.ended:
            raise SandboxError(f"{ENDED}{self.ended}. restart() begins anew")
        wall_s = self._box.limits.wall_s
        return self._tell(command, {"wall_s": wall_s if timeout_s is None else min(timeout_s, wall_s)})

    def interrupt(self) -> None:
        """End the command that runs now, if any, from another thread: SIGINT, a second later SIGKILL to what
        it started, at last to the session. Its status is ``signal``, ``detail`` says interrupted."""
        self._box.interrupt(self._nonce)

    def restart(self) -> None:
        """End the program, if it has not, and begin anew in the same box, with the same files.

        Raises:
            SandboxError: as on opening.
        """
        self.close()
        self._start()

    def close(self) -> None:
        """End the program and what it started; the last session of a box takes everything with it. Twice is
        fine, and so is after the box was closed."""
        if not self.ended:
            self.ended = "it was closed"
            with contextlib.suppress(SandboxError):
                self._box.ask({"do": "end", "shell": self._number}, [], START_S)

    def _start(self) -> None:
        message = {"do": "shell", "argv": self._shell.argv(self._at), "status_at": self._at}
        self._number = self._box.ask(message, [], START_S)[0]["shell"]
        self._nonce, self._code, self.ended = "", 0, ""
        done = self._tell(self._shell.setup, {"wall_s": START_S, "cpu_s": None})
        if done.status != "ok":
            self.close()
            told = done.stderr.strip().rpartition("\n")[2] or done.detail or done.status
            way_out = {
                "bash": "the box needs bash",
                "ipython": "open the box with Limits(packages=('ipython',))",
            }
            raise SandboxError(f"{self.kind} does not start: {told}. {way_out[self.kind]}")

    def _tell(self, command: str, limits: Mapping[str, Any]) -> Execution:
        self._nonce = secrets.token_hex(8)
        text = command.encode("utf-8", "surrogatepass")
        script = self._shell.script(text, self._nonce, self._code, self._at)
        message = {
            "do": "tell",
            "shell": self._number,
            "nonce": self._nonce,
            "again": self._shell.again(self._nonce, self._at),
            "limits": limits,
        }
        try:
            output_kb = self._box.limits.output_kb
            done, answer = self._box.carry_out(message, [script], limits["wall_s"], output_kb)
        except SandboxError as error:
            self.ended = str(error).removeprefix(ENDED)
            way_out = ". restart() begins anew" if str(error).startswith(ENDED) else ""
            raise SandboxError(f"{error}{way_out}") from None
        self._code, self.ended = done.exit_code or 0, answer["ended"]
        return _about_signals(done) if self.kind == "bash" else done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
