r"""The tree of an answer: one frozen class for each kind of node, so that `match` can take it apart.

The reader builds trees, everything else compares them. A node holds text, numbers and other nodes, never code, and
nothing here computes a value. The class names, in lower case, stand in messages (`a seq in an expression`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fractions import Fraction

CONSTANTS = frozenset({"pi", "e", "i"})


class Unreadable(ValueError):
    """Is raised for what cannot be read as mathematics."""


class TooLarge(ValueError):
    """Is raised where a bound is hit: there is no verdict."""


class Node:
    """Is the base of all kinds of nodes."""

    __slots__ = ()

    def children(self) -> tuple[Node, ...]:
        """Returns the nodes right below this one, in order."""
        return ()

    def map(self, change: Callable[[Node], Node]) -> Node:
        """Returns this node with each node right below it changed, in order."""
        return self


# -- without nodes below them ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Num(Node):  # a number; `written` keeps a decimal as it was written and is empty for any other
    value: Fraction
    written: str = ""


@dataclass(frozen=True, slots=True)
class Sym(Node):  # a symbol: a letter with its index and primes, or a marked name such as that of a segment
    name: str


@dataclass(frozen=True, slots=True)
class Text(Node):
    words: str


@dataclass(frozen=True, slots=True)
class Based(Node):  # a number in a base, its leading zeros left out
    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Time(Node):  # a time of day; `half` is `a`, `p`, empty, or `?` for a mark that breaks off
    hour: int
    minute: str
    second: str
    half: str


@dataclass(frozen=True, slots=True)
class Opaque(Node):  # a limit or an integral, unread
    text: str


@dataclass(frozen=True, slots=True)
class Inf(Node): ...


@dataclass(frozen=True, slots=True)
class Ordinal(Node): ...  # the `th` of `4^{th}`


# -- with one -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unary(Node):
    inner: Node

    def children(self) -> tuple[Node, ...]:
        return (self.inner,)

    def map(self, change: Callable[[Node], Node]) -> Node:
        inner = change(self.inner)
        return self if inner is self.inner else replace(self, inner=inner)


class Neg(Unary):  # -a
    __slots__ = ()


class Fact(Unary):  # a!
    __slots__ = ()


class Abs(Unary):  # |a|
    __slots__ = ()


class Pct(Unary):  # a %
    __slots__ = ()


class Deg(Unary):  # a°
    __slots__ = ()


class Paren(Unary):  # (a), of a symbol or words: a choice, maybe
    __slots__ = ()


class Where(Unary):  # the real numbers of which a condition holds
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Unit(Unary):  # a value with the name of its unit in one spelling
    name: str


@dataclass(frozen=True, slots=True)
class Given(Unary):  # an answer whose parameter runs over the whole numbers of a domain, `Z` or `N`
    parameter: str
    domain: str


# -- with two -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Binary(Node):
    left: Node
    right: Node

    def children(self) -> tuple[Node, ...]:
        return (self.left, self.right)

    def map(self, change: Callable[[Node], Node]) -> Node:
        left, right = change(self.left), change(self.right)
        return self if left is self.left and right is self.right else replace(self, left=left, right=right)


class Div(Binary):  # a / b
    __slots__ = ()


class Pow(Binary):  # a^b
    __slots__ = ()


class Root(Binary):  # of a, the degree is b
    __slots__ = ()


class Pm(Binary):  # a ± b, with 0 for a missing a
    __slots__ = ()


class Mp(Binary):  # a ∓ b
    __slots__ = ()


class Class(Binary):  # a (mod b)
    __slots__ = ()


class Builder(Binary):  # the set of all a under the condition b
    __slots__ = ()


# -- with any number ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Many(Node):
    parts: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.parts

    def map(self, change: Callable[[Node], Node]) -> Node:
        parts = tuple(map(change, self.parts))
        return self if parts == self.parts else replace(self, parts=parts)


class Add(Many):  # also a set without another: Add((a, Neg(b)))
    __slots__ = ()


class Mul(Many):
    __slots__ = ()


class Ratio(Many):  # a : b : …
    __slots__ = ()


class List(Many):  # a, b, … without brackets: in any order
    __slots__ = ()


class All(Many):  # a and b and …, of inequalities
    __slots__ = ()


class Set(Many):  # {a, b, …}
    __slots__ = ()


class Union(Many):  # a ∪ b ∪ …
    __slots__ = ()


class Cases(Many):  # a function by cases: value, condition, value, condition, …
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Seq(Many):  # a tuple or an interval, `(a, b, …]`
    opening: str = "("
    closing: str = ")"


@dataclass(frozen=True, slots=True)
class Rel(Many):  # a chain of relations; between each two sides stands an operator: `= ~ < <= > >= != in`
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fn(Many):  # a known function of its arguments. A second argument of `log` is its base
    name: str


@dataclass(frozen=True, slots=True)
class App(Many):  # an unknown function of its arguments
    name: str


@dataclass(frozen=True, slots=True)
class Matrix(Many):  # a matrix, row after row, or between bars its determinant
    columns: int
    bars: bool


@dataclass(frozen=True, slots=True)
class Big(Many):  # a `sum` or `prod`; its parts are the lowest and the highest value of the variable, and the body
    name: str
    variable: str


# -- walks ----------------------------------------------------------------------------------------

ZERO = Num(Fraction(0))
REALS = Sym("mathbb R")


def number(value: Fraction | int) -> Node:
    return Num(Fraction(value)) if value >= 0 else Neg(Num(Fraction(-value)))


def shown(node: Node) -> str:
    """Returns a tree in short, for people: `1/2 + sqrt(2)` is `add(div(1, 2), root(2, 2))`."""
    match node:
        case Num(value, written):
            return written or str(value)
        case Sym(name) | Text(name):
            return name if isinstance(node, Sym) else f"'{name}'"
        case Rel(sides, ops):
            return shown(sides[0]) + "".join(f" {op} {shown(side)}" for op, side in zip(ops, sides[1:], strict=True))
        case Seq(parts, opening, closing):
            return f"{opening}{', '.join(map(shown, parts))}{closing}"
    own = (getattr(node, one.name) for one in fields(node) if isinstance(getattr(node, one.name), str | int))  # type: ignore[arg-type]
    return f"{type(node).__name__.lower()}({', '.join([*map(shown, node.children()), *map(str, own)])})"


def walk(*nodes: Node) -> list[Node]:
    """Returns nodes and all below them, level by level."""
    found = list(nodes)
    for node in found:  # which grows meanwhile
        found += node.children()
    return found


def has(kinds: type[Node] | tuple[type[Node], ...], *nodes: Node) -> bool:
    """Returns whether a node of one of these kinds stands anywhere in the trees."""
    return any(isinstance(node, kinds) for node in walk(*nodes))


def symbols(node: Node) -> frozenset[str]:
    """Returns the names of the free symbols, constants left out, and of the unknown functions."""
    match node:
        case Sym(name):
            return frozenset() if name in CONSTANTS else frozenset({name})
        case Big((low, high, body), _, variable):
            return (symbols(body) - {variable}) | symbols(low) | symbols(high)
    found = {node.name} if isinstance(node, App) else set()
    for child in node.children():
        found |= symbols(child)
    return frozenset(found)


def rename(node: Node, names: dict[str, str]) -> Node:
    """Returns the tree with some of its symbols renamed; bound variables keep their names."""
    return put(node, {old: Sym(new) for old, new in names.items()})


def rebound(node: Node, old: list[str], new: list[str]) -> Node | None:
    """Returns a function's body with its variables renamed; None where one of the new names already stands in it."""
    return None if (set(new) - set(old)) & symbols(node) else rename(node, dict(zip(old, new, strict=True)))


def put(node: Node, values: dict[str, Node]) -> Node:
    """Returns the tree with other nodes in the place of some of its symbols; bound variables stay."""
    if isinstance(node, Sym):
        return values.get(node.name, node)
    return node.map(lambda part: put(part, values))
