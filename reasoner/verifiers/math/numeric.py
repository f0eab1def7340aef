"""Expressions -> real and complex numbers and matrices of them, to any precision, by mpmath.

Work is bounded as in `exact`, and by the size of numbers and arguments (`TooLarge`).
"""

# ruff: noqa: SIM905  (lists of words are easier to read and to change as text)

from __future__ import annotations

import hashlib
import math
import operator
import threading
from fractions import Fraction
from functools import reduce
from typing import Any

from reasoner.verifiers.math import tree as t
from reasoner.verifiers.math.exact import MAX_TERMS, Undefined, spend

MAX_LOG2 = 4_000_000  # largest number that is computed with, as the power of two
DIGITS = (40, 90, 200)  # the precisions at which values are compared, one after the other
_LOCAL = threading.local()

Value = Any  # A number of mpmath (which has no types), or `Rows` of them


def context(digits: int) -> Any:
    """Returns a context of mpmath for this thread: its precision is global to a context."""
    if not hasattr(_LOCAL, "contexts"):
        _LOCAL.contexts = {}
    if digits not in _LOCAL.contexts:
        import mpmath  # type: ignore[import-untyped]

        context = mpmath.mp.clone()
        context.dps = digits
        _LOCAL.contexts[digits] = context
    return _LOCAL.contexts[digits]


class Numeric:
    """Evaluates trees in numbers of `digits` digits; symbols take their values from `at`.

    Unknown functions get a value of their own for each argument, so that equal ones stay equal. `log_base`: of a `log`
    without a base; 0: the natural one.
    """

    def __init__(self, digits: int, at: dict[str, Fraction] | None = None, log_base: int = 0) -> None:
        self.mp = context(digits)
        self.at = {name: self._of(value) for name, value in (at or {}).items()}
        self.log_base = log_base

    def _of(self, value: Fraction) -> Value:
        return self.mp.mpf(value.numerator) / self.mp.mpf(value.denominator)

    def __call__(self, node: t.Node) -> Value:
        """Returns the value; raises `Undefined`, `Unreadable`, `TooLarge`."""
        try:
            value = self._value(node)
        except (t.Unreadable, t.TooLarge):
            raise
        except (ZeroDivisionError, ValueError, OverflowError) as error:
            raise Undefined(str(error)) from None
        return value if isinstance(value, Rows) else self._finite(value)

    def _number(self, node: t.Node) -> Value:
        return _number(self(node))

    def _finite(self, value: Value) -> Value:
        mp = self.mp
        if mp.isnan(value) or mp.isinf(value):
            raise Undefined("no finite value")
        if value != 0 and abs(mp.mag(value)) > MAX_LOG2:
            raise t.TooLarge("a number too large to compute with")
        return value.real if isinstance(value, mp.mpc) and value.imag == 0 else value

    def _size(self, value: Value, limit: float) -> Value:
        if value != 0 and self.mp.mag(value) > math.log2(limit) + 1:
            raise t.TooLarge("an argument too large to compute with")
        return value

    def _value(self, node: t.Node) -> Value:
        spend(10)
        mp = self.mp
        match node:
            case t.Num(value):
                return self._of(value)
            case t.Sym("pi" | "e" as name):
                return +getattr(mp, name)
            case t.Sym("i"):
                return mp.mpc(0, 1)
            case t.Sym(name):
                if name not in self.at:
                    self.at[name] = self._of(point(name, 0))
                return self.at[name]
            case t.Inf():
                raise Undefined("infinity")
            case t.Add(parts):
                return reduce(operator.add, list(map(self, parts)))
            case t.Mul(parts):
                return reduce(_times, list(map(self, parts)))
            case t.Neg(inner):
                return _times(mp.mpf(-1), self(inner))
            case t.Div(above, below):
                return _times(1 / self._number(below), self(above))
            case t.Pow(base, exponent):
                return self._pow(self(base), self(exponent))
            case t.Root(inner, index):
                return self._root(self._number(inner), self._number(index))
            case t.Fact(inner):
                return mp.gamma(self._size(self._number(inner), 20_000) + 1)
            case t.Abs(inner):
                return abs(self._number(inner))
            case t.Pct(inner):
                return _times(mp.mpf(1) / 100, self(inner))
            case t.Deg(inner):
                return _times(mp.pi / 180, self(inner))
            case t.Matrix(parts, columns, bars):
                cells = list(map(self._number, parts))
                rows = Rows(cells[i : i + columns] for i in range(0, len(cells), columns))
                return _determinant(rows) if bars else rows
            case t.Fn(parts, name):
                return self._function(name, list(map(self._number, parts)))
            case t.App(parts, name):
                return self._hash(name, list(map(self, parts)))
            case t.Big():
                return self._big(node)
        raise t.Unreadable(f"a {type(node).__name__.lower()} in an expression")

    def _root(self, value: Value, degree: Value) -> Value:
        if degree == int(self.mp.re(degree)) and 0 < degree < 1000:
            if degree % 2 and is_real(value) and self.mp.re(value) < 0:  # as schools have it: not the principal root
                return -self.mp.root(-value, int(degree))
            return self.mp.root(value, int(degree))
        return value ** (1 / degree)

    def _pow(self, base: Value, exponent: Value) -> Value:
        if isinstance(base, Rows) or isinstance(exponent, Rows):
            raise t.Unreadable("a power of a matrix")
        mp = self.mp
        if base != 0 and exponent != 0:
            growth = abs(mp.mag(base)) + 1
            if mp.mag(exponent) > 60 or growth * (abs(exponent) + 1) > MAX_LOG2:
                raise t.TooLarge("a power too large to compute with")
        if base == 0 and mp.re(exponent) < 0:
            raise Undefined("division by zero")
        return mp.sqrt(base) if exponent == mp.mpf(1) / 2 else base**exponent

    def _function(self, name: str, values: list[Value]) -> Value:
        mp = self.mp
        first = values[0]
        if name == "log":
            bases = [*values[1:], self.log_base]
            return mp.ln(first) / mp.ln(bases[0]) if bases != [0] else mp.ln(first)
        if name in _SIMPLE:
            self._size(first, 1e6 if name in ("exp", "sinh", "cosh", "tanh", "coth") else 1e30)
            return getattr(mp, _SIMPLE[name])(first)
        if name == "binom":
            return mp.binomial(self._size(first, 20_000), self._size(values[1], 20_000))
        if name in ("mod", "max", "min") and not any(isinstance(value, mp.mpc) for value in values):
            if name == "mod":
                return first - values[1] * mp.floor(first / values[1])
            return max(values) if name == "max" else min(values)
        return self._hash(name, values)

    def _big(self, node: t.Big) -> Value:
        mp, name, variable = self.mp, node.name, node.variable
        low, high, body = node.parts
        first, last = self._number(low), self._number(high)
        outer, self.at = self.at, dict(self.at)
        try:
            if mp.isint(first) and mp.isint(last) and not t.symbols(low) and not t.symbols(high):
                if last - first > MAX_TERMS:
                    raise t.TooLarge("a sum of too many terms")
                total = mp.mpf(0 if name == "sum" else 1)
                for index in range(int(first), int(last) + 1):
                    self.at[variable] = mp.mpf(index)
                    total = total + self._number(body) if name == "sum" else total * self._number(body)
                return total
            self.at[variable] = self._of(point("bound variable", 0))
            return self._hash(name, [first, last, self(body)])
        finally:
            self.at = outer

    def _hash(self, name: str, values: list[Value]) -> Value:
        """Returns a number that depends on the name and, to 25 digits, on the values."""
        text = name + "|" + "|".join(self.mp.nstr(_number(value), 25) for value in values)
        return self._of(point(text, 7))


_SIMPLE = (
    {name: name for name in "ln sin cos tan cot sec csc sinh cosh tanh coth floor ceil exp".split()}
    | {f"arc{name}": f"a{name}" for name in "sin cos tan cot sec csc".split()}
    | {"lg": "log10", "sgn": "sign"}
)
"""Functions of one argument, and what mpmath calls them."""


class Rows(list[Any]):
    """Is a matrix of numbers that adds to others."""

    def __add__(self, other: Value) -> Rows:
        if not isinstance(other, Rows) or self.shape != other.shape:
            raise t.Unreadable("matrices of different shapes")
        return Rows([a + b for a, b in zip(x, y, strict=True)] for x, y in zip(self, other, strict=True))

    __radd__ = __add__

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self[0])


def _number(value: Value) -> Value:
    if isinstance(value, Rows):
        raise t.Unreadable("a matrix in the place of a number")
    return value


def _times(a: Value, b: Value) -> Value:
    if isinstance(a, Rows) and isinstance(b, Rows):
        if a.shape[1] != b.shape[0]:
            raise t.Unreadable("matrices that cannot be multiplied")
        columns = list(zip(*b, strict=True))
        return Rows([reduce(operator.add, map(operator.mul, row, column)) for column in columns] for row in a)
    if isinstance(b, Rows):
        a, b = b, a
    return Rows([b * cell for cell in row] for row in a) if isinstance(a, Rows) else a * b


def _determinant(rows: list[list[Value]]) -> Value:
    if any(len(row) != len(rows) for row in rows) or len(rows) > 4:
        raise t.Unreadable("no square matrix")
    if len(rows) == 1:
        return rows[0][0]
    return sum(
        (-1) ** column * rows[0][column] * _determinant([row[:column] + row[column + 1 :] for row in rows[1:]])
        for column in range(len(rows))
    )


def point(name: str, index: int) -> Fraction:
    """Returns a fixed value for a symbol, of no pattern: by `index` below 1 and above, or negative."""
    draw = int.from_bytes(hashlib.sha256(f"{index}:{name}".encode()).digest()[:6], "big") / 2**48
    low, high = ((0.15, 0.95), (1.1, 3.0), (-0.9, -0.1), (-2.9, -1.1), (0.05, 0.8), (1.3, 5.0))[index % 6]
    return Fraction(round((low + (high - low) * draw) * 10**9), 10**9 + 7)


def is_real(value: Value) -> bool:
    """Returns whether a number has no imaginary part."""
    return not hasattr(value, "_mpc_") or value.imag == 0


def near(a: Value, b: Value, digits: int) -> bool:
    """Returns whether two numbers, or matrices, agree in the first 60 % of their digits."""
    if isinstance(a, Rows) or isinstance(b, Rows):
        is_same_shape = isinstance(a, Rows) and isinstance(b, Rows) and a.shape == b.shape
        return is_same_shape and all(near(p, q, digits) for rows in map(zip, a, b) for p, q in rows)
    scale = max(abs(a), abs(b))
    return bool(scale == 0 or abs(a - b) <= scale * 10 ** -(digits * 0.6))
