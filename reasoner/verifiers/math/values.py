r"""Are two expressions equal? Exactly where rational, else by evaluation to growing precision.

- Rational functions are compared by exact arithmetic: constants as fractions, variables at large random whole
  numbers (Schwartz 1980, Zippel 1979: two different ones agree at such a point with negligible chance, and never by
  rounding).
- Anything else is evaluated at several points. The difference of equal values shrinks with the precision, that of
  different ones does not; tiny values are told apart by that, not by a tolerance, down to 1e-120 of themselves.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import product

from reasoner.verifiers.math import tree as t
from reasoner.verifiers.math.exact import NotRational, Undefined, exact
from reasoner.verifiers.math.numeric import DIGITS, Numeric, Rows, Value, context, is_real, near, point

EXACT_POINTS = 3
MANY_DIGITS = 15  # significant digits from which on a decimal stands for the number it is the rounding of


def equal(a: t.Node, b: t.Node) -> bool:
    """Returns whether two expressions have the same value (for all values of their symbols, where both are real)."""
    try:
        return a == b or _equal(a, b)
    except Undefined:
        return False


def _equal(a: t.Node, b: t.Node) -> bool:
    if t.has(t.Inf, a, b):
        return infinite(a) is not None and infinite(a) == infinite(b)
    names = t.symbols(a)
    if names != t.symbols(b):
        return False
    try:
        return _exactly(a, b, names)
    except NotRational:
        pass
    # `\log` without a base means one of two things
    is_ambiguous = any(isinstance(node, t.Fn) and node.name == "log" and len(node.parts) == 1 for node in t.walk(a, b))
    return any(_numerically(a, b, names, base) for base in ((0, 10) if is_ambiguous else (0,)))


def infinite(node: t.Node) -> int | None:
    """Returns the sign of an infinity; None for anything else."""
    match node:
        case t.Inf():
            return 1
        case t.Neg(inner):
            sign = infinite(inner)
            return None if sign is None else -sign
    return None


def _exactly(a: t.Node, b: t.Node, names: frozenset[str]) -> bool:
    if not names:
        return exact(a) == exact(b)
    for node in t.walk(a, b):
        match node:
            case t.App() | t.Fn() | t.Root() | t.Abs() | t.Fact() | t.Big():
                raise NotRational
            case t.Pow(_, exponent) if t.symbols(exponent):
                raise NotRational
    agreed = 0
    for index in range(EXACT_POINTS):
        draws = {name: hashlib.sha256(f"exact {index}:{name}".encode()).digest()[:4] for name in names}
        at = {name: Fraction(int.from_bytes(draw, "big") + 2**31) for name, draw in draws.items()}
        with suppress(Undefined):
            if exact(a, at) != exact(b, at):
                return False
            agreed += 1
    return agreed > 0


def _at_points(
    a: t.Node, b: t.Node, digits: int, *, base: int = 0, num_points: int = 6
) -> Iterator[tuple[Value, Value]]:
    for index in range(num_points):
        at = {name: point(name, index) for name in t.symbols(a)}
        try:
            found = Numeric(digits, at, base)(a), Numeric(digits, at, base)(b)
        except Undefined:
            continue
        yield found


def _numerically(a: t.Node, b: t.Node, names: frozenset[str], base: int) -> bool:
    """Returns whether they are equal at every point where both are real; where they never are, as complex numbers."""
    if not names:
        return _same_limit(a, b, base)
    num_real, others = 0, []
    for x, y in _at_points(a, b, DIGITS[0], base=base):
        is_same = near(x, y, DIGITS[0])
        if not (is_real(x) and is_real(y)):
            others.append(is_same)
        elif is_same:
            num_real += 1
        else:
            return False
    if num_real < 2 and not (num_real + len(others) > 0 and all(others)):
        return False
    for x, y in _at_points(a, b, DIGITS[-1], base=base):
        if is_real(x) == is_real(y):
            return near(x, y, DIGITS[-1])
    return False


def _same_limit(a: t.Node, b: t.Node, base: int) -> bool:
    """Returns whether the difference of two constants goes to zero as the precision grows."""
    before: int | None = None
    for digits in DIGITS:
        try:
            x, y = Numeric(digits, {}, base)(a), Numeric(digits, {}, base)(b)
        except Undefined:
            return False
        if isinstance(x, Rows) or isinstance(y, Rows):
            return near(x, y, digits)
        mag, reach = context(digits).mag, int(digits * 3.32 * 0.6)  # magnitudes are powers of two
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


def proportion(a: t.Node, b: t.Node) -> int:
    """Returns the sign of c where a = c b for all values of the symbols, c a number other than 0; else 0."""
    names = t.symbols(a)
    if names != t.symbols(b) or not names:
        return 0
    ratios = []
    for x, y in _at_points(a, b, DIGITS[-1], num_points=5):
        if isinstance(x, Rows) or isinstance(y, Rows) or x == 0 or y == 0:
            return 0
        ratios.append(x / y)
    if len(ratios) < 3 or not all(near(ratio, ratios[0], DIGITS[-1]) for ratio in ratios) or not is_real(ratios[0]):
        return 0
    return 1 if ratios[0].real > 0 else -1


def real(node: t.Node) -> float | None:
    """Returns a value as a float, infinities included; None where it is no real number."""
    sign = infinite(node)
    if sign is not None:
        return sign * float("inf")
    try:
        value = Numeric(DIGITS[0])(node)
        return None if isinstance(value, Rows) or not is_real(value) else float(value.real)
    except (Undefined, t.Unreadable):
        return None


def is_rounding(decimal: t.Node, other: t.Node) -> bool:
    """Returns whether a decimal of many digits is the rounding of a value that is no decimal itself."""
    sign = -1 if isinstance(decimal, t.Neg) else 1
    match decimal:
        case t.Num(value, written) | t.Neg(t.Num(value, written)) if written:
            places = len(written.partition(".")[2])
            num_digits = len(written.replace(".", "").lstrip("0"))
        case _:
            return False
    is_decimal = isinstance(other, t.Num) and bool(other.written)
    if is_decimal or num_digits < MANY_DIGITS or places < 2 or t.symbols(other):
        return False
    try:
        exact_value = Numeric(DIGITS[1])(other)
    except (Undefined, t.Unreadable):
        return False
    if isinstance(exact_value, Rows) or not is_real(exact_value):
        return False
    mpf = context(DIGITS[1]).mpf
    return bool(abs(exact_value - sign * mpf(value.numerator) / value.denominator) <= mpf(10) ** -places)


def variants(node: t.Node) -> Iterator[t.Node]:
    r"""Yields every reading of the `\pm` in a tree, each on its own; `\mp` goes against the first `\pm`."""
    count = sum(isinstance(one, t.Pm) for one in t.walk(node))
    if count > 4:
        raise t.TooLarge("too many signs of two values")
    for signs in product((1, -1), repeat=max(count, int(t.has(t.Mp, node)))):
        yield _signed(node, list(signs), signs[0] if signs else 1)


def _signed(node: t.Node, signs: list[int], first: int) -> t.Node:
    if not isinstance(node, (t.Pm, t.Mp)):
        return node.map(lambda part: _signed(part, signs, first))
    sign = signs.pop(0) if isinstance(node, t.Pm) else -first
    left, right = _signed(node.left, signs, first), _signed(node.right, signs, first)
    right = right if sign > 0 else t.Neg(right)
    return right if left == t.ZERO else t.Add((left, right))
