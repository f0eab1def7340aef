"""Are two expressions equal? Exactly where rational, else by evaluation to growing precision.

- Rational functions are compared by exact arithmetic: constants as fractions, variables at large random whole
  numbers (Schwartz 1980, Zippel 1979: two different ones agree at such a point with negligible chance, and never by
  rounding).
- Anything else is evaluated with mpmath at several points. The difference of equal values shrinks with the precision,
  that of different ones does not; tiny values are told apart by that, not by a tolerance. What differs by less than
  1e-120 of itself is not told apart.

Work is bounded: size of powers and factorials, terms of a sum, number of operations (`TooLarge`). No text is
evaluated: the input is a tree of `reading`.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from typing import Any

from reasoner.verifiers.math.reader import Node, TooLarge, Unreadable

MAX_BITS = 200_000
"""Largest exact number, in bits."""
MAX_LOG2 = 4_000_000
"""Largest number that is computed with, as the power of two."""
MAX_TERMS = 3_000
MAX_OPERATIONS = 300_000
EXACT_POINTS = 3
DIGITS = (40, 90, 200)

CONSTANTS = frozenset({"pi", "e", "i"})


class NotRational(Exception):
    """The value leaves the rational numbers."""


class Undefined(Exception):
    """No value: division by zero, the logarithm of zero."""


def symbols(node: Node) -> frozenset[str]:
    """Free symbols, without the constants; applications of unknown functions and bound variables count by name."""
    kind = node[0]
    if kind == "sym":
        return frozenset() if node[1] in CONSTANTS else frozenset({node[1]})
    if kind == "big":
        return (symbols(node[5]) - {node[2]}) | symbols(node[3]) | symbols(node[4])
    found: set[str] = {node[1]} if kind == "app" else set()
    for part in node[1:]:
        if isinstance(part, tuple) and part and isinstance(part[0], str):
            found |= symbols(part)
        elif isinstance(part, tuple):
            for inner in part:
                if isinstance(inner, tuple) and inner:
                    found |= symbols(inner)
    return frozenset(found)


def has(node: Any, *kinds: str) -> bool:
    """Whether a node of one of these kinds stands anywhere in the tree."""
    if not isinstance(node, tuple):
        return False
    return (bool(node) and node[0] in kinds) or any(has(part, *kinds) for part in node)


# -- exact ---------------------------------------------------------------------------------------


_LOCAL = threading.local()


def allow(operations: int = MAX_OPERATIONS) -> None:
    """Start the count of operations of one check; past it, `TooLarge`. Counted, not timed: a verdict never depends on
    the load of the machine."""
    _LOCAL.left = operations


def _spend(amount: int) -> None:
    _LOCAL.left = getattr(_LOCAL, "left", MAX_OPERATIONS) - amount
    if _LOCAL.left < 0:
        raise TooLarge("too many operations")


def exact(node: Node, at: dict[str, Fraction] | None = None) -> Fraction:
    """The exact rational value; symbols take their values from `at`. Raises `NotRational`, `Undefined`, `TooLarge`."""
    _spend(1)

    def of(part: Node) -> Fraction:
        return exact(part, at)

    match node:
        case ("num", value, *_):
            return Fraction(value)
        case ("sym", name):
            if at is None or name in CONSTANTS or name not in at:
                raise NotRational
            return at[name]
        case ("add", *parts):
            return _small(sum((of(part) for part in parts), Fraction(0)))
        case ("mul", *parts):
            result = Fraction(1)
            for part in parts:
                result = _small(result * of(part))
            return result
        case ("neg", part):
            return -of(part)
        case ("div", above, below):
            divisor = of(below)
            if divisor == 0:
                raise Undefined("division by zero")
            return _small(of(above) / divisor)
        case ("pow", base, exponent):
            return _power(of(base), of(exponent))
        case ("root", inner, index):
            return _power(of(inner), 1 / _not_zero(of(index)))
        case ("fact", inner):
            value = of(inner)
            if value.denominator != 1 or value < 0:
                raise NotRational
            if value > 5_000:
                raise TooLarge(f"the factorial of {_shown(value)}")
            return Fraction(math.factorial(int(value)))
        case ("abs", inner):
            return abs(of(inner))
        case ("pct", inner):
            return of(inner) / 100
        case ("fn", "binom", above, below):
            n, k = of(above), of(below)
            if n.denominator != 1 or k.denominator != 1 or n < 0:
                raise NotRational
            if k < 0 or k > n:
                return Fraction(0)
            if min(k, n - k) * n.numerator.bit_length() > MAX_BITS:
                raise TooLarge("a binomial coefficient")
            return _small(Fraction(math.comb(int(n), int(k))))
        case ("fn", "floor", inner):
            return Fraction(math.floor(of(inner)))
        case ("fn", "ceil", inner):
            return Fraction(math.ceil(of(inner)))
        case ("fn", "mod", above, below):
            return of(above) % _not_zero(of(below))
        case ("fn", ("gcd" | "lcm" | "max" | "min") as name, *parts):
            values = [of(part) for part in parts]
            if name in ("max", "min"):
                return max(values) if name == "max" else min(values)
            if any(value.denominator != 1 for value in values):
                raise NotRational
            whole = [int(value) for value in values]
            return Fraction(math.gcd(*whole) if name == "gcd" else math.lcm(*whole))
        case ("big", name, variable, low, high, body):
            first, last = of(low), of(high)
            if first.denominator != 1 or last.denominator != 1:
                raise NotRational
            if last - first > MAX_TERMS:
                raise TooLarge(f"a sum of {_shown(last - first)} terms")
            result = Fraction(0 if name == "sum" else 1)
            for index in range(int(first), int(last) + 1):
                term = exact(body, {**(at or {}), variable: Fraction(index)})
                result = _small(result + term if name == "sum" else result * term)
            return result
    raise NotRational


def _not_zero(value: Fraction) -> Fraction:
    if value == 0:
        raise Undefined("division by zero")
    return value


def _small(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise TooLarge("a number of too many digits")
    return value


def _shown(value: Fraction) -> str:
    return str(value) if value.numerator.bit_length() < 60 else "a huge number"


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        root = _exact_root(base, exponent.denominator)
        return _power(root, Fraction(exponent.numerator))
    if base == 0 and exponent < 0:
        raise Undefined("division by zero")
    if base in (0, 1, -1):
        if exponent == 0 or base == 1:
            return Fraction(1)
        return Fraction(0) if base == 0 else Fraction(-1 if exponent % 2 else 1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.numerator.bit_length() > 40 or bits * abs(exponent) > MAX_BITS:
        raise TooLarge("a power of too many digits")
    return base ** int(exponent)


def _exact_root(value: Fraction, degree: int) -> Fraction:
    """The root where it is rational and the base not negative (the principal root of a negative is not real)."""
    if value < 0 or degree > 1_000:
        raise NotRational
    roots = [_whole_root(part, degree) for part in (value.numerator, value.denominator)]
    return Fraction(roots[0], roots[1])


def _whole_root(value: int, degree: int) -> int:
    if value in (0, 1):
        return value
    if degree == 2:
        root = math.isqrt(value)
    else:  # Newton's method from above
        root = 1 << (value.bit_length() // degree + 1)
        while (better := ((degree - 1) * root + value // root ** (degree - 1)) // degree) < root:
            root = better
    if root**degree != value:
        raise NotRational
    return root


# -- to growing precision ------------------------------------------------------------------------


def context(digits: int) -> Any:
    """A context of mpmath for this thread: its precision is global to a context."""
    if not hasattr(_LOCAL, "contexts"):
        _LOCAL.contexts = {}
    if digits not in _LOCAL.contexts:
        import mpmath  # type: ignore[import-untyped]

        context = mpmath.mp.clone()
        context.dps = digits
        _LOCAL.contexts[digits] = context
    return _LOCAL.contexts[digits]


class Numeric:
    """Evaluates a tree in complex numbers of `digits` digits; unknown functions get a value of their own for each
    argument, so that equal ones stay equal."""

    def __init__(self, digits: int, at: dict[str, Fraction], log_base: int = 0) -> None:
        self.mp = context(digits)
        self.at = {name: self._of(value) for name, value in at.items()}
        self.log_base = log_base

    def _of(self, value: Fraction) -> Any:
        return self.mp.mpf(value.numerator) / self.mp.mpf(value.denominator)

    def __call__(self, node: Node) -> Any:
        try:
            value = self._value(node)
        except (ZeroDivisionError, ValueError, OverflowError) as error:
            if isinstance(error, Unreadable | TooLarge):
                raise
            raise Undefined(str(error)) from None
        if isinstance(value, list):
            return value
        return self._finite(value)

    def _finite(self, value: Any) -> Any:
        mp = self.mp
        if mp.isnan(value) or mp.isinf(value):
            raise Undefined("no finite value")
        if value != 0 and abs(mp.mag(value)) > MAX_LOG2:
            raise TooLarge("a number too large to compute with")
        if isinstance(value, mp.mpc) and value.imag == 0:
            return value.real
        return value

    def _size(self, value: Any, limit: float) -> Any:
        if value != 0 and self.mp.mag(value) > math.log2(limit) + 1:
            raise TooLarge("an argument too large to compute with")
        return value

    def _value(self, node: Node) -> Any:
        _spend(10)
        mp, of = self.mp, self.__call__
        match node:
            case ("num", value, *_):
                return self._of(Fraction(value))
            case ("sym", "pi"):
                return +mp.pi
            case ("sym", "e"):
                return +mp.e
            case ("sym", "i"):
                return mp.mpc(0, 1)
            case ("sym", name):
                if name not in self.at:
                    self.at[name] = self._of(point(name, 0))
                return self.at[name]
            case ("inf", *_):
                raise Undefined("infinity")
            case ("add", *parts):
                return _fold(lambda a, b: a + b, [of(part) for part in parts])
            case ("mul", *parts):
                return _fold(_times, [of(part) for part in parts])
            case ("neg", part):
                return _times(mp.mpf(-1), of(part))
            case ("div", above, below):
                return _times(1 / self._number(of(below)), of(above))
            case ("pow", base, exponent):
                return self._pow(of(base), of(exponent))
            case ("root", inner, index):
                value, degree = of(inner), of(index)
                return (
                    mp.root(value, int(degree))
                    if degree == int(mp.re(degree)) and 0 < degree < 1000
                    else value ** (1 / degree)
                )
            case ("fact", inner):
                return mp.gamma(self._size(of(inner), 20_000) + 1)
            case ("abs", inner):
                return abs(of(inner))
            case ("pct", inner):
                return of(inner) / 100
            case ("deg", inner):
                return of(inner) * mp.pi / 180
            case ("matrix", "det", *rows):
                return _determinant([[of(cell) for cell in row] for row in rows])
            case ("matrix", _, *rows):
                return Rows([[of(cell) for cell in row] for row in rows])
            case ("fn", name, *arguments):
                return self._function(name, arguments)
            case ("app", name, *arguments):
                return self._hash(name, [of(argument) for argument in arguments])
            case ("big", name, variable, low, high, body):
                return self._big(name, variable, low, high, body)
        raise Unreadable(f"a {node[0]} in an expression")

    def _number(self, value: Any) -> Any:
        if isinstance(value, list):
            raise Unreadable("a matrix in the place of a number")
        return value

    def _pow(self, base: Any, exponent: Any) -> Any:
        if isinstance(base, list) or isinstance(exponent, list):
            raise Unreadable("a power of a matrix")
        mp = self.mp
        if base != 0 and exponent != 0:
            growth = abs(mp.mag(base)) + 1
            if mp.mag(exponent) > 60 or growth * (abs(exponent) + 1) > MAX_LOG2:
                raise TooLarge("a power too large to compute with")
        if base == 0 and mp.re(exponent) < 0:
            raise Undefined("division by zero")
        if exponent == mp.mpf(1) / 2:
            return mp.sqrt(base)
        return base**exponent

    def _function(self, name: str, arguments: list[Node]) -> Any:
        mp = self.mp
        values = [self._number(self(argument)) for argument in arguments]
        first = values[0]
        if name == "log":
            if len(values) == 2:
                return mp.ln(first) / mp.ln(values[1])
            return mp.ln(first) / mp.ln(self.log_base) if self.log_base else mp.ln(first)
        simple: dict[str, Callable[[Any], Any]] = {
            "ln": mp.ln, "lg": mp.log10, "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "cot": mp.cot, "sec": mp.sec,
            "csc": mp.csc, "arcsin": mp.asin, "arccos": mp.acos, "arctan": mp.atan, "arccot": mp.acot,
            "arcsec": mp.asec, "arccsc": mp.acsc, "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh, "coth": mp.coth,
            "floor": mp.floor,
            "ceil": mp.ceil, "sgn": mp.sign, "exp": mp.exp,
        }  # fmt: skip
        if name in simple:
            self._size(first, 1e6 if name in ("exp", "sinh", "cosh", "tanh", "coth") else 1e30)
            return simple[name](first)
        if name == "binom":
            self._size(first, 20_000), self._size(values[1], 20_000)
            return mp.binomial(first, values[1])
        if name == "mod" and not any(isinstance(value, mp.mpc) for value in values):
            return first - values[1] * mp.floor(first / values[1])
        if name in ("max", "min") and not any(isinstance(value, mp.mpc) for value in values):
            return max(values) if name == "max" else min(values)
        return self._hash(name, values)

    def _big(self, name: str, variable: str, low: Node, high: Node, body: Node) -> Any:
        first, last = self(low), self(high)
        mp = self.mp
        before = self.at.get(variable)
        try:
            if mp.isint(first) and mp.isint(last) and not symbols(low) and not symbols(high):
                if last - first > MAX_TERMS:
                    raise TooLarge("a sum of too many terms")
                total = mp.mpf(0 if name == "sum" else 1)
                for index in range(int(first), int(last) + 1):
                    self.at[variable] = mp.mpf(index)
                    total = total + self(body) if name == "sum" else total * self(body)
                return total
            self.at[variable] = self._of(point("bound variable", 0))
            return self._hash(name, [first, last, self(body)])
        finally:
            if before is None:
                self.at.pop(variable, None)
            else:
                self.at[variable] = before

    def _hash(self, name: str, values: list[Any]) -> Any:
        """A number that depends on the name and, to 25 digits, on the values."""
        text = name + "|" + "|".join(self.mp.nstr(self._number(value), 25) for value in values)
        return self._of(point(text, 7))


class Rows(list[Any]):
    """A matrix of numbers: it adds, scales and multiplies."""

    def __add__(self, other: Any) -> Rows:
        if not isinstance(other, Rows) or self.shape != other.shape:
            raise Unreadable("matrices of different shapes")
        return Rows([[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(self, other, strict=True)])

    __radd__ = __add__

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self[0])


def _times(a: Any, b: Any) -> Any:
    if isinstance(a, Rows) and isinstance(b, Rows):
        if a.shape[1] != b.shape[0]:
            raise Unreadable("matrices that cannot be multiplied")
        return Rows(
            [
                [
                    _fold(lambda x, y: x + y, [p * q for p, q in zip(row, column, strict=True)])
                    for column in zip(*b, strict=True)
                ]
                for row in a
            ]
        )
    if isinstance(a, Rows) or isinstance(b, Rows):
        rows, number = (a, b) if isinstance(a, Rows) else (b, a)
        return Rows([[number * cell for cell in row] for row in rows])
    return a * b


def _determinant(rows: list[list[Any]]) -> Any:
    if any(len(row) != len(rows) for row in rows) or len(rows) > 4:
        raise Unreadable("no square matrix")
    if len(rows) == 1:
        return rows[0][0]
    return sum(
        (-1) ** column * rows[0][column] * _determinant([row[:column] + row[column + 1 :] for row in rows[1:]])
        for column in range(len(rows))
    )


def _fold(operation: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = operation(result, value)
    return result


def point(name: str, index: int) -> Fraction:
    """A fixed value for a symbol, of no pattern: positive below and above 1, then negative, by `index`."""
    draw = int.from_bytes(hashlib.sha256(f"{index}:{name}".encode()).digest()[:6], "big") / 2**48
    low, high = ((0.15, 0.95), (1.1, 3.0), (-0.9, -0.1), (-2.9, -1.1), (0.05, 0.8), (1.3, 5.0))[index % 6]
    return Fraction(round((low + (high - low) * draw) * 10**9), 10**9 + 7)


# -- equal ---------------------------------------------------------------------------------------


def equal(a: Node, b: Node) -> bool:
    """Whether two expressions have the same value (for all values of their symbols, where both are real)."""
    try:
        return a == b or _equal(a, b)
    except Undefined:
        return False


def _equal(a: Node, b: Node) -> bool:
    if has((a, b), "inf"):
        return infinite(a) is not None and infinite(a) == infinite(b)
    names = symbols(a)
    if names != symbols(b):
        return False
    try:
        return _exactly(a, b, names)
    except NotRational:
        pass
    bases = (0, 10) if _has_bare_log((a, b)) else (0,)  # `\\log` without a base means one of two things
    return any(_numerically(a, b, names, base) for base in bases)


def _has_bare_log(node: Any) -> bool:
    if not isinstance(node, tuple):
        return False
    return (len(node) == 3 and node[:2] == ("fn", "log")) or any(_has_bare_log(part) for part in node)


def infinite(node: Node) -> int | None:
    match node:
        case ("inf", *_):
            return 1
        case ("neg", inner):
            sign = infinite(inner)
            return None if sign is None else -sign
    return None


def _exactly(a: Node, b: Node, names: frozenset[str]) -> bool:
    if not names:
        return exact(a) == exact(b)
    if has((a, b), "app", "fn", "root", "abs", "fact"):
        raise NotRational
    if _variable_power((a, b)):
        raise NotRational
    agreed = 0
    for index in range(EXACT_POINTS):
        at = {}
        for name in names:
            draw = hashlib.sha256(f"exact {index}:{name}".encode()).digest()
            at[name] = Fraction(int.from_bytes(draw[:4], "big") + 2**31)
        try:
            if exact(a, at) != exact(b, at):
                return False
            agreed += 1
        except Undefined:
            continue
    return agreed > 0


def _variable_power(node: Any) -> bool:
    """Whether a symbol stands in an exponent."""
    if not isinstance(node, tuple):
        return False
    if node and node[0] == "pow" and symbols(node[2]):
        return True
    if node and node[0] == "big":
        return True
    return any(_variable_power(part) for part in node)


def _numerically(a: Node, b: Node, names: frozenset[str], base: int) -> bool:
    """Equal at every point where both are real; where they never are, as complex numbers."""
    if not names:
        return _same_limit(a, b, base)
    real, other = 0, []
    for index in range(6):
        at = {name: point(name, index) for name in names}
        try:
            x, y = Numeric(DIGITS[0], at, base)(a), Numeric(DIGITS[0], at, base)(b)
        except Undefined:
            continue
        if isinstance(x, list) or isinstance(y, list):
            if not (isinstance(x, list) and isinstance(y, list) and _same_rows(x, y, DIGITS[0])):
                return False
            real += 1
            continue
        same = near(x, y, DIGITS[0])
        if is_real(x) and is_real(y):
            if not same:
                return False
            real += 1
        else:
            other.append(same)
    if not (real >= 2 or (real + len(other) > 0 and all(other))):
        return False
    return _at_full_precision(a, b, names, base)


def _at_full_precision(a: Node, b: Node, names: frozenset[str], base: int) -> bool:
    """Whether what agreed at the first precision still does at the last, at one point where both have a value."""
    for index in range(6):
        at = {name: point(name, index) for name in names}
        try:
            x, y = Numeric(DIGITS[-1], at, base)(a), Numeric(DIGITS[-1], at, base)(b)
        except Undefined:
            continue
        if isinstance(x, list) and isinstance(y, list):
            return _same_rows(x, y, DIGITS[-1])
        if is_real(x) == is_real(y):
            return near(x, y, DIGITS[-1])
    return False


def is_real(value: Any) -> bool:
    return not hasattr(value, "_mpc_") or value.imag == 0


def near(a: Any, b: Any, digits: int) -> bool:
    scale = max(abs(a), abs(b))
    return bool(scale == 0 or abs(a - b) <= scale * 10 ** -(digits * 0.6))


def _same_limit(a: Node, b: Node, base: int) -> bool:
    """Whether the difference of two constants goes to zero as the precision grows. Magnitudes are powers of two."""
    before: int | None = None
    for digits in DIGITS:
        try:
            x, y = Numeric(digits, {}, base)(a), Numeric(digits, {}, base)(b)
        except Undefined:
            return False
        if isinstance(x, list) or isinstance(y, list):
            return isinstance(x, list) and isinstance(y, list) and _same_rows(x, y, digits)
        mag, reach = context(digits).mag, int(digits * 3.32 * 0.6)
        difference, scale = abs(x - y), max(abs(x), abs(y))
        if difference == 0:
            before = None
            continue
        gap = mag(difference)
        if gap > mag(scale) - reach:  # not equal so far, unless both are what rounding left of zero
            shrinks = before is not None and gap < before - 60
            could_be_zero = before is None and mag(scale) < -reach
            if not (shrinks or could_be_zero):
                return False
        before = gap
    return True


def _same_rows(a: list[Any], b: list[Any], digits: int) -> bool:
    return len(a) == len(b) and all(
        len(x) == len(y) and all(near(p, q, digits) for p, q in zip(x, y, strict=True))
        for x, y in zip(a, b, strict=True)
    )


def variants(node: Node) -> Iterator[Node]:
    r"""Every reading of the `\pm` in a tree, each on its own; `\mp` goes against the first `\pm`."""
    count = _count(node)
    if count > 4:
        raise TooLarge("too many signs of two values")
    for signs in product((1, -1), repeat=max(count, 1 if has(node, "mp") else 0)):
        yield _signed(node, list(signs), signs[0] if signs else 1)


def _count(node: Any) -> int:
    if not isinstance(node, tuple):
        return 0
    return (1 if node and node[0] == "pm" else 0) + sum(_count(part) for part in node)


def _signed(node: Node, signs: list[int], first: int) -> Node:
    if node[0] in ("pm", "mp"):
        sign = signs.pop(0) if node[0] == "pm" else -first
        left, right = _signed(node[1], signs, first), _signed(node[2], signs, first)
        right = right if sign > 0 else ("neg", right)
        return right if left == ("num", Fraction(0)) else ("add", left, right)
    parts = []
    for part in node:
        if isinstance(part, tuple) and part and isinstance(part[0], str) and not all(isinstance(p, str) for p in part):
            parts.append(_signed(part, signs, first))
        elif isinstance(part, tuple) and part and isinstance(part[0], tuple):
            parts.append(tuple(_signed(inner, signs, first) for inner in part))
        else:
            parts.append(part)
    return tuple(parts)
