"""Compares, checks and shows plain values, which are what crosses to the sandbox and back."""

import math
from collections.abc import Iterator
from typing import Any

_TYPES = frozenset({bool, bytes, complex, dict, float, int, list, set, str, tuple})
"""What may stand among arguments beside plain values: these types themselves, as in `only(values, int)`."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _leaves(pair)
    else:
        yield value


def is_plain(value: Any) -> bool:
    """Says whether a value can stand among the arguments of a call."""
    return all(type(one) in _PLAIN or (isinstance(one, type) and one in _TYPES) for one in _leaves(value))


def holds_type(value: Any) -> bool:
    """Says whether a type stands among the arguments: such a call cannot be sent as values, only as source."""
    return any(isinstance(one, type) for one in _leaves(value))


def source_of(value: Any) -> str:
    """Writes an argument as Python source.

    >>> source_of({"a": [int, (1.5, float("inf"))]})
    "{'a': [int, (1.5, float('inf'),)]}"
    """
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{source_of(key)}: {source_of(one)}' for key, one in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}([{', '.join(map(source_of, value))}])"
    if isinstance(value, list):
        return f"[{', '.join(map(source_of, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{source_of(one)}, ' for one in value).rstrip()})"
    return repr(value)


def equal(one: Any, other: Any, tolerance: float | None = None) -> bool:
    """Compares as Python's `==` does, but NaN equals NaN, and floats may differ by a tolerance where there is one.

    >>> equal((1, [2.0, float("nan")]), (1, [2, float("nan")])), equal([1], (1,))
    (True, False)
    """
    if one == other:
        return True
    if isinstance(one, int | float) and isinstance(other, int | float):
        if one != one or other != other:
            return one != one and other != other
        try:
            return tolerance is not None and math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:  # a whole number beyond the floats
            return False
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        return all(equal(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return all(equal(value, other[key], tolerance) for key, value in one.items())
    return False


def shown(value: object, most: int = 80) -> str:
    """Shows a value to people, in at most so many characters."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        text = f"a value of type {type(value).__name__} with a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def clipped(source: str, most: int) -> str:
    """Puts source in one line of at most so many characters."""
    text = " ".join(source.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
