"""Words in answers: numbers in words, and units in one spelling."""

# ruff: noqa: SIM905  (lists of words are easier to read and to change as text)

from __future__ import annotations

import re

from reasoner.verifiers.math.tree import Unreadable

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen".split()
    )
} | {w: 10 * (i + 2) for i, w in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())}
_TENS = re.compile(
    r"(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[- ](one|two|three|four|five|six|seven|eight|nine))?"
)
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
    "euro": "€", "unit": "unit",
    "square": "square", "sq": "square", "cubic": "cubic", "radian": "rad", "rad": "rad", "mph": "mi/h", "kph": "km/h",
}  # fmt: skip
SHORT_UNITS = frozenset(
    "cm mm km kg mg ml ft in yd mi lb lbs oz mph kph hr hrs min mins sec secs inches feet units pct".split()
)


def unit_name(text: str) -> str:
    """Returns a unit in one spelling; raises `Unreadable` for words that change the value or hedge it."""
    words = re.findall(r"[^\W\d_]+\d*", text.lower())
    is_short = 0 < len(words) <= 5
    if is_short and any(word in _SCALES or word in NUMBER_WORDS for word in words):
        raise Unreadable(f"{text[:40]!r} changes the value")
    if not is_short or any(word in _NO_UNIT for word in words):
        raise Unreadable(f"{text[:40]!r} is no unit")
    names = [_UNITS.get(word) or _UNITS.get(word.removesuffix("s")) or word.removesuffix("s") for word in words]
    match names:
        case ["square" | "cubic" as power, name]:
            return f"{name}^{2 if power == 'square' else 3}"
        case [name, "per", other]:
            return f"{name}/{other}"
    return " ".join(names)


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
    if match := _TENS.fullmatch(text):
        return NUMBER_WORDS[match[1]] + (NUMBER_WORDS[match[2]] if match[2] else 0)
    return NUMBER_WORDS.get(text)
