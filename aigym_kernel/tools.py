"""What an agent may call in a box. An action is text: the tool's name, then its argument.

    shell = box.session()
    call(shell, "bash cd src; make", ("bash", "submit"))     -> what the agent sees
    call(shell, "write notes.txt\\nfirst line", ...)          in src, where the shell is now

All tools of an episode use one bash: its folder, variables, functions and background processes stay from
call to call, as at a terminal. One that has ended (``exit``, ``set -e``, too much memory) is followed by a
new one. A tool that does not exist, an argument that makes no sense, a command that fails: all are
observations, so that an agent can learn from them. Only a broken sandbox raises. To add a tool: a function
``(shell, argument) -> str`` and a line in `TOOLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote

from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes.protocol import Execution
from aigym_kernel.sandboxes.sessions import Session

# What Linux takes as one argument of a program, and as a path.
_LONGEST_COMMAND, _LONGEST_PATH = 100_000, 4_000


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool: how to write its call, what it does, and the function that carries it out."""

    usage: str
    description: str
    call: Callable[[Session, str], str]


def _bash(shell: Session, argument: str) -> str:
    return _told(shell, _run(shell, argument))


def _read(shell: Session, argument: str) -> str:
    return _told(shell, _run(shell, f"command cat -- {quote(argument.strip())}"))


def _write(shell: Session, argument: str) -> str:
    path, _, content = argument.partition("\n")
    path = path.strip()
    folder = quote(path.rpartition("/")[0] or ("/" if path.startswith("/") else "."))
    # In an option of the shell's own, >| replaces files all the same.
    command = f"command mkdir -p -- {folder} && builtin printf %s {quote(content)} >| {quote(path)}"
    execution = _run(shell, command)
    done = f"wrote {len(content)} characters to {path}"
    return done if execution.status == "ok" else _told(shell, execution)


def _submit(shell: Session, argument: str) -> str:  # noqa: ARG001
    return "submitted"


def _validate(shell: Session, argument: str) -> str:  # noqa: ARG001
    return "to be judged"  # by the environment: what an agent calls knows nothing of the judge


TOOLS: dict[str, Tool] = {
    "bash": Tool(
        usage="bash <command>", description="run a command in a bash that stays, begun in /work", call=_bash
    ),
    "read": Tool(usage="read <path>", description="show a file", call=_read),
    "write": Tool(
        usage="write <path>\n<content>", description="replace a file by the lines that follow", call=_write
    ),
    "validate": Tool(
        usage="validate",
        description="judge /work as it is, on the public part of what the final score rests on",
        call=_validate,
    ),
    "submit": Tool(usage="submit", description="hand in /work as it is and end", call=_submit),
}


def split(action: str) -> tuple[str, str]:
    """The tool's name and its argument, which keeps its spaces and line ends."""
    words = action.lstrip().split(None, 1)
    if not words:
        return "", ""
    name = words[0]
    return name, action.lstrip()[len(name) :].removeprefix(" ").removeprefix("\n")


def refusal(action: str, allowed: Sequence[str]) -> str:
    """Why ``action`` cannot be carried out, or nothing."""
    name, argument = split(action)
    if name not in allowed:
        return f"there is no tool {name[:40]!r}. {manual(allowed)}"
    if "\0" in argument:
        return f"{name}: its argument holds a NUL character"
    if name not in ("submit", "validate") and not argument.strip():
        return f"{name}: its argument is missing. Write: {TOOLS[name].usage}"
    longest = _LONGEST_COMMAND if name == "bash" else _LONGEST_PATH
    if len((argument if name == "bash" else argument.partition("\n")[0]).encode()) > longest:
        return f"{name}: its argument takes more than {longest:,} bytes"
    return ""


def call(shell: Session, action: str, allowed: Sequence[str]) -> str:
    """Carry out ``action`` in a session of bash with one of the ``allowed`` tools; what the agent sees of it.

    Raises:
        SandboxError: the sandbox broke.
    """
    if told := refusal(action, allowed):
        return told
    name, argument = split(action)
    return TOOLS[name].call(shell, argument)


def manual(allowed: Sequence[str]) -> str:
    """The tools as an agent reads them."""
    lines = ["Write one call at a time:"]
    for name in allowed:
        tool = TOOLS[name]
        lines += [f"  {tool.description}:", *(f"    {line}" for line in tool.usage.splitlines())]
    return "\n".join(lines)


def _run(shell: Session, command: str) -> Execution:
    """In a new shell if the one before has ended. Raises SandboxError when there can be no new one."""
    if not shell.ended:
        try:
            return shell.run(command)
        except SandboxError:
            if not shell.ended:
                raise
    shell.restart()
    return shell.run(command)


def _told(shell: Session, execution: Execution) -> str:
    """Output, then errors, then how it ended unless well. No times: the same call reads the same."""
    parts = [execution.stdout.rstrip("\n"), execution.stderr.rstrip("\n")]
    ends = {
        "ok": "",
        "error": f"[exit code {execution.exit_code}]",
        "signal": f"[{execution.detail.partition(';')[0] or 'killed by a signal'}]",
        "timeout": "[stopped: it took too long]",
        "cpu_limit": "[stopped: it used too much CPU time]",
        "memory_limit": "[stopped: it used too much memory]",
        "output_limit": "[stopped: it printed too much]",
    }
    parts.append(ends.get(execution.status, ""))
    if shell.ended:
        parts.append("[the shell has ended; the next call begins a new one in /work]")
    return "\n".join(part for part in parts if part) or "[no output]"
