"""Where untrusted code runs.

    execute("print(1 + 1)").stdout                          # one program, one box
    with open_sandbox().open(Limits(wall_s=5)) as box:      # several commands in one /work
        box.write({"main.py": "print(1 + 1)"})
        box.run(["python3", "main.py"])

``bwrap`` (bubblewrap, the default) needs Linux and nothing else; ``docker`` a daemon and the image
``aigym-sandbox``. Set ``AIGYM_SANDBOX`` or pass the name. Where the chosen one cannot be had, opening
raises SandboxError with the way out; nothing ever falls back to less isolation. Not here: judging what ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Literal

from aigym_kernel.errors import SandboxError, SolutionError, UnknownName
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.settings import SANDBOXES, sandbox_name
from aigym_kernel.tasks import Limits

__all__ = ["LANGUAGES", "Box", "Execution", "Limits", "Sandbox", "check", "execute", "open_sandbox"]

#: File that the code is written to, and the command that runs it, by language.
LANGUAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "python": ("main.py", ("python3", "main.py")),
    "bash": ("main.sh", ("bash", "main.sh")),
}


def open_sandbox(name: str | Sandbox | None = None) -> Sandbox:
    """The sandbox called ``name``, else ``AIGYM_SANDBOX``, else bwrap; a Sandbox is returned as it is.
    Opening boxes is what may fail.

    Raises:
        UnknownName: there is no such sandbox.
    """
    if name is not None and not isinstance(name, str):
        if not callable(getattr(name, "open", None)):
            raise UnknownName("sandbox", name, SANDBOXES)
        return name
    if sandbox_name(name) == "docker":
        from aigym_kernel.sandboxes.containers import DockerSandbox

        return DockerSandbox()
    from aigym_kernel.sandboxes.bwrap import BwrapSandbox

    return BwrapSandbox()


def execute(
    code: str | bytes,
    language: Literal["python", "bash"] = "python",
    *,
    stdin: str | bytes = "",
    files: Mapping[str, str | bytes] | None = None,
    limits: Limits | None = None,
    sandbox: Sandbox | str | None = None,
) -> Execution:
    """Run one program in a box of its own, beside ``files``, and throw the box away.

    The code becomes ``main.py`` or ``main.sh`` in ``/work`` and is run by a fresh interpreter.

    Raises:
        UnknownName: no such language or sandbox.
        SolutionError: an argument is of the wrong type.
        SandboxError: no box can be opened here, or it does not hold the files.
    """
    if not isinstance(language, str) or language not in LANGUAGES:
        raise UnknownName("language", language, LANGUAGES)
    file, command = LANGUAGES[language]
    _check("code", code, str | bytes)
    _check("stdin", stdin, str | bytes)
    limits = Limits() if limits is None else limits
    _check("limits", limits, Limits)
    files = {} if files is None else files
    _check("files", files, Mapping)
    for name, content in files.items():
        _check("a name in files", name, str)
        _check(f"files[{name!r}]", content, str | bytes)
    with open_sandbox(sandbox).open(limits, {**files, file: code}) as box:
        return box.run(command, stdin=stdin)


def _check(what: str, value: object, wanted: type | UnionType) -> None:
    if not isinstance(value, wanted):
        name = wanted.__name__ if isinstance(wanted, type) else str(wanted)
        raise SolutionError(f"{what} must be {name}, not {type(value).__name__}")


def check(name: str) -> str | None:
    """None where the sandbox works, else why not and the way out. Opens a box and runs one program.

    Raises:
        UnknownName: there is no such sandbox.
    """
    try:
        execution = execute("echo fine", "bash", sandbox=open_sandbox(name))
    except SandboxError as error:
        return str(error)
    if execution.stdout != "fine\n":
        return f"{name}: a box opened, but 'echo fine' ended as {execution.status} {execution.detail}"
    return None
