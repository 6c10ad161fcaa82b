"""Arithmetic over named values, written as text: parsed, checked and compiled, never ``eval``ed.

    formula = parse("10*apple - 0.01*step - 5*(wall or self)", ("apple", "step", "wall", "self"))
    formula({"apple": 1.0, "step": 1.0, "wall": 0.0, "self": 0.0})       9.99
    formula(arrays, np.where)                                            the same, of each element

What there is: numbers, names, ``+ - * /``, ``**`` with a whole number up to 8, comparisons, ``and``, ``or``,
``not`` and ``a if b else c``, all with Python's meaning; true is 1, false is 0. Nothing else: no calls, no
attributes, no indices. Each operation is the same one on a float, a NumPy array and a torch tensor (powers
are products), so all three give the same bits. Both sides of a condition are computed: a division by zero is
not a number (NaN), which stays so unless the condition takes the other side.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aigym_kernel.errors import AigymError, UnknownName

LONGEST = 1000
MOST_PARTS = 200
LARGEST = 1e9
HIGHEST_POWER = 8

Where = Callable[[Any, Any, Any], Any]
"""``where(condition, a, b)``: a where the condition holds, else b. `numpy.where`, `torch.where`, `choose`."""
_Part = Callable[[Mapping[str, Any], Where], Any]

_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ALLOWED = "numbers, names, + - * / **, comparisons, and, or, not, 'a if b else c' and parentheses"


def choose(condition: Any, a: Any, b: Any) -> Any:
    """`Where` for single numbers."""
    return a if condition else b


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A compiled formula. ``names``: those that occur in it. Called with a value for each name (float64:
    numbers, or arrays of one shape) it gives the result; arrays need their `Where`."""

    text: str
    names: frozenset[str]
    part: _Part

    def __call__(self, values: Mapping[str, Any], where: Where = choose) -> Any:
        return self.part(values, where)


def parse(text: str, known: Collection[str], what: str = "formula") -> Formula:
    """Compile ``text``; it may use the names in ``known``. ``what`` begins every message.

    Raises:
        UnknownName: a name that is not in ``known``.
        AigymError: no arithmetic, too long, a number or power too large, a division by zero.
    """
    if not isinstance(text, str) or not text.strip():
        raise AigymError(f"{what}: {text!r} is no arithmetic expression, such as '10*{next(iter(known))}'")
    if len(text) > LONGEST:
        raise AigymError(f"{what}: {len(text):,} characters; at most {LONGEST:,} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as problem:
        place = f" at character {problem.offset}" if problem.offset else ""
        raise AigymError(f"{what}: {text!r} cannot be read{place}: {problem.msg}") from None
    except (ValueError, RecursionError, MemoryError) as problem:
        raise AigymError(f"{what}: {text!r} cannot be read: {problem or 'nested too deeply'}") from None
    parts = sum(isinstance(node, ast.expr) for node in ast.walk(tree))
    if parts > MOST_PARTS:
        raise AigymError(f"{what}: {parts} numbers, names and operations; at most {MOST_PARTS} are read")
    compiler = _Compiler(text=text, known=known, what=what)
    value = compiler.compile(tree.body)
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    if isinstance(value, float):
        constant = value
        return Formula(text=text, names=names, part=lambda values, where: constant)  # noqa: ARG005
    return Formula(text=text, names=names, part=value)


def terms(text: str) -> list[str]:
    """The parts that a formula adds up, each as a formula: ``["10*apple", "-(5*wall)"]``. ``text`` is one
    that `parse` took."""

    def split(node: ast.expr, sign: str) -> list[str]:
        match node:
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                other = sign if isinstance(op, ast.Add) else "" if sign else "-"
                return [*split(left, sign), *split(right, other)]
        return [f"-({ast.unparse(node)})" if sign else ast.unparse(node)]

    return split(ast.parse(text.strip(), mode="eval").body, "")


@dataclass(frozen=True, kw_only=True)
class _Compiler:
    """Turns nodes into functions, or into the number that they always give: so an operation that is left
    has an array on one side at least, and `Where` sees an array as its condition."""

    text: str
    known: Collection[str]
    what: str

    def compile(self, node: ast.expr) -> float | _Part:
        match node:
            case ast.Constant(value=bool() | None):
                raise self.forbidden(node, "write 1 for true and 0 for false")
            case ast.Constant(value=int() | float() as number):
                if not abs(number) <= LARGEST:
                    raise self.forbidden(node, f"numbers go up to {LARGEST:.0e}")
                return float(number)
            case ast.Name(id=name):
                if name not in self.known:
                    raise UnknownName(f"name in the {self.what}", name, self.known)
                return lambda values, where: values[name]  # noqa: ARG005
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not() as op, operand=operand):
                return self.unary(op, operand)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self.power(node, left, right)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                apply = _ARITHMETIC[type(op)]
                return self.fold(lambda where, a, b: apply(a, b), left, right)  # noqa: ARG005
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self.divide(node, left, right)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in _COMPARISONS for op in ops
            ):
                return self.comparison(left, ops, others)
            case ast.BoolOp(op=op, values=values):
                result = self.compile(values[-1])
                for value in reversed(values[:-1]):
                    result = self.join(isinstance(op, ast.And), self.compile(value), result)
                return result
            case ast.IfExp(test=test, body=body, orelse=orelse):
                sides = [self.compile(side) for side in (test, body, orelse)]
                if isinstance(sides[0], float):
                    return sides[1 if sides[0] != 0.0 else 2]
                return self.fold(_if, *sides)
        raise self.forbidden(node, f"a formula is made of {_ALLOWED}")

    def unary(self, op: ast.unaryop, operand: ast.expr) -> float | _Part:
        if isinstance(op, ast.Not):
            return self.fold(lambda where, a: _if(where, a, 0.0, 1.0), operand)
        return self.fold(lambda where, a: -a if isinstance(op, ast.USub) else +a, operand)  # noqa: ARG005

    def power(self, node: ast.expr, base: ast.expr, exponent: ast.expr) -> float | _Part:
        times = exponent.value if isinstance(exponent, ast.Constant) else None
        if type(times) is not int or not 0 <= times <= HIGHEST_POWER:
            raise self.forbidden(node, f"a power is a whole number from 0 to {HIGHEST_POWER}")

        def product(where: Where, a: Any) -> Any:  # noqa: ARG001
            result = a if times else a * 0.0 + 1.0
            for _ in range(times - 1):
                result = result * a
            return result

        return self.fold(product, base)

    def divide(self, node: ast.expr, left: ast.expr, right: ast.expr) -> float | _Part:
        below = self.compile(right)
        if below == 0.0:
            raise AigymError(f"{self.what}: {self.text!r} divides by zero in {ast.unparse(node)!r}")
        if isinstance(below, float):
            # By an array: torch on a GPU multiplies by 1 / number instead, which is another last bit.
            return self.fold(lambda where, a: a / where(a == a, below, below), left)
        return self.fold(_quotient, left, below)

    def comparison(self, left: ast.expr, ops: list[ast.cmpop], others: list[ast.expr]) -> float | _Part:
        sides = [self.compile(side) for side in (left, *others)]
        result: float | _Part | None = None
        for op, a, b in reversed(list(zip(ops, sides, sides[1:]))):
            apply = _COMPARISONS[type(op)]
            one = self.fold(lambda where, a, b, apply=apply: _truth(where, apply, a, b), a, b)
            result = one if result is None else self.join(True, one, result)
        assert result is not None
        return result

    def join(self, both: bool, first: float | _Part, second: float | _Part) -> float | _Part:
        """``first and second``, or ``first or second``."""
        if isinstance(first, float):
            return second if (first != 0.0) == both else first
        return self.fold(_both if both else _either, first, second)

    def fold(self, operation: Callable[..., Any], *sides: ast.expr | float | _Part) -> float | _Part:
        """The operation on its compiled sides; done now if they are all numbers."""
        made = [self.compile(side) if isinstance(side, ast.expr) else side for side in sides]
        if all(isinstance(side, float) for side in made):
            value = float(operation(choose, *made))
            if not math.isfinite(value):
                raise AigymError(f"{self.what}: {self.text!r} has a part that is always {value}")
            return value
        parts = tuple(side if callable(side) else _constant(side) for side in made)
        return lambda values, where: operation(where, *[part(values, where) for part in parts])

    def forbidden(self, node: ast.expr, rule: str) -> AigymError:
        return AigymError(f"{self.what}: {ast.unparse(node)[:80]!r} in {self.text!r} is not allowed; {rule}")


def _constant(value: float) -> _Part:
    return lambda values, where: value  # noqa: ARG005


def _quotient(where: Where, a: Any, b: Any) -> Any:
    zero = b == 0.0
    return a / where(zero, math.nan, b)


def _truth(where: Where, apply: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    known = (a == a) & (b == b)  # NaN is the only number that is not itself
    return where(known, where(apply(a, b), 1.0, 0.0), math.nan)


def _if(where: Where, test: Any, a: Any, b: Any) -> Any:
    return where(test == test, where(test != 0.0, a, b), math.nan)


def _both(where: Where, a: Any, b: Any) -> Any:
    return _if(where, a, b, a)


def _either(where: Where, a: Any, b: Any) -> Any:
    return _if(where, a, a, b)
