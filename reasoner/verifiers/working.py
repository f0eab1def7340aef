r"""Reads the working of a completion: which equations it writes, and how they compare with the known steps.

It is for reports, and for judging process rewards before anybody trains on one. It never enters the outcome reward: a
reward for equations would be earned by writing equations. `steps` checks each equation exactly and lays it beside the
known steps of a generated problem (reasoner/problems/stories.py).

What it does not do: follow prose (`twice 9 is 18`), powers, percent signs or letters for numbers; an equation with one
of these is not counted. Rounding is an error, `1 / 3 = 0.33` is not equal.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from reasoner.verifiers.sentence import ANNOTATION, LATEX_FRACTION

MAX_CHARS = 20_000  # characters from the end in which equations are read
MAX_TERMS = 30  # numbers, signs and brackets of one left-hand side
MAX_EQUATIONS = 500


_SIGN = r"(?:[-+*/\u00d7\u00f7x]|\\times|\\div|\\cdot)"
_EQUATION = re.compile(rf"\d[ ]?{_SIGN}[ ]?[$]?\d[\d,.]*(?:[ ]{_SIGN}[ ][$]?\d[\d,.]*){{0,8}}[ ]?=[ ]?[$]?-?\d")


def shows_working(completion: str) -> bool:
    """Says whether at least one worked equation (`3 + 4 = 7`) stands before the answer line.

    A metric for reports, never part of a reward.
    """
    before, mark, _ = completion.rpartition("####")
    return bool(_EQUATION.search(before if mark else completion))


@dataclass(frozen=True)
class StepCheck:
    """Counts the `equations` written, the `correct` ones, the steps `known`, and those of them found `in_order`."""

    equations: int
    correct: int
    known: int
    in_order: int


def steps(completion: str, known_steps: Sequence[Mapping[str, Any]]) -> StepCheck:
    """Compares the equations of a completion with the known steps (`left`, `op`, `right`, `result`) of its problem.

    A known step is found where its two numbers and its result stand in one equation; those of a sum or a product in
    either order. `in_order` is the longest run of known steps, gaps allowed, that stand in their order.

    >>> steps("2 x 9 = 18 pens, so 18 - 4 = 15", [
    ...     {"left": 2, "op": "*", "right": 9, "result": 18}, {"left": 18, "op": "-", "right": 4, "result": 14}])
    StepCheck(equations=2, correct=1, known=2, in_order=1)
    """
    found = _equations(completion[-MAX_CHARS:])
    wanted = [
        _key(Fraction(step["left"]), str(step["op"]), Fraction(step["right"]), Fraction(step["result"]))
        for step in known_steps
    ]
    best = [0] * (len(wanted) + 1)  # longest common subsequence, row by row
    for equation in found:
        row = [0]
        for i, key in enumerate(wanted):
            row.append(best[i] + 1 if equation.key == key else max(row[i], best[i + 1]))
        best = row
    return StepCheck(len(found), sum(equation.is_correct for equation in found), len(wanted), best[-1])


# -- equations ----------------------------------------------------------------------------------

_Key = tuple[Fraction, str, Fraction, Fraction]
_Term = Fraction | str


class _Equation(NamedTuple):
    is_correct: bool
    key: _Key | None  # as a step; None where the left-hand side is more than two numbers


def _key(left: Fraction, op: str, right: Fraction, result: Fraction) -> _Key:
    return (min(left, right), op, max(left, right), result) if op in "+*" else (left, op, right, result)


_CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "⁄": "/", "$": " ", "€": " ", "£": " "}
    | {"&": " ", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "{": " ", "}": " "}
)
_SPACING = re.compile(r"\\(?:[()\[\],;:!$ ]|q?quad\b|left\b|right\b|text\b|mathrm\b|mathbf\b|displaystyle\b)")
_TERM = re.compile(
    r"(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]*\.?[0-9]+)|(?P<word>[A-Za-z]+)|\s+|(?P<sign>.)"
)


def _equations(text: str) -> list[_Equation]:
    if "=" not in text:
        return []
    text = ANNOTATION.sub("", text)
    if "\\" in text:
        text = LATEX_FRACTION.sub(r" (\1)/(\2) ", text.replace("{,}", ","))
        text = text.replace("\\times", "*").replace("\\cdot", "*").replace("\\div", "/")
        text = _SPACING.sub(" ", text)
    terms = _terms(text.translate(_CHARACTERS))
    found: list[_Equation] = []
    for i, term in enumerate(terms):
        if term == "=" and len(found) < MAX_EQUATIONS:
            left = _left_of(terms, i)
            stated = _stated(terms[i + 1 : i + 3])
            if stated is not None and sum(isinstance(term, Fraction) for term in left) > 1:
                found.append(_equation(left, stated, terms, i + 1))
    return found


def _terms(text: str) -> list[_Term]:
    """Splits into numbers, signs (`x` between numbers is `*`), and words with a leading `'`, so that none is a sign."""
    terms: list[_Term] = []
    for match in _TERM.finditer(text):
        if match["number"]:
            digits = match["number"].replace(",", "")
            terms.append(Fraction(digits) if len(digits) <= 30 else "?")
        elif match["word"]:
            terms.append(f"'{match['word']}")
        elif match["sign"]:
            terms.append(match["sign"])
    for i, (before, term, after) in enumerate(zip(terms, terms[1:], terms[2:], strict=False), 1):
        is_sign = term in ("'x", "'X") and (isinstance(after, Fraction) or after == "(")
        if is_sign and (isinstance(before, Fraction) or before == ")" or _is_word(before)):
            terms[i] = "*"
    return terms


def _is_word(term: _Term) -> bool:
    return isinstance(term, str) and term.startswith("'") and len(term) > 2


def _left_of(terms: list[_Term], end: int) -> list[_Term]:
    """Takes the calculation that ends before `end`, without units; empty where it is none or not all of it is read."""
    taken: list[_Term] = []
    depth = 0
    i = end - 1
    while i >= 0 and len(taken) <= MAX_TERMS:
        term = terms[i]
        right = taken[-1] if taken else "="
        if _is_word(term) and isinstance(right, str) and right in "=+-*/)":
            unit = i
            while unit > max(0, i - 3) and _is_word(terms[unit - 1]):
                unit -= 1
            if unit < 1 or not (isinstance(terms[unit - 1], Fraction) or terms[unit - 1] == ")"):
                break
            i = unit - 1
            continue
        if isinstance(term, Fraction) or term == ")":
            if isinstance(right, Fraction) or right == "(":
                break
            depth += term == ")"
        elif term == "(":
            if not depth:
                break
            depth -= 1
        elif term not in ("+", "-", "*", "/"):
            break
        taken.append(term)
        i -= 1
    return [] if depth or len(taken) > MAX_TERMS else taken[::-1]


def _stated(terms: list[_Term]) -> Fraction | None:
    match terms:
        case [Fraction() as value, *_]:
            return value
        case ["-", Fraction() as value, *_]:
            return -value
    return None


def _equation(left: list[_Term], stated: Fraction, terms: list[_Term], start: int) -> _Equation:
    value = _value(left)
    is_correct = value == stated
    if value is not None and not is_correct and "=" in terms[start : start + MAX_TERMS]:  # 2 x 9 = 20 - 2 = 18
        is_correct = value == _value(_left_of(terms, terms.index("=", start)))
    plain = [term for term in left if term not in ("(", ")")]
    key = None
    if len(plain) == 3 and isinstance(plain[0], Fraction) and isinstance(plain[2], Fraction):
        key = _key(plain[0], str(plain[1]), plain[2], stated)
    return _Equation(is_correct, key if is_correct else None)


def _value(terms: list[_Term]) -> Fraction | None:
    """Returns the exact value of a calculation; None where it is malformed or divides by zero."""
    left = terms[::-1]
    try:
        value = _sum(left)
    except (IndexError, TypeError, ZeroDivisionError):
        return None
    return None if left else value


_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def _sum(left: list[_Term]) -> Fraction:
    """Takes a sum off the end of what is left, which stands in reverse order."""
    return _chain(left, ("+", "-"), _product)


def _product(left: list[_Term]) -> Fraction:
    return _chain(left, ("*", "/"), _atom)


def _chain(left: list[_Term], signs: tuple[str, str], part: Callable[[list[_Term]], Fraction]) -> Fraction:
    total = part(left)
    while left and left[-1] in signs:
        total = _OPERATIONS[str(left.pop())](total, part(left))
    return total


def _atom(left: list[_Term]) -> Fraction:
    term = left.pop()
    if term == "-":
        return -_atom(left)
    if term == "(":
        value = _sum(left)
        if left.pop() == ")":
            return value
    if not isinstance(term, Fraction):
        raise TypeError("no number where one should stand")
    return term
