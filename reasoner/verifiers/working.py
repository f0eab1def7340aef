r"""Reads the working of a completion: which equations it writes, and how they compare with the known steps.

It is for reports, and for judging process rewards before anybody trains on one. It never enters the outcome reward: a
reward for equations would be earned by writing equations. `steps` checks each equation exactly and lays it beside the
known steps of a generated problem (reasoner/problems/stories.py).

What it does not do: follow prose (`twice 9 is 18`), powers, percent signs or letters for numbers; an equation with one
of these is not counted. Rounding is an error, `1 / 3 = 0.33` is not equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MAX_CHARS = 20_000
"""Characters from the end in which equations are read."""
MAX_TERMS = 30
"""Numbers, signs and brackets of one left-hand side."""
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


@dataclass(frozen=True)
class _Equation:
    is_correct: bool
    key: _Key | None
    """As a step; None where the left-hand side is more than two numbers."""


def _key(left: Fraction, op: str, right: Fraction, result: Fraction) -> _Key:
    return (min(left, right), op, max(left, right), result) if op in "+*" else (left, op, right, result)


_CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "⁄": "/", "$": " ", "€": " ", "£": " "}
    | {"&": " ", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "{": " ", "}": " "}
)
_ANNOTATION = re.compile(r"<<[^<>\n]{0,200}>>")
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]{0,60})\}\s?\{([^{}]{0,60})\}")
_SPACING = re.compile(r"\\(?:[()\[\],;:!$ ]|q?quad\b|left\b|right\b|text\b|mathrm\b|mathbf\b|displaystyle\b)")
_TERM = re.compile(
    r"(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]*\.?[0-9]+)|(?P<word>[A-Za-z]+)|\s+|(?P<sign>.)"
)


def _equations(text: str) -> list[_Equation]:
    """Finds every `calculation = number`, in order."""
    if "=" not in text:
        return []
    text = _ANNOTATION.sub("", text)
    if "\\" in text:
        text = _FRACTION.sub(r" (\1)/(\2) ", text.replace("{,}", ","))
        text = text.replace("\\times", "*").replace("\\cdot", "*").replace("\\div", "/")
        text = _SPACING.sub(" ", text)
    terms = _terms(text.translate(_CHARACTERS))
    found: list[_Equation] = []
    for i, term in enumerate(terms):
        if term == "=" and len(found) < MAX_EQUATIONS:
            left = _left_of(terms, i)
            stated = _stated(terms, i + 1)
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
    for i in range(1, len(terms) - 1):
        is_sign = terms[i] in ("'x", "'X") and (isinstance(terms[i + 1], Fraction) or terms[i + 1] == "(")
        if is_sign and (isinstance(terms[i - 1], Fraction) or terms[i - 1] == ")" or _is_word(terms[i - 1])):
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
    if depth or len(taken) > MAX_TERMS:
        return []
    return taken[::-1]


def _stated(terms: list[_Term], start: int) -> Fraction | None:
    is_negative = start < len(terms) and terms[start] == "-"
    start += is_negative
    value = terms[start] if start < len(terms) else None
    if not isinstance(value, Fraction):
        return None
    return -value if is_negative else value


def _equation(left: list[_Term], stated: Fraction, terms: list[_Term], start: int) -> _Equation:
    value = _value(left)
    is_correct = value is not None and value == stated
    if value is not None and not is_correct:  # 2 x 9 = 20 - 2 = 18
        end = next((i for i in range(start, min(start + MAX_TERMS, len(terms))) if terms[i] == "="), start)
        is_correct = value == _value(_left_of(terms, end)) if end > start else False
    plain = [term for term in left if term not in ("(", ")")]
    key = None
    if len(plain) == 3 and isinstance(plain[0], Fraction) and isinstance(plain[2], Fraction):
        key = _key(plain[0], str(plain[1]), plain[2], stated)
    return _Equation(is_correct, key if is_correct else None)


def _value(terms: list[_Term]) -> Fraction | None:
    """Returns the exact value of a calculation; None where it is malformed or divides by zero."""
    value, end = _sum(terms, 0)
    return value if end == len(terms) else None


def _sum(terms: list[_Term], start: int) -> tuple[Fraction | None, int]:
    total, end = _product(terms, start)
    while total is not None and end < len(terms) and terms[end] in ("+", "-"):
        sign = terms[end]
        value, end = _product(terms, end + 1)
        total = None if value is None else total + value if sign == "+" else total - value
    return total, end


def _product(terms: list[_Term], start: int) -> tuple[Fraction | None, int]:
    total, end = _atom(terms, start)
    while total is not None and end < len(terms) and terms[end] in ("*", "/"):
        sign = terms[end]
        value, end = _atom(terms, end + 1)
        if value is None or (sign == "/" and value == 0):
            return None, end
        total = total * value if sign == "*" else total / value
    return total, end


def _atom(terms: list[_Term], start: int) -> tuple[Fraction | None, int]:
    if start >= len(terms):
        return None, start
    term = terms[start]
    if isinstance(term, Fraction):
        return term, start + 1
    if term == "-":
        value, end = _atom(terms, start + 1)
        return (None if value is None else -value), end
    if term == "(":
        value, end = _sum(terms, start + 1)
        if end < len(terms) and terms[end] == ")":
            return value, end + 1
    return None, start
