r"""Are two answers the same? Each rule compares answers of one type, as a mathematician would.

- a unit, a degree sign, a percent sign that only one of the two has is left out; two different units are different.
  A bare percentage is not its number: 9 is not 9 %. Degrees and radians are the same angle.
- a name before the answer (`x = 5`, `f(x) = 2x`, `x \in [0, 1)`) is left out where the other has none; `f(z) = z` and
  `f(x) = x` are one function. The last value of a chain of equations, unless the chain contradicts itself.
- lists and sets have no order, tuples have one; `\pm` stands for its two values; an inequality in one variable is an
  interval; equations are the same up to a factor and exchanged sides; a column of numbers is a tuple.
- a family over the whole numbers is the set of its values: `\frac{\pi}{4} + k\pi` is `\frac{5\pi}{4} + k\pi`. A vector
  in i, j, k is the tuple of its components. A function by cases is the same in any order of its cases.
- words: letter case, brackets and full stops aside.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from reasoner.verifiers.math import tree as t
from reasoner.verifiers.math.exact import NotRational, Undefined, exact
from reasoner.verifiers.math.single import WHOLE, No, special, texts, values
from reasoner.verifiers.math.values import equal, proportion, real, variants
from reasoner.verifiers.math.vectors import components

MAX_ITEMS = 64
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EQUALITY = {"=", "~"}


def same(ref: t.Node, got: t.Node) -> str | None:
    """Returns the rule by which two answers are the same; None where they are not."""
    if ref == got:
        return "the same form"
    match ref, got:
        case t.Given(_, _, domain), t.Given(_, _, other) if domain != other:
            return None
        case (t.Given(), _) | (_, t.Given()):
            return same(_over_the_whole(ref), _over_the_whole(got))
    ref, got = _unnamed_list(_spread(ref), _spread(got))
    for rule in (texts, _builders, _cases, _names, _sets, _lists, _tuples, _matrices, special, values, _relations):
        found = rule(ref, got)
        if found is not None:
            return found or None
    return None


def _over_the_whole(node: t.Node) -> t.Node:
    """Returns an answer with its parameter called by the numbers it runs over, such as `WHOLE`."""
    match node:
        case t.Given(inner, name, domain):
            return t.rename(inner, {name: f"k in {domain}"})
    return node


def _all_same(a: Sequence[t.Node], b: Sequence[t.Node]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


def _spread(node: t.Node) -> t.Node:
    r"""Returns `1 \pm x` as the list of its values; in a list or set, each item spread in place."""
    if not t.has((t.Pm, t.Mp), node):
        return node
    match node:
        case t.List(parts) | t.Set(parts):
            items: list[t.Node] = []
            for part in parts:
                found = _spread(part)
                items += found.parts if found is not part and isinstance(found, (t.List, t.Set)) else [part]
            return replace(node, parts=tuple(items))
        case t.Rel((left, right), ("=",)):
            found = _spread(right)
            named = found.parts if isinstance(found, t.List) else ()
            return t.List(tuple(t.Rel((left, part), ("=",)) for part in named)) if named else node
    return t.List(tuple(variants(node)))


# -- names ----------------------------------------------------------------------------------------


def _is_name(node: t.Node) -> bool:
    """Returns whether a side of an equation only names what the other side is."""
    match node:
        case t.Sym(name):
            return name not in t.CONSTANTS
        case t.Text():
            return True
        case t.Fn() if not t.symbols(node):
            return False
        case t.App() | t.Abs() | t.Ratio() | t.Fn():
            return not t.has((t.Add, t.Neg, t.Div, t.Pow), node)
        case t.Seq(parts):
            return all(map(_is_name, parts))
        case t.Mul(parts):  # AB, a segment; m\angle A, a measure
            names = [part.name for part in parts if isinstance(part, t.Sym)]
            is_marked = any(name.startswith(("angle", "overline", "triangle")) for name in names)
            return len(names) == len(parts) and (is_marked or all(name[:1].isupper() for name in names))
    return False


def _split_name(node: t.Node) -> tuple[t.Node | None, t.Node]:
    r"""Returns name and value of `x = 5`, `5 = x`, `x \in A`; of a chain of equations without a name, its last side."""
    match node:
        case t.Rel((name, value), ("in",)) if _is_name(name):
            return name, value
        case t.Rel((name, *rest), ops) if set(ops) <= _EQUALITY and _is_name(name):
            while len(rest) > 1 and _is_name(rest[0]):  # a = b = c = 3
                rest = rest[1:]
            last = rest[0] if len(rest) == 1 else _chain(rest, ops[-len(rest) + 1 :])
            return (None, node) if last is None else (name, last)
        case t.Rel((value, name), ops) if (
            set(ops) <= _EQUALITY and _is_name(name) and (isinstance(name, t.Sym) or not _is_number(value))
        ):
            return name, value
        case t.Rel(sides, ops) if set(ops) <= _EQUALITY:
            return None, _chain(sides, ops) or node
    return None, node


def _is_number(node: t.Node) -> bool:
    return not t.symbols(node) and not isinstance(node, (t.Text, t.Seq, t.List, t.Set, t.Rel))


def _chain(sides: Sequence[t.Node], ops: Sequence[str]) -> t.Node | None:
    r"""Returns the value of `9 \cdot 2 = 18`: its last side, where all are numbers and equal.

    `2/3 \approx 0.67` says 2/3.
    """
    if "~" in ops:
        sides = sides[: ops.index("~") + 1]
    *others, last = sides
    if not all(map(_is_number, sides)) or isinstance(last, t.Opaque):
        return None
    return last if all(isinstance(side, t.Opaque) or same(side, last) for side in others) else None


def _names(ref: t.Node, got: t.Node) -> str | None:
    if not isinstance(ref, t.Rel) and not isinstance(got, t.Rel):
        return None
    match got:  # a + b + c = 8 + 27 + 64 = 99
        case t.Rel((t.Add(letters), *rest), ops) if not isinstance(ref, t.Rel) and set(ops) <= _EQUALITY:
            if len(set(letters)) == len(letters) and all(isinstance(x, t.Sym) and _is_name(x) for x in letters):
                value = rest[0] if len(rest) == 1 else _chain(rest, ops[1:])
                value = None if rest == [t.ZERO] else value  # a + b = 0 is how an equation is written
                return (value is not None and same(ref, value) and "the same, a name aside") or No
    (ref_name, ref_value), (got_name, got_value) = _split_name(ref), _split_name(got)
    if ref_value is ref and got_value is got:
        return None
    if ref_name is not None and got_name is not None:
        if _same_name(ref_name, got_name):
            return (same(ref_value, got_value) and "the same after the same name") or No
        renamed = _renamed(ref_name, got_name, got_value)
        if renamed is not None:
            return (same(ref_value, renamed) and "the same function") or No
        return None if isinstance(ref, t.Rel) and isinstance(got, t.Rel) and "=" in ref.ops else No
    for node, value in ((ref, ref_value), (got, got_value)):
        if isinstance(node, t.Rel) and value is node:  # an equation is no value
            return None
    return (same(ref_value, got_value) and "the same, a name aside") or No


def _same_name(a: t.Node, b: t.Node) -> bool:
    match a, b:
        case (t.App(), t.Sym("y")) | (t.Sym("y"), t.App()):  # y = 2x and f(x) = 2x draw one line
            return True
        case t.Text(x), t.Text(y):
            return x.lower() == y.lower()
    return a == b


def _renamed(ref: t.Node, got: t.Node, value: t.Node) -> t.Node | None:
    """Returns `value` in the variable of `ref`, where the names are one function of differently named variables."""
    match ref, got:
        case t.App(new, name), t.App(old, other) if name == other and len(new) == len(old):
            before, after = ([x.name for x in side if isinstance(x, t.Sym)] for side in (old, new))
            if len(before) == len(after) == len(new):
                return t.rebound(value, before, after)
    return None


def _unnamed_list(ref: t.Node, got: t.Node) -> tuple[t.Node, t.Node]:
    """Returns both without names of items: `a = 2, b = 1` is the tuple of its values, `x = 1, x = 2` a list."""
    a, b = _named_items(ref), _named_items(got)
    if a is None and b is None:
        return ref, got
    if a and b and a[0] and len(a[0]) == len(b[0]):
        by_name = [[v for y, v in zip(*b, strict=True) if _same_name(x, y)] for x in a[0]]
        if all(by_name):  # in any order
            return t.Seq(tuple(a[1])), t.Seq(tuple(found[0] for found in by_name))
    is_ordered = bool((a and a[0]) or (b and b[0]))

    def without(node: t.Node, found: tuple[list[t.Node], list[t.Node]] | None) -> t.Node:
        if found is not None:
            return t.Seq(tuple(found[1])) if is_ordered else t.List(tuple(found[1]))
        return t.Seq(node.parts) if is_ordered and isinstance(node, t.List) else node

    return without(ref, a), without(got, b)


def _named_items(node: t.Node) -> tuple[list[t.Node], list[t.Node]] | None:
    """Returns names (empty where all are one) and values of a list with named items; None where none is named."""
    if not isinstance(node, t.List):
        return None
    names: list[t.Node] = []
    found: list[t.Node] = []
    for item in node.parts:
        name, value = _split_name(item)
        if name is not None:
            names.append(name)
        elif value is not item or isinstance(item, t.Rel):
            return None
        found.append(value)
    size = len(set(names))
    if size == 0:
        return None
    if size == len(names) == len(found):
        letters = [name.name for name in names if isinstance(name, t.Sym)]
        is_one = len({re.sub(r"_.*", "", letter) for letter in letters}) == 1 and all("_" in x for x in letters)
        return ([] if is_one and size > 1 else names), found  # x_1 = …, x_2 = …: two solutions
    if size == 1:
        return [], found
    # `p = 5, q = 2, p = 7, q = 2`: tuples of the names in turn
    if len(names) == len(found) and names == names[:size] * (len(names) // size):
        return [], [t.Seq(tuple(found[i : i + size])) for i in range(0, len(found), size)]
    return None


# -- collections ----------------------------------------------------------------------------------


def _lists(ref: t.Node, got: t.Node) -> str | None:
    match ref, got:
        case (t.List(a) | t.Set(a) | t.All(a), t.List(b) | t.Set(b) | t.All(b)) | (t.Union(a), t.Union(b)):
            return "the same items" if _matched(a, b) else No
        case (t.Union(a), t.List(b)) | (t.List(a), t.Union(b)) if any(map(_is_range, (*a, *b))):
            return "the same items" if _matched(a, b) else No
        case (t.Set((one,)), other) | (other, t.Set((one,))) if not isinstance(other, (t.Seq, t.Matrix)):
            return (same(one, other) and "a set of one") or No
        case (t.List() | t.Set() | t.All(), _) | (_, t.List() | t.Set() | t.All()):
            return No
    return None


def _matched(a: Sequence[t.Node], b: Sequence[t.Node]) -> bool:
    _check_items("list", max(len(a), len(b)), "items")
    if len(b) > len(a):  # a solution told twice, where the reference tells none twice
        b = [item for i, item in enumerate(b) if not any(same(item, other) for other in b[:i])]
    if len(a) != len(b):
        return False
    left = list(b)
    for item in a:
        index = next((i for i, other in enumerate(left) if same(item, other)), None)
        if index is None:
            return False
        left.pop(index)
    return True


def _check_items(what: str, number: int, of: str) -> None:
    if number > MAX_ITEMS:
        raise t.TooLarge(f"a {what} of {number} {of}")


def _tuples(ref: t.Node, got: t.Node) -> str | None:
    a, b = _row(ref), _row(got)
    x, y = components(ref), components(got)
    if x and y:
        return "the same components" if _all_same(x, y) else No
    if x and b:
        ref, a = t.Seq(tuple(x)), x if len(b) > 2 or x[2] != t.ZERO else x[:2]
    if y and a:
        got, b = t.Seq(tuple(y)), y if len(a) > 2 or y[2] != t.ZERO else y[:2]
    if a is None or b is None or not (isinstance(ref, t.Seq) or isinstance(got, t.Seq)):
        return None
    match ref, got:
        case t.Seq(_, opening, closing), t.Seq(_, other, end) if (opening, closing) != (other, end):
            return No
    _check_items("tuple", len(a), "items")
    return "the same in order" if _all_same(a, b) else No


def _row(node: t.Node) -> Sequence[t.Node] | None:
    match node:
        case t.Seq(parts):
            return parts
        case t.Matrix(parts, columns, False) if columns in (1, len(parts)):
            return parts
    return None


def _matrices(ref: t.Node, got: t.Node) -> str | None:
    if not t.has(t.Matrix, ref, got):
        return None
    match ref, got:
        case t.Matrix(a, columns, False), t.Matrix(b, others, False):
            if columns != others or len(a) != len(b):
                return No
            _check_items("matrix", len(a), "entries")
            return "the same entries" if _all_same(a, b) else No
    is_value = t.has(t.Matrix, ref) and t.has(t.Matrix, got)
    for node in t.walk(ref, got):
        match node:
            case t.Matrix(_, _, True) | t.Fn(_, "det"):
                is_value = True
    return "the same value" if is_value and equal(ref, got) else No


def _builders(ref: t.Node, got: t.Node) -> str | None:
    """Compares sets by a rule, such as the even numbers: the same rule, whatever its variable is called."""
    match ref, got:
        case t.Builder(body, condition), t.Builder():
            old, new = (sorted(n for n in t.symbols(node) if not n.startswith("mathbb")) for node in (got, ref))
            if len(old) != len(new):
                return No
            renamed = t.rename(got, dict(zip(old, new, strict=True)))
            if _all_same(ref.children(), renamed.children()):
                return "the same rule"
            other, under = renamed.children()
            match condition:
                case t.Rel((t.Sym(name), t.Sym("mathbb Z")), ("in",)) if under == condition:
                    is_same = same(t.rename(body, {name: WHOLE}), t.rename(other, {name: WHOLE}))
                    return "the same values" if is_same else No
            return No
        case (t.Builder(), _) | (_, t.Builder()):
            return No
    return None


# -- sets of numbers ------------------------------------------------------------------------------


class Interval(NamedTuple):
    """Is an interval: its ends, and whether they belong to it."""

    low: t.Node
    has_low: bool
    high: t.Node
    has_high: bool


_LOW, _HIGH = t.Neg(t.Inf()), t.Inf()
_LINE = Interval(_LOW, False, _HIGH, False)


_SETS = (t.Union, t.Where, t.Rel, t.Seq, t.Add, t.Set, t.All)


def _sets(ref: t.Node, got: t.Node) -> str | None:
    """Compares intervals, unions of them, inequalities in one variable and set-builders as sets of numbers."""
    if not isinstance(ref, _SETS) and not isinstance(got, _SETS):
        return None
    if not _is_range(ref) and not _is_range(got):
        return None
    if isinstance(ref, t.All):  # no reference contradicts itself
        ref = t.List(ref.parts)
    a, b = (_all_of(one) or _intervals(one) for one in (ref, got))  # `x > 0, x < 5` says both; `x < 0, x > 5` either
    if a is None or b is None:
        return None
    return "the same set" if _same_intervals(_merged(a), _merged(b)) else No


def _is_range(node: t.Node) -> bool:
    match node:
        case t.Union() | t.Where() | t.REALS:
            return True
        case t.Rel(_, ops):
            return not set(ops) <= _EQUALITY
        case t.Add(parts):
            return t.has((t.Where, t.Union, t.Set), node) or any(isinstance(part, t.Seq) for part in parts)
        case t.List(parts) | t.All(parts):
            return all(map(_is_range, parts))
    return False


def _intervals(node: t.Node) -> list[Interval] | None:
    match node:
        case t.REALS:
            return [_LINE]
        case t.Seq((low, high), opening, closing):
            return [Interval(low, opening == "[", high, closing == "]")]
        case t.Set(parts):
            return [Interval(part, True, part, True) for part in parts]
        case t.Where(condition):
            return _intervals(condition)
        case t.All(parts):
            return _all_of(t.List(parts))
        case t.Union(parts) | t.List(parts):
            found = list(map(_intervals, parts))
            return None if None in found else [one for some in found for one in some or ()]
        case t.Add((whole, t.Neg(out))):
            a, b = _intervals(whole), _intervals(out)
            return None if a is None or b is None else _without(a, b)
        case t.Rel():
            return _solved(node)
    return None


def _all_of(node: t.Node) -> list[Interval] | None:
    """Returns what satisfies every inequality of a list; None where it is no such list, or an end is no number."""
    if not isinstance(node, t.List) or not all(isinstance(item, t.Rel) for item in node.parts):
        return None
    found = [_LINE]
    for part in [_intervals(item) for item in node.parts]:
        if part is None:
            return None
        met: list[Interval] = []
        for x in found:
            for y in part:
                low_x, low_y, high_x, high_y = (real(end) for end in (x.low, y.low, x.high, y.high))
                if low_x is None or low_y is None or high_x is None or high_y is None:
                    return None
                a = x if (low_x, not x.has_low) >= (low_y, not y.has_low) else y
                b = x if (high_x, x.has_high) <= (high_y, y.has_high) else y
                if max(low_x, low_y) < min(high_x, high_y):
                    met.append(Interval(a.low, a.has_low, b.high, b.has_high))
        found = met
    return found


def _without(whole: list[Interval], out: list[Interval]) -> list[Interval] | None:
    """Returns intervals without single points; None where more is taken out, or an end is no number."""
    for hole in out:
        if not (hole.has_low and hole.has_high and same(hole.low, hole.high)):
            return None
        rest: list[Interval] = []
        for one in whole:
            point, left, right = real(hole.low), real(one.low), real(one.high)
            if point is None or left is None or right is None:
                return None
            if left < point < right:
                rest += [one._replace(high=hole.low, has_high=False), one._replace(low=hole.low, has_low=False)]
            else:
                has_low, has_high = one.has_low and left != point, one.has_high and right != point
                rest.append(one._replace(has_low=has_low, has_high=has_high))
        whole = rest
    return whole


def _solved(node: t.Rel) -> list[Interval] | None:
    """Returns the solutions of an inequality in one unknown that stands alone, or of a linear one."""
    match node:
        case t.Rel((name, values), ("in",)):
            return _intervals(values) if _is_name(name) else None
        case t.Rel((left, right), ("!=",)):
            point = right if _is_name(left) else left if _is_name(right) else None
            return None if point is None else [_LINE._replace(high=point), _LINE._replace(low=point)]
        case t.Rel((low, inner, high), ops) if not t.symbols(inner) <= t.symbols(low):
            if set(ops) <= {"<", "<="}:
                return [Interval(low, ops[0] == "<=", high, ops[1] == "<=")]
            return [Interval(high, ops[1] == ">=", low, ops[0] == ">=")] if set(ops) <= {">", ">="} else None
        case t.Rel((left, right), (("<" | "<=" | ">" | ">=") as op,)):
            if _is_name(left) and (isinstance(left, t.Sym) or not _is_name(right)):
                return [_half_line(right, op)]
            return [_half_line(left, _FLIPPED[op])] if _is_name(right) else _linear(left, right, op)
    return None


def _half_line(end: t.Node, op: str) -> Interval:
    is_closed = op.endswith("=")
    return Interval(_LOW, False, end, is_closed) if op[0] == "<" else Interval(end, is_closed, _HIGH, False)


def _linear(left: t.Node, right: t.Node, op: str) -> list[Interval] | None:
    difference = t.Add((left, t.Neg(right)))
    names = t.symbols(difference)
    if len(names) != 1:
        return None
    (name,) = names
    try:
        at = [exact(difference, {name: Fraction(x)}) for x in (0, 1, 2, 5)]
    except (NotRational, Undefined):
        return None
    slope = at[1] - at[0]
    if slope == 0 or at[2] != at[0] + 2 * slope or at[3] != at[0] + 5 * slope:
        return None
    return [_half_line(t.number(-at[0] / slope), op if slope > 0 else _FLIPPED[op])]


def _same_intervals(a: list[Interval], b: list[Interval]) -> bool:
    return len(a) == len(b) and all(
        x.has_low == y.has_low and x.has_high == y.has_high and same(x.low, y.low) and same(x.high, y.high)
        for x, y in zip(a, b, strict=True)
    )


def _merged(intervals: list[Interval]) -> list[Interval]:
    """Returns the same numbers in rising intervals that do not touch; as they are where an end is no number."""
    keyed = [(low, not one.has_low, high, one) for one in intervals if (ends := _ends(one)) for low, high in [ends]]
    if len(keyed) < len(intervals):
        return intervals
    found: list[tuple[float, Interval]] = []
    for low, _, high, one in sorted(keyed, key=lambda item: item[:2]):
        if found:
            upto, last = found[-1]
            meets = same(last.high, one.low)
            if (meets and (last.has_high or one.has_low)) or (low < upto and not meets):
                if same(last.high, one.high):
                    last = last._replace(has_high=last.has_high or one.has_high)
                elif high > upto:
                    last = last._replace(high=one.high, has_high=one.has_high)
                found[-1] = (max(upto, high), last)
                continue
        found.append((high, one))
    return [one for _, one in found]


def _ends(one: Interval) -> tuple[float, float] | None:
    low, high = real(one.low), real(one.high)
    return None if low is None or high is None or low > high else (low, high)


# -- functions by cases ---------------------------------------------------------------------------


def _cases(ref: t.Node, got: t.Node) -> str | None:
    """Compares functions by cases: each value under the same condition; what is `otherwise` is where no other holds."""
    match ref, got:
        case t.Cases(a), t.Cases(b) if len(a) == len(b):
            conditions = _conditions(a[1::2]), _conditions(b[1::2])
            left = list(zip(b[::2], conditions[1], strict=True))
            for value, under in zip(a[::2], conditions[0], strict=True):
                same_case = (i for i, (v, u) in enumerate(left) if _same_condition(under, u) and same(value, v))
                if (index := next(same_case, None)) is None:
                    return No
                left.pop(index)
            return "the same cases"
        case (t.Cases(), t.Rel()) | (t.Rel(), t.Cases()):
            return None
        case (t.Cases(), _) | (_, t.Cases()):
            return No
    return None


def _conditions(nodes: Sequence[t.Node]) -> list[t.Node | list[Interval]]:
    found = list(map(_where, nodes))
    named = [one for some in found for one in some or ()]
    result: list[t.Node | list[Interval]] = []
    for node, intervals in zip(nodes, found, strict=True):
        match node:
            case t.Text(words) if words.lower() in ("otherwise", "else"):
                rest = _complement(_merged(named)) if len([one for one in found if one is None]) == 1 else None
                result.append(node if rest is None else rest)
            case _:
                result.append(node if intervals is None else _merged(intervals))
    return result


def _where(condition: t.Node) -> list[Interval] | None:
    match condition:
        case t.Rel((name, value), ("=",)) if _is_name(name):
            return [Interval(value, True, value, True)]
    return _intervals(condition)


def _same_condition(a: t.Node | list[Interval], b: t.Node | list[Interval]) -> bool:
    if isinstance(a, t.Node) or isinstance(b, t.Node):
        return isinstance(a, t.Node) and isinstance(b, t.Node) and bool(same(a, b))
    return _same_intervals(a, b)


def _complement(intervals: list[Interval]) -> list[Interval] | None:
    """Returns the numbers in none of some merged intervals; None where an end is no number."""
    if not all(map(_ends, intervals)):
        return None
    low: t.Node = _LOW
    has_low, found = False, []
    for one in intervals:
        if not same(low, one.low) or (has_low and not one.has_low):
            found.append(Interval(low, has_low, one.low, not one.has_low))
        low, has_low = one.high, not one.has_high
    return found if low == _HIGH else [*found, Interval(low, has_low, _HIGH, False)]


# -- relations ------------------------------------------------------------------------------------


def _relations(ref: t.Node, got: t.Node) -> str | None:
    if not isinstance(ref, t.Rel) or not isinstance(got, t.Rel):
        return No
    a_ops, b_ops = (tuple("=" if op == "~" else op for op in node.ops) for node in (ref, got))
    flipped = tuple(_FLIPPED.get(op, op) for op in reversed(b_ops))
    for ops, sides in ((b_ops, got.parts), (flipped, got.parts[::-1])):
        if a_ops == ops and _all_same(ref.parts, sides):
            return "the same relation"
    if len(a_ops) != 1 or len(b_ops) != 1 or "in" in a_ops + b_ops:
        return No
    if any(isinstance(side, _NO_SIDES) for side in ref.parts + got.parts):
        return No
    a, b = (t.Add((node.parts[0], t.Neg(node.parts[1]))) for node in (ref, got))
    sign = proportion(a, b)
    if a_ops == b_ops and a_ops[0] in ("=", "!="):
        return "the same equation" if sign else No
    is_same = sign and a_ops == (b_ops if sign > 0 else flipped)
    return "the same inequality" if is_same else No


_NO_SIDES = (t.Text, t.Seq, t.List, t.Set, t.Matrix, t.Ratio, t.Rel)
