r"""Makes rewrites of a reference, which must be right, and near misses, which must not.

They are generated from the reference as the verifier itself reads it, by its type. Only what a mathematician would sign
is generated: a near miss of an expression is "that, plus 1", not a digit changed somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from reasoner.audit.results import Case
from reasoner.verifiers.checker import Contract
from reasoner.verifiers.numerals import value_of_token

Cases = Iterator[tuple[Case, bool]]  # each with whether the verifier's contract promises it
Texts = Iterator[tuple[str, str]]  # completions or answers, each after a name for its kind


@dataclass(frozen=True)
class Reference:
    """Holds a reference as its verifier reads it: the span, its type, its value where it is one number."""

    id: str
    answer: str
    text: str
    type: str
    value: Fraction | None
    other: str = ""  # another problem's answer, which differs in value or kind; empty where none does for sure


def about_another(one: Reference) -> Reference:
    """Gives a reference to another number, of as many digits where it is a whole one."""
    assert one.value is not None
    up, down = one.value + 2, one.value - 3
    value = up if len(str(up)) == len(str(one.value)) else down
    return replace(one, value=value, text=f"{float(value):.12g}" if "." in one.text else str(value))


_ONE_NUMBER = re.compile(r"-?(?:[\d,]+(?:\.\d+)?|\d+/\d+)")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")


def number_in(text: str) -> Fraction | None:
    r"""Gives the value of a text that is one plain number and nothing else.

    >>> number_in("-1,200.50"), number_in(r"\frac{3}{4}"), number_in("3 + 4")
    (Fraction(-2401, 2), Fraction(3, 4), None)
    """
    text = text.strip().strip("$").strip()
    if found := _FRACTION.fullmatch(text):
        text = "{}{}/{}".format(*found.groups())
    return value_of_token(text) if len(text) <= 40 and _ONE_NUMBER.fullmatch(text) else None


def rewrites(one: Reference, commit: Callable[[str], str], contract: Contract) -> Cases:
    """Tells the reference otherwise; each case must be right."""
    asked = commit(one.answer)
    told = [
        ("after its working", f"We look at what is given, step by step.\n\n{asked}"),
        ("space around", f"\n {asked} \n\n"),
        *(_tellings(one, contract) if contract != "own" else ()),
    ]
    written = [(name, commit(text)) for name, text in same(one, contract)]
    for kind, texts in (("told otherwise", told), ("written otherwise", written)):
        for name, completion in texts:
            yield Case(name, completion, one.answer, True, one.id, one.type, kind=kind), contract != "own"


def _tellings(one: Reference, contract: Contract) -> Texts:
    """Commits to the answer in every way; a text of LaTeX in a box only."""
    text = one.text
    yield "boxed", f"So we have $\\boxed{{{text}}}$."
    yield "boxed alone", f"\\boxed{{{text}}}"
    if one.value is None:
        return
    yield "hashes", f"#### {text}"
    yield "hashes, no space", f"It adds up.\n####{text}"
    yield "the answer is", f"It adds up. The answer is {text}."
    yield "the final answer is", f"It adds up.\n\nThe final answer is **{text}**."
    if contract == "lenient" and "/" not in text and "\\" not in text:
        yield "a sentence", f"We count them once more. So there are {text} of them."
        if not text.startswith("-"):
            yield "an equation", f"So in all that is 1 x {text} = {text}."


def same(one: Reference, contract: Contract) -> Texts:
    """Writes the same answer otherwise."""
    text, value = one.text, one.value
    if value is not None and value.denominator == 1:
        whole = int(value)
        if abs(whole) >= 1000:
            yield "thousands separated", f"{whole:,}"
        yield "thousands not separated", str(whole)
        yield "a zero decimal", f"{whole}.0"
        if contract in ("number", "lenient") and whole > 0:
            yield "a currency", f"${whole}"
            if "$" not in text:
                yield "a unit", f"{whole} apples"
        if contract == "math":
            yield "a space command", f"\\,{whole}"
    elif value is not None and "." in text:
        yield "a zero more", f"{text}0"
    if contract != "math":
        return
    if "\\frac" in text:
        yield "dfrac", text.replace("\\frac", "\\dfrac")
        yield "tfrac", text.replace("\\frac", "\\tfrac")
    if value is not None and value.denominator > 1 and "frac" in text:
        yield "a slash", f"{value.numerator}/{value.denominator}"
    if one.type in ("interval", "tuple") and re.fullmatch(r"[(\[][^()\[\]]+[)\]]", text):
        yield "left and right", f"\\left{text[:-1]}\\right{text[-1]}"
    if one.type in ("interval", "tuple", "list") and ", " in text and "text" not in text:
        yield "no space after commas", text.replace(", ", ",")
    if one.type == "degree":
        for sign in ("^\\circ", "^{\\circ}", "°"):
            yield f"degrees as {sign}", re.sub(r"\^\{?\\circ\}?|°", lambda _, s=sign: s, text)  # type: ignore[misc]
    if one.type == "percent":
        yield "a space before %", re.sub(r"\s*\\?%", r" \\%", text)
    if one.type == "text" and (found := re.fullmatch(r"\\text\{([A-Za-z]+)\}", text)):
        yield "text unwrapped", found[1]
    if one.type == "expression" and "text" not in text and "\\infty" not in text:
        yield "displaystyle", f"\\displaystyle {text}"
    if one.type == "expression" and not re.search(r"text|infty|[=<>,]|\\(?:pm|mp|cup|cap|in|le|ge|ne)", text):
        yield "plus nothing", f"{text} + 0"


HELD = frozenset(("a hedge", "a hedge, second", "a list with one more", "negated"))
"""Of what says more than the answer, what is right in no format: a person's own verifier is held to it."""


def near_misses(one: Reference, commit: Callable[[str], str], contract: Contract) -> Cases:
    """Makes what resembles the reference and is not it; no case may be accepted."""
    kind = "no answer"

    def case(name: str, completion: str, *, is_finished: bool = True, control: str | None = None) -> Case:
        return Case(name, completion, one.answer, False, one.id, one.type, is_finished, kind=kind, control=control)

    asked = commit(one.answer)
    yield case("cut off before its end", asked, is_finished=False), True
    yield case("empty", ""), True
    yield case("a placeholder", commit("<answer>")), True
    kind = "another answer"
    for name, text in others(one):
        yield case(name, commit(text)), True
    if one.other:
        yield case("another problem's answer", commit(one.other)), True
    is_committed, is_number = contract != "own", one.value is not None
    kind = "more than the answer"
    controls = dict(_hedged(about_another(one))) if is_number and not is_committed else {}
    for name, text in _hedged(one):
        is_held = name in HELD and name in controls
        yield case(name, commit(text), control=commit(controls[name]) if is_held else None), is_committed or is_held
    if one.value is None:
        return
    kind = "denied or taken back"
    text, other = one.text, str(one.value + 1)
    control = None if is_committed else f"The answer is not {about_another(one).text}."
    yield case("denied", f"The answer is not {text}.", control=control), True
    yield case("in the working only", f"First we get {text}, but that is not what was asked.\n{commit(other)}"), True
    yield case("left behind", f"{asked}\nThat counts one twice, so:\n{commit(other)}"), is_committed
    yield case("asked back", f"Is it {text}?"), is_committed
    yield case("two boxes", f"$\\boxed{{{text}}}$ or $\\boxed{{{other}}}$"), is_committed
    if contract == "lenient":
        yield case("two in a sentence", f"So there are {text} or {other} of them."), True
        yield case("an earlier sentence", f"So there are {text} of them. No, there are {other} of them."), True
    elif contract == "number":
        yield case("not committed", f"On the way we met {text} once."), True


def others(one: Reference) -> Texts:
    """Makes answers of the same type that differ."""
    text, value = one.text, one.value
    if value is not None:
        yield from _other_numbers(text, value)
    elif one.type in _ALTERED:
        yield from _ALTERED[one.type](text)


def _other_numbers(text: str, value: Fraction) -> Texts:
    whole = value.denominator == 1

    def show(other: Fraction) -> str:
        if other.denominator == 1 or "." not in text:
            return str(other)
        return text if other == value else f"{float(other):.12g}"

    yield "off by one, up", show(value + 1)
    yield "off by one, down", show(value - 1)
    if value:
        yield "sign flipped", show(-value)
        yield "times ten", show(value * 10)
        yield "times a hundred", show(value * 100)
        yield "a hundredth", str(float(value / 100)) if whole else show(value / 100)
    if whole:
        yield "a digit appended", f"{int(value)}1"
        yield "a half more", f"{int(value)}.5" if value > 0 else "0.5"
    elif "." in text:
        if len(re.sub(r"\D", "", text)) < 14:  # a long decimal is a rounding: how much of it counts is a policy
            yield "a digit appended", f"{text}1"
    else:
        yield "upside down", str(1 / value) if abs(value.numerator) != value.denominator else show(value + 1)
        yield "next fraction", str(Fraction(value.numerator + value.denominator, value.denominator))
        if any(value.denominator % p == 0 for p in (3, 7, 11, 13)):
            yield "rounded", f"{float(value):.2f}"


def _hedged(one: Reference) -> Texts:
    """Says more than the answer, less, or something about it."""
    text, value = one.text, one.value
    if value is None:
        if one.type in ("expression", "text", "interval", "tuple", "matrix", "degree", "percent"):
            yield "a hedge", f"{text} \\text{{ or }} 987654"
            yield "a list with one more", f"{text}, 987654"
        return
    other = str(value + 1)
    yield "a hedge", f"{text} or {other}"
    yield "a hedge, second", f"{other} or {text}"
    yield "a list with one more", f"{text}, {other}"
    yield "a range", f"{value - 1} to {other}"
    yield "an interval around it", f"[{value - 1}, {other}]"
    yield "negated", f"not {text}"
    yield "a question", f"{text}?" if value.denominator == 1 else f"{text} ?"
    yield "a calculation", f"{text} + 1"
    if value:
        yield "a scale word", f"{text} million"
        yield "dozens of it", f"{text} dozen"
    if abs(value) > 1 and value.denominator == 1:
        yield "a power of it", f"{text}^2"
        yield "a power of it, raised", f"{text}²"


def _parts(text: str) -> list[str]:
    """Cuts a text at its outermost commas."""
    depth, parts, start = 0, [], 0
    for at, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _bracketed(text: str) -> tuple[str, list[str], str] | None:
    r"""Takes `(1, 2]`, `\{1, 2\}` apart: opening, elements, closing; None where it is nothing of the kind."""
    text = re.sub(r"\\(?:left|right)\s*", "", text)
    found = re.fullmatch(r"(\(|\[|\\\{)(.*)(\)|\]|\\\})", text, re.DOTALL)
    if not found:
        return None
    parts = [part.strip() for part in _parts(found[2])]
    return (found[1], parts, found[3]) if all(parts) and len(parts) > 1 else None


def _altered_interval(text: str) -> Texts:
    found = _bracketed(text)
    if found is None or len(found[1]) != 2:
        return
    opening, (low, high), closing = found
    flip = {"(": "[", "[": "(", ")": "]", "]": ")"}
    if opening in flip and "infty" not in low:
        yield "an end flipped, left", f"{flip[opening]}{low}, {high}{closing}"
    if closing in flip and "infty" not in high:
        yield "an end flipped, right", f"{opening}{low}, {high}{flip[closing]}"
    if "infty" not in high:
        yield "an end moved", f"{opening}{low}, {high} + 1{closing}"
    if "infty" not in low:
        yield "an end moved", f"{opening}{low} - 1, {high}{closing}"


def _altered_elements(text: str) -> Texts:
    opening, parts, closing = _bracketed(text) or ("", [part.strip() for part in _parts(text)], "")
    if len(parts) < 2 or not all(parts):
        return
    if opening in ("(", "[") and all(number_in(part) is not None for part in parts[:2]):
        first, second = number_in(parts[0]), number_in(parts[1])
        if first != second:
            yield "two swapped", f"{opening}{', '.join([parts[1], parts[0], *parts[2:]])}{closing}"
    yield "one more", f"{opening}{', '.join([*parts, '987654'])}{closing}"
    if len(set(parts)) == len(parts):
        yield "one missing", f"{opening}{', '.join(parts[:-1])}{closing}"
    yield "one changed", f"{opening}{', '.join([*parts[:-1], '987654'])}{closing}"


def _altered_expression(text: str) -> Texts:
    if re.search(r"text|infty|[=<>,]|\\(?:pm|mp|cup|cap|in|le|ge|ne)|emptyset", text):
        return
    yield "plus one", f"{text} + 1"
    yield "minus one", f"{text} - 1"
    if text != "0":
        yield "negated as a whole", f"-({text})"
        yield "doubled", f"2({text})"


def _altered_equation(text: str) -> Texts:
    if text.count("=") == 1 and "," not in text:
        yield "plus one", f"{text} + 1"


def _altered_text(text: str) -> Texts:
    if found := re.fullmatch(r"\\text\{([A-Za-z ]+)\}|([A-Za-z]{2,})", text):
        word = found[1] or found[2]
        yield "negated", f"\\text{{not {word.strip()}}}"
        yield "another word", "\\text{zeppelin}"
        yield "a letter more", f"\\text{{{word.strip()}q}}"


def _altered_matrix(text: str) -> Texts:
    if found := re.search(r"(?<=matrix\})\s*(-?\d+)\s*(?=&|\\\\)", text):
        yield "an entry changed", f"{text[: found.start(1)]}{int(found[1]) + 1}{text[found.end(1) :]}"
    yield "an entry more", text.replace("\\end{", "\\\\ 987654 \\end{", 1)


def _altered_quantity(text: str) -> Texts:
    r"""Changes the first number of `90^\circ`, `12.5\%`, `4:30`."""
    if found := re.match(r"\s*-?\d+", text):
        number, rest = int(found[0]), text[found.end() :]
        yield "off by one, up", f"{number + 1}{rest}"
        yield "a digit appended", f"{number}1{rest}" if rest[:1] != "." else f"{number}{rest[:1]}9{rest[1:]}"
        if number:
            yield "sign flipped", f"{-number}{rest}"


def _altered_ratio(text: str) -> Texts:
    if found := re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text):
        left, right = int(found[1]), int(found[2])
        yield "off by one, up", f"{left + 1}:{right}"
        if left != right:
            yield "two swapped", f"{right}:{left}"


_ALTERED: dict[str, Callable[[str], Texts]] = {
    "interval": _altered_interval,
    "tuple": _altered_elements,
    "set": _altered_elements,
    "list": _altered_elements,
    "expression": _altered_expression,
    "equation": _altered_equation,
    "text": _altered_text,
    "matrix": _altered_matrix,
    "degree": _altered_quantity,
    "percent": _altered_quantity,
    "time": _altered_quantity,
    "ratio": _altered_ratio,
}
