"""Which modules a Python source imports and which dotted names it refers to, told by its syntax tree alone.

Started in a box as ``python3 -I -c <this file>`` with ``{"sources": {file: text}}`` as JSON on stdin; prints
``{file: {"imports", "uses", "calls", "unclear"}}`` (each a list of ``[name, line]``) or ``{"error", "line"}``
by file. Nothing of the sources is run. In a box because a parser may be made to use all memory or to crash.

Seen through: ``import os as o``, ``from os import system as s``, ``s = os.system``, ``getattr(os, "x")``,
``__import__("os").system``, ``importlib.import_module("o" + "s")``, ``sys.modules["os"]``, ``vars(os)["x"]``,
``os.__dict__["x"]``, ``__builtins__.eval``, ``globals()["eval"]``. Told as ``unclear``: exec, eval and
compile, imports and lookups on a module whose name is not written out. Not seen: names reached through
objects (``().__class__.__base__.__subclasses__()``), containers, function arguments, or other files; and
a name counts even where it is never reached.
"""

from __future__ import annotations

import ast
import builtins
import json
import sys

LOOKS_UP = ("get", "pop", "setdefault", "__getitem__", "__getattribute__")
FOLLOWED = 20  # assignments in a row that are followed


class Reader:
    """Collects from one tree. Assignments are followed wherever they stand: ``e`` is eval in the whole file
    if it is anywhere."""

    def __init__(self, tree: ast.AST) -> None:
        self.bound: dict[str, set[str]] = {}  # what a plain name may stand for
        self.stars: list[str] = []
        self.imports: list[tuple[str, int]] = []
        self.uses: list[tuple[str, int]] = []
        self.calls: list[tuple[str, int]] = []
        self.unclear: list[tuple[str, int]] = []
        nodes = list(ast.walk(tree))
        for node in nodes:
            self._bind_import(node)
        assigned = [(t.id, v) for node in nodes for t, v in _assigned(node)]
        for _ in range(FOLLOWED):
            before = sum(map(len, self.bound.values()))
            for name, value in assigned:
                if dotted := self.dotted(value):
                    self.bound.setdefault(name, set()).update(dotted)
            if sum(map(len, self.bound.values())) == before:
                break
        for node in nodes:
            self._use(node)

    def _bind_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imports.append((alias.name, node.lineno))
                name = alias.asname or alias.name.partition(".")[0]
                target = alias.name if alias.asname else name
                self.bound.setdefault(name, set()).add(target)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            self.imports.append((module, node.lineno))
            for alias in node.names:
                if alias.name == "*":
                    self.stars.append(module)
                    continue
                self.imports.append((f"{module}.{alias.name}", node.lineno))
                self.bound.setdefault(alias.asname or alias.name, set()).add(f"{module}.{alias.name}")

    def dotted(self, node: ast.AST) -> set[str]:
        """The dotted names that an expression may stand for."""
        if isinstance(node, ast.Name):
            if node.id in self.bound:
                return self.bound[node.id]
            if node.id in ("__builtins__", "builtins"):
                return {"builtins"}
            known = {node.id} if hasattr(builtins, node.id) else set()
            return known | {f"{module}.{node.id}" for module in self.stars}
        if isinstance(node, ast.NamedExpr):
            return self.dotted(node.value)
        if isinstance(node, ast.Attribute):
            bases = self.dotted(node.value)
            return bases if node.attr == "__dict__" else {_joined(base, node.attr) for base in bases}
        if isinstance(node, ast.Subscript):
            return self._looked_up(node.value, node.slice)
        return self._called(node) if isinstance(node, ast.Call) else set()

    def _looked_up(self, table: ast.expr, name: ast.expr) -> set[str]:
        """``vars(os)["x"]``, ``sys.modules["os"]``, ``globals().get("eval")``."""
        key = constant(name)
        bases = self.dotted(table)
        if key is None or not bases:
            return set()
        if key == "__builtins__":
            return {"builtins"}
        return {key if base in ("sys.modules", "globals", "locals") else _joined(base, key) for base in bases}

    def _called(self, node: ast.Call) -> set[str]:
        """What a call gives, where it is one that finds modules and attributes by name."""
        found: set[str] = set()
        if isinstance(node.func, ast.Attribute) and node.func.attr in LOOKS_UP and node.args:
            found |= self._looked_up(node.func.value, node.args[0])
        for function in self.dotted(node.func):
            first = constant(node.args[0]) if node.args else None
            if function in ("__import__", "importlib.import_module", "importlib.__import__") and first:
                whole = function.endswith("import_module")
                found.add(first if whole else first.partition(".")[0])
            elif function == "getattr" and len(node.args) > 1:
                name = constant(node.args[1])
                found |= {_joined(base, name) for base in self.dotted(node.args[0]) if name}
            elif function == "vars" and node.args:
                found |= self.dotted(node.args[0])
            elif function in ("globals", "locals"):
                found.add(function)
        return found

    def _use(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            return
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            self.uses += [(name, node.lineno) for name in self.dotted(node)]
        if isinstance(node, ast.Attribute):
            self.uses.append((f".{node.attr}", node.lineno))
        if isinstance(node, ast.Subscript) and constant(node.slice) is None and self._is_names(node.value):
            self.unclear.append(("lookup of a name that is not written out", node.lineno))
        if not isinstance(node, ast.Call):
            return
        functions = self.dotted(node.func)
        self.calls += [(name, node.lineno) for name in functions]
        self.uses += [(name, node.lineno) for name in self._called(node)]
        if isinstance(node.func, ast.Attribute):
            self.calls.append((f".{node.func.attr}", node.lineno))
            computed = bool(node.args) and constant(node.args[0]) is None
            if node.func.attr in LOOKS_UP and computed and self._is_names(node.func.value):
                self.unclear.append(("lookup of a name that is not written out", node.lineno))
        for name in functions:
            first = constant(node.args[0]) if node.args else None
            if name in ("__import__", "importlib.import_module", "importlib.__import__"):
                if first is None:
                    self.unclear.append((f"{name} of a name that is not written out", node.lineno))
                else:
                    self.imports.append((first, node.lineno))
            elif name in ("exec", "eval", "compile"):
                self.unclear.append((name, node.lineno))
            elif name == "getattr" and len(node.args) > 1 and self._hides(*node.args[:2]):
                self.unclear.append(("getattr of a name that is not written out", node.lineno))

    def _is_names(self, node: ast.expr) -> bool:
        """Whether it is the table of names of a module, or of all modules."""
        if isinstance(node, ast.Attribute) and node.attr == "__dict__":
            return bool(self.dotted(node.value))
        if isinstance(node, ast.Call) and "vars" in self.dotted(node.func):
            return bool(node.args) and bool(self.dotted(node.args[0]))
        return bool(self.dotted(node) & {"globals", "locals", "sys.modules", "builtins"})

    def _hides(self, base: ast.expr, name: ast.expr) -> bool:
        return bool(self.dotted(base)) and constant(name) is None


def _joined(base: str, name: str) -> str:
    return name if base == "builtins" else f"{base}.{name}"


def _assigned(node: ast.AST) -> list[tuple[ast.Name, ast.expr]]:
    """Plain names that a statement gives a value, with the value."""
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
        for target, value in list(pairs):
            if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
                pairs += zip(target.elts, value.elts)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        pairs = [(node.target, node.value)]
    else:
        return []
    return [(target, value) for target, value in pairs if isinstance(target, ast.Name)]


def constant(node: ast.AST) -> str | None:
    """A text that is written out, in one piece or as a sum or an f-string of pieces."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = constant(node.left), constant(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.JoinedStr):
        parts = [constant(value) for value in node.values]
        return None if None in parts else "".join(map(str, parts))
    return None


def read(text: str) -> dict[str, object]:
    """What one source refers to, or why it cannot be read."""
    try:
        tree = ast.parse(text)
        reader = Reader(tree)
    except SyntaxError as error:
        return {"error": f"SyntaxError: {error.msg}", "line": error.lineno or 0}
    except (RecursionError, MemoryError):
        return {"error": "it is nested too deep to be read", "line": 0}
    except ValueError as error:
        return {"error": str(error), "line": 0}
    return {
        "imports": sorted(set(reader.imports)),
        "uses": sorted(set(reader.uses)),
        "calls": sorted(set(reader.calls)),
        "unclear": sorted(set(reader.unclear)),
    }


if __name__ == "__main__":
    job = json.loads(sys.stdin.read())
    print(json.dumps({name: read(text) for name, text in job["sources"].items()}))
