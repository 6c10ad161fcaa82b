"""The IPython side of a session: runs inside the box as ``python3 -I -c <this file> DESCRIPTOR``.

It reads commands from descriptor 0 (a line ``<nonce> <bytes>``, then the code), runs each as a cell and
writes ``<nonce> <0 or 1>`` to DESCRIPTOR. Tracebacks go to stderr, as plain text; cells find an empty stdin.
Not here: limits and interrupts, which come from outside as signals (`inside.shells`).
"""

# Inside there may be any Python from 3.9 on.
from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from typing import Any


def _shell() -> Any:
    os.environ["IPYTHONDIR"] = "/tmp/.ipython"  # not in the working folder
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell: Any = InteractiveShell.instance(config=config, colors="nocolor")
    del os.environ["IPYTHONDIR"]
    sys.path.insert(0, "")  # only now: a file in the working folder may be named like any module
    shell.system = shell.system_raw

    def show(_kind: type, _error: BaseException, lines: list[str]) -> None:
        sys.stdout.flush()
        print(shell.InteractiveTB.stb2text(lines), file=sys.stderr)

    shell._showtraceback = show
    shell.showtraceback = _undisturbed(shell.showtraceback)
    return shell


def _undisturbed(report: Any) -> Any:
    """Without interrupts meanwhile: the cell is over, and on a busy machine, where the report of its end
    takes long, each further one would begin another report, and at last end the session."""

    def undisturbed(*args: Any, **options: Any) -> None:
        before: Any = None
        with contextlib.suppress(ValueError):  # in another thread, which no interrupt reaches
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            report(*args, **options)
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)

    return undisturbed


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(descriptor, size - len(data)) or sys.exit()
    return data


def main() -> None:
    """Run cells until there are no more, or one asks to exit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands, status = os.dup(0), os.dup(int(sys.argv[1]))
    os.close(int(sys.argv[1]))
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    for stream in streams.values():
        stream.reconfigure(line_buffering=True)
    shell = _shell()
    leave: list[bool] = []
    shell.ask_exit = lambda: leave.append(True)
    on_interrupt: Any = signal.default_int_handler
    while not leave:
        line = b""
        while not line.endswith(b"\n"):
            line += _read(commands, 1)
        nonce, size = line.split()
        code = _read(commands, int(size)).decode("utf-8", "replace")
        for name, stream in streams.items():  # without one IPython can run nothing, nor put it back
            if not hasattr(getattr(sys, name, None), "write"):
                setattr(sys, name, stream)
        done = False
        try:
            signal.signal(signal.SIGINT, on_interrupt)
            try:
                done = shell.run_cell(code, store_history=True).success
            finally:
                on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        except BaseException:
            traceback.print_exc()
        for stream in streams.values():
            with contextlib.suppress(Exception):  # closed
                stream.flush()
        if not leave:
            os.write(status, b"%s %d\n" % (nonce, not done))


if __name__ == "__main__":
    main()
