"""Turns plain values into bytes and back: what crosses the wall of the sandbox. It runs inside too: stdlib only.

A value is one tag byte and what follows it: eight bytes for a float, a length and bytes for an integer (big-endian,
two's complement), a text or bytes, a count and that many values for a container. Every string of bytes is either one
value or a `FrameError`: nothing is evaluated, no name is looked up, no class is built. Bytes, values and depth are
bounded on both sides, and so is the work: `decode` refuses the many equal hashes that make a set quadratic.

What it does not promise: that a value is honest. Code inside can send what it likes, which is what its answer is.
A subclass is sent as the value that it holds, whatever methods it overrides: a `Counter` as a dict, a named tuple as
a tuple, an `IntEnum` as an integer; a bytearray as bytes and the keys of a dict as a set, which is what they equal.
"""

from __future__ import annotations

import struct
from collections import Counter
from itertools import islice
from typing import Any

MAX_DEPTH = 100
MAX_COST = 1_000_000  # that all values together may cost
CONTAINER = 4  # what a container costs; anything else costs 1
MAX_EQUAL_HASHES, MAX_SETS_IN_SETS = 16, 2
"""Limits that keep the building of a set about linear: elements of one hash, frozen sets within frozen sets."""

_SIZE = struct.Struct(">I")
_FLOAT = struct.Struct(">d")
_COMPLEX = struct.Struct(">dd")


class FrameError(ValueError):
    """Is raised for bytes that are no value, and for a value that cannot be sent."""


class Budget:
    """Counts what may still be sent or read: one for all values of a run."""

    __slots__ = ("left",)

    def __init__(self, cost: int = MAX_COST) -> None:
        self.left = cost


# -- inside: values to bytes -------------------------------------------------------------------


def encode(value: object, budget: Budget | None = None, max_bytes: int = 1 << 30, is_listed: bool = False) -> bytes:
    """Returns the bytes of a value; `FrameError` names what is not plain. `is_listed` sends a top iterable as a list.

    >>> decode(encode({"a": (1, 2.5, {3})}))
    {'a': (1, 2.5, {3})}
    """
    out = bytearray()
    budget = Budget() if budget is None else budget
    if is_listed and _plain(type(value)) is None:
        value = _listed(value, budget.left)
    _put(out, value, budget, max_bytes, 0)
    return bytes(out)


def _listed(value: Any, most: int) -> object:
    """Returns an iterable as a list that is no longer than `most`; anything else as it is."""
    try:
        steps = iter(value)
    except TypeError:
        return value
    found = list(islice(steps, most + 1))
    if len(found) > most:
        raise FrameError("too many values")
    return found


def _plain(kind: type) -> type | None:
    """Returns the plain type that a type is or derives from, by its bases: `__class__` can say anything."""
    if kind in _TAGS:
        return kind
    for base in type.__dict__["__mro__"].__get__(kind):
        if base in _TAGS:
            return base if base is not object else None
    return None


def _put(out: bytearray, value: Any, budget: Budget, max_bytes: int, depth: int) -> None:
    kind = _plain(type(value))
    if kind is None:
        raise FrameError(f"{type(value).__name__} is not a plain value")
    tag = _TAGS[kind]
    budget.left -= CONTAINER if tag in _CONTAINERS else 1
    if budget.left < 0:
        raise FrameError("too many values")
    if tag in _CONTAINERS:
        if depth >= MAX_DEPTH:
            raise FrameError(f"nested more than {MAX_DEPTH} deep")
        parts: list[Any] = []
        if kind is dict:
            for pair in dict.items(value):
                parts += pair
        else:
            parts += _STEPS[tag](value)
        out += tag + _SIZE.pack(len(parts) // (2 if kind is dict else 1))
        for part in parts:
            _put(out, part, budget, max_bytes, depth + 1)
    elif value is None:
        out += b"N"
    elif kind is bool:
        out += b"T" if value else b"F"
    elif kind is float:
        out += tag + _FLOAT.pack(value)
    elif kind is complex:
        out += tag + _COMPLEX.pack(*(part.__get__(value) for part in _PARTS))
    else:
        if kind is int:
            number = int.__add__(value, 0)
            data = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
        elif kind is str:
            data = str.encode(value, "utf-8", "surrogatepass")
        else:
            data = bytes(memoryview(value))
        out += tag + _SIZE.pack(len(data))
        out += data
    if len(out) > max_bytes:
        raise FrameError("too large")


_PARTS = (complex.__dict__["real"], complex.__dict__["imag"])
_TAGS: dict[type, bytes] = {
    type(None): b"N", bool: b"B", int: b"i", float: b"f", complex: b"c", str: b"s", bytes: b"b", bytearray: b"b",
    list: b"l", tuple: b"t", set: b"S", frozenset: b"Z", dict: b"d", type({}.keys()): b"S",
}  # fmt: skip
_STEPS: dict[bytes, Any] = {  # not what a subclass says that its items are
    b"l": list.__iter__, b"t": tuple.__iter__, b"Z": frozenset.__iter__,
    b"S": lambda value: (set if issubclass(type(value), set) else type({}.keys())).__iter__(value),
}  # fmt: skip
_CONTAINERS = frozenset((b"l", b"t", b"S", b"Z", b"d"))


# -- outside: bytes to values ------------------------------------------------------------------


def decode(data: bytes | bytearray | memoryview, budget: Budget | None = None) -> Any:
    """Returns the one value that these bytes are. Raises `FrameError` and nothing else, whatever the bytes.

    >>> decode(b"l" + bytes([255] * 4))
    Traceback (most recent call last):
    reasoner.sandbox.frames.FrameError: ends too early
    """
    view = bytes(data)
    budget = Budget() if budget is None else budget
    total, at = len(view), 0
    filling: list[_Open] = []
    while True:
        tag, at = view[at : at + 1], at + 1
        budget.left -= CONTAINER if tag in _CONTAINERS else 1
        if budget.left < 0:
            raise FrameError("too many values")
        if tag in _CONTAINERS:
            count, at = _number(view, at)
            parts = count * 2 if tag == b"d" else count
            if parts > total - at:  # each is a byte at least
                raise FrameError("ends too early")
            if len(filling) >= MAX_DEPTH:
                raise FrameError(f"nested more than {MAX_DEPTH} deep")
            filling.append(_Open(tag, parts))
        else:
            value, at = _scalar(view, tag, at)
            if not filling:
                break
            filling[-1].items.append(value)
        while filling and len(filling[-1].items) == filling[-1].parts:
            done = filling.pop()
            value = done.built()
            if filling:
                filling[-1].items.append(value)
                filling[-1].sets = max(filling[-1].sets, done.sets)
        if not filling:
            break
    if at != total:
        raise FrameError("goes on after its end")
    return value


class _Open:
    """Is a container that is being filled."""

    __slots__ = ("items", "parts", "sets", "tag")

    def __init__(self, tag: bytes, parts: int) -> None:
        self.tag, self.parts = tag, parts
        self.items: list[Any] = []
        self.sets = 0  # frozen sets within each other, of what is hashed here

    def built(self) -> Any:
        if self.tag == b"t":
            return tuple(self.items)
        deep, self.sets = self.sets, 0
        if self.tag == b"l":
            return self.items
        keys = self.items[::2] if self.tag == b"d" else self.items
        if deep >= MAX_SETS_IN_SETS:
            raise FrameError(f"sets in sets more than {MAX_SETS_IN_SETS} deep")
        try:
            if len(keys) > MAX_EQUAL_HASHES:
                ((_, most),) = Counter(map(hash, keys)).most_common(1)
                if most > MAX_EQUAL_HASHES:
                    raise FrameError("too many equal hashes")
            if self.tag == b"d":
                return dict(zip(keys, self.items[1::2], strict=True))
            if self.tag == b"S":
                return set(keys)
            self.sets = deep + 1
            return frozenset(keys)
        except TypeError as error:  # a list as a key
            raise FrameError(str(error)) from None


def _number(view: bytes, at: int) -> tuple[int, int]:
    if at + 4 > len(view):
        raise FrameError("ends too early")
    return int(_SIZE.unpack_from(view, at)[0]), at + 4


def _scalar(view: bytes, tag: bytes, at: int) -> tuple[Any, int]:
    if tag in _WORDS:
        return _WORDS[tag], at
    if tag in (b"f", b"c"):
        layout = _FLOAT if tag == b"f" else _COMPLEX
        if at + layout.size > len(view):
            raise FrameError("ends too early")
        found = layout.unpack_from(view, at)
        return (found[0] if tag == b"f" else complex(*found)), at + layout.size
    if tag not in (b"i", b"s", b"b"):
        raise FrameError(f"no such tag: {tag!r}" if tag else "ends too early")
    size, at = _number(view, at)
    data = view[at : at + size]
    if len(data) != size:
        raise FrameError("ends too early")
    if tag == b"b":
        return data, at + size
    if tag == b"i":
        return int.from_bytes(data, "big", signed=True), at + size
    try:
        return data.decode("utf-8", "surrogatepass"), at + size
    except UnicodeDecodeError as error:
        raise FrameError(f"not UTF-8: {error.reason}") from None


_WORDS = {b"N": None, b"T": True, b"F": False}
