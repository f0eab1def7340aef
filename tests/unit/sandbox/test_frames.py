"""Plain values cross the wall unchanged; anything else is a `FrameError`, on both sides, in bounded time."""

import enum
import math
import random
import struct
import time
from collections import Counter, OrderedDict, defaultdict, namedtuple

import pytest

from reasoner.sandbox import frames
from reasoner.sandbox.frames import Budget, FrameError, decode, encode

Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 5


class Always(int):
    __hash__ = int.__hash__

    def __eq__(self, other):
        return True

    def __add__(self, other):
        return 99


class Padded(list):
    def __iter__(self):
        return iter([1, 2, 3])


VALUES = [
    None, True, False, 0, -1, 127, 128, -128, -129, 1 << 64, -(1 << 20000), 0.0, -0.0, 1e-320, math.inf, 1.5 + 2j,
    "", "é\x00\ud800\U0001f600", b"", b"\xff\x00", [], [[]], (), (1,), {1, 2}, frozenset({("a", 1)}), {},
    {"a": [1, {2: (3,)}], (1, "b"): None}, {frozenset({1}), frozenset()},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_plain_values_come_back_with_their_types(value):
    found = decode(encode(value))
    assert found == value and type(found) is type(value)
    assert repr(found) == repr(value) if not isinstance(value, int) else True


def test_nan_and_the_sign_of_zero_survive():
    assert math.isnan(decode(encode(math.nan)))
    assert math.copysign(1, decode(encode(-0.0))) == -1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (Point(1, 2.5), (1, 2.5)),
        (Colour.RED, 5),
        (Always(7), 7),
        (Padded(["held"]), ["held"]),
        (bytearray(b"x"), b"x"),
        ({"k": 1}.keys(), {"k"}),
        (type("S", (str,), {"__eq__": lambda *_: True, "__hash__": str.__hash__})("x"), "x"),
    ],
)
def test_a_subclass_is_sent_as_the_value_that_it_holds(value, plain):
    found = decode(encode(value))
    assert found == plain and type(found) is type(plain)


def test_what_is_not_plain_is_named():
    class Liar:
        __class__ = int

    for value, name in ((object(), "object"), (len, "builtin_function"), (Liar(), "Liar"), (range(3), "range")):
        with pytest.raises(FrameError, match=f"{name}.* is not a plain value"):
            encode([value])


def test_iterators_are_sent_as_lists_where_that_is_asked_for():
    assert decode(encode(range(3), is_listed=True)) == [0, 1, 2]
    assert decode(encode(map(str, [1]), is_listed=True)) == ["1"]
    assert decode(encode((1, 2), is_listed=True)) == (1, 2)
    with pytest.raises(FrameError, match="not a plain value"):
        encode(object(), is_listed=True)
    with pytest.raises(FrameError, match="too many values"):
        encode(iter(int, 1), Budget(1000), is_listed=True)


def test_both_sides_have_limits():
    shared = []
    for _ in range(60):
        shared = [shared, shared]
    with pytest.raises(FrameError, match="too many values"):
        encode(shared)
    loop = []
    loop.append(loop)
    with pytest.raises(FrameError, match="deep"):
        encode(loop)
    with pytest.raises(FrameError, match="too large"):
        encode("x" * 100, max_bytes=50)
    with pytest.raises(FrameError, match="deep"):
        decode(b"l\x00\x00\x00\x01" * 101 + b"N")
    with pytest.raises(FrameError, match="too many values"):
        decode(encode([None] * 50), Budget(20))
    with pytest.raises(FrameError, match="ends too early"):
        decode(b"l\xff\xff\xff\xff")


def test_one_budget_is_for_all_values_of_a_run():
    budget = Budget(30)
    decode(encode([0] * 10), budget)
    decode(encode([0] * 10), budget)
    with pytest.raises(FrameError, match="too many values"):
        decode(encode([0] * 10), budget)


def listed(tag, parts):
    return tag + len(parts).to_bytes(4, "big") + b"".join(parts)


@pytest.mark.parametrize("tag", [b"S", b"Z", b"d"])
def test_equal_hashes_cannot_make_a_set_quadratic(tag):
    prime = (1 << 61) - 1
    numbers = [encode(prime * i) + (b"N" if tag == b"d" else b"") for i in range(60_000)]
    data = tag + len(numbers).to_bytes(4, "big") + b"".join(numbers)
    begun = time.perf_counter()
    with pytest.raises(FrameError, match="equal hashes"):
        decode(data)
    assert time.perf_counter() - begun < 5


def test_sets_in_sets_are_bounded():
    assert decode(encode({frozenset({1})})) == {frozenset({1})}
    with pytest.raises(FrameError, match="sets in sets"):
        decode(encode(frozenset({frozenset({(frozenset({1}), 2)})})))


@pytest.mark.parametrize(
    "data",
    [b"", b"?", b"N N", b"i\x00\x00\x00\x05\x01", b"f\x00", b"s\x00\x00\x00\x01\xff", listed(b"S", [listed(b"l", [])])],
)
def test_bytes_that_are_no_value_are_a_frame_error(data):
    with pytest.raises(FrameError):
        decode(data)


def test_an_empty_integer_is_zero_and_no_crash():
    assert decode(b"i\x00\x00\x00\x00") == 0


def fuzz(count, seed):
    """Decode `count` hostile byte strings; how each ended. Anything but a value or a `FrameError` escapes."""
    chance = random.Random(seed)
    ends = Counter()
    for number in range(count):
        data = bytearray(encode(any_value(chance, 0)))
        for _ in range(chance.choice((0, 1, 1, 2, 5))):
            spoil(data, chance)
        if number % 10 == 0:
            data = bytearray(chance.choices(b"NTFifcsbltSZd\x00\x01\x7f\xff", k=chance.randrange(60)))
        if number % 1000 == 1:
            data = bytearray(chance.choice((b"l", b"t", b"Z", b"d")) + struct.pack(">I", 1)) * chance.randrange(1, 300)
        try:
            decode(bytes(data), Budget(chance.choice((10, 1000, frames.MAX_COST))))
        except FrameError as error:
            ends[str(error).split(":")[0]] += 1
        else:
            ends["a value"] += 1
    return ends


def spoil(data, chance):
    at = chance.randrange(len(data)) if data else 0
    match chance.randrange(5):
        case 0:
            del data[at:]
        case 1:
            data[at:at] = chance.randbytes(chance.randrange(6))
        case 2:
            del data[at : at + chance.randrange(6)]
        case 3:
            data[at : at + 1] = bytes([chance.choice(b"NTFifcsbltSZd\x00\xff")])
        case _:
            data[at : at + 4] = struct.pack(">I", chance.choice((0, 1, 2, 255, 65536, 2**31, 2**32 - 1)))


def any_value(chance, depth):
    kind = chance.randrange(9 if depth < 4 else 6)
    if kind < 6:
        return (
            None, chance.random() < 0.5, chance.randrange(-(2 ** chance.choice((1, 8, 64, 600))), 2**64),
            chance.choice((0.0, -0.0, float("nan"), float("inf"), chance.random())),
            "".join(chance.choices("aé\ud800\U0001f600\x00", k=chance.randrange(5))), chance.randbytes(3),
        )[kind]  # fmt: skip
    items = [any_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 6:
        return items
    if kind == 7:
        return tuple(items)
    hashable = [item for item in items if not isinstance(item, list | tuple | dict | set)]
    return chance.choice((set, frozenset, dict.fromkeys))(hashable)


def test_fuzzed_frames_end_in_a_value_or_a_frame_error():
    ends = fuzz(5000, seed=1)
    assert sum(ends.values()) == 5000
    assert ends["a value"] > 500 and len(ends) > 4
