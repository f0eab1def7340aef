r"""Makes the pairs of a teacher's rules: what one rule lets pass, and beside it what the same rule must not let pass.

Each rule looks at one reference and makes texts only where they certainly say the same, or another thing: to accuse a
verifier falsely is worse than to miss a fault of it. A rule that does not apply to a reference makes nothing. A
verifier's own documentation decides what may be asked of it: the rules look at its contract.

A person's own verifier promises no format, so what it does with most of this is information. But a whole sentence that
plainly does not give the answer ("But 12 is impossible.") is right in no format, and it is held to those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from random import Random
from typing import NamedTuple

from reasoner.audit.results import Case
from reasoner.audit.rewrites import Cases, Reference, about_another
from reasoner.verifiers.checker import Contract
from reasoner.verifiers.numerals import ONES, TENS

EACH = 50  # references, of those that a rule applies to, on which it is tried


class Told(NamedTuple):
    """Holds a text that says the reference (`is_same`), or resembles it and does not.

    A `is_whole` text is a completion as it stands; any other is an answer, which is still to be committed to.
    """

    family: str
    text: str
    is_same: bool
    is_whole: bool = False


Texts = Iterator[Told]
Rule = Callable[[Reference, Contract], Texts]


def by_rule(references: Sequence[Reference], commit: Callable[[str], str], contract: Contract) -> Cases:
    """Tries each rule on references that it applies to, from all over the data; `Case.expected` says what must be."""
    mixed = Random(0).sample(references, len(references))
    for kind, rule in ((kind, rule) for kind, rules in KINDS.items() for rule in rules):
        left = EACH
        for one in mixed:
            found = list(rule(one, contract))
            is_control = found and contract == "own" and one.value is not None
            others = {told.family: told.text for told in rule(about_another(one), contract)} if is_control else {}
            for told in found:
                completion = told.text if told.is_whole else commit(told.text)
                is_promised = contract != "own" or (rule in HELD and not told.is_same)
                control = others.get(told.family) if is_promised else None
                case = Case(told.family, completion, one.answer, told.is_same, one.id, one.type, kind=kind,
                            control=control)  # fmt: skip
                yield case, is_promised
            left -= bool(found)
            if not left:
                break


def _whole(one: Reference) -> int | None:
    """Gives the value of a reference that is a whole number in digits and nothing else."""
    is_whole = one.value is not None and one.value.denominator == 1 and re.fullmatch(r"-?\d[\d,]*", one.text)
    return int(one.value) if one.value is not None and is_whole else None


# -- sentences -----------------------------------------------------------------------------------


def _clauses(one: Reference, _: Contract) -> Texts:
    """A clause about the answer states what it comes to, and none of the numbers on the way."""
    value = _whole(one)
    if value is None:
        return
    said = "The answer is"
    if value > 6:  # so that no part is the whole
        yield Told("first how, then what", f"{said} the sum of ${value - 3}$ and $3$, which is ${value}$.", True, True)
    if value > 1:
        yield Told("a part of a sum", f"{said} the sum of $3$ and ${value}$, which is ${value + 3}$.", False, True)
        yield Told("a part of a product", f"{said} the product of $3$ and ${value}$.", False, True)
    for family, rest in (
        ("bigger than it", f"bigger than {value}"),
        ("all but it", f"any number except {value}"),
        ("it and more", f"{value} plus the rest"),
    ):
        yield Told(family, f"{said} {rest}.", False, True)


def _sentences(one: Reference, contract: Contract) -> Texts:
    """A sentence that calls a number impossible, supposes it, or has work left with it, states nothing."""
    value = _whole(one)
    if value is None or value < 0:
        return
    for family, text in (
        ("impossible", f"But {value} is impossible."),
        ("supposed", f"It would be {value} if there were one more."),
        ("let it be", f"Let it be {value}."),
        ("still to be used", f"We must now add {value}."),
        ("cut off in a sentence", f"So in all there are {value} and"),
        ("still to be solved", f"It remains to solve x + 2 = {value}."),
    ):
        yield Told(family, text, False, True)
    if contract == "lenient":  # elsewhere `x + 2` may be what was asked for
        yield Told("not solved", f"n + 2 = {value}.", False, True)
        yield Told("not solved, for x", f"So x + 2 = {value}.", False, True)
        yield Told("solved", f"So x = {value}.", True, True)
        yield Told("would be", f"That would be {value}.", True, True)
        yield Told("if, then", f"If he adds them, then he has {value}.", True, True)
    elif contract == "math":
        yield Told("solved", f"So $x = {value}$.", True, True)
        yield Told("would be", f"That would be ${value}$.", True, True)


# -- units ---------------------------------------------------------------------------------------

_NUM = r"-?\d+(?:\.\d+)?"
_UNITS = {
    "km": ("kilometers", "m"), "m": ("meters", "km"), "cm": ("centimeters", "m"), "mm": ("millimeters", "cm"),
    "in": ("inches", "feet"), "ft": ("feet", "inches"), "mi": ("miles", "feet"), "yd": ("yards", "miles"),
    "kg": ("kilograms", "grams"), "g": ("grams", "kg"), "lb": ("pounds", "ounces"), "oz": ("ounces", "pounds"),
    "min": ("minutes", "hours"), "hr": ("hours", "minutes"), "s": ("seconds", "hours"),
}  # fmt: skip
"""By its short name, a unit's long one, and another unit of the same kind."""
_SHORT = {name: short for short, (long, _) in _UNITS.items() for name in (short, long, long.removesuffix("s"))}
_SHORT |= {"inch": "in", "foot": "ft"}
_GAP = r"\s*(?:\\[,; ]|~)?\s*"
_WITH_UNIT = re.compile(rf"({_NUM}){_GAP}(?:\\(?:text|mbox|mathrm)\s?\{{\s*([a-z]+)\.?\s*\}}|([a-z]{{2,}}))")
_DOLLARS = re.compile(rf"\\?\$\s?({_NUM})")


def _units(one: Reference, contract: Contract) -> Texts:
    """A unit may be left out or spelled otherwise, and is not another one."""
    form = "{} \\text{{ {}}}" if contract == "math" or "\\" in one.text else "{} {}"
    if money := _DOLLARS.fullmatch(one.text):
        number = money[1]
        yield Told("the unit left out", number, True)
        yield Told("the unit in words", form.format(number, "dollars"), True)
        if Fraction(number):
            for unit in ("cents", "euros", "km"):
                yield Told("a unit swapped", form.format(number, unit), False)
            yield Told("a currency swapped", f"€{number}", False)
    elif (found := _WITH_UNIT.fullmatch(one.text)) and (short := _SHORT.get(found[2] or found[3])):
        number, (long, other) = found[1], _UNITS[short]
        yield Told("the unit left out", number, True)
        if contract == "math":  # `number` promises no spellings
            yield Told("the unit in full", form.format(number, long), True)
            yield Told("the unit in short", form.format(number, short), True)
        if Fraction(number):
            yield Told("a unit swapped", form.format(number, other), False)
            yield Told("money for a unit", f"\\${number}" if "\\" in form else f"${number}", False)


def _percents(one: Reference, contract: Contract) -> Texts:
    """A percent sign may be added to a bare number; it does not divide it by a hundred."""
    value = _whole(one)
    if value is not None and value > 0:
        if contract in ("number", "lenient"):
            yield Told("a percent sign added", f"{value}%", True)
            yield Told("percent in words", f"{value} percent", False)
        yield Told("a hundredth, with a percent sign", f"{float(Fraction(value, 100)):.12g}%", False)


def _percent_signs(one: Reference, contract: Contract) -> Texts:
    """A percent sign may be left out, and the bare number is not divided by a hundred once more."""
    if contract == "math" and (found := re.fullmatch(rf"({_NUM})\s?\\?%", one.text)):
        yield Told("the percent sign left out", found[1], True)
        if Fraction(found[1]):
            yield Told("a hundredth, with a percent sign", f"{float(Fraction(found[1]) / 100):.12g}\\%", False)


# -- commas and connectives ----------------------------------------------------------------------


def _commas(one: Reference, contract: Contract) -> Texts:
    """A comma parts a list or a decimal number, and neither is the other."""
    if one.type in ("list", "tuple") and (found := re.fullmatch(r"\(?\s*(-?\d+)\s*,\s*(\d+)\s*\)?", one.text)):
        yield Told("a list as a decimal", f"{found[1]}.{found[2]}", False)
    if found := re.fullmatch(r"(-?\d+)\.(\d+)", one.text):
        yield Told("a decimal as a list", f"{found[1]}, {found[2]}", False)
        if contract == "math" and len(found[2]) < 3:  # three digits would be thousands
            yield Told("a decimal comma", f"{found[1]},{found[2]}", True)


def _thousands(one: Reference, _: Contract) -> Texts:
    """A comma stands before three digits only, and a point there is a decimal one."""
    value = _whole(one)
    if value is not None and value >= 10:
        digits = str(value)
        yield Told("its digits as a list", f"{digits[:-1]}, {digits[-1]}", False)
        if value >= 1000:
            yield Told("thousands as a decimal", f"{digits[:-3]}.{digits[-3:]}", False)


class _Piece(NamedTuple):
    """Holds an interval whose ends are numbers in order; an end is None where there is none."""

    opening: str
    low: Fraction | None
    high: Fraction | None
    closing: str

    def bounds(self) -> list[str]:
        above, below = ">" if self.opening == "(" else "\\ge", "<" if self.closing == ")" else "\\le"
        ends = (above, self.low), (below, self.high)
        return [f"x {sign} {end}" for sign, end in ends if end is not None]


_INTERVAL = re.compile(rf"([(\[])\s*(-\s?\\infty|{_NUM})\s*,\s*(\\infty|{_NUM})\s*([)\]])")


def _pieces(one: Reference) -> list[_Piece]:
    r"""Takes `[2, 5)` or `(-\infty, 3] \cup (4, 5)` apart; empty where it is not plainly that."""
    pieces = []
    for part in re.sub(r"\\(?:left|right)(?![a-z])|\\[,! ]", "", one.text).split("\\cup"):
        found = _INTERVAL.fullmatch(part.strip())
        if one.type != "interval" or not found:
            return []
        low, high = (None if "infty" in end else Fraction(end) for end in (found[2], found[3]))
        if (low is None and found[1] == "[") or (high is None and found[4] == "]"):
            return []
        if low is not None and high is not None and low >= high:
            return []
        pieces.append(_Piece(found[1], low, high, found[4]))
    return pieces


def _connectives(one: Reference, _: Contract) -> Texts:
    """An `and` is no `or`: the connective is a part of the value."""
    words = ("as signs", "\\land", "\\lor"), ("in words", "\\text{ and }", "\\text{ or }")
    match [piece.bounds() for piece in _pieces(one)]:
        case [[bound]]:
            yield Told("as an inequality", bound, True)
        case [[low, high]]:
            for how, both, either in words:
                yield Told(f"as inequalities, {how}", f"{low} {both} {high}", True)
                yield Told(f"or for and, {how}", f"{low} {either} {high}", False)
        case [[left], [right]] if "<" in left or "\\le" in left:
            for how, both, either in words:
                yield Told(f"a union as inequalities, {how}", f"{left} {either} {right}", True)
                yield Told(f"and for or, {how}", f"{left} {both} {right}", False)


def _intervals(one: Reference, _: Contract) -> Texts:
    """Pieces that touch are one interval where the point between them is in one; `]2, 5[` is open."""
    match _pieces(one):
        case [piece] if piece.low is not None or piece.high is not None:
            opening, low, high, closing = piece
        case _:
            return
    left = "-\\infty" if low is None else str(low)
    right = "\\infty" if high is None else str(high)
    start, stop = "]" if opening == "(" else "[", "[" if closing == ")" else "]"
    flip = {"[": "]", "]": "["}
    if opening == "(" or closing == ")":
        yield Told("brackets turned round", f"{start}{left}, {right}{stop}", True)
    if low is not None:
        yield Told("brackets turned round, an end flipped", f"{flip[start]}{left}, {right}{stop}", False)
    if high is not None:
        yield Told("brackets turned round, an end flipped", f"{start}{left}, {right}{flip[stop]}", False)
    match low, high:
        case Fraction(), Fraction():
            at = (low + high) / 2
        case _, Fraction():
            at = high - 1
        case Fraction(), _:
            at = low + 1
    yield Told("two pieces that touch", f"{opening}{left}, {at}) \\cup [{at}, {right}{closing}", True)
    yield Told("two pieces and a hole", f"{opening}{left}, {at}) \\cup ({at}, {right}{closing}", False)


# -- roots, letters, names -----------------------------------------------------------------------

_ODD_ROOT = re.compile(r"\\sqrt\[([357])\]\{(\d+)\}")
_EVEN = re.compile(r"\\(?!(?:sqrt|[dt]?frac|cdot)(?![a-z]))|[|^]")  # what could hide a sign, or is not known to keep it


def _roots(one: Reference, contract: Contract) -> Texts:
    """The odd root of a negative number is real, and negative."""
    value = _whole(one)
    if value and abs(value) < 10**6:
        yield Told("an odd root, sign flipped", f"\\sqrt[3]{{{-(value**3)}}}", False)
        if contract == "math":
            yield Told("an odd root", f"\\sqrt[3]{{{value**3}}}", True)


def _roots_within(one: Reference, _: Contract) -> Texts:
    """So is it within an expression."""
    if len(_ODD_ROOT.findall(one.text)) == 1 and not _EVEN.search(one.text):
        yield Told("an odd root of minus", _ODD_ROOT.sub(r"(-\\sqrt[\1]{-\2})", one.text), True)
        yield Told("an odd root, sign flipped", _ODD_ROOT.sub(r"\\sqrt[\1]{-\2}", one.text), False)


def _choices(one: Reference, contract: Contract) -> Texts:
    """A value may have the letter of its choice; with another text, or without one, it is another answer."""
    value = _whole(one)
    if value is not None:
        if contract == "math":
            yield Told("the text with a letter", f"\\textbf{{(C)}}\\ {value}", True)
        yield Told("another text with a letter", f"\\textbf{{(C)}}\\ {value + 1}", False)
        yield Told("a letter for a number", "\\textbf{(C)}", False)


def _letters(one: Reference, _: Contract) -> Texts:
    """A choice that is asked for by its letter may have its text; another letter, or the text alone, is not it."""
    if found := re.fullmatch(r"\\text(?:bf)?\{\s?\(([A-E])\)\s?\}", one.text):
        yield Told("a letter with its text", f"\\textbf{{({found[1]})}}\\ 987654", True)
        yield Told("another letter with a text", f"\\textbf{{({chr(ord(found[1]) + 1)})}}\\ 987654", False)
        yield Told("the text of a choice alone", "987654", False)


def _names(one: Reference, contract: Contract) -> Texts:
    """A name may stand before the equals sign; another relation or a calculation there is another answer."""
    value = _whole(one)
    if value is not None:
        yield Told("a name before it", f"x = {value}", True)
        yield Told("a name before another", f"x = {value + 1}", False)
        yield Told("unequal to it", f"x \\ne {value}", False)
        yield Told("above it", f"x > {value}", False)
        if value and contract != "math":
            yield Told("not solved", f"2x = {value}", False)


def _functions(one: Reference, _: Contract) -> Texts:
    """A function may be named before its equals sign."""
    letters = set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", one.text)))
    if one.type == "expression" and letters == {"x"} and not re.search(r"\\(?!d?frac|sqrt|cdot)|[=<>,]", one.text):
        yield Told("the name of a function", f"f(x) = {one.text}", True)
        yield Told("another function", f"f(x) = {one.text} + 1", False)


# -- spelling ------------------------------------------------------------------------------------


def _words(value: int) -> str:
    """Writes a number below a hundred in words."""
    tens, ones = divmod(value, 10)
    return ONES[value] if value < 20 else TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


def _dress(one: Reference, contract: Contract) -> Texts:
    """Emphasis, quotes and a number in words beside the digits are dress; what they dress must be the answer."""
    value = _whole(one)
    if value is None or value < 0:
        return
    if value < 98:
        yield Told("with its words", f"The answer is {value} ({_words(value)}).", True, True)
        yield Told("with the words of another", f"The answer is {value} ({_words(value + 1)}).", False, True)
    forms = ["*{}*", "**{}**", "__{}__", '"{}"']
    if contract == "math":
        forms = ["\\textbf{{{}}}", "\\mathbf{{{}}}"]
        for form in ("The answer is **{}**.", "The answer is *{}*.", 'The answer is "{}".', "**$\\boxed{{{}}}$**"):
            yield Told(f"as {form.format('…')}", form.format(value), True, True)
            yield Told("another in the same dress", form.format(value + 1), False, True)
    for form in forms:
        yield Told(f"as {form.format('…')}", form.format(value), True)
        yield Told("another in the same dress", form.format(value + 1), False)


_PERIODS = {3: 1, 9: 1, 11: 2, 37: 3, 99: 2}  # how long the period of so many parts is


def _recurring(one: Reference, contract: Contract) -> Texts:
    """A recurring decimal is its fraction; cut off it is not."""
    value = one.value
    if value is None or value < 0 or value.denominator not in _PERIODS:
        return
    whole, part = divmod(value, 1)
    num_digits = _PERIODS[value.denominator]
    period = f"{int(part * (10**num_digits - 1)):0{num_digits}d}"
    if contract == "math":
        yield Told("with a bar", f"{whole}.\\overline{{{period}}}", True)
        if num_digits == 1:
            yield Told("with dots", f"{whole}.{period * 4}\\ldots", True)
    yield Told("cut off", f"{whole}.{period * 3}", False)
    yield Told("another with a bar", f"{whole + 1}.\\overline{{{period}}}", False)


KINDS: dict[str, tuple[Rule, ...]] = {
    "the clause about the answer": (_clauses,),
    "sentences that state nothing": (_sentences,),
    "units": (_units,),
    "percent": (_percents, _percent_signs),
    "list and decimal comma": (_commas, _thousands),
    "and, or": (_connectives,),
    "intervals": (_intervals,),
    "odd roots": (_roots, _roots_within),
    "choice letters": (_choices, _letters),
    "a name before the equals sign": (_names, _functions),
    "recurring decimals": (_recurring,),
    "emphasis, quotes, words": (_dress,),
}

HELD = (_clauses, _sentences)
"""Of these, what does not say the answer says it in no format, so a person's own verifier is held to it."""
