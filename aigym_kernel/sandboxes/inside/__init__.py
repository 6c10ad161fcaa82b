"""The runner inside a box: process 1 of its pid namespace, standard library only.

The host starts ``python3 -I -S -c BOOT`` with a pipe or socket as descriptors 0 and 1, sends what `code` or
`source` returns, and then frames (`frames`), which `loop` answers with `files` and `run`. In a box of a pool
the interpreter is started without flags, as programs are: `resident` then keeps a process that knows no
program, makes namespaces for one lease after another, and lends itself to `interpreter`.

What a program started here can do to its runner: nothing. The runner is undumpable, so the same user
can neither trace it nor open its descriptors; it ignores every signal; and no descriptor of its own is
passed on. Not here: the namespaces, mounts and users around it (`bwrap`, `containers`).

The modules beside this one are what enters the box. They may import each other by full name, in the order
of `MODULES`, and of the standard library what loads fast: every import counts for every box.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

#: What enters a box, each after those that it imports; the last one's ``main`` is called.
MODULES = ("frames", "files", "archives", "tree", "confine", "run", "shells", "loop")
#: The same for a box of a pool.
POOL_MODULES = (*MODULES[:-1], "interpreter", "resident", "wiping", "loop")

BOOT = """
import marshal, os, sys
own = frozenset(sys.modules)
sys.path[:] = filter(None, sys.path)

def take(size):
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data)) or sys.exit()
    return data

package = type(sys)("inside")
sys.modules["aigym_kernel.sandboxes.inside"] = package
settings, modules = marshal.loads(take(int.from_bytes(take(8), "big")))
for name, code in modules:
    module = type(sys)("aigym_kernel.sandboxes.inside." + name)
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(code, module.__dict__)
program = module.main(settings, own)
if program and program() and getattr(sys, "last_type", None) is not KeyboardInterrupt:
    sys.exit(1)
"""


def code(settings: Mapping[str, Any]) -> bytes:
    """Settings and compiled modules, for a box with this very interpreter: compiling there takes 20 ms."""
    return _bundle(settings, _compiled(POOL_MODULES if settings["level"] else MODULES))


def source(settings: Mapping[str, Any]) -> bytes:
    """Settings and modules as text, for a box with whatever Python 3 its image has."""
    return _bundle(settings, _texts(POOL_MODULES if settings["level"] else MODULES))


@lru_cache(maxsize=2)
def _compiled(names: tuple[str, ...]) -> list[tuple[str, CodeType]]:
    return [(n, compile(text, f"inside/{n}.py", "exec", dont_inherit=True)) for n, text in _texts(names)]


@lru_cache(maxsize=2)
def _texts(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(n, Path(__file__).with_name(f"{n}.py").read_text(encoding="utf-8")) for n in names]


def _bundle(settings: Mapping[str, Any], modules: Sequence[tuple[str, str | CodeType]]) -> bytes:
    data = marshal.dumps((dict(settings), list(modules)), 2)
    return len(data).to_bytes(8, "big") + data
