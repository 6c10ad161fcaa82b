"""Where untrusted code runs.

    execute("print(1 + 1)").stdout                          # one program, one box
    open_sandbox().map([Program("print(1)"), ...], workers=4)  # many, in order; see `Sandbox.map`
    with open_sandbox().open(Limits(wall_s=5)) as box:      # several commands in one /work
        box.write({"main.py": "print(1 + 1)"})
        box.run(["python3", "main.py"])
        box.session().run("cd src; make")                   # a bash that stays; see `sessions`
        box.commit("built")                                 # /work, to begin with: `open_snapshot`

``bwrap`` (bubblewrap, the default) needs Linux and nothing else; ``docker`` a daemon and the image
``aigym-sandbox``. ``pool-bwrap``, ``pool-docker`` and ``pool`` (pool-bwrap) keep boxes of theirs warm: see
`pool`, which says what a program shares with the one before. Set ``AIGYM_SANDBOX`` or pass the name. Where
the chosen one cannot be had, opening raises SandboxError with the way out; nothing ever falls back to less
isolation. Not here: judging what ran.
"""

from __future__ import annotations

from collections.abc import Mapping

from aigym_kernel.errors import SandboxError, UnknownName
from aigym_kernel.sandboxes.folders import open_snapshot, remove_snapshot, snapshots
from aigym_kernel.sandboxes.languages import LANGUAGES, Language, present
from aigym_kernel.sandboxes.mapping import Program, run
from aigym_kernel.sandboxes.protocol import Box, Execution, Sandbox
from aigym_kernel.sandboxes.sessions import Session
from aigym_kernel.settings import SANDBOXES, sandbox_name
from aigym_kernel.tasks import Limits

__all__ = [
    "LANGUAGES",
    "Box",
    "Execution",
    "Language",
    "Limits",
    "Program",
    "Sandbox",
    "Session",
    "check",
    "execute",
    "languages_in",
    "open_sandbox",
    "open_snapshot",
    "remove_snapshot",
    "snapshots",
]


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
    if (chosen := sandbox_name(name)).startswith("pool"):
        from aigym_kernel.sandboxes.pool import shared

        return shared(chosen)
    if chosen == "docker":
        from aigym_kernel.sandboxes.containers import DockerSandbox

        return DockerSandbox()
    from aigym_kernel.sandboxes.bwrap import BwrapSandbox

    return BwrapSandbox()


def execute(
    code: str | bytes,
    language: str = "python",
    *,
    stdin: str | bytes = "",
    files: Mapping[str, str | bytes] | None = None,
    limits: Limits | None = None,
    sandbox: Sandbox | str | None = None,
) -> Execution:
    """Run one program in a box of its own, beside ``files``, and throw the box away.

    The code becomes ``main.py`` (or what `LANGUAGES` says) in ``/work``, is compiled where its language asks
    for it, and run by a fresh interpreter. Times and memory do not count the compiler's. If the sandbox
    breaks, the program is run once more in a fresh box; if that breaks too, the status is
    ``sandbox_error``.

    Raises:
        UnknownName: no such language or sandbox.
        SolutionError: an argument is of the wrong type.
        SandboxError: no box can be opened here, it does not hold the files, or it has no compiler or
            interpreter for the language. A machine that is full is waited for, half a minute at most.
    """
    files = {} if files is None else files
    limits = Limits() if limits is None else limits
    return run(open_sandbox(sandbox), Program(code, language, stdin=stdin, files=files, limits=limits))


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


def languages_in(sandbox: Sandbox) -> list[str]:
    """The languages whose compiler or interpreter is there, by name, as `LANGUAGES` has them.

    Raises:
        SandboxError: no box can be opened here.
    """
    with sandbox.open(Limits()) as box:
        return present(box)
