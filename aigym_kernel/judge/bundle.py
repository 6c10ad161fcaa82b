"""Modules of this package that run in a box, on standard input before what they work on.

    box.run(["python3", "-I", "-c", START], stdin=bundle(inside, candidate) + job)

The last module's ``main()`` is called when all are there; it finds the job, and nothing else, on standard
input. No byte of the job has been read by then, so that `main` can fork processes that never saw it.
"""

from __future__ import annotations

import importlib.util
import marshal
from functools import lru_cache
from pathlib import Path
from types import ModuleType

START = """
import _frozen_importlib_external, marshal, os, sys
def exactly(size):
    data = bytearray()
    while len(data) < size:
        data += os.read(0, size - len(data)) or sys.exit("the modules are cut short")
    return data
bundle = marshal.loads(exactly(int(exactly(8), 16)))
same = bundle["magic"] == _frozen_importlib_external.MAGIC_NUMBER
for name, source, code in bundle["modules"]:
    module = sys.modules[name] = type(sys)(name)
    package, _, own = name.rpartition(".")
    setattr(sys.modules.setdefault(package, type(sys)(package)), own, module)
    exec(marshal.loads(code) if same else compile(source, name, "exec"), module.__dict__)
module.main()
"""


@lru_cache
def bundle(*modules: ModuleType) -> bytes:
    """What `START` reads. Each module comes after those that it imports. They are compiled here, which would
    take a box 10 ms for every 500 lines; the source is for a box with another Python."""
    found = []
    for module in modules:
        source = Path(module.__file__ or "").read_text(encoding="utf-8")
        code = compile(source, module.__name__, "exec", dont_inherit=True)
        found.append((module.__name__, source, marshal.dumps(code)))
    data = marshal.dumps({"magic": importlib.util.MAGIC_NUMBER, "modules": found}, 2)
    return b"%08x" % len(data) + data
