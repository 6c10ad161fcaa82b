"""What an agent may call in a box. An action is text: the tool's name, then its argument.

    call(box, "bash ls -l", ("bash", "submit"))     -> what the agent sees
    call(box, "write notes.txt\\nfirst line", ...)

A tool that does not exist, an argument that makes no sense, a command that fails: all are observations,
so that an agent can learn from them. Only a broken sandbox raises. To add a tool: a function
``(box, argument) -> str`` and a line in `TOOLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes.protocol import Box, Execution

# What Linux takes as one argument of a program, and as a path.
_LONGEST_COMMAND, _LONGEST_PATH = 100_000, 4_000
_WRITE = 'mkdir -p -- "$(dirname -- "$1")" && cat > "$1"'


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool: how to write its call, what it does, and the function that carries it out."""

    usage: str
    description: str
    call: Callable[[Box, str], str]


def _bash(box: Box, argument: str) -> str:
    return _told(_run(box, ["bash", "-c", argument]))


def _read(box: Box, argument: str) -> str:
    return _told(_run(box, ["cat", "--", argument.strip()]))


def _write(box: Box, argument: str) -> str:
    path, _, content = argument.partition("\n")
    path = path.strip()
    execution = _run(box, ["bash", "-c", _WRITE, "write", path], stdin=content)
    return _told(execution) if execution.status != "ok" else f"wrote {len(content)} characters to {path}"


def _submit(box: Box, argument: str) -> str:  # noqa: ARG001
    return "submitted"


def _validate(box: Box, argument: str) -> str:  # noqa: ARG001
    return "to be judged"  # by the environment: what an agent calls knows nothing of the judge


TOOLS: dict[str, Tool] = {
    "bash": Tool(usage="bash <command>", description="run a command with bash in /work", call=_bash),
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


def call(box: Box, action: str, allowed: Sequence[str]) -> str:
    """Carry out ``action`` with one of the ``allowed`` tools; what the agent sees of it.

    Raises:
        SandboxError: the sandbox broke.
    """
    if told := refusal(action, allowed):
        return told
    name, argument = split(action)
    return TOOLS[name].call(box, argument)


def manual(allowed: Sequence[str]) -> str:
    """The tools as an agent reads them."""
    lines = ["Write one call at a time:"]
    for name in allowed:
        tool = TOOLS[name]
        lines += [f"  {tool.description}:", *(f"    {line}" for line in tool.usage.splitlines())]
    return "\n".join(lines)


def _run(box: Box, command: Sequence[str], *, stdin: str = "") -> Execution:
    execution = box.run(command, stdin=stdin)
    if execution.status == "sandbox_error":
        raise SandboxError(execution.detail or f"the sandbox broke while {command[0]} ran")
    return execution


def _told(execution: Execution) -> str:
    """Output, then errors, then how it ended unless well. No times: the same call reads the same."""
    parts = [execution.stdout.rstrip("\n"), execution.stderr.rstrip("\n")]
    ends = {
        "ok": "",
        "error": f"[exit code {execution.exit_code}]",
        "signal": f"[{execution.detail or 'killed by a signal'}]",
        "timeout": "[stopped: it took too long]",
        "cpu_limit": "[stopped: it used too much CPU time]",
        "memory_limit": "[stopped: it used too much memory]",
        "output_limit": "[stopped: it printed too much]",
    }
    parts.append(ends.get(execution.status, ""))
    return "\n".join(part for part in parts if part) or "[no output]"
