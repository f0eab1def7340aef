"""Expressions -> exact rational numbers, where they have one.

Work is bounded: size of powers and factorials, terms of a sum, number of operations (`TooLarge`).
"""

import math
import threading
from fractions import Fraction
from functools import partial, reduce

from reasoner.verifiers.math import tree as t

MAX_BITS = 200_000  # largest exact number, in bits
MAX_TERMS = 3_000
MAX_OPERATIONS = 300_000
_LOCAL = threading.local()


class NotRational(Exception):
    """Is raised where a value leaves the rational numbers."""


class Undefined(Exception):
    """Is raised where there is no value: division by zero, the logarithm of zero."""


def allow(operations: int = MAX_OPERATIONS) -> None:
    """Starts the count of operations of one check; past it, `TooLarge`.

    It counts and takes no time: a verdict never depends on the load of the machine.
    """
    _LOCAL.left = operations


def spend(amount: int) -> None:
    _LOCAL.left = getattr(_LOCAL, "left", MAX_OPERATIONS) - amount
    if _LOCAL.left < 0:
        raise t.TooLarge("too many operations")


def exact(node: t.Node, at: dict[str, Fraction] | None = None) -> Fraction:
    """Returns the rational value; symbols take theirs from `at`. Raises `NotRational`, `Undefined`, `TooLarge`."""
    spend(1)
    of = partial(exact, at=at)
    match node:
        case t.Num(value):
            return value
        case t.Sym(name):
            if at is None or name in t.CONSTANTS or name not in at:
                raise NotRational
            return at[name]
        case t.Add(parts):
            return _small(sum(map(of, parts), Fraction(0)))
        case t.Mul(parts):
            return reduce(lambda result, part: _small(result * of(part)), parts, Fraction(1))
        case t.Neg(inner):
            return -of(inner)
        case t.Div(above, below):
            divisor = _not_zero(of(below))
            return _small(of(above) / divisor)
        case t.Pow(base, exponent):
            return _power(of(base), of(exponent))
        case t.Root(inner, index):
            value, degree = of(inner), _not_zero(of(index))
            if value < 0 and degree.denominator == 1 and degree % 2:  # as schools have it: not the principal root
                return -_power(-value, 1 / degree)
            return _power(value, 1 / degree)
        case t.Fact(inner):
            return _factorial(of(inner))
        case t.Abs(inner):
            return abs(of(inner))
        case t.Pct(inner):
            return of(inner) / 100
        case t.Fn((above, below), "binom"):
            return _binomial(of(above), of(below))
        case t.Fn((inner,), "floor" | "ceil" as name):
            return Fraction((math.floor if name == "floor" else math.ceil)(of(inner)))
        case t.Fn((above, below), "mod"):
            return of(above) % _not_zero(of(below))
        case t.Fn(parts, "max" | "min" as name):
            return (max if name == "max" else min)(map(of, parts))
        case t.Fn(parts, "gcd" | "lcm" as name):
            return Fraction((math.gcd if name == "gcd" else math.lcm)(*_whole([of(part) for part in parts])))
        case t.Big():
            return _total(node, at or {})
    raise NotRational


def _total(node: t.Big, at: dict[str, Fraction]) -> Fraction:
    low, high, body = node.parts
    first, last = _whole([exact(low, at), exact(high, at)])
    if last - first > MAX_TERMS:
        raise t.TooLarge(f"a sum of {_shown(last - first)} terms")
    result = Fraction(0 if node.name == "sum" else 1)
    for index in range(first, last + 1):
        term = exact(body, {**at, node.variable: Fraction(index)})
        result = _small(result + term if node.name == "sum" else result * term)
    return result


def _factorial(value: Fraction) -> Fraction:
    if value.denominator != 1 or value < 0:
        raise NotRational
    if value > 5_000:
        raise t.TooLarge(f"the factorial of {_shown(value)}")
    return Fraction(math.factorial(int(value)))


def _binomial(n: Fraction, k: Fraction) -> Fraction:
    if n.denominator != 1 or k.denominator != 1 or n < 0:
        raise NotRational
    if k < 0 or k > n:
        return Fraction(0)
    if min(k, n - k) * n.numerator.bit_length() > MAX_BITS:
        raise t.TooLarge("a binomial coefficient")
    return _small(Fraction(math.comb(int(n), int(k))))


def _whole(values: list[Fraction]) -> list[int]:
    if any(value.denominator != 1 for value in values):
        raise NotRational
    return [int(value) for value in values]


def _not_zero(value: Fraction) -> Fraction:
    if value == 0:
        raise Undefined("division by zero")
    return value


def _small(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise t.TooLarge("a number of too many digits")
    return value


def _shown(value: Fraction | int) -> str:
    return str(value) if value.numerator.bit_length() < 60 else "a huge number"


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _power(_exact_root(base, exponent.denominator), Fraction(exponent.numerator))
    if base == 0 and exponent < 0:
        raise Undefined("division by zero")
    if base in (0, 1, -1):
        return base if exponent % 2 else base * base if exponent else Fraction(1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.numerator.bit_length() > 40 or bits * abs(exponent) > MAX_BITS:
        raise t.TooLarge("a power of too many digits")
    return base ** int(exponent)


def _exact_root(value: Fraction, degree: int) -> Fraction:
    """Returns the root where it is rational and no root of a negative (whose principal root is not real)."""
    if value < 0 or degree > 1_000:
        raise NotRational
    return Fraction(_whole_root(value.numerator, degree), _whole_root(value.denominator, degree))


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
