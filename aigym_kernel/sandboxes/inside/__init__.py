"""The runner inside a box: process 1 of its pid namespace, standard library only.

The host starts ``python3 -I -S -c BOOT`` with a pipe or socket as descriptors 0 and 1, sends what `code` or
`source` returns, and then frames (`frames`), which `loop` answers with `files` and `run`.

What a program started here can do to its runner: nothing. The runner is undumpable, so the same user
can neither trace it nor open its descriptors; it ignores every signal; and no descriptor of its own is
passed on. Not here: the namespaces, mounts and users around it (`bwrap`, `containers`).

The modules beside this one are what enters the box. They may import each other by full name, in the order
of `MODULES`, and of the standard library what loads fast: every import counts for every box.
"""

from __future__ import annotations

import marshal
from functools import lru_cache
from pathlib import Path
from types import CodeType

#: What enters a box, each after those that it imports; the last one's ``main`` is called.
MODULES = ("frames", "files", "tree", "run", "confine", "loop")

BOOT = """
import marshal, os, sys

def take(size):
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data)) or sys.exit()
    return data

sys.modules["aigym_kernel.sandboxes.inside"] = package = type(sys)("inside")
for name, code in marshal.loads(take(int.from_bytes(take(8), "big"))):
    module = type(sys)("aigym_kernel.sandboxes.inside." + name)
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(code, module.__dict__)
module.main()
"""


@lru_cache(maxsize=1)
def code() -> bytes:
    """The modules compiled, for a box with this very interpreter: compiling there takes 20 ms."""
    return _bundle([(name, _compiled(name)) for name in MODULES])


@lru_cache(maxsize=1)
def source() -> bytes:
    """The modules as text, for a box with whatever Python 3 its image has."""
    return _bundle([(name, _text(name)) for name in MODULES])


def _text(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


def _compiled(name: str) -> CodeType:
    return compile(_text(name), f"inside/{name}.py", "exec", dont_inherit=True)


def _bundle(modules: list[tuple[str, str]] | list[tuple[str, CodeType]]) -> bytes:
    data = marshal.dumps(modules, 2)
    return len(data).to_bytes(8, "big") + data
