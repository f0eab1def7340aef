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
    "euro": "€", "unit": "unit", "radian": "rad", "rad": "rad", "cm": "cm", "mm": "mm", "km": "km", "m": "m", "g": "g",
    "kg": "kg", "s": "s", "h": "h", "ft": "ft", "yd": "yd", "mi": "mi", "oz": "oz", "l": "l", "ml": "ml",
}  # fmt: skip
SHORT_UNITS = frozenset(
    "cm mm km kg mg ml ft in yd mi lb lbs oz mph kph hr hrs min mins sec secs inches feet units pct".split()
)


_UNIT_PARTS = re.compile(r"[^\W\d_]+|[$€]|/|\^?\{?(-?\d)\}?|\S")
_RAISED_BY = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cubed": 3}


def unit_name(text: str) -> str:
    """Returns a unit in one spelling; raises `Unreadable` for words that change the value or hedge it.

    >>> unit_name("meters per second squared"), unit_name("m/s^2"), unit_name("sq cm"), unit_name("mph")
    ('m s^-2', 'm s^-2', 'cm^2', 'h^-1 mi')
    """
    text = text.lower()
    words = re.findall(r"[^\W\d_]+", text)
    is_short = 0 < len(words) <= 5
    others = [word for before, word in zip(["", *words], words, strict=False) if not _is_power(before, word)]
    if is_short and not (_SCALES | NUMBER_WORDS.keys()).isdisjoint(others):
        raise Unreadable(f"{text[:40]!r} changes the value")
    if not is_short or not _NO_UNIT.isdisjoint(words):
        raise Unreadable(f"{text[:40]!r} is no unit")
    found: dict[str, int] = {}
    sign, before, last = 1, 1, ""
    for part in _UNIT_PARTS.finditer(re.sub(r"\bmph\b", "mi/h", re.sub(r"\bkph\b", "km/h", text))):
        word = part[0]
        if part[1] and last:  # a power after a unit
            found[last] *= int(part[1])
        elif word in ("/", "per"):
            sign, before, last = -1, 1, ""
        elif word in ("squared", "cubed"):
            found[last] *= _RAISED_BY[word]
        elif word in _RAISED_BY and len(words) > 1:
            before = _RAISED_BY[word]
        elif word[0].isalpha() or word in "$€":
            last = _known(word) or (word.removesuffix("s") if len(word) > 2 else word)
            found[last] = found.get(last, 0) + sign * before
            before = 1
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in sorted(found.items()))


def _is_power(before: str, word: str) -> bool:
    return word in ("squared", "cubed") and _known(before) is not None


def _known(word: str) -> str | None:
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))


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
