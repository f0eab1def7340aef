"""Words in answers: numbers in words, and units in one spelling."""

# ruff: noqa: SIM905  (lists of words are easier to read and to change as text)

import re

from reasoner.verifiers.math import tree as t
from reasoner.verifiers.math.tree import Unreadable
from reasoner.verifiers.numerals import NUMBER_WORDS, ONES, TENS

_TENS = re.compile(rf"({'|'.join(TENS)})[- ]({'|'.join(ONES[1:10])})")
_SCALES = frozenset(
    "dozen dozens score hundred hundreds thousand thousands million millions billion billions trillion trillions k"
    " hundredth hundredths tenth tenths thousandth thousandths half halves third thirds quarter quarters squared cubed"
    " factorial percentage base mod modulo".split()
)
POWERS = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NO_UNIT = frozenset(
    "or and not nor either neither maybe about around approximately between to than less more least most if unless plus"
    " minus times over is are was no none any nan null undefined true false infinity unknown where when for but so"
    " all".split()
)
_UNITS = {
    "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km",
    "millimeter": "mm", "millimetre": "mm", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd",
    "mile": "mi", "gram": "g", "kilogram": "kg", "pound": "lb", "lb": "lb", "ounce": "oz", "second": "s", "sec": "s",
    "minute": "min", "min": "min", "hour": "h", "hr": "h", "day": "day", "week": "week", "month": "month",
    "year": "year", "yr": "year", "liter": "l", "litre": "l", "milliliter": "ml", "dollar": "$", "cent": "cent",
    "euro": "€", "unit": "unit", "square": "square", "sq": "square", "cubic": "cubic", "radian": "rad", "rad": "rad",
    "mph": "mi/h", "kph": "km/h",
}  # fmt: skip
SHORT_UNITS = frozenset(
    "cm mm km kg mg ml ft in yd mi lb lbs oz mph kph hr hrs min mins sec secs inches feet units pct".split()
)


def unit_name(text: str) -> str:
    """Returns a unit in one spelling; raises `Unreadable` for words that change the value or hedge it."""
    words = re.findall(r"[^\W\d_]+\d*", text.lower())
    is_short = 0 < len(words) <= 5
    if is_short and not (_SCALES | NUMBER_WORDS.keys()).isdisjoint(words):
        raise Unreadable(f"{text[:40]!r} changes the value")
    if not is_short or not _NO_UNIT.isdisjoint(words):
        raise Unreadable(f"{text[:40]!r} is no unit")
    names = [_UNITS.get(word) or _UNITS.get(word.removesuffix("s")) or word.removesuffix("s") for word in words]
    match names:
        case ["square" | "cubic" as power, name]:
            return f"{name}^{2 if power == 'square' else 3}"
        case [name, "per", other]:
            return f"{name}/{other}"
    return " ".join(names)


_MONEY = re.compile(r"\\(\$|euro(?![A-Za-z])|pounds(?![A-Za-z]))|([€£¥])")
_SIGNS = {"euro": "€", "pounds": "£"}


def are_other_money(reference: str, ref: t.Node, answer: str, got: t.Node) -> bool:
    r"""Returns whether both have a unit, one of them money, and not the same.

    A bare `$` is a delimiter here, `\$` the dollar. The trees have no signs of money, which are read as spacing.
    """
    sides = []
    for text, node in ((reference, ref), (answer, got)):
        signs = {_SIGNS.get(found[1] or found[2], found[1] or found[2]) for found in _MONEY.finditer(text)}
        named = {part.name for part in t.walk(node) if isinstance(part, t.Unit)}
        sides.append((signs | (named & {"$", "€", "cent"}), named))
    (money, named), (got_money, got_named) = sides
    return bool((money or named) and (got_money or got_named) and (money or got_money) and money != got_money)


def number_word(text: str) -> int | None:
    """Returns the value of a number in words up to ninety-nine, a `negative` or `minus` before it included.

    >>> number_word("forty-two"), number_word("minus seven"), number_word("a dozen")
    (42, -7, None)
    """
    text = text.lower().strip()
    for sign in ("negative ", "minus "):
        if text.startswith(sign):
            value = number_word(text[len(sign) :])
            return None if value is None else -value
    match = _TENS.fullmatch(text)
    return NUMBER_WORDS[match[1]] + NUMBER_WORDS[match[2]] if match else NUMBER_WORDS.get(text)
