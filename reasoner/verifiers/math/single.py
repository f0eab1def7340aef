r"""Rules for single answers: words, times, ratios, numbers in a base and values, with their units and signs.

A rule returns how two answers are the same, `No` where they are not, and None where it does not judge them.
"""

import re
from dataclasses import replace

from reasoner.verifiers.math import tree as t
from reasoner.verifiers.math import units
from reasoner.verifiers.math.values import equal, is_rounding, real

No = ""
MANY_TURNS = 1e9  # periods by which one answer is shifted against another


def _plain(text: str) -> str:
    words = re.sub(r"[^\w\s/+-]", " ", text.lower()).split()
    while words and words[0] in ("the", "a", "an"):
        words.pop(0)
    return " ".join(words)


def _as_words(node: t.Node) -> str | None:
    """Returns a node as words: text, or letters that were read as symbols (`C`, `east` in italics)."""
    match node:
        case t.Text(words):
            return words
        case t.Unit(t.Text(words), name):
            return f"{words} {name}"
        case t.Sym(name) if len(name) == 1:
            return name
        case t.Mul(parts):
            found = [_as_words(part) if isinstance(part, (t.Sym, t.Mul)) else None for part in parts]
            return None if None in found else "".join(map(str, found))
    return None


def texts(ref: t.Node, got: t.Node) -> str | None:
    """Compares words with words, or with a number."""
    if not isinstance(ref, t.Text) and not isinstance(got, t.Text):
        return None
    a, b = _as_words(ref), _as_words(got)
    if a is not None and b is not None:
        return "the same words" if _plain(a) == _plain(b) != "" else No
    match ref, got:
        case (t.Text(words), (t.Num() | t.Neg()) as other) | ((t.Num() | t.Neg()) as other, t.Text(words)):
            value = units.number_word(words)
            return "a number in words" if value is not None and equal(other, t.number(value)) else No
        case (t.Rel(), _) | (_, t.Rel()):
            return None
    return No


def special(ref: t.Node, got: t.Node) -> str | None:
    """Compares times, ratios and numbers in a base: equal among themselves only."""
    match ref, got:
        case t.Time(), t.Time():
            is_same = (ref.hour, ref.minute, ref.second or "00") == (got.hour, got.minute, got.second or "00")
            return "the same time" if is_same and len({ref.half, got.half} - {"", "?"}) <= 1 else No
        case (t.Time() as time, t.Ratio((a, b))) | (t.Ratio((a, b)), t.Time() as time) if not time.second + time.half:
            is_same = equal(a, t.number(time.hour)) and equal(b, t.number(int(time.minute)))  # 7:32 may be either
            return "the same figures" if is_same else No
        case t.Ratio((a, *others)), t.Ratio((b, *rest)) if len(others) == len(rest):
            crossed = [equal(t.Mul((a, y)), t.Mul((x, b))) for x, y in zip(others, rest, strict=True)]
            return "the same ratio" if all(crossed) and not equal(b, t.ZERO) else No
        case t.Class(a, modulus), t.Class(b, other):
            apart = t.Fn((t.Add((a, t.Neg(b))), modulus), "mod")
            return "the same class" if equal(modulus, other) and equal(apart, t.ZERO) else No
        case (t.Class(a), b) | (a, t.Class(b)):
            return "the same value, the modulus aside" if equal(a, b) else No
        case (t.Time() | t.Ratio() | t.Based(), _) | (_, t.Time() | t.Ratio() | t.Based()):
            return No
    return None


def bare(node: t.Node) -> tuple[t.Node, str, str]:
    """Returns a value without its unit, degree or percent sign; which of them it had, and the unit's name."""
    match node:
        case t.Unit(inner, "rad"):
            return inner, "", ""
        case t.Unit(inner, name):
            return inner, "unit", name
        case t.Deg(inner):
            return inner, "deg", ""
        case t.Pct(inner):
            return inner, "pct", ""
        case t.Neg(last) if isinstance(last, _DRESSED):
            inner, tag, name = bare(last)
            return t.Neg(inner), tag, name
        case t.Add((_, last)) | t.Mul((*_, last)) if isinstance(last, _DRESSED):  # 1\frac12 \text{ cm}
            inner, tag, name = bare(last)
            return replace(node, parts=(*node.parts[:-1], inner)), tag, name
    return node, "", ""


_DRESSED = (t.Unit, t.Deg, t.Pct)
_NO_VALUES = (t.Text, t.Where, t.Union)


def values(ref: t.Node, got: t.Node) -> str | None:
    """Compares values; a unit, degree sign or percent sign that only one of them has is left out."""
    if isinstance(ref, t.Rel) or isinstance(got, t.Rel):
        return None
    if isinstance(ref, _NO_VALUES) or isinstance(got, (*_NO_VALUES, t.Seq, t.List, t.Set)):
        return No
    (a, a_tag, a_unit), (b, b_tag, b_unit) = bare(ref), bare(got)
    tags = {a_tag, b_tag}
    if a_tag == b_tag:
        return "the same value" if a_unit == b_unit and _same_value(a, b) else No
    if tags == {"deg", ""}:
        angle, other = (a, b) if a_tag else (b, a)
        if _same_value(angle, other):
            return "the same value, the degree sign aside"
        return "the same angle" if equal(t.Deg(angle), other) else No
    if "pct" in tags and "unit" not in tags:
        if a_tag == "pct" and _same_value(a, b):
            return "the same value, the percent sign aside"
        return "the same value" if _same_value(t.Pct(a) if a_tag else a, t.Pct(b) if b_tag else b) else No
    if "" not in tags or (b_tag == "unit" and t.symbols(a)):
        return No
    return "the same value, the unit aside" if _same_value(a, b) else No


def _same_value(a: t.Node, b: t.Node) -> bool:
    return equal(a, b) or _same_periods(a, b) or is_rounding(a, b) or is_rounding(b, a)


WHOLE = "k in Z"
"""The name of a parameter that is known to run over all whole numbers."""
_COUNTS = {"k", "n", "m", "l", WHOLE, "k in N"}


def _same_periods(a: t.Node, b: t.Node) -> bool:
    r"""Compares `\frac{\pi}{6} + \pi k` and `\frac{\pi}{6} + n \pi`: the count of periods has no fixed name.

    It has no fixed zero either, where it is known to run over all whole numbers. A `k` beside a part of a period can be
    nothing else; `(n - 2) \pi` is a formula.
    """
    left, right = t.symbols(a), t.symbols(b)
    if len(left) != 1 or len(right) != 1 or not (left | right) <= _COUNTS:
        return False
    (name,), (other,) = left, right
    is_periodic = t.Sym("pi") in t.walk(a)
    if name != other and (is_periodic or " in " in name) and equal(a, t.rename(b, {other: name})):
        return True
    return (name == WHOLE or (name == "k" and is_periodic)) and _same_family(
        _family(a, name), _family(b, other), name == WHOLE
    )


def _family(node: t.Node, name: str) -> tuple[t.Node, t.Node] | None:
    """Returns first value and period of what grows evenly with a count; None where it does not."""
    at = [t.put(node, {name: t.number(count)}) for count in (0, 1, 2, 5)]
    period = t.Add((at[1], t.Neg(at[0])))
    is_even = all(equal(at[i], t.Add((at[0], t.Mul((t.number(n), period))))) for i, n in ((2, 2), (3, 5)))
    return (at[0], period) if is_even and not equal(period, t.ZERO) else None


def _same_family(a: tuple[t.Node, t.Node] | None, b: tuple[t.Node, t.Node] | None, is_whole: bool) -> bool:
    if a is None or b is None or not (equal(a[1], b[1]) or equal(a[1], t.Neg(b[1]))):
        return False
    turns, offset = real(t.Div(t.Add((b[0], t.Neg(a[0]))), a[1])), real(t.Div(a[0], a[1]))
    if turns is None or offset is None or abs(turns) > MANY_TURNS or (not is_whole and offset == round(offset)):
        return False
    return equal(b[0], t.Add((a[0], t.Mul((t.number(round(turns)), a[1])))))
