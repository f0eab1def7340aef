"""Holds the operations that a judgement may use, each with a bound.

The values may be a submission's, so whatever can take long or much memory on a value of a few megabytes is bounded
here. What is in none of these tables cannot be judged.
"""

import ast
import collections
import copy
import functools
import math
import operator
import string
import sys
from collections.abc import Callable, Iterable
from typing import Any

LONGEST = 10_000_000  # items of a sequence that a judgement may build
_MOST_BITS = 1_000_000
_EQUAL_HASHES = 64


class Failed(Exception):
    """Is raised for a test that does not hold, whatever its values: no answer, or one that cannot be worked with."""


UNKNOWN = object()  # an answer while a test is lifted; every operation on it is unknown


def apply(function: Callable[..., Any], *args: Any) -> Any:
    return UNKNOWN if any(arg is UNKNOWN for arg in args) else function(*args)


def _bits(*values: Any) -> int:
    return max((value.bit_length() for value in values if isinstance(value, int)), default=0)


def _bound(bits: int) -> None:
    if bits > _MOST_BITS:
        raise Failed("a number that is too large to judge")


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        _bound(_bits(base) * abs(exponent))
    return base**exponent


def _product(one: Any, other: Any) -> Any:
    _bound(_bits(one) + _bits(other))
    for left, right in ((one, other), (other, one)):
        if isinstance(left, str | bytes | list | tuple) and isinstance(right, int) and len(left) * right > LONGEST:
            raise Failed("a sequence that is too long to judge")
    return one * other


def _division(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def divide(one: Any, other: Any) -> Any:
        if isinstance(one, str | bytes):
            raise Failed("a text with %, which is not judged")
        _bound(10 * _bits(one, other))
        return function(one, other)

    return divide


def _round(value: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > 1000:
        raise Failed("a rounding to more than 1000 digits")
    return round(value, digits)


def _range(*ends: int) -> range:
    found = range(*ends)
    if _bits(*ends) > 60 or len(found) > 1_000_000:
        raise Failed("a range of more than a million numbers")
    return found


def _sum(values: Any, start: Any = 0) -> Any:
    items = list(values)
    if not isinstance(start, int | float) and len(items) > 1000:
        raise Failed("a sum of more than 1000 sequences")
    return sum(items, start)


def make_set(values: Any = ()) -> set[Any]:
    return set(_hashable(values))


def make_dict(values: Any = (), **more: Any) -> dict[Any, Any]:
    pairs = list(values.items() if isinstance(values, dict) else values)
    _hashable(pair[0] for pair in pairs)
    return dict(pairs, **more)


def _hashable(values: Any) -> list[Any]:
    """Lists the values, unless so many different ones of the same hash are among them that a set takes minutes."""
    items = list(values)
    if len(items) > _EQUAL_HASHES:
        ((worst, times),) = collections.Counter(map(hash, items)).most_common(1)
        different: list[Any] = []
        for item in items if times > _EQUAL_HASHES else ():
            if hash(item) == worst and item not in different:
                different.append(item)
                if len(different) > _EQUAL_HASHES:
                    raise Failed("values of too many equal hashes to judge")
    return items


def _factor(function: Callable[..., int]) -> Callable[..., int]:
    def bounded(*args: int) -> int:
        if any(isinstance(arg, int) and arg > 3000 for arg in args):
            raise Failed("a number that is too large to judge")
        return function(*args)

    return bounded


def _listed(function: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
    def listed(*args: Any, **keywords: Any) -> list[Any]:
        return list(function(*args, **keywords))

    return listed


def _is(one: Any, other: Any) -> bool:
    """Says whether values that have gone through a pipe count as identical: the same type and equal."""
    return type(one) is type(other) and bool(one == other)


UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
}  # fmt: skip
BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: _product, ast.Div: _division(operator.truediv),
    ast.FloorDiv: _division(operator.floordiv), ast.Mod: _division(operator.mod), ast.Pow: _power,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: _is, ast.IsNot: lambda one, other: not _is(one, other),
    ast.In: lambda one, other: one in other, ast.NotIn: lambda one, other: one not in other,
}  # fmt: skip
BUILTINS: dict[str, Any] = {
    **{one.__name__: one for one in (abs, all, any, bin, bool, bytes, chr, dict, float, frozenset, hex, int)},
    **{one.__name__: one for one in (isinstance, len, list, max, min, oct, ord, set, sorted, str, tuple, type)},
    **{one.__name__: _listed(one) for one in (enumerate, filter, map, reversed, zip)},
    "divmod": _division(divmod), "pow": _power, "range": _range, "round": _round, "sum": _sum,
}  # fmt: skip
BOUNDED: dict[Any, Callable[..., Any]] = {
    dict: make_dict, set: make_set, frozenset: lambda values=(): frozenset(_hashable(values)),
}  # fmt: skip
"""Types that stand for themselves in `isinstance`, and are called through these."""
ITERATING = frozenset(
    {"all", "any", "dict", "enumerate", "filter", "frozenset", "list", "map", "max", "min", "set", "sorted", "sum"}
    | {"tuple", "zip"}
)
"""What takes an iterator as well as a list."""
_MATH = "acos asin atan atan2 ceil copysign cos degrees dist e exp fabs floor fmod frexp fsum gcd hypot inf isclose"
_MATH += " isfinite isinf isnan isqrt lcm log log10 log1p log2 nan pi radians sin sqrt tan tau trunc"
_TEXTS = "ascii_letters ascii_lowercase ascii_uppercase digits hexdigits punctuation whitespace"
RANDOM = frozenset({"choice", "randint", "random", "randrange", "sample", "uniform"})
"""Drawn by a generator of fixed seed: the same numbers whenever the test is read."""
MODULES: dict[str, dict[str, Any]] = {
    "collections": {"Counter": collections.Counter, "OrderedDict": dict},
    "copy": {"copy": copy.copy, "deepcopy": copy.deepcopy},
    "math": {
        **{name: getattr(math, name) for name in _MATH.split()},
        **{name: _factor(getattr(math, name)) for name in ("comb", "factorial", "perm")},
        "pow": lambda one, other: float(one) ** float(other),
        "prod": lambda values: functools.reduce(_product, values, 1),
    },
    "random": {},
    "string": {name: getattr(string, name) for name in _TEXTS.split()},
    "sys": {"getsizeof": sys.getsizeof, "maxsize": sys.maxsize},
    "typing": dict.fromkeys(("Any", "Dict", "Iterable", "List", "Optional", "Set", "Tuple", "Union")),
}
CALLABLE = frozenset(
    one for one in (*BUILTINS.values(), *(v for held in MODULES.values() for v in held.values())) if callable(one)
)
_TEXT_METHODS = "capitalize casefold count encode endswith find index isalnum isalpha isascii isdecimal isdigit islower"
_TEXT_METHODS += " isidentifier isnumeric isspace istitle isupper join lower lstrip partition removeprefix removesuffix"
_TEXT_METHODS += " replace rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
_SET_METHODS = "copy difference intersection isdisjoint issubset issuperset symmetric_difference union"
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    bytes: frozenset({"count", "decode", "endswith", "find", "hex", "startswith"}),
    list: frozenset({"copy", "count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"copy", "get", "items", "keys", "values"}),
    set: frozenset(_SET_METHODS.split()),
    frozenset: frozenset(_SET_METHODS.split()),
    int: frozenset({"bit_count", "bit_length"}),
    float: frozenset({"is_integer"}),
}
