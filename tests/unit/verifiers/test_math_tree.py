"""The trees of the mathematics checker: what the reader builds, and the walks over it."""

import dataclasses
from fractions import Fraction

import pytest

from reasoner.verifiers.math import reader, values
from reasoner.verifiers.math import tree as t

X, Y, ONE, TWO = t.Sym("x"), t.Sym("y"), t.Num(Fraction(1)), t.Num(Fraction(2))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("0.50", t.Num(Fraction(1, 2), "0.50")), ("-2", t.Neg(TWO)), ("2x", t.Mul((TWO, X))),
        ("\\frac{1}{2}", t.Div(ONE, TWO)), ("1\\frac12", t.Add((ONE, t.Div(ONE, TWO)))), ("x^2", t.Pow(X, TWO)),
        ("\\sqrt2", t.Root(TWO, TWO)), ("|x|!", t.Fact(t.Abs(X))), ("2\\%", t.Pct(TWO)), ("2^\\circ", t.Deg(TWO)),
        ("2 \\text{ cm}", t.Unit(TWO, "cm")), ("(1, 2]", t.Seq((ONE, TWO), "(", "]")), ("1, 2", t.List((ONE, TWO))),
        ("\\{1, 2\\}", t.Set((ONE, TWO))), ("1 < x \\le 2", t.Rel((ONE, X, TWO), ("<", "<="))),
        ("x \\pm 1", t.Pm(X, ONE)), ("\\log_2 x", t.Fn((X, TWO), "log")), ("f(x)", t.App((X,), "f")),
        ("\\begin{bmatrix} 1 & 2 \\\\ x & y \\end{bmatrix}", t.Matrix((ONE, TWO, X, Y), 2, False)),
        ("\\sum_{k=1}^{2} k", t.Big((ONE, TWO, t.Sym("k")), "sum", "k")), ("1:2", t.Ratio((ONE, TWO))),
        ("12_8", t.Based("12", 8)), ("4:30 p.m.", t.Time(4, "30", "", "p")), ("(A)", t.Text("(A)")),
        ("(a)", t.Sym("a")),
        ("\\{x \\mid x > 1\\}", t.Where(t.Rel((X, ONE), (">",)))), ("\\infty", t.Inf()),
        ("k\\pi, k \\in \\mathbb{Z}", t.Given(t.Mul((t.Sym("k"), t.Sym("pi"))), "k", "Z")),
    ],
)  # fmt: skip
def test_the_reader_builds_this_tree(text, tree):
    assert reader.read(text) == tree


def test_nodes_are_frozen_and_equal_by_kind_and_parts():
    assert t.Neg(X) == t.Neg(X) != t.Fact(X) and len({t.Neg(X), t.Neg(t.Sym("x"))}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        X.name = "y"
    assert not hasattr(t.Neg(X), "__dict__") and not hasattr(X, "__dict__")


def test_walks_see_every_node():
    node = reader.read("\\sum_{k=1}^{n} k x + f(\\begin{pmatrix} y \\\\ \\pi \\end{pmatrix})")
    assert t.symbols(node) == {"n", "x", "f", "y"}
    assert t.has(t.Matrix, node) and not t.has((t.Pm, t.Mp), node)
    renamed = t.rename(node, {"x": "z", "k": "j"})
    assert t.symbols(renamed) == {"n", "z", "f", "y", "j"}  # a bound variable keeps its name
    assert node.map(lambda part: part) is node


def test_every_sign_of_two_values_is_read_in_both_ways():
    read = {values.real(one) for one in values.variants(reader.read("5 \\pm 2 \\pm 1"))}
    assert read == {2.0, 4.0, 6.0, 8.0}
    assert {values.real(one) for one in values.variants(reader.read("(5 \\pm 2) \\mp 1"))} == {6.0, 4.0}
